/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h: the agent's own words, in the kernel's log: "agent: ...".
 */
#ifndef AGENT_LOG_H
#define AGENT_LOG_H

#include "base/attr.h"

/* Opens /dev/kmsg (the initramfs has it); until then, and without it, lines go to descriptor 2, the
 * console. */
void agent_log_open(void);
/* Something failed; shown on the console also of a quiet kernel. */
void agent_log_error(const char *fmt, ...) PV_PRINTF(1, 2);
/* Worth knowing when something failed later. */
void agent_log_note(const char *fmt, ...) PV_PRINTF(1, 2);
/* Writes text as it is. Async-signal-safe. */
void agent_log_raw(const char *text);

#endif
