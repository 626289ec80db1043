/* SPDX-License-Identifier: Apache-2.0
 *
 * output.h: one of our own outputs on an event loop, which a slow reader must not stop.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct cli_output;

struct cli_output_events {
    void (*on_drain)(void *data);   /* it was full and is no longer */
    void (*on_written)(void *data); /* nothing waits any more */
    void (*on_broken)(void *data);  /* nobody reads it any more; further bytes are dropped */
};

/* fd: borrowed, and left in its mode: it is shared with whoever started us. NULL: errno. */
struct cli_output *cli_output_new(struct pv_loop *loop, int fd,
                                  const struct cli_output_events *events, void *data);
void cli_output_free(struct cli_output *output); /* accepts NULL; drops what waits */
/* Writes or queues. 0, or -errno when it can hold no more (the caller ignored is_full). */
int cli_output_write(struct cli_output *output, const void *bytes, size_t len);
/* More waits than should: stop producing until on_drain. */
bool cli_output_is_full(const struct cli_output *output);
bool cli_output_is_empty(const struct cli_output *output);

#endif
