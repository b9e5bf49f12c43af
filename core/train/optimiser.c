/* RAdam (or Adam), its rectification, and the moving averages of weights. The pass over the parameters itself
 * is the backend's (optimizer_step); here are the numbers that drive it and the memory it works on. */
#include "train/optimiser.h"

#include "base/text.h"

#include <math.h>
#include <stdio.h>

/* ---- numbers of a step ---- */

/* What multiplies m_hat / (sqrt(v) + epsilon): the rectification of RAdam times sqrt(1 - beta2^t). 0 stands
 * for the first steps, when the variance of the adaptive rate is not tractable (rho_t <= 5) and the step is
 * lr * m_hat. For Adam the rectification is 1. */
static double step_adaptive(const OptimiserConfig *config, double t) {
    const double decayed = pow(config->beta2, t), correction = 1 - decayed;
    if (!config->rectified) return sqrt(correction);
    const double limit = 2 / (1 - config->beta2) - 1, rho = limit - 2 * t * decayed / correction;
    if (rho <= 5) return 0;
    return sqrt((rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho) * correction);
}

/* torch.optim.RAdam adds epsilon to sqrt(v), torch.optim.Adam to sqrt(v / (1 - beta2^t)), which is
 * epsilon sqrt(1 - beta2^t) added to sqrt(v). */
static double step_epsilon(const OptimiserConfig *config, double t) {
    return config->rectified ? config->epsilon : config->epsilon * sqrt(1 - pow(config->beta2, t));
}

StepRow optimiser_row(const OptimiserConfig *config, int64_t k, double teacher_decay) {
    const double t = (double)k + 1;
    StepRow row = {.step = (uint32_t)k,
                   .learning_rate = (float)config->learning_rate,
                   .epsilon = (float)step_epsilon(config, t),
                   .weight_decay = (float)config->weight_decay,
                   .beta1 = config->beta1,
                   .beta2 = config->beta2,
                   .momentum_correction = (float)(1 / (1 - pow(config->beta1, t))),
                   .adaptive = (float)step_adaptive(config, t),
                   .teacher_decay = teacher_decay};
    for (int i = 0; i < config->emas; i++) row.ema_decay[i] = ema_decay(config, i, k);
    return row;
}

/* The width falls as gamma grows, from 0.2887 at gamma = 0: bisection finds the one root. */
double ema_gamma(double sigma_rel) {
    CHECK(sigma_rel > 0 && sigma_rel < 0.28, "no power-function EMA has the relative width %g", sigma_rel);
    double low = 0, high = 1 / (sigma_rel * sigma_rel);
    for (int i = 0; i < 200; i++) {
        const double gamma = (low + high) / 2;
        const double width2 = (gamma + 1) / ((gamma + 2) * (gamma + 2) * (gamma + 3));
        *(width2 > sigma_rel * sigma_rel ? &low : &high) = gamma;
    }
    return (low + high) / 2;
}

double ema_decay(const OptimiserConfig *config, int i, int64_t k) {
    const double ema = config->ema[i];
    if (ema > 0.5) return ema;
    return pow(1 - 1 / ((double)k + 1), ema_gamma(ema) + 1);
}

const char *ema_name(const OptimiserConfig *config, int i, char out[32]) {
    char number[32];
    snprintf(out, 32, "ema:%.27s", format_double(number, config->ema[i]));
    return out;
}

/* ---- state on the device ---- */

static float *zeros_allocate(const Optimiser *o) {
    float *memory = o->device->allocate(o->device, (size_t)o->total * sizeof(float));
    o->device->fill(o->device, memory, 0, (size_t)o->total * sizeof(float));
    return memory;
}

Optimiser optimiser_create(Device *device, const ParamSet *params, const OptimiserConfig *config,
                           bool teacher) {
    CHECK(config->emas >= 0 && config->emas <= MAX_EMAS, "%d sampling EMAs; at most %d", config->emas,
          MAX_EMAS);
    Optimiser o = {.device = device, .frozen = params->frozen, .total = params->total, .emas = config->emas};
    o.weight = zeros_allocate(&o);
    o.gradient = zeros_allocate(&o);
    o.momentum = zeros_allocate(&o);
    o.variance = zeros_allocate(&o);
    if (teacher) o.teacher = zeros_allocate(&o);
    for (int i = 0; i < o.emas; i++) o.ema[i] = zeros_allocate(&o);
    o.report = device->allocate(device, sizeof(UpdateReport));
    const size_t workspace = device->ops->optimizer_workspace(device, (size_t)(o.total - o.frozen));
    if (workspace) o.workspace = device->allocate(device, workspace);
    return o;
}

void optimiser_set_precision(Optimiser *o, Precision precision, double loss_scale) {
    Device *device = o->device;
    o->dtype = precision_dtype(precision);
    const size_t bytes = (size_t)o->total * dtype_size(o->dtype);
    o->weight_cast = o->dtype == DTYPE_F32 ? o->weight : device->allocate(device, bytes);
    if (o->teacher) o->teacher_cast = o->dtype == DTYPE_F32 ? o->teacher : device->allocate(device, bytes);
    if (loss_scale <= 0) return;
    o->loss_scale = device->allocate(device, sizeof *o->loss_scale);
    optimiser_set_loss_scale(o, (LossScale){.scale = (float)loss_scale});
}

LossScale optimiser_loss_scale(const Optimiser *o) {
    LossScale scale = {.scale = 1};
    if (!o->loss_scale) return scale;
    o->device->copy(o->device, &scale, o->loss_scale, sizeof scale, COPY_TO_HOST);
    o->device->synchronise(o->device);
    return scale;
}

void optimiser_set_loss_scale(Optimiser *o, LossScale scale) {
    if (!o->loss_scale) return;
    o->device->copy(o->device, o->loss_scale, &scale, sizeof scale, COPY_TO_DEVICE);
    o->device->synchronise(o->device);
}

static void cast_make(Optimiser *o, float *from, void *to) {
    if (!to || to == from) return;
    const Tensor master = {from, DTYPE_F32, 1, 1, 1, (int)o->total},
                 cast = {to, o->dtype, 1, 1, 1, (int)o->total};
    o->device->ops->add_scale(o->device, &(AddScale){.a = master, .y = cast, .a_scale = 1});
}

void optimiser_refresh(Optimiser *o) {
    cast_make(o, o->weight, o->weight_cast);
    cast_make(o, o->teacher, o->teacher_cast);
}

void optimiser_free(Optimiser *o) {
    if (!o->device) return;
    if (o->dtype == DTYPE_F32) o->weight_cast = o->teacher_cast = NULL;
    void *memory[] = {o->weight, o->gradient,  o->momentum,    o->variance,     o->teacher,
                      o->report, o->workspace, o->weight_cast, o->teacher_cast, o->loss_scale};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        if (memory[i]) o->device->release(o->device, memory[i]);
    }
    for (int i = 0; i < o->emas; i++) o->device->release(o->device, o->ema[i]);
    *o = (Optimiser){0};
}

void optimiser_set_weights(Optimiser *o, const float *host) {
    Device *device = o->device;
    const size_t bytes = (size_t)o->total * sizeof(float);
    device->copy(device, o->weight, host, bytes, COPY_TO_DEVICE);
    if (o->teacher) device->copy(device, o->teacher, host, bytes, COPY_TO_DEVICE);
    for (int i = 0; i < o->emas; i++) device->copy(device, o->ema[i], host, bytes, COPY_TO_DEVICE);
    device->fill(device, o->momentum, 0, bytes);
    device->fill(device, o->variance, 0, bytes);
    optimiser_refresh(o);
}

/* The trained part of a copy; NULL where the array itself is read. */
static void *cast_from(const Optimiser *o, void *cast) {
    return !cast || o->dtype == DTYPE_F32 ? NULL : (char *)cast + (size_t)o->frozen * dtype_size(o->dtype);
}

void optimiser_step(Optimiser *o, const StepRow *row, float gradient_scale) {
    const int64_t from = o->frozen;
    OptimizerStep step = {.count = (size_t)(o->total - from),
                          .row = row,
                          .gradient = o->gradient + from,
                          .gradient_scale = gradient_scale,
                          .weight = o->weight + from,
                          .momentum = o->momentum + from,
                          .variance = o->variance + from,
                          .loss_scale = o->loss_scale,
                          .weight_cast = cast_from(o, o->weight_cast),
                          .teacher_cast = cast_from(o, o->teacher_cast),
                          .cast_dtype = o->dtype,
                          .teacher = o->teacher ? o->teacher + from : NULL,
                          .emas = o->emas,
                          .report = o->report,
                          .workspace = o->workspace};
    for (int i = 0; i < o->emas; i++) step.ema[i] = o->ema[i] + from;
    o->device->ops->optimizer_step(o->device, &step);
}
