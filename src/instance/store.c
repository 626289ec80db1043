/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c: the folder of instances is the index: no file lists them, so none can be wrong.
 */
#include "instance/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int open_part(const struct instance_place *place, const char *name, struct pv_error *err)
{
    pv_auto_free char *path = pv_strf("%s/%s", place->state, name);
    if (!path)
        return pv_error_set(err, ENOMEM, "open the store: out of memory");
    int rc = instance_place_make(path, geteuid() == 0 ? 0711 : 0700, err);
    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : pv_error_set(err, errno, "open '%s': %s", path, strerror(errno));
}

int instance_store_open(struct instance_store *ret_store, struct pv_error *err)
{
    struct instance_store store = {.instances_fd = -1, .names_fd = -1};
    int rc = instance_place_find(&store.place, err);
    if (rc < 0)
        return rc;
    store.instances_fd = open_part(&store.place, "instances", err);
    if (store.instances_fd >= 0)
        store.names_fd = open_part(&store.place, "names", err);
    if (store.names_fd < 0) {
        rc = store.instances_fd < 0 ? store.instances_fd : store.names_fd;
        instance_store_close(&store);
        return rc;
    }
    *ret_store = store;
    return 0;
}

void instance_store_close(struct instance_store *store)
{
    pv_cleanup_fd(&store->instances_fd);
    pv_cleanup_fd(&store->names_fd);
    store->instances_fd = store->names_fd = -1;
    instance_place_done(&store->place);
}

bool instance_store_is_id(const char *text)
{
    return strlen(text) == INSTANCE_ID_LEN && strspn(text, "0123456789abcdef") == INSTANCE_ID_LEN;
}

static int compare_ids(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int instance_store_list(const struct instance_store *store, struct pv_strv *ret_ids,
                        struct pv_error *err)
{
    int fd = openat(store->instances_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int code = errno;
        pv_cleanup_fd(&fd);
        return pv_error_set(err, code, "list instances: %s", strerror(code));
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));)
        if (instance_store_is_id(entry->d_name))
            rc = pv_strv_add(ret_ids, entry->d_name);
    closedir(dir);
    if (rc < 0)
        return pv_error_set(err, -rc, "list instances: %s", strerror(-rc));
    if (ret_ids->count)
        qsort(ret_ids->items, ret_ids->count, sizeof(ret_ids->items[0]), compare_ids);
    return 0;
}

static bool read_name(const struct instance_store *store, const char *name,
                      char ret_id[INSTANCE_ID_LEN + 1])
{
    ssize_t len = readlinkat(store->names_fd, name, ret_id, INSTANCE_ID_LEN + 1);
    if (len != INSTANCE_ID_LEN)
        return false;
    ret_id[len] = '\0';
    return instance_store_is_id(ret_id) && faccessat(store->instances_fd, ret_id, F_OK, 0) == 0;
}

int instance_store_find(const struct instance_store *store, const char *text,
                        char ret_id[INSTANCE_ID_LEN + 1], struct pv_error *err)
{
    if (!pv_str_is_name(text))
        return pv_error_set(err, EINVAL, "'%s' is no name of an instance", text);
    if (read_name(store, text, ret_id))
        return 0;

    pv_auto(pv_strv) struct pv_strv ids = {0};
    const char *found = NULL;
    int rc = instance_store_list(store, &ids, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < ids.count; i++) {
        if (!pv_str_starts_with(ids.items[i], text))
            continue;
        if (found)
            return pv_error_set(err, ENOTUNIQ,
                                "'%s' is the beginning of several ids: write more of it", text);
        found = ids.items[i];
    }
    if (!found)
        return pv_error_set(err, ENOENT, "no instance '%s': 'paravane ps -a' lists them", text);
    memcpy(ret_id, found, INSTANCE_ID_LEN + 1);
    return 0;
}

int instance_store_add_name(const struct instance_store *store, const char *name, const char *id,
                            struct pv_error *err)
{
    char owner[INSTANCE_ID_LEN + 1];
    while (symlinkat(id, store->names_fd, name) < 0) {
        if (errno != EEXIST)
            return pv_error_set(err, errno, "name '%s': %s", name, strerror(errno));
        if (read_name(store, name, owner))
            return pv_error_set(err, EEXIST,
                                "name '%s' is in use by instance %.12s: choose another, or remove "
                                "that one with 'paravane rm %s'",
                                name, owner, name);
        if (unlinkat(store->names_fd, name, 0) < 0 && errno != ENOENT)
            return pv_error_set(err, errno, "name '%s': %s", name, strerror(errno));
    }
    return 0;
}

void instance_store_remove_name(const struct instance_store *store, const char *name,
                                const char *id)
{
    char owner[INSTANCE_ID_LEN + 2];
    ssize_t len = readlinkat(store->names_fd, name, owner, sizeof(owner));
    if (len == INSTANCE_ID_LEN && memcmp(owner, id, INSTANCE_ID_LEN) == 0)
        unlinkat(store->names_fd, name, 0);
}

void instance_store_remove_names_of(const struct instance_store *store, const char *id)
{
    int fd = openat(store->names_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        pv_cleanup_fd(&fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN)
            instance_store_remove_name(store, entry->d_name, id);
    closedir(dir);
}
