/* SPDX-License-Identifier: Apache-2.0
 *
 * test_grant.c: the words of grants.
 */
#include "support/unit.h"

#include "workload/grant.h"

#include <errno.h>
#include <stdio.h>

static void test_canonical_form(void **state)
{
    static const struct {
        const char *text, *again;
    } rows[] = {
        {"tcp:example.org:443", "tcp:example.org:443"},
        {"tcp:Example.ORG.:443", "tcp:example.org:443"},
        {"tcp:example.org", "tcp:example.org"},
        {"tcp:example.org:80-90", "tcp:example.org:80-90"},
        {"tcp:example.org:80-80", "tcp:example.org:80"},
        {"tcp:example.org:1-65535", "tcp:example.org:1-65535"},
        {"tcp:*.example.org:443", "tcp:*.example.org:443"},
        {"tcp:*:443", "tcp:*:443"},
        {"tcp:192.0.2.1:22", "tcp:192.0.2.1:22"},
        {"tcp:192.0.2.0/24:22", "tcp:192.0.2.0/24:22"},
        {"tcp:[2001:db8::1]:22", "tcp:[2001:db8::1]:22"},
        {"tcp:[2001:db8::]/32:22", "tcp:[2001:db8::]/32:22"},
        {"tcp:[2001:db8::/32]:22", "tcp:[2001:db8::]/32:22"},
        {"tcp:host-loopback:5432", "tcp:host-loopback:5432"},
        {"tcp:169.254.169.254:80", "tcp:169.254.169.254:80"},
        {"udp:192.0.2.1:53", "udp:192.0.2.1:53"},
        {"icmp:example.org", "icmp:example.org"},
        {"icmp:*", "icmp:*"},
        {"cidr:10.0.0.0/8", "cidr:10.0.0.0/8"},
        {"cidr:0.0.0.0/0", "cidr:0.0.0.0/0"},
        {"cidr:192.0.2.1", "cidr:192.0.2.1"},
        {"cidr:2001:db8::/32", "cidr:[2001:db8::]/32"},
        {"cidr:[2001:db8::]/32", "cidr:[2001:db8::]/32"},
        {"dns:*.example.org", "dns:*.example.org"},
        {"dns:_dmarc.example.org", "dns:_dmarc.example.org"},
        {"dns:*", "dns:*"},
        {"vsock:0", "vsock:0"},
        {"vsock:5000-5010", "vsock:5000-5010"},
        {"vsock:4294967294", "vsock:4294967294"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_grant g, again;
        char text[WORKLOAD_GRANT_TEXT_MAX];
        struct pv_error err = PV_ERROR_INIT;
        if (workload_grant_parse(rows[i].text, &g, &err) < 0)
            fail_msg("%s: %s", rows[i].text, err.text);
        assert_string_equal(workload_grant_text(&g, text), rows[i].again);
        assert_int_equal(workload_grant_parse(text, &again, &err), 0);
        assert_true(workload_grant_equal(&g, &again));
    }
}

static void test_what_is_wrong_is_told(void **state)
{
    static const struct {
        const char *text;
        unsigned column;
        const char *says, *way_out;
    } rows[] = {
        {"", 1, "no protocol", "tcp:HOST"},
        {"example.org", 1, "no protocol", "tcp:HOST"},
        {"http:example.org", 1, "unknown protocol", "tcp:HOST"},
        {"TCP:example.org", 1, "unknown protocol", "tcp:HOST"},
        {"tcp:", 5, "host is missing", "write a name"},
        {"tcp::80", 5, "host is missing", "write a name"},
        {"tcp:exa mple.org:80", 5, "no name", "write a name"},
        {"tcp:example..org", 5, "no name", "write a name"},
        {"tcp:.example.org", 5, "no name", "write a name"},
        {"tcp:a.*.org", 5, "no name", "*.name"},
        {"tcp:*example.org", 5, "no name", "*.name"},
        {"tcp:b\xc3\xbc"
         "cher.example",
         5, "other letters", "xn--"},
        {"tcp:127.1:80", 5, "not an address", "192.0.2.1"},
        {"tcp:10.0.0.300", 5, "not an address", "192.0.2.1"},
        {"tcp:0x7f000001:80", 5, "neither an address nor a name", "all four"},
        {"tcp:2130706433", 5, "neither an address nor a name", "all four"},
        {"tcp:127.0.0.1:80", 5, "cannot be granted", "host-loopback"},
        {"tcp:[::1]:80", 5, "cannot be granted", "host-loopback"},
        {"tcp:localhost:80", 5, "localhost", "host-loopback"},
        {"cidr:0.0.0.0/8", 6, "cannot be granted", "host itself"},
        {"udp:224.0.0.251:5353", 5, "cannot be granted", "multicast"},
        {"udp:255.255.255.255:1", 5, "cannot be granted", "broadcast"},
        {"tcp:192.0.2.1/24:80", 5, "bits beyond", "write 192.0.2.0/24"},
        {"tcp:2001:db8::1:80", 5, "without brackets", "[2001:db8::1]"},
        {"tcp:example.org:80:90", 19, "", ""},
        {"tcp:[2001:db8::1:80", 5, "closing ]", "[2001:db8::1]"},
        {"tcp:[]:80", 5, "not an IPv6", "[2001:db8::1]"},
        {"tcp:[192.0.2.1]:80", 5, "not an IPv6", "[2001:db8::1]"},
        {"tcp:[::ffff:192.0.2.1]:80", 5, "not an address", "192.0.2.1"},
        {"tcp:[2001:db8::1]x", 18, "rest", "tcp:HOST"},
        {"tcp:example.org:", 17, "not a port", "1 to 65535"},
        {"tcp:example.org:https", 17, "not a port", "1 to 65535"},
        {"tcp:example.org:0", 17, "does not exist", "1 to 65535"},
        {"tcp:example.org:65536", 17, "does not exist", "1 to 65535"},
        {"tcp:example.org:80-", 20, "not a port", "1 to 65535"},
        {"tcp:example.org:80-79", 20, "before the first", "lower port first"},
        {"tcp:example.org:80,81", 19, "rest", "tcp:HOST"},
        {"icmp:example.org:80", 17, "no ports", "leave them out"},
        {"cidr:example.org", 6, "not an address", "192.0.2.0/24"},
        {"cidr:10.0.0.0/8:80", 6, "not an address", "192.0.2.0/24"},
        {"dns:", 5, "host is missing", "write a name"},
        {"dns:192.0.2.1", 5, "neither", "address"},
        {"vsock:", 7, "not a port", "4294967294"},
        {"vsock:4294967295", 7, "does not exist", "4294967294"},
        {"vsock:99999999999999", 7, "not a port", "4294967294"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_grant g;
        struct pv_error err = PV_ERROR_INIT;
        char column[32];
        snprintf(column, sizeof(column), "column %u:", rows[i].column);
        assert_int_equal(workload_grant_parse(rows[i].text, &g, &err), -EINVAL);
        if (!strstr(err.text, rows[i].says) || !strstr(err.text, column) ||
            !strstr(err.text, rows[i].way_out))
            fail_msg("%s", err.text);
    }
}

static void test_long_names(void **state)
{
    char text[600] = "dns:";
    struct workload_grant g;
    memset(text + 4, 'a', 63);
    assert_int_equal(workload_grant_parse(text, &g, NULL), 0);
    text[4 + 63] = 'a';
    assert_int_equal(workload_grant_parse(text, &g, NULL), -EINVAL);
    for (size_t i = 0; i < 253; i++)
        text[4 + i] = i % 2 ? '.' : 'a';
    assert_int_equal(workload_grant_parse(text, &g, NULL), 0);
    strcpy(text + 4 + 253, ".a");
    assert_int_equal(workload_grant_parse(text, &g, NULL), -EINVAL);
}

static void test_names_that_match(void **state)
{
    static const struct {
        const char *grant, *name;
        bool matches;
    } rows[] = {
        {"tcp:example.org:80", "example.org", true},
        {"tcp:example.org:80", "www.example.org", false},
        {"tcp:example.org:80", "example.orgx", false},
        {"dns:*.example.org", "www.example.org", true},
        {"dns:*.example.org", "a.b.example.org", true},
        {"dns:*.example.org", "example.org", false},
        {"dns:*.example.org", "badexample.org", false},
        {"dns:*.example.org", ".example.org", false},
        {"dns:*", "anything", true},
        {"cidr:10.0.0.0/8", "example.org", false},
        {"tcp:host-loopback", "host-loopback", false},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct workload_grant g;
        assert_int_equal(workload_grant_parse(rows[i].grant, &g, NULL), 0);
        assert_int_equal(workload_grant_has_name(&g, rows[i].name), rows[i].matches);
    }
}

static void add(struct workload_grants *g, const char *text)
{
    struct pv_strv texts = {0};
    assert_int_equal(pv_strv_add(&texts, text), 0);
    assert_int_equal(workload_grants_add_texts(g, "--grant", &texts, NULL), 0);
    pv_strv_done(&texts);
}

static int take_out(struct workload_grants *g, const char *text, struct pv_error *err)
{
    struct pv_strv texts = {0};
    assert_int_equal(pv_strv_add(&texts, text), 0);
    int rc = workload_grants_remove_texts(g, "--revoke", &texts, err);
    pv_strv_done(&texts);
    return rc;
}

static void test_list(void **state)
{
    struct workload_grants g = {0}, copy;
    struct pv_error err = PV_ERROR_INIT;
    assert_false(g.closed);
    add(&g, "tcp:a.example:80");
    add(&g, "tcp:A.example.:80");
    add(&g, "dns:b.example");
    assert_int_equal(g.count, 2);
    assert_true(g.closed);
    assert_int_equal(take_out(&g, "tcp:a.example", &err), -ENOENT);
    assert_non_null(strstr(err.text, "not granted"));
    assert_int_equal(workload_grants_copy(&copy, &g), 0);
    assert_int_equal(copy.count, 2);
    workload_grants_done(&copy);
    assert_int_equal(take_out(&g, "tcp:a.example:80", &err), 0);
    assert_int_equal(take_out(&g, "none", &err), -EBUSY);
    assert_int_equal(take_out(&g, "dns:b.example", &err), 0);
    workload_grants_done(&g);
}

static void test_the_last_grant_leaves_the_list_closed(void **state)
{
    struct workload_grants g = {0}, again = {0};
    struct pv_strv texts = {0};
    struct pv_error err = PV_ERROR_INIT;
    add(&g, "tcp:a.example:80");
    assert_int_equal(take_out(&g, "tcp:a.example:80", &err), 0);
    assert_true(g.closed);
    assert_int_equal(workload_grants_texts(&g, &texts), 0);
    assert_int_equal(texts.count, 1);
    assert_string_equal(texts.items[0], "none");
    assert_int_equal(workload_grants_add_texts(&again, "config", &texts, &err), 0);
    assert_true(again.closed);
    assert_int_equal(again.count, 0);
    assert_int_equal(take_out(&again, "none", &err), 0);
    assert_false(again.closed);
    assert_int_equal(take_out(&again, "none", &err), -ENOENT);
    pv_strv_done(&texts);
    workload_grants_done(&g);
}

static void test_too_many(void **state)
{
    struct workload_grants g = {0};
    struct workload_grant grant;
    assert_int_equal(workload_grant_parse("vsock:1", &grant, NULL), 0);
    for (unsigned i = 0; i < WORKLOAD_GRANTS_MAX; i++) {
        grant.first_port = grant.last_port = i;
        assert_int_equal(workload_grants_add(&g, &grant), 0);
    }
    grant.first_port = grant.last_port = WORKLOAD_GRANTS_MAX;
    assert_int_equal(workload_grants_add(&g, &grant), -E2BIG);
    workload_grants_done(&g);
}

static void test_file(void **state)
{
    struct pv_strv texts = {0};
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(workload_grants_read_text("g.txt",
                                               "# the services\n\n tcp:Example.org:443 # web\r\n"
                                               "\tdns:*.example.org",
                                               &texts, &err),
                     0);
    assert_int_equal(texts.count, 2);
    assert_string_equal(texts.items[0], "tcp:example.org:443");
    assert_string_equal(texts.items[1], "dns:*.example.org");
    assert_int_equal(
        workload_grants_read_text("g.txt", "tcp:a.example\ntcp:b.example:x\n", &texts, &err),
        -EINVAL);
    assert_non_null(strstr(err.text, "g.txt, line 2: grant 'tcp:b.example:x', column 15"));
    pv_strv_done(&texts);
    assert_int_equal(workload_grants_read_file("/nonexistent/grants", &texts, &err), -ENOENT);
    assert_non_null(strstr(err.text, "grant file"));
    pv_strv_done(&texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_canonical_form),
        cmocka_unit_test(test_what_is_wrong_is_told),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_names_that_match),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_the_last_grant_leaves_the_list_closed),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
