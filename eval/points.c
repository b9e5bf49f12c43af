/* Products by BLAS; distances as |a|^2 + |b|^2 - 2 a.b, which in double leaves more digits than features
 * have. */
#include "eval/points.h"

#include <cblas.h>
#include <stdlib.h>

static double *points_copy(Points p) {
    const size_t count = (size_t)p.count * (size_t)p.dimension;
    double *values = malloc(count * sizeof *values);
    CHECK(values, "out of memory: %zu numbers", count);
    for (size_t i = 0; i < count; i++) values[i] = (double)p.rows[i];
    return values;
}

Points points_part(Points p, int first, int count) {
    return (Points){p.rows + (size_t)first * (size_t)p.dimension, count, p.dimension};
}

static void products_of(const double *a, int rows, const double *b, int columns, int dimension,
                        double *products) {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, columns, dimension, 1, a, dimension, b,
                dimension, 0, products, columns);
}

void points_products(Points a, Points b, double *products) {
    CHECK(a.dimension == b.dimension, "points of %d and %d dimensions", a.dimension, b.dimension);
    double *left = points_copy(a), *right = points_copy(b);
    products_of(left, a.count, right, b.count, a.dimension, products);
    free(left);
    free(right);
}

static void squares_of(const double *rows, int count, int dimension, double *squares) {
    for (int i = 0; i < count; i++)
        squares[i] = cblas_ddot(dimension, rows + (size_t)i * (size_t)dimension, 1,
                                rows + (size_t)i * (size_t)dimension, 1);
}

void points_distances(Points a, Points b, double *distances) {
    CHECK(a.dimension == b.dimension, "points of %d and %d dimensions", a.dimension, b.dimension);
    double *left = points_copy(a), *right = points_copy(b);
    double *squares = malloc(sizeof *squares * (size_t)(a.count + b.count));
    CHECK(squares, "out of memory");
    squares_of(left, a.count, a.dimension, squares);
    squares_of(right, b.count, b.dimension, squares + a.count);
    products_of(left, a.count, right, b.count, a.dimension, distances);
    for (int i = 0; i < a.count; i++)
        for (int j = 0; j < b.count; j++) {
            double *d = &distances[(size_t)i * (size_t)b.count + (size_t)j];
            *d = squares[i] + squares[a.count + j] - 2 * *d;
            if (*d < 0) *d = 0;
        }
    free(left);
    free(right);
    free(squares);
}
