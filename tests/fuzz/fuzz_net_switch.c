/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_net_switch.c: a message of a hostile monitor: virtio_net_hdr and frame, as it comes over a
 * line of a private network. The same bytes are then a frame of the guest that needs its way.
 */
#include "net/offload.h"
#include "net/switch_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define FROM 7u
#define TO 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct workload_subnet make_subnet(void)
{
    struct workload_subnet s;
    if (workload_subnet_parse("10.89.3.0/24", &s, NULL) < 0 ||
        workload_subnet_parse6("fd12:3456:789a::/64", &s, NULL) < 0)
        abort();
    return s;
}

/* What passed as honest carries the sender's own addresses. */
static void check_honest(const struct workload_subnet *s, const uint8_t *frame, size_t len)
{
    uint8_t mac[WORKLOAD_SUBNET_MAC_LEN];
    workload_subnet_mac(s, FROM, mac);
    assert(len >= 14 && memcmp(frame + 6, mac, sizeof(mac)) == 0);
    if (frame[12] == 0x08 && frame[13] == 0x00) {
        uint32_t address = htonl(workload_subnet_ipv4(s, FROM));
        assert(len >= 34 && memcmp(frame + 26, &address, sizeof(address)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct workload_subnet s = make_subnet();
    struct virtio_net_hdr hdr;
    uint32_t number = 0;
    if (size < sizeof(hdr) || size - sizeof(hdr) > NET_FRAME_MAX)
        return 0;
    memcpy(&hdr, data, sizeof(hdr));
    /* An allocation of its own, so that a byte too far is seen. */
    size_t len = size - sizeof(hdr);
    pv_auto_free uint8_t *frame = malloc(len ? len : 1);
    if (!frame)
        return 0;
    memcpy(frame, data + sizeof(hdr), len);
    if (net_offload_check(&hdr, len, SWITCH_ALL_OFFLOADS) == 0 &&
        switch_is_honest(&s, FROM, TO, frame, len))
        check_honest(&s, frame, len);
    switch (switch_choose(&s, TO, frame, PV_MIN(len, (size_t)SWITCH_HEAD_MAX), &number)) {
    case SWITCH_TO_MACHINE:
        assert(number != TO && number >= WORKLOAD_SUBNET_FIRST &&
               number <= workload_subnet_last(&s));
        break;
    default:
        break;
    }
    return 0;
}
