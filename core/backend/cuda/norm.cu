/* Group normalisation with all that follows it, forward: means, then variances around them, then the result,
 * three passes over a slab that is read from memory once. In fp32 the mean of the first pass is corrected by
 * the sum of deviations from it, which the second pass takes along: nothing is lost when it is a thousand
 * deviations away from zero. */
#include "backend/cuda/norm.cuh"

/* A pixel of the thread's channels: from its slab, or from memory again. */
template <typename T, int V, bool CACHED>
__device__ __forceinline__ void slab_load(const T *slab, const T *x, const NormLane &l, int i,
                                          float (&to)[V]) {
    pack_load<T, V>(CACHED ? slab + l.at + i * l.step : x + (int64_t)i * l.x_step, to);
}

/* Means of the groups, a channel a thread, each for itself; the bias comes before the statistics. */
__device__ __forceinline__ void means_make(const NormCut &cut, const NormMemory &m) {
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) {
        const int first = c - c % cut.size;
        double sum = 0.0, bias = 0.0;
        for (int k = first; k < first + cut.size; k++) {
            sum += (double)m.sum[k];
            bias += (double)m.bias[k];
        }
        m.a[c] = (float)((sum + bias * cut.pixels) * cut.share);
        m.centre[c] = m.a[c] - m.bias[c];
    }
    __syncthreads();
}

/* The affine maps, from sums of d^2 and (fp32) d, with d = x - centre. */
template <typename T>
__device__ __forceinline__ void maps_make(const NormForward &op, const NormCut &cut, const NormMemory &m,
                                          int width) {
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) {
        const int g = c / cut.size, first = g * cut.size;
        double sum = 0.0, square = 0.0;
        for (int k = first; k < first + cut.size; k++) {
            square += (double)m.sum[k];
            if (!Narrow<T>::value) sum += (double)m.sum[width + k];
        }
        const double away = sum * cut.share, variance = square * cut.share - away * away;
        const float mean = (float)((double)m.a[c] + away),
                    inverse = 1.0f / sqrtf((float)(variance + (double)op.epsilon));
        m.centre[c] = mean - m.bias[c];
        m.slope[c] = inverse * m.gain[c];
        if (Narrow<T>::value) m.offset[c] = fmaf(-m.centre[c], m.slope[c], m.offset[c]);
        float *out =
            op.statistics + ((int64_t)blockIdx.y * op.groups + blockIdx.x / cut.cluster * cut.groups + g) * 2;
        if (blockIdx.x % cut.cluster == 0 && c == first) out[0] = mean, out[1] = inverse;
    }
    __syncthreads();
}

/* Pass 1: sums of x. */
template <typename T, int V, bool CACHED>
__device__ __forceinline__ void sums_first(const NormCut &cut, const NormMemory &m, const T *slab, const T *x,
                                           const NormLane &l) {
    float sum[V] = {};
#pragma unroll 4
    for (int i = 0; i < l.turns; i++) {
        float v[V];
        slab_load<T, V, CACHED>(slab, x, l, i, v);
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] += v[k];
    }
    norm_sum<V, 1>(sum, cut, m, l.lane, 0);
}

/* Pass 2: sums of d^2, and in fp32 of d. */
template <typename T, int V, bool CACHED>
__device__ __forceinline__ void sums_second(const NormCut &cut, const NormMemory &m, const T *slab,
                                            const T *x, const NormLane &l) {
    constexpr int K = Narrow<T>::value ? 1 : 2;
    float centre[V], sums[K * V] = {};
    pack_load<float, V>(m.centre + l.lane * V, centre);
#pragma unroll 4
    for (int i = 0; i < l.turns; i++) {
        float v[V];
        slab_load<T, V, CACHED>(slab, x, l, i, v);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float d = v[k] - centre[k];
            sums[k] = fmaf(d, d, sums[k]);
            if constexpr (K == 2) sums[V + k] += d;
        }
    }
    norm_sum<V, K>(sums, cut, m, l.lane, 1);
}

/* The block's share of the mask, [lanes][pixels of the block], to where it is kept. */
__device__ __forceinline__ void mask_store(const NormForward &op, const NormCut &cut, const uint8_t *kept) {
    const int chunk = blockIdx.x / cut.cluster, begin = blockIdx.x % cut.cluster * cut.part;
    uint8_t *to = norm_mask_at(op, cut.channels, cut.pixels, blockIdx.y, chunk * cut.chunk) + begin;
    __syncthreads();
    for (int i = threadIdx.x * 16; i < cut.lanes * cut.part; i += blockDim.x * 16) {
        const int lane = i / cut.part;
        *reinterpret_cast<uint4 *>(to + (int64_t)lane * cut.pixels + i - lane * cut.part) =
            *reinterpret_cast<const uint4 *>(kept + i);
    }
}

/* Pass 3. The mask, where it is to be kept, goes through shared memory if the slab does. */
template <typename T, int V, bool CACHED, int TAIL>
__device__ __forceinline__ void apply(const NormForward &op, const NormCut &cut, NormDrop drop,
                                      const NormMemory &m, T *slab, const T *x, const NormLane &l) {
    float centre[V], slope[V], offset[V];
    pack_load<float, V>(m.centre + l.lane * V, centre);
    pack_load<float, V>(m.slope + l.lane * V, slope);
    pack_load<float, V>(m.offset + l.lane * V, offset);
    RandomKey key = {};
    if (tail_drops<TAIL>(drop)) key = norm_drop_key(op.dropout, blockIdx.y);
    T *y = (T *)op.y.data + l.y;
    const int rows = blockDim.x >> cut.shift, row = threadIdx.x >> cut.shift;
    uint8_t *kept = (uint8_t *)(slab + cut.part * cut.chunk);
    uint8_t *mask = CACHED ? kept + l.lane * cut.part + row
                           : norm_mask_at(op, cut.channels, cut.pixels, blockIdx.y, l.first) +
                                 (l.element - l.first) / cut.channels;
    const bool keeps = TAIL == TAIL_ANY ? op.mask != NULL : TAIL == TAIL_SILU_MASK;
#pragma unroll 2
    for (int i = 0; i < l.turns; i++) {
        float v[V];
        slab_load<T, V, CACHED>(slab, x, l, i, v);
#pragma unroll
        for (int k = 0; k < V; k++)
            v[k] = activation_value<T>(tail_activation<TAIL>(op),
                                       fmaf(Narrow<T>::value ? v[k] : v[k] - centre[k], slope[k], offset[k]));
        if (tail_drops<TAIL>(drop)) {
            const uint32_t bits = norm_drop<V>(key, drop, (uint32_t)(l.element + i * l.y_step), v);
            if (V == 8 && keeps) mask[i * rows] = (uint8_t)bits;
        }
        pack_store<T, V>(y + (int64_t)i * l.y_step, v);
    }
    if (CACHED && V == 8 && tail_drops<TAIL>(drop) && keeps) mask_store(op, cut, kept);
}

template <typename T, int V, bool CACHED, int TAIL>
__global__ void __launch_bounds__(NORM_THREADS, NORM_BLOCKS)
    norm_forward_kernel(NormForward op, NormCut cut, NormDrop drop) {
    extern __shared__ float4 shared[];
    const int width = norm_width(cut, V);
    const NormMemory m = norm_memory((float *)shared, width);
    T *slab = (T *)((float *)shared + norm_lines(blockDim.x) * width);
    const NormLane l = norm_lane<V>(op, cut);
    const T *x = (const T *)op.x[l.source].data + l.x;
    if (CACHED) norm_fetch<T, V>(slab, x, l.x_step, l);
    __pipeline_commit();
    norm_parameters(op, cut, m);
    copies_wait<0>();
    sums_first<T, V, CACHED>(cut, m, slab, x, l);
    means_make(cut, m);
    sums_second<T, V, CACHED>(cut, m, slab, x, l);
    maps_make<T>(op, cut, m, width);
    apply<T, V, CACHED, TAIL>(op, cut, drop, m, slab, x, l);
    norm_leave(cut);
}

template <typename T, int V> static void forward_run(Device *device, const NormForward *op) {
    const bool clusters = cuda_attribute(device, cudaDevAttrClusterLaunch);
    const NormCut cut = norm_cut(op, V, 1, clusters);
    size_t bytes;
    void (*kernel)(NormForward, NormCut, NormDrop) = norm_forward_kernel<T, V, false, TAIL_ANY>;
    const size_t mask = op->mask ? (size_t)cut.lanes * cut.part : 0;
    if (norm_fits(device, cut, V, (size_t)cut.part * cut.chunk * sizeof(T) + mask, &bytes)) {
        kernel = norm_forward_kernel<T, V, true, TAIL_ANY>;
        if constexpr (V > 1) {
            if (norm_tail(op) == TAIL_SILU) kernel = norm_forward_kernel<T, V, true, TAIL_SILU>;
            if (norm_tail(op) == TAIL_SILU_DROPOUT)
                kernel = norm_forward_kernel<T, V, true, TAIL_SILU_DROPOUT>;
            if constexpr (V == 8)
                if (norm_tail(op) == TAIL_SILU_MASK) kernel = norm_forward_kernel<T, V, true, TAIL_SILU_MASK>;
        }
    }
    norm_launch(device, kernel, op, op, cut, norm_drop_make(&op->dropout, 1.0f), bytes);
}

void cuda_norm_forward(Device *device, const NormForward *op) {
    norm_check(op);
    CHECK(same_dtype(op->x[0], op->y), "norm_forward: types differ");
    if (norm_small_forward(device, op)) return;
    dtype_dispatch(op->x[0].dtype, [&](auto type) {
        using T = decltype(type);
        if (norm_wide<T>(op))
            forward_run<T, Wide<T>::value>(device, op);
        else
            forward_run<T, 1>(device, op);
    });
}
