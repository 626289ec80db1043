/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h: the one machine of this process, as the files of this folder share it.
 *
 * Everything runs on the one event loop; disk workers speak with it through their descriptors.
 */
#ifndef MONITOR_INTERNAL_H
#define MONITOR_INTERNAL_H

#include "base/loop.h"
#include "disk/disk.h"
#include "engine/engine.h"
#include "fs/fs.h"
#include "jail/cgroup.h"
#include "jail/filter.h"
#include "jail/walls.h"
#include "memory/memory.h"
#include "monitor/console.h"
#include "monitor/log.h"
#include "net/link.h"
#include "virtio/device.h"
#include "wire/machine.h"
#include "wire/stream.h"
#include "workload/grant.h"

#include <stdbool.h>

struct virtio_balloon_stats;

#define MONITOR_SPEC_FD 3
#define MONITOR_READY_FD 4
#define MONITOR_LOCK_FD 5
/* In the run directory, which is the current directory. */
#define MONITOR_CONTROL_SOCKET "control.sock"
#define MONITOR_VSOCK_SOCKET "vsock.sock"

#define MONITOR_DEVICES_MAX (WIRE_MACHINE_DISKS_MAX + WIRE_SETUP_NETS_MAX + WIRE_VOLUMES_MAX + 5)
#define MONITOR_CLIENTS_MAX 64

/* The life of a machine. It only moves forward. */
enum monitor_phase {
    MONITOR_BOOTING,  /* the guest kernel starts; the agent has not spoken yet */
    MONITOR_SETUP,    /* the agent prepares the root */
    MONITOR_READY,    /* the root is there; the main process waits for its primary client */
    MONITOR_RUNNING,  /* the main process was asked for */
    MONITOR_STOPPING, /* the main process ended: the machine powers off */
    MONITOR_ENDED,    /* the guest kernel is gone */
};

struct monitor_audit;
struct monitor_client;
struct virtio_vhost_user;

/* A device of the machine and what belongs to it. */
struct monitor_device {
    char name[16]; /* "blk0" */
    uint16_t virtio_id;
    struct virtio_device *device; /* NULL, like the transport: another program serves it */
    struct virtio_vhost_user *transport;
    struct disk *disk;                /* only blk */
    const struct wire_disk *spec;     /* only blk; in the description */
    uint64_t error_ns;                /* when the log last told of the host's error; 0: never */
    struct net_link *link;            /* only net: what stands below the card */
    struct net_link *switch_link;     /* only net on a private network: one of those; borrowed */
    const struct wire_net *net;       /* only net; in the description */
    struct net_link *fence;           /* only net: one of these links; borrowed */
    struct fs *fs;                    /* only fs */
    const struct wire_volume *volume; /* only fs; in the description */
    int folder_fd;                    /* only fs */
    struct monitor *m;
};

struct monitor {
    struct pv_loop *loop;
    struct wire_machine spec;
    int state_dirfd;

    struct memory *memory;
    struct monitor_device devices[MONITOR_DEVICES_MAX]; /* in the guest's order */
    size_t num_devices;
    struct virtio_device *vsock;         /* one of them; borrowed */
    struct virtio_device *balloon, *mem; /* likewise; mem: NULL when the machine cannot grow */
    struct engine *engine;
    struct jail_cgroup *cgroup;
    struct jail_walls monitor_walls, limit_walls; /* the guest's are the engine's */
    bool started_as_root;

    struct workload_grants grants;
    struct monitor_audit *audit;
    uint64_t vsock_denied; /* ports of the host that are not granted */
    bool host_loopback;    /* the backends lead to the host's loopback, when that is granted */

    struct monitor_log *log;
    struct monitor_console *console;

    enum monitor_phase phase;
    bool guest_gone;
    int exit_code;      /* of the main process; -1 while unknown */
    char failure[2048]; /* why the machine failed; empty while it did not */
    bool oom_killed;
    char oom_text[256];
    uint64_t started_ns, finished_ns; /* CLOCK_REALTIME */
    uint64_t begin_ns, agent_ns;      /* CLOCK_MONOTONIC: our start, the agent's first word */
    pid_t pid;                        /* ours, as the host knows it */
    uint64_t pid_start_time, guest_start_time; /* clock ticks, see state.c */
    struct pv_strv cgroup_paths;

    /* agent.c */
    struct wire_stream *setup;
    struct pv_loop_source *boot_timer;

    /* workload.c: the main process */
    struct wire_stream *session;
    bool started; /* SESSION_STARTED came: it can get signals */
    int pending_signal;
    char start_failure[512]; /* why the main process did not start: the workload's fault */
    bool session_paused;
    struct pv_bytes early; /* what the client typed before the session was there */
    bool early_eof;
    uint8_t early_size[4]; /* its window, as WIRE_SESSION_RESIZE has it */
    bool has_early_size;
    struct pv_loop_source *lost_timer; /* the session is lost: did the guest end, too? */
    struct pv_loop_source
        *stop_timer; /* grace after STOP, then after SIGKILL, then after power-off*/
    enum { STOP_NONE, STOP_TERM, STOP_KILL, STOP_POWER } stop_step;

    /* starter.c */
    int starter_pidfd; /* the process that started us, until its client is attached; -1: none */
    struct pv_loop_source *starter_source;

    /* control.c */
    int control_fd;
    struct pv_loop_source *control_source;
    struct pv_loop_source *last_words_timer;
    struct monitor_client *clients[MONITOR_CLIENTS_MAX];
    bool primary_attached, stdin_taken;

    /* stats.c */
    struct pv_loop_source *stats_timer;
    enum { STATS_IDLE, STATS_ASKED, STATS_ASKED_KERNEL } stats_step;
    struct monitor_client *stats_clients[MONITOR_CLIENTS_MAX]; /* who wait for the guest's answer */

    /* memory.c: the change of size that is under way */
    struct {
        uint64_t boot;   /* what the machine started with */
        uint64_t target; /* 0: none is under way */
        uint64_t from;
        uint64_t goal;     /* what is aimed at now: the target, or a step on the way down to it */
        uint64_t held;     /* what it came to the last time; 0: never changed */
        uint64_t moved_ns; /* when something happened last */
        enum monitor_resize_step {
            RESIZE_NONE,
            RESIZE_ASKED, /* the agent, for the next step */
            RESIZE_ASKED_KERNEL,
            RESIZE_PAUSE, /* before it is asked again */
            RESIZE_MOVING,
            RESIZE_RETURNING, /* it failed with `err`, and the machine gets back what it had */
        } step;
        unsigned answers_due; /* of the agent */
        unsigned asks;        /* in vain */
        bool fits;            /* what is in use, into the target */
        bool squeeze;         /* what cannot be unplugged goes into the balloon */
        struct pv_error err;
        struct pv_loop_source *timer;
    } resize;

    /* memory_watch.c: does it keep to what it has? */
    struct {
        unsigned times; /* in a row that it did not */
        bool noted;
        struct pv_loop_source *timer;
    } watch;

    /* cpu.c: the change of CPU time that is under way */
    struct {
        bool asked; /* the agent */
        uint32_t before;
        struct pv_loop_source *timer;
    } cpu;

    /* update.c: one at a time */
    struct {
        struct monitor_client *client; /* who asked; NULL: has gone meanwhile */
        struct pv_json *reply;         /* not NULL while an update is under way */
        unsigned waits;                /* for so many changes */
        int rc;                        /* of the first that failed */
        struct pv_error err;
    } update;
};

/* devices.c: makes all devices that the description names, each with its transport. Fills
 * guest_ends (owned by the caller, as many as m->num_devices) for the engine. */
int monitor_devices_make(struct monitor *m, int guest_ends[MONITOR_DEVICES_MAX],
                         struct pv_error *err);
/* Starts the disks' workers: inside the jail, which needs a single thread before. */
int monitor_devices_start(struct monitor *m, struct pv_error *err);
/* Whether the log may tell of an error of the host: a full one refuses thousands of requests. */
bool monitor_devices_may_tell(struct monitor_device *d);
void monitor_devices_free(struct monitor *m);

struct jail_bind;
/* net.c: makes a network card and all that it stands on. Ports of the host are taken here. */
int monitor_net_make(struct monitor *m, struct monitor_device *d, uint32_t index,
                     struct pv_error *err);
/* Finds out whom the guest may ask for names, from the host's files: before the jail. */
int monitor_net_resolve(struct monitor *m, struct pv_error *err);
/* The folders of the cards' networks that stay reachable in the jail (WIRE_SETUP_NETS_MAX at most,
 * filled; how many), and where they are then. */
unsigned monitor_net_bind(const struct monitor *m, struct jail_bind *binds);
int monitor_net_start(struct monitor *m, struct pv_error *err);
/* Whether a backend makes sockets of the host while it serves. */
bool monitor_net_needs_host(const struct monitor *m);
/* Allows the backends' system calls. */
int monitor_net_allow(const struct monitor *m, struct jail_filter *filter, struct pv_error *err);
/* volumes.c: shared folders. */
struct jail_bind;
int monitor_volumes_make(struct monitor *m, struct monitor_device *d, uint32_t index,
                         struct pv_error *err);
/* What of the jail they need: binds (WIRE_VOLUMES_MAX at most, filled; how many), capabilities,
 * descriptors (0: no more than others). */
unsigned monitor_volumes_bind(const struct monitor *m, struct jail_bind *binds);
uint64_t monitor_volumes_capabilities(const struct monitor *m);
uint64_t monitor_volumes_files(const struct monitor *m);
/* Inside the jail: begins to serve, with threads. */
extern const struct virtio_syscall monitor_volumes_syscalls[];
int monitor_volumes_start(struct monitor *m, struct pv_error *err);
/* False: a thread hangs in a folder; then nothing of it may be freed, nor the guest's memory. */
bool monitor_volumes_stop(struct monitor_device *d);
void monitor_volumes_free(struct monitor_device *d);

/* grants.c: what the machine may reach. */
int monitor_grants_read(struct monitor *m, struct pv_error *err);
void monitor_grants_done(struct monitor *m);
/* Whether a grant says host-loopback. */
bool monitor_grants_have_loopback(const struct monitor *m);
/* Whether the guest may connect to the host's port; a refusal is noted. */
bool monitor_grants_may_vsock(struct monitor *m, uint32_t port);
/* Puts a fence on the card's link; the fence is then the card's. On failure it has none. */
int monitor_grants_fence(struct monitor *m, struct monitor_device *d, const uint8_t mac[6],
                         struct pv_error *err);
/* Adds "fence": grants, denials by rule and protocol, counters by card. */
int monitor_grants_add_json(struct pv_json *o, const struct monitor *m);
/* Changes of a running machine: see update.c. */
int monitor_grants_check(struct monitor *m, const struct pv_json *request, struct pv_error *err);
int monitor_grants_make(struct monitor *m, const struct pv_json *request, struct pv_json *reply,
                        struct pv_error *err);
int monitor_grants_make_revoke(struct monitor *m, const struct pv_json *request,
                               struct pv_json *reply, struct pv_error *err);
int monitor_grants_check_rate(struct monitor *m, const struct pv_json *request,
                              struct pv_error *err);
int monitor_grants_make_rate(struct monitor *m, const struct pv_json *request,
                             struct pv_json *reply, struct pv_error *err);

/* build.c: opens, creates and starts everything that the description names, and ends inside the
 * jail. On failure the process has to end; nothing outside it stays. */
int monitor_build(struct monitor *m, struct pv_error *err);
/* Frees what monitor_build made, also half of it. */
void monitor_destroy(struct monitor *m);

/* jail.c */
int monitor_jail_enter(struct monitor *m, struct pv_error *err);

/* state.c: writes state.json as things are now. Failures are logged. */
void monitor_state_write(struct monitor *m);
/* Keeps some space of the disk for the last state, and gives it up again. */
void monitor_state_reserve(struct monitor *m);
void monitor_state_release(struct monitor *m);
/* The same as JSON; the caller frees. NULL when out of memory. */
struct pv_json *monitor_state_json(const struct monitor *m);

/* life.c */
int monitor_life_init(struct monitor *m, struct pv_error *err);
/* The machine cannot go on: notes why (the first reason stays) and ends the guest at once. */
void monitor_life_fail(struct monitor *m, const char *fmt, ...) PV_PRINTF(2, 3);
/* The main process ended with this code: power off. */
void monitor_life_main_ended(struct monitor *m, int exit_code);
/* The guest kernel process ended (status as waitpid gives it). */
void monitor_life_guest_ended(void *data, int status);
/* Orderly stop: signo to the main process, SIGKILL after grace_ms, then power-off. */
void monitor_life_stop(struct monitor *m, int signo, uint32_t grace_ms);
/* The end, at once. */
void monitor_life_kill(struct monitor *m);

/* agent.c: the set-up connection. */
int monitor_agent_listen(struct monitor *m, struct pv_error *err);
void monitor_agent_shutdown(struct monitor *m, uint32_t grace_ms);
/* The machine has another amount of memory: tells the agent, if there is one. */
void monitor_agent_resized(struct monitor *m);
/* The workload may use so many thousandths of a CPU (0: any); monitor_cpu_answered gets the answer.
 * -ENOTCONN without an agent. */
int monitor_agent_limit_cpu(struct monitor *m, uint32_t milli);
/* Asks for guest statistics; monitor_stats_arrived gets the answer. -ENOTCONN without an agent. */
int monitor_agent_ask_stats(struct monitor *m);
/* So many bytes should be free in the guest; monitor_memory_told gets the answer, which is one to
 * each question. -ENOTCONN without an agent. */
int monitor_agent_reclaim(struct monitor *m, uint64_t bytes);

/* starter.c: until the primary client is attached, the machine ends with the process that started
 * it; from then on with the client (control.c). */
int monitor_starter_watch(struct monitor *m, struct pv_error *err);
void monitor_starter_forget(struct monitor *m);
/* It is dead: ends the machine. */
void monitor_starter_lost(struct monitor *m);

/* workload.c: the main process's session. */
int monitor_workload_init(struct monitor *m, struct pv_error *err);
void monitor_workload_start(struct monitor *m);
void monitor_workload_signal(struct monitor *m, int signo);
int monitor_workload_stdin(struct monitor *m, const void *bytes, size_t len);
void monitor_workload_stdin_eof(struct monitor *m);
void monitor_workload_resize(struct monitor *m, const void *payload, size_t len);
/* Some client can take output again. */
void monitor_workload_resume(struct monitor *m);

/* control.c */
int monitor_control_listen(struct monitor *m, struct pv_error *err);
/* Sends a session frame to all attached clients; true when one of them is full. */
bool monitor_control_broadcast(struct monitor *m, uint16_t type, const void *payload, size_t len);
bool monitor_control_any_full(const struct monitor *m);
/* Passes the agent's credit for stdin on to the client that has it. */
void monitor_control_credit(struct monitor *m, uint32_t bytes);
/* The machine has ended: tells everybody and stops the loop when they have read it. */
void monitor_control_ended(struct monitor *m);
/* Frees all clients. */
void monitor_control_close(struct monitor *m);

/* limits.c: the host's control groups, from what the description says now. */
int monitor_limits_make(struct monitor *m, struct pv_error *err);
int monitor_limits_update(struct monitor *m, struct pv_error *err);

/* cpu.c: CPU time. After monitor_limits_make: what the agent is told at boot. */
void monitor_cpu_init(struct monitor *m);
int monitor_cpu_check(struct monitor *m, const struct pv_json *request, struct pv_error *err);
int monitor_cpu_make(struct monitor *m, const struct pv_json *request, struct pv_json *reply,
                     struct pv_error *err);
/* The agent has done what it was asked for: rc 0 or -errno. Guest input. */
void monitor_cpu_answered(struct monitor *m, uint32_t milli, int rc);
/* Adds "cpu_limit": how much, and who keeps it. */
int monitor_cpu_add_json(struct pv_json *o, const struct monitor *m);

/* memory.c: how much memory the machine has. */
int monitor_memory_make(struct monitor *m, struct pv_error *err);
/* Behind the last byte of the region that memory can be plugged into, and its first one. */
void monitor_memory_region(const struct monitor *m, uint64_t *ret_start, uint64_t *ret_size);
/* Checks, and begins to change: 1 when it is under way (monitor_update_done tells the end). */
int monitor_memory_check(struct monitor *m, uint64_t bytes, struct pv_error *err);
int monitor_memory_change(struct monitor *m, uint64_t bytes, struct pv_error *err);
/* A device has given or taken memory. */
void monitor_memory_moved(void *monitor);
/* Whatever is under way goes on to `goal`; or back to what the machine had, and fails with
 * resize.err. */
void monitor_memory_step(struct monitor *m, uint64_t goal);
void monitor_memory_return(struct monitor *m);
/* How much would be unplugged of what is plugged now, for the machine to have so many bytes. */
uint64_t monitor_memory_unplugs(const struct monitor *m, uint64_t bytes);
/* What the machine has now, and bytes that it does without (of all that was given back). */
uint64_t monitor_memory_given(const struct monitor *m);
uint64_t monitor_memory_returned(const struct monitor *m);

/* memory_shrink.c: the next step down to resize.target. */
void monitor_memory_shrink(struct monitor *m);
/* The guest's numbers: of its agent, or of its kernel. Guest input. */
void monitor_memory_told(struct monitor *m, const struct wire_setup_memory *now);
void monitor_memory_kernel_told(struct monitor *m, const struct virtio_balloon_stats *stats);
/* The timer of a question or a pause went off; nothing moves; nothing will move any more. */
void monitor_memory_waited(struct monitor *m);
void monitor_memory_stalled(struct monitor *m);
void monitor_memory_stopped(struct monitor *m);

/* memory_watch.c: looks from now on whether the machine keeps to what it has, if it ever had more.
 */
void monitor_memory_watch(struct monitor *m);

/* update.c: changes of the running machine. Takes the request (JSON, checked here) and answers the
 * client when all is done. */
void monitor_update_request(struct monitor *m, struct monitor_client *client, const uint8_t *json,
                            size_t len);
/* A change that said that it is under way (see update.c) is done, or failed: rc < 0 and err. */
void monitor_update_done(struct monitor *m, int rc, const struct pv_error *err);
/* The answer to the update that is under way, for a change that has more to say; NULL: none is. */
struct pv_json *monitor_update_reply(struct monitor *m);
void monitor_update_forget(struct monitor *m, struct monitor_client *client);

/* disks.c: entries of update.c's table: "disk_rates" and "disk_sizes". */
int monitor_disks_check_rates(struct monitor *m, const struct pv_json *request,
                              struct pv_error *err);
int monitor_disks_make_rates(struct monitor *m, const struct pv_json *request,
                             struct pv_json *reply, struct pv_error *err);
int monitor_disks_check_sizes(struct monitor *m, const struct pv_json *request,
                              struct pv_error *err);
int monitor_disks_make_sizes(struct monitor *m, const struct pv_json *request,
                             struct pv_json *reply, struct pv_error *err);

/* stats.c */
/* Answers the client with counters, and with the guest's own statistics as soon as it tells them.
 */
void monitor_stats_request(struct monitor *m, struct monitor_client *client);
void monitor_stats_arrived(struct monitor *m, const uint8_t *json, size_t len);
/* The guest kernel's own numbers, where the agent tells none (balloon.h). */
void monitor_stats_kernel_told(struct monitor *m, const struct virtio_balloon_stats *stats);
void monitor_stats_forget(struct monitor *m, struct monitor_client *client);
/* control.c: answers a request. */
void monitor_control_reply_json(struct monitor_client *client, const struct pv_json *json);
void monitor_control_reply_error(struct monitor_client *client, int code, const char *text);

#endif
