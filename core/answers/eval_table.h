/* What `eval` prints: one row a number, with its floor and all that decides it, as Markdown, CSV or JSON. */
#ifndef ICT_ANSWERS_EVAL_TABLE_H
#define ICT_ANSWERS_EVAL_TABLE_H

#include "base/text.h"
#include "eval/evaluate.h"

typedef struct EvalRow {
    char of[96]; /* "ema:0.05, 1-step", "images" */
    Evaluation number;
    double floor; /* real images against real images, or their share; NaN: there is none */
} EvalRow;

typedef struct EvalTable {
    EvalRow *rows;
    int count;
} EvalTable;

/* `floors` (may be NULL) are searched for "<metric>-floor" and "<metric>-real". */
void eval_table_add(EvalTable *, const char *of, const Evaluation *numbers, int count,
                    const Evaluation *floors, int floor_count);

/* `format`: "md" (also NULL), "csv" or "json". */
bool eval_table_print(const EvalTable *, const char *format, Text *out, Error *);
void eval_table_free(EvalTable *);

#endif
