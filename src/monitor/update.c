/* SPDX-License-Identifier: Apache-2.0
 *
 * update.c: changes of the running machine (WIRE_CONTROL_UPDATE).
 *
 * Theory of operation: a request is a JSON object whose keys are changes, and each change is one
 * entry of the table below. First every key is looked up and every entry asked whether its change
 * can be made; only then they are made, in the order of the table. A change that takes time says
 * so (it returns 1) and calls monitor_update_done later; the client is answered when all are done.
 * There is one update at a time, so what was checked still holds when it is made. A client that
 * goes away does not stop what it asked for.
 *
 * Trust: the client is the instance's owner; what it sends is checked like everything else.
 */
#include "monitor/internal.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

struct change {
    const char *key;
    /* Can it be made? Changes nothing. The request has the key. */
    int (*check)(struct monitor *m, const struct pv_json *request, struct pv_error *err);
    /* Makes it and puts what holds then into the reply. 1: is under way, monitor_update_done tells
     * the end. < 0: nothing of it was made. */
    int (*make)(struct monitor *m, const struct pv_json *request, struct pv_json *reply,
                struct pv_error *err);
};

static int read_memory(const struct pv_json *request, uint64_t *ret_bytes, struct pv_error *err)
{
    return pv_json_need_u64(request, "memory_bytes", WIRE_MACHINE_MEMORY_MIN,
                            WIRE_MACHINE_MEMORY_MAX, ret_bytes, err);
}

static int check_memory(struct monitor *m, const struct pv_json *request, struct pv_error *err)
{
    uint64_t bytes;
    int rc = read_memory(request, &bytes, err);
    return rc < 0 ? rc : monitor_memory_check(m, bytes, err);
}

static int make_memory(struct monitor *m, const struct pv_json *request, struct pv_json *reply,
                       struct pv_error *err)
{
    uint64_t bytes;
    int rc = read_memory(request, &bytes, err);
    if (rc == 0)
        rc = pv_json_add_u64(reply, "memory_bytes", bytes);
    return rc < 0 ? rc : monitor_memory_change(m, bytes, err);
}

/* All changes that a running machine takes. */
static const struct change changes[] = {
    {"memory_bytes", check_memory, make_memory},
    {"cpu_milli", monitor_cpu_check, monitor_cpu_make},
    {"disk_rates", monitor_disks_check_rates, monitor_disks_make_rates},
    {"disk_sizes", monitor_disks_check_sizes, monitor_disks_make_sizes},
    {"revoke", monitor_grants_check, monitor_grants_make_revoke},
    {"grant", monitor_grants_check, monitor_grants_make},
    {"net_rate", monitor_grants_check_rate, monitor_grants_make_rate},
};

struct check {
    struct monitor *m;
    const struct pv_json *request;
    struct pv_error *err;
    unsigned count;
};

static int check_one(const char *key, const struct pv_json *value, void *data)
{
    struct check *c = data;
    c->count++;
    for (size_t i = 0; i < PV_ARRAY_SIZE(changes); i++)
        if (strcmp(changes[i].key, key) == 0)
            return changes[i].check(c->m, c->request, c->err);
    return pv_error_set(c->err, EINVAL, "update: nothing called '%.64s' can be changed", key);
}

static int check_all(struct monitor *m, const struct pv_json *request, struct pv_error *err)
{
    struct check c = {.m = m, .request = request, .err = err};
    if (m->update.reply)
        return pv_error_set(err, EBUSY, "another update is under way: try again");
    if (m->phase != MONITOR_RUNNING && m->phase != MONITOR_READY)
        return pv_error_set(err, EAGAIN, "the machine %s: try again",
                            m->phase < MONITOR_READY ? "is still starting" : "is about to end");
    if (!pv_json_is_object(request))
        return pv_error_set(err, EINVAL, "update: expected a JSON object");
    int rc = pv_json_each(request, check_one, &c);
    return rc == 0 && c.count == 0 ? pv_error_set(err, EINVAL, "update: nothing to change") : rc;
}

/* The first failure is what the client hears; what was made before stays, and the text says so. */
static void note_failure(struct monitor *m, int rc, const struct pv_error *err)
{
    if (m->update.rc == 0) {
        m->update.rc = rc;
        m->update.err = *err;
    }
}

static void finish(struct monitor *m)
{
    pv_auto(pv_json) struct pv_json *reply = pv_take_ptr(m->update.reply);
    struct monitor_client *client = pv_take_ptr(m->update.client);
    monitor_state_write(m); /* the walls may stand differently */
    if (m->update.rc < 0)
        pv_log(PV_LOG_WARNING, "update: %s", m->update.err.text);
    if (client && m->update.rc < 0)
        monitor_control_reply_error(client, -m->update.rc, m->update.err.text);
    else if (client)
        monitor_control_reply_json(client, reply);
}

void monitor_update_done(struct monitor *m, int rc, const struct pv_error *err)
{
    if (rc < 0)
        note_failure(m, rc, err);
    if (--m->update.waits == 0)
        finish(m);
}

struct pv_json *monitor_update_reply(struct monitor *m)
{
    return m->update.reply;
}

void monitor_update_forget(struct monitor *m, struct monitor_client *client)
{
    if (m->update.client == client)
        m->update.client = NULL;
}

static void make_all(struct monitor *m, const struct pv_json *request)
{
    m->update.waits = 1; /* ourselves: no early end */
    for (size_t i = 0; i < PV_ARRAY_SIZE(changes) && m->update.rc == 0; i++) {
        struct pv_error err = PV_ERROR_INIT;
        if (!pv_json_get(request, changes[i].key))
            continue;
        m->update.waits++;
        int rc = changes[i].make(m, request, m->update.reply, &err);
        if (rc == 1)
            continue;
        m->update.waits--;
        if (rc < 0)
            note_failure(m, rc, &err);
    }
    monitor_update_done(m, 0, NULL);
}

void monitor_update_request(struct monitor *m, struct monitor_client *client, const uint8_t *json,
                            size_t len)
{
    struct pv_error err = PV_ERROR_INIT;
    pv_auto(pv_json) struct pv_json *request = NULL;
    int rc = pv_json_parse((const char *)json, len, &request, &err);
    if (rc == 0)
        rc = check_all(m, request, &err);
    struct pv_json *reply = rc == 0 ? pv_json_new_object() : NULL;
    if (rc == 0 && !reply)
        rc = pv_error_set(&err, ENOMEM, "update: out of memory");
    if (rc < 0) {
        monitor_control_reply_error(client, -rc, pv_error_text(&err, rc));
        return;
    }
    m->update.reply = reply;
    m->update.client = client;
    m->update.rc = 0;
    make_all(m, request);
}
