/* SPDX-License-Identifier: Apache-2.0
 *
 * network.c: the folder of networks.
 *
 * Theory of operation: whatever changes something takes the lock of the folder networks/, so a
 * folder of a network without network.json was left by a creator that died, and is replaced. A
 * member's instance is older than the member, so a member without one is dead. The lock of the
 * store is never taken while this one is held.
 *
 * Under root each monitor has a user of its own. Nobody else can pass through networks/; monitors
 * find the folder of their network in their jail, where others may read it and connect.
 */
#include "instance/network.h"

#include "base/clock.h"
#include "base/fd.h"
#include "instance/file.h"
#include "instance/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FOLDER "networks"
#define FILE_NAME "network.json"
#define FILE_BYTES_MAX 65536
#define GONE_PREFIX ".gone-"
#define VERSION 1
#define NAMES_SHOWN 5
#define OUT_OF_MEMORY(err) pv_error_set(err, ENOMEM, "network: out of memory")

void instance_network_done(struct instance_network *network)
{
    if (network->name) /* one that was opened */
        pv_cleanup_fd(&network->dirfd);
    free(network->name);
    free(network->path);
    free(network->created_at);
    *network = (struct instance_network){.dirfd = -1};
}

int instance_network_check_name(const char *name, struct pv_error *err)
{
    static const char *const words[] = {"user",   "none",  "tap",    "host",
                                        "bridge", "passt", "default"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(words); i++)
        if (strcmp(name, words[i]) == 0)
            return pv_error_set(err, EINVAL,
                                "a network cannot be called '%s': the word has a meaning of its "
                                "own behind --net",
                                name);
    if (!pv_str_is_name(name))
        return pv_error_set(err, EINVAL,
                            "'%s' is no name of a network: write letters, digits, '-', '_' and "
                            "'.', at most 128",
                            name);
    return 0;
}

/* Opens networks/. -ENOENT while there is none; make: creates it, 0700 also under root. */
static int open_folder(const struct instance_store *store, bool make, struct pv_error *err)
{
    pv_auto_free char *path = pv_strf("%s/" FOLDER, store->place.state);
    if (!path)
        return OUT_OF_MEMORY(err);
    int rc = make ? instance_place_make(path, 0700, err) : 0;
    if (rc < 0)
        return rc;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 ? fd : pv_error_set(err, errno, "open '%s': %s", path, strerror(errno));
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The entries of a folder, sorted. */
static int list_folder(int dirfd, bool hidden, struct pv_strv *ret_names, struct pv_error *err)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        int code = errno;
        pv_cleanup_fd(&fd);
        return pv_error_set(err, code, "list networks: %s", strerror(code));
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            (entry->d_name[0] == '.') == hidden)
            rc = pv_strv_add(ret_names, entry->d_name);
    closedir(dir);
    if (rc < 0)
        return OUT_OF_MEMORY(err);
    if (ret_names->count)
        qsort(ret_names->items, ret_names->count, sizeof(ret_names->items[0]), compare_names);
    return 0;
}

static int read_network(const struct pv_json *json, struct instance_network *n,
                        struct pv_error *err)
{
    uint64_t version;
    pv_auto_free char *subnet = NULL;
    pv_auto_free char *subnet6 = NULL;
    int rc = pv_json_need_u64(json, "version", VERSION, VERSION, &version, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "created_at", &n->created_at, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "subnet", &subnet, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "subnet6", &subnet6, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "internal", &n->internal, err);
    if (rc == 0)
        rc = workload_subnet_parse(subnet, &n->subnet, err);
    if (rc == 0)
        rc = workload_subnet_parse6(subnet6, &n->subnet, err);
    return rc;
}

static int load(struct instance_network *n, struct pv_error *err)
{
    pv_auto_free char *text = NULL;
    pv_auto(pv_json) struct pv_json *json = NULL;
    size_t len;
    int rc = instance_file_read(n->dirfd, FILE_NAME, FILE_BYTES_MAX, &text, &len, err);
    if (rc == 0)
        rc = pv_json_parse(text, len, &json, err);
    if (rc == 0)
        rc = read_network(json, n, err);
    return rc;
}

static int open_in(const struct instance_store *store, int folder, const char *name,
                   struct instance_network *ret_network, struct pv_error *err)
{
    struct instance_network n = {.name = strdup(name), .dirfd = -1};
    n.path = pv_strf("%s/" FOLDER "/%s", store->place.state, name);
    int rc = n.name && n.path ? 0 : OUT_OF_MEMORY(err);
    if (rc == 0) {
        n.dirfd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        rc = n.dirfd >= 0 ? 0 : pv_error_set(err, errno, "%s", strerror(errno));
    }
    if (rc == 0)
        rc = load(&n, err);
    if (rc < 0) {
        instance_network_done(&n);
        return rc;
    }
    *ret_network = n;
    return 0;
}

int instance_network_open(const struct instance_store *store, const char *name,
                          struct instance_network *ret_network, struct pv_error *err)
{
    int rc = instance_network_check_name(name, err);
    if (rc < 0)
        return rc;
    pv_auto_fd int folder = open_folder(store, false, err);
    rc = folder < 0 ? folder : open_in(store, folder, name, ret_network, err);
    if (rc == -ENOENT)
        return pv_error_set(err, ENOENT,
                            "no network '%s': make it with 'paravane network create %s'; "
                            "'paravane network ls' lists those that exist",
                            name, name);
    return rc < 0 ? pv_error_prefix(err, "network '%s'", name) : 0;
}

int instance_network_list(const struct instance_store *store, struct pv_strv *ret_names,
                          struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv all = {0};
    pv_auto_fd int folder = open_folder(store, false, err);
    if (folder < 0)
        return folder == -ENOENT ? 0 : folder;
    int rc = list_folder(folder, false, &all, err);
    for (size_t i = 0; rc == 0 && i < all.count; i++) {
        char path[256 + sizeof(FILE_NAME)];
        snprintf(path, sizeof(path), "%s/" FILE_NAME, all.items[i]);
        if (faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
            pv_strv_add(ret_names, all.items[i]) < 0)
            rc = OUT_OF_MEMORY(err);
    }
    return rc;
}

/* --- members ----------------------------------------------------------------------------------*/

static int load_member(const struct instance_network *n, uint32_t number,
                       struct workload_member *ret_member)
{
    char path[sizeof(WORKLOAD_MEMBER_FOLDER) + 16];
    pv_auto_free char *text = NULL;
    size_t len;
    snprintf(path, sizeof(path), WORKLOAD_MEMBER_FOLDER "/%u", number);
    int rc = instance_file_read(n->dirfd, path, WORKLOAD_MEMBER_BYTES_MAX, &text, &len, NULL);
    return rc < 0 ? rc : workload_member_read(text, len, ret_member, NULL);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The numbers in use, sorted; the caller frees *ret_numbers. */
static int list_numbers(const struct instance_network *n, uint32_t **ret_numbers, size_t *ret_count,
                        struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv names = {0};
    size_t count = 0;
    pv_auto_fd int fd =
        openat(n->dirfd, WORKLOAD_MEMBER_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return pv_error_set(err, errno, "network '%s': %s", n->name, strerror(errno));
    int rc = list_folder(fd, false, &names, err);
    if (rc < 0)
        return rc;
    uint32_t *numbers = calloc(names.count + 1, sizeof(*numbers));
    if (!numbers)
        return OUT_OF_MEMORY(err);
    for (size_t i = 0; i < names.count; i++) {
        uint64_t number;
        if (pv_str_to_u64(names.items[i], WORKLOAD_SUBNET_FIRST, workload_subnet_last(&n->subnet),
                          &number) == 0)
            numbers[count++] = (uint32_t)number;
    }
    qsort(numbers, count, sizeof(*numbers), compare_numbers);
    *ret_numbers = numbers;
    *ret_count = count;
    return 0;
}

int instance_network_each(const struct instance_network *network,
                          int (*visit)(uint32_t number, const struct workload_member *member,
                                       void *data),
                          void *data, struct pv_error *err)
{
    pv_auto_free uint32_t *numbers = NULL;
    size_t count;
    int rc = list_numbers(network, &numbers, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        struct workload_member member;
        if (load_member(network, numbers[i], &member) < 0)
            continue;
        rc = visit(numbers[i], &member, data);
        workload_member_done(&member);
    }
    return rc;
}

static void forget(const struct instance_network *n, uint32_t number)
{
    char path[sizeof(WORKLOAD_MEMBER_FOLDER) + 16];
    snprintf(path, sizeof(path), INSTANCE_NETWORK_PORTS_FOLDER "/%u", number);
    unlinkat(n->dirfd, path, 0);
    snprintf(path, sizeof(path), WORKLOAD_MEMBER_FOLDER "/%u", number);
    unlinkat(n->dirfd, path, 0);
}

/* With the lock held: forgets the members of this instance, or (id NULL) all without one. */
static void sweep(const struct instance_store *store, const struct instance_network *n,
                  const char *id)
{
    pv_auto_free uint32_t *numbers = NULL;
    size_t count = 0;
    if (list_numbers(n, &numbers, &count, NULL) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        struct workload_member member;
        int rc = load_member(n, numbers[i], &member);
        if (rc < 0 && rc != -ENOMEM && !id) { /* empty after a power failure */
            forget(n, numbers[i]);
            continue;
        }
        if (rc < 0)
            continue;
        if (id ? strcmp(member.id, id) == 0
               : faccessat(store->instances_fd, member.id, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
                     errno == ENOENT)
            forget(n, numbers[i]);
        workload_member_done(&member);
    }
}

static bool is_taken(const struct instance_network *n, uint32_t number)
{
    char path[sizeof(WORKLOAD_MEMBER_FOLDER) + 16];
    snprintf(path, sizeof(path), WORKLOAD_MEMBER_FOLDER "/%u", number);
    return faccessat(n->dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The number of the address asked for. */
static int choose_given(const struct instance_network *n, const char *address, uint32_t *ret_number,
                        struct pv_error *err)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX], first[WORKLOAD_SUBNET_TEXT_MAX],
        last[WORKLOAD_SUBNET_TEXT_MAX];
    struct workload_member member;
    int rc = workload_subnet_number(&n->subnet, address, ret_number);
    if (rc == -EINVAL)
        return pv_error_set(err, EINVAL, "--ip %s is no address of network '%s', which has %s",
                            address, n->name, workload_subnet_text(&n->subnet, text));
    if (rc < 0)
        return pv_error_set(
            err, ERANGE, "--ip %s: machines of network '%s' have %s to %s", address, n->name,
            workload_subnet_ipv4_text(&n->subnet, WORKLOAD_SUBNET_FIRST, first),
            workload_subnet_ipv4_text(&n->subnet, workload_subnet_last(&n->subnet), last));
    if (!is_taken(n, *ret_number))
        return 0;
    if (load_member(n, *ret_number, &member) < 0)
        return pv_error_set(err, EADDRINUSE, "--ip %s is taken", address);
    rc = pv_error_set(err, EADDRINUSE,
                      "--ip %s: instance '%s' has it: choose another, or remove that one with "
                      "'paravane rm %s'",
                      address, member.name, member.name);
    workload_member_done(&member);
    return rc;
}

static int choose_free(const struct instance_network *n, uint32_t *ret_number, struct pv_error *err)
{
    uint32_t last = workload_subnet_last(&n->subnet);
    for (uint32_t number = WORKLOAD_SUBNET_FIRST; number <= last; number++) {
        if (!is_taken(n, number)) {
            *ret_number = number;
            return 0;
        }
    }
    return pv_error_set(err, ENOSPC,
                        "network '%s' is full: %u instances have its addresses; remove some, or "
                        "make a larger network with --subnet",
                        n->name, last - WORKLOAD_SUBNET_FIRST + 1);
}

int instance_network_join(const struct instance_store *store,
                          const struct instance_network *network,
                          const struct workload_member *member, const char *address,
                          uint32_t *ret_number, struct pv_error *err)
{
    uint32_t number;
    char path[sizeof(WORKLOAD_MEMBER_FOLDER) + 16];
    pv_auto_free char *text = workload_member_write(member);
    if (!text)
        return OUT_OF_MEMORY(err);
    pv_auto_fd int folder = open_folder(store, false, err);
    pv_auto_fd int lock = folder < 0 ? folder : instance_lock_folder(folder, true, err);
    if (lock < 0)
        return lock;
    sweep(store, network, NULL);
    int rc =
        address ? choose_given(network, address, &number, err) : choose_free(network, &number, err);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "%u", number);
    /* Others read it in their jails: 0644. */
    pv_auto_fd int members =
        openat(network->dirfd, WORKLOAD_MEMBER_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (members < 0)
        return pv_error_set(err, errno, "network '%s' is gone: %s", network->name, strerror(errno));
    rc = pv_fd_replace_file(members, path, text, strlen(text), 0644, err);
    if (rc < 0)
        return pv_error_prefix(err, "join network '%s'", network->name);
    *ret_number = number;
    return 0;
}

void instance_network_leave(const struct instance_store *store, const char *id)
{
    pv_auto(pv_strv) struct pv_strv names = {0};
    pv_auto_fd int folder = open_folder(store, false, NULL);
    if (folder < 0 || list_folder(folder, false, &names, NULL) < 0 || !names.count)
        return;
    pv_auto_fd int lock = instance_lock_folder(folder, true, NULL);
    for (size_t i = 0; lock >= 0 && i < names.count; i++) {
        struct instance_network n;
        if (open_in(store, folder, names.items[i], &n, NULL) < 0)
            continue;
        sweep(store, &n, id);
        instance_network_done(&n);
    }
}

void instance_network_clean(const char *folder, uint32_t number)
{
    pv_auto_free char *path = pv_strf("%s/" INSTANCE_NETWORK_PORTS_FOLDER "/%u", folder, number);
    if (path)
        unlink(path);
}

/* --- making and removing ----------------------------------------------------------------------*/

/* Removes what a killed command left. With the lock held. */
static void finish_removals(int folder)
{
    pv_auto(pv_strv) struct pv_strv hidden = {0};
    if (list_folder(folder, true, &hidden, NULL) < 0)
        return;
    for (size_t i = 0; i < hidden.count; i++)
        if (pv_str_starts_with(hidden.items[i], GONE_PREFIX))
            instance_file_remove_tree(folder, hidden.items[i], NULL);
}

static int check_others(const struct instance_network *n, const struct workload_subnet *wanted,
                        struct pv_error *err)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX];
    if (workload_subnet_overlaps(wanted, n->subnet.address, n->subnet.prefix))
        return pv_error_set(err, EEXIST,
                            "network '%s' has %s, which overlaps: choose another --subnet", n->name,
                            workload_subnet_text(&n->subnet, text));
    if (memcmp(wanted->address6, n->subnet.address6, sizeof(wanted->address6)) == 0)
        return pv_error_set(err, EEXIST, "network '%s' has %s: choose another --subnet6", n->name,
                            workload_subnet_text6(&n->subnet, text));
    return 0;
}

/* Completes the subnets: what was not given is chosen, what was given must be free. */
static int choose_subnets(const struct instance_store *store, int folder, bool given,
                          struct workload_subnet *subnet, struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv names = {0};
    int rc = list_folder(folder, false, &names, err);
    if (rc < 0)
        return rc;
    pv_auto_free struct workload_subnet *taken = calloc(names.count + 1, sizeof(*taken));
    pv_auto_free char *routes = NULL;
    size_t num_taken = 0;
    if (!taken)
        return OUT_OF_MEMORY(err);
    for (size_t i = 0; rc == 0 && i < names.count; i++) {
        struct instance_network n;
        if (open_in(store, folder, names.items[i], &n, NULL) < 0)
            continue;
        taken[num_taken++] = n.subnet;
        if (given)
            rc = check_others(&n, subnet, err);
        instance_network_done(&n);
    }
    if (rc < 0 || given)
        return rc;
    if (pv_fd_read_file(AT_FDCWD, "/proc/net/route", 1 << 20, &routes, NULL, NULL) < 0)
        routes = strdup("");
    return routes ? instance_network_choose(taken, num_taken, routes, subnet, err)
                  : OUT_OF_MEMORY(err);
}

static char *write_network(const struct workload_subnet *subnet, bool internal)
{
    char now[PV_TIME_TEXT_MAX], text[WORKLOAD_SUBNET_TEXT_MAX];
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    int rc = o ? pv_json_add_u64(o, "version", VERSION) : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_string(o, "created_at", pv_time_text(pv_time_realtime_ns(), now));
    if (rc == 0)
        rc = pv_json_add_string(o, "subnet", workload_subnet_text(subnet, text));
    if (rc == 0)
        rc = pv_json_add_string(o, "subnet6", workload_subnet_text6(subnet, text));
    if (rc == 0)
        rc = pv_json_add_bool(o, "internal", internal);
    return rc == 0 ? pv_json_print(o, true) : NULL;
}

/* Makes the folder; network.json last. */
static int make_folders(int folder, const char *name, const char *text, struct pv_error *err)
{
    static const char *const parts[] = {WORKLOAD_MEMBER_FOLDER, INSTANCE_NETWORK_PORTS_FOLDER};
    int rc = instance_file_remove_tree(folder, name, err);
    if (rc < 0)
        return rc;
    mode_t old = umask(022);
    rc = mkdirat(folder, name, 0755) < 0 ? -errno : 0;
    pv_auto_fd int fd =
        rc == 0 ? openat(folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
    for (size_t i = 0; fd >= 0 && rc == 0 && i < PV_ARRAY_SIZE(parts); i++)
        rc = mkdirat(fd, parts[i], 0755) < 0 ? -errno : 0;
    if (rc == 0 && fd < 0)
        rc = -errno;
    umask(old);
    if (rc < 0)
        return pv_error_set(err, -rc, "create network '%s': %s", name, strerror(-rc));
    return pv_fd_replace_file(fd, FILE_NAME, text, strlen(text), 0644, err);
}

static bool exists(int folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/" FILE_NAME, name);
    return faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int instance_network_create(const struct instance_store *store, const char *name,
                            const char *subnet_text, const char *subnet6_text, bool internal,
                            struct pv_error *err)
{
    struct workload_subnet subnet = {0};
    int rc = instance_network_check_name(name, err);
    if (rc == 0 && subnet_text)
        rc = workload_subnet_parse(subnet_text, &subnet, err);
    if (rc == 0 && subnet6_text)
        rc = workload_subnet_parse6(subnet6_text, &subnet, err);
    if (rc < 0)
        return rc;
    if (!subnet6_text)
        instance_network_choose6(&subnet);

    pv_auto_fd int folder = open_folder(store, true, err);
    pv_auto_fd int lock = folder < 0 ? folder : instance_lock_folder(folder, true, err);
    if (lock < 0)
        return lock;
    finish_removals(folder);
    if (exists(folder, name))
        return pv_error_set(err, EEXIST, "network '%s' exists: 'paravane network inspect %s'", name,
                            name);
    rc = choose_subnets(store, folder, subnet_text != NULL, &subnet, err);
    if (rc < 0)
        return pv_error_prefix(err, "create network '%s'", name);
    pv_auto_free char *text = write_network(&subnet, internal);
    if (!text)
        return OUT_OF_MEMORY(err);
    rc = make_folders(folder, name, text, err);
    if (rc < 0)
        instance_file_remove_tree(folder, name, NULL);
    return rc;
}

struct user_list {
    struct pv_str text;
    unsigned count;
};

static int add_user(uint32_t number, const struct workload_member *member, void *data)
{
    struct user_list *list = data;
    if (list->count++ < NAMES_SHOWN)
        pv_str_addf(&list->text, "%s%s", list->text.len ? " " : "", member->name);
    return 0;
}

/* Refuses when instances are on it. */
static int check_unused(const struct instance_network *n, struct pv_error *err)
{
    struct user_list list = {0};
    int rc = instance_network_each(n, add_user, &list, err);
    if (rc == 0 && list.count)
        rc = pv_error_set(err, EBUSY,
                          "network '%s' is in use by %u instance%s: remove them first, with "
                          "'paravane rm %s%s'",
                          n->name, list.count, list.count == 1 ? "" : "s",
                          list.text.text ? list.text.text : "",
                          list.count > NAMES_SHOWN ? " ..." : "");
    pv_str_done(&list.text);
    return rc;
}

int instance_network_remove(const struct instance_store *store, const char *name,
                            struct pv_error *err)
{
    struct instance_network n;
    pv_auto_fd int folder = open_folder(store, false, err);
    if (folder == -ENOENT)
        return instance_network_open(store, name, &n, err); /* says what there is */
    pv_auto_fd int lock = folder < 0 ? folder : instance_lock_folder(folder, true, err);
    if (lock < 0)
        return lock;
    finish_removals(folder);
    int rc = instance_network_open(store, name, &n, err);
    if (rc == 0) {
        sweep(store, &n, NULL);
        rc = check_unused(&n, err);
        instance_network_done(&n);
    } else if (rc != -ENOENT && pv_str_is_name(name) && exists(folder, name)) {
        rc = 0; /* damaged: nobody can use it */
    }
    if (rc < 0)
        return rc;
    pv_auto_free char *gone = pv_strf(GONE_PREFIX "%s", name);
    if (!gone)
        return OUT_OF_MEMORY(err);
    if (renameat(folder, name, folder, gone) < 0)
        return pv_error_set(err, errno, "remove network '%s': %s", name, strerror(errno));
    return instance_file_remove_tree(folder, gone, err);
}
