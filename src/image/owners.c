/* SPDX-License-Identifier: Apache-2.0
 *
 * owners.c: the rules for owners, and the user namespace that carries them out.
 *
 * Theory of operation. root packs owners as they are, and so does a user whose tree belongs to
 * root (owners can be seen without being root; what cannot be read is an error later). Any other
 * tree of a plain user is read in a user namespace in which the owner of the top folder is root:
 *
 *   a tree of the user's own (debootstrap under fakeroot, podman unshare, buildah):
 *       0 is the user, 1.. are the user's subordinate ids
 *   a tree of subordinate ids (mmdebstrap in unshare mode):
 *       0 is the top folder's owner, 1.. are the ids behind it
 *
 * Without subordinate ids (no newuidmap, no line in /etc/subuid) only the one id is mapped, and a
 * file of anyone else is refused, because its owner would be lost. Where user namespaces are
 * forbidden, a tree whose files are all ours is packed with all files given to root, which comes
 * to the same.
 */
#include "image/owners.h"

#include "base/fd.h"
#include "base/str.h"
#include "image/program.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define SUBID_BYTES_MAX (1u << 20)

unsigned image_owners_read_ranges(const char *path, const char *name, uint32_t id,
                                  struct image_owners_range *ret_ranges, unsigned max)
{
    pv_auto_free char *text = NULL;
    char number[16];
    unsigned count = 0;
    if (pv_fd_read_file(AT_FDCWD, path, SUBID_BYTES_MAX, &text, NULL, NULL) < 0)
        return 0;
    snprintf(number, sizeof(number), "%u", id);
    char *rest = text, *line;
    while (count < max && (line = strsep(&rest, "\n"))) {
        char *who = strsep(&line, ":");
        unsigned start, length;
        if (!line || (strcmp(who, number) != 0 && (!name || strcmp(who, name) != 0)) ||
            sscanf(line, "%u:%u", &start, &length) != 2 || length == 0 ||
            start > UINT32_MAX - length)
            continue;
        ret_ranges[count++] = (struct image_owners_range){.outside = start, .count = length};
    }
    return count;
}

unsigned image_owners_map(uint32_t top, uint32_t own, const struct image_owners_range *sub,
                          unsigned num_sub, struct image_owners_range *ret_ranges)
{
    for (unsigned i = 0; i < num_sub; i++) {
        if (top == own || top < sub[i].outside || top - sub[i].outside >= sub[i].count)
            continue;
        uint32_t skipped = top - sub[i].outside;
        ret_ranges[0] = (struct image_owners_range){0, top, sub[i].count - skipped};
        return 1;
    }
    unsigned n = 0;
    uint32_t inside = 1;
    ret_ranges[n++] = (struct image_owners_range){0, own, 1};
    for (unsigned i = 0; i < num_sub && n < IMAGE_OWNERS_RANGES_MAX; i++) {
        ret_ranges[n++] = (struct image_owners_range){inside, sub[i].outside, sub[i].count};
        inside += sub[i].count;
    }
    return n;
}

/* The user's subordinate ranges, if the programs that map them are there. */
static unsigned find_ranges(const char *file, const char *program, uint32_t id,
                            struct image_owners_range *ret_ranges)
{
    pv_auto_free char *path = NULL;
    if (image_program_find(program, "uidmap", &path, NULL) < 0)
        return 0;
    const struct passwd *user = getpwuid(geteuid());
    return image_owners_read_ranges(file, user ? user->pw_name : NULL, id, ret_ranges,
                                    IMAGE_OWNERS_RANGES_MAX - 1);
}

void image_owners_plan(const struct stat *top, struct image_owners *ret_owners)
{
    struct image_owners_range sub[IMAGE_OWNERS_RANGES_MAX];
    struct image_owners owners = {.kind = IMAGE_OWNERS_AS_THEY_ARE};
    if (geteuid() != 0 && top->st_uid != 0) {
        owners.kind = IMAGE_OWNERS_MAPPED;
        unsigned n = find_ranges("/etc/subuid", "newuidmap", geteuid(), sub);
        owners.num_users = image_owners_map(top->st_uid, geteuid(), sub, n, owners.users);
        n = find_ranges("/etc/subgid", "newgidmap", geteuid(), sub);
        owners.num_groups = image_owners_map(top->st_gid, getegid(), sub, n, owners.groups);
    }
    *ret_owners = owners;
}

static void describe_ranges(struct pv_str *s, char kind, const struct image_owners_range *ranges,
                            unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        pv_str_addf(s, "%c:%u:%u:%u,", kind, ranges[i].inside, ranges[i].outside, ranges[i].count);
}

void image_owners_describe(const struct image_owners *owners, char *text, size_t len)
{
    pv_auto(pv_str) struct pv_str s = {0};
    if (owners->kind == IMAGE_OWNERS_AS_THEY_ARE)
        pv_str_add(&s, "as-is");
    else if (owners->kind == IMAGE_OWNERS_ALL_ROOT)
        pv_str_add(&s, "all-root");
    describe_ranges(&s, 'u', owners->users, owners->num_users);
    describe_ranges(&s, 'g', owners->groups, owners->num_groups);
    snprintf(text, len, "%s", s.text ? s.text : "");
}

/* One own id needs no help; more need newuidmap or newgidmap. */
static int write_map(pid_t pid, const char *file, const char *program, uint32_t own,
                     const struct image_owners_range *ranges, unsigned n, struct pv_error *err)
{
    if (n == 1 && ranges[0].count == 1 && ranges[0].outside == own) {
        char path[64], line[64];
        snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
        int len = snprintf(line, sizeof(line), "0 %u 1\n", own);
        pv_auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, line, (size_t)len) != len)
            return pv_error_set(err, errno, "map user and group: %s", strerror(errno));
        return 0;
    }
    pv_auto_free char *path = NULL;
    char numbers[2 + 3 * IMAGE_OWNERS_RANGES_MAX][16];
    const char *argv[3 + 3 * IMAGE_OWNERS_RANGES_MAX] = {NULL};
    int rc = image_program_find(program, "uidmap", &path, err);
    if (rc < 0)
        return rc;
    unsigned argc = 0;
    argv[argc++] = path;
    snprintf(numbers[argc], sizeof(numbers[0]), "%d", (int)pid);
    argv[argc] = numbers[argc];
    argc++;
    for (unsigned i = 0; i < n; i++) {
        uint32_t values[3] = {ranges[i].inside, ranges[i].outside, ranges[i].count};
        for (unsigned j = 0; j < 3; j++, argc++) {
            snprintf(numbers[argc], sizeof(numbers[0]), "%u", values[j]);
            argv[argc] = numbers[argc];
        }
    }
    return image_program_run(argv, -1, err);
}

static int write_maps(pid_t pid, const struct image_owners *o, struct pv_error *err)
{
    char path[64];
    /* Needed before a single group may be mapped; with newgidmap it may stay as it is. */
    if (o->num_groups == 1 && o->groups[0].count == 1) {
        snprintf(path, sizeof(path), "/proc/%d/setgroups", (int)pid);
        pv_auto_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, "deny", 4) < 0)
            return pv_error_set(err, errno, "deny setgroups: %s", strerror(errno));
    }
    int rc = write_map(pid, "uid_map", "newuidmap", geteuid(), o->users, o->num_users, err);
    return rc == 0
               ? write_map(pid, "gid_map", "newgidmap", getegid(), o->groups, o->num_groups, err)
               : rc;
}

/* The child's half of the handshake: 'n' when there is no namespace, else 'y'; then it waits. */
static int enter_namespace(int sock)
{
    char word = unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
    if (write(sock, &word, 1) != 1 || word == 'n' || read(sock, &word, 1) != 1 || word != 'y')
        return -EPERM;
    if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return -errno;
    return 0;
}

static int child_main(const struct image_owners *owners, int sock, int dirfd,
                      int (*work)(void *data), void *data, pid_t parent)
{
    if (owners->kind == IMAGE_OWNERS_MAPPED) {
        int rc = enter_namespace(sock);
        if (rc < 0)
            return rc;
    }
    /* After the change of user, which would clear it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        return -ECANCELED;
    if (fchdir(dirfd) < 0)
        return -errno;
    return work(data);
}

/* The parent's half: 0 when the namespace stands, -EPERM when the host forbids one. */
static int build_namespace(pid_t pid, const struct image_owners *owners, int sock,
                           struct pv_error *err)
{
    char word = 'n';
    if (read(sock, &word, 1) != 1 || word != 'y')
        return -EPERM;
    int rc = write_maps(pid, owners, err);
    if (rc == 0 && write(sock, "y", 1) != 1)
        rc = pv_error_set(err, EPIPE, "user namespace: its process ended");
    return rc;
}

static int reap(pid_t pid, struct pv_error *err)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return pv_error_set(err, errno, "wait: %s", strerror(errno));
    if (WIFSIGNALED(status))
        return pv_error_set(err, EIO, "killed by signal %d", WTERMSIG(status));
    return -WEXITSTATUS(status);
}

static int run_once(struct image_owners *owners, int dirfd, int (*work)(void *data), void *data,
                    bool *ret_forbidden, struct pv_error *err)
{
    int socks[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socks) < 0)
        return pv_error_set(err, errno, "socketpair: %s", strerror(errno));
    pv_auto_fd int ours = socks[0];
    pv_auto_fd int theirs = socks[1];

    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        close(ours);
        int rc = child_main(owners, theirs, dirfd, work, data, parent);
        _exit(rc < 0 && rc > -256 ? -rc : rc ? EIO : 0);
    }
    if (pid < 0)
        return pv_error_set(err, errno, "fork: %s", strerror(errno));
    close(pv_take_fd(&theirs));
    int built = 0;
    if (owners->kind == IMAGE_OWNERS_MAPPED)
        built = build_namespace(pid, owners, ours, err);
    *ret_forbidden = built == -EPERM && !(err && err->code);
    close(pv_take_fd(&ours)); /* a child that still waits gives up */
    int rc = reap(pid, err);
    return built < 0 ? built : rc;
}

int image_owners_run(struct image_owners *owners, int dirfd, int (*work)(void *data), void *data,
                     struct pv_error *err)
{
    bool forbidden = false;
    int rc = run_once(owners, dirfd, work, data, &forbidden, err);
    if (!forbidden)
        return rc;
    owners->kind = IMAGE_OWNERS_ALL_ROOT;
    owners->num_users = owners->num_groups = 0;
    return run_once(owners, dirfd, work, data, &forbidden, err);
}
