/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.c: how much memory the machine has, and how that changes while it runs.
 *
 * Theory of operation: the machine starts with its memory below a region of addresses that is empty
 * (device mem). What it has, at any time, is
 *
 *     what it started with + what is plugged into the region - what is in the balloon
 *
 * To grow, the balloon gives back and blocks are plugged. To shrink, blocks are unplugged, and what
 * is below the region goes into the balloon. The guest unplugs what it can move; when it does not
 * get on with that, the rest goes into the balloon too. All this is the guest's work: it is asked,
 * and watched. As long as something moves it may take its time. A machine that stops growing keeps
 * what it reached. To shrink is done in steps that the guest can bear (memory_shrink.c), and one
 * that fails gives everything back.
 */
#include "monitor/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "virtio/device/balloon.h"
#include "virtio/device/mem.h"

#include <errno.h>
#include <string.h>

#define MIB (1ull << 20)
#define LOOK_NS (20ull * 1000000)
/* How long nothing may move before... */
#define STALL_NS (100ull * 1000000)
#define PATIENCE_NS (3000ull * 1000000)

/* The region begins where Linux may add memory, and is whole units of that. */
static void find_region(uint64_t boot, uint64_t max, uint64_t *ret_start, uint64_t *ret_size)
{
    uint64_t unit = VIRTIO_MEM_ALIGNMENT;
    *ret_start = (boot + unit - 1) / unit * unit;
    *ret_size = max > boot ? (max - boot + unit - 1) / unit * unit : 0;
}

int monitor_memory_make(struct monitor *m, struct pv_error *err)
{
    uint64_t start, size;
    m->resize.boot = m->spec.memory_bytes;
    find_region(m->resize.boot, m->spec.memory_max_bytes, &start, &size);
    return memory_new_growing(m->resize.boot, size ? start + size : m->resize.boot, &m->memory,
                              err);
}

void monitor_memory_region(const struct monitor *m, uint64_t *ret_start, uint64_t *ret_size)
{
    find_region(m->resize.boot, m->spec.memory_max_bytes, ret_start, ret_size);
}

static uint64_t plugged(const struct monitor *m)
{
    return m->mem ? virtio_mem_get_plugged(m->mem) : 0;
}

static uint64_t ballooned(const struct monitor *m)
{
    return m->balloon ? (uint64_t)virtio_balloon_get_pages(m->balloon) * VIRTIO_BALLOON_PAGE : 0;
}

uint64_t monitor_memory_given(const struct monitor *m)
{
    return m->resize.boot + plugged(m) - ballooned(m);
}

uint64_t monitor_memory_returned(const struct monitor *m)
{
    return m->balloon ? virtio_balloon_get_reported(m->balloon) + ballooned(m) : 0;
}

static uint64_t requested_for(const struct monitor *m, uint64_t bytes)
{
    uint64_t more = bytes > m->resize.boot ? bytes - m->resize.boot : 0;
    return (more + VIRTIO_MEM_BLOCK - 1) / VIRTIO_MEM_BLOCK * VIRTIO_MEM_BLOCK;
}

/* How much should be in the balloon for the machine to have so many bytes. While more is plugged
 * than should be, what is in the balloon already stays there, for the plugged blocks to follow. */
static uint64_t balloon_for(const struct monitor *m, uint64_t bytes, uint64_t region)
{
    uint64_t least = m->resize.boot + region - bytes;
    if (plugged(m) <= region)
        return least;
    uint64_t most = m->resize.boot + plugged(m) - bytes;
    uint64_t stays = PV_MIN(ballooned(m), most);
    return m->resize.squeeze ? most : PV_MAX(least, stays);
}

/* Tells the devices where to go. */
static void aim(struct monitor *m, uint64_t bytes)
{
    m->resize.goal = bytes;
    uint64_t region = requested_for(m, bytes);
    if (m->mem)
        virtio_mem_set_requested(m->mem, region);
    virtio_balloon_set_target(m->balloon,
                              (uint32_t)(balloon_for(m, bytes, region) / VIRTIO_BALLOON_PAGE));
}

/* The machine keeps so much. What it has otherwise comes or goes later: a block that is unplugged
 * then comes out of the balloon. */
static void settle(struct monitor *m, uint64_t bytes)
{
    struct pv_error err = PV_ERROR_INIT;
    m->resize.step = RESIZE_NONE;
    m->resize.target = 0;
    m->resize.held = bytes;
    m->resize.squeeze = true;
    aim(m, m->resize.held);
    pv_loop_arm(m->resize.timer, 0);
    m->spec.memory_bytes = (m->resize.held + MIB - 1) / MIB * MIB;
    if (monitor_limits_update(m, &err) < 0)
        pv_log(PV_LOG_WARNING, "memory: %s", err.text);
    monitor_agent_resized(m);
    monitor_memory_watch(m);
}

static void finish(struct monitor *m)
{
    settle(m, m->resize.target);
    monitor_update_done(m, 0, NULL);
}

static void stop_growing(struct monitor *m)
{
    char asked[32], reached[32];
    struct pv_error err = PV_ERROR_INIT;
    uint64_t target = m->resize.target, kept = monitor_memory_given(m);
    pv_error_set(
        &err, EBUSY,
        "--memory %s: the machine stopped at %s: its kernel takes no more; this is what it "
        "has now",
        pv_str_from_size(target, asked, sizeof(asked)),
        pv_str_from_size(kept, reached, sizeof(reached)));
    settle(m, kept);
    monitor_update_done(m, -EBUSY, &err);
}

static void go(struct monitor *m, enum monitor_resize_step step, uint64_t goal)
{
    m->resize.step = step;
    m->resize.squeeze = false;
    m->resize.moved_ns = pv_time_monotonic_ns();
    aim(m, goal);
    pv_loop_arm(m->resize.timer, LOOK_NS);
}

void monitor_memory_step(struct monitor *m, uint64_t goal)
{
    go(m, RESIZE_MOVING, goal);
}

static void end_return(struct monitor *m)
{
    settle(m, m->resize.from);
    monitor_update_done(m, -m->resize.err.code, &m->resize.err);
}

void monitor_memory_return(struct monitor *m)
{
    go(m, RESIZE_RETURNING, m->resize.from);
    if (monitor_memory_given(m) == m->resize.from)
        end_return(m);
}

/* The guest's kernel is at it, or says nothing. */
static void wait_for_move(struct monitor *m)
{
    uint64_t still = pv_time_monotonic_ns() - m->resize.moved_ns;
    bool shrinks = m->resize.goal < m->resize.from;
    if (!m->resize.squeeze && still > STALL_NS && plugged(m) > requested_for(m, m->resize.goal)) {
        m->resize.squeeze = true;
        aim(m, m->resize.goal);
    } else if (still > PATIENCE_NS && shrinks) {
        monitor_memory_stopped(m);
        return;
    } else if (still > PATIENCE_NS) {
        stop_growing(m);
        return;
    } else if (still > STALL_NS && shrinks) {
        monitor_memory_stalled(m);
    }
    pv_loop_arm(m->resize.timer, LOOK_NS);
}

/* Looks how far it is. */
static void look(struct monitor *m)
{
    uint64_t given = monitor_memory_given(m);
    uint64_t still = pv_time_monotonic_ns() - m->resize.moved_ns;
    if (m->resize.step == RESIZE_RETURNING) {
        if (given == m->resize.from || still > PATIENCE_NS)
            end_return(m);
        else
            pv_loop_arm(m->resize.timer, LOOK_NS);
    } else if (given != m->resize.goal) {
        wait_for_move(m);
    } else if (given == m->resize.target) {
        finish(m);
    } else {
        monitor_memory_shrink(m);
    }
}

void monitor_memory_moved(void *data)
{
    struct monitor *m = data;
    if (!m->resize.target && !m->resize.held)
        return;
    aim(m, m->resize.target ? m->resize.goal : m->resize.held);
    if (m->resize.step != RESIZE_MOVING && m->resize.step != RESIZE_RETURNING)
        return;
    m->resize.moved_ns = pv_time_monotonic_ns();
    pv_loop_arm(m->resize.timer, 1); /* not from within a device's turn */
}

static void on_timer(void *data)
{
    struct monitor *m = data;
    if (m->resize.step == RESIZE_MOVING || m->resize.step == RESIZE_RETURNING)
        look(m);
    else if (m->resize.step != RESIZE_NONE)
        monitor_memory_waited(m);
}

uint64_t monitor_memory_unplugs(const struct monitor *m, uint64_t bytes)
{
    uint64_t region = requested_for(m, bytes);
    return plugged(m) > region ? plugged(m) - region : 0;
}

int monitor_memory_check(struct monitor *m, uint64_t bytes, struct pv_error *err)
{
    char text[32];
    if (bytes == monitor_memory_given(m))
        return 0;
    if (bytes > m->spec.memory_max_bytes)
        return pv_error_set(err, ERANGE,
                            "--memory: this machine can have at most %s while it runs: stop it "
                            "first, or run it with --memory-max",
                            pv_str_from_size(m->spec.memory_max_bytes, text, sizeof(text)));
    if (bytes % MIB)
        return pv_error_set(err, EINVAL, "--memory: must be whole MiB");
    if (!virtio_device_is_active(m->balloon) ||
        (requested_for(m, bytes) > 0 && !virtio_device_is_active(m->mem)))
        return pv_error_set(err, EOPNOTSUPP,
                            "--memory: the machine's kernel has no driver for memory that changes: "
                            "stop it first");
    return 0;
}

int monitor_memory_change(struct monitor *m, uint64_t bytes, struct pv_error *err)
{
    uint64_t given = monitor_memory_given(m), before = m->spec.memory_bytes;
    if (bytes == given)
        return 0;
    if (!m->resize.timer)
        m->resize.timer = pv_loop_add_timer(m->loop, on_timer, m);
    if (!m->resize.timer)
        return pv_error_set(err, errno, "--memory: timer: %s", strerror(errno));
    m->spec.memory_bytes = PV_MAX(bytes, given);
    int rc = monitor_limits_update(m, err); /* the host's limit goes up first, and down last */
    if (rc < 0) {
        m->spec.memory_bytes = before;
        return rc;
    }
    m->resize.target = bytes;
    m->resize.from = m->resize.goal = given;
    m->resize.asks = 0;
    m->resize.fits = false;
    if (bytes < given)
        monitor_memory_shrink(m);
    else
        monitor_memory_step(m, bytes);
    return 1;
}
