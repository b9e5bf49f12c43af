/* Group normalisation, forward and backward, of images of 64 and 256 pixels whose groups are whole 16-byte
 * accesses: a slab (four accesses of a pixel) lies in the registers of one warp, or of the four of a block,
 * eight accesses a thread. At these sizes the kernels of norm.cu and norm_backward.cu wait most of the time:
 * for their own barriers, and for each other's shared memory. Here sums go from register to register, and
 * only those of four warps through shared memory. Formulas and roundings are those of norm_backward.cu.
 */
#include "backend/cuda/norm.cuh"

enum { SMALL_THREADS = 128, SMALL_WARPS = 4, SMALL_LANES = 4, SMALL_ROWS = 8, SMALL_TURNS = 8 };
enum { SMALL_PIXELS = SMALL_ROWS * SMALL_TURNS }; /* of a warp */

/* How a layer is cut into slabs. */
typedef struct SmallCut {
    int channels, pixels, size; /* size: channels of a group */
    int lanes;                  /* neighbouring threads that hold a group's channels: 1, 2 or 4 */
    int chunks, slabs;          /* slabs of a sample, and of all */
    float share;                /* 1 / (elements of a group) */
} SmallCut;

/* Where a thread's V channels of its eight pixels lie. */
struct SmallPlace {
    int sample, lane, first, source, pixel, warp; /* first: channel of the concatenation; warp: of the slab */
    int64_t x, y;
    int x_step, y_step;
};

template <int V, int W>
__device__ __forceinline__ SmallPlace small_place(const NormForward &op, const SmallCut &cut) {
    SmallPlace p;
    const int warp = blockIdx.x * SMALL_WARPS + threadIdx.x / 32, slab = warp / W;
    p.warp = warp % W;
    p.sample = slab / cut.chunks;
    p.lane = threadIdx.x % SMALL_LANES;
    p.first = (slab - p.sample * cut.chunks) * SMALL_LANES * V + p.lane * V;
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

/* value[k] summed over the slab's pixels and the channels of the thread's group; `memory` is for this call
 * alone. */
template <int K, int W>
__device__ __forceinline__ void group_sum(float (&value)[K], const SmallCut &cut, const SmallPlace &p,
                                          float (*memory)[K][SMALL_LANES]) {
#pragma unroll
    for (int k = 0; k < K; k++) {
        for (int mask = 16; mask >= SMALL_LANES; mask /= 2)
            value[k] += __shfl_xor_sync(0xffffffffu, value[k], mask);
        if (cut.lanes > 1) value[k] += __shfl_xor_sync(0xffffffffu, value[k], 1);
        if (cut.lanes > 2) value[k] += __shfl_xor_sync(0xffffffffu, value[k], 2);
        if (W > 1 && threadIdx.x % 32 < SMALL_LANES) memory[p.warp][k][p.lane] = value[k];
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

/* ---- forward ---- */

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
    packs_fetch<T, V>((const T *)op.x[p.source].data + p.x, p.x_step, x);
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
    small_write<T, V, TAIL>(op, cut, drop, p, x, centre, slope, map.offset);
}

/* ---- backward ---- */

/* Sums over the slab's pixels of value[j * V + k]: calls write(channel of the chunk, sums of the K values)
 * once for each channel. `memory` is for this call alone. */
template <int V, int K, int W, typename Write>
__device__ __forceinline__ void channel_sums(float (&value)[K * V], const SmallPlace &p,
                                             float (*memory)[K][V * SMALL_LANES], Write write) {
    constexpr int WIDTH = SMALL_LANES * V;
    const int own = threadIdx.x / 32, first = W > 1 ? 0 : own;
    NormFolded f = {0, K * V, true};
    norm_fold<K * V, 16>(value, 2, f);
#pragma unroll
    for (int k = 0; k < K * V; k++)
        if (k < f.count && f.writes) {
            const int place = f.first + k;
            memory[own][place / V][p.lane * V + place % V] = value[k];
        }
    if (W > 1)
        __syncthreads();
    else
        __syncwarp();
    for (int c = threadIdx.x % (32 * W); c < WIDTH; c += 32 * W) {
        float total[K] = {};
#pragma unroll
        for (int warp = 0; warp < W; warp++)
            for (int j = 0; j < K; j++) total[j] += memory[first + warp][j][c];
        write(c, total);
    }
}

/* The affine maps backward: v = slope distance + offset. */
template <int V> struct SmallSlope { float centre[V], slope[V], offset[V], inverse; };

template <typename T, int V>
__device__ __forceinline__ void slope_make(const NormForward &op, const SmallCut &cut, const SmallPlace &p,
                                           SmallSlope<V> &s) {
    SmallMap<V> map;
    small_parameters<V>(op, cut, p, map);
    const float2 found =
        *reinterpret_cast<const float2 *>(op.statistics + small_group(op, cut, p.sample, p.first));
    s.inverse = found.y;
#pragma unroll
    for (int k = 0; k < V; k++) {
        s.centre[k] = found.x - map.bias[k];
        s.slope[k] = found.y * map.gain[k];
        s.offset[k] = Narrow<T>::value ? fmaf(-s.centre[k], s.slope[k], map.offset[k]) : map.offset[k];
    }
}

/* dy becomes dv; S and the sum of dv times distance in sums. */
template <typename T, int V, int TAIL>
__device__ __forceinline__ void
small_gradient(const NormBackward &op, const SmallCut &cut, NormDrop drop, const SmallPlace &p,
               const SmallSlope<V> &s, const Pack<T, V> (&x)[SMALL_TURNS], Pack<T, V> (&dy)[SMALL_TURNS],
               const uint8_t (&mask)[SMALL_TURNS], float (&sums)[2 * V]) {
    RandomKey key = {};
    if (TAIL != TAIL_SILU_MASK && tail_drops<TAIL>(drop)) key = norm_drop_key(op.forward.dropout, p.sample);
#pragma unroll
    for (int i = 0; i < SMALL_TURNS; i++) {
        float d[V], dv[V];
        pack_widen<T, V>(x[i], d);
        pack_widen<T, V>(dy[i], dv);
        if (TAIL == TAIL_SILU_MASK)
            norm_keep<V>(mask[i], drop, dv);
        else if (tail_drops<TAIL>(drop))
            norm_drop<V>(key, drop, (uint32_t)((p.pixel + i * SMALL_ROWS) * cut.channels + p.first), dv);
#pragma unroll
        for (int k = 0; k < V; k++) {
            if (!Narrow<T>::value) d[k] -= s.centre[k];
            if (!tail_drops<TAIL>(drop)) dv[k] *= op.dy_scale;
            dv[k] *=
                activation_slope<T>(tail_activation<TAIL>(op.forward), fmaf(d[k], s.slope[k], s.offset[k]));
            sums[k] += dv[k];
            sums[V + k] = fmaf(dv[k], d[k], sums[V + k]);
        }
        pack_store<T, V>(dy[i].lane, dv);
    }
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

/* dx = slope dv - b distance - a; dy holds dv. Leaves the sums of dx. */
template <typename T, int V>
__device__ __forceinline__ void small_gradient_write(const NormBackward &op, const SmallPlace &p,
                                                     const SmallSlope<V> &s, float a, float b,
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

template <typename T, int V, int W, int TAIL>
__global__ void __launch_bounds__(SMALL_THREADS, 3)
    small_backward_kernel(NormBackward op, SmallCut cut, NormDrop drop) {
    __shared__ float groups[W][2][SMALL_LANES], channels[SMALL_WARPS][2][V * SMALL_LANES],
        biases[SMALL_WARPS][1][V * SMALL_LANES];
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
    SmallSlope<V> s;
    slope_make<T, V>(op.forward, cut, p, s);
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
    group_sum<2, W>(means, cut, p, groups);
    const int begin = p.first - p.lane * V;
    channel_sums<V, 2, W>(sums, p, channels, [&](int c, const float(&total)[2]) {
        small_parameter_gradient<T>(op, cut, p.sample, begin + c, total[0], total[1]);
    });
    if (!op.dx[0].data && !op.dx[1].data) return;
    if (op.dx[p.source].data)
        small_gradient_write<T, V>(op, p, s, means[0] * cut.share,
                                   means[1] * cut.share * s.inverse * s.inverse, x, dy, sum);
    if (op.dbias.data)
        channel_sums<V, 1, W>(sum, p, biases, [&](int c, const float(&total)[1]) {
            element_store(op.dbias, (int64_t)p.sample * cut.channels + begin + c, total[0]);
        });
}

/* ---- launching ---- */

/* Whether slabs are whole: images of 64 or 256 pixels, and groups of one, two or four lanes. */
template <int V> static bool small_cut(const NormForward *op, SmallCut *cut) {
    const int channels = norm_channels(op), size = channels / op->groups, pixels = op->x[0].h * op->x[0].w;
    if (pixels != SMALL_PIXELS && pixels != SMALL_WARPS * SMALL_PIXELS) return false;
    if (channels % (SMALL_LANES * V) || op->x[0].c % V || size % V || SMALL_LANES % (size / V)) return false;
    *cut = SmallCut{channels, pixels, size, size / V, channels / (SMALL_LANES * V), 0, 0};
    cut->slabs = op->x[0].n * cut->chunks;
    cut->share = (float)(1.0 / ((double)size * pixels));
    return true;
}

template <typename Op>
static void small_launch(Device *device, void (*kernel)(Op, SmallCut, NormDrop), const Op *op,
                         const SmallCut &cut, NormDrop drop) {
    const int64_t warps = (int64_t)cut.slabs * (cut.pixels / SMALL_PIXELS);
    kernel<<<blocks_for(warps, SMALL_WARPS), SMALL_THREADS, 0, cuda_stream(device)>>>(*op, cut, drop);
    CUDA_LAUNCHED("norm of small images");
}

/* Of fp32, which is not in a hurry, one kernel for all tails. */
template <typename T, int W> static auto small_forward_choose(const NormForward *op) {
    constexpr int V = Wide<T>::value;
    if constexpr (Narrow<T>::value) {
        if (norm_tail(op) == TAIL_SILU) return small_forward_kernel<T, V, W, TAIL_SILU>;
        if (norm_tail(op) == TAIL_SILU_DROPOUT) return small_forward_kernel<T, V, W, TAIL_SILU_DROPOUT>;
    }
    return small_forward_kernel<T, V, W, TAIL_ANY>;
}

template <typename T, int W> static auto small_backward_choose(const NormForward *op) {
    constexpr int V = Wide<T>::value;
    if constexpr (Narrow<T>::value) {
        if (norm_tail(op) == TAIL_SILU) return small_backward_kernel<T, V, W, TAIL_SILU>;
        if (norm_tail(op) == TAIL_SILU_DROPOUT)
            return op->mask ? small_backward_kernel<T, V, W, TAIL_SILU_MASK>
                            : small_backward_kernel<T, V, W, TAIL_SILU_DROPOUT>;
    }
    return small_backward_kernel<T, V, W, TAIL_ANY>;
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
