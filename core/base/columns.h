/* Aligned columns for terminals. */
#ifndef ICT_BASE_COLUMNS_H
#define ICT_BASE_COLUMNS_H

#include "base/text.h"
#include <stdio.h>

enum { MOST_COLUMNS = 16 };

typedef struct Columns {
    int columns, rows;
    char **cells; /* rows x columns */
} Columns;

/* Begins with a row of titles; a title that starts with '>' is set to the right, like its column. */
Columns columns_begin(int columns, const char *const *titles);
/* Copies the row's cells. */
void columns_add(Columns *, const char *const *cells);
/* Two spaces between columns; the last one is not padded. */
void columns_print(const Columns *, FILE *);
void columns_free(Columns *);

#endif
