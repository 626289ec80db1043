/* SPDX-License-Identifier: Apache-2.0
 *
 * fake_driver.c: plays the guest for a virtio device.
 *
 * Driver, transport and device share one thread and one loop: whenever the driver waits, it lets
 * the loop run.
 */
#include "support/fake_driver.h"

#include "base/clock.h"
#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define TIMEOUT_NS 10000000000ull
#define QUIET_NS 1000000ull

#define check(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: %s failed\n", __FILE__, __LINE__, #what);                      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* -- rings -- */

uint64_t fake_ring_init(struct fake_ring *r, const struct memory_map *map, uint16_t size,
                        uint64_t at)
{
    *r = (struct fake_ring){.map = map, .size = size};
    r->desc.addr = at;
    r->avail.addr = at + 16u * size;
    r->used.addr = (r->avail.addr + 6 + 2u * size + 15) & ~15ull;
    uint64_t end = (r->used.addr + 6 + 8u * size + 15) & ~15ull;
    void *bytes = memory_map_at(map, r->desc, end - at);
    check(bytes);
    memset(bytes, 0, end - at);
    return end;
}

struct vring_desc *fake_ring_desc(struct fake_ring *r, uint16_t index)
{
    return (struct vring_desc *)memory_map_at(r->map, r->desc, 16u * r->size) + index;
}

struct vring_avail *fake_ring_avail(struct fake_ring *r)
{
    return memory_map_at(r->map, r->avail, 6 + 2u * r->size);
}

struct vring_used *fake_ring_used(struct fake_ring *r)
{
    return memory_map_at(r->map, r->used, 6 + 8u * r->size);
}

uint16_t fake_ring_put(struct fake_ring *r, const struct fake_desc *descs, unsigned n)
{
    uint16_t head = r->next_desc;
    for (unsigned i = 0; i < n; i++) {
        uint16_t at = (uint16_t)((head + i) % r->size);
        *fake_ring_desc(r, at) = (struct vring_desc){
            .addr = descs[i].addr.addr,
            .len = descs[i].len,
            .flags = (uint16_t)(descs[i].flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
            .next = (uint16_t)(i + 1 < n ? (at + 1) % r->size : descs[i].next),
        };
    }
    r->next_desc = (uint16_t)((head + n) % r->size);
    return head;
}

void fake_ring_publish(struct fake_ring *r, uint16_t head)
{
    struct vring_avail *a = fake_ring_avail(r);
    a->ring[r->next_avail % r->size] = head;
    __atomic_store_n(&a->idx, ++r->next_avail, __ATOMIC_RELEASE);
}

uint16_t fake_ring_add(struct fake_ring *r, const struct fake_desc *descs, unsigned n)
{
    uint16_t head = fake_ring_put(r, descs, n);
    fake_ring_publish(r, head);
    return head;
}

bool fake_ring_get_used(struct fake_ring *r, struct fake_used *ret_used)
{
    struct vring_used *u = fake_ring_used(r);
    if (__atomic_load_n(&u->idx, __ATOMIC_ACQUIRE) == r->next_used)
        return false;
    const struct vring_used_elem *e = &u->ring[r->next_used++ % r->size];
    *ret_used = (struct fake_used){e->id, e->len};
    /* As Linux does with the event index: a signal for the next one, please. */
    fake_ring_avail(r)->ring[r->size] = r->next_used;
    return true;
}

/* -- loop -- */

static void stop_loop(void *data)
{
    pv_loop_stop(data, 0);
}

static void stop_on_event(void *data, int fd, uint32_t events)
{
    pv_loop_stop(data, 0);
}

static void run_for(struct fake_driver *d, uint64_t ns)
{
    struct pv_loop_source *timer = pv_loop_add_timer(d->loop, stop_loop, d->loop);
    check(timer);
    pv_loop_arm(timer, ns);
    check(pv_loop_run(d->loop) == 0);
    pv_loop_remove(timer);
}

static unsigned drain_socket(int sock, size_t unit)
{
    uint8_t bytes[64];
    unsigned count = 0;
    while (sock >= 0 && recv(sock, bytes, unit, MSG_DONTWAIT) == (ssize_t)unit)
        count++;
    return count;
}

static void take_requests(struct fake_driver *d)
{
    struct vhost_user_header h;
    struct vhost_user_vring_state state;
    while (d->request_sock >= 0 &&
           recv(d->request_sock, &h, sizeof(h), MSG_DONTWAIT) == (ssize_t)sizeof(h)) {
        check(h.flags == VHOST_USER_VERSION);
        if (h.request == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG) {
            check(h.size == 0);
            d->config_signals++;
            continue;
        }
        check(h.request == VHOST_USER_BACKEND_VRING_CALL && h.size == sizeof(state));
        check(recv(d->request_sock, &state, sizeof(state), 0) == (ssize_t)sizeof(state));
        check(state.index < VIRTIO_DEVICE_QUEUES_MAX);
        d->signals[state.index]++;
    }
}

static void take_signals(struct fake_driver *d)
{
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++)
        d->signals[i] += drain_socket(d->call_socks[i], sizeof(uint64_t));
    take_requests(d);
}

void fake_driver_turn(struct fake_driver *d)
{
    run_for(d, QUIET_NS);
    take_signals(d);
}

/* -- direct transport -- */

static void on_signal_queue(void *transport, uint16_t queue)
{
    ((struct fake_driver *)transport)->signals[queue]++;
}

static void on_signal_config(void *transport)
{
    ((struct fake_driver *)transport)->config_signals++;
}

static void on_broken(void *data, const char *reason)
{
    struct fake_driver *d = data;
    d->broken = true;
    d->reason = reason;
}

static void on_drained(void *transport)
{
    ((struct fake_driver *)transport)->drains++;
}

static void on_closed(void *data)
{
    ((struct fake_driver *)data)->closed = true;
}

/* -- life -- */

static const struct vhost_user_region regions[] = {
    {FAKE_LOW_START, FAKE_REGION_BYTES, FAKE_LOW_START + FAKE_USER_SHIFT, FAKE_REGION_BYTES},
    {FAKE_HIGH_START, FAKE_REGION_BYTES, FAKE_HIGH_START + FAKE_USER_SHIFT, 0},
};

struct fake_driver *fake_driver_new(enum fake_transport transport)
{
    struct fake_driver *d = calloc(1, sizeof(*d));
    check(d);
    d->transport = transport;
    d->loop = pv_loop_new();
    check(d->loop && memory_new(FAKE_MEMORY_BYTES, &d->memory, NULL) == 0);
    memory_map_init(&d->map, d->memory);
    for (unsigned i = 0; i < PV_ARRAY_SIZE(regions); i++)
        check(memory_map_add(&d->map, (gpa_t){regions[i].guest_addr}, regions[i].size,
                             regions[i].mmap_offset) == 0);
    d->next_alloc = FAKE_LOW_START;
    d->sock = d->request_sock = -1;
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++)
        d->kick_fds[i] = d->call_socks[i] = -1;
    d->guest = (struct virtio_guest){
        .memory = &d->map,
        .signal_queue = on_signal_queue,
        .signal_config = on_signal_config,
        .broken = on_broken,
        .drained = on_drained,
        .transport = d,
    };
    return d;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(pv_take_fd(fd));
}

void fake_driver_free(struct fake_driver *d)
{
    if (!d)
        return;
    virtio_vhost_user_free(d->conn);
    virtio_device_free(d->dev);
    close_fd(&d->sock);
    close_fd(&d->request_sock);
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++) {
        close_fd(&d->kick_fds[i]);
        close_fd(&d->call_socks[i]);
    }
    memory_free(d->memory);
    pv_loop_free(d->loop);
    free(d);
}

gpa_t fake_driver_alloc(struct fake_driver *d, uint64_t len)
{
    /* The low region first, then the high one: buffers come from both. */
    if (d->next_alloc < FAKE_HIGH_START && d->next_alloc + len > FAKE_LOW_START + FAKE_REGION_BYTES)
        d->next_alloc = FAKE_HIGH_START;
    gpa_t gpa = {d->next_alloc};
    d->next_alloc = (d->next_alloc + len + 15) & ~15ull;
    memset(fake_driver_at(d, gpa, len), 0, len);
    return gpa;
}

void *fake_driver_at(struct fake_driver *d, gpa_t gpa, uint64_t len)
{
    void *bytes = memory_map_at(&d->map, gpa, len);
    check(bytes);
    return bytes;
}

gpa_t fake_driver_bytes(struct fake_driver *d, const void *bytes, uint64_t len)
{
    gpa_t gpa = fake_driver_alloc(d, len);
    memcpy(fake_driver_at(d, gpa, len), bytes, len);
    return gpa;
}

/* -- vhost-user messages -- */

void fake_driver_send(struct fake_driver *d, uint32_t request, uint32_t flags, const void *payload,
                      uint32_t size, const int *fds, unsigned num_fds)
{
    uint8_t bytes[sizeof(struct vhost_user_header) + 1024];
    struct vhost_user_header h = {.request = request, .flags = flags, .size = size};
    check(size <= 1024);
    memcpy(bytes, &h, sizeof(h));
    if (size)
        memcpy(bytes + sizeof(h), payload, size);
    ssize_t n = pv_fd_send(d->sock, bytes, sizeof(h) + size, fds, num_fds);
    check(n == (ssize_t)(sizeof(h) + size) || n == -EPIPE);
}

static void wait_readable(struct fake_driver *d, int fd)
{
    struct pv_loop_source *s = pv_loop_add_fd(d->loop, fd, EPOLLIN, stop_on_event, d->loop);
    check(s);
    run_for(d, TIMEOUT_NS);
    pv_loop_remove(s);
}

static bool receive_bytes(struct fake_driver *d, void *buf, size_t len)
{
    size_t have = 0;
    while (have < len) {
        wait_readable(d, d->sock);
        ssize_t n = recv(d->sock, (uint8_t *)buf + have, len - have, MSG_DONTWAIT);
        check(n >= 0 || errno == ECONNRESET);
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

int fake_driver_receive(struct fake_driver *d, uint32_t request, void *payload, uint32_t max)
{
    struct vhost_user_header h;
    uint8_t bytes[1024];
    if (!receive_bytes(d, &h, sizeof(h)))
        return -1;
    check(h.request == request && h.flags == (VHOST_USER_VERSION | VHOST_USER_REPLY));
    check(h.size <= sizeof(bytes) && h.size <= max);
    if (h.size)
        check(receive_bytes(d, bytes, h.size));
    memcpy(payload, bytes, h.size);
    return (int)h.size;
}

int64_t fake_driver_ask(struct fake_driver *d, uint32_t request, const void *payload, uint32_t size,
                        const int *fds, unsigned num_fds)
{
    uint64_t ack;
    fake_driver_send(d, request, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, payload, size, fds,
                     num_fds);
    int n = fake_driver_receive(d, request, &ack, sizeof(ack));
    check(n == -1 || n == (int)sizeof(ack));
    return n < 0 ? -1 : (int64_t)ack;
}

int64_t fake_driver_ask_u64(struct fake_driver *d, uint32_t request, uint64_t value)
{
    return fake_driver_ask(d, request, &value, sizeof(value), NULL, 0);
}

int64_t fake_driver_ask_state(struct fake_driver *d, uint32_t request, uint32_t index, uint32_t num)
{
    struct vhost_user_vring_state s = {index, num};
    return fake_driver_ask(d, request, &s, sizeof(s), NULL, 0);
}

uint64_t fake_driver_get_u64(struct fake_driver *d, uint32_t request)
{
    uint64_t value = 0;
    fake_driver_send(d, request, VHOST_USER_VERSION, NULL, 0, NULL, 0);
    check(fake_driver_receive(d, request, &value, sizeof(value)) == (int)sizeof(value));
    return value;
}

/* -- set-up -- */

void fake_driver_connect(struct fake_driver *d, struct virtio_device *dev)
{
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    d->dev = dev;
    d->sock = ends[0];
    struct virtio_vhost_user_options options = {
        .loop = d->loop,
        .memory = d->memory,
        .device = dev,
        .offer_inband = d->transport == FAKE_VHOST_USER_INBAND,
        .trust_call_fds = d->trust_call_fds,
        .on_broken = on_broken,
        .on_closed = on_closed,
        .data = d,
    };
    check(virtio_vhost_user_new(&options, ends[1], &d->conn, NULL) == 0);
}

void fake_driver_negotiate(struct fake_driver *d, uint64_t refuse)
{
    fake_driver_send(d, VHOST_USER_SET_OWNER, VHOST_USER_VERSION, NULL, 0, NULL, 0);
    uint64_t features = fake_driver_get_u64(d, VHOST_USER_GET_FEATURES);
    check(features >> VHOST_USER_F_PROTOCOL_FEATURES & 1);
    d->protocol_features = fake_driver_get_u64(d, VHOST_USER_GET_PROTOCOL_FEATURES);
    check(fake_driver_ask_u64(d, VHOST_USER_SET_PROTOCOL_FEATURES, d->protocol_features) == 0);

    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    d->request_sock = ends[0];
    check(fake_driver_ask(d, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &ends[1], 1) == 0);
    close(ends[1]);

    check(fake_driver_get_u64(d, VHOST_USER_GET_QUEUE_NUM) == virtio_device_get_num_queues(d->dev));
    for (unsigned i = 0; i < 3; i++)
        check(fake_driver_ask_u64(d, VHOST_USER_SET_STATUS, (const uint64_t[]){0, 1, 3}[i]) == 0);
    check(fake_driver_ask_u64(d, VHOST_USER_SET_FEATURES, features & ~refuse) == 0);
    check(fake_driver_ask_u64(d, VHOST_USER_SET_STATUS, 11) == 0);
    check(fake_driver_get_u64(d, VHOST_USER_GET_STATUS) == 11);
}

void fake_driver_set_table(struct fake_driver *d)
{
    struct vhost_user_mem_table t = {.num = PV_ARRAY_SIZE(regions)};
    memcpy(t.regions, regions, sizeof(regions));
    int fds[] = {memory_get_fd(d->memory), memory_get_fd(d->memory)};
    check(fake_driver_ask(d, VHOST_USER_SET_MEM_TABLE, &t, 8 + sizeof(regions), fds, 2) == 0);
}

static void set_up_call(struct fake_driver *d, uint16_t queue)
{
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    close_fd(&d->call_socks[queue]);
    d->call_socks[queue] = ends[0];
    uint64_t index = queue;
    check(fake_driver_ask(d, VHOST_USER_SET_VRING_CALL, &index, 8, &ends[1], 1) == 0);
    close(ends[1]);
}

static void set_up_kick(struct fake_driver *d, uint16_t queue)
{
    close_fd(&d->kick_fds[queue]);
    d->kick_fds[queue] = eventfd(0, EFD_CLOEXEC);
    check(d->kick_fds[queue] >= 0);
    uint64_t index = queue;
    check(fake_driver_ask(d, VHOST_USER_SET_VRING_KICK, &index, 8, &d->kick_fds[queue], 1) == 0);
}

static void init_ring(struct fake_driver *d, uint16_t queue, uint16_t size)
{
    gpa_t at = fake_driver_alloc(d, 64 + 30u * size);
    fake_ring_init(&d->rings[queue], &d->map, size, at.addr);
}

void fake_driver_set_up_queue(struct fake_driver *d, uint16_t queue, uint16_t size)
{
    init_ring(d, queue, size);
    struct fake_ring *r = &d->rings[queue];
    bool inband = d->protocol_features >> VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS & 1;
    if (!inband)
        set_up_call(d, queue);
    check(fake_driver_ask_state(d, VHOST_USER_SET_VRING_NUM, queue, size) == 0);
    check(fake_driver_ask_state(d, VHOST_USER_SET_VRING_BASE, queue, 0) == 0);
    struct vhost_user_vring_addr addr = {
        .index = queue,
        .desc = r->desc.addr + FAKE_USER_SHIFT,
        .used = r->used.addr + FAKE_USER_SHIFT,
        .avail = r->avail.addr + FAKE_USER_SHIFT,
        .log = UINT64_MAX,
    };
    check(fake_driver_ask(d, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0) == 0);
    if (!inband)
        set_up_kick(d, queue);
    check(fake_driver_ask_state(d, VHOST_USER_SET_VRING_ENABLE, queue, 1) == 0);
}

static void start_vhost_user(struct fake_driver *d, uint64_t refuse, uint16_t size)
{
    if (!d->conn)
        fake_driver_connect(d, d->dev);
    fake_driver_negotiate(d, refuse);
    fake_driver_set_table(d);
    for (uint16_t i = 0; i < virtio_device_get_num_queues(d->dev); i++)
        fake_driver_set_up_queue(d, i, size);
    check(fake_driver_ask_u64(d, VHOST_USER_SET_STATUS, 15) == 0);
}

static void start_direct(struct fake_driver *d, uint64_t refuse, uint16_t size)
{
    check(virtio_device_set_features(d->dev, virtio_device_get_features(d->dev) & ~refuse) == 0);
    for (uint16_t i = 0; i < virtio_device_get_num_queues(d->dev); i++) {
        struct virtio_queue *q = virtio_device_get_queue(d->dev, i);
        init_ring(d, i, size);
        const struct fake_ring *r = &d->rings[i];
        check(virtio_queue_set_size(q, size) == 0);
        check(virtio_queue_set_rings(q, r->desc, r->avail, r->used) == 0);
        check(virtio_queue_enable(q, &d->map) == 0);
    }
    check(virtio_device_activate(d->dev, &d->guest, NULL) == 0);
    for (uint16_t i = 0; i < virtio_device_get_num_queues(d->dev); i++)
        virtio_device_kick(d->dev, i);
}

void fake_driver_start(struct fake_driver *d, struct virtio_device *dev, uint64_t refuse,
                       uint16_t size)
{
    d->dev = dev;
    if (d->transport == FAKE_DIRECT)
        start_direct(d, refuse, size);
    else
        start_vhost_user(d, refuse, size);
}

void fake_driver_reset(struct fake_driver *d)
{
    if (d->transport != FAKE_DIRECT) {
        check(fake_driver_ask_u64(d, VHOST_USER_SET_STATUS, 0) == 0);
        close_fd(&d->request_sock);
        return;
    }
    unsigned drains = d->drains;
    if (virtio_device_drain(d->dev) == -EINPROGRESS)
        while (d->drains == drains)
            fake_driver_turn(d);
    virtio_device_reset(d->dev);
}

/* -- use -- */

void fake_driver_kick(struct fake_driver *d, uint16_t queue)
{
    const uint64_t one = 1;
    struct vhost_user_vring_state state = {.index = queue};
    switch (d->transport) {
    case FAKE_DIRECT:
        virtio_device_kick(d->dev, queue);
        break;
    case FAKE_VHOST_USER:
        check(write(d->kick_fds[queue], &one, sizeof(one)) == (ssize_t)sizeof(one));
        break;
    case FAKE_VHOST_USER_INBAND:
        fake_driver_send(d, VHOST_USER_VRING_KICK, VHOST_USER_VERSION, &state, sizeof(state), NULL,
                         0);
        break;
    }
    fake_driver_turn(d);
}

bool fake_driver_get_used(struct fake_driver *d, uint16_t queue, struct fake_used *ret_used)
{
    return fake_ring_get_used(&d->rings[queue], ret_used);
}

struct fake_used fake_driver_wait_used(struct fake_driver *d, uint16_t queue)
{
    struct fake_used used;
    uint64_t end = pv_time_monotonic_ns() + TIMEOUT_NS;
    while (!fake_driver_get_used(d, queue, &used)) {
        check(pv_time_monotonic_ns() < end);
        fake_driver_turn(d);
    }
    return used;
}

void fake_driver_read_config(struct fake_driver *d, uint32_t offset, void *buf, uint32_t len)
{
    if (d->transport == FAKE_DIRECT) {
        virtio_device_read_config(d->dev, offset, buf, len);
        return;
    }
    /* As the guest kernel does: always from 0. */
    struct vhost_user_config c = {.offset = 0, .size = offset + len};
    uint32_t size = VHOST_USER_CONFIG_HEADER_BYTES + c.size;
    fake_driver_send(d, VHOST_USER_GET_CONFIG, VHOST_USER_VERSION, &c, size, NULL, 0);
    check(fake_driver_receive(d, VHOST_USER_GET_CONFIG, &c, sizeof(c)) == (int)size);
    check(c.size == offset + len);
    memcpy(buf, c.bytes + offset, len);
}

int fake_driver_write_config(struct fake_driver *d, uint32_t offset, const void *buf, uint32_t len)
{
    if (d->transport == FAKE_DIRECT)
        return virtio_device_write_config(d->dev, offset, buf, len);
    struct vhost_user_config c = {.offset = offset, .size = len};
    memcpy(c.bytes, buf, len);
    int64_t ack = fake_driver_ask(d, VHOST_USER_SET_CONFIG, &c,
                                  VHOST_USER_CONFIG_HEADER_BYTES + len, NULL, 0);
    return ack == 0 ? 0 : -EIO;
}

uint64_t fake_driver_counter(struct fake_driver *d, const char *label)
{
    struct pv_counter_group g;
    virtio_device_get_counters(d->dev, "dev", &g);
    for (size_t i = 0; i < g.count; i++)
        if (strcmp(g.labels[i], label) == 0)
            return g.values[i];
    check(!"a counter of that name");
    return 0;
}

unsigned fake_count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    check(dir);
    unsigned count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}
