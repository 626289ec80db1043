/* SPDX-License-Identifier: Apache-2.0
 *
 * session.h: sessions: one connection, one process each (wire/session.h).
 *
 * The transport is whatever the caller accepted: vsock in a machine, a unix socket in tests.
 */
#ifndef AGENT_SESSION_H
#define AGENT_SESSION_H

#include "agent/reap.h"
#include "agent/world.h"
#include "base/loop.h"

#define AGENT_SESSION_MAX 256u /* connected at a time; more are refused */

struct agent_sessions;

/* All arguments are borrowed. Ignores SIGPIPE from now on. Returns NULL with errno set. */
struct agent_sessions *agent_session_new(struct pv_loop *loop, struct agent_reaper *reaper,
                                         const struct agent_world *world);
/* Drops all connections; the processes live on. Accepts NULL. */
void agent_session_free(struct agent_sessions *all);
/* Serves a connected, non-blocking, close-on-exec stream socket, which is taken. */
void agent_session_accept(struct agent_sessions *all, int fd);
/* Refuses sessions from now on: the machine is going down. */
void agent_session_refuse(struct agent_sessions *all);
unsigned agent_session_count(const struct agent_sessions *all);

#endif
