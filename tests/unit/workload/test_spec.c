/* SPDX-License-Identifier: Apache-2.0
 *
 * test_spec.c: environment, validation, signals and names of a workload.
 */
#include "support/unit.h"

#include "workload/env.h"
#include "workload/name.h"
#include "workload/signals.h"
#include "workload/spec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static void test_env_set_inherit_unset(void **state)
{
    pv_auto(pv_strv) struct pv_strv env = {0};
    setenv("PV_TEST_HAVE", "x=y", 1);
    unsetenv("PV_TEST_LACK");
    assert_int_equal(workload_env_add(&env, "A=1", NULL), 0);
    assert_int_equal(workload_env_add(&env, "B=", NULL), 0);
    assert_int_equal(workload_env_add(&env, "A=2", NULL), 0);
    assert_int_equal(workload_env_add(&env, "PV_TEST_HAVE", NULL), 0);
    assert_int_equal(workload_env_add(&env, "PV_TEST_LACK", NULL), 0);
    assert_int_equal(env.count, 3);
    assert_string_equal(workload_env_find(&env, "A"), "2");
    assert_string_equal(workload_env_find(&env, "B"), "");
    assert_string_equal(workload_env_find(&env, "PV_TEST_HAVE"), "x=y");

    assert_int_equal(workload_env_add(&env, "PV_TEST_LACK=1", NULL), 0);
    assert_int_equal(workload_env_add(&env, "PV_TEST_LACK", NULL), 0); /* taken out again */
    assert_null(workload_env_find(&env, "PV_TEST_LACK"));
    assert_null(env.items[env.count]);
    assert_int_equal(workload_env_add(&env, "=1", NULL), -EINVAL);
    assert_int_equal(workload_env_add(&env, "", NULL), -EINVAL);
}

static void write_file(char *path, const char *text)
{
    strcpy(path, "/tmp/pv-env-XXXXXX");
    int fd = mkstemp(path);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_env_file(void **state)
{
    char path[32];
    pv_auto(pv_strv) struct pv_strv env = {0};
    struct pv_error err = PV_ERROR_INIT;
    write_file(path, "# comment\n\n  A=1\r\nB=two words # not a comment\nC=");
    assert_int_equal(workload_env_add_file(&env, path, &err), 0);
    unlink(path);
    assert_int_equal(env.count, 3);
    assert_string_equal(workload_env_find(&env, "A"), "1");
    assert_string_equal(workload_env_find(&env, "B"), "two words # not a comment");

    write_file(path, "A=1\nB AD=2\n");
    assert_int_equal(workload_env_add_file(&env, path, &err), -EINVAL);
    unlink(path);
    assert_non_null(strstr(err.text, "line 2"));
    assert_int_equal(workload_env_add_file(&env, "/no/such/file", &err), -ENOENT);
}

static int validate(const char *flag, const char *value, struct pv_error *err)
{
    struct workload_spec spec;
    workload_spec_init(&spec);
    pv_strv_add(&spec.args, "true");
    char *copy = value ? strdup(value) : NULL;
    if (strcmp(flag, "cwd") == 0)
        spec.cwd = copy;
    else if (strcmp(flag, "user") == 0)
        spec.user = copy;
    else if (strcmp(flag, "hostname") == 0)
        spec.hostname = copy;
    else if (strcmp(flag, "name") == 0)
        spec.name = copy;
    else
        spec.kernel_args = copy;
    int rc = workload_spec_validate(&spec, err);
    workload_spec_done(&spec);
    return rc;
}

static void test_fields(void **state)
{
    static const struct {
        const char *field, *value;
        int rc;
    } rows[] = {
        {"cwd", "/tmp", 0},
        {"cwd", "tmp", -EINVAL},
        {"cwd", "", -EINVAL},
        {"user", "nobody", 0},
        {"user", "1000:1000", 0},
        {"user", "a:b:c", -EINVAL},
        {"user", "", -EINVAL},
        {"user", ":g", -EINVAL},
        {"user", "a b", -EINVAL},
        {"user", "a/b", -EINVAL},
        {"hostname", "a-b.c", 0},
        {"hostname", "", -EINVAL},
        {"hostname", "-a", -EINVAL},
        {"hostname", "a.", -EINVAL},
        {"hostname", "a b", -EINVAL},
        {"name", "web_1.x-y", 0},
        {"name", "-web", -EINVAL},
        {"name", "a/b", -EINVAL},
        {"name", "", -EINVAL},
        {"kernel", "debug quiet", 0},
        {"kernel", "a\nb", -EINVAL},
        {"hostname", "0123456789012345678901234567890123456789012345678901234567890123", -EINVAL},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        struct pv_error err = PV_ERROR_INIT;
        assert_int_equal(validate(rows[i].field, rows[i].value, &err), rows[i].rc);
        assert_int_equal(err.code, -rows[i].rc);
    }
}

static void test_strict_protection_is_for_one_cpu(void **state)
{
    struct workload_spec spec;
    struct pv_error err = PV_ERROR_INIT;
    workload_spec_init(&spec);
    pv_strv_add(&spec.args, "true");
    spec.strict_protection = true;
    assert_int_equal(workload_spec_validate(&spec, NULL), 0);
    spec.resources.cpus_max = 2;
    assert_int_equal(workload_spec_validate(&spec, &err), -EINVAL);
    assert_non_null(strstr(err.text, "--cpus"));
    workload_spec_done(&spec);
}

static void test_command(void **state)
{
    struct workload_spec spec;
    struct pv_error err = PV_ERROR_INIT;
    workload_spec_init(&spec);
    assert_int_equal(workload_spec_validate(&spec, &err), -EINVAL);
    pv_auto_free char *huge = malloc(2 << 20);
    memset(huge, 'x', 2 << 20);
    huge[(2 << 20) - 1] = '\0';
    pv_strv_add(&spec.args, huge);
    assert_int_equal(workload_spec_validate(&spec, &err), -E2BIG);
    workload_spec_done(&spec);
}

static void test_complete_env(void **state)
{
    struct workload_spec spec;
    workload_spec_init(&spec);
    spec.terminal = true;
    setenv("TERM", "vt220", 1);
    workload_env_add(&spec.env, "HOSTNAME=mine", NULL);
    workload_env_add(&spec.env, "A=b", NULL);
    assert_int_equal(workload_spec_complete_env(&spec, "box", NULL), 0);
    assert_string_equal(workload_env_find(&spec.env, "HOSTNAME"), "mine"); /* the user's wins */
    assert_string_equal(workload_env_find(&spec.env, "TERM"), "vt220");
    assert_non_null(strstr(workload_env_find(&spec.env, "PATH"), "/usr/sbin"));
    assert_string_equal(workload_env_find(&spec.env, "A"), "b");
    workload_spec_done(&spec);
}

static void test_signals(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint32_t signo;
    } rows[] = {
        {"TERM", 0, SIGTERM}, {"SIGKILL", 0, SIGKILL}, {"sighup", 0, SIGHUP}, {"usr1", 0, SIGUSR1},
        {"15", 0, 15},        {"64", 0, 64},           {"65", -EINVAL, 0},    {"0", -EINVAL, 0},
        {"", -EINVAL, 0},     {"SIG", -EINVAL, 0},     {"TERMS", -EINVAL, 0},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        uint32_t signo = 0;
        assert_int_equal(workload_signals_parse(rows[i].text, &signo, NULL), rows[i].rc);
        assert_int_equal(signo, rows[i].signo);
    }
}

static void test_names(void **state)
{
    for (uint32_t random = 0; random < 20000; random += 7) {
        pv_auto_free char *name = workload_name_make(random, random % 3);
        assert_true(pv_str_is_name(name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_set_inherit_unset),
        cmocka_unit_test(test_env_file),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_strict_protection_is_for_one_cpu),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_complete_env),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
