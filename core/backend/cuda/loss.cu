/* Preconditioning, the consistency loss with its gradient, and cross-entropy. Sums over an image are in
 * double, as on the CPU: near convergence student and teacher differ by little, and the loss lives on that
 * difference. */
#include "backend/cuda/elements.cuh"

/* ---- preconditioning ---- */

__global__ void precondition_kernel(Precondition op, int count) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    const int64_t at = (int64_t)blockIdx.y * count + i;
    if (i >= count) return;
    const Level &level = op.level[blockIdx.y];
    ((float *)op.f.data)[at] =
        fmaf(level.c_skip, ((const float *)op.noisy.data)[at], level.c_out * element_load(op.network, at));
}

void cuda_precondition(Device *device, const Precondition *op) {
    const int64_t count = tensor_count(&op->f);
    CHECK(op->noisy.dtype == DTYPE_F32 && op->f.dtype == DTYPE_F32,
          "precondition: noisy images and f are in fp32");
    CHECK(tensor_count(&op->noisy) == count && tensor_count(&op->network) == count,
          "precondition: sizes differ");
    const dim3 grid(blocks_for(count / op->f.n, BLOCK), (unsigned)op->f.n);
    precondition_kernel<<<grid, BLOCK, 0, cuda_stream(device)>>>(*op, (int)(count / op->f.n));
    CUDA_LAUNCHED("precondition");
}

/* ---- consistency loss: a block takes an image ---- */

/* A distance, and its slope: the derivative by element i is slope * difference_i (l1: slope * sign).
 * Pseudo-Huber's sqrt(s + c^2) - c is written without its cancellation; equal images give exactly 0 and 0,
 * also for c = 0. */
typedef struct DistanceValue {
    double distance, slope;
} DistanceValue;

__device__ __forceinline__ DistanceValue distance_value(const ConsistencyLoss &op, double square,
                                                        double absolute, int count) {
    if (op.distance == DISTANCE_L2) return DistanceValue{square / count, 2.0 / count};
    if (op.distance == DISTANCE_L1) return DistanceValue{absolute / count, 1.0 / count};
    if (square == 0.0) return DistanceValue{0.0, 0.0};
    const double c = op.huber_c, root = sqrt(square + c * c);
    return DistanceValue{square / (root + c), 1.0 / root};
}

__global__ void consistency_loss_kernel(ConsistencyLoss op, int count) {
    __shared__ double memory[BLOCK];
    const int64_t first = (int64_t)blockIdx.x * count;
    const float *student = (const float *)op.f_student.data + first,
                *teacher = (const float *)op.f_teacher.data + first;
    double square = 0.0, absolute = 0.0;
    for (int i = threadIdx.x; i < count; i += BLOCK) {
        const double difference = (double)student[i] - teacher[i];
        square = fma(difference, difference, square);
        absolute += fabs(difference);
    }
    square = block_sum(square, memory);
    absolute = block_sum(absolute, memory);
    const bool given = op.distance == DISTANCE_PERCEPTUAL;
    const DistanceValue value =
        given ? DistanceValue{op.perceptual[blockIdx.x], 0.0} : distance_value(op, square, absolute, count);
    const Level &level = op.student[blockIdx.x];
    if (threadIdx.x == 0) {
        op.loss[blockIdx.x] = (float)(level.weight * value.distance);
        op.residual[blockIdx.x] = (float)sqrt(square);
    }
    if (!op.dnetwork.data) return;
    const float scale = op.loss_scale ? op.loss_scale->scale : 1.0f;
    if (given) { /* its gradient with respect to f too; F's is c_out times it */
        const float *df = (const float *)op.df_student.data + first;
        for (int i = threadIdx.x; i < count; i += BLOCK)
            element_store(op.dnetwork, first + i, scale * level.c_out * df[i]);
        return;
    }
    const double share = (double)(op.gradient_scale * scale) * level.weight / op.batch;
    const float factor = (float)(share * level.c_out * value.slope);
    for (int i = threadIdx.x; i < count; i += BLOCK) {
        const float difference = student[i] - teacher[i];
        const float sign = difference > 0.0f ? 1.0f : difference < 0.0f ? -1.0f : difference;
        element_store(op.dnetwork, first + i, factor * (op.distance == DISTANCE_L1 ? sign : difference));
    }
}

void cuda_consistency_loss(Device *device, const ConsistencyLoss *op) {
    const int64_t count = tensor_count(&op->f_student);
    CHECK(op->f_student.dtype == DTYPE_F32 && op->f_teacher.dtype == DTYPE_F32,
          "consistency_loss: f is in fp32");
    CHECK(tensor_count(&op->f_teacher) == count, "consistency_loss: sizes differ");
    CHECK(!op->dnetwork.data || tensor_count(&op->dnetwork) == count,
          "consistency_loss: size of the gradient");
    CHECK(op->distance != DISTANCE_PERCEPTUAL ||
              (op->perceptual && (!op->dnetwork.data || (op->df_student.dtype == DTYPE_F32 &&
                                                         tensor_count(&op->df_student) == count))),
          "consistency_loss: a perceptual distance is given with its gradient");
    consistency_loss_kernel<<<(unsigned)op->f_student.n, BLOCK, 0, cuda_stream(device)>>>(
        *op, (int)(count / op->f_student.n));
    CUDA_LAUNCHED("consistency_loss");
}

/* ---- cross-entropy: a thread takes a sample; only the judge's classifier has it ---- */

/* Index of the largest logit, the first of equals. */
__device__ int row_argmax(const Tensor &logits, int64_t first) {
    int best = 0;
    for (int k = 1; k < logits.c; k++)
        if (element_load(logits, first + k) > element_load(logits, first + best)) best = k;
    return best;
}

__global__ void cross_entropy_kernel(CrossEntropy op, int64_t samples) {
    const int64_t sample = (int64_t)blockIdx.x * 32 + threadIdx.x;
    if (sample >= samples) return;
    const int classes = op.logits.c, label = op.label[sample];
    const int64_t first = sample * classes;
    const int largest = row_argmax(op.logits, first);
    const double top = element_load(op.logits, first + largest), spread = (double)op.smoothing / classes;
    double others = 0.0, loss = 0.0;
    for (int k = 0; k < classes; k++)
        others += k == largest ? 0.0 : exp((double)element_load(op.logits, first + k) - top);
    const double log_sum = top + log1p(others);
    for (int k = 0; k < classes; k++) {
        const double target = spread + (k == label ? 1.0 - op.smoothing : 0.0);
        const double log_p = (double)element_load(op.logits, first + k) - log_sum;
        loss -= target * log_p;
        if (op.dlogits.data) element_store(op.dlogits, first + k, (float)((exp(log_p) - target) / op.batch));
    }
    op.loss[sample] = (float)loss;
    if (op.correct) op.correct[sample] = largest == label;
}

void cuda_cross_entropy(Device *device, const CrossEntropy *op) {
    const int64_t rows = tensor_rows(&op->logits);
    CHECK(!op->dlogits.data || tensor_count(&op->dlogits) == tensor_count(&op->logits),
          "cross_entropy: dlogits");
    cross_entropy_kernel<<<blocks_for(rows, 32), 32, 0, cuda_stream(device)>>>(*op, rows);
    CUDA_LAUNCHED("cross_entropy");
}
