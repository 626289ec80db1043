/* SPDX-License-Identifier: Apache-2.0
 *
 * reap.c: waits for whatever ends: as PID 1 the agent inherits every orphan of the machine.
 */
#include "agent/reap.h"

#include "base/attr.h"

#include <errno.h>
#include <sys/wait.h>

struct agent_reaper {
    struct pv_loop_source *signal;
    struct agent_reap_child *children;
    void (*on_last)(void *data);
    void *on_last_data;
};

static struct agent_reap_child *take_child(struct agent_reaper *r, pid_t pid)
{
    for (struct agent_reap_child **at = &r->children; *at; at = &(*at)->next) {
        struct agent_reap_child *child = *at;
        if (child->pid != pid)
            continue;
        *at = child->next;
        child->next = NULL;
        child->pid = 0; /* the number may belong to another process from now on */
        return child;
    }
    return NULL;
}

static void on_sigchld(void *data, const siginfo_t *info)
{
    struct agent_reaper *r = data;
    pid_t pid;
    int status;

    /* Signals merge: one may stand for many ends. */
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        struct agent_reap_child *child = take_child(r, pid);
        if (child)
            child->on_exit(child->data,
                           WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    }
    if (pid < 0 && errno == ECHILD && r->on_last)
        r->on_last(r->on_last_data);
}

struct agent_reaper *agent_reap_new(struct pv_loop *loop)
{
    struct agent_reaper *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->signal = pv_loop_add_signal(loop, SIGCHLD, on_sigchld, r);
    if (!r->signal) {
        free(r);
        return NULL;
    }
    return r;
}

void agent_reap_free(struct agent_reaper *r)
{
    if (!r)
        return;
    pv_loop_remove(r->signal);
    free(r);
}

void agent_reap_on_last(struct agent_reaper *r, void (*fn)(void *data), void *data)
{
    r->on_last = fn;
    r->on_last_data = data;
}

void agent_reap_watch(struct agent_reaper *r, struct agent_reap_child *child)
{
    child->next = r->children;
    r->children = child;
}

void agent_reap_unwatch(struct agent_reaper *r, struct agent_reap_child *child)
{
    if (child->pid)
        take_child(r, child->pid);
}
