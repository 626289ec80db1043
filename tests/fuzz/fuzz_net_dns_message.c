/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_net_dns_message.c: a DNS message, taken as a question and as an answer. An answer is written
 * anew, and what was written must be an answer with no more records.
 */
#include "net/dns_message.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct copying {
    const struct net_dns_answer *from;
    struct net_dns_builder builder;
    unsigned records;
};

static int copy(void *data, const struct net_dns_record *r)
{
    struct copying *c = data;
    char target[WORKLOAD_NAME_MAX + 1];
    assert(strlen(r->name) <= WORKLOAD_NAME_MAX);
    assert(r->data + r->data_len <= c->from->len);
    net_dns_message_target(c->from, r, target);
    c->records += net_dns_message_copy(&c->builder, c->from, r, 5) == 0;
    return 0;
}

static int count(void *data, const struct net_dns_record *r)
{
    ++*(unsigned *)data;
    return 0;
}

static void write_anew(const struct net_dns_answer *a)
{
    static uint8_t message[NET_DNS_MESSAGE_MAX];
    struct net_dns_question q;
    struct net_dns_answer again;
    struct copying c = {.from = a};
    unsigned records = 0;
    size_t len = net_dns_message_build_question(message, a->id, a->name, a->type);
    static uint8_t question[NET_DNS_MESSAGE_MAX];
    memcpy(question, message, len);
    if (net_dns_message_question(question, len, &q) != 0)
        return;
    net_dns_message_begin(&c.builder, message, 4096, &q, a->code);
    net_dns_message_each(a, copy, &c);
    len = net_dns_message_end(&c.builder, &q, NET_DNS_EDE_NONE);
    assert(len <= 4096);
    int rc = net_dns_message_answer(message, len, &again);
    assert(rc == 0 && strcmp(again.name, a->name) == 0);
    rc = net_dns_message_each(&again, count, &records);
    assert(rc == 0 && (again.truncated || records == c.records));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct net_dns_question q;
    struct net_dns_answer a;
    if (net_dns_message_question(data, size, &q) == 0)
        assert(strlen(q.name) <= WORKLOAD_NAME_MAX && q.wire_len <= sizeof(q.wire));
    if (net_dns_message_answer(data, size, &a) == 0)
        write_anew(&a);
    return 0;
}
