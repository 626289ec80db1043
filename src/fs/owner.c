/* SPDX-License-Identifier: Apache-2.0
 *
 * owner.c: whom files belong to, and what the guest may see and set of it.
 *
 * Theory of operation
 *
 * A monitor that root started keeps the capabilities to give files away, and the guest's owners and
 * modes are the host's.
 *
 * A plain user owns all that it makes. So what belongs to it is the guest's root's, what belongs to
 * others is nobody's, and what the guest sets instead is kept in an extended attribute, as Podman's
 * storage does it: "uid:gid:mode". The host's mode is the guest's but for set-user-id, set-group-id
 * and sticky, which stay in the attribute, and for the owner's right to read and write, without
 * which we would lose the file. Links, FIFOs and sockets cannot have such attributes: they are
 * always root's.
 */
#include "fs/fs_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OWNER_TEXT_MAX 64
#define SPECIAL_BITS (S_ISUID | S_ISGID | S_ISVTX)

static bool can_note(const struct fs_node *node)
{
    return node->type == S_IFREG || node->type == S_IFDIR;
}

mode_t fs_owner_host_mode(const struct fs *fs, mode_t mode)
{
    return fs->now.map_owners ? (mode & 0777) | 0600 : mode & 07777;
}

static mode_t host_mode(const struct fs_node *node, mode_t mode)
{
    return (mode & 0777) | (node->type == S_IFDIR ? 0700 : 0600);
}

/* "uid:gid:mode", and perhaps ":type" behind it. */
static bool parse(const char *text, uint32_t *ret_uid, uint32_t *ret_gid, uint32_t *ret_mode)
{
    char *end;
    errno = 0;
    unsigned long uid = strtoul(text, &end, 10);
    if (end == text || *end != ':')
        return false;
    const char *at = end + 1;
    unsigned long gid = strtoul(at, &end, 10);
    if (end == at || *end != ':')
        return false;
    at = end + 1;
    unsigned long mode = strtoul(at, &end, 8);
    if (end == at || (*end && *end != ':') || errno || uid >= UINT32_MAX || gid >= UINT32_MAX)
        return false;
    *ret_uid = (uint32_t)uid;
    *ret_gid = (uint32_t)gid;
    *ret_mode = (uint32_t)mode & 07777;
    return true;
}

static void remember(struct fs *fs, struct fs_node *node, bool has, uint64_t seen_ns, uint32_t uid,
                     uint32_t gid, uint32_t mode)
{
    pthread_mutex_lock(&fs->lock);
    node->has_owner = has;
    node->owner_seen_ns = seen_ns;
    node->uid = uid;
    node->gid = gid;
    node->mode = mode;
    pthread_mutex_unlock(&fs->lock);
}

/* Reads the attribute again if the file changed since. */
static void look(struct fs *fs, struct fs_node *node, const struct statx *st)
{
    char text[OWNER_TEXT_MAX + 1] = "";
    uint32_t uid = 0, gid = 0, mode = 0;
    uint64_t changed_ns = fs_time_ns(st->stx_ctime);
    pthread_mutex_lock(&fs->lock);
    bool fresh = node->owner_seen_ns == changed_ns;
    pthread_mutex_unlock(&fs->lock);
    if (fresh)
        return;
    pv_auto_fd int fd = fs_node_open_any(fs, node);
    ssize_t len = fd < 0 ? -1 : fgetxattr(fd, FS_OWNER_XATTR, text, OWNER_TEXT_MAX);
    bool has = len > 0 && parse(text, &uid, &gid, &mode);
    remember(fs, node, has, changed_ns, uid, gid, mode);
}

void fs_owner_attr(struct fs *fs, struct fs_node *node, const struct statx *st,
                   struct fuse_attr *attr)
{
    uint64_t device = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;
    *attr = (struct fuse_attr){
        /* What is mounted below the folder has numbers of its own. */
        .ino = device == fs->root->dev ? st->stx_ino
                                       : st->stx_ino ^ (device + 1) * 0x9e3779b97f4a7c15ull,
        .size = st->stx_size,
        .blocks = st->stx_blocks,
        .atime = (uint64_t)st->stx_atime.tv_sec,
        .mtime = (uint64_t)st->stx_mtime.tv_sec,
        .ctime = (uint64_t)st->stx_ctime.tv_sec,
        .atimensec = st->stx_atime.tv_nsec,
        .mtimensec = st->stx_mtime.tv_nsec,
        .ctimensec = st->stx_ctime.tv_nsec,
        .mode = st->stx_mode,
        .nlink = st->stx_nlink,
        .uid = st->stx_uid,
        .gid = st->stx_gid,
        .rdev = (st->stx_rdev_major & 0xfff) << 8 | (st->stx_rdev_minor & 0xff) |
                (st->stx_rdev_minor & 0xfff00) << 12,
        .blksize = st->stx_blksize,
    };
    if (!fs->now.map_owners)
        return;
    attr->uid = st->stx_uid == fs->now.owner_uid ? 0 : FS_NOBODY;
    attr->gid = st->stx_gid == fs->now.owner_gid ? 0 : FS_NOBODY;
    if (!can_note(node))
        return;
    look(fs, node, st);
    pthread_mutex_lock(&fs->lock);
    if (node->has_owner) {
        attr->uid = node->uid;
        attr->gid = node->gid;
        attr->mode = (st->stx_mode & S_IFMT) | node->mode;
    }
    pthread_mutex_unlock(&fs->lock);
}

/* Keeps what the guest set for a file or folder of ours whose host mode is right already. */
static int note(struct fs *fs, struct fs_node *node, int fd, uint32_t uid, uint32_t gid,
                uint32_t mode)
{
    char text[OWNER_TEXT_MAX];
    int len = snprintf(text, sizeof(text), "%u:%u:0%o", uid, gid, mode);
    bool plain = uid == 0 && gid == 0 && host_mode(node, mode) == mode;
    int rc = 0;
    if (plain && fremovexattr(fd, FS_OWNER_XATTR) < 0 && errno != ENODATA && errno != EOPNOTSUPP)
        rc = -errno;
    if (!plain && fsetxattr(fd, FS_OWNER_XATTR, text, (size_t)len, 0) < 0)
        rc = -errno;
    struct statx st;
    if (rc == 0 && fs_stat_at(fd, "", &st) == 0)
        remember(fs, node, !plain, fs_time_ns(st.stx_ctime), uid, gid, mode);
    return rc;
}

static int set_mapped(struct fs *fs, struct fs_node *node, const struct fuse_attr *now,
                      uint32_t uid, uint32_t gid, uint32_t mode)
{
    pv_auto_fd int fd = fs_node_open_any(fs, node);
    if (fd < 0)
        return fd;
    if (fchmod(fd, host_mode(node, mode)) < 0)
        return -errno;
    int rc = note(fs, node, fd, uid, gid, mode);
    if (rc != -EOPNOTSUPP)
        return rc;
    /* No such attributes here: the host's own bits are all that can be kept. */
    if (uid != now->uid || gid != now->gid || (mode & SPECIAL_BITS))
        return -EPERM;
    return fchmod(fd, mode & 0777) < 0 ? -errno : 0;
}

/* A FIFO or a socket, which has no descriptor to change its mode by. */
static int chmod_by_name(struct fs *fs, struct fs_node *node, mode_t mode)
{
    struct fs_place place;
    struct statx st;
    if (!fs->now.contained)
        return -EPERM;
    int rc = fs_node_locate(fs, node, &place);
    if (rc < 0)
        return rc;
    rc = fs_stat_at(place.fd, place.name, &st);
    if (rc == 0 && !fs_node_is(node, &st))
        rc = -ESTALE;
    if (rc == 0 && fchmodat(place.fd, place.name, mode, 0) < 0)
        rc = -errno;
    fs_place_leave(fs, &place);
    return rc;
}

static int chmod_host(struct fs *fs, struct fs_node *node, mode_t mode)
{
    if (node->type == S_IFLNK)
        return -EOPNOTSUPP;
    if (!can_note(node))
        return chmod_by_name(fs, node, mode);
    pv_auto_fd int fd = fs_node_open_any(fs, node);
    if (fd < 0)
        return fd;
    return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int chown_host(struct fs *fs, struct fs_node *node, uint32_t uid, uint32_t gid)
{
    pv_auto_fd int fd = fs_node_open_path(fs, node);
    if (fd < 0)
        return fd;
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

int fs_owner_set(struct fs *fs, struct fs_node *node, uint32_t uid, uint32_t gid, uint32_t mode)
{
    int rc = 0;
    if (!fs->now.map_owners) {
        /* The owner first: a change of it takes the set-user-id bits away. */
        if (uid != FS_KEEP || gid != FS_KEEP)
            rc = chown_host(fs, node, uid, gid);
        return rc == 0 && mode != FS_KEEP ? chmod_host(fs, node, mode & 07777) : rc;
    }
    struct statx st;
    struct fuse_attr now;
    rc = fs_node_stat(fs, node, &st);
    if (rc < 0)
        return rc;
    if (st.stx_uid != fs->now.owner_uid)
        return -EPERM;
    fs_owner_attr(fs, node, &st, &now);
    bool owner_changes = uid != FS_KEEP || gid != FS_KEEP;
    if (mode == FS_KEEP && owner_changes && node->type == S_IFREG) {
        mode = now.mode & ~(uint32_t)S_ISUID; /* as the host's kernel would */
        mode &= mode & S_IXGRP ? ~(uint32_t)S_ISGID : UINT32_MAX;
    }
    mode = (mode == FS_KEEP ? now.mode : mode) & 07777;
    if (!can_note(node))
        return owner_changes || node->type == S_IFLNK ? 0 : chmod_by_name(fs, node, mode & 0777);
    return set_mapped(fs, node, &now, uid == FS_KEEP ? now.uid : uid,
                      gid == FS_KEEP ? now.gid : gid, mode);
}

int fs_owner_kill_privileges(struct fs *fs, struct fs_node *node)
{
    struct statx st;
    struct fuse_attr now;
    int rc = node->type == S_IFREG ? fs_node_stat(fs, node, &st) : -EINVAL;
    if (rc < 0)
        return rc == -EINVAL ? 0 : rc;
    fs_owner_attr(fs, node, &st, &now);
    uint32_t kill = S_ISUID | (now.mode & S_IXGRP ? S_ISGID : 0);
    return now.mode & kill ? fs_owner_set(fs, node, FS_KEEP, FS_KEEP, now.mode & ~kill & 07777) : 0;
}

static int new_on_host(int dirfd, const char *name, int fd, uint32_t uid, uint32_t gid, mode_t mode)
{
    int rc = fd >= 0 ? fchown(fd, uid, gid) : fchownat(dirfd, name, uid, gid, AT_SYMLINK_NOFOLLOW);
    if (rc < 0)
        return -errno;
    /* A change of the owner took them away. */
    return fd >= 0 && mode & (S_ISUID | S_ISGID) && fchmod(fd, mode) < 0 ? -errno : 0;
}

int fs_owner_new(struct fs_call *c, struct fs_node *parent, int dirfd, const char *name, int fd,
                 mode_t mode)
{
    struct fs *fs = c->fs;
    struct statx st;
    struct fuse_attr above;
    int rc = fs_node_stat(fs, parent, &st);
    if (rc < 0)
        return rc;
    fs_owner_attr(fs, parent, &st, &above);
    bool inherit = above.mode & S_ISGID;
    uint32_t uid = c->header.uid, gid = inherit ? above.gid : c->header.gid;
    struct stat made;
    bool is_dir = fd >= 0 && fstat(fd, &made) == 0 && S_ISDIR(made.st_mode);
    if (inherit && is_dir)
        mode |= S_ISGID;
    if (!fs->now.map_owners)
        return new_on_host(dirfd, name, fd, uid, gid, mode);

    const struct fs_node kind = {.type = is_dir ? S_IFDIR : S_IFREG};
    char text[OWNER_TEXT_MAX];
    if (fd < 0 || (uid == 0 && gid == 0 && host_mode(&kind, mode) == mode))
        return 0;
    int len = snprintf(text, sizeof(text), "%u:%u:0%o", uid, gid, mode & 07777);
    if (fsetxattr(fd, FS_OWNER_XATTR, text, (size_t)len, 0) == 0)
        return 0;
    if (errno != EOPNOTSUPP)
        return -errno;
    return uid || gid || mode & SPECIAL_BITS ? -EPERM : fchmod(fd, mode) < 0 ? -errno : 0;
}
