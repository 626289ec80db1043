/* SPDX-License-Identifier: Apache-2.0
 *
 * capacity.c: compares a machine's memory with the host's.
 *
 * Guest memory is a file in memory that grows as the guest touches it, so asking for more than is
 * free now can be right; asking for more than there is cannot.
 */
#include "isolation/capacity.h"

#include "base/fd.h"
#include "workload/resources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define MIB (1ull << 20)

static bool find_kib(const char *meminfo, const char *key, uint64_t *ret_bytes)
{
    size_t len = strlen(key);
    for (const char *line = meminfo; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        unsigned long long kib;
        if (strncmp(line, key, len) == 0 && line[len] == ':' &&
            sscanf(line + len + 1, " %llu", &kib) == 1) {
            *ret_bytes = (uint64_t)kib * 1024;
            return true;
        }
    }
    return false;
}

int isolation_capacity_parse(const char *meminfo, struct isolation_capacity *ret_capacity,
                             struct pv_error *err)
{
    struct isolation_capacity c = {0};
    if (!find_kib(meminfo, "MemTotal", &c.memory_total) ||
        !find_kib(meminfo, "MemAvailable", &c.memory_available))
        return pv_error_set(err, EINVAL, "/proc/meminfo: no MemTotal or MemAvailable");
    find_kib(meminfo, "SwapTotal", &c.swap_total);
    *ret_capacity = c;
    return 0;
}

static void warn(const struct isolation_demand *demand, uint64_t available,
                 struct pv_strv *warnings)
{
    char asked[32], have[32], promised[32];
    pv_str_from_size(demand->memory_bytes, asked, sizeof(asked));
    pv_str_from_size(available, have, sizeof(have));
    pv_str_from_size(demand->promised_bytes, promised, sizeof(promised));
    pv_strv_add_take(
        warnings,
        demand->promised_bytes
            ? pv_strf("--memory %s: only %s are free on this host now, and other machines may "
                      "still take %s; a machine is killed when it needs more than the host can "
                      "find",
                      asked, have, promised)
            : pv_strf("--memory %s: only %s are free on this host now; the machine is killed when "
                      "it needs more than the host can find",
                      asked, have));
}

int isolation_capacity_check(const struct isolation_capacity *capacity,
                             const struct isolation_demand *demand, struct pv_strv *warnings,
                             struct pv_error *err)
{
    char asked[32], have[32];
    uint64_t all = capacity->memory_total + capacity->swap_total;
    if (demand->memory_bytes > all)
        return pv_error_set(err, ENOMEM,
                            "--memory %s: this host has %s of memory and swap in all; ask for less",
                            pv_str_from_size(demand->memory_bytes, asked, sizeof(asked)),
                            pv_str_from_size(all, have, sizeof(have)));
    uint64_t more = demand->memory_bytes - PV_MIN(demand->occupied_bytes, demand->memory_bytes);
    if (more + demand->promised_bytes > capacity->memory_available)
        warn(demand, capacity->memory_available, warnings);
    return 0;
}

int isolation_capacity_read(struct isolation_capacity *ret_capacity, struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    int rc = pv_fd_read_file(AT_FDCWD, "/proc/meminfo", 65536, &text, NULL, err);
    return rc < 0 ? rc : isolation_capacity_parse(text, ret_capacity, err);
}

int isolation_capacity_find_max(uint64_t memory_bytes, uint64_t wanted, uint64_t *ret_max,
                                struct pv_error *err)
{
    char asked[32], have[32];
    struct isolation_capacity capacity;
    int rc = isolation_capacity_read(&capacity, err);
    if (rc < 0)
        return rc;
    uint64_t all = capacity.memory_total + capacity.swap_total;
    if (wanted > all)
        return pv_error_set(err, ENOMEM,
                            "--memory-max %s: this host has %s of memory and swap in all; ask for "
                            "less",
                            pv_str_from_size(wanted, asked, sizeof(asked)),
                            pv_str_from_size(all, have, sizeof(have)));
    uint64_t most = wanted ? wanted : PV_MIN(capacity.memory_total, WORKLOAD_MEMORY_MAX);
    *ret_max = PV_MAX(most / MIB * MIB, memory_bytes);
    return 0;
}
