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
__device__ __forceinline__ Footprint footprint_make(int o, int inputs, int taps, int pad, bool doubles) {
    Footprint f;
    int last;
    if (doubles) {
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

template <typename T, int V> __global__ void resample_kernel(Resample op, bool doubles) {
    const int lanes = op.y.c / V;
    const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x, pixel = i / lanes, row = pixel / op.y.w;
    if (row >= (int64_t)op.y.n * op.y.h) return;
    const int channel = (int)(i % lanes) * V, image = (int)(row / op.y.h);
    const Footprint h = footprint_make((int)(pixel % op.y.w), op.x.w, op.tap_count, op.pad, doubles);
    const Footprint v = footprint_make((int)(row % op.y.h), op.x.h, op.tap_count, op.pad, doubles);
    float sum[V] = {};
    for (int a = 0; a < v.count; a++) {
        const T *in = (const T *)op.x.data +
                      (((int64_t)image * op.x.h + v.first + a) * op.x.w + h.first) * op.x.c + channel;
        const float weight = op.taps[v.tap + a * v.tap_step];
        for (int b = 0; b < h.count; b++) {
            float x[V];
            pack_load<T, V>(in + (int64_t)b * op.x.c, x);
#pragma unroll
            for (int k = 0; k < V; k++) sum[k] = fmaf(weight * op.taps[h.tap + b * h.tap_step], x[k], sum[k]);
        }
    }
    float add[V] = {};
    if (op.add.data) pack_load<T, V>((const T *)op.add.data + pixel * op.y.c + channel, add);
    const float scale = op.up ? 4.0f * op.scale : op.scale;
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] = fmaf(op.add_scale, add[k], scale * sum[k]);
    pack_store<T, V>((T *)op.y.data + pixel * op.y.c + channel, sum);
}

/* Sizes along one axis, by the formulas of a convolution and its transpose. */
static void check_axis(const Resample *op, bool doubles, int x, int y) {
    const int large = doubles ? y : x, small = doubles ? x : y, span = large + 2 * op->pad - op->tap_count;
    const bool fits = span >= 0 && small == span / 2 + 1 && !(op->up && span % 2);
    CHECK(fits, "resample: %d does not become %d with %d taps and padding %d", x, y, op->tap_count, op->pad);
}

void cuda_resample(Device *device, const Resample *op) {
    const bool doubles = op->up != op->adjoint;
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
            resample_kernel<T, V>
                <<<blocks_for(tensor_count(&op->y) / V, BLOCK), BLOCK, 0, stream>>>(*op, doubles);
        else
            resample_kernel<T, 1>
                <<<blocks_for(tensor_count(&op->y), BLOCK), BLOCK, 0, stream>>>(*op, doubles);
    });
    CUDA_LAUNCHED("resample");
}
