/* Drawing the images of a step: every image once an epoch, flips, shifts, hidden labels, micro-batches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "arrays.h"
#include "backend/order.h"
#include <math.h>
#include <stdlib.h>

/* ---- images ---- */

enum { SET = 23, HEIGHT = 4, WIDTH = 5, CHANNELS = 3, PIXELS = HEIGHT * WIDTH * CHANNELS, CLASSES = 7 };

/* SET different images of random bytes, labelled i % CLASSES. */
static BatchGather gather_make(const StepRow *row, int n, uint32_t batch) {
    uint8_t *images = array_poisoned(SET * PIXELS);
    int32_t *labels = array_poisoned(SET * sizeof(int32_t));
    for (uint32_t i = 0; i < SET * PIXELS; i++) {
        const RandomKey key = {.seed = 1, .stream = 1001};
        images[i] = (uint8_t)random_block(key, i).x[0];
    }
    for (int i = 0; i < SET; i++) labels[i] = i % CLASSES;
    return (BatchGather){.images = images,
                         .labels = labels,
                         .count = SET,
                         .batch = batch,
                         .flip = true,
                         .draw = {.seed = 99, .row = row},
                         .y = tensor_poisoned(n, HEIGHT, WIDTH, CHANNELS),
                         .label = array_poisoned((size_t)n * sizeof(int32_t)),
                         .one_hot = tensor_poisoned(n, 1, 1, CLASSES)};
}

/* Which image of the set `x` is, and whether mirrored; -1 when it is none. */
static int image_find(const BatchGather *op, const float *x, bool mirrored) {
    for (int i = 0; i < SET; i++) {
        int equal = 0;
        for (int p = 0; p < PIXELS; p++) {
            const int c = p % CHANNELS, column = p / CHANNELS % WIDTH, y = p / CHANNELS / WIDTH;
            const int from = (y * WIDTH + (mirrored ? WIDTH - 1 - column : column)) * CHANNELS + c;
            const double value = op->images[i * PIXELS + from] / 127.5 - 1.0;
            equal += fabs(x[p] - value) <= 6e-8;
        }
        if (equal == PIXELS) return i;
    }
    return -1;
}

/* Every image comes once per epoch (epochs do not end with batches), with its label; about half
 * are mirrored. */
static void test_gather_epochs(void **state) {
    (void)state;
    StepRow row = {0};
    BatchGather op = gather_make(&row, 5, 5);
    int seen[SET] = {0}, mirrored = 0;
    for (int k = 0; k < 4 * SET; k++) {
        if (k % 5 == 0) {
            row.step = (uint32_t)k / 5;
            device->ops->batch_gather(device, &op);
        }
        const float *x = (float *)op.y.data + k % 5 * PIXELS,
                    *hot = (float *)op.one_hot.data + k % 5 * CLASSES;
        const int plain = image_find(&op, x, false), image = plain < 0 ? image_find(&op, x, true) : plain;
        assert_in_range(image, 0, SET - 1);
        assert_int_equal(op.label[k % 5], image % CLASSES);
        for (int c = 0; c < CLASSES; c++) assert_true(hot[c] == (c == image % CLASSES ? 1.0f : 0.0f));
        mirrored += plain < 0;
        assert_int_equal(seen[image]++, k / SET);
    }
    assert_in_range(mirrored, 4 * SET * 3 / 10, 4 * SET * 7 / 10);
}

/* A micro-batch holds what the same places of the whole batch hold. */
static void test_gather_micro_batches(void **state) {
    (void)state;
    const StepRow row = {.step = 17};
    BatchGather whole = gather_make(&row, 6, 6), part = gather_make(&row, 2, 6);
    device->ops->batch_gather(device, &whole);
    part.draw.first_sample = 3;
    device->ops->batch_gather(device, &part);
    assert_memory_equal(part.y.data, (float *)whole.y.data + 3 * PIXELS, 2 * PIXELS * sizeof(float));
    assert_memory_equal(part.label, whole.label + 3, 2 * sizeof(int32_t));
    whole.flip = false;
    whole.labels = NULL;
    whole.label = NULL;
    whole.one_hot.data = NULL;
    device->ops->batch_gather(device, &whole);
    for (int i = 0; i < 6; i++) {
        const uint32_t image = order_image(99, 17, 6, (uint32_t)i, SET);
        assert_int_equal(image_find(&whole, (float *)whole.y.data + i * PIXELS, false), image);
    }
}

/* Whether `x` is an image of the set moved, its edges reflected as by numpy.pad, and mirrored or not. */
static bool image_is_moved(const BatchGather *op, const float *x, uint32_t image, int down, int right) {
    static const int rows[] = {2, 1, 0, 1, 2, 3, 2, 1}, columns[] = {2, 1, 0, 1, 2, 3, 4, 3, 2};
    const uint8_t *from = op->images + image * PIXELS;
    int equal[2] = {0, 0};
    for (int p = 0; p < 2 * PIXELS; p++) {
        const int c = p % CHANNELS, column = p / CHANNELS % WIDTH, y = p / CHANNELS / WIDTH % HEIGHT;
        const int row = rows[2 + y + down], at = p < PIXELS ? column : WIDTH - 1 - column;
        const int byte = from[(row * WIDTH + columns[2 + at + right]) * CHANNELS + c];
        equal[p / PIXELS] += fabs(x[p % PIXELS] - (byte / 127.5 - 1.0)) <= 6e-8;
    }
    return equal[0] == PIXELS || equal[1] == PIXELS;
}

/* All 25 ways to move an image come, equally often. */
static void test_gather_shifts(void **state) {
    enum { STEPS = 500, BATCH = 6, MOST = 2, SIDE = 5, WAYS = SIDE * SIDE };
    int seen[WAYS] = {0};
    (void)state;
    StepRow row = {0};
    BatchGather op = gather_make(&row, BATCH, BATCH);
    op.shift = MOST;
    for (row.step = 0; row.step < STEPS; row.step++) {
        device->ops->batch_gather(device, &op);
        for (int i = 0; i < BATCH; i++) {
            const uint32_t image = order_image(99, row.step, BATCH, (uint32_t)i, SET);
            const float *x = (float *)op.y.data + i * PIXELS;
            int found = 0;
            for (int way = 0; way < WAYS; way++) {
                const int down = way / SIDE - MOST, right = way % SIDE - MOST;
                const bool moved = image_is_moved(&op, x, image, down, right);
                seen[way] += moved, found += moved;
            }
            assert_int_equal(found, 1);
        }
    }
    for (int way = 0; way < WAYS; way++) assert_in_range(seen[way], 75, 165); /* of 120; 4 deviations */
}

/* Hidden classes: rows of zeros, about as many as the rate says and drawn anew each step; the label itself
 * stays. */
static void test_gather_hides_labels(void **state) {
    (void)state;
    StepRow row = {0};
    BatchGather op = gather_make(&row, 6, 6);
    op.label_dropout = 0.25f;
    int hidden = 0, repeated = 0;
    bool before[6] = {0};
    for (row.step = 0; row.step < 200; row.step++) {
        device->ops->batch_gather(device, &op);
        for (int i = 0; i < 6; i++) {
            const float *hot = (float *)op.one_hot.data + i * CLASSES;
            float sum = 0;
            for (int c = 0; c < CLASSES; c++) sum += hot[c];
            assert_true(sum == 0 || (sum == 1 && hot[op.label[i]] == 1));
            hidden += sum == 0, repeated += sum == 0 && before[i];
            before[i] = sum == 0;
        }
    }
    assert_in_range(hidden, 250, 350); /* 1,200 draws at 0.25: 300 +- 15 */
    assert_in_range(repeated, 40, 115);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_gather_epochs),
        TEST(test_gather_micro_batches),
        TEST(test_gather_shifts),
        TEST(test_gather_hides_labels),
    };
    return cmocka_run_group_tests_name("backend: images", tests, NULL, NULL);
}
