/* SPDX-License-Identifier: Apache-2.0
 *
 * power.c: orderly power-off, sudden power-off, and crashes.
 *
 * The end of PID 1 is a kernel panic. So whatever happens to the agent ends in reboot(2), with a
 * word about it before.
 */
#include "agent/power.h"

#include "agent/log.h"
#include "wire/frame.h"
#include "wire/setup.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

/* What SIGKILL does not end within this time hangs in the kernel. */
#define KILL_NS (2000ull * 1000000)
/* The socket's bytes leave by a kernel thread: it must run before the power goes. */
#define LAST_WORDS_NS (50l * 1000000)
#define LINGER_NS (30ull * 1000000)

_Noreturn void agent_power_off(void)
{
    reboot(RB_POWER_OFF);
    agent_log_raw("<3>agent: the kernel does not power off\n");
    for (;;)
        pause();
}

static void go_quiet(struct agent_power *p)
{
    if (p->on_quiet)
        p->on_quiet(p->data);
    agent_power_off();
}

/* Nothing runs any more. */
static void settle(struct agent_power *p)
{
    if (p->phase == AGENT_POWER_LINGER)
        return;
    if (!p->linger)
        go_quiet(p);
    p->phase = AGENT_POWER_LINGER;
    pv_loop_arm(p->timer, LINGER_NS);
}

static void kill_all(struct agent_power *p)
{
    p->phase = AGENT_POWER_KILL;
    kill(-1, SIGKILL);
    pv_loop_arm(p->timer, KILL_NS);
}

static void on_timer(void *data)
{
    struct agent_power *p = data;
    if (p->phase == AGENT_POWER_TERM)
        kill_all(p);
    else
        go_quiet(p);
}

static void on_last_child(void *data)
{
    struct agent_power *p = data;
    if (p->phase != AGENT_POWER_ON)
        settle(p);
}

static bool has_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

int agent_power_init(struct agent_power *p, struct pv_loop *loop, struct agent_reaper *reaper,
                     void (*on_quiet)(void *data), void *data)
{
    *p = (struct agent_power){.reaper = reaper, .on_quiet = on_quiet, .data = data};
    p->timer = pv_loop_add_timer(loop, on_timer, p);
    if (!p->timer)
        return -errno;
    agent_reap_on_last(reaper, on_last_child, p);
    return 0;
}

void agent_power_shutdown(struct agent_power *p, uint32_t grace_ms, bool linger)
{
    if (p->phase == AGENT_POWER_KILL || p->phase == AGENT_POWER_LINGER)
        return;
    p->linger = linger;
    /* As PID 1 everything that runs is our child, or has an ancestor that is. */
    if (!has_children()) {
        settle(p);
        return;
    }
    if (grace_ms == 0) {
        kill_all(p);
        return;
    }
    if (p->phase == AGENT_POWER_ON) {
        kill(-1, SIGTERM);
        kill(-1, SIGCONT); /* what is stopped must hear it too */
    }
    p->phase = AGENT_POWER_TERM;
    pv_loop_arm(p->timer, grace_ms * 1000000ull);
}

static int guard_fd = -1;
static pid_t guarded;

/* Async-signal-safe throughout. */
static void on_crash(int signo, siginfo_t *info, void *context)
{
    static char text[] = "<2>agent: crashed: signal NN\n";
    if (info->si_code <= 0 && info->si_pid != getpid())
        return;              /* sent by a process of the workload, which has no say in this */
    if (getpid() != guarded) /* a child on its way to the workload's program */
        _exit(128 + signo);
    char *digits = strstr(text, "NN");
    if (digits) {
        digits[0] = (char)('0' + signo / 10);
        digits[1] = (char)('0' + signo % 10);
    }
    agent_log_raw(text);

    size_t len = sizeof(text) - 1 - 4; /* without "<2>" and the newline */
    uint8_t frame[WIRE_FRAME_HEADER + sizeof(text)] = {(uint8_t)len, 0, 0, 0, WIRE_SETUP_FAILED};
    memcpy(frame + WIRE_FRAME_HEADER, text + 3, len);
    if (guard_fd >= 0 &&
        send(guard_fd, frame, WIRE_FRAME_HEADER + len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
        struct timespec wait = {.tv_nsec = LAST_WORDS_NS};
        nanosleep(&wait, NULL);
    }
    agent_power_off();
}

void agent_power_guard(int setup_fd)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS};
    static uint8_t stack[16384]; /* our own may be what overflowed */
    stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = on_crash, .sa_flags = SA_ONSTACK | SA_SIGINFO};

    guard_fd = setup_fd;
    guarded = getpid();
    sigaltstack(&alternative, NULL);
    for (size_t i = 0; i < PV_ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &action, NULL);
}
