/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.c: the host system calls of a hosted guest kernel and its stubs, each with its reason.
 * Spec: docs/guest-interface.md, 8: the two tables are one.
 *
 * Theory of operation: the filter is installed before the exec and inherited by every stub, which
 * puts the guest's own filter (SECCOMP_RET_TRAP for what a guest program calls) on top. What is not
 * listed answers EPERM. Nothing here takes a path: execveat, the only call that could, works on
 * descriptors alone, since its root is empty and it may not open anything.
 */
#include "engine/hosted/filter.h"

#include <asm/prctl.h>
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static const struct {
    int nr;
    const char *reason;
} allowed[] = {
    {SYS_read, "kernel: interrupts of descriptors, kick and call descriptors"},
    {SYS_write, "kernel: kicks, early messages"},
    {SYS_close, "kernel, stub: descriptors that are no longer needed"},
    {SYS_pread64, "kernel: the initial RAM file system"},
    {SYS_lseek, "kernel: size of the initial RAM file system"},
    {SYS_newfstatat, "kernel: size and kind of inherited descriptors"},
    {SYS_fstat, "kernel: size and kind of inherited descriptors"},
    {SYS_mmap, "kernel, stub: guest memory"},
    {SYS_munmap, "kernel, stub: guest memory"},
    {SYS_mprotect, "kernel, stub: guest memory"},
    {SYS_madvise, "C library: thread stacks"},
    {SYS_fallocate, "kernel: give memory back"},
    {SYS_brk, "C library: heap before the guest's memory is there"},
    {SYS_futex, "kernel and stub wake each other"},
    {SYS_rt_sigaction, "kernel, stub: interrupts are signals"},
    {SYS_rt_sigprocmask, "kernel: interrupts off and on"},
    {SYS_rt_sigreturn, "kernel, stub: back from a signal"},
    {SYS_rt_sigsuspend, "kernel: idle"},
    {SYS_sigaltstack, "kernel, stub: stack of signal handlers"},
    {SYS_rt_tgsigqueueinfo, "kernel: interrupts between virtual CPUs"},
    {SYS_tgkill, "kernel: interrupts between virtual CPUs"},
    {SYS_kill, "kernel: interrupt or end a stub"},
    {SYS_getpid, "kernel: whom to signal"},
    {SYS_gettid, "kernel: whom to signal"},
    {SYS_getuid, "C library: sender of a queued signal"},
    {SYS_poll, "kernel: idle"},
    {SYS_ppoll, "kernel: idle"},
    {SYS_signalfd4, "kernel: idle"},
    {SYS_epoll_create, "kernel: interrupts of descriptors"},
    {SYS_epoll_create1, "kernel: interrupts of descriptors"},
    {SYS_epoll_ctl, "kernel: interrupts of descriptors"},
    {SYS_epoll_wait, "kernel: interrupts of descriptors"},
    {SYS_fcntl, "kernel: signals of descriptors"},
    {SYS_sendmsg, "kernel: vhost-user; descriptors for stubs"},
    {SYS_recvmsg, "kernel: vhost-user; stub: descriptors"},
    {SYS_socketpair, "kernel: vhost-user calls; one pair for each stub"},
    {SYS_eventfd2, "kernel: vhost-user kicks"},
    {SYS_memfd_create, "kernel: the stub's executable"},
    {SYS_timer_create, "kernel: the clock of a virtual CPU"},
    {SYS_timer_settime, "kernel: the clock of a virtual CPU"},
    {SYS_clock_gettime, "kernel: time, where the vDSO cannot tell it"},
    {SYS_clock_nanosleep, "kernel: calibration"},
    {SYS_clone, "kernel: virtual CPUs and stubs"},
    {SYS_execveat, "kernel: start of a stub, by descriptor"},
    {SYS_wait4, "kernel: collect stubs"},
    {SYS_exit, "kernel: end of a thread"},
    {SYS_exit_group, "kernel, stub: the end"},
    {SYS_prctl, "stub: no new privileges, dies with the kernel"},
    {SYS_seccomp, "stub: traps the guest program's system calls"},
    {SYS_arch_prctl, "stub: FS and GS base of the guest program"},
    {SYS_set_tid_address, "C library: start"},
    {SYS_set_robust_list, "C library: threads"},
    {SYS_rseq, "C library: threads"},
    {SYS_prlimit64, "kernel: stack size; C library: thread stacks"},
    {SYS_getrandom, "kernel: seed of its random numbers"},
    {SYS_close_range, "stub: gives up what the kernel holds"},
    {SYS_dup2, "stub: its socket gets its number"},
    {SYS_personality, "kernel: checks that addresses are not random"},
    {SYS_sched_setaffinity, "kernel: a virtual CPU and its stubs stay on one host CPU"},
    {SYS_sysinfo, "C library: start"},
    {SYS_restart_syscall, "a wait that was stopped and continued"},
};

int engine_hosted_filter(struct jail_filter_program **ret_program, struct pv_error *err)
{
    pv_auto(jail_filter) struct jail_filter *filter = jail_filter_new(JAIL_FILTER_REFUSE);
    if (!filter)
        return pv_error_set(err, ENOMEM, "guest's jail: out of memory");
    int rc = 0;
    for (size_t i = 0; i < PV_ARRAY_SIZE(allowed) && rc == 0; i++)
        rc = jail_filter_allow(filter, allowed[i].nr, allowed[i].reason, err);
    /* Its flags stand in memory, where a filter cannot look: the C library falls back to clone. */
    if (rc == 0)
        rc = jail_filter_refuse(filter, SYS_clone3, ENOSYS, "the C library falls back to clone",
                                err);
    if (rc == 0)
        rc = jail_filter_build(filter, ret_program, err);
    return rc < 0 ? pv_error_prefix(err, "guest's jail") : 0;
}
