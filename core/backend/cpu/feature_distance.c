/* A share of a perceptual distance: how far the directions of two images' features lie apart, position by
 * position. A sample belongs to one thread; sums are in double, because near convergence student and teacher
 * differ by little. The same arithmetic is done to both, so equal features are exactly 0 apart. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/lanes.h"
#include <math.h>

static const float NORM_FLOOR = 1e-10f; /* added to norms, as in the reference implementation of LPIPS */

static inline __attribute__((always_inline)) void square_block(const float *x, int count, Lanes *sum) {
#pragma omp simd
    for (int c = 0; c < count; c++) sum->lane[c] += (double)x[c] * x[c];
}

static float features_norm(const float *x, int channels) {
    Lanes sum = {{0}};
    int c = 0;
    for (; c + LANES <= channels; c += LANES) square_block(x + c, LANES, &sum);
    square_block(x + c, channels - c, &sum);
    return (float)sqrt(lanes_total(&sum));
}

/* What one position needs: a/|a|, b/|b| by their reciprocal norms. */
typedef struct Position {
    const float *a, *b, *weight;
    float norm_a, inverse_a, inverse_b;
    int channels;
} Position;

static Position position_make(const FeatureDistance *op, int64_t row) {
    Position p = {.channels = op->a.c, .weight = op->weight};
    p.a = (const float *)op->a.data + row * p.channels;
    p.b = (const float *)op->b.data + row * p.channels;
    p.norm_a = features_norm(p.a, p.channels);
    p.inverse_a = 1.0f / (p.norm_a + NORM_FLOOR);
    p.inverse_b = 1.0f / (features_norm(p.b, p.channels) + NORM_FLOOR);
    return p;
}

static inline __attribute__((always_inline)) void distance_block(const Position *p, int first, int count,
                                                                 Lanes *distance, Lanes *along) {
    const float *a = p->a + first, *b = p->b + first, *weight = p->weight ? p->weight + first : NULL;
    const float inverse_a = p->inverse_a, inverse_b = p->inverse_b;
#pragma omp simd
    for (int c = 0; c < count; c++) {
        const float u = a[c] * inverse_a, difference = u - b[c] * inverse_b;
        const double part = (double)(weight ? weight[c] : 1.0f) * difference;
        distance->lane[c] += part * difference;
        along->lane[c] += part * u;
    }
}

/* sum_c weight_c (u_c - v_c)^2, and in *along sum_c weight_c (u_c - v_c) u_c, the gradient's part along a. */
static double position_distance(const Position *p, double *along) {
    Lanes distance = {{0}}, product = {{0}};
    int c = 0;
    for (; c + LANES <= p->channels; c += LANES) distance_block(p, c, LANES, &distance, &product);
    distance_block(p, c, p->channels - c, &distance, &product);
    *along = lanes_total(&product);
    return lanes_total(&distance);
}

/* da = factor (g - (a/|a|) (g . u)) / (|a| + floor) with g = weight (u - v): only what turns a counts. */
static void position_gradient(const Position *p, double along, double factor, float *da) {
    if (p->norm_a == 0.0f) factor = 0.0;
    const float slope = (float)(factor * p->inverse_a);
    const float back = p->norm_a == 0.0f ? 0.0f : (float)along / p->norm_a;
#pragma omp simd
    for (int c = 0; c < p->channels; c++) {
        const float difference = p->a[c] * p->inverse_a - p->b[c] * p->inverse_b;
        da[c] =
            slope == 0.0f ? 0.0f : slope * ((p->weight ? p->weight[c] : 1.0f) * difference - back * p->a[c]);
    }
}

static void distance_sample(const FeatureDistance *op, int64_t sample) {
    const int64_t positions = (int64_t)op->a.h * op->a.w;
    const double weight = op->level ? op->level[sample].weight : 1.0;
    const double factor = 2.0 * op->scale * weight / positions;
    double sum = 0.0, along;
    for (int64_t i = 0; i < positions; i++) {
        const int64_t row = sample * positions + i;
        const Position p = position_make(op, row);
        sum += position_distance(&p, &along);
        if (op->da.data) position_gradient(&p, along, factor, (float *)op->da.data + row * p.channels);
    }
    op->distance[sample] = (op->accumulate ? op->distance[sample] : 0.0f) + (float)(sum / positions);
}

void cpu_feature_distance(Device *device, const FeatureDistance *op) {
    CHECK_F32(op->a);
    CHECK_F32(op->b);
    CHECK_F32(op->da);
    CHECK(tensor_count(&op->a) == tensor_count(&op->b) && op->a.c == op->b.c &&
              (!op->da.data || tensor_count(&op->da) == tensor_count(&op->a)),
          "feature_distance: sizes differ");
    const int parts = cpu_parts(device, 4 * tensor_count(&op->a));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(op->a.n, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) distance_sample(op, i);
    }
}
