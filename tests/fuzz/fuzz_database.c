/* Results of another machine: a database whose runs are taken over, listed and read. */
#include "tests/fuzz/fuzz.h"

#include "base/log.h"
#include "store/store.h"

#include <string.h>

FUZZ_REPAIR(repair_nothing);

static void path_make(char path[1024], const char *name) {
    path_join(path, fuzz_folder(), name);
}

/* The side files too: they would be taken for the new file's. */
static void database_remove(const char *name) {
    static const char *const ends[4] = {"", "-wal", "-shm", "-journal"};
    for (int i = 0; i < 4; i++) {
        char file[64], path[1024];
        snprintf(file, sizeof file, "%s%s", name, ends[i]);
        path_make(path, file);
        remove(path);
    }
}

static void rows_touch(Store *store) {
    RunRow *rows;
    Error error;
    int count;
    if (!store_list_runs(store, &rows, &count, &error)) {
        fuzz_refused(&error);
        return;
    }
    for (int i = 0; i < count; i++)
        if (rows[i].config) fuzz_touch(rows[i].config, strlen(rows[i].config));
    run_rows_free(rows, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Store *store;
    char mine[1024], other[1024];
    Error error;
    ImportCount added = {0};
    log_set_level(LOG_ERROR);
    path_make(mine, "mine.db");
    path_make(other, "other.db");
    CHECK(store || store_open(mine, &store, &error), "%s", error.text);
    database_remove("other.db");
    FILE *file = fopen(other, "wb");
    CHECK(file, "%s cannot be written", other);
    fwrite(bytes, 1, size, file);
    fclose(file);
    const bool done = store_import(store, other, &added, &error);
    if (!done) fuzz_refused(&error);
    if (!done) return 0;
    rows_touch(store);
    store_close(store);
    store = NULL;
    database_remove("mine.db");
    return 0;
}
