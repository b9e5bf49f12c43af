/* The data sets of a plan, each opened once however many runs use it. */
#ifndef ICT_PLAN_PLAN_DATA_H
#define ICT_PLAN_PLAN_DATA_H

#include "data/dataset.h"

typedef struct OpenData {
    DataConfig config;
    bool good;
    Dataset set; /* when good */
    Error error; /* otherwise */
} OpenData;

/* Zero-initialise. */
typedef struct DataCache {
    OpenData **items;
    int count;
} DataCache;

/* The data set, opened now or earlier; NULL with the message when it cannot be. Valid until
 * data_cache_free. */
const Dataset *data_cache_open(DataCache *, const DataConfig *, const char *folder, Error *);
void data_cache_free(DataCache *);

#endif
