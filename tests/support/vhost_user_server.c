/* SPDX-License-Identifier: Apache-2.0
 *
 * vhost_user_server.c: serves our devices to another front end than our guest kernel, as QEMU.
 *
 * Usage: vhost_user_server [--no-status] MEMORY_MIB KIND:SOCKET[:ARGUMENT]...
 *   blk:SOCKET:FILE   a disk of the serial number "conformance", qcow2 when FILE ends with that
 *   fs:SOCKET:FOLDER  that folder as machines share one, of the tag "share"
 *   net:SOCKET        a card on a user-mode network, as machines have it
 *   rng:SOCKET
 *
 * The transport compares a front end's memory with memory of ours, so the front end is given ours:
 * "memory PATH" on standard output names it, "ready" follows. Commands on standard input, a line
 * each: "resize BYTES" (of the disks); its end is ours. What a front end did wrong is said as
 * "broken REASON"; it may connect again after that, or after it has gone.
 */
#include "base/bytes.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "memory/memory.h"
#include "net/table.h"
#include "virtio/device/blk.h"
#include "virtio/device/fs.h"
#include "virtio/device/net.h"
#include "virtio/device/rng.h"
#include "virtio/transport/vhost_user.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SERVED_MAX 8
#define QUEUES 2

struct served {
    const char *socket, *argument;
    int listen_fd;
    struct disk *disk;     /* blk */
    struct net_link *link; /* net */
    struct fs *fs;         /* fs */
    int folder_fd;         /* fs: borrowed by it */
    struct virtio_device *device;
    struct virtio_vhost_user *conn;
};

static struct {
    struct pv_loop *loop;
    struct memory *memory;
    struct served served[SERVED_MAX];
    size_t num_served;
    struct pv_bytes input;
    bool no_status;
} server;

static int make_blk(struct served *s, struct pv_error *err)
{
    size_t len = strlen(s->argument);
    bool is_qcow2 = len > 6 && strcmp(s->argument + len - 6, ".qcow2") == 0;
    struct disk_options disk_options = {.format = is_qcow2 ? "qcow2" : "raw"};
    int rc = disk_open(s->argument, &disk_options, &s->disk, err);
    if (rc == 0)
        rc = disk_start(s->disk, server.loop, err);
    struct virtio_blk_options options = {
        .disk = s->disk, .serial = "conformance", .num_queues = QUEUES};
    return rc == 0 ? virtio_blk_new(&options, server.loop, &s->device, err) : rc;
}

static int make_net(struct served *s, struct pv_error *err)
{
    struct net_config c = {.has4 = true, .has6 = true, .prefix4 = 24, .prefix6 = 64};
    inet_pton(AF_INET, "10.0.2.15", &c.guest4);
    inet_pton(AF_INET, WORKLOAD_NETWORK_USER_GATEWAY4, &c.gateway4);
    inet_pton(AF_INET, WORKLOAD_NETWORK_USER_DNS4, &c.dns4);
    inet_pton(AF_INET6, "fd00::15", &c.guest6);
    inet_pton(AF_INET6, WORKLOAD_NETWORK_USER_GATEWAY6, &c.gateway6);
    inet_pton(AF_INET6, WORKLOAD_NETWORK_USER_DNS6, &c.dns6);
    int rc = net_backend_find("user")->open(&c, server.loop, &s->link, err);
    struct virtio_net_options options = {.link = s->link, .mac = {2, 0, 0, 0, 0, 1}};
    return rc == 0 ? virtio_net_new(&options, server.loop, &s->device, err) : rc;
}

static int make_fs(struct served *s, struct pv_error *err)
{
    s->folder_fd = open(s->argument, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s->folder_fd < 0)
        return pv_error_set(err, errno, "folder '%s': %s", s->argument, strerror(errno));
    const struct fs_options fs_options = {.root_fd = s->folder_fd};
    const struct fs_situation situation = {.map_owners = geteuid() != 0,
                                           .owner_uid = geteuid(),
                                           .owner_gid = getegid(),
                                           .max_files = 500};
    int rc = fs_new(&fs_options, &s->fs, err);
    if (rc == 0)
        rc = fs_settle(s->fs, &situation, err);
    if (rc == 0)
        rc = fs_start(s->fs, server.loop, err);
    const struct virtio_fs_options options = {.fs = s->fs, .tag = "share"};
    umask(0);
    return rc == 0 ? virtio_fs_new(&options, server.loop, &s->device, err) : rc;
}

static int make_rng(struct served *s, struct pv_error *err)
{
    return virtio_rng_new(&(struct virtio_rng_options){0}, server.loop, &s->device, err);
}

static const struct {
    const char *name;
    int (*make)(struct served *s, struct pv_error *err);
} kinds[] = {
    {"blk", make_blk},
    {"fs", make_fs},
    {"net", make_net},
    {"rng", make_rng},
};

static void say(const char *what, const char *text)
{
    printf("%s %s\n", what, text);
    fflush(stdout);
}

static void on_broken(void *data, const char *reason)
{
    struct served *s = data;
    say("broken", reason);
    virtio_vhost_user_free(pv_take_ptr(s->conn));
}

static void on_closed(void *data)
{
    struct served *s = data;
    virtio_vhost_user_free(pv_take_ptr(s->conn));
}

static void on_accept(void *data, int fd, uint32_t events)
{
    struct served *s = data;
    struct pv_error err = PV_ERROR_INIT;
    int sock = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (sock < 0 || s->conn) {
        pv_cleanup_fd(&sock);
        return;
    }
    struct virtio_vhost_user_options options = {
        .loop = server.loop,
        .memory = server.memory,
        .device = s->device,
        .no_status = server.no_status,
        .trust_call_fds = true, /* QEMU's are eventfds */
        .on_broken = on_broken,
        .on_closed = on_closed,
        .data = s,
    };
    if (virtio_vhost_user_new(&options, sock, &s->conn, &err) < 0)
        say("broken", err.text);
}

static void run_command(const char *line)
{
    uint64_t bytes;
    struct pv_error err = PV_ERROR_INIT;
    if (!pv_str_starts_with(line, "resize ") ||
        pv_str_to_u64(line + strlen("resize "), 0, INT64_MAX, &bytes) < 0) {
        say("unknown", line);
        return;
    }
    for (size_t i = 0; i < server.num_served; i++) {
        struct served *s = &server.served[i];
        if (s->disk && disk_resize(s->disk, bytes, &err) == 0)
            virtio_blk_resized(s->device);
    }
    say("done", err.text);
}

static void on_input(void *data, int fd, uint32_t events)
{
    ssize_t n = pv_bytes_read_from(&server.input, fd, 4096);
    if (n == -EAGAIN)
        return;
    if (n <= 0) {
        pv_loop_stop(server.loop, 0);
        return;
    }
    const uint8_t *end;
    while ((end = memchr(pv_bytes_head(&server.input), '\n', server.input.len))) {
        size_t len = (size_t)(end - pv_bytes_head(&server.input));
        pv_auto_free char *line = strndup((const char *)pv_bytes_head(&server.input), len);
        pv_bytes_drop(&server.input, len + 1);
        run_command(line);
    }
}

static int serve(struct served *s, struct pv_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", s->socket);
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd < 0 || bind(s->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(s->listen_fd, 1) < 0 ||
        !pv_loop_add_fd(server.loop, s->listen_fd, EPOLLIN, on_accept, s))
        return pv_error_set(err, errno, "socket '%s': %s", s->socket, strerror(errno));
    return 0;
}

/* Makes what KIND:SOCKET[:ARGUMENT] names; cuts the text. */
static int add(char *text, struct pv_error *err)
{
    const char *kind = strsep(&text, ":");
    struct served *s = &server.served[server.num_served];
    s->socket = strsep(&text, ":");
    s->argument = text ? text : "";
    for (size_t i = 0; s->socket && i < PV_ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].name, kind) != 0)
            continue;
        server.num_served++;
        int rc = kinds[i].make(s, err);
        return rc == 0 ? serve(s, err) : rc;
    }
    return pv_error_set(err, EINVAL, "no such device: %s", kind);
}

static int set_up(int argc, char **argv, struct pv_error *err)
{
    uint64_t mib = 0;
    server.no_status = argc > 1 && strcmp(argv[1], "--no-status") == 0;
    argc -= server.no_status;
    argv += server.no_status;
    if (argc < 3 || argc - 2 > SERVED_MAX || pv_str_to_u64(argv[1], 1, 65536, &mib) < 0)
        return pv_error_set(err, EINVAL,
                            "usage: [--no-status] MEMORY_MIB KIND:SOCKET[:ARGUMENT]...");
    server.loop = pv_loop_new();
    if (!server.loop)
        return pv_error_set(err, errno, "event loop: %s", strerror(errno));
    int rc = memory_new(mib << 20, &server.memory, err);
    for (int i = 2; i < argc && rc == 0; i++)
        rc = add(argv[i], err);
    pv_bytes_init(&server.input, 4096);
    if (rc == 0 && !pv_loop_add_fd(server.loop, 0, EPOLLIN, on_input, NULL))
        rc = pv_error_set(err, errno, "standard input: %s", strerror(errno));
    return rc;
}

int main(int argc, char **argv)
{
    struct pv_error err = PV_ERROR_INIT;
    pv_log_init("vhost_user_server");
    if (set_up(argc, argv, &err) < 0) {
        pv_log(PV_LOG_ERROR, "%s", err.text);
        return 1;
    }
    printf("memory /proc/%d/fd/%d\n", (int)getpid(), memory_get_fd(server.memory));
    say("ready", "");
    pv_loop_run(server.loop);
    for (size_t i = 0; i < server.num_served; i++) {
        virtio_vhost_user_free(server.served[i].conn);
        if (server.served[i].fs)
            fs_stop(server.served[i].fs);
        virtio_device_free(server.served[i].device);
        disk_close(server.served[i].disk);
        net_link_free(server.served[i].link);
        fs_free(server.served[i].fs);
        unlink(server.served[i].socket);
    }
    return 0;
}
