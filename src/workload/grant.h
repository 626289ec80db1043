/* SPDX-License-Identifier: Apache-2.0
 *
 * grant.h: grants: the words that say which services an instance may reach.
 *
 * The words are the same at every isolation. One grant is one of
 *
 *     tcp:HOST[:PORT[-PORT]]   connections to HOST; without ports, to all of them
 *     udp:HOST[:PORT[-PORT]]   datagrams, likewise
 *     icmp:HOST                echo requests
 *     cidr:ADDRESS[/LENGTH]    every protocol to these addresses
 *     dns:NAME                 the name may be resolved, nothing more
 *     vsock:PORT[-PORT]        the host's vsock ports
 *     none                     nothing at all: what a list says whose last grant was revoked
 *
 * HOST is a name, a wildcard name (*.example.org: every name below example.org, not itself), * (any
 * host), an IPv4 address or prefix, an IPv6 address or prefix in brackets ([2001:db8::]/32), or the
 * word host-loopback: the services on the host's own loopback addresses, which nothing else opens.
 * A tcp:, udp: or icmp: grant of a name lets the name be resolved.
 *
 * What the grants of an instance mean together, and what is denied without any, is in
 * docs/design/grants.md; net/policy.h decides.
 */
#ifndef WORKLOAD_GRANT_H
#define WORKLOAD_GRANT_H

#include "base/error.h"
#include "base/str.h"
#include "workload/address.h"

#define WORKLOAD_NAME_MAX 253 /* bytes of a DNS name as text, without the last dot */
#define WORKLOAD_GRANT_TEXT_MAX (WORKLOAD_NAME_MAX + 32)
#define WORKLOAD_GRANTS_MAX 1024u
#define WORKLOAD_GRANT_LOOPBACK "host-loopback"
#define WORKLOAD_GRANT_NOTHING "none"

enum workload_grant_protocol {
    WORKLOAD_GRANT_TCP,
    WORKLOAD_GRANT_UDP,
    WORKLOAD_GRANT_ICMP,
    WORKLOAD_GRANT_CIDR,
    WORKLOAD_GRANT_DNS,
    WORKLOAD_GRANT_VSOCK,
};

enum workload_grant_target {
    WORKLOAD_GRANT_HOST,      /* one name */
    WORKLOAD_GRANT_BELOW,     /* every name below name: "*.name" */
    WORKLOAD_GRANT_ANY,       /* any host: "*" */
    WORKLOAD_GRANT_PREFIX,    /* prefix */
    WORKLOAD_GRANT_HOST_LOOP, /* host-loopback */
    WORKLOAD_GRANT_PORTS,     /* only ports: vsock */
};

struct workload_grant {
    enum workload_grant_protocol protocol;
    enum workload_grant_target target;
    char name[WORKLOAD_NAME_MAX + 1]; /* lower case, without the last dot; "" unless a name */
    struct workload_prefix prefix;
    uint32_t first_port, last_port; /* inclusive; 0 .. UINT32_MAX: all */
};

struct workload_grants {
    struct workload_grant *items; /* owned */
    size_t count;
    /* Only what is granted can be reached. Set by the first grant and kept when the last one goes:
     * taking a grant away never opens anything. */
    bool closed;
};

/* Parses one grant. The error names the part that is wrong, its column (from 1) and a way out. */
int workload_grant_parse(const char *text, struct workload_grant *ret_grant, struct pv_error *err);
/* Writes the canonical text, which parses to an equal grant, into buf and returns it. */
const char *workload_grant_text(const struct workload_grant *g, char buf[WORKLOAD_GRANT_TEXT_MAX]);
bool workload_grant_equal(const struct workload_grant *a, const struct workload_grant *b);
/* Whether the grant lets this name (lower case, no last dot) be resolved. */
bool workload_grant_has_name(const struct workload_grant *g, const char *name);
static inline bool workload_grant_has_port(const struct workload_grant *g, uint32_t port)
{
    return port >= g->first_port && port <= g->last_port;
}

/* Checks a DNS name as text and writes it in lower case without the last dot. Names of LDH labels
 * and underscores. 0 or -EINVAL. */
int workload_grant_check_name(const char *text, size_t len, char ret_name[WORKLOAD_NAME_MAX + 1]);

void workload_grants_done(struct workload_grants *g);
/* Adds a grant; one that is there already is not added again. 0, -ENOMEM or -E2BIG. */
int workload_grants_add(struct workload_grants *g, const struct workload_grant *grant);
/* Takes a grant out; -ENOENT when it is not there. */
int workload_grants_remove(struct workload_grants *g, const struct workload_grant *grant);
int workload_grants_copy(struct workload_grants *dst, const struct workload_grants *src);
/* Parses a list of texts and adds them; `what` is named before each error ("--grant"). "none"
 * closes the list and adds nothing. On failure the list may have some of them. */
int workload_grants_add_texts(struct workload_grants *g, const char *what,
                              const struct pv_strv *texts, struct pv_error *err);
/* Likewise takes them out; one that is not there is an error that names it. "none" opens a closed
 * list that has no grants. */
int workload_grants_remove_texts(struct workload_grants *g, const char *what,
                                 const struct pv_strv *texts, struct pv_error *err);
/* Adds the list in canonical form to texts; a closed list without grants is "none". 0, -ENOMEM. */
int workload_grants_texts(const struct workload_grants *g, struct pv_strv *texts);
/* Adds the grants of a file to texts: one per line in canonical form; blank lines and what follows
 * a # are ignored. Errors name file and line. */
int workload_grants_read_file(const char *path, struct pv_strv *texts, struct pv_error *err);
/* The same for text in memory; `path` is for the errors. */
int workload_grants_read_text(const char *path, const char *text, struct pv_strv *texts,
                              struct pv_error *err);

#endif
