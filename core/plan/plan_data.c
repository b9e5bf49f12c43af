/* See plan_data.h. A data set that could not be opened is remembered too: its message is the same for every
 * run. */
#include "plan/plan_data.h"

#include <stdlib.h>
#include <string.h>

/* Flips happen in training; they are not part of the data. */
static bool same_data(const DataConfig *a, const DataConfig *b) {
    return strcmp(a->name, b->name) == 0 && a->resolution == b->resolution && a->count == b->count &&
           a->seed == b->seed;
}

static OpenData *cache_find(const DataCache *cache, const DataConfig *config) {
    for (int i = 0; i < cache->count; i++)
        if (same_data(&cache->items[i]->config, config)) return cache->items[i];
    return NULL;
}

static OpenData *cache_add(DataCache *cache, const DataConfig *config, const char *folder) {
    OpenData *data = calloc(1, sizeof *data);
    cache->items = realloc(cache->items, sizeof *cache->items * (size_t)(cache->count + 1));
    CHECK(data && cache->items, "out of memory for %d data sets", cache->count);
    cache->items[cache->count++] = data;
    data->config = *config;
    data->good = dataset_open(config, folder, &data->set, &data->error);
    return data;
}

const Dataset *data_cache_open(DataCache *cache, const DataConfig *config, const char *folder, Error *error) {
    OpenData *data = cache_find(cache, config);
    if (!data) data = cache_add(cache, config, folder);
    if (data->good) return &data->set;
    error_set(error, "%s", data->error.text);
    return NULL;
}

void data_cache_free(DataCache *cache) {
    for (int i = 0; i < cache->count; i++) {
        if (cache->items[i]->good) dataset_close(&cache->items[i]->set);
        free(cache->items[i]);
    }
    free(cache->items);
    *cache = (DataCache){0};
}
