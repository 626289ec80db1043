/* SPDX-License-Identifier: Apache-2.0
 *
 * update.c: changes of an instance, first of its machine, then of its configuration.
 */
#include "instance/update.h"

#include "instance/control.h"
#include "instance/lock.h"
#include "wire/control.h"
#include "workload/grant.h"

#include <errno.h>
#include <string.h>

/* A machine gives memory back for as long as that goes on; the monitor itself gives up long
 * before. */
#define ANSWER_NS (60ull * 1000000000)

/* How one key of an update is kept for the next start. */
struct entry {
    const char *key;
    int (*keep)(struct instance_config *config, const struct pv_json *changes,
                struct pv_error *err);
};

static int keep_memory(struct instance_config *config, const struct pv_json *changes,
                       struct pv_error *err)
{
    struct wire_machine *m = &config->machine;
    int rc = pv_json_get_u64(changes, "memory_bytes", WIRE_MACHINE_MEMORY_MIN,
                             WIRE_MACHINE_MEMORY_MAX, &m->memory_bytes, err);
    m->memory_max_bytes = PV_MAX(m->memory_max_bytes, m->memory_bytes);
    return rc;
}

/* More CPU time than it has virtual CPUs: it gets more of them, on whichever host CPUs there are.
 */
static int keep_cpu(struct instance_config *config, const struct pv_json *changes,
                    struct pv_error *err)
{
    struct wire_machine *m = &config->machine;
    uint64_t milli = m->cpu_milli;
    int rc = pv_json_get_u64(changes, "cpu_milli", WIRE_MACHINE_CPU_MILLI_MIN,
                             1000 * WIRE_MACHINE_CPUS_MAX, &milli, err);
    if (rc < 0)
        return rc;
    m->cpu_milli = (uint32_t)milli;
    uint32_t needed = (uint32_t)(milli + 999) / 1000;
    if (needed > m->cpus) {
        m->cpus = needed;
        pv_strv_done(&m->host_cpus);
    }
    return 0;
}

/* Rates of one disk, or of all when the entry names none. A disk's size is its file's. */
static int keep_rate(struct wire_machine *m, const struct pv_json *entry, struct pv_error *err)
{
    pv_auto_free char *serial = NULL;
    struct wire_disk rate = {0};
    int rc = pv_json_get_string(entry, "serial", &serial, err);
    if (rc == 0)
        rc = wire_disk_read_rate(entry, &rate, err);
    bool found = !serial;
    for (uint32_t i = 0; rc == 0 && i < m->num_disks; i++) {
        struct wire_disk *d = &m->disks[i];
        if (serial && (!d->serial || strcmp(d->serial, serial) != 0))
            continue;
        if (d->format && strcmp(d->format, "vhost-user") == 0)
            return pv_error_set(err, EOPNOTSUPP,
                                "--disk-rate: a storage daemon serves '%s': ask "
                                "that",
                                d->path);
        d->bytes = rate.bytes;
        d->operations = rate.operations;
        found = true;
    }
    return rc == 0 && !found ? pv_error_set(err, ENOENT,
                                            "--disk-rate: no disk has the serial "
                                            "number '%.32s'",
                                            serial)
                             : rc;
}

static int keep_rates(struct instance_config *config, const struct pv_json *changes,
                      struct pv_error *err)
{
    const struct pv_json *list = pv_json_get(changes, "disk_rates");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < pv_json_array_length(list); i++)
        rc = keep_rate(&config->machine, pv_json_array_at(list, i), err);
    return rc;
}

/* Exchanges the list for another one. */
static int keep_list(struct instance_config *config, const struct workload_grants *grants,
                     struct pv_error *err)
{
    struct pv_strv texts = {0};
    if (workload_grants_texts(grants, &texts) < 0) {
        pv_strv_done(&texts);
        return pv_error_set(err, ENOMEM, "grants: out of memory");
    }
    pv_strv_done(&config->machine.grants);
    config->machine.grants = texts;
    return 0;
}

/* Of an instance that does not run: the monitor's answer has the whole list instead. */
static int keep_change(struct instance_config *config, const struct pv_json *changes,
                       const char *key, struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv texts = {0};
    struct workload_grants grants = {0};
    bool add = strcmp(key, "grant") == 0;
    int rc = pv_json_get_strv(changes, key, &texts, err);
    if (rc == 0)
        rc = workload_grants_add_texts(&grants, "grants", &config->machine.grants, err);
    if (rc == 0)
        rc = add ? workload_grants_add_texts(&grants, "--grant", &texts, err)
                 : workload_grants_remove_texts(&grants, "--revoke", &texts, err);
    if (rc == 0)
        rc = keep_list(config, &grants, err);
    workload_grants_done(&grants);
    return rc;
}

static int keep_grant(struct instance_config *config, const struct pv_json *changes,
                      struct pv_error *err)
{
    return keep_change(config, changes, "grant", err);
}

static int keep_revoke(struct instance_config *config, const struct pv_json *changes,
                       struct pv_error *err)
{
    return keep_change(config, changes, "revoke", err);
}

static int keep_grants(struct instance_config *config, const struct pv_json *changes,
                       struct pv_error *err)
{
    struct pv_strv texts = {0};
    int rc = pv_json_get_strv(changes, "grants", &texts, err);
    if (rc < 0) {
        pv_strv_done(&texts);
        return rc;
    }
    pv_strv_done(&config->machine.grants);
    config->machine.grants = texts;
    return 0;
}

static int keep_net_rate(struct instance_config *config, const struct pv_json *changes,
                         struct pv_error *err)
{
    struct wire_net_rate rate = {0};
    int rc = wire_machine_read_net_rate(pv_json_get(changes, "net_rate"), &rate, err);
    if (rc == 0)
        config->machine.net_rate = rate;
    return rc;
}

static const struct entry entries[] = {
    {"memory_bytes", keep_memory}, {"cpu_milli", keep_cpu}, {"disk_rates", keep_rates},
    {"revoke", keep_revoke},       {"grant", keep_grant},   {"grants", keep_grants},
    {"net_rate", keep_net_rate},
};

struct keeping {
    struct instance_config *config;
    const struct pv_json *changes;
    struct pv_error *err;
};

static int keep_one(const char *key, const struct pv_json *value, void *data)
{
    struct keeping *k = data;
    for (size_t i = 0; i < PV_ARRAY_SIZE(entries); i++)
        if (strcmp(entries[i].key, key) == 0)
            return entries[i].keep(k->config, k->changes, k->err);
    return 0; /* of this run only, or an answer that only tells */
}

static int check_key(const char *key, const struct pv_json *value, void *data)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(entries); i++)
        if (strcmp(entries[i].key, key) == 0)
            return 0;
    return pv_error_set(data, EINVAL, "'%s' can only be changed while the machine runs", key);
}

/* Writes what the changes say into config.json as it is now. */
static int keep_all(struct instance *instance, const struct pv_json *changes, struct pv_error *err)
{
    struct keeping k = {.config = &instance->config, .changes = changes, .err = err};
    int rc = instance_reload(instance, err);
    if (rc == 0)
        rc = pv_json_each(changes, keep_one, &k);
    return rc == 0 ? instance_config_save(instance->dirfd, &instance->config, err) : rc;
}

static int copy(const struct pv_json *json, struct pv_json **ret_copy, struct pv_error *err)
{
    pv_auto_free char *text = pv_json_print(json, false);
    return text ? pv_json_parse(text, strlen(text), ret_copy, err)
                : pv_error_set(err, ENOMEM, "update: out of memory");
}

static int change_machine(struct instance *instance, const struct pv_json *changes,
                          struct pv_json **ret_reply, struct pv_error *err)
{
    pv_auto_free char *text = pv_json_print(changes, false);
    if (!text)
        return pv_error_set(err, ENOMEM, "update: out of memory");
    return instance_control_send(instance, WIRE_CONTROL_UPDATE, text, strlen(text), ANSWER_NS,
                                 ret_reply, err);
}

int instance_update(struct instance *instance, const struct pv_json *changes,
                    struct pv_json **ret_reply, struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *reply = NULL;
    /* Nobody starts or cleans up the instance meanwhile, and updates wait for each other. */
    pv_auto_fd int guard = instance_lock_folder(instance->dirfd, true, err);
    int rc = guard < 0 ? guard : instance_reload(instance, err);
    if (rc < 0)
        return rc;
    if (instance->alive && instance_status(instance) < INSTANCE_EXITED) {
        rc = change_machine(instance, changes, &reply, err);
    } else {
        rc = pv_json_each(changes, check_key, err);
        rc = rc == 0 ? copy(changes, &reply, err) : rc;
    }
    if (rc == 0)
        rc = keep_all(instance, reply, err);
    if (rc == 0 && ret_reply)
        *ret_reply = pv_take_ptr(reply);
    return rc < 0 ? pv_error_prefix(err, "update %s", instance_name(instance)) : 0;
}
