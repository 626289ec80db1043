/* SPDX-License-Identifier: Apache-2.0
 *
 * io.c: open files: data moves between the host's page cache and the guest's memory directly.
 * Trust:   offsets and sizes are the guest's; data is never looked at.
 */
#include "fs/fs_internal.h"

#include "base/iov.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define IOV_LIMIT 1024u
#define COPY_MAX (64u << 20) /* at once: a thread does nothing else meanwhile */
#define INLINE_WRITE_MAX                                                                           \
    (128u * 1024) /* the page cache of a local file system takes it at once                        \
                   */

/* Whether what the guest may have in its cache is what the file holds now. */
static bool cache_is_right(struct fs *fs, struct fs_node *node, int fd)
{
    struct statx st;
    if (fs->options.cache != FS_CACHE_AUTO)
        return fs->options.cache == FS_CACHE_ALWAYS;
    if (fs_stat_at(fd, "", &st) < 0)
        return false;
    uint64_t mtime_ns = fs_time_ns(st.stx_mtime);
    pthread_mutex_lock(&fs->lock);
    bool right =
        node->has_cached && node->cached_mtime_ns == mtime_ns && node->cached_bytes == st.stx_size;
    node->has_cached = true;
    node->cached_mtime_ns = mtime_ns;
    node->cached_bytes = st.stx_size;
    pthread_mutex_unlock(&fs->lock);
    return right;
}

int fs_open_handle(struct fs *fs, struct fs_node *node, int fd, int flags, bool fresh,
                   struct fuse_open_out *out)
{
    struct fs_handle *h;
    bool keep = cache_is_right(fs, node, fd);
    int rc = fs_handle_new(fs, node, fd, flags, &h);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    *out = (struct fuse_open_out){.fh = h->id};
    if (fs->options.cache == FS_CACHE_NONE)
        out->open_flags |= FOPEN_DIRECT_IO;
    else if (keep || fresh)
        out->open_flags |= FOPEN_KEEP_CACHE;
    if (fs->local)
        out->open_flags |= FOPEN_NOFLUSH; /* closing a local file has nothing to report */
    fs_handle_put(fs, h);
    return 0;
}

static int open_node(struct fs_call *c, struct fs_node *node, const struct fuse_open_in *in)
{
    int flags = (int)in->flags & (O_ACCMODE | O_APPEND | O_SYNC);
    bool writes = (flags & O_ACCMODE) != O_RDONLY || in->flags & O_TRUNC;
    if (writes && c->fs->options.read_only)
        return -EROFS;
    if (node->type != S_IFREG)
        return node->type == S_IFDIR ? -EISDIR : -ENXIO;
    int fd = fs_node_open(c->fs, node, flags);
    if (fd < 0)
        return fd;
    if (in->flags & O_TRUNC && ftruncate(fd, 0) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    if (in->open_flags & FUSE_OPEN_KILL_SUIDGID && in->flags & O_TRUNC)
        fs_owner_kill_privileges(c->fs, node);
    return fs_open_handle(c->fs, node, fd, flags, false, &c->out.open);
}

int fs_open(struct fs_call *c)
{
    const struct fuse_open_in *in = fs_call_args(c, sizeof(*in));
    struct fs_node *node = in ? fs_node_get(c->fs, c->header.nodeid) : NULL;
    if (!node)
        return in ? -ESTALE : -EINVAL;
    int rc = open_node(c, node, in);
    fs_node_put(c->fs, node);
    return rc < 0 ? rc : (int)sizeof(c->out.open);
}

int fs_release(struct fs_call *c)
{
    const struct fuse_release_in *in = fs_call_args(c, sizeof(*in));
    if (!in)
        return -EINVAL;
    fs_handle_close(c->fs, in->fh, false);
    return 0;
}

/* Whether a read that gave less than asked for did so because the file ends there. */
static bool at_end(int fd, uint64_t position)
{
    struct stat st;
    return fstat(fd, &st) == 0 && (uint64_t)st.st_size <= position;
}

static ssize_t read_now(int fd, const struct iovec *iov, unsigned num, uint64_t offset,
                        uint64_t want)
{
    ssize_t n = preadv2(fd, iov, (int)num, (off_t)offset, RWF_NOWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EOPNOTSUPP))
        return FS_WOULD_BLOCK;
    if (n < 0)
        return -errno;
    return (uint64_t)n == want || at_end(fd, offset + (uint64_t)n) ? n : FS_WOULD_BLOCK;
}

int fs_read(struct fs_call *c)
{
    const struct fuse_read_in *in = fs_call_args(c, sizeof(*in));
    struct iovec iov[IOV_LIMIT];
    if (!in || in->offset > INT64_MAX - FS_WRITE_MAX)
        return -EINVAL;
    struct fs_handle *h = fs_handle_get(c->fs, in->fh, false);
    if (!h)
        return -EBADF;
    uint64_t room = PV_MIN(fs_call_room(c), (uint64_t)FS_WRITE_MAX);
    uint64_t want = PV_MIN((uint64_t)in->size, room);
    unsigned num = pv_iov_slice(c->request->out, c->request->num_out,
                                sizeof(struct fuse_out_header), want, iov, IOV_LIMIT, NULL);
    ssize_t n;
    if (c->nowait) {
        n = read_now(h->fd, iov, num, in->offset, want);
    } else {
        n = preadv(h->fd, iov, (int)num, (off_t)in->offset);
        n = n < 0 ? -errno : n;
    }
    fs_handle_put(c->fs, h);
    if (n >= 0) {
        c->out_is_direct = true;
        fs_count(c->fs, FS_COUNTER_BYTES_READ, (uint64_t)n);
    }
    return (int)n;
}

static ssize_t write_all(struct fs_call *c, struct fs_handle *h, const struct fuse_write_in *in)
{
    struct iovec iov[IOV_LIMIT];
    const struct fs_request *r = c->request;
    uint64_t start = sizeof(struct fuse_in_header) + sizeof(*in);
    unsigned num = pv_iov_slice(r->in, r->num_in, start, in->size, iov, IOV_LIMIT, NULL);
    if (fs_iov_bytes(iov, num) != in->size) {
        c->malformed = true; /* it announced more than it sent */
        return -EINVAL;
    }
    ssize_t n = pwritev(h->fd, iov, (int)num, (off_t)in->offset);
    return n < 0 ? -errno : n;
}

int fs_write(struct fs_call *c)
{
    const struct fuse_write_in *in = fs_call_args(c, sizeof(*in));
    if (!in || in->offset > INT64_MAX - FS_WRITE_MAX || in->size > FS_WRITE_MAX)
        return -EINVAL;
    if (c->nowait && in->size > INLINE_WRITE_MAX)
        return FS_WOULD_BLOCK;
    struct fs_handle *h = fs_handle_get(c->fs, in->fh, false);
    if (!h)
        return -EBADF;
    if (c->nowait && h->flags & O_SYNC) {
        fs_handle_put(c->fs, h);
        return FS_WOULD_BLOCK;
    }
    ssize_t n = write_all(c, h, in);
    if (n > 0 && in->write_flags & FUSE_WRITE_KILL_SUIDGID)
        fs_owner_kill_privileges(c->fs, h->node);
    fs_handle_put(c->fs, h);
    if (n < 0)
        return (int)n;
    fs_count(c->fs, FS_COUNTER_BYTES_WRITTEN, (uint64_t)n);
    c->out.write = (struct fuse_write_out){.size = (uint32_t)n};
    return sizeof(c->out.write);
}

int fs_flush(struct fs_call *c)
{
    const struct fuse_flush_in *in = fs_call_args(c, sizeof(*in));
    struct fs_handle *h = in ? fs_handle_get(c->fs, in->fh, false) : NULL;
    if (!h)
        return in ? -EBADF : -EINVAL;
    /* What the host has to say when a file is closed, a full server for example. */
    int fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
    int rc = fd >= 0 && close(fd) < 0 ? -errno : 0;
    fs_handle_put(c->fs, h);
    return rc;
}

int fs_fsync(struct fs_call *c)
{
    const struct fuse_fsync_in *in = fs_call_args(c, sizeof(*in));
    struct fs_handle *h = in ? fs_handle_get(c->fs, in->fh, false) : NULL;
    if (!h)
        return in ? -EBADF : -EINVAL;
    bool data_only = in->fsync_flags & FUSE_FSYNC_FDATASYNC;
    int rc = (data_only ? fdatasync(h->fd) : fsync(h->fd)) < 0 ? -errno : 0;
    fs_handle_put(c->fs, h);
    return rc;
}

int fs_fallocate(struct fs_call *c)
{
    const struct fuse_fallocate_in *in = fs_call_args(c, sizeof(*in));
    const uint32_t modes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    if (!in)
        return -EINVAL;
    if (in->mode & ~modes)
        return -EOPNOTSUPP;
    struct fs_handle *h = fs_handle_get(c->fs, in->fh, false);
    if (!h)
        return -EBADF;
    int rc = 0;
    if (fallocate(h->fd, (int)in->mode, (off_t)in->offset, (off_t)in->length) < 0)
        rc = -errno;
    fs_handle_put(c->fs, h);
    return rc;
}

int fs_lseek(struct fs_call *c)
{
    const struct fuse_lseek_in *in = fs_call_args(c, sizeof(*in));
    if (!in || (in->whence != SEEK_DATA && in->whence != SEEK_HOLE))
        return -EINVAL;
    struct fs_handle *h = fs_handle_get(c->fs, in->fh, false);
    if (!h)
        return -EBADF;
    off_t at = lseek(h->fd, (off_t)in->offset, (int)in->whence);
    int rc = at < 0 ? -errno : 0;
    fs_handle_put(c->fs, h);
    c->out.lseek = (struct fuse_lseek_out){.offset = (uint64_t)at};
    return rc < 0 ? rc : (int)sizeof(c->out.lseek);
}

int fs_copy_file_range(struct fs_call *c)
{
    const struct fuse_copy_file_range_in *in = fs_call_args(c, sizeof(*in));
    if (!in || in->flags || in->off_in > INT64_MAX || in->off_out > INT64_MAX)
        return -EINVAL;
    struct fs_handle *from = fs_handle_get(c->fs, in->fh_in, false);
    struct fs_handle *to = fs_handle_get(c->fs, in->fh_out, false);
    off_t off_in = (off_t)in->off_in, off_out = (off_t)in->off_out;
    ssize_t n = -EBADF;
    if (from && to) {
        n = copy_file_range(from->fd, &off_in, to->fd, &off_out,
                            (size_t)PV_MIN(in->len, (uint64_t)COPY_MAX), 0);
        n = n < 0 ? -errno : n;
    }
    fs_handle_put(c->fs, from);
    fs_handle_put(c->fs, to);
    if (n < 0)
        return (int)n;
    c->out.write = (struct fuse_write_out){.size = (uint32_t)n};
    return sizeof(c->out.write);
}

int fs_statfs(struct fs_call *c)
{
    struct statvfs v;
    if (fstatvfs(c->fs->options.root_fd, &v) < 0)
        return -errno;
    c->out.statfs = (struct fuse_statfs_out){.st = {
                                                 .blocks = v.f_blocks,
                                                 .bfree = v.f_bfree,
                                                 .bavail = v.f_bavail,
                                                 .files = v.f_files,
                                                 .ffree = v.f_ffree,
                                                 .bsize = (uint32_t)v.f_bsize,
                                                 .namelen = (uint32_t)v.f_namemax,
                                                 .frsize = (uint32_t)v.f_frsize,
                                             }};
    return sizeof(c->out.statfs);
}

int fs_syncfs(struct fs_call *c)
{
    pv_auto_fd int fd = fs_node_open(c->fs, c->fs->root, O_RDONLY);
    if (fd < 0)
        return fd;
    return syncfs(fd) < 0 ? -errno : 0;
}
