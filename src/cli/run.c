/* SPDX-License-Identifier: Apache-2.0
 *
 * run.c: paravane run: a command in a machine of its own.
 */
#include "cli/client.h"
#include "cli/launch.h"
#include "cli/say.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "image/store.h"
#include "instance/create.h"
#include "instance/settle.h"
#include "isolation/isolation.h"
#include "workload/env.h"
#include "workload/grant.h"
#include "workload/spec.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

struct run_options {
    bool detach, interactive, terminal, remove, read_only, no_proxy, rootfs;
    const char *memory, *memory_max, *cpus, *cpus_max, *disk_size, *log_max_size;
    const char *name, *hostname, *user, *workdir, *isolation, *guest_protection;
    const char *kernel, *kernel_args, *kernel_log_level;
    struct pv_strv env, env_files, log_opts, disks, disk_rates, volumes;
    struct pv_strv grants, grant_files;
    const char *net_rate;
    const char *net;
    struct pv_strv publish, addresses, gateways, aliases, dns, dns_searches, hosts;
};

#define OPTION(member) offsetof(struct run_options, member)

static const struct cli_option options[] = {
    {'m', "memory", "SIZE", CLI_OPTION_TEXT, OPTION(memory), "memory of the machine (512M)"},
    {0, "memory-max", "SIZE", CLI_OPTION_TEXT, OPTION(memory_max),
     "what `update --memory` can give it (the host's memory)"},
    {0, "cpus", "N", CLI_OPTION_TEXT, OPTION(cpus), "CPUs of the machine, 1.5 is possible (1)"},
    {0, "cpus-max", "N", CLI_OPTION_TEXT, OPTION(cpus_max),
     "virtual CPUs, so that `update --cpus` can raise (as many as --cpus needs)"},
    {0, "disk-size", "SIZE", CLI_OPTION_TEXT, OPTION(disk_size),
     "size of the writable layer (10G)"},
    {0, "disk", "FILE[:OPTION,...]", CLI_OPTION_LIST, OPTION(disks),
     "add a disk: ro, format=raw|qcow2|vhost-user, serial=, bps=, iops="},
    {0, "grant", "GRANT", CLI_OPTION_LIST, OPTION(grants),
     "let the machine reach this and nothing else: tcp:HOST[:PORT], dns:NAME, ..."},
    {0, "grant-file", "FILE", CLI_OPTION_LIST, OPTION(grant_files), "read grants from a file"},
    {0, "net-rate", "LIMIT,...", CLI_OPTION_TEXT, OPTION(net_rate),
     "limit the network: bps=SIZE, pps=N, bps-burst=SIZE, pps-burst=N"},
    {0, "disk-rate", "[SERIAL:]LIMIT,...", CLI_OPTION_LIST, OPTION(disk_rates),
     "limit disks: bps=SIZE, iops=N, bps-burst=SIZE, iops-burst=N"},
    {'v', "volume", "HOST:GUEST[:OPTION,...]", CLI_OPTION_LIST, OPTION(volumes),
     "share a folder or file: ro, cache=auto|none|always"},
    {'e', "env", "NAME[=VALUE]", CLI_OPTION_LIST, OPTION(env), "set or inherit a variable"},
    {0, "env-file", "FILE", CLI_OPTION_LIST, OPTION(env_files), "read variables from a file"},
    {'w', "workdir", "PATH", CLI_OPTION_TEXT, OPTION(workdir), "working directory (/)"},
    {'u', "user", "USER[:GROUP]", CLI_OPTION_TEXT, OPTION(user), "run as this user (root)"},
    {'h', "hostname", "NAME", CLI_OPTION_TEXT, OPTION(hostname), "hostname (the short id)"},
    {0, "name", "NAME", CLI_OPTION_TEXT, OPTION(name), "name of the instance (made up)"},
    {'i', "interactive", NULL, CLI_OPTION_FLAG, OPTION(interactive), "pass standard input on"},
    {'t', "tty", NULL, CLI_OPTION_FLAG, OPTION(terminal), "give the command a terminal"},
    {'d', "detach", NULL, CLI_OPTION_FLAG, OPTION(detach), "run in the background, print the id"},
    {0, "rm", NULL, CLI_OPTION_FLAG, OPTION(remove), "remove the instance when it has ended"},
    {0, "read-only", NULL, CLI_OPTION_FLAG, OPTION(read_only), "make the root read-only"},
    {0, "rootfs", NULL, CLI_OPTION_FLAG, OPTION(rootfs),
     "IMAGE is a folder that is the root itself; :O keeps it as it is"},
    {0, "isolation", "LEVEL", CLI_OPTION_TEXT, OPTION(isolation), "paravirt or auto (auto)"},
    {0, "guest-protection", "LEVEL", CLI_OPTION_TEXT, OPTION(guest_protection),
     "strict: protect the guest's kernel from its programs, slower; or fast (fast)"},
    {0, "sig-proxy", NULL, CLI_OPTION_OFF, OPTION(no_proxy),
     "pass signals on to the command (true)"},
    {0, "net", "NETWORK", CLI_OPTION_TEXT, OPTION(net),
     "user, none, tap[:BRIDGE] or a network's name (user)"},
    {0, "network", "NETWORK", CLI_OPTION_TEXT, OPTION(net), "the same, as Docker writes it"},
    {'p', "publish", "[ADDR:]HOST:GUEST", CLI_OPTION_LIST, OPTION(publish),
     "lead a port of the host to one of the machine; /udp behind it for UDP"},
    {0, "ip", "ADDR[/LEN]", CLI_OPTION_LIST, OPTION(addresses),
     "address of the machine on a tap or a private network"},
    {0, "network-alias", "NAME", CLI_OPTION_LIST, OPTION(aliases),
     "another name of the machine on a private network"},
    {0, "gateway", "ADDR", CLI_OPTION_LIST, OPTION(gateways), "its router, on a tap"},
    {0, "dns", "ADDR", CLI_OPTION_LIST, OPTION(dns), "name server to ask (those of the host)"},
    {0, "dns-search", "DOMAIN", CLI_OPTION_LIST, OPTION(dns_searches),
     "domain to search names in (those of the host)"},
    {0, "add-host", "NAME:ADDR", CLI_OPTION_LIST, OPTION(hosts), "add a line to /etc/hosts"},
    {0, "log-max-size", "SIZE", CLI_OPTION_TEXT, OPTION(log_max_size),
     "most that the log may take (16M)"},
    {0, "log-opt", "max-size=SIZE", CLI_OPTION_LIST, OPTION(log_opts),
     "the same, as Docker writes it"},
    {0, "kernel", "FILE", CLI_OPTION_TEXT, OPTION(kernel), "another guest kernel"},
    {0, "kernel-args", "TEXT", CLI_OPTION_TEXT, OPTION(kernel_args),
     "add to the guest kernel's command line"},
    {0, "kernel-log-level", "N", CLI_OPTION_TEXT, OPTION(kernel_log_level),
     "what the guest kernel tells, 0 to 8 (0)"},
    {0},
};

static int copy(char **dst, const char *text, struct pv_error *err)
{
    *dst = text ? strdup(text) : NULL;
    return *dst || !text ? 0 : pv_error_set(err, ENOMEM, "out of memory");
}

static int read_log_opts(const struct pv_strv *opts, struct workload_resources *r,
                         struct pv_error *err)
{
    static const char key[] = "max-size=";
    for (size_t i = 0; i < opts->count; i++) {
        if (!pv_str_starts_with(opts->items[i], key))
            return pv_error_set(err, EINVAL, "--log-opt '%s': only max-size=SIZE is possible",
                                opts->items[i]);
        int rc = workload_resources_set_log(r, "--log-opt max-size",
                                            opts->items[i] + sizeof(key) - 1, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int read_resources(const struct run_options *o, struct workload_resources *r,
                          struct pv_error *err)
{
    int rc = 0;
    if (o->memory)
        rc = workload_resources_set_memory(r, "--memory", o->memory, err);
    if (rc == 0 && o->memory_max)
        rc = workload_resources_set_memory_max(r, "--memory-max", o->memory_max, err);
    if (rc == 0 && o->cpus)
        rc = workload_resources_set_cpus(r, "--cpus", o->cpus, err);
    if (rc == 0 && o->cpus_max)
        rc = workload_resources_set_cpus_max(r, "--cpus-max", o->cpus_max, err);
    if (rc == 0 && o->disk_size)
        rc = workload_resources_set_disk(r, "--disk-size", o->disk_size, err);
    if (rc == 0)
        rc = read_log_opts(&o->log_opts, r, err);
    if (rc == 0 && o->log_max_size)
        rc = workload_resources_set_log(r, "--log-max-size", o->log_max_size, err);
    return rc == 0 ? workload_resources_check(r, err) : rc;
}

static int read_disks(const struct run_options *o, struct workload_disks *disks,
                      struct pv_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < o->disks.count; i++)
        rc = workload_disks_add(disks, o->disks.items[i], err);
    for (size_t i = 0; rc == 0 && i < o->disk_rates.count; i++)
        rc = workload_disks_add_limit(disks, o->disk_rates.items[i], err);
    if (rc == 0)
        rc = workload_disks_settle(disks, err);
    return rc == 0 ? workload_disks_find(disks, err) : rc;
}

static int read_volumes(const struct run_options *o, struct workload_volumes *volumes,
                        struct pv_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < o->volumes.count; i++)
        rc = workload_volumes_add(volumes, o->volumes.items[i], err);
    return rc == 0 ? workload_volumes_find(volumes, err) : rc;
}

/* All of them in canonical form, each once. */
static int read_grants(const struct run_options *o, struct workload_spec *spec,
                       struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv in_files = {0};
    struct workload_grants grants = {0};
    int rc = workload_grants_add_texts(&grants, "--grant", &o->grants, err);
    for (size_t i = 0; rc == 0 && i < o->grant_files.count; i++)
        rc = workload_grants_read_file(o->grant_files.items[i], &in_files, err);
    if (rc == 0)
        rc = workload_grants_add_texts(&grants, "--grant-file", &in_files, err);
    /* A file without a grant says that there are none. */
    if (o->grant_files.count)
        grants.closed = true;
    if (rc == 0 && workload_grants_texts(&grants, &spec->grants) < 0)
        rc = pv_error_set(err, ENOMEM, "--grant: out of memory");
    workload_grants_done(&grants);
    if (rc == 0 && o->net_rate)
        rc = workload_net_rate_parse(o->net_rate, &spec->net_rate, err);
    return rc;
}

static int read_env(const struct run_options *o, struct workload_spec *spec, struct pv_error *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < o->env_files.count; i++)
        rc = workload_env_add_file(&spec->env, o->env_files.items[i], err);
    for (size_t i = 0; rc == 0 && i < o->env.count; i++)
        rc = workload_env_add(&spec->env, o->env.items[i], err);
    return rc;
}

static int read_kernel(const struct run_options *o, struct workload_spec *spec,
                       struct pv_error *err)
{
    uint64_t level = 0;
    if (o->kernel_log_level && pv_str_to_u64(o->kernel_log_level, 0, 8, &level) < 0)
        return pv_error_set(err, EINVAL, "--kernel-log-level '%s': write 0 to 8",
                            o->kernel_log_level);
    spec->kernel_log_level = (uint32_t)level;
    int rc = copy(&spec->kernel, o->kernel, err);
    return rc == 0 ? copy(&spec->kernel_args, o->kernel_args, err) : rc;
}

static int read_guest_protection(const struct run_options *o, struct workload_spec *spec,
                                 struct pv_error *err)
{
    const char *level = o->guest_protection;
    if (level && strcmp(level, "fast") != 0 && strcmp(level, "strict") != 0)
        return pv_error_set(err, EINVAL, "--guest-protection '%s': write fast or strict", level);
    spec->strict_protection = level && strcmp(level, "strict") == 0;
    return 0;
}

/* The command behind the image; without one, a shell, on a terminal if we have one. */
static int read_command(const struct run_options *o, char **args, struct workload_spec *spec,
                        struct pv_error *err)
{
    spec->terminal = o->terminal;
    spec->stdin_open = o->interactive;
    if (*args && strcmp(*args, "--") == 0)
        args++;
    if (!*args) {
        bool shell = !o->detach && isatty(0) && isatty(1);
        spec->terminal |= shell;
        spec->stdin_open |= shell;
        return workload_spec_use_shell(spec, err);
    }
    for (; *args; args++)
        if (pv_strv_add(&spec->args, *args) < 0)
            return pv_error_set(err, ENOMEM, "command: out of memory");
    return 0;
}

static int read_network(const struct run_options *o, struct workload_network *n,
                        struct pv_error *err)
{
    const struct {
        const struct pv_strv *list;
        int (*add)(struct workload_network *n, const char *text, struct pv_error *err);
    } lists[] = {
        {&o->publish, workload_network_add_ports},
        {&o->addresses, workload_network_add_address},
        {&o->gateways, workload_network_add_gateway},
        {&o->aliases, workload_network_add_alias},
        {&o->dns, workload_network_add_nameserver},
        {&o->dns_searches, workload_network_add_search},
        {&o->hosts, workload_network_add_host},
    };
    int rc = o->net ? workload_network_set(n, o->net, err) : 0;
    for (size_t i = 0; i < PV_ARRAY_SIZE(lists); i++)
        for (size_t j = 0; rc == 0 && j < lists[i].list->count; j++)
            rc = lists[i].add(n, lists[i].list->items[j], err);
    return rc;
}

static int read_spec(const struct run_options *o, char **args, struct workload_spec *spec,
                     struct pv_error *err)
{
    const struct isolation_class *class;
    spec->read_only = o->read_only;
    spec->remove = o->remove;
    spec->rootfs = o->rootfs;
    int rc = isolation_find(o->isolation, &class, err);
    if (rc == 0)
        rc = read_resources(o, &spec->resources, err);
    if (rc == 0)
        rc = read_disks(o, &spec->disks, err);
    if (rc == 0)
        rc = read_network(o, &spec->network, err);
    if (rc == 0)
        rc = read_volumes(o, &spec->volumes, err);
    if (rc == 0)
        rc = read_grants(o, spec, err);
    if (rc == 0)
        rc = read_env(o, spec, err);
    if (rc == 0)
        rc = read_kernel(o, spec, err);
    if (rc == 0)
        rc = read_guest_protection(o, spec, err);
    if (rc == 0)
        rc = copy(&spec->cwd, o->workdir, err);
    if (rc == 0)
        rc = copy(&spec->user, o->user, err);
    if (rc == 0)
        rc = copy(&spec->hostname, o->hostname, err);
    if (rc == 0)
        rc = copy(&spec->name, o->name, err);
    if (rc == 0)
        rc = copy(&spec->isolation, o->isolation, err);
    if (rc == 0)
        rc = read_command(o, args, spec, err);
    if (rc == 0)
        rc = workload_spec_validate(spec, err);
    if (rc == 0 && spec->terminal && spec->stdin_open && !o->detach && !isatty(0))
        rc = pv_error_set(err, ENOTTY, "-it: standard input is no terminal; leave out -t");
    return rc;
}

/* FOLDER, FOLDER:O or FOLDER:ro of --rootfs. */
static int find_root(const char *text, struct workload_spec *spec, struct image_ref *image,
                     struct pv_error *err)
{
    pv_auto_free char *path = strdup(text);
    size_t len = strlen(text);
    struct stat st;
    if (!path)
        return pv_error_set(err, ENOMEM, "out of memory");
    spec->rootfs_overlay = len > 2 && strcmp(path + len - 2, ":O") == 0;
    bool read_only = len > 3 && strcmp(path + len - 3, ":ro") == 0;
    spec->read_only |= read_only;
    path[len - (spec->rootfs_overlay ? 2 : read_only ? 3 : 0)] = '\0';
    image->type = "virtiofs";
    image->path = realpath(path, NULL);
    if (!image->path || stat(image->path, &st) < 0)
        return pv_error_set(err, errno, "--rootfs '%s': %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return pv_error_set(err, ENOTDIR, "--rootfs '%s': not a folder: leave --rootfs out", path);
    if (strcmp(image->path, "/") == 0 && !spec->rootfs_overlay && !spec->read_only)
        return pv_error_set(err, EPERM,
                            "--rootfs /: the machine would change the running system: "
                            "write /:O");
    if (!pv_str_is_utf8(image->path, strlen(image->path)))
        return pv_error_set(err, EILSEQ, "--rootfs: the path is not UTF-8");
    return 0;
}

static int find_image(const char *text, struct workload_spec *spec, struct image_ref *image,
                      struct pv_error *err)
{
    return spec->rootfs ? find_root(text, spec, image, err)
                        : image_store_resolve(text, cli_say_progress, image, err);
}

static int create_and_launch(const struct run_options *o, const char *image_name,
                             const struct image_ref *image, struct workload_spec *spec,
                             struct pv_error *err)
{
    struct instance_store store;
    struct instance instance;
    pv_auto(pv_strv) struct pv_strv warnings = {0};
    int rc = instance_store_open(&store, err), lock_fd;
    if (rc < 0)
        return rc;
    instance_settle_all(&store);

    pv_auto_fd int cancel_fd = cli_launch_block_signals(err);
    struct instance_request request = {.spec = spec,
                                       .image_name = image_name,
                                       .image_path = image->path,
                                       .image_type = image->type,
                                       .attached = true};
    cli_terminal_size(&request.rows, &request.columns);
    rc = cancel_fd;
    if (rc >= 0)
        rc = instance_create_new(&store, &request, &instance, &lock_fd, &warnings, err);
    if (rc == 0) {
        struct cli_launch launch = {.detach = o->detach,
                                    .announce = instance.id,
                                    .proxy = !o->no_proxy,
                                    .is_new = true,
                                    .cancel_fd = cancel_fd};
        cli_say_warnings(&warnings);
        rc = cli_launch_run(&store, &instance, lock_fd, &launch);
        instance_close(&instance);
    }
    instance_store_close(&store);
    return rc;
}

static int run_run(char **args, size_t num_args, void *values)
{
    struct run_options *o = values;
    struct pv_error err = PV_ERROR_INIT;
    struct workload_spec spec;
    struct image_ref image = {0};

    workload_spec_init(&spec);
    int rc = read_spec(o, args + 1, &spec, &err);
    if (rc == 0)
        rc = find_image(args[0], &spec, &image, &err);
    if (rc == 0)
        rc = create_and_launch(o, args[0], &image, &spec, &err);
    image_store_ref_done(&image);
    workload_spec_done(&spec);
    return rc >= 0 ? rc : cli_say_error(CLI_EXIT_OURS, "run: %s", pv_error_text(&err, rc));
}

const struct cli_verb cli_run_verb = {
    .name = "run",
    .arguments = "[OPTIONS] IMAGE [--] [COMMAND [ARG...]]",
    .summary = "Run a command in a new machine",
    .options = options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .stops_at_argument = true,
    .run = run_run,
    .values_size = sizeof(struct run_options),
};
