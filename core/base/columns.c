/* Cells are kept until all are known, because the widest decides its column's width. */
#include "base/columns.h"

#include <stdlib.h>
#include <string.h>

Columns columns_begin(int columns, const char *const *titles) {
    CHECK(columns <= MOST_COLUMNS, "%d columns, at most %d", columns, MOST_COLUMNS);
    Columns table = {.columns = columns};
    columns_add(&table, titles);
    return table;
}

void columns_add(Columns *table, const char *const *cells) {
    const size_t before = (size_t)table->rows * (size_t)table->columns, row = (size_t)table->columns;
    char **grown = realloc(table->cells, (before + row) * sizeof *grown);
    CHECK(grown, "out of memory for a table of %d rows", table->rows + 1);
    table->cells = grown;
    for (size_t i = 0; i < row; i++) grown[before + i] = text_copy(cells[i]);
    table->rows++;
}

/* Letters, not bytes: continuation bytes of UTF-8 take no room. */
static int width_of(const char *text) {
    int width = 0;
    for (; *text; text++) width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static void cell_print(const char *text, int width, bool right, bool last, FILE *out) {
    const int padding = width - width_of(text);
    if (right)
        fprintf(out, "%*s%s", padding, "", text);
    else
        fprintf(out, "%s%*s", text, last ? 0 : padding, "");
    fputs(last ? "\n" : "  ", out);
}

void columns_print(const Columns *table, FILE *out) {
    int widths[MOST_COLUMNS] = {0};
    bool right[MOST_COLUMNS] = {0};
    for (int c = 0; c < table->columns; c++) {
        right[c] = table->cells[c][0] == '>';
        for (int r = 0; r < table->rows; r++) {
            const int width = width_of(table->cells[r * table->columns + c]) - (right[c] && r == 0);
            if (width > widths[c]) widths[c] = width;
        }
    }
    for (int r = 0; r < table->rows; r++)
        for (int c = 0; c < table->columns; c++)
            cell_print(table->cells[r * table->columns + c] + (right[c] && r == 0), widths[c], right[c],
                       c + 1 == table->columns, out);
}

void columns_free(Columns *table) {
    for (int i = 0; i < table->rows * table->columns; i++) free(table->cells[i]);
    free(table->cells);
    *table = (Columns){0};
}
