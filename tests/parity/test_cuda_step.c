/* What surrounds the network in a training step, on CUDA against the CPU: draws, embedding, preconditioning,
 * losses, optimiser. Whole numbers agree exactly. Skipped where there is no card. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "sides.h"

enum { N = 5, SIZE = 6, CHANNELS = 3, LEVELS = 11 };

static const StepRow step_row = {.step = 41,
                                 .learning_rate = 1e-3f,
                                 .epsilon = 1e-8f,
                                 .weight_decay = 0.01f,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .momentum_correction = 1.2f,
                                 .adaptive = 0.31f,
                                 .teacher_decay = 0.95,
                                 .ema_decay = {0.9999, 0.99}};

static void begin(void) {
    if (!sides[CUDA]) skip();
}

static DrawKey draw_at(const Both *row, int s) {
    return (DrawKey){.seed = fresh, .row = row->at[s].data, .first_sample = 3};
}

static Both both_numbers(int count) {
    return both_poisoned(DTYPE_I32, 1, 1, 1, count);
}

static void levels_fill(Level *level, int count) {
    for (int i = 0; i < count; i++)
        level[i] = (Level){.sigma = 0.01f + (float)i * 0.4f,
                           .c_in = 1.0f / (1.0f + (float)i),
                           .c_skip = 0.9f - 0.05f * (float)i,
                           .c_out = 0.1f + 0.07f * (float)i,
                           .c_noise = -1.0f + 0.25f * (float)i,
                           .weight = 0.5f + (float)i};
}

/* ---- draws ---- */

static void gather_case(int shift) {
    begin();
    enum { COUNT = 37, CLASSES = 10 };
    uint8_t images[COUNT * SIZE * SIZE * CHANNELS];
    int32_t labels[COUNT];
    for (size_t i = 0; i < sizeof images; i++) images[i] = (uint8_t)(i * 7919 >> 3);
    for (int i = 0; i < COUNT; i++) labels[i] = i % CLASSES;
    const Both data = both_bytes(images, sizeof images), label = both_bytes(labels, sizeof labels);
    const Both row = both_bytes(&step_row, sizeof step_row),
               y = both_poisoned(DTYPE_F32, 16, SIZE, SIZE, CHANNELS);
    const Both drawn_label = both_numbers(16), one_hot = both_poisoned(DTYPE_F32, 16, 1, 1, CLASSES);
    for (int s = 0; s < SIDES; s++)
        sides[s]->ops->batch_gather(sides[s], &(BatchGather){.images = data.at[s].data,
                                                             .labels = label.at[s].data,
                                                             .count = COUNT,
                                                             .batch = 24,
                                                             .flip = true,
                                                             .shift = shift,
                                                             .label_dropout = 0.3f,
                                                             .draw = draw_at(&row, s),
                                                             .y = y.at[s],
                                                             .label = drawn_label.at[s].data,
                                                             .one_hot = one_hot.at[s]});
    both_same(&y, "images");
    both_same(&drawn_label, "labels");
    both_same(&one_hot, "one-hot labels");
    sides_release();
}

static void test_gather(void **state) {
    (void)state;
    gather_case(0);
    gather_case(3);
}

static void test_levels_and_noise(void **state) {
    (void)state;
    begin();
    Level level[LEVELS];
    uint32_t threshold[LEVELS - 1];
    levels_fill(level, LEVELS);
    for (int i = 0; i < LEVELS - 1; i++) threshold[i] = (uint32_t)((i + 1.0) / (LEVELS - 1) * 4294967295.0);
    const Both levels = both_bytes(level, sizeof level), thresholds = both_bytes(threshold, sizeof threshold);
    const Both row = both_bytes(&step_row, sizeof step_row),
               x0 = both_random(DTYPE_F32, N, SIZE, SIZE, CHANNELS);
    const Both student = both_poisoned(DTYPE_F32, N, 1, 1, LEVEL_FIELDS), index = both_numbers(N);
    const Both teacher = both_poisoned(DTYPE_F32, N, 1, 1, LEVEL_FIELDS);
    Both noisy[2], input[2];
    for (int i = 0; i < 2; i++) noisy[i] = both_poisoned(DTYPE_F32, N, SIZE, SIZE, CHANNELS);
    for (int i = 0; i < 2; i++) input[i] = both_poisoned(DTYPE_F32, N, SIZE, SIZE, i ? 8 : CHANNELS);
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        const LevelTable table = {LEVELS, levels.at[s].data, thresholds.at[s].data};
        void *memory = side_memory(s, sizeof table);
        d->copy(d, memory, &table, sizeof table, COPY_TO_DEVICE);
        d->synchronise(d);
        d->ops->level_draw(d, &(LevelDraw){.table = memory,
                                           .draw = draw_at(&row, s),
                                           .n = N,
                                           .student = student.at[s].data,
                                           .teacher = teacher.at[s].data,
                                           .index = index.at[s].data});
        d->ops->noise_pair(d, &(NoisePair){.x0 = x0.at[s],
                                           .student = student.at[s].data,
                                           .teacher = teacher.at[s].data,
                                           .draw = draw_at(&row, s),
                                           .noisy_student = noisy[0].at[s],
                                           .noisy_teacher = noisy[1].at[s],
                                           .input_student = input[0].at[s],
                                           .input_teacher = input[1].at[s]});
    }
    both_same(&student, "student's levels");
    both_same(&teacher, "teacher's levels");
    both_same(&index, "pairs");
    for (int i = 0; i < 2; i++) {
        both_check(&noisy[i], 1e-6, "noisy images");
        both_check(&input[i], 1e-6, "the network's inputs");
    }
    sides_release();
}

static void test_latent_noise(void **state) {
    (void)state;
    begin();
    Level level[N];
    levels_fill(level, N);
    const Both levels = both_bytes(level, sizeof level), x = both_random(DTYPE_F32, N, SIZE, SIZE, CHANNELS);
    for (int way = 0; way < 3; way++) {
        const Both input = both_poisoned(DTYPE_F32, N, SIZE, SIZE, CHANNELS), moved = both_copy(&x);
        for (int s = 0; s < SIDES; s++)
            sides[s]->ops->latent_noise(sides[s], &(LatentNoise){.x = moved.at[s],
                                                                 .input = input.at[s],
                                                                 .level = levels.at[s].data,
                                                                 .first = 70,
                                                                 .step = (uint32_t)way,
                                                                 .scale = way ? 0.8f : 80,
                                                                 .go_on = way > 0,
                                                                 .clip = way > 1});
        both_check(&moved, 1e-6, "latent_noise");
        both_check(&input, 1e-6, "latent_noise: the network's input");
    }
    sides_release();
}

static void test_embed(void **state) {
    (void)state;
    begin();
    Level level[N];
    levels_fill(level, N);
    const Both levels = both_bytes(level, sizeof level), frequency = both_floats(16);
    for (int way = 0; way < 4; way++) {
        const Both y = both_poisoned(DTYPE_F32, N, 1, 1, 32);
        for (int s = 0; s < SIDES; s++) {
            const Tensor rows = {levels.at[s].data, DTYPE_F32, N, 1, 1, LEVEL_FIELDS};
            sides[s]->ops->noise_embed(sides[s],
                                       &(NoiseEmbed){.level = rows,
                                                     .frequency = frequency.at[s].data,
                                                     .kind = way & 1 ? EMBED_POSITIONAL : EMBED_FOURIER,
                                                     .cosine_first = way & 2,
                                                     .noise_scale = 100,
                                                     .y = y.at[s]});
        }
        both_check(&y, 1e-6, "noise_embed");
    }
    sides_release();
}

/* ---- losses ---- */

static void test_consistency(void **state) {
    (void)state;
    begin();
    Level level[N];
    levels_fill(level, N);
    const Both levels = both_bytes(level, sizeof level);
    for (Distance distance = DISTANCE_PSEUDO_HUBER; distance <= DISTANCE_L1; distance++) {
        const Both noisy = both_random(DTYPE_F32, N, SIZE, SIZE, CHANNELS),
                   F = both_random(DTYPE_F32, N, SIZE, SIZE, CHANNELS);
        const Both teacher = both_random(DTYPE_F32, N, SIZE, SIZE, CHANNELS), loss = both_floats(N),
                   residual = both_floats(N);
        const Both f = both_poisoned(DTYPE_F32, N, SIZE, SIZE, CHANNELS),
                   dF = both_poisoned(DTYPE_F32, N, SIZE, SIZE, CHANNELS);
        for (int s = 0; s < SIDES; s++) {
            Device *d = sides[s];
            d->ops->precondition(d, &(Precondition){noisy.at[s], F.at[s], f.at[s], levels.at[s].data});
            d->ops->consistency_loss(d, &(ConsistencyLoss){.distance = distance,
                                                           .huber_c = 0.03f,
                                                           .batch = 2 * N,
                                                           .gradient_scale = 3,
                                                           .f_student = f.at[s],
                                                           .f_teacher = teacher.at[s],
                                                           .dnetwork = dF.at[s],
                                                           .student = levels.at[s].data,
                                                           .loss = loss.at[s].data,
                                                           .residual = residual.at[s].data});
        }
        both_check(&f, 1e-6, "precondition");
        both_check(&loss, 1e-6, "consistency_loss");
        both_check(&residual, 1e-6, "consistency_loss residual");
        both_check(&dF, 2e-6, "consistency_loss gradient");
    }
    sides_release();
}

static void test_cross_entropy(void **state) {
    (void)state;
    begin();
    enum { CLASSES = 10 };
    int32_t labels[N] = {3, 0, 9, 5, 5};
    const Both label = both_bytes(labels, sizeof labels), logits = both_random(DTYPE_F32, N, 1, 1, CLASSES);
    const Both gradient = both_poisoned(DTYPE_F32, N, 1, 1, CLASSES), loss = both_floats(N),
               correct = both_numbers(N);
    for (int s = 0; s < SIDES; s++)
        sides[s]->ops->cross_entropy(sides[s], &(CrossEntropy){.logits = logits.at[s],
                                                               .dlogits = gradient.at[s],
                                                               .label = label.at[s].data,
                                                               .smoothing = 0.1f,
                                                               .batch = N,
                                                               .loss = loss.at[s].data,
                                                               .correct = correct.at[s].data});
    both_check(&gradient, 1e-6, "cross_entropy gradient");
    both_check(&loss, 1e-6, "cross_entropy");
    both_same(&correct, "cross_entropy correct");
    sides_release();
}

/* ---- optimiser ---- */

/* `bad`: an element of the gradient is not a number, so that nothing may change. */
static void optimizer_case(int count, float adaptive, bool bad) {
    StepRow changed = step_row;
    changed.adaptive = adaptive;
    const Both row = both_bytes(&changed, sizeof changed), gradient = both_floats(count);
    Both state[6];
    for (int i = 0; i < 6; i++) state[i] = both_floats(count);
    const Both root = both_floats(count),
               report = both_poisoned(DTYPE_F32, 1, 1, 1, sizeof(UpdateReport) / 4);
    UpdateReport reports[SIDES];
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        const float nan = NAN;
        if (bad) d->copy(d, (float *)gradient.at[s].data + count / 2, &nan, sizeof nan, COPY_TO_DEVICE);
        d->ops->add_scale(d, &(AddScale){root.at[s], (Tensor){0}, state[2].at[s], 0, 0});
        OptimizerStep op = {.count = (size_t)count,
                            .row = row.at[s].data,
                            .gradient = gradient.at[s].data,
                            .gradient_scale = 0.5f};
        op.weight = state[0].at[s].data, op.momentum = state[1].at[s].data, op.variance = state[2].at[s].data;
        op.teacher = state[3].at[s].data, op.ema[0] = state[4].at[s].data, op.ema[1] = state[5].at[s].data,
        op.emas = 2;
        op.report = report.at[s].data;
        op.workspace = side_memory(s, d->ops->optimizer_workspace(d, (size_t)count));
        for (int i = 0; i < 2; i++) d->ops->optimizer_step(d, &op);
        d->copy(d, &reports[s], op.report, sizeof reports[s], COPY_TO_HOST);
        d->synchronise(d);
    }
    for (int i = 0; i < 6; i++) both_check(&state[i], 1e-6, "optimizer_step");
    assert_memory_equal(&reports[CUDA], &reports[AGAIN], sizeof reports[CUDA]);
    assert_true(reports[CUDA].non_finite == (uint64_t)bad && reports[CPU].non_finite == (uint64_t)bad);
    assert_true(fabs(reports[CUDA].gradient_square / reports[CPU].gradient_square - 1) < 1e-9);
    assert_true(fabs(reports[CUDA].weight_square / reports[CPU].weight_square - 1) < 1e-6);
    assert_true(fabs(reports[CUDA].update_square - reports[CPU].update_square) <=
                1e-5 * reports[CPU].update_square);
    sides_release();
}

/* `count` elements on the card that were made of the floats of `from`, read as `dtype`. */
static void cast_check(const Both *from, const void *cast, int count, DType dtype) {
    float *wide = side_host(CUDA, &from->at[CUDA]);
    const Tensor narrow = {(void *)(uintptr_t)cast, dtype, 1, 1, 1, count};
    uint16_t *bits = side_host(CUDA, &narrow);
    for (int i = 0; i < count; i++)
        if (bits[i] != bits_of(wide[i], dtype))
            fail_msg("element %d of the copy is not the weight rounded", i);
    free(wide);
    free(bits);
}

/* Copies of 16 bits, and a loss scale that a bad gradient halves and a good one counts. */
static void scaled_case(int count, DType dtype, bool bad) {
    const Both row = both_bytes(&step_row, sizeof step_row), gradient = both_floats(count);
    Both state[4];
    for (int i = 0; i < 4; i++) state[i] = both_floats(count);
    const LossScale begun = {.scale = 1024, .sound = LOSS_SCALE_GROWTH - 1};
    const Both scale = both_bytes(&begun, sizeof begun),
               report = both_poisoned(DTYPE_F32, 1, 1, 1, sizeof(UpdateReport) / 4);
    void *cast[2] = {side_memory(CUDA, (size_t)count * 2), side_memory(CUDA, (size_t)count * 2)};
    for (int s = 0; s < SIDES; s++) {
        Device *d = sides[s];
        const float nan = NAN;
        if (bad) d->copy(d, gradient.at[s].data, &nan, sizeof nan, COPY_TO_DEVICE);
        d->ops->add_scale(d, &(AddScale){state[2].at[s], (Tensor){0}, state[2].at[s], 0, 0});
        OptimizerStep op = {.count = (size_t)count,
                            .row = row.at[s].data,
                            .gradient = gradient.at[s].data,
                            .gradient_scale = 1,
                            .loss_scale = scale.at[s].data,
                            .cast_dtype = dtype};
        op.weight = state[0].at[s].data, op.momentum = state[1].at[s].data, op.variance = state[2].at[s].data;
        op.teacher = state[3].at[s].data;
        if (s == CUDA) op.weight_cast = cast[0], op.teacher_cast = cast[1];
        op.report = report.at[s].data;
        op.workspace = side_memory(s, d->ops->optimizer_workspace(d, (size_t)count));
        d->ops->optimizer_step(d, &op);
    }
    for (int i = 0; i < 4; i++) both_check(&state[i], 1e-6, "optimizer_step, scaled");
    both_same(&scale, "loss scale");
    LossScale *after = side_host(CUDA, &scale.at[CUDA]);
    assert_true(after->scale == (bad ? 512 : 2048) && after->sound == 0);
    free(after);
    if (!bad) cast_check(&state[0], cast[0], count, dtype);
    if (!bad) cast_check(&state[3], cast[1], count, dtype);
    sides_release();
}

static void test_scaled_optimizer(void **state) {
    (void)state;
    begin();
    scaled_case(40000, DTYPE_F16, false);
    scaled_case(40000, DTYPE_BF16, false);
    scaled_case(8191, DTYPE_F16, false);
    scaled_case(20000, DTYPE_F16, true);
}

static void test_optimizer(void **state) {
    (void)state;
    begin();
    optimizer_case(40000, 0.31f, false);
    optimizer_case(40000, 0, false);
    optimizer_case(8191, 0.31f, false);
    optimizer_case(20000, 0.31f, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gather),        cmocka_unit_test(test_levels_and_noise),
        cmocka_unit_test(test_latent_noise),  cmocka_unit_test(test_scaled_optimizer),
        cmocka_unit_test(test_embed),         cmocka_unit_test(test_consistency),
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_optimizer),
    };
    return SIDES_RUN(tests);
}
