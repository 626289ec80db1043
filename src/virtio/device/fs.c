/* SPDX-License-Identifier: Apache-2.0
 *
 * fs.c: virtio file system device over a shared folder.
 *
 * Runs on: the loop thread of the machine; the folder's threads transfer into guest memory.
 * Spec:    virtio 1.2, 5.11.
 * Trust:   chains are guest input, and what they hold is the server's to check (fs/). A request
 *          that makes no sense is answered with an error wherever there is room for one.
 *
 * Theory of operation: a chain is one FUSE request, readable, and room for its reply, writable. A
 * request keeps its own copy of the iovecs while the server works on it. Requests complete in any
 * order. After a reset the ones in flight are orphans: their completion touches no ring any more.
 */
#include "virtio/device/fs.h"

#include "virtio/device_internal.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/queue.h>

#define QUEUES 2 /* one for what must not wait behind requests (FORGET), one for requests */
#define QUEUE_SIZE_MAX 512u
#define REQUESTS_PER_TURN 32u
#define BYTES_PER_TURN (2u * 1024u * 1024u)

enum { COUNTER_REQUESTS = VIRTIO_COUNTER_OWN };
static const char *const counter_labels[] = {"requests"};

struct fsdev;

struct request {
    struct fs_request fs;
    LIST_ENTRY(request) link; /* fsdev.busy or fsdev.free */
    struct fsdev *dev;        /* NULL: orphan */
    uint16_t queue, head;
    struct iovec iov[QUEUE_SIZE_MAX];
};

struct fsdev {
    struct virtio_device base;
    struct fs *fs; /* borrowed */
    void (*on_gone)(void *data);
    void (*on_error)(void *data, int error);
    void *data;
    uint8_t tag[VIRTIO_FS_TAG_MAX];
    LIST_HEAD(, request) busy, free;
    unsigned num_busy;
    bool gone;
};

static struct fsdev *fsdev_of(struct virtio_device *dev)
{
    return PV_CONTAINER_OF(dev, struct fsdev, base);
}

static uint64_t features(const struct virtio_device *dev)
{
    return 0;
}

static void read_config(const struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
    const struct fsdev *f = PV_CONTAINER_OF(dev, const struct fsdev, base);
    struct virtio_fs_config config = {.num_request_queues = htole32(QUEUES - 1)};
    memcpy(config.tag, f->tag, sizeof(config.tag));
    memcpy(buf, (const uint8_t *)&config + offset, len);
}

/* -- requests -- */

static struct request *get_request(struct fsdev *f)
{
    struct request *r = LIST_FIRST(&f->free);
    if (r)
        LIST_REMOVE(r, link);
    else
        r = malloc(sizeof(*r));
    if (r) {
        r->dev = f;
        LIST_INSERT_HEAD(&f->busy, r, link);
        f->num_busy++;
    }
    return r;
}

static void put_request(struct request *r)
{
    struct fsdev *f = r->dev;
    LIST_REMOVE(r, link);
    LIST_INSERT_HEAD(&f->free, r, link);
    f->num_busy--;
}

static void check_gone(struct fsdev *f)
{
    struct pv_counter_group group;
    fs_get_counters(f->fs, "", &group);
    for (size_t i = 0; i < group.count; i++)
        if (strcmp(group.labels[i], "gone") == 0)
            f->gone = group.values[i] != 0;
    if (f->gone && f->on_gone)
        f->on_gone(f->data);
}

static void finish(struct request *r)
{
    struct fsdev *f = r->dev;
    if (r->fs.malformed)
        f->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
    if (r->fs.host_error && f->on_error)
        f->on_error(f->data, r->fs.host_error);
    virtio_queue_push(f->base.queues[r->queue], r->head, r->fs.written);
    put_request(r);
    if (!f->gone)
        check_gone(f);
}

static void on_done(struct fs_request *fs)
{
    struct request *r = PV_CONTAINER_OF(fs, struct request, fs);
    struct fsdev *f = r->dev;
    if (!f) {
        free(r);
        return;
    }
    uint16_t queue = r->queue;
    finish(r);
    virtio_device_signal(&f->base, queue);
    if (f->base.draining && f->num_busy == 0)
        virtio_device_drained(&f->base);
}

static void serve(struct fsdev *f, uint16_t queue, const struct virtio_chain *chain)
{
    struct request *r = get_request(f);
    if (!r || chain->num_readable + chain->num_writable > QUEUE_SIZE_MAX) {
        f->base.counters[VIRTIO_COUNTER_BAD_REQUESTS]++;
        virtio_queue_push(f->base.queues[queue], chain->head, 0);
        if (r)
            put_request(r);
        return;
    }
    f->base.counters[COUNTER_REQUESTS]++;
    r->queue = queue;
    r->head = chain->head;
    memcpy(r->iov, chain->readable, chain->num_readable * sizeof(*r->iov));
    memcpy(r->iov + chain->num_readable, chain->writable, chain->num_writable * sizeof(*r->iov));
    r->fs = (struct fs_request){
        .in = r->iov,
        .num_in = chain->num_readable,
        .out = r->iov + chain->num_readable,
        .num_out = chain->num_writable,
        .done = on_done,
    };
    if (fs_submit(f->fs, &r->fs) == 1)
        finish(r);
}

static int process_queue(struct virtio_device *dev, uint16_t queue)
{
    struct fsdev *f = fsdev_of(dev);
    uint64_t bytes = 0;
    int rc = 1;
    for (unsigned i = 0; i < REQUESTS_PER_TURN && bytes < BYTES_PER_TURN; i++) {
        struct virtio_chain chain;
        rc = virtio_device_pop(dev, queue, &chain);
        if (rc <= 0)
            break;
        serve(f, queue, &chain);
        bytes += chain.readable_bytes + chain.writable_bytes;
    }
    virtio_device_signal(dev, queue);
    return rc;
}

static int drain(struct virtio_device *dev)
{
    return fsdev_of(dev)->num_busy > 0 ? -EINPROGRESS : 0;
}

static void reset(struct virtio_device *dev)
{
    struct fsdev *f = fsdev_of(dev);
    while (!LIST_EMPTY(&f->busy)) {
        struct request *r = LIST_FIRST(&f->busy);
        LIST_REMOVE(r, link);
        r->dev = NULL;
    }
    f->num_busy = 0;
    fs_reset(f->fs);
}

static void free_fs(struct virtio_device *dev)
{
    struct fsdev *f = fsdev_of(dev);
    while (!LIST_EMPTY(&f->free)) {
        struct request *r = LIST_FIRST(&f->free);
        LIST_REMOVE(r, link);
        free(r);
    }
    virtio_device_done(dev);
    free(f);
}

static const struct virtio_syscall syscalls[] = {
    {"timerfd_settime", "fs: many requests go on in a later turn"},
    {NULL, NULL}, /* the others are the server's: fs_syscalls */
};

const struct virtio_device_class virtio_fs_class = {
    .name = "fs",
    .virtio_id = VIRTIO_ID_FS,
    .num_queues = QUEUES,
    .queue_size_max = QUEUE_SIZE_MAX,
    .config_bytes = sizeof(struct virtio_fs_config),
    .counter_labels = counter_labels,
    .num_counters = PV_ARRAY_SIZE(counter_labels),
    .syscalls = syscalls,
    .features = features,
    .read_config = read_config,
    .process_queue = process_queue,
    .drain = drain,
    .reset = reset,
    .free = free_fs,
};

int virtio_fs_new(const struct virtio_fs_options *options, struct pv_loop *loop,
                  struct virtio_device **ret_dev, struct pv_error *err)
{
    size_t len = options->tag ? strlen(options->tag) : 0;
    if (len == 0 || len > VIRTIO_FS_TAG_MAX)
        return pv_error_set(err, EINVAL, "create device fs: tag '%s': give 1 to %d bytes",
                            options->tag ? options->tag : "", VIRTIO_FS_TAG_MAX);
    struct fsdev *f = calloc(1, sizeof(*f));
    if (!f)
        return pv_error_set(err, ENOMEM, "create device fs: out of memory");
    f->fs = options->fs;
    f->on_gone = options->on_gone;
    f->on_error = options->on_error;
    f->data = options->data;
    memcpy(f->tag, options->tag, len);
    LIST_INIT(&f->busy);
    LIST_INIT(&f->free);
    int rc = virtio_device_init(&f->base, &virtio_fs_class, loop, err);
    if (rc < 0) {
        free_fs(&f->base);
        return rc;
    }
    *ret_dev = &f->base;
    return 0;
}
