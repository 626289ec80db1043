/* SPDX-License-Identifier: Apache-2.0
 *
 * landlock.c: the wall that needs no namespace: the process denies itself what it could reach.
 * Runs on: the jailed thread, after fork too; system calls only.
 *
 * Landlock grew in steps; the tables say which denial came with which ABI, so an older host gets
 * all that it knows. The constants are spelled out because the oldest headers that we build with
 * know only the second ABI.
 */
#include "jail/landlock_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jail/drop_internal.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

#define RULESET_VERSION (1U << 0)
#define RULE_PATH_BENEATH 1

#define FS_EXECUTE (1ULL << 0)
#define FS_WRITE_FILE (1ULL << 1)
#define FS_READ_FILE (1ULL << 2)
#define FS_READ_DIR (1ULL << 3)
#define FS_REMOVE_FILE (1ULL << 5)
#define FS_MAKE_REG (1ULL << 8)
#define FS_MAKE_SOCK (1ULL << 9)
#define FS_MAKE_BLOCK (1ULL << 11)
#define FS_TRUNCATE (1ULL << 14)
#define FS_REFER (1ULL << 13)
#define FS_ABI1 ((1ULL << 13) - 1)

#define NET_BIND_TCP (1ULL << 0)
#define NET_CONNECT_TCP (1ULL << 1)

#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL (1ULL << 1)

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct path_beneath_attr {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

int jail_landlock_abi(void)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, RULESET_VERSION);
    return abi < 0 ? -errno : (int)abi;
}

/* Everything that ABI abi can deny; its size goes to ret_size. */
static struct ruleset_attr denials(int abi, const struct jail_landlock *config, size_t *ret_size)
{
    struct ruleset_attr attr = {.fs = FS_ABI1};
    if (abi >= 2)
        attr.fs |= FS_REFER; /* move or link to another directory */
    if (abi >= 3)
        attr.fs |= FS_TRUNCATE;
    if (abi >= 5)
        attr.fs |= 1ULL << 15; /* ioctl on devices */
    if (abi >= 4 && !config->keep_network)
        attr.net = NET_BIND_TCP | NET_CONNECT_TCP;
    if (abi >= 6)
        attr.scoped = SCOPE_ABSTRACT_UNIX | (config->keep_signals ? 0 : SCOPE_SIGNAL);
    *ret_size = abi >= 6   ? sizeof(attr)
                : abi >= 4 ? offsetof(struct ruleset_attr, scoped)
                           : offsetof(struct ruleset_attr, net);
    return attr;
}

static int allow(int ruleset, const struct jail_landlock_rule *rule, uint64_t handled)
{
    static const uint64_t rights[] = {
        /* The kernel opens what it executes for reading. */
        [JAIL_LANDLOCK_EXEC] = FS_EXECUTE | FS_READ_FILE,
        [JAIL_LANDLOCK_SOCKETS] = FS_MAKE_SOCK | FS_REMOVE_FILE | FS_READ_DIR,
        [JAIL_LANDLOCK_FILES] =
            FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_REG | FS_REMOVE_FILE | FS_READ_DIR,
        [JAIL_LANDLOCK_READ] = FS_READ_FILE | FS_READ_DIR,
        [JAIL_LANDLOCK_WRITE] =
            ((FS_ABI1 | FS_REFER) & ~(FS_EXECUTE | FS_MAKE_BLOCK)) | FS_TRUNCATE,
    };
    struct path_beneath_attr attr = {rights[rule->access] & handled, rule->fd};
    struct stat st;
    /* What only directories can be allowed is refused for a file. */
    if (rule->access >= JAIL_LANDLOCK_READ && fstat(rule->fd, &st) == 0 && !S_ISDIR(st.st_mode))
        attr.allowed &= FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE;
    if (syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &attr, 0) == 0)
        return 0;
    /* A memfd is on a file system without a name: no rule can name it, and none is needed. */
    return errno == EBADFD && rule->access == JAIL_LANDLOCK_EXEC ? 0 : -errno;
}

int jail_landlock_enter(const struct jail_landlock *config, struct jail_walls *walls,
                        struct pv_error *err)
{
    int abi = jail_landlock_abi();
    if (abi == -ENOSYS || abi == -EOPNOTSUPP || abi == -EPERM || abi == -EINVAL) {
        jail_walls_set(walls, JAIL_WALL_LANDLOCK, false, "this host has none (%s)",
                       jail_errno_text(-abi));
        return 0;
    }
    if (abi < 0)
        return pv_error_set(err, -abi, "landlock: ask for the ABI: %s", jail_errno_text(-abi));

    size_t size;
    struct ruleset_attr attr = denials(abi, config, &size);
    pv_auto_fd int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return pv_error_set(err, errno, "landlock: create ruleset: %s", jail_errno_text(errno));
    for (unsigned i = 0; i < config->num_rules; i++) {
        int rc = allow(ruleset, &config->rules[i], attr.fs);
        if (rc < 0)
            return pv_error_set(err, -rc, "landlock: add rule %u: %s", i, jail_errno_text(-rc));
    }
    if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0) {
        if (errno != E2BIG)
            return pv_error_set(err, errno, "landlock: restrict: %s", jail_errno_text(errno));
        jail_walls_set(walls, JAIL_WALL_LANDLOCK, false,
                       "whoever started this used up all layers (%s)", jail_errno_text(E2BIG));
        return 0;
    }
    jail_walls_set(walls, JAIL_WALL_LANDLOCK, true, "abi %d: files%s%s%s%s", abi,
                   attr.net ? ", TCP" : "", attr.scoped & SCOPE_ABSTRACT_UNIX ? ", sockets" : "",
                   attr.scoped & SCOPE_SIGNAL ? ", signals" : "",
                   abi > JAIL_LANDLOCK_ABI_KNOWN ? " (this host could deny more)" : "");
    return 0;
}
