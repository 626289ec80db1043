/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_main.c: runs a fuzz target over the files of a corpus, for builds without libFuzzer.
 *
 * Arguments: files, or directories whose files are taken. Exit 77 when there was none.
 */
#include "base/fd.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX (16u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(int dir_fd, const char *name)
{
    pv_auto_free char *text = NULL;
    size_t len;
    struct pv_error err = PV_ERROR_INIT;
    if (pv_fd_read_file(dir_fd, name, INPUT_MAX, &text, &len, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        return -1;
    }
    /* A copy of the exact size, so that a sanitizer sees a read past the end. */
    pv_auto_free uint8_t *exact = malloc(len ? len : 1);
    if (!exact)
        return -1;
    memcpy(exact, text, len);
    LLVMFuzzerTestOneInput(exact, len);
    return 0;
}

/* The number of files replayed, or -1. */
static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISDIR(st.st_mode))
        return replay_file(AT_FDCWD, path) < 0 ? -1 : 1;

    DIR *dir = opendir(path);
    if (!dir) {
        perror(path);
        return -1;
    }
    int count = 0;
    struct dirent *entry;
    while (count >= 0 && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            count = replay_file(dirfd(dir), entry->d_name) < 0 ? -1 : count + 1;
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int count = replay(argv[i]);
        if (count < 0)
            return 1;
        total += count;
    }
    printf("%d inputs\n", total);
    return total ? 0 : 77;
}
