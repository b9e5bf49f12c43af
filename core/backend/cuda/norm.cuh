/* What the forward and the backward pass of group normalisation share. As on the CPU, within one sample the
 * layer is one affine map per channel followed by the activation,
 *
 *     v = (x - centre) * slope + offset,     y = dropout(act(v)),
 *
 * where centre = group mean - bias, slope = gain / std, gain = gamma (1 + scale), offset = beta (1 + scale) +
 * shift.
 *
 * A slab is one sample's pixels in a chunk of channels: whole groups, 64 or 128 bytes of every pixel, so that
 * memory is met in whole sectors. It is read once, asynchronously, into shared memory; what follows reads it
 * there. A slab that is too large for three blocks on a multiprocessor is shared by a cluster of blocks,
 * which exchange their sums (compute capability 9); where there are no clusters and it fits nowhere, it is
 * read again from memory.
 *
 * A thread has V neighbouring channels (16 bytes) and every rows-th pixel, and finds in shared memory only
 * what it put there itself. The threads beside each other on a pixel are a power of two, so that sums over
 * pixels are shuffles; where the chunk has fewer lanes (48 channels are 6 of 8), the rest rest.
 */
#ifndef ICT_BACKEND_CUDA_NORM_CUH
#define ICT_BACKEND_CUDA_NORM_CUH

#include "backend/cuda/elements.cuh"
#include "base/philox.h"
#include <cooperative_groups.h>

enum {
    NORM_THREADS = 256, /* at most */
    NORM_BLOCKS = 3,    /* of those, on a multiprocessor */
    NORM_SLAB = 66 << 10,
    NORM_CLUSTER = 8
};

/* How a layer is cut into blocks. */
typedef struct NormCut {
    int channels, pixels, size; /* size: channels of a group */
    int groups, chunk;          /* groups and channels of a slab */
    int lanes, shift;           /* lanes of V channels; 2^shift threads lie beside each other */
    int cluster, part, threads; /* blocks of a slab, pixels and threads of a block */
    double share;               /* 1 / (elements of a group) */
} NormCut;

static inline int norm_channels(const NormForward *op) {
    return op->x[0].c + (op->x[1].data ? op->x[1].c : 0);
}

/* As few groups as make `bytes` of a pixel, a number that divides all groups; whole lanes of `wide` channels,
 * at most a warp of them. */
static inline int norm_chunk_groups(const NormForward *op, int size, int wide, int bytes) {
    int best = 0;
    for (int groups = 1; groups <= op->groups; groups++) {
        const int chunk = groups * size;
        if (op->groups % groups || chunk % wide || chunk > 32 * wide) continue;
        best = groups;
        if (chunk * (int)dtype_size(op->x[0].dtype) >= bytes) break;
    }
    return best;
}

/* `tensors`: how many slabs lie in shared memory. */
static inline NormCut norm_cut(const NormForward *op, int wide, int tensors, bool clusters) {
    NormCut cut = {};
    cut.channels = norm_channels(op);
    cut.pixels = op->x[0].h * op->x[0].w;
    cut.size = cut.channels / op->groups;
    cut.groups = norm_chunk_groups(op, cut.size, wide, cut.pixels * tensors * 128 <= NORM_SLAB ? 128 : 64);
    CHECK(cut.groups > 0, "norm: groups of %d channels are more than a block holds", cut.size);
    cut.chunk = cut.groups * cut.size;
    cut.lanes = cut.chunk / wide;
    while (1 << cut.shift < cut.lanes) cut.shift++;
    const int bytes = cut.chunk * tensors * (int)dtype_size(op->x[0].dtype);
    for (cut.cluster = 1; clusters && cut.cluster < NORM_CLUSTER; cut.cluster *= 2)
        if ((cut.pixels + cut.cluster - 1) / cut.cluster * bytes <= NORM_SLAB) break;
    cut.threads = NORM_THREADS;
    cut.part = (cut.pixels + cut.cluster - 1) / cut.cluster;
    cut.share = 1.0 / ((double)cut.size * cut.pixels);
    return cut;
}

/* Whether lanes of V channels never straddle a source, a block or an access. */
template <typename T> static bool norm_wide(const NormForward *op) {
    constexpr int V = Wide<T>::value;
    const int second = op->x[1].data ? op->x[1].c : 0;
    if (op->x[0].c % V || second % V) return false;
    return norm_chunk_groups(op, norm_channels(op) / op->groups, V, 64) > 0;
}

/* Floats of shared memory beside the slabs; `width` is the padded number of channels. */
__host__ __device__ __forceinline__ int norm_width(const NormCut &cut, int wide) {
    return wide << cut.shift;
}
__host__ __device__ __forceinline__ int norm_lines(int threads) {
    return threads / 32 * 2 + 4 + 2 + 7;
}

struct NormMemory {
    float *warps; /* [warps][2 width]: sums over a warp's pixels */
    float *own;   /* [2][2 width]: sums over the block's pixels, in turn, for the cluster */
    float *sum;   /* [2][width]: sums over all pixels */
    float *bias, *gain, *offset, *centre, *slope; /* [width], by channel of the chunk */
    float *a, *b; /* [width]: the mean (forward, a); A and B, and before those 1/std (backward, b) */
};

__device__ __forceinline__ NormMemory norm_memory(float *memory, int width) {
    NormMemory m;
    m.warps = memory;
    m.own = m.warps + blockDim.x / 32 * 2 * width;
    m.sum = m.own + 4 * width;
    m.bias = m.sum + 2 * width;
    m.gain = m.bias + width;
    m.offset = m.gain + width;
    m.centre = m.offset + width;
    m.slope = m.centre + width;
    m.a = m.slope + width;
    m.b = m.a + width;
    return m;
}

/* What a thread has: channels `first`.. of the concatenation, and every rows-th of the block's pixels,
 * `turns` of them. Places are those of its first pixel; steps lead from one to the next. */
struct NormLane {
    int lane, first, turns, source;
    int at, step;                /* in a slab [pixels][lanes][V] */
    int64_t x, y;                /* in the source, and in the concatenation */
    int x_step, y_step, element; /* element: place in the sample's share of the concatenation */
};

template <int V> __device__ __forceinline__ NormLane norm_lane(const NormForward &op, const NormCut &cut) {
    NormLane l;
    const int chunk = blockIdx.x / cut.cluster, begin = blockIdx.x % cut.cluster * cut.part;
    const int row = threadIdx.x >> cut.shift, rows = blockDim.x >> cut.shift;
    l.lane = threadIdx.x & ((1 << cut.shift) - 1);
    l.first = chunk * cut.chunk + l.lane * V;
    l.turns = (min(cut.part, cut.pixels - begin) - row + rows - 1) / rows;
    if (l.lane >= cut.lanes) l.turns = l.first = 0;
    l.source = l.first >= op.x[0].c;
    l.at = (row * cut.lanes + l.lane) * V;
    l.step = rows * cut.lanes * V;
    const int stride = op.x[l.source].c, pixel = begin + row;
    l.element = pixel * cut.channels + l.first;
    l.x_step = rows * stride;
    l.y_step = rows * cut.channels;
    l.x = ((int64_t)blockIdx.y * cut.pixels + pixel) * stride + l.first - (l.source ? op.x[0].c : 0);
    l.y = (int64_t)blockIdx.y * cut.pixels * cut.channels + l.element;
    return l;
}

/* Starts to fetch the thread's part of a tensor into its slab. */
template <typename T, int V>
__device__ __forceinline__ void norm_fetch(T *slab, const T *from, int step, const NormLane &l) {
#pragma unroll 4
    for (int i = 0; i < l.turns; i++) {
        T *to = slab + l.at + i * l.step;
        if constexpr (V * sizeof(T) == 16)
            copy_begin(to, from + (int64_t)i * step);
        else
            for (int k = 0; k < V; k++) to[k] = from[(int64_t)i * step + k];
    }
}

/* Parameters of the chunk's channels, into shared memory. */
__device__ __forceinline__ void norm_parameters(const NormForward &op, const NormCut &cut,
                                                const NormMemory &m) {
    const int64_t side = (int64_t)blockIdx.y * cut.channels;
    for (int i = threadIdx.x; i < cut.chunk; i += blockDim.x) {
        const int c = blockIdx.x / cut.cluster * cut.chunk + i;
        const bool scaled = op.scale_shift.data;
        const float gamma = op.gamma[c], beta = op.beta[c];
        const uint32_t scale = scaled ? element_bits(op.scale_shift, 2 * side + c) : 0,
                       shift = scaled ? element_bits(op.scale_shift, 2 * side + cut.channels + c) : 0,
                       bias = op.bias.data ? element_bits(op.bias, side + c) : 0;
        const float factor = 1.0f + element_value(op.scale_shift, scale);
        m.bias[i] = element_value(op.bias, bias);
        m.gain[i] = gamma * factor;
        m.offset[i] = fmaf(beta, factor, element_value(op.scale_shift, shift));
    }
}

/* ---- sums over all pixels of a slab ---- */

__device__ __forceinline__ void norm_cluster_sync() {
#if __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#endif
}

__device__ __forceinline__ float norm_remote(float *mine, int rank) {
#if __CUDA_ARCH__ >= 900
    return *cooperative_groups::this_cluster().map_shared_rank(mine, rank);
#else
    return *mine;
#endif
}

/* Adds over the warp's rows, OFFSET threads apart and nearer: while a thread has several values, it gives
 * half of them away and takes the other half from its partner. What is left are `count` values from the
 * `first`-th on, or one that several threads have (`writes` in one of them). */
struct NormFolded {
    int first, count;
    bool writes;
};

template <int K, int OFFSET>
__device__ __forceinline__ void norm_fold(float *value, int shift, NormFolded &f) {
    if constexpr (OFFSET > 0) {
        if (OFFSET >> shift == 0) return;
        const bool upper = threadIdx.x & OFFSET;
        if constexpr (K > 1) {
#pragma unroll
            for (int k = 0; k < K / 2; k++) {
                const float give = upper ? value[k] : value[k + K / 2],
                            keep = upper ? value[k + K / 2] : value[k];
                value[k] = keep + __shfl_xor_sync(0xffffffffu, give, OFFSET);
            }
            f.count = K / 2;
            if (upper) f.first += K / 2;
            norm_fold<K / 2, OFFSET / 2>(value, shift, f);
        } else {
            value[0] += __shfl_xor_sync(0xffffffffu, value[0], OFFSET);
            if (upper) f.writes = false;
            norm_fold<1, OFFSET / 2>(value, shift, f);
        }
    }
}

/* Sums over the warp's pixels of value[j * V + k], to row[j][channel of the chunk], rows of `width`. */
template <int V, int K>
__device__ __forceinline__ void norm_fold_store(float (&value)[K * V], int shift, int lane, float *row,
                                                int width) {
    NormFolded f = {0, K * V, true};
    norm_fold<K * V, 16>(value, shift, f);
#pragma unroll
    for (int k = 0; k < K * V; k++)
        if (k < f.count && f.writes) {
            const int place = f.first + k;
            row[place / V * width + lane * V + place % V] = value[k];
        }
}

/* m.sum[j][channel of the chunk] = sum over all pixels of value[j * V + k], K = 1 or 2 values a channel.
 * `turn` is 0 and 1 in turn, because a neighbour may still read what the last call left for it. */
template <int V, int K>
__device__ __forceinline__ void norm_sum(float (&value)[K * V], const NormCut &cut, const NormMemory &m,
                                         int lane, int turn) {
    const int width = V << cut.shift;
    norm_fold_store<V, K>(value, cut.shift, lane, m.warps + threadIdx.x / 32 * K * width, width);
    __syncthreads();
    float *own = cut.cluster > 1 ? m.own + turn * 2 * width : m.sum;
    for (int c = threadIdx.x; c < K * width; c += blockDim.x) {
        float total = 0.0f;
#pragma unroll 4
        for (int warp = 0; warp < blockDim.x / 32; warp++) total += m.warps[warp * K * width + c];
        own[c] = total;
    }
    if (cut.cluster > 1) {
        norm_cluster_sync();
        for (int c = threadIdx.x; c < K * width; c += blockDim.x) {
            float total = 0.0f;
            for (int rank = 0; rank < cut.cluster; rank++) total += norm_remote(own + c, rank);
            m.sum[c] = total;
        }
    }
    __syncthreads();
}

/* Before a block leaves: nobody reads its memory any more. */
__device__ __forceinline__ void norm_leave(const NormCut &cut) {
    if (cut.cluster > 1) norm_cluster_sync();
}

/* ---- activation and dropout ---- */

typedef struct NormDrop {
    uint32_t threshold; /* 0: no dropout */
    float kept;
} NormDrop;

/* `scale` multiplies what is kept. */
static inline NormDrop norm_drop_make(const Dropout *dropout, float scale) {
    return NormDrop{(uint32_t)lrint((double)dropout->rate * 65536.0),
                    (float)((double)scale / (1.0 - (double)dropout->rate))};
}

__device__ __forceinline__ RandomKey norm_drop_key(const Dropout &dropout, uint32_t sample) {
    return RandomKey{dropout.draw.seed, STREAM_DROPOUT + dropout.layer, dropout.draw.row->step,
                     dropout.draw.first_sample + sample};
}

/* The kept mask, [sample][channels / 8][pixels]: a byte for eight channels of a pixel. */
__device__ __forceinline__ uint8_t *norm_mask_at(const NormForward &op, int channels, int pixels, int sample,
                                                 int first) {
    return op.mask + ((int64_t)sample * channels + first) / 8 * pixels;
}

/* value *= the dropout mask of V elements from `element` of the sample's output on: element e reads 16-bit
 * lane e % 8 of random block e / 8 and is kept when that is at least rate * 65536. Both halves of a word are
 * compared in its upper half. Returns the mask, a bit an element. */
template <int V>
__device__ __forceinline__ uint32_t norm_drop(const RandomKey &key, NormDrop drop, uint32_t element,
                                              float (&value)[V]) {
    uint32_t bits = 0;
    const Random4 block = random_block(key, element / 8);
    const uint32_t first = V == 8 ? 0 : element % 8, threshold = drop.threshold << 16;
#pragma unroll
    for (int k = 0; k < V; k++) {
        const uint32_t lane = first + k;
        const uint32_t word =
            lane & 4 ? (lane & 2 ? block.x[3] : block.x[2]) : (lane & 2 ? block.x[1] : block.x[0]);
        const uint32_t draw = lane & 1 ? word & 0xffff0000u : word << 16;
        value[k] = draw >= threshold ? value[k] * drop.kept : 0.0f;
        if (draw >= threshold) bits |= 1u << k;
    }
    return bits;
}

/* Types of 16 bits carry rounding errors that exceed those of x * slope - centre * slope in fp32 by far: for
 * them the centre goes into the offset, and the mean of the first pass needs no correction. */
template <typename T> struct Narrow { static constexpr bool value = sizeof(T) == 2; };

/* What follows the affine map, known to the compiler for the cases that the U-Nets have. MASK: with a dropout
 * mask that the forward pass keeps and the backward pass reads. */
enum NormTail { TAIL_ANY, TAIL_SILU, TAIL_SILU_DROPOUT, TAIL_SILU_MASK };

static inline NormTail norm_tail(const NormForward *op) {
    if (op->activation != ACT_SILU) return TAIL_ANY;
    if (op->dropout.rate == 0.0f) return TAIL_SILU;
    return op->mask ? TAIL_SILU_MASK : TAIL_SILU_DROPOUT;
}

template <int TAIL> __device__ __forceinline__ Activation tail_activation(const NormForward &op) {
    return TAIL == TAIL_ANY ? op.activation : ACT_SILU;
}

template <int TAIL> __device__ __forceinline__ bool tail_drops(NormDrop drop) {
    return TAIL == TAIL_ANY ? drop.threshold != 0 : TAIL == TAIL_SILU_DROPOUT || TAIL == TAIL_SILU_MASK;
}

/* ---- launching ---- */

/* For images of 8x8 and 16x16 (norm_small.cu), and of 32x32 (norm_ring_backward.cu); false: not for these. */
bool norm_small_forward(Device *device, const NormForward *op);
bool norm_small_backward(Device *device, const NormBackward *op);
bool norm_ring_backward(Device *device, const NormBackward *op);

static inline void norm_check(const NormForward *op) {
    CHECK(!op->x[1].data || tensor_rows(&op->x[1]) == tensor_rows(&op->x[0]),
          "norm: the two sources differ in size");
    CHECK(same_dtype(op->x[0], op->x[1]), "norm: the two sources differ in type");
    CHECK(op->groups > 0 && norm_channels(op) % op->groups == 0, "norm: %d channels do not make %d groups",
          norm_channels(op), op->groups);
    CHECK(op->gamma && op->beta && op->statistics, "norm: gamma, beta and statistics must be there");
    CHECK(op->dropout.rate >= 0.0f && op->dropout.rate < 1.0f, "norm: dropout rate %g",
          (double)op->dropout.rate);
}

/* Bytes of shared memory: what the sums need, and `slab` bytes where those fit; false when they do not. */
static inline bool norm_fits(const Device *device, const NormCut &cut, int wide, size_t slab, size_t *bytes) {
    const size_t sums = norm_lines(cut.threads) * (size_t)norm_width(cut, wide) * sizeof(float);
    const bool fits = sums + slab <= (size_t)cuda_attribute(device, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    *bytes = fits ? sums + slab : sums;
    return fits;
}

template <typename Op>
static void norm_launch(Device *device, void (*kernel)(Op, NormCut, NormDrop), const Op *op,
                        const NormForward *forward, const NormCut &cut, NormDrop drop, size_t bytes) {
    cudaLaunchAttribute cluster;
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = (unsigned)cut.cluster;
    cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)(forward->groups / cut.groups * cut.cluster), (unsigned)forward->x[0].n);
    config.blockDim = dim3((unsigned)cut.threads);
    config.dynamicSmemBytes = bytes;
    config.stream = cuda_stream(device);
    config.attrs = &cluster;
    config.numAttrs = cut.cluster > 1 ? 1 : 0;
    if (bytes > (48 << 10))
        CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, *op, cut, drop));
}

#endif
