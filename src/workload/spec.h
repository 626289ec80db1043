/* SPDX-License-Identifier: Apache-2.0
 *
 * spec.h: the workload: what to run, as whom, with what. Plain data that owns its strings.
 */
#ifndef WORKLOAD_SPEC_H
#define WORKLOAD_SPEC_H

#include "base/error.h"
#include "base/str.h"
#include "workload/disk.h"
#include "workload/net_rate.h"
#include "workload/network.h"
#include "workload/resources.h"
#include "workload/volume.h"

#include <stdbool.h>
#include <stdint.h>

#define WORKLOAD_PATH                                                                              \
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" /* as in Docker */

struct workload_spec {
    struct pv_strv args;    /* the command; at least one */
    struct pv_strv env;     /* NAME=value */
    char *cwd;              /* absolute; NULL: "/" */
    char *user;             /* "name", "name:group", "uid:gid"; NULL: root */
    char *hostname;         /* NULL: the short id */
    char *name;             /* of the instance; NULL: one is made up */
    char *isolation;        /* "auto" or the name of an isolation; NULL: "auto" */
    bool terminal;          /* the command gets a terminal */
    bool stdin_open;        /* the command's stdin is the client's, else at its end */
    bool read_only;         /* nothing of the root can be written */
    bool rootfs;            /* the image is a folder that is the root itself, shared */
    bool rootfs_overlay;    /* ... or below the writable layer */
    bool remove;            /* the instance goes when it has ended */
    bool strict_protection; /* programs of the guest cannot reach its kernel; one CPU, slower */
    struct workload_resources resources;
    struct workload_disks disks;
    struct workload_network network;
    struct pv_strv grants; /* in canonical form, or "none"; empty: no grants */
    struct workload_net_rate net_rate;
    struct workload_volumes volumes;
    char *kernel;              /* absolute path of another guest kernel; NULL: our own */
    char *kernel_args;         /* added to the guest kernel's command line; NULL: nothing */
    uint32_t kernel_log_level; /* 0: quiet; 1..8 as the kernel's loglevel= */
};

void workload_spec_init(struct workload_spec *spec);
void workload_spec_done(struct workload_spec *spec);
/* Checks every field. The error says which flag to change. */
int workload_spec_validate(const struct workload_spec *spec, struct pv_error *err);
/* Puts the variables that every workload has before those of the user: PATH, HOSTNAME and, with a
 * terminal, TERM. hostname: what the machine will be called. */
int workload_spec_complete_env(struct workload_spec *spec, const char *hostname,
                               struct pv_error *err);
/* The command of `run` without one: a shell of the image. */
int workload_spec_use_shell(struct workload_spec *spec, struct pv_error *err);

/* Checks of single values, for other verbs that take them too. */
int workload_spec_check_command(const struct pv_strv *args, const struct pv_strv *env,
                                struct pv_error *err);
int workload_spec_check_cwd(const char *cwd, struct pv_error *err);
int workload_spec_check_user(const char *user, struct pv_error *err);

#endif
