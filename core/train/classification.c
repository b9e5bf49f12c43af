/* A classifier's step, made of the ops of consistency training: its draw of images, and of the noise pair the
 * noisier half. */
#include "train/classification.h"

#include "ct/ct.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Noise is drawn by the ops of consistency training, from a table of equally likely strengths. */
enum { NOISE_LEVELS = 256 };

struct Classification {
    const ClassifierTask *task;
    Network network;
    ImageSource source;
    Device *device;
    uint32_t batch;
    uint64_t seed;
    /* device memory */
    Tensor images, noisy[2], unused;
    LevelTable *table; /* NULL without noise, as the next three; it points to two of them */
    Level *levels, *drawn[2];
    uint32_t *thresholds;
    float *loss; /* for the global batch */
    int32_t *label, *correct;
    uint8_t *score_images; /* a micro-batch of those that are scored; NULL before the first */
    int32_t *score_labels;
};

/* ---- can it be learned? ---- */

static bool ranges_check(const ClassifierTask *task, const Dataset *data, Error *error) {
    const ImageRange a = task->trained, b = task->held_out;
    if (a.count < 1 || b.count < 1)
        return error_set(error, "data set %s has %d images, too few to train on some and hold out others",
                         data->name, data->count);
    CHECK(a.first >= 0 && b.first >= 0 && a.first + a.count <= data->count &&
              b.first + b.count <= data->count,
          "ranges outside the set");
    CHECK(a.first + a.count <= b.first || b.first + b.count <= a.first, "held-out images are trained on");
    return true;
}

static bool *classes_seen(const Dataset *data, ImageRange range) {
    bool *seen = calloc((size_t)data->classes, sizeof *seen);
    CHECK(seen, "out of memory for %d classes", data->classes);
    for (int i = 0; i < range.count; i++) seen[data->labels[range.first + i]] = true;
    return seen;
}

/* A set that is sorted by class, say. */
static bool classes_check(const ClassifierTask *task, const Dataset *data, Error *error) {
    bool *learned = classes_seen(data, task->trained), *asked = classes_seen(data, task->held_out);
    int missing = -1;
    for (int k = 0; k < data->classes && missing < 0; k++)
        if (asked[k] && !learned[k]) missing = k;
    free(learned);
    free(asked);
    char trained[32], held_out[32];
    return missing < 0 ||
           error_set(error,
                     "data set %s: class %d is among the images %s, which are held out, but not among %s, "
                     "which are trained on: the images must not be sorted by class (a zip with a "
                     "dataset.json keeps the order that it lists them in)",
                     data->name, missing, image_range_name(task->held_out, held_out),
                     image_range_name(task->trained, trained));
}

bool classification_check(const ClassifierTask *task, const Dataset *data, Error *error) {
    const int pieces = 1 << (task->network.stages - 1);
    if (!data->labels || data->classes < 2)
        return error_set(error, "data set %s has no labels, so no classifier can be trained on it",
                         data->name);
    if (data->height % pieces || data->width % pieces)
        return error_set(error, "%d pixels cannot be halved %d times, as the stages of classifier.widths ask",
                         data->height, task->network.stages - 1);
    if (task->shift >= data->height)
        return error_set(error, "images of %d pixels cannot be moved by %d (classifier.shift)", data->height,
                         task->shift);
    return ranges_check(task, data, error) && classes_check(task, data, error);
}

/* ---- making it ---- */

double classification_rate(const ClassifierTask *task, double peak, int64_t k, int64_t K) {
    const double t = ((double)k + 0.5) / (double)K, warmup = task->warmup;
    return t < warmup ? peak * t / warmup : peak * 0.5 * (1 + cos(M_PI * (t - warmup) / (1 - warmup)));
}

Network classification_network(const ClassifierTask *task, ParamSet *params, Device *device, int n,
                               const Dataset *data, Precision precision) {
    Graph *graph = graph_create();
    const Value images =
        graph_input(graph, "image", DTYPE_F32, n, data->height, data->width, data->channels, false);
    const ClassifierNet net =
        classifier_record(&task->network, params, graph, images, data->classes, precision);
    graph_output(graph, net.logits);
    graph_prepare(graph, device, true);
    return (Network){.graph = graph,
                     .input = images,
                     .level = NO_VALUE,
                     .label = NO_VALUE,
                     .augment = NO_VALUE,
                     .output = net.logits,
                     .dtype = precision_dtype(precision),
                     .n = n,
                     .h = data->height,
                     .w = data->width,
                     .c = data->channels,
                     .classes = data->classes};
}

static void *memory(Classification *c, size_t count, size_t size) {
    return c->device->allocate(c->device, count * size);
}

static Tensor image_make(Classification *c) {
    const Network *net = &c->network;
    Tensor tensor = {.dtype = DTYPE_F32, .n = net->n, .h = net->h, .w = net->w, .c = net->c};
    tensor.data = memory(c, tensor_bytes(&tensor), 1);
    return tensor;
}

/* Strengths 0 .. noise in equal steps; of a drawn pair the upper one is taken. */
static void noise_make(Classification *c) {
    enum { LAST = NOISE_LEVELS - 1 };
    Level levels[NOISE_LEVELS] = {{0}};
    uint32_t thresholds[LAST];
    for (int i = 0; i <= LAST; i++)
        levels[i] = (Level){.sigma = (float)(c->task->noise * i / LAST), .c_in = 1};
    for (int i = 0; i < LAST; i++)
        thresholds[i] = (uint32_t)((uint64_t)UINT32_MAX * (unsigned)(i + 1) / LAST);
    c->levels = memory(c, NOISE_LEVELS, sizeof *c->levels);
    c->thresholds = memory(c, LAST, sizeof *c->thresholds);
    c->table = memory(c, 1, sizeof *c->table);
    const LevelTable table = {NOISE_LEVELS, c->levels, c->thresholds};
    Device *device = c->device;
    device->copy(device, c->levels, levels, sizeof levels, COPY_TO_DEVICE);
    device->copy(device, c->thresholds, thresholds, sizeof thresholds, COPY_TO_DEVICE);
    device->copy(device, c->table, &table, sizeof table, COPY_TO_DEVICE);
    device->synchronise(device);
    for (int i = 0; i < 2; i++) {
        c->drawn[i] = memory(c, (size_t)c->network.n, sizeof(Level));
        c->noisy[i] = image_make(c);
    }
    c->unused = image_make(c);
}

Classification *classification_create(const ClassifierTask *task, const Network *network, ImageSource source,
                                      Device *device, uint32_t batch, uint64_t seed) {
    CHECK(batch > 0 && batch % (uint32_t)network->n == 0,
          "a batch of %u does not consist of micro-batches of %d", batch, network->n);
    Classification *c = calloc(1, sizeof *c);
    CHECK(c, "out of memory");
    *c = (Classification){
        .task = task, .network = *network, .source = source, .device = device, .batch = batch, .seed = seed};
    c->images = image_make(c);
    c->loss = memory(c, batch, sizeof *c->loss);
    c->correct = memory(c, batch, sizeof *c->correct);
    c->label = memory(c, (size_t)network->n, sizeof *c->label);
    if (task->noise > 0) noise_make(c);
    return c;
}

void classification_free(Classification *c) {
    if (!c) return;
    void *all[] = {c->images.data, c->noisy[0].data, c->noisy[1].data, c->unused.data, c->table,
                   c->levels,      c->drawn[0],      c->drawn[1],      c->thresholds,  c->loss,
                   c->label,       c->correct,       c->score_images,  c->score_labels};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]) c->device->release(c->device, all[i]);
    free(c);
}

/* ---- a micro-batch ---- */

static void images_draw(Classification *c, DrawKey draw) {
    c->device->ops->batch_gather(c->device, &(BatchGather){.images = c->source.images,
                                                           .labels = c->source.labels,
                                                           .count = c->source.count,
                                                           .batch = c->batch,
                                                           .gathered = c->source.gathered,
                                                           .flip = c->source.flip,
                                                           .shift = c->task->shift,
                                                           .draw = draw,
                                                           .y = c->images,
                                                           .label = c->label});
}

/* The noise op makes a pair, of which one is wanted. */
static void *images_disturb(Classification *c, DrawKey draw) {
    if (!c->table) return c->images.data;
    const Ops *ops = c->device->ops;
    ops->level_draw(c->device, &(LevelDraw){.table = c->table,
                                            .draw = draw,
                                            .n = c->network.n,
                                            .student = c->drawn[0],
                                            .teacher = c->drawn[1]});
    ops->noise_pair(c->device, &(NoisePair){.x0 = c->images,
                                            .student = c->drawn[0],
                                            .teacher = c->drawn[1],
                                            .draw = draw,
                                            .noisy_student = c->noisy[0],
                                            .noisy_teacher = c->noisy[1],
                                            .input_student = c->unused,
                                            .input_teacher = c->unused});
    return c->noisy[0].data;
}

void classification_run(Classification *c, const ObjectiveRun *run) {
    const DrawKey draw = {.seed = c->seed, .row = run->row, .first_sample = run->first_sample};
    const GraphRun network = {
        .master = run->student, .cast = run->student_cast, .draw = draw, .dropout = true};
    Graph *graph = c->network.graph;
    images_draw(c, draw);
    graph_bind(graph, c->network.input, images_disturb(c, draw));
    graph_forward(graph, GRAPH_TRAIN, &network);
    c->device->ops->cross_entropy(
        c->device, &(CrossEntropy){.logits = graph_value(graph, GRAPH_TRAIN, c->network.output),
                                   .dlogits = graph_gradient(graph, c->network.output),
                                   .label = c->label,
                                   .smoothing = (float)c->task->smoothing,
                                   .batch = c->batch,
                                   .loss = c->loss + run->first_sample,
                                   .correct = c->correct + run->first_sample});
    graph_backward(graph, &network, run->gradients, run->accumulate);
}

ClassificationRecord classification_record(const Classification *c) {
    return (ClassificationRecord){.loss = c->loss, .correct = c->correct};
}

/* ---- scoring ---- */

/* Images first .. first + count - 1 of a set become the network's input; places past them keep what they
 * held. */
static void images_load(Classification *c, const Dataset *data, int first, int count) {
    const Network *net = &c->network;
    Device *device = c->device;
    const size_t image = (size_t)net->h * (size_t)net->w * (size_t)net->c, n = (size_t)net->n;
    if (!c->score_images) {
        c->score_images = memory(c, n, image);
        c->score_labels = memory(c, n, sizeof *c->score_labels);
        device->fill(device, c->score_images, 0, n * image);
        device->fill(device, c->score_labels, 0, n * sizeof *c->score_labels);
    }
    device->copy(device, c->score_images, data->images + (size_t)first * image, (size_t)count * image,
                 COPY_TO_DEVICE);
    device->copy(device, c->score_labels, data->labels + first, (size_t)count * sizeof(int32_t),
                 COPY_TO_DEVICE);
    device->ops->batch_gather(device, &(BatchGather){.images = c->score_images,
                                                     .labels = c->score_labels,
                                                     .count = (uint32_t)net->n,
                                                     .batch = (uint32_t)net->n,
                                                     .gathered = true,
                                                     .y = c->images,
                                                     .label = c->label});
}

static void images_judge(Classification *c, const GraphRun *run) {
    Graph *graph = c->network.graph;
    graph_bind(graph, c->network.input, c->images.data);
    graph_forward(graph, GRAPH_EVALUATE, run);
    c->device->ops->cross_entropy(
        c->device, &(CrossEntropy){.logits = graph_value(graph, GRAPH_EVALUATE, c->network.output),
                                   .label = c->label,
                                   .batch = (uint32_t)c->network.n,
                                   .loss = c->loss,
                                   .correct = c->correct});
}

ClassifierScore classification_score(Classification *c, const float *weights, const void *cast,
                                     const Dataset *data, ImageRange range) {
    const size_t n = (size_t)c->network.n;
    const GraphRun run = {.master = weights, .cast = cast};
    ClassifierScore score = {.images = range.count};
    float *loss = malloc(n * sizeof *loss);
    int32_t *correct = malloc(n * sizeof *correct);
    CHECK(loss && correct, "out of memory for a batch of %zu", n);
    for (int done = 0; done < range.count; done += (int)n) {
        const int count = range.count - done < (int)n ? range.count - done : (int)n;
        images_load(c, data, range.first + done, count);
        images_judge(c, &run);
        c->device->copy(c->device, loss, c->loss, n * sizeof *loss, COPY_TO_HOST);
        c->device->copy(c->device, correct, c->correct, n * sizeof *correct, COPY_TO_HOST);
        c->device->synchronise(c->device);
        for (int i = 0; i < count; i++) score.loss += loss[i], score.accuracy += correct[i];
    }
    free(loss);
    free(correct);
    score.loss /= range.count, score.accuracy /= range.count;
    return score;
}
