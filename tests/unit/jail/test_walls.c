/* SPDX-License-Identifier: Apache-2.0
 *
 * test_walls.c: the list of walls.
 */
#include "jail/walls.h"

#include "support/unit.h"

#include <stdlib.h>

static void test_walls_are_set_found_and_replaced(void **state)
{
    struct jail_walls walls = {.count = 0};
    assert_null(jail_walls_find(&walls, JAIL_WALL_NET));
    assert_false(jail_walls_stands(&walls, JAIL_WALL_NET));
    jail_walls_set(&walls, JAIL_WALL_NET, false, "%s", "because");
    jail_walls_set(&walls, JAIL_WALL_LANDLOCK, true, "abi %d", 7);
    assert_false(jail_walls_stands(&walls, JAIL_WALL_NET));
    assert_string_equal(jail_walls_find(&walls, JAIL_WALL_NET)->detail, "because");
    jail_walls_set(&walls, JAIL_WALL_NET, true, "%s", "");
    assert_true(jail_walls_stands(&walls, JAIL_WALL_NET));
    assert_int_equal(walls.count, 2);
    assert_string_equal(walls.list[0].name, JAIL_WALL_NET);
    assert_string_equal(walls.list[1].detail, "abi 7");
}

static void test_long_details_are_cut(void **state)
{
    struct jail_walls walls = {.count = 0};
    char text[2 * JAIL_WALL_DETAIL_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    jail_walls_set(&walls, JAIL_WALL_NET, true, "%s", text);
    assert_int_equal(strlen(walls.list[0].detail), JAIL_WALL_DETAIL_MAX - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walls_are_set_found_and_replaced),
        cmocka_unit_test(test_long_details_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
