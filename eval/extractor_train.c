/* One short run of the trainer, whose loop, rate and score are those of every classifier. */
#include "eval/extractor_train.h"
#include "base/log.h"
#include "train/trainer.h"

enum { SEED = 1 };

static ClassifierTask extractor_task(const Dataset *data) {
    const int held_out = data->count / 10, trained = data->count - held_out;
    return (ClassifierTask){.network = classifier_small(),
                            .smoothing = 0.05,
                            .warmup = 0.3,
                            .noise = 0.4,
                            .trained = {0, trained},
                            .held_out = {trained, held_out}};
}

bool extractor_train(const Dataset *data, Device *device, float *weights, double *accuracy, Error *error) {
    static const TrainConfig train = {
        .steps = 400,
        .batch = 64,
        .optimiser = {.learning_rate = 4e-3, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8},
    };
    const double start = clock_monotonic();
    const ClassifierTask task = extractor_task(data);
    const TrainSetup setup = {
        .classifier = &task, .train = &train, .data = data, .device = device, .seed = SEED};
    const TrainHooks nobody = {0};
    Trainer *trainer = trainer_open(&setup, error);
    if (!trainer) return false;
    const bool done = trainer_run(trainer, &nobody, error) == TRAIN_DONE;
    if (done) {
        trainer_weights(trainer, weights);
        *accuracy = trainer_score(trainer, task.held_out).accuracy;
        log_info("classifier of '%s': %.1f %% of held-out images right, %.0f s", data->name, 100 * *accuracy,
                 clock_monotonic() - start);
    }
    trainer_close(trainer);
    return done;
}
