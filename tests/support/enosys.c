/* SPDX-License-Identifier: Apache-2.0
 *
 * enosys.c: runs a program on a host that lacks some system calls.
 *
 *   enosys CALL[=ERRNO][:BITS] ... -- PROGRAM [ARGUMENT ...]
 *
 * Each CALL fails with ERRNO (a name or a number; ENOSYS if absent), for the program and all its
 * descendants. With BITS (a number), only when the call's first argument has one of these bits set:
 * `clone=EPERM:0x7e020000` refuses namespaces and nothing else.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int usage(const char *why)
{
    fprintf(stderr, "enosys: %s\nusage: enosys CALL[=ERRNO][:BITS] ... -- PROGRAM [ARGUMENT ...]\n",
            why);
    return 125;
}

static int errno_of(const char *text)
{
    for (int code = 1; code < 134; code++) {
        const char *name = strerrorname_np(code);
        if (name && strcmp(name, text) == 0)
            return code;
    }
    return atoi(text);
}

/* One word CALL[=ERRNO][:BITS], which is taken apart in place. */
static int add(scmp_filter_ctx filter, char *word)
{
    char *bits = strchr(word, ':');
    if (bits)
        *bits++ = '\0';
    char *code = strchr(word, '=');
    if (code)
        *code++ = '\0';

    int call = seccomp_syscall_resolve_name(word);
    int number = code ? errno_of(code) : ENOSYS;
    if (call == __NR_SCMP_ERROR || number <= 0)
        return -EINVAL;
    if (!bits)
        return seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)number), call, 0);

    unsigned long long mask = strtoull(bits, NULL, 0);
    int rc = mask ? 0 : -EINVAL;
    for (unsigned bit = 0; bit < 64 && rc == 0; bit++) {
        unsigned long long one = mask & (1ULL << bit);
        if (one)
            rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)number), call, 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, one, one));
    }
    return rc;
}

int main(int argc, char **argv)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    /* Foreign calls are none of ours: the library would kill their caller. */
    if (filter)
        seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
    int i = 1;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (!filter || add(filter, argv[i]) < 0)
            return usage(argv[i]);
    if (i + 1 >= argc)
        return usage("no program");
    if (i > 1 && seccomp_load(filter) < 0)
        return usage("cannot install the filter");
    seccomp_release(filter);
    execvp(argv[i + 1], argv + i + 1);
    fprintf(stderr, "enosys: %s: %s\n", argv[i + 1], strerror(errno));
    return errno == ENOENT ? 127 : 126;
}
