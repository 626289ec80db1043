/* SPDX-License-Identifier: Apache-2.0
 *
 * cpu.c: the machine's share of CPU time, and who keeps it.
 *
 * Theory of operation: a control group of the host holds the whole machine to its share, and no
 * guest gets past that. Where the host gives this user none, the agent asks the guest's kernel to
 * hold the workload to it (cpu.max of its cgroup, inside). That serves a guest that means well; a
 * hostile one, or root in it, can use all its virtual CPUs. So it is always told who keeps it: in
 * the state, in the answer to an update, and by `run` and `start`.
 */
#include "monitor/internal.h"

#include <errno.h>
#include <string.h>

#define ANSWER_NS (5000ull * 1000000) /* of the agent */

#define HOST "host cgroup"
#define GUEST "guest kernel"
#define COUNT "virtual CPUs" /* their number is the limit */

static bool host_keeps(const struct monitor *m)
{
    return jail_walls_stands(&m->limit_walls, JAIL_WALL_LIMIT_CPU);
}

static uint32_t most(const struct monitor *m)
{
    return 1000 * m->spec.cpus;
}

/* What the agent is told: 0 where nothing has to be kept. */
static uint32_t asked_of_guest(const struct monitor *m)
{
    return host_keeps(m) || m->spec.cpu_milli >= most(m) ? 0 : m->spec.cpu_milli;
}

void monitor_cpu_init(struct monitor *m)
{
    m->spec.setup.cpu_milli = asked_of_guest(m);
}

static const char *without(const char *text, const char *beginning)
{
    return pv_str_starts_with(text, beginning) ? text + strlen(beginning) : text;
}

int monitor_cpu_add_json(struct pv_json *o, const struct monitor *m)
{
    const struct jail_wall *wall = jail_walls_find(&m->limit_walls, JAIL_WALL_LIMIT_CPU);
    struct pv_json *limit = pv_json_new_object();
    int rc = limit ? 0 : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_u64(limit, "cpu_milli", m->spec.cpu_milli);
    if (rc == 0)
        rc = pv_json_add_string(limit, "kept_by",
                                host_keeps(m)       ? HOST
                                : asked_of_guest(m) ? GUEST
                                                    : COUNT);
    if (rc == 0 && wall && !host_keeps(m))
        rc = pv_json_add_string(limit, "no_host_cgroup", without(wall->detail, "not set: "));
    if (rc < 0) {
        pv_json_free(limit);
        return rc;
    }
    return pv_json_add(o, "cpu_limit", limit);
}

static int read_change(const struct monitor *m, const struct pv_json *request, uint64_t *ret_milli,
                       struct pv_error *err)
{
    int rc = pv_json_need_u64(request, "cpu_milli", 1, UINT32_MAX, ret_milli, err);
    if (rc < 0)
        return rc;
    if (*ret_milli < WIRE_MACHINE_CPU_MILLI_MIN)
        return pv_error_set(err, ERANGE, "--cpus: 0.01 is the least");
    if (*ret_milli > most(m))
        return pv_error_set(err, ERANGE,
                            "--cpus: this machine was started with %u virtual CPU%s and its kernel "
                            "cannot get more while it runs: stop it first, or run it with "
                            "--cpus-max",
                            m->spec.cpus, m->spec.cpus == 1 ? "" : "s");
    return 0;
}

static int refuse_agent(int rc, struct pv_error *err)
{
    return pv_error_set(err, -rc,
                        "--cpus: the host gives no CPU control group, and the machine's agent "
                        "cannot be asked: %s: stop it first",
                        strerror(-rc));
}

int monitor_cpu_check(struct monitor *m, const struct pv_json *request, struct pv_error *err)
{
    uint64_t milli;
    int rc = read_change(m, request, &milli, err);
    return rc == 0 && !host_keeps(m) && !m->setup ? refuse_agent(-ENOTCONN, err) : rc;
}

/* The change did not come about. */
static void take_back(struct monitor *m)
{
    m->cpu.asked = false;
    m->spec.cpu_milli = m->cpu.before;
    (void)monitor_limits_update(m, NULL); /* that this works was just the case */
}

static int reply_limit(struct monitor *m, struct pv_json *reply)
{
    int rc = pv_json_add_u64(reply, "cpu_milli", m->spec.cpu_milli);
    return rc == 0 ? monitor_cpu_add_json(reply, m) : rc;
}

static void finish(struct monitor *m, int rc, const struct pv_error *err)
{
    pv_loop_arm(m->cpu.timer, 0);
    m->cpu.asked = false;
    if (rc < 0)
        take_back(m);
    else
        rc = reply_limit(m, monitor_update_reply(m));
    monitor_update_done(m, rc, err);
}

static void on_timeout(void *data)
{
    struct monitor *m = data;
    struct pv_error err = PV_ERROR_INIT;
    int rc = refuse_agent(-ETIMEDOUT, &err);
    finish(m, rc, &err);
    /* Should it do late what it was asked for, it does this next. */
    (void)monitor_agent_limit_cpu(m, asked_of_guest(m));
}

void monitor_cpu_answered(struct monitor *m, uint32_t milli, int rc)
{
    struct pv_error err = PV_ERROR_INIT;
    if (!m->cpu.asked || milli != asked_of_guest(m))
        return; /* too late, or unasked: what a guest says without a question changes nothing */
    if (rc < 0)
        rc = pv_error_set(&err, EOPNOTSUPP,
                          "--cpus: the host gives no CPU control group, and the machine's kernel "
                          "refuses: %s",
                          strerror(-rc));
    finish(m, rc, &err);
}

static int ask_guest(struct monitor *m, struct pv_error *err)
{
    if (!m->cpu.timer)
        m->cpu.timer = pv_loop_add_timer(m->loop, on_timeout, m);
    if (!m->cpu.timer)
        return pv_error_set(err, errno, "--cpus: timer: %s", strerror(errno));
    m->cpu.asked = true;
    int rc = monitor_agent_limit_cpu(m, asked_of_guest(m));
    if (rc < 0)
        return refuse_agent(rc, err);
    pv_loop_arm(m->cpu.timer, ANSWER_NS);
    return 1;
}

int monitor_cpu_make(struct monitor *m, const struct pv_json *request, struct pv_json *reply,
                     struct pv_error *err)
{
    uint64_t milli;
    int rc = read_change(m, request, &milli, err);
    if (rc < 0)
        return rc;
    m->cpu.before = m->spec.cpu_milli;
    m->spec.cpu_milli = (uint32_t)milli;
    rc = monitor_limits_update(m, err);
    if (rc == 0)
        rc = host_keeps(m) ? reply_limit(m, reply) : ask_guest(m, err);
    if (rc < 0)
        take_back(m);
    return rc;
}
