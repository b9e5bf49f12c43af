/* Group normalisation of small images, forward: mean, then variance around it, then the result, from one
 * read into registers. */
#include "backend/cuda/norm_small.cuh"

/* Mean of the thread's group, of x + bias. */
template <typename T, int V, int W>
__device__ __forceinline__ float mean_make(const Pack<T, V> (&x)[SMALL_TURNS], const SmallCut &cut,
                                           const SmallPlace &p, const SmallMap<V> &map,
                                           float (*memory)[1][SMALL_LANES]) {
    float sums[V], total[1] = {0.0f};
#pragma unroll
    for (int k = 0; k < V; k++) sums[k] = SMALL_TURNS * map.bias[k];
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) {
        float v[V];
        pack_widen<T, V>(x[i], v);
#pragma unroll
        for (int k = 0; k < V; k++) sums[k] += v[k];
    }
#pragma unroll
    for (int k = 0; k < V; k++) total[0] += sums[k];
    group_sum<1, W>(total, cut, p, memory);
    return total[0] * cut.share;
}

/* The mean, corrected, and 1/std, from sums of d and d^2 with d = x + bias - mean. */
template <typename T, int V, int W>
__device__ __forceinline__ float2 statistics_make(const Pack<T, V> (&x)[SMALL_TURNS], float mean,
                                                  float epsilon, const SmallCut &cut, const SmallPlace &p,
                                                  const SmallMap<V> &map, float (*memory)[2][SMALL_LANES]) {
    float sums[V] = {}, away[V] = {}, total[2] = {0.0f, 0.0f};
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) {
        float v[V];
        pack_widen<T, V>(x[i], v);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float d = v[k] - (mean - map.bias[k]);
            sums[k] = fmaf(d, d, sums[k]);
            if (!Narrow<T>::value) away[k] += d;
        }
    }
#pragma unroll
    for (int k = 0; k < V; k++) total[0] += sums[k], total[1] += away[k];
    group_sum<2, W>(total, cut, p, memory);
    const float off = total[1] * cut.share, variance = fmaf(-off, off, total[0] * cut.share);
    return make_float2(mean + off, 1.0f / sqrtf(variance + epsilon));
}

/* The branch around the mask's bytes is meant: without it the compiler draws for all pixels first, and runs
 * out of registers. */
template <typename T, int V, int TAIL>
__device__ __forceinline__ void small_write(const NormForward &op, const SmallCut &cut, NormDrop drop,
                                            const SmallPlace &p, const Pack<T, V> (&x)[SMALL_TURNS],
                                            const float (&centre)[V], const float (&slope)[V],
                                            const float (&offset)[V]) {
    RandomKey key = {};
    if (tail_drops<TAIL>(drop)) key = norm_drop_key(op.dropout, p.sample);
    T *y = (T *)op.y.data + p.y;
    uint8_t *mask = op.mask ? norm_mask_at(op, cut.channels, cut.pixels, p.sample, p.first) + p.pixel : NULL;
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) {
        float v[V];
        pack_widen<T, V>(x[i], v);
#pragma unroll
        for (int k = 0; k < V; k++)
            v[k] = activation_value<T>(tail_activation<TAIL>(op),
                                       fmaf(Narrow<T>::value ? v[k] : v[k] - centre[k], slope[k], offset[k]));
        if (tail_drops<TAIL>(drop)) {
            const uint32_t element = (p.pixel + i * SMALL_ROWS) * cut.channels + p.first;
            const uint32_t kept = norm_drop<V>(key, drop, element, v);
            if (V == 8 && mask) mask[i * SMALL_ROWS] = (uint8_t)kept;
        }
        pack_store<T, V>(y + (int64_t)i * p.y_step, v);
    }
}

template <typename T, int V, int W, int TAIL>
__global__ void __launch_bounds__(SMALL_THREADS, 5)
    small_forward_kernel(NormForward op, SmallCut cut, NormDrop drop) {
    __shared__ float first[W][1][SMALL_LANES], second[W][2][SMALL_LANES];
    const SmallPlace p = small_place<V, W>(op, cut);
    if (p.sample >= op.x[0].n) return; /* a whole warp, which nobody waits for */
    Pack<T, V> x[SMALL_TURNS];
    const T *from = (const T *)op.x[p.source].data + p.x;
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) x[i] = pack_fetch<T, V>(from + (int64_t)i * p.x_step);
    SmallMap<V> map;
    small_parameters<V>(op, cut, p, map);
    const float mean = mean_make<T, V, W>(x, cut, p, map, first);
    packs_renew(x);
    const float2 found = statistics_make<T, V, W>(x, mean, op.epsilon, cut, p, map, second);
    packs_renew(x);
    float centre[V], slope[V];
#pragma unroll
    for (int k = 0; k < V; k++) {
        centre[k] = found.x - map.bias[k];
        slope[k] = found.y * map.gain[k];
        if (Narrow<T>::value) map.offset[k] = fmaf(-centre[k], slope[k], map.offset[k]);
    }
    if (p.warp == 0 && threadIdx.x % 32 < SMALL_LANES && p.lane % cut.lanes == 0)
        *reinterpret_cast<float2 *>(op.statistics + small_group(op, cut, p.sample, p.first)) = found;
    if (!p.rests) small_write<T, V, TAIL>(op, cut, drop, p, x, centre, slope, map.offset);
}

/* Of fp32, which is not in a hurry, one kernel for all tails. */
template <typename T, int W> static auto small_forward_choose(const NormForward *op) {
    constexpr int V = Wide<T>::value;
    if constexpr (Narrow<T>::value) {
        if (norm_tail(op) == TAIL_SILU) return small_forward_kernel<T, V, W, TAIL_SILU>;
        if (norm_tail(op) != TAIL_ANY) return small_forward_kernel<T, V, W, TAIL_SILU_DROPOUT>;
    }
    return small_forward_kernel<T, V, W, TAIL_ANY>;
}

bool norm_small_forward(Device *device, const NormForward *op) {
    bool taken = false;
    dtype_dispatch(op->x[0].dtype, [&](auto type) {
        using T = decltype(type);
        SmallCut cut;
        if (!(taken = small_cut<Wide<T>::value>(op, &cut))) return;
        small_launch(device,
                     cut.pixels == SMALL_PIXELS ? small_forward_choose<T, 1>(op)
                                                : small_forward_choose<T, SMALL_WARPS>(op),
                     op, cut, norm_drop_make(&op->dropout, 1.0f));
    });
    return taken;
}
