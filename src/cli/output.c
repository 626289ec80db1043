/* SPDX-License-Identifier: Apache-2.0
 *
 * output.c: writing without blocking to descriptors that belong to others too.
 *
 * Theory of operation: O_NONBLOCK is a property of the open file, which our shell and the other end
 * of a pipeline share, so it must not be set on 0, 1 and 2. Pipes and terminals are opened anew
 * through /proc/self/fd, sockets have MSG_DONTWAIT, and regular files never block. Where opening
 * anew is forbidden, small writes after poll(2) come close enough.
 */
#include "cli/output.h"

#include "base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define HIGH (256u * 1024)
#define MAX (8u * 1024 * 1024)
#define SMALL_WRITE 1024 /* fits whenever poll says so */

struct cli_output {
    struct pv_loop *loop;
    const struct cli_output_events *events;
    void *data;
    int fd;     /* the one to write to */
    int own_fd; /* opened anew; -1 when fd is the borrowed one */
    bool is_socket, blocks, small, broken, was_full;
    struct pv_loop_source *source; /* while bytes wait */
    struct pv_bytes queue;
};

static void choose_way(struct cli_output *o)
{
    struct stat st;
    char path[32];
    if (fstat(o->fd, &st) < 0 || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) {
        o->blocks = true;
        return;
    }
    if (S_ISSOCK(st.st_mode)) {
        o->is_socket = true;
        return;
    }
    snprintf(path, sizeof(path), "/proc/self/fd/%d", o->fd);
    o->own_fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (o->own_fd >= 0)
        o->fd = o->own_fd;
    else
        o->small = true;
}

struct cli_output *cli_output_new(struct pv_loop *loop, int fd,
                                  const struct cli_output_events *events, void *data)
{
    struct cli_output *o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->loop = loop;
    o->events = events;
    o->data = data;
    o->fd = fd;
    o->own_fd = -1;
    pv_bytes_init(&o->queue, MAX);
    choose_way(o);
    return o;
}

void cli_output_free(struct cli_output *o)
{
    if (!o)
        return;
    pv_loop_remove(o->source);
    pv_bytes_done(&o->queue);
    pv_cleanup_fd(&o->own_fd);
    free(o);
}

static ssize_t write_some(const struct cli_output *o, const void *bytes, size_t len)
{
    ssize_t n;
    do {
        if (o->is_socket)
            n = send(o->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            n = write(o->fd, bytes, o->small ? PV_MIN(len, (size_t)SMALL_WRITE) : len);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void break_off(struct cli_output *o)
{
    o->broken = true;
    pv_loop_remove(pv_take_ptr(o->source));
    pv_bytes_drop(&o->queue, o->queue.len);
    o->events->on_broken(o->data);
}

static void on_writable(void *data, int fd, uint32_t events)
{
    struct cli_output *o = data;
    ssize_t n = write_some(o, pv_bytes_head(&o->queue), o->queue.len);
    if (n < 0 && n != -EAGAIN) {
        break_off(o);
        return;
    }
    if (n > 0)
        pv_bytes_drop(&o->queue, (size_t)n);
    if (o->queue.len == 0)
        pv_loop_remove(pv_take_ptr(o->source));
    if (o->was_full && !cli_output_is_full(o)) {
        o->was_full = false;
        o->events->on_drain(o->data);
    }
    if (o->queue.len == 0)
        o->events->on_written(o->data);
}

/* Queues the rest and waits until it can be written. */
static int wait_with(struct cli_output *o, const uint8_t *bytes, size_t len)
{
    int rc = pv_bytes_push(&o->queue, bytes, len);
    if (rc < 0)
        return rc;
    o->was_full |= cli_output_is_full(o);
    if (!o->source)
        o->source = pv_loop_add_fd(o->loop, o->fd, EPOLLOUT, on_writable, o);
    return o->source ? 0 : -errno;
}

int cli_output_write(struct cli_output *o, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    while (len > 0 && !o->broken && o->queue.len == 0) {
        if (o->small) /* ask before writing: a full pipe would hold us */
            break;
        ssize_t n = write_some(o, p, len);
        if (n == -EAGAIN && !o->blocks)
            break;
        if (n < 0) {
            break_off(o);
            return 0;
        }
        p += n;
        len -= (size_t)n;
    }
    return len == 0 || o->broken ? 0 : wait_with(o, p, len);
}

bool cli_output_is_full(const struct cli_output *o)
{
    return o->queue.len > HIGH;
}

bool cli_output_is_empty(const struct cli_output *o)
{
    return o->queue.len == 0;
}
