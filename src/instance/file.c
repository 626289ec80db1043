/* SPDX-License-Identifier: Apache-2.0
 *
 * file.c: careful reading, and removal that stays below its folder whatever it finds.
 */
#include "instance/file.h"

#include "base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define TREE_DEPTH_MAX 64

int instance_file_open(int dirfd, const char *name, struct pv_error *err)
{
    struct stat st;
    pv_auto_fd int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0)
        return pv_error_set(err, errno, "open '%s': %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return pv_error_set(err, EINVAL, "'%s' is no regular file", name);
    return pv_take_fd(&fd);
}

int instance_file_read(int dirfd, const char *name, size_t max, char **ret_text, size_t *ret_len,
                       struct pv_error *err)
{
    pv_auto_fd int fd = instance_file_open(dirfd, name, err);
    if (fd < 0)
        return fd;
    pv_auto_free char *text = malloc(max + 2);
    if (!text)
        return pv_error_set(err, ENOMEM, "read '%s': out of memory", name);
    ssize_t len = pv_fd_read_full(fd, text, max + 1);
    if (len < 0)
        return pv_error_set(err, (int)-len, "read '%s': %s", name, strerror((int)-len));
    if ((size_t)len > max)
        return pv_error_set(err, EFBIG, "'%s' is larger than %zu bytes", name, max);
    text[len] = '\0';
    *ret_text = pv_take_ptr(text);
    if (ret_len)
        *ret_len = (size_t)len;
    return 0;
}

static int remove_entry(int dirfd, const char *name, unsigned depth);

static int empty_folder(int fd, unsigned depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            rc = remove_entry(dirfd(dir), entry->d_name, depth + 1);
    closedir(dir);
    return rc;
}

static int remove_entry(int dirfd, const char *name, unsigned depth)
{
    if (unlinkat(dirfd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    if (depth > TREE_DEPTH_MAX)
        return -ELOOP;
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int rc = empty_folder(fd, depth);
    if (rc == 0 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = -errno;
    return rc;
}

int instance_file_remove_tree(int dirfd, const char *name, struct pv_error *err)
{
    int rc = remove_entry(dirfd, name, 0);
    /* Another command that sweeps the same tree may put the parent out of step once. */
    if (rc == -ENOTEMPTY)
        rc = remove_entry(dirfd, name, 0);
    return rc == 0 ? 0 : pv_error_set(err, -rc, "remove '%s': %s", name, strerror(-rc));
}
