/* The sub-command table and its help. A first word that is no command but a YAML file (or an option) means
 * `run`. */
#include "command/cli.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* In the order of the help; those without a summary are internal. */
static const Command *const commands[] = {
    &command_run,    &command_ls,     &command_show,     &command_diff,    &command_log,
    &command_sample, &command_eval,   &command_rounding, &command_apply,   &command_table,
    &command_figure, &command_report, &command_data,     &command_weights, &command_export,
    &command_import, &command_bench,  &command_doctor,   &command_help,    &command_worker,
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static const Command *command_find(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(name, commands[i]->name)) return commands[i];
    return NULL;
}

static bool is_yaml(const char *word) {
    const char *dot = strrchr(word, '.');
    return dot && (!strcmp(dot, ".yaml") || !strcmp(dot, ".yml"));
}

static int command_unknown(const char *word) {
    const char *names[COMMANDS];
    int count = 0;
    for (int i = 0; i < COMMANDS; i++)
        if (commands[i]->summary) names[count++] = commands[i]->name;
    const int nearest = text_nearest(word, names, count);
    if (nearest >= 0)
        log_error("unknown command '%s'; did you mean '%s'?", word, names[nearest]);
    else
        log_error("'%s' is neither a command nor a YAML file: see ./run help", word);
    return EXIT_USAGE;
}

/* A program that is started with one of these closed gets its number for the next file it opens, and would
 * then write its messages into, say, the database. */
static void streams_open(void) {
    int file = open("/dev/null", O_RDWR);
    while (file >= 0 && file <= STDERR_FILENO) file = open("/dev/null", O_RDWR);
    if (file >= 0) close(file);
}

/* What was printed is an answer too: a full disk must not cut it short in silence. */
static int output_finish(int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    log_error(
        "standard output could not be written to its end: what was printed is cut short (is the disk full?)");
    return code ? code : EXIT_RUN_FAILED;
}

static int command_dispatch(int argc, char **argv) {
    if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
        command_help.run(1, (char *[]){"help", NULL});
        return argc < 2 ? EXIT_USAGE : EXIT_DONE;
    }
    const Command *command = command_find(argv[1]);
    if (command) return command->run(argc - 1, argv + 1);
    if (is_yaml(argv[1]) || strchr(argv[1], '=') || argv[1][0] == '-') return command_run.run(argc, argv);
    return command_unknown(argv[1]);
}

int cli_main(int argc, char **argv) {
    streams_open();
    return output_finish(command_dispatch(argc, argv));
}

/* ---- help ---- */

static void help_print(void) {
    puts("usage: ./run FILE.yaml... [key=value...] [options]    runs experiments; the same command again "
         "resumes\n"
         "       ./run COMMAND ...\n\ncommands (each with --help):");
    for (int i = 0; i < COMMANDS; i++)
        if (commands[i]->summary) printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    puts("\nexit status: 0 done; 1 a run failed; 2 usage or configuration, nothing started;\n"
         "             75 stopped early with its state saved: issue the command again\n"
         "first steps: ./run doctor      ./run experiments/quickstart.yaml      ./run ls");
}

static int help_run(int argc, char **argv) {
    if (argc < 2) {
        help_print();
        return EXIT_DONE;
    }
    if (!strcmp(argv[1], "config")) {
        Text text = {0};
        config_help(&text);
        fputs(text_view(&text), stdout);
        text_free(&text);
        return EXIT_DONE;
    }
    const Command *command = command_find(argv[1]);
    if (!command) return command_unknown(argv[1]);
    return command->run(2, (char *[]){argv[1], "--help", NULL});
}

const Command command_help = {"help", "help [COMMAND | config]",
                              "this list; one command; every key of the configuration", help_run};

/* ---- what commands share ---- */

int cli_fail(int code, const Error *error) {
    log_error("%s", error->text);
    return code;
}

Store *cli_store(const Paths *paths) {
    Store *store;
    Error error;
    if (!store_open(paths->database, &store, &error)) log_error("%s", error.text);
    return store;
}

Store *cli_find_run(const Command *command, char **words, int count, const Paths *paths, RunRow *row) {
    Error error;
    if (count != 1) {
        log_error("%s takes the id of one run: ./run %s (./run ls lists them)", command->name,
                  command->usage);
        return NULL;
    }
    Store *store = cli_store(paths);
    if (!store || store_get_run(store, words[0], row, &error)) return store;
    log_error("%s", error.text);
    store_close(store);
    return NULL;
}

Store *cli_open_run(const Command *command, int argc, char **argv, const Option *options, int count,
                    Paths *paths, RunRow *row) {
    int left;
    char **words = options_parse(command, argc, argv, options, count, paths, &left);
    return cli_find_run(command, words, left, paths, row);
}

Device *cli_device(const char *spec, int threads) {
    Device *device;
    Error error;
    if (device_open(spec, threads, &device, &error)) return device;
    log_error("%s", error.text);
    return NULL;
}
