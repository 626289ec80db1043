/* SPDX-License-Identifier: Apache-2.0
 *
 * filter.c: system call lists over libseccomp, whose home this is.
 * Runs on: the thread that builds the list; jail_filter_program_install also after fork.
 *
 * Theory of operation
 *
 * What happens to a call that is not in the list differs by who is jailed.
 *
 * The guest kernel (JAIL_FILTER_REFUSE) gets EPERM, never a kill or a trap. Its address-space
 * stubs inherit our filter and add one of their own, which answers SECCOMP_RET_TRAP to every
 * system call of a guest program: that trap is how the guest kernel learns of the call. When
 * several filters look at one call, the kernel lets the strictest answer win, in the order kill,
 * trap, errno, ..., allow. So errno is the strictest answer that still lets the stub's trap win;
 * with a kill, any program in the guest could end its stub by making a call that we do not list.
 *
 * The same holds for foreign calls. A guest program is free to execute `int $0x80`, or `syscall`
 * with an x32 number. libseccomp's usual answer is a kill; ours is ENOSYS, so the stub's filter
 * decides by trapping and the guest kernel tells its program whatever it likes. Nothing is lost:
 * the foreign call does not happen, whoever makes it, the guest kernel included. It is ENOSYS and
 * not EPERM because that is what a host without these tables answers.
 *
 * The monitor (JAIL_FILTER_KILL) is our own code with a known list: a call outside it means that
 * somebody else is running there. The process dies, foreign calls included; the machine dies with
 * it, its data does not (crash-only).
 *
 * The instructions are built before fork and exported to plain memory, so that the child only
 * makes one system call. Calls without constraints cost next to nothing: since Linux 5.11 the
 * kernel remembers that a number is allowed whatever the arguments. The others are found by a
 * binary search (CTL_OPTIMIZE 2).
 */
#include "jail/filter.h"

#include <assert.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/fd.h"

struct rule {
    int nr;
    int refuse_code; /* 0: allow, else a positive errno */
    unsigned num_args;
    struct jail_filter_arg args[JAIL_FILTER_ARGS_MAX];
    char *reason; /* owned */
};

struct jail_filter {
    enum jail_filter_default otherwise;
    struct rule *rules; /* owned */
    size_t num_rules, cap;
};

struct jail_filter *jail_filter_new(enum jail_filter_default otherwise)
{
    struct jail_filter *filter = calloc(1, sizeof(*filter));
    if (filter)
        filter->otherwise = otherwise;
    return filter;
}

void jail_filter_free(struct jail_filter *filter)
{
    if (!filter)
        return;
    for (size_t i = 0; i < filter->num_rules; i++)
        free(filter->rules[i].reason);
    free(filter->rules);
    free(filter);
}

static int add_rule(struct jail_filter *filter, const struct rule *wanted, const char *reason,
                    struct pv_error *err)
{
    if (wanted->nr < 0)
        return pv_error_set(err, EINVAL, "system call %d does not exist here", wanted->nr);
    if (!reason || !reason[0])
        return pv_error_set(err, EINVAL, "system call %d has no reason", wanted->nr);

    if (filter->num_rules == filter->cap) {
        size_t cap = filter->cap ? 2 * filter->cap : 64;
        struct rule *grown = reallocarray(filter->rules, cap, sizeof(*grown));
        if (!grown)
            return pv_error_set(err, ENOMEM, "out of memory for a system call list");
        filter->rules = grown;
        filter->cap = cap;
    }
    char *copy = strdup(reason);
    if (!copy)
        return pv_error_set(err, ENOMEM, "out of memory for a system call list");
    filter->rules[filter->num_rules] = *wanted;
    filter->rules[filter->num_rules++].reason = copy;
    return 0;
}

int jail_filter_allow(struct jail_filter *filter, int nr, const char *reason, struct pv_error *err)
{
    return add_rule(filter, &(struct rule){.nr = nr}, reason, err);
}

int jail_filter_allow_name(struct jail_filter *filter, const char *name, const char *reason,
                           struct pv_error *err)
{
    int nr = seccomp_syscall_resolve_name(name);
    /* Negative numbers stand for calls of other architectures. */
    return nr < 0 ? 0 : jail_filter_allow(filter, nr, reason, err);
}

int jail_filter_allow_clone(struct jail_filter *filter, const char *reason, struct pv_error *err)
{
    /* CLONE_NEWTIME is not among them: clone cannot ask for it, its bit is in the signal number. */
    const uint64_t refused = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC |
                             CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PARENT |
                             CLONE_PTRACE;
    const struct jail_filter_arg flags = {0, JAIL_ARG_MASKED_EQ, 0, refused};
    return jail_filter_allow_args(filter, SYS_clone, &flags, 1, reason, err);
}

int jail_filter_allow_args(struct jail_filter *filter, int nr, const struct jail_filter_arg *args,
                           unsigned num_args, const char *reason, struct pv_error *err)
{
    if (num_args < 1 || num_args > JAIL_FILTER_ARGS_MAX)
        return pv_error_set(err, EINVAL, "system call %d: %u constraints", nr, num_args);

    struct rule rule = {.nr = nr, .num_args = num_args};
    unsigned seen = 0;
    for (unsigned i = 0; i < num_args; i++) {
        if (args[i].index >= JAIL_FILTER_ARGS_MAX || (seen & (1u << args[i].index)))
            return pv_error_set(err, EINVAL, "system call %d: argument %u cannot be constrained%s",
                                nr, args[i].index,
                                args[i].index < JAIL_FILTER_ARGS_MAX ? " twice in one rule" : "");
        /* A value outside the mask would never match: a rule that looks like an allowance. */
        if (args[i].op == JAIL_ARG_MASKED_EQ && (args[i].value & ~args[i].mask))
            return pv_error_set(err, EINVAL, "system call %d: value 0x%llx is outside mask 0x%llx",
                                nr, (unsigned long long)args[i].value,
                                (unsigned long long)args[i].mask);
        seen |= 1u << args[i].index;
        rule.args[i] = args[i];
    }
    return add_rule(filter, &rule, reason, err);
}

int jail_filter_allow_fd(struct jail_filter *filter, int nr, int fd, const char *reason,
                         struct pv_error *err)
{
    if (fd < 0)
        return pv_error_set(err, EINVAL, "system call %d: no descriptor to pin it to", nr);
    struct jail_filter_arg arg = {0, JAIL_ARG_MASKED_EQ, (uint64_t)fd, 0xffffffff};
    return jail_filter_allow_args(filter, nr, &arg, 1, reason, err);
}

int jail_filter_refuse(struct jail_filter *filter, int nr, int code, const char *reason,
                       struct pv_error *err)
{
    if (code < 1 || code > 4095)
        return pv_error_set(err, EINVAL, "system call %d: %d is no errno", nr, code);
    return add_rule(filter, &(struct rule){.nr = nr, .refuse_code = code}, reason, err);
}

/* The first rule that allows the call, with any or with no constraints; or NULL. */
static const struct rule *find_allowing(const struct jail_filter *filter, int nr, bool bare)
{
    for (size_t i = 0; i < filter->num_rules; i++) {
        const struct rule *rule = &filter->rules[i];
        if (rule->nr == nr && !rule->refuse_code && (!bare || rule->num_args == 0))
            return rule;
    }
    return NULL;
}

unsigned jail_filter_count(const struct jail_filter *filter)
{
    unsigned count = 0;
    for (size_t i = 0; i < filter->num_rules; i++)
        if (find_allowing(filter, filter->rules[i].nr, false) == &filter->rules[i])
            count++;
    return count;
}

static int list_args(const struct rule *rule, struct pv_str *text)
{
    static const char *const ops[] = {"==", "!=", "<", "<=", ">=", ">", "=="};
    if (rule->refuse_code)
        return pv_str_addf(text, "refused: %s", strerrorname_np(rule->refuse_code));
    if (rule->num_args == 0)
        return pv_str_add(text, "any");
    for (unsigned i = 0; i < rule->num_args; i++) {
        const struct jail_filter_arg *arg = &rule->args[i];
        int rc;
        if (arg->op == JAIL_ARG_MASKED_EQ && arg->mask == 0xffffffff)
            rc = pv_str_addf(text, "%sarg%u == %d", i ? ", " : "", arg->index, (int)arg->value);
        else if (arg->op == JAIL_ARG_MASKED_EQ)
            rc = pv_str_addf(text, "%s(arg%u & 0x%llx) == 0x%llx", i ? ", " : "", arg->index,
                             (unsigned long long)arg->mask, (unsigned long long)arg->value);
        else
            rc = pv_str_addf(text, "%sarg%u %s 0x%llx", i ? ", " : "", arg->index, ops[arg->op],
                             (unsigned long long)arg->value);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int jail_filter_list(const struct jail_filter *filter, struct pv_str *text)
{
    for (size_t i = 0; i < filter->num_rules; i++) {
        const struct rule *rule = &filter->rules[i];
        pv_auto_free char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, rule->nr);
        int rc = name ? pv_str_add(text, name) : pv_str_addf(text, "call %d", rule->nr);
        if (rc == 0)
            rc = pv_str_add(text, "\t");
        if (rc == 0)
            rc = list_args(rule, text);
        if (rc == 0)
            rc = pv_str_addf(text, "\t%s\n", rule->reason);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void release_context(scmp_filter_ctx *ctx)
{
    if (*ctx)
        seccomp_release(*ctx);
}

/* Puts one rule into libseccomp's database. */
static int add_to_context(const struct jail_filter *filter, const struct rule *rule,
                          scmp_filter_ctx ctx, struct pv_error *err)
{
    static const enum scmp_compare ops[] = {
        [JAIL_ARG_EQ] = SCMP_CMP_EQ,
        [JAIL_ARG_NE] = SCMP_CMP_NE,
        [JAIL_ARG_LT] = SCMP_CMP_LT,
        [JAIL_ARG_LE] = SCMP_CMP_LE,
        [JAIL_ARG_GE] = SCMP_CMP_GE,
        [JAIL_ARG_GT] = SCMP_CMP_GT,
        [JAIL_ARG_MASKED_EQ] = SCMP_CMP_MASKED_EQ,
    };
    if (rule->refuse_code && find_allowing(filter, rule->nr, false))
        return pv_error_set(err, EINVAL, "system call %d is both allowed and refused", rule->nr);
    if (rule->refuse_code == EPERM && filter->otherwise == JAIL_FILTER_REFUSE)
        return 0; /* what happens anyway; libseccomp refuses such a rule */
    if (rule->num_args && find_allowing(filter, rule->nr, true))
        return 0; /* allowed without constraints elsewhere */

    struct scmp_arg_cmp args[JAIL_FILTER_ARGS_MAX] = {0};
    for (unsigned i = 0; i < rule->num_args; i++) {
        const struct jail_filter_arg *arg = &rule->args[i];
        bool masked = arg->op == JAIL_ARG_MASKED_EQ;
        args[i] = (struct scmp_arg_cmp){
            .arg = arg->index,
            .op = ops[arg->op],
            .datum_a = masked ? arg->mask : arg->value,
            .datum_b = masked ? arg->value : 0,
        };
    }
    uint32_t action =
        rule->refuse_code ? SCMP_ACT_ERRNO((uint32_t)rule->refuse_code) : SCMP_ACT_ALLOW;
    int rc = seccomp_rule_add_array(ctx, action, rule->nr, rule->num_args, args);
    if (rc < 0 && rc != -EEXIST)
        return pv_error_set(err, -rc, "system call %d cannot be put in a filter: %s", rule->nr,
                            strerror(-rc));
    return 0;
}

static int make_context(const struct jail_filter *filter, scmp_filter_ctx *ret_ctx,
                        struct pv_error *err)
{
    static const struct {
        uint32_t otherwise, foreign;
    } actions[] = {
        [JAIL_FILTER_REFUSE] = {SCMP_ACT_ERRNO(EPERM), SCMP_ACT_ERRNO(ENOSYS)},
        [JAIL_FILTER_KILL] = {SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_PROCESS},
        [JAIL_FILTER_LOG] = {SCMP_ACT_LOG, SCMP_ACT_LOG},
    };
    __attribute__((cleanup(release_context))) scmp_filter_ctx ctx =
        seccomp_init(actions[filter->otherwise].otherwise);
    if (!ctx)
        return pv_error_set(err, ENOMEM, "cannot start a seccomp filter");
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, actions[filter->otherwise].foreign);
    if (rc == 0)
        rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    if (rc < 0)
        return pv_error_set(err, -rc, "cannot set up a seccomp filter: %s", strerror(-rc));

    for (size_t i = 0; i < filter->num_rules; i++) {
        rc = add_to_context(filter, &filter->rules[i], ctx, err);
        if (rc < 0)
            return rc;
    }
    *ret_ctx = ctx;
    ctx = NULL;
    return 0;
}

/* Reads the instructions that libseccomp exported to fd. */
static int read_program(int fd, struct jail_filter_program *program, struct pv_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return pv_error_set(err, errno, "read back a seccomp filter: %s", strerror(errno));
    size_t count = (size_t)st.st_size / sizeof(struct sock_filter);
    if (count < 1 || count > BPF_MAXINSNS)
        return pv_error_set(err, E2BIG, "a seccomp filter of %zu instructions: the kernel takes %d",
                            count, BPF_MAXINSNS);

    program->bpf.filter = calloc(count, sizeof(struct sock_filter));
    if (!program->bpf.filter)
        return pv_error_set(err, ENOMEM, "out of memory for a seccomp filter");
    program->bpf.len = (unsigned short)count;
    ssize_t got = pv_fd_read_full(fd, program->bpf.filter, (size_t)st.st_size);
    if (got != st.st_size)
        return pv_error_set(err, got < 0 ? (int)-got : EIO, "read back a seccomp filter");
    return 0;
}

int jail_filter_build(const struct jail_filter *filter, struct jail_filter_program **ret_program,
                      struct pv_error *err)
{
    __attribute__((cleanup(release_context))) scmp_filter_ctx ctx = NULL;
    int rc = make_context(filter, &ctx, err);
    if (rc < 0)
        return rc;

    pv_auto_fd int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return pv_error_set(err, errno, "memfd for a seccomp filter: %s", strerror(errno));
    rc = seccomp_export_bpf(ctx, fd);
    if (rc < 0)
        return pv_error_set(err, -rc, "export a seccomp filter: %s", strerror(-rc));

    pv_auto(jail_filter_program) struct jail_filter_program *program = calloc(1, sizeof(*program));
    if (!program)
        return pv_error_set(err, ENOMEM, "out of memory for a seccomp filter");
    rc = read_program(fd, program, err);
    if (rc < 0)
        return rc;
    program->calls = jail_filter_count(filter);
    *ret_program = pv_take_ptr(program);
    return 0;
}

void jail_filter_program_free(struct jail_filter_program *program)
{
    if (!program)
        return;
    free(program->bpf.filter);
    free(program);
}

int jail_filter_program_install(const struct jail_filter_program *program, bool all_threads)
{
    unsigned flags = all_threads ? SECCOMP_FILTER_FLAG_TSYNC : 0;
    long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program->bpf);
    if (rc > 0)
        return -ESRCH; /* the number of the thread that has a filter of its own */
    return rc < 0 ? -errno : 0;
}
