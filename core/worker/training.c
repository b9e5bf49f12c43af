/* One training for runs that differ in evaluation only; training.h says more. */
#include "worker/training.h"
#include "base/file.h"
#include "base/log.h"
#include "train/checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

Hash training_hash(const Config *config) {
    Text text = {0};
    config_print(config, CONFIG_TRAINING, &text);
    const Hash hash = hash_bytes(text_view(&text), text.length);
    text_free(&text);
    return hash;
}

static bool evaluates_at_end_only(const TrainConfig *train) {
    for (int i = 0; i < train->evaluations; i++)
        if (train->evaluate_at[i] < 1) return false;
    return true;
}

/* Both as they are stored, because a data set adds to a configuration what only it can say. */
static bool stored_training(const RunRow *row, Hash *hash) {
    Config config;
    Error error;
    if (!config_parse(row->config, strlen(row->config), row->id, &config, &error)) return false;
    *hash = training_hash(&config);
    return true;
}

static bool same_training(const RunRow *row, const Hash *ours) {
    Hash theirs;
    return stored_training(row, &theirs) && !strcmp(theirs.hex, ours->hex);
}

static void keep_path(void *context, int columns, const char *const *names, const char *const *values) {
    (void)columns, (void)names;
    snprintf(context, 1024, "%s", values[0]);
}

/* Where the run's last checkpoint lies; false when it is gone. */
static bool last_checkpoint(Store *store, const RunRow *row, char path[1024], Error *error) {
    char stored[1024] = "", steps[24];
    snprintf(steps, sizeof steps, "%lld", (long long)row->steps);
    const char *const parameters[] = {"run", row->id, "step", steps};
    return store_query(store,
                       "SELECT path FROM artifact WHERE run_id = :run AND kind = 'checkpoint' AND step = "
                       "CAST(:step AS INTEGER)",
                       parameters, 2, keep_path, stored, error) &&
           stored[0] && file_exists(store_locate(store, stored, path));
}

/* A hard link serves: checkpoints are written once, under another name. Where it cannot be made (another
 * disk) the run trains for itself. */
static bool adopt_from(Worker *worker, const RunRow *row, const char *path, Error *error) {
    char ours[1024], text[128];
    path_join(ours, worker->folder, strrchr(path, '/') + 1);
    if (link(path, ours)) return true;
    snprintf(text, sizeof text, "training shared with run %s, which differs in evaluation only", row->id);
    log_info("%s", text);
    return store_copy_metrics(worker->store, row->id, worker->id, error) &&
           store_event(worker->store, worker->id, "info", text, error);
}

static bool adopt_any(Worker *worker, const RunRow *mine, Error *error) {
    RunRow *rows;
    int count;
    Hash ours;
    if (!stored_training(mine, &ours)) return true;
    if (!store_list_runs(worker->store, &rows, &count, error)) return false;
    char path[1024];
    Error ignored;
    const RunRow *from = NULL;
    for (int i = 0; i < count && !from; i++)
        if (rows[i].state == RUN_DONE && strcmp(rows[i].id, mine->id) &&
            !strcmp(rows[i].data_hash, mine->data_hash) && same_training(&rows[i], &ours) &&
            last_checkpoint(worker->store, &rows[i], path, &ignored))
            from = &rows[i];
    const bool ok = !from || adopt_from(worker, from, path, error);
    run_rows_free(rows, count);
    return ok;
}

bool training_adopt(Worker *worker, Error *error) {
    RunRow mine;
    if (!evaluates_at_end_only(&worker->config.train) || checkpoint_present(worker->folder)) return true;
    if (!store_get_run(worker->store, worker->id, &mine, error)) return false;
    const bool ok = adopt_any(worker, &mine, error);
    run_row_free(&mine);
    return ok;
}
