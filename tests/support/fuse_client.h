/* SPDX-License-Identifier: Apache-2.0
 *
 * fuse_client.h: plays the guest's kernel for a shared folder: requests in, replies out.
 */
#ifndef TESTS_SUPPORT_FUSE_CLIENT_H
#define TESTS_SUPPORT_FUSE_CLIENT_H

#include "fs/fs.h"

#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>

#define FUSE_CLIENT_REPLY_MAX (1u << 20)

struct fuse_client {
    struct fs *fs;
    uint32_t uid, gid;
    uint64_t unique;
    int wrong;      /* replies that no kernel would accept */
    uint8_t *reply; /* payload of the last reply; room for FUSE_CLIENT_REPLY_MAX */
    size_t reply_len;
};

void fuse_client_init(struct fuse_client *c, struct fs *fs);
void fuse_client_done(struct fuse_client *c);
/* Sends a request with these bytes behind its header, cut into pieces of guest memory. Returns the
 * reply's error (negative) or the length of its payload; 0 without a reply. */
int fuse_client_ask(struct fuse_client *c, uint32_t opcode, uint64_t node, const void *bytes,
                    size_t len);
/* As a guest begins. */
int fuse_client_start(struct fuse_client *c);
/* args and then up to two strings, each with its NUL. */
int fuse_client_ask_name(struct fuse_client *c, uint32_t opcode, uint64_t node, const void *args,
                         size_t len, const char *name, const char *more);
/* The node's number, or a negative error. */
int64_t fuse_client_lookup(struct fuse_client *c, uint64_t parent, const char *name);
/* The handle, or a negative error. */
int64_t fuse_client_open(struct fuse_client *c, uint64_t node, uint32_t flags);
int64_t fuse_client_create(struct fuse_client *c, uint64_t parent, const char *name, uint32_t mode,
                           uint64_t *ret_node);
int fuse_client_read(struct fuse_client *c, uint64_t handle, uint64_t offset, uint32_t size);
int fuse_client_write(struct fuse_client *c, uint64_t handle, uint64_t offset, const void *bytes,
                      uint32_t len);
int fuse_client_getattr(struct fuse_client *c, uint64_t node, struct fuse_attr *ret_attr);

#endif
