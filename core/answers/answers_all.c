/* Every table and every figure at once: `make tables`, `make figures`. A question about one run or one
 * experiment is answered for each that has something to say. */
#include "answers/answers.h"
#include "base/file.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SUBJECTS = 512 };

typedef struct Subjects {
    const char *parameter; /* "run", "experiment", "session"; NULL: the question has no parameter */
    char *names[MAX_SUBJECTS];
    int count;
} Subjects;

static void subject_add(void *context, int columns, const char *const *names, const char *const *values) {
    Subjects *subjects = context;
    (void)columns, (void)names;
    if (subjects->count < MAX_SUBJECTS) subjects->names[subjects->count++] = text_copy(values[0]);
}

static const char *subjects_sql(const char *parameter) {
    if (!strcmp(parameter, "run")) return "SELECT id FROM run WHERE state = 'done' ORDER BY created";
    if (!strcmp(parameter, "session")) return "SELECT session FROM bench ORDER BY created";
    return "SELECT DISTINCT x.name FROM experiment x JOIN plan p ON p.experiment_id = x.id "
           "JOIN run r ON r.id = p.run_id WHERE r.state = 'done' ORDER BY x.name";
}

static bool subjects_find(Store *store, const Question *question, Subjects *subjects, Error *error) {
    *subjects = (Subjects){.parameter = question_parameter(question)};
    if (subjects->parameter)
        return store_query(store, subjects_sql(subjects->parameter), NULL, 0, subject_add, subjects, error);
    subjects->names[subjects->count++] = text_copy("");
    return true;
}

static bool table_write(Store *store, const Question *question, const char *const *parameters, int pairs,
                        const char *stem, Error *error) {
    static const char *const extensions[] = {"md", "csv", "tex"};
    char folder[1024];
    bool ok = folder_make(path_folder(folder, stem), error);
    for (int format = 0; ok && format < 3; format++) {
        Text text = {0};
        char *path = text_format("%s.%s", stem, extensions[format]);
        ok = table_print(store, question, (TableFormat)format, parameters, pairs, &text, error) &&
             file_write_atomic(path, text_view(&text), text.length, error);
        free(path);
        text_free(&text);
    }
    return ok;
}

static void row_count(void *context, int columns, const char *const *names, const char *const *values) {
    (void)columns, (void)names, (void)values;
    ++*(int *)context;
}

/* One answer; an empty one is said and passed over, because not every run has every number. */
static bool answer_write(const Paths *paths, Store *store, const Question *question, bool figure,
                         const char *parameter, const char *subject, Error *error) {
    const char *const parameters[] = {parameter, subject};
    const int pairs = parameter ? 1 : 0;
    int rows = 0;
    if (!store_query(store, question->sql, parameters, pairs, row_count, &rows, error)) return false;
    char *stem = text_format("%s/%s/%s%s%s", paths->results, figure ? "figures" : "tables", question->name,
                             pairs ? "-" : "", subject);
    bool ok = true;
    if (!rows)
        printf("- %s%s%s is empty: nothing in this database answers it\n", question->name,
               pairs ? " of " : "", subject);
    else if ((ok = figure ? figure_draw(paths, store, question->name, parameters, pairs, stem, NULL, error)
                          : table_write(store, question, parameters, pairs, stem, error)))
        printf("%s.%s\n", stem, figure ? "{png,svg,pdf}" : "{md,csv,tex}");
    else
        printf("- %s: %s\n", stem, error->text);
    free(stem);
    return ok;
}

/* The other answers are given all the same; the first failure is the one to report. */
static void failure_note(Error *first, int *failures, const Error *error) {
    if (!(*failures)++) *first = *error;
}

bool answers_all(const Paths *paths, Store *store, bool figures, Error *error) {
    char *names[MAX_QUESTIONS];
    const int count = question_names(paths, figures, names);
    int failures = 0;
    for (int i = 0; i < count; i++) {
        Question question = {0};
        Subjects subjects = {0};
        Error mine;
        if (!question_read(paths, names[i], &question, &mine) ||
            !subjects_find(store, &question, &subjects, &mine))
            failure_note(error, &failures, &mine);
        for (int s = 0; s < subjects.count; s++) {
            if (!answer_write(paths, store, &question, figures, subjects.parameter, subjects.names[s], &mine))
                failure_note(error, &failures, &mine);
            free(subjects.names[s]);
        }
        question_free(&question);
        free(names[i]);
    }
    return !failures ||
           error_wrap(error, "%d answer%s could not be given", failures, failures == 1 ? "" : "s");
}
