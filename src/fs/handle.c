/* SPDX-License-Identifier: Apache-2.0
 *
 * handle.c: files and folders that the guest has open. Each holds one descriptor.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int fs_handle_new(struct fs *fs, struct fs_node *node, int fd, int flags, struct fs_handle **ret)
{
    struct fs_handle *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    *h = (struct fs_handle){.refs = 2, .node = node, .fd = fd, .flags = flags};
    h->is_dir = node->type == S_IFDIR;
    pthread_mutex_init(&h->position, NULL);

    pthread_mutex_lock(&fs->lock);
    int rc = fs_table_add(&fs->handles, h, PV_MAX(fs->now.max_files / 2, 1u), &h->id);
    if (rc == 0) {
        node->refs++;
        LIST_INSERT_HEAD(&node->handles, h, link);
        fs->counters[FS_COUNTER_OPEN_FILES] = fs->handles.count;
    }
    pthread_mutex_unlock(&fs->lock);
    if (rc < 0) {
        free(h);
        return rc;
    }
    *ret = h;
    return 0;
}

struct fs_handle *fs_handle_get(struct fs *fs, uint64_t id, bool is_dir)
{
    pthread_mutex_lock(&fs->lock);
    struct fs_handle *h = fs_table_find(&fs->handles, id);
    if (h && h->is_dir == is_dir)
        h->refs++;
    else
        h = NULL;
    pthread_mutex_unlock(&fs->lock);
    return h;
}

void fs_handle_put(struct fs *fs, struct fs_handle *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&fs->lock);
    bool last = --h->refs == 0;
    if (last)
        LIST_REMOVE(h, link);
    pthread_mutex_unlock(&fs->lock);
    if (!last)
        return;
    close(h->fd);
    fs_node_put(fs, h->node);
    pthread_mutex_destroy(&h->position);
    free(h);
}

/* Takes it out of the table: no request finds it any more. */
static void forget(struct fs *fs, struct fs_handle *h)
{
    fs_table_remove(&fs->handles, h->id);
    fs->counters[FS_COUNTER_OPEN_FILES] = fs->handles.count;
}

void fs_handle_close(struct fs *fs, uint64_t id, bool is_dir)
{
    struct fs_handle *h = fs_handle_get(fs, id, is_dir);
    if (!h)
        return;
    pthread_mutex_lock(&fs->lock);
    bool first = fs_table_find(&fs->handles, id) != NULL;
    if (first)
        forget(fs, h);
    pthread_mutex_unlock(&fs->lock);
    if (first)
        fs_handle_put(fs, h); /* the table's reference */
    fs_handle_put(fs, h);
}

void fs_handles_reset(struct fs *fs)
{
    for (uint32_t i = 0; i < fs->handles.size; i++) {
        pthread_mutex_lock(&fs->lock);
        struct fs_handle *h = fs->handles.items[i];
        if (h)
            forget(fs, h);
        pthread_mutex_unlock(&fs->lock);
        fs_handle_put(fs, h);
    }
}
