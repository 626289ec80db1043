/* SPDX-License-Identifier: Apache-2.0
 *
 * node.c: the files that the guest knows.
 *
 * Theory of operation
 *
 * A guest may know as many files as it has memory for, far more than there are descriptors. So a
 * node is no descriptor but a place, its name in its parent, and an identity: device, inode number
 * and time of birth. To use it is to go to its place and to look whether the same file is there; if
 * not, somebody moved it and the guest gets ESTALE, upon which its kernel looks the name up again.
 * Names are one component and never followed, so no step leads out of the folder, whatever is
 * exchanged meanwhile; there is no /proc in the jail to reopen a descriptor by.
 *
 * Folders keep an O_PATH descriptor, since everything below them starts there, as long as there is
 * room: those that nobody uses are closed, the oldest first, and opened anew at their place.
 *
 * A file without a name (unlinked and still open, or never named) is reached through its open
 * handles.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HASH_FIRST 1024u
#define DEPTH_MAX                                                                                  \
    200u /* of closed folders above each other; the guest's kernel allows 4096 / 2                 \
          */

/* One component below dirfd, never a link. Where openat2 is missing, a checked name and O_NOFOLLOW
 * say the same. */
static int open_one(int dirfd, const char *name, int flags)
{
    struct open_how how = {
        .flags = (unsigned)flags | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)syscall(SYS_openat2, dirfd, name, &how, sizeof(how));
    if (fd < 0 && (errno == ENOSYS || errno == EPERM))
        fd = openat(dirfd, name, flags | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int fs_stat_at(int dirfd, const char *name, struct statx *ret_st)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
    return statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME, ret_st) < 0 ? -errno : 0;
}

static dev_t device_of(const struct statx *st)
{
    return (dev_t)st->stx_dev_major << 32 | st->stx_dev_minor;
}

static uint64_t birth_of(const struct statx *st)
{
    return st->stx_mask & STATX_BTIME ? fs_time_ns(st->stx_btime) : 0;
}

bool fs_node_is(const struct fs_node *node, const struct statx *st)
{
    return node->ino == st->stx_ino && node->dev == device_of(st) &&
           node->born_ns == birth_of(st) && node->type == (st->stx_mode & S_IFMT);
}

/* -- the table; all static functions need the lock -- */

static size_t bucket(const struct fs *fs, dev_t dev, ino_t ino)
{
    uint64_t key = (uint64_t)ino ^ (uint64_t)dev * 0x9e3779b97f4a7c15ull;
    return (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & (fs->hash_size - 1);
}

static void grow_hash(struct fs *fs)
{
    if (fs->nodes.count < fs->hash_size)
        return;
    size_t old_size = fs->hash_size;
    struct fs_node **old = fs->hash, **new = calloc(old_size * 2, sizeof(*new));
    if (!new)
        return; /* slower, not wrong */
    fs->hash = new;
    fs->hash_size = old_size * 2;
    for (size_t i = 0; i < old_size; i++) {
        for (struct fs_node *n = old[i], *next; n; n = next) {
            next = n->hash_next;
            size_t at = bucket(fs, n->dev, n->ino);
            n->hash_next = new[at];
            new[at] = n;
        }
    }
    free(old);
}

static struct fs_node *find(struct fs *fs, const struct statx *st)
{
    struct fs_node *n = fs->hash[bucket(fs, device_of(st), st->stx_ino)];
    while (n && !fs_node_is(n, st))
        n = n->hash_next;
    return n;
}

static void unhash(struct fs *fs, struct fs_node *node)
{
    struct fs_node **at = &fs->hash[bucket(fs, node->dev, node->ino)];
    while (*at && *at != node)
        at = &(*at)->hash_next;
    if (*at)
        *at = node->hash_next;
}

static void close_folder(struct fs *fs, struct fs_node *node)
{
    if (node->fd < 0)
        return;
    if (node->fd_users == 0)
        TAILQ_REMOVE(&fs->idle, node, idle);
    close(node->fd); /* O_PATH: nothing waits */
    node->fd = -1;
    fs->open_folders--;
}

/* Drops references; frees what has none, and its parents. */
static void unref(struct fs *fs, struct fs_node *node)
{
    while (node && --node->refs == 0) {
        struct fs_node *parent = node->parent;
        close_folder(fs, node);
        if (node->id != FS_ROOT_ID) {
            unhash(fs, node);
            fs_table_remove(&fs->nodes, node->id);
        }
        free(node->name);
        free(node);
        node = parent;
    }
    fs->counters[FS_COUNTER_NODES] = fs->nodes.count;
}

static struct fs_node *make(struct fs *fs, const struct statx *st)
{
    struct fs_node *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    *n = (struct fs_node){
        .dev = device_of(st),
        .ino = st->stx_ino,
        .born_ns = birth_of(st),
        .type = st->stx_mode & S_IFMT,
        .fd = -1,
    };
    LIST_INIT(&n->handles);
    return n;
}

/* Whether a is b or above it. */
static bool is_above(const struct fs_node *a, const struct fs_node *b)
{
    while (b && b != a)
        b = b->parent;
    return b == a;
}

/* Notes where a node is. A folder below itself, seen while others move folders, is left alone: the
 * chain of parents must end. */
static int set_place(struct fs *fs, struct fs_node *node, struct fs_node *parent, const char *name)
{
    if (node->parent == parent && node->name && strcmp(node->name, name) == 0)
        return 0;
    if (node->id == FS_ROOT_ID || (node->type == S_IFDIR && is_above(node, parent)))
        return 0;
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    struct fs_node *old = node->parent;
    parent->refs++;
    node->parent = parent;
    free(node->name);
    node->name = copy;
    unref(fs, old);
    return 0;
}

static int add(struct fs *fs, struct fs_node *parent, const char *name, const struct statx *st,
               struct fs_node **ret_node)
{
    struct fs_node *n = make(fs, st);
    int rc = n ? fs_table_add(&fs->nodes, n, FS_NODES_MAX, &n->id) : -ENOMEM;
    if (rc == 0 && parent)
        rc = set_place(fs, n, parent, name);
    if (rc < 0) {
        if (n && n->id)
            fs_table_remove(&fs->nodes, n->id);
        free(n);
        return rc;
    }
    grow_hash(fs);
    size_t at = bucket(fs, n->dev, n->ino);
    n->hash_next = fs->hash[at];
    fs->hash[at] = n;
    fs->counters[FS_COUNTER_NODES] = fs->nodes.count;
    *ret_node = n;
    return 0;
}

/* -- for the operations -- */

int fs_nodes_init(struct fs *fs, struct pv_error *err)
{
    struct statx st;
    TAILQ_INIT(&fs->idle);
    fs->hash_size = HASH_FIRST;
    fs->hash = calloc(fs->hash_size, sizeof(*fs->hash));
    int rc = fs_stat_at(fs->options.root_fd, "", &st);
    if (rc < 0)
        return pv_error_set(err, -rc, "look at the shared folder: %s", strerror(-rc));
    if (!S_ISDIR(st.stx_mode))
        return pv_error_set(err, ENOTDIR, "the shared folder is not a folder");
    fs->root = fs->hash ? make(fs, &st) : NULL;
    if (!fs->root)
        return pv_error_set(err, ENOMEM, "shared folder: out of memory");
    fs->root->id = FS_ROOT_ID;
    fs->root->refs = 1;
    return 0;
}

int fs_nodes_settle(struct fs *fs, struct pv_error *err)
{
    struct statx st;
    int rc = fs_stat_at(fs->options.root_fd, "", &st);
    if (rc < 0)
        return pv_error_set(err, -rc, "look at the shared folder: %s", strerror(-rc));
    fs->root->dev = device_of(&st);
    fs->root->ino = st.stx_ino;
    fs->root->born_ns = birth_of(&st);
    return 0;
}

void fs_nodes_done(struct fs *fs)
{
    if (fs->root) {
        fs_nodes_reset(fs);
        close_folder(fs, fs->root);
    }
    free(fs->root);
    free(fs->hash);
    fs_table_done(&fs->nodes);
}

struct fs_node *fs_node_get(struct fs *fs, uint64_t id)
{
    pthread_mutex_lock(&fs->lock);
    struct fs_node *n = id == FS_ROOT_ID ? fs->root : fs_table_find(&fs->nodes, id);
    if (n)
        n->refs++;
    pthread_mutex_unlock(&fs->lock);
    return n;
}

void fs_node_put(struct fs *fs, struct fs_node *node)
{
    if (!node)
        return;
    pthread_mutex_lock(&fs->lock);
    unref(fs, node);
    pthread_mutex_unlock(&fs->lock);
}

int fs_node_find(struct fs *fs, struct fs_node *parent, const char *name, const struct statx *st,
                 struct fs_node **ret_node)
{
    pthread_mutex_lock(&fs->lock);
    struct fs_node *n = fs_node_is(fs->root, st) ? fs->root : find(fs, st);
    int rc = 0;
    if (!n)
        rc = add(fs, parent, name, st, &n);
    else if (parent)
        rc = set_place(fs, n, parent, name);
    if (rc == 0) {
        if (n->lookups++ == 0)
            n->refs++;
        n->refs++;
        *ret_node = n;
    }
    pthread_mutex_unlock(&fs->lock);
    return rc;
}

void fs_node_forget(struct fs *fs, uint64_t id, uint64_t lookups)
{
    pthread_mutex_lock(&fs->lock);
    struct fs_node *n = id == FS_ROOT_ID ? NULL : fs_table_find(&fs->nodes, id);
    if (n && n->lookups > 0) {
        n->lookups -= PV_MIN(n->lookups, lookups);
        if (n->lookups == 0)
            unref(fs, n);
    }
    pthread_mutex_unlock(&fs->lock);
}

void fs_node_moved(struct fs *fs, struct fs_node *parent, const char *name, const struct statx *st)
{
    pthread_mutex_lock(&fs->lock);
    struct fs_node *n = find(fs, st);
    if (n)
        set_place(fs, n, parent, name);
    pthread_mutex_unlock(&fs->lock);
}

bool fs_node_never_had_a_name(struct fs *fs, const struct fs_node *node)
{
    pthread_mutex_lock(&fs->lock);
    bool never = !node->parent && node != fs->root;
    pthread_mutex_unlock(&fs->lock);
    return never;
}

void fs_nodes_reset(struct fs *fs)
{
    pthread_mutex_lock(&fs->lock);
    for (uint32_t i = 0; i < fs->nodes.size; i++) {
        struct fs_node *n = fs->nodes.items[i];
        if (n && n->lookups > 0) {
            n->lookups = 0;
            unref(fs, n);
        }
    }
    if (fs->root->lookups > 0) {
        fs->root->lookups = 0;
        unref(fs, fs->root); /* the server's own reference stays */
    }
    pthread_mutex_unlock(&fs->lock);
}

/* -- ways to a file -- */

/* Closes folders that nobody uses until there is room for one more. */
static void make_room(struct fs *fs)
{
    unsigned max = PV_MAX(fs->now.max_files / 2, 8u);
    struct fs_node *oldest;
    while (fs->open_folders >= max && (oldest = TAILQ_FIRST(&fs->idle)))
        close_folder(fs, oldest);
}

/* Opens name in dirfd; the very same file, or -ESTALE. */
static int open_same(const struct fs_node *node, int dirfd, const char *name, int flags)
{
    struct statx st;
    pv_auto_fd int fd = open_one(dirfd, name, flags);
    int rc = fd < 0 ? fd : fs_stat_at(fd, "", &st);
    if (rc == 0 && !fs_node_is(node, &st))
        rc = -ESTALE;
    /* It was there when the guest looked. */
    if (rc == -ENOENT || rc == -ELOOP || rc == -ENOTDIR)
        rc = -ESTALE;
    return rc < 0 ? rc : pv_take_fd(&fd);
}

/* Takes the descriptor if it is open. -EBADF: it is not. */
static int enter_open(struct fs *fs, struct fs_node *node)
{
    if (node->fd < 0)
        return -EBADF;
    if (node->fd_users++ == 0)
        TAILQ_REMOVE(&fs->idle, node, idle);
    return node->fd;
}

static int locate(struct fs *fs, struct fs_node *node, struct fs_place *ret_place, unsigned depth);

static int open_folder(struct fs *fs, struct fs_node *node, unsigned depth)
{
    pv_auto_fd int fd = -1;
    if (node->id == FS_ROOT_ID) {
        fd = fcntl(fs->options.root_fd, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : pv_take_fd(&fd);
    }
    struct fs_place place;
    int rc = locate(fs, node, &place, depth);
    if (rc < 0)
        return rc;
    rc = open_same(node, place.fd, place.name, O_PATH | O_DIRECTORY);
    fs_place_leave(fs, &place);
    return rc;
}

static int enter(struct fs *fs, struct fs_node *node, unsigned depth)
{
    if (node->type != S_IFDIR)
        return -ENOTDIR;
    pthread_mutex_lock(&fs->lock);
    int rc = enter_open(fs, node);
    pthread_mutex_unlock(&fs->lock);
    if (rc >= 0)
        return rc;
    int fd = open_folder(fs, node, depth);
    if (fd < 0)
        return fd;
    pthread_mutex_lock(&fs->lock);
    if (node->fd < 0) { /* else another thread was faster */
        make_room(fs);
        node->fd = fd;
        fd = -1;
        fs->open_folders++;
        node->fd_users = 0;
        TAILQ_INSERT_TAIL(&fs->idle, node, idle);
    }
    rc = enter_open(fs, node);
    pthread_mutex_unlock(&fs->lock);
    if (fd >= 0)
        close(fd);
    return rc;
}

int fs_node_enter(struct fs *fs, struct fs_node *node)
{
    return enter(fs, node, 0);
}

void fs_node_leave(struct fs *fs, struct fs_node *node)
{
    pthread_mutex_lock(&fs->lock);
    if (--node->fd_users == 0)
        TAILQ_INSERT_TAIL(&fs->idle, node, idle);
    pthread_mutex_unlock(&fs->lock);
}

static int locate(struct fs *fs, struct fs_node *node, struct fs_place *ret_place, unsigned depth)
{
    if (depth > DEPTH_MAX)
        return -ESTALE;
    pthread_mutex_lock(&fs->lock);
    struct fs_node *parent = node->parent;
    if (parent) {
        parent->refs++;
        snprintf(ret_place->name, sizeof(ret_place->name), "%s", node->name);
    }
    pthread_mutex_unlock(&fs->lock);
    if (!parent)
        return -ESTALE;
    ret_place->parent = parent;
    ret_place->fd = enter(fs, parent, depth + 1);
    if (ret_place->fd < 0) {
        fs_node_put(fs, parent);
        return ret_place->fd;
    }
    return 0;
}

int fs_node_locate(struct fs *fs, struct fs_node *node, struct fs_place *ret_place)
{
    return locate(fs, node, ret_place, 0);
}

void fs_place_leave(struct fs *fs, struct fs_place *place)
{
    fs_node_leave(fs, place->parent);
    fs_node_put(fs, place->parent);
}

/* An open file of the node: a reference to its handle, or NULL. */
static struct fs_handle *any_handle(struct fs *fs, struct fs_node *node)
{
    pthread_mutex_lock(&fs->lock);
    struct fs_handle *h = LIST_FIRST(&node->handles);
    if (h && h->refs > 0)
        h->refs++;
    else
        h = NULL;
    pthread_mutex_unlock(&fs->lock);
    return h;
}

int fs_node_open(struct fs *fs, struct fs_node *node, int flags)
{
    if (node->type == S_IFDIR) {
        int dirfd = fs_node_enter(fs, node);
        if (dirfd < 0)
            return dirfd;
        int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int rc = fd < 0 ? -errno : fd;
        fs_node_leave(fs, node);
        return rc;
    }
    if (node->type != S_IFREG)
        return -ENXIO;
    struct fs_place place;
    int rc = fs_node_locate(fs, node, &place);
    if (rc < 0)
        return rc;
    /* Should it have become a FIFO meanwhile: O_NONBLOCK does not wait for its other end. */
    rc = open_same(node, place.fd, place.name, flags | O_NONBLOCK | O_NOCTTY);
    fs_place_leave(fs, &place);
    return rc;
}

int fs_node_open_path(struct fs *fs, struct fs_node *node)
{
    struct fs_handle *h = any_handle(fs, node);
    if (h) {
        int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
        int rc = fd < 0 ? -errno : fd;
        fs_handle_put(fs, h);
        return rc;
    }
    if (node == fs->root)
        return fs_node_open(fs, node, O_RDONLY);
    struct fs_place place;
    int rc = fs_node_locate(fs, node, &place);
    if (rc < 0)
        return rc;
    rc = open_same(node, place.fd, place.name, O_PATH);
    fs_place_leave(fs, &place);
    return rc;
}

int fs_node_open_any(struct fs *fs, struct fs_node *node)
{
    struct fs_handle *h = any_handle(fs, node);
    if (!h)
        return fs_node_open(fs, node, O_RDONLY);
    int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
    int rc = fd < 0 ? -errno : fd;
    fs_handle_put(fs, h);
    return rc;
}

int fs_node_stat(struct fs *fs, struct fs_node *node, struct statx *ret_st)
{
    struct fs_handle *h = any_handle(fs, node);
    if (h) {
        int rc = fs_stat_at(h->fd, "", ret_st);
        fs_handle_put(fs, h);
        return rc;
    }
    if (node->type == S_IFDIR) {
        int fd = fs_node_enter(fs, node);
        if (fd < 0)
            return fd;
        int rc = fs_stat_at(fd, "", ret_st);
        fs_node_leave(fs, node);
        return rc;
    }
    struct fs_place place;
    int rc = fs_node_locate(fs, node, &place);
    if (rc < 0)
        return rc;
    rc = fs_stat_at(place.fd, place.name, ret_st);
    fs_place_leave(fs, &place);
    if (rc == -ENOENT || rc == -ENOTDIR || (rc == 0 && !fs_node_is(node, ret_st)))
        rc = -ESTALE;
    return rc;
}
