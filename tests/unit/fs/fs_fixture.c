/* SPDX-License-Identifier: Apache-2.0 */
#include "fs_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture t;
const struct fs_situation usual = {.contained = true, .max_files = 100};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

void begin(struct fs_options options, struct fs_situation situation)
{
    struct pv_error err = PV_ERROR_INIT;
    options.root_fd = t.root_fd;
    assert_int_equal(fs_new(&options, &t.fs, &err), 0);
    assert_int_equal(fs_settle(t.fs, &situation, &err), 0);
    fuse_client_init(&t.client, t.fs);
    t.client.uid = geteuid();
    t.client.gid = getegid();
    assert_int_equal(fuse_client_start(&t.client), sizeof(struct fuse_init_out));
}

static void end(void)
{
    assert_int_equal(t.client.wrong, 0);
    fuse_client_done(&t.client);
    fs_free(t.fs);
    t.fs = NULL;
}

void put(int dirfd, const char *name, const char *text)
{
    int fd = openat(dirfd, name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

int set_up(void **state)
{
    char path[80];
    umask(0);
    strcpy(t.top, "/tmp/paravane-fs-XXXXXX");
    assert_non_null(mkdtemp(t.top));
    t.top_fd = open(t.top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    put(t.top_fd, "secret", "secret");
    assert_int_equal(mkdirat(t.top_fd, "share", 0755), 0);
    snprintf(path, sizeof(path), "%s/share", t.top);
    t.root_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    put(t.root_fd, "file", "content");
    assert_int_equal(mkdirat(t.root_fd, "dir", 0755), 0);
    begin((struct fs_options){0}, usual);
    return 0;
}

int tear_down(void **state)
{
    if (t.fs)
        end();
    close(t.root_fd);
    close(t.top_fd);
    nftw(t.top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

void begin_again(struct fs_options options, struct fs_situation situation)
{
    end();
    begin(options, situation);
}

uint64_t need(int64_t value)
{
    if (value < 0)
        fail_msg("%s", strerror((int)-value));
    return (uint64_t)value;
}

uint64_t lookup(uint64_t parent, const char *name)
{
    return need(fuse_client_lookup(&t.client, parent, name));
}

uint64_t mkdir_at(uint64_t parent, const char *name, uint32_t mode)
{
    const struct fuse_mkdir_in in = {.mode = mode};
    struct fuse_entry_out out;
    need(fuse_client_ask_name(&t.client, FUSE_MKDIR, parent, &in, sizeof(in), name, NULL));
    memcpy(&out, t.client.reply, sizeof(out));
    return out.nodeid;
}

int rename_to(uint64_t from, const char *old, uint64_t to, const char *new, uint32_t flags)
{
    const struct fuse_rename2_in in = {.newdir = to, .flags = flags};
    return fuse_client_ask_name(&t.client, FUSE_RENAME2, from, &in, sizeof(in), old, new);
}

int set_attr(uint64_t node, struct fuse_setattr_in in)
{
    int rc = fuse_client_ask(&t.client, FUSE_SETATTR, node, &in, sizeof(in));
    return rc < 0 ? rc : 0;
}

/* -- what every guest does -- */

unsigned list(uint64_t dir, bool plus, unsigned size)
{
    struct fuse_client *c = &t.client;
    uint64_t h = need(fuse_client_open(c, dir, O_DIRECTORY)), offset = 0;
    unsigned count = 0;
    for (;;) {
        const struct fuse_read_in in = {.fh = h, .offset = offset, .size = size};
        int len = fuse_client_ask(c, plus ? FUSE_READDIRPLUS : FUSE_READDIR, dir, &in, sizeof(in));
        assert_true(len >= 0);
        if (len == 0)
            break;
        for (int at = 0; at < len;) {
            const uint8_t *entry = c->reply + at + (plus ? sizeof(struct fuse_entry_out) : 0);
            struct fuse_dirent dirent;
            memcpy(&dirent, entry, sizeof(dirent));
            offset = dirent.off;
            count++;
            at += (int)FUSE_DIRENT_ALIGN((plus ? sizeof(struct fuse_direntplus) : sizeof(dirent)) +
                                         dirent.namelen);
        }
    }
    const struct fuse_release_in release = {.fh = h};
    need(fuse_client_ask(c, FUSE_RELEASEDIR, dir, &release, sizeof(release)));
    return count;
}
