/* SPDX-License-Identifier: Apache-2.0
 *
 * audit.c: what a machine was denied.
 *
 * Theory of operation: each line is written at once with one write, so nothing is lost when the
 * monitor is killed, and a line is never torn. When the file has reached half of the limit it takes
 * the place of the old one. What the disk refuses is lost; the counters still know of it.
 */
#include "monitor/audit.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/json.h"
#include "base/rate.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

struct monitor_audit {
    int state_dirfd; /* borrowed */
    int fd;
    uint64_t written, suppressed;
    struct pv_rate rate;
};

struct monitor_audit *monitor_audit_new(int state_dirfd)
{
    struct monitor_audit *audit = calloc(1, sizeof(*audit));
    if (!audit)
        return NULL;
    audit->state_dirfd = state_dirfd;
    audit->fd = -1;
    pv_rate_init(&audit->rate, MONITOR_AUDIT_LINES_PER_SECOND, MONITOR_AUDIT_LINES_BURST,
                 pv_time_monotonic_ns());
    return audit;
}

void monitor_audit_free(struct monitor_audit *audit)
{
    if (!audit)
        return;
    if (audit->fd >= 0)
        close(audit->fd);
    free(audit);
}

static void open_file(struct monitor_audit *audit)
{
    struct stat st;
    audit->fd = openat(audit->state_dirfd, MONITOR_AUDIT_FILE,
                       O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    audit->written = audit->fd >= 0 && fstat(audit->fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void write_line(struct monitor_audit *audit, struct pv_json *line)
{
    struct pv_str text = {0};
    pv_auto_free char *json = pv_json_print(line, false);
    if (!json || pv_str_add(&text, json) < 0 || pv_str_add(&text, "\n") < 0) {
        pv_str_done(&text);
        return;
    }
    if (audit->fd < 0)
        open_file(audit);
    if (audit->written + text.len > MONITOR_AUDIT_BYTES / 2 &&
        renameat(audit->state_dirfd, MONITOR_AUDIT_FILE, audit->state_dirfd,
                 MONITOR_AUDIT_OLD_FILE) == 0) {
        close(pv_take_fd(&audit->fd));
        open_file(audit);
    }
    /* A file that could not be exchanged does not grow beyond its half. */
    if (audit->fd >= 0 && audit->written + text.len <= MONITOR_AUDIT_BYTES / 2 &&
        pv_fd_write_full(audit->fd, text.text, text.len) == 0)
        audit->written += text.len;
    else
        audit->suppressed++;
    pv_str_done(&text);
}

/* A line with what every line has; NULL when it is one too many. */
static struct pv_json *begin_line(struct monitor_audit *audit, const char *protocol)
{
    char now[PV_TIME_TEXT_MAX];
    if (pv_rate_take(&audit->rate, 1, pv_time_monotonic_ns()) > 0) {
        audit->suppressed++;
        return NULL;
    }
    struct pv_json *line = pv_json_new_object();
    if (!line || pv_json_add_string(line, "time", pv_time_text(pv_time_realtime_ns(), now)) < 0 ||
        pv_json_add_string(line, "direction", "out") < 0 ||
        pv_json_add_string(line, "protocol", protocol) < 0) {
        pv_json_free(line);
        return NULL;
    }
    return line;
}

static void end_line(struct monitor_audit *audit, struct pv_json *line, const char *rule)
{
    int rc = pv_json_add_string(line, "rule", rule);
    if (rc == 0 && audit->suppressed)
        rc = pv_json_add_u64(line, "suppressed", audit->suppressed);
    if (rc == 0) {
        audit->suppressed = 0;
        write_line(audit, line);
    }
    pv_json_free(line);
}

void monitor_audit_add(struct monitor_audit *audit, const struct net_denial *d)
{
    char address[WORKLOAD_ADDRESS_TEXT_MAX];
    struct pv_json *line = begin_line(audit, net_denied_names[d->protocol]);
    if (!line)
        return;
    if (d->protocol == NET_DENIED_OTHER)
        pv_json_add_u64(line, "ip_protocol", d->ip_protocol);
    if (d->address)
        pv_json_add_string(line, "address", workload_address_text(d->address, address));
    if (d->port)
        pv_json_add_u64(line, "port", d->port);
    pv_json_add_string(line, "name", d->name);
    end_line(audit, line, net_rule_names[d->rule]);
}

void monitor_audit_add_vsock(struct monitor_audit *audit, uint32_t port)
{
    struct pv_json *line = begin_line(audit, "vsock");
    if (!line)
        return;
    pv_json_add_u64(line, "port", port);
    end_line(audit, line, net_rule_names[NET_RULE_NOT_GRANTED]);
}
