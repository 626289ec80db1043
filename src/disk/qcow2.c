/* SPDX-License-Identifier: Apache-2.0
 *
 * qcow2.c: qcow2 images are opened and closed.
 */
#include "disk/qcow2_internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define L2_CACHE_BYTES (4u << 20)    /* finds its way in 32 GiB of 64 KiB clusters */
#define BLOCK_CACHE_BYTES (1u << 20) /* counts for as much */
#define TABLES_MIN 8u

int qcow2_file_read(const struct qcow2 *q, void *buf, size_t len, uint64_t offset)
{
    int64_t size = disk_file_size(q->image.fd);
    if (size < 0)
        return (int)size;
    uint64_t there = offset >= (uint64_t)size ? 0 : (uint64_t)size - offset;
    size_t n = (size_t)PV_MIN((uint64_t)len, there);
    memset((uint8_t *)buf + n, 0, len - n);
    return n ? disk_read_bytes(q->image.fd, buf, n, offset) : 0;
}

int qcow2_file_read_entries(const struct qcow2 *q, uint64_t *entries, size_t num, uint64_t offset)
{
    int rc = qcow2_file_read(q, entries, num * sizeof(*entries), offset);
    for (size_t i = 0; i < num && rc == 0; i++)
        entries[i] = be64toh(entries[i]);
    return rc;
}

bool qcow2_file_has(const struct qcow2 *q, uint64_t offset)
{
    return offset < q->file_end;
}

/* Writes everything, then that the image is whole. That needs no sync: without it the image is only
 * looked through once more. */
static void settle(struct qcow2 *q)
{
    /* The second flush writes which clusters the first one gave back. */
    for (int i = 0; i < 3 && !qcow2_flush_is_sync(&q->image); i++)
        if (qcow2_flush(&q->image) < 0)
            return;
    if ((q->incompatible & QCOW2_DIRTY) && !q->corrupt && qcow2_flush_is_sync(&q->image) &&
        qcow2_header_write_features(q, q->incompatible & ~QCOW2_DIRTY) < 0)
        return; /* it stays marked */
}

static void close_qcow2(struct disk_image *image)
{
    struct qcow2 *q = qcow2_of(image);
    if (!image->read_only && q->metadata.num > 0)
        settle(q);
    qcow2_cache_done(&q->l2s);
    qcow2_cache_done(&q->blocks);
    free(q->l1);
    free(q->reftable);
    free(q->l1_changes.index);
    free(q->reftable_changes.index);
    free(q->metadata.slots);
    free(q->drops.list);
    free(q->unpacked);
    free(q->below_name);
    free(q->below_format);
    free(image->path);
    pthread_mutex_destroy(&q->lock);
    pthread_mutex_destroy(&q->checkpoint);
    pthread_mutex_destroy(&q->unpacked_lock);
    pthread_cond_destroy(&q->changed);
    disk_file_close(image->fd);
    free(q);
}

static const struct disk_format qcow2_format = {
    .name = "qcow2",
    .read = qcow2_read,
    .write = qcow2_write,
    .flush = qcow2_flush,
    .discard = qcow2_discard,
    .zero = qcow2_zero,
    .resize = qcow2_resize,
    .map = qcow2_map,
    .release = qcow2_release,
    .flush_is_sync = qcow2_flush_is_sync,
    .close = close_qcow2,
};

static int read_tables(struct qcow2 *q, struct pv_error *err)
{
    q->l1 = calloc(q->l1_entries + 1ull, sizeof(*q->l1));
    q->reftable = calloc(q->reftable_entries, sizeof(*q->reftable));
    if (!q->l1 || !q->reftable)
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", q->image.path);
    int rc = qcow2_file_read_entries(q, q->l1, q->l1_entries, q->l1_offset);
    if (rc == 0)
        rc = qcow2_file_read_entries(q, q->reftable, q->reftable_entries, q->reftable_offset);
    if (rc < 0)
        return pv_error_set(err, -rc, "read disk '%s': %s", q->image.path, strerror(-rc));
    unsigned l2s = L2_CACHE_BYTES >> q->cluster_bits, blocks = BLOCK_CACHE_BYTES >> q->cluster_bits;
    qcow2_cache_init(&q->l2s, PV_MAX(l2s, TABLES_MIN));
    qcow2_cache_init(&q->blocks, PV_MAX(blocks, TABLES_MIN));
    return 0;
}

/* The file below is named by the image: relative to its folder. */
static char *below_path(const struct qcow2 *q)
{
    const char *slash = strrchr(q->image.path, '/');
    const char *name = q->below_name;
    if (name[0] == '/' || !slash)
        return strdup(name);
    size_t folder = (size_t)(slash - q->image.path) + 1, len = strlen(name) + 1;
    char *path = malloc(folder + len);
    if (path) {
        memcpy(path, q->image.path, folder);
        memcpy(path + folder, name, len);
    }
    return path;
}

/* "nbd://...", "json:{...}", "file:..." are no file names to us. */
static bool is_plain_name(const char *name)
{
    size_t before = strcspn(name, ":/");
    return name[before] != ':';
}

static int open_below(struct qcow2 *q, const struct disk_chain *chain, struct pv_error *err)
{
    if (!q->below_name)
        return 0;
    if (chain->options->no_backing)
        return pv_error_set(err, EPERM,
                            "open disk '%s': it stands on '%s', which is not allowed here: flatten "
                            "it, for example by qemu-img convert -O qcow2",
                            q->image.path, q->below_name);
    if (!is_plain_name(q->below_name))
        return pv_error_set(err, ENOTSUP,
                            "open disk '%s': its backing file '%s' is no file of this host: give "
                            "it another one by qemu-img rebase -u",
                            q->image.path, q->below_name);
    pv_auto_free char *path = below_path(q);
    if (!path)
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", q->image.path);
    int rc = disk_image_open(path, q->below_format ? q->below_format : DISK_FORMAT_NOT_SAID, true,
                             chain->options, chain, &q->image.below, err);
    return rc < 0 ? pv_error_prefix(err, "backing file of '%s'", q->image.path) : 0;
}

static int make_writable(struct qcow2 *q, struct pv_error *err)
{
    int rc = qcow2_check_metadata(q, err);
    if (rc < 0)
        return rc;
    /* Before anything else is changed: what others keep beside the content is no longer true. */
    if (q->clears_features)
        rc = qcow2_header_write(q, q->disk_bytes, q->incompatible, q->l1_offset, q->l1_entries);
    if (rc == 0 && q->clears_features)
        rc = disk_file_sync(q->image.fd);
    if (rc < 0)
        return pv_error_set(err, -rc, "write disk '%s': %s", q->image.path, strerror(-rc));
    if (q->incompatible & QCOW2_DIRTY)
        return qcow2_repair(q, err);
    return q->version < 3 ? qcow2_repair_leaks(q, err) : 0;
}

static int open_qcow2(struct qcow2 *q, const struct disk_chain *chain, struct pv_error *err)
{
    int64_t size = disk_file_size(q->image.fd);
    if (size < 0)
        return pv_error_set(err, (int)-size, "size of disk '%s': %s", q->image.path,
                            strerror((int)-size));
    q->file_end = (uint64_t)size;
    int rc = qcow2_header_read(q, err);
    if (rc < 0)
        return rc;
    q->file_end = (q->file_end + q->cluster_bytes - 1) & ~(q->cluster_bytes - 1);
    q->image.bytes = q->disk_bytes;
    rc = read_tables(q, err);
    if (rc == 0)
        rc = open_below(q, chain, err);
    if (rc == 0 && !q->image.read_only)
        rc = make_writable(q, err);
    return rc;
}

int disk_qcow2_open(int fd, const char *path, bool read_only, const struct disk_chain *chain,
                    struct disk_image **ret_image, struct pv_error *err)
{
    struct qcow2 *q = calloc(1, sizeof(*q));
    if (!q) {
        close(fd);
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", path);
    }
    q->image = (struct disk_image){.format = &qcow2_format,
                                   .read_only = read_only,
                                   .can_discard = !read_only && disk_file_can_punch(fd),
                                   .fd = fd,
                                   .path = strdup(path)};
    pthread_mutex_init(&q->lock, NULL);
    pthread_mutex_init(&q->checkpoint, NULL);
    pthread_mutex_init(&q->unpacked_lock, NULL);
    pthread_cond_init(&q->changed, NULL);
    LIST_INIT(&q->writers);
    qcow2_cache_init(&q->l2s, TABLES_MIN);
    qcow2_cache_init(&q->blocks, TABLES_MIN);
    int rc = q->image.path ? open_qcow2(q, chain, err)
                           : pv_error_set(err, ENOMEM, "open disk '%s': out of memory", path);
    if (rc < 0) {
        q->image.read_only = true; /* nothing was changed that could be worth writing */
        disk_image_close(&q->image);
        return rc;
    }
    *ret_image = &q->image;
    return 0;
}
