/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c: what the machine uses: seen from outside (memory file, cgroup, devices) and, when the
 * agent answers in time, from inside (memory, processes). Of a guest whose agent does not answer,
 * the kernel tells its memory through the balloon.
 *
 * The guest's part is passed on as JSON that was parsed once (so it is JSON, and bounded); what its
 * numbers say is the guest's word.
 */
#include "monitor/internal.h"

#include "base/counter.h"
#include "base/log.h"
#include "virtio/device/balloon.h"

#include <errno.h>
#include <string.h>

/* A guest that is busy answers late; `stats` shows then what its kernel says, or the host sees. */
#define ANSWER_TIMEOUT_NS (1000ull * 1000000)
#define KERNEL_TIMEOUT_NS (300ull * 1000000)

/* Adds to parent, under the group's name, its counters. ret_object: borrowed; may be NULL. */
static int add_group(struct pv_json *parent, const struct pv_counter_group *group,
                     struct pv_json **ret_object)
{
    struct pv_json *o = pv_json_new_object();
    int rc = o ? pv_json_add(parent, group->name, o) : -ENOMEM;
    for (size_t i = 0; i < group->count && rc == 0; i++)
        rc = pv_json_add_u64(o, group->labels[i], group->values[i]);
    if (rc == 0 && ret_object)
        *ret_object = o;
    return rc;
}

/* What stands behind the device: its folder, or the links that its frames pass. */
static int add_backend(struct pv_json *device, const struct monitor_device *d)
{
    struct pv_counter_group group;
    int rc = 0;
    if (d->fs) {
        fs_get_counters(d->fs, "folder", &group);
        rc = add_group(device, &group, NULL);
    }
    for (const struct net_link *link = d->link; link && rc == 0; link = link->below) {
        link->class->get_counters(link, link->class->name, &group);
        rc = add_group(device, &group, NULL);
    }
    return rc;
}

static int add_devices(struct pv_json *parent, const struct monitor *m)
{
    struct pv_json *devices = pv_json_new_object();
    int rc = devices ? 0 : -ENOMEM;
    for (size_t i = 0; i < m->num_devices && rc == 0; i++) {
        const struct monitor_device *d = &m->devices[i];
        struct pv_counter_group group;
        struct pv_json *device;
        if (!d->device)
            continue;
        virtio_device_get_counters(d->device, d->name, &group);
        rc = add_group(devices, &group, &device);
        if (rc == 0)
            rc = add_backend(device, d);
    }
    if (rc < 0) {
        pv_json_free(devices);
        return rc;
    }
    return pv_json_add(parent, "devices", devices);
}

static int add_usage(struct pv_json *o, const struct monitor *m)
{
    struct jail_cgroup_usage usage = {0};
    uint64_t in_use = 0;
    int rc = pv_json_add_u64(o, "memory_bytes", monitor_memory_given(m));
    if (rc == 0)
        rc = pv_json_add_u64(o, "memory_max_bytes", m->spec.memory_max_bytes);
    if (rc == 0)
        rc = pv_json_add_u64(o, "memory_returned_bytes", monitor_memory_returned(m));
    if (rc == 0 && memory_get_in_use(m->memory, &in_use) == 0)
        rc = pv_json_add_u64(o, "memory_used_bytes", in_use);
    if (rc == 0)
        rc = pv_json_add_u64(o, "cpus", m->spec.cpus);
    if (rc == 0)
        rc = pv_json_add_u64(o, "cpu_milli", m->spec.cpu_milli);
    if (rc < 0 || jail_cgroup_usage(m->cgroup, &usage, NULL) < 0)
        return rc;
    if (usage.has_cpu)
        rc = pv_json_add_u64(o, "cpu_ns", usage.cpu_ns);
    if (rc == 0 && usage.has_memory)
        rc = pv_json_add_u64(o, "cgroup_memory_bytes", usage.memory_bytes);
    if (rc == 0 && usage.has_pids)
        rc = pv_json_add_u64(o, "host_processes", usage.pids);
    return rc;
}

/* guest: taken; NULL when the agent did not answer. */
static struct pv_json *build(const struct monitor *m, struct pv_json *guest)
{
    struct pv_json *o = pv_json_new_object();
    int rc = o ? add_usage(o, m) : -ENOMEM;
    if (rc == 0)
        rc = add_devices(o, m);
    if (rc == 0)
        rc = pv_json_add_u64(o, "log_bytes_lost", monitor_log_lost(m->log));
    if (rc == 0 && guest)
        rc = pv_json_add(o, "guest", pv_take_ptr(guest));
    pv_json_free(guest);
    if (rc == 0)
        return o;
    pv_json_free(o);
    return NULL;
}

static void answer_all(struct monitor *m, struct pv_json *guest)
{
    m->stats_step = STATS_IDLE;
    pv_loop_arm(m->stats_timer, 0);
    pv_auto(pv_json) struct pv_json *json = build(m, guest);
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++) {
        struct monitor_client *client = pv_take_ptr(m->stats_clients[i]);
        if (client)
            monitor_control_reply_json(client, json);
    }
}

static void ask_kernel(struct monitor *m)
{
    if (virtio_balloon_ask_stats(m->balloon) < 0) {
        answer_all(m, NULL);
        return;
    }
    m->stats_step = STATS_ASKED_KERNEL;
    pv_loop_arm(m->stats_timer, KERNEL_TIMEOUT_NS);
}

static void on_timeout(void *data)
{
    struct monitor *m = data;
    if (m->stats_step == STATS_ASKED)
        ask_kernel(m);
    else
        answer_all(m, NULL);
}

/* Like the agent's. NULL when out of memory. */
static struct pv_json *kernel_part(const struct virtio_balloon_stats *stats)
{
    const struct {
        const char *key;
        uint64_t bytes;
    } fields[] = {{"total_bytes", stats->total},
                  {"free_bytes", stats->free},
                  {"available_bytes", stats->available},
                  {"cached_bytes", stats->cached}};
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    struct pv_json *memory = pv_json_new_object();
    if (!o || !memory || pv_json_add(o, "memory", memory) < 0)
        return NULL;
    for (size_t i = 0; i < PV_ARRAY_SIZE(fields); i++)
        if (fields[i].bytes <= INT64_MAX &&
            pv_json_add_u64(memory, fields[i].key, fields[i].bytes) < 0)
            return NULL;
    return pv_take_ptr(o);
}

void monitor_stats_kernel_told(struct monitor *m, const struct virtio_balloon_stats *stats)
{
    if (m->stats_step == STATS_ASKED_KERNEL)
        answer_all(m, kernel_part(stats));
}

void monitor_stats_request(struct monitor *m, struct monitor_client *client)
{
    if (!m->stats_timer)
        m->stats_timer = pv_loop_add_timer(m->loop, on_timeout, m);
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++) {
        if (m->stats_clients[i] && m->stats_clients[i] != client)
            continue;
        m->stats_clients[i] = client;
        break;
    }
    if (m->stats_step != STATS_IDLE)
        return;
    if (!m->stats_timer) {
        answer_all(m, NULL);
    } else if (monitor_agent_ask_stats(m) < 0) {
        ask_kernel(m);
    } else {
        m->stats_step = STATS_ASKED;
        pv_loop_arm(m->stats_timer, ANSWER_TIMEOUT_NS);
    }
}

void monitor_stats_arrived(struct monitor *m, const uint8_t *json, size_t len)
{
    struct pv_json *guest = NULL;
    struct pv_error err = PV_ERROR_INIT;
    if (m->stats_step == STATS_IDLE)
        return; /* late: everybody has an answer */
    if (pv_json_parse((const char *)json, len, &guest, &err) < 0)
        pv_log(PV_LOG_INFO, "agent: statistics: %s", err.text);
    answer_all(m, guest);
}

void monitor_stats_forget(struct monitor *m, struct monitor_client *client)
{
    for (size_t i = 0; i < MONITOR_CLIENTS_MAX; i++)
        if (m->stats_clients[i] == client)
            m->stats_clients[i] = NULL;
}
