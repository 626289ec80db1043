/* SPDX-License-Identifier: Apache-2.0 */
#include "fields.h"
#include "wire/setup.h"

static const struct field valid[] = {
    {"hostname", "\"box\""},
    {"image_device", "\"/dev/vda\""},
    {"image_type", "\"squashfs\""},
    {"layer_device", "\"/dev/vdb\""},
    {"discard_layer", "true"},
    {"read_only", "true"},
    {"nameservers", "[\"10.0.2.3\", \"fd00::3\"]"},
    {"searches", "[\"example.org\"]"},
    {"hosts", "[\"10.0.2.2 host gateway\"]"},
    {"cpu_milli", "500"},
    {"nets", "[{\"mac\": \"02:00:5e:10:20:30\", \"addresses\": [\"10.0.2.15/24\", "
             "\"fd00::15/64\"], \"gateways\": [\"10.0.2.2\"]}]"},
};

static int read_with(struct field change, struct wire_setup *s, struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *json = fields_json(valid, PV_ARRAY_SIZE(valid), change);
    return wire_setup_read(json, s, err);
}

static void check(const char *key, const char *value, int rc)
{
    struct wire_setup s;
    struct pv_error err = PV_ERROR_INIT;
    int got = read_with((struct field){key, value}, &s, &err);
    if (got != rc)
        fail_msg("%s = %.100s: %d, %s", key, value ? value : "(missing)", got, err.text);
    if (rc < 0) {
        if (!strstr(err.text, key))
            fail_msg("'%s' does not name '%s'", err.text, key);
        assert_null(s.hostname);
    }
    wire_setup_done(&s);
}

static void test_everything_is_read(void **state)
{
    struct wire_setup s;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(read_with((struct field){0}, &s, &err), 0);
    assert_string_equal(s.hostname, "box");
    assert_string_equal(s.image_device, "/dev/vda");
    assert_string_equal(s.image_type, "squashfs");
    assert_string_equal(s.layer_device, "/dev/vdb");
    assert_true(s.discard_layer);
    assert_true(s.read_only);
    assert_int_equal(s.nameservers.count, 2);
    assert_string_equal(s.searches.items[0], "example.org");
    assert_string_equal(s.hosts.items[0], "10.0.2.2 host gateway");
    assert_int_equal(s.cpu_milli, 500);
    assert_int_equal(s.num_nets, 1);
    assert_string_equal(s.nets[0].mac, "02:00:5e:10:20:30");
    assert_string_equal(s.nets[0].addresses.items[1], "fd00::15/64");
    assert_string_equal(s.nets[0].gateways.items[0], "10.0.2.2");
    wire_setup_done(&s);
}

static void test_needed_and_optional(void **state)
{
    check("hostname", NULL, -EINVAL);
    check("image_device", NULL, -EINVAL);
    check("image_type", NULL, -EINVAL);
    check("layer_device", NULL, 0);
    check("discard_layer", NULL, 0);
    check("read_only", NULL, 0);
    check("nameservers", NULL, 0);
    check("searches", NULL, 0);
    check("hosts", NULL, 0);
    check("nets", NULL, 0);
    check("cpu_milli", NULL, 0);
    check("cpu_milli", "0", 0);
    check("cpu_milli", "10", 0);
    check("cpu_milli", "9", -ERANGE);
    check("cpu_milli", "64000", 0);
    check("cpu_milli", "64001", -ERANGE);
    check("cpu_milli", "-1", -ERANGE);
    check("cpu_milli", "\"1\"", -EINVAL);
    check("unheard_of", "1", -EINVAL);
}

#define MAC "\"mac\": \"02:00:5e:10:20:30\""

static void test_cards_are_checked(void **state)
{
    check("nets", "[]", 0);
    check("nets", "[{" MAC "}]", 0);
    check("nets", "1", -EINVAL);
    check("nets", "[1]", -EINVAL);
    check("nets", "[{}]", -EINVAL);
    check("nets", "[{" MAC ", \"x\": 1}]", -EINVAL);
    check("nets", "[{\"mac\": \"02:00:5e:10:20\"}]", -EINVAL);
    check("nets", "[{\"mac\": \"02:00:5E:10:20:30\"}]", -EINVAL);
    check("nets", "[{\"mac\": \"02-00-5e-10-20-30\"}]", -EINVAL);
    check("nets", "[{\"mac\": \"01:00:5e:10:20:30\"}]", -EINVAL); /* a group's */
    check("nets", "[{" MAC ", \"addresses\": [\"10.0.2.15\"]}]", -EINVAL);
    check("nets", "[{" MAC ", \"addresses\": [\"10.0.2.15/0\"]}]", -EINVAL);
    check("nets", "[{" MAC ", \"addresses\": [\"10.0.2.15/33\"]}]", -EINVAL);
    check("nets", "[{" MAC ", \"addresses\": [\"fd00::15/128\"]}]", 0);
    check("nets", "[{" MAC ", \"gateways\": [\"10.0.2.2/24\"]}]", -EINVAL);
    check("nets", "[{" MAC "}, {" MAC "}, {" MAC "}, {" MAC "}]", 0);
    check("nets", "[{" MAC "}, {" MAC "}, {" MAC "}, {" MAC "}, {" MAC "}]", -E2BIG);
}

static void test_names_are_checked(void **state)
{
    check("hostname", "\"\"", -EINVAL);
    check("hostname", "\"-a\"", -EINVAL);
    check("hostname", "\"a b\"", -EINVAL);
    check("hostname", "\"a\\nb\"", -EINVAL);
    check("hostname", "1", -EINVAL);
    pv_auto_free char *longest = fields_text("", 'h', 64);
    check("hostname", longest, 0);
    pv_auto_free char *longer = fields_text("", 'h', 65);
    check("hostname", longer, -EINVAL);
    check("image_type", "\"ext4\"", 0);
    check("image_type", "\"erofs\"", 0);
    check("image_type", "\"tmpfs\"", -EINVAL);
    check("image_type", "\"\"", -EINVAL);
}

static void test_devices_are_plain_names(void **state)
{
    check("image_device", "\"/dev/vdp\"", 0);
    check("image_device", "\"/dev/\"", -EINVAL);
    check("image_device", "\"/dev\"", -EINVAL);
    check("image_device", "\"\"", -EINVAL);
    check("image_device", "\"vda\"", -EINVAL);
    check("image_device", "\"/dev/../proc\"", -EINVAL);
    check("layer_device", "\"/dev/mapper/x\"", -EINVAL);
    check("layer_device", "\"/dev/vda\"", -EINVAL); /* the image's */
    check("layer_device", "false", -EINVAL);
}

static void test_network_names_are_single_lines(void **state)
{
    check("nameservers", "[]", 0);
    check("nameservers", "[\"1.2.3\"]", -EINVAL);
    check("nameservers", "[\"1.2.3.4\\nnameserver 5.6.7.8\"]", -EINVAL);
    check("nameservers", "\"1.2.3.4\"", -EINVAL);
    check("searches", "[\"\"]", -EINVAL);
    check("searches", "[\"a b\"]", -EINVAL);
    check("searches", "[\"a\\nb\"]", -EINVAL);
    check("hosts", "[\"::1 a\"]", 0);
    check("hosts", "[\"10.0.2.2\"]", -EINVAL);
    check("hosts", "[\"10.0.2.2 \"]", -EINVAL);
    check("hosts", "[\"host 10.0.2.2\"]", -EINVAL);
    check("hosts", "[\"10.0.2.2 a\\n10.0.2.2 b\"]", -EINVAL);
    check("hosts", "[\"10.0.2.2 # a\"]", -EINVAL);
}

static void check_list(const char *key, const char *item, size_t max)
{
    pv_auto_free char *fits = fields_list(item, max);
    check(key, fits, 0);
    pv_auto_free char *over = fields_list(item, max + 1);
    check(key, over, -E2BIG);
}

static void test_lists_are_bounded(void **state)
{
    check_list("nameservers", "\"::1\"", WIRE_SETUP_NAMESERVERS_MAX);
    check_list("searches", "\"a\"", WIRE_SETUP_SEARCHES_MAX);
    check_list("hosts", "\"::1 a\"", WIRE_SETUP_HOSTS_MAX);
    pv_auto_free char *domain = fields_text("", 'd', 253);
    pv_auto_free char *domains = fields_list(domain, 1);
    check("searches", domains, 0);
    pv_auto_free char *longer = fields_text("", 'd', 254);
    pv_auto_free char *longers = fields_list(longer, 1);
    check("searches", longers, -ERANGE);
}

static void test_what_is_written_is_read(void **state)
{
    struct wire_setup s, again;
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(read_with((struct field){0}, &s, &err), 0);
    pv_auto(pv_json) struct pv_json *json = wire_setup_write(&s);
    assert_int_equal(wire_setup_read(json, &again, &err), 0);
    pv_auto(pv_json) struct pv_json *json_again = wire_setup_write(&again);
    pv_auto_free char *text = pv_json_print(json, false);
    pv_auto_free char *text_again = pv_json_print(json_again, false);
    assert_string_equal(text, text_again);
    assert_true(again.discard_layer);
    assert_string_equal(again.hosts.items[0], s.hosts.items[0]);
    assert_string_equal(again.nets[0].addresses.items[0], s.nets[0].addresses.items[0]);
    wire_setup_done(&s);
    wire_setup_done(&again);
}

static void test_memory_numbers(void **state)
{
    uint8_t bytes[WIRE_SETUP_MEMORY_BYTES];
    const struct wire_setup_memory memory = {5000, 1ull << 50, 1ull << 40};
    struct wire_setup_memory again = {0};
    wire_setup_put_memory(bytes, &memory);
    assert_int_equal(wire_setup_get_memory(bytes, sizeof(bytes), &again), 0);
    assert_int_equal(again.total, 4096); /* whole KiB */
    assert_true(again.free == UINT32_MAX * 1024ull);
    assert_true(again.available == 1ull << 40);
    assert_int_equal(wire_setup_get_memory(bytes, sizeof(bytes) - 1, &again), -EPROTO);
    assert_int_equal(wire_setup_get_memory(bytes, 0, &again), -EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_read),
        cmocka_unit_test(test_needed_and_optional),
        cmocka_unit_test(test_names_are_checked),
        cmocka_unit_test(test_cards_are_checked),
        cmocka_unit_test(test_devices_are_plain_names),
        cmocka_unit_test(test_network_names_are_single_lines),
        cmocka_unit_test(test_lists_are_bounded),
        cmocka_unit_test(test_what_is_written_is_read),
        cmocka_unit_test(test_memory_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
