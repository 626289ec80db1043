/* SPDX-License-Identifier: Apache-2.0
 *
 * network.c: the cards of a machine.
 */
#include "isolation/network.h"

#include <errno.h>
#include <string.h>

#define OUT_OF_MEMORY(err) pv_error_set(err, ENOMEM, "describe the network: out of memory")

static int add(struct pv_strv *list, const char *text)
{
    return pv_strv_add(list, text);
}

/* A locally administered address, the same whenever the instance runs. */
static char *make_mac(const char *id)
{
    return pv_strf("02:%.2s:%.2s:%.2s:%.2s:%.2s", id, id + 2, id + 4, id + 6, id + 8);
}

static int fill_user(const struct workload_network *network, struct wire_net *net)
{
    if (add(&net->addresses, WORKLOAD_NETWORK_USER_ADDRESS4) < 0 ||
        add(&net->addresses, WORKLOAD_NETWORK_USER_ADDRESS6) < 0 ||
        add(&net->gateways, WORKLOAD_NETWORK_USER_GATEWAY4) < 0 ||
        add(&net->gateways, WORKLOAD_NETWORK_USER_GATEWAY6) < 0 ||
        add(&net->dns, WORKLOAD_NETWORK_USER_DNS4) < 0 ||
        add(&net->dns, WORKLOAD_NETWORK_USER_DNS6) < 0)
        return -ENOMEM;
    return pv_strv_copy(&net->ports, &network->ports);
}

static int fill_tap(const struct workload_network *network, struct wire_net *net,
                    struct pv_error *err)
{
    if (geteuid() != 0)
        return pv_error_set(err, EPERM,
                            "--net tap: only root may make network interfaces on this host: run as "
                            "root, or use --net user");
    net->bridge = network->bridge ? strdup(network->bridge) : NULL;
    if ((network->bridge && !net->bridge) ||
        pv_strv_copy(&net->addresses, &network->addresses) < 0 ||
        pv_strv_copy(&net->gateways, &network->gateways) < 0)
        return OUT_OF_MEMORY(err);
    return 0;
}

/* What the agent needs to know of a card. */
static int fill_setup(const struct wire_net *net, struct wire_setup *setup)
{
    struct wire_setup_net *s = &setup->nets[setup->num_nets++];
    s->mac = strdup(net->mac);
    if (!s->mac || pv_strv_copy(&s->addresses, &net->addresses) < 0 ||
        pv_strv_copy(&s->gateways, &net->gateways) < 0)
        return -ENOMEM;
    return 0;
}

/* Addresses, gateways and DNS of number on a private network. */
static int fill_private_addresses(const struct isolation_private_network *p, struct wire_net *net)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX];
    const struct workload_subnet *s = &p->subnet;
    pv_auto_free char *v4 =
        pv_strf("%s/%u", workload_subnet_ipv4_text(s, p->number, text), s->prefix);
    pv_auto_free char *v6 = pv_strf("%s/64", workload_subnet_ipv6_text(s, p->number, text));
    int rc = v4 && v6 ? 0 : -ENOMEM;
    if (rc == 0)
        rc = add(&net->addresses, v4);
    if (rc == 0)
        rc = add(&net->addresses, v6);
    if (rc == 0 && !p->internal)
        rc = add(&net->gateways, workload_subnet_ipv4_text(s, WORKLOAD_SUBNET_GATEWAY, text));
    if (rc == 0 && !p->internal)
        rc = add(&net->gateways, workload_subnet_ipv6_text(s, WORKLOAD_SUBNET_GATEWAY, text));
    if (rc == 0)
        rc = add(&net->dns, workload_subnet_ipv4_text(s, WORKLOAD_SUBNET_DNS, text));
    if (rc == 0)
        rc = add(&net->dns, workload_subnet_ipv6_text(s, WORKLOAD_SUBNET_DNS, text));
    return rc;
}

static int fill_private(const struct isolation_request *r, struct wire_net *net,
                        struct pv_error *err)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX];
    const struct isolation_private_network *p = r->private_network;
    const struct workload_network *network = &r->spec->network;
    if (p->internal && network->ports.count)
        return pv_error_set(
            err, EINVAL,
            "--publish: network '%s' is internal: nothing outside leads to it; make "
            "one without --internal",
            workload_network_name(network));
    net->backend = strdup(p->internal ? "none" : "user");
    net->mac = strdup(workload_subnet_mac_text(&p->subnet, p->number, text));
    net->folder = strdup(p->folder);
    net->subnet = strdup(workload_subnet_text(&p->subnet, text));
    net->subnet6 = strdup(workload_subnet_text6(&p->subnet, text));
    net->number = p->number;
    if (!net->backend || !net->mac || !net->folder || !net->subnet || !net->subnet6 ||
        fill_private_addresses(p, net) < 0 || pv_strv_copy(&net->ports, &network->ports) < 0)
        return OUT_OF_MEMORY(err);
    return 0;
}

static int fill_card(const struct isolation_request *r, struct wire_machine *m,
                     struct pv_error *err)
{
    const struct workload_network *network = &r->spec->network;
    const char *name = workload_network_name(network);
    struct wire_net *net = &m->nets[m->num_nets++];
    if (r->private_network)
        return fill_private(r, net, err);
    net->backend = strdup(name);
    net->mac = make_mac(r->id);
    if (!net->backend || !net->mac)
        return OUT_OF_MEMORY(err);
    if (strcmp(name, "user") == 0)
        return fill_user(network, net) < 0 ? OUT_OF_MEMORY(err) : 0;
    if (strcmp(name, "tap") == 0)
        return fill_tap(network, net, err);
    return pv_error_set(err, ENOENT,
                        "--net '%s': there is no such network: user, none and tap[:BRIDGE] are "
                        "always there",
                        name);
}

int isolation_network_fill(const struct isolation_request *request, struct wire_machine *m,
                           struct pv_error *err)
{
    const struct workload_network *network = &request->spec->network;
    if (pv_strv_copy(&m->nameservers, &network->nameservers) < 0 ||
        pv_strv_copy(&m->setup.searches, &network->searches) < 0 ||
        pv_strv_copy(&m->setup.hosts, &network->hosts) < 0)
        return OUT_OF_MEMORY(err);
    if (strcmp(workload_network_name(network), "none") == 0)
        return 0;
    int rc = fill_card(request, m, err);
    if (rc < 0)
        return rc;
    return fill_setup(&m->nets[0], &m->setup) < 0 ? OUT_OF_MEMORY(err) : 0;
}
