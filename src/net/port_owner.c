/* SPDX-License-Identifier: Apache-2.0
 *
 * port_owner.c: reads /proc: sockets by port, then processes by socket.
 * Runs on: whoever wants to explain a failure, before the jail.
 */
#include "net/port_owner.h"

#include "base/fd.h"
#include "base/str.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define TABLE_BYTES_MAX (4u << 20)
#define TCP_LISTENS 0x0a
#define NAME_MAX_SHOWN 60

/* The inode of a socket in one of the tables of /proc/net; 0: none there. */
static unsigned long find_socket(const char *table, bool udp, uint16_t port)
{
    pv_auto_free char *text = NULL;
    if (pv_fd_read_file(AT_FDCWD, table, TABLE_BYTES_MAX, &text, NULL, NULL) < 0)
        return 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*s %*s %*s %*d %*d %lu", &local,
                   &state, &inode) == 3 &&
            local == port && (udp || state == TCP_LISTENS))
            return inode;
    }
    return 0;
}

static bool has_socket(const char *pid, const char *link)
{
    char path[300], target[64];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *dir = opendir(path);
    if (!dir)
        return false;
    bool found = false;
    for (struct dirent *e; !found && (e = readdir(dir));) {
        ssize_t n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        found = strcmp(target, link) == 0;
    }
    closedir(dir);
    return found;
}

/* The command line as text: our monitors have the instance's name there. */
static void name_process(const char *pid, char *name, size_t size)
{
    char path[300];
    pv_auto_free char *text = NULL;
    size_t len = 0;
    snprintf(path, sizeof(path), "/proc/%s/cmdline", pid);
    snprintf(name, size, "?");
    if (pv_fd_read_file(AT_FDCWD, path, 4096, &text, &len, NULL) < 0 || !len)
        return;
    const char *base = strrchr(text, '/') ? strrchr(text, '/') + 1 : text;
    size_t at = (size_t)(base - text), n = 0;
    for (; at + 1 < len && n + 1 < size; at++, n++)
        name[n] = isprint((unsigned char)text[at]) ? text[at] : ' ';
    name[n] = '\0';
}

const char *net_port_owner(bool udp, uint16_t port, char *buf, size_t len)
{
    char link[64], name[NAME_MAX_SHOWN];
    unsigned long inode = find_socket(udp ? "/proc/net/udp" : "/proc/net/tcp", udp, port);
    if (!inode)
        inode = find_socket(udp ? "/proc/net/udp6" : "/proc/net/tcp6", udp, port);
    buf[0] = '\0';
    DIR *dir = inode ? opendir("/proc") : NULL;
    if (!dir)
        return buf;
    snprintf(link, sizeof(link), "socket:[%lu]", inode);
    for (struct dirent *e; (e = readdir(dir));) {
        if (!isdigit((unsigned char)e->d_name[0]) || !has_socket(e->d_name, link))
            continue;
        name_process(e->d_name, name, sizeof(name));
        snprintf(buf, len, " by %s (process %s)", name, e->d_name);
        break;
    }
    closedir(dir);
    return buf;
}

int net_port_refuse(const struct workload_port *port, int code, struct pv_error *err)
{
    pv_auto_free char *text = workload_port_text(port);
    const char *shown = text ? text : "?";
    char owner[128];
    switch (code) {
    case EADDRINUSE:
        return pv_error_set(err, code,
                            "publish %s: port %u of the host is in use%s: choose another port, or "
                            "end who has it",
                            shown, port->host_port,
                            net_port_owner(port->udp, port->host_port, owner, sizeof(owner)));
    case EACCES:
        return pv_error_set(err, code,
                            "publish %s: only root may use port %u of this host: choose one from "
                            "1024 on, or lower the sysctl net.ipv4.ip_unprivileged_port_start",
                            shown, port->host_port);
    case EADDRNOTAVAIL:
        return pv_error_set(err, code, "publish %s: this host does not have that address", shown);
    default:
        return pv_error_set(err, code, "publish %s: %s", shown, strerror(code));
    }
}
