/* The table a training step reads: for each noise level the coefficients of
 *
 *     f(x, sigma) = c_skip(sigma) x + c_out(sigma) F(c_in(sigma) x, c_noise(sigma))          (CM appendix C)
 *
 * and for each pair of neighbours the cumulative probability. At sigma_min c_skip is 1 and c_out 0, exactly,
 * so f is the identity at the lowest level whatever the network says: the boundary condition of a
 * consistency model.
 */
#include "ct/ct.h"

#include <math.h>
#include <stdlib.h>

Level ct_level(const CtConfig *ct, double sigma) {
    const double data = ct->sigma_data, above = ct->sigma_shift ? sigma - ct->sigma_min : sigma;
    const double norm = sqrt(sigma * sigma + data * data);
    return (Level){.sigma = (float)sigma,
                   .c_in = (float)(1 / norm),
                   .c_skip = (float)(data * data / (above * above + data * data)),
                   .c_out = (float)(data * above / norm),
                   .c_noise = (float)(0.25 * log(sigma))};
}

/* The law of the pairs as integers: a draw of 32 bits selects the first i with draw <= threshold[i]. */
static void thresholds_from(const double *p, int pairs, uint32_t *threshold) {
    double below = 0;
    for (int i = 0; i < pairs; i++) {
        below += p[i];
        const double words = nearbyint(below * 4294967296.0);
        threshold[i] = words < 1 ? 0 : words > 4294967295.0 ? UINT32_MAX : (uint32_t)(words - 1);
    }
    threshold[pairs - 1] = UINT32_MAX;
}

LevelTable ct_table(const CtConfig *ct, int N) {
    LevelTable table = {.levels = N,
                        .level = calloc((size_t)N, sizeof(Level)),
                        .threshold = calloc((size_t)N - 1, sizeof(uint32_t))};
    double *p = calloc((size_t)N - 1, sizeof(double));
    CHECK(table.level && table.threshold && p, "out of memory for a table of %d noise levels", N);
    for (int i = 0; i < N; i++) {
        table.level[i] = ct_level(ct, ct_sigma(ct, i, N));
        if (i > 0) table.level[i].weight = (float)ct_weight(ct, i - 1, N);
    }
    ct_pair_probabilities(ct, N, p);
    thresholds_from(p, N - 1, table.threshold);
    free(p);
    return table;
}

void ct_table_free(LevelTable *table) {
    free(table->level);
    free(table->threshold);
    *table = (LevelTable){0};
}
