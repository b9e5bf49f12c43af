/* What precisions do to trained networks, as `rounding` measured it, and what is known of a card. */
#include "store/store_internal.h"

#include "base/log.h"
#include "train/network.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool store_rounding(Store *store, const char *id, int64_t step, int images, const char *device,
                    const RoundingRow *row, Error *error) {
    return store_execute(
        store, error,
        "INSERT OR REPLACE INTO rounding(run_id, step, N, precision, images, device, median, "
        "upper, cosine, rate, created) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "tiititddddd", id, step, (int64_t)row->N, precision_name(row->precision), (int64_t)images, device,
        row->median, row->upper, row->cosine, row->rate, clock_wall());
}

static void row_keep(void *context, int columns, const char *const *names, const char *const *values) {
    RoundingKnown *known = context;
    (void)columns, (void)names;
    if (known->count == PRECISIONS) return;
    RoundingRow *row = &known->rows[known->count++];
    snprintf(known->run, sizeof known->run, "%s", values[0]);
    *row = (RoundingRow){.N = atoi(values[1]),
                         .precision = (Precision)atoi(values[2]),
                         .median = values[3] ? atof(values[3]) : INFINITY,
                         .rate = values[4] ? atof(values[4]) : 0};
}

bool store_rounding_known(Store *store, const char *device, RoundingKnown *known, Error *error) {
    *known = (RoundingKnown){.count = 0};
    return store_query(
        store,
        "SELECT run_id, N, instr('fp32 tf32 bf16 fp16', precision) / 5, median, rate FROM rounding "
        "JOIN (SELECT run_id, step, images, N, device FROM rounding WHERE device = :device "
        "ORDER BY N DESC, created DESC LIMIT 1) USING(run_id, step, images, N, device)",
        (const char *const[]){"device", device}, 1, row_keep, known, error);
}
