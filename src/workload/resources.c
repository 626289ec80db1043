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
        .cpu_milli = 1000,
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

int workload_resources_set_memory_max(struct workload_resources *r, const char *flag,
                                      const char *text, struct pv_error *err)
{
    uint64_t bytes;
    int rc = parse_size(flag, text, WORKLOAD_MEMORY_MIN, WORKLOAD_MEMORY_MAX, &bytes, err);
    if (rc == 0)
        r->memory_max_bytes = round_up_to_mib(bytes);
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

/* "1.5" in thousandths: at most three digits behind the point count. */
static int parse_milli(const char *text, uint64_t *ret_milli)
{
    char whole[16] = "", rest[4] = "000";
    const char *dot = strchr(text, '.');
    size_t len = dot ? (size_t)(dot - text) : strlen(text);
    size_t digits = dot ? strlen(dot + 1) : 0;
    uint64_t cpus = 0, milli = 0;
    if (len >= sizeof(whole) || digits > 3 || (digits == 0 && len == 0))
        return -EINVAL;
    memcpy(whole, text, len);
    memcpy(rest, dot ? dot + 1 : "", digits);
    int rc = len ? pv_str_to_u64(whole, 0, UINT32_MAX, &cpus) : 0;
    if (rc == 0)
        rc = pv_str_to_u64(rest, 0, 999, &milli);
    *ret_milli = cpus * 1000 + milli;
    return rc;
}

int workload_resources_set_cpus(struct workload_resources *r, const char *flag, const char *text,
                                struct pv_error *err)
{
    uint64_t milli = 0;
    int rc = parse_milli(text, &milli);
    if (rc == -EINVAL)
        return pv_error_set(err, EINVAL,
                            "%s '%s': not a number of CPUs; write 2 or 1.5, at most %u", flag, text,
                            WORKLOAD_CPUS_MAX);
    if (rc < 0 || milli < WORKLOAD_CPU_MILLI_MIN || milli > 1000 * WORKLOAD_CPUS_MAX)
        return pv_error_set(err, ERANGE, "%s '%s': a machine has 0.01 to %u CPUs", flag, text,
                            WORKLOAD_CPUS_MAX);
    r->cpu_milli = (uint32_t)milli;
    return 0;
}

int workload_resources_set_cpus_max(struct workload_resources *r, const char *flag,
                                    const char *text, struct pv_error *err)
{
    uint64_t cpus = 0;
    int rc = pv_str_to_u64(text, 1, WORKLOAD_CPUS_MAX, &cpus);
    if (rc < 0)
        return pv_error_set(err, -rc, "%s '%s': write a whole number of virtual CPUs, 1 to %u",
                            flag, text, WORKLOAD_CPUS_MAX);
    r->cpus_max = (uint32_t)cpus;
    return 0;
}

uint32_t workload_resources_count_cpus(const struct workload_resources *r)
{
    uint32_t needed = (r->cpu_milli + 999) / 1000;
    return r->cpus_max > needed ? r->cpus_max : needed;
}

int workload_resources_check(const struct workload_resources *r, struct pv_error *err)
{
    if (r->memory_max_bytes && r->memory_max_bytes < r->memory_bytes)
        return pv_error_set(err, EINVAL,
                            "--memory-max: less than --memory: raise it or leave it out");
    if (r->cpus_max && 1000 * r->cpus_max < r->cpu_milli)
        return pv_error_set(
            err, EINVAL, "--cpus-max %u: less than --cpus: raise it or leave it out", r->cpus_max);
    return 0;
}
