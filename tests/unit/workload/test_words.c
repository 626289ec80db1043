/* SPDX-License-Identifier: Apache-2.0 */
#include "workload/words.h"

#include "support/unit.h"

#include <errno.h>

static void test_words_that_contradict_each_other(void **state)
{
    static const char *const good[] = {
        "", "ro", "rw", "ro,cache=none", "bps=1,bps-burst=2", "a=1,b=1", "root,ro"};
    static const char *const bad[] = {"ro,ro",   "ro,rw",       "rw,x,ro",      "a=1,a=1",
                                      "a=1,a=2", "a=1,b,c,a=2", "x,a=1,y,a,ro", "a,a=1"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(good); i++)
        assert_int_equal(workload_words_check(good[i], "--x", good[i], NULL), 0);
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        struct pv_error err = PV_ERROR_INIT;
        if (workload_words_check(bad[i], "--x", "the text", &err) != -EINVAL)
            fail_msg("'%s' is taken", bad[i]);
        assert_non_null(strstr(err.text, "--x 'the text'"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words_that_contradict_each_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
