/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroup_remove.c: takes the cgroups of a machine away, with whatever is still alive in them.
 * Runs on: the monitor before its jail, or the CLI, when the monitor is dead.
 *
 * A cgroup can be removed once its last process was reaped, which happens some time after it was
 * killed: so kill, wait a little, try again, for two seconds.
 */
#include "jail/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "jail/cgroup_internal.h"

/* Kills everything in dir, once. */
static void kill_inside(const char *dir)
{
    if (jail_cgroup_write(dir, "cgroup.kill", "1") == 0)
        return;
    pv_auto_free char *path = pv_strf("%s/cgroup.procs", dir);
    FILE *list = path ? fopen(path, "re") : NULL;
    if (!list)
        return;
    int pid;
    while (fscanf(list, "%d", &pid) == 1)
        if (pid > 0)            /* 0: a process that this pid namespace cannot name */
            kill(pid, SIGKILL); /* ESRCH: it was faster */
    fclose(list);
}

static int remove_directory(const char *path, struct pv_error *err)
{
    const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0; /* on a read-only file system, rmdir would say something else */
    for (int tries = 0; tries < 200; tries++) {
        if (rmdir(path) == 0) {
            /* <parent> goes with its last machine. */
            pv_auto_free char *parent = strndup(path, (size_t)(strrchr(path, '/') - path));
            if (parent)
                rmdir(parent);
            return 0;
        }
        if (errno == ENOENT || errno == ENODEV)
            return 0;
        if (errno != EBUSY)
            return pv_error_set(err, errno, "remove cgroup %s: %s", path, strerror(errno));
        kill_inside(path);
        nanosleep(&pause, NULL);
    }
    return pv_error_set(err, EBUSY, "remove cgroup %s: a process in it does not die", path);
}

int jail_cgroup_remove(struct jail_cgroup *cgroup, struct pv_error *err)
{
    struct pv_strv paths __attribute__((cleanup(pv_strv_auto))) = {0};
    if (jail_cgroup_paths(cgroup, &paths) < 0)
        return pv_error_set(err, ENOMEM, "out of memory for the cgroups' paths");
    int first = 0;
    for (size_t i = 0; i < paths.count; i++) {
        int rc = remove_directory(paths.items[i], first ? NULL : err);
        first = first ? first : rc;
    }
    return first;
}

/* Removes <dir>/<parent>/<id> for dir and each directory above it, up to top. */
static int remove_upwards(const char *top, const char *dir, const char *parent, const char *id,
                          struct pv_error *err)
{
    pv_auto_free char *at = strdup(dir);
    if (!at)
        return pv_error_set(err, ENOMEM, "out of memory for a cgroup's path");
    for (;;) {
        pv_auto_free char *path = pv_strf("%s/%s/%s", at, parent, id);
        if (!path)
            return pv_error_set(err, ENOMEM, "out of memory for a cgroup's path");
        /* Below a directory that this user may not even search, this user has made nothing: it is
         * another user's. */
        bool closed = faccessat(AT_FDCWD, path, F_OK, AT_EACCESS) < 0 && errno == EACCES;
        int rc = closed ? 0 : remove_directory(path, err);
        if (rc < 0 || strlen(at) <= strlen(top))
            return rc;
        *strrchr(at, '/') = '\0';
    }
}

static int check_path(const struct jail_hierarchies *hierarchies, const char *path,
                      const char *ending, struct pv_error *err)
{
    size_t len = strlen(path), end = strlen(ending);
    bool good = len > end && strcmp(path + len - end, ending) == 0 && !strstr(path, "/../");
    bool inside = false;
    for (size_t i = 0; good && i < hierarchies->count && !inside; i++) {
        const char *top = hierarchies->list[i].top;
        inside = pv_str_starts_with(path, top) && path[strlen(top)] == '/';
    }
    if (!inside)
        return pv_error_set(err, EINVAL, "'%s' is not the path of a machine's cgroup", path);
    return 0;
}

int jail_cgroup_remove_leftovers(const struct jail_cgroup_host *host, const char *id,
                                 const struct pv_strv *paths, struct pv_error *err)
{
    if (!pv_str_is_name(id))
        return pv_error_set(err, EINVAL, "'%s' is no name for a cgroup", id);
    struct jail_hierarchies hierarchies __attribute__((cleanup(jail_hierarchies_done)));
    int rc = jail_hierarchies_read(host, &hierarchies, err);
    pv_auto_free char *ending = pv_strf("/%s/%s", jail_cgroup_parent(host), id);
    if (!ending)
        return pv_error_set(err, ENOMEM, "out of memory for a cgroup's path");
    for (size_t i = 0; rc == 0 && i < hierarchies.count; i++)
        rc = remove_upwards(hierarchies.list[i].top, hierarchies.list[i].own,
                            jail_cgroup_parent(host), id, err);
    for (size_t i = 0; rc == 0 && paths && i < paths->count; i++) {
        rc = check_path(&hierarchies, paths->items[i], ending, err);
        if (rc == 0)
            rc = remove_directory(paths->items[i], err);
    }
    return rc;
}
