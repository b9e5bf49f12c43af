/* What the tests of the database share: a store in a folder of its own, runs, claims and ticks to put into
 * it. */
#ifndef ICT_TESTS_STORE_FIXTURE_H
#define ICT_TESTS_STORE_FIXTURE_H

#include "base/file.h"
#include "base/log.h"
#include "store/store_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct Fixture {
    char folder[64], path[128];
    Store *store;
} Fixture;

static const Experiment experiment = {.name = "ema", .file = "ablations/ema.yaml", .yaml = "set: {}\n"};

static inline int fixture_open(void **state) {
    Fixture *fixture = calloc(1, sizeof *fixture);
    Error error;
    strcpy(fixture->folder, "/tmp/ict-store-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->path, sizeof fixture->path, "%s/ict.db", fixture->folder);
    if (!store_open(fixture->path, &fixture->store, &error)) fail_msg("%s", error.text);
    *state = fixture;
    return 0;
}

static inline int fixture_close(void **state) {
    Fixture *fixture = *state;
    store_close(fixture->store);
    assert_true(folder_remove(fixture->folder, NULL));
    free(fixture);
    return 0;
}

static inline RunSpec spec_make(const char *id, const char *arm) {
    RunSpec spec = {.scale = "smoke", .data_hash = "d0", .config = config_default()};
    snprintf(spec.id, sizeof spec.id, "%s", id);
    snprintf(spec.arm, sizeof spec.arm, "%s", arm);
    spec.config.train.steps = 400;
    return spec;
}

static inline void must(bool ok, const Error *error) {
    if (!ok) fail_msg("%s", error->text);
}

static inline void run_add(Store *store, const char *id, const char *arm) {
    Error error;
    const RunSpec spec = spec_make(id, arm);
    must(store_add_run(store, &experiment, &spec, &error), &error);
}

static inline Provenance provenance_make(Store *store) {
    Provenance provenance = {.pid = getpid(), .device = "cpu: test", .commit = "0123abcd"};
    snprintf(provenance.host, sizeof provenance.host, "%s", store->host);
    return provenance;
}

static inline Claim run_claim(Store *store, const char *id, bool retry, bool force) {
    const Provenance provenance = provenance_make(store);
    Error error;
    RunRow before;
    Claim claim;
    must(store_claim_run(store, id, retry, force, &provenance, &claim, &before, &error), &error);
    run_row_free(&before);
    return claim;
}

static inline void run_start(Store *store, const char *id, int64_t step) {
    const Provenance provenance = provenance_make(store);
    Error error;
    must(store_start_run(store, id, &provenance, step, &error), &error);
}

static inline Tick tick_make(int64_t step) {
    Tick tick = {
        .step = step, .images = 32 * step, .N = 11, .loss = 0.5 + (double)step, .gradient_norm = NAN};
    for (int i = 0; i < 8; i++) tick.loss_by_sigma[i] = i % 2 ? NAN : i, tick.residual_by_sigma[i] = i;
    return tick;
}

static inline void ticks_write(Store *store, const char *id, int64_t from, int64_t to, int64_t stride) {
    Error error;
    for (int64_t step = from; step <= to; step += stride) {
        const Tick tick = tick_make(step);
        must(store_tick(store, id, &tick, &error), &error);
    }
}

static inline RunRow run_get(Store *store, const char *prefix) {
    Error error;
    RunRow row;
    must(store_get_run(store, prefix, &row, &error), &error);
    run_row_free(&row);
    return row;
}

static inline void first_value(void *context, int columns, const char *const *names,
                               const char *const *values) {
    (void)columns, (void)names;
    snprintf(context, 256, "%s", values[0] ? values[0] : "NULL");
}

static inline void assert_sql(Store *store, const char *sql, const char *expected) {
    char value[256] = "no row";
    Error error;
    must(store_query(store, sql, NULL, 0, first_value, value, &error), &error);
    assert_string_equal(value, expected);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)

#endif
