/* SPDX-License-Identifier: Apache-2.0
 *
 * network.c: paravane network: private networks between machines.
 */
#include "instance/network.h"
#include "cli/options.h"
#include "cli/say.h"
#include "cli/table.h"
#include "cli/verbs.h"
#include "instance/instance.h"
#include "instance/settle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct create_options {
    bool internal;
    const char *subnet, *subnet6;
};

struct list_options {
    bool quiet;
    const char *format;
};

static const struct cli_option create_options[] = {
    {0, "internal", NULL, CLI_OPTION_FLAG, offsetof(struct create_options, internal),
     "without a way out: machines reach each other only"},
    {0, "subnet", "CIDR", CLI_OPTION_TEXT, offsetof(struct create_options, subnet),
     "IPv4 addresses of the machines (one that is free)"},
    {0, "subnet6", "CIDR", CLI_OPTION_TEXT, offsetof(struct create_options, subnet6),
     "IPv6 addresses of the machines (a random one)"},
    {0},
};

static const struct cli_option list_options[] = {
    {'q', "quiet", NULL, CLI_OPTION_FLAG, offsetof(struct list_options, quiet), "only the names"},
    {0, "format", "json|table", CLI_OPTION_TEXT, offsetof(struct list_options, format),
     "a table, or one JSON object per line (table)"},
    {0},
};

static const struct cli_option no_options[] = {{0}};

/* Opens the store; members of machines that died as --rm are gone then. */
static int open_store(struct instance_store *store)
{
    struct pv_error err = PV_ERROR_INIT;
    int rc = instance_store_open(store, &err);
    if (rc < 0)
        return cli_say_error(CLI_EXIT_FAILED, "network: %s", pv_error_text(&err, rc));
    instance_settle_all(store);
    return 0;
}

static int create_run(char **args, size_t num_args, void *values)
{
    const struct create_options *o = values;
    struct pv_error err = PV_ERROR_INIT;
    struct instance_store store;
    int code = open_store(&store);
    if (code)
        return code;
    int rc = instance_network_create(&store, args[0], o->subnet, o->subnet6, o->internal, &err);
    instance_store_close(&store);
    if (rc < 0)
        return cli_say_error(rc == -EINVAL || rc == -ERANGE ? CLI_EXIT_OURS : CLI_EXIT_FAILED,
                             "network create: %s", pv_error_text(&err, rc));
    printf("%s\n", args[0]);
    return cli_say_finish(0);
}

/* --- inspect and ls ---------------------------------------------------------------------------*/

struct members {
    const struct instance_store *store;
    const struct workload_subnet *subnet;
    struct pv_json *list;
    unsigned count, alive;
};

static bool is_alive(const struct instance_store *store, const char *id)
{
    struct instance instance;
    if (instance_open(store, id, &instance, NULL) < 0)
        return false;
    bool alive = instance.alive;
    instance_close(&instance);
    return alive;
}

static int add_member(uint32_t number, const struct workload_member *member, void *data)
{
    struct members *m = data;
    char text[WORKLOAD_SUBNET_TEXT_MAX];
    bool alive = is_alive(m->store, member->id);
    m->count++;
    m->alive += alive;
    if (!m->list)
        return 0;
    struct pv_json *o = pv_json_new_object();
    int rc = o ? pv_json_add_string(o, "id", member->id) : -ENOMEM;
    if (rc == 0)
        rc = pv_json_add_string(o, "name", member->name);
    if (rc == 0)
        rc = pv_json_add_string(o, "hostname", member->hostname);
    if (rc == 0)
        rc = pv_json_add_strv(o, "aliases", &member->aliases);
    if (rc == 0)
        rc = pv_json_add_string(o, "address", workload_subnet_ipv4_text(m->subnet, number, text));
    if (rc == 0)
        rc = pv_json_add_string(o, "address6", workload_subnet_ipv6_text(m->subnet, number, text));
    if (rc == 0)
        rc = pv_json_add_string(o, "mac", workload_subnet_mac_text(m->subnet, number, text));
    if (rc == 0)
        rc = pv_json_add_bool(o, "running", alive);
    if (rc == 0)
        return pv_json_add(m->list, NULL, o);
    pv_json_free(o);
    return rc;
}

/* What is the same in ls and inspect. */
static int add_network(struct pv_json *o, const struct instance_network *n)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX];
    int rc = pv_json_add_string(o, "name", n->name);
    if (rc == 0)
        rc = pv_json_add_string(o, "created_at", n->created_at);
    if (rc == 0)
        rc = pv_json_add_bool(o, "internal", n->internal);
    if (rc == 0)
        rc = pv_json_add_string(o, "subnet", workload_subnet_text(&n->subnet, text));
    if (rc == 0)
        rc = pv_json_add_string(o, "subnet6", workload_subnet_text6(&n->subnet, text));
    if (rc == 0 && !n->internal)
        rc = pv_json_add_string(
            o, "gateway", workload_subnet_ipv4_text(&n->subnet, WORKLOAD_SUBNET_GATEWAY, text));
    if (rc == 0 && !n->internal)
        rc = pv_json_add_string(
            o, "gateway6", workload_subnet_ipv6_text(&n->subnet, WORKLOAD_SUBNET_GATEWAY, text));
    if (rc == 0)
        rc = pv_json_add_string(o, "dns",
                                workload_subnet_ipv4_text(&n->subnet, WORKLOAD_SUBNET_DNS, text));
    return rc;
}

static int inspect_one(const struct instance_store *store, const char *name, struct pv_json *list,
                       struct pv_error *err)
{
    struct instance_network n;
    int rc = instance_network_open(store, name, &n, err);
    if (rc < 0)
        return rc;
    struct pv_json *o = pv_json_new_object();
    struct members members = {store, &n.subnet, pv_json_new_array(), 0, 0};
    rc = o && members.list ? add_network(o, &n) : -ENOMEM;
    if (rc == 0)
        rc = instance_network_each(&n, add_member, &members, err);
    if (rc == 0)
        rc = pv_json_add(o, "members", pv_take_ptr(members.list));
    pv_json_free(members.list);
    instance_network_done(&n);
    if (rc == 0)
        return pv_json_add(list, NULL, o);
    pv_json_free(o);
    return rc == -ENOMEM ? pv_error_set(err, ENOMEM, "out of memory") : rc;
}

static int inspect_run(char **args, size_t num_args, void *values)
{
    struct instance_store store;
    pv_auto(pv_json) struct pv_json *list = pv_json_new_array();
    int code = list ? open_store(&store) : CLI_EXIT_FAILED;
    if (code)
        return code;
    for (size_t i = 0; i < num_args; i++) {
        struct pv_error err = PV_ERROR_INIT;
        int rc = inspect_one(&store, args[i], list, &err);
        if (rc < 0)
            code = cli_say_error(CLI_EXIT_FAILED, "network inspect: %s", pv_error_text(&err, rc));
    }
    instance_store_close(&store);
    pv_auto_free char *text = pv_json_print(list, true);
    puts(text ? text : "[]");
    return cli_say_finish(code);
}

static void print_json(const struct instance_network *n, const struct members *members)
{
    pv_auto(pv_json) struct pv_json *o = pv_json_new_object();
    if (!o || add_network(o, n) < 0 || pv_json_add_u64(o, "members", members->count) < 0 ||
        pv_json_add_u64(o, "running", members->alive) < 0)
        return;
    pv_auto_free char *text = pv_json_print(o, false);
    puts(text ? text : "{}");
}

static void add_row(struct cli_table *table, const struct instance_network *n,
                    const struct members *members)
{
    char text[WORKLOAD_SUBNET_TEXT_MAX], count[32];
    cli_table_add(table, n->name);
    cli_table_add(table, workload_subnet_text(&n->subnet, text));
    cli_table_add(table, workload_subnet_text6(&n->subnet, text));
    cli_table_add(table, n->internal ? "internal" : "outside");
    snprintf(count, sizeof(count), "%u (%u running)", members->count, members->alive);
    cli_table_add(table, count);
}

static int list_all(const struct instance_store *store, const struct list_options *o,
                    struct cli_table *table)
{
    pv_auto(pv_strv) struct pv_strv names = {0};
    struct pv_error err = PV_ERROR_INIT;
    int code = 0, rc = instance_network_list(store, &names, &err);
    if (rc < 0)
        return cli_say_error(CLI_EXIT_FAILED, "network ls: %s", pv_error_text(&err, rc));
    for (size_t i = 0; i < names.count; i++) {
        struct instance_network n;
        rc = instance_network_open(store, names.items[i], &n, &err);
        if (rc < 0) {
            if (rc != -ENOENT) /* gone meanwhile */
                code = cli_say_error(CLI_EXIT_FAILED, "network ls: %s", pv_error_text(&err, rc));
            continue;
        }
        struct members members = {store, &n.subnet, NULL, 0, 0};
        if (!o->quiet)
            instance_network_each(&n, add_member, &members, NULL);
        if (o->quiet)
            puts(n.name);
        else if (o->format)
            print_json(&n, &members);
        else
            add_row(table, &n, &members);
        instance_network_done(&n);
    }
    return code;
}

static int list_run(char **args, size_t num_args, void *values)
{
    static const char *const titles[] = {"NAME", "SUBNET", "SUBNET6", "REACHES", "INSTANCES"};
    struct list_options *o = values;
    struct cli_table table = {.columns = PV_ARRAY_SIZE(titles)};
    struct instance_store store;
    if (o->format && strcmp(o->format, "table") == 0)
        o->format = NULL;
    if (o->format && strcmp(o->format, "json") != 0)
        return cli_say_error(CLI_EXIT_OURS, "network ls: --format '%s': write json or table",
                             o->format);
    int code = open_store(&store);
    if (code)
        return code;
    for (size_t i = 0; i < PV_ARRAY_SIZE(titles); i++)
        cli_table_add(&table, titles[i]);
    code = list_all(&store, o, &table);
    if (!o->quiet && !o->format)
        cli_table_print(&table, stdout);
    cli_table_done(&table);
    instance_store_close(&store);
    return cli_say_finish(code);
}

static int rm_run(char **args, size_t num_args, void *values)
{
    struct instance_store store;
    int code = open_store(&store);
    if (code)
        return code;
    for (size_t i = 0; i < num_args; i++) {
        struct pv_error err = PV_ERROR_INIT;
        int rc = instance_network_remove(&store, args[i], &err);
        if (rc < 0)
            code = cli_say_error(CLI_EXIT_FAILED, "network rm: %s", pv_error_text(&err, rc));
        else
            printf("%s\n", args[i]);
    }
    instance_store_close(&store);
    return cli_say_finish(code);
}

/* --- the verb and its verbs -------------------------------------------------------------------*/

static const struct cli_verb verbs[] = {
    {.name = "network create",
     .arguments = "[OPTIONS] NAME",
     .summary = "Make a private network",
     .options = create_options,
     .num_args_min = 1,
     .num_args_max = 1,
     .run = create_run,
     .values_size = sizeof(struct create_options)},
    {.name = "network ls",
     .arguments = "[OPTIONS]",
     .summary = "List private networks",
     .options = list_options,
     .run = list_run,
     .values_size = sizeof(struct list_options)},
    {.name = "network rm",
     .arguments = "NAME [NAME...]",
     .summary = "Remove private networks that no instance uses",
     .options = no_options,
     .num_args_min = 1,
     .num_args_max = CLI_ARGS_ANY,
     .run = rm_run},
    {.name = "network inspect",
     .arguments = "NAME [NAME...]",
     .summary = "Print networks with their members as JSON",
     .options = no_options,
     .num_args_min = 1,
     .num_args_max = CLI_ARGS_ANY,
     .run = inspect_run},
};

static const struct cli_verb *find_verb(const char *word)
{
    for (size_t i = 0; i < PV_ARRAY_SIZE(verbs); i++)
        if (strcmp(verbs[i].name + strlen("network "), word) == 0)
            return &verbs[i];
    return NULL;
}

static int network_run(char **args, size_t num_args, void *values)
{
    struct pv_error err = PV_ERROR_INIT;
    const struct cli_verb *verb = find_verb(args[0]);
    if (!verb)
        return cli_say_error(CLI_EXIT_OURS,
                             "network: unknown command '%s': create, ls, rm and inspect are there",
                             args[0]);
    union {
        struct create_options create;
        struct list_options list;
    } mine = {0};
    pv_auto_free char **rest = calloc(num_args + 1, sizeof(*rest));
    size_t num_rest;
    bool help = false;
    if (!rest)
        return cli_say_error(CLI_EXIT_OURS, "out of memory");
    if (cli_options_parse(verb, args + 1, &mine, rest, &num_rest, &help, &err) < 0)
        return cli_say_error(CLI_EXIT_OURS, "%s: %s", verb->name, err.text);
    if (help) {
        cli_options_help(verb, stdout);
        return cli_say_finish(0);
    }
    return verb->run(rest, num_rest, &mine);
}

const struct cli_verb cli_network_verb = {
    .name = "network",
    .arguments = "create|ls|rm|inspect [OPTIONS] [NAME...]",
    .summary = "Make, list, remove and inspect private networks",
    .options = no_options,
    .num_args_min = 1,
    .num_args_max = CLI_ARGS_ANY,
    .stops_at_argument = true,
    .run = network_run,
};
