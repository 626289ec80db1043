/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h: the workload's output, kept in Docker's json-file form with a size limit.
 */
#ifndef MONITOR_LOG_H
#define MONITOR_LOG_H

#include "base/error.h"

#include <stdint.h>

struct monitor_log;

enum monitor_log_stream { MONITOR_LOG_STDOUT, MONITOR_LOG_STDERR };

#define MONITOR_LOG_FILE "log.jsonl"
#define MONITOR_LOG_OLD_FILE "log.1.jsonl"

/* Opens log.jsonl in state_dirfd (borrowed), appending. max_bytes: the most that both files may
 * hold together (at least 64 KiB is used). */
int monitor_log_open(int state_dirfd, uint64_t max_bytes, struct monitor_log **ret_log,
                     struct pv_error *err);
void monitor_log_free(struct monitor_log *log); /* writes what is left; accepts NULL */

/* Adds bytes of a stream. They become lines {"log", "stream", "time"}: one per line of output, or
 * per MONITOR_LOG_LINE_MAX bytes of it. Bytes that are no UTF-8 are carried as "data" in base64
 * instead of "log". Never fails: what the disk refuses is counted. */
void monitor_log_add(struct monitor_log *log, enum monitor_log_stream stream, const void *bytes,
                     size_t len);
/* Writes a last line without a newline, and everything that is buffered. */
void monitor_log_flush(struct monitor_log *log);
/* How many bytes of output the disk refused. */
uint64_t monitor_log_lost(const struct monitor_log *log);

#define MONITOR_LOG_LINE_MAX (16u * 1024)

#endif
