/* SPDX-License-Identifier: Apache-2.0
 *
 * session.h: carries our stdio, signals and terminal to a process of a machine, until it ends.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "base/error.h"

#include <signal.h>
#include <stdbool.h>

struct cli_session_config {
    int fd;             /* non-blocking socket with session frames; taken */
    bool with_stdin;    /* pass our stdin on, else its end at once */
    bool ends_stdin;    /* without with_stdin: tell the process that its stdin has ended */
    bool terminal;      /* it has a terminal: ours goes into raw mode if stdin is one */
    bool proxy;         /* pass signals that we get on to the process */
    bool detach_keys;   /* ctrl-p ctrl-q leaves */
    bool until_started; /* leave as soon as it has started (-d) */
    bool tell_detach;   /* the other side is a monitor: say that we leave */
    bool is_primary;    /* the process dies for our lost output (SIGPIPE), and with our hang-up */
};

enum cli_session_end {
    CLI_SESSION_EXITED,   /* code: its exit code */
    CLI_SESSION_FAILED,   /* code 125, 126, 127 and why */
    CLI_SESSION_DETACHED, /* it goes on without us */
    CLI_SESSION_CANCELED, /* a signal came before it had started; code 128 + signal */
    CLI_SESSION_LOST,     /* the connection broke */
};

struct cli_session_result {
    enum cli_session_end end;
    int code;
    bool started;
    struct pv_error why; /* for FAILED and LOST */
};

/* The signals that a session passes on, to be blocked early so that none is lost. */
void cli_session_signals(sigset_t *ret_set);
/* Runs the session to its end. Fails only when it could not begin. */
int cli_session_run(const struct cli_session_config *config, struct cli_session_result *ret_result,
                    struct pv_error *err);

#endif
