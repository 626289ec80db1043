/* SPDX-License-Identifier: Apache-2.0
 *
 * cpus.c: spreads machines over host CPUs.
 *
 * A virtual CPU and its stubs hand each other the work at every guest system call, which costs
 * several times more across host CPUs; so each stays on one. Only the machines of the same user
 * are counted; that is why the search among equals starts at a random CPU.
 */
#include "isolation/cpus.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

static void count_busy(const struct pv_strv *busy, uint32_t *ret_uses)
{
    for (size_t i = 0; i < busy->count; i++) {
        uint64_t cpu;
        if (pv_str_to_u64(busy->items[i], 0, ISOLATION_CPUS_MAX - 1, &cpu) == 0)
            ret_uses[cpu]++;
    }
}

/* The allowed CPU with the fewest uses that is not taken; there is one. */
static size_t least_used(const uint8_t *allowed, size_t n, const uint32_t *uses,
                         const uint8_t *taken, uint32_t start)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++) {
        size_t cpu = (start + i) % n;
        if (allowed[cpu] && !taken[cpu] && (best == n || uses[cpu] < uses[best]))
            best = cpu;
    }
    return best;
}

int isolation_cpus_choose(const uint8_t *allowed, size_t num_allowed, const struct pv_strv *busy,
                          uint32_t cpus, uint32_t start, struct pv_strv *ret_cpus,
                          struct pv_error *err)
{
    uint32_t uses[ISOLATION_CPUS_MAX] = {0}, count = 0;
    uint8_t taken[ISOLATION_CPUS_MAX] = {0};
    num_allowed = PV_MIN(num_allowed, (size_t)ISOLATION_CPUS_MAX);
    for (size_t i = 0; i < num_allowed; i++)
        count += allowed[i] != 0;
    if (count < cpus)
        return 0;

    count_busy(busy, uses);
    for (uint32_t i = 0; i < cpus; i++)
        taken[least_used(allowed, num_allowed, uses, taken, start)] = 1;
    for (size_t i = 0; i < num_allowed; i++)
        if (taken[i] && pv_strv_add_take(ret_cpus, pv_strf("%zu", i)) < 0)
            return pv_error_set(err, ENOMEM, "choose host CPUs: out of memory");
    return 0;
}

int isolation_cpus_pick(const struct pv_strv *busy, uint32_t cpus, struct pv_strv *ret_cpus,
                        struct pv_strv *warnings, struct pv_error *err)
{
    cpu_set_t set[ISOLATION_CPUS_MAX / CPU_SETSIZE];
    uint8_t allowed[ISOLATION_CPUS_MAX];
    if (sched_getaffinity(0, sizeof(set), set) < 0)
        return pv_error_set(err, errno, "ask for the host's CPUs: %s", strerror(errno));
    for (size_t i = 0; i < ISOLATION_CPUS_MAX; i++)
        allowed[i] = CPU_ISSET_S(i, sizeof(set), set) != 0;

    uint32_t start = (uint32_t)(pv_time_monotonic_ns() / 1000 % ISOLATION_CPUS_MAX);
    int rc = isolation_cpus_choose(allowed, ISOLATION_CPUS_MAX, busy, cpus, start, ret_cpus, err);
    if (rc == 0 && ret_cpus->count == 0)
        pv_strv_add_take(warnings, pv_strf("--cpus %u: this host allows fewer CPUs, so the virtual "
                                           "CPUs are not pinned and the machine will be slow",
                                           cpus));
    return rc;
}
