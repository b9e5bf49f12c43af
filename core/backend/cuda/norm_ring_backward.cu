/* Group normalisation backward of images of 32x32. Of each unit (norm_ring.cuh)
 *
 *   pass 1   reads x and dy, makes dv and its sums. dv stays in registers, and dy's place is fetched again;
 *   barrier  every warp adds the warps' sums for itself, and makes A and B of its channels' groups;
 *   pass 2   reads x and what is to be added, writes dx. Their places are fetched again.
 *
 * Pass 1 waits for x of its pixel, behind which RING_TURNS - 1 groups of copies are always under way: x of
 * the pixels that follow, then dy of the next unit. What threads fetch or make for each other (the mask's
 * bytes, the affine maps) they have a unit earlier, before its barrier, the only one of a unit; what a unit
 * leaves in shared memory for others, the next but one overwrites at the earliest. Formulas are those of
 * norm_backward.cu.
 */
#include "backend/cuda/norm_gradient.cuh"
#include "backend/cuda/norm_ring.cuh"

/* What the passes know of a unit's channels. */
template <int WIDTH> struct RingSide {
    float centre[WIDTH], slope[WIDTH], offset[WIDTH], inverse[WIDTH], factor[WIDTH], gamma[WIDTH],
        beta[WIDTH];
};

/* Shared memory beside the places. What has [2] or [4] belongs to units in turn. */
template <int V> struct RingMemory {
    static constexpr int WIDTH = V * RING_LANES;
    RingSide<WIDTH> side[4];
    float sums[2][RING_WARPS][2][WIDTH], biases[2][RING_WARPS][1][WIDTH];
    float a[RING_WARPS][WIDTH], b[RING_WARPS][WIDTH];
    uint8_t mask[2][RING_LANES][RING_MASK]; /* last: present only with a mask */
};

/* The thread's places, RING_THREADS apart. */
template <typename T, int V> struct RingSlots { Pack<T, V> *x, *dy, *add; };

/* ---- fetching ---- */

/* What pass 1 fetches of the unit that follows: the thread's pixels of dy, and a share of the mask. */
template <typename T, int V> struct FirstFetch {
    const T *dy; /* NULL: nothing */
    int step;
    const uint8_t *mask; /* NULL: the thread has no share */
    uint8_t *mask_to;
};

template <typename T, int V, int TAIL>
__device__ __forceinline__ FirstFetch<T, V> first_fetch_make(const NormBackward &op, const RingCut &cut,
                                                             const RingPlace &p, uint8_t (*mask)[RING_MASK]) {
    FirstFetch<T, V> f = {NULL, RING_ROWS * cut.channels, NULL, NULL};
    if (!p.there) return f;
    const int pixel = p.sample * RING_PIXELS + threadIdx.x / RING_LANES;
    f.dy = (const T *)op.dy.data + (int64_t)pixel * cut.channels + p.chunk + threadIdx.x % RING_LANES * V;
    if (TAIL == TAIL_SILU_MASK && threadIdx.x < RING_LANES * RING_PIXELS / 16) {
        const int lane = threadIdx.x / (RING_PIXELS / 16), piece = threadIdx.x % (RING_PIXELS / 16) * 16;
        const int channel = p.chunk + lane * V;
        f.mask = norm_mask_at(op.forward, cut.channels, RING_PIXELS, p.sample, channel) + piece;
        f.mask_to = mask[lane] + piece;
    }
    return f;
}

template <typename T, int V, int TAIL>
__device__ __forceinline__ void first_fetch(const FirstFetch<T, V> &f, const RingSlots<T, V> &slots, int i) {
    if (f.dy) copy_begin(slots.dy + i * RING_THREADS, f.dy + (int64_t)i * f.step);
    if (TAIL == TAIL_SILU_MASK && i == 0 && f.mask) copy_begin(f.mask_to, f.mask);
    __pipeline_commit();
}

/* What pass 2 fetches of the unit that follows: the thread's pixels of x, and of what is to be added. */
template <typename T, int V> struct SecondFetch {
    const T *x, *add; /* NULL: nothing */
    int step;
};

template <typename T, int V>
__device__ __forceinline__ SecondFetch<T, V> second_fetch_make(const NormBackward &op, const RingPlace &p) {
    if (!p.there) return SecondFetch<T, V>{NULL, NULL, 0};
    const RingSource from = ring_source<V>(op.forward, p);
    const T *add = (const T *)op.add[from.source].data;
    return SecondFetch<T, V>{(const T *)op.forward.x[from.source].data + from.at, add ? add + from.at : NULL,
                             from.step};
}

template <typename T, int V>
__device__ __forceinline__ void second_fetch(const SecondFetch<T, V> &f, const RingSlots<T, V> &slots,
                                             int i) {
    if (f.x) copy_begin(slots.x + i * RING_THREADS, f.x + (int64_t)i * f.step);
    if (f.add) copy_begin(slots.add + i * RING_THREADS, f.add + (int64_t)i * f.step);
    __pipeline_commit();
}

/* ---- parameters, a channel a thread ---- */

struct RingChannel {
    float gamma, beta, factor, shift, bias, mean, inverse;
};

template <int WIDTH>
__device__ __forceinline__ void channel_load(const NormForward &op, const RingCut &cut, const RingPlace &p,
                                             RingChannel &c) {
    if (threadIdx.x >= WIDTH || !p.there) return;
    const int channel = p.chunk + threadIdx.x;
    const int64_t side = (int64_t)p.sample * cut.channels;
    const bool scaled = op.scale_shift.data;
    const float *group = op.statistics + ((int64_t)p.sample * op.groups + channel / cut.size) * 2;
    c.gamma = op.gamma[channel], c.beta = op.beta[channel];
    c.factor = scaled ? element_load(op.scale_shift, 2 * side + channel) : 0.0f;
    c.shift = scaled ? element_load(op.scale_shift, 2 * side + cut.channels + channel) : 0.0f;
    c.bias = op.bias.data ? element_load(op.bias, side + channel) : 0.0f;
    c.mean = group[0], c.inverse = group[1];
}

template <typename T, int WIDTH>
__device__ __forceinline__ void channel_store(const RingChannel &c, RingSide<WIDTH> &to) {
    const int i = threadIdx.x;
    if (i >= WIDTH) return;
    const float factor = 1.0f + c.factor, slope = c.inverse * (c.gamma * factor), centre = c.mean - c.bias,
                offset = fmaf(c.beta, factor, c.shift);
    to.centre[i] = centre, to.slope[i] = slope;
    to.offset[i] = Narrow<T>::value ? fmaf(-centre, slope, offset) : offset;
    to.inverse[i] = c.inverse, to.factor[i] = factor, to.gamma[i] = c.gamma, to.beta[i] = c.beta;
}

/* What the sums of channel c of the unit say about the parameters. */
template <int WIDTH>
__device__ __forceinline__ void parameters_write(const NormBackward &op, const RingCut &cut,
                                                 const RingPlace &p, const RingSide<WIDTH> &side, int c,
                                                 float s, float t) {
    const int64_t at = 2 * (int64_t)p.sample * cut.channels + p.chunk + c;
    float *partial = (float *)op.workspace + at;
    partial[0] = side.factor[c] * t;
    partial[cut.channels] = side.factor[c] * s;
    if (!op.dscale_shift.data) return;
    element_store(op.dscale_shift, at, fmaf(side.gamma[c], t, side.beta[c] * s));
    element_store(op.dscale_shift, at + cut.channels, s);
}

/* Behind the barrier: every warp for itself, a channel a thread, S, T, and A and B as pass 2 wants them (dx =
 * slope dv - b distance - a); the first warp writes the parameters' gradients. */
template <typename T, int V>
__device__ __forceinline__ void means_make(const NormBackward &op, const RingCut &cut, NormDrop drop,
                                           const RingPlace &p, const RingSide<V * RING_LANES> &side,
                                           RingMemory<V> &m, int turn) {
    constexpr int WIDTH = V * RING_LANES;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, c = lane % WIDTH;
    const float inverse = side.inverse[c], centre = side.centre[c];
    float s = 0.0f, t = 0.0f;
#pragma unroll
    for (int i = 0; i < RING_WARPS; i++) s += m.sums[turn][i][0][c], t += m.sums[turn][i][1][c];
    if (Narrow<T>::value) t = fmaf(-centre, s, t);
    s *= drop.kept, t *= drop.kept * inverse;
    float a = side.slope[c] * s, b = side.slope[c] * t;
    for (int step = 1; step < cut.size; step *= 2) {
        a += __shfl_xor_sync(0xffffffffu, a, step);
        b += __shfl_xor_sync(0xffffffffu, b, step);
    }
    a *= cut.share, b *= cut.share * inverse;
    if (lane < WIDTH) {
        m.a[warp][c] = Narrow<T>::value ? fmaf(-b, centre, a) : a;
        m.b[warp][c] = b;
    }
    __syncwarp();
    if (threadIdx.x < WIDTH) parameters_write<WIDTH>(op, cut, p, side, c, s, t);
}

/* Behind the next barrier: the gradient of the per-sample bias, dx summed over the pixels. */
template <int V>
__device__ __forceinline__ void biases_write(const NormBackward &op, const RingCut &cut, int unit,
                                             const RingMemory<V> &m, int turn) {
    constexpr int WIDTH = V * RING_LANES;
    if (!op.dbias.data || unit < 0 || threadIdx.x >= WIDTH) return;
    float sum = 0.0f;
    for (int i = 0; i < RING_WARPS; i++) sum += m.biases[turn][i][0][threadIdx.x];
    element_store(op.dbias, (int64_t)unit * WIDTH + threadIdx.x, sum);
}

/* ---- passes ---- */

/* Pass 1: dv of the unit, and this warp's S and sums of dv times distance. */
template <typename T, int V, int TAIL>
__device__ __forceinline__ void sums_make(const NormBackward &op, const RingCut &cut, NormDrop drop,
                                          const NormMap<V> &map, const RingPlace &now, const RingPlace &next,
                                          const RingSlots<T, V> &slots, int turn, RingMemory<V> &m,
                                          Pack<T, V> (&dv)[RING_TURNS]) {
    const int lane = threadIdx.x % RING_LANES, pixel = threadIdx.x / RING_LANES;
    const int element = pixel * cut.channels + now.chunk + lane * V;
    const FirstFetch<T, V> fetch = first_fetch_make<T, V, TAIL>(op, cut, next, m.mask[!turn]);
    float sums[2 * V] = {};
#pragma unroll
    for (int i = 0; i < RING_TURNS; i++) {
        float x[V], gradient[V];
        copies_wait<RING_TURNS - 1>();
        pack_load<T, V>(slots.x[i * RING_THREADS].lane, x);
        const Pack<T, V> dy = slots.dy[i * RING_THREADS];
        first_fetch<T, V, TAIL>(fetch, slots, i);
        const uint32_t bits = TAIL == TAIL_SILU_MASK ? m.mask[turn][lane][pixel + i * RING_ROWS] : 0;
        distance_make<T, V>(map, x);
        gradient_make<T, V, TAIL>(op, drop, map, bits, element + i * RING_ROWS * cut.channels, x, dy,
                                  gradient);
        gradient_sum<V>(x, gradient, sums);
        pack_store<T, V>(dv[i].lane, gradient);
    }
    norm_fold_store<V, 2>(sums, RING_SHIFT, lane, m.sums[turn][threadIdx.x / 32][0], V * RING_LANES);
}

/* Pass 2: dx of the unit, and its sums. */
template <typename T, int V, bool ADDS>
__device__ __forceinline__ void gradient_write(const NormMap<V> &map, const float (&a)[V],
                                               const float (&b)[V], const SecondFetch<T, V> &fetch,
                                               const RingSlots<T, V> &slots, float add_scale, T *dx, int step,
                                               const Pack<T, V> (&dv)[RING_TURNS], float (&sums)[V]) {
#pragma unroll
    for (int i = 0; i < RING_TURNS; i++) {
        float x[V], out[V], added[V] = {};
        pack_load<T, V>(slots.x[i * RING_THREADS].lane, x);
        if (ADDS) pack_load<T, V>(slots.add[i * RING_THREADS].lane, added);
        second_fetch<T, V>(fetch, slots, i);
        distance_make<T, V>(map, x);
        pack_widen<T, V>(dv[i], out);
        gradient_finish<V>(map, a, b, x, ADDS ? add_scale : 0.0f, added, out, sums);
        if (dx) pack_store<T, V>(dx + (int64_t)i * step, out);
    }
}

template <typename T, int V>
__device__ __forceinline__ void
second_pass(const NormBackward &op, const NormMap<V> &map, const RingPlace &now, const RingPlace &next,
            const RingSlots<T, V> &slots, int turn, RingMemory<V> &m, const Pack<T, V> (&dv)[RING_TURNS]) {
    const int lane = threadIdx.x % RING_LANES, warp = threadIdx.x / 32;
    const SecondFetch<T, V> fetch = second_fetch_make<T, V>(op, next);
    const RingSource to = ring_source<V>(op.forward, now);
    T *dx = op.dx[to.source].data ? (T *)op.dx[to.source].data + to.at : NULL;
    float a[V], b[V], sums[V] = {};
    pack_load<float, V>(m.a[warp] + lane * V, a);
    pack_load<float, V>(m.b[warp] + lane * V, b);
    if (op.add[to.source].data)
        gradient_write<T, V, true>(map, a, b, fetch, slots, op.add_scale[to.source], dx, to.step, dv, sums);
    else
        gradient_write<T, V, false>(map, a, b, fetch, slots, 0.0f, dx, to.step, dv, sums);
    if (op.dbias.data) norm_fold_store<V, 1>(sums, RING_SHIFT, lane, m.biases[turn][warp][0], V * RING_LANES);
}

template <int V>
__device__ __forceinline__ void map_load(const RingSide<V * RING_LANES> &side, NormMap<V> &map) {
    const int at = threadIdx.x % RING_LANES * V;
    pack_load<float, V>(side.centre + at, map.centre);
    pack_load<float, V>(side.slope + at, map.slope);
    pack_load<float, V>(side.offset + at, map.offset);
}

/* The first unit's x and dy are under way, its maps and mask there. */
template <typename T, int V, int TAIL>
__device__ __forceinline__ void ring_begin(const NormBackward &op, const RingCut &cut, const RingPlace &p,
                                           const RingSlots<T, V> &slots, RingMemory<V> &m) {
    RingChannel channel = {};
    channel_load<V * RING_LANES>(op.forward, cut, p, channel);
    const FirstFetch<T, V> first = first_fetch_make<T, V, TAIL>(op, cut, p, m.mask[0]);
    const SecondFetch<T, V> second = second_fetch_make<T, V>(op, p);
    for (int i = 0; i < RING_TURNS; i++) first_fetch<T, V, TAIL>(first, slots, i);
    for (int i = 0; i < RING_TURNS; i++) second_fetch<T, V>(second, slots, i);
    channel_store<T>(channel, m.side[0]);
    copies_wait<2 * RING_TURNS - 1>();
    __syncthreads();
}

template <typename T, int V, int TAIL>
__global__ void __launch_bounds__(RING_THREADS, RING_BLOCKS)
    ring_backward_kernel(NormBackward op, RingCut cut, NormDrop drop) {
    extern __shared__ float4 shared[];
    Pack<T, V> *places = (Pack<T, V> *)shared + threadIdx.x;
    const RingSlots<T, V> slots = {places, places + RING_TURNS * RING_THREADS,
                                   places + 2 * RING_TURNS * RING_THREADS};
    const int tensors = op.add[0].data || op.add[1].data ? 3 : 2;
    RingMemory<V> &m = *(RingMemory<V> *)(shared + tensors * RING_TURNS * RING_THREADS);
    const bool drawn = TAIL != TAIL_SILU_MASK && tail_drops<TAIL>(drop);
    RandomKey key = {};
    if (drawn) key = norm_drop_key(op.forward.dropout, 0);
    RingPlace now = ring_place(cut, V * RING_LANES, blockIdx.x);
    ring_begin<T, V, TAIL>(op, cut, now, slots, m);
    int unit = blockIdx.x, turn = 0;
    for (; unit < cut.units; unit += gridDim.x, turn++) {
        const RingPlace next = ring_place(cut, V * RING_LANES, unit + gridDim.x);
        const RingSide<V *RING_LANES> &side = m.side[turn % 4];
        RingChannel channel = {};
        NormMap<V> map;
        Pack<T, V> dv[RING_TURNS];
        channel_load<V * RING_LANES>(op.forward, cut, next, channel);
        map_load<V>(side, map);
        map.key = key;
        map.key.sample += now.sample;
        sums_make<T, V, TAIL>(op, cut, drop, map, now, next, slots, turn % 2, m, dv);
        channel_store<T>(channel, m.side[(turn + 1) % 4]);
        copies_wait<RING_TURNS - 1>(); /* the mask of the next unit */
        __syncthreads();
        means_make<T, V>(op, cut, drop, now, side, m, turn % 2);
        biases_write<V>(op, cut, unit - (int)gridDim.x, m, (turn + 1) % 2);
        slope_scale<V>(drop, map);
        second_pass<T, V>(op, map, now, next, slots, turn % 2, m, dv);
        now = next;
    }
    __syncthreads();
    biases_write<V>(op, cut, unit - (int)gridDim.x, m, (turn + 1) % 2);
}

/* ---- launching ---- */

/* Of fp32, which is not in a hurry, one kernel for all tails. */
template <typename T> static auto ring_choose(const NormForward *op) {
    constexpr int V = Wide<T>::value;
    if constexpr (Narrow<T>::value) {
        if (norm_tail(op) == TAIL_SILU) return ring_backward_kernel<T, V, TAIL_SILU>;
        if (norm_tail(op) == TAIL_SILU_DROPOUT) return ring_backward_kernel<T, V, TAIL_SILU_DROPOUT>;
        if (norm_tail(op) == TAIL_SILU_MASK) return ring_backward_kernel<T, V, TAIL_SILU_MASK>;
    }
    return ring_backward_kernel<T, V, TAIL_ANY>;
}

template <typename T> static bool ring_run(Device *device, const NormBackward *op) {
    constexpr int V = Wide<T>::value;
    const NormForward *forward = &op->forward;
    const size_t tensors = op->add[0].data || op->add[1].data ? 3 : 2;
    const size_t bytes = tensors * RING_TURNS * RING_THREADS * 16 +
                         (forward->mask ? sizeof(RingMemory<V>) : offsetof(RingMemory<V>, mask));
    RingCut cut;
    if (!ring_cut<V>(forward, &cut)) return false;
    return ring_launch(device, ring_choose<T>(forward), op, cut,
                       norm_drop_make(&forward->dropout, op->dy_scale), bytes);
}

bool norm_ring_backward(Device *device, const NormBackward *op) {
    bool taken = false;
    dtype_dispatch(op->dy.dtype, [&](auto type) { taken = ring_run<decltype(type)>(device, op); });
    return taken;
}
