/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_watch.c: a machine that became smaller stays so.
 *
 * Theory of operation: what a machine had once it can touch again without a word: the pages are
 * holes in the memory file, no more. So the file is looked at once a second while it could take
 * more of the host than the machine has. An honest guest never does. One that does, by more than a
 * margin, first loses again what is in the balloon or not plugged: those pages it said it does
 * without. When that is not enough its kernel has taken memory out of the balloon that it was not
 * given (its driver was removed, for one), and the machine is ended after a few looks.
 */
#include "monitor/internal.h"

#include "base/log.h"
#include "virtio/device/balloon.h"
#include "virtio/device/mem.h"

#define LOOK_NS (1000ull * 1000000)
#define LOOKS 3
#define MARGIN_MIN (16ull << 20)
#define MARGIN_PART 16

/* What it may have: while that changes, the more of both ends. */
static uint64_t granted(const struct monitor *m)
{
    uint64_t held = m->resize.held ? m->resize.held : m->resize.boot;
    uint64_t ends = PV_MAX(m->resize.from, m->resize.target);
    return m->resize.target ? PV_MAX(held, ends) : held;
}

/* Bytes beyond what it has. */
static uint64_t excess(const struct monitor *m)
{
    uint64_t in_use, may = granted(m);
    if (memory_get_in_use(m->memory, &in_use) < 0)
        return 0;
    uint64_t margin = PV_MAX(may / MARGIN_PART, MARGIN_MIN);
    return in_use > may + margin ? in_use - may : 0;
}

static void note(struct monitor *m, uint64_t bytes)
{
    char text[32];
    if (m->watch.noted)
        return;
    m->watch.noted = true;
    pv_log(PV_LOG_WARNING,
           "memory: the guest uses %s that it gave back: it is taken away again, or the machine "
           "ended",
           pv_str_from_size(bytes, text, sizeof(text)));
}

static void look(void *data)
{
    struct monitor *m = data;
    char more[32], has[32];
    uint64_t bytes = excess(m);
    if (bytes) {
        note(m, bytes);
        virtio_balloon_discard(m->balloon);
        if (m->mem)
            virtio_mem_discard(m->mem);
        bytes = excess(m);
    }
    m->watch.times = bytes ? m->watch.times + 1 : 0;
    if (m->watch.times >= LOOKS) {
        monitor_life_fail(m,
                          "the guest took back memory that it had given: it uses %s more than its "
                          "%s",
                          pv_str_from_size(bytes, more, sizeof(more)),
                          pv_str_from_size(granted(m), has, sizeof(has)));
        return;
    }
    monitor_memory_watch(m);
}

void monitor_memory_watch(struct monitor *m)
{
    if (!m->watch.timer)
        m->watch.timer = pv_loop_add_timer(m->loop, look, m);
    if (!m->watch.timer)
        pv_log(PV_LOG_WARNING, "memory: the guest is not watched: out of memory");
    else
        pv_loop_arm(m->watch.timer, granted(m) < memory_get_size(m->memory) ? LOOK_NS : 0);
}
