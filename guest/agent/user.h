/* SPDX-License-Identifier: Apache-2.0
 *
 * user.h: who a process runs as, from the image's /etc/passwd and /etc/group.
 *
 * The agent is static and links no NSS, so it reads the two files itself.
 */
#ifndef AGENT_USER_H
#define AGENT_USER_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

#define AGENT_USER_GROUPS_MAX 1024
#define AGENT_USER_HOME_MAX 4096
#define AGENT_USER_NAME_MAX 64

struct agent_user {
    uid_t uid;
    gid_t gid;
    gid_t groups[AGENT_USER_GROUPS_MAX]; /* all of them, gid included */
    size_t num_groups;
    char home[AGENT_USER_HOME_MAX]; /* "/" when unknown */
};

/* Resolves what stands behind --user: NULL or "" (root), "user", "user:group", each a name or a
 * number, in etc/passwd and etc/group below root_fd, as Docker does: a number needs no entry, a
 * group given replaces all others. Missing files count as empty. */
int agent_user_find(int root_fd, const char *text, struct agent_user *ret_user,
                    struct pv_error *err);

/* The name of uid in the text of a passwd file; its number when there is none. Returns buf. */
const char *agent_user_name(const char *passwd, uid_t uid, char buf[AGENT_USER_NAME_MAX]);

#endif
