/* Checks that need more than one key. Values that are fine each for itself can still contradict each other;
 * it is found out here, in a millisecond, and not by a run that dies in its first step. Messages begin with
 * the key to change. */
#include "eval/metric.h"
#include "config/config.h"
#include "config/problem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- model ---- */

/* GroupNorm takes min(C / 4, 32) groups (EDM), which must divide C. */
static void check_group(int channels, const char *where, Problems *problems) {
    const int groups = channels / 4 < 32 ? channels / 4 : 32;
    if (groups < 1 || channels % groups)
        problem_add(problems, "model.channels",
                    "%s has %d channels, which do not fall into %d equal groups for normalisation", where,
                    channels, groups < 1 ? 1 : groups);
}

/* The decoder also normalises a level's features together with what the encoder kept at this level and at the
 * one above. */
static void check_widths(const ModelConfig *model, Problems *problems) {
    char where[64];
    int above = model->channels;
    for (int i = 0; i < model->levels; i++) {
        const int width = model->channels * model->multipliers[i];
        snprintf(where, sizeof where, "level %d", i);
        check_group(width, where, problems);
        snprintf(where, sizeof where, "the decoder at level %d", i);
        check_group(width + above, where, problems);
        above = width;
    }
}

static void check_heads(const ModelConfig *model, int level, Problems *problems) {
    const int width = model->channels * model->multipliers[level];
    if (model->head_channels && width % model->head_channels)
        problem_add(problems, "model.head_channels",
                    "%d does not divide the %d channels of level %d, which has attention",
                    model->head_channels, width, level);
}

static void check_model(const ModelConfig *model, Problems *problems) {
    if (model->levels == 0) {
        problem_add(problems, "model.channel_mult", "at least one resolution is needed");
        return;
    }
    check_widths(model, problems);
    check_heads(model, model->levels - 1, problems); /* the lowest resolution attends in every architecture */
    if (model->architecture == ARCHITECTURE_ADM && model->encoder != ENCODER_STANDARD)
        problem_add(problems, "model.encoder",
                    "the adm architecture has no input pyramid: set it to standard");
    if (model->architecture == ARCHITECTURE_ADM && model->decoder != DECODER_STANDARD)
        problem_add(problems, "model.decoder",
                    "the adm architecture makes one image, at the end: set it to standard");
    if (model->channels * model->noise_multiplier % 2)
        problem_add(problems, "model.noise_mult",
                    "the noise embedding has %d channels; it needs pairs of sine and cosine",
                    model->channels * model->noise_multiplier);
    int sum = 0;
    for (int i = 0; i < model->filter_taps; i++) sum += model->filter[i];
    if (model->filter_taps % 2 || sum == 0)
        problem_add(problems, "model.filter", "2 or 4 taps are needed, with a sum above 0");
}

/* ---- method ---- */

static void check_ct(const CtConfig *ct, int64_t steps, Problems *problems) {
    if (ct->sigma_min >= ct->sigma_max)
        problem_add(problems, "ct.sigma_min", "%g is not below ct.sigma_max %g", ct->sigma_min,
                    ct->sigma_max);
    if (ct->s0 > ct->s1) problem_add(problems, "ct.s0", "%d is above ct.s1 %d", ct->s0, ct->s1);
    /* K' of eq. 9 is a whole number of steps a stage, and must not be 0. */
    const int stages = ct->s0 > ct->s1 ? 1 : 1 + (int)floor(log2(floor((double)ct->s1 / ct->s0)));
    if (ct->curriculum == CURRICULUM_EXPONENTIAL && steps < stages)
        problem_add(problems, "train.steps",
                    "%lld steps are too few for the %d stages from ct.s0 %d to ct.s1 %d", (long long)steps,
                    stages, ct->s0, ct->s1);
    if (ct->teacher_schedule == TEACHER_CT && ct->teacher_ema == 0)
        problem_add(problems, "ct.teacher_ema", "the ct schedule needs a start mu_0 above 0");
}

/* ---- training and evaluation ---- */

static void check_train(const TrainConfig *train, Problems *problems) {
    if (train->micro_batch && train->batch % train->micro_batch)
        problem_add(problems, "train.micro_batch", "%d does not divide train.batch %d", train->micro_batch,
                    train->batch);
    for (int i = 0; i < train->optimiser.emas; i++) {
        const double ema = train->optimiser.ema[i];
        if (ema >= 0.288 && ema <= 0.5)
            problem_add(problems, "train.ema",
                        "%g is neither a relative width (below 0.288) nor a decay (above 0.5)", ema);
    }
    for (int i = 1; i < train->evaluations; i++)
        if (train->evaluate_at[i] <= train->evaluate_at[i - 1])
            problem_add(problems, "evaluation.at", "%g does not come after %g", train->evaluate_at[i],
                        train->evaluate_at[i - 1]);
}

static bool has_weights(const char *weights, const OptimiserConfig *optimiser) {
    char *end;
    if (strcmp(weights, "raw") == 0) return true;
    if (strncmp(weights, "ema:", 4)) return false;
    const double wanted = strtod(weights + 4, &end);
    for (int i = 0; i < optimiser->emas; i++)
        if (end != weights + 4 && *end == 0 && optimiser->ema[i] == wanted) return true;
    return false;
}

static void check_metrics(const EvaluationConfig *evaluation, Problems *problems) {
    int known = 0;
    while (metric_names[known]) known++;
    for (int i = 0; i < evaluation->metric_count; i++) {
        const char *metric = evaluation->metrics[i];
        const int nearest = text_nearest(metric, metric_names, known);
        if (nearest >= 0 && strcmp(metric_names[nearest], metric) == 0) continue;
        problem_add(problems, "evaluation.metrics", "no metric '%s'%s%s%s", metric,
                    nearest >= 0 ? "; did you mean '" : "", nearest >= 0 ? metric_names[nearest] : "",
                    nearest >= 0 ? "'?" : "");
    }
}

static bool has_nfe(const EvaluationConfig *evaluation, int nfe) {
    for (int i = 0; i < evaluation->nfes; i++)
        if (evaluation->nfe[i] == nfe) return true;
    return false;
}

static void check_sigma(const char *key, double sigma, const CtConfig *ct, Problems *problems) {
    if (!(sigma > ct->sigma_min && sigma < ct->sigma_max))
        problem_add(problems, key, "%g is not between ct.sigma_min %g and ct.sigma_max %g", sigma,
                    ct->sigma_min, ct->sigma_max);
}

/* Sampling's intermediate levels. */
static void check_sigmas(const EvaluationConfig *evaluation, const CtConfig *ct, Problems *problems) {
    const int count = evaluation->sigma_count;
    if (has_nfe(evaluation, 2)) check_sigma("evaluation.sigma_mid", evaluation->sigma_mid, ct, problems);
    for (int i = 0; i < count; i++) {
        check_sigma("evaluation.sigmas", evaluation->sigmas[i], ct, problems);
        if (i > 0 && evaluation->sigmas[i] >= evaluation->sigmas[i - 1])
            problem_add(problems, "evaluation.sigmas", "%g is not below %g, which comes before it",
                        evaluation->sigmas[i], evaluation->sigmas[i - 1]);
    }
    if (count == 1)
        problem_add(problems, "evaluation.sigmas", "the one level of two steps is evaluation.sigma_mid");
    if (count > 1 && !has_nfe(evaluation, count + 1))
        problem_add(problems, "evaluation.sigmas", "%d levels are for %d steps, which evaluation.nfe lacks",
                    count, count + 1);
}

static void check_evaluation(const Config *config, Problems *problems) {
    const EvaluationConfig *evaluation = &config->evaluation;
    if (!has_weights(evaluation->weights, &config->train.optimiser))
        problem_add(problems, "evaluation.weights", "'%s' is neither raw nor ema:X with X one of train.ema",
                    evaluation->weights);
    check_metrics(evaluation, problems);
    check_sigmas(evaluation, &config->ct, problems);
    if (config->train.evaluations && evaluation->nfes == 0)
        problem_add(problems, "evaluation.nfe", "at least one number of steps is needed");
}

static void check_consistency(const Config *config, Problems *problems) {
    check_model(&config->model, problems);
    if (config->model.label_dropout > 0 && !config->class_conditional)
        problem_add(problems, "model.label_dropout",
                    "a network without classes has none to hide: set model.class_conditional");
    check_ct(&config->ct, config->train.steps, problems);
    check_evaluation(config, problems);
}

static void check_classifier(const Config *config, Problems *problems) {
    const ClassifierConfig *network = &config->classifier.network;
    if (network->stages == 0) problem_add(problems, "classifier.widths", "at least one stage is needed");
    for (int i = 0; i < network->stages; i++)
        if (!classifier_width_fits(network->widths[i]))
            problem_add(problems, "classifier.widths",
                        "%d channels do not fall into equal groups for normalisation", network->widths[i]);
    if (config->precision == PRECISION_FP16)
        problem_add(problems, "precision", "classifiers are trained in fp32, tf32 or bf16");
}

bool config_check(const Config *config, Error *error) {
    Problems problems = {0};
    (config->task == TASK_CLASSIFIER ? check_classifier : check_consistency)(config, &problems);
    check_train(&config->train, &problems);
    const bool none = problems_none(&problems, error);
    problems_free(&problems);
    return none;
}

/* ---- with the data set ---- */

static void check_resolution(const ModelConfig *model, int resolution, Problems *problems) {
    if (resolution % (1 << (model->levels - 1)))
        problem_add(problems, "model.channel_mult", "%d resolutions: %d pixels cannot be halved %d times",
                    model->levels, resolution, model->levels - 1);
    for (int i = 0; i < model->attentions; i++) {
        int level = 0;
        while (level < model->levels && resolution >> level != model->attention[i]) level++;
        if (level < model->levels)
            check_heads(model, level, problems);
        else
            problem_add(problems, "model.attention",
                        "the network has no resolution %d (it has %d down to %d)", model->attention[i],
                        resolution, resolution >> (model->levels - 1));
    }
}

ClassifierTask config_classifier(const Config *config, const Dataset *data) {
    ClassifierTask task = config->classifier;
    task.network.architecture = task.role == CLASSIFIER_JUDGE ? CLASSIFIER_RESIDUAL : CLASSIFIER_VGG;
    task.trained = classifier_train_range(task.role, data->count);
    task.held_out = classifier_held_out(data->count);
    return task;
}

static void bind_classifier(const Config *config, const Dataset *data, Problems *problems) {
    const ClassifierTask task = config_classifier(config, data);
    Error error;
    if (!classification_check(&task, data, &error)) problem_add(problems, "data.name", "%s", error.text);
}

bool config_bind(Config *config, const Dataset *data, Error *error) {
    Problems problems = {0};
    const bool classifier = config->task == TASK_CLASSIFIER;
    if (data->height != data->width)
        problem_add(&problems, "data.name", "%s has %d x %d pixels; images must be square", data->name,
                    data->width, data->height);
    if (config->class_conditional && (!data->labels || data->classes < 1))
        problem_add(&problems, "model.class_conditional", "%s has no labels", data->name);
    if (classifier) bind_classifier(config, data, &problems);
    if (!classifier && config->model.levels > 0) check_resolution(&config->model, data->height, &problems);
    config->data.resolution = data->height;
    config->data.count = data->count;
    config->model.classes = config->class_conditional ? data->classes : 0;
    const bool none = problems_none(&problems, error);
    problems_free(&problems);
    return none;
}
