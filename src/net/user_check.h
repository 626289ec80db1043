/* SPDX-License-Identifier: Apache-2.0
 *
 * user_check.h: what of a guest's frames libslirp must not see; for net/user.c.
 */
#ifndef NET_USER_CHECK_H
#define NET_USER_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* head: the first bytes of a frame, in our own memory, at least an Ethernet header of them. */

/* Whether the frame may go on: it does not aim at the host itself, and is no piece of a larger
 * packet. */
bool net_user_check_head(const uint8_t *head, size_t bytes);
/* Whether libslirp, which looks at no more than this, would take it for TCP. */
bool net_user_check_is_tcp(const uint8_t *head, size_t bytes);

#endif
