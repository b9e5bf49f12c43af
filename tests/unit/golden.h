/* PyTorch's answers for ops, from tests/golden/ops_light.npz (made by scripts/golden_light.py) or the file
 * that the test names before it includes this. Group setup and teardown open and close the file. */
#ifndef ICT_TESTS_GOLDEN_H
#define ICT_TESTS_GOLDEN_H

#include "arrays.h"
#include "base/npy.h"
#include <stdio.h>

#ifndef GOLDEN_FILE
#define GOLDEN_FILE "tests/golden/ops_light.npz"
#endif

static NpzMember *golden;
static int golden_count;

static inline int golden_open(void **state) {
    (void)state;
    Error error;
    if (!npz_read(GOLDEN_FILE, &golden, &golden_count, &error)) fail_msg("%s", error.text);
    return 0;
}

static inline int golden_close(void **state) {
    (void)state;
    npz_free(golden, golden_count);
    return 0;
}

/* Array "<prefix>.<key>" as a tensor: NHWC, or a row. The data stays the file's. */
static inline Tensor golden_tensor(const char *prefix, const char *key) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", prefix, key);
    const NpyArray *a = npz_find(golden, golden_count, name);
    if (!a) fail_msg("no %s in the golden file", name);
    assert_int_equal(a->type, NPY_F32);
    if (a->rank == 4)
        return (Tensor){a->data,          DTYPE_F32,        (int)a->shape[0],
                        (int)a->shape[1], (int)a->shape[2], (int)a->shape[3]};
    return (Tensor){a->data, DTYPE_F32, 1, 1, 1, (int)npy_count(a)};
}

static inline void check_golden(Tensor result, const char *prefix, const char *key, double tolerance) {
    const Tensor expected = golden_tensor(prefix, key);
    const int64_t count = tensor_count(&expected);
    assert_int_equal(tensor_count(&result), count);
    check_near(result.data, doubles_of(expected.data, count), count, tolerance, prefix);
}

#endif
