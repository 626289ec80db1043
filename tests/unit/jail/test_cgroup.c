/* SPDX-License-Identifier: Apache-2.0
 *
 * test_cgroup.c: cgroups found in made-up trees of files (v2 of a user session, v1 in a container,
 * both at once), and made for real where this host and user allow it.
 */
#include "jail/cgroup.h"

#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "jail/cgroup_internal.h"

#define ID "0123456789abcdef"
#define USER 54321

/* ---- A host made of files ---- */

static struct {
    char top[64], mountinfo[96], self[96];
    struct jail_cgroup_host host;
} fake;

static const char *in_fake(const char *name)
{
    static char paths[8][320];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, 320, "%s/%s", fake.top, name);
    return path;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(in_fake(name), "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void check_file(const char *name, const char *text)
{
    char *got = NULL;
    assert_int_equal(pv_fd_read_file(AT_FDCWD, in_fake(name), 4096, &got, NULL, NULL), 0);
    assert_string_equal(got, text);
    free(got);
}

/* Makes a directory with all above it, below the made-up host's root. */
static void make_dir(const char *name)
{
    char path[320];
    snprintf(path, sizeof(path), "%s", in_fake(name));
    for (char *slash = strchr(path + strlen(fake.top) + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash)
            *slash = '\0';
        if (mkdir(path, 0755) < 0)
            assert_int_equal(errno, EEXIST);
        if (!slash)
            break;
        *slash = '/';
    }
}

/* A v2 cgroup with its files. */
static void make_v2(const char *dir, const char *controllers, const char *enabled)
{
    char name[200];
    make_dir(dir);
    snprintf(name, sizeof(name), "%s/cgroup.controllers", dir);
    put(name, controllers);
    snprintf(name, sizeof(name), "%s/cgroup.subtree_control", dir);
    put(name, enabled);
    snprintf(name, sizeof(name), "%s/cgroup.procs", dir);
    put(name, "");
}

static void make_files(const char *dir, const char *const *names)
{
    for (; *names; names++) {
        char name[200];
        snprintf(name, sizeof(name), "%s/%s", dir, *names);
        put(name, "0\n");
    }
}

static int set_up_fake(void **state)
{
    strcpy(fake.top, "/tmp/paravane-cgroup-XXXXXX");
    assert_non_null(mkdtemp(fake.top));
    assert_int_equal(chmod(fake.top, 0777), 0);
    snprintf(fake.mountinfo, sizeof(fake.mountinfo), "%s/mountinfo", fake.top);
    snprintf(fake.self, sizeof(fake.self), "%s/self", fake.top);
    fake.host = (struct jail_cgroup_host){.mountinfo = fake.mountinfo, .self_cgroup = fake.self};
    if (geteuid() == 0)
        assert_int_equal(seteuid(USER), 0); /* access rights mean nothing to root */
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    return remove(path);
}

static int tear_down_fake(void **state)
{
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
    return nftw(fake.top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* %1$s in the line is the made-up host's root. */
static void put_mountinfo(const char *lines)
{
    struct pv_str text = {0};
    assert_int_equal(pv_str_add(&text, "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"),
                     0);
    for (const char *at = lines; *at; at++)
        assert_int_equal(*at == '@' ? pv_str_add(&text, fake.top) : pv_str_add_bytes(&text, at, 1),
                         0);
    put("mountinfo", text.text);
    pv_str_done(&text);
}

static const char *const v2_files[] = {
    "memory.max", "memory.swap.max", "memory.current", "memory.events",    "cpu.max",
    "cpu.stat",   "pids.max",        "pids.current",   "memory.oom.group", NULL};

static const char *const all_controllers = "cpuset cpu io memory pids\n";

#define APP "v2/user.slice/user-1000.slice/user@1000.service/app.slice"

/* A user's session manager with a delegated tree, and us in a scope of it. */
static void make_session(const char *enabled)
{
    put_mountinfo("30 21 0:26 / @/v2 rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n");
    put("self", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-7.scope\n");
    make_v2("v2", all_controllers, all_controllers);
    make_v2(APP, "cpu memory pids\n", enabled);
    make_v2(APP "/run-7.scope", "memory pids\n", "");
    make_v2(APP "/paravane", "cpu memory pids\n", "cpu memory pids\n");
    make_v2(APP "/paravane/" ID, "cpu memory pids\n", "");
    make_files(APP "/paravane/" ID, v2_files);
}

static const struct jail_cgroup_limits some_limits = {
    .memory_bytes = {.value = 512 << 20}, .cpu_milli = {.value = 1500}, .pids = {.value = 100}};

/* ---- Finding ---- */

static void test_v1_in_a_container_is_cut_to_what_is_mounted(void **state)
{
    struct jail_hierarchies list;
    put_mountinfo("30 21 0:26 /docker/abc @/cg/memory rw - cgroup cgroup rw,memory\n"
                  "31 21 0:27 /docker/abc @/cg/cpu,cpuacct rw master:1 - cgroup c rw,cpu,cpuacct\n"
                  "32 21 0:28 / @/cg/pi\\040ds rw - cgroup cgroup rw,pids\n"
                  "33 21 0:29 / @/cg/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
                  "34 21 0:30 / @/cg/cpuset rw - cgroup cgroup rw,cpuset\n");
    put("self", "12:memory:/docker/abc/inner\n"
                "11:cpu,cpuacct:/docker/abc\n"
                "10:pids:/../../x\n"
                "1:name=systemd:/docker/abc\n"
                "0::/docker/abc\n");
    assert_int_equal(jail_hierarchies_read(&fake.host, &list, NULL), 0);
    assert_int_equal(list.count, 3);

    const struct jail_hierarchy *h = jail_hierarchies_find(&list, JAIL_CONTROLLER_MEMORY);
    assert_int_equal(h->version, 1);
    assert_string_equal(h->top, in_fake("cg/memory"));
    assert_string_equal(h->own, in_fake("cg/memory/inner"));
    h = jail_hierarchies_find(&list, JAIL_CONTROLLER_CPUACCT);
    assert_ptr_equal(h, jail_hierarchies_find(&list, JAIL_CONTROLLER_CPU));
    assert_string_equal(h->own, in_fake("cg/cpu,cpuacct"));
    h = jail_hierarchies_find(&list, JAIL_CONTROLLER_PIDS);
    assert_string_equal(h->top, in_fake("cg/pi ds"));
    assert_string_equal(h->own, in_fake("cg/pi ds")); /* we are outside of what it shows */
    jail_hierarchies_done(&list);
}

static void test_hybrid_takes_each_controller_where_it_is(void **state)
{
    struct jail_hierarchies list;
    put_mountinfo("30 21 0:26 / @/memory rw - cgroup cgroup rw,memory\n"
                  "31 21 0:27 / @/unified rw - cgroup2 cgroup2 rw\n");
    put("self", "4:memory:/a\n0::/b\n");
    make_v2("unified", "pids\n", "");
    assert_int_equal(jail_hierarchies_read(&fake.host, &list, NULL), 0);
    assert_int_equal(jail_hierarchies_find(&list, JAIL_CONTROLLER_MEMORY)->version, 1);
    assert_int_equal(jail_hierarchies_find(&list, JAIL_CONTROLLER_PIDS)->version, 2);
    assert_int_equal(jail_hierarchies_find(&list, JAIL_CONTROLLER_CPUACCT)->version, 2);
    assert_null(jail_hierarchies_find(&list, JAIL_CONTROLLER_CPU));
    jail_hierarchies_done(&list);
}

static void test_garbage_is_no_hierarchy(void **state)
{
    struct jail_hierarchies list;
    put_mountinfo("\n-\n1 2 3 4 5\n30 21 0:26 / /x rw - cgroup\n- - - - - - - cgroup2\n"
                  "30 21 0:26 / @/m rw - cgroup cgroup rw,memoryx\n");
    put("self", "garbage\n::\n4\n0::\n");
    assert_int_equal(jail_hierarchies_read(&fake.host, &list, NULL), 0);
    assert_int_equal(list.count, 0);
    jail_hierarchies_done(&list);

    struct jail_cgroup_host nowhere = {.mountinfo = "/nonexistent", .self_cgroup = fake.self};
    struct pv_error err = PV_ERROR_INIT;
    assert_int_equal(jail_hierarchies_read(&nowhere, &list, &err), -ENOENT);
    jail_hierarchies_done(&list);
}

/* ---- Setting, in files ---- */

static void test_delegated_session_gets_all_limits(void **state)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    struct pv_error err = PV_ERROR_INIT;
    make_session("memory pids\n");
    if (jail_cgroup_create(&fake.host, ID, &some_limits, &cgroup, &walls, &err) < 0)
        fail_msg("%s", err.text);
    assert_true(jail_walls_stands(&walls, JAIL_WALL_LIMIT_MEMORY));
    assert_true(jail_walls_stands(&walls, JAIL_WALL_LIMIT_CPU));
    assert_true(jail_walls_stands(&walls, JAIL_WALL_LIMIT_PIDS));
    assert_non_null(strstr(jail_walls_find(&walls, JAIL_WALL_LIMIT_CPU)->detail, "v2 "));
    check_file(APP "/paravane/" ID "/memory.max", "536870912");
    check_file(APP "/paravane/" ID "/memory.swap.max", "536870912");
    check_file(APP "/paravane/" ID "/cpu.max", "150000 100000");
    check_file(APP "/paravane/" ID "/pids.max", "100");
    check_file(APP "/paravane/" ID "/memory.oom.group", "1\n"); /* over "0\n" */
    check_file(APP "/cgroup.subtree_control", "+cpury pids\n"); /* a file, not a cgroup */

    assert_int_equal(jail_cgroup_attach(cgroup, 4711, &err), 0);
    check_file(APP "/paravane/" ID "/cgroup.procs", "4711");

    struct pv_strv paths = {0};
    assert_int_equal(jail_cgroup_paths(cgroup, &paths), 0);
    assert_int_equal(paths.count, 1);
    assert_string_equal(paths.items[0], in_fake(APP "/paravane/" ID));
    pv_strv_done(&paths);
    jail_cgroup_close(cgroup);
}

static void test_usage_is_read_anew_each_time(void **state)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    struct jail_cgroup_usage usage;
    struct pv_error err = PV_ERROR_INIT;
    make_session("cpu memory pids\n");
    assert_int_equal(jail_cgroup_create(&fake.host, ID, &some_limits, &cgroup, &walls, &err), 0);
    put(APP "/paravane/" ID "/memory.current", "1048576\n");
    put(APP "/paravane/" ID "/memory.events", "low 0\noom 9\noom_kill 3\noom_group_kill 1\n");
    put(APP "/paravane/" ID "/cpu.stat", "usage_usec 2500\nuser_usec 1\n");
    put(APP "/paravane/" ID "/pids.current", "7\n");
    assert_int_equal(jail_cgroup_usage(cgroup, &usage, &err), 0);
    assert_true(usage.has_memory && usage.has_cpu && usage.has_pids);
    assert_int_equal(usage.memory_bytes, 1048576);
    assert_int_equal(usage.memory_peak_bytes, 0); /* this host has no memory.peak */
    assert_int_equal(usage.cpu_ns, 2500000);
    assert_int_equal(usage.oom_kills, 3);
    assert_int_equal(usage.pids, 7);

    put(APP "/paravane/" ID "/pids.current", "8\n");
    assert_int_equal(jail_cgroup_usage(cgroup, &usage, &err), 0);
    assert_int_equal(usage.pids, 8);
    put(APP "/paravane/" ID "/pids.current", "x\n");
    assert_int_equal(jail_cgroup_usage(cgroup, &usage, &err), -EBADMSG);
    jail_cgroup_close(cgroup);
}

static void test_limits_change_and_are_lifted(void **state)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    struct pv_error err = PV_ERROR_INIT;
    make_session("cpu memory pids\n");
    assert_int_equal(jail_cgroup_create(&fake.host, ID, &some_limits, &cgroup, &walls, &err), 0);
    for (size_t i = 0; v2_files[i]; i++) { /* files keep the rest of a longer text */
        char name[200];
        snprintf(name, sizeof(name), APP "/paravane/" ID "/%s", v2_files[i]);
        put(name, "");
    }
    put(APP "/paravane/" ID "/memory.current", "900\n");
    const struct jail_cgroup_limits changed = {.memory_bytes = {.value = 1000}};
    assert_int_equal(jail_cgroup_update(cgroup, &changed, &walls, &err), 0);
    check_file(APP "/paravane/" ID "/memory.max", "1000");
    check_file(APP "/paravane/" ID "/cpu.max", "max 100000");
    check_file(APP "/paravane/" ID "/pids.max", "max");
    assert_false(jail_walls_stands(&walls, JAIL_WALL_LIMIT_PIDS));

    /* v2 would kill instead of refusing. */
    const struct jail_cgroup_limits too_small = {.memory_bytes = {.value = 899}};
    assert_int_equal(jail_cgroup_update(cgroup, &too_small, &walls, &err), -EBUSY);
    check_file(APP "/paravane/" ID "/memory.max", "1000");
    const struct jail_cgroup_limits too_slow = {.cpu_milli = {.value = 9}};
    assert_int_equal(jail_cgroup_update(cgroup, &too_slow, &walls, &err), -EINVAL);
    jail_cgroup_close(cgroup);
}

static void make_undelegated(void)
{
    put_mountinfo("30 21 0:26 / @/v2 rw - cgroup2 cgroup2 rw\n");
    put("self", "0::/user.slice/session-2.scope\n");
    make_v2("v2", all_controllers, all_controllers);
    make_v2("v2/user.slice", all_controllers, all_controllers);
    make_v2("v2/user.slice/session-2.scope", all_controllers, "");
    assert_int_equal(chmod(in_fake("v2/user.slice/session-2.scope"), 0555), 0);
    assert_int_equal(chmod(in_fake("v2/user.slice"), 0555), 0);
}

static void test_default_limit_that_cannot_be_set_is_said_plainly(void **state)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    struct jail_cgroup_usage usage;
    make_undelegated();
    assert_int_equal(jail_cgroup_create(&fake.host, ID, &some_limits, &cgroup, &walls, NULL), 0);
    assert_non_null(cgroup);
    const struct jail_wall *wall = jail_walls_find(&walls, JAIL_WALL_LIMIT_MEMORY);
    assert_non_null(wall);
    assert_false(wall->stands);
    assert_non_null(strstr(wall->detail, "not set: "));
    assert_non_null(strstr(wall->detail, "not delegated"));
    assert_int_equal(jail_cgroup_attach(cgroup, getpid(), NULL), 0); /* into nothing */
    assert_int_equal(jail_cgroup_usage(cgroup, &usage, NULL), 0);
    assert_false(usage.has_memory || usage.has_pids);
    jail_cgroup_close(cgroup);
    chmod(in_fake("v2/user.slice"), 0755);
    chmod(in_fake("v2/user.slice/session-2.scope"), 0755);
}

static void test_required_limit_that_cannot_be_set_is_refused(void **state)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    struct pv_error err = PV_ERROR_INIT;
    struct jail_cgroup_limits limits = some_limits;
    limits.memory_bytes.required = true;
    make_undelegated();
    assert_int_equal(jail_cgroup_create(&fake.host, ID, &limits, &cgroup, &walls, &err),
                     -EOPNOTSUPP);
    assert_null(cgroup);
    assert_non_null(strstr(err.text, "memory limit"));
    assert_non_null(strstr(err.text, "systemd-run"));
    chmod(in_fake("v2/user.slice"), 0755);
    chmod(in_fake("v2/user.slice/session-2.scope"), 0755);
}

static void test_missing_controller_is_named(void **state)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    make_session("memory pids\n");
    put(APP "/cgroup.controllers", "memory pids\n"); /* cpu is not delegated */
    assert_int_equal(jail_cgroup_create(&fake.host, ID, &some_limits, &cgroup, &walls, NULL), 0);
    assert_true(jail_walls_stands(&walls, JAIL_WALL_LIMIT_MEMORY));
    const struct jail_wall *cpu = jail_walls_find(&walls, JAIL_WALL_LIMIT_CPU);
    assert_false(cpu->stands);
    assert_non_null(strstr(cpu->detail, "controller cpu is not available"));
    jail_cgroup_close(cgroup);
}

static void test_id_in_use_is_refused(void **state)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    make_session("cpu memory pids\n");
    put(APP "/paravane/" ID "/cgroup.procs", "4711\n");
    assert_int_equal(jail_cgroup_create(&fake.host, ID, &some_limits, &cgroup, &walls, NULL),
                     -EEXIST);
    assert_int_equal(jail_cgroup_create(&fake.host, "../x", &some_limits, &cgroup, &walls, NULL),
                     -EINVAL);
    assert_null(cgroup);
}

static void test_leftovers_are_only_ours(void **state)
{
    static const char *const bad[] = {"/etc/paravane/" ID,   "@/v2/other/" ID,
                                      "@/v2/paravane/other", "@/v2/../x/paravane/" ID,
                                      "@/v2paravane/" ID,    ID};
    make_session("cpu memory pids\n");
    for (size_t i = 0; i < PV_ARRAY_SIZE(bad); i++) {
        struct pv_strv paths = {0};
        const char *path = bad[i][0] == '@' ? in_fake(bad[i] + 2) : bad[i];
        assert_int_equal(pv_strv_add(&paths, path), 0);
        /* The session's own one is full of files here, so look for another id. */
        int rc = jail_cgroup_remove_leftovers(&fake.host, "unknown", NULL, NULL);
        assert_int_equal(rc, 0);
        struct jail_cgroup_host elsewhere = fake.host;
        put("self", "0::/\n");
        rc = jail_cgroup_remove_leftovers(&elsewhere, ID, &paths, NULL);
        if (rc != -EINVAL)
            fail_msg("'%s': %d", path, rc);
        pv_strv_done(&paths);
    }
}

/* What root has made is not this user's leftover, even when its folder cannot be searched. */
static void test_a_closed_folder_holds_no_leftovers(void **state)
{
    make_session("cpu memory pids\n");
    make_dir("v2/paravane/" ID);
    assert_int_equal(chmod(in_fake("v2/paravane"), 0), 0);
    put("self", "0::/\n");
    struct pv_error err = PV_ERROR_INIT;
    int rc = jail_cgroup_remove_leftovers(&fake.host, ID, NULL, &err);
    assert_int_equal(chmod(in_fake("v2/paravane"), 0755), 0);
    if (rc < 0)
        fail_msg("%s", err.text);
    assert_int_equal(access(in_fake("v2/paravane/" ID), F_OK), 0);
}

/* ---- For real ---- */

static struct jail_cgroup_host real = {.parent = NULL};
static char real_parent[40];

/* Makes cgroups here or skips with the reason. */
static struct jail_cgroup *make_real(const struct jail_cgroup_limits *limits)
{
    struct jail_cgroup *cgroup = NULL;
    struct jail_walls walls = {.count = 0};
    struct pv_error err = PV_ERROR_INIT;
    if (jail_cgroup_create(&real, ID, limits, &cgroup, &walls, &err) < 0)
        fail_msg("%s", err.text);
    static const char *const names[] = {JAIL_WALL_LIMIT_MEMORY, JAIL_WALL_LIMIT_CPU,
                                        JAIL_WALL_LIMIT_PIDS};
    for (size_t i = 0; i < PV_ARRAY_SIZE(names); i++) {
        const struct jail_wall *wall = jail_walls_find(&walls, names[i]);
        assert_non_null(wall);
        if (wall->stands)
            continue;
        print_message("%s: %s\n", wall->name, wall->detail);
        jail_cgroup_remove(cgroup, NULL);
        jail_cgroup_close(cgroup);
        skip();
    }
    return cgroup;
}

static int set_up_real(void **state)
{
    snprintf(real_parent, sizeof(real_parent), "paravane-test-%d", (int)getpid());
    real.parent = real_parent;
    return 0;
}

/* A child in the cgroups that does `work` once it is in. */
static pid_t start_inside(struct jail_cgroup *cgroup, void (*work)(void))
{
    int go[2];
    char byte = 0;
    assert_int_equal(pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (read(go[0], &byte, 1) == 1)
            work();
        _exit(0);
    }
    assert_int_equal(jail_cgroup_attach(cgroup, pid, NULL), 0);
    assert_int_equal(write(go[1], &byte, 1), 1);
    close(go[0]);
    close(go[1]);
    return pid;
}

static void sleep_for_ever(void)
{
    for (;;)
        pause();
}

static void fork_until_refused(void)
{
    int got = 0;
    pid_t pid;
    while (got < 30 && (pid = fork()) >= 0) {
        if (pid == 0)
            sleep_for_ever();
        got++;
    }
    _exit(got);
}

static void eat_memory(void)
{
    const size_t size = 96 << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t at = 0; at < size; at += 4096)
        ((volatile char *)memory)[at] = 1;
    _exit(0);
}

static void burn_time(void)
{
    for (;;)
        continue;
}

static void check_gone(const struct pv_strv *paths)
{
    for (size_t i = 0; i < paths->count; i++)
        assert_int_not_equal(access(paths->items[i], F_OK), 0);
}

static void test_real_limits_hold_and_are_removed(void **state)
{
    const struct jail_cgroup_limits limits = {
        .memory_bytes = {32 << 20, true}, .cpu_milli = {500, true}, .pids = {10, true}};
    struct jail_cgroup *cgroup = make_real(&limits);
    struct pv_strv paths = {0};
    struct jail_cgroup_usage usage;
    struct jail_walls walls = {.count = 0};
    int status;
    assert_int_equal(jail_cgroup_paths(cgroup, &paths), 0);
    assert_true(paths.count > 0);

    pid_t pid = start_inside(cgroup, fork_until_refused);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 9); /* and itself */
    assert_int_equal(jail_cgroup_usage(cgroup, &usage, NULL), 0);
    assert_true(usage.has_pids);
    assert_int_equal(usage.pids, 9);
    /* The other id is in use now. */
    struct jail_cgroup *second = NULL;
    assert_int_equal(jail_cgroup_create(&real, ID, &limits, &second, &walls, NULL), -EEXIST);
    /* Removal kills them. */
    assert_int_equal(jail_cgroup_remove(cgroup, NULL), 0);
    check_gone(&paths);
    assert_int_equal(jail_cgroup_remove(cgroup, NULL), 0); /* nothing there is success */
    jail_cgroup_close(cgroup);
    pv_strv_done(&paths);
}

static void test_real_memory_limit_kills_inside_only(void **state)
{
    struct jail_cgroup_limits limits = {
        .memory_bytes = {32 << 20, true}, .cpu_milli = {1000, true}, .pids = {10, true}};
    struct jail_cgroup *cgroup = make_real(&limits);
    struct jail_cgroup_usage usage;
    struct jail_walls walls = {.count = 0};
    int status;
    pid_t pid = start_inside(cgroup, eat_memory);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(jail_cgroup_usage(cgroup, &usage, NULL), 0);
    assert_true(usage.has_memory);
    assert_true(usage.oom_kills >= 1);

    limits.memory_bytes.value = 160 << 20;
    assert_int_equal(jail_cgroup_update(cgroup, &limits, &walls, NULL), 0);
    pid = start_inside(cgroup, eat_memory);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    limits.memory_bytes.value = 16 << 20;
    assert_int_equal(jail_cgroup_update(cgroup, &limits, &walls, NULL), 0);
    limits.memory_bytes.value = 0;
    assert_int_equal(jail_cgroup_update(cgroup, &limits, &walls, NULL), 0);
    assert_int_equal(jail_cgroup_remove(cgroup, NULL), 0);
    jail_cgroup_close(cgroup);
}

static void test_real_cpu_limit_slows(void **state)
{
    const struct jail_cgroup_limits limits = {
        .memory_bytes = {64 << 20, true}, .cpu_milli = {100, true}, .pids = {10, true}};
    struct jail_cgroup *cgroup = make_real(&limits);
    struct jail_cgroup_usage usage;
    pid_t pid = start_inside(cgroup, burn_time);
    usleep(500 * 1000);
    assert_int_equal(jail_cgroup_usage(cgroup, &usage, NULL), 0);
    assert_true(usage.has_cpu);
    /* A tenth of 500 ms, and a period of 100 ms more or less; unlimited it would be 500. */
    assert_in_range(usage.cpu_ns, 1, 200 * 1000 * 1000);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(jail_cgroup_remove(cgroup, NULL), 0);
    jail_cgroup_close(cgroup);
}

static void test_real_leftovers_are_killed_and_removed_by_id(void **state)
{
    const struct jail_cgroup_limits limits = {
        .memory_bytes = {64 << 20, true}, .cpu_milli = {1000, true}, .pids = {10, true}};
    struct jail_cgroup *cgroup = make_real(&limits);
    struct pv_strv paths = {0};
    int status;
    assert_int_equal(jail_cgroup_paths(cgroup, &paths), 0);
    pid_t pid = start_inside(cgroup, sleep_for_ever);
    jail_cgroup_close(cgroup); /* the monitor died */

    /* Another process has to collect the dead one, or its cgroup stays busy: here that is us. */
    signal(SIGCHLD, SIG_IGN);
    struct pv_error err = PV_ERROR_INIT;
    if (jail_cgroup_remove_leftovers(&real, ID, &paths, &err) < 0)
        fail_msg("%s", err.text);
    signal(SIGCHLD, SIG_DFL);
    assert_int_equal(waitpid(pid, &status, 0), -1); /* was killed and collected */
    check_gone(&paths);
    assert_int_equal(jail_cgroup_remove_leftovers(&real, ID, &paths, NULL), 0);
    assert_int_equal(jail_cgroup_remove_leftovers(&real, ID, NULL, NULL), 0);
    pv_strv_done(&paths);
}

int main(void)
{
#define FAKE(test) cmocka_unit_test_setup_teardown(test, set_up_fake, tear_down_fake)
    const struct CMUnitTest tests[] = {
        FAKE(test_v1_in_a_container_is_cut_to_what_is_mounted),
        FAKE(test_hybrid_takes_each_controller_where_it_is),
        FAKE(test_garbage_is_no_hierarchy),
        FAKE(test_delegated_session_gets_all_limits),
        FAKE(test_usage_is_read_anew_each_time),
        FAKE(test_limits_change_and_are_lifted),
        FAKE(test_default_limit_that_cannot_be_set_is_said_plainly),
        FAKE(test_required_limit_that_cannot_be_set_is_refused),
        FAKE(test_missing_controller_is_named),
        FAKE(test_id_in_use_is_refused),
        FAKE(test_leftovers_are_only_ours),
        FAKE(test_a_closed_folder_holds_no_leftovers),
        cmocka_unit_test_setup(test_real_limits_hold_and_are_removed, set_up_real),
        cmocka_unit_test_setup(test_real_memory_limit_kills_inside_only, set_up_real),
        cmocka_unit_test_setup(test_real_cpu_limit_slows, set_up_real),
        cmocka_unit_test_setup(test_real_leftovers_are_killed_and_removed_by_id, set_up_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
