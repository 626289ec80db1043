/* SPDX-License-Identifier: Apache-2.0
 *
 * resolver.c: reads resolv.conf(5).
 */
#include "net/resolver.h"

#include "base/fd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define FILE_BYTES_MAX (64u << 10)
#define DOMAIN_MAX 253
#define BLANKS " \t\r"

static bool is_address(const char *text)
{
    uint8_t bytes[16];
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static bool is_domain(const char *text)
{
    size_t len = strlen(text);
    if (len > 1 && text[len - 1] == '.')
        len--;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            !strchr("-_.", c))
            return false;
    }
    return len > 0 && len <= DOMAIN_MAX && text[0] != '.';
}

/* rest: what stands behind the keyword. */
static int read_searches(char *rest, struct pv_strv *searches)
{
    pv_strv_done(searches); /* the last line counts */
    int rc = 0;
    for (char *word; rc == 0 && (word = strtok_r(rest, BLANKS, &rest));)
        if (is_domain(word) && searches->count < NET_RESOLVER_SEARCHES_MAX)
            rc = pv_strv_add(searches, word);
    return rc;
}

static int read_line(char *line, struct pv_strv *servers, struct pv_strv *searches)
{
    char *rest = line;
    char *key = strtok_r(rest, BLANKS, &rest);
    if (!key || !rest || *key == '#' || *key == ';')
        return 0;
    if (searches && (strcmp(key, "search") == 0 || strcmp(key, "domain") == 0))
        return read_searches(rest, searches);
    if (!servers || strcmp(key, "nameserver") != 0)
        return 0;
    char *address = strtok_r(rest, BLANKS, &rest);
    if (!address || !is_address(address) || servers->count >= NET_RESOLVER_SERVERS_MAX)
        return 0;
    return pv_strv_add(servers, address);
}

int net_resolver_parse(const char *text, struct pv_strv *servers, struct pv_strv *searches)
{
    pv_auto_free char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    char *rest = copy;
    int rc = 0;
    for (char *line; rc == 0 && (line = strsep(&rest, "\n"));)
        rc = read_line(line, servers, searches);
    return rc;
}

int net_resolver_read(const char *path, struct pv_strv *servers, struct pv_strv *searches,
                      struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    int rc = pv_fd_read_file(AT_FDCWD, path, FILE_BYTES_MAX, &text, NULL, err);
    if (rc == -ENOENT)
        return 0;
    if (rc < 0)
        return rc;
    rc = net_resolver_parse(text, servers, searches);
    return rc < 0 ? pv_error_set(err, -rc, "%s: %s", path, strerror(-rc)) : 0;
}

bool net_resolver_is_local(const char *server)
{
    struct in6_addr v6;
    if (inet_pton(AF_INET6, server, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strncmp(server, "127.", 4) == 0;
}
