/* Answers as tables: Markdown, CSV (RFC 4180), LaTeX (booktabs) and HTML. Rows are kept until the last one is
 * known: columns of numbers stand to the right, columns of words to the left. */
#include "answers/answers.h"
#include "answers/html.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 64 };

typedef struct TableWriter {
    TableFormat format;
    Text *out, body;
    int rows, columns;
    char *names[MOST_COLUMNS];
    bool words[MOST_COLUMNS]; /* some cell is no number */
} TableWriter;

static void cell_latex(Text *out, const char *value) {
    for (const char *c = value; *c; c++) {
        if (strchr("&%$#_{}", *c))
            text_append(out, "\\%c", *c);
        else if (*c == '~')
            text_append(out, "\\textasciitilde{}");
        else if (*c == '^')
            text_append(out, "\\textasciicircum{}");
        else if (*c == '\\')
            text_append(out, "\\textbackslash{}");
        else
            text_append(out, "%c", *c);
    }
}

static void cell_markdown(Text *out, const char *value) {
    for (const char *c = value; *c; c++) text_append(out, *c == '|' ? "\\|" : "%c", *c);
}

static void write_cells(TableFormat format, Text *out, int columns, const char *const *values) {
    static void (*const write[])(Text *, const char *) = {cell_markdown, text_append_csv, cell_latex,
                                                          html_text};
    static const char *const before[] = {"| ", "", "", "<tr><td>"},
                             *const between[] = {" | ", ",", " & ", "</td><td>"},
                             *const after[] = {" |\n", "\n", " \\\\\n", "</td></tr>\n"};
    text_append(out, "%s", before[format]);
    for (int i = 0; i < columns; i++) {
        if (i) text_append(out, "%s", between[format]);
        write[format](out, values[i] ? values[i] : "");
    }
    text_append(out, "%s", after[format]);
}

static void write_head_html(TableWriter *w, int columns, const char *const *names) {
    text_append(w->out, "<thead><tr>");
    for (int i = 0; i < columns; i++) {
        text_append(w->out, "<th scope=\"col\">");
        html_text(w->out, names[i]);
        text_append(w->out, "</th>");
    }
    text_append(w->out, "</tr></thead><tbody>\n");
}

/* "2.83", "-0.1", "9.89*" (see the caption), "0.6 ± 0.04", "3 of 4"; an empty cell does not say. */
static bool is_number(const char *cell) {
    char *end;
    if (!cell || !*cell) return true;
    strtod(cell, &end);
    return end > cell && (!*end || !strcmp(end, "*") || !strncmp(end, " ± ", 4) || !strncmp(end, " of ", 4));
}

static void write_head(TableWriter *w, int columns, const char *const *names) {
    if (w->format == TABLE_HTML) {
        write_head_html(w, columns, names);
        return;
    }
    if (w->format == TABLE_LATEX) {
        text_append(w->out, "\\begin{tabular}{l");
        for (int i = 1; i < columns; i++) text_append(w->out, w->words[i] ? "l" : "r");
        text_append(w->out, "}\n\\toprule\n");
    }
    write_cells(w->format, w->out, columns, names);
    if (w->format == TABLE_LATEX) text_append(w->out, "\\midrule\n");
    if (w->format != TABLE_MARKDOWN) return;
    for (int i = 0; i < columns; i++)
        text_append(w->out, "%s%s", i ? "" : "|", i && !w->words[i] ? "---:|" : "---|");
    text_append(w->out, "\n");
}

static void write_row(void *context, int columns, const char *const *names, const char *const *values) {
    TableWriter *w = context;
    CHECK(columns <= MOST_COLUMNS, "a table of %d columns", columns);
    for (; w->columns < columns; w->columns++) w->names[w->columns] = text_copy(names[w->columns]);
    for (int i = 0; i < columns; i++) w->words[i] = w->words[i] || !is_number(values[i]);
    write_cells(w->format, &w->body, columns, values);
    w->rows++;
}

static void table_end(TableWriter *w) {
    if (w->rows) write_head(w, w->columns, (const char *const *)w->names);
    text_append_bytes(w->out, text_view(&w->body), w->body.length);
    text_free(&w->body);
    for (int i = 0; i < w->columns; i++) free(w->names[i]);
}

/* The caption stays where it is while a wide table scrolls below it. */
static void caption_html(const Question *question, const char *title, Text *out) {
    text_append(out, "<figure><figcaption><strong>");
    html_text(out, title);
    text_append(out, "</strong>%s", *question->caption ? "<br>" : "");
    html_text(out, question->caption);
    text_append(out, "</figcaption><div class=\"table\"><table>");
}

bool table_print(Store *store, const Question *question, TableFormat format, const char *const *parameters,
                 int pairs, Text *out, Error *error) {
    char title[512];
    TableWriter writer = {.format = format, .out = out};
    if (format == TABLE_HTML) caption_html(question, question_title(question, parameters, pairs, title), out);
    if (format == TABLE_MARKDOWN && question->title[0])
        text_append(out, "**%s**\n\n", question_title(question, parameters, pairs, title));
    const bool ok = store_query(store, question->sql, parameters, pairs, write_row, &writer, error);
    table_end(&writer);
    if (!ok) return error_wrap(error, "paper_figs/%s.sql", question->name);
    if (!writer.rows)
        return error_set(error, "table '%s' is empty: no run in this database answers it", question->name);
    if (format == TABLE_HTML) text_append(out, "</tbody></table></div></figure>\n");
    if (format == TABLE_LATEX) text_append(out, "\\bottomrule\n\\end{tabular}\n%% %s\n", question->caption);
    if (format == TABLE_MARKDOWN && question->caption[0]) text_append(out, "\n%s\n", question->caption);
    return true;
}
