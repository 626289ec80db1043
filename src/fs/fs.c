/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.c: the server: a request comes in, its operation runs, a reply goes out.
 * Runs on: the loop's thread, and on a few threads for what could block.
 * Trust:   the header and everything behind it are the guest's. A request is copied before it is
 *          looked at, but for the data of a write, which is never looked at.
 */
#include "fs/fs.h"

#include "fs/fs_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HEADER sizeof(struct fuse_in_header)
#define MINOR 38u
/* Of what is copied: the longest is an attribute with its name, or a list of nodes to forget. */
#define IN_MAX (128u * 1024)
#define SMALL 1024u
#define MOUNTS_MAX (4u << 20)
#define BACKGROUND 64u
#define THREADS_MAX 4u
#define STACK_BYTES (512u * 1024)
#define PATIENCE_NS 3000000000ull /* for threads to end */
#define BACKGROUND_CONGESTED 48u

#define SLOW 1u  /* waits for a medium: never inline */
#define QUICK 2u /* needs no file system: always inline */

static const struct {
    fs_operation *run;
    unsigned how;
} operations[] = {
    [FUSE_LOOKUP] = {fs_lookup, 0},
    [FUSE_FORGET] = {fs_forget, QUICK},
    [FUSE_GETATTR] = {fs_getattr, 0},
    [FUSE_SETATTR] = {fs_setattr, 0},
    [FUSE_READLINK] = {fs_readlink, 0},
    [FUSE_SYMLINK] = {fs_symlink, 0},
    [FUSE_MKNOD] = {fs_mknod, 0},
    [FUSE_MKDIR] = {fs_mkdir, 0},
    [FUSE_UNLINK] = {fs_unlink, 0},
    [FUSE_RMDIR] = {fs_rmdir, 0},
    [FUSE_RENAME] = {fs_rename, 0},
    [FUSE_LINK] = {fs_link, 0},
    [FUSE_OPEN] = {fs_open, 0},
    [FUSE_READ] = {fs_read, QUICK}, /* asks the page cache itself */
    [FUSE_WRITE] = {fs_write, 0},
    [FUSE_STATFS] = {fs_statfs, 0},
    [FUSE_RELEASE] = {fs_release, 0},
    [FUSE_FSYNC] = {fs_fsync, SLOW},
    [FUSE_SETXATTR] = {fs_setxattr, 0},
    [FUSE_GETXATTR] = {fs_getxattr, 0},
    [FUSE_LISTXATTR] = {fs_listxattr, 0},
    [FUSE_REMOVEXATTR] = {fs_removexattr, 0},
    [FUSE_FLUSH] = {fs_flush, 0},
    [FUSE_INIT] = {fs_init, QUICK},
    [FUSE_OPENDIR] = {fs_opendir, 0},
    [FUSE_READDIR] = {fs_readdir, 0},
    [FUSE_RELEASEDIR] = {fs_releasedir, 0},
    [FUSE_FSYNCDIR] = {fs_fsyncdir, SLOW},
    [FUSE_ACCESS] = {fs_access, QUICK},
    [FUSE_CREATE] = {fs_create, 0},
    [FUSE_DESTROY] = {fs_destroy, QUICK},
    [FUSE_BATCH_FORGET] = {fs_batch_forget, QUICK},
    [FUSE_FALLOCATE] = {fs_fallocate, SLOW},
    [FUSE_READDIRPLUS] = {fs_readdirplus, 0},
    [FUSE_RENAME2] = {fs_rename2, 0},
    [FUSE_LSEEK] = {fs_lseek, 0},
    [FUSE_COPY_FILE_RANGE] = {fs_copy_file_range, SLOW},
    [FUSE_SYNCFS] = {fs_syncfs, SLOW},
    [FUSE_TMPFILE] = {fs_tmpfile, 0},
    /* Locks are the guest's own. */
};

static const char *const counter_labels[FS_COUNTERS] = {
    "requests",      "handed_over", "errors",     "bad_requests", "read_bytes",
    "written_bytes", "nodes",       "open_files", "gone",
};

const struct fs_syscall fs_syscalls[] = {
    {"openat", "fs: open files below a shared folder"},
    {"openat2", "fs: open files below a shared folder, never a link"},
    {"statx", "fs: owners, sizes, times"},
    {"newfstatat", "fs: sizes"},
    {"fstat", "fs: sizes"},
    {"fstatfs", "fs: free space"},
    {"getdents64", "fs: list folders"},
    {"readlinkat", "fs: links, for the guest to follow"},
    {"symlinkat", "fs: make links"},
    {"mknodat", "fs: make FIFOs and sockets"},
    {"mkdirat", "fs: make folders"},
    {"unlinkat", "fs: remove files and folders"},
    {"renameat2", "fs: rename"},
    {"linkat", "fs: hard links, names for files without one"},
    {"fchmod", "fs: modes"},
    {"fchmodat", "fs: modes of FIFOs and sockets"},
    {"fchown", "fs: owners"},
    {"fchownat", "fs: owners"},
    {"utimensat", "fs: times"},
    {"ftruncate", "fs: sizes"},
    {"fallocate", "fs: reserve space, make holes"},
    {"lseek", "fs: holes, places in folders"},
    {"copy_file_range", "fs: copy within a shared folder"},
    {"fsync", "fs: to stable storage"},
    {"fdatasync", "fs: to stable storage"},
    {"syncfs", "fs: to stable storage"},
    {"fgetxattr", "fs: extended attributes"},
    {"fsetxattr", "fs: extended attributes"},
    {"flistxattr", "fs: extended attributes"},
    {"fremovexattr", "fs: extended attributes"},
    {"preadv", "fs: read from a file"},
    {"preadv2", "fs: read from a file"},
    {"pwritev", "fs: write to a file"},
    {"fcntl", "fs: duplicate a descriptor"},
    {"close", "fs: close files"},
    {NULL, NULL},
};

int fs_init(struct fs_call *c)
{
    const struct fuse_init_in *in = fs_call_args(c, FUSE_COMPAT_INIT_OUT_SIZE * 2);
    const uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS |
                            FUSE_READDIRPLUS_AUTO | FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA |
                            FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |
                            FUSE_HANDLE_KILLPRIV_V2;
    if (!in)
        return -EINVAL;
    c->out.init = (struct fuse_init_out){.major = FUSE_KERNEL_VERSION, .minor = MINOR};
    if (in->major > FUSE_KERNEL_VERSION)
        return sizeof(c->out.init); /* it asks again */
    if (in->major < FUSE_KERNEL_VERSION || in->minor < 31)
        return -EPROTO;
    uint32_t flags = wanted & in->flags;
    if (c->fs->options.cache == FS_CACHE_ALWAYS)
        flags &= ~(uint32_t)FUSE_AUTO_INVAL_DATA;
    fs_reset(c->fs);
    c->fs->initialized = true;
    c->out.init.max_readahead = in->max_readahead;
    c->out.init.flags = flags;
    c->out.init.max_background = BACKGROUND;
    c->out.init.congestion_threshold = BACKGROUND_CONGESTED;
    c->out.init.max_write = FS_WRITE_MAX;
    c->out.init.time_gran = 1;
    c->out.init.max_pages = FS_WRITE_MAX / 4096;
    return sizeof(c->out.init);
}

int fs_destroy(struct fs_call *c)
{
    fs_reset(c->fs);
    return 0;
}

void fs_reset(struct fs *fs)
{
    fs_handles_reset(fs);
    fs_nodes_reset(fs);
    fs->initialized = false;
}

/* -- one request -- */

static int run(struct fs_call *c)
{
    uint32_t op = c->header.opcode;
    if (op >= PV_ARRAY_SIZE(operations) || !operations[op].run)
        return -ENOSYS;
    if (!c->fs->initialized && op != FUSE_INIT && op != FUSE_DESTROY)
        return -EPROTO;
    unsigned how = operations[op].how;
    if (c->nowait && (how == SLOW || (how == 0 && !c->fs->local)))
        return FS_WOULD_BLOCK;
    return operations[op].run(c);
}

/* Puts the header of the reply, and its payload unless it is there already. */
static void reply(struct fs_call *c, struct fs_request *r, int rc)
{
    struct fuse_out_header out = {.len = sizeof(out), .unique = c->header.unique};
    if (rc >= 0 && !c->out_is_direct && (uint64_t)rc > fs_call_room(c)) {
        c->malformed = true; /* a reply that does not fit */
        rc = -EINVAL;
    }
    if (rc < 0)
        out.error = rc;
    else
        out.len += (uint32_t)rc;
    if (fs_iov_write(r->out, r->num_out, 0, &out, sizeof(out)) < sizeof(out)) {
        r->malformed = true;
        return;
    }
    if (rc > 0 && !c->out_is_direct)
        fs_call_put(c, 0, &c->out, (size_t)rc);
    r->written = out.len;
    if (rc < 0)
        fs_count(c->fs, FS_COUNTER_ERRORS, 1);
}

/* How much behind the header has to be copied: all but the data of a write. */
static uint64_t bytes_to_copy(const struct fuse_in_header *h, uint64_t there)
{
    return h->opcode == FUSE_WRITE ? PV_MIN(there, (uint64_t)sizeof(struct fuse_write_in)) : there;
}

static void finish(struct fs_call *c, struct fs_request *r, int rc)
{
    fs_count(c->fs, FS_COUNTER_REQUESTS, 1);
    r->malformed = c->malformed;
    r->host_error = rc == -ENOSPC || rc == -EDQUOT || rc == -EIO ? rc : 0;
    r->written = 0;
    if (!c->no_reply)
        reply(c, r, rc);
    if (r->malformed)
        fs_count(c->fs, FS_COUNTER_BAD_REQUESTS, 1);
}

int fs_serve(struct fs *fs, struct fs_request *r, bool nowait)
{
    uint64_t small[SMALL / sizeof(uint64_t) + 1];
    pv_auto_free uint8_t *large = NULL;
    struct fs_call c = {.fs = fs, .request = r, .nowait = nowait};
    uint64_t bytes = fs_iov_bytes(r->in, r->num_in);

    if (fs_iov_read(r->in, r->num_in, 0, &c.header, HEADER) < HEADER || c.header.len < HEADER ||
        c.header.len > bytes) {
        c.malformed = true;
        finish(&c, r, -EINVAL);
        return 0;
    }
    uint64_t len = bytes_to_copy(&c.header, c.header.len - HEADER);
    uint8_t *in = (uint8_t *)small;
    int rc = 0;
    if (len > IN_MAX) {
        c.malformed = true;
        rc = -EINVAL;
    } else if (len > SMALL && !(in = large = malloc(len + 1))) {
        rc = -ENOMEM;
    }
    if (rc == 0) {
        fs_iov_read(r->in, r->num_in, HEADER, in, (size_t)len);
        in[len] = '\0';
        c.in = in;
        c.in_len = (size_t)len;
        rc = run(&c);
    }
    if (rc == FS_WOULD_BLOCK)
        return -EAGAIN;
    finish(&c, r, rc);
    return 0;
}

int fs_submit(struct fs *fs, struct fs_request *r)
{
    if (fs_serve(fs, r, fs->pool != NULL) == 0)
        return 1;
    fs_count(fs, FS_COUNTER_HANDED_OVER, 1);
    pv_pool_submit(fs->pool, &r->work);
    return 0;
}

/* -- life -- */

static bool is_local(int fd)
{
    char link[32], folder[PATH_MAX];
    pv_auto_free char *mounts = NULL;
    struct statfs s;
    if (fstatfs(fd, &s) < 0 || !fs_mounts_is_local_type((uint64_t)s.f_type))
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, folder, sizeof(folder) - 1);
    if (n < 0 ||
        pv_fd_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTS_MAX, &mounts, NULL, NULL) < 0)
        return false;
    folder[n] = '\0';
    return fs_mounts_are_local(mounts, folder);
}

int fs_new(const struct fs_options *options, struct fs **ret_fs, struct pv_error *err)
{
    struct fs *fs = calloc(1, sizeof(*fs));
    if (!fs)
        return pv_error_set(err, ENOMEM, "shared folder: out of memory");
    fs->options = *options;
    pthread_mutex_init(&fs->lock, NULL);
    int rc = 0;
    if (options->only && !(fs->only = strdup(options->only)))
        rc = pv_error_set(err, ENOMEM, "shared folder: out of memory");
    if (rc == 0)
        rc = fs_nodes_init(fs, err);
    fs->options.only = NULL;
    if (rc < 0) {
        fs_free(fs);
        return rc;
    }
    fs->local = is_local(options->root_fd);
    *ret_fs = fs;
    return 0;
}

void fs_free(struct fs *fs)
{
    if (!fs)
        return;
    fs_stop(fs);
    if (fs->handles.items)
        fs_handles_reset(fs);
    fs_table_done(&fs->handles);
    fs_nodes_done(fs);
    pthread_mutex_destroy(&fs->lock);
    free(fs->only);
    free(fs);
}

int fs_settle(struct fs *fs, const struct fs_situation *situation, struct pv_error *err)
{
    fs->now = *situation;
    return fs_nodes_settle(fs, err);
}

static void run_work(void *data, struct pv_pool_work *work)
{
    fs_serve(data, PV_CONTAINER_OF(work, struct fs_request, work), false);
}

static void on_completed(void *data, struct pv_pool_work *work)
{
    struct fs_request *r = PV_CONTAINER_OF(work, struct fs_request, work);
    r->done(r);
}

int fs_start(struct fs *fs, struct pv_loop *loop, struct pv_error *err)
{
    const struct pv_pool_options options = {.name = "a shared folder",
                                            .threads = THREADS_MAX,
                                            .stack_bytes = STACK_BYTES,
                                            .run = run_work,
                                            .completed = on_completed,
                                            .data = fs};
    return pv_pool_start(&options, loop, &fs->pool, err);
}

bool fs_stop(struct fs *fs)
{
    bool stopped = pv_pool_stop(fs->pool, PATIENCE_NS);
    if (stopped)
        fs->pool = NULL;
    return stopped;
}

void fs_get_counters(const struct fs *fs, const char *name, struct pv_counter_group *ret_group)
{
    *ret_group = (struct pv_counter_group){
        .name = name, .labels = counter_labels, .values = fs->counters, .count = FS_COUNTERS};
}
