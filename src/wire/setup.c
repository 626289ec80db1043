/* SPDX-License-Identifier: Apache-2.0
 *
 * setup.c: the set-up of a machine as JSON.
 * Trust:   written by whoever starts the machine, but checked by the monitor and by the agent.
 */
#include "wire/setup.h"

#include "wire/check_internal.h"
#include "wire/session.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define HOSTNAME_MAX 64 /* __NEW_UTS_LEN */
#define DEVICE_MAX 32
#define DOMAIN_MAX 253
#define HOST_LINE_MAX 1024
#define CPU_MILLI_MAX 64000

void wire_setup_done(struct wire_setup *s)
{
    free(s->hostname);
    free(s->image_device);
    free(s->image_type);
    free(s->layer_device);
    pv_strv_done(&s->nameservers);
    pv_strv_done(&s->searches);
    pv_strv_done(&s->hosts);
    for (size_t i = 0; i < PV_ARRAY_SIZE(s->nets); i++) {
        free(s->nets[i].mac);
        pv_strv_done(&s->nets[i].addresses);
        pv_strv_done(&s->nets[i].gateways);
    }
    wire_mounts_done(&s->mounts);
    *s = (struct wire_setup){0};
}

static int check_hostname(const char *name, struct pv_error *err)
{
    if (!pv_str_is_name(name) || strlen(name) > HOSTNAME_MAX)
        return pv_error_set(err, EINVAL,
                            "'hostname': must be 1 to %d letters, digits, '-', '_' and '.'",
                            HOSTNAME_MAX);
    return 0;
}

/* A plain name below /dev: nothing that walks elsewhere. */
static int check_device(const char *key, const char *path, struct pv_error *err)
{
    if (!path)
        return 0;
    bool plain = pv_str_starts_with(path, "/dev/") && path[5] && strlen(path) <= DEVICE_MAX;
    for (const char *c = path + 5; plain && *c; c++)
        plain = islower((unsigned char)*c) || isdigit((unsigned char)*c);
    if (!plain)
        return pv_error_set(err, EINVAL, "'%s': must be a device such as /dev/vda", key);
    return 0;
}

static int check_image_type(const char *type, struct pv_error *err)
{
    static const char *const types[] = {"squashfs", "ext4", "erofs", "virtiofs"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(types); i++)
        if (strcmp(type, types[i]) == 0)
            return 0;
    return pv_error_set(err, EINVAL, "'image_type': must be squashfs, ext4, erofs or virtiofs");
}

static bool is_shared(const struct wire_setup *s)
{
    return strcmp(s->image_type, "virtiofs") == 0;
}

/* A disk, or the tag of a shared folder. */
static int check_image(const struct wire_setup *s, struct pv_error *err)
{
    int rc = check_image_type(s->image_type, err);
    if (rc == 0 && s->direct_root && (!is_shared(s) || s->layer_device))
        rc = pv_error_set(err, EINVAL, "'direct_root': only for virtiofs without a layer");
    if (rc < 0)
        return rc;
    return is_shared(s)
               ? wire_check_text("image_device", s->image_device, WIRE_VOLUME_TAG_MAX, false, err)
               : check_device("image_device", s->image_device, err);
}

static int check_count(const char *key, const struct pv_strv *list, size_t max,
                       struct pv_error *err)
{
    if (list->count > max)
        return pv_error_set(err, E2BIG, "'%s': more than %zu", key, max);
    return 0;
}

static bool is_address(const char *text)
{
    return wire_check_address("", text, NULL) == 0;
}

static int check_nameservers(const struct pv_strv *list, struct pv_error *err)
{
    int rc = check_count("nameservers", list, WIRE_SETUP_NAMESERVERS_MAX, err);
    for (size_t i = 0; rc == 0 && i < list->count; i++)
        if (!is_address(list->items[i]))
            rc = pv_error_set(err, EINVAL, "'nameservers': '%.100s' is no IP address",
                              list->items[i]);
    return rc;
}

static int check_searches(const struct pv_strv *list, struct pv_error *err)
{
    int rc = check_count("searches", list, WIRE_SETUP_SEARCHES_MAX, err);
    for (size_t i = 0; rc == 0 && i < list->count; i++) {
        rc = wire_check_text("searches", list->items[i], DOMAIN_MAX, false, err);
        if (rc == 0 && strpbrk(list->items[i], " #;"))
            rc = pv_error_set(err, EINVAL, "'searches': '%.100s' is no domain", list->items[i]);
    }
    return rc;
}

/* "address name...": one line of /etc/hosts, and only one. */
static int check_host(const char *line, struct pv_error *err)
{
    int rc = wire_check_text("hosts", line, HOST_LINE_MAX, false, err);
    if (rc < 0)
        return rc;
    char address[INET6_ADDRSTRLEN];
    size_t len = strcspn(line, " ");
    size_t name = len + strspn(line + len, " ");
    if (len < sizeof(address)) {
        memcpy(address, line, len);
        address[len] = '\0';
        if (is_address(address) && line[name] && !strchr(line, '#'))
            return 0;
    }
    return pv_error_set(err, EINVAL, "'hosts': '%.100s' is not 'ADDRESS NAME...'", line);
}

static int check_hosts(const struct pv_strv *list, struct pv_error *err)
{
    int rc = check_count("hosts", list, WIRE_SETUP_HOSTS_MAX, err);
    for (size_t i = 0; rc == 0 && i < list->count; i++)
        rc = check_host(list->items[i], err);
    return rc;
}

/* -- network cards -- */

static int read_net(const struct pv_json *json, struct wire_setup_net *net, struct pv_error *err)
{
    static const char *const keys[] = {"mac", "addresses", "gateways"};
    int rc = wire_check_keys(json, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = pv_json_need_string(json, "mac", &net->mac, err);
    if (rc == 0)
        rc = wire_check_mac("mac", net->mac, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "addresses", &net->addresses, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "gateways", &net->gateways, err);
    if (rc == 0)
        rc = check_count("addresses", &net->addresses, WIRE_SETUP_ADDRESSES_MAX, err);
    if (rc == 0)
        rc = check_count("gateways", &net->gateways, WIRE_SETUP_ADDRESSES_MAX, err);
    for (size_t i = 0; rc == 0 && i < net->addresses.count; i++)
        rc = wire_check_network("addresses", net->addresses.items[i], err);
    for (size_t i = 0; rc == 0 && i < net->gateways.count; i++)
        rc = wire_check_address("gateways", net->gateways.items[i], err);
    return rc;
}

static int read_nets(const struct pv_json *json, struct wire_setup *s, struct pv_error *err)
{
    const struct pv_json *nets;
    size_t count;
    int rc = wire_check_get_list(json, "nets", WIRE_SETUP_NETS_MAX, &nets, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        s->num_nets++;
        if (read_net(pv_json_array_at(nets, i), &s->nets[i], err) < 0)
            rc = pv_error_prefix(err, "'nets': number %zu", i);
    }
    return rc;
}

static int add_nets(struct pv_json *json, const struct wire_setup *s)
{
    struct pv_json *nets = pv_json_new_array();
    if (!nets)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->num_nets; i++) {
        struct pv_json *net = pv_json_new_object();
        if (!net || pv_json_add(nets, NULL, net) < 0 ||
            pv_json_add_string(net, "mac", s->nets[i].mac) < 0 ||
            pv_json_add_strv(net, "addresses", &s->nets[i].addresses) < 0 ||
            pv_json_add_strv(net, "gateways", &s->nets[i].gateways) < 0) {
            pv_json_free(nets);
            return -ENOMEM;
        }
    }
    return pv_json_add(json, "nets", nets);
}

static int check_fields(const struct wire_setup *s, struct pv_error *err)
{
    int rc = check_hostname(s->hostname, err);
    if (rc == 0)
        rc = check_image(s, err);
    if (rc == 0)
        rc = check_device("layer_device", s->layer_device, err);
    if (rc == 0 && s->layer_device && strcmp(s->layer_device, s->image_device) == 0)
        rc = pv_error_set(err, EINVAL, "'layer_device': is the image's device");
    if (rc == 0)
        rc = check_nameservers(&s->nameservers, err);
    if (rc == 0)
        rc = check_searches(&s->searches, err);
    return rc < 0 ? rc : check_hosts(&s->hosts, err);
}

static int read_fields(const struct pv_json *json, struct wire_setup *s, struct pv_error *err)
{
    static const char *const keys[] = {
        "hostname", "image_device",  "image_type", "layer_device", "nameservers",
        "searches", "discard_layer", "read_only",  "hosts",        "nets",
        "mounts",   "direct_root",   "cpu_milli"};
    int rc = wire_check_keys(json, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = pv_json_need_string(json, "hostname", &s->hostname, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "image_device", &s->image_device, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "image_type", &s->image_type, err);
    if (rc == 0)
        rc = pv_json_get_string(json, "layer_device", &s->layer_device, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "discard_layer", &s->discard_layer, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "read_only", &s->read_only, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "direct_root", &s->direct_root, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "nameservers", &s->nameservers, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "searches", &s->searches, err);
    if (rc == 0)
        rc = pv_json_get_strv(json, "hosts", &s->hosts, err);
    if (rc == 0)
        rc = read_nets(json, s, err);
    if (rc == 0)
        rc = wire_mounts_read(json, "mounts", &s->mounts, err);
    if (rc == 0)
        rc = wire_check_get_u32(json, "cpu_milli", 0, CPU_MILLI_MAX, &s->cpu_milli, err);
    if (rc == 0 && s->cpu_milli && s->cpu_milli < WIRE_SETUP_CPU_MILLI_MIN)
        rc = pv_error_set(err, ERANGE, "'cpu_milli': must be 0 or %d to %d",
                          WIRE_SETUP_CPU_MILLI_MIN, CPU_MILLI_MAX);
    return rc < 0 ? rc : check_fields(s, err);
}

int wire_setup_read(const struct pv_json *json, struct wire_setup *s, struct pv_error *err)
{
    *s = (struct wire_setup){0};
    int rc = read_fields(json, s, err);
    if (rc < 0) {
        wire_setup_done(s);
        return pv_error_prefix(err, "setup");
    }
    return 0;
}

struct pv_json *wire_setup_write(const struct wire_setup *s)
{
    pv_auto(pv_json) struct pv_json *json = pv_json_new_object();
    if (!json || pv_json_add_string(json, "hostname", s->hostname) < 0 ||
        pv_json_add_string(json, "image_device", s->image_device) < 0 ||
        pv_json_add_string(json, "image_type", s->image_type) < 0 ||
        pv_json_add_string(json, "layer_device", s->layer_device) < 0 ||
        pv_json_add_bool(json, "discard_layer", s->discard_layer) < 0 ||
        pv_json_add_bool(json, "read_only", s->read_only) < 0 ||
        pv_json_add_strv(json, "nameservers", &s->nameservers) < 0 ||
        pv_json_add_strv(json, "searches", &s->searches) < 0 ||
        pv_json_add_strv(json, "hosts", &s->hosts) < 0 || add_nets(json, s) < 0 ||
        wire_mounts_write(json, "mounts", &s->mounts) < 0 ||
        (s->direct_root && pv_json_add_bool(json, "direct_root", true) < 0) ||
        (s->cpu_milli && pv_json_add_u64(json, "cpu_milli", s->cpu_milli) < 0))
        return NULL;
    return pv_take_ptr(json);
}

static uint32_t kib_of(uint64_t bytes)
{
    return (uint32_t)PV_MIN(bytes / 1024, (uint64_t)UINT32_MAX);
}

void wire_setup_put_memory(uint8_t out[WIRE_SETUP_MEMORY_BYTES],
                           const struct wire_setup_memory *memory)
{
    wire_put_u32(out, kib_of(memory->total));
    wire_put_u32(out + 4, kib_of(memory->free));
    wire_put_u32(out + 8, kib_of(memory->available));
}

int wire_setup_get_memory(const uint8_t *payload, size_t len, struct wire_setup_memory *ret_memory)
{
    uint32_t kib[3];
    if (len != WIRE_SETUP_MEMORY_BYTES)
        return -EPROTO;
    for (size_t i = 0; i < PV_ARRAY_SIZE(kib); i++)
        wire_get_u32(payload + 4 * i, 4, &kib[i]);
    *ret_memory = (struct wire_setup_memory){
        .total = kib[0] * 1024ull, .free = kib[1] * 1024ull, .available = kib[2] * 1024ull};
    return 0;
}
