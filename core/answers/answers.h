/* Tables and figures: questions asked of the database in SQL (paper_figs/<name>.sql), answered as Markdown,
 * CSV, LaTeX, or drawn by gnuplot (paper_figs/<name>.gp).
 *
 * A .sql file opens with comment lines `-- title: ...` and `-- caption: ...`; after them comes one SELECT,
 * whose parameters (:run, :experiment, ...) the command line, the report or answers_all() gives; $scale and
 * the like may be left out and are NULL then. `-- begins with: NAME` puts paper_figs/parts/NAME.sql, the
 * beginning that several questions share, before it. Columns keep the SELECT's names.
 */
#ifndef ICT_ANSWERS_ANSWERS_H
#define ICT_ANSWERS_ANSWERS_H

#include "config/paths.h"
#include "store/store.h"

typedef struct Question {
    char name[64];
    char title[256], caption[1024]; /* may be empty */
    char *sql;
} Question;

/* The title with every `:parameter` in it replaced by its value. */
const char *question_title(const Question *, const char *const *parameters, int pairs, char out[512]);

/* Reads paper_figs/<name>.sql; a name that does not exist is answered with the nearest one and the list. */
bool question_read(const Paths *, const char *name, Question *, Error *);
void question_free(Question *);
/* What it is about: "run", "experiment", "session" (of bench), or NULL. */
const char *question_parameter(const Question *);
/* Names of all figures (questions with a .gp beside them) or tables (without), sorted and malloc'ed one by
 * one. */
enum { MAX_QUESTIONS = 128 };
int question_names(const Paths *, bool figures, char *names[MAX_QUESTIONS]);
/* "name  title" of every question that has (figures) or has not (tables) a .gp beside it. */
bool question_list(const Paths *, bool figures, Error *);

typedef enum TableFormat { TABLE_MARKDOWN, TABLE_CSV, TABLE_LATEX, TABLE_HTML } TableFormat;

/* Appends the answer as a table; `parameters` are `pairs` names and values. */
bool table_print(Store *, const Question *, TableFormat, const char *const *parameters, int pairs, Text *out,
                 Error *);

/* Draws the answer into <stem>.png, .svg and .pdf (`format` NULL), or one of them, leaving its data in
 * <stem>.tsv. The first column, `series`, splits the rows into the blocks that the .gp file names. */
bool figure_draw(const Paths *, Store *, const char *name, const char *const *parameters, int pairs,
                 const char *stem, const char *format, Error *);

/* All tables as .md, .csv and .tex into <results>/tables, or all figures into <results>/figures. */
bool answers_all(const Paths *, Store *, bool figures, Error *);

#endif
