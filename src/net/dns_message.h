/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_message.h: DNS messages, read with limits and written anew.
 *
 * Nothing that another wrote is passed on as it came: questions and answers are read into plain
 * data, and messages are built from these.
 *
 * Spec: RFC 1035, 2181, 3597 (unknown types), 6891 (EDNS), 8914 (extended errors).
 */
#ifndef NET_DNS_MESSAGE_H
#define NET_DNS_MESSAGE_H

#include "workload/grant.h"

#define NET_DNS_HEADER 12u
#define NET_DNS_MESSAGE_MAX 65535u
#define NET_DNS_UDP_MAX 1232u /* what we ask others to send at most (DNS flag day 2020) */
#define NET_DNS_PORT 53

enum net_dns_type {
    NET_DNS_A = 1,
    NET_DNS_NS = 2,
    NET_DNS_CNAME = 5,
    NET_DNS_SOA = 6,
    NET_DNS_PTR = 12,
    NET_DNS_MX = 15,
    NET_DNS_AAAA = 28,
    NET_DNS_SRV = 33,
    NET_DNS_DNAME = 39,
    NET_DNS_OPT = 41,
    NET_DNS_SVCB = 64,
    NET_DNS_HTTPS = 65,
    NET_DNS_ANY = 255,
};

enum net_dns_code {
    NET_DNS_NOERROR = 0,
    NET_DNS_FORMERR = 1,
    NET_DNS_SERVFAIL = 2,
    NET_DNS_NXDOMAIN = 3,
    NET_DNS_NOTIMP = 4,
    NET_DNS_REFUSED = 5,
    NET_DNS_BADVERS = 16,
};

#define NET_DNS_EDE_BLOCKED 15
#define NET_DNS_EDE_PROHIBITED 18
#define NET_DNS_EDE_NO_REACHABLE 22
#define NET_DNS_EDE_NONE 0xffff

/* A question as it came. */
struct net_dns_question {
    uint16_t id;
    bool recursion_desired, checking_disabled;
    char name[WORKLOAD_NAME_MAX + 1]; /* lower case; "" is the root; see net_dns_message_question */
    uint8_t wire[256];                /* the name with its length bytes, in the asker's case */
    size_t wire_len;
    uint16_t type;
    bool has_edns;
    uint16_t udp_max; /* how long an answer over UDP may be */
};

/* One record of an answer: name and data borrowed from the message. */
struct net_dns_record {
    char name[WORKLOAD_NAME_MAX + 1];
    uint16_t type;
    uint32_t ttl;
    size_t data, data_len; /* in the message */
    bool authority;        /* of the authority section (only SOA is told) */
};

struct net_dns_answer {
    const uint8_t *message;
    size_t len;
    uint16_t id;
    unsigned code;
    bool truncated;
    char name[WORKLOAD_NAME_MAX + 1];
    uint16_t type;
    unsigned num_answers, num_authorities;
    size_t records; /* where they begin */
};

/* Reads a question. 0; -EBADMSG when it cannot be answered at all (too short, no query); or a
 * positive enum net_dns_code to refuse it with, when *ret_question has what a refusal needs (id and
 * flags, and wire when it could be read). A name is refused with FORMERR when it has bytes that
 * names as text do not have. */
int net_dns_message_question(const uint8_t *message, size_t len,
                             struct net_dns_question *ret_question);

/* Reads the head and the question of an answer. 0 or -EBADMSG. */
int net_dns_message_answer(const uint8_t *message, size_t len, struct net_dns_answer *ret_answer);
/* Calls visit for each record of the answer section, then for SOA records of the authority section,
 * until it returns non-zero, which is returned. -EBADMSG when a record is broken. Records of other
 * classes are left out. */
int net_dns_message_each(const struct net_dns_answer *answer,
                         int (*visit)(void *data, const struct net_dns_record *record), void *data);
/* The name in a record's data (CNAME, NS, PTR, DNAME) as text. 0 or -EBADMSG. */
int net_dns_message_target(const struct net_dns_answer *answer, const struct net_dns_record *record,
                           char ret_name[WORKLOAD_NAME_MAX + 1]);

/* -- building -- */

struct net_dns_builder {
    uint8_t *message; /* borrowed, NET_DNS_MESSAGE_MAX bytes */
    size_t len, max;
    bool full; /* something did not fit */
    unsigned code;
    /* Names that were written, for compression. */
    struct {
        size_t at;
        uint32_t hash;
    } names[32];
    unsigned num_names;
};

/* A question of ours. Returns its length. */
size_t net_dns_message_build_question(uint8_t message[NET_DNS_MESSAGE_MAX], uint16_t id,
                                      const char *name, uint16_t type);
/* Begins an answer to question: header and question. max: bytes that it may take. */
void net_dns_message_begin(struct net_dns_builder *b, uint8_t *message, size_t max,
                           const struct net_dns_question *question, unsigned code);
/* Adds a record with plain data (an address). */
void net_dns_message_add(struct net_dns_builder *b, const char *name, uint16_t type, uint32_t ttl,
                         const void *data, size_t data_len, bool authority);
/* Adds a record of another message, its names written anew. -EBADMSG when its data is broken. */
int net_dns_message_copy(struct net_dns_builder *b, const struct net_dns_answer *answer,
                         const struct net_dns_record *record, uint32_t ttl);
/* Ends the answer: adds EDNS when the asker has it, with ede (NET_DNS_EDE_*) when it is one. An
 * answer that did not fit becomes an empty one with the truncation flag. Returns its length. */
size_t net_dns_message_end(struct net_dns_builder *b, const struct net_dns_question *question,
                           uint16_t ede);

#endif
