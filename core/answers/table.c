/* Answers as tables: Markdown, CSV (RFC 4180), LaTeX (booktabs) and HTML. */
#include "answers/answers.h"
#include "answers/html.h"
#include <stdio.h>
#include <string.h>

typedef struct TableWriter {
    TableFormat format;
    Text *out;
    int rows;
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

static void write_cells(TableWriter *w, int columns, const char *const *values) {
    static void (*const write[])(Text *, const char *) = {cell_markdown, text_append_csv, cell_latex,
                                                          html_text};
    static const char *const before[] = {"| ", "", "", "<tr><td>"},
                             *const between[] = {" | ", ",", " & ", "</td><td>"},
                             *const after[] = {" |\n", "\n", " \\\\\n", "</td></tr>\n"};
    text_append(w->out, "%s", before[w->format]);
    for (int i = 0; i < columns; i++) {
        if (i) text_append(w->out, "%s", between[w->format]);
        write[w->format](w->out, values[i] ? values[i] : "");
    }
    text_append(w->out, "%s", after[w->format]);
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

static void write_head(TableWriter *w, int columns, const char *const *names) {
    if (w->format == TABLE_HTML) {
        write_head_html(w, columns, names);
        return;
    }
    if (w->format == TABLE_LATEX) {
        text_append(w->out, "\\begin{tabular}{l");
        for (int i = 1; i < columns; i++) text_append(w->out, "r");
        text_append(w->out, "}\n\\toprule\n");
    }
    write_cells(w, columns, names);
    if (w->format == TABLE_LATEX) text_append(w->out, "\\midrule\n");
    if (w->format != TABLE_MARKDOWN) return;
    for (int i = 0; i < columns; i++) text_append(w->out, i ? "---:|" : "|---|");
    text_append(w->out, "\n");
}

static void write_row(void *context, int columns, const char *const *names, const char *const *values) {
    TableWriter *w = context;
    if (!w->rows++) write_head(w, columns, names);
    write_cells(w, columns, values);
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
    TableWriter writer = {format, out, 0};
    if (format == TABLE_HTML) caption_html(question, question_title(question, parameters, pairs, title), out);
    if (format == TABLE_MARKDOWN && question->title[0])
        text_append(out, "**%s**\n\n", question_title(question, parameters, pairs, title));
    if (!store_query(store, question->sql, parameters, pairs, write_row, &writer, error))
        return error_wrap(error, "paper_figs/%s.sql", question->name);
    if (!writer.rows)
        return error_set(error, "table '%s' is empty: no run in this database answers it", question->name);
    if (format == TABLE_HTML) text_append(out, "</tbody></table></div></figure>\n");
    if (format == TABLE_LATEX) text_append(out, "\\bottomrule\n\\end{tabular}\n%% %s\n", question->caption);
    if (format == TABLE_MARKDOWN && question->caption[0]) text_append(out, "\n%s\n", question->caption);
    return true;
}
