/* SPDX-License-Identifier: Apache-2.0
 *
 * test_memory.c: guest memory is sealed, bounded, and known again by its descriptor.
 */
#include "memory/memory.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#define PAGE 4096u
#define SIZE (16u * PAGE)

static int set_up(void **state)
{
    return memory_new(SIZE, (struct memory **)state, NULL);
}

static int tear_down(void **state)
{
    memory_free(*state);
    return 0;
}

static void test_sizes_that_are_no_pages_are_refused(void **state)
{
    const uint64_t bad[] = {
        0, 1, PAGE - 1, PAGE + 1, UINT64_MAX, UINT64_MAX - (PAGE - 1), (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        struct pv_error err = PV_ERROR_INIT;
        struct memory *m = NULL;
        assert_int_equal(memory_new(bad[i], &m, &err), -EINVAL);
        assert_null(m);
        assert_int_equal(err.code, EINVAL);
    }
}

static void test_slices_are_checked(void **state)
{
    const struct memory *m = *state;
    uint8_t *base = memory_at(m, 0, SIZE);
    assert_non_null(base);
    assert_ptr_equal(memory_at(m, SIZE - 1, 1), base + SIZE - 1);
    assert_ptr_equal(memory_at(m, SIZE, 0), base + SIZE);
    assert_null(memory_at(m, 0, SIZE + 1));
    assert_null(memory_at(m, SIZE, 1));
    assert_null(memory_at(m, SIZE + 1, 0));
    assert_null(memory_at(m, 1, UINT64_MAX));
    assert_null(memory_at(m, UINT64_MAX, 1));
}

static void test_the_guest_cannot_resize_it(void **state)
{
    int fd = memory_get_fd(*state);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(fd, SIZE * 2), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(errno, EPERM);
    int seals = fcntl(fd, F_GET_SEALS);
    int need = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    assert_int_equal(seals & need, need);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void test_guest_and_monitor_share_the_bytes(void **state)
{
    const struct memory *m = *state;
    void *guest =
        mmap(NULL, SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, memory_get_fd(m), 0);
    assert_true(guest != MAP_FAILED);
    strcpy((char *)guest + PAGE, "hello");
    assert_string_equal(memory_at(m, PAGE, 6), "hello");
    munmap(guest, SIZE);
}

static void test_only_its_own_descriptor_is_known(void **state)
{
    const struct memory *m = *state;
    int again = dup(memory_get_fd(m));
    assert_true(memory_is_fd(m, again));
    close(again);
    assert_false(memory_is_fd(m, again));
    assert_false(memory_is_fd(m, -1));

    struct memory *other = NULL;
    assert_int_equal(memory_new(SIZE, &other, NULL), 0);
    assert_false(memory_is_fd(m, memory_get_fd(other)));
    memory_free(other);
}

static void test_use_is_counted_and_given_back(void **state)
{
    const struct memory *m = *state;
    uint64_t before = 1, after = 0, back = 1;
    assert_int_equal(memory_get_in_use(m, &before), 0);
    assert_int_equal(before, 0);
    memset(memory_at(m, 0, 3 * PAGE), 1, 3 * PAGE);
    assert_int_equal(memory_get_in_use(m, &after), 0);
    assert_int_equal(after, 3 * PAGE);
    assert_int_equal(
        fallocate(memory_get_fd(m), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, SIZE), 0);
    assert_int_equal(memory_get_in_use(m, &back), 0);
    assert_int_equal(back, 0);
    assert_int_equal(*(uint8_t *)memory_at(m, 0, 1), 0);
}

static void test_growing(void **state)
{
    struct memory *m = NULL;
    assert_int_equal(memory_new_growing(SIZE, SIZE - PAGE, &m, NULL), -EINVAL);
    assert_int_equal(memory_new_growing(SIZE, SIZE + 1, &m, NULL), -EINVAL);
    assert_int_equal(memory_new_growing(SIZE, 4 * SIZE, &m, NULL), 0);
    assert_int_equal(fcntl(memory_get_fd(m), F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(ftruncate(memory_get_fd(m), 0), -1);
    assert_null(memory_at(m, SIZE, 1));
    assert_non_null(memory_at_reserved(m, SIZE, 3 * SIZE));
    assert_null(memory_at_reserved(m, SIZE, 3 * SIZE + 1));
    uint8_t *first = memory_at(m, 0, SIZE);
    assert_int_equal(memory_grow(m, 2 * SIZE, NULL), 0);
    assert_int_equal(memory_get_size(m), 2 * SIZE);
    assert_int_equal(memory_get_max(m), 4 * SIZE);
    uint8_t *second = memory_at(m, SIZE, SIZE);
    assert_ptr_equal(second, first + SIZE);
    memset(second, 1, SIZE);
    assert_null(memory_at(m, 2 * SIZE, 1));
    assert_int_equal(memory_grow(m, SIZE, NULL), 0); /* never shrinks */
    assert_int_equal(memory_get_size(m), 2 * SIZE);
    assert_int_equal(memory_grow(m, 4 * SIZE + PAGE, NULL), -ERANGE);
    memory_free(m);
}

static void test_discard_takes_whole_pages(void **state)
{
    const struct memory *m = *state;
    uint64_t used;
    memset(memory_at(m, 0, SIZE), 1, SIZE);
    assert_int_equal(memory_discard(m, PAGE - 1, 2 * PAGE), 0); /* one whole page in it */
    assert_int_equal(memory_get_in_use(m, &used), 0);
    assert_int_equal(used, SIZE - PAGE);
    assert_int_equal(*(uint8_t *)memory_at(m, PAGE - 1, 1), 1);
    assert_int_equal(*(uint8_t *)memory_at(m, PAGE, 1), 0);
    assert_int_equal(*(uint8_t *)memory_at(m, 2 * PAGE, 1), 1);
    assert_int_equal(memory_discard(m, 3 * PAGE, PAGE - 1), 0);
    assert_int_equal(memory_discard(m, 0, SIZE + 1), -ERANGE);
    assert_int_equal(memory_discard(m, UINT64_MAX, PAGE), -ERANGE);
    assert_int_equal(memory_discard(m, 0, SIZE), 0);
    assert_int_equal(memory_get_in_use(m, &used), 0);
    assert_int_equal(used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_that_are_no_pages_are_refused),
        cmocka_unit_test_setup_teardown(test_slices_are_checked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_guest_cannot_resize_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guest_and_monitor_share_the_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_only_its_own_descriptor_is_known, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_use_is_counted_and_given_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_growing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_discard_takes_whole_pages, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
