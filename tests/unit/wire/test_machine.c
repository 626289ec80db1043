/* SPDX-License-Identifier: Apache-2.0 */
#include "fields.h"
#include "wire/machine.h"

#define HEX16 "0123456789abcdef"
#define DISK "{\"path\": \"/images/a\", \"read_only\": true, \"serial\": \"image\"}"
#define NET                                                                                        \
    "{\"backend\": \"user\", \"mac\": \"02:00:00:00:00:01\", \"addresses\": [\"10.0.2.15/24\"], "  \
    "\"gateways\": [\"10.0.2.2\"], \"dns\": [\"10.0.2.3\"], \"ports\": [\"0.0.0.0:80:80/tcp\"], "  \
    "\"bridge\": \"br0\", \"folder\": \"/networks/back\", \"subnet\": \"10.89.3.0/24\", "          \
    "\"subnet6\": \"fd12::/64\", \"number\": 7}"
#define SETUP(image, layer)                                                                        \
    "{\"hostname\": \"h\", \"image_type\": \"ext4\", \"image_device\": \"" image                   \
    "\", \"layer_device\": \"" layer "\"}"

static const struct field valid[] = {
    {"id", "\"" HEX16 HEX16 HEX16 HEX16 "\""},
    {"name", "\"calm_otter\""},
    {"state_dir", "\"/state\""},
    {"run_dir", "\"/run\""},
    {"kernel", "\"/kernel\""},
    {"initramfs", "\"/initramfs\""},
    {"memory_bytes", "536870912"},
    {"cpus", "2"},
    {"memory_max_bytes", "1073741824"},
    {"cpu_milli", "1500"},
    {"host_cpus", "[\"0\", \"8191\"]"},
    {"disks", "[" DISK ", {\"path\": \"/b\", \"format\": \"qcow2\", \"bps\": 9, \"bps_burst\": 8, "
              "\"iops\": 7, \"iops_burst\": 6}]"},
    {"nets", "[" NET "]"},
    {"nameservers", "[\"192.0.2.53\"]"},
    {"setup", SETUP("/dev/vda", "/dev/vdb")},
    {"process", "{\"args\": [\"sh\"]}"},
    {"wait_attach", "true"},
    {"stdin_open", "true"},
    {"log_bytes_max", "1048576"},
    {"uid", "1000"},
    {"gid", "1001"},
    {"extra_cmdline", "\"quiet\""},
    {"cgroup", "\"/sys/fs/cgroup/x\""},
    {"guest_log_level", "7"},
};

static int read_with(struct field change, struct wire_machine *m, struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *json = fields_json(valid, PV_ARRAY_SIZE(valid), change);
    return wire_machine_read(json, m, err);
}

static void check(const char *key, const char *value, int rc)
{
    struct wire_machine m;
    struct pv_error err = PV_ERROR_INIT;
    int got = read_with((struct field){key, value}, &m, &err);
    if (got != rc)
        fail_msg("%s = %.100s: %d, %s", key, value ? value : "(missing)", got, err.text);
    if (rc < 0) {
        if (!strstr(err.text, key))
            fail_msg("'%s' does not name '%s'", err.text, key);
        assert_null(m.id);
        assert_null(m.disks[0].path);
    }
    wire_machine_done(&m);
}

static void test_everything_is_read(void **state)
{
    struct wire_machine m;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(read_with((struct field){0}, &m, &err), 0);
    assert_int_equal(strlen(m.id), 64);
    assert_string_equal(m.name, "calm_otter");
    assert_string_equal(m.state_dir, "/state");
    assert_string_equal(m.run_dir, "/run");
    assert_string_equal(m.kernel, "/kernel");
    assert_string_equal(m.initramfs, "/initramfs");
    assert_int_equal(m.memory_bytes, 512 << 20);
    assert_int_equal(m.cpus, 2);
    assert_int_equal(m.cpu_milli, 1500);
    assert_string_equal(m.host_cpus.items[1], "8191");
    assert_int_equal(m.num_disks, 2);
    assert_string_equal(m.disks[0].path, "/images/a");
    assert_string_equal(m.disks[0].serial, "image");
    assert_true(m.disks[0].read_only);
    assert_false(m.disks[1].read_only);
    assert_null(m.disks[1].serial);
    assert_null(m.disks[0].format);
    assert_string_equal(m.disks[1].format, "qcow2");
    assert_int_equal(m.disks[1].bytes.per_second, 9);
    assert_int_equal(m.disks[1].bytes.burst, 8);
    assert_int_equal(m.disks[1].operations.per_second, 7);
    assert_int_equal(m.disks[1].operations.burst, 6);
    assert_string_equal(m.setup.layer_device, "/dev/vdb");
    assert_string_equal(m.process.args.items[0], "sh");
    assert_true(m.wait_attach);
    assert_true(m.stdin_open);
    assert_int_equal(m.log_bytes_max, 1048576);
    assert_int_equal(m.uid, 1000);
    assert_int_equal(m.gid, 1001);
    assert_string_equal(m.extra_cmdline, "quiet");
    assert_string_equal(m.cgroup, "/sys/fs/cgroup/x");
    assert_int_equal(m.guest_log_level, 7);
    assert_int_equal(m.num_nets, 1);
    assert_string_equal(m.nets[0].backend, "user");
    assert_string_equal(m.nets[0].ports.items[0], "0.0.0.0:80:80/tcp");
    assert_string_equal(m.nets[0].dns.items[0], "10.0.2.3");
    assert_string_equal(m.nets[0].bridge, "br0");
    assert_string_equal(m.nets[0].folder, "/networks/back");
    assert_string_equal(m.nets[0].subnet, "10.89.3.0/24");
    assert_string_equal(m.nets[0].subnet6, "fd12::/64");
    assert_int_equal(m.nets[0].number, 7);
    assert_string_equal(m.nameservers.items[0], "192.0.2.53");
    wire_machine_done(&m);
}

static void test_needed_keys(void **state)
{
    static const char *const needed[] = {"id",     "name",      "state_dir",    "run_dir",
                                         "kernel", "initramfs", "memory_bytes", "cpus",
                                         "setup",  "process"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(needed); i++)
        check(needed[i], NULL, -EINVAL);
    check("unheard_of", "true", -EINVAL);
}

static void test_optional_keys_have_defaults(void **state)
{
    static const char *const optional[] = {"host_cpus",
                                           "cpu_milli",
                                           "memory_max_bytes",
                                           "wait_attach",
                                           "stdin_open",
                                           "uid",
                                           "gid",
                                           "extra_cmdline",
                                           "cgroup",
                                           "guest_log_level",
                                           "strict_protection"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(optional); i++)
        check(optional[i], NULL, 0);
    struct wire_machine m;
    assert_int_equal(read_with((struct field){"log_bytes_max", NULL}, &m, NULL), 0);
    assert_true(m.log_bytes_max == WIRE_MACHINE_LOG_DEFAULT);
    wire_machine_done(&m);
}

static void test_no_field_takes_another_type(void **state)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(valid); i++) {
        struct wire_machine m;
        struct field change = {valid[i].key, "3.5"};
        assert_true(read_with(change, &m, NULL) < 0);
        change.value = "{\"x\": 1}";
        assert_true(read_with(change, &m, NULL) < 0);
        change.value = "[{}]";
        assert_true(read_with(change, &m, NULL) < 0);
    }
}

static void test_names_and_paths(void **state)
{
    check("id", "\"" HEX16 HEX16 HEX16 "0123456789abcde\"", -EINVAL);
    check("id", "\"" HEX16 HEX16 HEX16 HEX16 "0\"", -EINVAL);
    check("id", "\"" HEX16 HEX16 HEX16 "0123456789ABCDEF\"", -EINVAL);
    check("name", "\"../x\"", -EINVAL);
    check("name", "\"\"", -EINVAL);
    check("state_dir", "\"state\"", -EINVAL);
    check("run_dir", "\"\"", -EINVAL);
    check("kernel", "\"./k\"", -EINVAL);
    check("cgroup", "\"x\"", -EINVAL);
    pv_auto_free char *longest = fields_text("/", 'p', 4094);
    check("kernel", longest, 0);
    pv_auto_free char *longer = fields_text("/", 'p', 4095);
    check("kernel", longer, -ENAMETOOLONG);
}

static void test_sizes(void **state)
{
    check("memory_bytes", "0", -ERANGE);
    check("memory_bytes", "67108863", -ERANGE);
    check("memory_bytes", "67108864", 0);
    check("memory_bytes", "67108865", -EINVAL);
    check("memory_bytes", "1073741824", 0);
    check("memory_bytes", "1099511627777", -ERANGE);
    check("memory_bytes", "-1", -ERANGE);
    check("log_bytes_max", "65535", -ERANGE);
    check("log_bytes_max", "65536", 0);
    check("uid", "4294967294", 0);
    check("uid", "4294967295", -ERANGE);
    check("guest_log_level", "8", 0);
    check("guest_log_level", "9", -ERANGE);
    pv_auto_free char *longest = fields_text("", 'c', WIRE_MACHINE_CMDLINE_MAX);
    check("extra_cmdline", longest, 0);
    pv_auto_free char *longer = fields_text("", 'c', WIRE_MACHINE_CMDLINE_MAX + 1);
    check("extra_cmdline", longer, -ERANGE);
    check("extra_cmdline", "\"a\\nb\"", -EINVAL);
    check("extra_cmdline", "\"\"", 0);
}

static void test_cpus(void **state)
{
    check("cpus", "0", -ERANGE);
    check("cpus", "8", -EINVAL); /* 'host_cpus': 2 of them for 8 CPUs */
    check("cpus", "9", -ERANGE);
    check("strict_protection", "true", -EINVAL); /* 2 CPUs */
    check("strict_protection", "false", 0);
    check("memory_max_bytes", "536870911", -ERANGE); /* less than memory_bytes */
    check("memory_max_bytes", "536870912", 0);
    check("memory_max_bytes", "536870913", -EINVAL);
    check("memory_max_bytes", "1099511627777", -ERANGE);
    check("cpu_milli", "9", -ERANGE);
    check("cpu_milli", "10", 0);
    check("cpu_milli", "2000", 0);
    check("cpu_milli", "2001", -ERANGE);
    check("host_cpus", "[]", 0);
    check("host_cpus", "[\"1\"]", -EINVAL);
    check("host_cpus", "[\"1\", \"8192\"]", -EINVAL);
    check("host_cpus", "[\"1\", \"-1\"]", -EINVAL);
    check("host_cpus", "[\"1\", \"0x1\"]", -EINVAL);
}

static void check_disks(const char *value, int rc)
{
    check("disks", value, rc);
}

static void test_disks(void **state)
{
    pv_auto_free char *most = fields_list(DISK, WIRE_MACHINE_DISKS_MAX);
    pv_auto_free char *over = fields_list(DISK, WIRE_MACHINE_DISKS_MAX + 1);
    check_disks(most, 0);
    check_disks(over, -E2BIG);
    check_disks("{}", -EINVAL);
    check_disks("[null]", -EINVAL);
    check_disks("[{}]", -EINVAL);
    check_disks("[" DISK ", {\"path\": \"b\"}]", -EINVAL);
    check_disks("[" DISK ", {\"path\": \"/b\", \"serial\": \"12345678901234567890\"}]", 0);
    check_disks("[" DISK ", {\"path\": \"/b\", \"serial\": \"123456789012345678901\"}]", -ERANGE);
    check_disks("[" DISK ", {\"path\": \"/b\", \"size\": 1}]", -EINVAL);
    check_disks("[" DISK ", {\"path\": \"/b\", \"format\": \"qcow2\"}]", 0);
    check_disks("[" DISK ", {\"path\": \"/b\", \"format\": \"vhost-user\"}]", 0);
    check_disks("[" DISK ", {\"path\": \"/b\", \"format\": \"vmdk\"}]", -EINVAL);
    check_disks("[" DISK ", {\"path\": \"/b\", \"bps\": 4611686018427387903}]", 0);
    check_disks("[" DISK ", {\"path\": \"/b\", \"iops\": -1}]", -ERANGE);
    check_disks("[" DISK ", {\"path\": \"/b\", \"iops_burst\": \"1\"}]", -EINVAL);
}

static void test_the_setup_names_existing_disks(void **state)
{
    struct wire_machine m;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(read_with((struct field){"disks", "[" DISK "]"}, &m, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'layer_device'"));
    assert_int_equal(read_with((struct field){"disks", NULL}, &m, &err), -EINVAL);
    assert_non_null(strstr(err.text, "'image_device'"));
    struct field other = {"setup", SETUP("/dev/vdc", "/dev/vdb")};
    assert_int_equal(read_with(other, &m, &err), -EINVAL);
    assert_non_null(strstr(err.text, "/dev/vdc"));
}

static void test_what_is_written_is_read(void **state)
{
    struct wire_machine m, again;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(read_with((struct field){0}, &m, &err), 0);
    pv_auto(pv_json) struct pv_json *json = wire_machine_write(&m);
    pv_auto_free char *text = pv_json_print(json, true);
    pv_auto(pv_json) struct pv_json *parsed = NULL;
    assert_int_equal(pv_json_parse(text, strlen(text), &parsed, &err), 0);
    assert_int_equal(wire_machine_read(parsed, &again, &err), 0);
    pv_auto(pv_json) struct pv_json *json_again = wire_machine_write(&again);
    pv_auto_free char *text_again = pv_json_print(json_again, true);
    assert_string_equal(text, text_again);
    for (size_t i = 0; i < PV_ARRAY_SIZE(valid); i++)
        if (!pv_json_get(json, valid[i].key))
            fail_msg("'%s' is not written", valid[i].key);
    wire_machine_done(&m);
    wire_machine_done(&again);
}

#define PRIVATE "\"folder\": \"/n\", \"subnet\": \"10.89.3.0/24\", \"subnet6\": \"fd12::/64\""
#define CARD "\"backend\": \"user\", \"mac\": \"02:00:00:00:00:01\""

static void test_networks_are_checked(void **state)
{
    check("nets", NULL, 0);
    check("nets", "[{" CARD "}]", 0);
    check("nets", "[{\"mac\": \"02:00:00:00:00:01\"}]", -EINVAL);
    check("nets", "[{\"backend\": \"user\"}]", -EINVAL);
    check("nets", "[{\"backend\": \"a/b\", \"mac\": \"02:00:00:00:00:01\"}]", -EINVAL);
    check("nets", "[{" CARD ", \"dns\": [\"name\"]}]", -EINVAL);
    check("nets", "[{" CARD ", \"bridge\": \"0123456789abcdef\"}]", -ERANGE);
    check("nets", "[{" CARD ", \"unheard_of\": 1}]", -EINVAL);
    check("nets", "{}", -EINVAL);
    check("nets", "[{" CARD "," PRIVATE ", \"number\": 1}]", 0);
    check("nets", "[{" CARD "," PRIVATE ", \"number\": 65535}]", 0);
    check("nets", "[{" CARD "," PRIVATE ", \"number\": 0}]", -ERANGE);
    check("nets", "[{" CARD "," PRIVATE ", \"number\": 65536}]", -ERANGE);
    check("nets", "[{" CARD ", \"folder\": \"/n\"}]", -EINVAL);
    check("nets", "[{" CARD ", \"folder\": \"n\", \"number\": 1}]", -EINVAL);
    check("nets", "[{" CARD ", \"folder\": \"/n\", \"subnet\": \"x\"}]", -EINVAL);
    check("nameservers", "[\"name\"]", -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_read),
        cmocka_unit_test(test_needed_keys),
        cmocka_unit_test(test_optional_keys_have_defaults),
        cmocka_unit_test(test_no_field_takes_another_type),
        cmocka_unit_test(test_names_and_paths),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_cpus),
        cmocka_unit_test(test_disks),
        cmocka_unit_test(test_the_setup_names_existing_disks),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_networks_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
