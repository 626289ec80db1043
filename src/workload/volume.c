/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.c: -v.
 */
#include "workload/volume.h"

#include "base/attr.h"
#include "base/str.h"
#include "workload/words.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FLAG "-v"
#define OUT_OF_MEMORY(err) pv_error_set(err, ENOMEM, FLAG ": out of memory")

static const char *const caches[] = {"auto", "none", "always"};

static void done(struct workload_volume *v)
{
    free(v->host);
    free(v->only);
    free(v->guest);
}

void workload_volumes_done(struct workload_volumes *volumes)
{
    for (size_t i = 0; i < volumes->count; i++)
        done(&volumes->items[i]);
    *volumes = (struct workload_volumes){0};
}

static int read_option(struct workload_volume *v, const char *word, const char *text,
                       struct pv_error *err)
{
    if (strcmp(word, "ro") == 0 || strcmp(word, "rw") == 0) {
        v->read_only = word[1] == 'o';
        return 0;
    }
    for (size_t i = 0; i < PV_ARRAY_SIZE(caches); i++) {
        if (strncmp(word, "cache=", 6) == 0 && strcmp(word + 6, caches[i]) == 0) {
            v->cache = caches[i];
            return 0;
        }
    }
    return pv_error_set(err, EINVAL,
                        FLAG " '%s': '%s' is no option: ro, rw, cache=auto, cache=none and "
                             "cache=always are",
                        text, word);
}

static int read_options(struct workload_volume *v, char *words, const char *text,
                        struct pv_error *err)
{
    int rc = workload_words_check(words, FLAG, text, err);
    for (char *word; rc == 0 && (word = strsep(&words, ","));)
        rc = read_option(v, word, text, err);
    return rc;
}

static int check_host(const char *host, const char *text, struct pv_error *err)
{
    if (!*host)
        return pv_error_set(err, EINVAL, FLAG " '%s': the host's folder is missing", text);
    if (host[0] == '/' || strcmp(host, ".") == 0 || strcmp(host, "..") == 0 ||
        pv_str_starts_with(host, "./") || pv_str_starts_with(host, "../"))
        return 0;
    return pv_error_set(err, EINVAL,
                        FLAG " '%s': '%s' is no path (named volumes do not exist here): write "
                             "./%s for a folder here, or an absolute path",
                        text, host, host);
}

/* Cleans an absolute path: no empty components, none that walk. NULL: out of memory. */
static char *clean(const char *path, bool *ret_walks)
{
    char *out = malloc(strlen(path) + 2);
    size_t len = 0;
    *ret_walks = false;
    while (out && *path) {
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        *ret_walks |= (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.');
        if (n) {
            out[len++] = '/';
            memcpy(out + len, path, n);
            len += n;
        }
        path += n;
    }
    if (out)
        out[len] = '\0';
    return out;
}

static bool is_below(const char *path, const char *top)
{
    size_t len = strlen(top);
    return strncmp(path, top, len) == 0 && (path[len] == '/' || !path[len]);
}

static int set_guest(struct workload_volume *v, const char *guest, const char *text,
                     struct pv_error *err)
{
    static const char *const taken[] = {"/proc", "/sys", "/dev"};
    bool walks;
    if (guest[0] != '/')
        return pv_error_set(err, EINVAL, FLAG " '%s': '%s' in the machine: write an absolute path",
                            text, guest);
    v->guest = clean(guest, &walks);
    if (!v->guest)
        return OUT_OF_MEMORY(err);
    if (walks || strlen(v->guest) >= PATH_MAX)
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': '%s' in the machine: write a path without '.' and '..'",
                            text, guest);
    if (!v->guest[0])
        return pv_error_set(err, EINVAL, FLAG " '%s': a volume cannot be the root: --rootfs can",
                            text);
    for (size_t i = 0; i < PV_ARRAY_SIZE(taken); i++)
        if (is_below(v->guest, taken[i]))
            return pv_error_set(err, EINVAL, FLAG " '%s': %s is the guest kernel's own", text,
                                taken[i]);
    return 0;
}

static int parse(struct workload_volume *v, const char *text, struct pv_error *err)
{
    pv_auto_free char *copy = strdup(text);
    char *rest = copy;
    if (!copy)
        return OUT_OF_MEMORY(err);
    char *host = strsep(&rest, ":"), *guest = strsep(&rest, ":");
    if (!guest || (rest && strchr(rest, ':')))
        return pv_error_set(err, EINVAL, FLAG " '%s': write HOST:GUEST or HOST:GUEST:ro", text);
    if (!pv_str_is_utf8(text, strlen(text)))
        return pv_error_set(err, EILSEQ, FLAG ": the path is not UTF-8: mount its parent");
    v->cache = caches[0];
    int rc = check_host(host, text, err);
    if (rc == 0)
        rc = set_guest(v, guest, text, err);
    if (rc == 0 && rest)
        rc = read_options(v, rest, text, err);
    if (rc == 0 && !(v->host = strdup(host)))
        rc = OUT_OF_MEMORY(err);
    return rc;
}

int workload_volumes_add(struct workload_volumes *volumes, const char *text, struct pv_error *err)
{
    struct workload_volume v = {0};
    int rc = 0;
    if (volumes->count == WORKLOAD_VOLUMES_MAX)
        return pv_error_set(err, E2BIG, FLAG ": at most %d are possible", WORKLOAD_VOLUMES_MAX);
    rc = parse(&v, text, err);
    for (size_t i = 0; rc == 0 && i < volumes->count; i++)
        if (strcmp(volumes->items[i].guest, v.guest) == 0)
            rc = pv_error_set(err, EEXIST, FLAG " '%s': %s has a volume already", text, v.guest);
    if (rc < 0) {
        done(&v);
        return rc;
    }
    volumes->items[volumes->count++] = v;
    return 0;
}

/* A file is shared as the one that can be seen of its folder. */
static int split_file(struct workload_volume *v, struct pv_error *err)
{
    char *slash = strrchr(v->host, '/');
    v->only = strdup(slash + 1);
    if (!v->only)
        return OUT_OF_MEMORY(err);
    slash[slash == v->host] = '\0';
    return 0;
}

static int find(struct workload_volume *v, struct pv_error *err)
{
    struct stat st;
    struct statfs fs;
    char *path = realpath(v->host, NULL);
    if (!path)
        return pv_error_set(err, errno, FLAG " '%s': %s%s", v->host, strerror(errno),
                            errno == ENOENT ? ": make it first, for example with mkdir -p" : "");
    free(v->host);
    v->host = path;
    if (stat(path, &st) < 0)
        return pv_error_set(err, errno, FLAG " '%s': %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': neither a folder nor a plain file: share its folder, or "
                                 "give a disk with --disk",
                            path);
    if (statfs(path, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC)
        return pv_error_set(err, EINVAL,
                            FLAG " '%s': what is there shows each process something else: write "
                                 "what the machine has to know to a file and share that",
                            path);
    if (eaccess(path, S_ISDIR(st.st_mode) ? R_OK | X_OK : R_OK) < 0)
        return pv_error_set(err, errno, FLAG " '%s': %s", path, strerror(errno));
    if (!pv_str_is_utf8(path, strlen(path)))
        return pv_error_set(err, EILSEQ, FLAG ": the path is not UTF-8: mount its parent");
    return S_ISDIR(st.st_mode) ? 0 : split_file(v, err);
}

static size_t depth(const char *path)
{
    size_t count = 0;
    for (; *path; path++)
        count += *path == '/';
    return count;
}

int workload_volumes_find(struct workload_volumes *volumes, struct pv_error *err)
{
    for (size_t i = 0; i < volumes->count; i++) {
        int rc = find(&volumes->items[i], err);
        if (rc < 0)
            return rc;
    }
    /* Few: moved one by one. Those of one depth stay in the order of the command line. */
    for (size_t i = 1; i < volumes->count; i++) {
        struct workload_volume v = volumes->items[i];
        size_t at = i;
        for (; at > 0 && depth(volumes->items[at - 1].guest) > depth(v.guest); at--)
            volumes->items[at] = volumes->items[at - 1];
        volumes->items[at] = v;
    }
    return 0;
}
