/* SPDX-License-Identifier: Apache-2.0
 *
 * open.c: which format a file has, and images that stand on others.
 */
#include "disk/disk_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    const char *name;
    int (*open)(int fd, const char *path, bool read_only, const struct disk_chain *chain,
                struct disk_image **ret_image, struct pv_error *err);
} formats[] = {
    {"raw", disk_raw_open},
    {"qcow2", disk_qcow2_open},
};

/* A qcow2 image begins with these four bytes. */
static bool looks_like_qcow2(int fd)
{
    char magic[4];
    return disk_read_bytes(fd, magic, sizeof(magic), 0) == 0 && memcmp(magic, "QFI\xfb", 4) == 0;
}

static int check_chain(const struct disk_chain *chain, const char *path, struct pv_error *err)
{
    unsigned max = chain->options->files_max ? chain->options->files_max : DISK_BACKING_MAX;
    if (chain->depth > max)
        return pv_error_set(err, ELOOP,
                            "open disk '%s': more than %u images stand on each other: flatten the "
                            "image, for example by qemu-img convert -O qcow2",
                            path, max);
    for (const struct disk_chain *c = chain->above; c; c = c->above)
        if (c->dev == chain->dev && c->ino == chain->ino)
            return pv_error_set(err, ELOOP,
                                "open disk '%s': the image stands on itself: give it another "
                                "backing file, for example by qemu-img rebase -u",
                                path);
    return 0;
}

int disk_image_open(const char *path, const char *format, bool read_only,
                    const struct disk_options *options, const struct disk_chain *above,
                    struct disk_image **ret_image, struct pv_error *err)
{
    struct disk_chain chain = {
        .options = options, .above = above, .depth = above ? above->depth + 1 : 0};
    struct stat st;
    if (stat(path, &st) == 0) { /* before the lock: a loop would meet its own */
        chain.dev = st.st_dev;
        chain.ino = st.st_ino;
        int rc = check_chain(&chain, path, err);
        if (rc < 0)
            return rc;
    }
    int fd;
    int rc = disk_file_open(path, read_only, &fd, err);
    if (rc < 0)
        return rc;
    bool qcow2 = looks_like_qcow2(fd);
    if (!format)
        format = qcow2 ? "qcow2" : "raw";
    if (strcmp(format, DISK_FORMAT_NOT_SAID) == 0 && qcow2) {
        disk_file_close(fd);
        return pv_error_set(err, EINVAL,
                            "open disk '%s': it looks like qcow2, but the image that stands on it "
                            "does not say so: write it down by qemu-img rebase -u -F qcow2",
                            path);
    }
    if (strcmp(format, DISK_FORMAT_NOT_SAID) == 0)
        format = "raw";
    for (size_t i = 0; i < PV_ARRAY_SIZE(formats); i++)
        if (strcmp(formats[i].name, format) == 0)
            return formats[i].open(fd, path, read_only, &chain, ret_image, err);
    disk_file_close(fd);
    return pv_error_set(err, EINVAL,
                        "open disk '%s': format '%s' is not known: give raw or qcow2, or convert "
                        "it by qemu-img convert",
                        path, format);
}

void disk_image_close(struct disk_image *image)
{
    while (image) {
        struct disk_image *below = image->below;
        image->format->close(image);
        image = below;
    }
}
