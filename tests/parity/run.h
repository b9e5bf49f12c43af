/* What the parity tests of whole training runs share: what a run reports, the hooks that note it down, and
 * files that must be the same. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_RUN_H
#define ICT_TESTS_RUN_H

#include "base/file.h"
#include "tests/unit/toy.h"
#include "train/trainer.h"

enum { MOST_TICKS = 32 };

typedef struct Run {
    double loss[MOST_TICKS], gradient_norm[MOST_TICKS], loss_scale;
    uint64_t non_finite;
    int N[MOST_TICKS], ticks;
    int polls, stop_after; /* should_stop is true from that poll on; 0: never */
    char checkpoint[2048];
    float sample[2 * TOY_PIXELS];
} Run;

static inline bool run_tick(void *context, const Tick *tick, Error *error) {
    (void)error;
    Run *run = context;
    assert_true(run->ticks < MOST_TICKS);
    run->loss[run->ticks] = tick->loss;
    run->gradient_norm[run->ticks] = tick->gradient_norm;
    run->N[run->ticks++] = tick->N;
    run->non_finite += tick->non_finite;
    run->loss_scale = tick->loss_scale;
    return true;
}

static inline bool run_checkpoint(void *context, int64_t step, const char *path, Error *error) {
    (void)error;
    (void)step;
    snprintf(((Run *)context)->checkpoint, sizeof((Run *)context)->checkpoint, "%s", path);
    return true;
}

static inline bool run_stop(void *context) {
    Run *run = context;
    return ++run->polls >= run->stop_after && run->stop_after;
}

static inline TrainHooks run_hooks(Run *run) {
    return (TrainHooks){
        .context = run, .on_tick = run_tick, .on_checkpoint = run_checkpoint, .should_stop = run_stop};
}

static inline void check_same_file(const char *first, const char *second) {
    char *bytes[2];
    size_t size[2];
    assert_true(file_read(first, &bytes[0], &size[0], NULL));
    assert_true(file_read(second, &bytes[1], &size[1], NULL));
    assert_true(size[0] == size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    free(bytes[0]);
    free(bytes[1]);
}

#endif
