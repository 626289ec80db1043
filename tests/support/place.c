/* SPDX-License-Identifier: Apache-2.0
 *
 * place.c: the build folder is found from our own place in it: tests/unit/test_NAME.
 */
#include "support/place.h"

#include "base/fd.h"
#include "base/str.h"
#include "support/tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void find_build(char *path, size_t len)
{
    ssize_t n = readlink("/proc/self/exe", path, len - 1);
    path[n > 0 ? n : 0] = '\0';
    for (int i = 0; i < 3; i++) {
        char *slash = strrchr(path, '/');
        if (!slash)
            abort();
        *slash = '\0';
    }
}

void support_place_make(struct support_place *place)
{
    char build[400], variable[512];
    find_build(build, sizeof(build));
    support_tree_make(place->top, sizeof(place->top));
    snprintf(place->image, sizeof(place->image), "%s/image.squashfs", place->top);
    snprintf(place->paravane, sizeof(place->paravane), "%s/paravane", build);
    pv_auto_free char *script =
        pv_strf("mkdir root cache lib tree && ln -s '%s/tests/support/fake_monitor' "
                "lib/paravane-monitor && touch lib/linux lib/initramfs.cpio tree/file && "
                "printf '#!/bin/sh\\nfor i in $(seq 1500); do \"$@\" && exit; sleep 0.02; done\\n"
                "echo \"await: $*\" >&2; exit 99\\n' > await && chmod +x await && "
                "mksquashfs tree image.squashfs -quiet -no-progress",
                build);
    support_tree_shell(place->top, script);
    static const char *const names[][2] = {
        {"PARAVANE_ROOT", "root"}, {"PARAVANE_CACHE", "cache"}, {"PARAVANE_LIBEXEC", "lib"}};
    for (size_t i = 0; i < PV_ARRAY_SIZE(names); i++) {
        snprintf(variable, sizeof(variable), "%s/%s", place->top, names[i][1]);
        setenv(names[i][0], variable, 1);
    }
    unsetenv("FAKE_MONITOR");
    unsetenv("PARAVANE_KERNEL");
    setenv("P", place->paravane, 1);
    setenv("I", place->image, 1);
    snprintf(variable, sizeof(variable), "%s/await", place->top);
    setenv("W", variable, 1);
}

void support_place_remove(struct support_place *place)
{
    support_tree_remove(place->top);
}

static char *take_file(const struct support_place *place, const char *name)
{
    char *text = NULL;
    pv_auto_free char *path = pv_strf("%s/%s", place->top, name);
    if (pv_fd_read_file(AT_FDCWD, path, 256 << 20, &text, NULL, NULL) < 0)
        abort();
    return text;
}

int support_place_run(const struct support_place *place, const char *line, char **ret_out,
                      char **ret_error)
{
    pv_auto_free char *script =
        pv_strf("cd '%s' && { %s\n} > out 2> error < /dev/null", place->top, line);
    int status = system(script);
    if (ret_out)
        *ret_out = take_file(place, "out");
    if (ret_error)
        *ret_error = take_file(place, "error");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
