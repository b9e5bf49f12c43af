/* What the store's files share: the connection, statements that are compiled once, and transactions. */
#ifndef ICT_STORE_STORE_INTERNAL_H
#define ICT_STORE_STORE_INTERNAL_H

#include "store/store.h"
#include <sqlite3.h>

enum { STORE_STATEMENTS = 48 };

typedef struct Statement {
    const char *sql; /* a literal: its address is its name */
    sqlite3_stmt *compiled;
} Statement;

struct Store {
    sqlite3 *db;
    char path[1024], host[64];
    Statement statements[STORE_STATEMENTS];
    int statement_count;
};

/* "path: what: SQLite's reason, and what to do about it"; returns false. */
bool store_error(Store *, const char *what, Error *);
bool database_error(sqlite3 *, const char *path, const char *what, Error *);

/* The statement of a literal, reset and unbound, with values bound by `types`: t text, i int64_t, d double
 * (NaN: NULL). NULL on error. */
sqlite3_stmt *store_statement(Store *, Error *, const char *sql, const char *types, ...);
/* Runs a statement to its end. */
bool store_execute(Store *, Error *, const char *sql, const char *types, ...);
/* The first integer of the first row; `otherwise` when there is no row or it is NULL. */
bool store_integer(Store *, Error *, int64_t *value, int64_t otherwise, const char *sql, const char *types,
                   ...);
/* Copies a text column; NULL becomes "". */
void store_column(sqlite3_stmt *, int column, char *out, size_t size);

/* BEGIN IMMEDIATE takes the write lock at once: with busy_timeout a writer waits its turn and never fails
 * half-way. */
bool transaction_begin(Store *, Error *);
/* Commits when `ok`, rolls back otherwise; returns whether everything went well. */
bool transaction_end(Store *, bool ok, Error *);

/* The name of a network file system by its number in statfs(2); NULL for local ones. */
const char *network_file_system(unsigned long magic);

/* Gives the connection the paper's quantities as SQL functions (store_functions.c). */
bool functions_register(Store *, Error *);
/* And what an experiment says of the paper (store_claim.c). */
bool claims_register(Store *, Error *);
/* And settings of runs (store_settings.c). */
bool settings_register(Store *, Error *);
/* And what files ask for now (store_asked.c). */
bool asked_register(Store *, Error *);
/* And what tells runs of one arm apart (store_variants.c). */
bool variants_register(Store *, Error *);

/* Tables, and steps from older layouts (store_schema.c). */
bool schema_migrate(Store *, Error *);
int schema_version(void);

#endif
