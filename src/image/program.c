/* SPDX-License-Identifier: Apache-2.0
 *
 * program.c: fork, exec, and the last line that the program wrote to stderr.
 */
#include "image/program.h"

#include "base/fd.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SYSTEM_PATH "/usr/sbin:/usr/bin:/sbin:/bin"
#define WORDS_MAX 4096

int image_program_find(const char *name, const char *package, char **ret_path, struct pv_error *err)
{
    const char *path = getenv("PATH");
    pv_auto_free char *folders = pv_strf("%s:" SYSTEM_PATH, path ? path : "");
    if (!folders)
        return pv_error_set(err, ENOMEM, "find '%s': out of memory", name);
    char *rest = folders, *folder;
    while ((folder = strsep(&rest, ":"))) {
        pv_auto_free char *candidate = pv_strf("%s/%s", folder, name);
        if (*folder == '/' && candidate && access(candidate, X_OK) == 0) {
            *ret_path = pv_take_ptr(candidate);
            return 0;
        }
    }
    return pv_error_set(err, ENOENT, "program '%s' is missing: install the package %s", name,
                        package);
}

int image_program_stamp(const char *path, char *text, size_t len, struct pv_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return pv_error_set(err, errno, "'%s': %s", path, strerror(errno));
    snprintf(text, len, "%s %lld %lld.%09ld %llu", path, (long long)st.st_size,
             (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (unsigned long long)st.st_ino);
    return 0;
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int signo = 1; signo < NSIG; signo++)
        signal(signo, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void exec_child(const char *const argv[], int keep_fd, int words_fd, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    reset_signals();
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(words_fd, 2) < 0)
        _exit(127);
    if (keep_fd >= 0)
        pv_fd_set_cloexec(keep_fd, false);
    execv(argv[0], (char *const *)argv);
    dprintf(2, "%s", strerror(errno));
    _exit(127);
}

/* The last line of what it said that is not empty, without escapes that a terminal would obey. */
static const char *last_words(char *words, size_t len)
{
    while (len > 0 && (unsigned char)words[len - 1] <= ' ')
        len--;
    words[len] = '\0';
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)words[i] < ' ' && words[i] != '\n')
            words[i] = ' ';
    const char *newline = strrchr(words, '\n');
    return newline ? newline + 1 : words;
}

/* Collects the end of what comes until the program closes it. */
static size_t hear(int fd, char words[WORDS_MAX])
{
    size_t len = 0;
    for (;;) {
        if (len == WORDS_MAX - 1) {
            memmove(words, words + WORDS_MAX / 2, len - WORDS_MAX / 2);
            len -= WORDS_MAX / 2;
        }
        ssize_t n = read(fd, words + len, WORDS_MAX - 1 - len);
        if (n == 0 || (n < 0 && errno != EINTR))
            return len;
        len += n > 0 ? (size_t)n : 0;
    }
}

static int judge(const char *name, int status, char *words, size_t len, struct pv_error *err)
{
    const char *text = last_words(words, len);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (strstr(words, "No space left"))
        return pv_error_set(err, ENOSPC, "%s: the disk is full", name);
    if (WIFSIGNALED(status))
        return pv_error_set(err, EIO, "%s was killed by signal %d", name, WTERMSIG(status));
    return pv_error_set(err, EIO, "%s failed: %s", name, *text ? text : "without a word");
}

int image_program_run(const char *const argv[], int keep_fd, struct pv_error *err)
{
    int words_pipe[2];
    char words[WORDS_MAX];
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    if (pipe2(words_pipe, O_CLOEXEC) < 0)
        return pv_error_set(err, errno, "pipe: %s", strerror(errno));
    pv_auto_fd int hear_fd = words_pipe[0];
    pv_auto_fd int words_fd = words_pipe[1];

    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        exec_child(argv, keep_fd, words_fd, parent);
    if (pid < 0)
        return pv_error_set(err, errno, "start %s: %s", name, strerror(errno));
    close(pv_take_fd(&words_fd));
    size_t len = hear(hear_fd, words);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return judge(name, status, words, len, err);
}
