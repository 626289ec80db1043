/* SPDX-License-Identifier: Apache-2.0
 *
 * client.c: from names to instances.
 */
#include "cli/client.h"

#include "cli/say.h"
#include "cli/verb.h"
#include "instance/file.h"
#include "instance/settle.h"
#include "instance/stop.h"

#include <errno.h>
#include <string.h>

#define CONSOLE_FILE "console.log"
#define CONSOLE_BYTES_MAX (1u << 20)
#define CONSOLE_LINES 10
#define MONITOR_END_NS (5ull * 1000000000)

int cli_client_find(const struct instance_store *store, const char *text,
                    struct instance *ret_instance, struct pv_error *err)
{
    char id[INSTANCE_ID_LEN + 1];
    struct instance instance;
    int rc = instance_store_find(store, text, id, err);
    if (rc == 0)
        rc = instance_open(store, id, &instance, err);
    if (rc < 0)
        return rc;
    rc = instance_settle(store, &instance, err);
    if (rc != 0) {
        instance_close(&instance);
        return rc < 0 ? rc
                      : pv_error_set(err, ENOENT, "no instance '%s': 'paravane ps -a' lists them",
                                     text);
    }
    *ret_instance = instance;
    return 0;
}

int cli_client_each(char **names, size_t num_names,
                    int (*work)(const struct instance_store *store, struct instance *instance,
                                void *data, struct pv_error *err),
                    void *data)
{
    struct instance_store store;
    struct pv_error err = PV_ERROR_INIT;
    int code = 0;
    if (instance_store_open(&store, &err) < 0)
        return cli_say_error(CLI_EXIT_FAILED, "%s", err.text);
    for (size_t i = 0; i < num_names; i++) {
        struct instance instance;
        err = (struct pv_error)PV_ERROR_INIT;
        int rc = cli_client_find(&store, names[i], &instance, &err);
        if (rc == 0) {
            rc = work(&store, &instance, data, &err);
            instance_close(&instance);
        }
        if (rc < 0)
            code = cli_say_error(CLI_EXIT_FAILED, "%s", pv_error_text(&err, rc));
    }
    instance_store_close(&store);
    return cli_say_finish(code);
}

int cli_client_list_running(const struct instance_store *store, struct pv_strv *ids,
                            struct pv_error *err)
{
    pv_auto(pv_strv) struct pv_strv all = {0};
    int rc = instance_store_list(store, &all, err);
    for (size_t i = 0; rc == 0 && i < all.count; i++) {
        struct instance instance;
        if (instance_open(store, all.items[i], &instance, NULL) < 0)
            continue;
        if (instance_status(&instance) == INSTANCE_RUNNING)
            rc = pv_strv_add(ids, instance.id);
        instance_close(&instance);
    }
    return rc;
}

void cli_client_settle(const struct instance_store *store, struct instance *instance)
{
    struct pv_error err = PV_ERROR_INIT;
    if (instance_stop_wait(instance, MONITOR_END_NS) < 0) {
        cli_say_error(0, "warning: the monitor of %s has not ended yet; the next command cleans up",
                      instance_name(instance));
        return;
    }
    if (instance_settle(store, instance, &err) < 0)
        cli_say_error(0, "warning: %s", err.text);
}

/* The last lines of text. */
static const char *find_tail(const char *text, size_t len, unsigned lines)
{
    const char *p = text + len;
    while (p > text && p[-1] == '\n')
        p--;
    for (; p > text; p--)
        if (p[-1] == '\n' && --lines == 0)
            break;
    return p;
}

void cli_client_show_failure(const struct instance *instance, const char *why)
{
    pv_auto_free char *text = NULL;
    size_t len;
    cli_say_error(0, "%s", why);
    if (strstr(why, "console") ||
        instance_file_read(instance->machine_dirfd, CONSOLE_FILE, CONSOLE_BYTES_MAX, &text, &len,
                           NULL) < 0 ||
        len == 0)
        return;
    const char *tail = find_tail(text, len, CONSOLE_LINES);
    fputs("the last lines of the machine's console:\n", stderr);
    cli_say_safely(stderr, tail, strlen(tail));
    if (text[len - 1] != '\n')
        fputc('\n', stderr);
}
