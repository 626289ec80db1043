/* SPDX-License-Identifier: Apache-2.0
 *
 * unpin.c: takes the choice of host CPUs out of a machine's description and becomes the monitor: so
 * machines are measured whose virtual CPUs run where the host's scheduler likes. Stands in
 * PARAVANE_LIBEXEC under the name of the monitor; the real one is beside it with ".real".
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SPEC_FD 3 /* where the monitor reads its description (src/monitor/internal.h) */
#define SPEC_MAX (4u << 20)
#define PATH_SIZE 4096

/* "host_cpus":["0","1"] becomes "host_cpus":[       ], in another file: the first one is sealed. */
static int empty_list(void)
{
    static char text[SPEC_MAX + 1];
    ssize_t len = pread(SPEC_FD, text, SPEC_MAX, 0);
    if (len <= 0)
        return -1;
    char *list = strstr(text, "\"host_cpus\"");
    list = list ? strchr(list, '[') : NULL;
    char *end = list ? strchr(list, ']') : NULL;
    if (!end)
        return -1;
    memset(list + 1, ' ', (size_t)(end - list - 1));
    int fd = memfd_create("machine", 0);
    if (fd < 0 || pwrite(fd, text, (size_t)len, 0) != len || dup2(fd, SPEC_FD) < 0)
        return -1;
    return close(fd);
}

int main(int argc, char **argv)
{
    char path[PATH_SIZE + 8];
    ssize_t len = readlink("/proc/self/exe", path, PATH_SIZE);
    if (len <= 0 || len == PATH_SIZE || empty_list() < 0) {
        fprintf(stderr, "unpin: no description of a machine with host CPUs\n");
        return 126;
    }
    strcpy(path + len, ".real");
    execv(path, argv);
    return 127;
}
