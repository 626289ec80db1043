/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/sample.h"
#include "support/unit.h"

static struct cli_sample read_text(const char *text)
{
    pv_auto(pv_json) struct pv_json *json = NULL;
    struct cli_sample sample;
    assert_int_equal(pv_json_parse(text, strlen(text), &json, NULL), 0);
    cli_sample_read(json, "id", &sample);
    return sample;
}

static void test_sums_over_devices(void **state)
{
    struct cli_sample s =
        read_text("{\"cpu_ns\":7,\"devices\":{\"blk0\":{\"read_bytes\":1,\"written_bytes\":2},"
                  "\"blk1\":{\"read_bytes\":10,\"written_bytes\":20},"
                  "\"net0\":{\"rx_bytes\":3,\"tx_bytes\":4,\"user\":{\"rx_bytes\":100}}}}");
    assert_int_equal(s.values[CLI_SAMPLE_CPU_NS], 7);
    assert_int_equal(s.values[CLI_SAMPLE_DISK_READ], 11);
    assert_int_equal(s.values[CLI_SAMPLE_DISK_WRITTEN], 22);
    assert_int_equal(s.values[CLI_SAMPLE_NET_IN], 3);
    assert_int_equal(s.values[CLI_SAMPLE_NET_OUT], 4);
}

static void test_cpu_time_of_the_guest_where_the_host_has_none(void **state)
{
    struct cli_sample s = read_text("{\"guest\":{\"cpu_ns\":5}}");
    assert_true(s.has[CLI_SAMPLE_CPU_NS]);
    assert_int_equal(s.values[CLI_SAMPLE_CPU_NS], 5);
    s = read_text("{\"cpu_ns\":7,\"guest\":{\"cpu_ns\":5}}");
    assert_int_equal(s.values[CLI_SAMPLE_CPU_NS], 7);
    s = read_text("{\"guest\":{\"cpu_ns\":\"x\"}}");
    assert_false(s.has[CLI_SAMPLE_CPU_NS]);
    s = read_text("{}");
    assert_false(s.has[CLI_SAMPLE_CPU_NS]);
}

static void test_rates(void **state)
{
    struct cli_sample before = {.time_ns = 1000000000, .values = {100}, .has = {true}};
    struct cli_sample now = {.time_ns = 3000000000, .values = {300}, .has = {true}};
    double rate;
    assert_true(cli_sample_rate(&now, &before, CLI_SAMPLE_CPU_NS, &rate));
    assert_true(rate == 100);
    assert_false(cli_sample_rate(&now, NULL, CLI_SAMPLE_CPU_NS, &rate));
    assert_false(cli_sample_rate(&now, &before, CLI_SAMPLE_NET_IN, &rate));
    assert_false(cli_sample_rate(&before, &now, CLI_SAMPLE_CPU_NS, &rate)); /* a new machine */
}

static void test_what_is_not_seen_is_forgotten(void **state)
{
    struct cli_samples samples = {0};
    struct cli_sample a = {.key = "a"}, b = {.key = "b"};
    cli_samples_begin(&samples);
    cli_samples_keep(&samples, &a);
    cli_samples_keep(&samples, &b);
    cli_samples_begin(&samples);
    cli_samples_keep(&samples, &a);
    assert_non_null(cli_samples_find(&samples, "b")); /* for this round's rates */
    cli_samples_begin(&samples);
    assert_non_null(cli_samples_find(&samples, "a"));
    assert_null(cli_samples_find(&samples, "b"));
    cli_samples_done(&samples);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_over_devices),
        cmocka_unit_test(test_cpu_time_of_the_guest_where_the_host_has_none),
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_what_is_not_seen_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
