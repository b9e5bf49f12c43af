/* `table`, `figure` and `report`: answers from the database. */
#include "answers/answers.h"
#include "command/cli.h"
#include "answers/report.h"
#include "base/file.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PARAMETERS = 16 };

/* "name=value" words as alternating names and values; a bare word is the value of :run (figures
 * of one run). */
typedef struct Parameters {
    const char *list[2 * MAX_PARAMETERS];
    char *copies[MAX_PARAMETERS];
    int pairs;
} Parameters;

static void parameters_read(Parameters *p, char **words, int count) {
    for (int i = 0; i < count && i < MAX_PARAMETERS; i++) {
        char *copy = p->copies[p->pairs] = text_copy(words[i]), *equals = strchr(copy, '=');
        if (equals) *equals = 0;
        p->list[2 * p->pairs] = equals ? copy : "run";
        p->list[2 * p->pairs + 1] = equals ? equals + 1 : copy;
        p->pairs++;
    }
}

static void parameters_free(Parameters *p) {
    for (int i = 0; i < p->pairs; i++) free(p->copies[i]);
}

/* The beginning of an id becomes the whole id. */
static bool parameters_resolve(Parameters *p, Store *store, char id[16], Error *error) {
    for (int i = 0; i < p->pairs; i++) {
        RunRow row;
        if (strcmp(p->list[2 * i], "run")) continue;
        if (!store_get_run(store, p->list[2 * i + 1], &row, error)) return false;
        snprintf(id, 16, "%s", row.id);
        p->list[2 * i + 1] = id;
        run_row_free(&row);
    }
    return true;
}

static bool format_parse(const char *text, TableFormat *format, Error *error) {
    static const char *const names[] = {"md", "csv", "tex", "html"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(text, names[i])) {
            *format = (TableFormat)i;
            return true;
        }
    return error_set(error, "--format %s: formats are md, csv, tex and html", text);
}

static bool table_answer(const Paths *paths, Store *store, const char *name, TableFormat format,
                         const Parameters *p, Error *error) {
    Question question;
    Text out = {0};
    if (!question_read(paths, name, &question, error)) return false;
    const bool ok = table_print(store, &question, format, p->list, p->pairs, &out, error);
    if (ok) fputs(text_view(&out), stdout);
    text_free(&out);
    question_free(&question);
    return ok;
}

/* Published numbers come with the source tree; a database made before they changed gets the new ones. */
static Store *answers_store(const Paths *paths) {
    char results[1024], published[1024];
    Error error;
    Store *store = cli_store(paths);
    path_join(published, path_join(results, paths->root, "results"), "published.csv");
    if (store && file_exists(published) && !store_load_published(store, published, &error))
        log_warn("%s", error.text);
    return store;
}

static int answer_all(const Paths *paths, bool figures) {
    Error error;
    Store *store = answers_store(paths);
    if (!store) return EXIT_RUN_FAILED;
    const bool ok = answers_all(paths, store, figures, &error);
    store_close(store);
    return ok ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

static int table_run(int argc, char **argv) {
    const char *format_name = "md";
    const Option options[] = {
        {"format", 'f', OPTION_TEXT, &format_name, "F", "md (default), csv, tex or html"}};
    Paths paths;
    int left;
    char **words = options_parse(&command_table, argc, argv, options, 1, &paths, &left);
    Error error;
    TableFormat format = TABLE_MARKDOWN;
    if (!left) return question_list(&paths, false, &error) ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
    if (!format_parse(format_name, &format, &error)) return cli_fail(EXIT_USAGE, &error);
    if (!strcmp(words[0], "all")) return answer_all(&paths, false);
    Store *store = answers_store(&paths);
    if (!store) return EXIT_RUN_FAILED;
    char id[16];
    Parameters parameters = {0};
    parameters_read(&parameters, words + 1, left - 1);
    const bool ok = parameters_resolve(&parameters, store, id, &error) &&
                    table_answer(&paths, store, words[0], format, &parameters, &error);
    parameters_free(&parameters);
    store_close(store);
    return ok ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

/* results/figures/NAME-SUBJECT, as answers_all names its files; what else is given follows: NAME-ema-desk. */
static char *figure_place(const Paths *paths, const char *name, const Parameters *p) {
    Text place = {0};
    text_append(&place, "%s/figures/%s", paths->results, name);
    for (int i = 0; i < p->pairs; i++) text_append(&place, "-%s", p->list[2 * i + 1]);
    char *copy = text_copy(text_view(&place));
    text_free(&place);
    return copy;
}

static int figure_run(int argc, char **argv) {
    const char *format = NULL, *stem = NULL;
    const Option options[] = {
        {"format", 'f', OPTION_TEXT, &format, "F", "png, svg or pdf alone (default: all three)"},
        {"out", 'o', OPTION_TEXT, &stem, "STEM",
         "write STEM.png ... (default: results/figures/NAME-SUBJECT)"}};
    Paths paths;
    int left;
    char **words = options_parse(&command_figure, argc, argv, options, 2, &paths, &left);
    Error error;
    if (!left) return question_list(&paths, true, &error) ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
    if (!strcmp(words[0], "all")) return answer_all(&paths, true);
    Store *store = answers_store(&paths);
    if (!store) return EXIT_RUN_FAILED;
    char id[16] = "";
    Parameters parameters = {0};
    parameters_read(&parameters, words + 1, left - 1);
    bool ok = parameters_resolve(&parameters, store, id, &error);
    char *place = stem ? text_copy(stem) : figure_place(&paths, words[0], &parameters);
    ok = ok && figure_draw(&paths, store, words[0], parameters.list, parameters.pairs, place, format, &error);
    if (ok) printf("%s.%s\n", place, format ? format : "{png,svg,pdf}");
    free(place);
    parameters_free(&parameters);
    store_close(store);
    return ok ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_table = {"table", "table [NAME [RUN] [name=value...] | all]",
                               "a table from the database; without a name, the list", table_run};
const Command command_figure = {"figure", "figure [NAME [RUN] [name=value...] | all]",
                                "a figure drawn by gnuplot; without a name, the list", figure_run};

static int report_command(int argc, char **argv) {
    const char *out = NULL;
    char path[1024];
    const Option options[] = {
        {"out", 'o', OPTION_TEXT, &out, "FILE", "where to write it (default: results/report.html)"}};
    Paths paths;
    int left;
    Error error;
    options_parse(&command_report, argc, argv, options, 1, &paths, &left);
    if (left) {
        log_error("usage: ./run %s", command_report.usage);
        return EXIT_USAGE;
    }
    Store *store = answers_store(&paths);
    if (!store) return EXIT_RUN_FAILED;
    if (!out) out = path_join(path, paths.results, "report.html");
    const bool ok = report_write(&paths, store, out, &error);
    store_close(store);
    if (ok) printf("%s\n", out);
    return ok ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_report = {"report", "report [--out FILE]",
                                "one HTML page with everything: samples, curves, tables, origins, commands",
                                report_command};
