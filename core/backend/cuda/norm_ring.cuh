/* Group normalisation of images of 32x32: memory never waits for the blocks.
 *
 * A kernel that fetches its slab, computes and leaves takes the sum of both times, because the blocks of a
 * multiprocessor keep step. Here as many blocks as the card holds stay, and each walks over units: one
 * sample's pixels in WIDTH neighbouring channels, a whole number of groups. While a unit is computed, the
 * next one is fetched, piece by piece, into the places in shared memory that become free. A thread finds in
 * its places only what it fetched itself, in order, and waits for its own copies alone.
 *
 * Units do not depend on each other, nor on which block has them.
 */
#ifndef ICT_BACKEND_CUDA_NORM_RING_CUH
#define ICT_BACKEND_CUDA_NORM_RING_CUH

#include "backend/cuda/norm.cuh"

enum {
    RING_LANES = 4, /* threads beside each other on a pixel, 16 bytes each */
    RING_ROWS = 128,
    RING_THREADS = RING_LANES * RING_ROWS,
    RING_WARPS = RING_THREADS / 32,
    RING_BLOCKS = 512 / RING_THREADS, /* on a multiprocessor: 128 registers a thread */
    RING_TURNS = 8,
    RING_PIXELS = RING_ROWS * RING_TURNS,
    RING_SHIFT = RING_LANES == 4 ? 2 : 1,
    RING_MASK = RING_PIXELS + 16 /* bytes of a lane; so the lanes lie in different banks */
};

/* How a layer is cut into units. */
typedef struct RingCut {
    int channels, size; /* size: channels of a group */
    int chunks, units;  /* units of a sample, and of all */
    float share;        /* 1 / (elements of a group) */
} RingCut;

/* A unit: its sample and its first channel. */
struct RingPlace {
    int sample, chunk;
    bool there; /* false: behind the last unit */
};

__device__ __forceinline__ RingPlace ring_place(const RingCut &cut, int width, int unit) {
    const int sample = unit / cut.chunks;
    return RingPlace{sample, (unit - sample * cut.chunks) * width, unit < cut.units};
}

/* Where the thread's channels of the unit's first pixel lie in their source, and what leads from one of its
 * pixels to the next. */
struct RingSource {
    int source, step;
    int64_t at;
};

template <int V>
__device__ __forceinline__ RingSource ring_source(const NormForward &op, const RingPlace &p) {
    const int first = p.chunk + threadIdx.x % RING_LANES * V, source = first >= op.x[0].c;
    const int stride = op.x[source].c, pixel = p.sample * RING_PIXELS + threadIdx.x / RING_LANES;
    return RingSource{source, RING_ROWS * stride, (int64_t)pixel * stride + first - (source ? op.x[0].c : 0)};
}

/* ---- launching ---- */

/* Whether units are whole groups, of a power of two of channels, and lanes never straddle a source. */
template <int V> static bool ring_cut(const NormForward *op, RingCut *cut) {
    constexpr int WIDTH = V * RING_LANES;
    const int channels = norm_channels(op), size = channels / op->groups;
    if (op->x[0].h * op->x[0].w != RING_PIXELS || op->x[0].c % V) return false;
    if (channels % WIDTH || size > WIDTH || WIDTH % size) return false;
    *cut = RingCut{channels, size, channels / WIDTH, op->x[0].n * (channels / WIDTH),
                   (float)(1.0 / ((double)size * RING_PIXELS))};
    return true;
}

/* `bytes` of shared memory a block; false: the card has less. */
template <typename Op>
static bool ring_launch(Device *device, void (*kernel)(Op, RingCut, NormDrop), const Op *op,
                        const RingCut &cut, NormDrop drop, size_t bytes) {
    if (bytes > (size_t)cuda_attribute(device, cudaDevAttrMaxSharedMemoryPerBlockOptin)) return false;
    const int most = RING_BLOCKS * cuda_attribute(device, cudaDevAttrMultiProcessorCount);
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)(cut.units < most ? cut.units : most));
    config.blockDim = dim3(RING_THREADS);
    config.dynamicSmemBytes = bytes;
    config.stream = cuda_stream(device);
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, *op, cut, drop));
    return true;
}

#endif
