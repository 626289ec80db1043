/* SPDX-License-Identifier: Apache-2.0
 *
 * call.c: what a request holds and what goes back.
 * Trust:   lengths and strings come from the guest.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <string.h>

const void *fs_call_args(struct fs_call *c, size_t size)
{
    if (c->in_len >= size)
        return c->in;
    c->malformed = true;
    return NULL;
}

const char *fs_call_string(struct fs_call *c, size_t offset, size_t *ret_next)
{
    const void *end = offset < c->in_len ? memchr(c->in + offset, '\0', c->in_len - offset) : NULL;
    if (!end) {
        c->malformed = true;
        return NULL;
    }
    if (ret_next)
        *ret_next = (size_t)((const uint8_t *)end - c->in) + 1;
    return (const char *)c->in + offset;
}

int fs_call_name(struct fs_call *c, size_t offset, const char **ret_name, size_t *ret_next)
{
    const char *name = fs_call_string(c, offset, ret_next);
    if (!name)
        return -EINVAL;
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        c->malformed = true; /* the guest's kernel resolves these itself */
        return -EINVAL;
    }
    if (strlen(name) > NAME_MAX)
        return -ENAMETOOLONG;
    *ret_name = name;
    return 0;
}

uint64_t fs_iov_bytes(const struct iovec *iov, unsigned num)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < num; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static size_t copy(const struct iovec *iov, unsigned num, uint64_t offset, void *to,
                   const void *from, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < num && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t n = (size_t)PV_MIN((uint64_t)iov[i].iov_len - offset, (uint64_t)(len - done));
        uint8_t *there = (uint8_t *)iov[i].iov_base + offset;
        if (to)
            memcpy((uint8_t *)to + done, there, n);
        else
            memcpy(there, (const uint8_t *)from + done, n);
        done += n;
        offset = 0;
    }
    return done;
}

size_t fs_iov_read(const struct iovec *iov, unsigned num, uint64_t offset, void *buf, size_t len)
{
    return copy(iov, num, offset, buf, NULL, len);
}

size_t fs_iov_write(const struct iovec *iov, unsigned num, uint64_t offset, const void *buf,
                    size_t len)
{
    return copy(iov, num, offset, NULL, buf, len);
}

uint64_t fs_call_room(const struct fs_call *c)
{
    uint64_t room = fs_iov_bytes(c->request->out, c->request->num_out);
    return room > sizeof(struct fuse_out_header) ? room - sizeof(struct fuse_out_header) : 0;
}

void fs_call_put(struct fs_call *c, uint64_t offset, const void *buf, size_t len)
{
    c->out_is_direct = true;
    fs_iov_write(c->request->out, c->request->num_out, sizeof(struct fuse_out_header) + offset, buf,
                 len);
}
