/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.h: disks that a workload gets beside its root, and how fast each may be.
 *
 * --disk FILE[:OPTION[,OPTION...]]: what stands behind the last colon are options, so a file whose
 * name has a colon is written with one more at its end. --disk-rate [SERIAL:]LIMIT[,LIMIT...].
 */
#ifndef WORKLOAD_DISK_H
#define WORKLOAD_DISK_H

#include "base/error.h"
#include "base/rate.h"

#include <stdbool.h>
#include <stddef.h>

#define WORKLOAD_DISKS_MAX 14
#define WORKLOAD_DISK_SERIAL_MAX 20
/* Serial numbers of the disks that every machine has. */
#define WORKLOAD_DISK_IMAGE "image"
#define WORKLOAD_DISK_LAYER "layer"

struct workload_disk_rate {
    struct pv_rate_limit bytes, operations;
};

struct workload_disk {
    char *path;         /* absolute, once found */
    const char *format; /* "raw", "qcow2", "vhost-user"; NULL until found: by the file's name */
    char serial[WORKLOAD_DISK_SERIAL_MAX + 1]; /* "" until settled: made up */
    bool read_only;
    struct workload_disk_rate rate;
};

/* --disk-rate for one disk. */
struct workload_disk_limit {
    char serial[WORKLOAD_DISK_SERIAL_MAX + 1]; /* "": for every disk */
    struct workload_disk_rate rate;
};

struct workload_disks {
    struct workload_disk items[WORKLOAD_DISKS_MAX];
    size_t count;
    struct workload_disk_limit limits[WORKLOAD_DISKS_MAX + 3];
    size_t num_limits;
};

void workload_disks_done(struct workload_disks *disks);
/* Adds what stands behind --disk. Looks at no file. */
int workload_disks_add(struct workload_disks *disks, const char *text, struct pv_error *err);
/* Adds what stands behind --disk-rate. */
int workload_disks_add_limit(struct workload_disks *disks, const char *text, struct pv_error *err);
/* Gives each disk its serial number, and refuses two of the same and limits of disks that are not
 * there. */
int workload_disks_settle(struct workload_disks *disks, struct pv_error *err);
/* Finds the files, once settled: absolute paths, formats. Refuses what cannot be a disk. The format
 * is that of the file's name (.qcow2) and never found by looking inside, where the guest could
 * write a header that names files of the host; a file that looks otherwise than it is called is
 * refused. */
int workload_disks_find(struct workload_disks *disks, struct pv_error *err);
/* How fast the disk of that serial number may be: `own` (NULL: none), unless a --disk-rate names
 * it, or all of them. */
struct workload_disk_rate workload_disks_rate_of(const struct workload_disks *disks,
                                                 const char *serial,
                                                 const struct workload_disk_rate *own);

/* What stands behind --disk-rate, for others who take it. */
int workload_disk_limit_parse(const char *text, struct workload_disk_limit *ret_limit,
                              struct pv_error *err);

#endif
