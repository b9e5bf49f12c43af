/* Some training steps in a row on the device, and what they measured. */
#include "train/trainer_state.h"

#include "base/log.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/* ---- memory ---- */

/* Most micro-batches of a step that is recorded as one. */
enum { CAPTURED_MICRO_BATCHES = 16 };

static void *host_make(size_t count, size_t size) {
    void *host = calloc(count, size);
    CHECK(host, "out of memory for the records of a batch of %zu", count / WINDOW);
    return host;
}

void window_create(Trainer *t) {
    Device *device = t->setup.device;
    const size_t records = WINDOW * (size_t)t->setup.train->batch;
    t->window = (Window){.rows = device->allocate(device, WINDOW * sizeof(StepRow)),
                         .row = device->allocate(device, sizeof(StepRow)),
                         .loss = device->allocate(device, records * sizeof(float)),
                         .residual = device->allocate(device, records * sizeof(float)),
                         .pair = device->allocate(device, records * sizeof(int32_t)),
                         .reports = device->allocate(device, WINDOW * sizeof(UpdateReport)),
                         .host_loss = host_make(records, sizeof(float)),
                         .host_residual = host_make(records, sizeof(float)),
                         .host_pair = host_make(records, sizeof(int32_t))};
}

void window_free(Trainer *t) {
    Device *device = t->setup.device;
    Window *w = &t->window;
    void *memory[] = {w->rows, w->row, w->loss, w->residual, w->pair, w->reports};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        if (memory[i]) device->release(device, memory[i]);
    }
    free(w->host_loss);
    free(w->host_residual);
    free(w->host_pair);
}

/* ---- one step ---- */

int levels_at(const Trainer *t, int64_t k) {
    return t->classification ? 0 : ct_levels(t->setup.ct, k, t->setup.train->steps);
}

double rate_at(const Trainer *t, int64_t k) {
    const TrainConfig *train = t->setup.train;
    const double rate = train->optimiser.learning_rate;
    return t->classification ? classification_rate(t->setup.classifier, rate, k, train->steps) : rate;
}

/* Tables of N levels, and which eighth of [ln sigma_min, ln sigma_max] the student of each pair lies in. */
static void levels_set(Trainer *t, int N) {
    if (t->N == N) return;
    const CtConfig *ct = t->setup.ct;
    LevelTable table = ct_table(ct, N);
    objective_set_levels(t->objective, &table);
    ct_table_free(&table);
    for (int i = 0; i < N - 1; i++) t->bin_of_pair[i] = meter_bin(ct, ct_sigma(ct, i + 1, N));
    t->N = N;
}

static void rows_upload(Trainer *t, int count) {
    OptimiserConfig optimiser = t->setup.train->optimiser;
    const double decay = t->classification ? 0 : ct_teacher_decay(t->setup.ct, t->N);
    StepRow rows[WINDOW];
    for (int i = 0; i < count; i++) {
        optimiser.learning_rate = rate_at(t, t->step + i);
        rows[i] = optimiser_row(&optimiser, t->step + i, decay);
    }
    Device *device = t->setup.device;
    device->copy(device, t->window.rows, rows, (size_t)count * sizeof *rows, COPY_TO_DEVICE);
    device->synchronise(device); /* `rows` ends with this function */
}

/* Gradients of the whole batch, micro-batch by micro-batch, then the update. */
static void step_enqueue(void *context) {
    Trainer *t = context;
    Optimiser *o = &t->optimiser;
    ObjectiveRun run = {.row = t->window.row,
                        .student = o->weight,
                        .teacher = o->teacher ? o->teacher : o->weight,
                        .gradients = o->gradient,
                        .student_cast = o->weight_cast,
                        .teacher_cast = o->teacher ? o->teacher_cast : o->weight_cast,
                        .gradient_scale = 1,
                        .loss_scale = o->loss_scale};
    for (int first = 0; first < t->setup.train->batch; first += t->network.n) {
        run.first_sample = (uint32_t)first;
        run.accumulate = first > 0;
        if (t->classification)
            classification_run(t->classification, &run);
        else
            objective_run(t->objective, &run);
    }
    optimiser_step(o, t->window.row, 1);
}

/* A step of many micro-batches is long enough to hide what enqueueing costs, and its recording would be
 * large. */
static void step_run(Trainer *t) {
    if (t->setup.train->batch / t->network.n <= CAPTURED_MICRO_BATCHES)
        replay_run(&t->replay, t->setup.device, step_enqueue, t);
    else
        step_enqueue(t);
}

/* What the last step left, whatever was trained. */
static ObjectiveRecord step_record(const Trainer *t) {
    if (!t->classification) return objective_record(t->objective);
    const ClassificationRecord record = classification_record(t->classification);
    return (ObjectiveRecord){.loss = record.loss, .pair = record.correct};
}

/* Keeps what step `i` of the window left, for the host to read later. */
static void record_keep(Trainer *t, int i) {
    Device *device = t->setup.device;
    Window *w = &t->window;
    const ObjectiveRecord record = step_record(t);
    const size_t batch = (size_t)t->setup.train->batch, at = (size_t)i * batch;
    device->copy(device, w->loss + at, record.loss, batch * sizeof(float), COPY_ON_DEVICE);
    if (record.residual)
        device->copy(device, w->residual + at, record.residual, batch * sizeof(float), COPY_ON_DEVICE);
    device->copy(device, w->pair + at, record.pair, batch * sizeof(int32_t), COPY_ON_DEVICE);
    device->copy(device, w->reports + i, t->optimiser.report, sizeof(UpdateReport), COPY_ON_DEVICE);
}

/* ---- looking at them ---- */

static void window_read(Trainer *t, int count) {
    Device *device = t->setup.device;
    Window *w = &t->window;
    const size_t records = (size_t)count * (size_t)t->setup.train->batch;
    device->copy(device, w->host_loss, w->loss, records * sizeof(float), COPY_TO_HOST);
    if (!t->classification)
        device->copy(device, w->host_residual, w->residual, records * sizeof(float), COPY_TO_HOST);
    device->copy(device, w->host_pair, w->pair, records * sizeof(int32_t), COPY_TO_HOST);
    device->copy(device, w->host_reports, w->reports, (size_t)count * sizeof(UpdateReport), COPY_TO_HOST);
    device->synchronise(device);
    t->loss_scale = loss_scale_now(t);
}

LossScale loss_scale_now(const Trainer *t) {
    return t->optimiser.loss_scale ? optimiser_loss_scale(&t->optimiser) : (LossScale){0};
}

static StepRecord window_record(const Trainer *t, int i) {
    const Window *w = &t->window;
    const int batch = t->setup.train->batch;
    const size_t at = (size_t)i * (size_t)batch;
    if (t->classification)
        return (StepRecord){.batch = batch,
                            .loss = w->host_loss + at,
                            .correct = w->host_pair + at,
                            .report = w->host_reports[i]};
    return (StepRecord){.batch = batch,
                        .loss = w->host_loss + at,
                        .residual = w->host_residual + at,
                        .pair = w->host_pair + at,
                        .bin_of_pair = t->bin_of_pair,
                        .report = w->host_reports[i]};
}

/* Where there are noise levels, the image's. */
static const char *level_name(const Trainer *t, const StepRecord *record, int image, char out[64]) {
    out[0] = 0;
    if (record->pair)
        snprintf(out, 64, " at sigma = %g", ct_sigma(t->setup.ct, record->pair[image] + 1, t->N));
    return out;
}

static bool record_check(const Trainer *t, const StepRecord *record, Error *error) {
    char level[64];
    for (int i = 0; i < record->batch; i++) {
        if (isfinite(record->loss[i])) continue;
        return error_set(error, "step %" PRId64 " (N = %d): the loss of image %d of the batch is %g%s",
                         t->step, t->N, i, (double)record->loss[i], level_name(t, record, i, level));
    }
    const UpdateReport *report = &record->report;
    const bool scaled = t->loss_scale.scale > 0;
    if (report->non_finite && !(scaled && t->loss_scale.scale >= LOSS_SCALE_LEAST)) {
        return error_set(error,
                         "step %" PRId64 " (N = %d): %" PRIu64 " elements of the gradient are not finite",
                         t->step, t->N, report->non_finite);
    }
    if (isfinite(report->update_square) && isfinite(report->weight_square)) return true;
    return error_set(error, "step %" PRId64 " (N = %d): the update made weights that are not finite", t->step,
                     t->N);
}

bool window_run(Trainer *t, int count, const TrainHooks *hooks, Error *error) {
    Device *device = t->setup.device;
    const double began = clock_monotonic();
    if (!t->classification) levels_set(t, levels_at(t, t->step));
    rows_upload(t, count);
    int done = 0;
    for (; done < count; done++) {
        if (done && hooks->should_stop && hooks->should_stop(hooks->context)) break;
        if (t->setup.name) die_set_context("%s, step %" PRId64, t->setup.name, t->step + done);
        device->copy(device, t->window.row, t->window.rows + done, sizeof(StepRow), COPY_ON_DEVICE);
        source_fetch(&t->source, done, t->step + done);
        step_run(t);
        record_keep(t, done);
    }
    window_read(t, done);
    const double seconds = clock_monotonic() - began;
    t->meter.seconds += seconds;
    t->step_seconds = seconds / done;
    for (int i = 0; i < done; i++, t->step++) {
        const StepRecord record = window_record(t, i);
        if (!record_check(t, &record, error)) return false;
        meter_add(&t->meter, &record);
    }
    return true;
}
