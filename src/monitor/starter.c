/* SPDX-License-Identifier: Apache-2.0
 *
 * starter.c: the process that started this monitor and will attach as its primary client. When it
 * dies before it has, nobody knows of the machine, and the machine ends.
 */
#include "monitor/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

void monitor_starter_lost(struct monitor *m)
{
    monitor_starter_forget(m);
    if (m->exit_code < 0)
        m->exit_code = 128 + SIGHUP;
    monitor_life_fail(m, "the command that started the machine ended before it was attached");
}

static void on_starter_ended(void *data, int fd, uint32_t events)
{
    monitor_starter_lost(data);
}

int monitor_starter_watch(struct monitor *m, struct pv_error *err)
{
    if (!m->spec.wait_attach)
        return 0;
    /* A parent that has died already leaves us to another process. Then nobody reads that we are
     * ready, and main.c sees that. */
    m->starter_pidfd = (int)syscall(SYS_pidfd_open, getppid(), 0);
    if (m->starter_pidfd < 0)
        return pv_error_set(err, errno, "watch the process that started the monitor: %s",
                            strerror(errno));
    m->starter_source = pv_loop_add_fd(m->loop, m->starter_pidfd, EPOLLIN, on_starter_ended, m);
    return m->starter_source ? 0 : pv_error_set(err, errno, "pidfd: %s", strerror(errno));
}

void monitor_starter_forget(struct monitor *m)
{
    pv_loop_remove(pv_take_ptr(m->starter_source));
    if (m->starter_pidfd >= 0)
        close(pv_take_fd(&m->starter_pidfd));
}
