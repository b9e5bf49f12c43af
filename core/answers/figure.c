/* Answers as figures: rows as blocks of tab-separated values, then gnuplot as a child process. The .gp file
 * and the data stay behind, so that a figure can be redrawn or restyled without the program. */
#define _GNU_SOURCE /* memmem */
#include "answers/answers.h"
#include "base/process.h"
#include "base/file.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct BlockWriter {
    Text *out;
    char series[256];
    int rows;
} BlockWriter;

/* gnuplot finds a block by the name in the comment before it; two empty lines separate blocks. */
static void write_row(void *context, int columns, const char *const *names, const char *const *values) {
    BlockWriter *w = context;
    const char *series = values[0] ? values[0] : "";
    if (!w->rows || strcmp(series, w->series)) {
        text_append(w->out, "%s# %s\n#", w->rows ? "\n\n" : "", series);
        for (int i = 1; i < columns; i++) text_append(w->out, "%c%s", i > 1 ? '\t' : ' ', names[i]);
        text_append(w->out, "\n");
        snprintf(w->series, sizeof w->series, "%s", series);
    }
    for (int i = 1; i < columns; i++)
        text_append(w->out, "%s%s", i > 1 ? "\t" : "", values[i] ? values[i] : "NaN");
    text_append(w->out, "\n");
    w->rows++;
}

static bool figure_data(Store *store, const Question *question, const char *const *parameters, int pairs,
                        const char *path, Error *error) {
    Text data = {0};
    BlockWriter writer = {.out = &data};
    bool ok = store_query(store, question->sql, parameters, pairs, write_row, &writer, error) ||
              error_wrap(error, "paper_figs/%s.sql", question->name);
    if (ok && !writer.rows)
        ok =
            error_set(error, "figure '%s' is empty: nothing in this database answers it yet", question->name);
    ok = ok && file_write_atomic(path, text_view(&data), data.length, error);
    text_free(&data);
    return ok;
}

/* A gnuplot string in single quotes. */
static void variable(Text *out, const char *name, const char *value) {
    text_append(out, "%s='", name);
    for (const char *c = value; *c; c++) text_append(out, *c == '\'' ? "''" : "%c", *c);
    text_append(out, "'; ");
}

/* The last of gnuplot's lines is the error; those before it repeat the command or warn. */
static bool plot_refused(const Question *question, const char *complaints, Error *error) {
    size_t end = strlen(complaints);
    while (end && strchr(" \n", complaints[end - 1])) end--;
    size_t begin = end;
    while (begin && complaints[begin - 1] != '\n') begin--;
    if (begin == end)
        return error_set(error,
                         "paper_figs/%s.gp cannot be drawn without gnuplot: apt-get install gnuplot-nox",
                         question->name);
    return error_set(error, "gnuplot cannot draw paper_figs/%s.gp: %.*s", question->name, (int)(end - begin),
                     complaints + begin);
}

/* cairo 1.16 writes the time into a PDF whatever SOURCE_DATE_EPOCH says: the digits become zeros, so that the
 * same data give the same bytes. */
static void pdf_date_remove(Text *pdf) {
    static const char mark[] = "/CreationDate (D:";
    char *date = memmem(pdf->text, pdf->length, mark, sizeof mark - 1);
    for (char *at = date ? date + sizeof mark - 1 : NULL; at && isdigit((unsigned char)*at); at++) *at = '0';
}

/* gnuplot draws to its standard output (/dev/stdout), because it does not notice when a disk is
 * full; we do. */
static bool figure_plot(const Paths *paths, const Question *question, const char *title, const char *data,
                        const char *stem, const char *format, Error *error) {
    char script[1024], common[1024], folder[1024], file[96];
    Text variables = {0}, image = {0}, complaints = {0};
    snprintf(file, sizeof file, "%s.gp", question->name);
    path_join(folder, paths->root, "paper_figs");
    variable(&variables, "data", data);
    variable(&variables, "out", "/dev/stdout");
    variable(&variables, "format", format);
    variable(&variables, "title", title);
    const char *arguments[] = {"gnuplot",
                               "-e",
                               text_view(&variables),
                               path_join(common, folder, "style.gp"),
                               path_join(script, folder, file),
                               NULL};
    char *path = text_format("%s.%s", stem, format);
    setenv("SOURCE_DATE_EPOCH", "0", true); /* for drawing libraries that date their files */
    const bool drawn = process_capture(arguments, &image, &complaints) && image.length;
    if (drawn && !strcmp(format, "pdf")) pdf_date_remove(&image);
    const bool ok = drawn ? file_write_atomic(path, image.text, image.length, error)
                          : plot_refused(question, text_view(&complaints), error);
    free(path);
    text_free(&variables);
    text_free(&image);
    text_free(&complaints);
    return ok;
}

bool figure_draw(const Paths *paths, Store *store, const char *name, const char *const *parameters, int pairs,
                 const char *stem, const char *format, Error *error) {
    static const char *const all[] = {"png", "svg", "pdf"};
    char folder[1024], title[512];
    Question question;
    if (!question_read(paths, name, &question, error)) return false;
    char *data = text_format("%s.tsv", stem);
    bool ok = folder_make(path_folder(folder, stem), error) &&
              figure_data(store, &question, parameters, pairs, data, error);
    for (int i = 0; ok && i < 3; i++)
        if (!format || !strcmp(format, all[i]))
            ok = figure_plot(paths, &question, question_title(&question, parameters, pairs, title), data,
                             stem, all[i], error);
    free(data);
    question_free(&question);
    return ok;
}
