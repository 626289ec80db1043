/* SPDX-License-Identifier: Apache-2.0
 *
 * input.h: standard input on an event loop.
 */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include "base/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cli_input;

struct cli_input_events {
    void (*on_bytes)(void *data, const uint8_t *bytes, size_t len);
    void (*on_end)(void *data);    /* once: the end of the file, or an error */
    void (*on_detach)(void *data); /* ctrl-p ctrl-q was typed */
};

/* Reads fd 0, not before the first allow. detach_keys: look for ctrl-p ctrl-q. NULL: errno. */
struct cli_input *cli_input_new(struct pv_loop *loop, bool detach_keys,
                                const struct cli_input_events *events, void *data);
void cli_input_free(struct cli_input *input); /* accepts NULL */
/* So many bytes may be read now, in place of what was allowed before; 0 stops reading. */
void cli_input_allow(struct cli_input *input, size_t bytes);

#endif
