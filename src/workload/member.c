/* SPDX-License-Identifier: Apache-2.0
 *
 * member.c: reads and writes what is known of a member of a private network.
 */
#include "workload/member.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHORT_ID_LEN 12

void workload_member_done(struct workload_member *member)
{
    free(member->id);
    free(member->name);
    free(member->hostname);
    pv_strv_done(&member->aliases);
    *member = (struct workload_member){0};
}

static int read_member(const struct pv_json *json, struct workload_member *m, struct pv_error *err)
{
    int rc = pv_json_need_string(json, "id", &m->id, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "name", &m->name, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "hostname", &m->hostname, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "aliases", &m->aliases, err);
    if (rc < 0)
        return rc;
    if (!pv_str_is_name(m->id) || !pv_str_is_name(m->name))
        return pv_error_set(err, EINVAL, "'id' and 'name' must be names");
    if (m->aliases.count > WORKLOAD_MEMBER_ALIASES_MAX)
        return pv_error_set(err, EINVAL, "'aliases': at most %d", WORKLOAD_MEMBER_ALIASES_MAX);
    return 0;
}

int workload_member_read(const char *text, size_t len, struct workload_member *ret_member,
                         struct pv_error *err)
{
    struct workload_member m = {0};
    pv_auto(pv_json) struct pv_json *json = NULL;
    int rc = pv_json_parse(text, len, &json, err);
    if (rc == 0)
        rc = read_member(json, &m, err);
    if (rc < 0) {
        workload_member_done(&m);
        return pv_error_prefix(err, "member of the network");
    }
    *ret_member = m;
    return 0;
}

char *workload_member_write(const struct workload_member *member)
{
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    int rc = o ? pv_json_add_string(o, "id", member->id) : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_string(o, "name", member->name);
    if (rc == 0)
        rc = pv_json_add_string(o, "hostname", member->hostname);
    if (rc == 0)
        rc = pv_json_add_strv(o, "aliases", &member->aliases);
    return rc == 0 ? pv_json_print(o, false) : NULL;
}

static bool is_same(const char *a, const char *name, size_t len)
{
    return a && strlen(a) == len && strncasecmp(a, name, len) == 0;
}

bool workload_member_has_name(const struct workload_member *member, const char *name, size_t len)
{
    if (is_same(member->name, name, len) || is_same(member->hostname, name, len))
        return true;
    if (len == SHORT_ID_LEN && strncasecmp(member->id, name, len) == 0)
        return true;
    for (size_t i = 0; i < member->aliases.count; i++)
        if (is_same(member->aliases.items[i], name, len))
            return true;
    return false;
}
