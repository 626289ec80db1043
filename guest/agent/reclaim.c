/* SPDX-License-Identifier: Apache-2.0
 *
 * reclaim.c: makes memory free.
 * Format: proc(5), Documentation/admin-guide/cgroup-v2.rst (memory.reclaim).
 *
 * Memory that the balloon driver takes is at first free memory, and then whatever the kernel can
 * find down to its last pages: whoever wants a page meanwhile meets the OOM killer. Reclaim that is
 * asked for here never calls it, and says how much can really be had: some file pages cannot,
 * though they count as available. So the monitor lets the balloon take only what is free already.
 *
 * It may wait for a disk, so a child does it, with a time limit, and the agent goes on.
 */
#include "agent/reclaim.h"

#include "agent/log.h"
#include "agent/meminfo.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TIMEOUT_NS (400ull * 1000000)
#define CHILD_SECONDS 10

static int meminfo_fd = -1, reclaim_fd = -1;

/* The request under way. */
static struct {
    int fd; /* ends when the child does */
    struct pv_loop_source *source, *timer;
    void (*on_done)(void *data, const struct agent_reclaim_numbers *now);
    void *data;
} request;

int agent_reclaim_open(int proc_fd, int fd)
{
    meminfo_fd = openat(proc_fd, "meminfo", O_RDONLY | O_CLOEXEC);
    reclaim_fd = fd;
    return meminfo_fd < 0 ? -errno : 0;
}

static struct agent_reclaim_numbers look(void)
{
    static char text[8192];
    ssize_t n = meminfo_fd < 0 ? -1 : pread(meminfo_fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return (struct agent_reclaim_numbers){.total = agent_meminfo_bytes(text, "MemTotal"),
                                          .free = agent_meminfo_bytes(text, "MemFree"),
                                          .available = agent_meminfo_bytes(text, "MemAvailable")};
}

static void finish(void)
{
    struct agent_reclaim_numbers now = look();
    pv_loop_remove(pv_take_ptr(request.source));
    pv_loop_remove(pv_take_ptr(request.timer));
    close(request.fd);
    request.on_done(request.data, &now);
}

/* The child has ended: it writes nothing. */
static void on_end(void *data, int fd, uint32_t events)
{
    finish();
}

/* It goes on for a while, and what it finds helps the next request. */
static void on_timeout(void *data)
{
    finish();
}

/* The kernel goes on until it has so much or gives up. */
static _Noreturn void run_child(uint64_t bytes)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%" PRIu64, bytes);
    sigset_t none;
    signal(SIGALRM, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(CHILD_SECONDS);
    _exit(pwrite(reclaim_fd, text, (size_t)len, 0) == len ? 0 : 1);
}

static int start(struct pv_loop *loop, uint64_t bytes)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    pv_auto_fd int in = fds[0], out = fds[1];
    request.timer = pv_loop_add_timer(loop, on_timeout, NULL);
    request.source = pv_loop_add_fd(loop, in, EPOLLIN, on_end, NULL);
    pid_t child = request.timer && request.source ? fork() : -1;
    if (child < 0) {
        int rc = errno ? -errno : -ENOMEM;
        pv_loop_remove(pv_take_ptr(request.source));
        pv_loop_remove(pv_take_ptr(request.timer));
        return rc;
    }
    if (child == 0)
        run_child(bytes); /* reaped by agent/reap.h like any other */
    pv_loop_arm(request.timer, TIMEOUT_NS);
    request.fd = pv_take_fd(&in);
    return 0;
}

void agent_reclaim_request(struct pv_loop *loop, uint64_t wanted,
                           void (*on_done)(void *data, const struct agent_reclaim_numbers *now),
                           void *data)
{
    struct agent_reclaim_numbers now = look();
    if (now.free < wanted && reclaim_fd >= 0 && !request.source) {
        int rc = start(loop, wanted - now.free);
        if (rc == 0) {
            request.on_done = on_done;
            request.data = data;
            return;
        }
        agent_log_note("make memory free: %s", strerror(-rc));
    }
    on_done(data, &now);
}
