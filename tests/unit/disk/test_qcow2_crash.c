/* SPDX-License-Identifier: Apache-2.0
 *
 * test_qcow2_crash.c: whatever happens to a writer, and whenever: qemu-img check finds leaks at
 * most, and nothing at all once the image was opened and closed again; and everything is there
 * whose flush was acknowledged.
 *
 * Each sector says which one it is and how often it was written. Beside the image there is a record
 * in shared memory of what was submitted and what was flushed, which outlives the writer.
 *
 * A kill leaves what the page cache had. A power failure leaves less: everything before the last
 * sync, and of the writes behind it any sectors or none. So the second test records the calls that
 * change the file and plays them again up to many points.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BYTES (4u << 20)
#define SECTORS (BYTES / 512)
#define KILLS 24
#define POINTS 60

struct record {
    uint32_t submitted[SECTORS], flushed[SECTORS];
    bool unknown[SECTORS]; /* zeroed or lost since it was written */
    uint32_t operations;
};

static const char *const makes[] = {
    "qemu-img create -q -f qcow2 i 4M",
    "qemu-img create -q -f qcow2 -o cluster_size=512 i 4M",
    "qemu-img create -q -f qcow2 -o compat=v2,cluster_size=4k i 4M",
    "qemu-img create -q -f qcow2 -o cluster_size=4k i 4M && qemu-io -f qcow2 -c 'write -z 0 4M' i "
    ">/dev/null && qemu-img snapshot -c a i",
    "qemu-img create -q -f qcow2 b 4M && qemu-io -f qcow2 -c 'write -P 0 0 4M' b >/dev/null && "
    "qemu-img create -q -f qcow2 -o cluster_size=16k -b b -F qcow2 i",
};

/* -- recording -- */

enum { CALL_WRITE, CALL_PUNCH, CALL_SYNC };

struct call {
    int kind;
    uint64_t offset, bytes;
    uint8_t *data;
};

/* Calls are made and recorded under the mutex: in the order in which they happen. */
static struct {
    bool on;
    struct call *calls;
    size_t num, cap;
    pthread_mutex_t mutex;
} recorder = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static struct call *record_call(int kind, uint64_t offset, uint64_t bytes)
{
    if (recorder.num == recorder.cap) {
        recorder.cap = recorder.cap ? 2 * recorder.cap : 1024;
        recorder.calls = reallocarray(recorder.calls, recorder.cap, sizeof(struct call));
    }
    recorder.calls[recorder.num] = (struct call){.kind = kind, .offset = offset, .bytes = bytes};
    return &recorder.calls[recorder.num++];
}

/* These take the place of the C library's in this program. */
ssize_t pwritev(int fd, const struct iovec *iov, int num, off_t offset)
{
    if (!recorder.on)
        return syscall(SYS_pwritev, fd, iov, num, offset, 0);
    pthread_mutex_lock(&recorder.mutex);
    ssize_t n = syscall(SYS_pwritev, fd, iov, num, offset, 0);
    if (n > 0) {
        struct call *c = record_call(CALL_WRITE, (uint64_t)offset, (uint64_t)n);
        c->data = malloc((size_t)n);
        assert_int_equal(pread(fd, c->data, (size_t)n, offset), n);
    }
    pthread_mutex_unlock(&recorder.mutex);
    return n;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int num, off_t offset, int flags)
{
    errno = EOPNOTSUPP;
    return -1;
}

int fallocate(int fd, int mode, off_t offset, off_t bytes)
{
    pthread_mutex_lock(&recorder.mutex);
    int rc = (int)syscall(SYS_fallocate, fd, mode, offset, bytes);
    if (rc == 0 && recorder.on)
        record_call(CALL_PUNCH, (uint64_t)offset, (uint64_t)bytes);
    pthread_mutex_unlock(&recorder.mutex);
    return rc;
}

int fdatasync(int fd)
{
    if (!recorder.on)
        return (int)syscall(SYS_fdatasync, fd);
    pthread_mutex_lock(&recorder.mutex);
    record_call(CALL_SYNC, 0, 0);
    pthread_mutex_unlock(&recorder.mutex);
    return 0;
}

/* -- writing -- */

static void stamp(uint8_t *buf, uint32_t sector, uint32_t version)
{
    for (unsigned i = 0; i < 512; i += 8) {
        memcpy(buf + i, &sector, 4);
        memcpy(buf + i + 4, &version, 4);
    }
}

static void write_some(struct disk *disk, struct record *r, uint64_t *seed)
{
    static uint8_t buf[128 * 512];
    uint32_t num = 1 + image_random(seed) % (image_random(seed) % 4 ? 16 : 128);
    uint32_t first = image_random(seed) % (SECTORS - num);
    if (image_random(seed) % 3 == 0) /* many to the same place */
        first %= SECTORS / 16;
    for (uint32_t i = 0; i < num; i++) {
        stamp(buf + i * 512, first + i, ++r->submitted[first + i]);
        r->unknown[first + i] = false;
    }
    assert_int_equal(image_request(disk, DISK_WRITE, first * 512ull, buf, num * 512ull), 0);
}

/* Then the sectors may have any version, or none, until they are written again. */
static void zero_some(struct disk *disk, struct record *r, uint64_t *seed)
{
    uint32_t num = 1 + image_random(seed) % 256;
    uint32_t first = image_random(seed) % (SECTORS - num);
    for (uint32_t i = first; i < first + num; i++) {
        r->flushed[i] = 0;
        r->unknown[i] = true;
    }
    enum disk_op op = image_random(seed) % 2 ? DISK_UNMAP_ZEROES : DISK_DISCARD;
    assert_int_equal(image_request(disk, op, first * 512ull, NULL, num * 512ull), 0);
}

static void work(struct disk *disk, struct record *r, uint64_t seed, unsigned operations)
{
    for (unsigned i = 0; i < operations; i++) {
        unsigned what = image_random(&seed) % 16;
        if (what == 1)
            zero_some(disk, r, &seed);
        else if (what > 1)
            write_some(disk, r, &seed);
        else
            assert_int_equal(image_request(disk, DISK_FLUSH, 0, NULL, 0), 0);
        for (uint32_t s = 0; s < SECTORS && what == 0; s++)
            r->flushed[s] = r->unknown[s] ? 0 : r->submitted[s];
        r->operations++;
    }
}

/* -- writing side by side -- */

#define SLOTS 8u
#define SLOT_SECTORS (SECTORS / SLOTS - 3u) /* so that clusters have two of them */
#define FLUSHES_MAX 256u

struct slot {
    struct disk_request r;
    struct iovec iov;
    struct side_by_side *all;
    uint32_t first, num; /* sectors under way */
    uint8_t buf[16 * 512];
    uint32_t before[SECTORS]; /* what was completed when the flush was submitted */
};

struct side_by_side {
    struct disk *disk;
    struct pv_loop *loop;
    struct record *record;
    uint64_t seed;
    unsigned left, under_way;
    uint32_t completed[SECTORS];
    struct slot slots[SLOTS];
    /* Each flush: what it made durable, and how many calls had been recorded by then. */
    uint32_t (*flushed)[SECTORS];
    size_t *positions, num_flushes;
};

static void start_one(struct slot *s);

/* From here on, this has to be there. */
static void note_flushed(struct side_by_side *a)
{
    if (!a->flushed)
        return;
    assert_true(a->num_flushes < FLUSHES_MAX);
    pthread_mutex_lock(&recorder.mutex);
    a->positions[a->num_flushes] = recorder.num;
    pthread_mutex_unlock(&recorder.mutex);
    memcpy(a->flushed[a->num_flushes++], a->record->flushed, sizeof(*a->flushed));
}

/* From now on it may be anything up to what was written, until it is written and flushed again. */
static void forget(struct side_by_side *a, uint32_t first, uint32_t num)
{
    for (uint32_t i = first; i < first + num; i++) {
        a->completed[i] = a->record->flushed[i] = 0;
        for (unsigned j = 0; j < SLOTS; j++)
            a->slots[j].before[i] = 0;
    }
    note_flushed(a);
}

static void on_done(struct disk_request *request)
{
    struct slot *s = PV_CONTAINER_OF(request, struct slot, r);
    struct side_by_side *a = s->all;
    assert_int_equal(request->result, 0);
    a->record->operations++;
    a->under_way--;
    for (uint32_t i = s->first; i < s->first + s->num && request->op == DISK_WRITE; i++)
        a->completed[i] = a->record->submitted[i];
    if (request->op == DISK_FLUSH) {
        for (uint32_t i = 0; i < SECTORS; i++)
            a->record->flushed[i] = PV_MAX(a->record->flushed[i], s->before[i]);
        note_flushed(a);
    }
    start_one(s);
    if (a->under_way == 0)
        pv_loop_stop(a->loop, 0);
}

/* Each slot has sectors of its own, so that versions come in order. */
static void start_one(struct slot *s)
{
    struct side_by_side *a = s->all;
    uint32_t slot = (uint32_t)(s - a->slots);
    if (a->left == 0)
        return;
    a->left--;
    a->under_way++;
    s->r = (struct disk_request){.op = DISK_FLUSH, .done = on_done};
    s->num = 0;
    unsigned what = image_random(&a->seed) % 16;
    if (what == 0) {
        memcpy(s->before, a->completed, sizeof(s->before));
    } else if (what == 1) {
        s->num = 1 + image_random(&a->seed) % (SLOT_SECTORS - 1);
        s->first = slot * SLOT_SECTORS + image_random(&a->seed) % (SLOT_SECTORS - s->num);
        s->r.op = image_random(&a->seed) % 2 ? DISK_UNMAP_ZEROES : DISK_DISCARD;
        s->r.offset = s->first * 512ull;
        s->r.bytes = s->num * 512ull;
        forget(a, s->first, s->num);
    } else {
        s->num = 1 + image_random(&a->seed) % 16;
        s->first = slot * SLOT_SECTORS + image_random(&a->seed) % (SLOT_SECTORS - s->num);
        for (uint32_t i = 0; i < s->num; i++)
            stamp(s->buf + i * 512, s->first + i, ++a->record->submitted[s->first + i]);
        s->iov = (struct iovec){s->buf, s->num * 512};
        s->r.op = DISK_WRITE;
        s->r.offset = s->first * 512ull;
        s->r.bytes = s->num * 512ull;
        s->r.iov = &s->iov;
        s->r.num_iov = 1;
    }
    int rc = disk_submit(a->disk, &s->r);
    assert_true(rc >= 0);
    if (rc == 1)
        on_done(&s->r);
}

static struct side_by_side *new_side_by_side(struct disk *disk, struct record *r, uint64_t seed,
                                             unsigned operations)
{
    struct side_by_side *a = calloc(1, sizeof(*a));
    a->disk = disk;
    a->record = r;
    a->seed = seed;
    a->left = operations;
    a->loop = pv_loop_new();
    assert_int_equal(disk_start(disk, a->loop, NULL), 0);
    for (unsigned i = 0; i < SLOTS; i++)
        a->slots[i].all = a;
    return a;
}

static void run_side_by_side(struct side_by_side *a)
{
    for (unsigned i = 0; i < SLOTS; i++)
        start_one(&a->slots[i]);
    if (a->under_way)
        assert_int_equal(pv_loop_run(a->loop), 0);
}

/* -- judging -- */

/* 0, or 3 with leaks, if there may be some. */
static int must_be_whole(const char *path, bool may_leak)
{
    int rc = image_check(path);
    if (rc != 0 && !(may_leak && rc == 3)) {
        image_shell("head -20 check.log");
        fail_msg("qemu-img check: %d", rc);
    }
    return rc;
}

static void check_image(const struct record *r, const uint32_t *flushed, const char *path)
{
    static uint8_t is[BYTES];
    uint8_t expected[512];
    bool leaks = must_be_whole(path, true) == 3;
    for (int writable = 0; writable < 2; writable++) {
        struct disk *disk;
        struct pv_error err = PV_ERROR_INIT;
        const struct disk_options options = {.format = "qcow2", .read_only = !writable};
        if (disk_open(path, &options, &disk, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(image_request(disk, DISK_READ, 0, is, BYTES), 0);
        disk_close(disk);
    }
    if (leaks)
        must_be_whole(path, false);
    for (uint32_t s = 0; s < SECTORS; s++) {
        uint32_t version;
        memcpy(&version, is + s * 512 + 4, 4);
        if (version == 0)
            memset(expected, 0, 512);
        else
            stamp(expected, s, version);
        assert_memory_equal(is + s * 512, expected, 512);
        assert_in_range(version, flushed[s], r->submitted[s]);
    }
}

static int set_up(void **state)
{
    char *folder = calloc(1, 32);
    *state = folder;
    if (!image_enter_folder(folder))
        folder[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    char *folder = *state;
    if (folder[0])
        image_leave_folder(folder);
    free(folder);
    return 0;
}

static struct record *new_record(void)
{
    struct record *r =
        mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(r != MAP_FAILED);
    return r;
}

static void write_for_ever(struct record *r, uint64_t seed)
{
    struct disk *disk;
    const struct disk_options options = {.format = "qcow2", .no_io_uring = seed % 4 == 1};
    if (disk_open("i", &options, &disk, NULL) < 0)
        _exit(1);
    if (seed % 2) { /* by threads or a ring */
        run_side_by_side(new_side_by_side(disk, r, seed, UINT32_MAX));
        _exit(1);
    }
    for (;;)
        work(disk, r, seed++, 100);
}

/* The ring of a killed process holds its files a little longer: we wait for that, qemu-img not. */
static void wait_for_the_dead(void)
{
    struct disk *disk;
    const struct disk_options options = {.format = "raw"};
    assert_int_equal(disk_open("i", &options, &disk, NULL), 0);
    disk_close(disk);
}

static void test_killed(void **state)
{
    if (!*(char *)*state)
        skip();
    struct record *r = new_record();
    for (unsigned i = 0; i < KILLS; i++) {
        if (i % 4 == 0) { /* then the next lives go on with what the last ones left */
            memset(r, 0, sizeof(*r));
            assert_int_equal(image_shell("rm -f i b; %s", makes[i / 4 % PV_ARRAY_SIZE(makes)]), 0);
        }
        r->operations = 0;
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            write_for_ever(r, i);
        uint64_t seed = i;
        uint32_t operations = 20 + image_random(&seed) % 200;
        while (__atomic_load_n(&r->operations, __ATOMIC_RELAXED) < operations) {
            int status;
            assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
            usleep(200);
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        wait_for_the_dead();
        check_image(r, r->flushed, "i");
        memset(r->flushed, 0, sizeof(r->flushed)); /* a new life begins with what there is */
        memset(r->unknown, true, sizeof(r->unknown));
    }
    munmap(r, sizeof(*r));
}

/* -- power failures -- */

static void apply(int fd, const struct call *c, uint64_t *seed, bool torn)
{
    if (c->kind == CALL_PUNCH && (!torn || image_random(seed) % 2))
        syscall(SYS_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, c->offset, c->bytes);
    if (c->kind != CALL_WRITE || (torn && image_random(seed) % 4 == 0))
        return;
    bool by_sector = torn && image_random(seed) % 2;
    for (uint64_t at = 0; at < c->bytes;) {
        uint64_t n = by_sector ? 512 - (c->offset + at) % 512 : c->bytes;
        n = PV_MIN(n, c->bytes - at);
        if (!by_sector || image_random(seed) % 2)
            assert_int_equal(pwrite(fd, c->data + at, n, (off_t)(c->offset + at)), n);
        at += n;
    }
}

static void fail_power_at(size_t point, uint64_t seed)
{
    size_t durable = 0;
    for (size_t i = 0; i < point; i++)
        if (recorder.calls[i].kind == CALL_SYNC)
            durable = i;
    assert_int_equal(image_shell("cp --sparse=always before p"), 0);
    int fd = open("p", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < point; i++)
        apply(fd, &recorder.calls[i], &seed, i >= durable);
    close(fd);
}

/* Lets the power fail at random points of what was recorded. */
static void judge_points(const struct record *r, const size_t *positions,
                         uint32_t (*flushed)[SECTORS], size_t num_flushes, uint64_t seed)
{
    for (unsigned i = 0; i < POINTS / PV_ARRAY_SIZE(makes); i++) {
        static const uint32_t nothing[SECTORS];
        const uint32_t *least = nothing;
        size_t point = image_random(&seed) % (recorder.num + 1);
        for (size_t n = 0; n < num_flushes && positions[n] <= point; n++)
            least = flushed[n];
        fail_power_at(point, seed);
        check_image(r, least, "p");
    }
    for (size_t i = 0; i < recorder.num; i++)
        free(recorder.calls[i].data);
    recorder.num = 0;
}

static void test_power_fails_side_by_side(void **state)
{
    if (!*(char *)*state)
        skip();
    struct record *r = new_record();
    const struct disk_options options = {.format = "qcow2", .no_io_uring = true};
    for (size_t kind = 0; kind < PV_ARRAY_SIZE(makes); kind++) {
        struct disk *disk;
        memset(r, 0, sizeof(*r));
        assert_int_equal(image_shell("rm -f i b; %s; cp i before", makes[kind]), 0);
        assert_int_equal(disk_open("i", &options, &disk, NULL), 0);
        struct side_by_side *a = new_side_by_side(disk, r, kind + 100, 400);
        a->flushed = calloc(FLUSHES_MAX, sizeof(*a->flushed));
        a->positions = calloc(FLUSHES_MAX, sizeof(*a->positions));
        recorder.on = true;
        run_side_by_side(a);
        disk_close(disk);
        recorder.on = false;
        judge_points(r, a->positions, a->flushed, a->num_flushes, kind);
        pv_loop_free(a->loop);
        free(a->flushed);
        free(a->positions);
        free(a);
    }
    munmap(r, sizeof(*r));
}

static void test_power_fails(void **state)
{
    if (!*(char *)*state)
        skip();
    struct record *r = new_record();
    const struct disk_options options = {.format = "qcow2", .no_io_uring = true};
    for (size_t kind = 0; kind < PV_ARRAY_SIZE(makes); kind++) {
        struct disk *disk;
        uint64_t seed = kind;
        size_t flushes[64], num_flushes = 0;
        uint32_t(*flushed)[SECTORS] = calloc(64, sizeof(*flushed));
        memset(r, 0, sizeof(*r));
        assert_int_equal(image_shell("rm -f i b; %s; cp i before", makes[kind]), 0);
        assert_int_equal(disk_open("i", &options, &disk, NULL), 0);
        recorder.on = true;
        for (unsigned round = 0; round < 12; round++) {
            for (unsigned i = 0; i < 12; i++)
                write_some(disk, r, &seed);
            assert_int_equal(image_request(disk, DISK_FLUSH, 0, NULL, 0), 0);
            flushes[num_flushes] = recorder.num;
            memcpy(flushed[num_flushes++], r->submitted, sizeof(*flushed));
        }
        disk_close(disk);
        recorder.on = false;
        judge_points(r, flushes, flushed, num_flushes, seed);
        free(flushed);
    }
    munmap(r, sizeof(*r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_power_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_power_fails_side_by_side, set_up, tear_down),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    free(recorder.calls);
    return rc;
}
