/* SPDX-License-Identifier: Apache-2.0
 *
 * stats.c: memory, load and processes, from /proc.   Format: proc(5).
 *
 * Reading the command line of a process takes its memory's lock, which it can hold for ever (in a
 * page fault on a file system of its own). So a child reads, with a time limit, and the agent goes
 * on.
 */
#include "agent/stats.h"

#include "agent/meminfo.h"
#include "agent/user.h"
#include "base/bytes.h"
#include "base/fd.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TIMEOUT_NS (800ull * 1000000)
#define TEXT_MAX (1024u * 1024)
#define COMMAND_MAX 256
#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD */

static struct pv_json *collect_memory(int proc_fd)
{
    static const char *const fields[][2] = {
        {"total_bytes", "MemTotal"},         {"free_bytes", "MemFree"},
        {"available_bytes", "MemAvailable"}, {"cached_bytes", "Cached"},
        {"swap_total_bytes", "SwapTotal"},   {"swap_free_bytes", "SwapFree"},
    };
    pv_auto_free char *text = NULL;
    pv_auto(pv_json) struct pv_json *memory = pv_json_new_object();
    pv_fd_read_file(proc_fd, "meminfo", 65536, &text, NULL, NULL);
    for (size_t i = 0; memory && i < PV_ARRAY_SIZE(fields); i++)
        if (pv_json_add_u64(memory, fields[i][0],
                            text ? agent_meminfo_bytes(text, fields[i][1]) : 0) < 0)
            return NULL;
    return pv_take_ptr(memory);
}

static int add_load(struct pv_json *o, int proc_fd)
{
    pv_auto_free char *uptime = NULL;
    pv_auto_free char *load = NULL;
    pv_fd_read_file(proc_fd, "uptime", 256, &uptime, NULL, NULL);
    pv_fd_read_file(proc_fd, "loadavg", 256, &load, NULL, NULL);
    if (load) { /* "0.00 0.01 0.05 1/30 44": the first three */
        char *end = load;
        for (int i = 0; i < 3; i++)
            end += strspn(end, " ") + strcspn(end + strspn(end, " "), " ");
        *end = '\0';
    }
    int rc = pv_json_add_u64(o, "uptime_seconds", uptime ? strtoull(uptime, NULL, 10) : 0);
    return rc < 0 ? rc : pv_json_add_string(o, "load", load ? load : "0 0 0");
}

static uint64_t ticks_to_ns(unsigned long long ticks)
{
    return ticks * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* The time that all virtual CPUs worked: the first line of /proc/stat, without idle and stolen
 * time. Nothing when there is none. */
static int add_cpu(struct pv_json *o, int proc_fd)
{
    char text[256];
    unsigned long long user, nice, system, irq, softirq;
    pv_auto_fd int fd = openat(proc_fd, "stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : pv_fd_read_full(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "cpu %llu %llu %llu %*u %*u %llu %llu", &user, &nice, &system, &irq,
               &softirq) != 5)
        return 0;
    return pv_json_add_u64(o, "cpu_ns", ticks_to_ns(user + nice + system + irq + softirq));
}

/* What a process says of itself may be any bytes: JSON wants text. */
static void make_printable(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!text[i])
            text[i] = ' ';
        else if ((unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~')
            text[i] = '?';
    while (len && text[len - 1] == ' ')
        len--;
    text[len] = '\0';
}

struct process {
    long pid, ppid;
    uid_t uid;
    uint64_t cpu_ns, rss_bytes;
    bool kernel_thread;
    char command[COMMAND_MAX + 1];
};

/* The fields of /proc/PID/stat; the name in parentheses may hold anything, so it is cut off at its
 * last one. */
static bool parse_stat(char *text, struct process *p)
{
    char *name = strchr(text, '('), *name_end = strrchr(text, ')');
    if (!name || !name_end)
        return false;
    *name_end = '\0';
    snprintf(p->command, sizeof(p->command), "[%.64s]", name + 1);
    make_printable(p->command, strlen(p->command));

    unsigned flags;
    unsigned long long utime, stime, rss;
    if (sscanf(name_end + 1,
               " %*c %ld %*d %*d %*d %*d %u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d "
               "%*u %*u %llu",
               &p->ppid, &flags, &utime, &stime, &rss) != 5)
        return false;
    p->kernel_thread = flags & KERNEL_THREAD;
    p->cpu_ns = ticks_to_ns(utime + stime);
    p->rss_bytes = rss * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

static bool read_process(int proc_fd, const char *name, struct process *p)
{
    char text[1024];
    struct stat st;
    pv_auto_fd int dir = openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    pv_auto_fd int stat_fd = dir < 0 ? -1 : openat(dir, "stat", O_RDONLY | O_CLOEXEC);
    if (stat_fd < 0 || fstat(dir, &st) < 0)
        return false;
    ssize_t n = pv_fd_read_full(stat_fd, text, sizeof(text) - 1);
    if (n <= 0)
        return false;
    text[n] = '\0';
    *p = (struct process){.pid = strtol(name, NULL, 10), .uid = st.st_uid};
    if (!parse_stat(text, p))
        return false;

    pv_auto_fd int line_fd = openat(dir, "cmdline", O_RDONLY | O_CLOEXEC);
    n = line_fd < 0 ? 0 : pv_fd_read_full(line_fd, text, COMMAND_MAX);
    if (n > 0) {
        memcpy(p->command, text, (size_t)n);
        make_printable(p->command, (size_t)n);
    }
    return true;
}

static int add_process(struct pv_json *list, const struct process *p, const char *passwd)
{
    char user[AGENT_USER_NAME_MAX];
    agent_user_name(passwd, p->uid, user);
    make_printable(user, strlen(user));
    struct pv_json *o = pv_json_new_object();
    if (!o || pv_json_add(list, NULL, o) < 0 || pv_json_add_i64(o, "pid", p->pid) < 0 ||
        pv_json_add_i64(o, "ppid", p->ppid) < 0 || pv_json_add_string(o, "user", user) < 0 ||
        pv_json_add_string(o, "command", p->command) < 0 ||
        pv_json_add_u64(o, "cpu_ns", p->cpu_ns) < 0)
        return -ENOMEM;
    return pv_json_add_u64(o, "rss_bytes", p->rss_bytes);
}

static struct pv_json *collect_processes(int proc_fd)
{
    pv_auto(pv_json) struct pv_json *list = pv_json_new_array();
    pv_auto_free char *passwd = NULL;
    int fd = openat(proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        pv_cleanup_fd(&fd);
        return pv_take_ptr(list);
    }
    pv_fd_read_file(AT_FDCWD, "/etc/passwd", 1 << 20, &passwd, NULL, NULL);
    int rc = 0;
    struct dirent *entry;
    for (int count = 0;
         list && rc == 0 && count < AGENT_STATS_PROCESSES_MAX && (entry = readdir(dir));) {
        struct process p;
        if (!isdigit((unsigned char)entry->d_name[0]) ||
            !read_process(proc_fd, entry->d_name, &p) || p.kernel_thread || p.pid == getpid())
            continue;
        rc = add_process(list, &p, passwd ? passwd : "");
        count++;
    }
    closedir(dir);
    return rc < 0 ? NULL : pv_take_ptr(list);
}

struct pv_json *agent_stats_collect(int proc_fd)
{
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    if (!o || pv_json_add(o, "memory", collect_memory(proc_fd)) < 0 || add_load(o, proc_fd) < 0 ||
        add_cpu(o, proc_fd) < 0 || pv_json_add(o, "processes", collect_processes(proc_fd)) < 0)
        return NULL;
    return pv_take_ptr(o);
}

/* The request under way. */
static struct {
    pid_t child; /* reaped by agent/reap.h like any other */
    int fd;
    struct pv_loop_source *source, *timer;
    struct pv_bytes text;
    void (*on_done)(void *data, const char *text, size_t len);
    void *data;
} request;

static void finish(bool ok)
{
    pv_loop_remove(pv_take_ptr(request.source));
    pv_loop_remove(pv_take_ptr(request.timer));
    close(request.fd);
    request.on_done(request.data, ok ? (const char *)pv_bytes_head(&request.text) : NULL,
                    request.text.len);
    pv_bytes_done(&request.text);
}

static void on_text(void *data, int fd, uint32_t events)
{
    ssize_t n = pv_bytes_read_from(&request.text, fd, 65536);
    if (n <= 0 && n != -EAGAIN)
        finish(n == 0 && request.text.len > 0);
}

static void on_timeout(void *data)
{
    finish(false); /* the pipe breaks, and the child ends as soon as it writes */
}

static _Noreturn void run_child(int proc_fd, int out)
{
    alarm(10); /* should the pipe never break */
    signal(SIGALRM, SIG_DFL);
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    struct pv_json *json = agent_stats_collect(proc_fd);
    char *text = json ? pv_json_print(json, false) : NULL;
    _exit(text && pv_fd_write_full(out, text, strlen(text)) == 0 ? 0 : 1);
}

int agent_stats_request(struct pv_loop *loop, int proc_fd,
                        void (*on_done)(void *data, const char *text, size_t len), void *data)
{
    int fds[2];
    if (request.source)
        return -EBUSY;
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    pv_auto_fd int in = fds[0], out = fds[1];
    pv_fd_set_nonblocking(in, true);
    request.timer = pv_loop_add_timer(loop, on_timeout, NULL);
    request.source = pv_loop_add_fd(loop, in, EPOLLIN, on_text, NULL);
    pid_t child = request.timer && request.source ? fork() : -1;
    if (child < 0) {
        int rc = errno ? -errno : -ENOMEM;
        pv_loop_remove(pv_take_ptr(request.source));
        pv_loop_remove(pv_take_ptr(request.timer));
        return rc;
    }
    if (child == 0)
        run_child(proc_fd, out);
    pv_loop_arm(request.timer, TIMEOUT_NS);
    request.child = child;
    request.fd = pv_take_fd(&in);
    request.on_done = on_done;
    request.data = data;
    pv_bytes_init(&request.text, TEXT_MAX);
    return 0;
}
