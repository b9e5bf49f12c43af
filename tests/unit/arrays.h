/* What tests of ops share: a CPU device per test, tensors that begin as noise or as poison (NaN, so that an
 * element that an op forgets is seen), and comparisons. Memory belongs to the fixture, which frees it after
 * each test.
 */
#ifndef ICT_TESTS_ARRAYS_H
#define ICT_TESTS_ARRAYS_H

#include "backend/backend.h"
#include "base/philox.h"
#include "near.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

enum { ARRAYS_MAX = 8192 };
static Device *device;
static void *arrays_owned[ARRAYS_MAX];
static int arrays_count;
static uint32_t arrays_drawn;

static inline int arrays_setup(void **state) {
    (void)state;
    Error error;
    arrays_count = 0;
    arrays_drawn = 0;
    if (!device_open("cpu", 2, &device, &error)) fail_msg("%s", error.text);
    return 0;
}

/* Frees all arrays so far, for tests with many cases. */
static inline void arrays_release(void) {
    for (int i = 0; i < arrays_count; i++) free(arrays_owned[i]);
    arrays_count = 0;
}

static inline int arrays_teardown(void **state) {
    (void)state;
    arrays_release();
    device_close(device);
    return 0;
}

/* Malloc'ed and not from the device, so that AddressSanitizer watches both ends. */
static inline void *array_poisoned(size_t bytes) {
    assert_true(arrays_count < ARRAYS_MAX);
    void *memory = malloc(bytes ? bytes : 1);
    assert_non_null(memory);
    memset(memory, 0xFF, bytes);
    return arrays_owned[arrays_count++] = memory;
}

static inline float *floats_poisoned(int64_t count) {
    return array_poisoned((size_t)count * sizeof(float));
}

/* Standard normals; other ones at every call. */
static inline float *floats_random(int64_t count) {
    float *x = floats_poisoned(count);
    const RandomKey key = {.seed = 7, .stream = 1000, .sample = arrays_drawn++};
    for (int64_t i = 0; i < count; i++) x[i] = random_normal4(random_block(key, (uint32_t)(i / 4))).x[i % 4];
    return x;
}

static inline Tensor tensor_poisoned(int n, int h, int w, int c) {
    return (Tensor){floats_poisoned((int64_t)n * h * w * c), DTYPE_F32, n, h, w, c};
}

static inline Tensor tensor_random(int n, int h, int w, int c) {
    return (Tensor){floats_random((int64_t)n * h * w * c), DTYPE_F32, n, h, w, c};
}

static inline Tensor tensor_like(Tensor t) {
    return tensor_poisoned(t.n, t.h, t.w, t.c);
}

static inline Tensor tensor_copy(Tensor t) {
    Tensor copy = tensor_like(t);
    memcpy(copy.data, t.data, tensor_bytes(&t));
    return copy;
}

/* Largest difference, relative to the largest expected value. NaN counts as infinitely far. */
static inline double distance_between(const float *x, const double *expected, int64_t count) {
    double largest = 1e-30, worst = 0.0;
    for (int64_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(expected[i]));
        const double difference = fabs(x[i] - expected[i]);
        worst = difference <= INFINITY ? fmax(worst, difference) : INFINITY;
    }
    return worst / largest;
}

static inline void check_near(const float *x, const double *expected, int64_t count, double tolerance,
                              const char *what) {
    const double distance = distance_between(x, expected, count);
    if (!(distance <= tolerance))
        fail_msg("%s: off by %.3g, at most %.3g allowed", what, distance, tolerance);
}

static inline double *doubles_of(const float *x, int64_t count) {
    double *out = array_poisoned((size_t)count * sizeof(double));
    for (int64_t i = 0; i < count; i++) out[i] = x[i];
    return out;
}

static inline double *doubles_zero(int64_t count) {
    double *out = array_poisoned((size_t)count * sizeof(double));
    for (int64_t i = 0; i < count; i++) out[i] = 0.0;
    return out;
}

/* A second call gave the same bits. */
static inline void check_same_bits(const float *a, const float *b, int64_t count, const char *what) {
    if (memcmp(a, b, (size_t)count * sizeof(float)) != 0)
        fail_msg("%s: the second call gave other bits", what);
}

static inline double dot(Tensor a, Tensor b) {
    const float *x = a.data, *y = b.data;
    double sum = 0.0;
    for (int64_t i = 0; i < tensor_count(&a); i++) sum += (double)x[i] * y[i];
    return sum;
}

#endif
