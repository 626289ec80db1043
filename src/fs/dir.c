/* SPDX-License-Identifier: Apache-2.0
 *
 * dir.c: reading folders.
 *
 * The guest's offsets are the host's: what getdents told for an entry is where the next one is
 * found. One request at a time uses a folder's descriptor, which has a position.
 */
#include "fs/fs_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPLY_MAX (64u * 1024) /* more would keep the loop too long */

int fs_opendir(struct fs_call *c)
{
    const struct fuse_open_in *in = fs_call_args(c, sizeof(*in));
    struct fs_node *node = in ? fs_node_get(c->fs, c->header.nodeid) : NULL;
    struct fs_handle *h;
    if (!node)
        return in ? -ESTALE : -EINVAL;
    int fd = node->type == S_IFDIR ? fs_node_open(c->fs, node, O_RDONLY) : -ENOTDIR;
    int rc = fd < 0 ? fd : fs_handle_new(c->fs, node, fd, O_RDONLY, &h);
    if (rc < 0 && fd >= 0)
        close(fd);
    fs_node_put(c->fs, node);
    if (rc < 0)
        return rc;
    c->out.open = (struct fuse_open_out){.fh = h->id};
    if (c->fs->options.cache == FS_CACHE_ALWAYS)
        c->out.open.open_flags = FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
    fs_handle_put(c->fs, h);
    return sizeof(c->out.open);
}

int fs_releasedir(struct fs_call *c)
{
    const struct fuse_release_in *in = fs_call_args(c, sizeof(*in));
    if (!in)
        return -EINVAL;
    fs_handle_close(c->fs, in->fh, true);
    return 0;
}

int fs_fsyncdir(struct fs_call *c)
{
    const struct fuse_fsync_in *in = fs_call_args(c, sizeof(*in));
    struct fs_handle *h = in ? fs_handle_get(c->fs, in->fh, true) : NULL;
    if (!h)
        return in ? -EBADF : -EINVAL;
    int rc = fsync(h->fd) < 0 ? -errno : 0;
    fs_handle_put(c->fs, h);
    return rc;
}

struct listing {
    struct fs_call *c;
    struct fs_handle *handle;
    int dirfd; /* O_PATH: of the same folder; plus only */
    bool plus;
    uint8_t *out;
    size_t used, size;
};

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool is_hidden(const struct listing *l, const char *name)
{
    const struct fs *fs = l->c->fs;
    return fs->only && l->handle->node == fs->root && !is_dots(name) && strcmp(name, fs->only) != 0;
}

/* Adds one entry. False: it does not fit any more. */
static bool add(struct listing *l, const struct dirent64 *e)
{
    size_t len = strlen(e->d_name);
    size_t head = l->plus ? sizeof(struct fuse_direntplus) : sizeof(struct fuse_dirent);
    size_t need = FUSE_DIRENT_ALIGN(head + len);
    if (need > l->size - l->used)
        return false;
    uint8_t *at = l->out + l->used;
    memset(at, 0, need);
    struct fuse_dirent dirent = {
        .ino = e->d_ino, .off = (uint64_t)e->d_off, .namelen = (uint32_t)len, .type = e->d_type};
    if (l->plus) {
        /* Without an entry (it went meanwhile) the node's number stays 0: just a name. */
        struct fuse_entry_out entry = {0};
        if (!is_dots(e->d_name) &&
            fs_entry(l->c->fs, l->handle->node, l->dirfd, e->d_name, &entry, NULL) < 0)
            entry = (struct fuse_entry_out){0};
        if (entry.nodeid)
            dirent.ino = entry.attr.ino;
        memcpy(at, &entry, sizeof(entry));
        at += offsetof(struct fuse_direntplus, dirent);
    }
    memcpy(at, &dirent, sizeof(dirent));
    memcpy(at + sizeof(dirent), e->d_name, len);
    l->used += need;
    return true;
}

/* Lists from the offset on: bytes of the reply, or -errno when there was not one entry. */
static int list(struct listing *l, uint64_t offset)
{
    char buf[8192] __attribute__((aligned(8)));
    if (lseek(l->handle->fd, (off_t)offset, SEEK_SET) < 0)
        return -errno;
    for (;;) {
        ssize_t got = getdents64(l->handle->fd, buf, sizeof(buf));
        if (got <= 0)
            return got < 0 && l->used == 0 ? -errno : (int)l->used;
        for (ssize_t at = 0; at < got;) {
            const struct dirent64 *e = (const struct dirent64 *)(buf + at);
            at += e->d_reclen;
            if (!is_hidden(l, e->d_name) && !add(l, e))
                return l->used ? (int)l->used : -EINVAL;
        }
    }
}

static int read_folder(struct fs_call *c, bool plus)
{
    const struct fuse_read_in *in = fs_call_args(c, sizeof(*in));
    if (!in || in->offset > INT64_MAX)
        return -EINVAL;
    struct listing l = {.c = c, .plus = plus};
    uint64_t room = PV_MIN(fs_call_room(c), (uint64_t)REPLY_MAX);
    l.size = (size_t)PV_MIN((uint64_t)in->size, room);
    l.handle = fs_handle_get(c->fs, in->fh, true);
    l.out = malloc(l.size + 1);
    int rc = !l.handle ? -EBADF : !l.out ? -ENOMEM : 0;
    if (rc == 0 && plus)
        rc = l.dirfd = fs_node_enter(c->fs, l.handle->node);
    if (rc >= 0) {
        pthread_mutex_lock(&l.handle->position);
        rc = list(&l, in->offset);
        pthread_mutex_unlock(&l.handle->position);
        if (plus)
            fs_node_leave(c->fs, l.handle->node);
    }
    if (rc > 0)
        fs_call_put(c, 0, l.out, (size_t)rc);
    free(l.out);
    fs_handle_put(c->fs, l.handle);
    return rc;
}

int fs_readdir(struct fs_call *c)
{
    return read_folder(c, false);
}

int fs_readdirplus(struct fs_call *c)
{
    return read_folder(c, true);
}
