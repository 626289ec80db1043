/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.c: the host system calls of a hosted guest kernel and its stubs, each with its reason.
 * Spec: docs/guest-interface.md, 8: the two tables are one.
 *
 * Theory of operation: the filter is installed before the exec and inherited by every stub, which
 * puts the guest's own filter (SECCOMP_RET_TRAP for what a guest program calls) on top. What is not
 * listed answers EPERM. Nothing here opens a path: execveat, the only call that takes one, must
 * carry AT_EMPTY_PATH, and the root is empty.
 */
#include "engine/hosted/filter.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

/* The interrupt between virtual CPUs: SIGRTMIN as glibc counts it. */
#define IPI_SIGNAL 34
#define NAMESPACES                                                                                 \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

struct rule {
    int nr;
    const char *reason;
    unsigned num_args;
    struct jail_filter_arg args[3];
};

/* int arguments: the kernel looks at the lower half alone. */
#define IS(i, v)                                                                                   \
    {                                                                                              \
        .index = (i), .op = JAIL_ARG_MASKED_EQ, .value = (v), .mask = 0xffffffff                   \
    }
#define WITHOUT(i, bits)                                                                           \
    {                                                                                              \
        .index = (i), .op = JAIL_ARG_MASKED_EQ, .value = 0, .mask = (bits)                         \
    }
#define ANY .num_args = 0
#define ONE(...) .num_args = 1, .args = {__VA_ARGS__}
#define TWO(...) .num_args = 2, .args = {__VA_ARGS__}
#define THREE(...) .num_args = 3, .args = {__VA_ARGS__}

static const struct rule rules[] = {
    {SYS_read, "kernel: sockets of devices; stub: what it shall do", ANY},
    {SYS_write, "kernel: messages, kicks, what a stub starts with", ANY},
    {SYS_close, "kernel, stub: descriptors that are no longer needed", ANY},
    {SYS_lseek, "kernel: size of inherited files", ANY},
    {SYS_fcntl, "kernel: close-on-exec", ONE(IS(1, F_SETFD))},
    {SYS_fcntl, "kernel: descriptors that interrupt", ONE(IS(1, F_GETFL))},
    {SYS_fcntl, "kernel: descriptors that interrupt", ONE(IS(1, F_SETFL))},
    {SYS_fcntl, "kernel: descriptors that interrupt", ONE(IS(1, F_SETSIG))},
    {SYS_fcntl, "kernel: descriptors that interrupt", ONE(IS(1, F_SETOWN))},
    {SYS_fcntl, "kernel: seals of the stub's program", ONE(IS(1, F_ADD_SEALS))},
    {SYS_close_range, "kernel, stub: a stub keeps the memory file", ANY},
    {SYS_dup2, "kernel: the stub's socket becomes its descriptor 0", ONE(IS(1, 0))},
    {SYS_socketpair, "kernel: one for the start of each stub; calls of devices",
     THREE(IS(0, AF_UNIX), IS(1, SOCK_STREAM), IS(2, 0))},
    {SYS_sendmsg, "kernel: vhost-user", ONE(IS(2, 0))},
    {SYS_recvmsg, "stub: the memory file, of kernels that pass it", TWO(IS(0, 0), IS(2, 0))},
    {SYS_eventfd2, "kernel: kicks of devices", TWO(IS(0, 0), IS(1, 0))},
    {SYS_epoll_create, "kernel: descriptors that interrupt", ANY},
    {SYS_epoll_ctl, "kernel: descriptors that interrupt", ANY},
    {SYS_epoll_wait, "kernel: which descriptor interrupted", ONE(IS(3, 0))},
    {SYS_memfd_create, "kernel: the stub's program", ANY},
    {SYS_execveat, "kernel: start of a stub, by descriptor", ONE(IS(4, AT_EMPTY_PATH))},
    {SYS_mmap, "kernel, stub: guest memory; stacks of threads", ANY},
    {SYS_munmap, "kernel, stub: guest memory", ANY},
    {SYS_mprotect, "kernel: stacks, read-only data", ONE(WITHOUT(2, PROT_EXEC))},
    {SYS_brk, "kernel: the C library's heap, until guest memory is there", ANY},
    {SYS_clone, "kernel: threads of virtual CPUs, stubs; stub: threads of its own",
     ONE(WITHOUT(0, NAMESPACES | CLONE_UNTRACED | CLONE_PARENT))},
    {SYS_wait4, "kernel: stubs that ended", ANY},
    {SYS_kill, "kernel: end a stub", ONE(IS(1, SIGKILL))},
    {SYS_tgkill, "kernel: interrupt a thread of a stub", ONE(IS(2, SIGALRM))},
    {SYS_tgkill, "kernel: interrupts between virtual CPUs", ONE(IS(2, IPI_SIGNAL))},
    {SYS_futex, "kernel and stub wait for each other", ONE(IS(1, FUTEX_WAIT))},
    {SYS_futex, "kernel and stub wait for each other", ONE(IS(1, FUTEX_WAKE))},
    {SYS_futex, "kernel: start of virtual CPUs", ONE(IS(1, FUTEX_WAIT_PRIVATE))},
    {SYS_futex, "kernel: start of virtual CPUs", ONE(IS(1, FUTEX_WAKE_PRIVATE))},
    {SYS_rt_sigaction, "kernel, stub: interrupts and traps are signals", ANY},
    {SYS_rt_sigprocmask, "kernel: idle, start of threads", ANY},
    {SYS_rt_sigreturn, "kernel, stub: back from a signal", ANY},
    {SYS_rt_sigsuspend, "kernel: idle", ANY},
    {SYS_sigaltstack, "kernel, stub: stack of signal handlers", ANY},
    {SYS_timer_create, "kernel: the clock of a virtual CPU", ONE(IS(0, CLOCK_MONOTONIC))},
    {SYS_timer_settime, "kernel: the clock of a virtual CPU", ANY},
    {SYS_clock_gettime, "kernel: time, where the vDSO cannot tell it", ANY},
    {SYS_getpid, "kernel: owner of descriptors", ANY},
    {SYS_gettid, "kernel: timers and interrupts of a virtual CPU", ANY},
    {SYS_personality, "kernel: is address space randomization off?", ONE(IS(0, 0xffffffff))},
    {SYS_prctl, "stub: its name", ONE(IS(0, PR_SET_NAME))},
    {SYS_prctl, "stub: dies with the kernel", TWO(IS(0, PR_SET_PDEATHSIG), IS(1, SIGKILL))},
    {SYS_prctl, "stub: no new privileges", ONE(IS(0, PR_SET_NO_NEW_PRIVS))},
    {SYS_seccomp, "stub: traps the guest program's calls", ONE(IS(0, SECCOMP_SET_MODE_FILTER))},
    {SYS_arch_prctl, "stub: FS base of the guest program", ONE(IS(0, ARCH_SET_FS))},
    {SYS_arch_prctl, "stub: GS base of the guest program", ONE(IS(0, ARCH_SET_GS))},
    {SYS_getrandom, "kernel: seed of its random numbers", ANY},
    {SYS_set_tid_address, "kernel: the C library's start", ANY},
    {SYS_sched_setaffinity, "kernel: a virtual CPU and who works for it stay on one host CPU", ANY},
    {SYS_exit, "kernel, stub: end of a thread", ANY},
    {SYS_exit_group, "kernel, stub: the end", ANY},
};

/* Requests are long. Whom they are made to, the jail's PID namespace decides: nobody else is there.
 */
#define TRACE(request) ONE({.index = 0, .op = JAIL_ARG_EQ, .value = (request)})

/* When the kernel traces its stubs. */
static const struct rule trace_rules[] = {
    {SYS_ptrace, "stub: is traced by the kernel", TRACE(PTRACE_TRACEME)},
    {SYS_ptrace, "kernel: a stub's calls and traps", TRACE(PTRACE_SETOPTIONS)},
    {SYS_ptrace, "kernel: run the guest program", TRACE(PTRACE_SYSEMU)},
    {SYS_ptrace, "kernel: run one instruction of it", TRACE(PTRACE_SYSEMU_SINGLESTEP)},
    {SYS_ptrace, "kernel: run the stub's own code", TRACE(PTRACE_CONT)},
    {SYS_ptrace, "kernel: registers of the guest program", TRACE(PTRACE_GETREGS)},
    {SYS_ptrace, "kernel: registers of the guest program", TRACE(PTRACE_SETREGS)},
    {SYS_ptrace, "kernel: floating point registers", TRACE(PTRACE_GETREGSET)},
    {SYS_ptrace, "kernel: floating point registers", TRACE(PTRACE_SETREGSET)},
    {SYS_ptrace, "kernel: why the guest program stopped", TRACE(PTRACE_GETSIGINFO)},
    {SYS_ptrace, "kernel: does the host emulate system calls?", TRACE(PTRACE_POKEUSER)},
    {SYS_ptrace, "kernel: end a stub", TRACE(PTRACE_KILL)},
    {SYS_kill, "stub: waits for the kernel", ONE(IS(1, SIGSTOP))},
    {SYS_kill, "kernel: interrupt a stub", ONE(IS(1, SIGALRM))},
};

static int allow(struct jail_filter *filter, const struct rule *rule, struct pv_error *err)
{
    if (rule->num_args == 0)
        return jail_filter_allow(filter, rule->nr, rule->reason, err);
    return jail_filter_allow_args(filter, rule->nr, rule->args, rule->num_args, rule->reason, err);
}

int engine_hosted_filter(bool strict, struct jail_filter_program **ret_program,
                         struct pv_error *err)
{
    pv_auto(jail_filter) struct jail_filter *filter = jail_filter_new(JAIL_FILTER_REFUSE);
    if (!filter)
        return pv_error_set(err, ENOMEM, "guest's jail: out of memory");
    int rc = 0;
    for (size_t i = 0; i < PV_ARRAY_SIZE(rules) && rc == 0; i++)
        rc = allow(filter, &rules[i], err);
    for (size_t i = 0; strict && i < PV_ARRAY_SIZE(trace_rules) && rc == 0; i++)
        rc = allow(filter, &trace_rules[i], err);
    /* Its flags stand in memory, where a filter cannot look: the C library falls back to clone. */
    if (rc == 0)
        rc = jail_filter_refuse(filter, SYS_clone3, ENOSYS, "the C library falls back to clone",
                                err);
    if (rc == 0)
        rc = jail_filter_build(filter, ret_program, err);
    return rc < 0 ? pv_error_prefix(err, "guest's jail") : 0;
}
