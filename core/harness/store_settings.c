/* Settings as SQL functions:
 *
 *   setting(config, key)                  of a stored configuration (run.config)
 *   experiment_setting(experiment, key)   of experiments/<experiment>.yaml, resolved as it would run; at its
 * own scale
 *
 * NULL where there is no such key or experiment. */
#include "base/file.h"
#include "harness/paths.h"
#include "harness/store_internal.h"

#include <string.h>

static void sql_setting(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    char value[256];
    const char *config = (const char *)sqlite3_value_text(values[0]),
               *key = (const char *)sqlite3_value_text(values[1]);
    if (config && key && config_text_get(config, key, value, sizeof value))
        sqlite3_result_text(context, value, -1, SQLITE_TRANSIENT);
}

static bool experiment_plan(const char *name, Plan *plan) {
    const Paths paths = paths_find(NULL, NULL, NULL);
    char experiments[1024], scales[1100], file[300], path[1400];
    Error error;
    if (strchr(name, '/') || snprintf(file, sizeof file, "%s.yaml", name) >= (int)sizeof file) return false;
    path_join(experiments, paths.root, "experiments");
    const char *const files[] = {path_join(path, experiments, file)};
    return plan_make(&(PlanRequest){.files = files,
                                    .file_count = 1,
                                    .scale_folder = path_join(scales, experiments, "scales"),
                                    .data_folder = paths.data,
                                    .without_data = true},
                     plan, &error);
}

static void sql_experiment_setting(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    const char *name = (const char *)sqlite3_value_text(values[0]),
               *key = (const char *)sqlite3_value_text(values[1]);
    Plan plan;
    Text text = {0};
    if (!name || !key || !experiment_plan(name, &plan)) return;
    if (plan.run_count && config_get(&plan.runs[0].config, key, &text))
        sqlite3_result_text(context, text_view(&text), -1, SQLITE_TRANSIENT);
    text_free(&text);
    plan_free(&plan);
}

bool settings_register(Store *store, Error *error) {
    return (sqlite3_create_function(store->db, "setting", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                    sql_setting, NULL, NULL) == SQLITE_OK &&
            sqlite3_create_function(store->db, "experiment_setting", 2, SQLITE_UTF8, NULL,
                                    sql_experiment_setting, NULL, NULL) == SQLITE_OK) ||
           store_error(store, "setting", error);
}
