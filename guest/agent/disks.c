/* SPDX-License-Identifier: Apache-2.0
 *
 * disks.c: /dev/disk/by-id, since most images of containers have no udev.
 */
#include "agent/disks.h"

#include "base/attr.h"
#include "base/fd.h"
#include "base/str.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERIAL_MAX 20

/* The serial number of a disk, with what a file name cannot have replaced; "" when it has none. */
static void read_serial(int block_fd, const char *name, char ret_serial[SERIAL_MAX + 2])
{
    pv_auto_free char *path = pv_strf("%s/serial", name);
    pv_auto_fd int fd = path ? openat(block_fd, path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd >= 0 ? read(fd, ret_serial, SERIAL_MAX + 1) : 0;
    ret_serial[n > 0 ? n : 0] = '\0';
    ret_serial[strcspn(ret_serial, "\n")] = '\0';
    for (char *c = ret_serial; *c; c++)
        if (*c == '/' || *c == ' ' || (unsigned char)*c < ' ')
            *c = '_';
}

static void link_disk(int block_fd, const char *name, const char *dev_dir)
{
    char serial[SERIAL_MAX + 2] = "";
    read_serial(block_fd, name, serial);
    pv_auto_free char *link = pv_strf("%s/disk/by-id/virtio-%s", dev_dir, serial);
    pv_auto_free char *target = pv_strf("../../%s", name);
    if (serial[0] && link && target && symlink(target, link) < 0)
        return; /* two of the same: the first one has it */
}

void agent_disks_link(const char *sys_block, const char *dev_dir)
{
    pv_auto_free char *disk = pv_strf("%s/disk", dev_dir);
    pv_auto_free char *by_id = pv_strf("%s/disk/by-id", dev_dir);
    DIR *dir = opendir(sys_block);
    if (disk && by_id && dir) {
        mkdir(disk, 0755);
        mkdir(by_id, 0755);
        for (struct dirent *e; (e = readdir(dir));)
            if (pv_str_starts_with(e->d_name, "vd"))
                link_disk(dirfd(dir), e->d_name, dev_dir);
    }
    if (dir)
        closedir(dir);
}
