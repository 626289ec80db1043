/* SPDX-License-Identifier: Apache-2.0
 *
 * fs_internal.h: the server's parts, for fs/ only.
 *
 * One mutex guards the tables and the changing fields of nodes and handles; it is never held over a
 * system call that could block. Whoever uses a node or a handle holds a reference.
 */
#ifndef FS_FS_INTERNAL_H
#define FS_FS_INTERNAL_H

#include "fs/fs.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define FS_NODES_MAX (4u << 20)
/* What a call returns that would have to wait. No errno. */
#define FS_WOULD_BLOCK (-4095)
#define FS_ROOT_ID 1ull

struct fs_node;
TAILQ_HEAD(fs_node_list, fs_node);
struct fs_handle;
LIST_HEAD(fs_handle_list, fs_handle);

/* A file as the guest knows it. It is found again by its name in its parent, which is right as long
 * as nobody on the host moves it; what is found there must be the same file. */
struct fs_node {
    uint64_t id;
    uint32_t refs;    /* users, children, and one while lookups > 0 */
    uint64_t lookups; /* that the guest has not forgotten */
    struct fs_node *hash_next;
    struct fs_node *parent; /* a reference; NULL: the root */
    char *name;             /* in parent; NULL for the root */
    dev_t dev;
    ino_t ino;
    uint64_t born_ns; /* 0: the file system does not tell; a number may be used again */
    mode_t type;      /* S_IFMT */
    int fd;           /* folders: O_PATH, -1 while not open */
    unsigned fd_users;
    TAILQ_ENTRY(fs_node) idle;     /* fd is open and nobody uses it */
    struct fs_handle_list handles; /* open files */

    /* What FS_OWNER_XATTR said when the file's status last changed. */
    uint64_t owner_seen_ns;
    bool has_owner;
    uint32_t uid, gid, mode;
    /* The data that the guest may have in its cache. */
    uint64_t cached_mtime_ns, cached_bytes;
    bool has_cached;
};

struct fs_handle {
    uint64_t id;
    uint32_t refs;
    struct fs_node *node; /* a reference */
    LIST_ENTRY(fs_handle) link;
    int fd;
    int flags; /* O_ACCMODE, O_APPEND */
    bool is_dir;
    pthread_mutex_t position; /* of a folder's descriptor */
};

/* Numbers that are never used twice: an index and a generation. */
struct fs_table {
    void **items;
    uint32_t *generations;
    uint32_t size, count, first_free;
    uint32_t *next_free;
};

enum fs_counter {
    FS_COUNTER_REQUESTS,
    FS_COUNTER_HANDED_OVER,
    FS_COUNTER_ERRORS,
    FS_COUNTER_BAD_REQUESTS,
    FS_COUNTER_BYTES_READ,
    FS_COUNTER_BYTES_WRITTEN,
    FS_COUNTER_NODES,
    FS_COUNTER_OPEN_FILES,
    FS_COUNTER_GONE,
    FS_COUNTERS,
};

struct fs {
    struct fs_options options;
    char *only;
    struct fs_situation now;
    bool local; /* answers from memory or a disk of this host, never from another host */
    uint64_t counters[FS_COUNTERS];
    struct pv_pool *pool; /* NULL: not started */

    pthread_mutex_t lock; /* guards what follows */
    struct fs_node *root;
    struct fs_node **hash;
    size_t hash_size;
    struct fs_table nodes, handles;
    struct fs_node_list idle;
    unsigned open_folders;
    bool initialized;
};

/* One request while it is served. */
struct fs_call {
    struct fs *fs;
    struct fuse_in_header header;
    const uint8_t *in; /* what follows the header: copied, so it does not change. Ends with a NUL */
    size_t in_len;
    const struct fs_request *request;
    bool nowait;
    union { /* the reply, unless it was put into the guest's memory */
        struct fuse_entry_out entry;
        struct fuse_attr_out attr;
        struct fuse_open_out open;
        struct fuse_write_out write;
        struct fuse_statfs_out statfs;
        struct fuse_getxattr_out getxattr;
        struct fuse_lseek_out lseek;
        struct fuse_init_out init;
        struct {
            struct fuse_entry_out entry;
            struct fuse_open_out open;
        } create;
    } out;
    bool out_is_direct; /* it was put there */
    bool malformed, no_reply;
};

/* -- call.c: what a request holds and what goes back -- */

/* The fixed part of a request, or NULL (malformed is set). */
const void *fs_call_args(struct fs_call *c, size_t size);
/* The string at `offset`, which must end in the request: NULL when it does not. ret_next may be
 * NULL: what follows it. */
const char *fs_call_string(struct fs_call *c, size_t offset, size_t *ret_next);
/* A name of a folder's entry, as fs_call_string: 0, -EINVAL, -ENAMETOOLONG. */
int fs_call_name(struct fs_call *c, size_t offset, const char **ret_name, size_t *ret_next);
/* Room for a reply's payload in the guest's memory. */
uint64_t fs_call_room(const struct fs_call *c);
/* Puts bytes into the payload, of which there is room. */
void fs_call_put(struct fs_call *c, uint64_t offset, const void *buf, size_t len);
uint64_t fs_iov_bytes(const struct iovec *iov, unsigned num);
/* Copies from iovecs; how much there was. */
size_t fs_iov_read(const struct iovec *iov, unsigned num, uint64_t offset, void *buf, size_t len);
size_t fs_iov_write(const struct iovec *iov, unsigned num, uint64_t offset, const void *buf,
                    size_t len);

/* -- mounts.c -- */
/* Whether a file system (f_type of statfs) asks nobody but this host. */
bool fs_mounts_is_local_type(uint64_t magic);
/* Whether all that is mounted below the folder is local; mountinfo: the text of
 * /proc/self/mountinfo. Nothing comes later: in the jail mounts stay as they are. */
bool fs_mounts_are_local(const char *mountinfo, const char *folder);

/* -- table.c -- */
int fs_table_add(struct fs_table *t, void *item, uint32_t max, uint64_t *ret_id);
void *fs_table_find(const struct fs_table *t, uint64_t id);
void fs_table_remove(struct fs_table *t, uint64_t id);
void fs_table_done(struct fs_table *t);

/* -- node.c -- */
int fs_nodes_init(struct fs *fs, struct pv_error *err);
int fs_nodes_settle(struct fs *fs, struct pv_error *err);
void fs_nodes_done(struct fs *fs);
/* Takes a reference, or NULL: the guest made the number up. */
struct fs_node *fs_node_get(struct fs *fs, uint64_t id);
void fs_node_put(struct fs *fs, struct fs_node *node);
/* The node of what `name` in parent is (st, with STATX_BTIME if there is one), or, parent being
 * NULL, of a file without a name: counts one lookup.
 * 0, -ENFILE, -ENOMEM. The caller gets a reference. */
int fs_node_find(struct fs *fs, struct fs_node *parent, const char *name, const struct statx *st,
                 struct fs_node **ret_node);
void fs_node_forget(struct fs *fs, uint64_t id, uint64_t lookups);
/* The guest moved what is now st: it is found there from now on. */
void fs_node_moved(struct fs *fs, struct fs_node *parent, const char *name, const struct statx *st);
void fs_nodes_reset(struct fs *fs);
bool fs_node_is(const struct fs_node *node, const struct statx *st);
bool fs_node_never_had_a_name(struct fs *fs, const struct fs_node *node);

/* Descriptor (O_PATH) of a folder, valid until fs_node_leave. -ENOTDIR, -ESTALE, -errno. */
int fs_node_enter(struct fs *fs, struct fs_node *node);
void fs_node_leave(struct fs *fs, struct fs_node *node);
/* Where a node is: its parent, entered. */
struct fs_place {
    struct fs_node *parent;
    int fd;
    char name[NAME_MAX + 1];
};
int fs_node_locate(struct fs *fs, struct fs_node *node, struct fs_place *ret_place);
void fs_place_leave(struct fs *fs, struct fs_place *place);
/* Opens a file or folder anew for data: the very same file, or -ESTALE. Never truncates. -ENXIO for
 * what is neither. */
int fs_node_open(struct fs *fs, struct fs_node *node, int flags);
/* For changes by descriptor: an open one if there is one, else as fs_node_open. */
int fs_node_open_any(struct fs *fs, struct fs_node *node);
/* For its owner and times only: of any kind of file, also a link. */
int fs_node_open_path(struct fs *fs, struct fs_node *node);
/* Its status, by whatever leads there. */
int fs_node_stat(struct fs *fs, struct fs_node *node, struct statx *ret_st);
int fs_stat_at(int dirfd, const char *name, struct statx *ret_st);

/* -- handle.c -- */
int fs_handle_new(struct fs *fs, struct fs_node *node, int fd, int flags, struct fs_handle **ret);
/* Takes a reference, or NULL. */
struct fs_handle *fs_handle_get(struct fs *fs, uint64_t id, bool is_dir);
void fs_handle_put(struct fs *fs, struct fs_handle *handle);
/* The guest closed it. */
void fs_handle_close(struct fs *fs, uint64_t id, bool is_dir);
void fs_handles_reset(struct fs *fs);

/* -- owner.c: whom files belong to -- */
/* Fills attr as the guest shall see st. */
void fs_owner_attr(struct fs *fs, struct fs_node *node, const struct statx *st,
                   struct fuse_attr *attr);
/* What a new file gets, whose parent is known: applies owner and mode of the call. fd: of the file,
 * or -1, then it is `name` in dirfd and no regular file or folder. */
int fs_owner_new(struct fs_call *c, struct fs_node *parent, int dirfd, const char *name, int fd,
                 mode_t mode);
/* The mode on the host for one of the guest. */
mode_t fs_owner_host_mode(const struct fs *fs, mode_t mode);
/* chmod, chown; FS_KEEP: unchanged. */
#define FS_KEEP UINT32_MAX
int fs_owner_set(struct fs *fs, struct fs_node *node, uint32_t uid, uint32_t gid, uint32_t mode);
/* Somebody without privileges wrote: no more set-user-id and set-group-id. */
int fs_owner_kill_privileges(struct fs *fs, struct fs_node *node);

/* -- the operations, by file; each returns the bytes of the reply's payload or -errno -- */
typedef int fs_operation(struct fs_call *c);
fs_operation fs_lookup, fs_forget, fs_batch_forget, fs_symlink, fs_mknod, fs_mkdir, fs_unlink,
    fs_rmdir, fs_rename, fs_rename2, fs_link, fs_create, fs_tmpfile, fs_readlink; /* name.c */
fs_operation fs_getattr, fs_setattr, fs_access;                                   /* attr.c */
fs_operation fs_setxattr, fs_getxattr, fs_listxattr, fs_removexattr;              /* xattr.c */
fs_operation fs_open, fs_read, fs_write, fs_release, fs_flush, fs_fsync, fs_fallocate, fs_lseek,
    fs_copy_file_range, fs_statfs, fs_syncfs;                                    /* io.c */
fs_operation fs_opendir, fs_readdir, fs_readdirplus, fs_releasedir, fs_fsyncdir; /* dir.c */
fs_operation fs_init, fs_destroy;                                                /* fs.c */

/* name.c: fills the entry of what `name` in parent is, and counts a lookup. ret_node may be NULL;
 * else the caller gets a reference. */
int fs_entry(struct fs *fs, struct fs_node *parent, int dirfd, const char *name,
             struct fuse_entry_out *out, struct fs_node **ret_node);
/* How long the guest may believe it. */
uint64_t fs_valid_seconds(const struct fs *fs);
/* io.c: opens a handle on fd (taken) and fills out. */
int fs_open_handle(struct fs *fs, struct fs_node *node, int fd, int flags, bool fresh,
                   struct fuse_open_out *out);

static inline void fs_count(struct fs *fs, enum fs_counter counter, uint64_t by)
{
    __atomic_fetch_add(&fs->counters[counter], by, __ATOMIC_RELAXED);
}

static inline uint64_t fs_time_ns(struct statx_timestamp t)
{
    return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

#endif
