/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h: a client of sessions for tests, and an agent in a process of its own that it talks to
 * over unix sockets. Everything blocks, with a limit.
 */
#ifndef TESTS_UNIT_AGENT_CLIENT_H
#define TESTS_UNIT_AGENT_CLIENT_H

#include "base/str.h"
#include "support/unit.h"
#include "wire/frame.h"
#include "wire/session.h"

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CLIENT_TIMEOUT_MS 20000

/* The agent's sessions, served by a child process. */
struct server {
    pid_t pid;
    struct sockaddr_un address;
    socklen_t address_len;
};

void server_start(struct server *s);
/* Ends the child; it must have been alive. */
void server_stop(struct server *s);

struct client {
    int fd;
    struct pv_bytes in;
    struct wire_frame_joiner joiner;
    struct wire_frame held; /* the frame in `in` that the last message came from */
    bool holds;
    uint32_t credit;
};

void client_connect(struct client *c, const struct server *s);
void client_close(struct client *c);
void client_send(struct client *c, uint16_t type, const void *payload, size_t len);
/* START with JSON text. */
void client_start(struct client *c, const char *json);
void client_signal(struct client *c, uint32_t signo);
void client_resize(struct client *c, uint16_t rows, uint16_t columns);
/* The next message (until the next call), but credit, which is added up. false: the end. */
bool client_next(struct client *c, struct wire_frame *ret_frame);

/* All that a session says to its end. */
struct outcome {
    struct pv_str out, err;
    uint32_t pid;
    bool started, exited, failed;
    uint32_t code;
    char *failure; /* NULL when it did not fail */
};

void client_collect(struct client *c, struct outcome *o);
/* Reads output until its text holds `text`. */
void client_wait_for(struct client *c, struct outcome *o, const char *text);
/* Connects, starts, sends input (may be NULL) and its end, collects, closes. */
void client_run(const struct server *s, const char *json, const char *input, struct outcome *o);
void outcome_done(struct outcome *o);

/* {"args": ["sh", "-c", script]} with more members (", ..." or ""). Static buffer. */
const char *client_shell(const char *script, const char *more);

#endif
