/* SPDX-License-Identifier: Apache-2.0
 *
 * test_options.c: how options are read, whatever the verb; tables and words to the user.
 */
#include "support/unit.h"

#include "cli/options.h"
#include "cli/say.h"
#include "cli/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct values {
    bool interactive, terminal, no_proxy;
    const char *memory, *name;
    struct pv_strv env;
};

static const struct cli_option options[] = {
    {'i', "interactive", NULL, CLI_OPTION_FLAG, offsetof(struct values, interactive), "stdin"},
    {'t', "tty", NULL, CLI_OPTION_FLAG, offsetof(struct values, terminal), "terminal"},
    {0, "sig-proxy", NULL, CLI_OPTION_OFF, offsetof(struct values, no_proxy), "signals"},
    {'m', "memory", "SIZE", CLI_OPTION_TEXT, offsetof(struct values, memory), "memory"},
    {0, "name", "NAME", CLI_OPTION_TEXT, offsetof(struct values, name), "name"},
    {'e', "env", "NAME=VALUE", CLI_OPTION_LIST, offsetof(struct values, env), "variable"},
    {0},
};

static const struct cli_verb runs = {.name = "run",
                                     .arguments = "IMAGE [CMD...]",
                                     .options = options,
                                     .num_args_min = 1,
                                     .num_args_max = CLI_ARGS_ANY,
                                     .stops_at_argument = true};
static const struct cli_verb lists = {
    .name = "ps", .arguments = "[X]", .options = options, .num_args_max = 1};

/* Parses a line of words; shows what came of it as text. The caller frees. */
static char *parse(const struct cli_verb *verb, const char *line)
{
    struct values v = {0};
    struct pv_error err = PV_ERROR_INIT;
    char *argv[32] = {NULL}, *args[32];
    size_t argc = 0, num_args = 0;
    bool help = false;
    pv_auto_free char *copy = strdup(line);
    pv_auto(pv_str) struct pv_str out = {0};
    for (char *rest = copy, *word; (word = strsep(&rest, " "));)
        if (*word)
            argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
    int rc = cli_options_parse(verb, argv, &v, args, &num_args, &help, &err);
    if (rc < 0) {
        pv_str_add(&out, err.text);
    } else {
        pv_str_addf(&out, "%s%s%s%s", help ? "help " : "", v.interactive ? "i" : "",
                    v.terminal ? "t" : "", v.no_proxy ? "P" : "");
        pv_str_addf(&out, " m=%s n=%s", v.memory ? v.memory : "", v.name ? v.name : "");
        for (size_t i = 0; i < v.env.count; i++)
            pv_str_addf(&out, " e:%s", v.env.items[i]);
        for (size_t i = 0; i < num_args; i++)
            pv_str_addf(&out, " [%s]", args[i]);
    }
    cli_options_done(verb, &v);
    return pv_str_take(&out);
}

static void test_forms(void **state)
{
    static const struct {
        const char *line, *expected;
    } rows[] = {
        {"img", " m= n= [img]"},
        {"-it img", "it m= n= [img]"},
        {"-i -t img", "it m= n= [img]"},
        {"--interactive --tty=false img", "i m= n= [img]"},
        {"--tty=true img", "t m= n= [img]"},
        {"-t=0 img", " m= n= [img]"},
        {"-m 512M img", " m=512M n= [img]"},
        {"-m512M img", " m=512M n= [img]"},
        {"-m=512M img", " m=512M n= [img]"},
        {"-itm 512M img", "it m=512M n= [img]"},
        {"--memory 512M img", " m=512M n= [img]"},
        {"--memory=512M img", " m=512M n= [img]"},
        {"--name= img", " m= n= [img]"},
        {"-m 1 -m 2 img", " m=2 n= [img]"},
        {"-e A=1 --env B=2 -eC img", " m= n= e:A=1 e:B=2 e:C [img]"},
        {"--env=A=b=c img", " m= n= e:A=b=c [img]"},
        {"--sig-proxy=false img", "P m= n= [img]"},
        {"--sig-proxy img", " m= n= [img]"},
        /* What follows the image is the command's. */
        {"-i img -t --memory x", "i m= n= [img] [-t] [--memory] [x]"},
        {"img -- cmd", " m= n= [img] [--] [cmd]"},
        {"-- img", " m= n= [img]"},
        {"-- -img", " m= n= [-img]"},
        {"-", " m= n= [-]"},
        {"--help", "help  m= n="},
        {"-h", "help  m= n="},
        {"img --help", " m= n= [img] [--help]"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        pv_auto_free char *text = parse(&runs, rows[i].line);
        assert_string_equal(text, rows[i].expected);
    }
}

static void test_options_behind_arguments(void **state)
{
    pv_auto_free char *text = parse(&lists, "x -it");
    assert_string_equal(text, "it m= n= [x]");
    pv_auto_free char *ended = parse(&lists, "-t -- -i");
    assert_string_equal(ended, "t m= n= [-i]");
}

static void test_errors(void **state)
{
    static const struct {
        const char *line, *says;
    } rows[] = {
        {"--memry 1 img", "did you mean --memory?"},
        {"--ttyy img", "did you mean --tty?"},
        {"--nonsense img", "paravane run --help"},
        {"-x img", "unknown option -x"},
        {"-ix img", "unknown option -x"},
        {"--memory", "--memory needs a value: --memory SIZE"},
        {"-m", "-m needs a value"},
        {"--tty=perhaps img", "write true or false"},
        {"--sig-proxy=2 img", "write true or false"},
        {"", "too few arguments: paravane run IMAGE [CMD...]"},
    };
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++) {
        pv_auto_free char *text = parse(&runs, rows[i].line);
        if (!strstr(text, rows[i].says))
            fail_msg("'%s': '%s' does not say '%s'", rows[i].line, text, rows[i].says);
    }
    pv_auto_free char *many = parse(&lists, "x y");
    assert_non_null(strstr(many, "too many arguments"));
}

static void test_distance(void **state)
{
    assert_int_equal(cli_options_distance("", ""), 0);
    assert_int_equal(cli_options_distance("tty", "tty"), 0);
    assert_int_equal(cli_options_distance("tty", "ttyy"), 1);
    assert_int_equal(cli_options_distance("name", "nmae"), 2);
    assert_int_equal(cli_options_distance("abc", ""), 3);
    assert_int_equal(cli_options_distance("kitten", "sitting"), 3);
}

static char *capture(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);
    print(out);
    fclose(out);
    return text;
}

static void print_table(FILE *out)
{
    static const char *const cells[] = {"ID", "NAME", "1", "a long name", "22222", "", "3", NULL};
    struct cli_table table = {.columns = 2};
    for (size_t i = 0; i < PV_ARRAY_SIZE(cells); i++)
        cli_table_add(&table, cells[i]);
    cli_table_print(&table, out);
    cli_table_done(&table);
}

static void print_escapes(FILE *out)
{
    cli_say_safely(out, "a\x1b[2J\tb\n\x7f", 9);
}

static void test_output(void **state)
{
    pv_auto_free char *table = capture(print_table);
    assert_string_equal(table, "ID      NAME\n1       a long name\n22222   -\n3       -\n");
    pv_auto_free char *safe = capture(print_escapes);
    assert_string_equal(safe, "a?[2J\tb\n?");
}

static void test_ages(void **state)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } rows[] = {{0, "0 seconds"}, {1, "1 second"},         {59, "59 seconds"},
                {60, "1 minute"}, {119, "1 minute"},       {7200, "2 hours"},
                {86400, "1 day"}, {86400 * 30, "30 days"}, {86400 * 800, "2 years"}};
    char buf[64];
    for (size_t i = 0; i < PV_ARRAY_SIZE(rows); i++)
        assert_string_equal(cli_table_age(rows[i].seconds * 1000000000, buf, sizeof(buf)),
                            rows[i].text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),  cmocka_unit_test(test_options_behind_arguments),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_distance),
        cmocka_unit_test(test_output), cmocka_unit_test(test_ages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
