/* Before a run: what it will need, beside what there is. A run that would die of memory or disk after an hour
 * is refused in its first second, and its state stays what it was. */
#include "base/log.h"
#include "base/machine.h"
#include "worker/precision.h"
#include "worker/worker.h"

#include <string.h>

enum { CHECKPOINTS = 3 }; /* the last two are kept while the next one is written */

/* Weights, both moments, teacher and averages, in fp32. */
static double checkpoint_bytes(const Worker *worker) {
    const Config *config = &worker->config;
    const bool teacher = config->task == TASK_CONSISTENCY && config->ct.teacher_ema != 0;
    const int arrays = 3 + teacher + config->train.optimiser.emas;
    return 4.0 * arrays * (double)trainer_parameters(worker->trainer);
}

bool preflight_precision(const char *device, Precision precision, Error *error) {
    return precision == PRECISION_FP32 || strncmp(device, "cpu", 3) ||
           error_set(error,
                     "the CPU computes in fp32 only: set precision=fp32, or choose a GPU with --device cuda");
}

static bool memory_check(double needed, double available, Error *error) {
    char need[32], have[32];
    return available < 0 || needed <= available ||
           error_set(error,
                     "training needs about %s of memory and %s are free: a smaller train.micro_batch needs "
                     "less and gives the "
                     "same result",
                     format_bytes(need, needed), format_bytes(have, available));
}

static bool disk_check(const Worker *worker, double needed, double available, Error *error) {
    char need[32], have[32];
    return available < 0 || needed <= available ||
           error_set(error,
                     "%s: checkpoints need %s and %s are free: free some space, or name another place with "
                     "--folder",
                     worker->folder, format_bytes(need, needed), format_bytes(have, available));
}

bool preflight_check(const Worker *worker, Error *error) {
    const GraphCost cost = trainer_cost(worker->trainer);
    const double memory = machine_memory(), disk = machine_disk(worker->folder);
    const double arena = (double)cost.arena_bytes, checkpoints = CHECKPOINTS * checkpoint_bytes(worker);
    char text[5][32];
    log_info("%s: %s, %d thread%s", worker->device->kind, worker->device->name, worker->device->threads,
             worker->device->threads == 1 ? "" : "s");
    log_info("data %s: %d images of %d x %d x %d", worker->data.name, worker->data.count, worker->data.height,
             worker->data.width, worker->data.channels);
    log_info("network: %s parameters, %s FLOP forward an image; micro-batch %d: %s of activations; "
             "checkpoints: %s of %s free",
             format_count(text[0], (double)trainer_parameters(worker->trainer)),
             format_count(text[1], cost.forward_flops / trainer_micro_batch(worker->trainer)),
             trainer_micro_batch(worker->trainer), format_bytes(text[2], arena),
             format_bytes(text[3], checkpoints), format_bytes(text[4], disk));
    const RaceBudget *races = &worker->device->races;
    if (races->races)
        log_info(
            "kernels: the fastest for %d convolutions were found by running them, in %.1f s; another run "
            "may choose others (bench --tune makes a table)",
            races->races, races->spent);
    const bool on_host = !strcmp(worker->device->kind, "cpu"),
               classifier = worker->config.task == TASK_CLASSIFIER;
    return preflight_precision(worker->device->kind, worker->config.precision, error) &&
           (classifier || precision_note(worker->store, worker->device, worker->config.precision, error)) &&
           (classifier ||
            evaluation_check(&worker->config.evaluation, &worker->data, worker->paths.weights, error)) &&
           (!on_host || memory_check(arena, memory, error)) && disk_check(worker, checkpoints, disk, error);
}
