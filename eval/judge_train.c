#include "eval/judge_train.h"
#include "base/log.h"
#include "base/philox.h"
#include "model/classifier.h"
#include "train/optimiser.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 64, STEPS = 400, SEED = 1 };
static const double PEAK_RATE = 4e-3, WARM_SHARE = 0.3, SMOOTHING = 0.05, NOISE_MAX = 0.4;

/* Device buffers of the training loop. */
typedef struct Training {
    Device *device;
    const Dataset *data;
    Graph *graph;
    ParamSet params;
    Value image, logits;
    Optimiser optimiser;
    StepRow *row;
    uint8_t *images;
    int32_t *labels, *label, *correct;
    float *input, *noisy[2], *loss;
    Level *levels;
    uint32_t train_count;
} Training;

/* One-cycle: up linearly to the peak, then down along a cosine to zero. */
static double cycle_rate(int step) {
    const double t = (step + 0.5) / STEPS;
    return t < WARM_SHARE ? PEAK_RATE * t / WARM_SHARE
                          : PEAK_RATE * 0.5 * (1 + cos(M_PI * (t - WARM_SHARE) / (1 - WARM_SHARE)));
}

static void *upload(Device *device, const void *host, size_t bytes) {
    void *memory = device->allocate(device, bytes);
    device->copy(device, memory, host, bytes, COPY_TO_DEVICE);
    return memory;
}

static Training training_open(const Dataset *data, Device *device, const float *weights) {
    static const OptimiserConfig adam = {
        .rectified = false, .learning_rate = 1, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8};
    const size_t size = (size_t)data->height * (size_t)data->width * (size_t)data->channels,
                 count = (size_t)data->count;
    Training t = {.device = device,
                  .data = data,
                  .graph = graph_create(),
                  .train_count = (uint32_t)(count - count / 10)};
    const ClassifierConfig small = classifier_small();
    t.image =
        graph_input(t.graph, "image", DTYPE_F32, BATCH, data->height, data->width, data->channels, false);
    t.logits = classifier_record(&small, &t.params, t.graph, t.image, data->classes, PRECISION_FP32).logits;
    graph_output(t.graph, t.logits);
    graph_prepare(t.graph, device, true);
    t.optimiser = optimiser_create(device, &t.params, &adam, false);
    optimiser_set_weights(&t.optimiser, weights);
    t.row = device->allocate(device, sizeof *t.row);
    t.images = upload(device, data->images, count * size);
    t.labels = upload(device, data->labels, count * sizeof(int32_t));
    t.label = device->allocate(device, BATCH * sizeof(int32_t));
    t.correct = device->allocate(device, BATCH * sizeof(int32_t));
    t.loss = device->allocate(device, BATCH * sizeof(float));
    t.input = device->allocate(device, BATCH * size * sizeof(float));
    for (int i = 0; i < 2; i++) t.noisy[i] = device->allocate(device, BATCH * size * sizeof(float));
    t.levels = device->allocate(device, BATCH * sizeof(Level));
    graph_bind(t.graph, t.image, t.input);
    return t;
}

static void training_close(Training *t) {
    void *memory[] = {t->row,  t->images, t->labels,   t->label,    t->correct,
                      t->loss, t->input,  t->noisy[0], t->noisy[1], t->levels};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++) t->device->release(t->device, memory[i]);
    optimiser_free(&t->optimiser);
    graph_free(t->graph);
    param_free(&t->params);
}

/* One batch of images `first` .. of the set in shuffled order (training), or in their own (`shuffle` false).
 */
static void training_gather(Training *t, bool shuffle, uint32_t first) {
    const Dataset *d = t->data;
    const size_t size = (size_t)d->height * (size_t)d->width * (size_t)d->channels;
    const DrawKey draw = {.seed = SEED, .row = t->row};
    const Tensor y = {t->input, DTYPE_F32, BATCH, d->height, d->width, d->channels};
    BatchGather gather = {.images = t->images,
                          .labels = t->labels,
                          .count = t->train_count,
                          .batch = BATCH,
                          .draw = draw,
                          .y = y,
                          .label = t->label};
    if (!shuffle) {
        gather.images += first * size;
        gather.labels += first;
        gather.count = BATCH; /* all of one batch, whatever the order */
    }
    t->device->ops->batch_gather(t->device, &gather);
}

/* Normal noise on the batch, of a strength between 0 and NOISE_MAX for each image. */
static void training_noise(Training *t, int step) {
    Level levels[BATCH] = {{0}};
    for (int i = 0; i < BATCH; i++) {
        const RandomKey key = {SEED, STREAM_LEVEL, (uint32_t)step, (uint32_t)i};
        levels[i].sigma = (float)NOISE_MAX * random_uniform(random_block(key, 0).x[0]);
        levels[i].c_in = 1;
    }
    t->device->copy(t->device, t->levels, levels, sizeof levels, COPY_TO_DEVICE);
    const Tensor clean = {t->input, DTYPE_F32, BATCH, t->data->height, t->data->width, t->data->channels};
    Tensor noisy[2] = {clean, clean}; /* the op makes a pair; the second is not used */
    for (int i = 0; i < 2; i++) noisy[i].data = t->noisy[i];
    t->device->ops->noise_pair(t->device, &(NoisePair){.x0 = clean,
                                                       .student = t->levels,
                                                       .teacher = t->levels,
                                                       .draw = {.seed = SEED, .row = t->row},
                                                       .noisy_student = noisy[0],
                                                       .noisy_teacher = noisy[1],
                                                       .input_student = clean,
                                                       .input_teacher = noisy[1]});
}

static GraphRun training_run(Training *t) {
    return (GraphRun){
        .master = t->optimiser.weight, .cast = t->optimiser.weight, .draw = {.seed = SEED, .row = t->row}};
}

static CrossEntropy training_loss(Training *t, GraphSchedule schedule) {
    return (CrossEntropy){.logits = graph_value(t->graph, schedule, t->logits),
                          .dlogits = graph_gradient(t->graph, t->logits),
                          .label = t->label,
                          .smoothing = (float)SMOOTHING,
                          .batch = BATCH,
                          .loss = t->loss,
                          .correct = t->correct};
}

static void training_step(Training *t, const OptimiserConfig *config, int step) {
    OptimiserConfig now = *config;
    now.learning_rate = cycle_rate(step);
    const StepRow row = optimiser_row(&now, step, 0);
    t->device->copy(t->device, t->row, &row, sizeof row, COPY_TO_DEVICE);
    training_gather(t, true, 0);
    training_noise(t, step);
    const GraphRun run = training_run(t);
    graph_forward(t->graph, GRAPH_TRAIN, &run);
    const CrossEntropy loss = training_loss(t, GRAPH_TRAIN);
    t->device->ops->cross_entropy(t->device, &loss);
    graph_backward(t->graph, &run, t->optimiser.gradient, false);
    optimiser_step(&t->optimiser, t->row, 1);
}

/* Share of the held-out images whose largest logit is right; whole batches only. */
static double training_accuracy(Training *t) {
    int32_t correct[BATCH];
    int64_t right = 0, seen = 0;
    for (uint32_t first = t->train_count; first + BATCH <= (uint32_t)t->data->count; first += BATCH) {
        training_gather(t, false, first);
        const GraphRun run = training_run(t);
        graph_forward(t->graph, GRAPH_TRAIN, &run); /* TRAIN, because the loss op writes a gradient too */
        const CrossEntropy loss = training_loss(t, GRAPH_TRAIN);
        t->device->ops->cross_entropy(t->device, &loss);
        t->device->copy(t->device, correct, t->correct, sizeof correct, COPY_TO_HOST);
        t->device->synchronise(t->device);
        for (int i = 0; i < BATCH; i++) right += correct[i];
        seen += BATCH;
    }
    return seen ? (double)right / (double)seen : 0;
}

double judge_train(const Dataset *data, Device *device, const ParamSet *params, float *weights) {
    static const OptimiserConfig adam = {.rectified = false, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8};
    const double start = clock_monotonic();
    param_initialise(params, SEED, weights);
    Training t = training_open(data, device, weights);
    CHECK(t.params.total == params->total, "the judge was recorded twice in different ways");
    for (int step = 0; step < STEPS; step++) training_step(&t, &adam, step);
    const double accuracy = training_accuracy(&t);
    device->copy(device, weights, t.optimiser.weight, (size_t)params->total * sizeof *weights, COPY_TO_HOST);
    device->synchronise(device);
    training_close(&t);
    log_info("classifier of '%s': %.1f %% of held-out images right, %.0f s", data->name, 100 * accuracy,
             clock_monotonic() - start);
    return accuracy;
}
