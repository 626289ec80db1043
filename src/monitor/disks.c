/* SPDX-License-Identifier: Apache-2.0
 *
 * disks.c: changes of a running machine's disks: rates and sizes.
 *
 *   "disk_rates": [{"serial": "data", "bps": 1048576, "iops": 100, ...}]; without a serial: all
 *   "disk_sizes": [{"serial": "data", "bytes": 10737418240}]; 0: what the file has by now
 */
#include "monitor/internal.h"

#include "virtio/device/blk.h"
#include "workload/disk.h"

#include <errno.h>
#include <string.h>

static struct monitor_device *find_disk(struct monitor *m, const char *serial)
{
    for (size_t i = 0; i < m->num_devices; i++)
        if (m->devices[i].spec && m->devices[i].spec->serial &&
            strcmp(m->devices[i].spec->serial, serial) == 0)
            return &m->devices[i];
    return NULL;
}

/* The disk that an entry names, which is one of ours: 0 with NULL when it names none. */
static int read_disk(struct monitor *m, const struct pv_json *entry, const char *flag,
                     struct monitor_device **ret_disk, struct pv_error *err)
{
    pv_auto_free char *serial = NULL;
    int rc = pv_json_get_string(entry, "serial", &serial, err);
    *ret_disk = NULL;
    if (rc < 0 || !serial)
        return rc;
    *ret_disk = find_disk(m, serial);
    if (!*ret_disk)
        return pv_error_set(err, ENOENT, "%s: no disk has the serial number '%.32s'", flag, serial);
    if (!(*ret_disk)->device)
        return pv_error_set(err, EOPNOTSUPP, "%s: '%.32s' is served by a storage daemon: ask that",
                            flag, serial);
    return 0;
}

static int each(struct monitor *m, const struct pv_json *request, const char *key,
                int (*visit)(struct monitor *m, const struct pv_json *entry, struct pv_error *err),
                struct pv_error *err)
{
    const struct pv_json *list = pv_json_get(request, key);
    size_t count = pv_json_array_length(list);
    if (count == 0)
        return pv_error_set(err, EINVAL, "'%s': expected a list with something in it", key);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = visit(m, pv_json_array_at(list, i), err);
    return rc;
}

/* -- rates -- */

static int check_rate(struct monitor *m, const struct pv_json *entry, struct pv_error *err)
{
    struct monitor_device *disk;
    struct wire_disk rate = {0};
    int rc = read_disk(m, entry, "--disk-rate", &disk, err);
    for (size_t i = 0; rc == 0 && !disk && i < m->num_devices; i++)
        if (m->devices[i].spec && !m->devices[i].device)
            rc = pv_error_set(err, EOPNOTSUPP,
                              "--disk-rate: a storage daemon serves '%s', so not all disks can be "
                              "limited here: name those that shall be",
                              m->devices[i].spec->path);
    return rc == 0 ? wire_disk_read_rate(entry, &rate, err) : rc;
}

static int make_rate(struct monitor *m, const struct pv_json *entry, struct pv_error *err)
{
    struct monitor_device *disk;
    struct wire_disk rate = {0};
    int rc = read_disk(m, entry, "--disk-rate", &disk, err);
    if (rc == 0)
        rc = wire_disk_read_rate(entry, &rate, err);
    for (size_t i = 0; rc == 0 && i < m->num_devices; i++) {
        struct monitor_device *d = &m->devices[i];
        if (d->spec && d->device && (!disk || d == disk))
            virtio_blk_set_rate(d->device, &rate.bytes, &rate.operations);
    }
    return rc;
}

int monitor_disks_check_rates(struct monitor *m, const struct pv_json *request,
                              struct pv_error *err)
{
    return each(m, request, "disk_rates", check_rate, err);
}

int monitor_disks_make_rates(struct monitor *m, const struct pv_json *request,
                             struct pv_json *reply, struct pv_error *err)
{
    int rc = each(m, request, "disk_rates", make_rate, err);
    return rc == 0 ? pv_json_add_shared(reply, "disk_rates", pv_json_get(request, "disk_rates"))
                   : rc;
}

/* -- sizes -- */

static int read_size(struct monitor *m, const struct pv_json *entry,
                     struct monitor_device **ret_disk, uint64_t *ret_bytes, struct pv_error *err)
{
    int rc = read_disk(m, entry, "--disk-size", ret_disk, err);
    if (rc == 0 && !*ret_disk)
        rc = pv_error_set(err, EINVAL, "--disk-size: name a disk: SERIAL=SIZE");
    return rc == 0 ? pv_json_need_u64(entry, "bytes", 0, INT64_MAX, ret_bytes, err) : rc;
}

static int check_size(struct monitor *m, const struct pv_json *entry, struct pv_error *err)
{
    struct monitor_device *d;
    uint64_t bytes = 0;
    int rc = read_size(m, entry, &d, &bytes, err);
    if (rc < 0)
        return rc;
    if (strcmp(d->spec->serial, WORKLOAD_DISK_IMAGE) == 0 ||
        strcmp(d->spec->serial, WORKLOAD_DISK_LAYER) == 0)
        return pv_error_set(err, EOPNOTSUPP,
                            "--disk-size: the root's own disks keep their sizes: "
                            "choose with run --disk-size, or add a disk");
    if (disk_is_read_only(d->disk) && bytes)
        return pv_error_set(err, EROFS, "--disk-size: disk '%s' is read-only", d->spec->serial);
    if (bytes % DISK_SECTOR_BYTES)
        return pv_error_set(err, EINVAL, "--disk-size: write whole sectors of %u bytes",
                            DISK_SECTOR_BYTES);
    if (bytes && bytes < disk_get_size(d->disk))
        return pv_error_set(err, EINVAL,
                            "--disk-size: disk '%s' would shrink, and lose what is at its end: "
                            "make a smaller disk and copy",
                            d->spec->serial);
    return 0;
}

static int make_size(struct monitor *m, const struct pv_json *entry, struct pv_error *err)
{
    struct monitor_device *d;
    uint64_t bytes = 0;
    int rc = read_size(m, entry, &d, &bytes, err);
    if (rc < 0)
        return rc;
    uint64_t before = disk_get_size(d->disk);
    rc = disk_resize(d->disk, bytes, err);
    if (disk_get_size(d->disk) != before)
        virtio_blk_resized(d->device);
    return rc;
}

int monitor_disks_check_sizes(struct monitor *m, const struct pv_json *request,
                              struct pv_error *err)
{
    return each(m, request, "disk_sizes", check_size, err);
}

int monitor_disks_make_sizes(struct monitor *m, const struct pv_json *request,
                             struct pv_json *reply, struct pv_error *err)
{
    int rc = each(m, request, "disk_sizes", make_size, err);
    return rc == 0 ? pv_json_add_shared(reply, "disk_sizes", pv_json_get(request, "disk_sizes"))
                   : rc;
}
