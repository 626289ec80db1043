/* SPDX-License-Identifier: Apache-2.0
 *
 * switch_names.c: who is on the network, by name.
 *
 * The members' files are read when the guest asks for a name and their folder has changed since, so
 * a new machine is found by those that run already. A machine is told of only when it lives: when
 * there is a line to it, or one can be made.
 */
#include "net/switch_internal.h"

#include "base/fd.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBERS_MAX 4096

void switch_members_free(struct net_switch *s)
{
    for (size_t i = 0; i < s->num_members; i++)
        workload_member_done(&s->members[i].names);
    free(s->members);
    s->members = NULL;
    s->num_members = 0;
}

static void add_member(struct net_switch *s, int dirfd, uint32_t number, const char *name)
{
    pv_auto_free char *text = NULL;
    size_t len;
    struct workload_member names;
    if (s->num_members >= MEMBERS_MAX)
        return;
    struct switch_member *members = realloc(s->members, (s->num_members + 1) * sizeof(*s->members));
    if (!members)
        return;
    s->members = members;
    if (pv_fd_read_file(dirfd, name, WORKLOAD_MEMBER_BYTES_MAX, &text, &len, NULL) == 0 &&
        workload_member_read(text, len, &names, NULL) == 0)
        members[s->num_members++] = (struct switch_member){number, names};
}

void switch_members_refresh(struct net_switch *s)
{
    struct stat st;
    pv_auto_fd int fd = openat(s->folder_fd, WORKLOAD_MEMBER_FOLDER,
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    if (st.st_mtim.tv_sec == s->members_time.tv_sec &&
        st.st_mtim.tv_nsec == s->members_time.tv_nsec)
        return;
    DIR *dir = fdopendir(fd);
    if (!dir)
        return;
    int owned = pv_take_fd(&fd);
    switch_members_free(s);
    for (struct dirent *entry; (entry = readdir(dir));) {
        uint64_t number;
        if (pv_str_to_u64(entry->d_name, WORKLOAD_SUBNET_FIRST, workload_subnet_last(&s->subnet),
                          &number) == 0)
            add_member(s, owned, (uint32_t)number, entry->d_name);
    }
    closedir(dir);
    s->members_time = st.st_mtim;
}

int net_switch_lookup(struct net_link *link, const char *name, struct workload_address *addresses,
                      unsigned max)
{
    struct net_switch *s = PV_CONTAINER_OF(link, struct net_switch, base);
    unsigned found = 0;
    switch_members_refresh(s);
    for (size_t i = 0; i < s->num_members; i++) {
        const struct switch_member *m = &s->members[i];
        uint8_t v6[16];
        if (!workload_member_has_name(&m->names, name, strlen(name)))
            continue;
        if (m->number != s->number && !switch_line_get(s, m->number))
            continue;
        uint32_t v4 = htonl(workload_subnet_ipv4(&s->subnet, m->number));
        workload_subnet_ipv6(&s->subnet, m->number, v6);
        if (found < max)
            addresses[found++] = workload_address_from_v4((const uint8_t *)&v4);
        if (found < max)
            addresses[found++] = workload_address_from_v6(v6);
    }
    return found ? (int)found : -ENOENT;
}
