/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h: config.json of an instance: what was asked for, and the machine made from it.
 */
#ifndef INSTANCE_CONFIG_H
#define INSTANCE_CONFIG_H

#include "base/error.h"
#include "base/json.h"
#include "wire/machine.h"

#include <stdbool.h>
#include <stdint.h>

#define INSTANCE_CONFIG_FILE "config.json"

struct instance_config {
    char *created_at; /* RFC 3339 */
    char *image_name; /* as the user wrote it */
    char *image_path; /* what the machine sees: a file */
    char *image_type;
    char *isolation;
    bool remove;                 /* goes when it has ended */
    uint64_t disk_bytes;         /* of the writable layer; 0: none */
    struct wire_machine machine; /* holds id, name, folders, process */
};

void instance_config_done(struct instance_config *config);
int instance_config_load(int dirfd, struct instance_config *ret_config, struct pv_error *err);
int instance_config_save(int dirfd, const struct instance_config *config, struct pv_error *err);
/* As JSON; the caller frees. NULL when out of memory. */
struct pv_json *instance_config_write(const struct instance_config *config);

#endif
