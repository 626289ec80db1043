/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.h: a list of the system calls that a process may make, each with its reason.
 *
 * A list is built by whoever knows what is needed (a device names its calls, on its own
 * descriptors), turned into a BPF program before fork, and installed without allocating.
 */
#ifndef JAIL_FILTER_H
#define JAIL_FILTER_H

#include "base/error.h"
#include "base/str.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What happens to a call that is not in the list. */
enum jail_filter_default {
    JAIL_FILTER_REFUSE, /* EPERM; a foreign architecture or x32: ENOSYS. For the guest kernel:
                           see the theory of operation in filter.c */
    JAIL_FILTER_KILL,   /* the process dies of SIGSYS, for a foreign architecture too. Monitor */
    JAIL_FILTER_LOG,    /* allowed, and written to the kernel's log: to find out what is missing */
};

enum jail_filter_op {
    JAIL_ARG_EQ, /* argument == value, all 64 bits */
    JAIL_ARG_NE,
    JAIL_ARG_LT,
    JAIL_ARG_LE,
    JAIL_ARG_GE,
    JAIL_ARG_GT,
    JAIL_ARG_MASKED_EQ, /* (argument & mask) == value. For int arguments use the mask 0xffffffff:
                           the kernel ignores the upper half, so a compare must too */
};

struct jail_filter_arg {
    unsigned index; /* 0..5, each at most once in one rule */
    enum jail_filter_op op;
    uint64_t value;
    uint64_t mask; /* only for JAIL_ARG_MASKED_EQ */
};

#define JAIL_FILTER_ARGS_MAX 6

struct jail_filter;

/* The caller owns the list: jail_filter_free. NULL when out of memory. */
struct jail_filter *jail_filter_new(enum jail_filter_default otherwise);
void jail_filter_free(struct jail_filter *filter); /* accepts NULL */
PV_DEFINE_AUTO(jail_filter, struct jail_filter *, jail_filter_free)

/* Allows the call nr (SYS_...) with any arguments. reason: why it is needed, at least one word,
 * copied. Allowing a call twice is fine. 0, -EINVAL, -ENOMEM. */
int jail_filter_allow(struct jail_filter *filter, int nr, const char *reason, struct pv_error *err);

/* The same by name ("read"), for lists that are shared by all architectures: a name that this
 * architecture or this libseccomp does not know is no error, there is nothing to allow then. */
int jail_filter_allow_name(struct jail_filter *filter, const char *name, const char *reason,
                           struct pv_error *err);

/* Allows clone for threads and children, and refuses what would lend privileges or confuse the
 * parent: new namespaces, and siblings instead of children. Belongs with
 * jail_filter_refuse(SYS_clone3, ENOSYS), whose flags no filter can see. */
int jail_filter_allow_clone(struct jail_filter *filter, const char *reason, struct pv_error *err);

/* Allows the call when all num_args (1..6) constraints hold. Several rules for one call are
 * alternatives; a rule without constraints makes the others pointless. */
int jail_filter_allow_args(struct jail_filter *filter, int nr, const struct jail_filter_arg *args,
                           unsigned num_args, const char *reason, struct pv_error *err);

/* Allows the call when its first argument is the descriptor fd (>= 0; as it is numbered in the
 * process that installs the filter). */
int jail_filter_allow_fd(struct jail_filter *filter, int nr, int fd, const char *reason,
                         struct pv_error *err);

/* Answers the call with code (a positive errno) instead of the default: clone3 needs ENOSYS, for
 * then the C library falls back to clone, whose flags can be checked. Not for a call that is
 * allowed by another rule (-EINVAL from jail_filter_build). */
int jail_filter_refuse(struct jail_filter *filter, int nr, int code, const char *reason,
                       struct pv_error *err);

/* How many distinct calls are allowed. */
unsigned jail_filter_count(const struct jail_filter *filter);

/* Adds one line per rule to text: call, constraints, reason, separated by tabs, sorted by the
 * order of addition. 0 or -ENOMEM. */
int jail_filter_list(const struct jail_filter *filter, struct pv_str *text);

/* A list, ready to be installed: after fork, and without allocating. */
struct jail_filter_program {
    struct sock_fprog bpf; /* bpf.filter is owned */
    unsigned calls;        /* jail_filter_count of its list */
};

/* Builds the program of the list as it is now. The caller owns *ret_program. */
int jail_filter_build(const struct jail_filter *filter, struct jail_filter_program **ret_program,
                      struct pv_error *err);
void jail_filter_program_free(struct jail_filter_program *program); /* accepts NULL */
PV_DEFINE_AUTO(jail_filter_program, struct jail_filter_program *, jail_filter_program_free)

/* Installs the program for the calling thread, for ever, or for all threads of the process at
 * once. no_new_privs must be set. Safe after fork. 0 or -errno: -ENOSYS or -EINVAL when this kernel
 * has no seccomp filters, -ESRCH when a thread could not follow. */
int jail_filter_program_install(const struct jail_filter_program *program, bool all_threads);

#endif
