/* SPDX-License-Identifier: Apache-2.0
 *
 * fs_fixture.h: a server of a shared folder, its client, and the folder, beside which stands a
 * secret.
 */
#ifndef TESTS_FS_FS_FIXTURE_H
#define TESTS_FS_FS_FIXTURE_H

#include "fs/fs.h"

#include "support/fuse_client.h"
#include "support/unit.h"

#include <stdint.h>

#define ROOT FUSE_ROOT_ID

extern struct fixture {
    char top[64];
    int top_fd, root_fd; /* the secret is in top; the folder is top/share */
    struct fs *fs;
    struct fuse_client client;
} t;
extern const struct fs_situation usual;

/* Serves the folder; begin_again ends the server before. */
void begin(struct fs_options options, struct fs_situation situation);
void begin_again(struct fs_options options, struct fs_situation situation);
/* A folder with "file" and "dir", served. */
int set_up(void **state);
int tear_down(void **state);

/* Writes a file on the host. */
void put(int dirfd, const char *name, const char *text);
/* The value, which must be no error. */
uint64_t need(int64_t value);
/* As the guest's kernel asks: nodes that must be found and made; 0 or a negative error. */
uint64_t lookup(uint64_t parent, const char *name);
uint64_t mkdir_at(uint64_t parent, const char *name, uint32_t mode);
int rename_to(uint64_t from, const char *old, uint64_t to, const char *new, uint32_t flags);
int set_attr(uint64_t node, struct fuse_setattr_in in);
/* How many entries a folder has, read by `size` bytes at a time. */
unsigned list(uint64_t dir, bool plus, unsigned size);

#define FS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
