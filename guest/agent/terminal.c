/* SPDX-License-Identifier: Apache-2.0
 *
 * terminal.c: pseudo terminals.
 */
#include "agent/terminal.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <termios.h>

#define DEFAULT_ROWS 24
#define DEFAULT_COLUMNS 80
#define FLAGS (O_RDWR | O_NOCTTY | O_CLOEXEC)

/* The multiplexer by its public path, so that the process finds its terminal as /dev/pts/N; and
 * from our own copy of the mount when the workload has put something else there. */
static int open_master(int devpts_fd)
{
    int fd = open("/dev/pts/ptmx", FLAGS | O_NOFOLLOW | O_NONBLOCK);
    if (devpts_fd < 0)
        return fd < 0 ? open("/dev/ptmx", FLAGS | O_NONBLOCK) : fd;

    struct stat theirs, ours;
    if (fd >= 0 && fstat(fd, &theirs) == 0 && fstat(devpts_fd, &ours) == 0 &&
        theirs.st_dev == ours.st_dev)
        return fd;
    if (fd >= 0)
        close(fd);
    return openat(devpts_fd, "ptmx", FLAGS | O_NONBLOCK);
}

int agent_terminal_resize(int master, uint16_t rows, uint16_t columns)
{
    struct winsize size = {.ws_row = rows ? rows : DEFAULT_ROWS,
                           .ws_col = columns ? columns : DEFAULT_COLUMNS};
    return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

int agent_terminal_open(int devpts_fd, uint16_t rows, uint16_t columns, int *ret_master,
                        int *ret_slave, struct pv_error *err)
{
    pv_auto_fd int master = open_master(devpts_fd);
    if (master < 0)
        return pv_error_set(err, errno, "open a terminal: %s", strerror(errno));
    int locked = 0;
    if (ioctl(master, TIOCSPTLCK, &locked) < 0)
        return pv_error_set(err, errno, "unlock a terminal: %s", strerror(errno));
    int rc = agent_terminal_resize(master, rows, columns);
    if (rc < 0)
        return pv_error_set(err, -rc, "set the size of a terminal: %s", strerror(-rc));

    /* By the master, not by a path: nothing in between can be replaced. */
    int slave = ioctl(master, TIOCGPTPEER, FLAGS);
    if (slave < 0)
        return pv_error_set(err, errno, "open the slave of a terminal: %s", strerror(errno));
    *ret_slave = slave;
    *ret_master = pv_take_fd(&master);
    return 0;
}

int agent_terminal_send_eof(int master, bool unfinished_line)
{
    struct termios t; /* of the slave: a master has none of its own */
    if (tcgetattr(master, &t) < 0 || !(t.c_lflag & ICANON) || t.c_cc[VEOF] == _POSIX_VDISABLE)
        return 0;
    unsigned char eof[2] = {t.c_cc[VEOF], t.c_cc[VEOF]};
    if (write(master, eof, unfinished_line ? 2 : 1) < 0 && errno == EAGAIN)
        return -EAGAIN;
    return 0;
}
