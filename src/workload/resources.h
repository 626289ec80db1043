/* SPDX-License-Identifier: Apache-2.0
 *
 * resources.h: what a workload may use: memory, CPUs, disk, log.
 */
#ifndef WORKLOAD_RESOURCES_H
#define WORKLOAD_RESOURCES_H

#include "base/error.h"

#include <stdint.h>

#define WORKLOAD_MEMORY_DEFAULT (512ull << 20)
#define WORKLOAD_MEMORY_MIN (64ull << 20)
#define WORKLOAD_MEMORY_MAX (1ull << 40)
#define WORKLOAD_CPUS_MAX 8u
#define WORKLOAD_CPU_MILLI_MIN 10u
#define WORKLOAD_DISK_DEFAULT (10ull << 30)
#define WORKLOAD_DISK_MIN (16ull << 20)
#define WORKLOAD_DISK_MAX (16ull << 40)
#define WORKLOAD_LOG_DEFAULT (16ull << 20)
#define WORKLOAD_LOG_MIN (64ull << 10)
#define WORKLOAD_LOG_MAX (1ull << 40)

struct workload_resources {
    uint64_t memory_bytes; /* of the machine; whole MiB */
    uint64_t
        memory_max_bytes; /* what it can be given while it runs; whole MiB; 0: all of the host's */
    uint32_t cpu_milli;   /* share of CPU time, in thousandths of a CPU */
    uint32_t cpus_max;    /* virtual CPUs at least; 0: as many as cpu_milli needs */
    uint64_t disk_bytes;  /* of the writable layer; whole MiB */
    uint64_t log_bytes;   /* the most that the log may take on the host's disk */
};

void workload_resources_init(struct workload_resources *r); /* the defaults */
/* Each parses what the user wrote behind `flag` and names the flag in its error. Memory and disk
 * are rounded up to whole MiB. */
int workload_resources_set_memory(struct workload_resources *r, const char *flag, const char *text,
                                  struct pv_error *err);
int workload_resources_set_memory_max(struct workload_resources *r, const char *flag,
                                      const char *text, struct pv_error *err);
int workload_resources_set_cpus(struct workload_resources *r, const char *flag, const char *text,
                                struct pv_error *err);
int workload_resources_set_cpus_max(struct workload_resources *r, const char *flag,
                                    const char *text, struct pv_error *err);
int workload_resources_set_disk(struct workload_resources *r, const char *flag, const char *text,
                                struct pv_error *err);
int workload_resources_set_log(struct workload_resources *r, const char *flag, const char *text,
                               struct pv_error *err);
/* Do they fit each other? Names the flags in its error. */
int workload_resources_check(const struct workload_resources *r, struct pv_error *err);
/* How many virtual CPUs the machine gets. */
uint32_t workload_resources_count_cpus(const struct workload_resources *r);

#endif
