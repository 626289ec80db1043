/* SPDX-License-Identifier: Apache-2.0
 *
 * fuzz_fs.c: requests to the server of shared folders.
 *
 * An input is a list of requests: opcode, node, handle, where to put the handle, length (a byte
 * each, the length in units of 4), and the bytes behind the header. Nodes and handles are chosen
 * among those that replies told, so that a fuzzer gets beyond "no such number". The folder is on a
 * tmpfs where there is one, files are at most 1 MiB, and what stands beside the folder must stay as
 * it is.
 */
#include "fs/fs.h"

#include "support/fuse_client.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define REQUESTS_MAX 64
#define KNOWN 8
#define RECORD 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char top[64];
static int top_fd = -1, root_fd = -1;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return ftw->level > 0 ? remove(path) : 0;
}

static void clean(void)
{
    char path[80];
    snprintf(path, sizeof(path), "%s/share", top);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void finish(void)
{
    clean();
    unlinkat(top_fd, "beside", 0);
    unlinkat(top_fd, "share", AT_REMOVEDIR);
    rmdir(top);
}

static void must(bool fine)
{
    if (!fine)
        abort();
}

static void begin(void)
{
    const struct rlimit limit = {1 << 20, 1 << 20};
    signal(SIGXFSZ, SIG_IGN);
    strcpy(top, access("/dev/shm", W_OK) == 0 ? "/dev/shm/paravane-fuzz-XXXXXX"
                                              : "/tmp/paravane-fuzz-XXXXXX");
    must(mkdtemp(top) != NULL);
    top_fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    must(mkdirat(top_fd, "share", 0700) == 0 && mkdirat(top_fd, "beside", 0700) == 0);
    unlinkat(top_fd, "beside", AT_REMOVEDIR);
    close(openat(top_fd, "beside", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    root_fd = openat(top_fd, "share", O_PATH | O_DIRECTORY | O_CLOEXEC);
    must(root_fd >= 0);
    atexit(finish);
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void fill(void)
{
    close(openat(root_fd, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    mkdirat(root_fd, "dir", 0700);
    (void)!symlinkat("../beside", root_fd, "link");
    mkfifoat(root_fd, "fifo", 0600);
}

/* Takes the numbers of a reply. */
static void learn(struct fuse_client *c, uint32_t opcode, int rc, uint64_t *nodes, unsigned *at)
{
    uint64_t value;
    bool tells = opcode == FUSE_LOOKUP || opcode == FUSE_MKDIR || opcode == FUSE_MKNOD ||
                 opcode == FUSE_SYMLINK || opcode == FUSE_CREATE || opcode == FUSE_OPEN ||
                 opcode == FUSE_OPENDIR || opcode == FUSE_LINK || opcode == FUSE_TMPFILE;
    if (!tells || rc < (int)sizeof(value))
        return;
    memcpy(&value, c->reply, sizeof(value));
    if (value)
        nodes[(*at)++ % KNOWN] = value;
    if ((opcode == FUSE_CREATE || opcode == FUSE_TMPFILE) &&
        rc > (int)sizeof(struct fuse_entry_out)) {
        memcpy(&value, c->reply + sizeof(struct fuse_entry_out), sizeof(value));
        nodes[(*at)++ % KNOWN] = value;
    }
}

static void run(struct fuse_client *c, const uint8_t *data, size_t size)
{
    uint64_t known[KNOWN] = {FUSE_ROOT_ID};
    unsigned at = 1;
    uint8_t bytes[1024 + sizeof(uint64_t)];
    for (unsigned n = 0; n < REQUESTS_MAX && size >= RECORD; n++) {
        uint32_t opcode = data[0];
        uint64_t node = known[data[1] % KNOWN], handle = known[data[2] % KNOWN];
        size_t place = data[3], len = (size_t)data[4] * 4;
        data += RECORD;
        size -= RECORD;
        len = len < size ? len : size;
        memcpy(bytes, data, len);
        data += len;
        size -= len;
        if (place + sizeof(handle) <= len)
            memcpy(bytes + place, &handle, sizeof(handle));
        if (opcode == FUSE_SYNCFS || opcode == FUSE_FSYNC || opcode == FUSE_FSYNCDIR)
            continue; /* the host's disk is not to be tested */
        learn(c, opcode, fuse_client_ask(c, opcode, node, bytes, len), known, &at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stat before, after;
    struct fs *fs = NULL;
    struct fuse_client c;
    if (size < 1)
        return 0;
    if (top_fd < 0)
        begin();
    fill();
    must(fstatat(top_fd, "beside", &before, 0) == 0);
    const struct fs_options options = {
        .root_fd = root_fd,
        .only = data[0] & 1 ? "file" : NULL,
        .read_only = data[0] & 2,
        .cache = data[0] % 3,
    };
    const struct fs_situation situation = {
        .contained = true,
        .map_owners = data[0] & 4 || geteuid() != 0,
        .owner_uid = geteuid(),
        .owner_gid = getegid(),
        .max_files = 16 + (data[0] >> 3),
    };
    must(fs_new(&options, &fs, NULL) == 0 && fs_settle(fs, &situation, NULL) == 0);
    fuse_client_init(&c, fs);
    fuse_client_start(&c);
    run(&c, data + 1, size - 1);
    must(c.wrong == 0);
    fuse_client_done(&c);
    fs_free(fs);
    must(fstatat(top_fd, "beside", &after, 0) == 0 && after.st_mode == before.st_mode &&
         after.st_size == 0 && after.st_nlink == 1 && after.st_uid == before.st_uid);
    clean();
    return 0;
}
