/* SPDX-License-Identifier: Apache-2.0
 *
 * cgroup_find.c: reads where this host's cgroup hierarchies are mounted and where we are in them.
 * Runs on: any thread, outside the jail.
 * Spec: proc(5) for /proc/PID/mountinfo and /proc/PID/cgroup, cgroups(7).
 *
 * A controller lives in one hierarchy: in a v1 hierarchy of its own or with others (cpu,cpuacct),
 * or in the one v2 hierarchy. Both kinds may be mounted at once. In a container, the mount shows
 * only a part of the hierarchy, whose root is named in mountinfo: our own path is cut by it.
 */
#include "jail/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define TEXT_MAX (1 << 20)

const char *const jail_controller_names[JAIL_CONTROLLERS] = {
    [JAIL_CONTROLLER_MEMORY] = "memory",
    [JAIL_CONTROLLER_CPU] = "cpu",
    [JAIL_CONTROLLER_CPUACCT] = "cpuacct",
    [JAIL_CONTROLLER_PIDS] = "pids",
};

const char *jail_cgroup_parent(const struct jail_cgroup_host *host)
{
    return host && host->parent ? host->parent : "paravane";
}

int jail_cgroup_open(const char *dir, const char *name, int flags)
{
    pv_auto_free char *path = pv_strf("%s/%s", dir, name);
    if (!path)
        return -ENOMEM;
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int jail_cgroup_write(const char *dir, const char *name, const char *text)
{
    int fd = jail_cgroup_open(dir, name, O_WRONLY);
    if (fd < 0)
        return fd;
    ssize_t written = write(fd, text, strlen(text));
    int code = errno;
    close(fd);
    return written < 0 ? -code : 0;
}

/* True when the list of words, separated by `separator` or a newline, contains word. */
static bool has_word(const char *list, char separator, const char *word)
{
    size_t len = strlen(word);
    for (const char *at = list; *at;) {
        size_t part = 0;
        while (at[part] && at[part] != separator && at[part] != '\n')
            part++;
        if (part == len && memcmp(at, word, len) == 0)
            return true;
        at += part;
        if (*at)
            at++;
    }
    return false;
}

bool jail_cgroup_lists(const char *dir, const char *name, const char *word)
{
    pv_auto_free char *path = pv_strf("%s/%s", dir, name);
    pv_auto_free char *text = NULL;
    if (!path || pv_fd_read_file(AT_FDCWD, path, 4096, &text, NULL, NULL) < 0)
        return false;
    return has_word(text, ' ', word);
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from;) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
            from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
            *to++ = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
}

/* Our path in the hierarchy whose line in self_cgroup names `controller` ("" for v2), copied. NULL
 * when there is none. text is not changed. */
static char *own_path(const char *text, const char *controller)
{
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        pv_auto_free char *copy = strndup(line, len);
        line += len + (line[len] == '\n');
        char *names = copy ? strchr(copy, ':') : NULL;
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        names++;
        if (controller[0] ? has_word(names, ',', controller) : names[0] == '\0')
            return strdup(path);
    }
    return NULL;
}

/* The directory of our cgroup `path` below the mount point `top` that shows the part `root`. */
static char *own_directory(const char *top, const char *root, const char *path)
{
    size_t cut = strcmp(root, "/") == 0 ? 0 : strlen(root);
    bool inside = path && strncmp(path, root, cut) == 0 && (path[cut] == '/' || !path[cut]) &&
                  !strstr(path, "/..");
    if (!inside || strcmp(path + cut, "/") == 0)
        return strdup(top);
    return pv_strf("%s%s", top, path + cut);
}

/* Takes a line of mountinfo apart; fields are found in place. False: not a line of ours. */
static bool split_line(char *line, char **ret_root, char **ret_top, char **ret_type,
                       char **ret_options)
{
    char *save = NULL, *field = strtok_r(line, " ", &save);
    for (int i = 0; field && strcmp(field, "-") != 0; i++) {
        if (i == 3)
            *ret_root = field;
        if (i == 4)
            *ret_top = field;
        field = strtok_r(NULL, " ", &save);
    }
    *ret_type = strtok_r(NULL, " ", &save);
    strtok_r(NULL, " ", &save); /* the source */
    *ret_options = strtok_r(NULL, " ", &save);
    return *ret_root && *ret_top && *ret_type && *ret_options;
}

static int add_hierarchy(struct jail_hierarchies *list, char *line, const char *self)
{
    char *root = NULL, *top = NULL, *type = NULL, *options = NULL;
    if (list->count == JAIL_HIERARCHIES_MAX || !split_line(line, &root, &top, &type, &options))
        return 0;
    int version = strcmp(type, "cgroup2") == 0 ? 2 : strcmp(type, "cgroup") == 0 ? 1 : 0;
    if (!version)
        return 0;
    unescape(root);
    unescape(top);

    struct jail_hierarchy h = {.version = version};
    const char *first = "";
    bool any = false;
    for (int c = 0; c < JAIL_CONTROLLERS; c++) {
        const char *name = jail_controller_names[c];
        h.has[c] = version == 1 ? has_word(options, ',', name)
                                : c == JAIL_CONTROLLER_CPUACCT ||
                                      jail_cgroup_lists(top, "cgroup.controllers", name);
        if (h.has[c] && version == 1)
            first = name;
        any = any || h.has[c];
    }
    if (!any)
        return 0;
    pv_auto_free char *path = own_path(self, first);
    h.top = strdup(top);
    h.own = own_directory(top, root, path);
    if (!h.top || !h.own) {
        free(h.top);
        free(h.own);
        return -ENOMEM;
    }
    list->list[list->count++] = h;
    return 0;
}

int jail_hierarchies_read(const struct jail_cgroup_host *host, struct jail_hierarchies *ret_list,
                          struct pv_error *err)
{
    const char *mountinfo = host && host->mountinfo ? host->mountinfo : "/proc/self/mountinfo";
    const char *self_cgroup = host && host->self_cgroup ? host->self_cgroup : "/proc/self/cgroup";
    memset(ret_list, 0, sizeof(*ret_list));

    pv_auto_free char *mounts = NULL;
    pv_auto_free char *self = NULL;
    int rc = pv_fd_read_file(AT_FDCWD, mountinfo, TEXT_MAX, &mounts, NULL, err);
    if (rc == 0)
        rc = pv_fd_read_file(AT_FDCWD, self_cgroup, TEXT_MAX, &self, NULL, err);
    if (rc < 0)
        return pv_error_prefix(err, "find the cgroups of this host");

    char *save = NULL;
    for (char *line = strtok_r(mounts, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (add_hierarchy(ret_list, line, self) < 0)
            return pv_error_set(err, ENOMEM, "out of memory for the cgroups of this host");
    return 0;
}

void jail_hierarchies_done(struct jail_hierarchies *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->list[i].top);
        free(list->list[i].own);
    }
    list->count = 0;
}

const struct jail_hierarchy *jail_hierarchies_find(const struct jail_hierarchies *list,
                                                   enum jail_controller controller)
{
    for (int version = 1; version <= 2; version++)
        for (size_t i = 0; i < list->count; i++)
            if (list->list[i].version == version && list->list[i].has[controller])
                return &list->list[i];
    return NULL;
}

/* NULL when this user may make cgroups in dir and move processes there, else why not. */
static char *why_not(const struct jail_hierarchy *h, const char *dir)
{
    static const char *const names[] = {"", "/cgroup.procs", "/cgroup.subtree_control"};
    size_t count = h->version == 2 ? PV_ARRAY_SIZE(names) : 1;
    for (size_t i = 0; i < count; i++) {
        pv_auto_free char *path = pv_strf("%s%s", dir, names[i]);
        if (!path)
            return NULL;
        if (faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0)
            continue;
        if (errno == EACCES)
            return pv_strf("cgroup %s is not delegated to uid %u", dir, (unsigned)geteuid());
        return pv_strf("cgroup %s: %s", path, strerror(errno));
    }
    return NULL;
}

char *jail_hierarchy_base(const struct jail_hierarchy *h, unsigned i, char **ret_reason)
{
    /* root works at the top. A plain user on v2 works beside the own cgroup: one with processes in
     * it, like the own one, cannot have children with controllers. v1 has no such rule. */
    char *beside = NULL;
    size_t top_len = strlen(h->top);
    const char *slash = strrchr(h->own, '/');
    if (h->version == 2 && slash && strlen(h->own) > top_len && (size_t)(slash - h->own) >= top_len)
        beside = strndup(h->own, (size_t)(slash - h->own));

    const char *candidates[] = {geteuid() == 0 ? h->top : NULL, beside, h->own};
    char *base = NULL;
    for (size_t c = 0; c < PV_ARRAY_SIZE(candidates) && !base; c++)
        if (candidates[c] && i-- == 0)
            base = strdup(candidates[c]);
    free(beside);
    if (base && ret_reason)
        *ret_reason = why_not(h, base);
    return base;
}
