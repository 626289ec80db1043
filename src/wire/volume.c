/* SPDX-License-Identifier: Apache-2.0
 *
 * volume.c: shared folders as JSON.
 */
#include "wire/volume.h"

#include "wire/check_internal.h"

#include "base/str.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* What both kinds have. */
struct shared {
    char **tag, **path, **only;
    const char *path_key;
    bool *read_only;
};

static int check_tag(const char *tag, struct pv_error *err)
{
    size_t len = strlen(tag);
    bool plain = len > 0 && len <= WIRE_VOLUME_TAG_MAX;
    for (const char *c = tag; plain && *c; c++)
        plain = isalnum((unsigned char)*c);
    return plain ? 0
                 : pv_error_set(err, EINVAL, "'tag': must be 1 to %d letters and digits",
                                WIRE_VOLUME_TAG_MAX);
}

static int check_only(const char *only, struct pv_error *err)
{
    if (!only)
        return 0;
    if (!*only || strlen(only) > NAME_MAX || strchr(only, '/') || strcmp(only, ".") == 0 ||
        strcmp(only, "..") == 0)
        return pv_error_set(err, EINVAL, "'only': must be a name in the folder");
    return 0;
}

static bool walks(const char *path)
{
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        size_t len = strcspn(at, "/");
        if ((len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.'))
            return true;
    }
    return false;
}

static int read_shared(const struct pv_json *o, struct shared *s, struct pv_error *err)
{
    int rc = pv_json_need_string(o, "tag", s->tag, err);
    if (rc == 0)
        rc = check_tag(*s->tag, err);
    if (rc == 0)
        rc = pv_json_need_string(o, s->path_key, s->path, err);
    if (rc == 0)
        rc = wire_check_path(s->path_key, *s->path, err);
    if (rc == 0 && walks(*s->path))
        rc = pv_error_set(err, EINVAL, "'%s': has '.' or '..' in it", s->path_key);
    if (rc == 0)
        rc = pv_json_get_string(o, "only", s->only, err);
    if (rc == 0)
        rc = check_only(*s->only, err);
    return rc == 0 ? pv_json_get_bool(o, "read_only", s->read_only, err) : rc;
}

static int check_cache(const char *cache, struct pv_error *err)
{
    static const char *const names[] = {"auto", "none", "always"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(names); i++)
        if (!cache || strcmp(cache, names[i]) == 0)
            return 0;
    return pv_error_set(err, EINVAL, "'cache': must be auto, none or always");
}

static int read_volume(const struct pv_json *o, struct wire_volume *v, struct pv_error *err)
{
    static const char *const keys[] = {"tag", "path", "only", "cache", "read_only"};
    struct shared s = {&v->tag, &v->path, &v->only, "path", &v->read_only};
    int rc = wire_check_keys(o, keys, PV_ARRAY_SIZE(keys), err);
    if (rc == 0)
        rc = read_shared(o, &s, err);
    if (rc == 0)
        rc = pv_json_get_string(o, "cache", &v->cache, err);
    return rc == 0 ? check_cache(v->cache, err) : rc;
}

static int read_mount(const struct pv_json *o, struct wire_mount *m, struct pv_error *err)
{
    static const char *const keys[] = {"tag", "target", "only", "read_only"};
    struct shared s = {&m->tag, &m->target, &m->only, "target", &m->read_only};
    int rc = wire_check_keys(o, keys, PV_ARRAY_SIZE(keys), err);
    return rc == 0 ? read_shared(o, &s, err) : rc;
}

/* How many items a list has. */
static int count_items(const struct pv_json *o, const char *key, size_t *ret_count,
                       struct pv_error *err)
{
    const struct pv_json *list = pv_json_get(o, key);
    struct pv_strv none = {0};
    *ret_count = pv_json_array_length(list);
    if (list && !*ret_count && pv_json_get_strv(o, key, &none, NULL) < 0)
        return pv_error_set(err, EINVAL, "'%s': expected a list", key);
    if (*ret_count > WIRE_VOLUMES_MAX)
        return pv_error_set(err, E2BIG, "'%s': more than %d", key, WIRE_VOLUMES_MAX);
    return 0;
}

int wire_volumes_read(const struct pv_json *o, const char *key, struct wire_volumes *volumes,
                      struct pv_error *err)
{
    size_t count;
    int rc = count_items(o, key, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        volumes->count++;
        struct wire_volume *v = &volumes->items[i];
        rc = read_volume(pv_json_array_at(pv_json_get(o, key), i), v, err);
        for (size_t j = 0; rc == 0 && j < i; j++)
            if (strcmp(volumes->items[j].tag, v->tag) == 0)
                rc = pv_error_set(err, EEXIST, "'tag': '%s' is there twice", v->tag);
        if (rc < 0)
            return pv_error_prefix(err, "'%s': number %zu", key, i);
    }
    return rc;
}

int wire_mounts_read(const struct pv_json *o, const char *key, struct wire_mounts *mounts,
                     struct pv_error *err)
{
    size_t count;
    int rc = count_items(o, key, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        mounts->count++;
        rc = read_mount(pv_json_array_at(pv_json_get(o, key), i), &mounts->items[i], err);
        if (rc < 0)
            return pv_error_prefix(err, "'%s': number %zu", key, i);
    }
    return rc;
}

static int add_item(struct pv_json *list, const char *tag, const char *path_key, const char *path,
                    const char *only, const char *cache, bool read_only)
{
    struct pv_json *o = pv_json_new_object();
    if (!o || pv_json_add(list, NULL, o) < 0 || pv_json_add_string(o, "tag", tag) < 0 ||
        pv_json_add_string(o, path_key, path) < 0 || pv_json_add_string(o, "only", only) < 0 ||
        pv_json_add_string(o, "cache", cache) < 0 ||
        pv_json_add_bool(o, "read_only", read_only) < 0)
        return -ENOMEM;
    return 0;
}

int wire_volumes_write(struct pv_json *o, const char *key, const struct wire_volumes *volumes)
{
    struct pv_json *list = volumes->count ? pv_json_new_array() : NULL;
    if (!volumes->count || !list)
        return volumes->count ? -ENOMEM : 0;
    for (uint32_t i = 0; i < volumes->count; i++) {
        const struct wire_volume *v = &volumes->items[i];
        if (add_item(list, v->tag, "path", v->path, v->only, v->cache, v->read_only) < 0) {
            pv_json_free(list);
            return -ENOMEM;
        }
    }
    return pv_json_add(o, key, list);
}

int wire_mounts_write(struct pv_json *o, const char *key, const struct wire_mounts *mounts)
{
    struct pv_json *list = mounts->count ? pv_json_new_array() : NULL;
    if (!mounts->count || !list)
        return mounts->count ? -ENOMEM : 0;
    for (uint32_t i = 0; i < mounts->count; i++) {
        const struct wire_mount *m = &mounts->items[i];
        if (add_item(list, m->tag, "target", m->target, m->only, NULL, m->read_only) < 0) {
            pv_json_free(list);
            return -ENOMEM;
        }
    }
    return pv_json_add(o, key, list);
}

void wire_volumes_done(struct wire_volumes *volumes)
{
    for (uint32_t i = 0; i < volumes->count; i++) {
        free(volumes->items[i].tag);
        free(volumes->items[i].path);
        free(volumes->items[i].only);
        free(volumes->items[i].cache);
    }
    *volumes = (struct wire_volumes){0};
}

void wire_mounts_done(struct wire_mounts *mounts)
{
    for (uint32_t i = 0; i < mounts->count; i++) {
        free(mounts->items[i].tag);
        free(mounts->items[i].target);
        free(mounts->items[i].only);
    }
    *mounts = (struct wire_mounts){0};
}
