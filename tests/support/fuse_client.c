/* SPDX-License-Identifier: Apache-2.0
 *
 * fuse_client.c: plays the guest's kernel for a shared folder.
 */
#include "support/fuse_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

void fuse_client_init(struct fuse_client *c, struct fs *fs)
{
    *c = (struct fuse_client){.fs = fs, .reply = malloc(FUSE_CLIENT_REPLY_MAX)};
    if (!c->reply)
        abort();
}

void fuse_client_done(struct fuse_client *c)
{
    free(c->reply);
}

int fuse_client_ask(struct fuse_client *c, uint32_t opcode, uint64_t node, const void *bytes,
                    size_t len)
{
    struct fuse_in_header in = {
        .len = (uint32_t)(sizeof(in) + len),
        .opcode = opcode,
        .unique = ++c->unique,
        .nodeid = node,
        .uid = c->uid,
        .gid = c->gid,
    };
    struct fuse_out_header out = {0};
    /* Cut where no structure ends, as the guest may. */
    size_t half = len / 2;
    uint8_t *copy = malloc(len + 1);
    if (!copy)
        abort();
    if (len)
        memcpy(copy, bytes, len);
    const struct iovec parts[] = {
        {&in, 20}, {(uint8_t *)&in + 20, sizeof(in) - 20}, {copy, half}, {copy + half, len - half}};
    const struct iovec room[] = {
        {&out, 5}, {(uint8_t *)&out + 5, sizeof(out) - 5}, {c->reply, FUSE_CLIENT_REPLY_MAX}};
    struct fs_request request = {.in = parts, .num_in = 4, .out = room, .num_out = 3};
    if (fs_serve(c->fs, &request, false) != 0)
        c->wrong++; /* it may not refuse to wait */
    free(copy);
    c->reply_len = 0;
    if (request.written == 0)
        return 0;
    if (request.written != out.len || out.unique != in.unique || out.len < sizeof(out) ||
        out.error > 0 || out.error <= -512 || (out.error && out.len != sizeof(out)))
        c->wrong++;
    c->reply_len = out.len - sizeof(out);
    return out.error ? out.error : (int)c->reply_len;
}

int fuse_client_start(struct fuse_client *c)
{
    const struct fuse_init_in in = {
        .major = FUSE_KERNEL_VERSION, .minor = 38, .max_readahead = 1 << 20, .flags = ~0u};
    return fuse_client_ask(c, FUSE_INIT, 0, &in, sizeof(in));
}

int fuse_client_ask_name(struct fuse_client *c, uint32_t opcode, uint64_t node, const void *args,
                         size_t len, const char *name, const char *more)
{
    size_t name_len = strlen(name) + 1, more_len = more ? strlen(more) + 1 : 0;
    uint8_t *bytes = malloc(len + name_len + more_len);
    if (!bytes)
        abort();
    if (len)
        memcpy(bytes, args, len);
    memcpy(bytes + len, name, name_len);
    if (more)
        memcpy(bytes + len + name_len, more, more_len);
    int rc = fuse_client_ask(c, opcode, node, bytes, len + name_len + more_len);
    free(bytes);
    return rc;
}

int64_t fuse_client_lookup(struct fuse_client *c, uint64_t parent, const char *name)
{
    int rc = fuse_client_ask_name(c, FUSE_LOOKUP, parent, NULL, 0, name, NULL);
    struct fuse_entry_out entry;
    if (rc < 0)
        return rc;
    memcpy(&entry, c->reply, sizeof(entry));
    return entry.nodeid ? (int64_t)entry.nodeid : -ENOENT;
}

int64_t fuse_client_open(struct fuse_client *c, uint64_t node, uint32_t flags)
{
    const struct fuse_open_in in = {.flags = flags};
    int rc =
        fuse_client_ask(c, flags & O_DIRECTORY ? FUSE_OPENDIR : FUSE_OPEN, node, &in, sizeof(in));
    struct fuse_open_out out;
    if (rc < 0)
        return rc;
    memcpy(&out, c->reply, sizeof(out));
    return (int64_t)out.fh;
}

int64_t fuse_client_create(struct fuse_client *c, uint64_t parent, const char *name, uint32_t mode,
                           uint64_t *ret_node)
{
    const struct fuse_create_in in = {.flags = O_RDWR | O_CREAT, .mode = mode};
    int rc = fuse_client_ask_name(c, FUSE_CREATE, parent, &in, sizeof(in), name, NULL);
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out;
    if (rc < 0)
        return rc;
    memcpy(&out, c->reply, sizeof(out));
    if (ret_node)
        *ret_node = out.entry.nodeid;
    return (int64_t)out.open.fh;
}

int fuse_client_read(struct fuse_client *c, uint64_t handle, uint64_t offset, uint32_t size)
{
    const struct fuse_read_in in = {.fh = handle, .offset = offset, .size = size};
    return fuse_client_ask(c, FUSE_READ, FUSE_ROOT_ID, &in, sizeof(in));
}

int fuse_client_write(struct fuse_client *c, uint64_t handle, uint64_t offset, const void *bytes,
                      uint32_t len)
{
    struct fuse_write_in in = {.fh = handle, .offset = offset, .size = len};
    uint8_t *all = malloc(sizeof(in) + len);
    if (!all)
        abort();
    memcpy(all, &in, sizeof(in));
    memcpy(all + sizeof(in), bytes, len);
    int rc = fuse_client_ask(c, FUSE_WRITE, FUSE_ROOT_ID, all, sizeof(in) + len);
    free(all);
    return rc;
}

int fuse_client_getattr(struct fuse_client *c, uint64_t node, struct fuse_attr *ret_attr)
{
    const struct fuse_getattr_in in = {0};
    int rc = fuse_client_ask(c, FUSE_GETATTR, node, &in, sizeof(in));
    struct fuse_attr_out out;
    if (rc < 0)
        return rc;
    memcpy(&out, c->reply, sizeof(out));
    *ret_attr = out.attr;
    return 0;
}
