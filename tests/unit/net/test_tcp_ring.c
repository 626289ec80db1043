/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tcp_ring.c: rings: order, growth, the end of a budget.
 */
#include "net/tcp_ring.h"

#include "base/attr.h"
#include "support/unit.h"

static void put(struct net_tcp_ring *r, uint8_t first, size_t len)
{
    struct iovec pieces[2];
    while (len) {
        assert_true(net_tcp_ring_free(r, pieces) > 0);
        size_t n = PV_MIN(len, pieces[0].iov_len);
        for (size_t i = 0; i < n; i++)
            ((uint8_t *)pieces[0].iov_base)[i] = first++;
        net_tcp_ring_added(r, n);
        len -= n;
    }
}

static void check(const struct net_tcp_ring *r, size_t at, uint8_t first, size_t len)
{
    struct iovec pieces[2];
    size_t sum = 0;
    unsigned n = net_tcp_ring_at(r, at, len, pieces);
    for (unsigned i = 0; i < n; i++)
        for (size_t k = 0; k < pieces[i].iov_len; k++, sum++)
            assert_int_equal(((uint8_t *)pieces[i].iov_base)[k], (uint8_t)(first + sum));
    assert_int_equal(sum, len);
}

static void test_an_empty_one_has_nothing(void **state)
{
    struct net_tcp_ring r = {0};
    struct net_tcp_budget b = {.max = 100000};
    struct iovec pieces[2];
    assert_int_equal(net_tcp_ring_free(&r, pieces), 0);
    assert_int_equal(net_tcp_ring_at(&r, 0, 0, pieces), 0);
    net_tcp_ring_drop(&r, &b, 0);
    net_tcp_ring_release(&r, &b);
    assert_int_equal(b.used, 0);
}

static void test_order_over_the_end_and_growth(void **state)
{
    struct net_tcp_ring r = {0};
    struct net_tcp_budget b = {.max = 64u << 20};
    net_tcp_ring_reserve(&r, &b, 1);
    assert_int_equal(r.size, NET_TCP_RING_FIRST);
    put(&r, 0, r.size);
    net_tcp_ring_drop(&r, &b, 10000);
    put(&r, (uint8_t)NET_TCP_RING_FIRST, 10000); /* over the end */
    check(&r, 0, (uint8_t)10000, r.used);
    check(&r, 5000, (uint8_t)15000, 3000);
    uint32_t used = r.used;
    assert_true(net_tcp_ring_grow(&r, &b));
    assert_int_equal(r.size, 4 * NET_TCP_RING_FIRST);
    assert_int_equal(r.used, used);
    check(&r, 0, (uint8_t)10000, used);
    while (net_tcp_ring_grow(&r, &b))
        check(&r, 0, (uint8_t)10000, used);
    assert_int_equal(r.size, NET_TCP_RING_MAX);
    assert_int_equal(b.used, NET_TCP_RING_MAX);
    net_tcp_ring_release(&r, &b);
    assert_int_equal(b.used, 0);
}

static void test_the_least_is_everybodys(void **state)
{
    struct net_tcp_ring a = {0}, c = {0};
    struct net_tcp_budget b = {.max = NET_TCP_RING_FIRST};
    net_tcp_ring_reserve(&a, &b, NET_TCP_RING_MAX);
    assert_int_equal(a.size, NET_TCP_RING_FIRST);
    net_tcp_ring_reserve(&c, &b, NET_TCP_RING_MAX);
    assert_int_equal(c.size, NET_TCP_RING_LEAST);
    assert_false(net_tcp_ring_grow(&c, &b));
    put(&c, 3, 100);
    /* With the budget used up, an empty ring gives its memory back. */
    net_tcp_ring_drop(&c, &b, 100);
    assert_int_equal(c.size, 0);
    assert_int_equal(b.used, NET_TCP_RING_FIRST);
    net_tcp_ring_release(&a, &b);
    assert_int_equal(b.used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_one_has_nothing),
        cmocka_unit_test(test_order_over_the_end_and_growth),
        cmocka_unit_test(test_the_least_is_everybodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
