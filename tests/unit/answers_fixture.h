/* What the tests of tables and figures share: runs with numbers, put into a database by hand, and answers as
 * text. */
#ifndef ICT_TESTS_ANSWERS_FIXTURE_H
#define ICT_TESTS_ANSWERS_FIXTURE_H

#include "store_fixture.h"

#include "answers/answers.h"

static const Paths here = {.root = "."};

/* A run of experiment `name` at scale and data set, with one tick and one evaluation if it is done. */
typedef struct Made {
    const char *id, *name, *file, *arm, *scale, *data, *state, *metric;
    int seed;
    double value;
    const char *lines; /* more of its configuration */
} Made;

static inline void make_experiment(Store *store, const Made *m) {
    Error error;
    must(store_execute(
             store, &error,
             "INSERT OR IGNORE INTO experiment(name, file, yaml, created) VALUES(?, ?, 'arms: {}', 0)", "tt",
             m->name, m->file),
         &error);
}

static inline void make_numbers(Store *store, const Made *m) {
    static const char *const metrics[] = {"loss",
                                          "gradient_norm",
                                          "N",
                                          "learning_rate",
                                          "update_norm_mean",
                                          "update_norm_variance",
                                          "images_per_second"};
    const Evaluation evaluation = {.metric = "", .value = m->value, .samples = 100, .protocol = "round"};
    Evaluation named = evaluation;
    Error error;
    snprintf(named.metric, sizeof named.metric, "%s", m->metric);
    must(store_evaluation(store, m->id, 10, "raw", 1, &named, &error), &error);
    for (int i = 0; i < 7; i++)
        must(store_execute(
                 store, &error,
                 "INSERT INTO metric(run_id, step, images, name, value, wall) VALUES(?, 10, 80, ?, 2, 1)",
                 "tt", m->id, metrics[i]),
             &error);
}

static inline void make(Store *store, Made m) {
    Error error;
    char *config = text_format("data.name: %s\ntrain.steps: 10\ntrain.batch: 8\nevaluation.weights: raw\n"
                               "evaluation.samples: 100\nevaluation.rounding: round\n%s",
                               m.data, m.lines ? m.lines : "");
    make_experiment(store, &m);
    must(
        store_execute(
            store, &error,
            "INSERT INTO run(id, experiment_id, arm, seed, scale, config, data_hash, state, created, device, "
            "git_commit) SELECT ?, id, ?, ?, ?, ?, 'd', ?, 0, 'cpu', 'c0ffee00' FROM experiment WHERE name = "
            "?",
            "ttitttt", m.id, m.arm, (int64_t)m.seed, m.scale, config, m.state, m.name),
        &error);
    must(store_execute(
             store, &error,
             "INSERT INTO plan(experiment_id, run_id, arm, created) SELECT id, ?, ?, 0 FROM experiment "
             "WHERE name = ?",
             "ttt", m.id, m.arm, m.name),
         &error);
    if (!strcmp(m.state, "done")) make_numbers(store, &m);
    free(config);
}

static inline void make_arm(Store *store, const char *id, const char *arm, const char *scale,
                            const char *run_state, double value) {
    make(store,
         (Made){id, "q", "ablations/q.yaml", arm, scale, "shapes", run_state, "fd-random", 0, value, NULL});
}

/* Rows as "value|value|...\n" of the columns given, -1 terminated. */
typedef struct Rows {
    const int *columns;
    Text text;
} Rows;

static inline void row_keep(void *context, int columns, const char *const *names, const char *const *values) {
    Rows *rows = context;
    (void)names;
    for (const int *c = rows->columns; *c >= 0; c++) {
        assert_true(*c < columns);
        text_append(&rows->text, "%s%s", c == rows->columns ? "" : "|", values[*c] ? values[*c] : "");
    }
    text_append(&rows->text, "\n");
}

static inline char *answer(Store *store, const char *name, const int *columns) {
    const char *const parameters[] = {"experiment", "q", "run", "r"};
    Rows rows = {.columns = columns};
    Question question;
    Error error = {0};
    must(question_read(&here, name, &question, &error), &error);
    must(store_query(store, question.sql, parameters, question_parameter(&question) ? 2 : 0, row_keep, &rows,
                     &error),
         &error);
    question_free(&question);
    char *text = text_copy(text_view(&rows.text));
    text_free(&rows.text);
    return text;
}

static inline void answer_is(Store *store, const char *name, const int *columns, const char *expected) {
    char *found = answer(store, name, columns);
    assert_string_equal(found, expected);
    free(found);
}

static inline void answer_has(Store *store, const char *name, const char *line, bool has) {
    char *found = answer(store, name, (const int[]){0, -1});
    if ((strstr(found, line) != NULL) != has) fail_msg("%s: '%s' in\n%s", name, line, found);
    free(found);
}

#endif
