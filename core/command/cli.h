/* The command line: a table of sub-commands (one `Command` each, defined in a cmd_*.c file), and options
 * described by data. To add a command: write a cmd_*.c, declare it at the end of this file and add it to the
 * table in cli.c. */
#ifndef ICT_COMMAND_CLI_H
#define ICT_COMMAND_CLI_H

#include "config/paths.h"
#include "store/store.h"
#include "worker/exit_code.h"

typedef struct Command {
    const char *name, *usage, *summary;
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns an ExitCode */
} Command;

int cli_main(int argc, char **argv);

/* ---- options ---- */

typedef enum OptionKind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_COUNT,   /* int, not negative */
    OPTION_DURATION /* double, seconds: 90, 45s, 9m, 1h30m */
} OptionKind;

typedef struct Option {
    const char *name;
    char letter; /* 0: none */
    OptionKind kind;
    void *value;
    const char *value_name, *help; /* value_name: "N", "PATH"; NULL for flags */
} Option;

/* Sets the options' values and returns what is left, ended by NULL, and its count. Every command also knows
 * --db, --folder and
 * --data (hence `paths`) and --help. Ends the program with EXIT_USAGE on a mistake, EXIT_DONE after --help:
 * nothing has been started yet. */
char **options_parse(const Command *, int argc, char **argv, const Option *, int count, Paths *paths,
                     int *left);

/* "9m", "1h30m", "90"; false when it is not a duration. */
bool duration_parse(const char *text, double *seconds);
/* "0-63" or "5": first and count. */
bool range_parse(const char *text, uint32_t *first, int *count);

/* ---- what commands share ---- */

/* Prints the error and returns the code. */
int cli_fail(int code, const Error *);
/* Opens the database of `paths`; prints the error when it cannot. */
Store *cli_store(const Paths *);

/* For commands that are about one run: parses `COMMAND ID [options]`, opens the database, finds the run.
 * NULL, with the error printed, when that fails. */
Store *cli_open_run(const Command *, int argc, char **argv, const Option *, int count, Paths *, RunRow *);
/* The same for a command whose options are parsed already. */
Store *cli_find_run(const Command *, char **words, int count, const Paths *, RunRow *);
/* Opens a device; prints the error and returns NULL when it cannot. */
Device *cli_device(const char *spec, int threads);

extern const Command command_run, command_worker, command_help;           /* cmd_run.c, cli.c */
extern const Command command_ls, command_log, command_show, command_diff; /* cmd_ls.c, cmd_show.c */
extern const Command command_sample, command_eval, command_rounding, command_apply;
extern const Command command_table, command_figure, command_report; /* cmd_answers.c */
extern const Command command_data, command_weights, command_export, command_import, command_bench,
    command_doctor;

#endif
