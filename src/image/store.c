/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c: images that are files and folders of the host.
 */
#include "image/store.h"

#include "base/str.h"
#include "image/detect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int take_file(const char *path, int fd, struct image_ref *ret_ref, struct pv_error *err)
{
    int rc = image_detect_file(fd, &ret_ref->type, err);
    if (rc < 0)
        return rc;
    ret_ref->path = strdup(path);
    return ret_ref->path ? 0 : pv_error_set(err, ENOMEM, "out of memory");
}

static int take_folder(const char *path, int fd, image_pack_say_fn *say, struct image_ref *ret_ref,
                       struct pv_error *err)
{
    if (strcmp(path, "/") == 0)
        return pv_error_set(err, EINVAL,
                            "the root of the running host changes all the time: copy it, or make a "
                            "root file system with mmdebstrap, and give that folder");
    ret_ref->type = "squashfs";
    return image_pack_folder(fd, path, say, &ret_ref->path, err);
}

static int resolve(const char *text, image_pack_say_fn *say, struct image_ref *ret_ref,
                   struct pv_error *err)
{
    struct stat st;
    pv_auto_free char *path = realpath(text, NULL);
    if (!path)
        return pv_error_set(err, errno,
                            errno == ENOENT ? "%s; give a squashfs, ext4 or erofs file, or a folder"
                                            : "%s",
                            strerror(errno));
    if (!pv_str_is_utf8(path, strlen(path)) || !pv_str_is_utf8(text, strlen(text)))
        return pv_error_set(err, EILSEQ, "its path is not UTF-8: rename it");
    if (stat(path, &st) < 0)
        return pv_error_set(err, errno, "%s", strerror(errno));
    /* A folder may be closed to us and open to whom we become to read it (image/owners.h). */
    int how = S_ISDIR(st.st_mode) ? O_PATH | O_DIRECTORY : O_RDONLY | O_NONBLOCK;
    pv_auto_fd int fd = open(path, how | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return pv_error_set(err, errno, "%s", strerror(errno));
    if (S_ISREG(st.st_mode))
        return take_file(path, fd, ret_ref, err);
    if (S_ISDIR(st.st_mode))
        return take_folder(path, fd, say, ret_ref, err);
    return pv_error_set(err, EINVAL, "neither a file nor a folder");
}

int image_store_resolve(const char *text, image_pack_say_fn *say, struct image_ref *ret_ref,
                        struct pv_error *err)
{
    struct image_ref ref = {0};
    int rc = resolve(text, say, &ref, err);
    if (rc < 0) {
        image_store_ref_done(&ref);
        pv_error_prefix(err, "image '%s'", text);
        return rc;
    }
    *ret_ref = ref;
    return 0;
}

void image_store_ref_done(struct image_ref *ref)
{
    free(ref->path);
    *ref = (struct image_ref){0};
}
