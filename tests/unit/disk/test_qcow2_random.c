/* SPDX-License-Identifier: Apache-2.0
 *
 * test_qcow2_random.c: images of many kinds do what a plain array does, whatever comes in whatever
 * order, also from several threads, and qemu-img finds nothing wrong with them and reads the same.
 */
#include "image.h"

#include <fcntl.h>
#include <unistd.h>

#define BYTES (12ull << 20)
#define BELOW (7ull << 20) /* images below are shorter */
#define BATCH 12u

struct kind {
    const char *name;
    const char *make; /* makes "i", maybe upon "b"; raw content is in "below" and "whole" */
    bool below;       /* begins with the content of "below" */
    bool whole;       /* begins with that of "whole" */
};

#define CREATE "qemu-img create -q -f qcow2 "
static const struct kind kinds[] = {
    {"version 3", CREATE "i 12M", false, false},
    {"version 2", CREATE "-o compat=v2 i 12M", false, false},
    {"clusters of 512 bytes", CREATE "-o cluster_size=512 i 12M", false, false},
    {"clusters of 2 MiB", CREATE "-o cluster_size=2M i 12M", false, false},
    {"refcounts of 1 bit", CREATE "-o refcount_bits=1,cluster_size=4k i 12M", false, false},
    {"refcounts of 64 bits", CREATE "-o refcount_bits=64,cluster_size=512 i 12M", false, false},
    {"preallocated", CREATE "-o preallocation=metadata i 12M", false, false},
    {"lazy refcounts", CREATE "-o lazy_refcounts=on i 12M", false, false},
    {"raw below", CREATE "-b below -F raw i 12M", true, false},
    {"raw below version 2", CREATE "-o compat=v2,cluster_size=8k -b below -F raw i 12M", true,
     false},
    {"compressed below",
     "qemu-img convert -c -f raw -O qcow2 below b && " CREATE "-b b -F qcow2 i 12M", true, false},
    {"two below",
     "qemu-img convert -f raw -O qcow2 -o cluster_size=4k below b && " CREATE
     "-b b -F qcow2 c && " CREATE "-o cluster_size=4k -b c -F qcow2 i 12M",
     true, false},
    {"compressed", "qemu-img convert -c -f raw -O qcow2 whole i", false, true},
    {"compressed small zstd",
     "qemu-img convert -c -f raw -O qcow2 -o cluster_size=4k,compression_type=zstd whole i", false,
     true},
    {"snapshots",
     "qemu-img convert -f raw -O qcow2 -o cluster_size=4k whole i && qemu-img snapshot -c a i && "
     "qemu-io -f qcow2 -c 'write -P 7 64k 64k' -c 'write -P 7 1M 1M' i >/dev/null && "
     "qemu-img snapshot -c b i && qemu-io -f qcow2 -c 'write -P 0 64k 64k' "
     "-c 'write -P 0 1M 1M' i >/dev/null",
     false, true},
};

struct fixture {
    char folder[32];
    uint8_t *model; /* what the disk has to have */
    struct disk *disk;
    struct pv_loop *loop;
    unsigned waiting;
};

static void read_file(const char *path, uint8_t *buf, size_t len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, buf, len, 0), len);
    close(fd);
}

/* Content that has holes and repeats, with zeroes where the snapshots' recipe writes some. */
static void make_content(const char *path, size_t len)
{
    uint8_t *buf = calloc(1, len);
    uint64_t seed = len;
    for (size_t at = 0; at < len; at += 65536)
        if (image_random(&seed) % 4)
            image_fill(&seed, buf + at, PV_MIN(len - at, (size_t)40000));
    memset(buf + (64 << 10), 0, 64 << 10);
    memset(buf + (1 << 20), 0, 1 << 20);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, buf, len), len);
    close(fd);
    free(buf);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    *state = f;
    if (!image_enter_folder(f->folder)) {
        f->folder[0] = '\0';
        return 0;
    }
    f->model = calloc(1, BYTES);
    make_content("below", BELOW);
    make_content("whole", BYTES);
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    if (f->folder[0])
        image_leave_folder(f->folder);
    free(f->model);
    free(f);
    return 0;
}

/* -- a batch of requests to different places -- */

struct slot {
    struct disk_request r;
    struct iovec iov[2];
    struct fixture *f;
    uint8_t *buf;
};

static void on_done(struct disk_request *r)
{
    struct slot *s = PV_CONTAINER_OF(r, struct slot, r);
    if (--s->f->waiting == 0)
        pv_loop_stop(s->f->loop, 0);
}

/* What the model has to have afterwards. Discarded bytes may be anything: see adopt. */
static void apply(struct fixture *f, const struct slot *s)
{
    uint8_t *at = f->model + s->r.offset;
    if (s->r.op == DISK_WRITE)
        memcpy(at, s->buf, s->r.bytes);
    if (s->r.op == DISK_WRITE_ZEROES || s->r.op == DISK_UNMAP_ZEROES)
        memset(at, 0, s->r.bytes);
}

/* Discarded bytes are what they were, or zeroes, by the sector. */
static void adopt(struct fixture *f, const struct slot *s)
{
    uint8_t *now = malloc(s->r.bytes);
    struct iovec iov = {now, s->r.bytes};
    struct slot reading = {.f = f,
                           .r = {.op = DISK_READ,
                                 .offset = s->r.offset,
                                 .bytes = s->r.bytes,
                                 .iov = &iov,
                                 .num_iov = 1,
                                 .done = on_done}};
    f->waiting = 1;
    if (disk_submit(f->disk, &reading.r) == 0)
        pv_loop_run(f->loop);
    assert_int_equal(reading.r.result, 0);
    for (uint64_t i = 0; i < s->r.bytes; i++)
        if (now[i] != 0)
            assert_int_equal(now[i], f->model[s->r.offset + i]);
    memcpy(f->model + s->r.offset, now, s->r.bytes);
    free(now);
}

static void prepare(struct fixture *f, struct slot *s, uint64_t *seed, uint64_t from, uint64_t to)
{
    static const enum disk_op ops[] = {
        DISK_READ,  DISK_READ,  DISK_WRITE,        DISK_WRITE,        DISK_WRITE,
        DISK_WRITE, DISK_FLUSH, DISK_WRITE_ZEROES, DISK_UNMAP_ZEROES, DISK_DISCARD};
    uint64_t sectors = (to - from) / 512;
    uint64_t first = image_random(seed) % sectors;
    uint64_t most = image_random(seed) % 3 ? PV_MIN(16ull, sectors - first) : sectors - first;
    uint64_t num = 1 + image_random(seed) % most;
    *s = (struct slot){.f = f, .buf = malloc(num * 512)};
    s->r = (struct disk_request){.op = ops[image_random(seed) % PV_ARRAY_SIZE(ops)],
                                 .offset = from + first * 512,
                                 .bytes = num * 512,
                                 .done = on_done};
    if (s->r.op == DISK_FLUSH)
        s->r.offset = s->r.bytes = 0;
    if (s->r.op == DISK_READ || s->r.op == DISK_WRITE) {
        size_t cut = image_random(seed) % (num * 512);
        s->iov[0] = (struct iovec){s->buf, cut};
        s->iov[1] = (struct iovec){s->buf + cut, num * 512 - cut};
        s->r.iov = s->iov;
        s->r.num_iov = 2;
        image_fill(seed, s->buf, num * 512);
    }
}

/* Requests side by side, which often share a cluster. */
static void do_batch(struct fixture *f, uint64_t *seed)
{
    struct slot slots[BATCH];
    uint64_t each = (1 + image_random(seed) % (image_random(seed) % 8 ? 16 : 900)) * 512;
    uint64_t room = (BYTES - BATCH * each) / 512;
    uint64_t base = image_random(seed) % 8 ? image_random(seed) % room * 512 : room * 512;
    for (unsigned i = 0; i < BATCH; i++) /* the last one ends in the disk */
        prepare(f, &slots[i], seed, base + i * each, base + (i + 1) * each);
    f->waiting = BATCH;
    for (unsigned i = 0; i < BATCH; i++) {
        int rc = disk_submit(f->disk, &slots[i].r);
        assert_true(rc >= 0);
        f->waiting -= rc == 1;
    }
    if (f->waiting)
        assert_int_equal(pv_loop_run(f->loop), 0);
    for (unsigned i = 0; i < BATCH; i++) {
        struct slot *s = &slots[i];
        if (s->r.result)
            fail_msg("operation %d at %llu: %d", s->r.op, (unsigned long long)s->r.offset,
                     s->r.result);
        if (s->r.op == DISK_READ)
            assert_memory_equal(s->buf, f->model + s->r.offset, s->r.bytes);
        if (s->r.op == DISK_DISCARD)
            adopt(f, s);
        apply(f, s);
        free(s->buf);
    }
}

static void compare_all(struct fixture *f, const char *path)
{
    uint8_t *is = malloc(BYTES);
    struct disk *disk;
    const struct disk_options options = {.read_only = true, .format = "qcow2"};
    assert_int_equal(image_shell("qemu-img convert -f qcow2 -O raw %s out", path), 0);
    read_file("out", is, BYTES);
    assert_memory_equal(is, f->model, BYTES);
    assert_int_equal(disk_open(path, &options, &disk, NULL), 0);
    for (uint64_t at = 0; at < BYTES; at += 1 << 20)
        assert_int_equal(image_request(disk, DISK_READ, at, is + at, 1 << 20), 0);
    assert_memory_equal(is, f->model, BYTES);
    disk_close(disk);
    free(is);
}

static void run(struct fixture *f, const struct kind *kind, uint64_t seed, bool start,
                bool no_io_uring)
{
    struct pv_error err = PV_ERROR_INIT;
    const struct disk_options options = {.format = "qcow2", .no_io_uring = no_io_uring};
    memset(f->model, 0, BYTES);
    if (kind->below)
        read_file("below", f->model, BELOW);
    if (kind->whole)
        read_file("whole", f->model, BYTES);
    assert_int_equal(image_shell("rm -f i b c && %s", kind->make), 0);
    for (int life = 0; life < 2; life++) {
        if (disk_open("i", &options, &f->disk, &err) < 0)
            fail_msg("%s: %s", kind->name, err.text);
        assert_int_equal(disk_get_size(f->disk), BYTES);
        f->loop = pv_loop_new();
        if (start)
            assert_int_equal(disk_start(f->disk, f->loop, NULL), 0);
        for (int i = 0; i < 15; i++)
            do_batch(f, &seed);
        disk_close(f->disk);
        pv_loop_free(f->loop);
        if (image_check("i") != 0) {
            image_shell("head -20 check.log");
            fail_msg("%s: qemu-img check finds something wrong", kind->name);
        }
    }
    compare_all(f, "i");
}

static void run_all(struct fixture *f, uint64_t seed, bool start, bool no_io_uring)
{
    if (!f->folder[0])
        skip();
    for (size_t i = 0; i < PV_ARRAY_SIZE(kinds); i++)
        run(f, &kinds[i], seed + i, start, no_io_uring);
}

static void test_alone(void **state)
{
    run_all(*state, 1, false, true);
}

static void test_with_threads(void **state)
{
    run_all(*state, 1000, true, true);
}

static void test_with_io_uring(void **state)
{
    run_all(*state, 2000, true, false);
}

/* A snapshot keeps what it had. */
static void test_a_snapshot_stays(void **state)
{
    struct fixture *f = *state;
    if (!f->folder[0])
        skip();
    const struct kind *kind = &kinds[PV_ARRAY_SIZE(kinds) - 1];
    run(f, kind, 77, true, false);
    uint8_t *whole = malloc(BYTES);
    assert_int_equal(image_shell("qemu-img snapshot -a a i"), 0);
    assert_int_equal(image_check("i"), 0);
    read_file("whole", f->model, BYTES);
    compare_all(f, "i");
    free(whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_with_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_with_io_uring, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_snapshot_stays, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
