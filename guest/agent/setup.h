/* SPDX-License-Identifier: Apache-2.0
 *
 * setup.h: the channel to the monitor (wire/setup.h), agent's side.
 */
#ifndef AGENT_SETUP_H
#define AGENT_SETUP_H

#include "base/loop.h"
#include "wire/setup.h"

struct agent_setup;

struct agent_setup_events {
    /* The machine's set-up arrived, once. Answer with ready or failed. */
    void (*on_machine)(void *data, const struct wire_setup *setup);
    /* It arrived but makes no sense. */
    void (*on_refused)(void *data, const char *text);
    void (*on_shutdown)(void *data, uint32_t grace_ms);
    void (*on_get_stats)(void *data);
    /* So many bytes should be free. Answer with memory. */
    void (*on_reclaim)(void *data, uint64_t bytes);
    /* The machine has another amount of memory. */
    void (*on_resized)(void *data);
    /* The workload may use so much CPU time (0: any). Answer with cpu_set. */
    void (*on_cpu)(void *data, uint32_t milli);
    /* The monitor is gone or breaks the protocol. The last call. */
    void (*on_lost)(void *data, int error);
};

/* Takes the connected, non-blocking socket and says hello. Returns NULL with errno set. */
struct agent_setup *agent_setup_new(struct pv_loop *loop, int fd,
                                    const struct agent_setup_events *events, void *data);
void agent_setup_free(struct agent_setup *s); /* accepts NULL */
/* Each sends a message; what cannot be sent ends in on_lost. */
void agent_setup_ready(struct agent_setup *s);
void agent_setup_failed(struct agent_setup *s, const char *text);
void agent_setup_oom(struct agent_setup *s, const char *name);
void agent_setup_stats(struct agent_setup *s, const char *json, size_t len);
void agent_setup_memory(struct agent_setup *s, const struct wire_setup_memory *memory);
/* rc: 0 or -errno. */
void agent_setup_cpu_set(struct agent_setup *s, uint32_t milli, int rc);

#endif
