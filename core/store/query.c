/* SQL given as text: what tables, figures, exports and listings are made of. Only statements that read are
 * let through. */
#include "store/store_internal.h"

#include <string.h>

enum { MAX_COLUMNS = 64 };

/* :name must have a value; $name is NULL without one. */
static bool parameters_bind(sqlite3_stmt *statement, const char *const *parameters, int pairs, Error *error) {
    for (int i = 1; i <= sqlite3_bind_parameter_count(statement); i++) {
        const char *name = sqlite3_bind_parameter_name(statement, i);
        int pair = 0;
        while (pair < pairs && name && strcmp(name + 1, parameters[2 * pair])) pair++;
        if (name && *name == '$' && pair == pairs) continue;
        if (!name || pair == pairs)
            return error_set(error, "the query's parameter %s has no value", name ? name : "?");
        sqlite3_bind_text(statement, i, parameters[2 * pair + 1], -1, SQLITE_STATIC);
    }
    return true;
}

static StoreCell cell_read(sqlite3_stmt *statement, int column, char number[32]) {
    StoreCell cell = {sqlite3_column_name(statement, column), "", STORE_NULL};
    const int type = sqlite3_column_type(statement, column);
    if (type == SQLITE_NULL) return cell;
    cell.type = type == SQLITE_INTEGER || type == SQLITE_FLOAT ? STORE_NUMBER : STORE_TEXT;
    /* Numbers are written so that they read back as the same double; SQLite's own text has fifteen digits. */
    cell.text = type == SQLITE_FLOAT ? format_double(number, sqlite3_column_double(statement, column))
                                     : (const char *)sqlite3_column_text(statement, column);
    return cell;
}

static bool rows_hand_over(Store *store, sqlite3_stmt *statement, StoreCells *row, void *context,
                           Error *error) {
    StoreCell cells[MAX_COLUMNS];
    char numbers[MAX_COLUMNS][32];
    const int columns = sqlite3_column_count(statement);
    if (columns > MAX_COLUMNS)
        return error_set(error, "the query has %d columns, at most %d are possible", columns, MAX_COLUMNS);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < columns; i++) cells[i] = cell_read(statement, i, numbers[i]);
        row(context, columns, cells);
    }
    return code == SQLITE_DONE || store_error(store, "the query failed", error);
}

bool store_query_cells(Store *store, const char *sql, const char *const *parameters, int pairs,
                       StoreCells *row, void *context, Error *error) {
    sqlite3_stmt *statement = NULL;
    const char *rest = "";
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, &rest) != SQLITE_OK)
        return store_error(store, "the query cannot be understood", error);
    bool done = false;
    if (!statement)
        error_set(error, "the query is empty");
    else if (rest[strspn(rest, " \t\r\n;")])
        error_set(error, "one query at a time; this follows the first: %s", rest);
    else if (!sqlite3_stmt_readonly(statement))
        error_set(error, "only queries that read are possible: %s", sql);
    else
        done = parameters_bind(statement, parameters, pairs, error) &&
               rows_hand_over(store, statement, row, context, error);
    sqlite3_finalize(statement);
    return done;
}

typedef struct TextRows {
    StoreRow *row;
    void *context;
} TextRows;

static void cells_as_text(void *context, int columns, const StoreCell *cells) {
    const TextRows *rows = context;
    const char *names[MAX_COLUMNS], *values[MAX_COLUMNS];
    for (int i = 0; i < columns; i++) {
        names[i] = cells[i].name;
        values[i] = cells[i].type == STORE_NULL ? NULL : cells[i].text;
    }
    rows->row(rows->context, columns, names, values);
}

bool store_query(Store *store, const char *sql, const char *const *parameters, int pairs, StoreRow *row,
                 void *context, Error *error) {
    TextRows rows = {row, context};
    return store_query_cells(store, sql, parameters, pairs, cells_as_text, &rows, error);
}
