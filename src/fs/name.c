/* SPDX-License-Identifier: Apache-2.0
 *
 * name.c: operations on a name in a folder.
 * Trust:   names are one component, checked by fs_call_name; the last component is never followed.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* The parent of an operation, entered. */
struct parent {
    struct fs_node *node;
    int fd;
};

static int enter(struct fs *fs, uint64_t id, struct parent *ret)
{
    struct fs_node *node = fs_node_get(fs, id);
    if (!node)
        return -ESTALE;
    int fd = fs_node_enter(fs, node);
    if (fd < 0) {
        fs_node_put(fs, node);
        return fd;
    }
    *ret = (struct parent){node, fd};
    return 0;
}

static void leave(struct fs *fs, struct parent *p)
{
    fs_node_leave(fs, p->node);
    fs_node_put(fs, p->node);
}

/* As enter, for a change. */
static int enter_to_change(struct fs *fs, uint64_t id, struct parent *ret)
{
    if (fs->options.read_only)
        return -EROFS;
    if (fs->only && id == FS_ROOT_ID)
        return -EPERM; /* the folder is not shared, only a file in it */
    return enter(fs, id, ret);
}

int fs_entry(struct fs *fs, struct fs_node *parent, int dirfd, const char *name,
             struct fuse_entry_out *out, struct fs_node **ret_node)
{
    struct statx st;
    struct fs_node *node;
    if (fs->only && parent == fs->root && strcmp(name, fs->only) != 0)
        return -ENOENT;
    int rc = fs_stat_at(dirfd, name, &st);
    if (rc == 0)
        rc = fs_node_find(fs, parent, name, &st, &node);
    if (rc < 0)
        return rc;
    *out = (struct fuse_entry_out){
        .nodeid = node->id,
        .entry_valid = fs_valid_seconds(fs),
        .attr_valid = fs_valid_seconds(fs),
    };
    fs_owner_attr(fs, node, &st, &out->attr);
    if (ret_node)
        *ret_node = node;
    else
        fs_node_put(fs, node);
    return 0;
}

static int answer(struct fs_call *c, struct parent *p, const char *name)
{
    int rc = fs_entry(c->fs, p->node, p->fd, name, &c->out.entry, NULL);
    return rc < 0 ? rc : (int)sizeof(c->out.entry);
}

int fs_lookup(struct fs_call *c)
{
    const char *name = NULL;
    struct parent p = {.fd = -1};
    int rc = fs_call_name(c, 0, &name, NULL);
    if (rc == 0)
        rc = enter(c->fs, c->header.nodeid, &p);
    if (rc < 0)
        return rc;
    rc = answer(c, &p, name);
    leave(c->fs, &p);
    if (rc != -ENOENT || c->fs->options.cache == FS_CACHE_NONE)
        return rc;
    /* The guest may remember that there is nothing, too. */
    c->out.entry = (struct fuse_entry_out){.entry_valid = fs_valid_seconds(c->fs)};
    return sizeof(c->out.entry);
}

int fs_forget(struct fs_call *c)
{
    const struct fuse_forget_in *in = fs_call_args(c, sizeof(*in));
    c->no_reply = true;
    if (in)
        fs_node_forget(c->fs, c->header.nodeid, in->nlookup);
    return 0;
}

int fs_batch_forget(struct fs_call *c)
{
    const struct fuse_batch_forget_in *in = fs_call_args(c, sizeof(*in));
    c->no_reply = true;
    if (!in)
        return 0;
    const uint8_t *list = c->in + sizeof(*in);
    size_t count =
        PV_MIN((size_t)in->count, (c->in_len - sizeof(*in)) / sizeof(struct fuse_forget_one));
    for (size_t i = 0; i < count; i++) {
        struct fuse_forget_one one;
        memcpy(&one, list + i * sizeof(one), sizeof(one));
        fs_node_forget(c->fs, one.nodeid, one.nlookup);
    }
    return 0;
}

int fs_readlink(struct fs_call *c)
{
    char text[PATH_MAX];
    struct fs_place place;
    struct fs_node *node = fs_node_get(c->fs, c->header.nodeid);
    if (!node)
        return -ESTALE;
    int rc = node->type == S_IFLNK ? fs_node_locate(c->fs, node, &place) : -EINVAL;
    if (rc == 0) {
        ssize_t len = readlinkat(place.fd, place.name, text, sizeof(text));
        rc = len < 0 ? (errno == EINVAL || errno == ENOENT ? -ESTALE : -errno) : (int)len;
        fs_place_leave(c->fs, &place);
    }
    fs_node_put(c->fs, node);
    if (rc >= 0 && (uint64_t)rc > fs_call_room(c))
        return -ENAMETOOLONG;
    if (rc > 0)
        fs_call_put(c, 0, text, (size_t)rc);
    return rc;
}

/* A file that was just made gets its owner, or goes again. fd: as in fs_owner_new. */
static int own(struct fs_call *c, struct parent *p, const char *name, int fd, mode_t mode,
               bool is_dir)
{
    int rc = fs_owner_new(c, p->node, p->fd, name, fd, mode);
    if (rc < 0)
        unlinkat(p->fd, name, is_dir ? AT_REMOVEDIR : 0);
    return rc;
}

int fs_symlink(struct fs_call *c)
{
    const char *name, *target = NULL;
    size_t next;
    struct parent p = {.fd = -1};
    int rc = fs_call_name(c, 0, &name, &next);
    if (rc == 0 && !(target = fs_call_string(c, next, NULL)))
        rc = -EINVAL;
    if (rc == 0)
        rc = enter_to_change(c->fs, c->header.nodeid, &p);
    if (rc < 0)
        return rc;
    rc = symlinkat(target, p.fd, name) < 0 ? -errno : own(c, &p, name, -1, 0777, false);
    if (rc == 0)
        rc = answer(c, &p, name);
    leave(c->fs, &p);
    return rc;
}

/* Device nodes would be the host's. A character device 0:0 is none: overlayfs marks with it what
 * was removed. */
static bool may_make(const struct fuse_mknod_in *in)
{
    mode_t type = in->mode & S_IFMT;
    return type == S_IFREG || type == S_IFIFO || type == S_IFSOCK ||
           (type == S_IFCHR && in->rdev == 0);
}

/* Makes a plain file and gives it away. The descriptor, or -errno. */
static int make_file(struct fs_call *c, struct parent *p, const char *name, int flags, mode_t mode)
{
    pv_auto_fd int fd = openat(p->fd, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                               fs_owner_host_mode(c->fs, mode));
    if (fd < 0)
        return -errno;
    int rc = own(c, p, name, fd, mode & 07777, false);
    return rc < 0 ? rc : pv_take_fd(&fd);
}

int fs_mknod(struct fs_call *c)
{
    const struct fuse_mknod_in *in = fs_call_args(c, sizeof(*in));
    const char *name = NULL;
    struct parent p = {.fd = -1};
    int rc = in ? fs_call_name(c, sizeof(*in), &name, NULL) : -EINVAL;
    if (rc == 0 && !may_make(in))
        rc = -EPERM;
    if (rc == 0)
        rc = enter_to_change(c->fs, c->header.nodeid, &p);
    if (rc < 0)
        return rc;
    if (S_ISREG(in->mode)) {
        int fd = make_file(c, &p, name, O_WRONLY, in->mode);
        rc = fd < 0 ? fd : 0;
        if (fd >= 0)
            close(fd);
    } else if (mknodat(p.fd, name, (in->mode & S_IFMT) | (in->mode & 0777), 0) < 0) {
        rc = -errno;
    } else {
        rc = own(c, &p, name, -1, in->mode & 0777, false);
    }
    if (rc == 0)
        rc = answer(c, &p, name);
    leave(c->fs, &p);
    return rc;
}

int fs_mkdir(struct fs_call *c)
{
    const struct fuse_mkdir_in *in = fs_call_args(c, sizeof(*in));
    const char *name = NULL;
    struct parent p = {.fd = -1};
    int rc = in ? fs_call_name(c, sizeof(*in), &name, NULL) : -EINVAL;
    if (rc == 0)
        rc = enter_to_change(c->fs, c->header.nodeid, &p);
    if (rc < 0)
        return rc;
    mode_t mode = in->mode & 07777;
    mode_t made = fs_owner_host_mode(c->fs, mode) | (c->fs->now.map_owners ? 0700 : 0);
    if (mkdirat(p.fd, name, made) < 0) {
        rc = -errno;
    } else {
        pv_auto_fd int fd = openat(p.fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        rc = fd < 0 ? -errno : own(c, &p, name, fd, mode, true);
    }
    if (rc == 0)
        rc = answer(c, &p, name);
    leave(c->fs, &p);
    return rc;
}

static int remove_name(struct fs_call *c, int flags)
{
    const char *name = NULL;
    struct parent p = {.fd = -1};
    int rc = fs_call_name(c, 0, &name, NULL);
    if (rc == 0)
        rc = enter_to_change(c->fs, c->header.nodeid, &p);
    if (rc < 0)
        return rc;
    rc = unlinkat(p.fd, name, flags) < 0 ? -errno : 0;
    leave(c->fs, &p);
    return rc;
}

int fs_unlink(struct fs_call *c)
{
    return remove_name(c, 0);
}

int fs_rmdir(struct fs_call *c)
{
    return remove_name(c, AT_REMOVEDIR);
}

/* Notes where a file is now. */
static void note_move(struct fs *fs, struct parent *p, const char *name)
{
    struct statx st;
    if (fs_stat_at(p->fd, name, &st) == 0)
        fs_node_moved(fs, p->node, name, &st);
}

static int rename_between(struct fs_call *c, struct parent *from, uint64_t to_id, size_t names,
                          unsigned flags)
{
    const char *old = NULL, *new = NULL;
    size_t next;
    struct parent to = {.fd = -1};
    int rc = fs_call_name(c, names, &old, &next);
    if (rc == 0)
        rc = fs_call_name(c, next, &new, NULL);
    if (rc == 0)
        rc = enter_to_change(c->fs, to_id, &to);
    if (rc < 0)
        return rc;
    rc = renameat2(from->fd, old, to.fd, new, flags) < 0 ? -errno : 0;
    if (rc == 0)
        note_move(c->fs, &to, new);
    if (rc == 0 && flags & RENAME_EXCHANGE)
        note_move(c->fs, from, old);
    leave(c->fs, &to);
    return rc;
}

static int rename_with(struct fs_call *c, uint64_t to_id, size_t names, unsigned flags)
{
    struct parent from = {.fd = -1};
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    int rc = enter_to_change(c->fs, c->header.nodeid, &from);
    if (rc < 0)
        return rc;
    rc = rename_between(c, &from, to_id, names, flags);
    leave(c->fs, &from);
    return rc;
}

int fs_rename(struct fs_call *c)
{
    const struct fuse_rename_in *in = fs_call_args(c, sizeof(*in));
    return in ? rename_with(c, in->newdir, sizeof(*in), 0) : -EINVAL;
}

int fs_rename2(struct fs_call *c)
{
    const struct fuse_rename2_in *in = fs_call_args(c, sizeof(*in));
    return in ? rename_with(c, in->newdir, sizeof(*in), in->flags) : -EINVAL;
}

/* A file without a name that the guest has open gets one. */
static int link_open(struct fs *fs, struct fs_node *node, struct parent *to, const char *name)
{
    pv_auto_fd int fd = node->type == S_IFREG ? fs_node_open_path(fs, node) : -ESTALE;
    if (fd < 0)
        return fd;
    if (linkat(fd, "", to->fd, name, AT_EMPTY_PATH) == 0)
        return 0;
    return errno == ENOENT ? -ESTALE : -errno; /* it had one, or the host does not let us */
}

/* Links what the node is now; should somebody have exchanged it, the new name goes again. */
static int link_node(struct fs_call *c, struct fs_node *node, struct parent *to, const char *name)
{
    struct fs_place place;
    struct statx st;
    int rc = fs_node_locate(c->fs, node, &place);
    if (rc < 0)
        return fs_node_never_had_a_name(c->fs, node) ? link_open(c->fs, node, to, name) : rc;
    rc = linkat(place.fd, place.name, to->fd, name, 0) < 0 ? -errno : 0;
    fs_place_leave(c->fs, &place);
    if (rc == -ENOENT)
        return -ESTALE;
    if (rc == 0 && fs_stat_at(to->fd, name, &st) == 0 && !fs_node_is(node, &st)) {
        unlinkat(to->fd, name, 0);
        return -ESTALE;
    }
    return rc;
}

int fs_link(struct fs_call *c)
{
    const struct fuse_link_in *in = fs_call_args(c, sizeof(*in));
    const char *name = NULL;
    struct parent to = {.fd = -1};
    int rc = in ? fs_call_name(c, sizeof(*in), &name, NULL) : -EINVAL;
    if (rc == 0)
        rc = enter_to_change(c->fs, c->header.nodeid, &to);
    if (rc < 0)
        return rc;
    struct fs_node *node = fs_node_get(c->fs, in->oldnodeid);
    rc = node ? link_node(c, node, &to, name) : -ESTALE;
    fs_node_put(c->fs, node);
    if (rc == 0)
        rc = answer(c, &to, name);
    leave(c->fs, &to);
    return rc;
}

/* The file is there already: opened like any other, after its entry was made. */
static int open_existing(struct fs_call *c, struct fs_node *node, uint32_t flags)
{
    if (node->type == S_IFLNK)
        return -ESTALE; /* the guest looks again and follows it */
    int fd = fs_node_open(c->fs, node, flags & (O_ACCMODE | O_APPEND | O_SYNC));
    if (fd >= 0 && flags & O_TRUNC && ftruncate(fd, 0) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int create(struct fs_call *c, struct parent *p, const char *name,
                  const struct fuse_create_in *in)
{
    struct fs_node *node;
    int flags = (int)in->flags & (O_ACCMODE | O_APPEND | O_SYNC);
    int fd = make_file(c, p, name, flags, in->mode);
    bool fresh = fd >= 0;
    if (fd == -EEXIST && !(in->flags & O_EXCL))
        fd = 0;
    else if (fd < 0)
        return fd;
    int rc = fs_entry(c->fs, p->node, p->fd, name, &c->out.create.entry, &node);
    if (rc < 0) {
        if (fresh)
            close(fd);
        return rc;
    }
    if (!fresh)
        fd = open_existing(c, node, in->flags);
    rc = fd < 0 ? fd : fs_open_handle(c->fs, node, fd, flags, fresh, &c->out.create.open);
    if (rc < 0)
        fs_node_forget(c->fs, node->id, 1); /* the guest does not get to know it */
    fs_node_put(c->fs, node);
    return rc < 0 ? rc : (int)sizeof(c->out.create);
}

int fs_create(struct fs_call *c)
{
    const struct fuse_create_in *in = fs_call_args(c, sizeof(*in));
    const char *name = NULL;
    struct parent p = {.fd = -1};
    int rc = in ? fs_call_name(c, sizeof(*in), &name, NULL) : -EINVAL;
    if (rc == 0)
        rc = enter_to_change(c->fs, c->header.nodeid, &p);
    if (rc < 0)
        return rc;
    rc = create(c, &p, name, in);
    leave(c->fs, &p);
    return rc;
}

/* Whether this host lets us give an open file a name: Linux does since 6.10, others only to who may
 * read everything. Asked by a name that is always taken. */
static bool can_name(int fd, int dirfd)
{
    return linkat(fd, "", dirfd, ".", AT_EMPTY_PATH) < 0 && errno == EEXIST;
}

/* The descriptor, or -errno: -EOPNOTSUPP makes programs use names instead. */
static int make_nameless(struct fs_call *c, struct parent *p, const struct fuse_create_in *in)
{
    int flags = ((int)in->flags & (O_ACCMODE | O_APPEND | O_SYNC | O_EXCL)) | O_TMPFILE | O_CLOEXEC;
    pv_auto_fd int fd = openat(p->fd, ".", flags, fs_owner_host_mode(c->fs, in->mode));
    if (fd < 0)
        return errno == EISDIR || errno == EINVAL ? -EOPNOTSUPP : -errno;
    if (!(in->flags & O_EXCL) && !can_name(fd, p->fd))
        return -EOPNOTSUPP;
    int rc = fs_owner_new(c, p->node, p->fd, "", fd, in->mode & 07777);
    return rc < 0 ? rc : pv_take_fd(&fd);
}

static int create_nameless(struct fs_call *c, struct parent *p, const struct fuse_create_in *in)
{
    struct statx st;
    struct fs_node *node;
    int fd = make_nameless(c, p, in);
    if (fd < 0)
        return fd;
    int rc = fs_stat_at(fd, "", &st);
    if (rc == 0)
        rc = fs_node_find(c->fs, NULL, NULL, &st, &node);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    /* Open first: its owner is read by that. */
    rc = fs_open_handle(c->fs, node, fd, (int)in->flags & (O_ACCMODE | O_APPEND | O_SYNC), true,
                        &c->out.create.open);
    c->out.create.entry = (struct fuse_entry_out){.nodeid = node->id,
                                                  .entry_valid = fs_valid_seconds(c->fs),
                                                  .attr_valid = fs_valid_seconds(c->fs)};
    if (rc == 0)
        fs_owner_attr(c->fs, node, &st, &c->out.create.entry.attr);
    else
        fs_node_forget(c->fs, node->id, 1);
    fs_node_put(c->fs, node);
    return rc < 0 ? rc : (int)sizeof(c->out.create);
}

int fs_tmpfile(struct fs_call *c)
{
    const struct fuse_create_in *in = fs_call_args(c, sizeof(*in));
    struct parent p = {.fd = -1};
    int rc = in ? enter_to_change(c->fs, c->header.nodeid, &p) : -EINVAL;
    if (rc < 0)
        return rc;
    rc = create_nameless(c, &p, in);
    leave(c->fs, &p);
    return rc;
}
