/* SPDX-License-Identifier: Apache-2.0
 *
 * raw.c: disk images whose bytes are the disk's, in a file or a block device of the host.
 *
 * Runs on: any thread; the object does not change after opening, but for its size.
 */
#include "disk/disk_internal.h"

#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

static int raw_read(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                    uint64_t offset, uint64_t bytes)
{
    return disk_transfer(image->fd, false, iov, num_iov, offset, bytes);
}

static int raw_write(struct disk_image *image, const struct iovec *iov, unsigned num_iov,
                     uint64_t offset, uint64_t bytes)
{
    return disk_transfer(image->fd, true, iov, num_iov, offset, bytes);
}

static int raw_flush(struct disk_image *image)
{
    return disk_file_sync(image->fd);
}

static int raw_discard(struct disk_image *image, uint64_t offset, uint64_t bytes)
{
    int rc = disk_file_allocate(image->fd, FALLOC_FL_PUNCH_HOLE, offset, bytes);
    return rc == -EOPNOTSUPP ? 0 : rc; /* it was advice */
}

static int raw_zero(struct disk_image *image, uint64_t offset, uint64_t bytes, bool unmap)
{
    return disk_file_zero(image->fd, offset, bytes, unmap);
}

static int raw_resize(struct disk_image *image, uint64_t bytes, struct pv_error *err)
{
    int64_t size = disk_file_size(image->fd);
    if (size < 0)
        return pv_error_set(err, (int)-size, "size of disk '%s': %s", image->path,
                            strerror((int)-size));
    if (bytes == 0)
        bytes = (uint64_t)size - (uint64_t)size % DISK_SECTOR_BYTES;
    else if (bytes > (uint64_t)size && ftruncate(image->fd, (off_t)bytes) < 0)
        return pv_error_set(err, errno, "grow disk '%s': %s%s", image->path, strerror(errno),
                            errno == EINVAL ? ": a block device is grown by its own tools" : "");
    if (bytes < image->bytes)
        return pv_error_set(err, EINVAL,
                            "resize disk '%s': it would shrink, and lose what is at its end: give "
                            "a size above %llu bytes",
                            image->path, (unsigned long long)image->bytes);
    image->bytes = bytes;
    return 0;
}

static int raw_map(struct disk_image *image, bool write, uint64_t offset, uint64_t bytes,
                   struct disk_extent *ret_extent)
{
    *ret_extent = (struct disk_extent){
        .file = image, .offset = offset, .bytes = bytes, .ticket = DISK_NO_TICKET};
    return 0;
}

static void raw_release(struct disk_image *image, uint32_t ticket)
{
}

static bool raw_flush_is_sync(struct disk_image *image)
{
    return true;
}

static void raw_close(struct disk_image *image)
{
    disk_file_close(image->fd);
    free(image->path);
    free(image);
}

static const struct disk_format raw_format = {
    .name = "raw",
    .read = raw_read,
    .write = raw_write,
    .flush = raw_flush,
    .discard = raw_discard,
    .zero = raw_zero,
    .resize = raw_resize,
    .map = raw_map,
    .release = raw_release,
    .flush_is_sync = raw_flush_is_sync,
    .close = raw_close,
};

int disk_raw_open(int fd, const char *path, bool read_only, const struct disk_chain *chain,
                  struct disk_image **ret_image, struct pv_error *err)
{
    pv_auto_fd int file = fd;
    int64_t size = disk_file_size(fd);
    if (size < 0)
        return pv_error_set(err, (int)-size, "size of disk '%s': %s", path, strerror((int)-size));
    struct disk_image *image = calloc(1, sizeof(*image));
    char *name = strdup(path);
    if (!image || !name) {
        free(image);
        free(name);
        return pv_error_set(err, ENOMEM, "open disk '%s': out of memory", path);
    }
    *image = (struct disk_image){
        .format = &raw_format,
        .bytes = (uint64_t)size,
        .read_only = read_only,
        .can_discard = !read_only && disk_file_can_punch(fd),
        .fd = pv_take_fd(&file),
        .path = name,
    };
    *ret_image = image;
    return 0;
}
