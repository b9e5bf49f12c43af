/* A network, and an objective, for each precision; one set of weights, one batch. The objective draws by
 * seed, step and place alone, so all of them see the same images, levels, noise and masks.
 */
#include "train/rounding.h"

#include "base/log.h"
#include "train/checkpoint.h"
#include "train/features.h"
#include "train/network.h"
#include "train/source.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Side {
    Precision precision;
    Network network;
    Objective *objective;
    const void *student, *teacher; /* weights as products read them */
    void *casts[2];                /* their memory, where it is not the masters' */
    double seconds;                /* the quickest batch */
} Side;

typedef struct Measure {
    const RoundingSetup *setup;
    CtConfig ct;
    ParamSet params;
    float *student, *teacher, *gradient; /* device memory; one pointer for both without a teacher */
    LossScale *scale;
    StepRow *row;
    Source source;
    FeatureNetwork features;
    Side sides[PRECISIONS];
    int n, size;                       /* images at a time; elements of one */
    float *residual[2], *gradients[2]; /* host: of the batch; 0: fp32's */
} Measure;

/* ---- numbers ---- */

static double norm(const float *a, const float *b, int size) {
    double sum = 0;
    for (int i = 0; i < size; i++) {
        const double off = (double)a[i] - (b ? (double)b[i] : 0);
        sum += off * off;
    }
    return sqrt(sum);
}

/* Outputs that agree wherever fp32's do not differ have no rounding to speak of. */
void rounding_ratios(const float *a, const float *b, int n, int size, double *ratios) {
    for (int i = 0; i < n; i++) {
        const size_t at = (size_t)i * (size_t)size;
        const double off = norm(a + at, b + at, size);
        ratios[i] = off == 0 ? 0 : off / norm(b + at, NULL, size);
    }
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double rounding_quantile(double *values, int n, double share) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    const double place = share * (n - 1);
    const int below = (int)place, above = below + (below < n - 1);
    return values[below] + (place - below) * (values[above] - values[below]);
}

static double cosine(const float *a, const float *b, int64_t count) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < count; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

Precision rounding_choice(const RoundingRow *rows, int count, int N) {
    const RoundingRow *best = NULL;
    for (int i = 0; i < count; i++) {
        const RoundingRow *row = &rows[i];
        if (row->N != N || !(row->median <= ROUNDING_BOUND)) continue;
        const double gain = best ? row->rate / best->rate : 2;
        if (gain > 1.05 || (gain > 1 / 1.05 && row->median < best->median)) best = row;
    }
    return best ? best->precision : PRECISION_FP32;
}

/* ---- putting together ---- */

static void *host_make(size_t count) {
    float *host = calloc(count, sizeof *host);
    CHECK(host, "out of memory for %zu numbers", count);
    return host;
}

/* One set of weights of the checkpoint, on the device. */
static float *weights_read(const Measure *m, const SafeTensors *file, const char *prefix, Error *error) {
    Device *device = m->setup->device;
    const size_t total = (size_t)m->params.total;
    float *host = host_make(total), *weights = NULL;
    param_initialise(&m->params, m->setup->seed, host);
    if (weights_load(file, &m->params, prefix, host, error)) {
        weights = device->allocate(device, total * sizeof *host);
        device->copy(device, weights, host, total * sizeof *host, COPY_TO_DEVICE);
        device->synchronise(device);
    }
    free(host);
    return weights;
}

static bool checkpoint_open(Measure *m, int64_t *step, Error *error) {
    SafeTensors file;
    if (!safetensors_open(m->setup->checkpoint, &file, error)) return false;
    const char *text = safetensors_metadata(&file, "step");
    *step = text ? atoll(text) : 0;
    m->student = weights_read(m, &file, "model.", error);
    m->teacher =
        m->student && m->ct.teacher_ema != 0 ? weights_read(m, &file, "teacher.", error) : m->student;
    safetensors_close(&file);
    return m->teacher || error_wrap(error, "%s", m->setup->checkpoint);
}

/* Its products are not rounded, whatever the network's are. */
static bool distance_open(Measure *m, Error *error) {
    const RoundingSetup *s = m->setup;
    const FeatureRequest request = features_request(&s->ct->perceptual, s->data, m->n, false);
    return s->ct->distance != DISTANCE_PERCEPTUAL ||
           features_open(s->features, s->ct->perceptual.hash, &request, s->device, &m->features, error);
}

/* The largest divisor of the batch up to what four networks of the papers leave room for. */
static int images_at_a_time(const RoundingSetup *s) {
    int n = s->device->memory ? 64 : 16;
    while (s->images % n) n--;
    return n;
}

static void network_make(Measure *m, Precision precision) {
    const RoundingSetup *s = m->setup;
    Side *side = &m->sides[precision];
    side->precision = precision;
    side->network = network_create(s->model, &m->params, s->device, m->n, s->data->height, s->data->channels,
                                   true, network_precision(s->device, precision));
}

static void side_make(Measure *m, Side *side) {
    const RoundingSetup *s = m->setup;
    side->student = network_cast(&side->network, s->device, &m->params, m->student, &side->casts[0]);
    side->teacher = m->teacher == m->student
                        ? side->student
                        : network_cast(&side->network, s->device, &m->params, m->teacher, &side->casts[1]);
    side->objective = objective_create(&m->ct, &side->network, source_images(&m->source), s->device,
                                       (uint32_t)s->images, s->seed);
    if (m->features.graph) objective_use_features(side->objective, &m->features);
}

static void memory_make(Measure *m, int64_t step) {
    const RoundingSetup *s = m->setup;
    Device *device = s->device;
    const StepRow row = {.step = (uint32_t)step};
    const size_t total = (size_t)m->params.total;
    m->gradient = device->allocate(device, total * sizeof(float));
    m->scale = device->allocate(device, sizeof *m->scale);
    m->row = device->allocate(device, sizeof row);
    device->fill(device, m->gradient, 0, total * sizeof(float));
    device->copy(device, m->row, &row, sizeof row, COPY_TO_DEVICE);
    source_fetch(&m->source, 0, step);
    device->synchronise(device);
    for (int i = 0; i < 2; i++) {
        m->residual[i] = host_make((size_t)s->images * (size_t)m->size);
        m->gradients[i] = host_make(total);
    }
}

static bool measure_open(Measure *m, int64_t *step, Error *error) {
    const RoundingSetup *s = m->setup;
    m->n = images_at_a_time(s);
    m->size = s->data->height * s->data->width * s->data->channels;
    for (Precision p = PRECISION_FP32; p <= PRECISION_FP16; p++) network_make(m, p);
    if (!checkpoint_open(m, step, error) || !distance_open(m, error)) return false;
    m->source = source_create(s->data, s->device, s->seed, (uint32_t)s->images, s->flip, SOURCE_CHOOSE);
    for (int p = 0; p < PRECISIONS; p++) side_make(m, &m->sides[p]);
    memory_make(m, *step);
    return true;
}

static void side_close(Side *side, Device *device) {
    objective_free(side->objective);
    network_free(&side->network);
    for (int i = 0; i < 2; i++)
        if (side->casts[i]) device->release(device, side->casts[i]);
}

static void measure_close(Measure *m) {
    Device *device = m->setup->device;
    for (int p = 0; p < PRECISIONS; p++) side_close(&m->sides[p], device);
    if (m->source.data) source_free(&m->source);
    features_close(&m->features, device);
    void *memory[] = {m->student, m->teacher == m->student ? NULL : m->teacher, m->gradient, m->scale,
                      m->row};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i]) device->release(device, memory[i]);
    for (int i = 0; i < 2; i++) {
        free(m->residual[i]);
        free(m->gradients[i]);
    }
    param_free(&m->params);
}

/* ---- measuring ---- */

/* r of the micro-batch that was just run, into its place of the batch. */
static void residual_read(const Measure *m, const Side *side, int first, float *batch) {
    const ObjectiveRecord record = objective_record(side->objective);
    Device *device = m->setup->device;
    const size_t count = (size_t)m->n * (size_t)m->size, bytes = count * sizeof(float);
    float *student = batch + (size_t)first * (size_t)m->size, *teacher = host_make(count);
    device->copy(device, student, record.f_student.data, bytes, COPY_TO_HOST);
    device->copy(device, teacher, record.f_teacher.data, bytes, COPY_TO_HOST);
    device->synchronise(device);
    for (size_t i = 0; i < count; i++) student[i] -= teacher[i];
    free(teacher);
}

/* All micro-batches; the seconds they took. */
static double batch_run(const Measure *m, const Side *side, float scale, float *residual, float *gradient) {
    Device *device = m->setup->device;
    const LossScale loss_scale = {.scale = scale};
    double seconds = 0;
    device->copy(device, m->scale, &loss_scale, sizeof loss_scale, COPY_TO_DEVICE);
    device->synchronise(device);
    for (int first = 0; first < m->setup->images; first += m->n) {
        const ObjectiveRun run = {.row = m->row,
                                  .student = m->student,
                                  .teacher = m->teacher,
                                  .student_cast = side->student,
                                  .teacher_cast = side->teacher,
                                  .gradients = m->gradient,
                                  .first_sample = (uint32_t)first,
                                  .accumulate = first > 0,
                                  .gradient_scale = 1,
                                  .loss_scale = m->scale};
        const double began = clock_monotonic();
        objective_run(side->objective, &run);
        device->synchronise(device);
        seconds += clock_monotonic() - began;
        residual_read(m, side, first, residual);
    }
    device->copy(device, gradient, m->gradient, (size_t)m->params.total * sizeof *gradient, COPY_TO_HOST);
    device->synchronise(device);
    return seconds;
}

/* The run's batch at N levels; the gradient's scale does not matter to a cosine, but it must be finite. */
static bool side_run(const Measure *m, Side *side, int N, float *residual, float *gradient, Error *error) {
    const size_t trained = (size_t)(m->params.total - m->params.frozen);
    LevelTable table = ct_table(&m->ct, N);
    objective_set_levels(side->objective, &table);
    ct_table_free(&table);
    double scale = side->precision == PRECISION_FP16 ? m->setup->loss_scale : 1;
    for (; scale >= LOSS_SCALE_LEAST; scale /= 2) {
        const double seconds = batch_run(m, side, (float)scale, residual, gradient);
        if (side->seconds == 0 || seconds < side->seconds) side->seconds = seconds;
        if (isfinite(norm(gradient + m->params.frozen, NULL, (int)trained))) return true;
        if (side->precision != PRECISION_FP16) break;
    }
    return error_set(error, "%s: in %s the gradient at N = %d is not finite", m->setup->checkpoint,
                     precision_name(side->precision), N);
}

static RoundingRow row_make(const Measure *m, Precision precision, int N) {
    const int images = m->setup->images;
    const int64_t frozen = m->params.frozen;
    double *ratios = malloc((size_t)images * sizeof *ratios);
    CHECK(ratios, "out of memory for %d images", images);
    const int other = precision != PRECISION_FP32;
    rounding_ratios(m->residual[other], m->residual[0], images, m->size, ratios);
    const RoundingRow row = {
        .precision = precision,
        .N = N,
        .median = rounding_quantile(ratios, images, 0.5),
        .upper = rounding_quantile(ratios, images, 0.9),
        .cosine = cosine(m->gradients[other] + frozen, m->gradients[0] + frozen, m->params.total - frozen)};
    free(ratios);
    return row;
}

static bool levels_run(Measure *m, int N, RoundingRow *rows, Error *error) {
    for (Precision p = PRECISION_FP32; p <= PRECISION_FP16; p++) {
        const int other = p != PRECISION_FP32;
        if (!side_run(m, &m->sides[p], N, m->residual[other], m->gradients[other], error)) return false;
        rows[p] = row_make(m, p, N);
    }
    return true;
}

bool rounding_measure(const RoundingSetup *setup, const int *N, int levels, RoundingRow *rows, int64_t *step,
                      Error *error) {
    Measure m = {.setup = setup, .ct = *setup->ct};
    for (int i = 0; i < levels; i++)
        if (m.ct.s1 < N[i] - 1) m.ct.s1 = N[i] - 1; /* room for the tables */
    bool done = measure_open(&m, step, error);
    for (int i = 0; done && i < levels; i++) done = levels_run(&m, N[i], rows + i * PRECISIONS, error);
    for (int i = 0; i < levels * PRECISIONS; i++)
        rows[i].rate = setup->images / m.sides[i % PRECISIONS].seconds;
    measure_close(&m);
    return done;
}
