/* SPDX-License-Identifier: Apache-2.0
 *
 * network.c: what the user writes behind --net, -p and their like.
 */
#include "workload/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NO_MEMORY(err) pv_error_set(err, ENOMEM, "network: out of memory")
#define PORT_SYNTAX                                                                                \
    "write [ADDRESS:]HOST:GUEST[/tcp|/udp], such as 8080:80 or 127.0.0.1:5353:53/udp"

void workload_network_done(struct workload_network *n)
{
    free(n->name);
    free(n->bridge);
    pv_strv_done(&n->ports);
    pv_strv_done(&n->addresses);
    pv_strv_done(&n->gateways);
    pv_strv_done(&n->aliases);
    pv_strv_done(&n->nameservers);
    pv_strv_done(&n->searches);
    pv_strv_done(&n->hosts);
    *n = (struct workload_network){0};
}

const char *workload_network_name(const struct workload_network *n)
{
    return n->name ? n->name : "user";
}

bool workload_network_is_private(const struct workload_network *n)
{
    const char *name = workload_network_name(n);
    return strcmp(name, "user") != 0 && strcmp(name, "none") != 0 && strcmp(name, "tap") != 0;
}

static bool is_interface_name(const char *text)
{
    size_t len = strlen(text);
    if (len == 0 || len > WORKLOAD_NETWORK_BRIDGE_MAX || strcmp(text, ".") == 0 ||
        strcmp(text, "..") == 0)
        return false;
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~' || *c == '/' || *c == ':')
            return false;
    return true;
}

int workload_network_set(struct workload_network *n, const char *text, struct pv_error *err)
{
    const char *colon = strchr(text, ':');
    pv_auto_free char *name = strndup(text, colon ? (size_t)(colon - text) : strlen(text));
    pv_auto_free char *bridge = colon ? strdup(colon + 1) : NULL;
    if (!name || (colon && !bridge))
        return NO_MEMORY(err);
    if (colon && strcmp(name, "tap") != 0)
        return pv_error_set(err, EINVAL,
                            "--net '%s': only tap takes something behind ':', its bridge", text);
    if (bridge && !is_interface_name(bridge))
        return pv_error_set(err, EINVAL, "--net '%s': '%s' is not the name of a bridge", text,
                            bridge);
    if (!pv_str_is_name(name))
        return pv_error_set(err, EINVAL,
                            "--net '%s': write user, none, tap, tap:BRIDGE or the name of a "
                            "network",
                            text);
    free(n->name);
    free(n->bridge);
    n->name = pv_take_ptr(name);
    n->bridge = pv_take_ptr(bridge);
    return 0;
}

/* -- ports -- */

/* "80" or "8000-8010". */
static int parse_range(const char *text, uint16_t *ret_first, uint16_t *ret_last)
{
    uint64_t first, last;
    const char *dash = strchr(text, '-');
    pv_auto_free char *head = strndup(text, dash ? (size_t)(dash - text) : strlen(text));
    if (!head || pv_str_to_u64(head, 1, UINT16_MAX, &first) < 0)
        return -EINVAL;
    if (pv_str_to_u64(dash ? dash + 1 : head, first, UINT16_MAX, &last) < 0)
        return -EINVAL;
    *ret_first = (uint16_t)first;
    *ret_last = (uint16_t)last;
    return 0;
}

static int parse_host_address(const char *text, struct workload_port *port)
{
    size_t len = strlen(text);
    if (text[0] != '[')
        return inet_pton(AF_INET, text, port->address) == 1 ? 0 : -EINVAL;
    char inner[INET6_ADDRSTRLEN];
    if (len < 4 || text[len - 1] != ']' || len - 2 >= sizeof(inner))
        return -EINVAL;
    memcpy(inner, text + 1, len - 2);
    inner[len - 2] = '\0';
    port->v6 = true;
    return inet_pton(AF_INET6, inner, port->address) == 1 ? 0 : -EINVAL;
}

/* The parts of a -p. `text` is cut into pieces. ret_last*: of the ranges. */
static int parse_port(char *text, struct workload_port *port, uint16_t *ret_host_last,
                      uint16_t *ret_guest_last, const char **ret_why)
{
    *ret_why = PORT_SYNTAX;
    char *slash = strrchr(text, '/');
    if (slash) {
        *slash = '\0';
        port->udp = strcmp(slash + 1, "udp") == 0;
        *ret_why = "behind '/' stands tcp or udp";
        if (!port->udp && strcmp(slash + 1, "tcp") != 0)
            return -EINVAL;
    }
    *ret_why = PORT_SYNTAX;
    char *guest = strrchr(text, ':');
    if (!guest)
        return -EINVAL;
    *guest++ = '\0';
    char *host = strrchr(text, ':');
    if (host && (text[0] != '[' || host[-1] == ']')) {
        *host++ = '\0';
        *ret_why = "the address before the ports is none: write an IPv4 address, or an IPv6 "
                   "address in brackets";
        if (parse_host_address(text, port) < 0)
            return -EINVAL;
    } else {
        host = text;
    }
    *ret_why = "ports are 1 to 65535, ranges are written 8000-8010";
    if (parse_range(host, &port->host_port, ret_host_last) < 0 ||
        parse_range(guest, &port->guest_port, ret_guest_last) < 0)
        return -EINVAL;
    *ret_why = "the two ranges of ports differ in length";
    return *ret_host_last - port->host_port == *ret_guest_last - port->guest_port ? 0 : -EINVAL;
}

char *workload_port_text(const struct workload_port *port)
{
    char address[INET6_ADDRSTRLEN];
    if (!inet_ntop(port->v6 ? AF_INET6 : AF_INET, port->address, address, sizeof(address)))
        return NULL;
    return pv_strf(port->v6 ? "[%s]:%u:%u/%s" : "%s:%u:%u/%s", address, port->host_port,
                   port->guest_port, port->udp ? "udp" : "tcp");
}

int workload_port_parse(const char *text, struct workload_port *ret_port, struct pv_error *err)
{
    struct workload_port port = {0};
    uint16_t host_last, guest_last;
    const char *why;
    pv_auto_free char *copy = strdup(text);
    if (!copy)
        return NO_MEMORY(err);
    int rc = parse_port(copy, &port, &host_last, &guest_last, &why);
    if (rc == 0 && host_last != port.host_port)
        rc = -EINVAL;
    if (rc < 0)
        return pv_error_set(err, EINVAL, "port '%.100s': %s", text, why);
    *ret_port = port;
    return 0;
}

static bool has(const struct pv_strv *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], text) == 0)
            return true;
    return false;
}

/* The port of the host must not lead to another one of the machine: one text up to the last colon,
 * and the same protocol. */
static const char *find_other(const struct pv_strv *list, const char *text)
{
    size_t host = (size_t)(strrchr(text, ':') - text) + 1;
    for (size_t i = 0; i < list->count; i++)
        if (strncmp(list->items[i], text, host) == 0 && strcmp(list->items[i], text) != 0 &&
            strcmp(strrchr(list->items[i], '/'), strrchr(text, '/')) == 0)
            return list->items[i];
    return NULL;
}

int workload_network_add_ports(struct workload_network *n, const char *text, struct pv_error *err)
{
    struct workload_port port = {0};
    uint16_t host_last, guest_last;
    const char *why;
    pv_auto_free char *copy = strdup(text);
    if (!copy)
        return NO_MEMORY(err);
    if (parse_port(copy, &port, &host_last, &guest_last, &why) < 0)
        return pv_error_set(err, EINVAL, "--publish '%s': %s", text, why);
    unsigned count = host_last - port.host_port + 1u;
    if (n->ports.count + count > WORKLOAD_NETWORK_PORTS_MAX)
        return pv_error_set(err, E2BIG, "--publish '%s': more than %d ports", text,
                            WORKLOAD_NETWORK_PORTS_MAX);
    for (; count > 0; count--, port.host_port++, port.guest_port++) {
        char *one = workload_port_text(&port);
        if (one && has(&n->ports, one)) {
            free(one);
            continue;
        }
        const char *other = one ? find_other(&n->ports, one) : NULL;
        if (other) {
            free(one);
            return pv_error_set(err, EEXIST,
                                "--publish '%s': port %u of the host already leads elsewhere (%s): "
                                "choose another one",
                                text, port.host_port, other);
        }
        if (pv_strv_add_take(&n->ports, one) < 0)
            return NO_MEMORY(err);
    }
    return 0;
}

/* -- addresses and names -- */

int workload_network_parse_address(const char *text, bool *ret_v6, uint8_t ret_address[16],
                                   unsigned *ret_prefix)
{
    char address[INET6_ADDRSTRLEN];
    uint8_t bytes[16] = {0};
    uint64_t prefix;
    size_t len = strcspn(text, "/");
    if (!text[len] || len >= sizeof(address))
        return -EINVAL;
    memcpy(address, text, len);
    address[len] = '\0';
    bool v6 = strchr(address, ':');
    if (inet_pton(v6 ? AF_INET6 : AF_INET, address, bytes) != 1 ||
        pv_str_to_u64(text + len + 1, 1, v6 ? 128 : 32, &prefix) < 0)
        return -EINVAL;
    *ret_v6 = v6;
    *ret_prefix = (unsigned)prefix;
    memcpy(ret_address, bytes, sizeof(bytes));
    return 0;
}

static bool is_address(const char *text)
{
    uint8_t bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static int add(struct pv_strv *list, const char *text, struct pv_error *err)
{
    return pv_strv_add(list, text) < 0 ? NO_MEMORY(err) : 0;
}

int workload_network_add_address(struct workload_network *n, const char *text, struct pv_error *err)
{
    bool v6;
    uint8_t address[16];
    unsigned prefix;
    if (!is_address(text) && workload_network_parse_address(text, &v6, address, &prefix) < 0)
        return pv_error_set(err, EINVAL,
                            "--ip '%s': write an address and the length of its network, such as "
                            "192.0.2.5/24",
                            text);
    return add(&n->addresses, text, err);
}

int workload_network_add_gateway(struct workload_network *n, const char *text, struct pv_error *err)
{
    if (!is_address(text))
        return pv_error_set(err, EINVAL, "--gateway '%s': not an IP address", text);
    return add(&n->gateways, text, err);
}

/* An address that one host can have. */
static bool is_server(const char *text)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, text, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) != 0 && ntohl(v4.s_addr) < 0xe0000000;
    return inet_pton(AF_INET6, text, &v6) == 1 && !IN6_IS_ADDR_UNSPECIFIED(&v6) &&
           !IN6_IS_ADDR_MULTICAST(&v6);
}

int workload_network_add_nameserver(struct workload_network *n, const char *text,
                                    struct pv_error *err)
{
    if (!is_server(text))
        return pv_error_set(err, EINVAL,
                            "--dns '%s': not the IP address of a server: write one, such as "
                            "192.0.2.53 or 2001:db8::53",
                            text);
    if (n->nameservers.count == WORKLOAD_NETWORK_NAMESERVERS_MAX)
        return pv_error_set(err, E2BIG, "--dns '%s': more than %d name servers", text,
                            WORKLOAD_NETWORK_NAMESERVERS_MAX);
    return add(&n->nameservers, text, err);
}

static bool is_domain(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_";
    size_t len = strlen(text);
    if (len > 253)
        return false;
    for (;; text++) { /* labels; the last one may end with a dot */
        size_t n = strcspn(text, ".");
        if (n == 0 || n > 63 || strspn(text, letters) < n)
            return false;
        text += n;
        if (!text[0] || !text[1])
            return true;
    }
}

int workload_network_add_search(struct workload_network *n, const char *text, struct pv_error *err)
{
    if (strcmp(text, ".") != 0 && !is_domain(text))
        return pv_error_set(err, EINVAL,
                            "--dns-search '%s': not a domain: write one, such as example.org, or . "
                            "for none",
                            text);
    return add(&n->searches, text, err);
}

int workload_network_add_host(struct workload_network *n, const char *text, struct pv_error *err)
{
    const char *colon = strchr(text, ':');
    pv_auto_free char *name = colon ? strndup(text, (size_t)(colon - text)) : NULL;
    if (colon && !name)
        return NO_MEMORY(err);
    if (!colon || !is_domain(name) || !is_address(colon + 1))
        return pv_error_set(err, EINVAL,
                            "--add-host '%s': write NAME:ADDRESS, such as db:192.0.2.7", text);
    return pv_strv_add_take(&n->hosts, pv_strf("%s %s", colon + 1, name)) < 0 ? NO_MEMORY(err) : 0;
}

int workload_network_add_alias(struct workload_network *n, const char *text, struct pv_error *err)
{
    if (!pv_str_is_name(text))
        return pv_error_set(err, EINVAL,
                            "--network-alias '%s': write letters, digits, '-', '_' and '.'", text);
    if (n->aliases.count == WORKLOAD_NETWORK_ALIASES_MAX)
        return pv_error_set(err, E2BIG, "--network-alias '%s': more than %d names", text,
                            WORKLOAD_NETWORK_ALIASES_MAX);
    return add(&n->aliases, text, err);
}

static int validate_private(const struct workload_network *n, struct pv_error *err)
{
    if (n->gateways.count)
        return pv_error_set(err, EINVAL,
                            "--gateway: only with --net tap; that of network '%s' is given",
                            workload_network_name(n));
    if (n->addresses.count > 1 || (n->addresses.count && !is_address(n->addresses.items[0])))
        return pv_error_set(err, EINVAL,
                            "--ip '%s': write one IPv4 address of network '%s', without a length",
                            n->addresses.items[n->addresses.count - 1], workload_network_name(n));
    return 0;
}

int workload_network_validate(const struct workload_network *n, struct pv_error *err)
{
    const char *name = workload_network_name(n);
    bool none = strcmp(name, "none") == 0, tap = strcmp(name, "tap") == 0;
    bool private = workload_network_is_private(n);
    if (n->aliases.count && !private)
        return pv_error_set(err, EINVAL,
                            "--network-alias: names are for private networks; choose one with "
                            "--net NAME");
    if (private)
        return validate_private(n, err);
    for (size_t i = 0; i < n->addresses.count; i++)
        if (is_address(n->addresses.items[i]))
            return pv_error_set(err, EINVAL,
                                "--ip '%s': write the length of its network, too, such as "
                                "192.0.2.5/24",
                                n->addresses.items[i]);
    if (n->ports.count && (none || tap))
        return pv_error_set(err, EINVAL, "--publish: %s",
                            none ? "there is no network with --net none"
                                 : "with --net tap the machine is reached at an address of its "
                                   "own");
    if ((n->nameservers.count || n->searches.count) && none)
        return pv_error_set(err, EINVAL,
                            "--dns, --dns-search: there is no network with --net none");
    if ((n->addresses.count || n->gateways.count) && !tap)
        return pv_error_set(err, EINVAL,
                            "--ip, --gateway: only with --net tap; the addresses of --net %s are "
                            "given",
                            name);
    if (n->gateways.count && !n->addresses.count)
        return pv_error_set(err, EINVAL, "--gateway '%s': needs an address, too: add --ip",
                            n->gateways.items[0]);
    return 0;
}
