/* SPDX-License-Identifier: Apache-2.0
 *
 * session.c: the process settings of a session as OCI JSON, and small payloads.
 * Spec:   OCI runtime specification 1.1, config.md, "Process".
 * Trust:  the JSON is the peer's; everything is bounded and checked here.
 */
#include "wire/session.h"

#include "wire/check_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define USER_MAX 256
#define UID_MAX (UINT32_MAX - 1) /* -1 means "unchanged" to the kernel */

void wire_process_done(struct wire_process *p)
{
    pv_strv_done(&p->args);
    pv_strv_done(&p->env);
    free(p->cwd);
    free(p->user);
    *p = (struct wire_process){0};
}

/* Reads "user": a name to be resolved in the guest, or numbers. */
static int read_user(const struct pv_json *json, char **ret_user, struct pv_error *err)
{
    static const char *const keys[] = {"uid", "gid", "username"};
    const struct pv_json *user = pv_json_get(json, "user");
    if (!user)
        return 0;
    int rc = wire_check_keys(user, keys, PV_ARRAY_SIZE(keys), err);
    if (rc < 0)
        return pv_error_prefix(err, "'user'");

    pv_auto_free char *name = NULL;
    rc = pv_json_get_string(user, "username", &name, err);
    if (rc == 0)
        rc = wire_check_text("username", name, USER_MAX, false, err);
    if (rc < 0)
        return rc;
    if (name) {
        if (pv_json_get(user, "uid") || pv_json_get(user, "gid"))
            return pv_error_set(err, EINVAL, "'user': holds a name and numbers");
        *ret_user = pv_take_ptr(name);
        return 0;
    }

    uint32_t uid = 0, gid = 0;
    rc = wire_check_get_u32(user, "uid", 0, UID_MAX, &uid, err);
    if (rc == 0)
        rc = wire_check_get_u32(user, "gid", 0, UID_MAX, &gid, err);
    if (rc < 0)
        return rc;
    *ret_user = pv_strf("%u:%u", uid, gid);
    return *ret_user ? 0 : pv_error_set(err, ENOMEM, "'user': out of memory");
}

static int read_console_size(const struct pv_json *json, struct wire_process *p,
                             struct pv_error *err)
{
    static const char *const keys[] = {"height", "width"};
    const struct pv_json *size = pv_json_get(json, "consoleSize");
    if (!size)
        return 0;
    int rc = wire_check_keys(size, keys, PV_ARRAY_SIZE(keys), err);
    if (rc < 0)
        return pv_error_prefix(err, "'consoleSize'");
    rc = wire_check_get_u16(size, "height", &p->rows, err);
    return rc < 0 ? rc : wire_check_get_u16(size, "width", &p->columns, err);
}

static int check_strings(const struct wire_process *p, struct pv_error *err)
{
    if (!p->args.count)
        return pv_error_set(err, EINVAL, "'args': nothing to run");
    if (p->args.count > WIRE_PROCESS_STRINGS_MAX)
        return pv_error_set(err, E2BIG, "'args': more than %u", WIRE_PROCESS_STRINGS_MAX);
    if (p->env.count > WIRE_PROCESS_STRINGS_MAX)
        return pv_error_set(err, E2BIG, "'env': more than %u", WIRE_PROCESS_STRINGS_MAX);

    size_t bytes = 0;
    for (size_t i = 0; i < p->args.count; i++)
        bytes += strlen(p->args.items[i]) + 1;
    for (size_t i = 0; i < p->env.count; i++) {
        const char *text = p->env.items[i];
        const char *equals = strchr(text, '=');
        if (!equals || equals == text)
            return pv_error_set(err, EINVAL, "'env': '%.100s' is not NAME=value", text);
        bytes += strlen(text) + 1;
    }
    if (bytes > WIRE_PROCESS_BYTES_MAX)
        return pv_error_set(err, E2BIG, "'args' and 'env': more than %u bytes together",
                            WIRE_PROCESS_BYTES_MAX);
    return 0;
}

static int read_fields(const struct pv_json *json, struct wire_process *p, struct pv_error *err)
{
    static const char *const keys[] = {"args", "env", "cwd", "user", "terminal", "consoleSize"};
    int rc = wire_check_keys(json, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "args", &p->args, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "env", &p->env, err);
    if (rc == 0)
        rc = check_strings(p, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "cwd", &p->cwd, err);
    if (rc == 0)
        rc = wire_check_path("cwd", p->cwd, err);
    if (rc == 0)
        rc = read_user(json, &p->user, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "terminal", &p->terminal, err);
    return rc < 0 ? rc : read_console_size(json, p, err);
}

int wire_process_read(const struct pv_json *json, struct wire_process *p, struct pv_error *err)
{
    *p = (struct wire_process){0};
    int rc = read_fields(json, p, err);
    if (rc < 0) {
        wire_process_done(p);
        return pv_error_prefix(err, "process");
    }
    return 0;
}

static int add_user(struct pv_json *json, const char *name)
{
    if (!name)
        return 0;
    struct pv_json *user = pv_json_new_object();
    if (!user)
        return -ENOMEM;
    if (pv_json_add_string(user, "username", name) < 0) {
        pv_json_free(user);
        return -ENOMEM;
    }
    return pv_json_add(json, "user", user);
}

static int add_console_size(struct pv_json *json, uint16_t rows, uint16_t columns)
{
    if (!rows && !columns)
        return 0;
    struct pv_json *size = pv_json_new_object();
    if (!size)
        return -ENOMEM;
    if (pv_json_add_u64(size, "height", rows) < 0 || pv_json_add_u64(size, "width", columns) < 0) {
        pv_json_free(size);
        return -ENOMEM;
    }
    return pv_json_add(json, "consoleSize", size);
}

struct pv_json *wire_process_write(const struct wire_process *p)
{
    pv_auto(pv_json) struct pv_json *json = pv_json_new_object();
    if (!json || pv_json_add_strv(json, "args", &p->args) < 0 ||
        pv_json_add_strv(json, "env", &p->env) < 0 || pv_json_add_string(json, "cwd", p->cwd) < 0 ||
        add_user(json, p->user) < 0 || pv_json_add_bool(json, "terminal", p->terminal) < 0 ||
        add_console_size(json, p->rows, p->columns) < 0)
        return NULL;
    return pv_take_ptr(json);
}

int wire_get_u32(const uint8_t *payload, size_t len, uint32_t *ret_value)
{
    uint32_t value;
    if (len < sizeof(value))
        return -EPROTO;
    memcpy(&value, payload, sizeof(value));
    *ret_value = le32toh(value);
    return 0;
}

void wire_put_u32(uint8_t out[4], uint32_t value)
{
    value = htole32(value);
    memcpy(out, &value, sizeof(value));
}
