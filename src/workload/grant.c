/* SPDX-License-Identifier: Apache-2.0
 *
 * grant.c: the words of grants, read strictly: what is not understood grants nothing and is told.
 */
#include "workload/grant.h"

#include "base/fd.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_MAX (256u << 10)
#define LABEL_MAX 63
#define HINT                                                                                       \
    "write tcp:HOST[:PORT[-PORT]], udp:HOST[:PORT[-PORT]], icmp:HOST, cidr:ADDRESS/LENGTH, "       \
    "dns:NAME or vsock:PORT"

static const char *const protocols[] = {
    [WORKLOAD_GRANT_TCP] = "tcp",   [WORKLOAD_GRANT_UDP] = "udp", [WORKLOAD_GRANT_ICMP] = "icmp",
    [WORKLOAD_GRANT_CIDR] = "cidr", [WORKLOAD_GRANT_DNS] = "dns", [WORKLOAD_GRANT_VSOCK] = "vsock",
};

/* What can never be granted as an address: it never leaves the machine, or means the host. */
static const struct {
    const char *prefix, *why;
} forbidden[] = {
    {"127.0.0.0/8", "the host's loopback: write " WORKLOAD_GRANT_LOOPBACK " for its services"},
    {"::1", "the host's loopback: write " WORKLOAD_GRANT_LOOPBACK " for its services"},
    {"0.0.0.0/8", "it means the host itself; write an address that can be reached"},
    {"::", "it means the host itself; write an address that can be reached"},
    {"224.0.0.0/4", "multicast does not leave the machine; write the servers' own addresses"},
    {"ff00::/8", "multicast does not leave the machine; write the servers' own addresses"},
    {"255.255.255.255", "broadcast does not leave the machine; write the servers' own addresses"},
};

/* The text under the parser and where it stands. */
struct cursor {
    const char *text, *at;
    struct pv_error *err;
};

static int wrong(const struct cursor *c, const char *what, const char *way_out)
{
    return pv_error_set(c->err, EINVAL, "grant '%.300s', column %zu: %s; %s", c->text,
                        (size_t)(c->at - c->text) + 1, what, way_out);
}

static bool is_label_byte(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_';
}

int workload_grant_check_name(const char *text, size_t len, char ret_name[WORKLOAD_NAME_MAX + 1])
{
    size_t label = 0;
    if (len && text[len - 1] == '.')
        len--;
    if (len == 0 || len > WORKLOAD_NAME_MAX)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' ? label == 0 : !is_label_byte(text[i]))
            return -EINVAL;
        label = text[i] == '.' ? 0 : label + 1;
        if (label > LABEL_MAX)
            return -EINVAL;
    }
    if (label == 0)
        return -EINVAL;
    for (size_t i = 0; i < len; i++)
        ret_name[i] = (char)tolower((unsigned char)text[i]);
    ret_name[len] = '\0';
    return 0;
}

/* True when a resolver could take the name for a number: "127.1", "0x7f000001", "10.0.0.300". */
static bool looks_like_number(const char *name)
{
    const char *last = strrchr(name, '.');
    last = last ? last + 1 : name;
    return strspn(last, "0123456789") == strlen(last) ||
           (last[0] == '0' && last[1] == 'x' &&
            strspn(last + 2, "0123456789abcdef") == strlen(last + 2));
}

static int take_name(struct cursor *c, size_t len, struct workload_grant *g)
{
    bool below = len > 2 && c->at[0] == '*' && c->at[1] == '.';
    const char *from = c->at + (below ? 2 : 0);
    size_t bytes = len - (below ? 2 : 0);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)c->at[i] >= 0x80)
            return wrong(c, "a name with other letters than ASCII", "write its xn-- form");
    if (workload_grant_check_name(from, bytes, g->name) < 0)
        return wrong(c, len ? "no name and no address" : "the host is missing",
                     "write a name, *.name, *, an IPv4 address, or an IPv6 address in []");
    if (looks_like_number(g->name))
        return wrong(c, "neither an address nor a name", "write all four numbers of an address");
    if (strcmp(g->name, "localhost") == 0)
        return wrong(c, "localhost is the machine itself",
                     "write " WORKLOAD_GRANT_LOOPBACK " for the services on the host's loopback");
    g->target = below ? WORKLOAD_GRANT_BELOW : WORKLOAD_GRANT_HOST;
    c->at += len;
    return 0;
}

static int check_prefix(const struct cursor *c, const struct workload_prefix *p)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(forbidden); i++) {
        struct workload_prefix f;
        if (workload_prefix_parse(forbidden[i].prefix, &f) == 0 && workload_prefix_covers(&f, p))
            return wrong(c, "this address cannot be granted", forbidden[i].why);
    }
    return 0;
}

static int take_prefix(struct cursor *c, const char *text, size_t len, struct workload_grant *g)
{
    int rc = workload_prefix_parse(text, &g->prefix);
    if (rc == -ERANGE) {
        char network[WORKLOAD_PREFIX_TEXT_MAX], hint[128];
        snprintf(hint, sizeof(hint), "write %s, or the address alone",
                 workload_prefix_text(&g->prefix, network));
        return wrong(c, "the address has bits beyond the length", hint);
    }
    if (rc < 0)
        return wrong(c, "not an address",
                     "write 192.0.2.1, 192.0.2.0/24, [2001:db8::1] or "
                     "[2001:db8::]/32");
    rc = check_prefix(c, &g->prefix);
    g->target = WORKLOAD_GRANT_PREFIX;
    c->at += len;
    return rc;
}

/* "[2001:db8::1]", "[2001:db8::]/32" or "[2001:db8::/32]" */
static int take_bracketed(struct cursor *c, struct workload_grant *g)
{
    char text[WORKLOAD_PREFIX_TEXT_MAX];
    const char *end = strchr(c->at, ']');
    if (!end)
        return wrong(c, "the closing ] is missing", "write [2001:db8::1]");
    size_t inner = (size_t)(end - c->at) - 1;
    size_t tail = end[1] == '/' ? 1 + strspn(end + 2, "0123456789") : 0;
    if (inner + tail >= sizeof(text) || !memchr(c->at, ':', inner + 1))
        return wrong(c, "not an IPv6 address", "write [2001:db8::1] or [2001:db8::]/32");
    memcpy(text, c->at + 1, inner);
    memcpy(text + inner, end + 1, tail);
    text[inner + tail] = '\0';
    return take_prefix(c, text, inner + 2 + tail, g);
}

static int take_host(struct cursor *c, struct workload_grant *g)
{
    size_t len = strcspn(c->at, ":");
    char text[WORKLOAD_PREFIX_TEXT_MAX];
    if (*c->at == '[')
        return take_bracketed(c, g);
    if (len == 1 && *c->at == '*') {
        g->target = WORKLOAD_GRANT_ANY;
        c->at += len;
        return 0;
    }
    if (len == strlen(WORKLOAD_GRANT_LOOPBACK) &&
        strncmp(c->at, WORKLOAD_GRANT_LOOPBACK, len) == 0) {
        g->target = WORKLOAD_GRANT_HOST_LOOP;
        c->at += len;
        return 0;
    }
    if (strspn(c->at, "0123456789./") >= len && len && len < sizeof(text) &&
        memchr(c->at, '.', len)) {
        memcpy(text, c->at, len);
        text[len] = '\0';
        return take_prefix(c, text, len, g);
    }
    const char *colon = strchr(c->at, ':');
    if (colon && strchr(colon + 1, ':') && strspn(c->at, "0123456789abcdefABCDEF:.") > len)
        return wrong(c, "an IPv6 address without brackets", "write [2001:db8::1]");
    return take_name(c, len, g);
}

static int take_port(struct cursor *c, uint32_t max, uint32_t *ret_port)
{
    char digits[12];
    uint64_t port;
    size_t len = strspn(c->at, "0123456789");
    const char *hint = max == UINT16_MAX ? "write 1 to 65535" : "write 0 to 4294967294";
    if (len == 0 || len >= sizeof(digits))
        return wrong(c, "not a port", hint);
    memcpy(digits, c->at, len);
    digits[len] = '\0';
    if (pv_str_to_u64(digits, max == UINT16_MAX, max, &port) < 0)
        return wrong(c, "this port does not exist", hint);
    *ret_port = (uint32_t)port;
    c->at += len;
    return 0;
}

static int take_ports(struct cursor *c, uint32_t max, struct workload_grant *g)
{
    int rc = take_port(c, max, &g->first_port);
    g->last_port = g->first_port;
    if (rc < 0 || *c->at != '-')
        return rc;
    c->at++;
    const char *at = c->at;
    rc = take_port(c, max, &g->last_port);
    if (rc == 0 && g->last_port < g->first_port) {
        c->at = at;
        return wrong(c, "the last port is before the first", "write the lower port first");
    }
    return rc;
}

static int take_target(struct cursor *c, struct workload_grant *g)
{
    bool has_ports = g->protocol == WORKLOAD_GRANT_TCP || g->protocol == WORKLOAD_GRANT_UDP;
    int rc;
    switch (g->protocol) {
    case WORKLOAD_GRANT_VSOCK:
        g->target = WORKLOAD_GRANT_PORTS;
        return take_ports(c, UINT32_MAX - 1, g);
    case WORKLOAD_GRANT_CIDR: {
        if (*c->at == '[')
            return take_bracketed(c, g);
        const char *text = c->at;
        return take_prefix(c, text, strlen(text), g);
    }
    case WORKLOAD_GRANT_DNS:
        if (strcmp(c->at, "*") != 0)
            return take_name(c, strlen(c->at), g);
        g->target = WORKLOAD_GRANT_ANY;
        c->at++;
        return 0;
    default:
        rc = take_host(c, g);
    }
    if (rc < 0 || *c->at != ':')
        return rc;
    if (!has_ports)
        return wrong(c, "this protocol has no ports", "leave them out");
    c->at++;
    return take_ports(c, UINT16_MAX, g);
}

int workload_grant_parse(const char *text, struct workload_grant *ret_grant, struct pv_error *err)
{
    struct cursor c = {.text = text, .at = text, .err = err};
    struct workload_grant g = {.first_port = 0, .last_port = UINT32_MAX};
    size_t len = strcspn(text, ":"), i = 0;
    if (!text[len])
        return wrong(&c, "no protocol", HINT);
    while (i < PV_ARRAY_SIZE(protocols) &&
           !(strlen(protocols[i]) == len && strncmp(protocols[i], text, len) == 0))
        i++;
    if (i == PV_ARRAY_SIZE(protocols))
        return wrong(&c, "unknown protocol", HINT);
    g.protocol = (enum workload_grant_protocol)i;
    c.at += len + 1;
    int rc = take_target(&c, &g);
    if (rc == 0 && *c.at)
        rc = wrong(&c, "the rest is not understood", HINT);
    if (rc == 0)
        *ret_grant = g;
    return rc;
}

static void add_prefix_text(const struct workload_grant *g, char buf[WORKLOAD_GRANT_TEXT_MAX],
                            size_t at)
{
    char text[WORKLOAD_PREFIX_TEXT_MAX];
    workload_prefix_text(&g->prefix, text);
    if (workload_address_is_v4(&g->prefix.address)) {
        snprintf(buf + at, WORKLOAD_GRANT_TEXT_MAX - at, "%s", text);
        return;
    }
    size_t inner = strcspn(text, "/");
    snprintf(buf + at, WORKLOAD_GRANT_TEXT_MAX - at, "[%.*s]%s", (int)inner, text, text + inner);
}

const char *workload_grant_text(const struct workload_grant *g, char buf[WORKLOAD_GRANT_TEXT_MAX])
{
    size_t at = (size_t)snprintf(buf, WORKLOAD_GRANT_TEXT_MAX, "%s:", protocols[g->protocol]);
    switch (g->target) {
    case WORKLOAD_GRANT_HOST:
    case WORKLOAD_GRANT_BELOW:
        snprintf(buf + at, WORKLOAD_GRANT_TEXT_MAX - at, "%s%s",
                 g->target == WORKLOAD_GRANT_BELOW ? "*." : "", g->name);
        break;
    case WORKLOAD_GRANT_ANY:
        snprintf(buf + at, WORKLOAD_GRANT_TEXT_MAX - at, "*");
        break;
    case WORKLOAD_GRANT_PREFIX:
        add_prefix_text(g, buf, at);
        break;
    case WORKLOAD_GRANT_HOST_LOOP:
        snprintf(buf + at, WORKLOAD_GRANT_TEXT_MAX - at, WORKLOAD_GRANT_LOOPBACK);
        break;
    case WORKLOAD_GRANT_PORTS:
        break;
    }
    if (g->last_port == UINT32_MAX)
        return buf;
    at = strlen(buf);
    at += (size_t)snprintf(buf + at, WORKLOAD_GRANT_TEXT_MAX - at, "%s%u",
                           g->target == WORKLOAD_GRANT_PORTS ? "" : ":", g->first_port);
    if (g->last_port != g->first_port)
        snprintf(buf + at, WORKLOAD_GRANT_TEXT_MAX - at, "-%u", g->last_port);
    return buf;
}

bool workload_grant_equal(const struct workload_grant *a, const struct workload_grant *b)
{
    return a->protocol == b->protocol && a->target == b->target && strcmp(a->name, b->name) == 0 &&
           a->prefix.bits == b->prefix.bits &&
           workload_address_equal(&a->prefix.address, &b->prefix.address) &&
           a->first_port == b->first_port && a->last_port == b->last_port;
}

bool workload_grant_has_name(const struct workload_grant *g, const char *name)
{
    if (g->target == WORKLOAD_GRANT_ANY)
        return true;
    if (g->target == WORKLOAD_GRANT_HOST)
        return strcmp(g->name, name) == 0;
    size_t len = strlen(name), below = strlen(g->name);
    return g->target == WORKLOAD_GRANT_BELOW && len > below + 1 && name[len - below - 1] == '.' &&
           strcmp(name + len - below, g->name) == 0;
}

void workload_grants_done(struct workload_grants *g)
{
    free(g->items);
    *g = (struct workload_grants){0};
}

static size_t find(const struct workload_grants *g, const struct workload_grant *grant)
{
    size_t i = 0;
    while (i < g->count && !workload_grant_equal(&g->items[i], grant))
        i++;
    return i;
}

int workload_grants_add(struct workload_grants *g, const struct workload_grant *grant)
{
    g->closed = true;
    if (find(g, grant) < g->count)
        return 0;
    if (g->count >= WORKLOAD_GRANTS_MAX)
        return -E2BIG;
    struct workload_grant *items = realloc(g->items, (g->count + 1) * sizeof(*items));
    if (!items)
        return -ENOMEM;
    g->items = items;
    items[g->count++] = *grant;
    return 0;
}

int workload_grants_remove(struct workload_grants *g, const struct workload_grant *grant)
{
    size_t i = find(g, grant);
    if (i == g->count)
        return -ENOENT;
    memmove(&g->items[i], &g->items[i + 1], (g->count - i - 1) * sizeof(*g->items));
    g->count--;
    return 0;
}

int workload_grants_copy(struct workload_grants *dst, const struct workload_grants *src)
{
    struct workload_grants copy = {.closed = src->closed};
    for (size_t i = 0; i < src->count; i++) {
        int rc = workload_grants_add(&copy, &src->items[i]);
        if (rc < 0) {
            workload_grants_done(&copy);
            return rc;
        }
    }
    *dst = copy;
    return 0;
}

static int change(struct workload_grants *g, bool add, const char *what, const char *text,
                  struct pv_error *err)
{
    struct workload_grant grant;
    if (workload_grant_parse(text, &grant, err) < 0)
        return pv_error_prefix(err, "%s", what);
    int rc = add ? workload_grants_add(g, &grant) : workload_grants_remove(g, &grant);
    if (rc == -ENOENT)
        return pv_error_set(
            err, ENOENT, "%s '%s': not granted; `paravane inspect` shows the grants", what, text);
    if (rc == -E2BIG)
        return pv_error_set(err, E2BIG, "%s: more than %u grants; write prefixes or wildcards",
                            what, WORKLOAD_GRANTS_MAX);
    return rc < 0 ? pv_error_set(err, -rc, "%s: out of memory", what) : 0;
}

int workload_grants_add_texts(struct workload_grants *g, const char *what,
                              const struct pv_strv *texts, struct pv_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < texts->count; i++) {
        if (strcmp(texts->items[i], WORKLOAD_GRANT_NOTHING) == 0)
            g->closed = true;
        else
            rc = change(g, true, what, texts->items[i], err);
    }
    return rc;
}

static int open_list(struct workload_grants *g, const char *what, struct pv_error *err)
{
    if (!g->closed)
        return pv_error_set(err, ENOENT, "%s 'none': there are no grants: the outside is reachable",
                            what);
    if (g->count)
        return pv_error_set(err, EBUSY, "%s 'none': %zu grants are left; revoke them first", what,
                            g->count);
    g->closed = false;
    return 0;
}

int workload_grants_remove_texts(struct workload_grants *g, const char *what,
                                 const struct pv_strv *texts, struct pv_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < texts->count; i++)
        rc = strcmp(texts->items[i], WORKLOAD_GRANT_NOTHING) == 0
                 ? open_list(g, what, err)
                 : change(g, false, what, texts->items[i], err);
    return rc;
}

int workload_grants_texts(const struct workload_grants *g, struct pv_strv *texts)
{
    char text[WORKLOAD_GRANT_TEXT_MAX];
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < g->count; i++)
        rc = pv_strv_add(texts, workload_grant_text(&g->items[i], text));
    return rc == 0 && g->closed && !g->count ? pv_strv_add(texts, WORKLOAD_GRANT_NOTHING) : rc;
}

/* One line of a file, in canonical form. */
static int add_line(const char *path, unsigned number, char *line, struct pv_strv *texts,
                    struct pv_error *err)
{
    struct workload_grant grant;
    char text[WORKLOAD_GRANT_TEXT_MAX];
    line[strcspn(line, "#")] = '\0';
    line += strspn(line, " \t\r");
    size_t len = strlen(line);
    while (len && strchr(" \t\r", line[len - 1]))
        line[--len] = '\0';
    if (!len)
        return 0;
    if (strcmp(line, WORKLOAD_GRANT_NOTHING) == 0)
        return pv_strv_add(texts, line);
    if (workload_grant_parse(line, &grant, err) < 0)
        return pv_error_prefix(err, "%s, line %u", path, number);
    return pv_strv_add(texts, workload_grant_text(&grant, text)) < 0
               ? pv_error_set(err, ENOMEM, "%s: out of memory", path)
               : 0;
}

int workload_grants_read_text(const char *path, const char *text, struct pv_strv *texts,
                              struct pv_error *err)
{
    pv_auto_free char *copy = strdup(text);
    if (!copy)
        return pv_error_set(err, ENOMEM, "%s: out of memory", path);
    char *rest = copy, *line;
    int rc = 0;
    for (unsigned number = 1; rc == 0 && (line = strsep(&rest, "\n")); number++)
        rc = add_line(path, number, line, texts, err);
    return rc;
}

int workload_grants_read_file(const char *path, struct pv_strv *texts, struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    size_t len;
    int rc = pv_fd_read_file(AT_FDCWD, path, FILE_MAX, &text, &len, err);
    if (rc < 0)
        return pv_error_prefix(err, "grant file");
    if (strlen(text) != len)
        return pv_error_set(err, EINVAL, "grant file '%s': no text", path);
    return workload_grants_read_text(path, text, texts, err);
}
