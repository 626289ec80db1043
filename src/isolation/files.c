/* SPDX-License-Identifier: Apache-2.0
 *
 * files.c: looks in PARAVANE_LIBEXEC, else beside our own executable (the build tree), then where
 * an installation puts things, relative to it (so a moved installation works) and absolute.
 */
#include "isolation/files.h"

#include "base/str.h"
#include "isolation/kernel.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_file(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, R_OK) == 0;
}

/* The folder of our executable; the caller frees. */
static char *own_folder(void)
{
    char path[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    if (len <= 0)
        return NULL;
    path[len] = '\0';
    char *slash = strrchr(path, '/');
    *slash = '\0';
    return strdup(path);
}

static int list_folders(struct pv_strv *ret_folders)
{
    const char *chosen = getenv("PARAVANE_LIBEXEC");
    if (chosen && *chosen == '/')
        return pv_strv_add(ret_folders, chosen);
    pv_auto_free char *own = own_folder();
    if (own) {
        int rc = pv_strv_add(ret_folders, own);
        if (rc == 0)
            rc = pv_strv_add_take(ret_folders, pv_strf("%s/guest", own));
        if (rc == 0)
            rc = pv_strv_add_take(ret_folders, pv_strf("%s/../libexec/paravane", own));
        if (rc < 0)
            return rc;
    }
    return pv_strv_add(ret_folders, PARAVANE_LIBEXECDIR);
}

/* The first file `name` in folders, made absolute. */
static int find_file(const struct pv_strv *folders, const char *name, const char *what,
                     const char *way_out, char **ret_path, struct pv_error *err)
{
    pv_auto(pv_str) struct pv_str looked = {0};
    for (size_t i = 0; i < folders->count; i++) {
        pv_auto_free char *path = pv_strf("%s/%s", folders->items[i], name);
        if (path && is_file(path)) {
            *ret_path = realpath(path, NULL);
            return *ret_path ? 0 : pv_error_set(err, errno, "'%s': %s", path, strerror(errno));
        }
        pv_str_addf(&looked, "%s%s", looked.len ? ", " : "", folders->items[i]);
    }
    return pv_error_set(err, ENOENT, "%s '%s' not found in %s: %s", what, name,
                        looked.text ? looked.text : "any folder", way_out);
}

static int take_kernel(const char *path, char **ret_path, struct pv_error *err)
{
    pv_auto_free char *real = realpath(path, NULL);
    if (!real)
        return pv_error_set(err, errno, "kernel '%s': %s", path, strerror(errno));
    int rc = isolation_kernel_check(real, err);
    if (rc == 0)
        *ret_path = pv_take_ptr(real);
    return rc;
}

static int find_monitor(const struct pv_strv *folders, char **ret_path, struct pv_error *err)
{
    return find_file(folders, "paravane-monitor", "monitor", "install Paravane whole", ret_path,
                     err);
}

int isolation_files_find_monitor(char **ret_path, struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv folders = {0};
    int rc = list_folders(&folders);
    if (rc < 0)
        return pv_error_set(err, -rc, "find the monitor: %s", strerror(-rc));
    return find_monitor(&folders, ret_path, err);
}

int isolation_files_find(const char *kernel, struct isolation_files *ret_files,
                         struct pv_error *err)
{
    struct isolation_files files = {0};
    pv_auto(pv_strv) struct pv_strv folders = {0};
    const char *chosen = kernel ? kernel : getenv("PARAVANE_KERNEL");

    int rc = list_folders(&folders);
    if (rc < 0)
        return pv_error_set(err, -rc, "find the monitor: %s", strerror(-rc));
    rc = find_monitor(&folders, &files.monitor, err);
    if (rc == 0 && chosen && *chosen)
        rc = take_kernel(chosen, &files.kernel, err);
    else if (rc == 0)
        rc = find_file(&folders, "linux", "guest kernel",
                       "build it with 'make guest-kernel', or give one with --kernel",
                       &files.kernel, err);
    if (rc == 0)
        rc = find_file(&folders, "initramfs.cpio", "initramfs", "build it with 'make'",
                       &files.initramfs, err);
    if (rc < 0) {
        isolation_files_done(&files);
        return rc;
    }
    *ret_files = files;
    return 0;
}

void isolation_files_done(struct isolation_files *files)
{
    free(files->monitor);
    free(files->kernel);
    free(files->initramfs);
    *files = (struct isolation_files){0};
}
