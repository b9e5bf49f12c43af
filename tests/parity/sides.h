/* Tensors that exist on three sides: the CPU, the first CUDA card, and that card once more. What a test
 * computes must be near on the first two and have the same bits on the last two. Inputs are fresh random
 * numbers, rounded to the type that the card works in, so that both begin from the same values; outputs begin
 * as NaN, so that an element that an op forgets is seen. The CPU always computes in fp32.
 */
#ifndef ICT_TESTS_SIDES_H
#define ICT_TESTS_SIDES_H

#include "backend/backend.h"
#include "base/philox.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CPU, CUDA, AGAIN, SIDES, MEMORY_MAX = 1 << 16 };

static Device *sides[SIDES];
static struct {
    Device *device;
    void *memory;
} owned[MEMORY_MAX];
static int owned_count;
static uint32_t drawn;
static uint64_t fresh; /* seed of this run's inputs */

/* The same thing on every side. */
typedef struct Both {
    Tensor at[SIDES];
} Both;

static inline int sides_open(void **state) {
    (void)state;
    Error error;
    fresh = (uint64_t)time(NULL);
    if (!device_open("cpu", 2, &sides[CPU], &error)) return -1;
    if (device_open("cuda", 2, &sides[CUDA], &error)) sides[AGAIN] = sides[CUDA];
    return 0;
}

/* Whether kernels run on a card, or on the processor (tests/emulate), which is slow and has no TF32. */
static inline bool sides_card(void) {
    return strcmp(sides[CUDA]->name, "kernels on the processor") != 0;
}

static inline int sides_close(void **state) {
    (void)state;
    device_close(sides[CUDA]);
    device_close(sides[CPU]);
    return 0;
}

/* Runs a program's tests; with PARITY_TESTS in the environment, those whose names it matches (* and ?). */
#define SIDES_RUN(tests) \
    (cmocka_set_test_filter(getenv("PARITY_TESTS")), cmocka_run_group_tests(tests, sides_open, sides_close))

static inline void *side_memory(int side, size_t bytes) {
    Device *device = sides[side];
    assert_true(owned_count < MEMORY_MAX);
    void *memory = device->allocate(device, bytes + 16);
    device->fill(device, memory, 0xFF, bytes + 16);
    owned[owned_count].device = device;
    owned[owned_count++].memory = memory;
    return memory;
}

static inline void sides_release(void) {
    while (owned_count > 0) {
        owned_count--;
        owned[owned_count].device->release(owned[owned_count].device, owned[owned_count].memory);
    }
}

/* ---- types ---- */

static inline uint16_t bits_of(float value, DType dtype) {
    uint32_t bits;
    if (dtype == DTYPE_F16) {
        const _Float16 half = (_Float16)value;
        uint16_t out;
        memcpy(&out, &half, 2);
        return out;
    }
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float value_of(uint16_t bits, DType dtype) {
    if (dtype == DTYPE_F16) {
        _Float16 half;
        memcpy(&half, &bits, 2);
        return (float)half;
    }
    const uint32_t wide = (uint32_t)bits << 16;
    float out;
    memcpy(&out, &wide, 4);
    return out;
}

static inline float rounded(float value, DType dtype) {
    return dtype == DTYPE_F32 ? value : value_of(bits_of(value, dtype), dtype);
}

/* ---- making ---- */

/* The type of tensor `t` on a side. */
static inline Tensor side_tensor(int side, Tensor t) {
    if (side == CPU && t.dtype != DTYPE_I32 && t.dtype != DTYPE_U8) t.dtype = DTYPE_F32;
    t.data = side_memory(side, tensor_bytes(&t));
    return t;
}

static inline Both both_poisoned(DType dtype, int n, int h, int w, int c) {
    Both b;
    for (int s = 0; s < SIDES; s++) b.at[s] = side_tensor(s, (Tensor){NULL, dtype, n, h, w, c});
    return b;
}

/* Copies `values` (rounded already) to every side. */
static inline void both_upload(Both *b, const float *values) {
    const int64_t count = tensor_count(&b->at[CUDA]);
    const DType dtype = b->at[CUDA].dtype;
    uint16_t *narrow = malloc((size_t)count * 2);
    for (int64_t i = 0; i < count && dtype != DTYPE_F32; i++) narrow[i] = bits_of(values[i], dtype);
    for (int s = 0; s < SIDES; s++) {
        const void *from = s == CPU || dtype == DTYPE_F32 ? (const void *)values : narrow;
        sides[s]->copy(sides[s], b->at[s].data, from, tensor_bytes(&b->at[s]), COPY_TO_DEVICE);
        sides[s]->synchronise(sides[s]);
    }
    free(narrow);
}

/* Normals around `mean`. */
static inline Both both_random_at(DType dtype, float mean, int n, int h, int w, int c) {
    Both b = both_poisoned(dtype, n, h, w, c);
    const int64_t count = tensor_count(&b.at[CPU]);
    float *values = malloc((size_t)count * sizeof *values);
    const RandomKey key = {.seed = fresh, .stream = 1000, .sample = drawn++};
    for (int64_t i = 0; i < count; i++)
        values[i] = rounded(mean + random_normal4(random_block(key, (uint32_t)(i / 4))).x[i % 4], dtype);
    both_upload(&b, values);
    free(values);
    return b;
}

static inline Both both_random(DType dtype, int n, int h, int w, int c) {
    return both_random_at(dtype, 0, n, h, w, c);
}

static inline Both both_floats(int64_t count) {
    return both_random(DTYPE_F32, 1, 1, 1, (int)count);
}

static inline Both both_copy(const Both *from) {
    Both b;
    for (int s = 0; s < SIDES; s++) {
        b.at[s] = from->at[s];
        b.at[s].data = side_memory(s, tensor_bytes(&b.at[s]));
        sides[s]->copy(sides[s], b.at[s].data, from->at[s].data, tensor_bytes(&b.at[s]), COPY_ON_DEVICE);
    }
    return b;
}

/* Plain bytes, for structs and whole numbers. */
static inline Both both_bytes(const void *host, size_t bytes) {
    Both b = both_poisoned(DTYPE_U8, 1, 1, 1, (int)bytes);
    for (int s = 0; s < SIDES; s++) {
        sides[s]->copy(sides[s], b.at[s].data, host, bytes, COPY_TO_DEVICE);
        sides[s]->synchronise(sides[s]);
    }
    return b;
}

/* ---- comparing ---- */

static inline void *side_host(int side, const Tensor *t) {
    void *host = malloc(tensor_bytes(t) + 1);
    sides[side]->copy(sides[side], host, t->data, tensor_bytes(t), COPY_TO_HOST);
    sides[side]->synchronise(sides[side]);
    return host;
}

/* Largest difference relative to the largest expected value; NaN counts as infinitely far. */
static inline double both_distance(const Both *b) {
    float *expected = side_host(CPU, &b->at[CPU]);
    void *found = side_host(CUDA, &b->at[CUDA]);
    const DType dtype = b->at[CUDA].dtype;
    double largest = 1e-30, worst = 0;
    for (int64_t i = 0; i < tensor_count(&b->at[CPU]); i++) {
        const double x = dtype == DTYPE_F32 ? ((float *)found)[i] : value_of(((uint16_t *)found)[i], dtype);
        const double difference = fabs(x - (double)expected[i]);
        largest = fmax(largest, fabs((double)expected[i]));
        worst = difference <= INFINITY ? fmax(worst, difference) : INFINITY;
    }
    free(expected);
    free(found);
    return worst / largest;
}

/* Norm of the difference relative to the norm of what is expected. */
static inline double both_norm_distance(const Both *b) {
    float *expected = side_host(CPU, &b->at[CPU]), *found = side_host(CUDA, &b->at[CUDA]);
    double difference = 0, size = 1e-30;
    for (int64_t i = 0; i < tensor_count(&b->at[CPU]); i++) {
        difference += pow((double)found[i] - (double)expected[i], 2);
        size += pow((double)expected[i], 2);
    }
    free(expected);
    free(found);
    return difference <= INFINITY ? sqrt(difference / size) : INFINITY;
}

/* The second run on the card gave the same bits, and the first is as near the CPU's as `distance` says.
 * Prints it, for the notes. */
static inline void both_judge(const Both *b, double distance, double bound, const char *what) {
    void *first = side_host(CUDA, &b->at[CUDA]), *second = side_host(AGAIN, &b->at[AGAIN]);
    const int differ = memcmp(first, second, tensor_bytes(&b->at[CUDA]));
    free(first);
    free(second);
    if (getenv("PARITY_VERBOSE")) printf("# %-44s %.2g of %.2g\n", what, distance, bound);
    if (differ) fail_msg("%s: the second run on the card gave other bits", what);
    if (!(distance <= bound)) fail_msg("%s: off by %.3g, at most %.3g allowed", what, distance, bound);
}

static inline void both_check(const Both *b, double bound, const char *what) {
    both_judge(b, both_distance(b), bound, what);
}

/* For fp32 that has kinks on its way: single elements jump where the sides round to different sides of one.
 */
static inline void both_norm_check(const Both *b, double bound, const char *what) {
    both_judge(b, both_norm_distance(b), bound, what);
}

/* Whole numbers and structs: the same bytes everywhere. */
static inline void both_same(const Both *b, const char *what) {
    void *host[SIDES];
    for (int s = 0; s < SIDES; s++) host[s] = side_host(s, &b->at[s]);
    const int differ = memcmp(host[CPU], host[CUDA], tensor_bytes(&b->at[CPU])) ||
                       memcmp(host[CUDA], host[AGAIN], tensor_bytes(&b->at[CPU]));
    for (int s = 0; s < SIDES; s++) free(host[s]);
    if (differ) fail_msg("%s: the sides differ", what);
}

#endif
