/* SPDX-License-Identifier: Apache-2.0
 *
 * test_map.c: a map gives out slices of its regions and nothing else.
 */
#include "memory/map.h"
#include "support/unit.h"

#include <errno.h>

#define PAGE 4096u
#define SIZE (16u * PAGE)

static struct memory *memory;
static struct memory_map map;

static gpa_t gpa(uint64_t addr)
{
    return (gpa_t){addr};
}

static int set_up_memory(void **state)
{
    return memory_new(SIZE, &memory, NULL);
}

static int tear_down_memory(void **state)
{
    memory_free(memory);
    return 0;
}

static int set_up(void **state)
{
    memory_map_init(&map, memory);
    return 0;
}

static void test_an_empty_map_leads_nowhere(void **state)
{
    assert_null(memory_map_at(&map, gpa(0), 0));
    assert_null(memory_map_at(&map, gpa(0), 1));
}

static void test_a_slice_must_lie_in_its_region(void **state)
{
    uint8_t *base = memory_at(memory, PAGE, 2 * PAGE);
    assert_int_equal(memory_map_add(&map, gpa(0x10000), 2 * PAGE, PAGE), 0);
    assert_ptr_equal(memory_map_at(&map, gpa(0x10000), 2 * PAGE), base);
    assert_ptr_equal(memory_map_at(&map, gpa(0x10000 + 2 * PAGE - 1), 1), base + 2 * PAGE - 1);
    assert_null(memory_map_at(&map, gpa(0x10000), 2 * PAGE + 1));
    assert_null(memory_map_at(&map, gpa(0x10000 + 1), 2 * PAGE));
    assert_null(memory_map_at(&map, gpa(0x10000 - 1), 1));
    assert_null(memory_map_at(&map, gpa(0x10000 + 2 * PAGE), 0));
    assert_null(memory_map_at(&map, gpa(0x10000 + 2 * PAGE), 1));
    assert_null(memory_map_at(&map, gpa(0x10000 + 8), UINT64_MAX - 4));
    assert_null(memory_map_at(&map, gpa(UINT64_MAX), 1));
}

static void test_slices_outside_of_the_memory_are_refused(void **state)
{
    assert_int_equal(memory_map_add(&map, gpa(0), SIZE + 1, 0), -EINVAL);
    assert_int_equal(memory_map_add(&map, gpa(0), SIZE, 1), -EINVAL);
    assert_int_equal(memory_map_add(&map, gpa(0), 1, SIZE), -EINVAL);
    assert_int_equal(memory_map_add(&map, gpa(0), 1, UINT64_MAX), -EINVAL);
    assert_int_equal(memory_map_add(&map, gpa(0), UINT64_MAX, 1), -EINVAL);
    assert_int_equal(memory_map_add(&map, gpa(0), 0, 0), -EINVAL);
    assert_int_equal(map.num_regions, 0);
    assert_int_equal(memory_map_add(&map, gpa(0), SIZE, 0), 0);
}

static void test_addresses_that_wrap_are_refused(void **state)
{
    assert_int_equal(memory_map_add(&map, gpa(UINT64_MAX - PAGE + 2), PAGE, 0), -EINVAL);
    assert_int_equal(memory_map_add(&map, gpa(UINT64_MAX), 2, 0), -EINVAL);
    assert_int_equal(map.num_regions, 0);

    /* The last page of the address space is fine, and does not wrap into a slice. */
    assert_int_equal(memory_map_add(&map, gpa(UINT64_MAX - PAGE + 1), PAGE, 0), 0);
    assert_non_null(memory_map_at(&map, gpa(UINT64_MAX), 1));
    assert_null(memory_map_at(&map, gpa(UINT64_MAX), 2));
}

static void test_overlaps_are_refused(void **state)
{
    assert_int_equal(memory_map_add(&map, gpa(0x10000), 2 * PAGE, 0), 0);
    assert_int_equal(memory_map_add(&map, gpa(0x10000), 2 * PAGE, 4 * PAGE), -EEXIST);
    assert_int_equal(memory_map_add(&map, gpa(0x10000 + 2 * PAGE - 1), 1, 4 * PAGE), -EEXIST);
    assert_int_equal(memory_map_add(&map, gpa(0x10000 - 1), 2, 4 * PAGE), -EEXIST);
    assert_int_equal(memory_map_add(&map, gpa(0x10000 - PAGE), 4 * PAGE, 4 * PAGE), -EEXIST);
    assert_int_equal(map.num_regions, 1);

    assert_int_equal(memory_map_add(&map, gpa(0x10000 + 2 * PAGE), PAGE, 4 * PAGE), 0);
    assert_int_equal(memory_map_add(&map, gpa(0x10000 - PAGE), PAGE, 5 * PAGE), 0);
    /* Neighbours are not one slice: their bytes need not be neighbours. */
    assert_null(memory_map_at(&map, gpa(0x10000 + PAGE), PAGE + 1));
}

static void test_regions_are_bounded(void **state)
{
    for (unsigned i = 0; i < MEMORY_MAP_REGIONS_MAX; i++)
        assert_int_equal(memory_map_add(&map, gpa((uint64_t)i * PAGE), PAGE, 0), 0);
    assert_int_equal(memory_map_add(&map, gpa((uint64_t)MEMORY_MAP_REGIONS_MAX * PAGE), PAGE, 0),
                     -E2BIG);
    assert_int_equal(map.num_regions, MEMORY_MAP_REGIONS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_an_empty_map_leads_nowhere, set_up),
        cmocka_unit_test_setup(test_a_slice_must_lie_in_its_region, set_up),
        cmocka_unit_test_setup(test_slices_outside_of_the_memory_are_refused, set_up),
        cmocka_unit_test_setup(test_addresses_that_wrap_are_refused, set_up),
        cmocka_unit_test_setup(test_overlaps_are_refused, set_up),
        cmocka_unit_test_setup(test_regions_are_bounded, set_up),
    };
    return cmocka_run_group_tests(tests, set_up_memory, tear_down_memory);
}
