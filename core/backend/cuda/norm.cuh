/* What the forward and the backward pass of group normalisation share. As on the CPU, within one sample the
 * layer is one affine map per channel followed by the activation,
 *
 *     v = (x - centre) * slope + offset,     y = dropout(act(v)),
 *
 * where centre = group mean - bias, slope = gamma (1 + scale) / std, offset = beta (1 + scale) + shift.
 *
 * A block of threads takes one sample and a chunk of channels, whole groups of them, about 64 or 128 bytes of
 * every pixel: wide enough for whole memory sectors, narrow enough that the chunk's slab (all pixels) fits
 * into shared memory, so that the image is read once. A thread has V neighbouring channels (16 bytes) and
 * every `rows`-th pixel.
 */
#ifndef ICT_BACKEND_CUDA_NORM_CUH
#define ICT_BACKEND_CUDA_NORM_CUH

#include "backend/cuda/elements.cuh"
#include "base/philox.h"

enum { NORM_THREADS = 512, NORM_CHUNK = 32, NORM_SLAB = 200 << 10 };

/* How a layer is cut into blocks. */
typedef struct NormCut {
    int channels, pixels, size; /* size: channels of a group */
    int groups, chunk;          /* groups and channels of a block */
    int lanes, rows;            /* threads: lanes of V channels, rows of pixels */
} NormCut;

/* As few groups as make NORM_CHUNK channels, a number that divides all groups; whole lanes of `wide`
 * channels, or none. */
static inline NormCut norm_cut(const NormForward *op, int wide) {
    NormCut cut;
    cut.channels = op->x[0].c + (op->x[1].data ? op->x[1].c : 0);
    cut.pixels = op->x[0].h * op->x[0].w;
    cut.size = cut.channels / op->groups;
    cut.groups = 1;
    while (cut.groups < op->groups &&
           (cut.groups * cut.size < NORM_CHUNK || op->groups % cut.groups || cut.groups * cut.size % wide))
        cut.groups++;
    cut.chunk = cut.groups * cut.size;
    cut.lanes = cut.chunk / wide;
    cut.rows = NORM_THREADS / cut.lanes;
    if (cut.rows > cut.pixels) cut.rows = cut.pixels;
    return cut;
}

/* Whether lanes of V channels never straddle a source, a block or an access. */
template <typename T> static bool norm_wide(const NormForward *op) {
    constexpr int V = Wide<T>::value;
    const int second = op->x[1].data ? op->x[1].c : 0;
    return op->x[0].c % V == 0 && second % V == 0;
}

/* What a thread needs of its V channels. `first` is the channel within the concatenation. */
template <typename T> struct NormLane {
    int first, row; /* row: first pixel */
    const T *x;     /* its channels in the sample, pixel 0 */
    int stride;     /* elements from pixel to pixel */
    int source;
};

template <typename T, int V>
__device__ __forceinline__ NormLane<T> norm_lane(const NormForward &op, const NormCut &cut, int sample) {
    NormLane<T> l;
    const int lane = threadIdx.x % cut.lanes;
    l.row = threadIdx.x / cut.lanes;
    l.first = blockIdx.x * cut.chunk + lane * V;
    l.source = l.first >= op.x[0].c;
    l.stride = op.x[l.source].c;
    l.x = (const T *)op.x[l.source].data + (int64_t)sample * cut.pixels * l.stride + l.first -
          (l.source ? op.x[0].c : 0);
    return l;
}

/* Adds the rows' values channel by channel: sum[c] for the chunk's channels, in the first row of `memory`
 * [rows][chunk]. */
template <int V>
__device__ __forceinline__ void norm_rows_sum(float *memory, const NormCut &cut, const float (&value)[V]) {
    const int lane = threadIdx.x % cut.lanes, row = threadIdx.x / cut.lanes;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < V; k++) memory[row * cut.chunk + lane * V + k] = value[k];
    for (int count = cut.rows; count > 1;) {
        const int half = (count + 1) / 2;
        __syncthreads();
        if (row + half < count)
#pragma unroll
            for (int k = 0; k < V; k++)
                memory[row * cut.chunk + lane * V + k] += memory[(row + half) * cut.chunk + lane * V + k];
        count = half;
    }
    __syncthreads();
}

template <int V> struct NormAffine {
    float centre[V], slope[V], offset[V], inverse[V]; /* inverse = 1 / std */
};

template <int V>
__device__ __forceinline__ void norm_affine(const NormForward &op, const NormCut &cut, int sample, int first,
                                            NormAffine<V> &a) {
#pragma unroll
    for (int k = 0; k < V; k++) {
        const int c = first + k;
        const float *group = op.statistics + ((int64_t)sample * op.groups + c / cut.size) * 2;
        const int64_t side = (int64_t)sample * cut.channels;
        const float bias = op.bias.data ? element_load(op.bias, side + c) : 0.0f;
        const float factor = op.scale_shift.data ? 1.0f + element_load(op.scale_shift, 2 * side + c) : 1.0f;
        const float shift =
            op.scale_shift.data ? element_load(op.scale_shift, 2 * side + cut.channels + c) : 0.0f;
        a.centre[k] = group[0] - bias;
        a.inverse[k] = group[1];
        a.slope[k] = group[1] * op.gamma[c] * factor;
        a.offset[k] = fmaf(op.beta[c], factor, shift);
    }
}

/* value *= the dropout mask of V elements from `element` of the sample's output on: element e reads 16-bit
 * lane e % 8 of random block e / 8 and is kept when that is at least rate * 65536. */
template <int V>
__device__ __forceinline__ void norm_drop(const RandomKey &key, uint32_t threshold, float kept,
                                          int64_t element, float (&value)[V]) {
    const Random4 block = random_block(key, (uint32_t)(element / 8));
    const uint32_t first = V == 8 ? 0 : (uint32_t)element % 8;
#pragma unroll
    for (int k = 0; k < V; k++) {
        const uint32_t lane = first + k;
        const uint32_t word =
            lane & 4 ? (lane & 2 ? block.x[3] : block.x[2]) : (lane & 2 ? block.x[1] : block.x[0]);
        const uint32_t draw = lane & 1 ? word >> 16 : word & 0xffffu;
        value[k] = draw >= threshold ? value[k] * kept : 0.0f;
    }
}

typedef struct NormDrop {
    uint32_t threshold; /* 0: no dropout */
    float kept;
} NormDrop;

static inline NormDrop norm_drop_make(const Dropout *dropout) {
    return NormDrop{(uint32_t)lrint((double)dropout->rate * 65536.0),
                    (float)(1.0 / (1.0 - (double)dropout->rate))};
}

__device__ __forceinline__ RandomKey norm_drop_key(const Dropout &dropout, int sample) {
    return RandomKey{dropout.draw.seed, STREAM_DROPOUT + dropout.layer, dropout.draw.row->step,
                     dropout.draw.first_sample + (uint32_t)sample};
}

static inline void norm_check(const NormForward *op) {
    const int channels = op->x[0].c + (op->x[1].data ? op->x[1].c : 0);
    CHECK(!op->x[1].data || tensor_rows(&op->x[1]) == tensor_rows(&op->x[0]),
          "norm: the two sources differ in size");
    CHECK(same_dtype(op->x[0], op->x[1]), "norm: the two sources differ in type");
    CHECK(op->groups > 0 && channels % op->groups == 0, "norm: %d channels do not make %d groups", channels,
          op->groups);
    CHECK(op->gamma && op->beta && op->statistics, "norm: gamma, beta and statistics must be there");
    CHECK(op->dropout.rate >= 0.0f && op->dropout.rate < 1.0f, "norm: dropout rate %g",
          (double)op->dropout.rate);
}

#endif
