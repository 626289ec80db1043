/* SPDX-License-Identifier: Apache-2.0
 *
 * rate.c: token buckets.
 *
 * Whole tokens and the fraction of the next one are kept apart, so that nothing is lost by
 * rounding, however often a bucket is looked at. Products take 128 bits.
 */
#include "base/rate.h"

#include "base/attr.h"

#define SECOND_NS 1000000000u

__extension__ typedef unsigned __int128 wide;

static void set_limits(struct pv_rate *r, uint64_t per_second, uint64_t burst)
{
    r->per_second = PV_MIN(per_second, (uint64_t)PV_RATE_MAX);
    r->burst = PV_MIN(burst ? burst : r->per_second, (uint64_t)PV_RATE_MAX);
}

static void fill(struct pv_rate *r, uint64_t now_ns)
{
    uint64_t elapsed = now_ns > r->filled_ns ? now_ns - r->filled_ns : 0;
    r->filled_ns += elapsed;
    wide billionths = (wide)elapsed * r->per_second + r->fraction;
    wide whole = billionths / SECOND_NS;
    if (whole >= (wide)((int64_t)r->burst - r->level)) {
        r->level = (int64_t)r->burst;
        r->fraction = 0;
    } else {
        r->level += (int64_t)whole;
        r->fraction = (uint64_t)(billionths % SECOND_NS);
    }
}

void pv_rate_init(struct pv_rate *r, uint64_t per_second, uint64_t burst, uint64_t now_ns)
{
    *r = (struct pv_rate){.filled_ns = now_ns};
    set_limits(r, per_second, burst);
    r->level = (int64_t)r->burst;
}

void pv_rate_change(struct pv_rate *r, uint64_t per_second, uint64_t burst, uint64_t now_ns)
{
    if (r->per_second == 0) {
        pv_rate_init(r, per_second, burst, now_ns);
        return;
    }
    fill(r, now_ns);
    set_limits(r, per_second, burst);
    if (r->level >= (int64_t)r->burst) {
        r->level = (int64_t)r->burst;
        r->fraction = 0;
    }
}

uint64_t pv_rate_wait(struct pv_rate *r, uint64_t amount, uint64_t now_ns)
{
    if (r->per_second == 0)
        return 0;
    fill(r, now_ns);
    int64_t needed = (int64_t)PV_MIN(amount, r->burst);
    if (r->level >= needed)
        return 0;
    wide billionths = (wide)(uint64_t)(needed - r->level) * SECOND_NS - r->fraction;
    wide ns = (billionths + r->per_second - 1) / r->per_second;
    return ns > UINT64_MAX ? UINT64_MAX : (uint64_t)ns;
}

uint64_t pv_rate_take(struct pv_rate *r, uint64_t amount, uint64_t now_ns)
{
    uint64_t wait = pv_rate_wait(r, amount, now_ns);
    if (wait == 0 && r->per_second != 0)
        r->level -= (int64_t)PV_MIN(amount, (uint64_t)PV_RATE_MAX);
    return wait;
}
