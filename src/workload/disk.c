/* SPDX-License-Identifier: Apache-2.0
 *
 * disk.c: --disk and --disk-rate.
 */
#include "workload/disk.h"

#include "base/attr.h"
#include "base/str.h"
#include "workload/words.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FLAG "--disk"
#define RATE_FLAG "--disk-rate"

static const char *const formats[] = {"raw", "qcow2", "vhost-user"};

void workload_disks_done(struct workload_disks *disks)
{
    for (size_t i = 0; i < disks->count; i++)
        free(disks->items[i].path);
    *disks = (struct workload_disks){0};
}

/* -- rates -- */

static bool is_key(const char *text, const char *key, const char **ret_value)
{
    size_t len = strlen(key);
    if (strncmp(text, key, len) != 0 || text[len] != '=')
        return false;
    *ret_value = text + len + 1;
    return true;
}

/* Reads one limit: 1 when it was one, 0 when the word is none. */
static int read_limit(const char *word, struct workload_disk_rate *rate, const char *flag,
                      const char *text, struct pv_error *err)
{
    const char *value;
    uint64_t *target;
    bool is_size = true;
    if (is_key(word, "bps", &value)) {
        target = &rate->bytes.per_second;
    } else if (is_key(word, "bps-burst", &value)) {
        target = &rate->bytes.burst;
    } else if (is_key(word, "iops", &value)) {
        target = &rate->operations.per_second;
        is_size = false;
    } else if (is_key(word, "iops-burst", &value)) {
        target = &rate->operations.burst;
        is_size = false;
    } else {
        return 0;
    }
    int rc = is_size ? pv_str_to_size(value, target) : pv_str_to_u64(value, 0, PV_RATE_MAX, target);
    if (rc == 0 && *target <= PV_RATE_MAX)
        return 1;
    return pv_error_set(err, rc == 0 ? ERANGE : -rc, "%s '%s': '%s' is not %s", flag, text, value,
                        is_size ? "an amount of bytes a second; write a number and a unit: 10M"
                                : "a number of operations a second");
}

static int check_rate(const struct workload_disk_rate *rate, const char *flag, const char *text,
                      struct pv_error *err)
{
    if (rate->bytes.burst && !rate->bytes.per_second)
        return pv_error_set(err, EINVAL, "%s '%s': bps-burst without bps", flag, text);
    if (rate->operations.burst && !rate->operations.per_second)
        return pv_error_set(err, EINVAL, "%s '%s': iops-burst without iops", flag, text);
    return 0;
}

static bool is_serial(const char *text, size_t len)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-";
    return len > 0 && len <= WORKLOAD_DISK_SERIAL_MAX && strspn(text, allowed) >= len;
}

static int set_serial(char *serial, const char *value, size_t len, const char *flag,
                      const char *text, struct pv_error *err)
{
    if (!is_serial(value, len))
        return pv_error_set(err, EINVAL,
                            "%s '%s': a serial number is 1 to %d letters, digits, '.', '_' and '-'",
                            flag, text, WORKLOAD_DISK_SERIAL_MAX);
    memcpy(serial, value, len);
    serial[len] = '\0';
    return 0;
}

int workload_disk_limit_parse(const char *text, struct workload_disk_limit *ret_limit,
                              struct pv_error *err)
{
    struct workload_disk_limit limit = {0};
    const char *colon = strchr(text, ':');
    if (colon) {
        int rc = set_serial(limit.serial, text, (size_t)(colon - text), RATE_FLAG, text, err);
        if (rc < 0)
            return rc;
    }
    pv_auto_free char *words = strdup(colon ? colon + 1 : text);
    if (!words)
        return pv_error_set(err, ENOMEM, "%s: out of memory", RATE_FLAG);
    char *rest = words;
    for (char *word; (word = strsep(&rest, ","));) {
        int rc = read_limit(word, &limit.rate, RATE_FLAG, text, err);
        if (rc == 0)
            return pv_error_set(err, EINVAL,
                                "%s '%s': '%s' is no limit: write [SERIAL:]bps=SIZE,iops=N, with "
                                "bps-burst=SIZE and iops-burst=N as you like",
                                RATE_FLAG, text, word);
        if (rc < 0)
            return rc;
    }
    int rc = check_rate(&limit.rate, RATE_FLAG, text, err);
    if (rc == 0)
        rc = workload_words_check(colon ? colon + 1 : text, RATE_FLAG, text, err);
    if (rc == 0)
        *ret_limit = limit;
    return rc;
}

int workload_disks_add_limit(struct workload_disks *disks, const char *text, struct pv_error *err)
{
    if (disks->num_limits == PV_ARRAY_SIZE(disks->limits))
        return pv_error_set(err, E2BIG, RATE_FLAG ": at most %zu are possible",
                            PV_ARRAY_SIZE(disks->limits));
    int rc = workload_disk_limit_parse(text, &disks->limits[disks->num_limits], err);
    if (rc == 0)
        disks->num_limits++;
    return rc;
}

struct workload_disk_rate workload_disks_rate_of(const struct workload_disks *disks,
                                                 const char *serial,
                                                 const struct workload_disk_rate *own)
{
    struct workload_disk_rate rate = {0};
    for (size_t i = 0; i < disks->num_limits; i++)
        if (!disks->limits[i].serial[0])
            rate = disks->limits[i].rate;
    if (own && (own->bytes.per_second || own->operations.per_second))
        rate = *own;
    for (size_t i = 0; i < disks->num_limits; i++)
        if (strcmp(disks->limits[i].serial, serial) == 0)
            rate = disks->limits[i].rate;
    return rate;
}

/* -- options -- */

static int set_format(struct workload_disk *d, const char *value, const char *text,
                      struct pv_error *err)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(formats); i++)
        if (strcmp(value, formats[i]) == 0)
            d->format = formats[i];
    if (!d->format)
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': no format '%s': raw, qcow2 and vhost-user are possible; "
                                 "qemu-img convert makes one from another",
                            text, value);
    return 0;
}

static int read_option(struct workload_disk *d, const char *word, const char *text,
                       struct pv_error *err)
{
    const char *value;
    if (strcmp(word, "ro") == 0 || strcmp(word, "rw") == 0) {
        d->read_only = word[1] == 'o';
        return 0;
    }
    if (is_key(word, "format", &value))
        return set_format(d, value, text, err);
    if (is_key(word, "serial", &value))
        return set_serial(d->serial, value, strlen(value), FLAG, text, err);
    int rc = read_limit(word, &d->rate, FLAG, text, err);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    return pv_error_set(err, EINVAL,
                        FLAG " '%s': '%s' is no option: ro, format=, serial=, bps= and iops= are; "
                             "behind a file name with a colon write one more colon",
                        text, word);
}

int workload_disks_add(struct workload_disks *disks, const char *text, struct pv_error *err)
{
    if (disks->count == WORKLOAD_DISKS_MAX)
        return pv_error_set(err, E2BIG, FLAG ": a machine takes at most %d", WORKLOAD_DISKS_MAX);
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    if (len == 0)
        return pv_error_set(err, EINVAL, FLAG " '%s': write FILE[:OPTION,...]", text);

    struct workload_disk d = {0};
    pv_auto_free char *path = strndup(text, len);
    pv_auto_free char *words = strdup(colon ? colon + 1 : "");
    if (!path || !words)
        return pv_error_set(err, ENOMEM, FLAG ": out of memory");
    char *rest = *words ? words : NULL;
    for (char *word; (word = strsep(&rest, ","));) {
        int rc = read_option(&d, word, text, err);
        if (rc < 0)
            return rc;
    }
    int rc = check_rate(&d.rate, FLAG, text, err);
    if (rc == 0 && colon)
        rc = workload_words_check(colon + 1, FLAG, text, err);
    if (rc < 0)
        return rc;
    d.path = pv_take_ptr(path);
    disks->items[disks->count++] = d;
    return 0;
}

/* -- serial numbers -- */

static bool is_taken(const struct workload_disks *disks, const char *serial, size_t except)
{
    if (strcmp(serial, WORKLOAD_DISK_IMAGE) == 0 || strcmp(serial, WORKLOAD_DISK_LAYER) == 0)
        return true;
    for (size_t i = 0; i < disks->count; i++)
        if (i != except && strcmp(disks->items[i].serial, serial) == 0)
            return true;
    return false;
}

static int settle_serials(struct workload_disks *disks, struct pv_error *err)
{
    for (size_t i = 0; i < disks->count; i++)
        if (disks->items[i].serial[0] && is_taken(disks, disks->items[i].serial, i))
            return pv_error_set(err, EEXIST,
                                FLAG " '%s': another disk of the machine has the serial number "
                                     "'%s'; choose one with serial=",
                                disks->items[i].path, disks->items[i].serial);
    unsigned number = 0;
    for (size_t i = 0; i < disks->count; i++) {
        char serial[WORKLOAD_DISK_SERIAL_MAX + 1];
        if (disks->items[i].serial[0])
            continue;
        do
            snprintf(serial, sizeof(serial), "disk%u", ++number);
        while (is_taken(disks, serial, i));
        memcpy(disks->items[i].serial, serial, sizeof(serial));
    }
    return 0;
}

int workload_disks_settle(struct workload_disks *disks, struct pv_error *err)
{
    int rc = settle_serials(disks, err);
    for (size_t i = 0; rc == 0 && i < disks->num_limits; i++)
        if (disks->limits[i].serial[0] && !is_taken(disks, disks->limits[i].serial, SIZE_MAX))
            rc = pv_error_set(err, ENOENT,
                              RATE_FLAG " '%s': no disk has this serial number: give it one with "
                                        "serial= behind its file",
                              disks->limits[i].serial);
    return rc;
}

/* -- files -- */

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    return len > end_len && strcmp(text + len - end_len, end) == 0;
}

/* Whether the file begins as a qcow2 image does. A file that cannot be read says so later. */
static bool looks_like_qcow2(const char *path)
{
    char head[4] = "";
    pv_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd >= 0 && read(fd, head, sizeof(head)) == sizeof(head) &&
           memcmp(head, "QFI\xfb", sizeof(head)) == 0;
}

static int find_format(const struct workload_disks *disks, struct workload_disk *d,
                       const char *name, mode_t mode, struct pv_error *err)
{
    bool is_vhost_user = d->format && strcmp(d->format, "vhost-user") == 0;
    if (S_ISSOCK(mode) && !is_vhost_user)
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': it is a socket: write '%s:format=vhost-user' when a "
                                 "storage daemon serves a disk on it",
                            name, name);
    if (is_vhost_user && !S_ISSOCK(mode))
        return pv_error_set(err, ENOTSOCK, FLAG " '%s': format=vhost-user needs a socket", name);
    struct workload_disk_rate rate = workload_disks_rate_of(disks, d->serial, &d->rate);
    if (is_vhost_user && (d->read_only || rate.bytes.per_second || rate.operations.per_second))
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': it is the storage daemon that makes a disk read-only or "
                                 "limits its rate",
                            name);
    if (d->format)
        return 0;
    bool is_qcow2 = ends_with(d->path, ".qcow2");
    if (!is_qcow2 && looks_like_qcow2(d->path))
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': it looks like qcow2 and is not called so: write "
                                 "'%s:format=qcow2', or format=raw when the guest shall see the "
                                 "file's own bytes",
                            name, name);
    d->format = formats[is_qcow2];
    return 0;
}

static int find_file(const struct workload_disks *disks, struct workload_disk *d,
                     struct pv_error *err)
{
    struct stat st;
    char *path = realpath(d->path, NULL);
    if (!path || stat(path, &st) < 0) {
        int code = errno;
        free(path);
        return pv_error_set(err, code, FLAG " '%s': %s%s", d->path, strerror(code),
                            code == ENOENT ? ": make it with truncate -s 10G, or qemu-img create"
                                           : "");
    }
    pv_auto_free char *name = d->path;
    d->path = path;
    if (S_ISDIR(st.st_mode))
        return pv_error_set(err, EISDIR, FLAG " '%s': it is a directory: give an image file", name);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode) && !S_ISSOCK(st.st_mode))
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': it is neither a file nor a block device: give an image "
                                 "file, for example made by truncate -s 10G",
                            name);
    if (!pv_str_is_utf8(path, strlen(path)))
        return pv_error_set(err, EILSEQ, FLAG " '%s': its name is not UTF-8: rename it", name);
    return find_format(disks, d, name, st.st_mode, err);
}

int workload_disks_find(struct workload_disks *disks, struct pv_error *err)
{
    for (size_t i = 0; i < disks->count; i++) {
        int rc = find_file(disks, &disks->items[i], err);
        if (rc < 0)
            return rc;
        for (size_t j = 0; j < i; j++)
            if (strcmp(disks->items[i].path, disks->items[j].path) == 0 &&
                (!disks->items[i].read_only || !disks->items[j].read_only))
                return pv_error_set(err, EBUSY,
                                    FLAG " '%s': the machine has it twice: both must be read-only",
                                    disks->items[i].path);
    }
    return 0;
}
