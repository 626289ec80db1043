/* SPDX-License-Identifier: Apache-2.0
 *
 * console.c: virtio console with one port.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 5.3.
 * Trust:   buffers are guest input; a transmit buffer may be as large as guest memory, so output is
 *          taken in slices, a bounded number of bytes per turn.
 */
#include "virtio/device/console.h"

#include "virtio/device_internal.h"

#include "base/bytes.h"

#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>

enum { RX, TX, QUEUES };

#define OUTPUT_SLICE 4096u
#define OUTPUT_PER_TURN (16u * OUTPUT_SLICE)
#define CHAINS_PER_TURN 256u

enum { COUNTER_OUTPUT_BYTES = VIRTIO_COUNTER_OWN, COUNTER_INPUT_BYTES };
static const char *const counter_labels[] = {"output_bytes", "input_bytes"};

struct console {
    struct virtio_device base;
    struct virtio_console_options options;
    struct virtio_console_config config;
    struct pv_bytes input;     /* typed, not yet in a buffer of the guest */
    bool had_guest;            /* since the last reset */
    bool input_was_full;       /* the owner waits for input_room */
    bool printing;             /* `chain` is being printed */
    struct virtio_chain chain; /* of TX; its iovecs stay valid as long as we do not pop */
    uint64_t printed;          /* bytes of it */
};

static struct console *console_of(const struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct console, base);
}

static uint64_t features(const struct virtio_device *dev)
{
    const struct console *c = console_of(dev);
    uint64_t bits = 1ull << VIRTIO_CONSOLE_F_EMERG_WRITE;
    if (c->options.cols && c->options.rows)
        bits |= 1ull << VIRTIO_CONSOLE_F_SIZE;
    return bits;
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    memcpy(buf, (const uint8_t *)&console_of(dev)->config + offset, len);
}

static void print(struct console *c, const void *bytes, size_t len)
{
    c->base.counters[COUNTER_OUTPUT_BYTES] += len;
    c->options.output(c->options.data, bytes, len);
}

/* Spec 5.3.4: a character may be written here before the queues exist. */
static int write_config(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len)
{
    if (offset != offsetof(struct virtio_console_config, emerg_wr) || len != sizeof(uint32_t))
        return -EPERM;
    print(console_of(dev), buf, 1); /* the low byte, little-endian */
    return 0;
}

/* Prints from the current chain, at most *budget bytes. Returns whether the chain is finished. */
static bool print_chain(struct console *c, size_t *budget)
{
    while (c->printed<c->chain.readable_bytes && * budget> 0) {
        uint8_t slice[OUTPUT_SLICE];
        size_t n = virtio_chain_read(&c->chain, c->printed, slice, PV_MIN(sizeof(slice), *budget));
        print(c, slice, n);
        c->printed += n;
        *budget -= n;
    }
    return c->printed == c->chain.readable_bytes;
}

static int transmit(struct console *c)
{
    size_t budget = OUTPUT_PER_TURN;
    int rc = 1;
    for (unsigned i = 0; i < CHAINS_PER_TURN && budget > 0; i++) {
        if (!c->printing) {
            rc = virtio_device_pop(&c->base, TX, &c->chain);
            if (rc <= 0)
                break;
            c->printing = true;
            c->printed = 0;
        }
        if (!print_chain(c, &budget))
            break;
        c->printing = false;
        virtio_queue_push(c->base.queues[TX], c->chain.head, 0);
    }
    virtio_device_signal(&c->base, TX);
    return rc;
}

static int receive(struct console *c)
{
    int rc = 0;
    for (unsigned i = 0; c->input.len > 0; i++) {
        struct virtio_chain chain;
        if (i == CHAINS_PER_TURN) {
            rc = 1;
            break;
        }
        rc = virtio_device_pop(&c->base, RX, &chain);
        if (rc <= 0)
            break;
        size_t n = virtio_chain_write(&chain, 0, pv_bytes_head(&c->input), c->input.len);
        if (n == 0)
            c->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        pv_bytes_drop(&c->input, n);
        c->base.counters[COUNTER_INPUT_BYTES] += n;
        virtio_queue_push(c->base.queues[RX], chain.head, (uint32_t)n);
        rc = 0;
    }
    virtio_device_signal(&c->base, RX);

    if (c->input_was_full && pv_bytes_room(&c->input) > 0) {
        c->input_was_full = false;
        if (c->options.input_room)
            c->options.input_room(c->options.data);
    }
    return rc;
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct console *c = console_of(dev);
    return queue == TX ? transmit(c) : receive(c);
}

static int activate(struct virtio_device *dev, struct pv_error *err)
{
    console_of(dev)->had_guest = true;
    return 0;
}

static void reset(struct virtio_device *dev)
{
    struct console *c = console_of(dev);
    c->printing = false;
    if (c->had_guest) /* what was typed for the guest that is gone */
        pv_bytes_drop(&c->input, c->input.len);
    c->had_guest = false;
}

static void free_console(struct virtio_device *dev)
{
    struct console *c = console_of(dev);
    pv_bytes_done(&c->input);
    virtio_device_done(dev);
    free(c);
}

static const struct virtio_syscall syscalls[] = {
    {"timerfd_settime", "console: long output goes on in a later turn"},
    {NULL, NULL},
};

const struct virtio_device_class virtio_console_class = {
    .name = "console",
    .virtio_id = VIRTIO_ID_CONSOLE,
    .num_queues = QUEUES,
    .queue_size_max = 256,
    .config_bytes = sizeof(struct virtio_console_config),
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .write_config = write_config,
    .activate = activate,
    .process_queue = process_queue,
    .reset = reset,
    .free = free_console,
};

int virtio_console_new(const struct virtio_console_options *options, struct pv_loop *loop,
                       struct virtio_device **ret_dev, struct pv_error *err)
{
    struct console *c = calloc(1, sizeof(*c));
    if (!c)
        return pv_error_set(err, ENOMEM, "create device console: out of memory");
    c->options = *options;
    c->config.cols = options->cols;
    c->config.rows = options->rows;
    c->config.max_nr_ports = 1;
    pv_bytes_init(&c->input, VIRTIO_CONSOLE_INPUT_MAX);
    int rc = virtio_device_init(&c->base, &virtio_console_class, loop, err);
    if (rc < 0) {
        free_console(&c->base);
        return rc;
    }
    *ret_dev = &c->base;
    return 0;
}

size_t virtio_console_input(struct virtio_device *dev, const void *bytes, size_t len)
{
    struct console *c = console_of(dev);
    size_t n = PV_MIN(len, pv_bytes_room(&c->input));
    if (pv_bytes_push(&c->input, bytes, n) < 0)
        n = 0;
    c->input_was_full = n < len;
    virtio_device_again(dev, RX);
    return n;
}

int virtio_console_resize(struct virtio_device *dev, uint16_t cols, uint16_t rows)
{
    struct console *c = console_of(dev);
    if (!(features(dev) & 1ull << VIRTIO_CONSOLE_F_SIZE))
        return -EOPNOTSUPP;
    if (c->config.cols == cols && c->config.rows == rows)
        return 0;
    c->config.cols = cols;
    c->config.rows = rows;
    if (dev->guest)
        dev->guest->signal_config(dev->guest->transport);
    return 0;
}
