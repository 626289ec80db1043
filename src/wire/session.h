/* SPDX-License-Identifier: Apache-2.0
 *
 * session.h: one process of a workload and whoever speaks with it: start, stdio, signals, end.
 *
 * The same frames run between the CLI and the monitor (the main process, `attach`) and between the
 * CLI or the monitor and the agent (port WIRE_AGENT_PORT of the guest's vsock; `exec`). A
 * connection carries one session. The client opens with SESSION_START (to the agent) or with
 * CONTROL_ATTACH (to the monitor); data frames follow in both directions until SESSION_EXITED or
 * SESSION_FAILED, each of which is the server's last frame.
 */
#ifndef WIRE_SESSION_H
#define WIRE_SESSION_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define WIRE_AGENT_PORT 1024u /* the agent listens here in the guest: sessions */
#define WIRE_SETUP_PORT 1024u /* the agent connects here on the host (CID 2) at boot: setup.h */
#define WIRE_GUEST_CID 3u
#define WIRE_VERSION 1u

enum wire_session_type {
    /* client to server */
    WIRE_SESSION_START = 1,     /* JSON: struct wire_process */
    WIRE_SESSION_STDIN = 2,     /* bytes */
    WIRE_SESSION_STDIN_EOF = 3, /* empty */
    WIRE_SESSION_RESIZE = 4,    /* u16 rows, u16 columns, little-endian */
    WIRE_SESSION_SIGNAL = 5,    /* u32 signal number */
    /* server to client */
    WIRE_SESSION_STARTED = 16, /* u32 pid in the guest */
    WIRE_SESSION_STDOUT = 17,  /* bytes; with a terminal everything comes here */
    WIRE_SESSION_STDERR = 18,  /* bytes */
    WIRE_SESSION_EXITED = 19,  /* u32 exit code as Docker counts: 0..255, 128 + signal */
    WIRE_SESSION_FAILED = 20,  /* u32 exit code (125, 126, 127), then text: why it did not start */
    /* Flow control of stdin: the server grants bytes that the client may send; a client starts
     * with WIRE_SESSION_STDIN_WINDOW and stops reading its input at zero. */
    WIRE_SESSION_STDIN_CREDIT = 21, /* u32 more bytes */
};
#define WIRE_SESSION_STDIN_WINDOW (128u * 1024)

#define WIRE_PROCESS_STRINGS_MAX 4096u        /* of args, and of env */
#define WIRE_PROCESS_BYTES_MAX (1024u * 1024) /* of args and env together, with their NULs */

/* The process settings of the OCI runtime specification (config.md, "Process"), as far as they are
 * carried; a setting that is not carried is refused by name rather than dropped. user.username may
 * be set instead of uid/gid: "name", "name:group", "uid:gid" as in Docker's --user; the agent
 * resolves it in the guest's /etc/passwd and /etc/group. All strings are UTF-8, as JSON demands. */
struct wire_process {
    struct pv_strv args; /* at least one */
    struct pv_strv env;  /* NAME=value */
    char *cwd;           /* absolute; NULL: "/" */
    char *user;          /* as above; NULL: root */
    bool terminal;
    uint16_t rows, columns; /* consoleSize; 0: 24 x 80 */
};

void wire_process_done(struct wire_process *p);
/* Reads and validates OCI process JSON. On failure *p is left done. */
int wire_process_read(const struct pv_json *json, struct wire_process *p, struct pv_error *err);
/* The process as JSON; the caller frees. NULL when out of memory. */
struct pv_json *wire_process_write(const struct wire_process *p);

/* Little-endian u32 at the start of a payload; -EPROTO when the payload is shorter. */
int wire_get_u32(const uint8_t *payload, size_t len, uint32_t *ret_value);
void wire_put_u32(uint8_t out[4], uint32_t value);

#endif
