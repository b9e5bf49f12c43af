/* The estimate over subsets is quadratic in their size and linear in their number: a hundred of a thousand
 * take seconds. */
#include "eval/kernel_distance.h"

#include "backend/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Sum of the kernel over all pairs of one row of `a` and one of `b`; with `apart` of different
 * indices only. */
static double kernel_sum(Points a, Points b, bool apart, double *products) {
    double sum = 0;
    points_products(a, b, products);
    for (int i = 0; i < a.count; i++)
        for (int j = 0; j < b.count; j++) {
            const double k = products[(size_t)i * (size_t)b.count + (size_t)j] / a.dimension + 1;
            if (!apart || i != j) sum += k * k * k;
        }
    return sum;
}

double kernel_distance(Points a, Points b) {
    CHECK(a.count == b.count && a.count >= 2, "a kernel distance of %d and %d points", a.count, b.count);
    const double m = a.count;
    double *products = malloc(sizeof *products * (size_t)a.count * (size_t)b.count);
    CHECK(products, "out of memory for %d x %d products", a.count, b.count);
    const double within = kernel_sum(a, a, true, products) + kernel_sum(b, b, true, products);
    const double between = kernel_sum(a, b, false, products);
    free(products);
    return within / (m * (m - 1)) - 2 * between / (m * m);
}

/* Subset number `draw` of `p`: the first `size` places of a permutation. */
static Points subset_copy(Points p, int size, uint64_t seed, uint32_t draw, float *rows) {
    for (int i = 0; i < size; i++) {
        const uint32_t from = order_permute(seed, draw, (uint32_t)i, (uint32_t)p.count);
        memcpy(rows + (size_t)i * (size_t)p.dimension, p.rows + from * (size_t)p.dimension,
               sizeof(float) * (size_t)p.dimension);
    }
    return (Points){rows, size, p.dimension};
}

bool kernel_estimate(Points a, Points b, int subsets, int size, uint64_t seed, KernelEstimate *estimate,
                     Error *error) {
    if (a.count < size || b.count < size || size < 2 || subsets < 1)
        return error_set(error,
                         "a kernel distance over subsets of %d needs as many images; there are %d and %d",
                         size, a.count, b.count);
    float *rows = malloc(2 * sizeof *rows * (size_t)size * (size_t)a.dimension);
    CHECK(rows, "out of memory for subsets of %d features", size);
    double sum = 0, square = 0;
    for (int i = 0; i < subsets; i++) {
        const Points one = subset_copy(a, size, seed, 2 * (uint32_t)i, rows);
        const Points two =
            subset_copy(b, size, seed, 2 * (uint32_t)i + 1, rows + (size_t)size * (size_t)a.dimension);
        const double distance = kernel_distance(one, two);
        sum += distance, square += distance * distance;
    }
    free(rows);
    estimate->mean = sum / subsets;
    estimate->deviation = sqrt(fmax(square / subsets - estimate->mean * estimate->mean, 0));
    return true;
}
