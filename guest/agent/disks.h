/* SPDX-License-Identifier: Apache-2.0
 *
 * disks.h: names of disks that do not depend on their order.
 */
#ifndef AGENT_DISKS_H
#define AGENT_DISKS_H

/* Makes dev_dir/disk/by-id/virtio-SERIAL, as udev would, for each virtio disk in sys_block ("/sys/
 * block") that has a serial number. What cannot be linked is left out. */
void agent_disks_link(const char *sys_block, const char *dev_dir);

#endif
