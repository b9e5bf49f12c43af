/* What a run was and left behind, as SQL functions:
 *
 *   setting(config, key)                  of a stored configuration (run.config)
 *   own_protocol(config, protocol)        whether an evaluation was made as the run's own are: with its
 *                                         rounding, without repeats
 *   artifact_file(path)                   where a stored artifact lies now
 *   png_width(file)                       in pixels
 *
 * NULL where there is no such key or file. */
#include "base/file.h"
#include "store/store_internal.h"

#include <stdio.h>
#include <string.h>

static void sql_setting(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    char value[256];
    const char *config = (const char *)sqlite3_value_text(values[0]),
               *key = (const char *)sqlite3_value_text(values[1]);
    if (config && key && config_text_get(config, key, value, sizeof value))
        sqlite3_result_text(context, value, -1, SQLITE_TRANSIENT);
}

/* "round; trained on 25000-44999" is one, "round; mean of 3 repeats" is not. */
static void sql_own_protocol(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    char rounding[256];
    const char *config = (const char *)sqlite3_value_text(values[0]),
               *protocol = (const char *)sqlite3_value_text(values[1]);
    if (!config || !protocol || !config_text_get(config, "evaluation.rounding", rounding, sizeof rounding))
        return;
    const bool same =
        strcspn(protocol, ";") == strlen(rounding) && !strncmp(protocol, rounding, strlen(rounding));
    sqlite3_result_int(context, same && !strstr(protocol, " repeats"));
}

static void sql_artifact_file(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    char path[1024];
    const char *stored = (const char *)sqlite3_value_text(values[0]);
    if (stored && *stored && file_exists(store_locate(sqlite3_user_data(context), stored, path)))
        sqlite3_result_text(context, path, -1, SQLITE_TRANSIENT);
}

/* Big-endian, after the signature and the header's length and name. */
static void sql_png_width(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    unsigned char head[20];
    const char *path = (const char *)sqlite3_value_text(values[0]);
    FILE *file = path ? fopen(path, "rb") : NULL;
    if (file && fread(head, sizeof head, 1, file) == 1 && !memcmp(head + 1, "PNG", 3))
        sqlite3_result_int(context, head[16] << 24 | head[17] << 16 | head[18] << 8 | head[19]);
    if (file) fclose(file);
}

bool settings_register(Store *store, Error *error) {
    return (sqlite3_create_function(store->db, "setting", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                    sql_setting, NULL, NULL) == SQLITE_OK &&
            sqlite3_create_function(store->db, "own_protocol", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                    sql_own_protocol, NULL, NULL) == SQLITE_OK &&
            sqlite3_create_function(store->db, "artifact_file", 1, SQLITE_UTF8, store, sql_artifact_file,
                                    NULL, NULL) == SQLITE_OK &&
            sqlite3_create_function(store->db, "png_width", 1, SQLITE_UTF8, NULL, sql_png_width, NULL,
                                    NULL) == SQLITE_OK) ||
           store_error(store, "setting", error);
}
