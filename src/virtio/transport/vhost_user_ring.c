/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user_ring.c: memory table and rings of a connection.
 *
 * Trust: regions, addresses and descriptors are guest input.
 *
 * Theory of operation: a descriptor that comes from the guest shares its file status flags with
 * the guest's copy, so O_NONBLOCK on it promises nothing. Therefore
 *   - guest memory is never mapped from the guest's descriptor: it is only compared with ours;
 *   - a kick descriptor is watched edge-triggered and never read: each write to an eventfd is an
 *     edge, whatever its count;
 *   - a call descriptor must be a unix socket, which takes MSG_DONTWAIT with each send.
 */
#include "virtio/transport/vhost_user_internal.h"

#include "base/fd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

_Static_assert(VHOST_USER_REGIONS_MAX == MEMORY_MAP_REGIONS_MAX, "a table fits a map");

void virtio_vhost_user_init_rings(struct virtio_vhost_user *conn)
{
    for (uint16_t i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++)
        conn->rings[i] =
            (struct vhost_user_ring){.conn = conn, .index = i, .kick_fd = -1, .call_fd = -1};
}

static bool ranges_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
    return a < b ? a_size > b - a : b_size > a - b;
}

/* The user addresses of a region, which only name ring addresses: they must be unambiguous. */
static int check_user_range(const struct vhost_user_mem_table *table, unsigned index)
{
    const struct vhost_user_region *r = &table->regions[index];
    if (r->size == 0 || r->size - 1 > UINT64_MAX - r->user_addr)
        return -EINVAL;
    for (unsigned i = 0; i < index; i++) {
        const struct vhost_user_region *other = &table->regions[i];
        if (ranges_overlap(r->user_addr, r->size, other->user_addr, other->size))
            return -EEXIST;
    }
    return 0;
}

static int build_map(struct virtio_vhost_user *conn, const struct vhost_user_mem_table *table,
                     const int *fds, struct memory_map *map)
{
    memory_map_init(map, conn->options.memory);
    for (unsigned i = 0; i < table->num; i++) {
        const struct vhost_user_region *r = &table->regions[i];
        if (!memory_is_fd(conn->options.memory, fds[i]))
            return -EPERM;
        int rc = check_user_range(table, i);
        if (rc == 0)
            rc = memory_map_add(map, (gpa_t){r->guest_addr}, r->size, r->mmap_offset);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int virtio_vhost_user_set_table(struct virtio_vhost_user *conn,
                                const struct vhost_user_mem_table *table, const int *fds,
                                unsigned num_fds)
{
    if (table->num != num_fds)
        return -EINVAL;
    struct memory_map map;
    int rc = build_map(conn, table, fds, &map);
    if (rc < 0)
        return rc;

    conn->map = map;
    for (unsigned i = 0; i < table->num; i++)
        conn->user_start[i] = table->regions[i].user_addr;

    struct virtio_device *dev = conn->options.device;
    for (uint16_t i = 0; i < virtio_device_get_num_queues(dev); i++) {
        struct virtio_queue *q = virtio_device_get_queue(dev, i);
        if (virtio_queue_is_enabled(q) && virtio_queue_enable(q, &conn->map) < 0)
            virtio_vhost_user_break(conn, "a new memory table leaves an active ring outside");
    }
    return 0;
}

/* Ring addresses are addresses of the front end's own address space. */
static bool translate(const struct virtio_vhost_user *conn, uint64_t user, gpa_t *ret_gpa)
{
    for (unsigned i = 0; i < conn->map.num_regions; i++) {
        const struct memory_region *r = &conn->map.regions[i];
        if (user >= conn->user_start[i] && user - conn->user_start[i] < r->size) {
            ret_gpa->addr = r->start.addr + (user - conn->user_start[i]);
            return true;
        }
    }
    return false;
}

static bool is_inband(const struct virtio_vhost_user *conn)
{
    return vhost_user_has(conn, VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS);
}

/* Lets a ring run that is enabled and has all that it needs. A front end may enable it first
 * (QEMU) or last (Linux' um). */
static int run(struct virtio_vhost_user *conn, unsigned index)
{
    const struct vhost_user_ring *ring = &conn->rings[index];
    struct virtio_queue *q = virtio_device_get_queue(conn->options.device, index);
    if (virtio_queue_is_enabled(q))
        return 0;
    if (!ring->enabled || !ring->has_addr || (ring->kick_fd < 0 && !is_inband(conn)))
        return 0;

    gpa_t desc, avail, used;
    if (!translate(conn, ring->addr.desc, &desc) || !translate(conn, ring->addr.avail, &avail) ||
        !translate(conn, ring->addr.used, &used))
        return -EFAULT;
    int rc = virtio_queue_set_rings(q, desc, avail, used);
    if (rc == 0)
        rc = virtio_queue_enable(q, &conn->map);
    return rc < 0 ? rc : virtio_vhost_user_ring_runs(conn, index);
}

int virtio_vhost_user_enable(struct virtio_vhost_user *conn, unsigned index, bool on)
{
    struct vhost_user_ring *ring = &conn->rings[index];
    ring->enabled = on;
    if (!on) {
        virtio_queue_disable(virtio_device_get_queue(conn->options.device, index));
        return 0;
    }
    int rc = run(conn, index);
    if (rc < 0)
        ring->enabled = false;
    return rc;
}

void virtio_vhost_user_enable_all(struct virtio_vhost_user *conn)
{
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++)
        conn->rings[i].enabled = true;
}

bool virtio_vhost_user_is_socket(int fd)
{
    int domain = 0, type = 0, listening = 0;
    socklen_t len = sizeof(int);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && !listening;
}

/* An eventfd is an inode without a type that takes an 8-byte number. Adding 0 changes nothing, and
 * does not block: there is room for it whatever the guest has added before. */
static bool is_eventfd(int fd)
{
    struct stat st;
    const uint64_t zero = 0;
    return fstat(fd, &st) == 0 && (st.st_mode & S_IFMT) == 0 &&
           pv_fd_set_nonblocking(fd, true) == 0 && write(fd, &zero, sizeof(zero)) == sizeof(zero);
}

static void close_kick(struct vhost_user_ring *ring)
{
    pv_loop_remove(ring->kick_source); /* before the close: the guest's copy keeps the file open */
    ring->kick_source = NULL;
    if (ring->kick_fd >= 0)
        close(pv_take_fd(&ring->kick_fd));
}

static void close_call(struct vhost_user_ring *ring)
{
    if (ring->call_fd >= 0)
        close(pv_take_fd(&ring->call_fd));
}

static void on_kick(void *data, int fd, uint32_t events)
{
    struct vhost_user_ring *ring = data;
    ring->conn->counters[VHOST_USER_COUNTER_KICKS]++;
    virtio_device_kick(ring->conn->options.device, ring->index);
}

int virtio_vhost_user_set_kick(struct virtio_vhost_user *conn, unsigned index, int fd)
{
    pv_auto_fd int owned = fd;
    if (fd < 0 && !is_inband(conn)) /* we do not poll rings */
        return -EOPNOTSUPP;
    if (fd >= 0 && !is_eventfd(fd))
        return -EINVAL;

    struct vhost_user_ring *ring = &conn->rings[index];
    close_kick(ring);
    if (fd < 0)
        return 0;
    ring->kick_source = pv_loop_add_fd(conn->options.loop, fd, EPOLLIN | EPOLLET, on_kick, ring);
    if (!ring->kick_source)
        return -errno;
    ring->kick_fd = pv_take_fd(&owned);
    int rc = run(conn, index);
    if (rc < 0)
        close_kick(ring);
    return rc;
}

uint16_t virtio_vhost_user_stop_ring(struct virtio_vhost_user *conn, unsigned index)
{
    struct vhost_user_ring *ring = &conn->rings[index];
    struct virtio_queue *q = virtio_device_get_queue(conn->options.device, index);
    virtio_queue_disable(q);
    close_kick(ring);
    ring->has_addr = false;
    return virtio_queue_get_base(q);
}

int virtio_vhost_user_set_call(struct virtio_vhost_user *conn, unsigned index, int fd)
{
    pv_auto_fd int owned = fd;
    bool is_socket = fd >= 0 && virtio_vhost_user_is_socket(fd);
    if (fd >= 0 && !is_socket && !(conn->options.trust_call_fds && is_eventfd(fd)))
        return -EINVAL;

    struct vhost_user_ring *ring = &conn->rings[index];
    close_call(ring);
    ring->call_fd = pv_take_fd(&owned);
    ring->call_is_socket = is_socket;
    return 0;
}

void virtio_vhost_user_reset_rings(struct virtio_vhost_user *conn)
{
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++) {
        struct vhost_user_ring *ring = &conn->rings[i];
        close_kick(ring);
        ring->has_addr = false;
        ring->enabled = false;
    }
}

void virtio_vhost_user_close_calls(struct virtio_vhost_user *conn)
{
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++)
        close_call(&conn->rings[i]);
}
