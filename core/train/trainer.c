/* The training loop, top to bottom.
 *
 *     until K steps are done
 *         milestone?   row of metrics, checkpoint, evaluation, in this order
 *         stop?        checkpoint, and leave
 *         a window of steps up to the next milestone
 *
 * A row comes before the checkpoint of its step, so that resuming there does not repeat it; the checkpoint
 * comes before the evaluation, which may be long, so that killing an evaluation loses no training.
 */
#include "train/trainer_state.h"

#include "base/text.h"

#include <math.h>

static bool hook_tick(const TrainHooks *hooks, const Tick *tick, Error *error) {
    return !hooks->on_tick || hooks->on_tick(hooks->context, tick, error);
}

/* ---- milestones ---- */

static bool every(int64_t step, int64_t steps) {
    return steps > 0 && step % steps == 0;
}

static int64_t evaluation_step(const TrainConfig *train, int i) {
    return llround(train->evaluate_at[i] * (double)train->steps);
}

static bool evaluates(const TrainConfig *train, int64_t step) {
    for (int i = 0; i < train->evaluations; i++) {
        if (evaluation_step(train, i) == step) return true;
    }
    return false;
}

static bool ticks(const TrainConfig *train, int64_t step) {
    return step == train->steps || every(step, train->tick_steps);
}

static bool saves(const TrainConfig *train, int64_t step) {
    return step == train->steps || (step > 0 && every(step, train->checkpoint_steps)) ||
           evaluates(train, step);
}

static Tick tick_make(const Trainer *t) {
    const Meter *m = &t->meter;
    Tick tick = {.step = t->step,
                 .images = t->step * t->setup.train->batch,
                 .N = t->N,
                 .loss = m->loss / m->steps,
                 .gradient_norm = m->gradient_norm / m->steps,
                 .residual = t->classification ? NAN : m->residual / m->steps,
                 .accuracy = t->classification ? m->accuracy / m->steps : NAN,
                 .learning_rate = rate_at(t, t->step - 1),
                 .images_per_second = m->images / m->seconds,
                 .seconds = m->seconds,
                 .update_norm_mean = m->update_mean,
                 .update_norm_variance = m->update_spread / m->steps,
                 .non_finite = (uint64_t)m->non_finite,
                 .loss_scale = (double)t->loss_scale.scale};
    for (int b = 0; b < SIGMA_BINS; b++) {
        const bool empty = m->bin_images[b] == 0;
        tick.loss_by_sigma[b] = empty ? NAN : m->bin_loss[b] / m->bin_images[b];
        tick.residual_by_sigma[b] = empty ? NAN : m->bin_residual[b] / m->bin_images[b];
    }
    return tick;
}

static bool tick_report(Trainer *t, const TrainHooks *hooks, Error *error) {
    const Tick tick = tick_make(t);
    t->meter = (Meter){0};
    return hook_tick(hooks, &tick, error);
}

static bool checkpoint_save(Trainer *t, const TrainHooks *hooks, Error *error) {
    const TrainSetup *setup = &t->setup;
    if (!setup->folder) return true;
    CheckpointFacts facts = {.step = t->step,
                             .images = t->step * setup->train->batch,
                             .N = t->N,
                             .seed = setup->seed,
                             .batch = setup->train->batch,
                             .meter = t->meter,
                             .loss_scale = t->loss_scale,
                             .micro_batch = t->network.n};
    snprintf(facts.config_hash, sizeof facts.config_hash, "%s", setup->config_hash ? setup->config_hash : "");
    snprintf(facts.data_hash, sizeof facts.data_hash, "%s", setup->data->hash.hex);
    const CheckpointState state = {&t->params, &t->optimiser, &setup->train->optimiser};
    char path[1024];
    if (!checkpoint_write(setup->folder, &state, &facts, path, error)) return false;
    t->saved = t->step;
    checkpoint_prune(setup->folder, 2);
    return !hooks->on_checkpoint || hooks->on_checkpoint(hooks->context, t->step, path, error);
}

/* What is due after `t->step` steps. */
static bool milestones_pass(Trainer *t, const TrainHooks *hooks, Error *error) {
    const TrainConfig *train = t->setup.train;
    if (ticks(train, t->step) && t->meter.steps > 0 && !tick_report(t, hooks, error)) return false;
    if (saves(train, t->step) && t->saved != t->step && !checkpoint_save(t, hooks, error)) return false;
    if (!evaluates(train, t->step) || !hooks->on_evaluation) return true;
    return hooks->on_evaluation(hooks->context, t->step, t, error);
}

/* ---- the loop ---- */

/* The host does not run further ahead of a device than a second, so that it can be stopped; and one step of
 * it comes first, whose time is then known. */
static int window_most(const Trainer *t) {
    const int most = source_steps(&t->source) < WINDOW ? source_steps(&t->source) : WINDOW;
    if (!t->setup.device->capture_begin) return most;
    const double steps = t->step_seconds > 0 ? 1 / t->step_seconds : 1;
    return steps < 1 ? 1 : steps < most ? (int)steps : most;
}

/* Steps until something is due, N changes, or the window is full. */
static int window_length(const Trainer *t) {
    const TrainConfig *train = t->setup.train;
    const int N = levels_at(t, t->step), most = window_most(t);
    int length = 1;
    for (; length < most; length++) {
        const int64_t step = t->step + length;
        if (ticks(train, step) || saves(train, step) || levels_at(t, step) != N) break;
    }
    return length;
}

TrainEnd trainer_run(Trainer *t, const TrainHooks *hooks, Error *error) {
    for (;;) {
        if (!milestones_pass(t, hooks, error)) return TRAIN_FAILED;
        if (t->step == t->setup.train->steps) return TRAIN_DONE;
        if (hooks->should_stop && hooks->should_stop(hooks->context)) {
            return t->saved == t->step || checkpoint_save(t, hooks, error) ? TRAIN_STOPPED : TRAIN_FAILED;
        }
        if (!window_run(t, window_length(t), hooks, error)) return TRAIN_DIVERGED;
    }
}
