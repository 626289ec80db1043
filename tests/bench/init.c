/* SPDX-License-Identifier: Apache-2.0
 *
 * init.c: the least that a machine needs to run one command: PID 1 of the peers that boot a kernel
 * (stock User Mode Linux, QEMU), and two tiny commands for all.
 *
 * As PID 1:  init ... run COMMAND ARGS...   prints "pid1", runs the command, prints "exit CODE" and
 *                                           ends the machine. What stands before "run" are words of
 *                                           the kernel's command line. A '@' in front of a word
 *                                           is not part of it: it keeps User Mode Linux from
 *                                           taking, say, "condition" for its option "con".
 * As command: init hello                    prints "main"
 *             init sleep                    prints "main" and waits to be killed
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *line)
{
    if (write(1, line, strlen(line)) < 0)
        _exit(125);
}

/* A root without device nodes: the kernel could not open a console for us. */
static void open_console(void)
{
    if (fcntl(1, F_GETFD) >= 0)
        return;
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    int fd = open("/dev/console", O_RDWR);
    for (int i = 0; i <= 2; i++)
        if (fd >= 0)
            dup2(fd, i);
}

static int run(char **argv)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return 126;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "hello") == 0 || strcmp(argv[1], "sleep") == 0)) {
        say("main\n");
        while (strcmp(argv[1], "sleep") == 0)
            pause();
        return 0;
    }
    char **command = argv;
    while (*command && strcmp(*command, "run") != 0)
        command++;
    if (getpid() != 1 || !*command || !command[1]) {
        say("usage: init hello | init sleep | (as PID 1) init run COMMAND ARGS...\n");
        return 2;
    }
    open_console();
    say("pid1\n");

    for (char **word = command + 1; *word; word++)
        *word += **word == '@';
    char line[32];
    snprintf(line, sizeof(line), "exit %d\n", run(command + 1));
    say(line);
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
