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
 * and watched. As long as something moves it may take its time; when nothing does any more, the
 * update ends with what was reached, which is then what the machine has.
 *
 * Before a machine is made smaller its agent is asked what is in use, so that an update which
 * cannot succeed is refused rather than begun. That is the guest's word, and concerns only it.
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
#define UNPLUG_PATIENCE_NS (300ull * 1000000)
#define PATIENCE_NS (3000ull * 1000000)
/* A kernel that found no more to give has next to nothing left for itself: it gets this back. */
#define BREATH (8 * MIB)
#define ANSWER_NS (1000ull * 1000000) /* of the agent */
/* A guest that reports free pages holds 32 blocks of 4 MiB meanwhile, which look as if they were in
 * use: it is asked again before it is believed. */
#define ASK_AGAIN_NS (60ull * 1000000)
#define ASK_TIMES 8
#define MEMMAP_PART 64 /* page structures of plugged memory, which go with it */
/* Left to a guest beside what it uses: an eighth of what it will have. */
#define SPARE_PART 8
#define SPARE_MAX (64 * MIB)

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
    uint64_t region = requested_for(m, bytes);
    if (m->mem)
        virtio_mem_set_requested(m->mem, region);
    virtio_balloon_set_target(m->balloon,
                              (uint32_t)(balloon_for(m, bytes, region) / VIRTIO_BALLOON_PAGE));
}

/* The machine keeps so much, which is what it has, or a little more that is in the balloon. A block
 * that is unplugged later comes out of the balloon. */
static void settle(struct monitor *m, uint64_t bytes)
{
    struct pv_error err = PV_ERROR_INIT;
    m->resize.target = 0;
    m->resize.held = bytes;
    m->resize.squeeze = true;
    aim(m, m->resize.held);
    pv_loop_arm(m->resize.timer, 0);
    m->spec.memory_bytes = (m->resize.held + MIB - 1) / MIB * MIB;
    if (monitor_limits_update(m, &err) < 0)
        pv_log(PV_LOG_WARNING, "memory: %s", err.text);
    monitor_agent_resized(m);
}

static void finish(struct monitor *m)
{
    settle(m, monitor_memory_given(m));
    monitor_update_done(m, 0, NULL);
}

static void give_up(struct monitor *m)
{
    char asked[32], reached[32];
    struct pv_error err = PV_ERROR_INIT;
    uint64_t target = m->resize.target;
    bool shrinks = target < m->resize.from;
    uint64_t kept = monitor_memory_given(m), breath = PV_MIN(ballooned(m), BREATH);
    if (shrinks)
        kept = PV_MIN(kept + breath, m->resize.from);
    pv_str_from_size(target, asked, sizeof(asked));
    pv_str_from_size(kept, reached, sizeof(reached));
    settle(m, kept);
    pv_error_set(&err, EBUSY,
                 shrinks ? "--memory %s: the machine stopped at %s: its kernel uses the rest, or "
                           "does not answer; this is what it has now"
                         : "--memory %s: the machine stopped at %s: its kernel takes no more; this "
                           "is what it has now",
                 asked, reached);
    monitor_update_done(m, -EBUSY, &err);
}

/* Looks how far it is. */
static void look(struct monitor *m)
{
    uint64_t still = pv_time_monotonic_ns() - m->resize.moved_ns;
    if (monitor_memory_given(m) == m->resize.target) {
        finish(m);
        return;
    }
    if (!m->resize.squeeze && still > UNPLUG_PATIENCE_NS &&
        plugged(m) > requested_for(m, m->resize.target)) {
        m->resize.squeeze = true;
        aim(m, m->resize.target);
    } else if (still > PATIENCE_NS) {
        give_up(m);
        return;
    }
    pv_loop_arm(m->resize.timer, LOOK_NS);
}

void monitor_memory_moved(void *data)
{
    struct monitor *m = data;
    if (m->resize.asked)
        return;
    if (!m->resize.target) {
        if (m->resize.held)
            aim(m, m->resize.held);
        return;
    }
    m->resize.moved_ns = pv_time_monotonic_ns();
    aim(m, m->resize.target);
    pv_loop_arm(m->resize.timer, 1); /* not from within a device's turn */
}

static void begin(struct monitor *m)
{
    m->resize.asked = false;
    m->resize.squeeze = false;
    m->resize.moved_ns = pv_time_monotonic_ns();
    aim(m, m->resize.target);
    pv_loop_arm(m->resize.timer, LOOK_NS);
}

/* Asks the agent what is in use; without one the guest kernel stops where it must. */
static void ask(struct monitor *m)
{
    m->resize.pause = false;
    m->resize.asked = monitor_agent_ask_stats(m) == 0;
    if (m->resize.asked)
        pv_loop_arm(m->resize.timer, ANSWER_NS);
    else
        begin(m);
}

static void on_timer(void *data)
{
    struct monitor *m = data;
    if (m->resize.pause)
        ask(m);
    else if (m->resize.asked)
        begin(m); /* the agent is late: the guest kernel will stop where it must */
    else if (m->resize.target)
        look(m);
}

static bool get_bytes(const struct pv_json *memory, const char *key, uint64_t *ret_bytes)
{
    *ret_bytes = UINT64_MAX;
    return memory &&
           pv_json_get_u64(memory, key, 0, WIRE_MACHINE_MEMORY_MAX, ret_bytes, NULL) == 0 &&
           *ret_bytes != UINT64_MAX;
}

/* Refuses what the guest says it cannot do without. */
static int check_use(struct monitor *m, uint64_t available, struct pv_error *err)
{
    char asked[32], has[32], used[32], least[32];
    uint64_t given = monitor_memory_given(m), target = m->resize.target;
    uint64_t spare = PV_MIN(target / SPARE_PART, SPARE_MAX);
    uint64_t region = requested_for(m, target);
    if (plugged(m) > region)
        available += (plugged(m) - region) / MEMMAP_PART;
    available = PV_MIN(available, given);
    if (available >= given - target + spare)
        return 0;
    uint64_t in_use = given - available;
    /* With spare as an eighth of the whole, or the most that it can be. */
    uint64_t possible = PV_MIN(in_use + in_use / (SPARE_PART - 1), in_use + SPARE_MAX);
    possible = PV_MIN((possible + 4 * MIB - 1) / (4 * MIB) * (4 * MIB), given);
    return pv_error_set(
        err, EBUSY, "--memory %s: the machine uses %s of its %s: %s is possible now",
        pv_str_from_size(target, asked, sizeof(asked)),
        pv_str_from_size(in_use, used, sizeof(used)), pv_str_from_size(given, has, sizeof(has)),
        pv_str_from_size(possible, least, sizeof(least)));
}

void monitor_memory_stats(struct monitor *m, const struct pv_json *guest)
{
    struct pv_error err = PV_ERROR_INIT;
    uint64_t available;
    if (!m->resize.asked || m->resize.pause)
        return;
    const struct pv_json *memory = guest ? pv_json_get(guest, "memory") : NULL;
    if (get_bytes(memory, "available_bytes", &available) && check_use(m, available, &err) < 0) {
        if (++m->resize.asks < ASK_TIMES) {
            m->resize.pause = true;
            pv_loop_arm(m->resize.timer, ASK_AGAIN_NS);
            return;
        }
        m->resize.asked = false;
        m->resize.target = 0;
        pv_loop_arm(m->resize.timer, 0);
        monitor_update_done(m, -err.code, &err);
        return;
    }
    begin(m);
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
    m->resize.from = given;
    m->resize.asks = 0;
    if (bytes < given)
        ask(m);
    else
        begin(m);
    return 1;
}
