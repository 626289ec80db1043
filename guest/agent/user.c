/* SPDX-License-Identifier: Apache-2.0
 *
 * user.c: /etc/passwd and /etc/group.   Format: passwd(5), group(5).
 * Runs in: the child, before it becomes the workload's process: a file that blocks or is huge
 *          costs that process only.
 * Trust:   the files are the image's or the workload's; lines that make no sense are skipped.
 */
#include "agent/user.h"

#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX (8u << 20)
#define NAME_MAX_BYTES 256
#define ID_MAX 4294967294u /* -1 means "unchanged" to the kernel */

/* A line of one of the files, cut into its fields. */
#define FIELDS_MAX 7
struct line {
    const char *field[FIELDS_MAX];
    size_t len[FIELDS_MAX];
    size_t count;
};

/* Cuts the line at *at and moves *at to the next one; false at the end of the text. */
static bool next_line(const char **at, struct line *line)
{
    const char *p = *at;
    if (!*p)
        return false;
    line->count = 0;
    for (;;) {
        size_t len = strcspn(p, ":\n");
        if (line->count < FIELDS_MAX) {
            line->field[line->count] = p;
            line->len[line->count] = len;
            line->count++;
        }
        p += len;
        if (*p != ':')
            break;
        p++;
    }
    *at = *p ? p + 1 : p;
    return true;
}

static bool field_is(const struct line *line, size_t i, const char *text)
{
    return line->count > i && strlen(text) == line->len[i] &&
           memcmp(line->field[i], text, line->len[i]) == 0;
}

static bool parse_id(const char *text, size_t len, uint32_t *ret_id)
{
    char digits[16];
    uint64_t value;
    if (len >= sizeof(digits))
        return false;
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (pv_str_to_u64(digits, 0, ID_MAX, &value) < 0)
        return false;
    *ret_id = (uint32_t)value;
    return true;
}

static bool field_id(const struct line *line, size_t i, uint32_t *ret_id)
{
    return line->count > i && parse_id(line->field[i], line->len[i], ret_id);
}

/* Finds the first entry whose name is `name` or, when numeric, whose id (field 2) is id. */
static bool find_entry(const char *text, const char *name, bool numeric, uint32_t id, size_t fields,
                       struct line *ret_line)
{
    struct line line;
    while (next_line(&text, &line)) {
        uint32_t entry_id;
        if (line.count < fields || !field_id(&line, 2, &entry_id))
            continue;
        if (field_is(&line, 0, name) || (numeric && entry_id == id)) {
            *ret_line = line;
            return true;
        }
    }
    return false;
}

/* True when the comma-separated members (field 3) hold the name. */
static bool has_member(const struct line *line, const char *name, size_t name_len)
{
    if (line->count < 4)
        return false;
    const char *p = line->field[3], *end = p + line->len[3];
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        size_t len = (size_t)((comma ? comma : end) - p);
        if (len == name_len && memcmp(p, name, len) == 0)
            return true;
        p += len + 1;
    }
    return false;
}

static void add_group(struct agent_user *u, gid_t gid)
{
    for (size_t i = 0; i < u->num_groups; i++)
        if (u->groups[i] == gid)
            return;
    if (u->num_groups < AGENT_USER_GROUPS_MAX)
        u->groups[u->num_groups++] = gid;
}

static void add_memberships(const char *groups, const struct line *user, struct agent_user *u)
{
    struct line line;
    uint32_t gid;
    while (next_line(&groups, &line))
        if (field_id(&line, 2, &gid) && has_member(&line, user->field[0], user->len[0]))
            add_group(u, gid);
}

static int read_file(int root_fd, const char *path, char **ret_text, struct pv_error *err)
{
    int rc = pv_fd_read_file(root_fd, path, FILE_MAX, ret_text, NULL, err);
    if (rc == -ENOENT || rc == -ENOTDIR) {
        *ret_text = strdup("");
        return *ret_text ? 0 : pv_error_set(err, ENOMEM, "read '%s': out of memory", path);
    }
    return rc;
}

/* The group after the colon: it is the only group then. */
static int set_group(const char *groups, const char *name, struct agent_user *u,
                     struct pv_error *err)
{
    struct line line;
    uint32_t gid = 0;
    bool numeric = parse_id(name, strlen(name), &gid);
    if (find_entry(groups, name, numeric, gid, 3, &line))
        field_id(&line, 2, &gid);
    else if (!numeric)
        return pv_error_set(err, ENOENT,
                            "unable to find group %s: no matching entries in group file", name);
    u->gid = gid;
    return 0;
}

static int set_user(const char *passwd, const char *name, struct agent_user *u,
                    struct line *ret_line, bool *ret_found, struct pv_error *err)
{
    uint32_t uid = 0, gid = 0;
    bool numeric = parse_id(name, strlen(name), &uid);
    *ret_found = find_entry(passwd, name, numeric, uid, 4, ret_line);
    if (!*ret_found && !numeric)
        return pv_error_set(err, ENOENT,
                            "unable to find user %s: no matching entries in passwd file", name);
    if (*ret_found) {
        field_id(ret_line, 2, &uid);
        field_id(ret_line, 3, &gid);
    }
    u->uid = uid;
    u->gid = gid;
    if (*ret_found && ret_line->count > 5 && ret_line->len[5] &&
        ret_line->len[5] < sizeof(u->home)) {
        memcpy(u->home, ret_line->field[5], ret_line->len[5]);
        u->home[ret_line->len[5]] = '\0';
    }
    return 0;
}

int agent_user_find(int root_fd, const char *text, struct agent_user *ret_user,
                    struct pv_error *err)
{
    char name[NAME_MAX_BYTES + 1];
    if (!text || !*text)
        text = "0";
    if (strlen(text) > NAME_MAX_BYTES)
        return pv_error_set(err, EINVAL, "user: longer than %d bytes", NAME_MAX_BYTES);
    memcpy(name, text, strlen(text) + 1);
    char *group = strchr(name, ':');
    if (group)
        *group++ = '\0';

    pv_auto_free char *passwd = NULL;
    pv_auto_free char *groups = NULL;
    int rc = read_file(root_fd, "etc/passwd", &passwd, err);
    if (rc == 0)
        rc = read_file(root_fd, "etc/group", &groups, err);
    if (rc < 0)
        return rc;

    struct agent_user *u = ret_user;
    struct line line;
    bool found;
    u->num_groups = 0;
    strcpy(u->home, "/");
    rc = set_user(passwd, *name ? name : "0", u, &line, &found, err);
    if (rc < 0)
        return rc;
    if (group && *group) {
        rc = set_group(groups, group, u, err);
        add_group(u, u->gid);
        return rc;
    }
    add_group(u, u->gid);
    if (found)
        add_memberships(groups, &line, u);
    return 0;
}

const char *agent_user_name(const char *passwd, uid_t uid, char buf[AGENT_USER_NAME_MAX])
{
    struct line line;
    snprintf(buf, AGENT_USER_NAME_MAX, "%u", uid);
    if (!find_entry(passwd, "", true, uid, 4, &line) || !line.len[0] ||
        line.len[0] >= AGENT_USER_NAME_MAX)
        return buf;
    memcpy(buf, line.field[0], line.len[0]);
    buf[line.len[0]] = '\0';
    return buf;
}
