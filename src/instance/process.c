/* SPDX-License-Identifier: Apache-2.0
 *
 * process.c: pidfd first, then the start time: when both were read of the same process, the pidfd
 * is that process's for ever.
 */
#include "instance/process.h"

#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define KILL_WAIT_MS 1000

static char *read_proc(pid_t pid, const char *file)
{
    char path[64], *text = NULL;
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return pv_fd_read_file(AT_FDCWD, path, 65536, &text, NULL, NULL) == 0 ? text : NULL;
}

uint64_t instance_process_start_time(pid_t pid)
{
    pv_auto_free char *stat = read_proc(pid, "stat");
    const char *p = stat ? strrchr(stat, ')') : NULL; /* the name may contain anything */
    for (int field = 2; p && field < 22; field++)
        p = strchr(p + 1, ' ');
    unsigned long long ticks;
    return p && sscanf(p, " %llu", &ticks) == 1 ? ticks : 0;
}

int instance_process_open(const struct instance_process *process)
{
    if (process->pid <= 0 || !process->start_time)
        return -ESRCH;
    pv_auto_fd int fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
    if (fd < 0)
        return errno == EINVAL ? -ESRCH : -errno;
    if (instance_process_start_time(process->pid) != process->start_time)
        return -ESRCH;
    return pv_take_fd(&fd);
}

static int find_uid(pid_t pid, uid_t *ret_uid)
{
    pv_auto_free char *status = read_proc(pid, "status");
    const char *line = status ? strstr(status, "\nUid:") : NULL;
    unsigned uid;
    if (!line || sscanf(line, "\nUid: %u", &uid) != 1)
        return -ESRCH;
    *ret_uid = uid;
    return 0;
}

int instance_process_kill(const struct instance_process *process, uid_t owner, uid_t other_owner)
{
    uid_t uid;
    pv_auto_fd int fd = instance_process_open(process);
    if (fd < 0)
        return fd == -ESRCH ? 0 : fd;
    if (find_uid(process->pid, &uid) < 0)
        return 0;
    if (uid != owner && uid != other_owner)
        return -EPERM;
    if (syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0)
        return errno == ESRCH ? 0 : -errno;
    struct pollfd ended = {.fd = fd, .events = POLLIN};
    return poll(&ended, 1, KILL_WAIT_MS) == 1 ? 0 : -ETIMEDOUT;
}
