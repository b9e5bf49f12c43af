/* The primitives of backend/cuda/hopper.cuh, which says what each does, on the processor (hopper.cc).
 *
 * What is asynchronous there is done here at a moment drawn at random, soon or only when no thread can go on
 * without it: boxes arrive, and products that are waited for read their factors and add to their sums. So the
 * results show when a wait is missing, or when a place is filled again that products still read. Of the
 * fences it is seen that there is one, not that it stands where it must. */
#ifndef ICT_TESTS_EMULATE_HOPPER_EMULATED_H
#define ICT_TESTS_EMULATE_HOPPER_EMULATED_H

#include "backend/cuda/cuda.h"
#include "cuda_runtime_api.h"

/* In place of the 64 bits of a barrier stands where it is. */
struct EmulatedBarrier;
typedef EmulatedBarrier *Barrier;

void barrier_init(Barrier *, int arrivals);
void barriers_publish();
void barrier_arrive(Barrier *);
void barrier_expect(Barrier *, int bytes);
void barrier_wait(Barrier *, int parity);

struct CUtensorMap {
    const char *data;
    int64_t rows;
    int columns, box;
};

CUtensorMap box_map(const void *data, DType, int64_t rows, int columns, int box);
void box_begin(void *to, const CUtensorMap &, int row, int column, Barrier *);

/* From the beginning of what a launch gives, rounded down to the swizzle's period. */
uint32_t shared_address(const void *);

struct EmulatedProduct {
    float *sum;
    uint64_t left, right;
    int columns;
    bool adds, left_by_terms, right_by_terms;
    void (*widen)(const char *eight, float *to);
    int group; /* counted from the thread's first commit on */
};

void products_fence();
void products_see();
void products_commit();
void emulate_product(EmulatedProduct);
void emulate_products_wait(int pending);

template <int PENDING> void products_wait() {
    emulate_products_wait(PENDING);
}

template <typename T> void emulate_widen(const char *eight, float *to) {
    for (int i = 0; i < 8; i++) to[i] = (float)reinterpret_cast<const T *>(eight)[i];
}

template <typename T, bool LEFT_BY_TERMS, bool RIGHT_BY_TERMS>
void product_begin(float (&sum)[64], uint64_t left, uint64_t right, bool adds) {
    emulate_product({sum, left, right, 128, adds, LEFT_BY_TERMS, RIGHT_BY_TERMS, emulate_widen<T>, 0});
}

template <typename T, bool LEFT_BY_TERMS>
void product_narrow_begin(float (&sum)[4], uint64_t left, uint64_t right, bool adds) {
    emulate_product({sum, left, right, 8, adds, LEFT_BY_TERMS, false, emulate_widen<T>, 0});
}

#endif
