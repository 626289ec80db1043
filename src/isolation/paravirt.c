/* SPDX-License-Identifier: Apache-2.0
 *
 * paravirt.c: a machine with its own Linux kernel, served by paravane-monitor.
 */
#include "isolation/capacity.h"
#include "isolation/cpus.h"
#include "isolation/files.h"
#include "isolation/isolation.h"
#include "isolation/launch.h"
#include "isolation/network.h"
#include "isolation/owner.h"

#include "base/fd.h"
#include "jail/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#define ROOT_TAG "root"
#define OUT_OF_MEMORY(err) pv_error_set(err, ENOMEM, "describe the machine: out of memory")

/* Copies text unless it is NULL; false when out of memory. */
static bool copy(char **dst, const char *text)
{
    *dst = text ? strdup(text) : NULL;
    return *dst || !text;
}

static int add_disk(const struct isolation_request *r, struct wire_machine *m,
                    const struct workload_disk *d, struct pv_error *err)
{
    struct workload_disk_rate rate = workload_disks_rate_of(&r->spec->disks, d->serial, &d->rate);
    struct wire_disk *disk = &m->disks[m->num_disks++];
    disk->read_only = d->read_only;
    disk->bytes = rate.bytes;
    disk->operations = rate.operations;
    if (!copy(&disk->path, d->path) || !copy(&disk->serial, d->serial) ||
        !copy(&disk->format, d->format))
        return OUT_OF_MEMORY(err);
    return 0;
}

static int fill_disks(const struct isolation_request *r, struct wire_machine *m,
                      struct pv_error *err)
{
    const struct workload_disk image = {.path = (char *)r->image_path,
                                        .format = "raw",
                                        .serial = WORKLOAD_DISK_IMAGE,
                                        .read_only = true};
    const struct workload_disk layer = {
        .path = (char *)r->layer_path, .format = "raw", .serial = WORKLOAD_DISK_LAYER};
    int rc = r->spec->rootfs ? 0 : add_disk(r, m, &image, err);
    if (rc == 0 && r->layer_path)
        rc = add_disk(r, m, &layer, err);
    for (size_t i = 0; rc == 0 && i < r->spec->disks.count; i++)
        rc = add_disk(r, m, &r->spec->disks.items[i], err);
    return rc;
}

static int add_volume(struct wire_machine *m, const struct workload_volume *v, struct pv_error *err)
{
    pv_auto_free char *tag = pv_strf("volume%u", m->setup.mounts.count);
    struct wire_volume *volume = &m->volumes.items[m->volumes.count++];
    struct wire_mount *mount = &m->setup.mounts.items[m->setup.mounts.count++];
    volume->read_only = mount->read_only = v->read_only;
    if (!tag || !copy(&volume->tag, tag) || !copy(&volume->path, v->host) ||
        !copy(&volume->only, v->only) || !copy(&volume->cache, v->cache) ||
        !copy(&mount->tag, tag) || !copy(&mount->target, v->guest) || !copy(&mount->only, v->only))
        return OUT_OF_MEMORY(err);
    return 0;
}

/* The folder that is the root, or lies below the layer. */
static int add_root(const struct isolation_request *r, struct wire_machine *m, struct pv_error *err)
{
    struct wire_volume *volume = &m->volumes.items[m->volumes.count++];
    volume->read_only = r->spec->rootfs_overlay || r->spec->read_only;
    if (!copy(&volume->tag, ROOT_TAG) || !copy(&volume->path, r->image_path))
        return OUT_OF_MEMORY(err);
    return 0;
}

static int fill_volumes(const struct isolation_request *r, struct wire_machine *m,
                        struct pv_error *err)
{
    int rc = r->spec->rootfs ? add_root(r, m, err) : 0;
    for (size_t i = 0; rc == 0 && i < r->spec->volumes.count; i++)
        rc = add_volume(m, &r->spec->volumes.items[i], err);
    return rc;
}

static int fill_setup(const struct isolation_request *r, struct wire_machine *m,
                      struct pv_error *err)
{
    bool shared = r->spec->rootfs;
    char short_id[13] = "";
    memcpy(short_id, r->id, strnlen(r->id, sizeof(short_id) - 1));
    m->setup.discard_layer = r->spec->remove;
    m->setup.read_only = r->spec->read_only;
    m->setup.direct_root = shared && !r->spec->rootfs_overlay && !r->spec->read_only;
    if (!copy(&m->setup.hostname, r->spec->hostname ? r->spec->hostname : short_id) ||
        !copy(&m->setup.image_device, shared ? ROOT_TAG : "/dev/vda") ||
        !copy(&m->setup.image_type, r->image_type) ||
        !copy(&m->setup.layer_device, !r->layer_path ? NULL
                                      : shared       ? "/dev/vda"
                                                     : "/dev/vdb"))
        return OUT_OF_MEMORY(err);
    return 0;
}

static int fill_process(const struct isolation_request *r, struct wire_machine *m,
                        struct pv_error *err)
{
    struct wire_process *p = &m->process;
    p->terminal = r->spec->terminal;
    p->rows = r->rows;
    p->columns = r->columns;
    if (pv_strv_copy(&p->args, &r->spec->args) < 0 || pv_strv_copy(&p->env, &r->spec->env) < 0 ||
        !copy(&p->cwd, r->spec->cwd) || !copy(&p->user, r->spec->user))
        return OUT_OF_MEMORY(err);
    return 0;
}

static int fill_machine(const struct isolation_request *r, struct wire_machine *m,
                        struct pv_error *err)
{
    m->memory_bytes = r->spec->resources.memory_bytes;
    m->cpus = workload_resources_count_cpus(&r->spec->resources);
    m->cpu_milli = r->spec->resources.cpu_milli;
    m->log_bytes_max = r->spec->resources.log_bytes;
    m->guest_log_level = r->spec->kernel_log_level;
    m->wait_attach = r->attached;
    m->stdin_open = r->spec->stdin_open;
    m->strict_protection = r->spec->strict_protection;
    isolation_owner_pick(r->id, &m->uid, &m->gid);
    if (!copy(&m->id, r->id) || !copy(&m->name, r->name) || !copy(&m->state_dir, r->state_dir) ||
        !copy(&m->run_dir, r->run_dir) || !copy(&m->extra_cmdline, r->spec->kernel_args))
        return OUT_OF_MEMORY(err);
    return 0;
}

static int fill_files(const struct isolation_request *r, struct wire_machine *m,
                      struct pv_error *err)
{
    struct isolation_files files;
    int rc = isolation_files_find(r->spec->kernel, &files, err);
    if (rc < 0)
        return rc;
    m->kernel = pv_take_ptr(files.kernel);
    m->initramfs = pv_take_ptr(files.initramfs);
    isolation_files_done(&files);
    return 0;
}

static int fill_fence(const struct isolation_request *r, struct wire_machine *m,
                      struct pv_error *err)
{
    m->net_rate.bytes = r->spec->net_rate.bytes;
    m->net_rate.frames = r->spec->net_rate.frames;
    return pv_strv_copy(&m->grants, &r->spec->grants) < 0 ? OUT_OF_MEMORY(err) : 0;
}

static int paravirt_prepare(const struct isolation_request *request,
                            struct wire_machine *ret_machine, struct pv_strv *warnings,
                            struct pv_error *err)
{
    struct wire_machine m = {0};
    int rc = isolation_capacity_find_max(request->spec->resources.memory_bytes,
                                         request->spec->resources.memory_max_bytes,
                                         &m.memory_max_bytes, err);
    if (rc == 0)
        rc = fill_files(request, &m, err);
    if (rc == 0)
        rc = fill_machine(request, &m, err);
    if (rc == 0)
        rc = isolation_cpus_pick(request->busy_cpus, m.cpus, &m.host_cpus, warnings, err);
    if (rc == 0)
        rc = fill_disks(request, &m, err);
    if (rc == 0)
        rc = fill_setup(request, &m, err);
    if (rc == 0)
        rc = isolation_network_fill(request, &m, err);
    if (rc == 0)
        rc = fill_volumes(request, &m, err);
    if (rc == 0)
        rc = fill_fence(request, &m, err);
    if (rc == 0)
        rc = fill_process(request, &m, err);
    if (rc < 0) {
        wire_machine_done(&m);
        return rc;
    }
    *ret_machine = m;
    return 0;
}

static int write_spec(const struct wire_machine *machine, struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *json = wire_machine_write(machine);
    pv_auto_free char *text = json ? pv_json_print(json, false) : NULL;
    if (!text)
        return OUT_OF_MEMORY(err);
    int fd = pv_fd_memfd_with("machine", text, strlen(text));
    return fd >= 0
               ? fd
               : pv_error_set(err, -fd, "describe the machine: memfd_create: %s", strerror(-fd));
}

/* A monitor that did not come up leaves nothing: it is killed, and its guest with it. */
static void end_child(pid_t pid)
{
    kill(pid, SIGKILL); /* our child, not reaped yet: the pid is still its own */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

static int paravirt_start(const struct wire_machine *machine, const struct isolation_start *how,
                          pid_t *ret_pid, struct pv_error *err)
{
    pv_auto_free char *monitor = NULL;
    int rc = isolation_files_find_monitor(&monitor, err);
    if (rc < 0)
        return rc;

    pv_auto_fd int spec_fd = write_spec(machine, err);
    int ready[2];
    if (spec_fd < 0)
        return spec_fd;
    if (pipe2(ready, O_CLOEXEC) < 0)
        return pv_error_set(err, errno, "pipe: %s", strerror(errno));
    pv_auto_fd int ready_read = ready[0];
    pv_auto_fd int ready_write = ready[1];

    pid_t pid;
    struct isolation_launch launch = {.program = monitor,
                                      .error_fd = how->error_fd,
                                      .spec_fd = spec_fd,
                                      .ready_fd = ready_write,
                                      .lock_fd = how->lock_fd};
    rc = isolation_launch_start(&launch, machine->name, &pid, err);
    if (rc < 0)
        return rc;
    close(pv_take_fd(&ready_write)); /* so that the child's end is the end */
    rc = isolation_launch_wait(ready_read, how->cancel_fd, err);
    if (rc < 0) {
        end_child(pid);
        return rc;
    }
    *ret_pid = pid;
    return 0;
}

static int paravirt_clean(const char *id, const struct pv_strv *cgroups, struct pv_error *err)
{
    return jail_cgroup_remove_leftovers(NULL, id, cgroups, err);
}

const struct isolation_class isolation_paravirt_class = {
    .name = "paravirt",
    .prepare = paravirt_prepare,
    .start = paravirt_start,
    .clean = paravirt_clean,
};
