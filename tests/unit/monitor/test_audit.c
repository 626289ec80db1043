/* SPDX-License-Identifier: Apache-2.0
 *
 * test_audit.c: the audit log: its lines, how many, and how long.
 */
#include "support/unit.h"

#include "base/fd.h"
#include "base/json.h"
#include "monitor/audit.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

struct fixture {
    char dir[40];
    int dirfd;
    struct monitor_audit *audit;
};

static int set_up(void **state)
{
    static struct fixture f;
    strcpy(f.dir, "/tmp/paravane-audit-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    f.dirfd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f.audit = monitor_audit_new(f.dirfd);
    assert_non_null(f.audit);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    monitor_audit_free(f->audit);
    unlinkat(f->dirfd, MONITOR_AUDIT_FILE, 0);
    unlinkat(f->dirfd, MONITOR_AUDIT_OLD_FILE, 0);
    close(f->dirfd);
    return rmdir(f->dir);
}

/* The caller frees *ret_text. */
static void read_log(struct fixture *f, char **ret_text)
{
    int rc = pv_fd_read_file(f->dirfd, MONITOR_AUDIT_FILE, 4u << 20, ret_text, NULL, NULL);
    assert_int_equal(rc, 0);
}

static void deny(struct fixture *f, const char *name)
{
    struct workload_address a;
    assert_int_equal(workload_address_parse("192.0.2.1", &a), 0);
    struct net_denial denial = {.protocol = NET_DENIED_TCP,
                                .rule = NET_RULE_METADATA,
                                .address = &a,
                                .port = 80,
                                .name = name};
    monitor_audit_add(f->audit, &denial);
}

static void test_a_line(void **state)
{
    struct fixture *f = *state;
    deny(f, "a\"b.example"); /* a name is the guest's word */
    monitor_audit_add_vsock(f->audit, 5000);
    pv_auto_free char *text = NULL;
    read_log(f, &text);
    char *second = strchr(text, '\n') + 1;
    struct pv_json *line;
    pv_auto_free char *name = NULL, *rule = NULL, *time = NULL;
    assert_int_equal(pv_json_parse(text, (size_t)(second - text), &line, NULL), 0);
    assert_int_equal(pv_json_need_string(line, "name", &name, NULL), 0);
    assert_string_equal(name, "a\"b.example");
    assert_int_equal(pv_json_need_string(line, "rule", &rule, NULL), 0);
    assert_string_equal(rule, "metadata");
    assert_int_equal(pv_json_need_string(line, "time", &time, NULL), 0);
    pv_json_free(line);
    assert_non_null(strstr(second, "\"protocol\":\"vsock\",\"port\":5000"));
}

static void test_a_flood_is_left_out_and_counted(void **state)
{
    struct fixture *f = *state;
    unsigned lines = 0;
    for (unsigned i = 0; i < 10 * MONITOR_AUDIT_LINES_BURST; i++)
        deny(f, NULL);
    pv_auto_free char *text = NULL;
    read_log(f, &text);
    for (const char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    assert_in_range(lines, MONITOR_AUDIT_LINES_BURST,
                    MONITOR_AUDIT_LINES_BURST + 5 * MONITOR_AUDIT_LINES_PER_SECOND);
}

static void test_the_file_is_exchanged_at_half_of_the_limit(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    pv_auto_free char *filler = calloc(1, MONITOR_AUDIT_BYTES / 2);
    memset(filler, '\n', MONITOR_AUDIT_BYTES / 2);
    assert_int_equal(pv_fd_replace_file(f->dirfd, MONITOR_AUDIT_FILE, filler,
                                        MONITOR_AUDIT_BYTES / 2 - 10, 0600, NULL),
                     0);
    deny(f, NULL);
    assert_int_equal(fstatat(f->dirfd, MONITOR_AUDIT_FILE, &st, 0), 0);
    assert_in_range(st.st_size, 50, 300);
    assert_int_equal(fstatat(f->dirfd, MONITOR_AUDIT_OLD_FILE, &st, 0), 0);
    assert_int_equal(st.st_size, MONITOR_AUDIT_BYTES / 2 - 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_flood_is_left_out_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_file_is_exchanged_at_half_of_the_limit, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
