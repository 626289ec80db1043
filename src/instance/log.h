/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h: reads the log of a workload's output, also while it grows and is rotated.
 */
#ifndef INSTANCE_LOG_H
#define INSTANCE_LOG_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* What the machine was denied: monitor/audit.h has its form. */
#define INSTANCE_AUDIT_FILE "audit.jsonl"
#define INSTANCE_AUDIT_OLD_FILE "audit.1.jsonl"
#define INSTANCE_AUDIT_BYTES (4u << 20) /* more than a file ever has */

struct instance_log;

struct instance_log_entry {
    bool is_stderr;
    uint64_t time_ns;      /* CLOCK_REALTIME; 0 when the line does not tell */
    const char *time_text; /* as written; "" when the line does not tell */
    const uint8_t *bytes;  /* the output, with its newline */
    size_t len;
};

/* machine_dirfd: borrowed, and needed until free. A log that does not exist (yet) is empty. */
int instance_log_open(int machine_dirfd, struct instance_log **ret_log, struct pv_error *err);
void instance_log_free(struct instance_log *log); /* accepts NULL */
/* The next entry (borrowed until the next call): 1, or 0 at the end for now: later calls go on
 * with what was added meanwhile. Lines that cannot be understood are skipped and counted. */
int instance_log_next(struct instance_log *log, struct instance_log_entry *ret_entry,
                      struct pv_error *err);
/* Leaves out all but the last `count` entries. To be called before the first next. */
int instance_log_skip_to_tail(struct instance_log *log, uint64_t count, struct pv_error *err);
uint64_t instance_log_skipped(const struct instance_log *log);
/* Waits until the log may have grown, at most timeout_ms. */
void instance_log_wait(struct instance_log *log, int timeout_ms);

#endif
