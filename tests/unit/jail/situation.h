/* SPDX-License-Identifier: Apache-2.0
 *
 * situation.h: who starts a jail in a test, and what this host withholds from it.
 *
 *   test_x PRISONER root|user|ns-root[,ro-proc] [WALL,WALL,...]
 *
 * ns-root is the root of a user namespace that has no other id and allows no more namespaces of its
 * kind; ro-proc: the host shows a read-only /proc, so a user namespace can be made and not used.
 * The walls are those that must be missing here, because the test runs under `enosys` or the like;
 * all others must stand.
 */
#ifndef TESTS_JAIL_SITUATION_H
#define TESTS_JAIL_SITUATION_H

#include "jail/walls.h"

#include <stdbool.h>
#include <sys/types.h>

#define SITUATION_USER 54321  /* the plain user, when root runs the test */
#define SITUATION_GUEST 54322 /* whom root's machines become */

/* Becomes what the arguments say, in a session of its own with a terminal. Exits with 77 and a
 * reason when this host cannot give the situation. Returns in a child; its parent waits. */
void situation_enter(int argc, char **argv);

bool situation_is_root(void);
/* True when the wall must be missing here. */
bool situation_lacks(const char *wall);
/* A new descriptor of the prisoner's image, or of the session's terminal; close-on-exec. */
int situation_open_prisoner(void);
int situation_open_terminal(void);
/* The Landlock ABI that the kernel itself reports, or 0. */
int situation_landlock_abi(void);
/* Asserts that the walls in `names` (NULL-terminated) stand, or are missing with a reason where the
 * situation says so. */
void situation_check_walls(const struct jail_walls *walls, const char *const *names);
/* Makes a directory that any user may use; the path is written to path. */
void situation_make_dir(char path[64]);

#endif
