/* How many images of a batch go through the network at a time. */
#include "train/features.h"
#include "train/fit.h"
#include "train/trainer_state.h"

#include "base/log.h"
#include "base/text.h"

#include <stdio.h>

bool trainer_has_teacher(const TrainSetup *s) {
    return !s->classifier && s->ct->teacher_ema != 0;
}

/* The largest divisor of the batch up to a limit. On CPUs the limit keeps activations near the caches: on one
 * core, at 16 x 16 and 32 x 32 pixels with 16 to 64 channels, 16 images at a time were within 4 % of the best
 * (8: 8 %, 4: 25 %, 64: 19 % slower at worst); more cores want more images. */
static int micro_batch_cpu(const TrainSetup *s) {
    const int limit = s->device->threads > 2 ? 8 * s->device->threads : 16;
    int micro = s->train->batch < limit ? s->train->batch : limit;
    while (s->train->batch % micro) micro--;
    return micro;
}

FeatureRequest trainer_features_request(const TrainSetup *s, int images) {
    const bool tf32 = network_precision(s->device, s->precision) != PRECISION_FP32;
    return features_request(&s->ct->perceptual, s->data, images, tf32);
}

/* What other runs on the same device leave. */
static size_t memory_share(const TrainSetup *s) {
    size_t available = 0, total = 0;
    s->device->memory(s->device, &available, &total);
    const size_t share = total / (size_t)(s->sharing > 1 ? s->sharing : 1);
    return share < available ? share : available;
}

static FitRequest fit_of(const TrainSetup *s) {
    return (FitRequest){.model = s->model,
                        .train = s->train,
                        .teacher = trainer_has_teacher(s),
                        .precision = s->precision,
                        .resolution = s->data->height,
                        .channels = s->data->channels};
}

/* Of the device's memory, what the network may have; false and an error. */
static bool memory_left(const TrainSetup *s, size_t *available, Error *error) {
    const FeatureRequest features = trainer_features_request(s, s->train->batch);
    size_t taken = 0;
    *available = memory_share(s);
    if (s->features && !features_memory(s->features, &features, s->device, &taken, error)) return false;
    *available -= taken < *available ? taken : *available;
    return true;
}

/* `micro` images at a time are too many: how many would do? */
static int micro_batch_refuse(const TrainSetup *s, int micro, size_t available, Error *error) {
    const FitRequest request = fit_of(s);
    const FitNeeds needs = fit_needs(&request, micro);
    const int fits = fit_micro_batch(&request, available);
    char need[32], have[32], remedy[128];
    snprintf(remedy, sizeof remedy, "train.micro_batch=%d would fit, and 0 finds that out", fits);
    if (!fits)
        snprintf(remedy, sizeof remedy, "choose a smaller model, or %s",
                 s->sharing > 1 ? "fewer --jobs" : "another card");
    error_set(error, "%s: training %d image%s at a time needs %s and %s are free; %s", s->device->name, micro,
              micro == 1 ? "" : "s", format_bytes(need, (double)fit_total(&needs)),
              format_bytes(have, (double)available), remedy);
    return 0;
}

/* On other devices than CPUs: all that fits into their memory. */
static int micro_batch_fit(const TrainSetup *s, Error *error) {
    const FitRequest request = fit_of(s);
    size_t available;
    if (!memory_left(s, &available, error)) return 0;
    const int micro = fit_micro_batch(&request, available);
    return micro ? micro : micro_batch_refuse(s, 1, available, error);
}

/* What was asked for, unless it cannot fit even if libraries need nothing. */
static int micro_batch_asked(const TrainSetup *s, Error *error) {
    const int micro = s->train->micro_batch;
    const FitRequest request = fit_of(s);
    size_t available;
    if (!s->device->memory || s->classifier) return micro;
    if (!memory_left(s, &available, error)) return 0;
    const FitNeeds needs = fit_needs(&request, micro);
    if (fit_total(&needs) - needs.libraries <= available) return micro;
    return micro_batch_refuse(s, micro, available, error);
}

int micro_batch_choose(const TrainSetup *s, const char *checkpoint, Error *error) {
    if (s->train->micro_batch) return micro_batch_asked(s, error);
    const int before = checkpoint ? checkpoint_micro_batch(checkpoint) : 0;
    if (before && s->train->batch % before == 0) return before;
    if (s->classifier && s->device->memory) return s->train->batch; /* a hundredth of a card's memory */
    return s->device->memory ? micro_batch_fit(s, error) : micro_batch_cpu(s);
}
