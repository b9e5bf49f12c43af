/* Group normalisation of small images, backward: x and dy are read once, into registers, where dy becomes dv.
 */
#include "backend/cuda/norm_gradient.cuh"
#include "backend/cuda/norm_small.cuh"

/* Sums over the block's pixels of value[j * V + k]: calls write(channel of the chunk, sums of the K values)
 * once for each channel. `memory` is for this call alone. */
template <int V, int K, int W, typename Write>
__device__ __forceinline__ void channel_sums(float (&value)[K * V], const SmallCut &cut,
                                             float (*memory)[K][V * SMALL_LANES], Write write) {
    constexpr int WIDTH = SMALL_LANES * V;
    const int own = threadIdx.x / 32, first = W > 1 ? 0 : own;
    norm_fold_store<V, K>(value, 2, threadIdx.x % SMALL_LANES, &memory[own][0][0], WIDTH);
    if (W > 1)
        __syncthreads();
    else
        __syncwarp();
    for (int c = threadIdx.x % (32 * W); c < cut.width; c += 32 * W) {
        float total[K] = {};
#pragma unroll
        for (int warp = 0; warp < W; warp++)
            for (int j = 0; j < K; j++) total[j] += memory[first + warp][j][c];
        write(c, total);
    }
}

/* The affine maps backward; returns 1/std. */
template <typename T, int V>
__device__ __forceinline__ float slope_make(const NormForward &op, const SmallCut &cut, const SmallPlace &p,
                                            NormMap<V> &s) {
    SmallMap<V> map;
    small_parameters<V>(op, cut, p, map);
    const float2 found =
        *reinterpret_cast<const float2 *>(op.statistics + small_group(op, cut, p.sample, p.first));
#pragma unroll
    for (int k = 0; k < V; k++) {
        s.centre[k] = found.x - map.bias[k];
        s.slope[k] = found.y * map.gain[k];
        s.offset[k] = Narrow<T>::value ? fmaf(-s.centre[k], s.slope[k], map.offset[k]) : map.offset[k];
    }
    return found.y;
}

/* dy becomes dv; S and the sum of dv times distance in sums. */
template <typename T, int V, int TAIL>
__device__ __forceinline__ void
small_gradient(const NormBackward &op, const SmallCut &cut, NormDrop drop, const SmallPlace &p, NormMap<V> &s,
               const Pack<T, V> (&x)[SMALL_TURNS], Pack<T, V> (&dy)[SMALL_TURNS],
               const uint8_t (&mask)[SMALL_TURNS], float (&sums)[2 * V]) {
    if (TAIL != TAIL_SILU_MASK && tail_drops<TAIL>(drop)) s.key = norm_drop_key(op.forward.dropout, p.sample);
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) {
        float d[V], dv[V];
        pack_widen<T, V>(x[i], d);
        distance_make<T, V>(s, d);
        gradient_make<T, V, TAIL>(op, drop, s, mask[i], (p.pixel + i * SMALL_ROWS) * cut.channels + p.first,
                                  d, dy[i], dv);
        gradient_sum<V>(d, dv, sums);
        pack_store<T, V>(dy[i].lane, dv);
    }
#pragma unroll
    for (int k = 0; k < 2 * V; k++) sums[k] *= drop.kept;
}

/* dgamma's and dbeta's shares of the sample, and dscale, dshift, of one channel. */
template <typename T>
__device__ __forceinline__ void small_parameter_gradient(const NormBackward &op, const SmallCut &cut,
                                                         int sample, int channel, float s, float t) {
    const NormForward &forward = op.forward;
    const int64_t side = (int64_t)sample * cut.channels;
    const float *found = forward.statistics + small_group(forward, cut, sample, channel);
    const float bias = forward.bias.data ? element_load(forward.bias, side + channel) : 0.0f;
    if (Narrow<T>::value) t = fmaf(bias - found[0], s, t);
    t *= found[1];
    const float factor =
        forward.scale_shift.data ? 1.0f + element_load(forward.scale_shift, 2 * side + channel) : 1.0f;
    float *partial = (float *)op.workspace + 2 * side;
    partial[channel] = factor * t;
    partial[cut.channels + channel] = factor * s;
    if (!op.dscale_shift.data) return;
    element_store(op.dscale_shift, 2 * side + channel,
                  fmaf(forward.gamma[channel], t, forward.beta[channel] * s));
    element_store(op.dscale_shift, 2 * side + cut.channels + channel, s);
}

/* Asks for the gradient that will be added, so that it is in the L2 cache by then. */
template <typename T>
__device__ __forceinline__ void addition_prefetch(const NormBackward &op, const SmallPlace &p) {
    const T *add = (const T *)op.add[p.source].data;
    if (!add) return;
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) cache_prefetch(add + p.x + (int64_t)i * p.x_step);
}

/* dx = slope dv - b distance - a; dy holds dv. Leaves the sums of dx. */
template <typename T, int V>
__device__ __forceinline__ void small_gradient_write(const NormBackward &op, const SmallPlace &p,
                                                     const NormMap<V> &s, float a, float b,
                                                     const Pack<T, V> (&x)[SMALL_TURNS],
                                                     const Pack<T, V> (&dv)[SMALL_TURNS], float (&sums)[V]) {
    constexpr int BATCH = 4;
    T *dx = (T *)op.dx[p.source].data + p.x;
    const T *add = op.add[p.source].data ? (const T *)op.add[p.source].data + p.x : NULL;
    const float add_scale = op.add_scale[p.source];
#pragma unroll
    for (int first = 0; first < SMALL_TURNS; first += BATCH) {
        Pack<T, V> more[BATCH];
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            if (add) more[i] = *reinterpret_cast<const Pack<T, V> *>(add + (int64_t)(first + i) * p.x_step);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            float d[V], out[V], added[V] = {};
            if (add) pack_widen<T, V>(more[i], added);
            pack_widen<T, V>(x[first + i], d);
            pack_widen<T, V>(dv[first + i], out);
#pragma unroll
            for (int k = 0; k < V; k++) {
                out[k] = fmaf(-(d[k] - s.centre[k]), b, fmaf(s.slope[k], out[k], -a));
                sums[k] += out[k];
                out[k] = fmaf(add_scale, added[k], out[k]);
            }
            pack_store<T, V>(dx + (int64_t)(first + i) * p.x_step, out);
        }
    }
}

/* Sums of warps. */
template <int V, int W> struct SmallMemory {
    float groups[W][2][SMALL_LANES], channels[SMALL_WARPS][2][V * SMALL_LANES],
        biases[SMALL_WARPS][1][V * SMALL_LANES];
};

/* `means` over the whole group, and the parameters' gradients from `sums`. */
template <typename T, int V, int W>
__device__ __forceinline__ void small_means(const NormBackward &op, const SmallCut &cut, const SmallPlace &p,
                                            float (&means)[2], float (&sums)[2 * V], SmallMemory<V, W> &m) {
    group_sum<2, W>(means, cut, p, m.groups);
    channel_sums<V, 2, W>(sums, cut, m.channels, [&](int c, const float(&total)[2]) {
        small_parameter_gradient<T>(op, cut, p.sample, p.first - p.lane * V + c, total[0], total[1]);
    });
}

/* The gradient of the bias before the statistics: sums of dx. */
template <int V, int W>
__device__ __forceinline__ void small_bias(const NormBackward &op, const SmallCut &cut, const SmallPlace &p,
                                           float (&sum)[V], SmallMemory<V, W> &m) {
    channel_sums<V, 1, W>(sum, cut, m.biases, [&](int c, const float(&total)[1]) {
        element_store(op.dbias, (int64_t)p.sample * cut.channels + p.first - p.lane * V + c, total[0]);
    });
}

template <typename T, int V, int W, int TAIL>
__global__ void __launch_bounds__(SMALL_THREADS, 3)
    small_backward_kernel(NormBackward op, SmallCut cut, NormDrop drop) {
    __shared__ SmallMemory<V, W> memory;
    const SmallPlace p = small_place<V, W>(op.forward, cut);
    if (p.sample >= op.dy.n) return; /* a whole warp, which nobody waits for */
    Pack<T, V> x[SMALL_TURNS], dy[SMALL_TURNS];
    uint8_t mask[SMALL_TURNS] = {};
    packs_fetch<T, V>((const T *)op.forward.x[p.source].data + p.x, p.x_step, x);
    packs_fetch<T, V>((const T *)op.dy.data + p.y, p.y_step, dy);
    if (TAIL == TAIL_SILU_MASK) {
        const uint8_t *from = norm_mask_at(op.forward, cut.channels, cut.pixels, p.sample, p.first) + p.pixel;
#pragma unroll
        for (int i = 0; i < SMALL_TURNS; i++) mask[i] = from[i * SMALL_ROWS];
    }
    addition_prefetch<T>(op, p);
    NormMap<V> s = {};
    const float inverse = slope_make<T, V>(op.forward, cut, p, s);
    float sums[2 * V] = {}, means[2] = {0.0f, 0.0f}, sum[V] = {};
    small_gradient<T, V, TAIL>(op, cut, drop, p, s, x, dy, mask, sums);
    packs_renew(x);
    packs_renew(dy);
#pragma unroll
    for (int k = 0; k < V; k++) {
        means[0] = fmaf(s.slope[k], sums[k], means[0]);
        means[1] = fmaf(s.slope[k], Narrow<T>::value ? fmaf(-s.centre[k], sums[k], sums[V + k]) : sums[V + k],
                        means[1]);
    }
    small_means<T, V, W>(op, cut, p, means, sums, memory);
    slope_scale<V>(drop, s);
    if (op.dx[p.source].data && !p.rests)
        small_gradient_write<T, V>(op, p, s, means[0] * cut.share, means[1] * cut.share * inverse * inverse,
                                   x, dy, sum);
    if (op.dbias.data && (op.dx[0].data || op.dx[1].data)) small_bias<V, W>(op, cut, p, sum, memory);
}

template <typename T, int W> static auto small_backward_choose(const NormForward *op) {
    constexpr int V = Wide<T>::value;
    if constexpr (Narrow<T>::value) {
        if (norm_tail(op) == TAIL_SILU) return small_backward_kernel<T, V, W, TAIL_SILU>;
        if (norm_tail(op) == TAIL_SILU_DROPOUT) return small_backward_kernel<T, V, W, TAIL_SILU_DROPOUT>;
        if (norm_tail(op) == TAIL_SILU_MASK) return small_backward_kernel<T, V, W, TAIL_SILU_MASK>;
    }
    return small_backward_kernel<T, V, W, TAIL_ANY>;
}

bool norm_small_backward(Device *device, const NormBackward *op) {
    bool taken = false;
    dtype_dispatch(op->dy.dtype, [&](auto type) {
        using T = decltype(type);
        SmallCut cut;
        if (!(taken = small_cut<Wide<T>::value>(&op->forward, &cut))) return;
        small_launch(device,
                     cut.pixels == SMALL_PIXELS ? small_backward_choose<T, 1>(&op->forward)
                                                : small_backward_choose<T, SMALL_WARPS>(&op->forward),
                     op, cut, norm_drop_make(&op->forward.dropout, op->dy_scale));
    });
    return taken;
}
