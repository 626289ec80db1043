/* SPDX-License-Identifier: Apache-2.0
 *
 * device.c: the life that all devices share: features, queues, turns, breaking, draining.
 *
 * Runs on: the loop thread of the machine.   Spec: virtio 1.2, 2 and 3.
 *
 * Theory of operation: a kick serves its queue at once, for one turn of bounded work. What is left
 * gets its next turn at the end of the loop's, so that a guest which fills a ring as fast as it is
 * emptied shares the loop with everybody else.
 */
#include "virtio/device.h"

#include "virtio/device_internal.h"

#include <assert.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define RING_FEATURES                                                                              \
    (1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_INDIRECT_DESC |                            \
     1ull << VIRTIO_RING_F_EVENT_IDX)

static const char *const common_labels[VIRTIO_COUNTER_OWN] = {
    [VIRTIO_COUNTER_KICKS] = "kicks",
    [VIRTIO_COUNTER_CHAINS] = "chains",
    [VIRTIO_COUNTER_SIGNALS] = "signals",
    [VIRTIO_COUNTER_RING_ERRORS] = "ring_errors",
    [VIRTIO_COUNTER_BAD_REQUESTS] = "bad_requests",
    [VIRTIO_COUNTER_RESETS] = "resets",
};

static void on_turn(void *data);

static size_t num_counters(const struct virtio_device *dev)
{
    return VIRTIO_COUNTER_OWN + dev->class->num_counters;
}

static int init_counters(struct virtio_device *dev)
{
    dev->labels = calloc(num_counters(dev), sizeof(*dev->labels));
    dev->counters = calloc(num_counters(dev), sizeof(*dev->counters));
    if (!dev->labels || !dev->counters)
        return -ENOMEM;
    memcpy(dev->labels, common_labels, sizeof(common_labels));
    for (unsigned i = 0; i < dev->class->num_counters; i++)
        dev->labels[VIRTIO_COUNTER_OWN + i] = dev->class->counter_labels[i];
    return 0;
}

int virtio_device_init(struct virtio_device *dev, const struct virtio_device_class *class,
                       struct pv_loop *loop, struct pv_error *err)
{
    assert(class->num_queues <= VIRTIO_DEVICE_QUEUES_MAX);
    assert(class->config_bytes <= VIRTIO_DEVICE_CONFIG_MAX);
    assert(dev->num_queues <= class->num_queues);
    dev->class = class;
    dev->loop = loop;
    if (!dev->num_queues)
        dev->num_queues = class->num_queues;
    int rc = init_counters(dev);
    for (uint16_t i = 0; i < dev->num_queues && rc == 0; i++) {
        dev->queues[i] = virtio_queue_new(class->queue_size_max);
        rc = dev->queues[i] ? 0 : -ENOMEM;
    }
    if (rc < 0)
        return pv_error_set(err, -rc, "create device %s: %s", class->name, strerror(-rc));

    dev->turn = pv_loop_add_after(loop, on_turn, dev);
    if (!dev->turn)
        return pv_error_set(err, ENOMEM, "create device %s: out of memory", class->name);
    return 0;
}

void virtio_device_done(struct virtio_device *dev)
{
    pv_loop_remove(dev->turn);
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++)
        virtio_queue_free(dev->queues[i]);
    free(dev->labels);
    free(dev->counters);
}

void virtio_device_free(struct virtio_device *dev)
{
    if (!dev)
        return;
    virtio_device_reset(dev);
    dev->class->free(dev);
}

const struct virtio_device_class *virtio_device_get_class(const struct virtio_device *dev)
{
    return dev->class;
}

bool virtio_device_is_active(const struct virtio_device *dev)
{
    return dev->guest != NULL;
}

bool virtio_device_needs_reset(const struct virtio_device *dev)
{
    return dev->needs_reset;
}

void virtio_device_get_counters(const struct virtio_device *dev, const char *name,
                                struct pv_counter_group *ret_group)
{
    *ret_group = (struct pv_counter_group){
        .name = name, .labels = dev->labels, .values = dev->counters, .count = num_counters(dev)};
}

uint64_t virtio_device_get_features(const struct virtio_device *dev)
{
    return dev->class->features(dev) | RING_FEATURES;
}

static bool any_queue_enabled(const struct virtio_device *dev)
{
    for (uint16_t i = 0; i < dev->num_queues; i++)
        if (virtio_queue_is_enabled(dev->queues[i]))
            return true;
    return false;
}

int virtio_device_set_features(struct virtio_device *dev, uint64_t features)
{
    if (dev->guest || any_queue_enabled(dev))
        return -EBUSY;
    if (features & ~virtio_device_get_features(dev) || !(features & 1ull << VIRTIO_F_VERSION_1))
        return -EINVAL;
    dev->features = features;
    dev->negotiated = true;
    for (uint16_t i = 0; i < dev->num_queues; i++)
        virtio_queue_set_features(dev->queues[i], features);
    return 0;
}

bool virtio_device_has_features(const struct virtio_device *dev)
{
    return dev->negotiated;
}

uint16_t virtio_device_get_num_queues(const struct virtio_device *dev)
{
    return dev->num_queues;
}

struct virtio_queue *virtio_device_get_queue(struct virtio_device *dev, uint32_t index)
{
    return index < dev->num_queues ? dev->queues[index] : NULL;
}

void virtio_device_read_config(const struct virtio_device *dev, uint32_t offset, void *buf,
                               uint32_t len)
{
    memset(buf, 0, len);
    uint32_t bytes = dev->class->config_bytes;
    if (offset >= bytes)
        return;
    dev->class->read_config(dev, offset, buf, PV_MIN(len, bytes - offset));
}

int virtio_device_write_config(struct virtio_device *dev, uint32_t offset, const void *buf,
                               uint32_t len)
{
    uint32_t bytes = dev->class->config_bytes;
    if (offset > bytes || len > bytes - offset || len == 0)
        return -EINVAL;
    return dev->class->write_config ? dev->class->write_config(dev, offset, buf, len) : -EPERM;
}

int virtio_device_activate(struct virtio_device *dev, const struct virtio_guest *guest,
                           struct pv_error *err)
{
    if (dev->guest)
        return pv_error_set(err, EALREADY, "activate device %s: it is active", dev->class->name);
    if (!dev->negotiated)
        return pv_error_set(err, EINVAL, "activate device %s: no features negotiated",
                            dev->class->name);
    dev->guest = guest;
    int rc = dev->class->activate ? dev->class->activate(dev, err) : 0;
    if (rc < 0)
        dev->guest = NULL;
    return rc;
}

/* What the guest did, for the log. */
static const char *reason_of(int rc)
{
    switch (rc) {
    case -ELOOP:
        return "a descriptor chain is longer than its queue";
    case -EFAULT:
        return "a descriptor points outside of guest memory";
    case -EINVAL:
        return "a descriptor chain is malformed";
    case -EEXIST:
        return "a descriptor chain was made available twice";
    case -EOVERFLOW:
        return "an available index ran away";
    case -ENOMEM:
        return "out of memory while serving a queue";
    default:
        return "a queue was used in a way that the device does not allow";
    }
}

void virtio_device_break(struct virtio_device *dev, int rc)
{
    if (dev->needs_reset || !dev->guest)
        return;
    dev->needs_reset = true;
    dev->more = 0;
    dev->counters[VIRTIO_COUNTER_RING_ERRORS]++;
    dev->guest->broken(dev->guest->transport, reason_of(rc));
}

static bool is_serving(const struct virtio_device *dev, uint32_t queue)
{
    return dev->guest && !dev->needs_reset && virtio_queue_is_enabled(dev->queues[queue]);
}

void virtio_device_again(struct virtio_device *dev, uint16_t queue)
{
    dev->more |= 1u << queue;
    if (!dev->draining)
        pv_loop_wake(dev->turn);
}

static void serve(struct virtio_device *dev, uint16_t queue)
{
    int rc = dev->class->process_queue(dev, queue);
    if (rc < 0)
        virtio_device_break(dev, rc);
    else if (rc > 0)
        virtio_device_again(dev, queue);
}

void virtio_device_kick(struct virtio_device *dev, uint32_t queue)
{
    if (queue >= dev->num_queues || !is_serving(dev, queue))
        return;
    dev->counters[VIRTIO_COUNTER_KICKS]++;
    if (dev->draining)
        dev->more |= 1u << queue;
    else
        serve(dev, (uint16_t)queue);
}

static void on_turn(void *data)
{
    struct virtio_device *dev = data;
    if (dev->draining)
        return;
    uint32_t more = dev->more;
    dev->more = 0;
    for (uint16_t i = 0; i < dev->num_queues; i++)
        if (more >> i & 1 && is_serving(dev, i))
            serve(dev, i);
}

int virtio_device_pop(struct virtio_device *dev, uint16_t queue, struct virtio_chain *ret_chain)
{
    int rc = virtio_queue_pop(dev->queues[queue], ret_chain);
    if (rc > 0)
        dev->counters[VIRTIO_COUNTER_CHAINS]++;
    return rc;
}

void virtio_device_signal(struct virtio_device *dev, uint16_t queue)
{
    if (!dev->guest || !virtio_queue_should_signal(dev->queues[queue]))
        return;
    dev->counters[VIRTIO_COUNTER_SIGNALS]++;
    dev->guest->signal_queue(dev->guest->transport, queue);
}

int virtio_device_drain(struct virtio_device *dev)
{
    if (!dev->guest || dev->needs_reset || !dev->class->drain)
        return 0;
    int rc = dev->class->drain(dev);
    dev->draining = rc == -EINPROGRESS;
    return rc;
}

void virtio_device_drained(struct virtio_device *dev)
{
    dev->draining = false;
    if (dev->more) /* kicks that came meanwhile */
        pv_loop_wake(dev->turn);
    dev->guest->drained(dev->guest->transport);
}

void virtio_device_reset(struct virtio_device *dev)
{
    if (dev->guest)
        dev->counters[VIRTIO_COUNTER_RESETS]++;
    dev->guest = NULL; /* whoever is told of the reset finds the device not active */
    dev->class->reset(dev);
    dev->features = 0;
    dev->negotiated = dev->needs_reset = dev->draining = false;
    dev->more = 0;
    for (uint16_t i = 0; i < dev->num_queues; i++)
        virtio_queue_reset(dev->queues[i]);
}
