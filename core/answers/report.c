/* The page from top to bottom: contents, experiments, runs, what is about neither. The frame with its style
 * is paper_figs/report.html; this fills in what stands for {{contents}} and {{body}}. */
#include "answers/report.h"
#include "answers/answers.h"
#include "answers/html.h"
#include "base/file.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- answers ---- */

/* An empty answer is no answer; anything else that goes wrong is said, and the page goes on without it. */
static void complain(const Error *error) {
    if (!strstr(error->text, "is empty")) log_warn("left out: %s", error->text);
}

static void table_put(Report *report, const Question *question, const char *const *parameters, int pairs) {
    Text table = {0};
    Error error;
    if (table_print(report->store, question, TABLE_HTML, parameters, pairs, &table, &error))
        text_append_bytes(&report->page, text_view(&table), table.length);
    else
        complain(&error);
    text_free(&table);
}

static void figure_put(Report *report, const Question *question, const char *const *parameters, int pairs) {
    char title[512];
    char *stem = text_format("%s/figures/%s%s%s", report->paths->results, question->name, pairs ? "-" : "",
                             pairs ? parameters[1] : "");
    char *path = text_format("%s.svg", stem);
    Text figure = {0};
    Error error;
    question_title(question, parameters, pairs, title);
    text_append(&figure, "<figure><div class=\"wide\">");
    if (figure_draw(report->paths, report->store, question->name, parameters, pairs, stem, "svg", &error) &&
        html_picture(&figure, path, "image/svg+xml", title, &error)) {
        text_append_bytes(&report->page, text_view(&figure), figure.length);
        text_append(&report->page, "</div><figcaption>");
        html_text(&report->page, question->caption);
        text_append(&report->page, "</figcaption></figure>\n");
    } else
        complain(&error);
    text_free(&figure);
    free(path);
    free(stem);
}

static void answers_of_kind(Report *report, bool figures, const char *parameter, const char *subject) {
    char *names[MAX_QUESTIONS];
    const char *const parameters[] = {parameter, subject};
    const int count = question_names(report->paths, figures, names);
    for (int i = 0; i < count; i++) {
        Question question;
        Error error;
        if (!question_read(report->paths, names[i], &question, &error)) {
            complain(&error);
            free(names[i]);
            continue;
        }
        const char *wanted = question_parameter(&question);
        if (wanted && parameter ? !strcmp(wanted, parameter) : wanted == parameter)
            (figures ? figure_put : table_put)(report, &question, parameters, parameter ? 1 : 0);
        question_free(&question);
        free(names[i]);
    }
}

void report_answers(Report *report, const char *parameter, const char *subject) {
    answers_of_kind(report, false, parameter, subject);
    answers_of_kind(report, true, parameter, subject);
}

/* ---- experiments ---- */

/* Experiments by name: one name may have had several texts, of which the newest is shown. */
typedef struct Names {
    char **list; /* name, text, name, text, ... */
    int count;
} Names;

static void names_take(void *context, int columns, const char *const *names, const char *const *values) {
    Names *all = context;
    (void)columns, (void)names;
    char **grown = realloc(all->list, (size_t)(2 * all->count + 2) * sizeof *grown);
    CHECK(grown, "out of memory for %d experiments", all->count + 1);
    all->list = grown;
    grown[2 * all->count] = text_copy(values[0]);
    grown[2 * all->count++ + 1] = text_copy(values[1]);
}

static void names_free(Names *all) {
    for (int i = 0; i < 2 * all->count; i++) free(all->list[i]);
    free(all->list);
}

/* The runs that an experiment asks for, as "id\narm": who asked first may have called them otherwise. */
static bool asked_runs(Report *report, const char *name, Names *runs, Error *error) {
    *runs = (Names){0};
    return store_query(
        report->store,
        "SELECT p.run_id, p.arm FROM plan p JOIN experiment x ON x.id = p.experiment_id JOIN run r ON "
        "r.id = p.run_id WHERE x.name = :experiment GROUP BY p.run_id ORDER BY min(p.created), r.seed",
        (const char *[]){"experiment", name}, 1, names_take, runs, error);
}

static bool gallery_put(Report *report, const Names *runs, Error *error) {
    bool done = true;
    text_append(&report->page, "<div class=\"gallery\">\n");
    for (int i = 0; i < runs->count && done; i++) {
        RunRow row;
        done = store_get_run(report->store, runs->list[2 * i], &row, error) &&
               report_samples(report, &row, runs->list[2 * i + 1], error);
        if (done) run_row_free(&row);
    }
    text_append(&report->page, "</div>\n");
    return done;
}

static void links_put(Report *report, const Names *runs) {
    text_append(&report->page, "<p>%d run%s:", runs->count, runs->count == 1 ? "" : "s");
    for (int i = 0; i < runs->count; i++)
        text_append(&report->page, " <a href=\"#run-%s\">%s</a>", runs->list[2 * i], runs->list[2 * i]);
    text_append(&report->page, "</p>\n");
}

static bool experiment_put(Report *report, const char *name, const char *yaml, Error *error) {
    Names runs;
    Text *page = &report->page;
    if (!asked_runs(report, name, &runs, error)) return false;
    text_append(page, "<section id=\"experiment-");
    html_text(page, name);
    text_append(page, "\"><h2>Experiment ");
    html_text(page, name);
    text_append(page, "</h2>\n<details><summary>Definition</summary><pre>");
    html_text(page, yaml);
    text_append(page, "</pre></details>\n");
    report_answers(report, "experiment", name);
    const bool done = gallery_put(report, &runs, error);
    links_put(report, &runs);
    text_append(page, "</section>\n");
    names_free(&runs);
    return done;
}

/* ---- how fast ---- */

static bool sessions_find(Report *report, Names *sessions, Error *error) {
    *sessions = (Names){0};
    return store_query(report->store, "SELECT session, experiment FROM bench ORDER BY created", NULL, 0,
                       names_take, sessions, error);
}

static bool sessions_put(Report *report, Error *error) {
    Names sessions;
    if (!sessions_find(report, &sessions, error)) return false;
    if (sessions.count) text_append(&report->page, "<section id=\"speed\"><h2>Speed</h2>\n");
    for (int i = 0; i < sessions.count; i++) report_answers(report, "session", sessions.list[2 * i]);
    if (sessions.count) text_append(&report->page, "</section>\n");
    names_free(&sessions);
    return true;
}

/* ---- the page ---- */

static bool runs_put(Report *report, Error *error) {
    RunRow *rows;
    int count;
    if (!store_list_runs(report->store, &rows, &count, error)) return false;
    bool done = true;
    text_append(&report->page, "<section id=\"runs\"><h2>Runs</h2>\n");
    for (int i = 0; i < count && done; i++) done = report_run(report, &rows[i], error);
    if (!count) text_append(&report->page, "<p>This database has no run yet.</p>\n");
    text_append(&report->page, "</section>\n");
    run_rows_free(rows, count);
    return done;
}

static void contents_put(Text *contents, const Names *experiments) {
    for (int i = 0; i < experiments->count; i++) {
        text_append(contents, "<li><a href=\"#experiment-");
        html_text(contents, experiments->list[2 * i]);
        text_append(contents, "\">");
        html_text(contents, experiments->list[2 * i]);
        text_append(contents, "</a></li>\n");
    }
    text_append(contents, "<li><a href=\"#all\">The paper's numbers, and all of ours</a></li>\n"
                          "<li><a href=\"#runs\">Runs</a></li>\n");
}

static bool body_put(Report *report, const Names *experiments, Error *error) {
    bool done = true;
    for (int i = 0; i < experiments->count && done; i++) {
        log_info("report: experiment %s", experiments->list[2 * i]);
        done = experiment_put(report, experiments->list[2 * i], experiments->list[2 * i + 1], error);
    }
    text_append(&report->page,
                "<section id=\"all\"><h2>The paper's numbers, and all of ours</h2>\n<p>Every number "
                "of ours says its data set "
                "and scale. It compares with a published one only where data set, metric, "
                "number of samples and scale "
                "agree; otherwise the two merely stand on one page.</p>\n");
    report_answers(report, NULL, NULL);
    text_append(&report->page, "</section>\n");
    return done && sessions_put(report, error) && runs_put(report, error);
}

/* The frame with its two marks replaced; the marks are ours, so they are there. */
static bool frame_fill(const char *frame, const Text *contents, const Text *body, const char *path,
                       Error *error) {
    static const char first[] = "{{contents}}", second[] = "{{body}}";
    const char *one = strstr(frame, first), *two = one ? strstr(one, second) : NULL;
    if (!two) return error_set(error, "paper_figs/report.html: {{contents}} and {{body}} are missing");
    Text all = {0};
    text_append_bytes(&all, frame, (size_t)(one - frame));
    text_append_bytes(&all, text_view(contents), contents->length);
    one += sizeof first - 1;
    text_append_bytes(&all, one, (size_t)(two - one));
    text_append_bytes(&all, text_view(body), body->length);
    text_append(&all, "%s", two + sizeof second - 1);
    const bool done = file_write_atomic(path, text_view(&all), all.length, error);
    text_free(&all);
    return done;
}

bool report_write(const Paths *paths, Store *store, const char *path, Error *error) {
    char place[1024], folder[1024], *frame;
    size_t size;
    Report report = {paths, store, {0}};
    Names experiments = {0};
    Text contents = {0};
    path_join(place, path_join(folder, paths->root, "paper_figs"), "report.html");
    if (!file_read(place, &frame, &size, error)) return false;
    const bool done =
        folder_make(path_folder(folder, path), error) &&
        store_query(
            store,
            "SELECT name, yaml, max(created) FROM experiment WHERE id IN (SELECT experiment_id FROM plan) "
            "GROUP BY name ORDER BY min(created)",
            NULL, 0, names_take, &experiments, error) &&
        body_put(&report, &experiments, error) &&
        (contents_put(&contents, &experiments), frame_fill(frame, &contents, &report.page, path, error));
    names_free(&experiments);
    text_free(&contents);
    text_free(&report.page);
    free(frame);
    return done;
}
