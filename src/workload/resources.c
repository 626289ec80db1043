/* SPDX-License-Identifier: Apache-2.0
 *
 * resources.c: limits as the user writes them (Docker's syntax), checked against what a machine
 * can have at all. Whether this host can give them is asked later, where the machine is built.
 */
#include "workload/resources.h"

#include "base/str.h"

#include <errno.h>
#include <string.h>

#define MIB (1ull << 20)

void workload_resources_init(struct workload_resources *r)
{
    *r = (struct workload_resources){
        .memory_bytes = WORKLOAD_MEMORY_DEFAULT,
        .cpus = 1,
        .disk_bytes = WORKLOAD_DISK_DEFAULT,
        .log_bytes = WORKLOAD_LOG_DEFAULT,
    };
}

static int parse_size(const char *flag, const char *text, uint64_t min, uint64_t max,
                      uint64_t *ret_bytes, struct pv_error *err)
{
    char low[32], high[32];
    uint64_t bytes = 0;
    int rc = pv_str_to_size(text, &bytes);
    if (rc == -EINVAL)
        return pv_error_set(err, EINVAL, "%s '%s': not a size; write a number and a unit: 512M, 2G",
                            flag, text);
    if (rc < 0 || bytes < min || bytes > max)
        return pv_error_set(err, ERANGE, "%s '%s': out of range; between %s and %s are possible",
                            flag, text, pv_str_from_size(min, low, sizeof(low)),
                            pv_str_from_size(max, high, sizeof(high)));
    *ret_bytes = bytes;
    return 0;
}

static uint64_t round_up_to_mib(uint64_t bytes)
{
    return (bytes + MIB - 1) / MIB * MIB;
}

int workload_resources_set_memory(struct workload_resources *r, const char *flag, const char *text,
                                  struct pv_error *err)
{
    uint64_t bytes;
    int rc = parse_size(flag, text, WORKLOAD_MEMORY_MIN, WORKLOAD_MEMORY_MAX, &bytes, err);
    if (rc == 0)
        r->memory_bytes = round_up_to_mib(bytes);
    return rc;
}

int workload_resources_set_disk(struct workload_resources *r, const char *flag, const char *text,
                                struct pv_error *err)
{
    uint64_t bytes;
    int rc = parse_size(flag, text, WORKLOAD_DISK_MIN, WORKLOAD_DISK_MAX, &bytes, err);
    if (rc == 0)
        r->disk_bytes = round_up_to_mib(bytes);
    return rc;
}

int workload_resources_set_log(struct workload_resources *r, const char *flag, const char *text,
                               struct pv_error *err)
{
    return parse_size(flag, text, WORKLOAD_LOG_MIN, WORKLOAD_LOG_MAX, &r->log_bytes, err);
}

/* True for "1.5": a fraction, which Docker takes and a machine cannot have. */
static bool is_fraction(const char *text)
{
    const char *dot = strchr(text, '.');
    return dot && dot[1] && strspn(text, "0123456789.") == strlen(text) && !strchr(dot + 1, '.');
}

int workload_resources_set_cpus(struct workload_resources *r, const char *flag, const char *text,
                                struct pv_error *err)
{
    uint64_t cpus = 0;
    if (is_fraction(text))
        return pv_error_set(err, EINVAL,
                            "%s '%s': whole numbers only: a machine has whole virtual CPUs; round "
                            "it up",
                            flag, text);
    int rc = pv_str_to_u64(text, 1, WORKLOAD_CPUS_MAX, &cpus);
    if (rc == -EINVAL)
        return pv_error_set(err, EINVAL, "%s '%s': not a number of CPUs; write 1 to %u", flag, text,
                            WORKLOAD_CPUS_MAX);
    if (rc < 0)
        return pv_error_set(err, ERANGE, "%s '%s': a machine has 1 to %u virtual CPUs", flag, text,
                            WORKLOAD_CPUS_MAX);
    r->cpus = (uint32_t)cpus;
    return 0;
}
