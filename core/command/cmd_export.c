/* `export`: the database for other programs, a run for a model hub. `import`: runs of another database. */
#include "base/log.h"
#include "command/cli.h"
#include "export/export.h"

#include <stdio.h>

typedef struct ExportOptions {
    bool csv, json;
    const char *sql, *tensorboard, *hub, *weights, *device;
    int threads;
} ExportOptions;

/* ---- export ---- */

static bool rows_export(const ExportOptions *options, Store *store, char **words, int count, Error *error) {
    if (count > 1 || (count && options->sql))
        return error_set(error, "one table, or --sql, at a time: ./run %s", command_export.usage);
    const char *sql = options->sql ? options->sql : export_query(count ? words[0] : "runs", error);
    return sql && export_rows(store, sql, options->json ? EXPORT_JSON : EXPORT_CSV, stdout, error);
}

static bool tensorboard_export(const ExportOptions *options, Store *store, char **words, int count,
                               Error *error) {
    int written;
    if (!export_tensorboard(store, options->tensorboard, words, count, &written, error)) return false;
    log_info("%d run%s → %s (tensorboard --logdir %s)", written, written == 1 ? "" : "s",
             options->tensorboard, options->tensorboard);
    return true;
}

static bool hub_export(const ExportOptions *options, const Paths *paths, Store *store, char **words,
                       int count, Error *error) {
    RunRow row;
    Device *device;
    if (count != 1) return error_set(error, "--hub takes the id of one run: ./run %s", command_export.usage);
    if (!store_get_run(store, words[0], &row, error)) return false;
    bool done = device_open(options->device, options->threads, &device, error);
    if (done) {
        done = export_hub(paths, store, &row, options->weights, device, options->hub, error);
        device_close(device);
    }
    if (done)
        log_info("run %s → %s (./run sample %s draws from it; README.md wants a licence)", row.id,
                 options->hub, options->hub);
    run_row_free(&row);
    return done;
}

static bool options_check(const ExportOptions *options, Error *error) {
    const int kinds = options->csv + options->json + !!options->tensorboard + !!options->hub;
    if (kinds > 1 || (options->sql && (options->tensorboard || options->hub)))
        return error_set(error, "one kind of export at a time: ./run %s", command_export.usage);
    return !options->weights || options->hub || error_set(error, "--weights goes with --hub");
}

static int export_run(int argc, char **argv) {
    ExportOptions options = {.device = "cpu"};
    Paths paths;
    Error error;
    int count;
    const Option list[] = {
        {"csv", 0, OPTION_FLAG, &options.csv, NULL, "comma-separated values (default)"},
        {"json", 0, OPTION_FLAG, &options.json, NULL, "one JSON document: an array, one object a line"},
        {"sql", 0, OPTION_TEXT, &options.sql, "SELECT", "the rows of this query instead of a table"},
        {"tensorboard", 0, OPTION_TEXT, &options.tensorboard, "DIR",
         "event files of the runs named (default: all)"},
        {"hub", 0, OPTION_TEXT, &options.hub, "DIR",
         "a run as a folder for a model hub: weights, configuration, samples, model card"},
        {"weights", 0, OPTION_TEXT, &options.weights, "W",
         "for --hub: raw, teacher, ema:0.05, ... (default: those evaluated)"},
        {"device", 0, OPTION_TEXT, &options.device, "D", "for --hub: where samples are drawn (default cpu)"},
        {"threads", 0, OPTION_COUNT, &options.threads, "N", "CPU threads (default: all)"},
    };
    char **words =
        options_parse(&command_export, argc, argv, list, sizeof list / sizeof *list, &paths, &count);
    if (!options_check(&options, &error)) return cli_fail(EXIT_USAGE, &error);
    Store *store = cli_store(&paths);
    if (!store) return EXIT_USAGE;
    const bool done = options.tensorboard ? tensorboard_export(&options, store, words, count, &error)
                      : options.hub       ? hub_export(&options, &paths, store, words, count, &error)
                                          : rows_export(&options, store, words, count, &error);
    store_close(store);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_export = {
    "export",
    "export [runs|metrics|evaluations|artifacts|events|published | --sql SELECT] [--csv|--json]\n"
    "       ./run export --tensorboard DIR [ID...]\n       ./run export --hub DIR ID [--weights W]",
    "rows as CSV or JSON, TensorBoard's event files, a folder for a model hub", export_run};

/* ---- import ---- */

static int import_run(int argc, char **argv) {
    Paths paths;
    Error error;
    int count;
    ImportCount runs;
    char **words = options_parse(&command_import, argc, argv, NULL, 0, &paths, &count);
    if (count != 1) {
        log_error("usage: ./run %s", command_import.usage);
        return EXIT_USAGE;
    }
    Store *store = cli_store(&paths);
    if (!store) return EXIT_USAGE;
    const bool done = store_import(store, words[0], &runs, &error);
    store_close(store);
    if (!done) return cli_fail(EXIT_USAGE, &error);
    log_info("%s: %d run%s new, %d further along than here, %d known (checkpoints and pictures stay where "
             "they are)",
             words[0], runs.added, runs.added == 1 ? "" : "s", runs.advanced, runs.kept);
    if (runs.sessions)
        log_info("%s: new numbers of %d session%s of bench", words[0], runs.sessions,
                 runs.sessions == 1 ? "" : "s");
    if (runs.other_sessions)
        log_warn("%s: %d session%s of bench left out: other work has the name here", words[0],
                 runs.other_sessions, runs.other_sessions == 1 ? "" : "s");
    return EXIT_DONE;
}

const Command command_import = {"import", "import OTHER.db | DUMP.sql",
                                "add the runs of another database (made on another machine), or of its dump",
                                import_run};
