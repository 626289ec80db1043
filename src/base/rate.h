/* SPDX-License-Identifier: Apache-2.0
 *
 * rate.h: token buckets, which hold an amount per second to a limit.
 *
 * A bucket fills by per_second, up to burst, and is emptied by what passes. Amounts are whatever
 * the owner counts: bytes, operations. The owner brings the time, so nothing here waits or fails.
 */
#ifndef PV_BASE_RATE_H
#define PV_BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* Rates, bursts and amounts beyond this count as this. */
#define PV_RATE_MAX (UINT64_MAX / 4)

/* What a user asks for. */
struct pv_rate_limit {
    uint64_t per_second; /* 0: no limit */
    uint64_t burst;      /* 0: as much as a second brings */
};

struct pv_rate {
    uint64_t per_second; /* 0: no limit */
    uint64_t burst;
    int64_t level;     /* what is in the bucket; negative: debt of something larger than it */
    uint64_t fraction; /* of the next one, in billionths */
    uint64_t filled_ns;
};

/* A full bucket. per_second 0: everything passes. burst 0: as much as a second brings. */
void pv_rate_init(struct pv_rate *rate, uint64_t per_second, uint64_t burst, uint64_t now_ns);
/* Changes the limits of a bucket in use: what is in it stays, as far as it fits; debt stays. A
 * bucket that had no limit is full. */
void pv_rate_change(struct pv_rate *rate, uint64_t per_second, uint64_t burst, uint64_t now_ns);

/* Takes amount: 0, or the nanoseconds (> 0) after which it can be taken, when nobody takes anything
 * meanwhile; then nothing was taken. What is larger than the burst passes when the bucket is full,
 * and those who come later wait for it. now_ns: of a clock that does not go backwards; one that
 * does counts as standing still. */
uint64_t pv_rate_take(struct pv_rate *rate, uint64_t amount, uint64_t now_ns);
/* What pv_rate_take would return, without taking: for who needs something of several buckets. */
uint64_t pv_rate_wait(struct pv_rate *rate, uint64_t amount, uint64_t now_ns);

static inline bool pv_rate_is_limited(const struct pv_rate *rate)
{
    return rate->per_second != 0;
}

#endif
