/* Opening the database, and what every other file of the store uses: statements compiled once, transactions,
 * messages.
 *
 * Many processes write at once (one child a run, their parent, `ls` on another terminal). Three settings make
 * that safe and quiet: write-ahead logging, so that readers never wait; a busy timeout, so that writers wait
 * instead of failing; and BEGIN IMMEDIATE, so that a transaction which has started can finish. WAL needs
 * shared memory between the processes, which network file systems do not give: there the journal is SQLite's
 * older one. */
#include "base/file.h"
#include "base/log.h"
#include "store/store_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { BUSY_MILLISECONDS = 30000 };

const char *store_library_version(void) {
    return sqlite3_libversion();
}

/* ---- messages ---- */

static const char *advice(int code) {
    switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return " (another program has held it for 30 s: look for a stopped one with `fuser`)";
    case SQLITE_FULL:
        return " (the disk is full: free some space and issue the command again)";
    case SQLITE_IOERR:
        return " (the disk is full or fails: free some space and issue the command again; `dmesg` says more)";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return " (check that you may write the file and its folder, or name another with --db PATH)";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return " (the file is damaged or is no database; it is left as it is. Move it away: the same command "
               "makes a new one and goes on from the checkpoints. `sqlite3 FILE .recover | sqlite3 NEW.db` "
               "rescues what is in it, `./run import NEW.db` takes that over)";
    default:
        return "";
    }
}

/* The system's own reason, where SQLite hides it behind "disk I/O error". */
bool database_error(sqlite3 *db, const char *path, const char *what, Error *error) {
    const int code = sqlite3_extended_errcode(db), reason = sqlite3_system_errno(db);
    const bool hidden = reason && ((code & 0xFF) == SQLITE_IOERR || (code & 0xFF) == SQLITE_CANTOPEN);
    return error_set(error, "%s: %s: %s%s%s%s", path, what, sqlite3_errmsg(db), hidden ? ": " : "",
                     hidden ? strerror(reason) : "", advice(code));
}

bool store_error(Store *store, const char *what, Error *error) {
    return database_error(store->db, store->path, what, error);
}

/* ---- statements ---- */

static sqlite3_stmt *statement_find(Store *store, const char *sql, Error *error) {
    for (int i = 0; i < store->statement_count; i++)
        if (store->statements[i].sql == sql) return store->statements[i].compiled;
    CHECK(store->statement_count < STORE_STATEMENTS, "more than %d statements: raise STORE_STATEMENTS",
          STORE_STATEMENTS);
    sqlite3_stmt *compiled;
    if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &compiled, NULL) != SQLITE_OK) {
        store_error(store, sql, error);
        return NULL;
    }
    store->statements[store->statement_count++] = (Statement){sql, compiled};
    return compiled;
}

static void values_bind(sqlite3_stmt *statement, const char *types, va_list values) {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    for (int i = 1; *types; types++, i++) {
        if (*types == 't')
            sqlite3_bind_text(statement, i, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
        else if (*types == 'i')
            sqlite3_bind_int64(statement, i, va_arg(values, int64_t));
        else
            sqlite3_bind_double(statement, i, va_arg(values, double)); /* SQLite turns NaN into NULL */
    }
}

sqlite3_stmt *store_statement(Store *store, Error *error, const char *sql, const char *types, ...) {
    sqlite3_stmt *statement = statement_find(store, sql, error);
    va_list values;
    va_start(values, types);
    if (statement) values_bind(statement, types, values);
    va_end(values);
    return statement;
}

bool store_execute(Store *store, Error *error, const char *sql, const char *types, ...) {
    sqlite3_stmt *statement = statement_find(store, sql, error);
    if (!statement) return false;
    va_list values;
    va_start(values, types);
    values_bind(statement, types, values);
    va_end(values);
    int code;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW) continue;
    const bool done = code == SQLITE_DONE;
    if (!done) store_error(store, "writing failed", error);
    sqlite3_reset(statement); /* lets go of the lock */
    return done;
}

bool store_integer(Store *store, Error *error, int64_t *value, int64_t otherwise, const char *sql,
                   const char *types, ...) {
    sqlite3_stmt *statement = statement_find(store, sql, error);
    if (!statement) return false;
    va_list values;
    va_start(values, types);
    values_bind(statement, types, values);
    va_end(values);
    const int code = sqlite3_step(statement);
    const bool there = code == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL;
    *value = there ? sqlite3_column_int64(statement, 0) : otherwise;
    const bool done = code == SQLITE_ROW || code == SQLITE_DONE;
    if (!done) store_error(store, "reading failed", error);
    sqlite3_reset(statement);
    return done;
}

void store_column(sqlite3_stmt *statement, int column, char *out, size_t size) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    snprintf(out, size, "%s", text ? text : "");
}

/* ---- transactions ---- */

bool transaction_begin(Store *store, Error *error) {
    return store_execute(store, error, "BEGIN IMMEDIATE", "");
}

bool transaction_end(Store *store, bool ok, Error *error) {
    if (ok && store_execute(store, error, "COMMIT", "")) return true;
    store_execute(store, NULL, "ROLLBACK", ""); /* the first error is the one to report */
    return false;
}

/* ---- opening ---- */

/* File systems whose shared memory maps do not work between machines (or at all): their numbers
 * in statfs(2). */
const char *network_file_system(unsigned long magic) {
    static const struct {
        unsigned long magic;
        const char *name;
    } kinds[] = {{0x6969, "NFS"},        {0xFF534D42, "CIFS"},  {0xFE534D42, "SMB"},  {0x517B, "SMB"},
                 {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"},  {0x65735546, "FUSE"}, {0x00C36400, "Ceph"},
                 {0x19830326, "BeeGFS"}, {0xAAD7AAEA, "PanFS"}, {0x01021997, "9P"},   {0x5346414F, "AFS"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (magic == kinds[i].magic) return kinds[i].name;
    return NULL;
}

/* Two processes that open a new file at once both ask for the switch to WAL, and SQLite tells one of them
 * "busy" without waiting: hence the loop. */
static bool journal_set(Store *store, const char *folder, Error *error) {
    struct statfs status = {0};
    const char *network =
        statfs(folder, &status) == 0 ? network_file_system((unsigned long)status.f_type) : NULL;
    if (network)
        log_warn("%s lies on %s, where write-ahead logging is not safe: using the slower rollback journal. A "
                 "file on a "
                 "local disk (--db PATH, or ICT_DB) is faster; `./run import` collects such files later",
                 store->path, network);
    const char *sql = network ? "PRAGMA journal_mode = DELETE" : "PRAGMA journal_mode = WAL";
    int code = SQLITE_BUSY;
    for (int i = 0; i < BUSY_MILLISECONDS / 50 && code == SQLITE_BUSY; i++) {
        if (i) usleep(50000);
        code = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    }
    if (code != SQLITE_OK) return store_error(store, "cannot be used as a database", error);
    if (!network) sqlite3_exec(store->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
    sqlite3_exec(store->db, "PRAGMA foreign_keys = ON", NULL, NULL, NULL);
    return true;
}

static bool connect(Store *store, Error *error) {
    char folder[1024];
    /* cppcheck-suppress ctunullpointer */
    path_folder(folder, store->path);
    if (!folder_make(folder, error)) return false;
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    if (sqlite3_open_v2(store->path, &store->db, flags, NULL) != SQLITE_OK)
        return store_error(store, "cannot be opened", error);
    sqlite3_busy_timeout(store->db, BUSY_MILLISECONDS);
    return journal_set(store, folder, error) && functions_register(store, error) &&
           claims_register(store, error) && settings_register(store, error) && asked_register(store, error) &&
           variants_register(store, error) && schema_migrate(store, error);
}

bool store_open(const char *path, Store **out, Error *error) {
    Store *store = calloc(1, sizeof *store);
    CHECK(store, "out of memory for a database connection");
    *out = NULL;
    snprintf(store->path, sizeof store->path, "%s", path);
    gethostname(store->host, sizeof store->host - 1);
    if (connect(store, error)) {
        *out = store;
        return true;
    }
    store_close(store);
    return false;
}

void store_close(Store *store) {
    if (!store) return;
    for (int i = 0; i < store->statement_count; i++) sqlite3_finalize(store->statements[i].compiled);
    sqlite3_close(store->db);
    free(store);
}

bool store_check(Store *store, char journal[16], Text *problems, Error *error) {
    sqlite3_stmt *mode = store_statement(store, error, "PRAGMA journal_mode", "");
    sqlite3_stmt *check = store_statement(store, error, "PRAGMA quick_check", "");
    if (!mode || !check) return false;
    if (sqlite3_step(mode) == SQLITE_ROW) store_column(mode, 0, journal, 16);
    sqlite3_reset(mode);
    int code;
    while ((code = sqlite3_step(check)) == SQLITE_ROW)
        text_append(problems, "%s%s", problems->length ? "; " : "",
                    (const char *)sqlite3_column_text(check, 0));
    sqlite3_reset(check);
    return code == SQLITE_DONE || store_error(store, "cannot be checked", error);
}
