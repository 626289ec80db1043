/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_shrink.c: makes a machine smaller without making it sick.
 *
 * Theory of operation: a balloon driver takes pages down to the last ones that the kernel keeps for
 * emergencies, and then any program that wants one more meets the OOM killer. So the balloon only
 * gets what is free beyond a spare amount, and the guest is asked before each step: its agent has
 * the kernel give up file pages until enough is free for the next step, and says what came of it.
 * That never calls the OOM killer, however little there is. What the machine uses is compared with
 * its new size before the first step: a change that cannot succeed is refused, with the size that
 * would. When the guest needs more while it shrinks, it gets everything back.
 *
 * An agent that is late is passed over: the kernel tells its numbers through the balloon's
 * statistics queue. Where nobody can be asked, the target is aimed at in one step, and the driver
 * stops where it must.
 *
 * Trust: the numbers are the guest's word, and concern only it.
 */
#include "monitor/internal.h"

#include "virtio/device/balloon.h"

#include <errno.h>

#define MIB (1ull << 20)
#define UNIT (4 * MIB) /* of a step, and of the size that is called possible */
#define ANSWER_NS (2000ull * 1000000)
/* A guest that reports free pages holds 32 blocks of 4 MiB meanwhile, which look as if they were in
 * use: it is asked again before it is believed. */
#define REPORTED_MAX (128 * MIB)
#define ASK_AGAIN_NS (60ull * 1000000)
#define ASK_TIMES 25
#define MEMMAP_PART 64 /* page structures of plugged memory, which go with it */
/* Left to a guest beside what it uses: an eighth of what it will have. More than its agent keeps
 * from the workload, whose limit is lowered in the end. */
#define SPARE_PART 8
#define SPARE_MAX (64 * MIB)
/* What is made free for one step. More of what is free already is taken at once, but never more
 * than half: others take, too. */
#define STEP (128 * MIB)

static uint64_t spare_of(const struct monitor *m)
{
    return PV_MIN(m->resize.target / SPARE_PART, SPARE_MAX);
}

static void ask_kernel(struct monitor *m)
{
    m->resize.step = RESIZE_ASKED_KERNEL;
    pv_loop_arm(m->resize.timer, ANSWER_NS);
    if (virtio_balloon_ask_stats(m->balloon) < 0)
        monitor_memory_waited(m);
}

void monitor_memory_shrink(struct monitor *m)
{
    uint64_t left = monitor_memory_given(m) - m->resize.target;
    if (monitor_agent_reclaim(m, PV_MIN(left, STEP) + spare_of(m)) == 0) {
        m->resize.step = RESIZE_ASKED;
        m->resize.answers_due++;
        pv_loop_arm(m->resize.timer, ANSWER_NS);
    } else if (virtio_balloon_ask_stats(m->balloon) == 0) {
        m->resize.step = RESIZE_ASKED_KERNEL;
        pv_loop_arm(m->resize.timer, ANSWER_NS);
    } else {
        monitor_memory_step(m, m->resize.target);
    }
}

static void fail(struct monitor *m)
{
    m->resize.fits = false;
    monitor_memory_return(m);
}

void monitor_memory_stopped(struct monitor *m)
{
    char asked[32], reached[32], kept[32];
    pv_error_set(&m->resize.err, EBUSY,
                 "--memory %s: the machine stopped at %s: its kernel uses the rest, or does not "
                 "answer; it keeps %s",
                 pv_str_from_size(m->resize.target, asked, sizeof(asked)),
                 pv_str_from_size(monitor_memory_given(m), reached, sizeof(reached)),
                 pv_str_from_size(m->resize.from, kept, sizeof(kept)));
    fail(m);
}

void monitor_memory_waited(struct monitor *m)
{
    if (m->resize.step == RESIZE_PAUSE)
        monitor_memory_shrink(m);
    else if (m->resize.step == RESIZE_ASKED)
        ask_kernel(m);
    else
        monitor_memory_stopped(m);
}

/* What the machine needs by what it says: what is in use, and spare as an eighth of the whole, or
 * the most that it can be. With a little more, as what is in use is never quite the same. */
static uint64_t possible_for(uint64_t in_use, uint64_t given)
{
    uint64_t possible = PV_MIN(in_use + in_use / (SPARE_PART - 1), in_use + SPARE_MAX);
    return PV_MIN((possible + 3 * UNIT) / UNIT * UNIT, given);
}

/* Too much is in use, now or after all: the machine has back what it gave so far. */
static void refuse(struct monitor *m, uint64_t available)
{
    char asked[32], has[32], used[32], least[32];
    uint64_t given = monitor_memory_given(m);
    uint64_t in_use = given - PV_MIN(available, given);
    pv_error_set(&m->resize.err, EBUSY,
                 "--memory %s: the machine uses %s of its %s: %s is possible now",
                 pv_str_from_size(m->resize.target, asked, sizeof(asked)),
                 pv_str_from_size(in_use, used, sizeof(used)),
                 pv_str_from_size(m->resize.from, has, sizeof(has)),
                 pv_str_from_size(possible_for(in_use, m->resize.from), least, sizeof(least)));
    fail(m);
}

static void ask_again(struct monitor *m)
{
    m->resize.asks++;
    m->resize.step = RESIZE_PAUSE;
    pv_loop_arm(m->resize.timer, ASK_AGAIN_NS);
}

/* How much of what is left may go now; 0: nothing. */
static uint64_t next_step(uint64_t left, uint64_t free, uint64_t spare)
{
    uint64_t usable = free > spare ? free - spare : 0;
    uint64_t least = PV_MIN(usable, STEP), most = PV_MAX(least, usable / 2);
    uint64_t step = PV_MIN(left, most);
    return step == left ? left : step / UNIT * UNIT;
}

static void take_step(struct monitor *m, const struct wire_setup_memory *now)
{
    uint64_t given = monitor_memory_given(m), left = given - m->resize.target;
    uint64_t spare = spare_of(m);
    uint64_t available = now->available + monitor_memory_unplugs(m, m->resize.target) / MEMMAP_PART;
    available = PV_MIN(available, given);
    m->resize.fits = m->resize.fits || available >= left + spare;
    uint64_t step = m->resize.fits ? next_step(left, now->free, spare) : 0;
    if (step) {
        m->resize.asks = 0;
        monitor_memory_step(m, given - step);
    } else if (m->resize.asks < ASK_TIMES && available + REPORTED_MAX >= left + spare) {
        ask_again(m);
    } else {
        /* Some of what counts as available may not be had. */
        refuse(m, m->resize.fits ? PV_MIN(available, now->free) : available);
    }
}

/* Nothing moves: the step may have met somebody who takes memory faster. */
void monitor_memory_stalled(struct monitor *m)
{
    if (m->resize.answers_due == 0 && monitor_agent_reclaim(m, spare_of(m)) == 0)
        m->resize.answers_due++;
}

static void look_at_stall(struct monitor *m, const struct wire_setup_memory *now)
{
    if (now->free < spare_of(m) / 2)
        refuse(m, now->available);
}

void monitor_memory_told(struct monitor *m, const struct wire_setup_memory *now)
{
    if (m->resize.answers_due == 0 || --m->resize.answers_due > 0)
        return; /* it was not asked, or speaks of what was earlier */
    if (m->resize.step == RESIZE_ASKED || m->resize.step == RESIZE_ASKED_KERNEL)
        take_step(m, now);
    else if (m->resize.step == RESIZE_MOVING && m->resize.goal < m->resize.from)
        look_at_stall(m, now);
}

/* Its balloon driver has file pages given up itself, as far as it can. */
void monitor_memory_kernel_told(struct monitor *m, const struct virtio_balloon_stats *stats)
{
    uint64_t available = PV_MIN(stats->available, monitor_memory_given(m));
    const struct wire_setup_memory now = {.free = available, .available = available};
    if (m->resize.step == RESIZE_ASKED_KERNEL)
        take_step(m, &now);
}
