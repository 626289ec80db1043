/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_vhost_user.c: a hostile guest: messages, descriptors, kicks and memory of its choice,
 * against each device behind a real socket.
 *
 * Input: byte 0: device (bits 0-1), how far a correct driver has come before (bits 2-3), in-band
 * (bit 4). Then steps, each a byte and its arguments; see take_step. Nothing may crash, hang, or
 * leak a descriptor.
 */
#include "support/fake_driver.h"
#include "virtio/device/blk.h"
#include "virtio/device/console.h"
#include "virtio/device/rng.h"
#include "virtio/device/vsock.h"

#include "base/fd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define RING_SIZE 16
#define DISK_BYTES (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at, *end;
};

struct fuzz {
    struct fake_driver *d;
    struct disk *disk;
    int disk_fd, accepted;
    struct input in;
};

static uint8_t get_u8(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static uint32_t get_u32(struct input *in)
{
    uint32_t value = get_u8(in);
    value |= (uint32_t)get_u8(in) << 8;
    value |= (uint32_t)get_u8(in) << 16;
    return value | (uint32_t)get_u8(in) << 24;
}

static size_t get_bytes(struct input *in, uint8_t *buf, size_t len)
{
    size_t left = (size_t)(in->end - in->at), n = PV_MIN(len, left);
    memcpy(buf, in->at, n);
    in->at += n;
    memset(buf + n, 0, len - n);
    return n;
}

/* -- devices -- */

static void on_output(void *data, const void *bytes, size_t len)
{
}

static void on_accepted(void *data, int fd, uint32_t guest_port)
{
    struct fuzz *f = data;
    if (f->accepted >= 0)
        close(f->accepted);
    f->accepted = fd;
}

static int connect_host(void *data, uint32_t host_port)
{
    int ends[2];
    if (host_port % 2 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    on_accepted(data, ends[1], 0);
    return ends[0];
}

static void must(bool what)
{
    if (!what)
        abort();
}

static struct virtio_device *new_blk(struct fuzz *f)
{
    char path[32];
    const struct disk_options options = {.format = "raw", .no_io_uring = true};
    struct virtio_device *dev = NULL;
    f->disk_fd = memfd_create("disk", MFD_CLOEXEC);
    must(f->disk_fd >= 0 && ftruncate(f->disk_fd, DISK_BYTES) == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", f->disk_fd);
    must(disk_open(path, &options, &f->disk, NULL) == 0);
    struct virtio_blk_options o = {.disk = f->disk, .serial = "fuzz"};
    must(virtio_blk_new(&o, f->d->loop, &dev, NULL) == 0);
    return dev;
}

static struct virtio_device *new_device(struct fuzz *f, unsigned kind)
{
    struct virtio_device *dev = NULL;
    struct virtio_console_options console = {.output = on_output, .cols = 80, .rows = 25};
    struct virtio_rng_options rng = {0};
    struct virtio_vsock_options vsock = {
        .guest_cid = 3, .max_connections = 4, .connect_host = connect_host, .data = f};
    switch (kind) {
    case 0:
        must(virtio_console_new(&console, f->d->loop, &dev, NULL) == 0);
        break;
    case 1:
        must(virtio_rng_new(&rng, f->d->loop, &dev, NULL) == 0);
        break;
    case 2:
        must(virtio_vsock_new(&vsock, f->d->loop, &dev, NULL) == 0);
        must(virtio_vsock_listen(dev, 1, on_accepted, f) == 0);
        break;
    default:
        dev = new_blk(f);
        break;
    }
    return dev;
}

/* -- steps -- */

static void stop_loop(void *data)
{
    pv_loop_stop(data, 0);
}

static void turn(struct fuzz *f)
{
    uint8_t buf[4096];
    must(pv_loop_defer(f->d->loop, stop_loop, f->d->loop) == 0);
    pv_loop_run(f->d->loop);
    recv(f->d->sock, buf, sizeof(buf), MSG_DONTWAIT);
    for (unsigned i = 0; i < VIRTIO_DEVICE_QUEUES_MAX; i++)
        if (f->d->call_socks[i] >= 0)
            recv(f->d->call_socks[i], buf, sizeof(buf), MSG_DONTWAIT);
}

/* A descriptor of one of several kinds, owned by the caller. */
static int new_fd(struct fuzz *f, uint8_t kind)
{
    int ends[2];
    switch (kind % 6) {
    case 0:
        return fcntl(memory_get_fd(f->d->memory), F_DUPFD_CLOEXEC, 3);
    case 1:
        return eventfd(0, EFD_CLOEXEC);
    case 2:
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
            return -1;
        close(ends[1]);
        return ends[0];
    case 3:
        return memfd_create("foreign", MFD_CLOEXEC);
    case 4:
        return fcntl(f->d->sock, F_DUPFD_CLOEXEC, 3);
    default:
        if (pipe2(ends, O_CLOEXEC) < 0)
            return -1;
        close(ends[0]);
        return ends[1];
    }
}

static void send_with_fds(struct fuzz *f, const uint8_t *bytes, size_t len, unsigned num_fds,
                          uint8_t kind)
{
    int fds[12];
    struct iovec iov = {(void *)(uintptr_t)bytes, len};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(fds))];
    } control = {0};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    for (unsigned i = 0; i < num_fds; i++)
        must((fds[i] = new_fd(f, (uint8_t)(kind + (kind & 0x80 ? i : 0)))) >= 0);
    if (num_fds) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
    }
    if (len)
        sendmsg(f->d->sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (unsigned i = 0; i < num_fds; i++)
        close(fds[i]);
}

/* request, flags, size, descriptors (number and kind), payload */
static void step_message(struct fuzz *f)
{
    uint8_t bytes[sizeof(struct vhost_user_header) + 320];
    uint8_t request = get_u8(&f->in), flags = get_u8(&f->in), fds = get_u8(&f->in);
    uint8_t kind = get_u8(&f->in);
    uint16_t size = (uint16_t)(get_u8(&f->in) | get_u8(&f->in) << 8);
    struct vhost_user_header h = {request, flags, size};
    size_t len = PV_MIN(size, 320u);
    memcpy(bytes, &h, sizeof(h));
    get_bytes(&f->in, bytes + sizeof(h), len);
    send_with_fds(f, bytes, sizeof(h) + len, fds % 12, kind);
    turn(f);
}

static void step_raw(struct fuzz *f)
{
    uint8_t bytes[256], len = get_u8(&f->in), kind = get_u8(&f->in);
    get_bytes(&f->in, bytes, len);
    send_with_fds(f, bytes, len, kind % 3, kind);
    turn(f);
}

static void step_poke(struct fuzz *f)
{
    uint8_t bytes[256], len = get_u8(&f->in);
    uint32_t offset = get_u32(&f->in) % (FAKE_MEMORY_BYTES - 256);
    get_bytes(&f->in, bytes, len);
    memcpy(memory_at(f->d->memory, offset, len), bytes, len);
}

/* Descriptors, each of an address, a length and flags; then they are made available. */
static void step_chain(struct fuzz *f)
{
    struct fake_desc descs[4];
    unsigned n = get_u8(&f->in) % 4 + 1;
    uint8_t queue = get_u8(&f->in) % VIRTIO_DEVICE_QUEUES_MAX;
    for (unsigned i = 0; i < n; i++)
        descs[i] = (struct fake_desc){
            {get_u32(&f->in)}, get_u32(&f->in), (uint16_t)(get_u8(&f->in) & 7), 0};
    if (f->d->rings[queue].size)
        fake_ring_add(&f->d->rings[queue], descs, n);
}

static void step_kick(struct fuzz *f)
{
    const uint64_t one = 1;
    uint8_t queue = get_u8(&f->in) % VIRTIO_DEVICE_QUEUES_MAX;
    if (f->d->kick_fds[queue] >= 0)
        must(write(f->d->kick_fds[queue], &one, sizeof(one)) == (ssize_t)sizeof(one));
    turn(f);
}

static void step_host(struct fuzz *f)
{
    uint8_t bytes[256], len = get_u8(&f->in);
    get_bytes(&f->in, bytes, len);
    if (f->accepted >= 0 && len == 0)
        close(pv_take_fd(&f->accepted));
    else if (f->accepted >= 0)
        send(f->accepted, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    else if (virtio_device_get_class(f->d->dev) == &virtio_console_class)
        virtio_console_input(f->d->dev, bytes, len);
    turn(f);
}

static void take_step(struct fuzz *f)
{
    static void (*const steps[])(struct fuzz *) = {step_message, step_raw,  step_poke,
                                                   step_chain,   step_kick, step_host};
    steps[get_u8(&f->in) % PV_ARRAY_SIZE(steps)](f);
}

static void start(struct fuzz *f, struct virtio_device *dev, unsigned progress)
{
    fake_driver_connect(f->d, dev);
    if (progress >= 1)
        fake_driver_negotiate(f->d, 0);
    if (progress >= 2)
        fake_driver_set_table(f->d);
    for (uint16_t i = 0; progress >= 3 && i < virtio_device_get_num_queues(dev); i++)
        fake_driver_set_up_queue(f->d, i, RING_SIZE);
    if (progress >= 3)
        must(fake_driver_ask_u64(f->d, VHOST_USER_SET_STATUS, 15) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct fuzz f = {.disk_fd = -1, .accepted = -1, .in = {data + 1, data + size}};
    unsigned fds_before = fake_count_fds();
    f.d = fake_driver_new(data[0] & 0x10 ? FAKE_VHOST_USER_INBAND : FAKE_VHOST_USER);
    start(&f, new_device(&f, data[0] & 3), data[0] >> 2 & 3);

    for (unsigned i = 0; i < 200 && f.in.at < f.in.end; i++)
        take_step(&f);
    turn(&f);
    turn(&f);

    virtio_vhost_user_free(f.d->conn);
    virtio_device_free(f.d->dev);
    f.d->conn = NULL;
    f.d->dev = NULL;
    disk_close(f.disk);
    fake_driver_free(f.d);
    if (f.disk_fd >= 0)
        close(f.disk_fd);
    if (f.accepted >= 0)
        close(f.accepted);
    must(fake_count_fds() == fds_before);
    return 0;
}
