/* What files ask for now, as SQL functions:
 *
 *   experiment_setting(experiment, key)      of experiments/<experiment>.yaml, resolved as it would run, at
 *                                            its own scale
 *   config_asked(config, file, arm, scale)   the configuration that the file gives this arm at this scale, on
 *                                            the run's own data
 *
 * Beside the second, a run that was given a setting on the command line, or that an older text of file or
 * scale made, is seen to be something else. NULL where there is no such file, arm, scale or key. A query asks
 * about many runs of few files, so the last plan is kept. */
#include "base/file.h"
#include "config/config_key.h"
#include "config/paths.h"
#include "store/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Asked {
    char file[1024], scale[32];
    bool known; /* `plan` is theirs */
    Plan plan;
} Asked;

static void asked_forget(void *context) {
    Asked *asked = context;
    if (asked->known) plan_free(&asked->plan);
    free(asked);
}

/* The plan of a file, relative to the repository, at a scale ("": its own); NULL when there is none. */
static const Plan *asked_plan(Asked *asked, const char *file, const char *scale) {
    if (asked->known && !strcmp(asked->file, file) && !strcmp(asked->scale, scale)) return &asked->plan;
    const Paths paths = paths_find(NULL, NULL, NULL);
    char folder[1024], scales[1100], path[1400];
    const char *const files[] = {*file == '/' ? file : path_join(path, paths.root, file)};
    const PlanRequest request = {
        .files = files,
        .file_count = 1,
        .scale = *scale ? scale : NULL,
        .scale_folder = path_join(scales, path_join(folder, paths.root, "experiments"), "scales"),
        .data_folder = paths.data,
        .without_data = true};
    Error error;
    if (asked->known) plan_free(&asked->plan);
    asked->known = file_exists(files[0]) && plan_make(&request, &asked->plan, &error);
    if (!asked->known) return NULL;
    snprintf(asked->file, sizeof asked->file, "%s", file);
    snprintf(asked->scale, sizeof asked->scale, "%s", scale);
    return &asked->plan;
}

static void sql_experiment_setting(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    const char *name = (const char *)sqlite3_value_text(values[0]),
               *key = (const char *)sqlite3_value_text(values[1]);
    char file[300];
    if (!name || !key || strchr(name, '/')) return;
    if (snprintf(file, sizeof file, "experiments/%s.yaml", name) >= (int)sizeof file) return;
    const Plan *plan = asked_plan(sqlite3_user_data(context), file, "");
    Text text = {0};
    if (plan && plan->run_count && config_get(&plan->runs[0].config, key, &text))
        sqlite3_result_text(context, text_view(&text), -1, SQLITE_TRANSIENT);
    text_free(&text);
}

/* ---- config_asked ---- */

static void take(Config *config, const char *from, const char *key) {
    char value[256];
    Error error;
    if (config_text_get(from, key, value, sizeof value)) config_set(config, key, value, &error);
}

/* What answers show by itself (the data set, metrics, steps of sampling), what is one run's own (its seed),
 * and what only the data set knew. */
static void take_what_is_shown(Config *config, const char *run) {
    static const char *const shown[] = {"seed", "evaluation.at", "evaluation.nfe", "evaluation.metrics"},
                             *const of_data[] = {"data.resolution", "data.count", "data.seed"};
    const DataConfig file = config->data;
    take(config, run, "data.name");
    const bool other = strcmp(file.name, config->data.name) != 0;
    const bool open[] = {!file.resolution, !file.count, false};
    for (int i = 0; i < 3; i++)
        if (other || open[i]) take(config, run, of_data[i]);
    for (int i = 0; i < 4; i++) take(config, run, shown[i]);
    for (int i = 0; i < config_key_count; i++)
        if (strstr(config_keys[i].name, "_hash")) take(config, run, config_keys[i].name);
}

static const RunSpec *run_of_arm(const Plan *plan, const char *arm) {
    for (int i = 0; plan && i < plan->run_count; i++)
        if (!strcmp(plan->runs[i].arm, arm)) return &plan->runs[i];
    return NULL;
}

static void sql_config_asked(sqlite3_context *context, int count, sqlite3_value **values) {
    const char *text[4];
    for (int i = 0; i < count; i++)
        if (!(text[i] = (const char *)sqlite3_value_text(values[i]))) return;
    const RunSpec *run = run_of_arm(asked_plan(sqlite3_user_data(context), text[1], text[3]), text[2]);
    if (!run) return;
    Config config = run->config;
    Text asked = {0};
    take_what_is_shown(&config, text[0]);
    config_print(&config, CONFIG_ALL, &asked);
    sqlite3_result_text(context, text_view(&asked), -1, SQLITE_TRANSIENT);
    text_free(&asked);
}

/* Not said to be deterministic: files change. */
bool asked_register(Store *store, Error *error) {
    static const struct {
        const char *name;
        int arguments;
        void (*function)(sqlite3_context *, int, sqlite3_value **);
    } all[] = {{"experiment_setting", 2, sql_experiment_setting}, {"config_asked", 4, sql_config_asked}};
    for (int i = 0; i < 2; i++) {
        Asked *asked = calloc(1, sizeof *asked);
        CHECK(asked, "out of memory");
        if (sqlite3_create_function_v2(store->db, all[i].name, all[i].arguments, SQLITE_UTF8, asked,
                                       all[i].function, NULL, NULL, asked_forget) != SQLITE_OK)
            return store_error(store, all[i].name, error);
    }
    return true;
}
