/* SPDX-License-Identifier: Apache-2.0
 *
 * test_network.c: private networks on disk: subnets, members, and what a killed command leaves.
 */
#include "instance/network.h"

#include "support/unit.h"

#include "support/place.h"
#include "support/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct support_place place;
    struct instance_store store;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    support_place_make(&f->place);
    assert_int_equal(instance_store_open(&f->store, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    instance_store_close(&f->store);
    support_place_remove(&f->place);
    free(f);
    return 0;
}

static void create(struct fixture *f, const char *name, const char *subnet)
{
    struct pv_error err = PV_ERROR_INIT;
    if (instance_network_create(&f->store, name, subnet, NULL, false, &err) < 0)
        fail_msg("%s", err.text);
}

static struct instance_network open_network(struct fixture *f, const char *name)
{
    struct instance_network n;
    struct pv_error err = PV_ERROR_INIT;
    if (instance_network_open(&f->store, name, &n, &err) < 0)
        fail_msg("%s", err.text);
    return n;
}

/* An instance is a folder here. Its number, or -errno. */
static int join(struct fixture *f, const struct instance_network *n, const char *id,
                const char *address, struct pv_error *err)
{
    uint32_t number;
    struct workload_member member = {.id = (char *)id, .name = (char *)id};
    mkdirat(f->store.instances_fd, id, 0700);
    int rc = instance_network_join(&f->store, n, &member, address, &number, err);
    return rc < 0 ? rc : (int)number;
}

static int count_member(uint32_t number, const struct workload_member *member, void *data)
{
    ++*(unsigned *)data;
    return 0;
}

static unsigned count(struct fixture *f, const char *name)
{
    unsigned members = 0;
    struct instance_network n = open_network(f, name);
    assert_int_equal(instance_network_each(&n, count_member, &members, NULL), 0);
    instance_network_done(&n);
    return members;
}

static void test_create_and_remove(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    pv_auto(pv_strv) struct pv_strv names = {0};
    assert_int_equal(instance_network_list(&f->store, &names, NULL), 0);
    assert_int_equal(names.count, 0);
    assert_int_equal(instance_network_remove(&f->store, "b", &err), -ENOENT);
    assert_non_null(strstr(err.text, "paravane network create b"));
    create(f, "b", "10.200.1.0/24");
    create(f, "a", NULL);
    assert_int_equal(instance_network_create(&f->store, "a", NULL, NULL, false, NULL), -EEXIST);
    assert_int_equal(instance_network_create(&f->store, "c", "10.200.0.0/16", NULL, false, &err),
                     -EEXIST);
    assert_non_null(strstr(err.text, "'b' has 10.200.1.0/24"));
    assert_int_equal(instance_network_create(&f->store, "none", NULL, NULL, false, NULL), -EINVAL);
    assert_int_equal(instance_network_create(&f->store, "../x", NULL, NULL, false, NULL), -EINVAL);
    assert_int_equal(instance_network_list(&f->store, &names, NULL), 0);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.items[0], "a");
    assert_int_equal(instance_network_remove(&f->store, "a", NULL), 0);
    assert_int_equal(instance_network_remove(&f->store, "b", NULL), 0);
    pv_auto_free char *left = support_tree_read_shell(f->place.top, "ls -A root/networks");
    assert_string_equal(left, "");
}

static void test_members(void **state)
{
    struct fixture *f = *state;
    struct pv_error err = PV_ERROR_INIT;
    create(f, "net", "10.200.1.0/29");
    struct instance_network n = open_network(f, "net");
    assert_int_equal(join(f, &n, "one", NULL, NULL), 4);
    assert_int_equal(join(f, &n, "two", "10.200.1.6", NULL), 6);
    assert_int_equal(join(f, &n, "three", "10.200.1.4", &err), -EADDRINUSE);
    assert_non_null(strstr(err.text, "'one' has it"));
    assert_int_equal(join(f, &n, "three", "10.200.1.7", &err), -ERANGE);
    assert_non_null(strstr(err.text, "10.200.1.4 to 10.200.1.6"));
    assert_int_equal(join(f, &n, "three", "10.200.2.4", NULL), -EINVAL);
    assert_int_equal(join(f, &n, "three", NULL, NULL), 5);
    assert_int_equal(join(f, &n, "four", NULL, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "is full"));
    assert_int_equal(instance_network_remove(&f->store, "net", &err), -EBUSY);
    assert_non_null(strstr(err.text, "'paravane rm one three two'"));
    instance_network_leave(&f->store, "three");
    assert_int_equal(count(f, "net"), 2);
    assert_int_equal(join(f, &n, "four", NULL, NULL), 5);
    instance_network_done(&n);
}

/* A removal that was killed before it gave the number back. */
static void test_members_without_instance_are_swept(void **state)
{
    struct fixture *f = *state;
    create(f, "net", NULL);
    struct instance_network n = open_network(f, "net");
    assert_int_equal(join(f, &n, "one", NULL, NULL), 4);
    assert_int_equal(join(f, &n, "two", NULL, NULL), 5);
    assert_int_equal(unlinkat(f->store.instances_fd, "one", AT_REMOVEDIR), 0);
    support_tree_shell(f->place.top, "touch root/networks/net/members/6"); /* a power failure */
    assert_int_equal(join(f, &n, "three", NULL, NULL), 4);
    assert_int_equal(join(f, &n, "four", NULL, NULL), 6);
    support_tree_shell(f->place.top, "rmdir root/instances/*");
    assert_int_equal(instance_network_remove(&f->store, "net", NULL), 0);
    instance_network_done(&n);
}

static void test_half_made_and_half_removed(void **state)
{
    struct fixture *f = *state;
    pv_auto(pv_strv) struct pv_strv names = {0};
    support_tree_shell(f->place.top, "mkdir -p root/networks/half/members root/networks/.gone-x/y; "
                                     "chmod 700 root/networks");
    assert_int_equal(instance_network_list(&f->store, &names, NULL), 0);
    assert_int_equal(names.count, 0);
    create(f, "half", NULL);
    assert_int_equal(count(f, "half"), 0);
    pv_auto_free char *left = support_tree_read_shell(f->place.top, "ls -A root/networks");
    assert_string_equal(left, "half\n");
    support_tree_shell(f->place.top, "echo x > root/networks/half/network.json");
    assert_int_equal(instance_network_remove(&f->store, "half", NULL), 0);
}

static void test_choice(void **state)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX];
    struct workload_subnet s = {0}, taken = {.address = 0x0a590100, .prefix = 24};
    const char *routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\n"
                         "eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
                         "eth0\t0000590A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
                         "vpn\t0002590A\t00000000\t0001\t0\t0\t0\t00FEFFFF\t0\t0\t0\n"
                         "broken line\n";
    assert_int_equal(instance_network_choose(NULL, 0, "", &s, NULL), 0);
    assert_string_equal(workload_subnet_text(&s, text), "10.89.0.0/24");
    assert_int_equal(instance_network_choose(&taken, 1, routes, &s, NULL), 0);
    assert_string_equal(workload_subnet_text(&s, text), "10.89.4.0/24");
    routes = "Iface\nvpn\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
    assert_int_equal(instance_network_choose(NULL, 0, routes, &s, NULL), -ENOSPC);
}

/* Many at once: each gets a number of its own. */
static void test_concurrent_joins(void **state)
{
    enum { PROCESSES = 8, JOINS = 6 };
    struct fixture *f = *state;
    create(f, "net", NULL);
    for (int p = 0; p < PROCESSES; p++) {
        if (fork())
            continue;
        struct instance_network n = open_network(f, "net");
        for (int i = 0; i < JOINS; i++) {
            char id[16];
            snprintf(id, sizeof(id), "p%dn%d", p, i);
            if (join(f, &n, id, NULL, NULL) < 0)
                _exit(1);
        }
        _exit(0);
    }
    for (int p = 0; p < PROCESSES; p++) {
        int status = -1;
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count(f, "net"), PROCESSES * JOINS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create_and_remove, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_members_without_instance_are_swept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_half_made_and_half_removed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_concurrent_joins, set_up, tear_down),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
