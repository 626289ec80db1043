/* SPDX-License-Identifier: Apache-2.0 */
#include "base/fd.h"
#include "base/json.h"
#include "monitor/log.h"
#include "support/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    char dir[40];
    int dirfd;
    struct monitor_log *log;
};

static int setup(void **state)
{
    static struct fixture f;
    strcpy(f.dir, "/tmp/paravane-log-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    f.dirfd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(monitor_log_open(f.dirfd, 0, &f.log, NULL), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    monitor_log_free(f->log);
    unlinkat(f->dirfd, MONITOR_LOG_FILE, 0);
    unlinkat(f->dirfd, MONITOR_LOG_OLD_FILE, 0);
    close(f->dirfd);
    return rmdir(f->dir);
}

/* The whole log as text; the caller frees. */
static char *read_log(struct fixture *f, const char *name)
{
    char *text = NULL;
    if (pv_fd_read_file(f->dirfd, name, 1 << 20, &text, NULL, NULL) < 0)
        return strdup("");
    return text;
}

static void test_streams_stay_apart_and_lines_whole(void **state)
{
    struct fixture *f = *state;
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "one\ntw", 6);
    monitor_log_add(f->log, MONITOR_LOG_STDERR, "bad\n", 4);
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "o\nthree", 7);

    char *text = read_log(f, MONITOR_LOG_FILE);
    char *one = strstr(text, "{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"20");
    char *bad = strstr(text, "{\"log\":\"bad\\n\",\"stream\":\"stderr\"");
    char *two = strstr(text, "{\"log\":\"two\\n\",\"stream\":\"stdout\"");
    assert_ptr_equal(one, text);
    assert_true(one < bad && bad < two);
    assert_null(strstr(text, "three")); /* no newline yet */
    free(text);

    monitor_log_flush(f->log);
    text = read_log(f, MONITOR_LOG_FILE);
    assert_non_null(strstr(text, "{\"log\":\"three\",\"stream\""));
    free(text);
}

static void test_each_line_is_json_whatever_the_bytes(void **state)
{
    struct fixture *f = *state;
    unsigned char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (unsigned char)i;
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, all, sizeof(all));
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "\xc3\xa4\"\\\t\x7f\n", 7);
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "\xc0\x80\n", 3);     /* overlong */
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "\xed\xa0\x80\n", 4); /* a surrogate */
    monitor_log_flush(f->log);

    char *text = read_log(f, MONITOR_LOG_FILE);
    unsigned lines = 0, data = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        struct pv_json *json = NULL;
        struct pv_error err = PV_ERROR_INIT;
        if (pv_json_parse(line, strlen(line), &json, &err) < 0)
            fail_msg("%s: %s", line, err.text);
        data += pv_json_get(json, "data") != NULL;
        lines++;
        pv_json_free(json);
    }
    /* 0x00..0x0a is text; 0x0b..0xff and what follows is one line; then the two that lie. */
    assert_int_equal(lines, 4);
    assert_int_equal(data, 3);
    free(text);
}

static void test_base64_has_its_padding(void **state)
{
    struct fixture *f = *state;
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "\xff\n", 2);
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "\xff\xfe\n", 3);
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, "\xff\xfe\xfd\n", 4);
    char *text = read_log(f, MONITOR_LOG_FILE);
    assert_non_null(strstr(text, "{\"data\":\"/wo=\""));
    assert_non_null(strstr(text, "{\"data\":\"//4K\""));
    assert_non_null(strstr(text, "{\"data\":\"//79Cg==\""));
    free(text);
}

static void test_a_line_without_end_is_cut(void **state)
{
    struct fixture *f = *state;
    char lots[MONITOR_LOG_LINE_MAX + 1];
    memset(lots, 'x', sizeof(lots));
    monitor_log_add(f->log, MONITOR_LOG_STDOUT, lots, sizeof(lots));
    char *text = read_log(f, MONITOR_LOG_FILE);
    assert_int_equal(strspn(text + strlen("{\"log\":\""), "x"), MONITOR_LOG_LINE_MAX);
    free(text);
}

static void test_the_limit_holds_and_the_newest_stays(void **state)
{
    struct fixture *f = *state;
    char line[64];
    for (int i = 0; i < 4000; i++) {
        int len = snprintf(line, sizeof(line), "line %d\n", i);
        monitor_log_add(f->log, MONITOR_LOG_STDOUT, line, (size_t)len);
    }
    struct stat now, old;
    assert_int_equal(fstatat(f->dirfd, MONITOR_LOG_FILE, &now, 0), 0);
    assert_int_equal(fstatat(f->dirfd, MONITOR_LOG_OLD_FILE, &old, 0), 0);
    assert_true(now.st_size + old.st_size <= 64 * 1024);
    assert_true(old.st_size > 16 * 1024);
    char *text = read_log(f, MONITOR_LOG_FILE);
    assert_non_null(strstr(text, "line 3999\\n"));
    free(text);
    assert_int_equal(monitor_log_lost(f->log), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_streams_stay_apart_and_lines_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_each_line_is_json_whatever_the_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_base64_has_its_padding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_line_without_end_is_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_limit_holds_and_the_newest_stays, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
