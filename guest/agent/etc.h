/* SPDX-License-Identifier: Apache-2.0
 *
 * etc.h: the files of /etc that tell a machine its name and its network.
 */
#ifndef AGENT_ETC_H
#define AGENT_ETC_H

#include "base/error.h"
#include "wire/setup.h"

/* Writes etc/hostname, etc/hosts and, when there is anything to say, etc/resolv.conf below
 * root_fd. A link of such a name is replaced, never followed. */
int agent_etc_write(int root_fd, const struct wire_setup *setup, struct pv_error *err);

#endif
