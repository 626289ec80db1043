/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_monitor.h: the processes that the fake monitor runs in place of a guest's.
 */
#ifndef SUPPORT_FAKE_MONITOR_H
#define SUPPORT_FAKE_MONITOR_H

#include "base/loop.h"
#include "wire/machine.h"
#include "wire/stream.h"

struct fake_task;

struct fake_task_events {
    void (*on_output)(void *data, bool is_stderr, const uint8_t *bytes, size_t len);
    void (*on_credit)(void *data, uint32_t bytes); /* stdin bytes were taken */
    /* All output was delivered. failure: why it did not start, else NULL. */
    void (*on_exit)(void *data, int code, const char *failure);
};

/* Starts the process on the host. no_stdin: its stdin is at its end. */
struct fake_task *fake_task_new(struct pv_loop *loop, const struct wire_process *process,
                                bool no_stdin, const struct fake_task_events *events, void *data);
void fake_task_free(struct fake_task *task);
void fake_task_pause(struct fake_task *task, bool paused);
void fake_task_signal(struct fake_task *task, int signo);
int fake_task_write(struct fake_task *task, const void *bytes, size_t len);
void fake_task_write_end(struct fake_task *task);
void fake_task_resize(struct fake_task *task, const uint8_t size[4]);

const struct wire_stream_events *fake_exec_events(void);

#endif
