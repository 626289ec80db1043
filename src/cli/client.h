/* SPDX-License-Identifier: Apache-2.0
 *
 * client.h: what most verbs begin with: the store, and the instances that the user names.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "instance/instance.h"

/* Finds by name or id, opens and, when it is dead, settles the instance, so that what the verb sees
 * is the truth. -ENOENT when there is none (any more). */
int cli_client_find(const struct instance_store *store, const char *text,
                    struct instance *ret_instance, struct pv_error *err);

/* Opens the store and calls work for each named instance, also after one failed. The error of each
 * is printed. Returns the exit code: 0, or CLI_EXIT_FAILED. */
int cli_client_each(char **names, size_t num_names,
                    int (*work)(const struct instance_store *store, struct instance *instance,
                                void *data, struct pv_error *err),
                    void *data);

/* Adds the ids of the machines that run. */
int cli_client_list_running(const struct instance_store *store, struct pv_strv *ids,
                            struct pv_error *err);

/* Removes an ended instance that is to be removed (--rm), and cleans up behind any. Waits for the
 * monitor to go. */
void cli_client_settle(const struct instance_store *store, struct instance *instance);

/* Prints why a machine failed, with the last lines of its console unless the reason has them. */
void cli_client_show_failure(const struct instance *instance, const char *why);

#endif
