/* Group normalisation, backward. With xhat = (x - centre) / std, factor = 1 + scale and dv the gradient
 * before dropout and activation, two passes over a sample suffice (core/backend/cpu/norm_backward.c derives
 * them):
 *
 *   1. dv, and per channel  S = sum dv,  T = sum dv xhat;
 *   2. dx = slope dv - A - B xhat,  where A and B are means over the group: of slope S and of slope T.
 *
 * dgamma = factor T, dbeta = factor S, dscale = gamma T + beta S, dshift = S, and the gradient of the bias
 * before the statistics is the sum of dx over the pixels. Slabs of x and dy lie in shared memory, and dv
 * replaces dy there, rounded to the network's type: exponentials and random masks would cost more than memory
 * traffic if they were computed twice. (The sums are made before rounding.) A sample's dgamma and dbeta go to
 * the workspace, and a second kernel adds them over the samples, in order.
 */
#include "backend/cuda/norm_gradient.cuh"

size_t cuda_norm_backward_workspace(Device *device, const NormForward *op) {
    (void)device;
    return (size_t)op->x[0].n * 2 * (size_t)op->y.c * sizeof(float);
}

/* Kept where it is read in bytes: 16-bit types in whole lanes of eight channels, whole 16 bytes a block. */
size_t cuda_norm_mask_bytes(Device *device, const NormForward *op) {
    const int pixels = op->y.h * op->y.w;
    const bool whole = pixels % (16 * NORM_CLUSTER) == 0 || pixels == 64;
    (void)device;
    if (dtype_size(op->y.dtype) != 2 || op->activation != ACT_SILU || !whole) return 0;
    if (op->x[0].c % 8 || op->y.c % 8 || norm_chunk_groups(op, op->y.c / op->groups, 8, 64) == 0) return 0;
    return (size_t)op->y.n * (size_t)pixels * (size_t)op->y.c / 8;
}

/* Where a thread finds its pixels: slabs in shared memory, or the tensors. */
template <typename T> struct NormSlabs {
    T *x, *dy;
    const T *x_from, *dy_from;
    const uint8_t *mask; /* of the thread's first pixel, in shared memory */
    int mask_step;
};

template <typename T, int V, bool CACHED>
__device__ __forceinline__ void x_load(const NormSlabs<T> &s, const NormLane &l, int i, float (&x)[V]) {
    pack_load<T, V>(CACHED ? s.x + l.at + i * l.step : s.x_from + (int64_t)i * l.x_step, x);
}

template <typename T, int V, bool CACHED>
__device__ __forceinline__ Pack<T, V> dy_load(const NormSlabs<T> &s, const NormLane &l, int i) {
    return *reinterpret_cast<const Pack<T, V> *>(CACHED ? s.dy + l.at + i * l.step
                                                        : s.dy_from + (int64_t)i * l.y_step);
}

template <int V, int TAIL>
__device__ __forceinline__ void map_load(const NormBackward &op, NormDrop drop, const NormMemory &m,
                                         const NormLane &l, NormMap<V> &map) {
    pack_load<float, V>(m.centre + l.lane * V, map.centre);
    pack_load<float, V>(m.slope + l.lane * V, map.slope);
    pack_load<float, V>(m.offset + l.lane * V, map.offset);
    if (TAIL != TAIL_SILU_MASK && tail_drops<TAIL>(drop))
        map.key = norm_drop_key(op.forward.dropout, blockIdx.y);
}

/* dv of the thread's i-th pixel, where x holds the distance. */
template <typename T, int V, bool CACHED, int TAIL>
__device__ __forceinline__ void pixel_gradient(const NormBackward &op, NormDrop drop, const NormMap<V> &map,
                                               const NormSlabs<T> &s, const NormLane &l, int i,
                                               const float (&x)[V], float (&dv)[V]) {
    const uint32_t bits = TAIL == TAIL_SILU_MASK ? s.mask[i * s.mask_step] : 0;
    gradient_make<T, V, TAIL>(op, drop, map, bits, l.element + i * l.y_step, x,
                              dy_load<T, V, CACHED>(s, l, i), dv);
}

/* Pass 1: S, and the sum of dv times distance; dv replaces dy in its slab. */
template <typename T, int V, bool CACHED, int TAIL>
__device__ __forceinline__ void sums_make(const NormBackward &op, const NormCut &cut, NormDrop drop,
                                          const NormSlabs<T> &s, const NormMemory &m, const NormLane &l) {
    NormMap<V> map = {};
    map_load<V, TAIL>(op, drop, m, l, map);
    float sums[2 * V] = {};
    for (int i = 0; i < l.turns; i++) {
        float x[V], dv[V];
        x_load<T, V, CACHED>(s, l, i, x);
        distance_make<T, V>(map, x);
        pixel_gradient<T, V, CACHED, TAIL>(op, drop, map, s, l, i, x, dv);
        gradient_sum<V>(x, dv, sums);
        if (CACHED) pack_store<T, V>(s.dy + l.at + i * l.step, dv);
    }
    norm_sum<V, 2>(sums, cut, m, l.lane, 0);
}

/* Mean and 1/std of channel c of the chunk. */
__device__ __forceinline__ const float *group_statistics(const NormForward &op, const NormCut &cut, int c) {
    return op.statistics +
           ((int64_t)blockIdx.y * op.groups + blockIdx.x / cut.cluster * cut.groups + c / cut.size) * 2;
}

/* The chunk's affine maps, into shared memory. */
template <typename T>
__device__ __forceinline__ void maps_make(const NormForward &op, const NormCut &cut, const NormMemory &m) {
    norm_parameters(op, cut, m);
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) { /* the thread that wrote bias and gain */
        const float *group = group_statistics(op, cut, c);
        m.centre[c] = group[0] - m.bias[c];
        m.slope[c] = group[1] * m.gain[c];
        m.b[c] = group[1];
        if (Narrow<T>::value) m.offset[c] = fmaf(-m.centre[c], m.slope[c], m.offset[c]);
    }
    __syncthreads();
}

/* S and T of each channel, and A and B of its group, as pass 2 wants them: dx = slope dv - b distance - a. A
 * channel a thread, which adds up its group for itself. */
template <typename T>
__device__ __forceinline__ void means_make(const NormCut &cut, NormDrop drop, const NormMemory &m,
                                           int width) {
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) {
        float *s = m.sum + c, *t = s + width;
        *s *= drop.kept, *t *= drop.kept;
        if (Narrow<T>::value) *t = fmaf(-m.centre[c], *s, *t);
        *t *= m.b[c];
    }
    __syncthreads();
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) {
        const int first = c - c % cut.size;
        double a = 0.0, b = 0.0;
        for (int k = first; k < first + cut.size; k++) {
            a += (double)m.slope[k] * (double)m.sum[k];
            b += (double)m.slope[k] * (double)m.sum[width + k];
        }
        a *= cut.share, b *= cut.share * (double)m.b[c];
        m.a[c] = (float)(Narrow<T>::value ? a - b * (double)m.centre[c] : a);
        m.b[c] = (float)b;
    }
    __syncthreads();
}

/* What the sums say about the parameters. */
__device__ __forceinline__ void parameter_gradients(const NormBackward &op, const NormCut &cut,
                                                    const NormMemory &m, int width) {
    const NormForward &forward = op.forward;
    const int64_t side = (int64_t)blockIdx.y * cut.channels;
    float *partial = (float *)op.workspace + 2 * side;
    if (blockIdx.x % cut.cluster) return;
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) {
        const int channel = blockIdx.x / cut.cluster * cut.chunk + c;
        const float s = m.sum[c], t = m.sum[width + c];
        const float factor =
            forward.scale_shift.data ? 1.0f + element_load(forward.scale_shift, 2 * side + channel) : 1.0f;
        partial[channel] = factor * t;
        partial[cut.channels + channel] = factor * s;
        if (!op.dscale_shift.data) continue;
        element_store(op.dscale_shift, 2 * side + channel,
                      fmaf(forward.gamma[channel], t, forward.beta[channel] * s));
        element_store(op.dscale_shift, 2 * side + cut.channels + channel, s);
    }
}

/* The gradient of the per-sample bias: dx summed over the pixels. */
template <int V>
__device__ __forceinline__ void bias_gradient(const NormBackward &op, const NormCut &cut, const NormMemory &m,
                                              const NormLane &l, float (&sums)[V]) {
    norm_sum<V, 1>(sums, cut, m, l.lane, 1);
    if (blockIdx.x % cut.cluster) return;
    const int64_t at = (int64_t)blockIdx.y * cut.channels + blockIdx.x / cut.cluster * cut.chunk;
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) element_store(op.dbias, at + c, m.sum[c]);
}

/* Pass 2: dx, some pixels at a time, because `add` comes from memory. */
template <typename T, int V, bool CACHED, int TAIL>
__device__ __forceinline__ void gradient_write(const NormBackward &op, const NormCut &cut, NormDrop drop,
                                               const NormSlabs<T> &s, const NormMemory &m,
                                               const NormLane &l) {
    constexpr int BATCH = 2;
    T *dx = (T *)op.dx[l.source].data + l.x;
    const T *add = op.add[l.source].data ? (const T *)op.add[l.source].data + l.x : NULL;
    const float add_scale = op.add_scale[l.source];
    NormMap<V> map = {};
    float a[V], b[V], sums[V] = {};
    map_load<V, TAIL>(op, drop, m, l, map);
    NormMap<V> scaled = map;
    slope_scale<V>(drop, scaled);
    pack_load<float, V>(m.a + l.lane * V, a);
    pack_load<float, V>(m.b + l.lane * V, b);
    for (int first = 0; first < l.turns; first += BATCH) {
        Pack<T, V> more[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            if (add && first + i < l.turns)
                more[i] = *reinterpret_cast<const Pack<T, V> *>(add + (int64_t)(first + i) * l.x_step);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (first + i >= l.turns) break;
            float x[V], out[V], added[V] = {};
            if (add) pack_widen<T, V>(more[i], added);
            x_load<T, V, CACHED>(s, l, first + i, x);
            distance_make<T, V>(map, x);
            if (CACHED)
                pack_widen<T, V>(dy_load<T, V, CACHED>(s, l, first + i), out); /* dv by now */
            else
                pixel_gradient<T, V, CACHED, TAIL>(op, drop, map, s, l, first + i, x, out);
            gradient_finish<V>(scaled, a, b, x, add_scale, added, out, sums);
            pack_store<T, V>(dx + (int64_t)(first + i) * l.x_step, out);
        }
    }
    if (op.dbias.data) bias_gradient<V>(op, cut, m, l, sums);
}

/* Starts to fetch the block's share of the mask, [lanes][pixels of the block]. */
__device__ __forceinline__ void mask_fetch(const NormForward &op, const NormCut &cut, uint8_t *slab) {
    const int chunk = blockIdx.x / cut.cluster, begin = blockIdx.x % cut.cluster * cut.part;
    const uint8_t *from = norm_mask_at(op, cut.channels, cut.pixels, blockIdx.y, chunk * cut.chunk) + begin;
    for (int i = threadIdx.x * 16; i < cut.lanes * cut.part; i += blockDim.x * 16) {
        const int lane = i / cut.part;
        copy_begin(slab + i, from + (int64_t)lane * cut.pixels + i - lane * cut.part);
    }
}

template <typename T, int V, bool CACHED, int TAIL>
__global__ void __launch_bounds__(NORM_THREADS, NORM_BLOCKS)
    norm_backward_kernel(NormBackward op, NormCut cut, NormDrop drop) {
    extern __shared__ float4 shared[];
    const int width = norm_width(cut, V);
    const NormMemory m = norm_memory((float *)shared, width);
    const NormLane l = norm_lane<V>(op.forward, cut);
    T *slab = (T *)((float *)shared + norm_lines(blockDim.x) * width);
    const int slab_size = cut.part * cut.chunk;
    uint8_t *mask = (uint8_t *)(slab + 2 * slab_size);
    const NormSlabs<T> s = {slab,
                            slab + slab_size,
                            (const T *)op.forward.x[l.source].data + l.x,
                            (const T *)op.dy.data + l.y,
                            mask + l.lane * cut.part + (threadIdx.x >> cut.shift),
                            (int)(blockDim.x >> cut.shift)};
    if (CACHED) {
        norm_fetch<T, V>(s.x, s.x_from, l.x_step, l);
        norm_fetch<T, V>(s.dy, s.dy_from, l.y_step, l);
    }
    if (TAIL == TAIL_SILU_MASK) mask_fetch(op.forward, cut, mask);
    __pipeline_commit();
    maps_make<T>(op.forward, cut, m);
    copies_wait<0>();
    if (TAIL == TAIL_SILU_MASK) __syncthreads(); /* the mask was fetched for each other */
    sums_make<T, V, CACHED, TAIL>(op, cut, drop, s, m, l);
    means_make<T>(cut, drop, m, width);
    parameter_gradients(op, cut, m, width);
    if (op.dx[0].data || op.dx[1].data) {
        NormLane wanted = l; /* a source whose gradient nobody asks for has no pixels */
        if (!op.dx[l.source].data) wanted.turns = 0;
        gradient_write<T, V, CACHED, TAIL>(op, cut, drop, s, m, wanted);
    }
    norm_leave(cut);
}

/* dgamma and dbeta from the samples' shares [samples][2][channels]. */
__global__ void samples_sum_kernel(const float *partial, int samples, int channels, float *dgamma,
                                   float *dbeta, bool accumulate) {
    const int c = blockIdx.x * 32 + threadIdx.x, columns = 2 * channels;
    const double sum = column_total(partial, samples, columns, columns);
    if (threadIdx.y || c >= columns) return;
    float *out = c < channels ? dgamma : dbeta;
    const int channel = c < channels ? c : c - channels;
    if (out) out[channel] = (float)sum + (accumulate ? out[channel] : 0.0f);
}

template <typename T, int V> static void backward_run(Device *device, const NormBackward *op) {
    const NormForward *forward = &op->forward;
    const NormCut cut = norm_cut(forward, V, 2, cuda_attribute(device, cudaDevAttrClusterLaunch));
    const size_t mask = forward->mask ? (size_t)cut.lanes * cut.part : 0;
    size_t bytes;
    void (*kernel)(NormBackward, NormCut, NormDrop) = norm_backward_kernel<T, V, false, TAIL_ANY>;
    if (norm_fits(device, cut, V, 2 * (size_t)cut.part * cut.chunk * sizeof(T) + mask, &bytes)) {
        kernel = norm_backward_kernel<T, V, true, TAIL_ANY>;
        if constexpr (V > 1) {
            if (norm_tail(forward) == TAIL_SILU) kernel = norm_backward_kernel<T, V, true, TAIL_SILU>;
            if (norm_tail(forward) == TAIL_SILU_DROPOUT)
                kernel = norm_backward_kernel<T, V, true, TAIL_SILU_DROPOUT>;
            if constexpr (V == 8)
                if (norm_tail(forward) == TAIL_SILU_MASK)
                    kernel = norm_backward_kernel<T, V, true, TAIL_SILU_MASK>;
        }
    }
    norm_launch(device, kernel, op, forward, cut, norm_drop_make(&forward->dropout, op->dy_scale), bytes);
}

static void parameters_sum(Device *device, const NormBackward *op) {
    const int channels = norm_channels(&op->forward);
    if (!op->dgamma && !op->dbeta) return;
    samples_sum_kernel<<<blocks_for(2 * channels, 32), dim3(32, 32), 0, cuda_stream(device)>>>(
        (const float *)op->workspace, op->forward.x[0].n, channels, op->dgamma, op->dbeta, op->accumulate);
    CUDA_LAUNCHED("samples_sum");
}

void cuda_norm_backward(Device *device, const NormBackward *op) {
    norm_check(&op->forward);
    for (int i = 0; i < 2; i++)
        CHECK(same_dtype(op->forward.x[0], op->dx[i]) && same_dtype(op->forward.x[0], op->add[i]),
              "norm_backward: types differ");
    CHECK(same_dtype(op->forward.x[0], op->dy), "norm_backward: types differ");
    if (!norm_ring_backward(device, op) && !norm_small_backward(device, op))
        dtype_dispatch(op->dy.dtype, [&](auto type) {
            using T = decltype(type);
            if (norm_wide<T>(&op->forward))
                backward_run<T, Wide<T>::value>(device, op);
            else
                backward_run<T, 1>(device, op);
        });
    parameters_sum(device, op);
}
