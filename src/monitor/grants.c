/* SPDX-License-Identifier: Apache-2.0
 *
 * grants.c: what the machine may reach: its fences, its vsock ports, and changes of both.
 *
 *   "grant": ["tcp:example.org:443"], "revoke": [...]; the reply has "grants", the whole list
 *   "net_rate": {"bps": 1048576, "pps": 1000, ...}
 */
#include "monitor/internal.h"

#include "monitor/audit.h"
#include "net/fence.h"
#include "net/switch.h"

#include <errno.h>
#include <string.h>

/* A part of the ranges that private networks take theirs from, and the user-mode network, which
 * every machine has for itself. Other private networks cannot be reached either: nothing leads
 * there. They are named here so that the answer comes at once. */
static const char *const other_networks[] = {"10.0.2.0/24", "fd00::/64", "10.89.0.0/16"};

int monitor_grants_read(struct monitor *m, struct pv_error *err)
{
    int rc = workload_grants_add_texts(&m->grants, "grants", &m->spec.grants, err);
    m->audit = monitor_audit_new(m->state_dirfd);
    return rc == 0 && !m->audit ? pv_error_set(err, ENOMEM, "audit: out of memory") : rc;
}

void monitor_grants_done(struct monitor *m)
{
    workload_grants_done(&m->grants);
    monitor_audit_free(pv_take_ptr(m->audit));
}

bool monitor_grants_have_loopback(const struct monitor *m)
{
    for (size_t i = 0; i < m->grants.count; i++)
        if (m->grants.items[i].target == WORKLOAD_GRANT_HOST_LOOP)
            return true;
    return false;
}

bool monitor_grants_may_vsock(struct monitor *m, uint32_t port)
{
    if (net_policy_may_vsock(&m->grants, port))
        return true;
    m->vsock_denied++;
    monitor_audit_add_vsock(m->audit, port);
    return false;
}

/* -- the fence of a card -- */

static void on_denied(void *data, const struct net_denial *denial)
{
    struct monitor *m = data;
    monitor_audit_add(m->audit, denial);
}

static unsigned read_addresses(const struct pv_strv *texts, struct workload_address *list,
                               unsigned max)
{
    unsigned count = 0;
    for (size_t i = 0; i < texts->count && count < max; i++) {
        struct workload_prefix p;
        int rc = workload_prefix_parse(texts->items[i], &p);
        char *slash = strchr(texts->items[i], '/');
        char address[WORKLOAD_ADDRESS_TEXT_MAX];
        size_t len = slash ? (size_t)(slash - texts->items[i]) : strlen(texts->items[i]);
        if ((rc < 0 && rc != -ERANGE) || len >= sizeof(address))
            continue;
        memcpy(address, texts->items[i], len);
        address[len] = '\0';
        if (workload_address_parse(address, &list[count]) == 0)
            count++;
    }
    return count;
}

static void fill_policy(const struct wire_net *spec, struct net_policy_config *p)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(other_networks); i++)
        workload_prefix_parse(other_networks[i], &p->others[p->num_others++]);
    /* The user-mode network has nobody else on it, and its gateway is the host. */
    if (strcmp(spec->backend, "tap") != 0)
        p->num_host_loop = read_addresses(&spec->gateways, p->host_loop, NET_POLICY_ADDRESSES_MAX);
    bool alone = strcmp(spec->backend, "user") == 0 && !spec->folder;
    for (size_t i = 0;
         !alone && i < spec->addresses.count && p->num_local < NET_POLICY_ADDRESSES_MAX; i++) {
        int rc = workload_prefix_parse(spec->addresses.items[i], &p->local[p->num_local]);
        p->num_local += rc == 0 || rc == -ERANGE;
    }
}

static void fill_servers(const struct monitor *m, struct net_fence_options *o)
{
    for (size_t i = 0; i < m->spec.nameservers.count && o->num_servers < NET_UPSTREAM_SERVERS_MAX;
         i++) {
        struct net_upstream_server *s = &o->servers[o->num_servers];
        o->num_servers += workload_address_parse(m->spec.nameservers.items[i], &s->address) == 0;
    }
}

static struct net_fence_rate rate_of(const struct monitor *m)
{
    return (struct net_fence_rate){.bytes = m->spec.net_rate.bytes,
                                   .frames = m->spec.net_rate.frames};
}

/* Names of machines on a private network. */
static int lookup(void *data, const char *name, struct workload_address *addresses, unsigned max)
{
    return net_switch_lookup(data, name, addresses, max);
}

int monitor_grants_fence(struct monitor *m, struct monitor_device *d, const uint8_t mac[6],
                         struct pv_error *err)
{
    const struct wire_net *spec = d->net;
    struct net_fence_options o = {.loop = m->loop,
                                  .grants = &m->grants,
                                  .rate = rate_of(m),
                                  .denied = on_denied,
                                  .denied_data = m};
    memcpy(o.mac, mac, 6);
    o.num_addresses = read_addresses(&spec->addresses, o.addresses, NET_FENCE_ADDRESSES_MAX);
    /* Without addresses of its own on the network, our DNS answers for the name servers. */
    o.num_dns = read_addresses(spec->dns.count ? &spec->dns : &m->spec.nameservers, o.dns,
                               NET_FENCE_ADDRESSES_MAX);
    fill_policy(spec, &o.policy);
    if (strcmp(spec->backend, "none") != 0)
        fill_servers(m, &o);
    if (d->switch_link) {
        o.lookup = lookup;
        o.lookup_data = d->switch_link;
    }
    int rc = net_fence_new(&o, pv_take_ptr(d->link), &d->fence, err);
    d->link = d->fence;
    if (rc < 0)
        d->switch_link = NULL;
    return rc;
}

static void apply(struct monitor *m)
{
    for (size_t i = 0; i < m->num_devices; i++)
        if (m->devices[i].fence)
            net_fence_set_grants(m->devices[i].fence, &m->grants);
}

/* -- changes -- */

static int read_texts(const struct pv_json *request, const char *key, struct pv_strv *texts,
                      struct pv_error *err)
{
    return pv_json_get_strv(request, key, texts, err);
}

/* The list as it will be: revokes first, then grants. */
static int compute(const struct monitor *m, const struct pv_json *request,
                   struct workload_grants *ret_grants, struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv grant = {0}, revoke = {0};
    struct workload_grants grants = {0};
    int rc = read_texts(request, "grant", &grant, err);
    if (rc == 0)
        rc = read_texts(request, "revoke", &revoke, err);
    if (rc == 0 && workload_grants_copy(&grants, &m->grants) < 0)
        rc = pv_error_set(err, ENOMEM, "grants: out of memory");
    if (rc == 0)
        rc = workload_grants_remove_texts(&grants, "--revoke", &revoke, err);
    if (rc == 0)
        rc = workload_grants_add_texts(&grants, "--grant", &grant, err);
    if (rc < 0)
        workload_grants_done(&grants);
    else
        *ret_grants = grants;
    return rc;
}

int monitor_grants_check(struct monitor *m, const struct pv_json *request, struct pv_error *err)
{
    struct workload_grants grants;
    bool loopback = monitor_grants_have_loopback(m) || m->host_loopback;
    int rc = compute(m, request, &grants, err);
    for (size_t i = 0; rc == 0 && i < grants.count; i++)
        if (grants.items[i].target == WORKLOAD_GRANT_HOST_LOOP && !loopback)
            rc = pv_error_set(err, EOPNOTSUPP,
                              "--grant: this machine's network was made without a way to the "
                              "host's loopback: stop the machine, grant it, start it again");
    workload_grants_done(&grants);
    return rc;
}

int monitor_grants_make(struct monitor *m, const struct pv_json *request, struct pv_json *reply,
                        struct pv_error *err)
{
    struct workload_grants grants;
    pv_auto(pv_strv) struct pv_strv texts = {0};
    int rc = compute(m, request, &grants, err);
    if (rc < 0)
        return rc;
    if (workload_grants_texts(&grants, &texts) < 0 ||
        pv_json_add_strv(reply, "grants", &texts) < 0) {
        workload_grants_done(&grants);
        return pv_error_set(err, ENOMEM, "grants: out of memory");
    }
    workload_grants_done(&m->grants);
    m->grants = grants;
    apply(m);
    return 0;
}

/* "grant" made both. */
int monitor_grants_make_revoke(struct monitor *m, const struct pv_json *request,
                               struct pv_json *reply, struct pv_error *err)
{
    return pv_json_get(request, "grant") ? 0 : monitor_grants_make(m, request, reply, err);
}

int monitor_grants_check_rate(struct monitor *m, const struct pv_json *request,
                              struct pv_error *err)
{
    struct wire_net_rate rate = {0};
    if (m->spec.num_nets == 0)
        return pv_error_set(err, EOPNOTSUPP, "--net-rate: this machine has no network");
    return wire_machine_read_net_rate(pv_json_get(request, "net_rate"), &rate, err);
}

int monitor_grants_make_rate(struct monitor *m, const struct pv_json *request,
                             struct pv_json *reply, struct pv_error *err)
{
    struct wire_net_rate rate = {0};
    int rc = wire_machine_read_net_rate(pv_json_get(request, "net_rate"), &rate, err);
    if (rc < 0)
        return rc;
    m->spec.net_rate = rate;
    struct net_fence_rate limits = rate_of(m);
    for (size_t i = 0; i < m->num_devices; i++)
        if (m->devices[i].fence)
            net_fence_set_rate(m->devices[i].fence, &limits);
    return pv_json_add_shared(reply, "net_rate", pv_json_get(request, "net_rate"));
}

/* -- what inspect shows -- */

static int add_denials(struct pv_json *o, const struct monitor *m)
{
    struct pv_json *rules = pv_json_new_object();
    int rc = pv_json_add(o, "denied", rules);
    for (size_t r = 0; rc == 0 && r < NET_RULE_COUNT; r++) {
        uint64_t sums[NET_DENIED_COUNT] = {0}, any = 0;
        for (size_t i = 0; i < m->num_devices; i++)
            for (size_t p = 0; m->devices[i].fence && p < NET_DENIED_COUNT; p++)
                any += net_fence_denials(m->devices[i].fence)[r][p],
                    sums[p] += net_fence_denials(m->devices[i].fence)[r][p];
        bool vsock = r == NET_RULE_NOT_GRANTED && m->vsock_denied;
        if (!any && !vsock)
            continue;
        struct pv_json *rule = pv_json_new_object();
        rc = pv_json_add(rules, net_rule_names[r], rule);
        for (size_t p = 0; rc == 0 && p < NET_DENIED_COUNT; p++)
            rc = sums[p] ? pv_json_add_u64(rule, net_denied_names[p], sums[p]) : 0;
        if (rc == 0 && vsock)
            rc = pv_json_add_u64(rule, "vsock", m->vsock_denied);
    }
    return rc;
}

static int add_counters(struct pv_json *o, const struct monitor *m)
{
    for (size_t i = 0; i < m->num_devices; i++) {
        struct pv_counter_group group;
        const struct net_link *fence = m->devices[i].fence;
        if (!fence)
            continue;
        struct pv_json *counters = pv_json_new_object();
        fence->class->get_counters(fence, m->devices[i].name, &group);
        int rc = pv_json_add(o, group.name, counters);
        for (size_t c = 0; rc == 0 && c < group.count; c++)
            rc = pv_json_add_u64(counters, group.labels[c], group.values[c]);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int monitor_grants_add_json(struct pv_json *o, const struct monitor *m)
{
    pv_auto(pv_strv) struct pv_strv texts = {0};
    struct pv_json *fence = pv_json_new_object();
    int rc = pv_json_add(o, "fence", fence);
    if (rc == 0)
        rc = workload_grants_texts(&m->grants, &texts);
    if (rc == 0)
        rc = pv_json_add_strv(fence, "grants", &texts);
    if (rc == 0)
        rc = add_denials(fence, m);
    return rc == 0 ? add_counters(fence, m) : rc;
}
