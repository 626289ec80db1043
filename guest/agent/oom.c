/* SPDX-License-Identifier: Apache-2.0
 *
 * oom.c: the OOM killer, by the kernel's log.   Format: Documentation/ABI/testing/dev-kmsg.
 *
 * The log tells of both kinds, of the whole machine and of a cgroup, and it alone knows the name.
 * A process can write to the log too, but not as facility 0, which is the kernel.
 */
#include "agent/oom.h"

#include "agent/log.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define RECORD_MAX 8192
#define RECORDS_PER_TURN 256

static struct {
    struct pv_loop_source *source;
    int fd;
    void (*on_kill)(void *data, const char *name);
    void *data;
} watch;

bool agent_oom_parse(const char *record, char ret_name[AGENT_OOM_NAME_MAX])
{
    char *end;
    unsigned long priority = strtoul(record, &end, 10);
    if (end == record || *end != ',' || priority >> 3 != 0)
        return false;
    const char *text = strchr(record, ';');
    const char *line_end = text ? strchrnul(text, '\n') : NULL;
    const char *killed = text ? strstr(text, "Killed process ") : NULL;
    if (!killed || killed > line_end)
        return false;
    const char *name = killed + strlen("Killed process ");
    size_t digits = strspn(name, "0123456789");
    if (!digits || strncmp(name + digits, " (", 2) != 0)
        return false;
    name += digits + 2;

    /* The name may hold parentheses itself. */
    const char *after = strstr(name, ") total-vm:");
    if (!after)
        after = strchr(name, ')');
    if (!after || after > line_end)
        return false;
    size_t len = PV_MIN((size_t)(after - name), (size_t)AGENT_OOM_NAME_MAX - 1);
    for (size_t i = 0; i < len; i++)
        ret_name[i] = isprint((unsigned char)name[i]) ? name[i] : '?';
    ret_name[len] = '\0';
    return true;
}

static void on_log(void *data, int fd, uint32_t events)
{
    for (int i = 0; i < RECORDS_PER_TURN; i++) {
        char record[RECORD_MAX], name[AGENT_OOM_NAME_MAX];
        ssize_t n = read(fd, record, sizeof(record) - 1);
        if (n < 0 && (errno == EPIPE || errno == EINTR))
            continue; /* the log was faster than we: some records are lost */
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN) {
                agent_log_note("kernel log: %s", n ? strerror(errno) : "closed");
                pv_loop_remove(pv_take_ptr(watch.source));
            }
            return;
        }
        record[n] = '\0';
        if (agent_oom_parse(record, name))
            watch.on_kill(watch.data, name);
    }
}

int agent_oom_watch(struct pv_loop *loop, void (*on_kill)(void *data, const char *name), void *data)
{
    watch.fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (watch.fd < 0)
        return -errno;
    watch.on_kill = on_kill;
    watch.data = data;
    lseek(watch.fd, 0, SEEK_END);
    watch.source = pv_loop_add_fd(loop, watch.fd, EPOLLIN, on_log, NULL);
    return watch.source ? 0 : -errno;
}

void agent_oom_look(void)
{
    if (watch.source)
        on_log(NULL, watch.fd, EPOLLIN);
}
