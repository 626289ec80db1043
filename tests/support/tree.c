/* SPDX-License-Identifier: Apache-2.0
 *
 * tree.c: folders for tests.
 */
#include "support/tree.h"

#include "base/str.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    abort();
}

void support_tree_make(char *ret_path, size_t len)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(ret_path, len, "%s/pv-tree-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    check(mkdtemp(ret_path) != NULL, ret_path);
    check(chmod(ret_path, 0755) == 0, ret_path);
}

void support_tree_write(const char *top, const char *name, const char *text, unsigned mode)
{
    pv_auto_free char *path = pv_strf("%s/%s", top, name);
    for (char *slash = path + strlen(top) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    check(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), path);
    check(fchmod(fd, mode) == 0, path);
    close(fd);
}

char *support_tree_read_shell(const char *top, const char *command)
{
    pv_auto(pv_str) struct pv_str out = {0};
    pv_auto_free char *line = pv_strf("cd '%s' && { %s\n}", top, command);
    char piece[4096];
    size_t n;
    FILE *pipe = popen(line, "r");
    check(pipe != NULL, command);
    while ((n = fread(piece, 1, sizeof(piece), pipe)) > 0)
        pv_str_add_bytes(&out, piece, n);
    int status = pclose(pipe);
    if (status != 0)
        fprintf(stderr, "'%s' failed (0x%x):\n%s\n", command, (unsigned)status,
                out.text ? out.text : "");
    check(status == 0, command);
    return pv_str_take(&out);
}

void support_tree_shell(const char *top, const char *command)
{
    free(support_tree_read_shell(top, command));
}

void support_tree_remove(const char *top)
{
    pv_auto_free char *command = pv_strf("chmod -R u+rwx '%s' && rm -rf '%s'", top, top);
    check(system(command) == 0, command);
}
