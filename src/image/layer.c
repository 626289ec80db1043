/* SPDX-License-Identifier: Apache-2.0
 *
 * layer.c: writable layers from a template per size.
 *
 * The template is a sparse file with a few hundred written KiB whatever its size, because mke2fs
 * leaves inode tables and journal to be initialized on first use. Copying these is a fraction of
 * the cost of mke2fs, and a clone (FICLONE) costs nothing where the file system can do it.
 */
#include "image/layer.h"

#include "base/str.h"
#include "image/cache.h"
#include "image/digest.h"
#include "image/program.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

/* packed_meta_blocks keeps the written blocks together; without resize_inode no blocks are kept
 * for growth; the small journal is enough for one machine; no blocks are kept for root. */
#define FEATURES_JOURNAL "^resize_inode"
#define FEATURES_PLAIN "^resize_inode,^has_journal,^orphan_file"
#define EXTENDED "lazy_itable_init=1,lazy_journal_init=1,nodiscard,packed_meta_blocks=1"
#define RECIPE "1 " FEATURES_JOURNAL " " FEATURES_PLAIN " " EXTENDED

static int template_name(const char *mke2fs, uint64_t bytes, bool journal, char *name, size_t len,
                         struct pv_error *err)
{
    char stamp[512], key[IMAGE_DIGEST_HEX];
    int rc = image_program_stamp(mke2fs, stamp, sizeof(stamp), err);
    if (rc < 0)
        return rc;
    pv_auto(image_digest) struct image_digest *digest = image_digest_new();
    if (!digest)
        return pv_error_set(err, ENOMEM, "layer: out of memory");
    image_digest_add_text(digest, RECIPE);
    image_digest_add_text(digest, stamp);
    if (image_digest_finish(digest, key) < 0)
        return pv_error_set(err, EIO, "layer: SHA-256 failed");
    snprintf(name, len, "%" PRIu64 "M-%s-%.16s.ext4", bytes >> 20, journal ? "journal" : "plain",
             key);
    return 0;
}

static int format_file(const char *mke2fs, int fd, uint64_t bytes, bool journal,
                       struct pv_error *err)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (ftruncate(fd, (off_t)bytes) < 0)
        return pv_error_set(err, errno, "layer of %" PRIu64 " MiB: %s", bytes >> 20,
                            errno == EFBIG ? "larger than a file can be here: choose a smaller "
                                             "--disk-size"
                                           : strerror(errno));
    const char *features = journal ? FEATURES_JOURNAL : FEATURES_PLAIN;
    const char *argv[] = {mke2fs, "-q",     "-F", "-t",     "ext4", "-b", "4096", "-m", "0",
                          "-O",   features, "-E", EXTENDED, path,   NULL, NULL,   NULL};
    if (journal && bytes >= 64ull << 20) { /* below, mke2fs chooses a smaller one itself */
        argv[13] = "-J";
        argv[14] = "size=4";
        argv[15] = path;
    }
    return image_program_run(argv, fd, err);
}

static int make_template(const struct image_cache *cache, const char *mke2fs, const char *name,
                         uint64_t bytes, bool journal, struct pv_error *err)
{
    struct image_cache_file file;
    pv_auto_fd int lock = image_cache_lock(cache, err);
    if (lock < 0)
        return lock;
    if (faccessat(cache->dirfd, name, R_OK, 0) == 0) /* another process was faster */
        return 0;
    int rc = image_cache_begin(cache, &file, err);
    if (rc < 0)
        return rc;
    rc = format_file(mke2fs, file.fd, bytes, journal, err);
    if (rc < 0)
        image_cache_abort(cache, &file);
    return rc < 0 ? rc : image_cache_commit(cache, &file, name, err);
}

static int copy_range(int from, int to, off_t start, off_t end)
{
    off_t in = start, out = start;
    while (in < end) {
        ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(end - in), 0);
        if (n < 0 &&
            (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
            char block[65536];
            n = pread(from, block, PV_MIN(sizeof(block), (size_t)(end - in)), in);
            if (n > 0)
                n = pwrite(to, block, (size_t)n, out);
            in += PV_MAX(n, (ssize_t)0);
            out += PV_MAX(n, (ssize_t)0);
        }
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            return -EIO;
    }
    return 0;
}

/* Copies what is written and leaves the holes. */
static int copy_sparse(int from, int to)
{
    struct stat st;
    if (ioctl(to, FICLONE, from) == 0)
        return 0;
    if (fstat(from, &st) < 0 || ftruncate(to, st.st_size) < 0)
        return -errno;
    for (off_t data = 0, hole;; data = hole) {
        data = lseek(from, data, SEEK_DATA);
        if (data < 0)
            return errno == ENXIO ? 0 : -errno;
        hole = lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return -errno;
        int rc = copy_range(from, to, data, hole);
        if (rc < 0)
            return rc;
    }
}

static int copy_template(const struct image_cache *cache, const char *template, int dirfd,
                         const char *name, struct pv_error *err)
{
    pv_auto_fd int from = openat(cache->dirfd, template, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return pv_error_set(err, errno, "open the layer template: %s", strerror(errno));
    pv_auto_fd int to = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return pv_error_set(err, errno, "create '%s': %s", name, strerror(errno));
    int rc = copy_sparse(from, to);
    if (rc == 0)
        return 0;
    unlinkat(dirfd, name, 0);
    return pv_error_set(err, -rc, "create '%s': %s", name, strerror(-rc));
}

int image_layer_create(uint64_t bytes, bool journal, int dirfd, const char *name,
                       struct pv_error *err)
{
    struct image_cache cache;
    char template[64];
    pv_auto_free char *mke2fs = NULL;
    int rc = image_program_find("mke2fs", "e2fsprogs", &mke2fs, err);
    if (rc == 0)
        rc = template_name(mke2fs, bytes, journal, template, sizeof(template), err);
    if (rc == 0)
        rc = image_cache_open("layers", &cache, err);
    if (rc < 0) {
        pv_error_prefix(err, "writable layer");
        return rc;
    }

    if (faccessat(cache.dirfd, template, R_OK, 0) < 0)
        rc = make_template(&cache, mke2fs, template, bytes, journal, err);
    if (rc == 0)
        rc = copy_template(&cache, template, dirfd, name, err);
    image_cache_close(&cache);
    if (rc < 0)
        pv_error_prefix(err, "writable layer");
    return rc;
}
