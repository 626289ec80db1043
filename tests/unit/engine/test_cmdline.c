/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/hosted/cmdline.h"
#include "support/unit.h"

#include <errno.h>
#include <stdlib.h>

static struct memory *memory;
static struct pv_strv no_cpus;

static struct engine_options options(void)
{
    return (struct engine_options){.memory = memory, .cpus = 1, .host_cpus = &no_cpus};
}

static bool has(const struct pv_strv *argv, const char *word)
{
    for (size_t i = 0; i < argv->count; i++)
        if (strcmp(argv->items[i], word) == 0)
            return true;
    return false;
}

static int make_memory(void **state)
{
    return memory_new(64u << 20, &memory, NULL);
}

static int free_memory(void **state)
{
    memory_free(memory);
    return 0;
}

static void test_memory_cpus_and_devices_are_named(void **state)
{
    struct engine_device devices[] = {{.virtio_id = 3}, {.virtio_id = 2}};
    struct pv_strv cpus = {0}, argv = {0};
    pv_strv_add(&cpus, "2");
    pv_strv_add(&cpus, "5");
    struct engine_options o = options();
    o.cpus = 2;
    o.host_cpus = &cpus;
    o.devices = devices;
    o.num_devices = 2;
    assert_int_equal(engine_hosted_cmdline(&o, &argv, NULL), 0);
    assert_true(has(&argv, "jailed"));
    assert_true(has(&argv, "mem=65536K"));
    assert_true(has(&argv, "physmem_fd=3"));
    assert_true(has(&argv, "initrd_fd=4"));
    assert_true(has(&argv, "ncpus=2"));
    assert_true(has(&argv, "um_cpus=2,5"));
    assert_true(has(&argv, "virtio_uml.device=fd:5:3"));
    assert_true(has(&argv, "virtio_uml.device=fd:6:2"));
    assert_string_equal(argv.items[0], "linux");
    assert_string_equal(argv.items[1], "quiet"); /* in front of earlyprintk */
    pv_strv_done(&argv);
    pv_strv_done(&cpus);
}

static void test_protection_decides_how_programs_run(void **state)
{
    struct pv_strv argv = {0};
    struct engine_options o = options();
    assert_int_equal(engine_hosted_cmdline(&o, &argv, NULL), 0);
    assert_true(has(&argv, "seccomp=on"));
    pv_strv_done(&argv);
    o.strict = true;
    assert_int_equal(engine_hosted_cmdline(&o, &argv, NULL), 0);
    assert_true(has(&argv, "seccomp=off"));
    assert_false(has(&argv, "seccomp=on"));
    pv_strv_done(&argv);
}

static void test_extra_words_and_log_level(void **state)
{
    struct pv_strv argv = {0};
    struct engine_options o = options();
    o.extra_cmdline = "  a=b   c ";
    o.log_level = 7;
    assert_int_equal(engine_hosted_cmdline(&o, &argv, NULL), 0);
    assert_true(has(&argv, "a=b"));
    assert_true(has(&argv, "loglevel=7"));
    assert_false(has(&argv, "quiet"));
    assert_string_equal(argv.items[argv.count - 1], "c");
    pv_strv_done(&argv);
}

static void test_a_line_that_the_kernel_would_cut_is_refused(void **state)
{
    struct pv_strv argv = {0};
    struct engine_options o = options();
    char lots[ENGINE_HOSTED_CMDLINE_MAX];
    memset(lots, 'x', sizeof(lots) - 1);
    lots[sizeof(lots) - 1] = '\0';
    o.extra_cmdline = lots;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(engine_hosted_cmdline(&o, &argv, &err), -E2BIG);
    assert_non_null(strstr(err.text, "shorten"));
    pv_strv_done(&argv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_cpus_and_devices_are_named),
        cmocka_unit_test(test_protection_decides_how_programs_run),
        cmocka_unit_test(test_extra_words_and_log_level),
        cmocka_unit_test(test_a_line_that_the_kernel_would_cut_is_refused),
    };
    return cmocka_run_group_tests(tests, make_memory, free_memory);
}
