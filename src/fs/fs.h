/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.h: serves one folder of the host to a guest by FUSE requests.
 *
 * Runs on: any thread. A request is served whole by the thread that calls; several may be served at
 *          once. fs_start adds threads for those that could block.
 * Trust:   the guest's kernel is hostile: every byte of a request is checked, numbers of nodes and
 *          handles are looked up, names are one component. Nothing outside of the folder can be
 *          named. What is inside is changed by others at any time.
 * Spec:    <linux/fuse.h> 7.38 as virtio-fs carries it; docs/man/paravane.1.scd says what users
 * see.
 */
#ifndef FS_FS_H
#define FS_FS_H

#include "base/counter.h"
#include "base/error.h"
#include "base/loop.h"
#include "base/pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct fs;

enum fs_cache {
    FS_CACHE_AUTO,   /* the guest believes names and attributes for a second; data until reopened */
    FS_CACHE_NONE,   /* the guest asks each time: for folders that others change all the time */
    FS_CACHE_ALWAYS, /* the guest believes for ever: for folders that nobody else changes */
};

struct fs_options {
    int root_fd;      /* O_PATH descriptor of the folder: borrowed, must outlive the server */
    const char *only; /* NULL, or the one name in the folder that exists for the guest */
    bool read_only;
    enum fs_cache cache;
};

/* What the process that serves has become, once its jail has closed. */
struct fs_situation {
    /* Paths end at a root of its own, in which even a link leads nowhere: some hosts can change the
     * mode of a FIFO or a socket only by a name, which a guest could exchange. */
    bool contained;
    /* We are a plain user: what belongs to owner_uid and owner_gid is the guest's root's, and what
     * the guest sets instead is kept in the attribute FS_OWNER_XATTR. Else owners are the host's.
     */
    bool map_owners;
    uid_t owner_uid;
    gid_t owner_gid;
    unsigned max_files; /* descriptors that it may hold: half for open files, half for folders */
};

/* "uid:gid:mode" in decimal, decimal, octal: what Podman's storage writes, too. */
#define FS_OWNER_XATTR "user.containers.override_stat"
/* What user and group others are shown as with map_owners. */
#define FS_NOBODY 65534u
#define FS_WRITE_MAX (1u << 20)

/* Finds out what the folder's file system can do. -ENOTDIR when it is none. The caller owns
 * *ret_fs. */
int fs_new(const struct fs_options *options, struct fs **ret_fs, struct pv_error *err);
/* Nothing may be in flight. Accepts NULL. */
void fs_free(struct fs *fs);
PV_DEFINE_AUTO(fs, struct fs *, fs_free)

/* A request, owned by the caller until it has completed. */
struct fs_request {
    const struct iovec *in, *out; /* guest memory, which may change at any time */
    unsigned num_in, num_out;
    uint32_t written;                         /* bytes of the reply in out; 0: there is none */
    int host_error;                           /* the host is full or fails: -errno, else 0 */
    bool malformed;                           /* it made no sense */
    void (*done)(struct fs_request *request); /* on the loop's thread, see fs_submit */
    struct pv_pool_work work;                 /* the server's while it holds the request */
};

/* Serves a request. nowait: returns -EAGAIN, with nothing done, rather than wait for a medium or
 * another host; what a local file system usually answers from memory is done. 0: completed. */
int fs_serve(struct fs *fs, struct fs_request *request, bool nowait);

/* To be called once before the first request. Looks at the folder again: the descriptor may stand
 * for another one by now that shows the same. */
int fs_settle(struct fs *fs, const struct fs_situation *situation, struct pv_error *err);

/* Adds threads, whose completions `loop` brings. Once, after the stages of the jail that need a
 * single thread. Until then fs_submit may block. */
int fs_start(struct fs *fs, struct pv_loop *loop, struct pv_error *err);
/* Serves a request: 1 when it completed at once (done is not called), 0 when done will be called
 * from the loop. */
int fs_submit(struct fs *fs, struct fs_request *request);
/* Ends the threads and calls done for what completed. False when one of them hangs in a file system
 * that does not answer: then nothing that it could touch may be freed any more. */
bool fs_stop(struct fs *fs);

/* Forgets all that the guest knew: its nodes and open files. */
void fs_reset(struct fs *fs);

/* requests, handed_over, errors, bad_requests, read_bytes, written_bytes, nodes, open_files; also
 * gone: 1 once the folder itself has disappeared. Valid as long as the server. */
void fs_get_counters(const struct fs *fs, const char *name, struct pv_counter_group *ret_group);

/* The system calls of this folder at run time, with reasons, for the jail. A NULL name ends it. */
struct fs_syscall {
    const char *name;
    const char *reason;
};
extern const struct fs_syscall fs_syscalls[];

#endif
