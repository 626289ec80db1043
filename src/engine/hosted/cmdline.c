/* SPDX-License-Identifier: Apache-2.0
 *
 * cmdline.c: the command line of a hosted guest kernel.   Spec: docs/guest-interface.md, 1.
 */
#include "engine/hosted/cmdline.h"

#include <errno.h>
#include <string.h>

/* panic=-1: a kernel that panics ends at once. The agent is /init of the initramfs.
 * rcu_expedited: nobody waits for ticks of 10 ms until mounts, cgroups and namespaces have changed;
 * the few virtual CPUs are asked instead. auto-movable: of memory that is added, most is only used
 * for what can be moved, so it can be taken away again. Free pages are reported in blocks of 128
 * KiB; few of them (1/256 of the memory) are kept back by each virtual CPU, where they would look
 * used and not be reported. */
static const char *const fixed[] = {"jailed",
                                    "console=hvc0",
                                    "earlyprintk",
                                    "panic=-1",
                                    "random.trust_cpu=on",
                                    "rcupdate.rcu_expedited=1",
                                    "memory_hotplug.online_policy=auto-movable",
                                    "page_reporting.page_reporting_order=5",
                                    "sysctl.vm.percpu_pagelist_high_fraction=256"};

static int add_cpus(const struct engine_options *o, struct pv_strv *argv)
{
    int rc = pv_strv_add_take(argv, pv_strf("ncpus=%u", o->cpus));
    if (rc < 0 || o->host_cpus->count == 0)
        return rc;

    struct pv_str list __attribute__((cleanup(pv_str_auto))) = {0};
    rc = pv_str_add(&list, "um_cpus=");
    for (size_t i = 0; i < o->host_cpus->count && rc == 0; i++)
        rc = pv_str_addf(&list, "%s%s", i ? "," : "", o->host_cpus->items[i]);
    return rc < 0 ? rc : pv_strv_add_take(argv, pv_str_take(&list));
}

static int add_devices(const struct engine_options *o, struct pv_strv *argv)
{
    int rc = 0;
    for (size_t i = 0; i < o->num_devices && rc == 0; i++)
        rc = pv_strv_add_take(argv, pv_strf("virtio_uml.device=fd:%zu:%u",
                                            ENGINE_HOSTED_DEVICE_FD + i, o->devices[i].virtio_id));
    return rc;
}

static int add_words(const char *text, struct pv_strv *argv)
{
    int rc = 0;
    while (text && rc == 0) {
        text += strspn(text, " \t\n");
        size_t len = strcspn(text, " \t\n");
        if (len == 0)
            break;
        rc = pv_strv_add_take(argv, strndup(text, len));
        text += len;
    }
    return rc;
}

int engine_hosted_cmdline(const struct engine_options *o, struct pv_strv *argv,
                          struct pv_error *err)
{
    int rc = pv_strv_add(argv, "linux");
    /* In front of earlyprintk, which says at once what the level allows. */
    if (rc == 0)
        rc = o->log_level ? pv_strv_add_take(argv, pv_strf("loglevel=%u", o->log_level))
                          : pv_strv_add(argv, "quiet");
    for (size_t i = 0; i < PV_ARRAY_SIZE(fixed) && rc == 0; i++)
        rc = pv_strv_add(argv, fixed[i]);
    if (rc == 0)
        rc = pv_strv_add(argv, o->strict ? "seccomp=off" : "seccomp=on");
    if (rc == 0)
        rc = pv_strv_add_take(
            argv, pv_strf("mem=%lluK", (unsigned long long)memory_get_size(o->memory) / 1024));
    if (rc == 0 && memory_get_max(o->memory) > memory_get_size(o->memory))
        rc = pv_strv_add_take(
            argv, pv_strf("mem_max=%lluK", (unsigned long long)memory_get_max(o->memory) / 1024));
    if (rc == 0)
        rc = pv_strv_add_take(argv, pv_strf("physmem_fd=%d", ENGINE_HOSTED_MEMORY_FD));
    if (rc == 0)
        rc = pv_strv_add_take(argv, pv_strf("initrd_fd=%d", ENGINE_HOSTED_INITRAMFS_FD));
    if (rc == 0)
        rc = add_cpus(o, argv);
    if (rc == 0)
        rc = add_devices(o, argv);
    if (rc == 0)
        rc = add_words(o->extra_cmdline, argv);
    if (rc < 0)
        return pv_error_set(err, -rc, "guest kernel's command line: out of memory");

    size_t len = 0;
    for (size_t i = 0; i < argv->count; i++)
        len += strlen(argv->items[i]) + 1;
    if (len > ENGINE_HOSTED_CMDLINE_MAX)
        return pv_error_set(err, E2BIG,
                            "guest kernel's command line: %zu bytes, the kernel takes %d: shorten "
                            "the extra options",
                            len, ENGINE_HOSTED_CMDLINE_MAX);
    return 0;
}
