/* SPDX-License-Identifier: Apache-2.0
 *
 * pack.c: fingerprint, look-up, mksquashfs, fingerprint again.
 *
 * Theory of operation: the tree is walked in a child that sees owners as the image will have them
 * (owners.h). The fingerprint names the file in the cache; when it is not there, another such child
 * packs the tree into an unnamed file, and the tree is walked once more: only a tree that stood
 * still gets the name. A walk of a tree whose newest change is younger than the clock's tick could
 * miss a second change, so it is repeated a moment later.
 */
#include "image/pack.h"

#include "base/clock.h"
#include "base/str.h"
#include "image/cache.h"
#include "image/owners.h"
#include "image/program.h"
#include "image/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

/* Reading back is what costs time in the machine: zstd at its lowest level packs fast and unpacks
 * like any other. */
#define OPTIONS "-comp", "zstd", "-Xcompression-level", "1", "-b", "131072", "-no-exports"
#define RECIPE "paravane image 1: zstd 1, 128 KiB, no exports, one file system, no sockets"
/* Longer than the tick of the coarse clock (10 ms) that stamps files. */
#define TICK_NS 25000000ull
#define WALKS_MAX 8

/* One child's work and its result, in shared memory. */
struct job {
    struct image_walk_options options;
    char salt[1024];
    char program[512];
    int dirfd, output_fd;
    bool all_root;
    int rc;
    struct image_walk_result result;
    struct pv_error err;
};

static int walk_in_child(void *data)
{
    struct job *job = data;
    job->rc = image_walk_tree(job->dirfd, &job->options, &job->result, &job->err);
    return 0;
}

static int pack_in_child(void *data)
{
    struct job *job = data;
    char output[32];
    snprintf(output, sizeof(output), "/proc/self/fd/%d", job->output_fd);
    const char *argv[] = {job->program,
                          ".",
                          output,
                          "-noappend",
                          OPTIONS,
                          "-no-progress",
                          "-quiet",
                          "-no-recovery",
                          "-exit-on-error",
                          "-one-file-system",
                          "-mkfs-time",
                          "0",
                          "-action",
                          "exclude @ type(s)",
                          job->all_root ? "-all-root" : NULL,
                          NULL};
    job->rc = image_program_run(argv, job->output_fd, &job->err);
    return 0;
}

/* Runs one of the two as planned. */
static int run_job(struct job *job, struct image_owners *owners, int dirfd, int (*work)(void *),
                   struct pv_error *err)
{
    job->rc = -EIO;
    job->err = (struct pv_error)PV_ERROR_INIT;
    int rc = image_owners_run(owners, dirfd, work, job, err);
    if (rc == 0 && job->rc < 0)
        rc = pv_error_set(err, -job->rc, "%s", pv_error_text(&job->err, job->rc));
    else if (rc < 0 && !(err && err->code))
        pv_error_set(err, -rc, "%s", strerror(-rc));
    return rc;
}

static int walk_once(struct job *job, struct image_owners *owners, int dirfd, struct pv_error *err)
{
    char plan[512];
    image_owners_describe(owners, plan, sizeof(plan));
    snprintf(job->salt, sizeof(job->salt), RECIPE "; %s", plan);
    job->options.salt = job->salt;
    /* With only our own id mapped, 65534 can only stand for a stranger. */
    job->options.refuse_overflow = owners->kind == IMAGE_OWNERS_MAPPED &&
                                   (owners->num_users == 1 && owners->users[0].count <= 65534);
    job->options.refuse_strangers = owners->kind == IMAGE_OWNERS_ALL_ROOT;
    return run_job(job, owners, dirfd, walk_in_child, err);
}

/* Walks until the tree has been still for a tick. */
static int walk_tree(struct job *job, struct image_owners *owners, int dirfd, struct pv_error *err)
{
    for (unsigned i = 0; i < WALKS_MAX; i++) {
        uint64_t begin = pv_time_realtime_ns();
        enum image_owners_kind planned = owners->kind;
        int rc = walk_once(job, owners, dirfd, err);
        if (rc < 0)
            return rc;
        if (owners->kind != planned) /* no user namespaces: the walk has to know */
            continue;
        uint64_t newest = job->result.newest_change_ns;
        if (newest + TICK_NS < begin || newest > begin + 60ull * 1000000000) /* a wrong clock */
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = TICK_NS + 1000000}, NULL);
    }
    return pv_error_set(err, EBUSY, "it keeps changing: stop what writes there, or copy it first");
}

static int pack_tree(const struct image_cache *cache, struct job *job, struct image_owners *owners,
                     int dirfd, const char *name, struct pv_error *err)
{
    struct image_cache_file file;
    char key[IMAGE_DIGEST_HEX];
    memcpy(key, job->result.key, sizeof(key));
    int rc = image_cache_begin(cache, &file, err);
    if (rc < 0)
        return rc;
    job->output_fd = file.fd;
    job->all_root = owners->kind == IMAGE_OWNERS_ALL_ROOT;
    rc = run_job(job, owners, dirfd, pack_in_child, err);
    if (rc == 0)
        rc = walk_tree(job, owners, dirfd, err);
    if (rc == 0 && strcmp(key, job->result.key) != 0)
        rc = pv_error_set(
            err, EBUSY, "it changed while it was packed: stop what writes there, or copy it first");
    if (rc < 0) {
        image_cache_abort(cache, &file);
        return rc;
    }
    return image_cache_commit(cache, &file, name, err);
}

static void say_packing(image_pack_say_fn *say, const char *path, uint64_t entries)
{
    char text[512];
    snprintf(text, sizeof(text), "packing '%s' (%" PRIu64 " files), once until it changes", path,
             entries);
    if (say)
        say(text);
}

static int pack_missing(const struct image_cache *cache, struct job *job,
                        struct image_owners *owners, int dirfd, const char *path, const char *name,
                        image_pack_say_fn *say, struct pv_error *err)
{
    pv_auto_free char *program = NULL;
    int rc = image_program_find("mksquashfs", "squashfs-tools", &program, err);
    if (rc < 0)
        return rc;
    snprintf(job->program, sizeof(job->program), "%s", program);
    pv_auto_fd int lock = image_cache_lock(cache, err);
    if (lock < 0)
        return lock;
    if (faccessat(cache->dirfd, name, R_OK, 0) == 0) /* another process was faster */
        return 0;
    say_packing(say, path, job->result.entries);
    return pack_tree(cache, job, owners, dirfd, name, err);
}

static int pack_with(const struct image_cache *cache, struct job *job, int dirfd, const char *path,
                     image_pack_say_fn *say, char **ret_path, struct pv_error *err)
{
    struct stat top, cache_stat;
    struct image_owners owners;
    char name[IMAGE_DIGEST_HEX + 16];
    if (fstat(dirfd, &top) < 0 || fstat(cache->dirfd, &cache_stat) < 0)
        return pv_error_set(err, errno, "stat: %s", strerror(errno));
    job->dirfd = dirfd;
    job->options.avoid_dev = cache_stat.st_dev;
    job->options.avoid_ino = cache_stat.st_ino;
    image_owners_plan(&top, &owners);
    int rc = walk_tree(job, &owners, dirfd, err);
    if (rc < 0)
        return rc;
    if (job->result.entries == 1)
        return pv_error_set(err, ENOENT, "the folder is empty");
    snprintf(name, sizeof(name), "%s.squashfs", job->result.key);
    if (faccessat(cache->dirfd, name, R_OK, 0) < 0)
        rc = pack_missing(cache, job, &owners, dirfd, path, name, say, err);
    if (rc < 0)
        return rc;
    *ret_path = pv_strf("%s/%s", cache->path, name);
    return *ret_path ? 0 : pv_error_set(err, ENOMEM, "out of memory");
}

int image_pack_folder(int dirfd, const char *path, image_pack_say_fn *say, char **ret_path,
                      struct pv_error *err)
{
    struct image_cache cache;
    struct job *job =
        mmap(NULL, sizeof(*job), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (job == MAP_FAILED)
        return pv_error_set(err, errno, "pack: %s", strerror(errno));
    int rc = image_cache_open("images", &cache, err);
    if (rc == 0) {
        rc = pack_with(&cache, job, dirfd, path, say, ret_path, err);
        image_cache_close(&cache);
    }
    munmap(job, sizeof(*job));
    return rc;
}
