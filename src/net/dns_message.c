/* SPDX-License-Identifier: Apache-2.0
 *
 * dns_message.c: DNS messages, read with limits and written anew.
 * Trust:         questions come from the guest, answers from whoever could send one: names are
 *                bounded in length, a compression pointer must point before itself.
 */
#include "net/dns_message.h"

#include "net/packet.h"

#include <ctype.h>
#include <errno.h>

#define FLAG_RESPONSE 0x8000u
#define FLAG_TRUNCATED 0x0200u
#define FLAG_RECURSION_DESIRED 0x0100u
#define FLAG_RECURSION_AVAILABLE 0x0080u
#define FLAG_CHECKING_DISABLED 0x0010u
#define OPCODE(flags) ((flags) >> 11 & 15)
#define CLASS_IN 1
#define LABEL_MAX 63u
#define POINTER 0xc0u
#define RECORD_FIXED 10u /* type, class, TTL, length */
#define UDP_MIN 512u
#define OPTION_EDE 15
#define POINTER_REACH 0x4000u

/* -- reading -- */

static bool is_text_byte(uint8_t c)
{
    return c > 0x20 && c < 0x7f && c != '.' && c != '\\';
}

/* Reads a name at `at`. *ret_next: behind it. 0; 1 when the name is whole but has bytes that text
 * does not have (ret_name is then ""); -EBADMSG. */
static int read_name(const uint8_t *m, size_t len, size_t at, char ret_name[WORKLOAD_NAME_MAX + 1],
                     size_t *ret_next)
{
    size_t out = 0, limit = at;
    bool jumped = false, odd = false;
    for (;;) {
        if (at >= len)
            return -EBADMSG;
        unsigned byte = m[at];
        if ((byte & POINTER) == POINTER) {
            if (at + 1 >= len)
                return -EBADMSG;
            size_t to = net_packet_u16(m + at) & (POINTER_REACH - 1);
            if (!jumped)
                *ret_next = at + 2;
            jumped = true;
            /* Each pointer must go before where the last part began: no loop is possible. */
            if (to >= limit)
                return -EBADMSG;
            at = limit = to;
            continue;
        }
        if (byte & POINTER)
            return -EBADMSG;
        at++;
        if (byte == 0)
            break;
        if (byte > len - at || out + byte + (out > 0) > WORKLOAD_NAME_MAX)
            return -EBADMSG;
        if (out)
            ret_name[out++] = '.';
        for (unsigned i = 0; i < byte; i++) {
            odd |= !is_text_byte(m[at + i]);
            ret_name[out++] = (char)tolower(m[at + i]);
        }
        at += byte;
    }
    ret_name[odd ? 0 : out] = '\0';
    if (!jumped)
        *ret_next = at;
    return odd;
}

/* Takes EDNS from the additional section of a question: all that follows the question. */
static int read_edns(const uint8_t *m, size_t len, size_t at, unsigned count,
                     struct net_dns_question *q)
{
    char name[WORKLOAD_NAME_MAX + 1];
    for (unsigned i = 0; i < count; i++) {
        if (read_name(m, len, at, name, &at) < 0 || at > len || len - at < RECORD_FIXED)
            return NET_DNS_FORMERR;
        uint16_t type = net_packet_u16(m + at), class = net_packet_u16(m + at + 2);
        unsigned version = m[at + 5];
        size_t data = net_packet_u16(m + at + 8);
        at += RECORD_FIXED;
        if (data > len - at)
            return NET_DNS_FORMERR;
        at += data;
        if (type != NET_DNS_OPT)
            continue;
        if (q->has_edns)
            return NET_DNS_FORMERR;
        q->has_edns = true;
        q->udp_max = PV_MAX(class, (uint16_t)UDP_MIN);
        if (version)
            return NET_DNS_BADVERS;
    }
    return 0;
}

int net_dns_message_question(const uint8_t *m, size_t len, struct net_dns_question *ret_question)
{
    struct net_dns_question q = {.udp_max = UDP_MIN};
    if (len < NET_DNS_HEADER || len > NET_DNS_MESSAGE_MAX)
        return -EBADMSG;
    unsigned flags = net_packet_u16(m + 2);
    if (flags & FLAG_RESPONSE)
        return -EBADMSG;
    q.id = net_packet_u16(m);
    q.recursion_desired = flags & FLAG_RECURSION_DESIRED;
    q.checking_disabled = flags & FLAG_CHECKING_DISABLED;
    *ret_question = q;
    if (OPCODE(flags) != 0)
        return NET_DNS_NOTIMP;
    if (net_packet_u16(m + 4) != 1 || net_packet_u16(m + 6) || net_packet_u16(m + 8))
        return NET_DNS_FORMERR;

    size_t at = NET_DNS_HEADER;
    int rc = read_name(m, len, at, q.name, &at);
    size_t name_len = at - NET_DNS_HEADER;
    /* The first name of a message has nothing before it to point to. */
    if (rc != 0 || name_len > sizeof(q.wire) || len - at < 4)
        return NET_DNS_FORMERR;
    memcpy(q.wire, m + NET_DNS_HEADER, name_len);
    q.wire_len = name_len;
    q.type = net_packet_u16(m + at);
    uint16_t class = net_packet_u16(m + at + 2);
    rc = read_edns(m, len, at + 4, net_packet_u16(m + 10), &q);
    *ret_question = q;
    if (rc == 0 && class != CLASS_IN)
        rc = NET_DNS_REFUSED;
    return rc;
}

int net_dns_message_answer(const uint8_t *m, size_t len, struct net_dns_answer *ret_answer)
{
    struct net_dns_answer a = {.message = m, .len = len};
    if (len < NET_DNS_HEADER || len > NET_DNS_MESSAGE_MAX)
        return -EBADMSG;
    unsigned flags = net_packet_u16(m + 2);
    if (!(flags & FLAG_RESPONSE) || OPCODE(flags) != 0 || net_packet_u16(m + 4) != 1)
        return -EBADMSG;
    a.id = net_packet_u16(m);
    a.code = flags & 15;
    a.truncated = flags & FLAG_TRUNCATED;
    a.num_answers = net_packet_u16(m + 6);
    a.num_authorities = net_packet_u16(m + 8);
    size_t at = NET_DNS_HEADER;
    if (read_name(m, len, at, a.name, &at) != 0 || len - at < 4 ||
        net_packet_u16(m + at + 2) != CLASS_IN)
        return -EBADMSG;
    a.type = net_packet_u16(m + at);
    a.records = at + 4;
    *ret_answer = a;
    return 0;
}

int net_dns_message_each(const struct net_dns_answer *a,
                         int (*visit)(void *data, const struct net_dns_record *record), void *data)
{
    size_t at = a->records;
    for (unsigned i = 0; i < a->num_answers + a->num_authorities; i++) {
        struct net_dns_record r = {.authority = i >= a->num_answers};
        int odd = read_name(a->message, a->len, at, r.name, &at);
        if (odd < 0 || at > a->len || a->len - at < RECORD_FIXED)
            return -EBADMSG;
        const uint8_t *fixed = a->message + at;
        r.type = net_packet_u16(fixed);
        r.ttl = net_packet_u32(fixed + 4);
        if (r.ttl > INT32_MAX) /* RFC 2181, 8 */
            r.ttl = 0;
        r.data = at + RECORD_FIXED;
        r.data_len = net_packet_u16(fixed + 8);
        if (r.data_len > a->len - r.data)
            return -EBADMSG;
        at = r.data + r.data_len;
        if (odd || net_packet_u16(fixed + 2) != CLASS_IN || r.type == NET_DNS_OPT ||
            (r.authority && r.type != NET_DNS_SOA))
            continue;
        int rc = visit(data, &r);
        if (rc)
            return rc;
    }
    return 0;
}

int net_dns_message_target(const struct net_dns_answer *a, const struct net_dns_record *r,
                           char ret_name[WORKLOAD_NAME_MAX + 1])
{
    size_t next;
    int rc = read_name(a->message, r->data + r->data_len, r->data, ret_name, &next);
    return rc != 0 || next != r->data + r->data_len ? -EBADMSG : 0;
}

/* -- building -- */

static void put(struct net_dns_builder *b, const void *bytes, size_t len)
{
    if (b->full || len > b->max - b->len) {
        b->full = true;
        return;
    }
    if (len)
        memcpy(b->message + b->len, bytes, len);
    b->len += len;
}

static void put_u16(struct net_dns_builder *b, uint16_t value)
{
    uint8_t bytes[2];
    net_packet_put_u16(bytes, value);
    put(b, bytes, sizeof(bytes));
}

static void put_u32(struct net_dns_builder *b, uint32_t value)
{
    put_u16(b, (uint16_t)(value >> 16));
    put_u16(b, (uint16_t)value);
}

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

/* Where an equal name was written, or 0. */
static size_t find_written(const struct net_dns_builder *b, const char *name)
{
    uint32_t hash = hash_name(name);
    for (unsigned i = 0; i < b->num_names; i++) {
        char written[WORKLOAD_NAME_MAX + 1];
        size_t next;
        if (b->names[i].hash == hash &&
            read_name(b->message, b->len, b->names[i].at, written, &next) == 0 &&
            strcmp(written, name) == 0)
            return b->names[i].at;
    }
    return 0;
}

static void note_written(struct net_dns_builder *b, const char *name)
{
    if (b->num_names == PV_ARRAY_SIZE(b->names) || b->len >= POINTER_REACH || b->full)
        return;
    b->names[b->num_names].at = b->len;
    b->names[b->num_names++].hash = hash_name(name);
}

static void put_name(struct net_dns_builder *b, const char *name, bool compress)
{
    while (*name) {
        size_t at = compress ? find_written(b, name) : 0;
        if (at) {
            put_u16(b, (uint16_t)(POINTER << 8 | at));
            return;
        }
        if (compress)
            note_written(b, name);
        size_t len = strcspn(name, ".");
        put(b, &(uint8_t){(uint8_t)len}, 1);
        put(b, name, len);
        name += len + (name[len] == '.');
    }
    put(b, "", 1);
}

size_t net_dns_message_build_question(uint8_t message[NET_DNS_MESSAGE_MAX], uint16_t id,
                                      const char *name, uint16_t type)
{
    struct net_dns_builder b = {.message = message, .max = NET_DNS_MESSAGE_MAX};
    put_u16(&b, id);
    put_u16(&b, FLAG_RECURSION_DESIRED);
    put_u16(&b, 1);
    put_u16(&b, 0);
    put_u16(&b, 0);
    put_u16(&b, 1); /* EDNS */
    put_name(&b, name, false);
    put_u16(&b, type);
    put_u16(&b, CLASS_IN);
    put(&b, "", 1);
    put_u16(&b, NET_DNS_OPT);
    put_u16(&b, NET_DNS_UDP_MAX);
    put_u32(&b, 0);
    put_u16(&b, 0);
    return b.len;
}

void net_dns_message_begin(struct net_dns_builder *b, uint8_t *message, size_t max,
                           const struct net_dns_question *q, unsigned code)
{
    *b = (struct net_dns_builder){
        .message = message, .max = PV_MIN(max, NET_DNS_MESSAGE_MAX), .code = code};
    unsigned flags = FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | (code & 15);
    flags |= q->recursion_desired ? FLAG_RECURSION_DESIRED : 0;
    flags |= q->checking_disabled ? FLAG_CHECKING_DISABLED : 0;
    put_u16(b, q->id);
    put_u16(b, (uint16_t)flags);
    put_u16(b, q->wire_len > 0);
    put_u16(b, 0);
    put_u32(b, 0);
    if (!q->wire_len)
        return;
    note_written(b, q->name);
    put(b, q->wire, q->wire_len);
    put_u16(b, q->type);
    put_u16(b, CLASS_IN);
}

/* Everything up to the length of the data, which is written when the data is. */
static void begin_record(struct net_dns_builder *b, const char *name, uint16_t type, uint32_t ttl)
{
    put_name(b, name, true);
    put_u16(b, type);
    put_u16(b, CLASS_IN);
    put_u32(b, ttl);
}

static void count_record(struct net_dns_builder *b, bool authority)
{
    uint8_t *count = b->message + (authority ? 8 : 6);
    if (!b->full)
        net_packet_put_u16(count, (uint16_t)(net_packet_u16(count) + 1));
}

void net_dns_message_add(struct net_dns_builder *b, const char *name, uint16_t type, uint32_t ttl,
                         const void *data, size_t data_len, bool authority)
{
    begin_record(b, name, type, ttl);
    put_u16(b, (uint16_t)data_len);
    put(b, data, data_len);
    count_record(b, authority);
}

/* Copies the data of a type that has names behind `before` fixed bytes, and `after` bytes. */
static int copy_with_names(struct net_dns_builder *b, const struct net_dns_answer *a,
                           const struct net_dns_record *r, size_t before, unsigned names,
                           size_t after)
{
    size_t at = r->data + before, end = r->data + r->data_len;
    size_t length_at = b->len;
    put_u16(b, 0);
    if (before > r->data_len)
        return -EBADMSG;
    put(b, a->message + r->data, before);
    for (unsigned i = 0; i < names; i++) {
        char name[WORKLOAD_NAME_MAX + 1];
        if (read_name(a->message, end, at, name, &at) != 0)
            return -EBADMSG;
        put_name(b, name, false);
    }
    if (at > end || end - at != after)
        return -EBADMSG;
    put(b, a->message + at, after);
    if (!b->full)
        net_packet_put_u16(b->message + length_at, (uint16_t)(b->len - length_at - 2));
    return 0;
}

int net_dns_message_copy(struct net_dns_builder *b, const struct net_dns_answer *a,
                         const struct net_dns_record *r, uint32_t ttl)
{
    struct net_dns_builder before = *b;
    int rc = 0;
    begin_record(b, r->name, r->type, ttl);
    switch (r->type) {
    case NET_DNS_CNAME:
    case NET_DNS_NS:
    case NET_DNS_PTR:
    case NET_DNS_DNAME:
        rc = copy_with_names(b, a, r, 0, 1, 0);
        break;
    case NET_DNS_MX:
        rc = copy_with_names(b, a, r, 2, 1, 0);
        break;
    case NET_DNS_SRV:
        rc = copy_with_names(b, a, r, 6, 1, 0);
        break;
    case NET_DNS_SOA:
        rc = copy_with_names(b, a, r, 0, 2, 20);
        break;
    default: /* no name in it is compressed (RFC 3597, 4) */
        put_u16(b, (uint16_t)r->data_len);
        put(b, a->message + r->data, r->data_len);
    }
    if (rc < 0)
        *b = before;
    else
        count_record(b, r->authority);
    return rc;
}

static void put_edns(struct net_dns_builder *b, unsigned code, uint16_t ede)
{
    put(b, "", 1);
    put_u16(b, NET_DNS_OPT);
    put_u16(b, NET_DNS_UDP_MAX);
    put_u32(b, (uint32_t)(code >> 4) << 24);
    put_u16(b, ede == NET_DNS_EDE_NONE ? 0 : 6);
    if (ede != NET_DNS_EDE_NONE) {
        put_u16(b, OPTION_EDE);
        put_u16(b, 2);
        put_u16(b, ede);
    }
    if (!b->full)
        net_packet_put_u16(b->message + 10, 1);
}

size_t net_dns_message_end(struct net_dns_builder *b, const struct net_dns_question *q,
                           uint16_t ede)
{
    if (q->has_edns)
        put_edns(b, b->code, ede);
    if (!b->full)
        return b->len;
    /* Nothing of it, so that nobody takes a part for the whole: the asker comes again over TCP. */
    struct net_dns_builder empty;
    net_dns_message_begin(&empty, b->message, NET_DNS_MESSAGE_MAX, q, b->code);
    b->message[2] |= FLAG_TRUNCATED >> 8;
    if (q->has_edns)
        put_edns(&empty, b->code, ede);
    return empty.len;
}
