/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: the agent, PID 1 of a machine: the order of its boot, and what it does on each event.
 * Runs as: /init of the initramfs, root, one thread, one loop.
 * Trust:   the monitor is trusted with everything (it holds the machine's memory and disks). The
 *          workload is not trusted with the agent's life: nothing that it can mount, delete, fill
 *          or exhaust may end or block the agent.
 *
 * Boot: connect with the monitor and say hello; mount what the kernel offers while the answer is
 * under way; get the set-up; enter the workload's root; listen for sessions; say ready.
 */
#include "agent/cgroup.h"
#include "agent/log.h"
#include "agent/mounts.h"
#include "agent/net.h"
#include "agent/oom.h"
#include "agent/power.h"
#include "agent/pressure.h"
#include "agent/reclaim.h"
#include "agent/root.h"
#include "agent/session.h"
#include "agent/setup.h"
#include "agent/stats.h"
#include "agent/vsock.h"
#include "wire/session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_MS 60000 /* as long as the monitor waits */
/* After SETUP_FAILED the monitor ends the machine; should it not, the machine ends itself. */
#define FAILED_NS (2000ull * 1000000)
#define OWN_SHUTDOWN_MS 10000 /* `poweroff` in the machine; as Docker's stop */
#define DESCRIPTORS_MAX 65536 /* a session takes up to eight */

struct machine {
    struct pv_loop *loop;
    struct agent_world world;
    struct agent_setup *setup;
    struct agent_reaper *reaper;
    struct agent_sessions *sessions;
    struct agent_power power;
    struct pv_loop_source *failed_timer;
    char *hostname;
    int layer_fd;
    bool discard_layer, entered;
};

static void on_failed_timeout(void *data)
{
    agent_power_off();
}

/* The machine cannot work: say why, wait for the monitor to take note, power off. */
static void fail(struct machine *m, const char *text)
{
    agent_log_error("%s", text);
    if (!m->setup)
        agent_power_off();
    agent_setup_failed(m->setup, text);
    m->failed_timer = pv_loop_add_timer(m->loop, on_failed_timeout, m);
    if (!m->failed_timer)
        agent_power_off();
    pv_loop_arm(m->failed_timer, FAILED_NS);
}

static void fail_errno(struct machine *m, const char *what, int code)
{
    char text[256];
    snprintf(text, sizeof(text), "%s: %s", what, strerror(code));
    fail(m, text);
}

static void on_connection(void *data, int fd, uint32_t events)
{
    struct machine *m = data;
    int connection = agent_vsock_accept(fd);
    if (connection >= 0)
        agent_session_accept(m->sessions, connection);
}

static int listen_for_sessions(struct machine *m, struct pv_error *err)
{
    int fd;
    int rc = agent_vsock_listen(WIRE_AGENT_PORT, &fd, err);
    if (rc < 0)
        return rc;
    m->sessions = agent_session_new(m->loop, m->reaper, &m->world);
    if (!m->sessions || !pv_loop_add_fd(m->loop, fd, EPOLLIN, on_connection, m))
        return pv_error_set(err, errno, "serve sessions: %s", strerror(errno));
    return 0;
}

static void on_machine(void *data, const struct wire_setup *setup)
{
    struct machine *m = data;
    struct pv_error err = PV_ERROR_INIT;
    if (m->failed_timer)
        return; /* the kernel's file systems were not to be had */
    m->discard_layer = setup->discard_layer || !setup->layer_device;
    m->hostname = strdup(setup->hostname);
    m->world.hostname = m->hostname;
    if (sethostname(setup->hostname, strlen(setup->hostname)) < 0)
        agent_log_note("set the host name: %s", strerror(errno));
    int rc = setup->cpu_milli ? agent_cgroup_set_cpu(setup->cpu_milli) : 0;
    if (rc < 0) {
        fail_errno(m, "limit the workload's CPU time", -rc);
        return;
    }
    rc = agent_root_enter(setup, &m->layer_fd, &err);
    if (rc == 0)
        rc = agent_net_configure(setup, &err);
    if (rc == 0)
        rc = listen_for_sessions(m, &err);
    if (rc < 0) {
        fail(m, err.text);
        return;
    }
    m->entered = true;
    agent_setup_ready(m->setup);
}

static void on_refused(void *data, const char *text)
{
    fail(data, text);
}

static void on_shutdown(void *data, uint32_t grace_ms)
{
    struct machine *m = data;
    agent_oom_look();
    if (m->sessions)
        agent_session_refuse(m->sessions);
    agent_power_shutdown(&m->power, grace_ms, m->sessions && agent_session_count(m->sessions));
}

/* Nothing runs any more. */
static void on_quiet(void *data)
{
    struct machine *m = data;
    agent_oom_look();
    if (m->entered && m->discard_layer)
        agent_root_discard(m->layer_fd);
    else if (m->entered)
        agent_root_close(m->world.proc_fd, m->layer_fd);
}

static void on_stats(void *data, const char *text, size_t len)
{
    struct machine *m = data;
    if (text)
        agent_setup_stats(m->setup, text, len);
    else
        agent_setup_stats(m->setup, "{}", 2);
}

static void on_get_stats(void *data)
{
    struct machine *m = data;
    int rc = agent_stats_request(m->loop, m->world.proc_fd, on_stats, m);
    if (rc < 0 && rc != -EBUSY)
        agent_setup_stats(m->setup, "{}", 2);
}

static void on_reclaimed(void *data, const struct agent_reclaim_numbers *now)
{
    struct machine *m = data;
    const struct wire_setup_memory memory = {now->total, now->free, now->available};
    agent_setup_memory(m->setup, &memory);
}

static void on_reclaim(void *data, uint64_t bytes)
{
    struct machine *m = data;
    agent_reclaim_request(m->loop, bytes, on_reclaimed, m);
}

static void on_resized(void *data)
{
    agent_cgroup_adapt();
}

static void on_cpu(void *data, uint32_t milli)
{
    struct machine *m = data;
    agent_setup_cpu_set(m->setup, milli, agent_cgroup_set_cpu(milli));
}

/* Without its monitor a machine has no disks and nobody to serve. */
static void on_lost(void *data, int error)
{
    agent_log_error("the monitor is gone: %s", error ? strerror(-error) : "connection closed");
    agent_power_off();
}

static void on_oom_kill(void *data, const char *name)
{
    struct machine *m = data;
    agent_setup_oom(m->setup, name);
}

/* What init programs of others ask of PID 1: `poweroff`, `halt`, `reboot`, Ctrl-Alt-Del. */
static void on_power_signal(void *data, const siginfo_t *info)
{
    agent_log_note("signal %d: power off", info->si_signo);
    on_shutdown(data, OWN_SHUTDOWN_MS);
}

static int watch_signals(struct machine *m)
{
    const int signals[] = {SIGTERM, SIGINT,       SIGPWR,       SIGUSR1,
                           SIGUSR2, SIGRTMIN + 3, SIGRTMIN + 4, SIGRTMIN + 5};
    for (size_t i = 0; i < PV_ARRAY_SIZE(signals); i++)
        if (!pv_loop_add_signal(m->loop, signals[i], on_power_signal, m))
            return -errno;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    reboot(RB_DISABLE_CAD); /* as a signal to us, not as a reset */
    return 0;
}

/* Descriptors 0, 1, 2 are the console, or at least something: others must not get their numbers. */
static void open_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/console", O_RDWR | O_NOCTTY);
    while (fd >= 0 && fd < 3);
    if (fd >= 0)
        close(fd);
    while (fd < 0 && fcntl(2, F_GETFD) < 0) {
        int fds[2]; /* no device at all: any descriptor will do */
        if (pipe(fds) < 0)
            break;
    }
}

static int prepare(struct machine *m)
{
    struct rlimit limit = {DESCRIPTORS_MAX, DESCRIPTORS_MAX};
    setrlimit(RLIMIT_NOFILE, &limit);
    m->loop = pv_loop_new();
    m->reaper = m->loop ? agent_reap_new(m->loop) : NULL;
    if (!m->reaper)
        return -errno;
    int rc = agent_power_init(&m->power, m->loop, m->reaper, on_quiet, m);
    return rc < 0 ? rc : watch_signals(m);
}

/* Hello goes out first: its answer takes a while, in which the mounts are made. */
static void boot(struct machine *m)
{
    static const struct agent_setup_events events = {
        on_machine, on_refused, on_shutdown, on_get_stats, on_reclaim, on_resized, on_cpu, on_lost};
    struct pv_error err = PV_ERROR_INIT;
    int rc = prepare(m), fd;
    if (rc < 0) {
        fail_errno(m, "prepare", -rc);
        return;
    }
    if (agent_vsock_connect(WIRE_SETUP_PORT, CONNECT_TIMEOUT_MS, &fd, &err) < 0) {
        fail(m, err.text);
        return;
    }
    agent_power_guard(fd);
    m->setup = agent_setup_new(m->loop, fd, &events, m);
    if (!m->setup) {
        fail_errno(m, "talk to the monitor", errno);
        return;
    }
    if (agent_mounts_make(&m->world, &err) < 0) {
        fail(m, err.text);
        return;
    }
    rc = agent_cgroup_watch(m->loop);
    if (rc < 0)
        agent_log_note("watch the workload's memory: %s", strerror(-rc));
    rc = agent_reclaim_open(m->world.proc_fd, agent_cgroup_get_reclaim());
    if (rc < 0)
        agent_log_note("watch the machine's memory: %s", strerror(-rc));
    rc = agent_pressure_watch(m->loop, m->world.proc_fd);
    if (rc < 0)
        agent_log_note("watch the pressure on memory: %s", strerror(-rc));
    rc = agent_oom_watch(m->loop, on_oom_kill, m);
    if (rc < 0)
        agent_log_note("watch the kernel log: %s", strerror(-rc));
}

int main(int argc, char **argv)
{
    static struct machine m = {.world = AGENT_WORLD_INIT, .layer_fd = -1};
    if (getpid() != 1) {
        fprintf(stderr, "agent: runs as the first process of a machine only\n");
        return 1;
    }
    agent_log_open();
    agent_power_guard(-1);
    open_standard_descriptors();
    boot(&m);
    int rc = pv_loop_run(m.loop);
    agent_log_error("event loop: %s", strerror(-rc));
    agent_power_off();
}
