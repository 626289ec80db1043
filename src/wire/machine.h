/* SPDX-License-Identifier: Apache-2.0
 *
 * machine.h: the description of one machine that the monitor reads, once, from descriptor 3.
 *
 * Whoever starts a monitor writes it (isolation/paravirt.c), the monitor validates every field
 * again. All paths are absolute; the monitor opens them before its jail closes.
 */
#ifndef WIRE_MACHINE_H
#define WIRE_MACHINE_H

#include "base/rate.h"
#include "wire/session.h"
#include "wire/setup.h"
#include "wire/volume.h"

#define WIRE_MACHINE_DISKS_MAX 16
#define WIRE_MACHINE_CPUS_MAX 8
#define WIRE_MACHINE_CPU_MILLI_MIN 10u
#define WIRE_MACHINE_MEMORY_MIN (64ull << 20)
#define WIRE_MACHINE_MEMORY_MAX (1ull << 40)
#define WIRE_MACHINE_PORTS_MAX 1024
#define WIRE_MACHINE_GRANTS_MAX 1024
#define WIRE_MACHINE_GRANT_TEXT_MAX 300
#define WIRE_MACHINE_CMDLINE_MAX 2048
#define WIRE_MACHINE_LOG_MIN (64ull << 10)
#define WIRE_MACHINE_LOG_DEFAULT (64ull << 20)

struct wire_disk {
    char *path;
    bool read_only;
    char *serial; /* at most 20 bytes, VIRTIO_BLK_ID_BYTES; NULL: none */
    char *format; /* "raw", "qcow2", "vhost-user": then path is a socket; NULL: raw */
    struct pv_rate_limit bytes, operations;
};

/* A network card and what carries its frames. */
struct wire_net {
    char *backend;                      /* a name of net/table.c: "user", "tap"; or "none" */
    char *mac;                          /* of the card */
    struct pv_strv addresses, gateways; /* of the guest: as in wire_setup_net */
    struct pv_strv dns;                 /* where the guest asks for names, on this network */
    struct pv_strv ports;               /* workload_port_parse reads them */
    char *bridge;                       /* tap: to be added to; NULL: none */
    /* A private network, for which the backend is the way out: its folder and subnets, and the
     * machine's number on it. NULL: none. */
    char *folder, *subnet, *subnet6;
    uint32_t number;
};

/* The same for each direction. */
struct wire_net_rate {
    struct pv_rate_limit bytes, frames;
};

struct wire_machine {
    char *id;                  /* 64 lower-case hex digits */
    char *name;                /* pv_str_is_name */
    char *state_dir, *run_dir; /* existing directories of this instance */
    char *kernel, *initramfs;  /* files */
    uint64_t memory_bytes;     /* 64 MiB .. 1 TiB, whole MiB */
    uint64_t memory_max_bytes; /* what it can be given while it runs: whole MiB, >= memory_bytes;
                                  written as 0 it is read as memory_bytes */
    uint32_t cpus;             /* 1 .. WIRE_MACHINE_CPUS_MAX */
    uint32_t cpu_milli;        /* share of CPU time in thousandths of a CPU, 10 .. 1000 * cpus;
                                  written as 0 it is read as 1000 * cpus: no further limit */
    struct pv_strv host_cpus;  /* decimal numbers, as many as cpus, or empty: not pinned */
    struct wire_disk disks[WIRE_MACHINE_DISKS_MAX]; /* vda, vdb, ... */
    uint32_t num_disks;
    struct wire_net nets[WIRE_SETUP_NETS_MAX]; /* eth0, eth1, ... */
    uint32_t num_nets;
    struct pv_strv nameservers; /* whom our DNS asks; empty: those of the host */
    struct pv_strv grants;      /* workload_grant_parse reads them, or "none"; empty: no grants */
    struct wire_net_rate net_rate;
    struct wire_volumes volumes;
    struct wire_setup setup;
    struct wire_process process; /* the main process */
    bool wait_attach;       /* start the main process only when a primary client has attached */
    bool strict_protection; /* programs of the guest are kept from its kernel; cpus is 1 then */
    bool stdin_open;        /* the main process's stdin stays open for clients (-i); else EOF */
    /* Size limit of the log: it is rotated once, at half of it. At least WIRE_MACHINE_LOG_MIN;
     * written as 0 it is read as WIRE_MACHINE_LOG_DEFAULT. */
    uint64_t log_bytes_max;
    uint32_t uid, gid;        /* whom the jail becomes when started as root; else ignored */
    char *extra_cmdline;      /* appended to the guest kernel's command line; NULL: nothing */
    char *cgroup;             /* cgroup path hints chosen by the starter; NULL: none */
    uint32_t guest_log_level; /* kernel loglevel, up to 8; 0: quiet */
};

void wire_machine_done(struct wire_machine *m);
/* The rates of a disk: "bps", "bps_burst", "iops", "iops_burst". What is missing stays. */
int wire_disk_read_rate(const struct pv_json *json, struct wire_disk *disk, struct pv_error *err);
int wire_disk_add_rate(struct pv_json *json, const struct wire_disk *disk); /* 0 or -ENOMEM */
/* The rates of the network: "bps", "bps_burst", "pps", "pps_burst". What is missing stays. */
int wire_machine_read_net_rate(const struct pv_json *json, struct wire_net_rate *rate,
                               struct pv_error *err);
int wire_machine_add_net_rate(struct pv_json *json, const struct wire_net_rate *rate);
/* Reads and validates; unknown keys are refused by name. On failure *m is left done. */
int wire_machine_read(const struct pv_json *json, struct wire_machine *m, struct pv_error *err);
/* The machine as JSON, with keys named as the fields; the caller frees. NULL when out of memory.
 * Nothing is validated: the reader does. */
struct pv_json *wire_machine_write(const struct wire_machine *m);

#endif
