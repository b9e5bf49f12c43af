/* One micro-batch of consistency training, in the order of the papers' algorithm:
 *
 *     x0, i, z   drawn
 *     teacher    f(x0 + sigma_i z, sigma_i)            weights theta^-
 *     student    f(x0 + sigma_{i+1} z, sigma_{i+1})    weights theta
 *     loss       lambda(sigma_i) d(student, teacher)   its gradient through the student alone
 *
 * theta^- is an average of theta where the teacher has an EMA, and theta itself where it has none (iCT).
 * The teacher's pass keeps nothing for a backward pass but is the same network otherwise: the same plans, the
 * same kernels, and the same dropout masks, because it asks for the same random numbers. So what remains of
 * the difference is the difference of the inputs, and equal inputs give exactly 0.
 */
#include "ct/objective.h"

#include <stdlib.h>

struct Objective {
    const CtConfig *ct;
    Network network;
    ImageSource source;
    Device *device;
    uint32_t batch;
    uint64_t seed;
    int levels_limit;
    LevelTable *table; /* device memory, as is all below; it points to the next two */
    Level *levels;
    uint32_t *thresholds;
    Tensor x0, noisy_student, noisy_teacher, input_student, input_teacher, f_student, f_teacher, one_hot,
        augment;
    Level *student, *teacher;
    float *loss, *residual; /* for the global batch */
    int32_t *pair;
    Perceptual *perceptual; /* NULL, as the next two, with any other distance */
    Tensor df_student;
    float *distance; /* for a micro-batch */
};

/* ---- memory ---- */

static void *memory(Objective *o, size_t count, size_t size) {
    return o->device->allocate(o->device, count * size);
}

static Tensor tensor_make(Objective *o, DType dtype, int h, int w, int c) {
    Tensor tensor = {.dtype = dtype, .n = o->network.n, .h = h, .w = w, .c = c};
    tensor.data = memory(o, tensor_bytes(&tensor), 1);
    return tensor;
}

static Tensor image_make(Objective *o, DType dtype) {
    return tensor_make(o, dtype, o->network.h, o->network.w, o->network.c);
}

static void images_make(Objective *o) {
    o->x0 = image_make(o, DTYPE_F32);
    o->noisy_student = image_make(o, DTYPE_F32);
    o->noisy_teacher = image_make(o, DTYPE_F32);
    o->input_student = image_make(o, o->network.dtype);
    o->input_teacher = image_make(o, o->network.dtype);
    o->f_student = image_make(o, DTYPE_F32);
    o->f_teacher = image_make(o, DTYPE_F32);
}

/* EDM's augmentation labels say how an image was distorted; none is here, so they are zero. */
static void conditions_make(Objective *o) {
    if (o->network.label != NO_VALUE) {
        CHECK(o->source.labels, "the network has %d classes, the images have no labels", o->network.classes);
        o->one_hot = tensor_make(o, DTYPE_F32, 1, 1, o->network.classes);
    }
    if (o->network.augment != NO_VALUE) {
        o->augment = tensor_make(o, DTYPE_F32, 1, 1, o->network.augment_dim);
        o->device->fill(o->device, o->augment.data, 0, tensor_bytes(&o->augment));
    }
}

static void levels_make(Objective *o) {
    const size_t n = (size_t)o->network.n, limit = (size_t)o->levels_limit;
    o->table = memory(o, 1, sizeof *o->table);
    o->levels = memory(o, limit, sizeof *o->levels);
    o->thresholds = memory(o, limit, sizeof *o->thresholds);
    o->student = memory(o, n, sizeof *o->student);
    o->teacher = memory(o, n, sizeof *o->teacher);
    o->loss = memory(o, o->batch, sizeof *o->loss);
    o->residual = memory(o, o->batch, sizeof *o->residual);
    o->pair = memory(o, o->batch, sizeof *o->pair);
}

Objective *objective_create(const CtConfig *ct, const Network *network, ImageSource source, Device *device,
                            uint32_t batch, uint64_t seed) {
    CHECK(batch > 0 && batch % (uint32_t)network->n == 0,
          "a batch of %u does not consist of micro-batches of %d", batch, network->n);
    CHECK(source.count > 0, "there are no images to train on");
    Objective *o = calloc(1, sizeof *o);
    CHECK(o, "out of memory");
    o->ct = ct;
    o->network = *network;
    o->source = source;
    o->device = device;
    o->batch = batch;
    o->seed = seed;
    o->levels_limit = ct_levels_limit(ct);
    levels_make(o);
    images_make(o);
    conditions_make(o);
    return o;
}

void objective_use_features(Objective *o, const FeatureNetwork *features) {
    CHECK(!o->perceptual && o->ct->distance == DISTANCE_PERCEPTUAL, "features for another distance");
    o->perceptual = perceptual_create(features, o->device);
    o->df_student = image_make(o, DTYPE_F32);
    o->distance = memory(o, (size_t)o->network.n, sizeof *o->distance);
}

void objective_free(Objective *o) {
    if (!o) return;
    perceptual_free(o->perceptual);
    void *all[] = {o->table,
                   o->levels,
                   o->thresholds,
                   o->x0.data,
                   o->noisy_student.data,
                   o->noisy_teacher.data,
                   o->input_student.data,
                   o->input_teacher.data,
                   o->f_student.data,
                   o->f_teacher.data,
                   o->one_hot.data,
                   o->augment.data,
                   o->student,
                   o->teacher,
                   o->loss,
                   o->residual,
                   o->pair,
                   o->df_student.data,
                   o->distance};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (all[i]) o->device->release(o->device, all[i]);
    }
    free(o);
}

void objective_set_levels(Objective *o, const LevelTable *host) {
    const size_t levels = (size_t)host->levels;
    CHECK(host->levels >= 2 && host->levels <= o->levels_limit, "%d noise levels; there is room for 2 to %d",
          host->levels, o->levels_limit);
    const LevelTable table = {.levels = host->levels, .level = o->levels, .threshold = o->thresholds};
    Device *device = o->device;
    device->synchronise(device); /* nobody may still be reading the old table, nor `table` when we return */
    device->copy(device, o->levels, host->level, levels * sizeof(Level), COPY_TO_DEVICE);
    device->copy(device, o->thresholds, host->threshold, (levels - 1) * sizeof(uint32_t), COPY_TO_DEVICE);
    device->copy(device, o->table, &table, sizeof table, COPY_TO_DEVICE);
    device->synchronise(device);
}

/* ---- a micro-batch ---- */

static void batch_draw(Objective *o, DrawKey draw) {
    const Ops *ops = o->device->ops;
    ops->batch_gather(o->device, &(BatchGather){.images = o->source.images,
                                                .labels = o->source.labels,
                                                .count = o->source.count,
                                                .batch = o->batch,
                                                .flip = o->source.flip,
                                                .label_dropout = o->network.label_dropout,
                                                .gathered = o->source.gathered,
                                                .draw = draw,
                                                .y = o->x0,
                                                .one_hot = o->one_hot});
    ops->level_draw(o->device, &(LevelDraw){.table = o->table,
                                            .draw = draw,
                                            .n = o->network.n,
                                            .student = o->student,
                                            .teacher = o->teacher,
                                            .index = o->pair + draw.first_sample});
    ops->noise_pair(o->device, &(NoisePair){.x0 = o->x0,
                                            .student = o->student,
                                            .teacher = o->teacher,
                                            .draw = draw,
                                            .noisy_student = o->noisy_student,
                                            .noisy_teacher = o->noisy_teacher,
                                            .input_student = o->input_student,
                                            .input_teacher = o->input_teacher});
}

/* f(noisy, level) by one of the two schedules. */
static void denoise(Objective *o, GraphSchedule schedule, const GraphRun *run, Tensor input, Tensor noisy,
                    Level *level, Tensor f) {
    const Network *network = &o->network;
    graph_bind(network->graph, network->input, input.data);
    graph_bind(network->graph, network->level, level);
    if (network->label != NO_VALUE) graph_bind(network->graph, network->label, o->one_hot.data);
    if (network->augment != NO_VALUE) graph_bind(network->graph, network->augment, o->augment.data);
    graph_forward(network->graph, schedule, run);
    const Tensor F = graph_value(network->graph, schedule, network->output);
    o->device->ops->precondition(o->device,
                                 &(Precondition){.noisy = noisy, .network = F, .f = f, .level = level});
}

/* The distance of each image, and its gradient with respect to f_student. */
static void perceptual_measure(Objective *o, const ObjectiveRun *run) {
    CHECK(o->perceptual, "a perceptual distance needs a feature network");
    perceptual_run(o->perceptual, &(PerceptualRun){.a = o->f_student,
                                                   .b = o->f_teacher,
                                                   .da = o->df_student,
                                                   .level = o->student,
                                                   .scale = run->gradient_scale / (float)o->batch,
                                                   .distance = o->distance});
}

static void loss_measure(Objective *o, const ObjectiveRun *run) {
    const int dimension = o->network.h * o->network.w * o->network.c;
    if (o->ct->distance == DISTANCE_PERCEPTUAL) perceptual_measure(o, run);
    o->device->ops->consistency_loss(
        o->device, &(ConsistencyLoss){.distance = o->ct->distance,
                                      .huber_c = (float)ct_huber_c(o->ct, dimension),
                                      .batch = o->batch,
                                      .gradient_scale = run->gradient_scale,
                                      .loss_scale = run->loss_scale,
                                      .f_student = o->f_student,
                                      .f_teacher = o->f_teacher,
                                      .dnetwork = graph_gradient(o->network.graph, o->network.output),
                                      .student = o->student,
                                      .loss = o->loss + run->first_sample,
                                      .residual = o->residual + run->first_sample,
                                      .perceptual = o->distance,
                                      .df_student = o->df_student});
}

void objective_run(Objective *o, const ObjectiveRun *run) {
    const DrawKey draw = {.seed = o->seed, .row = run->row, .first_sample = run->first_sample};
    const GraphRun student = {
        .master = run->student, .cast = run->student_cast, .draw = draw, .dropout = true};
    const GraphRun teacher = {
        .master = run->teacher, .cast = run->teacher_cast, .draw = draw, .dropout = true};
    batch_draw(o, draw);
    denoise(o, GRAPH_EVALUATE, &teacher, o->input_teacher, o->noisy_teacher, o->teacher, o->f_teacher);
    denoise(o, GRAPH_TRAIN, &student, o->input_student, o->noisy_student, o->student, o->f_student);
    loss_measure(o, run);
    graph_backward(o->network.graph, &student, run->gradients, run->accumulate);
}

ObjectiveRecord objective_record(const Objective *o) {
    return (ObjectiveRecord){.loss = o->loss,
                             .residual = o->residual,
                             .pair = o->pair,
                             .f_student = o->f_student,
                             .f_teacher = o->f_teacher};
}
