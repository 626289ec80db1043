/* SPDX-License-Identifier: Apache-2.0
 *
 * options.c: long and short options as in Docker: --name value, --name=value, -n value, -nvalue,
 * -itd, --flag=false, and "--" ends them.
 */
#include "cli/options.h"

#include <errno.h>
#include <string.h>

#define WORD_MAX 32
#define NEAR 2 /* letters */

static const struct cli_option help_option = {
    'h', "help", NULL, CLI_OPTION_FLAG, 0, "print this and exit"};

unsigned cli_options_distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX + 1];
    size_t a_len = strnlen(a, WORD_MAX), b_len = strnlen(b, WORD_MAX);
    for (size_t j = 0; j <= b_len; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_len; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            unsigned shorter = PV_MIN(row[j], row[j - 1]) + 1;
            row[j] = PV_MIN(shorter, replaced);
        }
    }
    return row[b_len];
}

static const struct cli_option *find_long(const struct cli_verb *verb, const char *name, size_t len)
{
    for (const struct cli_option *o = verb->options; o->name; o++)
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    return len == 4 && memcmp(name, "help", 4) == 0 ? &help_option : NULL;
}

static const struct cli_option *find_letter(const struct cli_verb *verb, char letter)
{
    for (const struct cli_option *o = verb->options; o->name; o++)
        if (o->letter && o->letter == letter)
            return o;
    return letter == 'h' ? &help_option : NULL;
}

static int unknown(const struct cli_verb *verb, const char *text, size_t len, struct pv_error *err)
{
    char word[WORD_MAX + 1] = "";
    const struct cli_option *nearest = NULL;
    unsigned best = NEAR + 1;
    memcpy(word, text, PV_MIN(len, (size_t)WORD_MAX));
    for (const struct cli_option *o = verb->options; o->name; o++) {
        unsigned distance = cli_options_distance(word, o->name);
        if (distance < best) {
            best = distance;
            nearest = o;
        }
    }
    if (nearest)
        return pv_error_set(err, EINVAL, "unknown option --%s: did you mean --%s?", word,
                            nearest->name);
    return pv_error_set(err, EINVAL, "unknown option --%s: 'paravane %s --help' lists them", word,
                        verb->name);
}

static bool is_flag(const struct cli_option *o)
{
    return o->type == CLI_OPTION_FLAG || o->type == CLI_OPTION_OFF;
}

static int parse_bool(const char *text, bool *ret_value)
{
    static const char *const words[] = {"false", "true", "0", "1"};
    for (size_t i = 0; i < PV_ARRAY_SIZE(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret_value = i % 2 == 1;
            return 0;
        }
    }
    return -EINVAL;
}

/* Stores a value; text is NULL for a flag without one. */
static int store(const struct cli_option *o, const char *text, void *values, bool *ret_help,
                 struct pv_error *err)
{
    void *place = o == &help_option ? (void *)ret_help : (char *)values + o->offset;
    switch (o->type) {
    case CLI_OPTION_FLAG:
        *(bool *)place = true;
        if (text && parse_bool(text, place) < 0)
            return pv_error_set(err, EINVAL, "--%s=%s: write true or false", o->name, text);
        return 0;
    case CLI_OPTION_OFF: {
        bool on = true;
        if (text && parse_bool(text, &on) < 0)
            return pv_error_set(err, EINVAL, "--%s=%s: write true or false", o->name, text);
        *(bool *)place = !on;
        return 0;
    }
    case CLI_OPTION_TEXT:
        *(const char **)place = text;
        return 0;
    case CLI_OPTION_LIST:
        if (pv_strv_add(place, text) < 0)
            return pv_error_set(err, ENOMEM, "--%s: out of memory", o->name);
        return 0;
    }
    return 0;
}

/* "--name", "--name=value" or "--name" "value"; *argv moves on to the last word used. */
static int parse_long(const struct cli_verb *verb, char ***argv, void *values, bool *ret_help,
                      struct pv_error *err)
{
    const char *name = **argv + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    const struct cli_option *o = find_long(verb, name, len);
    if (!o)
        return unknown(verb, name, len, err);
    if (!is_flag(o) && !value) {
        value = (*argv)[1];
        if (!value)
            return pv_error_set(err, EINVAL, "--%s needs a value: --%s %s", o->name, o->name,
                                o->metavar);
        (*argv)++;
    }
    return store(o, value, values, ret_help, err);
}

/* "-it", "-m512M", "-m" "512M", "-t=false". */
static int parse_letters(const struct cli_verb *verb, char ***argv, void *values, bool *ret_help,
                         struct pv_error *err)
{
    for (const char *letter = **argv + 1; *letter; letter++) {
        const struct cli_option *o = find_letter(verb, *letter);
        if (!o)
            return pv_error_set(err, EINVAL, "unknown option -%c: 'paravane %s --help' lists them",
                                *letter, verb->name);
        const char *rest = letter[1] == '=' ? letter + 2 : letter + 1;
        if (is_flag(o) && letter[1] == '=')
            return store(o, rest, values, ret_help, err);
        if (!is_flag(o)) {
            if (!letter[1] && !(*argv)[1])
                return pv_error_set(err, EINVAL, "-%c needs a value: -%c %s", *letter, *letter,
                                    o->metavar);
            return store(o, letter[1] ? rest : *++*argv, values, ret_help, err);
        }
        int rc = store(o, NULL, values, ret_help, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int check_count(const struct cli_verb *verb, size_t n, struct pv_error *err)
{
    if (n >= verb->num_args_min && n <= verb->num_args_max)
        return 0;
    return pv_error_set(err, EINVAL, "too %s arguments: paravane %s %s",
                        n < verb->num_args_min ? "few" : "many", verb->name, verb->arguments);
}

int cli_options_parse(const struct cli_verb *verb, char **argv, void *values, char **args,
                      size_t *ret_num_args, bool *ret_help, struct pv_error *err)
{
    size_t n = 0;
    bool only_args = false;
    for (; *argv && !*ret_help; argv++) {
        int rc = 0;
        if (only_args || (*argv)[0] != '-' || !(*argv)[1]) {
            args[n++] = *argv;
            only_args |= verb->stops_at_argument;
        } else if (strcmp(*argv, "--") == 0) {
            only_args = true;
        } else if ((*argv)[1] == '-') {
            rc = parse_long(verb, &argv, values, ret_help, err);
        } else {
            rc = parse_letters(verb, &argv, values, ret_help, err);
        }
        if (rc < 0)
            return rc;
    }
    args[n] = NULL;
    *ret_num_args = n;
    return *ret_help ? 0 : check_count(verb, n, err);
}

void cli_options_done(const struct cli_verb *verb, void *values)
{
    for (const struct cli_option *o = verb->options; o->name; o++)
        if (o->type == CLI_OPTION_LIST)
            pv_strv_done((struct pv_strv *)((char *)values + o->offset));
}

static void print_option(const struct cli_option *o, FILE *out)
{
    char left[64], letter[8] = "    ";
    if (o->letter)
        snprintf(letter, sizeof(letter), "-%c, ", o->letter);
    snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name, o->metavar ? " " : "",
             o->metavar ? o->metavar : "");
    fprintf(out, "  %-30s %s\n", left, o->help);
}

void cli_options_help(const struct cli_verb *verb, FILE *out)
{
    fprintf(out, "Usage: paravane %s %s\n\n%s\n\nOptions:\n", verb->name, verb->arguments,
            verb->summary);
    for (const struct cli_option *o = verb->options; o->name; o++)
        print_option(o, out);
    struct cli_option help = help_option;
    if (find_letter(verb, 'h') != &help_option)
        help.letter = 0; /* -h is the verb's own */
    print_option(&help, out);
}
