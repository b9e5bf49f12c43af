/* Ops of a training step around the network: what is drawn (levels, noise), preconditioning and
 * losses. Each against a plain statement of its formula in double, against central differences where there is
 * a gradient, and against PyTorch (scripts/golden_light.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "golden.h"
#include "backend/order.h"

/* ---- noise levels ---- */

enum { LEVELS = 6 };

/* Levels with recognisable fields; `law` is the probability of each of the LEVELS - 1 pairs. */
static LevelTable table_make(const double *law) {
    LevelTable table = {LEVELS, array_poisoned(LEVELS * sizeof(Level)), array_poisoned((LEVELS - 1) * 4)};
    double sum = 0.0;
    for (int i = 0; i < LEVELS; i++) table.level[i] = (Level){.sigma = 1.0f + i, .weight = 10.0f * i};
    for (int i = 0; i < LEVELS - 1; i++) {
        sum += law[i];
        table.threshold[i] = (uint32_t)fmin(sum * 4294967296.0, 4294967295.0);
    }
    return table;
}

/* First i with u <= threshold[i], found one by one, for random words and words next to every threshold. */
static void test_level_draw(void **state) {
    (void)state;
    enum { N = 20000 };
    const double law[LEVELS - 1] = {0.1, 0.0, 0.5, 0.15, 0.25};
    const LevelTable table = table_make(law);
    const StepRow row = {.step = 5};
    LevelDraw op = {&table, {.seed = 3, .row = &row}, N, NULL, NULL, array_poisoned(N * sizeof(int32_t))};
    op.student = array_poisoned(N * sizeof(Level));
    op.teacher = array_poisoned(N * sizeof(Level));
    device->ops->level_draw(device, &op);
    int drawn[LEVELS - 1] = {0};
    for (int i = 0; i < N; i++) {
        const RandomKey key = {3, STREAM_LEVEL, 5, (uint32_t)i};
        int expected = 0;
        while (expected < LEVELS - 2 && random_block(key, 0).x[0] > table.threshold[expected]) expected++;
        assert_int_equal(op.index[i], expected);
        assert_memory_equal(&op.teacher[i], &table.level[expected], sizeof(Level));
        assert_memory_equal(&op.student[i], &table.level[expected + 1], sizeof(Level));
        drawn[expected]++;
    }
    for (int i = 0; i < LEVELS - 1; i++) {
        const double share = drawn[i] / (double)N, deviation = sqrt(law[i] * (1 - law[i]) / N);
        assert_true(fabs(share - law[i]) <= 4 * deviation + 1e-9);
    }
}

/* A draw that equals a threshold belongs to that threshold's pair; the last pair takes whatever is left. */
static void test_level_draw_borders(void **state) {
    (void)state;
    const StepRow row = {.step = 1};
    uint32_t threshold[3];
    Level levels[4] = {{.sigma = 1}, {.sigma = 2}, {.sigma = 3}, {.sigma = 4}}, student, teacher;
    const LevelTable table = {4, levels, threshold};
    LevelDraw op = {&table, {.seed = 3, .row = &row}, 1, &student, &teacher, NULL};
    const RandomKey key = {3, STREAM_LEVEL, 1, 0};
    const uint32_t u = random_block(key, 0).x[0];
    const uint32_t cases[][4] = {
        {u, u, u, 0}, {u - 1, u, u, 1}, {u - 1, u - 1, u, 2}, {u - 1, u - 1, u - 1, 2}};
    for (int i = 0; i < LENGTH(cases); i++) {
        memcpy(threshold, cases[i], sizeof threshold);
        device->ops->level_draw(device, &op);
        assert_true(teacher.sigma == 1.0f + cases[i][3]);
        assert_true(student.sigma == 2.0f + cases[i][3]);
    }
}

/* ---- noise ---- */

static NoisePair noise_make(const StepRow *row, Tensor x0, int input_channels) {
    NoisePair op = {.x0 = x0, .draw = {.seed = 11, .row = row}};
    Level *student = array_poisoned((size_t)x0.n * sizeof(Level)),
          *teacher = array_poisoned((size_t)x0.n * sizeof(Level));
    for (int i = 0; i < x0.n; i++) {
        student[i] = (Level){.sigma = 0.5f + i, .c_in = 1.0f / (1.0f + i)};
        teacher[i] = (Level){.sigma = 0.1f + i, .c_in = 1.5f / (1.0f + i)};
    }
    op.student = student;
    op.teacher = teacher;
    op.noisy_student = tensor_like(x0);
    op.noisy_teacher = tensor_like(x0);
    op.input_student = tensor_poisoned(x0.n, x0.h, x0.w, input_channels);
    op.input_teacher = tensor_poisoned(x0.n, x0.h, x0.w, input_channels);
    return op;
}

static void check_noisy(const NoisePair *op, const Level *level, Tensor noisy, Tensor input) {
    const int64_t per_image = tensor_count(&op->x0) / op->x0.n;
    for (int64_t at = 0; at < tensor_count(&op->x0); at++) {
        const int64_t image = at / per_image, element = at % per_image;
        const RandomKey key = {11, STREAM_NOISE, op->draw.row->step, (uint32_t)image};
        const float z = random_normal4(random_block(key, (uint32_t)(element / 4))).x[element % 4];
        const float expected = fmaf(level[image].sigma, z, ((float *)op->x0.data)[at]);
        assert_true(((float *)noisy.data)[at] == expected);
        const float *pixel = (float *)input.data + at / op->x0.c * input.c;
        assert_true(pixel[at % op->x0.c] == level[image].c_in * expected);
        for (int c = op->x0.c; c < input.c; c++) assert_true(pixel[c] == 0.0f);
    }
}

static void test_noise_pair(void **state) {
    (void)state;
    const StepRow row = {.step = 8};
    const int shapes[][5] = {{3, 4, 4, 3, 3}, {2, 5, 5, 3, 8}, {4, 1, 1, 1, 1}, {2, 16, 16, 3, 3}};
    for (int i = 0; i < LENGTH(shapes); i++) {
        const int *s = shapes[i];
        const NoisePair op = noise_make(&row, tensor_random(s[0], s[1], s[2], s[3]), s[4]);
        device->ops->noise_pair(device, &op);
        check_noisy(&op, op.student, op.noisy_student, op.input_student);
        check_noisy(&op, op.teacher, op.noisy_teacher, op.input_teacher);
    }
}

/* Image 2 of a whole batch gets the noise that it gets as the first of its micro-batch. */
static void test_noise_pair_micro_batches(void **state) {
    (void)state;
    const StepRow row = {.step = 8};
    const Tensor x0 = tensor_random(4, 5, 5, 3);
    const NoisePair whole = noise_make(&row, x0, 3);
    device->ops->noise_pair(device, &whole);
    const int64_t at = 2 * tensor_count(&x0) / 4;
    NoisePair part = noise_make(&row, (Tensor){(float *)x0.data + at, DTYPE_F32, 2, 5, 5, 3}, 3);
    part.student = whole.student + 2;
    part.teacher = whole.teacher + 2;
    part.draw.first_sample = 2;
    device->ops->noise_pair(device, &part);
    assert_memory_equal(part.noisy_student.data, (float *)whole.noisy_student.data + at,
                        tensor_bytes(&part.x0));
    assert_memory_equal(part.input_teacher.data, (float *)whole.input_teacher.data + at,
                        tensor_bytes(&part.x0));
}

/* ---- preconditioning and consistency loss ---- */

typedef struct LossCase {
    Precondition precondition;
    ConsistencyLoss loss;
} LossCase;

static LossCase loss_make(Tensor noisy, Tensor network, Tensor teacher, Level *levels, Distance distance,
                          float c) {
    const size_t bytes = (size_t)noisy.n * sizeof(float);
    LossCase k = {.precondition = {noisy, network, tensor_like(noisy), levels}};
    k.loss = (ConsistencyLoss){.distance = distance, .huber_c = c, .batch = 8, .gradient_scale = 1.0f};
    k.loss.f_student = k.precondition.f;
    k.loss.f_teacher = teacher;
    k.loss.dnetwork = tensor_like(network);
    k.loss.student = levels;
    k.loss.loss = array_poisoned(bytes);
    k.loss.residual = array_poisoned(bytes);
    return k;
}

static void test_loss_golden(void **state) {
    (void)state;
    const char *names[] = {"huber", "l2", "l1"};
    const Tensor c_skip = golden_tensor("loss", "c_skip"), c_out = golden_tensor("loss", "c_out");
    const Tensor weight = golden_tensor("loss", "weight");
    Level *levels = array_poisoned(4 * sizeof(Level));
    for (int i = 0; i < 4; i++) {
        levels[i].c_skip = ((float *)c_skip.data)[i];
        levels[i].c_out = ((float *)c_out.data)[i];
        levels[i].weight = ((float *)weight.data)[i];
    }
    for (int distance = DISTANCE_PSEUDO_HUBER; distance <= DISTANCE_L1; distance++) {
        LossCase k = loss_make(golden_tensor("loss", "noisy"), golden_tensor("loss", "network"),
                               golden_tensor("loss", "teacher"), levels, distance, 0.03f);
        char prefix[32];
        snprintf(prefix, sizeof prefix, "loss.%s", names[distance]);
        device->ops->precondition(device, &k.precondition);
        device->ops->consistency_loss(device, &k.loss);
        check_golden((Tensor){k.loss.loss, DTYPE_F32, 4, 1, 1, 1}, prefix, "y", 3e-7);
        check_golden(k.loss.dnetwork, prefix, "dx", 5e-7);
    }
}

/* Weighted distance of one sample in double, with element `moved` of the network's output moved by `step`. */
static double loss_plain(const LossCase *k, int sample, int64_t moved, double step) {
    const Precondition *p = &k->precondition;
    const int64_t count = tensor_count(&p->f) / p->f.n;
    const Level *level = &p->level[sample];
    double square = 0.0, absolute = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = sample * count + i;
        const double network = ((float *)p->network.data)[at] + (i == moved ? step : 0.0);
        const double f = (double)level->c_skip * ((float *)p->noisy.data)[at] + level->c_out * network;
        const double difference = f - ((float *)k->loss.f_teacher.data)[at];
        square += difference * difference;
        absolute += fabs(difference);
    }
    const double c = k->loss.huber_c;
    if (k->loss.distance == DISTANCE_L2) return level->weight * square / count;
    if (k->loss.distance == DISTANCE_L1) return level->weight * absolute / count;
    return level->weight * (sqrt(square + c * c) - c);
}

/* Gradients by central differences, with a loss scale; then twice the same bits with one thread and with
 * three. */
static void test_loss_gradient(void **state) {
    (void)state;
    enum { N = 3, COUNT = 5 * 5 * 3 };
    Level levels[N];
    for (int i = 0; i < N; i++) levels[i] = (Level){.c_skip = 0.8f, .c_out = 0.1f + i, .weight = 3.0f + i};
    for (int distance = DISTANCE_PSEUDO_HUBER; distance <= DISTANCE_L1; distance++) {
        LossCase k = loss_make(tensor_random(N, 5, 5, 3), tensor_random(N, 5, 5, 3),
                               tensor_random(N, 5, 5, 3), levels, distance, 2.0f);
        k.loss.gradient_scale = 512.0f;
        device->ops->precondition(device, &k.precondition);
        device->ops->consistency_loss(device, &k.loss);
        double *expected = doubles_of(k.loss.dnetwork.data, N * COUNT);
        for (int i = 0; i < N * COUNT; i++) {
            const double step = 1e-6, up = loss_plain(&k, i / COUNT, i % COUNT, step);
            expected[i] = 512.0 / 8.0 * (up - loss_plain(&k, i / COUNT, i % COUNT, -step)) / (2 * step);
        }
        check_near(k.loss.dnetwork.data, expected, N * COUNT, 1e-6, "gradient of the consistency loss");
        for (int i = 0; i < N; i++) NEAR(k.loss.loss[i], loss_plain(&k, i, -1, 0.0), 1e-6 * k.loss.loss[i]);
    }
}

/* Equal outputs: loss, residual and gradient are exactly 0, whatever the distance, also with c = 0. A tiny
 * residual keeps its digits where sqrt(s + c^2) - c would have lost them all, and NaN stays visible. */
static void test_loss_extremes(void **state) {
    (void)state;
    Level level = {.c_skip = 1.0f, .c_out = 1.0f, .weight = 25000.0f};
    const Tensor x = tensor_random(1, 8, 8, 3);
    const float zeros[8 * 8 * 3] = {0};
    for (int i = 0; i < 4; i++) {
        LossCase k = loss_make(x, x, x, &level, i % 3, i == 3 ? 0.0f : 0.03f);
        k.loss.f_student = tensor_copy(x);
        device->ops->consistency_loss(device, &k.loss);
        assert_true(k.loss.loss[0] == 0.0f && k.loss.residual[0] == 0.0f);
        assert_memory_equal(k.loss.dnetwork.data, zeros, sizeof zeros);
        ((float *)k.loss.f_student.data)[5] = NAN;
        device->ops->consistency_loss(device, &k.loss);
        assert_true(isnan(k.loss.loss[0]) && isnan(k.loss.residual[0]));
    }
    float student[2] = {1e-6f, 0.0f}, teacher[2] = {0.0f, 0.0f}, loss, residual;
    ConsistencyLoss op = {.huber_c = 0.03f, .batch = 1, .gradient_scale = 1.0f, .student = &level};
    op.f_student = (Tensor){student, DTYPE_F32, 1, 1, 1, 2};
    op.f_teacher = (Tensor){teacher, DTYPE_F32, 1, 1, 1, 2};
    op.loss = &loss;
    op.residual = &residual;
    device->ops->consistency_loss(device, &op);
    NEAR(residual, 1e-6, 1e-12);
    NEAR(loss / (25000.0 * 1e-12 / 0.06), 1.0, 1e-6);
}

/* ---- cross-entropy ---- */

static void test_cross_entropy_golden(void **state) {
    (void)state;
    const NpyArray *label = npz_find(golden, golden_count, "cross_entropy.label");
    assert_non_null(label);
    Tensor logits = golden_tensor("cross_entropy", "logits");
    logits.n = 6;
    logits.c = 10;
    CrossEntropy op = {
        .logits = logits, .dlogits = tensor_like(logits), .label = label->data, .smoothing = 0.1f};
    op.batch = 8;
    op.loss = floats_poisoned(6);
    op.correct = array_poisoned(6 * sizeof(int32_t));
    device->ops->cross_entropy(device, &op);
    check_golden((Tensor){op.loss, DTYPE_F32, 6, 1, 1, 1}, "cross_entropy", "y", 3e-7);
    check_golden(op.dlogits, "cross_entropy", "dx", 3e-7);
    for (int i = 0; i < 6; i++) {
        const float *x = (float *)logits.data + i * 10;
        int larger = 0;
        for (int k = 0; k < 10; k++) larger += x[k] > x[op.label[i]];
        assert_int_equal(op.correct[i], larger == 0);
    }
}

/* Logits that overflow an exponential, without smoothing and without gradient. */
static void test_cross_entropy_large(void **state) {
    (void)state;
    float x[3] = {1000.0f, 990.0f, -1000.0f}, loss;
    int32_t correct, label = 1;
    CrossEntropy op = {.logits = {x, DTYPE_F32, 1, 1, 1, 3}, .label = &label, .batch = 1, .loss = &loss};
    op.correct = &correct;
    device->ops->cross_entropy(device, &op);
    NEAR(loss, 10.0 + log1p(exp(-10.0)), 1e-6);
    assert_int_equal(correct, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_level_draw),          TEST(test_level_draw_borders),
        TEST(test_noise_pair),          TEST(test_noise_pair_micro_batches),
        TEST(test_loss_golden),         TEST(test_loss_gradient),
        TEST(test_loss_extremes),       TEST(test_cross_entropy_golden),
        TEST(test_cross_entropy_large),
    };
    return cmocka_run_group_tests_name("backend: draws and losses", tests, golden_open, golden_close);
}
