/* What the parity tests of single ops share: each runs in every float type, with that type's bound. */
#ifndef ICT_TESTS_TYPES_H
#define ICT_TESTS_TYPES_H

#include "sides.h"

#define LENGTH(array) ((int)(sizeof(array) / sizeof *(array)))

/* The type of this pass of a test, and its bound: the largest difference relative to the largest value. fp32
 * differs by the order of sums; the others are rounded to 11 and 8 bits once or twice, tf32 the factors of
 * products only. */
static DType dtype;
static const struct {
    DType dtype;
    bool tf32;
    const char *name;
    double bound;
} types[] = {{DTYPE_F32, false, "fp32", 2e-5},
             {DTYPE_F16, false, "fp16", 4e-3},
             {DTYPE_BF16, false, "bf16", 3e-2},
             {DTYPE_F32, true, "tf32", 4e-3}};
static double bound;
static const char *type_name;

static inline void types_run(void (*body)(void), int count) {
    if (!sides[CUDA]) skip();
    for (int i = 0; i < count; i++) {
        dtype = types[i].dtype, bound = types[i].bound, type_name = types[i].name;
        sides[CUDA]->tf32 = types[i].tf32;
        body();
        sides_release();
    }
    sides[CUDA]->tf32 = false;
}

/* For what only fp32 takes. */
static inline void fp32_only(void (*body)(void)) {
    types_run(body, 1);
}

static inline void each_type(void (*body)(void)) {
    types_run(body, 3);
}

/* For ops with products. */
static inline void each_precision(void (*body)(void)) {
    types_run(body, sides[CUDA] && sides_card() ? 4 : 3);
}

static inline void near_check(const Both *b, const char *what, int number) {
    char text[128];
    snprintf(text, sizeof text, "%s, %s, case %d", what, type_name, number);
    both_check(b, bound, text);
}

static inline Tensor none(void) {
    return (Tensor){0};
}

#endif
