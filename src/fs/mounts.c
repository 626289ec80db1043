/* SPDX-License-Identifier: Apache-2.0
 *
 * mounts.c: which file systems ask nobody but this host, and what is mounted below a folder.
 *
 * Trust:   whoever may mount chooses the names of places. What is not understood is not local: then
 *          requests go to threads, which is slower and nothing else.
 */
#include "fs/fs_internal.h"

#include <linux/magic.h>
#include <string.h>

/* All others may stand still for ever. */
static const struct {
    uint32_t magic;
    const char *name; /* as mounts are listed */
} local_types[] = {
    {EXT4_SUPER_MAGIC, "ext4"}, {EXT4_SUPER_MAGIC, "ext3"},
    {EXT4_SUPER_MAGIC, "ext2"}, {BTRFS_SUPER_MAGIC, "btrfs"},
    {0x58465342, "xfs"},        {TMPFS_MAGIC, "tmpfs"},
    {F2FS_SUPER_MAGIC, "f2fs"}, {0x2fc12fc1, "zfs"},
    {0xca451a4e, "bcachefs"},   {SQUASHFS_MAGIC, "squashfs"},
    {0xe0f5e1e2, "erofs"},      {MSDOS_SUPER_MAGIC, "vfat"},
    {RAMFS_MAGIC, "ramfs"},     {OVERLAYFS_SUPER_MAGIC, "overlay"},
};

bool fs_mounts_is_local_type(uint64_t magic)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(local_types); i++)
        if ((uint32_t)magic == local_types[i].magic)
            return true;
    return false;
}

static bool is_local_name(const char *name, size_t len)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(local_types); i++)
        if (strlen(local_types[i].name) == len && memcmp(local_types[i].name, name, len) == 0)
            return true;
    return false;
}

/* Whether a place of len bytes is below the folder. Space, tab, newline and backslash are written
 * as three octal digits. */
static bool is_below(const char *escaped, size_t len, const char *folder)
{
    const char *end = escaped + len;
    if (strcmp(folder, "/") == 0)
        return true;
    for (; *folder; folder++) {
        if (escaped == end)
            return false;
        unsigned char c = (unsigned char)*escaped++;
        if (c == '\\') {
            c = 0;
            for (int i = 0; i < 3 && escaped < end && *escaped >= '0' && *escaped <= '7'; i++)
                c = (unsigned char)(c * 8 + (*escaped++ - '0'));
        }
        if (c != (unsigned char)*folder)
            return false;
    }
    return escaped < end && *escaped == '/';
}

/* The field of a line behind `skip` others, which ends with a space. NULL: there is none. */
static const char *field(const char *line, size_t line_len, unsigned skip, size_t *ret_len)
{
    const char *end = line + line_len;
    for (; skip > 0; skip--) {
        const char *space = memchr(line, ' ', (size_t)(end - line));
        if (!space)
            return NULL;
        line = space + 1;
    }
    const char *space = memchr(line, ' ', (size_t)(end - line));
    *ret_len = (size_t)((space ? space : end) - line);
    return line;
}

/* Fields: id, parent, device, root, place, options, any number of others, "-", type, ... */
static bool line_is_fine(const char *line, size_t len, const char *folder)
{
    size_t place_len, type_len;
    const char *place = field(line, len, 4, &place_len);
    const char *dash = memmem(line, len, " - ", 3);
    if (!place || !dash)
        return false;
    const char *type = field(dash + 3, (size_t)(line + len - (dash + 3)), 0, &type_len);
    return !is_below(place, place_len, folder) || is_local_name(type, type_len);
}

bool fs_mounts_are_local(const char *mountinfo, const char *folder)
{
    for (const char *line = mountinfo; *line;) {
        size_t len = strcspn(line, "\n");
        if (len > 0 && !line_is_fine(line, len, folder))
            return false;
        line += len + (line[len] == '\n');
    }
    return true;
}
