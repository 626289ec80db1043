/* SPDX-License-Identifier: Apache-2.0
 *
 * dns.c: the DNS of an instance.
 *
 * Theory of operation: a question becomes a struct asked until it is answered. Names that are not
 * granted do not exist (NXDOMAIN, which every resolver takes as final at once; the extended error
 * says "prohibited"). An answer of the outside is built anew from the records that belong to the
 * question's chain of aliases; the chain counts under the name that was asked for, since that is
 * what was granted.
 */
#include "net/dns.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

#define SECOND_NS 1000000000ull
#define CHAIN_MAX 16u

struct asked {
    struct net_dns *dns;
    struct asked *next;
    struct net_dns_question question;
    size_t answer_max;
    net_dns_reply_fn *fn;
    void *data;
};

struct net_dns {
    struct net_dns_options options;
    struct asked *open;
    uint64_t counters[NET_DNS_COUNTERS];
    uint8_t buffer[NET_DNS_MESSAGE_MAX];
};

struct net_dns *net_dns_new(const struct net_dns_options *options)
{
    struct net_dns *dns = calloc(1, sizeof(*dns));
    if (!dns)
        return NULL;
    dns->options = *options;
    if (!dns->options.now)
        dns->options.now = pv_time_monotonic_ns;
    return dns;
}

void net_dns_free(struct net_dns *dns)
{
    while (dns && dns->open) {
        struct asked *a = dns->open;
        dns->open = a->next;
        a->fn(a->data, NULL, 0);
        free(a);
    }
    free(dns);
}

const uint64_t *net_dns_counters(const struct net_dns *dns)
{
    return dns->counters;
}

/* Takes the question out of the list and sends the answer that b has. */
static void reply(struct asked *a, struct net_dns_builder *b, uint16_t ede)
{
    struct asked **at = &a->dns->open;
    size_t len = net_dns_message_end(b, &a->question, ede);
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    a->fn(a->data, a->dns->buffer, len);
    free(a);
}

static void reply_empty(struct asked *a, unsigned code, uint16_t ede)
{
    struct net_dns_builder b;
    net_dns_message_begin(&b, a->dns->buffer, a->answer_max, &a->question, code);
    reply(a, &b, ede);
}

/* -- answers of the outside -- */

/* What an answer comes down to. */
struct digest {
    const struct net_dns_answer *answer;
    struct asked *asked;
    char chain[CHAIN_MAX][WORKLOAD_NAME_MAX + 1];
    unsigned links;
    uint32_t ttl; /* the least of the chain's and of the addresses' */
    bool grew;
    unsigned stripped;
    struct net_dns_builder *builder;
};

static bool in_chain(const struct digest *d, const char *name)
{
    for (unsigned i = 0; i < d->links; i++)
        if (strcmp(d->chain[i], name) == 0)
            return true;
    return false;
}

static int follow(void *data, const struct net_dns_record *r)
{
    struct digest *d = data;
    char target[WORKLOAD_NAME_MAX + 1];
    if (r->authority || r->type != NET_DNS_CNAME || d->links == CHAIN_MAX ||
        strcmp(r->name, d->chain[d->links - 1]) != 0 ||
        net_dns_message_target(d->answer, r, target) < 0 || in_chain(d, target))
        return 0;
    memcpy(d->chain[d->links++], target, sizeof(target));
    d->ttl = PV_MIN(d->ttl, r->ttl);
    d->grew = true;
    return 0;
}

/* The aliases from the name asked for on; the records may come in any order. */
static int read_chain(struct digest *d)
{
    int rc;
    memcpy(d->chain[0], d->asked->question.name, sizeof(d->chain[0]));
    d->links = 1;
    do {
        d->grew = false;
        rc = net_dns_message_each(d->answer, follow, d);
    } while (rc == 0 && d->grew);
    return rc;
}

static bool is_address(const struct net_dns_record *r)
{
    return (r->type == NET_DNS_A && r->data_len == 4) ||
           (r->type == NET_DNS_AAAA && r->data_len == 16);
}

static int least_ttl(void *data, const struct net_dns_record *r)
{
    struct digest *d = data;
    if (!r->authority && in_chain(d, r->name))
        d->ttl = PV_MIN(d->ttl, r->ttl);
    return 0;
}

/* Notes an address that may be answered; false when it may not. */
static bool take_address(struct digest *d, const struct net_dns_record *r)
{
    struct net_dns *dns = d->asked->dns;
    const char *name = d->asked->question.name;
    const uint8_t *bytes = d->answer->message + r->data;
    struct workload_address a =
        r->type == NET_DNS_A ? workload_address_from_v4(bytes) : workload_address_from_v6(bytes);
    enum net_rule rule;
    bool mapped = r->type == NET_DNS_AAAA && workload_address_is_v4(&a);
    if (mapped || !net_policy_may_answer(dns->options.policy, &a, &rule)) {
        dns->counters[NET_DNS_STRIPPED]++;
        d->stripped++;
        if (dns->options.denied)
            dns->options.denied(dns->options.denied_data, name, &a, NET_RULE_REBINDING);
        return false;
    }
    return net_names_add(dns->options.names, &a, name, dns->options.now() + d->ttl * SECOND_NS) ==
           0;
}

static int copy_record(void *data, const struct net_dns_record *r)
{
    struct digest *d = data;
    bool wanted = r->type == d->asked->question.type || r->type == NET_DNS_CNAME;
    bool address = r->type == NET_DNS_A || r->type == NET_DNS_AAAA;
    if (!r->authority && (!wanted || !in_chain(d, r->name)))
        return 0;
    if (!r->authority && address && (!is_address(r) || !take_address(d, r)))
        return 0;
    net_dns_message_copy(d->builder, d->answer, r, d->ttl);
    return 0;
}

static void on_answer(void *data, const struct net_dns_answer *answer)
{
    struct asked *a = data;
    struct net_dns *dns = a->dns;
    struct net_dns_builder b;
    struct digest d = {.answer = answer, .asked = a, .ttl = NET_DNS_TTL_MAX, .builder = &b};
    if (!answer || read_chain(&d) < 0) {
        dns->counters[NET_DNS_FAILED]++;
        reply_empty(a, NET_DNS_SERVFAIL, NET_DNS_EDE_NO_REACHABLE);
        return;
    }
    net_dns_message_each(answer, least_ttl, &d);
    d.ttl = PV_MAX(d.ttl, NET_DNS_TTL_MIN);
    net_dns_message_begin(&b, dns->buffer, a->answer_max, &a->question, answer->code);
    net_dns_message_each(answer, copy_record, &d);
    dns->counters[NET_DNS_ANSWERED]++;
    reply(a, &b, d.stripped ? NET_DNS_EDE_BLOCKED : NET_DNS_EDE_NONE);
}

/* -- questions -- */

static void answer_local(struct asked *a, const struct workload_address *addresses, unsigned count)
{
    struct net_dns *dns = a->dns;
    const struct net_dns_question *q = &a->question;
    struct net_dns_builder b;
    net_dns_message_begin(&b, dns->buffer, a->answer_max, q, NET_DNS_NOERROR);
    for (unsigned i = 0; i < count; i++) {
        bool v4 = workload_address_is_v4(&addresses[i]);
        if (q->type != (v4 ? NET_DNS_A : NET_DNS_AAAA))
            continue;
        net_dns_message_add(&b, q->name, q->type, NET_DNS_LOCAL_TTL,
                            v4 ? workload_address_v4(&addresses[i]) : addresses[i].bytes,
                            v4 ? 4 : 16, false);
        net_names_add(dns->options.names, &addresses[i], q->name,
                      dns->options.now() + NET_DNS_LOCAL_TTL * SECOND_NS);
    }
    dns->counters[NET_DNS_ANSWERED]++;
    reply(a, &b, NET_DNS_EDE_NONE);
}

static void resolve(struct asked *a)
{
    struct net_dns *dns = a->dns;
    const struct net_dns_options *o = &dns->options;
    struct workload_address addresses[NET_DNS_LOCAL_ADDRESSES_MAX];
    if (!net_policy_may_resolve(o->policy, a->question.name)) {
        dns->counters[NET_DNS_DENIED]++;
        if (o->denied)
            o->denied(o->denied_data, a->question.name, NULL, NET_RULE_NOT_GRANTED);
        reply_empty(a, NET_DNS_NXDOMAIN, NET_DNS_EDE_PROHIBITED);
        return;
    }
    int count = o->lookup ? o->lookup(o->lookup_data, a->question.name, addresses,
                                      NET_DNS_LOCAL_ADDRESSES_MAX)
                          : -ENOENT;
    if (count >= 0) {
        answer_local(a, addresses, PV_MIN((unsigned)count, NET_DNS_LOCAL_ADDRESSES_MAX));
        return;
    }
    if (o->upstream &&
        net_upstream_ask(o->upstream, a->question.name, a->question.type, on_answer, a) == 0)
        return;
    dns->counters[NET_DNS_FAILED]++;
    reply_empty(a, NET_DNS_SERVFAIL, NET_DNS_EDE_NO_REACHABLE);
}

/* Types that are no records of a name: transfers and "everything". */
static bool is_meta(uint16_t type)
{
    return type == 0 || type == NET_DNS_OPT || (type >= 128 && type <= 255);
}

void net_dns_ask(struct net_dns *dns, const uint8_t *message, size_t len, size_t answer_max,
                 bool udp, net_dns_reply_fn *fn, void *data)
{
    struct net_dns_question question;
    struct asked *a = NULL;
    int code = net_dns_message_question(message, len, &question);
    dns->counters[NET_DNS_QUESTIONS]++;
    if (code >= 0)
        a = calloc(1, sizeof(*a));
    if (!a) {
        dns->counters[NET_DNS_BROKEN] += code < 0;
        fn(data, NULL, 0);
        return;
    }
    *a =
        (struct asked){.dns = dns, .next = dns->open, .question = question, .fn = fn, .data = data};
    a->answer_max = udp ? PV_MIN(answer_max, (size_t)question.udp_max) : answer_max;
    dns->open = a;
    if (code > 0) {
        dns->counters[NET_DNS_BROKEN]++;
        reply_empty(a, (unsigned)code, NET_DNS_EDE_NONE);
    } else if (is_meta(question.type)) {
        reply_empty(a, NET_DNS_NOTIMP, NET_DNS_EDE_NONE);
    } else {
        resolve(a);
    }
}
