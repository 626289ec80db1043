/* SPDX-License-Identifier: Apache-2.0
 *
 * setup.h: what the monitor tells the agent at boot, and what the agent reports.
 *
 * The agent connects to the host's port WIRE_SETUP_PORT as soon as it runs and sends SETUP_HELLO.
 * The monitor answers SETUP_MACHINE (JSON: struct wire_setup). The agent prepares the root and
 * answers SETUP_READY or SETUP_FAILED (and powers off). From then on the agent accepts sessions on
 * its port. The connection stays open: the monitor sends SETUP_SHUTDOWN, the agent sends events.
 */
#ifndef WIRE_SETUP_H
#define WIRE_SETUP_H

#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "wire/volume.h"

#include <stdbool.h>
#include <stdint.h>

enum wire_setup_type {
    /* agent to monitor */
    WIRE_SETUP_HELLO = 64,  /* u32 WIRE_VERSION */
    WIRE_SETUP_READY = 65,  /* empty */
    WIRE_SETUP_FAILED = 66, /* text: object, cause */
    WIRE_SETUP_OOM = 67,    /* text: name of the process that the guest's OOM killer chose */
    /* Answer to SETUP_GET_STATS. JSON {"memory": {"total_bytes", "free_bytes", "available_bytes",
     * "cached_bytes", "swap_total_bytes", "swap_free_bytes"}, "uptime_seconds", "load": "1 5 15
     * minutes", "processes": [{"pid", "ppid", "user", "command", "cpu_ns", "rss_bytes"}]} with at
     * most 512 processes, kernel threads not counted; {} when the guest could not tell in time. */
    WIRE_SETUP_STATS = 68,
    /* Answer to SETUP_CPU. u32 what was asked for, u32 0 or the errno of a kernel that refuses. */
    WIRE_SETUP_CPU_SET = 69,
    /* Answer to SETUP_RECLAIM: three u32 of a struct wire_setup_memory, in KiB. */
    WIRE_SETUP_MEMORY = 70,
    /* monitor to agent */
    WIRE_SETUP_MACHINE = 80,  /* JSON: struct wire_setup */
    WIRE_SETUP_SHUTDOWN = 81, /* u32 milliseconds of grace between SIGTERM and SIGKILL for what
                                 still runs; then sync, unmount, power off. 0: no SIGTERM. */
    WIRE_SETUP_GET_STATS = 82,
    WIRE_SETUP_RESIZED = 83, /* empty: the machine has another amount of memory now; the agent
                                adapts what it allows the workload */
    WIRE_SETUP_CPU = 84,     /* u32 thousandths of a CPU that the workload may use; 0: no limit */
    /* u32 KiB: so much memory should be free; the agent has the kernel give up file pages for it,
     * as far as it can, and says in SETUP_MEMORY what came of it. */
    WIRE_SETUP_RECLAIM = 85,
};

/* What the guest kernel says about its memory, in bytes. */
struct wire_setup_memory {
    uint64_t total, free, available;
};

#define WIRE_SETUP_MEMORY_BYTES 12u
/* As the payload of SETUP_MEMORY: whole KiB. -EPROTO when the payload has another length. */
void wire_setup_put_memory(uint8_t out[WIRE_SETUP_MEMORY_BYTES],
                           const struct wire_setup_memory *memory);
int wire_setup_get_memory(const uint8_t *payload, size_t len, struct wire_setup_memory *ret_memory);

/* A network card as the agent sets it up. */
struct wire_setup_net {
    char *mac;                          /* "02:00:5e:10:20:30": which card */
    struct pv_strv addresses, gateways; /* "10.0.2.15/24", "10.0.2.2"; none: only the link is up */
};

#define WIRE_SETUP_NETS_MAX 4
#define WIRE_SETUP_ADDRESSES_MAX 8 /* of a card; as many gateways */

struct wire_setup {
    char *hostname;     /* needed */
    char *image_device; /* "/dev/vda": the read-only image below */
    char *image_type;   /* "squashfs", "ext4", "erofs"; or "virtiofs": then image_device is
                         * the tag of a volume */
    char *layer_device; /* "/dev/vdb": ext4, the writable layer; NULL: a tmpfs */
    bool discard_layer; /* the layer is thrown away: no need to sync it at power-off */
    bool direct_root;   /* virtiofs: the image itself is the root, without a layer */
    bool read_only;     /* the root is read-only (--read-only) */
    struct pv_strv nameservers, searches; /* /etc/resolv.conf; both empty: the image's own file */
    struct wire_mounts mounts;            /* in this order */
    struct pv_strv hosts;                 /* lines added to /etc/hosts: "10.0.2.2 host" */
    struct wire_setup_net nets[WIRE_SETUP_NETS_MAX]; /* eth0, eth1, ... */
    uint32_t num_nets;
    uint32_t cpu_milli; /* thousandths of a CPU that the guest's kernel keeps the workload to; 0:
                         * no limit, or the host keeps it */
};

#define WIRE_SETUP_CPU_MILLI_MIN 10 /* the kernel's smallest quota is 1 ms of 100 */
#define WIRE_SETUP_NAMESERVERS_MAX 8
#define WIRE_SETUP_SEARCHES_MAX 32
#define WIRE_SETUP_HOSTS_MAX 256

void wire_setup_done(struct wire_setup *s);
/* Reads and validates; unknown keys are refused by name. On failure *s is left done. */
int wire_setup_read(const struct pv_json *json, struct wire_setup *s, struct pv_error *err);
/* The set-up as JSON, with keys named as the fields; the caller frees. NULL when out of memory.
 * Nothing is validated: the reader does. */
struct pv_json *wire_setup_write(const struct wire_setup *s);

#endif
