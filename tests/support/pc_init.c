/* SPDX-License-Identifier: Apache-2.0
 *
 * pc_init.c: the only program of a PC whose devices are ours (tests/e2e/test_conformance.py): loads
 * the modules that /modules/order names, uses what they drive, a disk and a source of random
 * numbers, a shared folder or a network card, in every way that a driver has, and says a line for
 * each on the console: "ok WHAT" or "FAILED WHAT".
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <net/route.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DISK "/dev/vda"
#define SYS "/sys/block/vda/"
#define MIB (1u << 20)
#define PATTERN_BYTES (4u * MIB)
#define DISCARD_AT (8u * MIB)

static void verdict(const char *what, int good)
{
    if (good)
        printf("ok %s\n", what);
    else
        printf("FAILED %s: %s\n", what, strerror(errno));
}

static void read_text(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, buf, size - 1) : 0;
    buf[n > 0 ? n : 0] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    if (fd >= 0)
        close(fd);
}

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return good;
}

static void load_modules(void)
{
    char line[256];
    FILE *order = fopen("/modules/order", "r");
    while (order && fgets(line, sizeof(line), order)) {
        char path[300];
        line[strcspn(line, "\n")] = '\0';
        snprintf(path, sizeof(path), "/modules/%s", line);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (syscall(SYS_finit_module, fd, "", 0) < 0)
            verdict(path, 0);
        close(fd);
    }
    if (order)
        fclose(order);
}

static int open_disk(void)
{
    for (int i = 0; i < 200; i++) {
        int fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
        if (fd >= 0)
            return fd;
        usleep(50000);
    }
    return -1;
}

static void fill(uint8_t *bytes, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        bytes[i] = (uint8_t)(seed >> 16);
    }
}

/* In pieces of many sizes, from a sector to a mebibyte. */
static int write_pattern(int fd, const uint8_t *bytes)
{
    size_t at = 0;
    for (size_t piece = 512; at < PATTERN_BYTES; piece = piece < MIB ? piece * 2 : 512) {
        size_t n = piece < PATTERN_BYTES - at ? piece : PATTERN_BYTES - at;
        if (pwrite(fd, bytes + at, n, (off_t)at) != (ssize_t)n)
            return 0;
        at += n;
    }
    return fsync(fd) == 0;
}

static int has_pattern(int fd, uint8_t *buf, const uint8_t *bytes)
{
    return pread(fd, buf, PATTERN_BYTES, 0) == (ssize_t)PATTERN_BYTES &&
           memcmp(buf, bytes, PATTERN_BYTES) == 0;
}

static int is_zero(int fd, uint8_t *buf, off_t at, size_t len)
{
    if (pread(fd, buf, len, at) != (ssize_t)len)
        return 0;
    for (size_t i = 0; i < len; i++)
        if (buf[i])
            return 0;
    return 1;
}

static void use_disk(int fd, uint8_t *buf, uint8_t *bytes)
{
    fill(bytes, PATTERN_BYTES, 17);
    verdict("write", write_pattern(fd, bytes));
    verdict("read", has_pattern(fd, buf, bytes));

    uint64_t range[2] = {DISCARD_AT, MIB};
    memset(buf, 0x5a, 2 * MIB);
    verdict("fill", pwrite(fd, buf, 2 * MIB, DISCARD_AT) == 2 * MIB && fsync(fd) == 0);
    verdict("discard", ioctl(fd, BLKDISCARD, range) == 0);
    range[0] += MIB;
    verdict("zero", ioctl(fd, BLKZEROOUT, range) == 0 && is_zero(fd, buf, DISCARD_AT + MIB, MIB));
    verdict("beyond", pwrite(fd, buf, 512, (off_t)1 << 40) < 0);
}

static void use_cache_switch(int fd, const uint8_t *bytes)
{
    char text[32];
    int good = write_text(SYS "cache_type", "write through");
    read_text(SYS "cache_type", text, sizeof(text));
    verdict("write through",
            good && strcmp(text, "write through") == 0 && pwrite(fd, bytes, 4096, 0) == 4096);
    verdict("write back", write_text(SYS "cache_type", "write back"));
}

/* The driver goes and comes: rings are stopped and started, the disk is the same. */
static int use_again(int fd, uint8_t *buf, const uint8_t *bytes)
{
    char link[256] = "";
    close(fd);
    if (readlink(SYS "device", link, sizeof(link) - 1) < 0)
        return -1;
    const char *name = strrchr(link, '/') + 1;
    int good = write_text("/sys/bus/virtio/drivers/virtio_blk/unbind", name) &&
               write_text("/sys/bus/virtio/drivers/virtio_blk/bind", name);
    fd = open_disk();
    verdict("again", good && fd >= 0 && has_pattern(fd, buf, bytes));
    return fd;
}

static void use_resize(void)
{
    char before[32], now[32];
    read_text(SYS "size", before, sizeof(before));
    printf("resize now\n");
    for (int i = 0; i < 600; i++) {
        read_text(SYS "size", now, sizeof(now));
        if (strcmp(before, now) != 0)
            break;
        usleep(50000);
    }
    printf("size %s\n", now);
}

static void use_random(void)
{
    uint8_t one[64], two[64];
    int fd = open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
    verdict("random", fd >= 0 && read(fd, one, sizeof(one)) > 0 && read(fd, two, sizeof(two)) > 0 &&
                          memcmp(one, two, sizeof(one)) != 0);
}

/* -- the network: an echo server is at 192.0.2.1, port 7007, behind the router 10.0.2.2 -- */

static int set_address(int sock, unsigned long request, const char *address)
{
    struct ifreq ifr = {.ifr_name = "eth0"};
    struct sockaddr_in *a = (struct sockaddr_in *)&ifr.ifr_addr;
    a->sin_family = AF_INET;
    a->sin_addr.s_addr = inet_addr(address);
    return ioctl(sock, request, &ifr) == 0;
}

static int set_up_card(void)
{
    struct ifreq up = {.ifr_name = "eth0", .ifr_flags = IFF_UP};
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    struct sockaddr_in any = {.sin_family = AF_INET}, router = any;
    int sock = socket(AF_INET, SOCK_DGRAM, 0), good = 0;
    router.sin_addr.s_addr = inet_addr("10.0.2.2");
    memcpy(&route.rt_dst, &any, sizeof(any));
    memcpy(&route.rt_genmask, &any, sizeof(any));
    memcpy(&route.rt_gateway, &router, sizeof(router));
    for (int i = 0; i < 100 && !good; i++) { /* the card is probed meanwhile */
        good = set_address(sock, SIOCSIFADDR, "10.0.2.15");
        if (!good)
            usleep(50000);
    }
    good = good && set_address(sock, SIOCSIFNETMASK, "255.255.255.0") &&
           ioctl(sock, SIOCSIFFLAGS, &up) == 0 && ioctl(sock, SIOCADDRT, &route) == 0;
    close(sock);
    return good;
}

/* Sends all of it and reads it back, never more than the ends of a connection can hold. */
static int echo_all(int sock, const uint8_t *bytes, uint8_t *buf)
{
    size_t sent = 0, got = 0;
    while (got < PATTERN_BYTES) {
        size_t left = PATTERN_BYTES - sent, part = left < 60000 ? left : 60000;
        if (part && send(sock, bytes + sent, part, MSG_NOSIGNAL) != (ssize_t)part)
            return 0;
        sent += part;
        while (got < sent) {
            ssize_t n = recv(sock, buf + got, sent - got, 0);
            if (n <= 0)
                return 0;
            got += (size_t)n;
        }
    }
    return memcmp(buf, bytes, PATTERN_BYTES) == 0;
}

static void use_net(uint8_t *buf, uint8_t *bytes)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(7007)};
    server.sin_addr.s_addr = inet_addr("192.0.2.1");
    verdict("card", set_up_card());
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    verdict("connect", connect(sock, (struct sockaddr *)&server, sizeof(server)) == 0);
    fill(bytes, PATTERN_BYTES, 23);
    verdict("echo", echo_all(sock, bytes, buf));
    close(sock);
    server.sin_port = htons(9);
    sock = socket(AF_INET, SOCK_STREAM, 0);
    verdict("refused",
            connect(sock, (struct sockaddr *)&server, sizeof(server)) < 0 && errno == ECONNREFUSED);
    close(sock);
}

static void tell(void)
{
    char text[64];
    read_text(SYS "serial", text, sizeof(text));
    printf("serial %s\n", text);
    read_text(SYS "size", text, sizeof(text));
    printf("size %s\n", text);
    printf("queues %d\n", (access(SYS "mq/0", F_OK) == 0) + (access(SYS "mq/1", F_OK) == 0));
    read_text(SYS "queue/discard_max_bytes", text, sizeof(text));
    printf("discards %s\n", text);
}

/* -- a shared folder: it holds the file "host" -- */

static int mount_share(void)
{
    for (int i = 0; i < 100; i++) { /* the device is probed meanwhile */
        if (mount("share", "/share", "virtiofs", 0, NULL) == 0)
            return 1;
        usleep(50000);
    }
    return 0;
}

static unsigned count_names(const char *path)
{
    unsigned n = 0;
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void use_share(uint8_t *buf, uint8_t *bytes)
{
    struct stat st;
    mkdir("/share", 0755);
    verdict("share", mount_share());
    fill(bytes, PATTERN_BYTES, 29);
    int fd = open("/share/data", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    verdict("share write", write(fd, bytes, PATTERN_BYTES) == PATTERN_BYTES && fsync(fd) == 0);
    verdict("share names",
            rename("/share/data", "/share/moved") == 0 && mkdir("/share/dir", 0700) == 0 &&
                link("/share/moved", "/share/dir/link") == 0 &&
                symlink("dir/link", "/share/way") == 0 && unlink("/share/moved") == 0);
    close(fd);
    /* The driver's queues stop and start, and nothing is left in its cache. */
    verdict("share again", umount("/share") == 0 && mount_share());
    fd = open("/share/way", O_RDONLY | O_CLOEXEC);
    verdict("share read", read(fd, buf, PATTERN_BYTES) == PATTERN_BYTES &&
                              memcmp(buf, bytes, PATTERN_BYTES) == 0);
    verdict("share attributes", fstat(fd, &st) == 0 && st.st_size == PATTERN_BYTES &&
                                    (st.st_mode & 07777) == 0640 && st.st_nlink == 1);
    close(fd);
    verdict("share list", count_names("/share") == 5); /* ".", "..", host, dir, way */
    verdict("share gone", open("/share/data", O_RDONLY | O_CLOEXEC) < 0 && errno == ENOENT);
    verdict("share end", umount("/share") == 0);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    mount("sys", "/sys", "sysfs", 0, NULL);
    load_modules();
    int has_disk = access("/modules/virtio_blk.ko", F_OK) == 0;
    int has_share = access("/modules/virtiofs.ko", F_OK) == 0;
    int fd = has_disk ? open_disk() : -1;
    uint8_t *buf = aligned_alloc(4096, PATTERN_BYTES), *bytes = aligned_alloc(4096, PATTERN_BYTES);
    if (has_share && buf && bytes)
        use_share(buf, bytes);
    else if (!has_disk && buf && bytes)
        use_net(buf, bytes);
    else
        verdict("disk", fd >= 0 && buf && bytes);
    if (fd >= 0 && buf && bytes) {
        tell();
        use_disk(fd, buf, bytes);
        use_cache_switch(fd, bytes);
        fd = use_again(fd, buf, bytes);
        use_resize();
        use_random();
    }
    printf("end\n");
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
