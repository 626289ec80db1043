/* SPDX-License-Identifier: Apache-2.0
 *
 * rng.c: virtio entropy device.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.4.
 * Trust:   the guest may ask for any amount as often as it likes: bytes per request, requests per
 *          turn and bytes per second are bounded.
 */
#include "virtio/device/rng.h"

#include "virtio/device_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/random.h>

#define QUEUE 0
#define REQUESTS_PER_TURN 16u
#define DEFAULT_BYTES_PER_SECOND (1024u * 1024u)
#define SECOND_NS 1000000000ull

enum { COUNTER_BYTES = VIRTIO_COUNTER_OWN, COUNTER_THROTTLED };
static const char *const counter_labels[] = {"bytes", "throttled"};

struct rng {
    struct virtio_device base;
    uint64_t bytes_per_second;
    uint64_t tokens; /* bytes that may be given now */
    uint64_t filled_ns;
    struct pv_loop_source *refill; /* timer */
};

static struct rng *rng_of(const struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct rng, base);
}

static uint64_t features(const struct virtio_device *dev)
{
    return 0;
}

/* What may be saved up: a tenth of a second, or one request. */
static uint64_t tokens_max(const struct rng *r)
{
    return PV_MAX(r->bytes_per_second / 10, (uint64_t)VIRTIO_RNG_REQUEST_MAX);
}

static void fill_tokens(struct rng *r)
{
    uint64_t now = pv_time_monotonic_ns();
    uint64_t elapsed = PV_MIN(now - r->filled_ns, SECOND_NS);
    uint64_t gained = (uint64_t)((__uint128_t)elapsed * r->bytes_per_second / SECOND_NS);
    if (gained == 0)
        return; /* the time counts later */
    r->tokens = PV_MIN(tokens_max(r), r->tokens + gained);
    r->filled_ns = now;
}

/* Waits until one request's worth of bytes is there. */
static void throttle(struct rng *r)
{
    uint64_t ns = (uint64_t)((__uint128_t)VIRTIO_RNG_REQUEST_MAX * SECOND_NS / r->bytes_per_second);
    r->base.counters[COUNTER_THROTTLED]++;
    pv_loop_arm(r->refill, PV_MAX(ns, 1u));
}

static void on_refill(void *data)
{
    struct rng *r = data;
    virtio_device_again(&r->base, QUEUE);
}

/* Fills one chain; the number of bytes written. */
static size_t fill_chain(struct rng *r, const struct virtio_chain *chain)
{
    uint8_t bytes[VIRTIO_RNG_REQUEST_MAX];
    size_t want = (size_t)PV_MIN((uint64_t)sizeof(bytes), chain->writable_bytes);
    want = (size_t)PV_MIN((uint64_t)want, r->tokens);
    size_t have = 0;
    while (have < want) {
        ssize_t n = getrandom(bytes + have, want - have, 0);
        if (n < 0 && errno != EINTR)
            break;
        have += n > 0 ? (size_t)n : 0;
    }
    virtio_chain_write(chain, 0, bytes, have);
    explicit_bzero(bytes, sizeof(bytes));
    r->tokens -= have;
    r->base.counters[COUNTER_BYTES] += have;
    return have;
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct rng *r = rng_of(dev);
    int rc = 1;
    fill_tokens(r);
    for (unsigned i = 0; i < REQUESTS_PER_TURN; i++) {
        struct virtio_chain chain;
        rc = virtio_device_pop(dev, QUEUE, &chain);
        if (rc <= 0)
            break;
        /* Spec 5.4.6.1: at least one byte is written, so a request waits rather than get none. */
        if (r->tokens == 0) {
            virtio_queue_unpop(dev->queues[QUEUE], &chain);
            throttle(r);
            rc = 0;
            break;
        }
        if (chain.writable_bytes == 0)
            dev->counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        virtio_queue_push(dev->queues[QUEUE], chain.head, (uint32_t)fill_chain(r, &chain));
    }
    virtio_device_signal(dev, QUEUE);
    return rc;
}

static void reset(struct virtio_device *dev)
{
    struct rng *r = rng_of(dev);
    if (r->refill)
        pv_loop_arm(r->refill, 0);
}

static void free_rng(struct virtio_device *dev)
{
    struct rng *r = rng_of(dev);
    pv_loop_remove(r->refill);
    virtio_device_done(dev);
    free(r);
}

static const struct virtio_syscall syscalls[] = {
    {"getrandom", "rng: bytes for the guest"},
    {"timerfd_settime", "rng: wait when the guest asks for too much"},
    {"clock_gettime", "rng: measure the rate, where the vDSO cannot"},
    {NULL, NULL},
};

const struct virtio_device_class virtio_rng_class = {
    .name = "rng",
    .virtio_id = VIRTIO_ID_RNG,
    .num_queues = 1,
    .queue_size_max = 256,
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .process_queue = process_queue,
    .reset = reset,
    .free = free_rng,
};

int virtio_rng_new(const struct virtio_rng_options *options, struct pv_loop *loop,
                   struct virtio_device **ret_dev, struct pv_error *err)
{
    struct rng *r = calloc(1, sizeof(*r));
    if (!r)
        return pv_error_set(err, ENOMEM, "create device rng: out of memory");
    r->bytes_per_second =
        options->bytes_per_second ? options->bytes_per_second : DEFAULT_BYTES_PER_SECOND;
    r->tokens = tokens_max(r);
    r->filled_ns = pv_time_monotonic_ns();
    int rc = virtio_device_init(&r->base, &virtio_rng_class, loop, err);
    if (rc == 0 && !(r->refill = pv_loop_add_timer(loop, on_refill, r)))
        rc = pv_error_set(err, errno, "create device rng: timer: %s", strerror(errno));
    if (rc < 0) {
        free_rng(&r->base);
        return rc;
    }
    *ret_dev = &r->base;
    return 0;
}
