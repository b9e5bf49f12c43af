/* `ls` and `log`: how the runs stand, and what they say. */
#include "base/file.h"
#include "base/log.h"
#include "harness/cli.h"
#include "harness/columns.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- ls ---- */

/* What the list shows beside the run itself: of its newest tick and newest evaluation. */
typedef struct Progress {
    char loss[32], rate[32], evaluation[64];
} Progress;

typedef struct Listing {
    RunRow *rows;
    Progress *progress;
    int count;
} Listing;

static const char progress_sql[] =
    "SELECT run.id,"
    " (SELECT printf('%.4g', value) FROM metric WHERE run_id = run.id AND name = 'loss' ORDER BY step DESC "
    "LIMIT 1),"
    " (SELECT value FROM metric WHERE run_id = run.id AND name = 'images_per_second' ORDER BY step DESC "
    "LIMIT 1),"
    " (SELECT metric || ' ' || printf('%.4g', value) || ', ' || nfe || '-step' FROM evaluation WHERE run_id "
    "= run.id AND nfe > 0"
    "  AND metric NOT LIKE '%-class-%' ORDER BY step DESC, nfe, metric DESC LIMIT 1) FROM run";

static void progress_take(void *context, int columns, const char *const *names, const char *const *values) {
    const Listing *listing = context;
    (void)columns, (void)names;
    for (int i = 0; i < listing->count; i++) {
        if (strcmp(listing->rows[i].id, values[0])) continue;
        Progress *progress = &listing->progress[i];
        snprintf(progress->loss, sizeof progress->loss, "%s", values[1] ? values[1] : "");
        snprintf(progress->rate, sizeof progress->rate, "%s", values[2] ? values[2] : "");
        snprintf(progress->evaluation, sizeof progress->evaluation, "%s", values[3] ? values[3] : "");
    }
}

/* Of a running run: what is left at the present rate, evaluations not counted. */
static const char *eta_of(const RunRow *row, const Progress *progress, char out[32]) {
    char batch[32] = "0";
    const double rate = atof(progress->rate);
    config_text_get(row->config, "train.batch", batch, sizeof batch);
    if (row->state != RUN_RUNNING || rate <= 0) return strcpy(out, "");
    return format_duration(out, (double)(row->steps - row->step) * atof(batch) / rate);
}

static void row_add(Columns *table, const RunRow *row, const Progress *progress) {
    char seed[24], step[48], rate[32] = "", eta[32];
    snprintf(seed, sizeof seed, "%lld", (long long)row->seed);
    snprintf(step, sizeof step, "%lld/%lld", (long long)row->step, (long long)row->steps);
    if (*progress->rate) format_count(rate, atof(progress->rate));
    columns_add(table, (const char *[]){row->id, run_state_name(row->state), row->experiment, row->arm,
                                        row->scale, seed, step, progress->loss, rate,
                                        eta_of(row, progress, eta), progress->evaluation});
}

static bool matches(const RunRow *row, char **words) {
    const char *const fields[] = {row->id, row->experiment, row->arm, row->scale, run_state_name(row->state)};
    for (; *words; words++) {
        bool found = false;
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
            found = found || strstr(fields[i], *words);
        if (!found) return false;
    }
    return true;
}

static bool listing_print(Store *store, char **words, Error *error) {
    static const char *const titles[] = {"id",    "state", "experiment", "arm",  "scale",          ">seed",
                                         ">step", ">loss", ">images/s",  ">ETA", "last evaluation"};
    Listing listing = {0};
    if (!store_list_runs(store, &listing.rows, &listing.count, error)) return false;
    listing.progress = calloc((size_t)listing.count + 1, sizeof *listing.progress);
    CHECK(listing.progress, "out of memory for %d runs", listing.count);
    const bool done = store_query(store, progress_sql, NULL, 0, progress_take, &listing, error);
    Columns table = columns_begin(sizeof titles / sizeof *titles, titles);
    for (int i = 0; i < listing.count; i++)
        if (matches(&listing.rows[i], words)) row_add(&table, &listing.rows[i], &listing.progress[i]);
    if (done) columns_print(&table, stdout);
    columns_free(&table);
    free(listing.progress);
    run_rows_free(listing.rows, listing.count);
    return done;
}

static int ls_run(int argc, char **argv) {
    bool watch = false;
    Paths paths;
    Error error;
    int count;
    const Option list[] = {
        {"watch", 'w', OPTION_FLAG, &watch, NULL, "show the list again every two seconds"}};
    char **words = options_parse(&command_ls, argc, argv, list, 1, &paths, &count);
    Store *store = cli_store(&paths);
    if (!store) return EXIT_USAGE;
    bool done;
    do {
        if (watch) fputs(isatty(STDOUT_FILENO) ? "\033[H\033[2J" : "\n", stdout);
        done = listing_print(store, words, &error);
        fflush(stdout);
        if (watch && done) sleep(2);
    } while (watch && done);
    store_close(store);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_ls = {"ls", "ls [WORD...] [--watch]",
                            "one line a run; with words, those runs that have all of them", ls_run};

/* ---- log ---- */

/* Prints from where the last call ended. */
static void log_copy(FILE *stream) {
    char piece[8192];
    clearerr(stream); /* the end of the file may have moved */
    for (size_t got; (got = fread(piece, 1, sizeof piece, stream)) > 0;) fwrite(piece, 1, got, stdout);
    fflush(stdout);
}

static bool is_running(Store *store, const char *id) {
    RunRow row;
    if (!store_get_run(store, id, &row, NULL)) return false;
    run_row_free(&row);
    return row.state == RUN_RUNNING;
}

static int log_print(Store *store, const Paths *paths, const RunRow *row, bool follow) {
    char folder[1024], path[1024];
    path_join(path, paths_run_folder(paths->results, row->id, row->experiment, folder), "log.txt");
    FILE *stream = fopen(path, "r");
    if (!stream) {
        log_error("run %s has left no log (%s)", row->id, path);
        return EXIT_USAGE;
    }
    log_copy(stream);
    while (follow && is_running(store, row->id)) {
        usleep(300000);
        log_copy(stream);
    }
    fclose(stream);
    return EXIT_DONE;
}

static int log_run(int argc, char **argv) {
    bool follow = false;
    Paths paths;
    RunRow row;
    const Option list[] = {{"follow", 'f', OPTION_FLAG, &follow, NULL, "go on while the run does"}};
    Store *store = cli_open_run(&command_log, argc, argv, list, 1, &paths, &row);
    if (!store) return EXIT_USAGE;
    const int code = log_print(store, &paths, &row, follow);
    run_row_free(&row);
    store_close(store);
    return code;
}

const Command command_log = {"log", "log ID [-f]", "what a run has printed", log_run};
