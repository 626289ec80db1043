/* SPDX-License-Identifier: Apache-2.0
 *
 * main.c: the program paravane: finds the verb, reads its options, runs it.
 */
#include "base/log.h"
#include "cli/options.h"
#include "cli/say.h"
#include "cli/verb.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

/* A closed 0, 1 or 2 would be taken by the next file that is opened. */
static void open_standard_fds(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

static const char *find_similar(const char *name)
{
    for (size_t i = 0; cli_verbs[i]; i++)
        if (cli_options_distance(name, cli_verbs[i]->name) <= 1)
            return cli_verbs[i]->name;
    return NULL;
}

static int run_verb(const struct cli_verb *verb, int argc, char **argv)
{
    struct pv_error err = PV_ERROR_INIT;
    pv_auto_free void *values = calloc(1, verb->values_size + 1);
    pv_auto_free char **args = calloc((size_t)argc + 1, sizeof(*args));
    size_t num_args = 0;
    bool help = false;
    int code;
    if (!values || !args)
        return cli_say_error(CLI_EXIT_OURS, "out of memory");
    if (cli_options_parse(verb, argv, values, args, &num_args, &help, &err) < 0) {
        code = cli_say_error(CLI_EXIT_OURS, "%s: %s", verb->name, err.text);
    } else if (help) {
        cli_options_help(verb, stdout);
        code = cli_say_finish(0);
    } else {
        code = verb->run(args, num_args, values);
    }
    cli_options_done(verb, values);
    return code;
}

int main(int argc, char **argv)
{
    open_standard_fds();
    signal(SIGPIPE, SIG_IGN);
    umask(022); /* what is private is created so; root's folders must let its machines pass */
    pv_log_init("paravane");

    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = "help";
    else if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0)
        name = "version";
    const struct cli_verb *verb = cli_verb_find(name);
    if (!verb) {
        const char *similar = find_similar(name);
        return cli_say_error(CLI_EXIT_OURS, "unknown command '%s': %s%s%s", name,
                             similar ? "did you mean '" : "'paravane help' lists them",
                             similar ? similar : "", similar ? "'?" : "");
    }
    return run_verb(verb, argc, argv + (argc > 1 ? 2 : 1));
}
