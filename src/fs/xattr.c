/* SPDX-License-Identifier: Apache-2.0
 *
 * xattr.c: extended attributes: the guest's "user." ones are the file's on the host.
 *
 * All others are refused: "security." would give programs capabilities on the host, "trusted." and
 * ACLs would mean the host's ids. Our own one (FS_OWNER_XATTR) and its kin are hidden.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <linux/xattr.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define USER "user."
#define HIDDEN "user.containers."

static bool is_visible(const struct fs *fs, const char *name)
{
    return strncmp(name, USER, strlen(USER)) == 0 && name[strlen(USER)] &&
           !(fs->now.map_owners && strncmp(name, HIDDEN, strlen(HIDDEN)) == 0);
}

static int check_name(struct fs_call *c, const char *name)
{
    if (!name)
        return -EINVAL;
    if (!is_visible(c->fs, name))
        return -EOPNOTSUPP;
    return strlen(name) > XATTR_NAME_MAX ? -ERANGE : 0;
}

/* The file of the call, opened. */
static int open_file(struct fs_call *c)
{
    struct fs_node *node = fs_node_get(c->fs, c->header.nodeid);
    if (!node)
        return -ESTALE;
    bool can_have = node->type == S_IFREG || node->type == S_IFDIR;
    int fd = can_have ? fs_node_open_any(c->fs, node) : -EOPNOTSUPP;
    fs_node_put(c->fs, node);
    return fd;
}

int fs_setxattr(struct fs_call *c)
{
    /* The older, shorter form: the longer one was not negotiated. */
    const struct {
        uint32_t size, flags;
    } *in = fs_call_args(c, FUSE_COMPAT_SETXATTR_IN_SIZE);
    size_t value = 0;
    const char *name = in ? fs_call_string(c, FUSE_COMPAT_SETXATTR_IN_SIZE, &value) : NULL;
    int rc = check_name(c, name);
    if (rc == 0 && in->size > c->in_len - value) {
        c->malformed = true;
        rc = -EINVAL;
    }
    if (rc == 0 && c->fs->options.read_only)
        rc = -EROFS;
    if (rc < 0)
        return rc;
    pv_auto_fd int fd = open_file(c);
    if (fd < 0)
        return fd;
    return fsetxattr(fd, name, c->in + value, in->size, (int)in->flags) < 0 ? -errno : 0;
}

/* Answers with bytes, or with how many there would be. */
static int answer(struct fs_call *c, uint32_t asked, const char *bytes, size_t len)
{
    if (asked == 0) {
        c->out.getxattr = (struct fuse_getxattr_out){.size = (uint32_t)len};
        return sizeof(c->out.getxattr);
    }
    if (len > asked || len > fs_call_room(c))
        return -ERANGE;
    fs_call_put(c, 0, bytes, len);
    return (int)len;
}

int fs_getxattr(struct fs_call *c)
{
    const struct fuse_getxattr_in *in = fs_call_args(c, sizeof(*in));
    const char *name = in ? fs_call_string(c, sizeof(*in), NULL) : NULL;
    int rc = check_name(c, name);
    if (rc < 0)
        return rc;
    pv_auto_fd int fd = open_file(c);
    pv_auto_free char *value = malloc(XATTR_SIZE_MAX);
    if (fd < 0 || !value)
        return fd < 0 ? fd : -ENOMEM;
    ssize_t len = fgetxattr(fd, name, value, XATTR_SIZE_MAX);
    return len < 0 ? -errno : answer(c, in->size, value, (size_t)len);
}

/* Leaves the names that the guest may see. */
static size_t keep_visible(const struct fs *fs, char *names, size_t len)
{
    size_t kept = 0;
    for (size_t at = 0; at < len;) {
        size_t one = strnlen(names + at, len - at) + 1;
        if (at + one > len)
            break;
        if (is_visible(fs, names + at)) {
            memmove(names + kept, names + at, one);
            kept += one;
        }
        at += one;
    }
    return kept;
}

int fs_listxattr(struct fs_call *c)
{
    const struct fuse_getxattr_in *in = fs_call_args(c, sizeof(*in));
    if (!in)
        return -EINVAL;
    pv_auto_fd int fd = open_file(c);
    if (fd == -EOPNOTSUPP)
        return answer(c, in->size, "", 0); /* a link, for example, has none */
    pv_auto_free char *names = malloc(XATTR_LIST_MAX);
    if (fd < 0 || !names)
        return fd < 0 ? fd : -ENOMEM;
    ssize_t len = flistxattr(fd, names, XATTR_LIST_MAX);
    if (len < 0)
        return -errno;
    return answer(c, in->size, names, keep_visible(c->fs, names, (size_t)len));
}

int fs_removexattr(struct fs_call *c)
{
    const char *name = fs_call_string(c, 0, NULL);
    int rc = check_name(c, name);
    if (rc == 0 && c->fs->options.read_only)
        rc = -EROFS;
    if (rc < 0)
        return rc;
    pv_auto_fd int fd = open_file(c);
    if (fd < 0)
        return fd;
    return fremovexattr(fd, name) < 0 ? -errno : 0;
}
