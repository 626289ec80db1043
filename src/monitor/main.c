/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: paravane-monitor, one process per machine.
 *
 * Started by isolation/paravirt.c with the description on descriptor 3, a pipe that wants to know
 * how the start went on 4, and the instance's lock on 5, which it keeps until it ends. Serves until
 * the machine has ended.
 */
#include "monitor/internal.h"

#include "base/fd.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A description holds at most a process's arguments and environment, and some paths. */
#define DESCRIPTION_MAX (4u << 20)

static int read_description(struct wire_machine *spec, struct pv_error *err)
{
    pv_auto_free char *text = malloc(DESCRIPTION_MAX + 1);
    if (!text)
        return pv_error_set(err, ENOMEM, "description: out of memory");
    ssize_t len = pv_fd_read_full(MONITOR_SPEC_FD, text, DESCRIPTION_MAX + 1);
    if (len < 0)
        return pv_error_set(err, (int)-len,
                            "description: descriptor %d: %s (the monitor is started by `paravane "
                            "run`)",
                            MONITOR_SPEC_FD, strerror((int)-len));
    if (len > (ssize_t)DESCRIPTION_MAX)
        return pv_error_set(err, EFBIG, "description: larger than %u bytes", DESCRIPTION_MAX);
    close(MONITOR_SPEC_FD);

    pv_auto(pv_json) struct pv_json *json = NULL;
    int rc = pv_json_parse(text, (size_t)len, &json, err);
    if (rc == 0)
        rc = wire_machine_read(json, spec, err);
    return rc < 0 ? pv_error_prefix(err, "description") : 0;
}

/* One line on the ready pipe, as isolation/paravirt.c expects it. False: nobody is there any more
 * who could read it. */
static bool say_ready(const char *line)
{
    int rc = pv_fd_write_full(MONITOR_READY_FD, line, strlen(line));
    close(MONITOR_READY_FD);
    return rc == 0;
}

static int refuse(const struct pv_error *err)
{
    char line[PV_ERROR_TEXT_MAX + 64];
    snprintf(line, sizeof(line), "error %d %s\n", err->code, err->text);
    pv_log(PV_LOG_ERROR, "%s", err->text);
    say_ready(line);
    return 125;
}

static void on_terminate(void *data, const siginfo_t *info)
{
    struct monitor *m = data;
    monitor_life_stop(m, SIGTERM, 10000);
}

static int init(struct monitor *m, struct pv_error *err)
{
    m->loop = pv_loop_new();
    if (!m->loop || !pv_loop_add_signal(m->loop, SIGTERM, on_terminate, m) ||
        !pv_loop_add_signal(m->loop, SIGINT, on_terminate, m))
        return pv_error_set(err, errno, "event loop: %s", strerror(errno));
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is an error of write(2) for us */
    return 0;
}

int main(void)
{
    static struct monitor m = {
        .state_dirfd = -1, .control_fd = -1, .starter_pidfd = -1, .exit_code = -1};
    struct pv_error err = PV_ERROR_INIT;
    pv_log_init("paravane-monitor");
    umask(077);
    pv_fd_set_cloexec(MONITOR_SPEC_FD, true);
    pv_fd_set_cloexec(MONITOR_READY_FD, true);
    pv_fd_set_cloexec(MONITOR_LOCK_FD, true);

    int rc = read_description(&m.spec, &err);
    if (rc == 0)
        rc = init(&m, &err);
    if (rc == 0)
        rc = monitor_build(&m, &err);
    if (rc < 0) {
        int code = refuse(&err);
        monitor_destroy(&m);
        return code;
    }
    if (!say_ready("ok\n"))
        monitor_starter_lost(&m);
    rc = pv_loop_run(m.loop);
    monitor_destroy(&m);
    pv_loop_free(m.loop);
    return rc < 0 ? 125 : 0;
}
