/* SPDX-License-Identifier: Apache-2.0
 *
 * attr.c: GETATTR, SETATTR.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <unistd.h>

uint64_t fs_valid_seconds(const struct fs *fs)
{
    switch (fs->options.cache) {
    case FS_CACHE_NONE:
        return 0;
    case FS_CACHE_ALWAYS:
        return 86400;
    default:
        return 1;
    }
}

static int answer(struct fs_call *c, struct fs_node *node, const struct statx *st)
{
    c->out.attr = (struct fuse_attr_out){.attr_valid = fs_valid_seconds(c->fs)};
    fs_owner_attr(c->fs, node, st, &c->out.attr.attr);
    if (node == c->fs->root && st->stx_nlink == 0)
        c->fs->counters[FS_COUNTER_GONE] = 1;
    return sizeof(c->out.attr);
}

int fs_getattr(struct fs_call *c)
{
    const struct fuse_getattr_in *in = fs_call_args(c, sizeof(*in));
    if (!in)
        return -EINVAL;
    struct fs_node *node = fs_node_get(c->fs, c->header.nodeid);
    if (!node)
        return -ESTALE;
    struct statx st;
    struct fs_handle *h = in->getattr_flags & FUSE_GETATTR_FH
                              ? fs_handle_get(c->fs, in->fh, node->type == S_IFDIR)
                              : NULL;
    int rc = h && h->node == node ? fs_stat_at(h->fd, "", &st) : fs_node_stat(c->fs, node, &st);
    fs_handle_put(c->fs, h);
    if (rc == 0)
        rc = answer(c, node, &st);
    fs_node_put(c->fs, node);
    return rc;
}

static int set_size(struct fs *fs, struct fs_node *node, const struct fuse_setattr_in *in)
{
    if (node->type != S_IFREG || in->size > INT64_MAX)
        return -EINVAL;
    struct fs_handle *h = in->valid & FATTR_FH ? fs_handle_get(fs, in->fh, false) : NULL;
    if (h && h->node == node && (h->flags & O_ACCMODE) != O_RDONLY) {
        int rc = ftruncate(h->fd, (off_t)in->size) < 0 ? -errno : 0;
        fs_handle_put(fs, h);
        return rc;
    }
    fs_handle_put(fs, h);
    pv_auto_fd int fd = fs_node_open(fs, node, O_WRONLY);
    if (fd < 0)
        return fd;
    return ftruncate(fd, (off_t)in->size) < 0 ? -errno : 0;
}

static struct timespec time_to_set(uint32_t valid, uint32_t set, uint32_t now, uint64_t seconds,
                                   uint32_t nanoseconds)
{
    if (valid & now)
        return (struct timespec){.tv_nsec = UTIME_NOW};
    if (!(valid & set))
        return (struct timespec){.tv_nsec = UTIME_OMIT};
    return (struct timespec){(time_t)seconds, PV_MIN(nanoseconds, 999999999u)};
}

static int set_times(struct fs *fs, struct fs_node *node, const struct fuse_setattr_in *in)
{
    const struct timespec times[2] = {
        time_to_set(in->valid, FATTR_ATIME, FATTR_ATIME_NOW, in->atime, in->atimensec),
        time_to_set(in->valid, FATTR_MTIME, FATTR_MTIME_NOW, in->mtime, in->mtimensec),
    };
    pv_auto_fd int fd = fs_node_open_path(fs, node);
    if (fd < 0)
        return fd;
    return utimensat(fd, "", times, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int set(struct fs *fs, struct fs_node *node, const struct fuse_setattr_in *in)
{
    int rc = 0;
    if (in->valid & FATTR_SIZE)
        rc = set_size(fs, node, in);
    if (rc == 0 && in->valid & FATTR_KILL_SUIDGID && in->valid & FATTR_SIZE)
        rc = fs_owner_kill_privileges(fs, node);
    if (rc == 0 && in->valid & (FATTR_MODE | FATTR_UID | FATTR_GID))
        rc = fs_owner_set(fs, node, in->valid & FATTR_UID ? in->uid : FS_KEEP,
                          in->valid & FATTR_GID ? in->gid : FS_KEEP,
                          in->valid & FATTR_MODE ? in->mode & 07777 : FS_KEEP);
    if (rc == 0 && in->valid & (FATTR_ATIME | FATTR_MTIME))
        rc = set_times(fs, node, in);
    return rc;
}

int fs_setattr(struct fs_call *c)
{
    const struct fuse_setattr_in *in = fs_call_args(c, sizeof(*in));
    if (!in)
        return -EINVAL;
    if (c->fs->options.read_only)
        return -EROFS;
    struct fs_node *node = fs_node_get(c->fs, c->header.nodeid);
    if (!node)
        return -ESTALE;
    struct statx st;
    int rc = set(c->fs, node, in);
    if (rc == 0)
        rc = fs_node_stat(c->fs, node, &st);
    if (rc == 0)
        rc = answer(c, node, &st);
    fs_node_put(c->fs, node);
    return rc;
}

int fs_access(struct fs_call *c)
{
    return -ENOSYS; /* the guest's kernel decides by owner and mode */
}
