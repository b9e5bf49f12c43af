/* Training in each precision on a card: student and teacher that agree have a loss of exactly 0; whole runs
 * follow the CPU's; the same run twice, and one that is stopped and resumed by other processes' devices, end
 * in the same bytes after two changes of N and (fp16) steps that overflow. Skipped where there is no card. */
#include "train/trainer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "base/file.h"
#include "tests/parity/run.h"
#include "tests/unit/scratch.h"

enum { STEPS = 200 };

static const char *const names[] = {"fp32", "tf32", "bf16", "fp16"};

static Device *card_open(void) {
    Device *device;
    Error error;
    if (!device_open("cuda", 2, &device, &error)) skip();
    return device;
}

/* ------------------------------------------------------------------------------------------ exactly 0 */

typedef struct Pair {
    Device *device;
    ModelConfig model;
    CtConfig ct;
    ParamSet params;
    Network network;
    Optimiser optimiser;
    Objective *objective;
    StepRow *row;
    uint8_t *images;
} Pair;

/* Last layers begin at zero, and then the network is zero whatever it is given: every weight must count. */
static void weights_set(Pair *p) {
    float *weights = calloc((size_t)p->params.total, sizeof(float));
    param_initialise(&p->params, 3, weights);
    for (int64_t i = p->params.frozen; i < p->params.total; i++)
        weights[i] += 0.05f * (float)((i * 37) % 11 - 5) / 5;
    optimiser_set_weights(&p->optimiser, weights);
    p->device->synchronise(p->device);
    free(weights);
}

/* Two levels that are one. */
static void level_set(Pair *p) {
    Level level[2] = {ct_level(&p->ct, 0.4), ct_level(&p->ct, 0.4)};
    uint32_t threshold[1] = {UINT32_MAX};
    level[1].weight = 1000;
    objective_set_levels(p->objective, &(LevelTable){2, level, threshold});
}

static void pair_make(Pair *p, Device *device, Precision precision, bool teacher) {
    const OptimiserConfig optimiser = toy_train().optimiser;
    const Dataset data = toy_data();
    const StepRow row = {.step = 2};
    *p = (Pair){.device = device, .model = toy_model(), .ct = toy_ct()};
    p->network = network_create(&p->model, &p->params, device, 8, TOY_SIZE, 3, true, precision);
    p->optimiser = optimiser_create(device, &p->params, &optimiser, teacher);
    optimiser_set_precision(&p->optimiser, precision, precision == PRECISION_FP16 ? 65536 : 0);
    p->images = device->allocate(device, sizeof toy_images);
    p->row = device->allocate(device, sizeof row);
    device->copy(device, p->images, toy_images, sizeof toy_images, COPY_TO_DEVICE);
    device->copy(device, p->row, &row, sizeof row, COPY_TO_DEVICE);
    const ImageSource source = {.images = p->images, .count = (uint32_t)data.count, .flip = true};
    p->objective = objective_create(&p->ct, &p->network, source, device, 8, 11);
    weights_set(p);
    level_set(p);
}

static void pair_free(Pair *p) {
    objective_free(p->objective);
    optimiser_free(&p->optimiser);
    network_free(&p->network);
    param_free(&p->params);
    p->device->release(p->device, p->images);
    p->device->release(p->device, p->row);
}

static void zero_check(Pair *p, const char *name) {
    const Optimiser *o = &p->optimiser;
    float loss[8], *gradient = malloc((size_t)o->total * sizeof(float));
    objective_run(p->objective, &(ObjectiveRun){.row = p->row,
                                                .student = o->weight,
                                                .teacher = o->teacher ? o->teacher : o->weight,
                                                .student_cast = o->weight_cast,
                                                .teacher_cast = o->teacher ? o->teacher_cast : o->weight_cast,
                                                .gradients = o->gradient,
                                                .gradient_scale = 1,
                                                .loss_scale = o->loss_scale});
    p->device->copy(p->device, loss, objective_record(p->objective).loss, sizeof loss, COPY_TO_HOST);
    p->device->copy(p->device, gradient, o->gradient, (size_t)o->total * sizeof(float), COPY_TO_HOST);
    for (int i = 0; i < 8; i++)
        if (loss[i] != 0) fail_msg("%s: the loss of image %d is %g", name, i, (double)loss[i]);
    for (int64_t i = o->frozen; i < o->total; i++)
        if (gradient[i] != 0)
            fail_msg("%s: element %d of the gradient is %g", name, (int)i, (double)gradient[i]);
    free(gradient);
}

static void student_and_teacher_agree_in_every_precision(void **state) {
    (void)state;
    Device *device = card_open();
    for (Precision precision = PRECISION_FP32; precision <= PRECISION_FP16; precision++) {
        for (int teacher = 0; teacher < 2; teacher++) {
            Pair pair;
            pair_make(&pair, device, precision, teacher);
            zero_check(&pair, names[precision]);
            pair_free(&pair);
        }
    }
    device_close(device);
}

/* ------------------------------------------------------------------------------------------ whole runs */

static TrainConfig train_config(void) {
    TrainConfig train = toy_train();
    train.steps = STEPS;
    train.tick_steps = 20;
    train.checkpoint_steps = 0;
    train.loss_scale = 0x1p40; /* overflows fp16 a few times */
    return train;
}

/* N goes 5, 9, 17 in thirds of the run. A device of its own, as another process would have. */
static Run run_train(const char *device_name, Precision precision, const char *folder, int stop_after,
                     bool gather) {
    const ModelConfig model = toy_model();
    const CtConfig ct = toy_ct();
    const TrainConfig train = train_config();
    const Dataset data = toy_data();
    char path[1024];
    Run run = {.stop_after = stop_after};
    Error error;
    Device *device;
    if (!device_open(device_name, 2, &device, &error)) fail_msg("%s", error.text);
    const TrainHooks hooks = run_hooks(&run);
    const TrainSetup setup = {.model = &model,
                              .ct = &ct,
                              .train = &train,
                              .data = &data,
                              .flip = true,
                              .device = device,
                              .seed = 11,
                              .precision = precision,
                              .gather_data = gather,
                              .folder = path_join(path, scratch_folder, folder)};
    if (!folder_make(path, &error)) fail_msg("%s", error.text);
    Trainer *trainer = trainer_open(&setup, &error);
    if (!trainer) fail_msg("%s", error.text);
    if (trainer_run(trainer, &hooks, &error) != (stop_after ? TRAIN_STOPPED : TRAIN_DONE))
        fail_msg("%s", error.text);
    trainer_close(trainer);
    device_close(device);
    return run;
}

/* Which kernels run the convolutions was found by timing; the same bytes need the same choices. */
static void kernels_copy(const char *from, const char *to) {
    char *text, path[1024], target[1024], folder[1024];
    size_t size;
    snprintf(target, sizeof target, "%s/kernels.txt", to);
    snprintf(path, sizeof path, "%s/kernels.txt", from);
    assert_true(folder_make(path_join(folder, scratch_folder, to), NULL));
    assert_true(file_read(path_join(folder, scratch_folder, path), &text, &size, NULL));
    assert_true(file_write_atomic(path_join(folder, scratch_folder, target), text, size, NULL));
    free(text);
}

/* Stopped twice: in the first third, and after N has changed. */
static void check_repeats(const char *name, Precision precision, const Run *whole) {
    char again[32], parts[32], gathered[32];
    snprintf(again, sizeof again, "%s-again", name);
    snprintf(parts, sizeof parts, "%s-parts", name);
    snprintf(gathered, sizeof gathered, "%s-gathered", name);
    kernels_copy(name, again);
    kernels_copy(name, parts);
    kernels_copy(name, gathered);
    const Run second = run_train("cuda", precision, again, 0, false);
    check_same_file(whole->checkpoint, second.checkpoint);
    assert_memory_equal(whole->loss, second.loss, sizeof second.loss);
    run_train("cuda", precision, parts, 3, false);
    run_train("cuda", precision, parts, 100, false);
    const Run last = run_train("cuda", precision, parts, 0, false);
    check_same_file(whole->checkpoint, last.checkpoint);
    const Run fetched = run_train("cuda", precision, gathered, 0, true);
    check_same_file(whole->checkpoint, fetched.checkpoint);
}

static void check_precision(Precision precision, const Run *cpu) {
    static const double bounds[] = {1e-3, 0.03, 0.1, 0.1};
    const char *name = names[precision];
    const Run run = run_train("cuda", precision, name, 0, false);
    assert_true(run.ticks == cpu->ticks && run.N[0] == 5 && run.N[run.ticks - 1] == 17);
    for (int i = 0; i < run.ticks; i++) {
        const double difference = fabs(run.loss[i] / cpu->loss[i] - 1);
        if (getenv("PARITY_VERBOSE")) printf("# %s, tick %d: loss off by %.2g\n", name, i, difference);
        if (!(difference < bounds[precision])) fail_msg("%s, tick %d: loss off by %g", name, i, difference);
    }
    assert_true((run.non_finite > 0) == (precision == PRECISION_FP16));
    assert_true(precision != PRECISION_FP16 || (run.loss_scale < 0x1p40 && run.loss_scale > 1));
    check_repeats(name, precision, &run);
}

static void runs_repeat_in_every_precision(void **state) {
    (void)state;
    device_close(card_open());
    const Run cpu = run_train("cpu", PRECISION_FP32, "cpu", 0, false);
    for (Precision precision = PRECISION_FP32; precision <= PRECISION_FP16; precision++)
        check_precision(precision, &cpu);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(student_and_teacher_agree_in_every_precision),
                                       IN_SCRATCH(runs_repeat_in_every_precision)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
