/* Group normalisation, forward and backward, of images of 64 and 256 pixels whose groups are whole 16-byte
 * accesses: a slab (four accesses of a pixel) lies in the registers of one warp, or of the four of a block,
 * eight accesses a thread. At these sizes the kernels of norm.cu and norm_backward.cu wait most of the time:
 * for their own barriers, and for each other's shared memory. Here sums go from register to register, and
 * only those of four warps through shared memory. Where groups are three accesses, the last of the four
 * threads of a pixel does what its neighbour does, and neither counts nor writes. Formulas and roundings are
 * those of norm_backward.cu.
 */
#ifndef ICT_BACKEND_CUDA_NORM_SMALL_CUH
#define ICT_BACKEND_CUDA_NORM_SMALL_CUH

#include "backend/cuda/norm.cuh"

enum { SMALL_THREADS = 128, SMALL_WARPS = 4, SMALL_LANES = 4, SMALL_ROWS = 8, SMALL_TURNS = 8 };
enum { SMALL_PIXELS = SMALL_ROWS * SMALL_TURNS }; /* of a warp */

/* Below, W warps of a block share a slab: 1 or all four. */

/* How a layer is cut into slabs. */
typedef struct SmallCut {
    int channels, pixels, size; /* size: channels of a group */
    int lanes;                  /* neighbouring threads that hold a group's channels: 1, 2, 3 or 4 */
    int width;                  /* channels of a slab */
    int chunks, slabs;          /* slabs of a sample, and of all */
    float share;                /* 1 / (elements of a group) */
} SmallCut;

/* Where a thread's V channels of its eight pixels lie. */
struct SmallPlace {
    int sample, lane, first, source, pixel, warp; /* first: channel of the concatenation; warp: of the slab */
    int64_t x, y;
    int x_step, y_step;
    bool rests;
};

template <int V, int W>
__device__ __forceinline__ SmallPlace small_place(const NormForward &op, const SmallCut &cut) {
    SmallPlace p;
    const int warp = blockIdx.x * SMALL_WARPS + threadIdx.x / 32, slab = warp / W;
    p.warp = warp % W;
    p.sample = slab / cut.chunks;
    p.rests = cut.lanes == 3 && threadIdx.x % SMALL_LANES == 3;
    p.lane = p.rests ? 2 : threadIdx.x % SMALL_LANES;
    p.first = (slab - p.sample * cut.chunks) * cut.width + p.lane * V;
    p.source = p.first >= op.x[0].c;
    p.pixel = p.warp * SMALL_PIXELS + threadIdx.x % 32 / SMALL_LANES;
    const int stride = op.x[p.source].c;
    const int64_t pixel = (int64_t)p.sample * cut.pixels + p.pixel;
    p.x = pixel * stride + p.first - (p.source ? op.x[0].c : 0);
    p.y = pixel * cut.channels + p.first;
    p.x_step = SMALL_ROWS * stride;
    p.y_step = SMALL_ROWS * cut.channels;
    return p;
}

/* V of a small array that may have another type. */
template <int V> __device__ __forceinline__ void side_load(const Tensor &tensor, int64_t at, float (&to)[V]) {
    if (tensor.dtype == DTYPE_F32) {
        pack_load<float, V>((const float *)tensor.data + at, to);
        return;
    }
#pragma unroll
    for (int k = 0; k < V; k++) to[k] = element_load(tensor, at + k);
}

/* bias, gain and offset of the thread's channels: y = gain xhat + offset. */
template <int V> struct SmallMap { float bias[V], gain[V], offset[V]; };

template <int V>
__device__ __forceinline__ void small_parameters(const NormForward &op, const SmallCut &cut,
                                                 const SmallPlace &p, SmallMap<V> &map) {
    const int64_t side = (int64_t)p.sample * cut.channels;
    pack_load<float, V>(op.gamma + p.first, map.gain);
    pack_load<float, V>(op.beta + p.first, map.offset);
#pragma unroll
    for (int k = 0; k < V; k++) map.bias[k] = 0.0f;
    if (op.bias.data) side_load<V>(op.bias, side + p.first, map.bias);
    if (!op.scale_shift.data) return;
    float factor[V], shift[V];
    side_load<V>(op.scale_shift, 2 * side + p.first, factor);
    side_load<V>(op.scale_shift, 2 * side + cut.channels + p.first, shift);
#pragma unroll
    for (int k = 0; k < V; k++) {
        map.gain[k] *= 1.0f + factor[k];
        map.offset[k] = fmaf(map.offset[k], 1.0f + factor[k], shift[k]);
    }
}

/* value[k] summed over the block's share of the slab's pixels and the channels of the thread's group;
 * `memory` is for this call alone. */
template <int K, int W>
__device__ __forceinline__ void group_sum(float (&value)[K], const SmallCut &cut, const SmallPlace &p,
                                          float (*memory)[K][SMALL_LANES]) {
#pragma unroll
    for (int k = 0; k < K; k++) {
        if (p.rests) value[k] = 0.0f;
        for (int mask = 16; mask >= SMALL_LANES; mask /= 2)
            value[k] += __shfl_xor_sync(0xffffffffu, value[k], mask);
        if (cut.lanes > 1) value[k] += __shfl_xor_sync(0xffffffffu, value[k], 1);
        if (cut.lanes > 2) value[k] += __shfl_xor_sync(0xffffffffu, value[k], 2);
        if (W > 1 && threadIdx.x % 32 < SMALL_LANES) memory[threadIdx.x / 32][k][p.lane] = value[k];
    }
    if (W == 1) return;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < K; k++) {
        value[k] = 0.0f;
        for (int warp = 0; warp < W; warp++) value[k] += memory[warp][k][p.lane];
    }
}

static __device__ __forceinline__ int64_t small_group(const NormForward &op, const SmallCut &cut, int sample,
                                                      int channel) {
    return ((int64_t)sample * op.groups + channel / cut.size) * 2;
}

template <typename T, int V>
__device__ __forceinline__ void packs_fetch(const T *from, int step, Pack<T, V> (&to)[SMALL_TURNS]) {
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++)
        to[i] = *reinterpret_cast<const Pack<T, V> *>(from + (int64_t)i * step);
}

/* Between passes: the compiler would keep what it has widened, in twice the registers. */
template <typename T, int V> __device__ __forceinline__ void packs_renew(Pack<T, V> (&packs)[SMALL_TURNS]) {
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) {
        uint4 &words = reinterpret_cast<uint4 &>(packs[i]);
        asm volatile("" : "+r"(words.x), "+r"(words.y), "+r"(words.z), "+r"(words.w));
    }
}

/* ---- launching ---- */

/* Whether slabs are whole: groups of at most four lanes, and images of 64 or 256 pixels. */
template <int V> static bool small_cut(const NormForward *op, SmallCut *cut) {
    const int channels = norm_channels(op), size = channels / op->groups, pixels = op->x[0].h * op->x[0].w;
    const int lanes = size / V, width = (lanes == 3 ? 3 : SMALL_LANES) * V;
    if (pixels != SMALL_PIXELS && pixels != SMALL_WARPS * SMALL_PIXELS) return false;
    if (size % V || lanes > SMALL_LANES || channels % width || op->x[0].c % V) return false;
    *cut = SmallCut{channels, pixels, size, lanes, width, channels / width, 0, 0};
    cut->slabs = op->x[0].n * cut->chunks;
    cut->share = (float)(1.0 / ((double)size * pixels));
    return true;
}

template <typename Op>
static void small_launch(Device *device, void (*kernel)(Op, SmallCut, NormDrop), const Op *op,
                         const SmallCut &cut, NormDrop drop) {
    const int64_t warps = (int64_t)cut.slabs * (cut.pixels / SMALL_PIXELS);
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(blocks_for(warps, SMALL_WARPS));
    config.blockDim = dim3(SMALL_THREADS);
    config.stream = cuda_stream(device);
    CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, *op, cut, drop));
}

#endif
