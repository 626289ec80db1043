/* SPDX-License-Identifier: Apache-2.0
 *
 * machine.c: the description of one machine as JSON.
 * Trust:     whoever starts a monitor wrote it; the monitor serves nobody yet, but it may run as
 *            root on behalf of a user, so every field is checked.
 */
#include "wire/machine.h"

#include "wire/check_internal.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define ID_LENGTH 64
#define SERIAL_MAX 20
#define HOST_CPU_MAX 8191 /* NR_CPUS of the largest kernels, less one */
#define LOG_LEVEL_MAX 8
#define BRIDGE_MAX 15 /* IFNAMSIZ without the NUL */
#define MIB (1ull << 20)

void wire_machine_done(struct wire_machine *m)
{
    free(m->id);
    free(m->name);
    free(m->state_dir);
    free(m->run_dir);
    free(m->kernel);
    free(m->initramfs);
    free(m->extra_cmdline);
    free(m->cgroup);
    pv_strv_done(&m->host_cpus);
    for (size_t i = 0; i < PV_ARRAY_SIZE(m->disks); i++) {
        free(m->disks[i].path);
        free(m->disks[i].serial);
        free(m->disks[i].format);
    }
    for (size_t i = 0; i < PV_ARRAY_SIZE(m->nets); i++) {
        free(m->nets[i].backend);
        free(m->nets[i].mac);
        free(m->nets[i].bridge);
        free(m->nets[i].folder);
        free(m->nets[i].subnet);
        free(m->nets[i].subnet6);
        pv_strv_done(&m->nets[i].addresses);
        pv_strv_done(&m->nets[i].gateways);
        pv_strv_done(&m->nets[i].dns);
        pv_strv_done(&m->nets[i].ports);
    }
    pv_strv_done(&m->nameservers);
    pv_strv_done(&m->grants);
    wire_volumes_done(&m->volumes);
    wire_setup_done(&m->setup);
    wire_process_done(&m->process);
    *m = (struct wire_machine){0};
}

static int read_names(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    int rc = pv_json_need_string(json, "id", &m->id, err);
    if (rc == 0 && (strlen(m->id) != ID_LENGTH || strspn(m->id, "0123456789abcdef") != ID_LENGTH))
        rc = pv_error_set(err, EINVAL, "'id': must be %d lower-case hex digits", ID_LENGTH);
    if (rc == 0)
        rc = pv_json_need_string(json, "name", &m->name, err);
    if (rc == 0 && !pv_str_is_name(m->name))
        rc =
            pv_error_set(err, EINVAL, "'name': must be 1 to 128 letters, digits, '-', '_' and '.'");
    return rc;
}

static int need_path(const struct pv_json *json, const char *key, char **ret_path,
                     struct pv_error *err)
{
    int rc = pv_json_need_string(json, key, ret_path, err);
    return rc < 0 ? rc : wire_check_path(key, *ret_path, err);
}

static int read_paths(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    int rc = need_path(json, "state_dir", &m->state_dir, err);
    if (rc == 0)
        rc = need_path(json, "run_dir", &m->run_dir, err);
    if (rc == 0)
        rc = need_path(json, "kernel", &m->kernel, err);
    if (rc == 0)
        rc = need_path(json, "initramfs", &m->initramfs, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "cgroup", &m->cgroup, err);
    return rc < 0 ? rc : wire_check_path("cgroup", m->cgroup, err);
}

static int read_host_cpus(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    int rc = pv_json_get_strv(json, "host_cpus", &m->host_cpus, err);
    if (rc < 0)
        return rc;
    if (m->host_cpus.count && m->host_cpus.count != m->cpus)
        return pv_error_set(err, EINVAL, "'host_cpus': %zu of them for %u CPUs", m->host_cpus.count,
                            m->cpus);
    for (size_t i = 0; i < m->host_cpus.count; i++) {
        uint64_t cpu;
        if (pv_str_to_u64(m->host_cpus.items[i], 0, HOST_CPU_MAX, &cpu) < 0)
            return pv_error_set(err, EINVAL, "'host_cpus': '%.100s' is no CPU number",
                                m->host_cpus.items[i]);
    }
    return 0;
}

static int read_sizes(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    int rc = pv_json_need_u64(json, "memory_bytes", WIRE_MACHINE_MEMORY_MIN,
                              WIRE_MACHINE_MEMORY_MAX, &m->memory_bytes, err);
    if (rc == 0 && m->memory_bytes % MIB)
        rc = pv_error_set(err, EINVAL, "'memory_bytes': must be whole MiB");
    m->memory_max_bytes = m->memory_bytes;
    if (rc == 0)
        rc = pv_json_get_u64(json, "memory_max_bytes", m->memory_bytes, WIRE_MACHINE_MEMORY_MAX,
                             &m->memory_max_bytes, err);
    if (rc == 0 && m->memory_max_bytes % MIB)
        rc = pv_error_set(err, EINVAL, "'memory_max_bytes': must be whole MiB");
    uint64_t cpus = 0;
    if (rc == 0)
        rc = pv_json_need_u64(json, "cpus", 1, WIRE_MACHINE_CPUS_MAX, &cpus, err);
    m->cpus = (uint32_t)cpus;
    m->cpu_milli = 1000 * m->cpus;
    if (rc == 0)
        rc = wire_check_get_u32(json, "cpu_milli", WIRE_MACHINE_CPU_MILLI_MIN, 1000 * m->cpus,
                                &m->cpu_milli, err);
    m->log_bytes_max = WIRE_MACHINE_LOG_DEFAULT;
    if (rc == 0)
        rc = pv_json_get_u64(json, "log_bytes_max", WIRE_MACHINE_LOG_MIN, UINT64_MAX / 2,
                             &m->log_bytes_max, err);
    return rc < 0 ? rc : read_host_cpus(json, m, err);
}

static int check_format(const char *format, struct pv_error *err)
{
    if (!format || strcmp(format, "raw") == 0 || strcmp(format, "qcow2") == 0 ||
        strcmp(format, "vhost-user") == 0)
        return 0;
    return pv_error_set(err, EINVAL, "'format': there is no '%.100s'", format);
}

int wire_disk_read_rate(const struct pv_json *json, struct wire_disk *disk, struct pv_error *err)
{
    int rc = pv_json_get_u64(json, "bps", 0, PV_RATE_MAX, &disk->bytes.per_second, err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "bps_burst", 0, PV_RATE_MAX, &disk->bytes.burst, err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "iops", 0, PV_RATE_MAX, &disk->operations.per_second, err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "iops_burst", 0, PV_RATE_MAX, &disk->operations.burst, err);
    return rc;
}

static int read_disk(const struct pv_json *json, struct wire_disk *disk, struct pv_error *err)
{
    static const char *const keys[] = {"path", "read_only", "serial", "format",
                                       "bps",  "bps_burst", "iops",   "iops_burst"};
    int rc = wire_check_keys(json, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = need_path(json, "path", &disk->path, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "read_only", &disk->read_only, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "serial", &disk->serial, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "format", &disk->format, err);
    if (rc == 0)
        rc = check_format(disk->format, err);
    if (rc == 0)
        rc = wire_disk_read_rate(json, disk, err);
    return rc < 0 ? rc : wire_check_text("serial", disk->serial, SERIAL_MAX, false, err);
}

static int read_disks(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    const struct pv_json *disks = pv_json_get(json, "disks");
    size_t count = pv_json_array_length(disks);
    struct pv_strv none = {0};
    if (disks && !count && pv_json_get_strv(json, "disks", &none, NULL) < 0)
        return pv_error_set(err, EINVAL, "'disks': expected a list");
    if (count > WIRE_MACHINE_DISKS_MAX)
        return pv_error_set(err, E2BIG, "'disks': more than %d", WIRE_MACHINE_DISKS_MAX);

    for (size_t i = 0; i < count; i++) {
        m->num_disks++;
        int rc = read_disk(pv_json_array_at(disks, i), &m->disks[i], err);
        if (rc < 0)
            return pv_error_prefix(err, "'disks': number %zu", i);
    }
    return 0;
}

static int read_net_lists(const struct pv_json *json, struct wire_net *net, struct pv_error *err)
{
    const struct {
        const char *key;
        struct pv_strv *list;
        size_t max;
        int (*check)(const char *key, const char *text, struct pv_error *err);
    } lists[] = {
        {"addresses", &net->addresses, WIRE_SETUP_ADDRESSES_MAX, wire_check_network},
        {"gateways", &net->gateways, WIRE_SETUP_ADDRESSES_MAX, wire_check_address},
        {"dns", &net->dns, WIRE_SETUP_NAMESERVERS_MAX, wire_check_address},
        {"ports", &net->ports, WIRE_MACHINE_PORTS_MAX, NULL},
    };
    int rc = 0;
    for (size_t i = 0; i < PV_ARRAY_SIZE(lists) && rc == 0; i++) {
        rc = pv_json_get_strv(json, lists[i].key, lists[i].list, err);
        if (rc == 0 && lists[i].list->count > lists[i].max)
            rc = pv_error_set(err, E2BIG, "'%s': more than %zu", lists[i].key, lists[i].max);
        for (size_t j = 0; rc == 0 && lists[i].check && j < lists[i].list->count; j++)
            rc = lists[i].check(lists[i].key, lists[i].list->items[j], err);
    }
    return rc;
}

static int read_private(const struct pv_json *json, struct wire_net *net, struct pv_error *err)
{
    int rc = pv_json_get_string(json, "folder", &net->folder, err);
    if (rc == 0)
        rc = wire_check_path("folder", net->folder, err);
    if (rc < 0 || !net->folder)
        return rc;
    rc = pv_json_need_string(json, "subnet", &net->subnet, err);
    if (rc == 0)
        rc = wire_check_network("subnet", net->subnet, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "subnet6", &net->subnet6, err);
    if (rc == 0)
        rc = wire_check_network("subnet6", net->subnet6, err);
    return rc == 0 ? wire_check_get_u32(json, "number", 1, UINT16_MAX, &net->number, err) : rc;
}

static int read_net(const struct pv_json *json, struct wire_net *net, struct pv_error *err)
{
    static const char *const keys[] = {"backend", "mac",     "addresses", "gateways",
                                       "dns",     "ports",   "bridge",    "folder",
                                       "subnet",  "subnet6", "number"};
    int rc = wire_check_keys(json, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = pv_json_need_string(json, "backend", &net->backend, err);
    if (rc == 0 && !pv_str_is_name(net->backend))
        rc = pv_error_set(err, EINVAL, "'backend': not a name");
    if (rc == 0)
        rc = pv_json_need_string(json, "mac", &net->mac, err);
    if (rc == 0)
        rc = wire_check_mac("mac", net->mac, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "bridge", &net->bridge, err);
    if (rc == 0)
        rc = wire_check_text("bridge", net->bridge, BRIDGE_MAX, false, err);
    if (rc == 0)
        rc = read_private(json, net, err);
    return rc < 0 ? rc : read_net_lists(json, net, err);
}

static int read_nets(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    const struct pv_json *nets;
    size_t count;
    int rc = wire_check_get_list(json, "nets", WIRE_SETUP_NETS_MAX, &nets, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        m->num_nets++;
        if (read_net(pv_json_array_at(nets, i), &m->nets[i], err) < 0)
            rc = pv_error_prefix(err, "'nets': number %zu", i);
    }
    if (rc == 0)
        rc = pv_json_get_strv(json, "nameservers", &m->nameservers, err);
    for (size_t i = 0; rc == 0 && i < m->nameservers.count; i++)
        rc = wire_check_address("nameservers", m->nameservers.items[i], err);
    return rc;
}

int wire_machine_read_net_rate(const struct pv_json *json, struct wire_net_rate *rate,
                               struct pv_error *err)
{
    static const char *const keys[] = {"bps", "bps_burst", "pps", "pps_burst"};
    int rc = wire_check_keys(json, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "bps", 0, PV_RATE_MAX, &rate->bytes.per_second, err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "bps_burst", 0, PV_RATE_MAX, &rate->bytes.burst, err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "pps", 0, PV_RATE_MAX, &rate->frames.per_second, err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "pps_burst", 0, PV_RATE_MAX, &rate->frames.burst, err);
    return rc;
}

/* What a grant says is read by workload/; here it is short text. */
static int read_fence(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    int rc = pv_json_get_strv(json, "grants", &m->grants, err);
    if (rc == 0 && m->grants.count > WIRE_MACHINE_GRANTS_MAX)
        rc = pv_error_set(err, E2BIG, "'grants': more than %u", WIRE_MACHINE_GRANTS_MAX);
    for (size_t i = 0; rc == 0 && i < m->grants.count; i++)
        rc = wire_check_text("grants", m->grants.items[i], WIRE_MACHINE_GRANT_TEXT_MAX, false, err);
    const struct pv_json *rate = pv_json_get(json, "net_rate");
    if (rc == 0 && rate && wire_machine_read_net_rate(rate, &m->net_rate, err) < 0)
        rc = pv_error_prefix(err, "'net_rate'");
    return rc;
}

static int need_object(const struct pv_json *json, const char *key, const struct pv_json **ret,
                       struct pv_error *err)
{
    *ret = pv_json_get(json, key);
    return *ret ? 0 : pv_error_set(err, EINVAL, "'%s': missing", key);
}

/* The set-up names disks by the guest's names: vda is the first. */
static int check_disk_exists(const struct wire_machine *m, const char *key, const char *device,
                             struct pv_error *err)
{
    if (!device || !pv_str_starts_with(device, "/dev/vd") || !islower((unsigned char)device[7]))
        return 0;
    if ((uint32_t)(device[7] - 'a') >= m->num_disks)
        return pv_error_set(err, EINVAL, "'%s': %s is not among the %u disks", key, device,
                            m->num_disks);
    return 0;
}

static int check_tag(const struct wire_machine *m, const char *key, const char *tag,
                     struct pv_error *err)
{
    for (uint32_t i = 0; i < m->volumes.count; i++)
        if (strcmp(m->volumes.items[i].tag, tag) == 0)
            return 0;
    return pv_error_set(err, EINVAL, "'%s': '%s' is not among the volumes", key, tag);
}

/* What the set-up mounts is one of the volumes. */
static int check_mounts(const struct wire_machine *m, struct pv_error *err)
{
    int rc = 0;
    if (strcmp(m->setup.image_type, "virtiofs") == 0)
        rc = check_tag(m, "image_device", m->setup.image_device, err);
    for (uint32_t i = 0; rc == 0 && i < m->setup.mounts.count; i++)
        rc = check_tag(m, "mounts", m->setup.mounts.items[i].tag, err);
    return rc;
}

static int read_parts(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    const struct pv_json *part;
    int rc = need_object(json, "setup", &part, err);
    if (rc == 0)
        rc = wire_setup_read(part, &m->setup, err);
    if (rc == 0)
        rc = check_disk_exists(m, "image_device", m->setup.image_device, err);
    if (rc == 0)
        rc = check_disk_exists(m, "layer_device", m->setup.layer_device, err);
    if (rc == 0)
        rc = check_mounts(m, err);
    if (rc == 0)
        rc = need_object(json, "process", &part, err);
    return rc < 0 ? rc : wire_process_read(part, &m->process, err);
}

static int read_switches(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    int rc = pv_json_get_bool(json, "wait_attach", &m->wait_attach, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "stdin_open", &m->stdin_open, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "strict_protection", &m->strict_protection, err);
    if (rc == 0 && m->strict_protection && m->cpus != 1)
        rc = pv_error_set(err, EINVAL, "'strict_protection': %u CPUs, only 1 is possible", m->cpus);
    if (rc == 0)
        rc = wire_check_get_u32(json, "uid", 0, UINT32_MAX - 1, &m->uid, err);
    if (rc == 0)
        rc = wire_check_get_u32(json, "gid", 0, UINT32_MAX - 1, &m->gid, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "extra_cmdline", &m->extra_cmdline, err);
    if (rc == 0)
        rc =
            wire_check_text("extra_cmdline", m->extra_cmdline, WIRE_MACHINE_CMDLINE_MAX, true, err);
    return rc < 0 ? rc
                  : wire_check_get_u32(json, "guest_log_level", 0, LOG_LEVEL_MAX,
                                       &m->guest_log_level, err);
}

static int read_fields(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    static const char *const keys[] = {
        "id",
        "name",
        "state_dir",
        "run_dir",
        "kernel",
        "initramfs",
        "cgroup",
        "cpu_milli",
        "cpus",
        "host_cpus",
        "disks",
        "memory_bytes",
        "memory_max_bytes",
        "log_bytes_max",
        "setup",
        "process",
        "uid",
        "gid",
        "extra_cmdline",
        "guest_log_level",
        "wait_attach",
        "stdin_open",
        "strict_protection",
        "nets",
        "nameservers",
        "grants",
        "net_rate",
        "volumes",
    };
    int rc = wire_check_keys(json, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = read_names(json, m, err);
    if (rc == 0)
        rc = read_paths(json, m, err);
    if (rc == 0)
        rc = read_sizes(json, m, err);
    if (rc == 0)
        rc = read_disks(json, m, err);
    if (rc == 0)
        rc = read_nets(json, m, err);
    if (rc == 0)
        rc = read_fence(json, m, err);
    if (rc == 0)
        rc = wire_volumes_read(json, "volumes", &m->volumes, err);
    if (rc == 0)
        rc = read_parts(json, m, err);
    return rc < 0 ? rc : read_switches(json, m, err);
}

int wire_machine_read(const struct pv_json *json, struct wire_machine *m, struct pv_error *err)
{
    *m = (struct wire_machine){0};
    int rc = read_fields(json, m, err);
    if (rc < 0) {
        wire_machine_done(m);
        return pv_error_prefix(err, "machine description");
    }
    return 0;
}

int wire_disk_add_rate(struct pv_json *json, const struct wire_disk *d)
{
    if ((d->bytes.per_second && pv_json_add_u64(json, "bps", d->bytes.per_second) < 0) ||
        (d->bytes.burst && pv_json_add_u64(json, "bps_burst", d->bytes.burst) < 0) ||
        (d->operations.per_second && pv_json_add_u64(json, "iops", d->operations.per_second) < 0) ||
        (d->operations.burst && pv_json_add_u64(json, "iops_burst", d->operations.burst) < 0))
        return -ENOMEM;
    return 0;
}

static int add_disk(struct pv_json *json, const struct wire_disk *d)
{
    if (pv_json_add_string(json, "path", d->path) < 0 ||
        pv_json_add_bool(json, "read_only", d->read_only) < 0 ||
        pv_json_add_string(json, "serial", d->serial) < 0 ||
        pv_json_add_string(json, "format", d->format) < 0)
        return -ENOMEM;
    return wire_disk_add_rate(json, d);
}

static int add_disks(struct pv_json *json, const struct wire_machine *m)
{
    struct pv_json *disks = pv_json_new_array();
    if (!disks)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->num_disks; i++) {
        struct pv_json *disk = pv_json_new_object();
        if (!disk || pv_json_add(disks, NULL, disk) < 0 || add_disk(disk, &m->disks[i]) < 0) {
            pv_json_free(disks);
            return -ENOMEM;
        }
    }
    return pv_json_add(json, "disks", disks);
}

static int add_nets(struct pv_json *json, const struct wire_machine *m)
{
    struct pv_json *nets = pv_json_new_array();
    if (!nets)
        return -ENOMEM;
    for (uint32_t i = 0; i < m->num_nets; i++) {
        const struct wire_net *net = &m->nets[i];
        struct pv_json *o = pv_json_new_object();
        if (!o || pv_json_add(nets, NULL, o) < 0 ||
            pv_json_add_string(o, "backend", net->backend) < 0 ||
            pv_json_add_string(o, "mac", net->mac) < 0 ||
            pv_json_add_strv(o, "addresses", &net->addresses) < 0 ||
            pv_json_add_strv(o, "gateways", &net->gateways) < 0 ||
            pv_json_add_strv(o, "dns", &net->dns) < 0 ||
            pv_json_add_strv(o, "ports", &net->ports) < 0 ||
            pv_json_add_string(o, "bridge", net->bridge) < 0 ||
            pv_json_add_string(o, "folder", net->folder) < 0 ||
            pv_json_add_string(o, "subnet", net->subnet) < 0 ||
            pv_json_add_string(o, "subnet6", net->subnet6) < 0 ||
            (net->folder && pv_json_add_u64(o, "number", net->number) < 0)) {
            pv_json_free(nets);
            return -ENOMEM;
        }
    }
    return pv_json_add(json, "nets", nets);
}

int wire_machine_add_net_rate(struct pv_json *json, const struct wire_net_rate *r)
{
    if ((r->bytes.per_second && pv_json_add_u64(json, "bps", r->bytes.per_second) < 0) ||
        (r->bytes.burst && pv_json_add_u64(json, "bps_burst", r->bytes.burst) < 0) ||
        (r->frames.per_second && pv_json_add_u64(json, "pps", r->frames.per_second) < 0) ||
        (r->frames.burst && pv_json_add_u64(json, "pps_burst", r->frames.burst) < 0))
        return -ENOMEM;
    return 0;
}

static int add_fence(struct pv_json *json, const struct wire_machine *m)
{
    struct pv_json *rate = pv_json_new_object();
    int rc = pv_json_add(json, "net_rate", rate);
    if (rc == 0)
        rc = wire_machine_add_net_rate(rate, &m->net_rate);
    return rc == 0 ? pv_json_add_strv(json, "grants", &m->grants) : rc;
}

static int add_strings(struct pv_json *json, const struct wire_machine *m)
{
    if (pv_json_add_string(json, "id", m->id) < 0 ||
        pv_json_add_string(json, "name", m->name) < 0 ||
        pv_json_add_string(json, "state_dir", m->state_dir) < 0 ||
        pv_json_add_string(json, "run_dir", m->run_dir) < 0 ||
        pv_json_add_string(json, "kernel", m->kernel) < 0 ||
        pv_json_add_string(json, "initramfs", m->initramfs) < 0 ||
        pv_json_add_string(json, "extra_cmdline", m->extra_cmdline) < 0 ||
        pv_json_add_string(json, "cgroup", m->cgroup) < 0)
        return -ENOMEM;
    return 0;
}

static int add_numbers(struct pv_json *json, const struct wire_machine *m)
{
    if (pv_json_add_u64(json, "memory_bytes", m->memory_bytes) < 0 ||
        pv_json_add_u64(json, "cpus", m->cpus) < 0 ||
        pv_json_add_strv(json, "host_cpus", &m->host_cpus) < 0 ||
        pv_json_add_bool(json, "wait_attach", m->wait_attach) < 0 ||
        pv_json_add_bool(json, "stdin_open", m->stdin_open) < 0 ||
        pv_json_add_bool(json, "strict_protection", m->strict_protection) < 0 ||
        pv_json_add_u64(json, "uid", m->uid) < 0 || pv_json_add_u64(json, "gid", m->gid) < 0 ||
        pv_json_add_u64(json, "guest_log_level", m->guest_log_level) < 0)
        return -ENOMEM;
    if (m->memory_max_bytes && pv_json_add_u64(json, "memory_max_bytes", m->memory_max_bytes) < 0)
        return -ENOMEM;
    if (m->cpu_milli && pv_json_add_u64(json, "cpu_milli", m->cpu_milli) < 0)
        return -ENOMEM;
    return m->log_bytes_max ? pv_json_add_u64(json, "log_bytes_max", m->log_bytes_max) : 0;
}

struct pv_json *wire_machine_write(const struct wire_machine *m)
{
    pv_auto(pv_json) struct pv_json *json = pv_json_new_object();
    if (!json || add_strings(json, m) < 0 || add_numbers(json, m) < 0 || add_disks(json, m) < 0 ||
        add_nets(json, m) < 0 || pv_json_add_strv(json, "nameservers", &m->nameservers) < 0 ||
        add_fence(json, m) < 0 || wire_volumes_write(json, "volumes", &m->volumes) < 0 ||
        pv_json_add(json, "setup", wire_setup_write(&m->setup)) < 0 ||
        pv_json_add(json, "process", wire_process_write(&m->process)) < 0)
        return NULL;
    return pv_take_ptr(json);
}
