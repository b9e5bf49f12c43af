/* Preconditioning, the consistency loss with its gradient, and cross-entropy. A sample belongs to one thread,
 * and sums over an image are in double: near convergence student and teacher differ by little, and the loss
 * lives on that difference.
 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/lanes.h"
#include <math.h>

/* ---- preconditioning ---- */

static void precondition_sample(const Precondition *op, int64_t sample) {
    const int64_t count = tensor_count(&op->f) / op->f.n, at = sample * count;
    const float *noisy = (const float *)op->noisy.data + at, *network = (const float *)op->network.data + at;
    const float c_skip = op->level[sample].c_skip, c_out = op->level[sample].c_out;
    float *f = (float *)op->f.data + at;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) f[i] = __builtin_fmaf(c_skip, noisy[i], c_out * network[i]);
}

void cpu_precondition(Device *device, const Precondition *op) {
    CHECK_F32(op->noisy);
    CHECK_F32(op->network);
    CHECK_F32(op->f);
    const int64_t count = tensor_count(&op->f);
    CHECK(tensor_count(&op->noisy) == count && tensor_count(&op->network) == count,
          "precondition: sizes differ");
    const int parts = cpu_parts(device, count);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(op->f.n, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) precondition_sample(op, i);
    }
}

/* ---- consistency loss ---- */

typedef struct DistanceSums {
    double square, absolute;
} DistanceSums;

static inline __attribute__((always_inline)) void distance_block(const float *student, const float *teacher,
                                                                 int count, Lanes *square, Lanes *absolute) {
#pragma omp simd
    for (int i = 0; i < count; i++) {
        const double difference = (double)student[i] - teacher[i];
        square->lane[i] += difference * difference;
        absolute->lane[i] += fabs(difference);
    }
}

static DistanceSums distance_sums(const float *student, const float *teacher, int64_t count) {
    Lanes square = {{0}}, absolute = {{0}};
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES)
        distance_block(student + i, teacher + i, LANES, &square, &absolute);
    distance_block(student + i, teacher + i, (int)(count - i), &square, &absolute);
    return (DistanceSums){lanes_total(&square), lanes_total(&absolute)};
}

/* A distance, and its slope: the derivative by element i is slope * difference_i (l1: slope * sign).
 * Pseudo-Huber's sqrt(s + c^2) - c is written without its cancellation; equal images give exactly 0 and 0,
 * also for c = 0. */
typedef struct DistanceValue {
    double distance, slope;
} DistanceValue;

static DistanceValue distance_value(const ConsistencyLoss *op, DistanceSums sums, int64_t count) {
    if (op->distance == DISTANCE_L2) return (DistanceValue){sums.square / count, 2.0 / count};
    if (op->distance == DISTANCE_L1) return (DistanceValue){sums.absolute / count, 1.0 / count};
    if (sums.square == 0.0) return (DistanceValue){0.0, 0.0};
    const double c = op->huber_c, root = sqrt(sums.square + c * c);
    return (DistanceValue){sums.square / (root + c), 1.0 / root};
}

static float loss_scale(const ConsistencyLoss *op) {
    return op->loss_scale ? op->loss_scale->scale : 1.0f;
}

/* The gradient with respect to f is given; F's is c_out times it. */
static void perceptual_sample(const ConsistencyLoss *op, int64_t sample, double residual) {
    const int64_t count = tensor_count(&op->f_student) / op->f_student.n, at = sample * count;
    const Level *level = &op->student[sample];
    op->loss[sample] = level->weight * op->perceptual[sample];
    op->residual[sample] = (float)residual;
    if (!op->dnetwork.data) return;
    const float *df = (const float *)op->df_student.data + at, factor = loss_scale(op) * level->c_out;
    float *gradient = (float *)op->dnetwork.data + at;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) gradient[i] = factor * df[i];
}

static void write_gradient(const ConsistencyLoss *op, int64_t at, int64_t count, float factor) {
    const float *student = (const float *)op->f_student.data + at,
                *teacher = (const float *)op->f_teacher.data + at;
    float *gradient = (float *)op->dnetwork.data + at;
    const bool sign_only = op->distance == DISTANCE_L1;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        const float difference = student[i] - teacher[i];
        const float sign = difference > 0.0f ? 1.0f : difference < 0.0f ? -1.0f : difference;
        gradient[i] = factor * (sign_only ? sign : difference);
    }
}

static void consistency_sample(const ConsistencyLoss *op, int64_t sample) {
    const int64_t count = tensor_count(&op->f_student) / op->f_student.n, at = sample * count;
    const DistanceSums sums =
        distance_sums((const float *)op->f_student.data + at, (const float *)op->f_teacher.data + at, count);
    if (op->distance == DISTANCE_PERCEPTUAL) {
        perceptual_sample(op, sample, sqrt(sums.square));
        return;
    }
    const DistanceValue value = distance_value(op, sums, count);
    const Level *level = &op->student[sample];
    op->loss[sample] = (float)(level->weight * value.distance);
    op->residual[sample] = (float)sqrt(sums.square);
    if (!op->dnetwork.data) return;
    const double share = (double)(op->gradient_scale * loss_scale(op)) * level->weight / op->batch;
    write_gradient(op, at, count, (float)(share * level->c_out * value.slope));
}

void cpu_consistency_loss(Device *device, const ConsistencyLoss *op) {
    CHECK_F32(op->f_student);
    CHECK_F32(op->f_teacher);
    CHECK_F32(op->dnetwork);
    const int64_t count = tensor_count(&op->f_student);
    CHECK(tensor_count(&op->f_teacher) == count, "consistency_loss: sizes differ");
    CHECK(!op->dnetwork.data || tensor_count(&op->dnetwork) == count,
          "consistency_loss: size of the gradient");
    CHECK(op->distance != DISTANCE_PERCEPTUAL ||
              (op->perceptual && (!op->dnetwork.data || tensor_count(&op->df_student) == count)),
          "consistency_loss: a perceptual distance is given with its gradient");
    const int parts = cpu_parts(device, 2 * count);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(op->f_student.n, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) consistency_sample(op, i);
    }
}

/* ---- cross-entropy ---- */

/* Index of the largest logit, the first of equals. */
static int row_argmax(const float *x, int classes) {
    int best = 0;
    for (int k = 1; k < classes; k++)
        if (x[k] > x[best]) best = k;
    return best;
}

/* log sum exp around the largest logit, so that nothing overflows and a confident network
 * keeps its digits. */
static double row_log_sum(const float *x, int classes) {
    const int largest = row_argmax(x, classes);
    double others = 0.0;
    for (int k = 0; k < classes; k++) others += k == largest ? 0.0 : exp((double)x[k] - x[largest]);
    return x[largest] + log1p(others);
}

static void cross_entropy_sample(const CrossEntropy *op, int64_t sample) {
    const int classes = op->logits.c, label = op->label[sample];
    CHECK(label >= 0 && label < classes, "cross_entropy: label %d of %d classes", label, classes);
    const float *x = (const float *)op->logits.data + sample * classes;
    float *dx = op->dlogits.data ? (float *)op->dlogits.data + sample * classes : NULL;
    const double log_sum = row_log_sum(x, classes), spread = (double)op->smoothing / classes;
    double loss = 0.0;
    for (int k = 0; k < classes; k++) {
        const double target = spread + (k == label ? 1.0 - op->smoothing : 0.0), log_p = x[k] - log_sum;
        loss -= target * log_p;
        if (dx) dx[k] = (float)((exp(log_p) - target) / op->batch);
    }
    op->loss[sample] = (float)loss;
    if (op->correct) op->correct[sample] = row_argmax(x, classes) == label;
}

void cpu_cross_entropy(Device *device, const CrossEntropy *op) {
    CHECK_F32(op->logits);
    CHECK_F32(op->dlogits);
    const int64_t rows = tensor_rows(&op->logits);
    CHECK(!op->dlogits.data || tensor_count(&op->dlogits) == tensor_count(&op->logits),
          "cross_entropy: dlogits");
    const int parts = cpu_parts(device, tensor_count(&op->logits) * 16);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(rows, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) cross_entropy_sample(op, i);
    }
}
