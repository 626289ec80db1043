/* SPDX-License-Identifier: Apache-2.0
 *
 * test_names.c: the table of names and its times.
 */
#include "support/unit.h"

#include "net/names.h"

#include <stdio.h>

static struct workload_address address(const char *text)
{
    struct workload_address a;
    assert_int_equal(workload_address_parse(text, &a), 0);
    return a;
}

static void test_a_name_lives_as_long_as_its_answer(void **state)
{
    struct net_names *names = net_names_new();
    struct workload_address a = address("192.0.2.1"), b = address("192.0.2.2");
    assert_int_equal(net_names_add(names, &a, "a.example", 100), 0);
    assert_string_equal(net_names_find(names, &a, 99), "a.example");
    assert_null(net_names_find(names, &b, 99));
    assert_null(net_names_find(names, &a, 100));
    assert_int_equal(net_names_count(names), 0);
    net_names_free(names);
}

static void test_an_answer_again_prolongs_and_never_shortens(void **state)
{
    struct net_names *names = net_names_new();
    struct workload_address a = address("2001:db8::1");
    net_names_add(names, &a, "a.example", 100);
    net_names_add(names, &a, "a.example", 50);
    assert_non_null(net_names_find(names, &a, 99));
    net_names_add(names, &a, "a.example", 200);
    assert_int_equal(net_names_count(names), 1);
    assert_non_null(net_names_find(names, &a, 199));
    net_names_free(names);
}

static bool count_visits(void *data, const char *name)
{
    ++*(unsigned *)data;
    return false;
}

static void test_an_address_has_many_names(void **state)
{
    struct net_names *names = net_names_new();
    struct workload_address a = address("192.0.2.1");
    unsigned visits = 0;
    net_names_add(names, &a, "a.example", 100);
    net_names_add(names, &a, "b.example", 50);
    assert_false(net_names_each(names, &a, 49, count_visits, &visits));
    assert_int_equal(visits, 2);
    assert_false(net_names_each(names, &a, 50, count_visits, &visits));
    assert_int_equal(visits, 3);
    net_names_free(names);
}

static void test_a_full_table_gives_up_what_ends_first(void **state)
{
    struct net_names *names = net_names_new();
    struct workload_address a = address("192.0.2.1"), first = address("192.0.2.2");
    net_names_add(names, &first, "first.example", 10);
    for (unsigned i = 0; i < NET_NAMES_MAX; i++) {
        char name[32];
        snprintf(name, sizeof(name), "n%u.example", i);
        assert_int_equal(net_names_add(names, &a, name, 100 + i), 0);
    }
    assert_int_equal(net_names_count(names), NET_NAMES_MAX);
    assert_null(net_names_find(names, &first, 0));
    net_names_free(names);
    net_names_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_name_lives_as_long_as_its_answer),
        cmocka_unit_test(test_an_answer_again_prolongs_and_never_shortens),
        cmocka_unit_test(test_an_address_has_many_names),
        cmocka_unit_test(test_a_full_table_gives_up_what_ends_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
