/* SPDX-License-Identifier: Apache-2.0
 *
 * test_disk.c: disks are opened with care, locked, and do what they acknowledge.
 */
#include "disk/disk.h"

#include "support/unit.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define SECTORS 8192u
#define BYTES (SECTORS * DISK_SECTOR_BYTES)
#define LARGE (512u * 1024u) /* too much to be done at once */

struct fixture {
    char dir[32], path[64];
    struct disk *disk;
    struct pv_loop *loop;
    unsigned completed;
};

static const struct disk_options read_only = {.read_only = true};

static void make_file(const char *path, off_t size)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, size), 0);
    close(fd);
}

static int set_up_file(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    strcpy(f->dir, "/tmp/pv-disk-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/disk", f->dir);
    make_file(f->path, BYTES);
    f->loop = pv_loop_new();
    *state = f;
    return 0;
}

/* Open, but without a thread: everything is done at once. */
static int set_up_plain(void **state)
{
    set_up_file(state);
    struct fixture *f = *state;
    return disk_open(f->path, NULL, &f->disk, NULL);
}

static int set_up_worker(void **state)
{
    set_up_plain(state);
    struct fixture *f = *state;
    return disk_start(f->disk, f->loop, NULL);
}

static int set_up_threads(void **state)
{
    set_up_file(state);
    struct fixture *f = *state;
    const struct disk_options options = {.format = "raw", .no_io_uring = true};
    assert_int_equal(disk_open(f->path, &options, &f->disk, NULL), 0);
    assert_string_equal(disk_get_engine(f->disk), "threads");
    return disk_start(f->disk, f->loop, NULL);
}

/* A new image: its first flush has tables to write. */
static int set_up_qcow2(void **state)
{
    char line[128];
    set_up_file(state);
    struct fixture *f = *state;
    const struct disk_options options = {.format = "qcow2"};
    snprintf(line, sizeof(line), "qemu-img create -q -f qcow2 %s 4M", f->path);
    if (system(line) != 0) {
        printf("qemu-img is not installed\n");
        return 0;
    }
    assert_int_equal(disk_open(f->path, &options, &f->disk, NULL), 0);
    return disk_start(f->disk, f->loop, NULL);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    disk_close(f->disk);
    pv_loop_free(f->loop);
    unlink(f->path);
    int rc = rmdir(f->dir);
    free(f);
    return rc;
}

/* -- requests -- */

struct waiting {
    struct disk_request request;
    struct fixture *fixture;
    unsigned dones;
};

static void on_done(struct disk_request *r)
{
    struct waiting *w = PV_CONTAINER_OF(r, struct waiting, request);
    w->dones++;
    w->fixture->completed++;
    pv_loop_stop(w->fixture->loop, 0);
}

/* Submits and waits: the result. */
static int do_request(struct fixture *f, const struct disk_request *request)
{
    struct waiting w = {.request = *request, .fixture = f};
    w.request.done = on_done;
    int rc = disk_submit(f->disk, &w.request);
    assert_true(rc == 0 || rc == 1);
    if (rc == 0)
        while (!w.dones)
            assert_int_equal(pv_loop_run(f->loop), 0);
    assert_int_equal(w.dones, rc == 0);
    return w.request.result;
}

static int transfer(struct fixture *f, enum disk_op op, uint64_t offset, void *buf, size_t len)
{
    struct iovec iov[] = {{buf, len / 3}, {(uint8_t *)buf + len / 3, len - len / 3}};
    struct disk_request r = {.op = op, .offset = offset, .bytes = len, .iov = iov, .num_iov = 2};
    return do_request(f, &r);
}

static int on_range(struct fixture *f, enum disk_op op, uint64_t offset, uint64_t bytes)
{
    struct disk_request r = {.op = op, .offset = offset, .bytes = bytes};
    return do_request(f, &r);
}

static uint64_t counter(struct fixture *f, const char *label)
{
    struct pv_counter_group g;
    disk_get_counters(f->disk, "disk", &g);
    for (size_t i = 0; i < g.count; i++)
        if (strcmp(g.labels[i], label) == 0)
            return g.values[i];
    fail_msg("no counter %s", label);
    return 0;
}

static uint64_t blocks(struct fixture *f)
{
    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    return (uint64_t)st.st_blocks;
}

/* -- opening -- */

static void test_what_is_no_disk_is_refused(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    char path[80];
    snprintf(path, sizeof(path), "%s/absent", f->dir);
    assert_int_equal(disk_open(path, NULL, &f->disk, &err), -ENOENT);
    assert_non_null(strstr(err.text, path));
    assert_true(disk_open(f->dir, NULL, &f->disk, &err) < 0);
    assert_int_equal(disk_open(f->dir, &read_only, &f->disk, &err), -EINVAL);
    assert_int_equal(disk_open("/dev/zero", NULL, &f->disk, &err), -EINVAL);
    assert_non_null(strstr(err.text, "truncate")); /* a way out */

    snprintf(path, sizeof(path), "%s/fifo", f->dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(disk_open(path, &read_only, &f->disk, &err), -EINVAL); /* and does not wait */
    assert_int_equal(disk_open(path, NULL, &f->disk, &err), -EINVAL);
    unlink(path);
    assert_null(f->disk);
}

static void test_the_size_is_whole_sectors(void **state)
{
    struct fixture *f = *state;
    const struct {
        off_t file;
        uint64_t disk; /* 0: refused */
    } cases[] = {{0, 0},     {1, 0},      {511, 0},     {512, 512},
                 {513, 512}, {1023, 512}, {1024, 1024}, {1ll << 40, 1ull << 40}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        assert_int_equal(truncate(f->path, cases[i].file), 0);
        int rc = disk_open(f->path, NULL, &f->disk, NULL);
        assert_int_equal(rc, cases[i].disk ? 0 : -EINVAL);
        if (rc == 0)
            assert_int_equal(disk_get_size(f->disk), cases[i].disk);
        disk_close(f->disk);
        f->disk = NULL;
    }
}

static void test_a_disk_has_one_writer_or_many_readers(void **state)
{
    struct fixture *f = *state;
    struct disk *a = NULL, *b = NULL;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(disk_open(f->path, NULL, &a, &err), 0);
    assert_false(disk_is_read_only(a));
    assert_int_equal(disk_open(f->path, NULL, &b, &err), -EBUSY);
    assert_non_null(strstr(err.text, "another machine"));
    assert_int_equal(disk_open(f->path, &read_only, &b, &err), -EBUSY);
    disk_close(a);

    assert_int_equal(disk_open(f->path, &read_only, &a, &err), 0);
    assert_true(disk_is_read_only(a));
    assert_int_equal(disk_open(f->path, &read_only, &b, &err), 0);
    disk_close(b);
    b = NULL;
    assert_int_equal(disk_open(f->path, NULL, &b, &err), -EBUSY);
    assert_null(b);
    disk_close(a);
    assert_int_equal(disk_open(f->path, NULL, &f->disk, &err), 0);
}

/* -- doing -- */

static void test_what_was_written_is_read(void **state)
{
    struct fixture *f = *state;
    const size_t sizes[] = {512, 4096, 128 * 1024, 128 * 1024 + 512, LARGE, BYTES};
    for (size_t i = 0; i < PV_ARRAY_SIZE(sizes); i++) {
        size_t len = sizes[i];
        uint8_t *out = malloc(len), *in = calloc(1, len);
        for (size_t j = 0; j < len; j++)
            out[j] = (uint8_t)((j + i) * 2654435761u >> 24);
        assert_int_equal(transfer(f, DISK_WRITE, BYTES - len, out, len), 0);
        assert_int_equal(transfer(f, DISK_READ, BYTES - len, in, len), 0);
        assert_memory_equal(in, out, len);
        free(out);
        free(in);
    }
    assert_int_equal(counter(f, "reads"), PV_ARRAY_SIZE(sizes));
    assert_int_equal(counter(f, "writes"), PV_ARRAY_SIZE(sizes));
    assert_int_equal(counter(f, "read_bytes"), counter(f, "written_bytes"));
    assert_int_equal(on_range(f, DISK_FLUSH, 0, 0), 0);
    assert_int_equal(counter(f, "flushes"), 1);
    assert_int_equal(counter(f, "errors"), 0);
}

static void test_requests_outside_of_the_disk_are_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[1024];
    const struct {
        uint64_t offset;
        size_t len;
        int rc;
    } cases[] = {{BYTES, 0, 0},
                 {BYTES, 512, -EINVAL},
                 {BYTES - 512, 512, 0},
                 {BYTES - 512, 513, -EINVAL},
                 {BYTES + 1, 0, -EINVAL},
                 {UINT64_MAX, 1, -EINVAL},
                 {UINT64_MAX - 511, 1024, -EINVAL}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(cases); i++) {
        assert_int_equal(transfer(f, DISK_READ, cases[i].offset, buf, cases[i].len), cases[i].rc);
        assert_int_equal(transfer(f, DISK_WRITE, cases[i].offset, buf, cases[i].len), cases[i].rc);
        assert_int_equal(on_range(f, DISK_DISCARD, cases[i].offset, cases[i].len), cases[i].rc);
        assert_int_equal(on_range(f, DISK_WRITE_ZEROES, cases[i].offset, cases[i].len),
                         cases[i].rc);
    }
    struct iovec iov = {buf, 512};
    struct disk_request wrong_sum = {.op = DISK_READ, .bytes = 1024, .iov = &iov, .num_iov = 1};
    assert_int_equal(do_request(f, &wrong_sum), -EINVAL);
    struct disk_request too_many = {
        .op = DISK_READ, .bytes = 512, .iov = &iov, .num_iov = IOV_MAX + 1};
    assert_int_equal(do_request(f, &too_many), -EINVAL);
    struct iovec wrap[] = {{buf, SIZE_MAX}, {buf, 513}};
    struct disk_request wraps = {.op = DISK_READ, .bytes = 512, .iov = wrap, .num_iov = 2};
    assert_int_equal(do_request(f, &wraps), -EINVAL);

    struct stat st;
    assert_int_equal(stat(f->path, &st), 0);
    assert_int_equal(st.st_size, BYTES); /* nothing has grown */
}

static void test_a_read_only_disk_is_not_written(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[512] = {1};
    assert_int_equal(disk_open(f->path, &read_only, &f->disk, NULL), 0);
    assert_int_equal(transfer(f, DISK_WRITE, 0, buf, 512), -EROFS);
    assert_int_equal(on_range(f, DISK_DISCARD, 0, 512), -EROFS);
    assert_int_equal(on_range(f, DISK_WRITE_ZEROES, 0, 512), -EROFS);
    assert_int_equal(on_range(f, DISK_UNMAP_ZEROES, 0, 512), -EROFS);
    assert_int_equal(on_range(f, DISK_FLUSH, 0, 0), 0);
    assert_int_equal(transfer(f, DISK_READ, 0, buf, 512), 0);
    assert_int_equal(buf[0], 0);
    assert_false(disk_can_discard(f->disk));
}

static void test_discarding_gives_space_back(void **state)
{
    struct fixture *f = *state;
    if (!disk_can_discard(f->disk))
        skip();
    uint8_t *ones = malloc(LARGE), *in = malloc(LARGE);
    memset(ones, 1, LARGE);
    const enum disk_op ops[] = {DISK_DISCARD, DISK_UNMAP_ZEROES};
    for (size_t i = 0; i < PV_ARRAY_SIZE(ops); i++) {
        assert_int_equal(transfer(f, DISK_WRITE, 0, ones, LARGE), 0);
        assert_int_equal(on_range(f, DISK_FLUSH, 0, 0), 0);
        uint64_t before = blocks(f);
        assert_int_equal(on_range(f, ops[i], 4096, LARGE - 8192), 0);
        assert_true(blocks(f) < before);
        assert_int_equal(transfer(f, DISK_READ, 0, in, LARGE), 0);
        assert_int_equal(in[4095], 1);
        assert_int_equal(in[4096], 0);
        assert_int_equal(in[LARGE - 4097], 0);
        assert_int_equal(in[LARGE - 4096], 1);
    }
    free(ones);
    free(in);
}

static void test_zeroes_are_exact_to_the_byte_range(void **state)
{
    struct fixture *f = *state;
    uint8_t in[4 * 512];
    const enum disk_op ops[] = {DISK_WRITE_ZEROES, DISK_UNMAP_ZEROES};
    for (size_t i = 0; i < PV_ARRAY_SIZE(ops); i++) {
        memset(in, 0xff, sizeof(in));
        assert_int_equal(transfer(f, DISK_WRITE, 0, in, sizeof(in)), 0);
        assert_int_equal(on_range(f, ops[i], 512, 1024), 0);
        assert_int_equal(transfer(f, DISK_READ, 0, in, sizeof(in)), 0);
        for (size_t j = 0; j < sizeof(in); j++)
            assert_int_equal(in[j], j >= 512 && j < 1536 ? 0 : 0xff);
    }
}

/* The host refuses: here by a limit of the file's size. */
static void test_errors_of_the_host_arrive(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, limit = {.rlim_cur = BYTES / 2, .rlim_max = RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    uint8_t *buf = calloc(1, LARGE);
    assert_int_equal(transfer(f, DISK_WRITE, BYTES / 2, buf, 512), -EFBIG);
    assert_int_equal(transfer(f, DISK_WRITE, BYTES / 2, buf, LARGE), -EFBIG);
    /* A write that fails halfway failed. */
    assert_int_equal(transfer(f, DISK_WRITE, BYTES / 2 - LARGE / 2, buf, LARGE), -EFBIG);
    assert_int_equal(transfer(f, DISK_WRITE, 0, buf, LARGE), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(counter(f, "errors"), 3);

    assert_int_equal(truncate(f->path, BYTES / 2), 0); /* somebody cut the file */
    assert_int_equal(transfer(f, DISK_READ, BYTES / 2 - 512, buf, 1024), -EIO);
    assert_int_equal(transfer(f, DISK_READ, BYTES / 2 - 512, buf, LARGE), -EIO);
    free(buf);
}

/* -- a flush that takes long -- */

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool hold, held, fail;
} slow = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* Takes the place of the C library's in this program. */
int fdatasync(int fd)
{
    pthread_mutex_lock(&slow.mutex);
    slow.held = slow.hold;
    pthread_cond_broadcast(&slow.changed);
    while (slow.hold)
        pthread_cond_wait(&slow.changed, &slow.mutex);
    slow.held = false;
    bool fails = slow.fail;
    slow.fail = false; /* once, as the kernel tells it */
    pthread_mutex_unlock(&slow.mutex);
    if (fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

static void hold_syncs(bool hold)
{
    pthread_mutex_lock(&slow.mutex);
    slow.hold = hold;
    pthread_cond_broadcast(&slow.changed);
    pthread_mutex_unlock(&slow.mutex);
}

static void test_a_slow_flush_holds_up_nothing_else(void **state)
{
    struct fixture *f = *state;
    if (!f->disk)
        skip();
    uint8_t *out = malloc(LARGE), *in = malloc(LARGE);
    memset(out, 5, LARGE);
    assert_int_equal(transfer(f, DISK_WRITE, 0, out, LARGE), 0);
    hold_syncs(true);
    struct waiting flush = {.fixture = f, .request = {.op = DISK_FLUSH, .done = on_done}};
    assert_int_equal(disk_submit(f->disk, &flush.request), 0);
    pthread_mutex_lock(&slow.mutex);
    while (!slow.held)
        pthread_cond_wait(&slow.changed, &slow.mutex);
    pthread_mutex_unlock(&slow.mutex);

    assert_int_equal(transfer(f, DISK_READ, 0, in, LARGE), 0);
    assert_memory_equal(in, out, LARGE);
    assert_int_equal(transfer(f, DISK_WRITE, LARGE, out, LARGE), 0);
    assert_int_equal(transfer(f, DISK_READ, LARGE, in, LARGE), 0);
    assert_memory_equal(in, out, LARGE);
    assert_int_equal(flush.dones, 0);
    hold_syncs(false);
    while (!flush.dones)
        assert_int_equal(pv_loop_run(f->loop), 0);
    assert_int_equal(flush.request.result, 0);
    free(out);
    free(in);
}

/* What the host could not write out is told by the next flush. A raw disk goes on, its owner knows
 * what was in it; tables of an image that may be half there are the end of writing. */
static void test_a_failed_sync_is_told(void **state)
{
    struct fixture *f = *state;
    if (!f->disk)
        skip();
    bool raw = strcmp(disk_get_format(f->disk), "raw") == 0;
    uint8_t buf[512] = {7};
    assert_int_equal(transfer(f, DISK_WRITE, 0, buf, 512), 0);
    slow.fail = true;
    assert_int_equal(on_range(f, DISK_FLUSH, 0, 0), -EIO);
    assert_int_equal(on_range(f, DISK_FLUSH, 0, 0), raw ? 0 : -EIO);
    assert_int_equal(transfer(f, DISK_WRITE, 512, buf, 512), raw ? 0 : -EIO);
    assert_int_equal(transfer(f, DISK_READ, 0, buf, 512), 0);
    assert_int_equal(buf[0], 7);
}

/* -- the worker -- */

static void test_the_worker_takes_a_bounded_number(void **state)
{
    struct fixture *f = *state;
    static struct waiting w[DISK_REQUESTS_MAX + 1];
    uint8_t *buf = malloc(LARGE);
    struct iovec iov = {buf, LARGE};
    for (unsigned i = 0; i <= DISK_REQUESTS_MAX; i++) {
        w[i] = (struct waiting){
            .fixture = f,
            .request = {
                .op = DISK_READ, .bytes = LARGE, .iov = &iov, .num_iov = 1, .done = on_done}};
        int rc = disk_submit(f->disk, &w[i].request);
        assert_int_equal(rc, i < DISK_REQUESTS_MAX ? 0 : -EAGAIN);
    }
    assert_int_equal(disk_get_in_flight(f->disk), DISK_REQUESTS_MAX);
    while (f->completed < DISK_REQUESTS_MAX)
        assert_int_equal(pv_loop_run(f->loop), 0);
    assert_int_equal(disk_get_in_flight(f->disk), 0);
    assert_int_equal(disk_submit(f->disk, &w[DISK_REQUESTS_MAX].request), 0);
    while (f->completed < DISK_REQUESTS_MAX + 1)
        assert_int_equal(pv_loop_run(f->loop), 0);
    for (unsigned i = 0; i <= DISK_REQUESTS_MAX; i++)
        assert_int_equal(w[i].dones, 1);
    assert_int_equal(counter(f, "handed_over"), DISK_REQUESTS_MAX + 1);
    free(buf);
}

static void test_closing_completes_what_was_accepted(void **state)
{
    struct fixture *f = *state;
    uint8_t *buf = calloc(1, LARGE);
    buf[0] = 42;
    struct iovec iov = {buf, LARGE};
    struct waiting w[8];
    for (unsigned i = 0; i < 8; i++) {
        w[i] = (struct waiting){.fixture = f,
                                .request = {.op = i % 2 ? DISK_FLUSH : DISK_WRITE,
                                            .offset = i * LARGE,
                                            .bytes = i % 2 ? 0 : LARGE,
                                            .iov = &iov,
                                            .num_iov = 1,
                                            .done = on_done}};
        assert_int_equal(disk_submit(f->disk, &w[i].request), 0);
    }
    disk_close(f->disk);
    f->disk = NULL;
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(w[i].dones, 1);
        assert_int_equal(w[i].request.result, 0);
    }
    assert_int_equal(disk_open(f->path, &read_only, &f->disk, NULL), 0);
    assert_int_equal(transfer(f, DISK_READ, 6 * LARGE, buf, 512), 0);
    assert_int_equal(buf[0], 42);
    free(buf);
}

static void test_small_reads_of_cached_data_need_no_worker(void **state)
{
    struct fixture *f = *state;
    uint8_t buf[4096] = {0};
    assert_int_equal(transfer(f, DISK_WRITE, 0, buf, sizeof(buf)), 0);
    assert_int_equal(transfer(f, DISK_READ, 0, buf, sizeof(buf)), 0);
    uint64_t before = counter(f, "handed_over");
    for (int i = 0; i < 10; i++)
        assert_int_equal(transfer(f, DISK_READ, 0, buf, sizeof(buf)), 0);
    if (counter(f, "handed_over") == before + 10)
        skip(); /* a file system without RWF_NOWAIT */
    assert_int_equal(counter(f, "handed_over"), before);
}

#define BOTH(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, set_up_plain, tear_down),                                \
        cmocka_unit_test_setup_teardown(name, set_up_worker, tear_down),                           \
        cmocka_unit_test_setup_teardown(name, set_up_threads, tear_down)

static void test_growing(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    uint8_t buf[512] = {1};
    assert_int_equal(disk_resize(f->disk, BYTES - 512, &err), -EINVAL);
    assert_non_null(strstr(err.text, "shrink"));
    assert_int_equal(disk_resize(f->disk, BYTES + 511, &err), -EINVAL);
    assert_int_equal(disk_resize(f->disk, UINT64_MAX - 511, &err), -EINVAL);
    assert_int_equal(disk_get_size(f->disk), BYTES);
    assert_int_equal(transfer(f, DISK_WRITE, BYTES, buf, 512), -EINVAL);

    assert_int_equal(disk_resize(f->disk, BYTES, &err), 0);
    assert_int_equal(disk_resize(f->disk, BYTES + 512, &err), 0);
    assert_int_equal(disk_get_size(f->disk), BYTES + 512);
    assert_int_equal(transfer(f, DISK_READ, BYTES, buf, 512), 0);
    assert_int_equal(buf[0], 0);
    assert_int_equal(transfer(f, DISK_WRITE, BYTES, buf, 512), 0);

    assert_int_equal(truncate(f->path, 2 * BYTES + 100), 0); /* somebody else grew it */
    assert_int_equal(disk_resize(f->disk, 0, &err), 0);
    assert_int_equal(disk_get_size(f->disk), 2 * BYTES);
    assert_int_equal(truncate(f->path, BYTES), 0);
    assert_int_equal(disk_resize(f->disk, 0, &err), -EINVAL);
    assert_int_equal(disk_get_size(f->disk), 2 * BYTES);
}

static void test_many_at_once_all_complete(void **state)
{
    struct fixture *f = *state;
    struct waiting w[DISK_REQUESTS_MAX];
    uint8_t *buf = calloc(DISK_REQUESTS_MAX, 8192);
    struct iovec iov[DISK_REQUESTS_MAX];
    for (unsigned round = 0; round < 20; round++) {
        unsigned waiting = 0;
        f->completed = 0;
        for (unsigned i = 0; i < DISK_REQUESTS_MAX; i++) {
            iov[i] = (struct iovec){buf + i * 8192, 8192};
            memset(iov[i].iov_base, (int)(i + round), 8192);
            w[i] = (struct waiting){.fixture = f,
                                    .request = {.op = i % 8 == 7 ? DISK_FLUSH : DISK_WRITE,
                                                .offset = i * 8192,
                                                .bytes = i % 8 == 7 ? 0 : 8192,
                                                .iov = &iov[i],
                                                .num_iov = 1,
                                                .done = on_done}};
            int rc = disk_submit(f->disk, &w[i].request);
            assert_true(rc >= 0);
            waiting += rc == 0;
        }
        while (f->completed < waiting)
            assert_int_equal(pv_loop_run(f->loop), 0);
        for (unsigned i = 0; i < DISK_REQUESTS_MAX; i++) {
            assert_int_equal(w[i].request.result, 0);
            if (i % 8 == 7)
                continue;
            uint8_t in[8192];
            assert_int_equal(transfer(f, DISK_READ, i * 8192, in, sizeof(in)), 0);
            assert_memory_equal(in, iov[i].iov_base, sizeof(in));
        }
    }
    free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_is_no_disk_is_refused, set_up_file, tear_down),
        cmocka_unit_test_setup_teardown(test_the_size_is_whole_sectors, set_up_file, tear_down),
        cmocka_unit_test_setup_teardown(test_a_disk_has_one_writer_or_many_readers, set_up_file,
                                        tear_down),
        BOTH(test_what_was_written_is_read),
        BOTH(test_requests_outside_of_the_disk_are_refused),
        cmocka_unit_test_setup_teardown(test_a_read_only_disk_is_not_written, set_up_file,
                                        tear_down),
        BOTH(test_discarding_gives_space_back),
        BOTH(test_zeroes_are_exact_to_the_byte_range),
        BOTH(test_errors_of_the_host_arrive),
        BOTH(test_growing),
        BOTH(test_many_at_once_all_complete),
        cmocka_unit_test_setup_teardown(test_a_slow_flush_holds_up_nothing_else, set_up_threads,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_slow_flush_holds_up_nothing_else, set_up_qcow2,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_sync_is_told, set_up_threads, tear_down),
        cmocka_unit_test_setup_teardown(test_a_failed_sync_is_told, set_up_qcow2, tear_down),
        cmocka_unit_test_setup_teardown(test_the_worker_takes_a_bounded_number, set_up_worker,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_closing_completes_what_was_accepted, set_up_worker,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_small_reads_of_cached_data_need_no_worker,
                                        set_up_worker, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
