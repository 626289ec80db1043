/* SPDX-License-Identifier: Apache-2.0
 *
 * net.c: the network cards of a machine: backend, stages, card; and what the guest is told of
 * names.
 *
 * A card stands on a stack of links (net/link.h). It is built from the bottom: what carries the
 * frames first, then the stages that look at them.
 */
#include "monitor/internal.h"

#include "base/log.h"
#include "jail/monitor.h"
#include "net/fence.h"
#include "net/resolver.h"
#include "net/switch.h"
#include "net/table.h"
#include "virtio/device/net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

static int take_address(const char *text, struct net_config *c, struct pv_error *err)
{
    bool v6;
    uint8_t address[16];
    unsigned prefix;
    if (workload_network_parse_address(text, &v6, address, &prefix) < 0)
        return pv_error_set(err, EINVAL, "address '%s' is none", text);
    if (v6 && !c->has6) {
        memcpy(&c->guest6, address, sizeof(c->guest6));
        c->prefix6 = prefix;
        c->has6 = true;
    } else if (!v6 && !c->has4) {
        memcpy(&c->guest4, address, sizeof(c->guest4));
        c->prefix4 = prefix;
        c->has4 = true;
    }
    return 0;
}

/* The first address of each family. */
static void take_first(const struct pv_strv *list, struct in_addr *v4, struct in6_addr *v6)
{
    for (size_t i = list->count; i > 0; i--)
        if (inet_pton(AF_INET, list->items[i - 1], v4) != 1)
            inet_pton(AF_INET6, list->items[i - 1], v6);
}

static int parse_ports(const struct wire_net *spec, struct workload_port **ret_ports,
                       struct pv_error *err)
{
    pv_auto_free struct workload_port *ports = calloc(spec->ports.count + 1, sizeof(*ports));
    int rc = ports ? 0 : pv_error_set(err, ENOMEM, "ports: out of memory");
    for (size_t i = 0; rc == 0 && i < spec->ports.count; i++)
        rc = workload_port_parse(spec->ports.items[i], &ports[i], err);
    if (rc == 0)
        *ret_ports = pv_take_ptr(ports);
    return rc;
}

static int open_backend(struct monitor *m, const struct wire_net *spec,
                        const struct net_backend *backend, struct net_config *c,
                        struct net_link **ret_link, struct pv_error *err)
{
    pv_auto_free struct workload_port *ports = NULL;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < spec->addresses.count; i++)
        rc = take_address(spec->addresses.items[i], c, err);
    if (rc == 0)
        rc = parse_ports(spec, &ports, err);
    if (rc < 0)
        return rc;
    take_first(&spec->gateways, &c->gateway4, &c->gateway6);
    take_first(&spec->dns, &c->dns4, &c->dns6);
    c->ports = ports;
    c->num_ports = spec->ports.count;
    c->bridge = spec->bridge;
    c->host_loopback = m->host_loopback;
    return backend->open(c, m->loop, ret_link, err);
}

/* The private network, with the way out below it. Takes below, also on failure. */
static int open_switch(struct monitor *m, struct monitor_device *d, struct net_link *below,
                       struct pv_error *err)
{
    struct net_switch_options options = {
        .loop = m->loop, .folder = d->net->folder, .number = d->net->number, .below = below};
    int rc = workload_subnet_parse(d->net->subnet, &options.subnet, err);
    if (rc == 0)
        rc = workload_subnet_parse6(d->net->subnet6, &options.subnet, err);
    if (rc < 0) {
        net_link_free(below);
        return rc;
    }
    rc = net_switch_open(&options, &d->switch_link, err);
    if (rc == 0)
        d->link = d->switch_link;
    return rc;
}

/* "none": a private network without a way out. */
static const struct net_backend *find_backend(const struct wire_net *spec)
{
    return spec->folder && strcmp(spec->backend, "none") == 0 ? NULL
                                                              : net_backend_find(spec->backend);
}

int monitor_net_make(struct monitor *m, struct monitor_device *d, uint32_t index,
                     struct pv_error *err)
{
    const struct wire_net *spec = &m->spec.nets[index];
    const struct net_backend *backend = find_backend(spec);
    struct net_config config = {0};
    struct net_link *below = NULL;
    d->net = spec;
    snprintf(d->name, sizeof(d->name), "net%u", index);
    if (!backend && !spec->folder)
        return pv_error_set(err, EINVAL, "network '%s': this monitor does not know it",
                            spec->backend);
    sscanf(spec->mac, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx", &config.mac[0], &config.mac[1],
           &config.mac[2], &config.mac[3], &config.mac[4], &config.mac[5]);
    int rc = backend ? open_backend(m, spec, backend, &config, &below, err) : 0;
    if (rc == 0 && spec->folder)
        rc = open_switch(m, d, below, err);
    else if (rc == 0)
        d->link = below;
    if (rc == 0)
        rc = monitor_grants_fence(m, d, config.mac, err);
    if (rc < 0)
        return rc;
    struct virtio_net_options options = {.link = d->link};
    memcpy(options.mac, config.mac, sizeof(options.mac));
    return virtio_net_new(&options, m->loop, &d->device, err);
}

/* Whom the guest asks for names: our own DNS, on its network or in the place of the host's. */
static int tell_nameservers(struct monitor *m)
{
    struct wire_setup *setup = &m->spec.setup;
    const struct pv_strv *own = &m->spec.nets[0].dns;
    const struct pv_strv *list = own->count ? own : &m->spec.nameservers;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < list->count; i++)
        if ((own->count || !net_resolver_is_local(list->items[i])) &&
            setup->nameservers.count < WIRE_SETUP_NAMESERVERS_MAX)
            rc = pv_strv_add(&setup->nameservers, list->items[i]);
    return rc;
}

/* The host's file must be read while it can be: before the jail closes. */
int monitor_net_resolve(struct monitor *m, struct pv_error *err)
{
    struct wire_setup *setup = &m->spec.setup;
    pv_auto(pv_strv) struct pv_strv servers = {0}, searches = {0};
    m->host_loopback = monitor_grants_have_loopback(m);
    if (m->spec.num_nets == 0)
        return 0;
    int rc = net_resolver_read(NET_RESOLVER_FILE, &servers, &searches, err);
    if (rc < 0)
        pv_log(PV_LOG_WARNING, "the guest gets no name servers: %s", pv_error_text(err, rc));
    rc = 0;
    if (m->spec.nameservers.count == 0)
        rc = pv_strv_copy(&m->spec.nameservers, &servers);
    if (rc == 0 && setup->searches.count == 0)
        rc = pv_strv_copy(&setup->searches, &searches);
    if (rc == 0)
        rc = tell_nameservers(m);
    return rc < 0 ? pv_error_set(err, ENOMEM, "name servers: out of memory") : 0;
}

static const char *const bind_names[] = {"net0", "net1", "net2", "net3"};
_Static_assert(PV_ARRAY_SIZE(bind_names) == WIRE_SETUP_NETS_MAX, "a name for each");

unsigned monitor_net_bind(const struct monitor *m, struct jail_bind *binds)
{
    unsigned n = 0;
    for (size_t i = 0; i < m->num_devices; i++) {
        const struct monitor_device *d = &m->devices[i];
        if (d->switch_link)
            binds[n++] = (struct jail_bind){.name = bind_names[d->net - m->spec.nets],
                                            .path = d->net->folder,
                                            .fd = net_switch_folder_fd(d->switch_link),
                                            .access = JAIL_BIND_READ};
    }
    return n;
}

/* A root that became another user passes through the folder only where it was bound. */
int monitor_net_start(struct monitor *m, struct pv_error *err)
{
    bool own_root = jail_walls_stands(&m->monitor_walls, JAIL_WALL_OWN_ROOT);
    int rc = 0;
    for (size_t i = 0; i < m->num_devices && rc == 0; i++) {
        const struct monitor_device *d = &m->devices[i];
        char path[16];
        if (!d->switch_link)
            continue;
        snprintf(path, sizeof(path), "/%s", bind_names[d->net - m->spec.nets]);
        rc = net_switch_start(d->switch_link, own_root ? path : d->net->folder, err);
    }
    return rc;
}

bool monitor_net_needs_host(const struct monitor *m)
{
    for (uint32_t i = 0; i < m->spec.num_nets; i++) {
        const struct net_backend *backend = find_backend(&m->spec.nets[i]);
        /* Our DNS asks the host's name servers. */
        if (backend && (backend->keeps_network || m->spec.nameservers.count))
            return true;
    }
    return false;
}

/* Rings of a private network: sealed, of plain pages, and nothing else. */
static int allow_rings(struct jail_filter *filter, struct pv_error *err)
{
    const struct jail_filter_arg flags = {.index = 1,
                                          .op = JAIL_ARG_MASKED_EQ,
                                          .value = MFD_CLOEXEC | MFD_ALLOW_SEALING,
                                          .mask = UINT32_MAX & ~MFD_NOEXEC_SEAL};
    return jail_filter_allow_args(filter, SYS_memfd_create, &flags, 1, "switch: a ring", err);
}

int monitor_net_allow(const struct monitor *m, struct jail_filter *filter, struct pv_error *err)
{
    int rc = 0;
    for (const struct net_fence_syscall *s = net_fence_syscalls;
         m->spec.num_nets && s->name && rc == 0; s++)
        rc = jail_filter_allow_name(filter, s->name, s->reason, err);
    for (uint32_t i = 0; i < m->spec.num_nets; i++) {
        const struct net_backend *backend = find_backend(&m->spec.nets[i]);
        for (const struct net_syscall *s = backend ? backend->syscalls : NULL;
             s && s->name && rc == 0; s++)
            rc = jail_filter_allow_name(filter, s->name, s->reason, err);
        for (const struct net_switch_syscall *s = net_switch_syscalls;
             m->spec.nets[i].folder && s->name && rc == 0; s++)
            rc = jail_filter_allow_name(filter, s->name, s->reason, err);
        if (m->spec.nets[i].folder && rc == 0)
            rc = allow_rings(filter, err);
    }
    return rc;
}
