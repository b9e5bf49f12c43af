/* Resampling by two with a short separable filter (core/backend/cpu/resample.c has the formulas): an output
 * reads a few neighbouring inputs with fixed weights. A thread makes 16 bytes of one output pixel; the inputs
 * that neighbours share come from the cache. */
#include "backend/cuda/elements.cuh"

/* Inputs under output `o` along one axis: `first`, `first` + 1, ...; tap of the first, and the step to the
 * next's. */
typedef struct Footprint {
    int first, count, tap, tap_step;
} Footprint;

/* `doubles`: the output is the larger image; every other tap meets an input, the highest one first. What lies
 * outside is padding, which is zero. */
__device__ __forceinline__ Footprint footprint_make(const Resample &op, int o, int inputs, bool doubles) {
    const int taps = op.tap_count, pad = op.pad;
    Footprint f;
    int last;
    if (op.smooth) {
        f.first = o - (op.adjoint ? taps - 1 - pad : pad);
        f.count = taps;
        f.tap = op.adjoint ? taps - 1 : 0;
        f.tap_step = op.adjoint ? -1 : 1;
        last = f.first + taps - 1;
    } else if (doubles) {
        const int phase = (o + pad) % 2;
        last = (o + pad) / 2;
        f.count = (taps - phase + 1) / 2;
        f.first = last - f.count + 1;
        f.tap = phase + 2 * (f.count - 1);
        f.tap_step = -2;
    } else {
        f.first = 2 * o - pad;
        f.count = taps;
        f.tap = 0;
        f.tap_step = 1;
        last = f.first + taps - 1;
    }
    const int below = max(0, -f.first), above = max(0, last - (inputs - 1));
    f.first += below;
    f.tap += below * f.tap_step;
    f.count -= below + above;
    return f;
}

enum { TOGETHER = 4 }; /* inputs of a row that are on their way at once */

/* A block is part of one output row, so that the vertical footprint is the same for all its threads. */
template <typename T, int V> __global__ void resample_kernel(Resample op, bool doubles) {
    const int lanes = op.y.c / V, image = blockIdx.x / op.y.h, row = blockIdx.x % op.y.h;
    const int i = blockIdx.y * BLOCK + threadIdx.x, column = i / lanes, channel = (i - column * lanes) * V;
    if (column >= op.y.w) return;
    const Footprint h = footprint_make(op, column, op.x.w, doubles);
    const Footprint v = footprint_make(op, row, op.x.h, doubles);
    const T *in =
        (const T *)op.x.data + (((int64_t)image * op.x.h + v.first) * op.x.w + h.first) * op.x.c + channel;
    float sum[V] = {};
    for (int a = 0; a < v.count; a++, in += (int64_t)op.x.w * op.x.c) {
        const float weight = op.taps[v.tap + a * v.tap_step];
        for (int first = 0; first < h.count; first += TOGETHER) {
            Pack<T, V> packs[TOGETHER];
#pragma unroll
            for (int b = 0; b < TOGETHER; b++)
                if (first + b < h.count)
                    packs[b] = *reinterpret_cast<const Pack<T, V> *>(in + (first + b) * op.x.c);
#pragma unroll
            for (int b = 0; b < TOGETHER; b++) {
                if (first + b >= h.count) break;
                const float tap = weight * op.taps[h.tap + (first + b) * h.tap_step];
                float x[V];
                pack_widen<T, V>(packs[b], x);
#pragma unroll
                for (int k = 0; k < V; k++) sum[k] = fmaf(tap, x[k], sum[k]);
            }
        }
    }
    const int64_t out = ((int64_t)blockIdx.x * op.y.w + column) * op.y.c + channel;
    float add[V] = {};
    if (op.add.data) pack_load<T, V>((const T *)op.add.data + out, add);
    const float scale = op.up ? 4.0f * op.scale : op.scale;
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] = fmaf(op.add_scale, add[k], scale * sum[k]);
    pack_store<T, V>((T *)op.y.data + out, sum);
}

/* ---- to twice the size, with two or four taps ---- */

/* Outputs 2i and 2i + 1 along one axis are sums of two of the inputs i - 1, i and i + 1, or of input i alone:
 * weights of i - 1 and i, and of i and i + 1. */
typedef struct Doubling {
    float even[2], odd[2];
} Doubling;

static bool doubling_make(const Resample *op, Doubling *d) {
    const float *t = op->taps;
    const bool four = op->tap_count == 4 && op->pad == 1, two = op->tap_count == 2 && op->pad == 0;
    if (four) *d = Doubling{{t[3], t[1]}, {t[2], t[0]}};
    if (two) *d = Doubling{{0, t[0]}, {t[1], 0}};
    return four || two;
}

/* to += weight * from */
template <int V>
__device__ __forceinline__ void lanes_add(const float (&from)[V], float weight, float (&to)[V]) {
#pragma unroll
    for (int k = 0; k < V; k++) to[k] = fmaf(weight, from[k], to[k]);
}

/* A thread makes the four outputs over one input, from it and (FOUR taps) its eight neighbours, of which
 * those outside are zero. A block is part of one row of inputs. */
template <typename T, int V, bool FOUR> __global__ void double_kernel(Resample op, Doubling d, float scale) {
    constexpr int REACH = FOUR ? 1 : 0, SIDE = 2 * REACH + 1;
    const int lanes = op.x.c / V, image = blockIdx.x / op.x.h, i = blockIdx.x % op.x.h;
    const int place = blockIdx.y * BLOCK + threadIdx.x, j = place / lanes, channel = (place - j * lanes) * V;
    if (j >= op.x.w) return;
    const T *in = (const T *)op.x.data + (((int64_t)image * op.x.h + i) * op.x.w + j) * op.x.c + channel;
    Pack<T, V> packs[SIDE][SIDE] = {};
#pragma unroll
    for (int a = -REACH; a <= REACH; a++)
#pragma unroll
        for (int b = -REACH; b <= REACH; b++)
            if (i + a >= 0 && i + a < op.x.h && j + b >= 0 && j + b < op.x.w)
                packs[a + REACH][b + REACH] =
                    *reinterpret_cast<const Pack<T, V> *>(in + (a * op.x.w + b) * op.x.c);
    float sum[2][2][V] = {};
#pragma unroll
    for (int a = -REACH; a <= REACH; a++) {
        float row[2][V] = {}, x[V];
#pragma unroll
        for (int b = -REACH; b <= REACH; b++) {
            pack_widen<T, V>(packs[a + REACH][b + REACH], x);
            if (b <= 0) lanes_add<V>(x, d.even[b + 1], row[0]);
            if (b >= 0) lanes_add<V>(x, d.odd[b], row[1]);
        }
#pragma unroll
        for (int b = 0; b < 2; b++) {
            if (a <= 0) lanes_add<V>(row[b], d.even[a + 1], sum[0][b]);
            if (a >= 0) lanes_add<V>(row[b], d.odd[a], sum[1][b]);
        }
    }
#pragma unroll
    for (int a = 0; a < 2; a++)
#pragma unroll
        for (int b = 0; b < 2; b++) {
            const int64_t out =
                (((int64_t)image * op.y.h + 2 * i + a) * op.y.w + 2 * j + b) * op.y.c + channel;
            float add[V] = {};
            if (op.add.data) pack_load<T, V>((const T *)op.add.data + out, add);
#pragma unroll
            for (int k = 0; k < V; k++) add[k] = fmaf(op.add_scale, add[k], scale * sum[a][b][k]);
            pack_store<T, V>((T *)op.y.data + out, add);
        }
}

template <typename T, int V> static bool double_run(const Resample *op, cudaStream_t stream) {
    Doubling d;
    const dim3 grid((unsigned)(op->x.n * op->x.h), blocks_for((int64_t)op->x.w * op->x.c / V, BLOCK));
    const float scale = op->up ? 4.0f * op->scale : op->scale;
    if (!doubling_make(op, &d)) return false;
    if (op->tap_count == 4)
        double_kernel<T, V, true><<<grid, BLOCK, 0, stream>>>(*op, d, scale);
    else
        double_kernel<T, V, false><<<grid, BLOCK, 0, stream>>>(*op, d, scale);
    return true;
}

/* ---- the op ---- */

template <typename T, int V> static void resample_run(const Resample *op, bool doubles, cudaStream_t stream) {
    if (doubles && op->y.h == 2 * op->x.h && op->y.w == 2 * op->x.w && double_run<T, V>(op, stream)) return;
    const dim3 grid((unsigned)(op->y.n * op->y.h), blocks_for((int64_t)op->y.w * op->y.c / V, BLOCK));
    resample_kernel<T, V><<<grid, BLOCK, 0, stream>>>(*op, doubles);
}

/* Sizes along one axis, by the formulas of a convolution and its transpose. */
static void check_axis(const Resample *op, bool doubles, int x, int y) {
    const int large = doubles ? y : x, small = doubles ? x : y, span = large + 2 * op->pad - op->tap_count;
    const bool fits = op->smooth ? op->adjoint ? x == y + 2 * op->pad - op->tap_count + 1
                                               : y == x + 2 * op->pad - op->tap_count + 1
                                 : span >= 0 && small == span / 2 + 1 && !(op->up && span % 2);
    CHECK(fits, "resample: %d does not become %d with %d taps and padding %d", x, y, op->tap_count, op->pad);
}

void cuda_resample(Device *device, const Resample *op) {
    const bool doubles = !op->smooth && op->up != op->adjoint;
    CHECK(op->tap_count >= 1 && op->tap_count <= 8 && op->pad >= 0, "resample: %d taps", op->tap_count);
    CHECK(op->x.n == op->y.n && op->x.c == op->y.c, "resample: images or channels differ");
    CHECK(same_dtype(op->x, op->y) && same_dtype(op->add, op->y), "resample: types differ");
    check_axis(op, doubles, op->x.h, op->y.h);
    check_axis(op, doubles, op->x.w, op->y.w);
    dtype_dispatch(op->y.dtype, [&](auto type) {
        using T = decltype(type);
        constexpr int V = Wide<T>::value;
        const cudaStream_t stream = cuda_stream(device);
        if (op->y.c % V == 0)
            resample_run<T, V>(op, doubles, stream);
        else
            resample_run<T, 1>(op, doubles, stream);
    });
    CUDA_LAUNCHED("resample");
}
