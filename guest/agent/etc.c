/* SPDX-License-Identifier: Apache-2.0
 *
 * etc.c: /etc/hostname, /etc/hosts, /etc/resolv.conf.
 */
#include "agent/etc.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static int write_file(int etc_fd, const char *name, const struct pv_str *text, struct pv_error *err)
{
    /* A link may lead to a file that a service has yet to make (systemd-resolved's, for one), or
     * out of the image. */
    struct stat st;
    if (fstatat(etc_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
        unlinkat(etc_fd, name, 0);
    pv_auto_fd int fd =
        openat(etc_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    int rc = fd < 0 ? -errno : pv_fd_write_full(fd, text->text, text->len);
    return rc < 0 ? pv_error_set(err, -rc, "write /etc/%s: %s", name, strerror(-rc)) : 0;
}

static int add_hosts(const struct wire_setup *s, struct pv_str *text)
{
    int rc = pv_str_addf(text,
                         "127.0.0.1\tlocalhost\n"
                         "::1\tlocalhost ip6-localhost ip6-loopback\n"
                         "ff02::1\tip6-allnodes\n"
                         "ff02::2\tip6-allrouters\n"
                         "127.0.1.1\t%s\n",
                         s->hostname);
    for (size_t i = 0; i < s->hosts.count && rc == 0; i++)
        rc = pv_str_addf(text, "%s\n", s->hosts.items[i]);
    return rc;
}

static int add_resolvers(const struct wire_setup *s, struct pv_str *text)
{
    int rc = 0;
    for (size_t i = 0; i < s->nameservers.count && rc == 0; i++)
        rc = pv_str_addf(text, "nameserver %s\n", s->nameservers.items[i]);
    for (size_t i = 0; i < s->searches.count && rc == 0; i++)
        rc = pv_str_addf(text, "%s%s", i ? " " : "search ", s->searches.items[i]);
    return rc == 0 && s->searches.count ? pv_str_add(text, "\n") : rc;
}

int agent_etc_write(int root_fd, const struct wire_setup *s, struct pv_error *err)
{
    struct pv_str name __attribute__((cleanup(pv_str_auto))) = {0};
    struct pv_str hosts __attribute__((cleanup(pv_str_auto))) = {0};
    struct pv_str resolv __attribute__((cleanup(pv_str_auto))) = {0};
    if (pv_str_addf(&name, "%s\n", s->hostname) < 0 || add_hosts(s, &hosts) < 0 ||
        add_resolvers(s, &resolv) < 0)
        return pv_error_set(err, ENOMEM, "write /etc: out of memory");

    mkdirat(root_fd, "etc", 0755); /* there already, or the next line says why not */
    pv_auto_fd int etc_fd = openat(root_fd, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (etc_fd < 0)
        return pv_error_set(err, errno, "open /etc: %s", strerror(errno));
    int rc = write_file(etc_fd, "hostname", &name, err);
    if (rc == 0)
        rc = write_file(etc_fd, "hosts", &hosts, err);
    return rc < 0 || !resolv.len ? rc : write_file(etc_fd, "resolv.conf", &resolv, err);
}
