/* SPDX-License-Identifier: Apache-2.0
 *
 * life.c: how a machine ends, whoever wants it: the main process, a client, a failure, the guest.
 *
 * Theory of operation: every end goes through monitor_life_guest_ended, which runs when the guest
 * kernel's process is gone and all its console text has been read. Whatever else happens only
 * brings that about: an orderly power-off through the agent, or SIGKILL. A stop has three steps on
 * one timer: the signal and its grace, SIGKILL to the main process, SIGKILL to the guest kernel.
 */
#include "monitor/internal.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS 1000000ull
/* How long a killed main process may take to be reported, and a machine to power off. */
#define KILL_GRACE_MS 2000
#define POWER_OFF_GRACE_MS 15000
/* How long other processes of the machine may go on after SIGTERM once the main one has ended. */
#define OTHERS_GRACE_MS 2000

static void end_guest(struct monitor *m)
{
    if (!m->guest_gone)
        engine_kill(m->engine);
}

void monitor_life_fail(struct monitor *m, const char *fmt, ...)
{
    if (!m->failure[0]) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(m->failure, sizeof(m->failure), fmt, args);
        va_end(args);
    }
    end_guest(m);
}

static void arm_stop(struct monitor *m, uint64_t ms)
{
    pv_loop_arm(m->stop_timer, PV_MAX(ms, (uint64_t)1) * MS);
}

static void power_off(struct monitor *m, uint32_t grace_ms)
{
    m->phase = MONITOR_STOPPING;
    m->stop_step = STOP_POWER;
    arm_stop(m, POWER_OFF_GRACE_MS + grace_ms);
    monitor_agent_shutdown(m, grace_ms);
}

void monitor_life_main_ended(struct monitor *m, int exit_code)
{
    if (m->exit_code < 0)
        m->exit_code = exit_code;
    if (m->phase < MONITOR_STOPPING)
        power_off(m, OTHERS_GRACE_MS);
}

void monitor_life_stop(struct monitor *m, int signo, uint32_t grace_ms)
{
    if (m->phase >= MONITOR_STOPPING)
        return;
    if (m->phase < MONITOR_READY || !m->session) { /* nobody there who could be asked */
        if (m->exit_code < 0)
            m->exit_code = 128 + signo;
        if (m->phase == MONITOR_READY)
            power_off(m, 0);
        else
            end_guest(m);
        return;
    }
    monitor_workload_signal(m, signo);
    m->stop_step = STOP_TERM;
    arm_stop(m, grace_ms);
}

void monitor_life_kill(struct monitor *m)
{
    if (m->exit_code < 0)
        m->exit_code = 128 + SIGKILL;
    end_guest(m);
}

/* The timer of a stop: what was asked for has not happened. */
static void on_stop_timer(void *data)
{
    struct monitor *m = data;
    if (m->stop_step == STOP_TERM) {
        m->stop_step = STOP_KILL;
        monitor_workload_signal(m, SIGKILL);
        arm_stop(m, KILL_GRACE_MS);
        return;
    }
    pv_log(PV_LOG_WARNING, "the machine does not power off: ending its guest kernel");
    monitor_life_kill(m);
}

int monitor_life_init(struct monitor *m, struct pv_error *err)
{
    m->stop_timer = pv_loop_add_timer(m->loop, on_stop_timer, m);
    return m->stop_timer ? 0 : pv_error_set(err, errno, "timer: %s", strerror(errno));
}

/* Why a guest kernel that nobody told to end has ended, with its last words. */
static void explain_guest_end(struct monitor *m, int status)
{
    char tail[1280], how[64], panic[256];
    if (WIFSIGNALED(status))
        snprintf(how, sizeof(how), "killed by signal %d", WTERMSIG(status));
    else
        snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(status));
    size_t len = monitor_console_tail(m->console, 12, tail, sizeof(tail));
    if (!monitor_console_find(m->console, "Kernel panic", panic, sizeof(panic)))
        panic[0] = '\0';

    const char *when = m->phase == MONITOR_BOOTING ? "did not boot" : "ended unexpectedly";
    snprintf(m->failure, sizeof(m->failure), "the guest kernel %s (%s)%s%s%s%s", when, how,
             panic[0] ? ": " : "", panic,
             len ? "; its last console lines:\n" : ", without a word on its console", tail);
}

void monitor_life_guest_ended(void *data, int status)
{
    struct monitor *m = data;
    bool orderly = m->phase == MONITOR_STOPPING && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    m->guest_gone = true;
    if (m->exit_code < 0 && !m->failure[0]) {
        /* A command of the guest may power the machine off itself: that is a normal end. */
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && m->phase >= MONITOR_READY)
            m->exit_code = 0;
        else
            explain_guest_end(m, status);
    } else if (!orderly && !m->failure[0]) {
        pv_log(PV_LOG_INFO, "the guest kernel ended with status 0x%x", (unsigned)status);
    }
    if (m->exit_code < 0)
        m->exit_code = 125;
    m->phase = MONITOR_ENDED;
    m->finished_ns = pv_time_realtime_ns();
    monitor_log_flush(m->log);
    unlink(MONITOR_CONTROL_SOCKET);
    unlink(MONITOR_VSOCK_SOCKET);
    monitor_state_write(m);
    monitor_state_release(m);
    monitor_control_ended(m);
}
