/* SPDX-License-Identifier: Apache-2.0
 *
 * signals.c: names and numbers of signals. The guest is x86-64 Linux like the host, so the host's
 * numbers are the guest's.
 */
#include "workload/signals.h"

#include "base/str.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <strings.h>

#define SIGNAL_MAX 64

int workload_signals_parse(const char *text, uint32_t *ret_signal, struct pv_error *err)
{
    uint64_t number = 0;
    if (pv_str_to_u64(text, 1, SIGNAL_MAX, &number) == 0) {
        *ret_signal = (uint32_t)number;
        return 0;
    }
    const char *name = strncasecmp(text, "SIG", 3) == 0 ? text + 3 : text;
    for (int signo = 1; signo < SIGNAL_MAX; signo++) {
        const char *known = sigabbrev_np(signo);
        if (known && strcasecmp(known, name) == 0) {
            *ret_signal = (uint32_t)signo;
            return 0;
        }
    }
    return pv_error_set(err, EINVAL, "signal '%s': unknown; write a name (TERM) or a number (15)",
                        text);
}
