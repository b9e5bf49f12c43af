/* Putting a Trainer together, taking it apart, and drawing samples with it. */
#include "train/features.h"
#include "train/trainer_state.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- do the parts fit? ---- */

static bool setup_check(const TrainSetup *s, Error *error) {
    const Dataset *data = s->data;
    const TrainConfig *train = s->train;
    if (data->width != data->height) {
        return error_set(error, "data set %s: images of %d x %d; the network needs squares", data->name,
                         data->width, data->height);
    }
    if (!s->classifier && s->model->classes && (!data->labels || data->classes > s->model->classes)) {
        return error_set(error, "data set %s has %d classes, the network (model.classes) %d", data->name,
                         data->labels ? data->classes : 0, s->model->classes);
    }
    if (train->steps < 1 || train->batch < 1 || train->micro_batch < 0 ||
        (train->micro_batch && train->batch % train->micro_batch)) {
        return error_set(error,
                         "%" PRId64
                         " steps of %d images in micro-batches of %d: a micro-batch must divide the "
                         "batch (train.micro_batch: 0 lets the trainer choose)",
                         train->steps, train->batch, train->micro_batch);
    }
    return !s->classifier || classification_check(s->classifier, data, error);
}

/* ---- opening ---- */

static void weights_initialise(Trainer *t) {
    float *values = malloc((size_t)t->params.total * sizeof(float));
    CHECK(values, "out of memory for %" PRId64 " parameters", t->params.total);
    param_initialise(&t->params, t->setup.seed, values);
    optimiser_set_weights(&t->optimiser, values);
    t->setup.device->synchronise(t->setup.device);
    free(values);
}

static bool checkpoint_resume(Trainer *t, const char *path, Error *error) {
    const TrainSetup *setup = &t->setup;
    if (!path) {
        if (setup->folder) checkpoint_set_aside(setup->folder, -1);
        return true;
    }
    CheckpointFacts facts = {.seed = setup->seed, .batch = setup->train->batch};
    snprintf(facts.config_hash, sizeof facts.config_hash, "%s", setup->config_hash ? setup->config_hash : "");
    snprintf(facts.data_hash, sizeof facts.data_hash, "%s", setup->data->hash.hex);
    const CheckpointState state = {&t->params, &t->optimiser, &setup->train->optimiser};
    if (!checkpoint_read(path, &state, &facts, error)) return false;
    if (facts.step > setup->train->steps) {
        return error_set(error,
                         "%s: it stands after step %" PRId64 ", beyond the %" PRId64 " steps of this run",
                         path, facts.step, setup->train->steps);
    }
    checkpoint_set_aside(setup->folder, facts.step);
    t->step = t->saved = facts.step;
    t->meter = facts.meter;
    if (facts.loss_scale.scale > 0) optimiser_set_loss_scale(&t->optimiser, facts.loss_scale);
    log_info("resumed from %s", path);
    return true;
}

/* Scaling is for fp16 alone: bf16 has fp32's range. */
static double loss_scale_first(const TrainSetup *s) {
    return s->precision == PRECISION_FP16 && !s->classifier ? s->train->loss_scale : 0;
}

/* A classifier sees a range of the set. */
static Dataset images_choose(const TrainSetup *s) {
    Dataset images = *s->data;
    if (!s->classifier) return images;
    const ImageRange range = s->classifier->trained;
    const size_t size = (size_t)images.height * (size_t)images.width * (size_t)images.channels;
    images.images += (size_t)range.first * size;
    images.labels += range.first;
    images.count = range.count;
    return images;
}

static void objective_make(Trainer *t) {
    const TrainSetup *s = &t->setup;
    const ImageSource source = source_images(&t->source);
    const uint32_t batch = (uint32_t)s->train->batch;
    if (s->classifier) {
        t->classification =
            classification_create(s->classifier, &t->network, source, s->device, batch, s->seed);
        return;
    }
    t->objective = objective_create(s->ct, &t->network, source, s->device, batch, s->seed);
    t->bin_of_pair = calloc((size_t)ct_levels_limit(s->ct), sizeof(int));
    CHECK(t->bin_of_pair, "out of memory");
}

static void parts_create(Trainer *t, int micro) {
    const TrainSetup *s = &t->setup;
    const Precision precision = network_precision(s->device, s->precision);
    char choices[1024];
    if (s->device->remember && s->folder)
        s->device->remember(s->device, path_join(choices, s->folder, "kernels.txt"));
    t->network = s->classifier
                     ? classification_network(s->classifier, &t->params, s->device, micro, s->data, precision)
                     : network_create(s->model, &t->params, s->device, micro, s->data->height,
                                      s->data->channels, true, precision);
    t->optimiser = optimiser_create(s->device, &t->params, &s->train->optimiser, trainer_has_teacher(s));
    optimiser_set_precision(&t->optimiser, precision, loss_scale_first(s));
    t->images = images_choose(s);
    t->source = source_create(&t->images, s->device, s->seed, (uint32_t)s->train->batch, s->flip,
                              s->gather_data ? SOURCE_GATHERED : SOURCE_CHOOSE);
    objective_make(t);
    window_create(t);
    weights_initialise(t);
}

/* In fp16 and bf16 runs too the feature network computes in fp32 with TF32's products: its gradients, divided
 * among 50,000 positions, would leave fp16's range. */
static bool features_make(Trainer *t, Error *error) {
    const TrainSetup *s = &t->setup;
    if (s->classifier || s->ct->distance != DISTANCE_PERCEPTUAL) return true;
    CHECK(s->features, "a perceptual distance without a network");
    const FeatureRequest request = trainer_features_request(s, t->network.n);
    if (!features_open(s->features, s->ct->perceptual.hash, &request, s->device, &t->features, error))
        return false;
    objective_use_features(t->objective, &t->features);
    return true;
}

Trainer *trainer_open(const TrainSetup *setup, Error *error) {
    char path[1024];
    if (!setup_check(setup, error)) return NULL;
    /* Asked once: the answer takes a checksum over a gigabyte. */
    const char *checkpoint = setup->folder && checkpoint_newest(setup->folder, path) ? path : NULL;
    const int micro = micro_batch_choose(setup, checkpoint, error);
    if (!micro) return NULL;
    Trainer *t = calloc(1, sizeof *t);
    CHECK(t, "out of memory");
    t->setup = *setup;
    t->saved = -1;
    parts_create(t, micro);
    if (!features_make(t, error) || !checkpoint_resume(t, checkpoint, error)) {
        trainer_close(t);
        return NULL;
    }
    t->loss_scale = loss_scale_now(t);
    return t;
}

void trainer_close(Trainer *t) {
    if (!t) return;
    Device *device = t->setup.device;
    sampler_free(t->sampler);
    replay_release(&t->replay, device);
    objective_free(t->objective);
    classification_free(t->classification);
    features_close(&t->features, device);
    optimiser_free(&t->optimiser);
    network_free(&t->network);
    window_free(t);
    source_free(&t->source);
    if (t->sample_cast) device->release(device, t->sample_cast);
    param_free(&t->params);
    free(t->bin_of_pair);
    free(t);
}

int64_t trainer_step(const Trainer *t) {
    return t->step;
}

int64_t trainer_parameters(const Trainer *t) {
    return param_count(&t->params);
}

int trainer_micro_batch(const Trainer *t) {
    return t->network.n;
}

bool trainer_holds_data(const Trainer *t) {
    return t->source.slots == 0;
}

GraphCost trainer_cost(const Trainer *t) {
    GraphCost cost = graph_cost(t->network.graph, GRAPH_TRAIN);
    if (t->features.graph) cost.arena_bytes += graph_cost(t->features.graph, GRAPH_TRAIN).arena_bytes;
    return cost;
}

/* ---- sampling ---- */

/* Device memory of the named weights; NULL and an error that lists the names. */
static const float *weights_named(const Trainer *t, const char *name, Error *error) {
    const OptimiserConfig *config = &t->setup.train->optimiser;
    if (strcmp(name, "raw") == 0) return t->optimiser.weight;
    Text names = {0};
    for (int i = 0; i < config->emas; i++) {
        char ema[32];
        if (strcmp(name, ema_name(config, i, ema)) == 0) {
            text_free(&names);
            return t->optimiser.ema[i];
        }
        text_append(&names, ", %s", ema);
    }
    error_set(error, "the run has no weights \"%s\"; it has raw%s", name, text_view(&names));
    text_free(&names);
    return NULL;
}

bool trainer_sample(Trainer *t, const char *weights, const SamplerConfig *config, uint32_t first_seed,
                    int count, const int32_t *labels, float *images, Error *error) {
    CHECK(t->objective, "a classifier draws no samples");
    const float *values = weights_named(t, weights, error);
    if (!values) return false;
    if (!t->sampler) t->sampler = sampler_create(t->setup.ct, &t->network, t->setup.device);
    const void *cast = network_cast(&t->network, t->setup.device, &t->params, values, &t->sample_cast);
    sampler_draw(t->sampler, config, values, cast, first_seed, count, labels, images);
    return true;
}

/* ---- a classifier ---- */

ClassifierScore trainer_score(Trainer *t, ImageRange range) {
    CHECK(t->classification, "only classifiers are right or wrong");
    const Optimiser *o = &t->optimiser;
    return classification_score(t->classification, o->weight, o->weight_cast, t->setup.data, range);
}

void trainer_weights(const Trainer *t, float *values) {
    Device *device = t->setup.device;
    device->copy(device, values, t->optimiser.weight, (size_t)t->params.total * sizeof *values, COPY_TO_HOST);
    device->synchronise(device);
}

bool trainer_write_classifier(Trainer *t, const char *path, const ClassifierFacts *facts, Error *error) {
    float *values = malloc((size_t)t->params.total * sizeof *values);
    CHECK(values, "out of memory for %" PRId64 " parameters", t->params.total);
    trainer_weights(t, values);
    const bool written = classifier_file_write(path, &t->params, values, facts, error);
    free(values);
    return written;
}
