/* SPDX-License-Identifier: Apache-2.0
 *
 * config.c: reads and writes config.json. It lies where the machine's monitor cannot write, so
 * under root it is root's word.
 */
#include "instance/config.h"

#include "base/fd.h"
#include "instance/file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_VERSION 1
#define CONFIG_BYTES_MAX (8u << 20)

void instance_config_done(struct instance_config *config)
{
    free(config->created_at);
    free(config->image_name);
    free(config->image_path);
    free(config->image_type);
    free(config->isolation);
    wire_machine_done(&config->machine);
    *config = (struct instance_config){0};
}

static int read_config(const struct pv_json *json, struct instance_config *config,
                       struct pv_error *err)
{
    uint64_t version;
    const struct pv_json *machine = pv_json_get(json, "machine");
    int rc = pv_json_need_u64(json, "version", CONFIG_VERSION, CONFIG_VERSION, &version, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "created_at", &config->created_at, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "image", &config->image_name, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "image_path", &config->image_path, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "image_type", &config->image_type, err);
    if (rc == 0)
        rc = pv_json_need_string(json, "isolation", &config->isolation, err);
    if (rc == 0)
        rc = pv_json_get_bool(json, "remove", &config->remove, err);
    if (rc == 0)
        rc = pv_json_get_u64(json, "disk_bytes", 0, UINT64_MAX >> 1, &config->disk_bytes, err);
    if (rc == 0 && !machine)
        rc = pv_error_set(err, EINVAL, "'machine' is missing");
    return rc == 0 ? wire_machine_read(machine, &config->machine, err) : rc;
}

int instance_config_load(int dirfd, struct instance_config *ret_config, struct pv_error *err)
{
    struct instance_config config = {0};
    pv_auto_free char *text = NULL;
    pv_auto(pv_json) struct pv_json *json = NULL;
    size_t len;

    int rc = instance_file_read(dirfd, INSTANCE_CONFIG_FILE, CONFIG_BYTES_MAX, &text, &len, err);
    if (rc < 0)
        return rc;
    rc = pv_json_parse(text, len, &json, err);
    if (rc == 0)
        rc = read_config(json, &config, err);
    if (rc < 0) {
        instance_config_done(&config);
        pv_error_prefix(err, "%s is damaged", INSTANCE_CONFIG_FILE);
        return rc;
    }
    *ret_config = config;
    return 0;
}

struct pv_json *instance_config_write(const struct instance_config *config)
{
    struct pv_json *o = pv_json_new_object();
    struct pv_json *machine = o ? wire_machine_write(&config->machine) : NULL;
    int rc = machine ? pv_json_add_u64(o, "version", CONFIG_VERSION) : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_string(o, "created_at", config->created_at);
    if (rc == 0)
        rc = pv_json_add_string(o, "image", config->image_name);
    if (rc == 0)
        rc = pv_json_add_string(o, "image_path", config->image_path);
    if (rc == 0)
        rc = pv_json_add_string(o, "image_type", config->image_type);
    if (rc == 0)
        rc = pv_json_add_string(o, "isolation", config->isolation);
    if (rc == 0)
        rc = pv_json_add_bool(o, "remove", config->remove);
    if (rc == 0)
        rc = pv_json_add_u64(o, "disk_bytes", config->disk_bytes);
    if (rc == 0)
        rc = pv_json_add(o, "machine", pv_take_ptr(machine));
    pv_json_free(machine);
    if (rc == 0)
        return o;
    pv_json_free(o);
    return NULL;
}

int instance_config_save(int dirfd, const struct instance_config *config, struct pv_error *err)
{
    pv_auto(pv_json) struct pv_json *json = instance_config_write(config);
    pv_auto_free char *text = json ? pv_json_print(json, true) : NULL;
    if (!text)
        return pv_error_set(err, ENOMEM, "%s: out of memory", INSTANCE_CONFIG_FILE);
    return pv_fd_replace_file(dirfd, INSTANCE_CONFIG_FILE, text, strlen(text), 0600, err);
}
