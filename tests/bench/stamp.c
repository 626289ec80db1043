/* SPDX-License-Identifier: Apache-2.0
 *
 * stamp.c: notes the time and becomes another program: tells how long `paravane run` takes until it
 * has started its monitor. Stands in PARAVANE_LIBEXEC under the name of the program it stands for;
 * the real one is beside it with ".real", and the time goes to a file with ".stamp".
 */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define PATH_SIZE 4096

int main(int argc, char **argv)
{
    struct timespec t;
    char own[PATH_SIZE], path[PATH_SIZE + 8], text[32];
    clock_gettime(CLOCK_MONOTONIC, &t);
    ssize_t len = readlink("/proc/self/exe", own, sizeof(own) - 1);
    if (len <= 0)
        return 126;
    own[len] = '\0';

    snprintf(path, sizeof(path), "%s.stamp", own);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int n = snprintf(text, sizeof(text), "%lld.%09ld\n", (long long)t.tv_sec, t.tv_nsec);
    if (fd < 0 || write(fd, text, (size_t)n) != n)
        return 126;
    close(fd);

    snprintf(path, sizeof(path), "%s.real", own);
    execv(path, argv);
    return 127;
}
