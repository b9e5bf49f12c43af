/* Pooling, a thread an output element. Windows that overlap the border are cut off there: padding neither
 * wins a maximum nor counts in a mean. Backward, a thread takes an element of dx and asks every window that
 * covers it, so that nothing is added by two threads; for a maximum it finds the window's winner again. Only
 * the evaluation's networks pool.
 */
#include "backend/cuda/elements.cuh"

/* The part of a window that lies inside the image. */
typedef struct Window {
    int top, bottom, left, right;
} Window;

__device__ __forceinline__ Window window_make(const PoolForward &op, int y, int x) {
    if (op.size == 0) return Window{0, op.x.h, 0, op.x.w};
    const int top = y * op.stride - op.pad, left = x * op.stride - op.pad;
    return Window{max(top, 0), min(top + op.size, op.x.h), max(left, 0), min(left + op.size, op.x.w)};
}

__device__ __forceinline__ int window_area(const Window &w) {
    return (w.bottom - w.top) * (w.right - w.left);
}

/* Maximum and the row-major place in the image where it first stands. NaN wins, so that it is not hidden. */
template <typename T>
__device__ float window_max(const T *image, const Tensor &x, const Window &w, int *place) {
    float best = -INFINITY;
    *place = w.top * x.w + w.left;
    for (int i = w.top; i < w.bottom; i++) {
        for (int j = w.left; j < w.right; j++) {
            const float value = (float)image[((int64_t)i * x.w + j) * x.c];
            if (!(value > best || value != value)) continue;
            best = value;
            *place = i * x.w + j;
        }
    }
    return best;
}

/* Element `i` of a tensor: its image, row, column and channel. */
typedef struct Place {
    int image, y, x, channel;
} Place;

__device__ __forceinline__ Place place_make(const Tensor &t, int64_t i) {
    const int64_t pixel = i / t.c, row = pixel / t.w;
    return Place{(int)(row / t.h), (int)(row % t.h), (int)(pixel % t.w), (int)(i % t.c)};
}

/* A thread makes V neighbouring channels. Means over whole images, a thousand terms, are added up in double;
 * those of windows in fp32. */
template <typename T, int V, typename Sum>
__device__ void window_forward(const PoolForward &op, const T *image, const Window &w, float (&out)[V]) {
    Sum sum[V];
    const bool largest = op.kind == POOL_MAX;
#pragma unroll
    for (int k = 0; k < V; k++) sum[k] = largest ? (Sum)-INFINITY : (Sum)0;
    for (int i = w.top; i < w.bottom; i++)
        for (int j = w.left; j < w.right; j++) {
            float value[V];
            pack_load<T, V>(image + ((int64_t)i * op.x.w + j) * op.x.c, value);
#pragma unroll
            for (int k = 0; k < V; k++) {
                const Sum v = (Sum)value[k];
                sum[k] = !largest ? sum[k] + v : v > sum[k] || v != v ? v : sum[k];
            }
        }
#pragma unroll
    for (int k = 0; k < V; k++) out[k] = (float)(largest ? sum[k] : sum[k] / (Sum)window_area(w));
}

template <typename T, int V, typename Sum>
__global__ void pool_forward_kernel(PoolForward op, uint32_t count) {
    const uint32_t i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= count) return;
    const uint32_t packs = op.x.c / V, pixel = i / packs, area = op.y.h * op.y.w;
    const int channel = (int)(i % packs) * V, place = (int)(pixel % area);
    const Window w = window_make(op, place / op.y.w, place % op.y.w);
    const T *image = (const T *)op.x.data + (int64_t)(pixel / area) * op.x.h * op.x.w * op.x.c + channel;
    float out[V];
    window_forward<T, V, Sum>(op, image, w, out);
#pragma unroll
    for (int k = 0; k < V; k++)
        out[k] = activation_value<T>(op.activation, op.bias ? out[k] + op.bias[channel + k] : out[k]);
    pack_store<T, V>((T *)op.y.data + (int64_t)pixel * op.y.c + op.first + channel, out);
}

/* The windows that cover place `at` of an axis: from `*first` to `*end` - 1. */
__device__ __forceinline__ void windows_cover(const PoolForward &op, int at, int windows, int *first,
                                              int *end) {
    if (op.size == 0) {
        *first = 0, *end = 1;
        return;
    }
    const int lowest = at + op.pad - op.size + 1;
    *first = lowest <= 0 ? 0 : (lowest + op.stride - 1) / op.stride;
    *end = min((at + op.pad) / op.stride + 1, windows);
}

template <typename T> __global__ void pool_backward_kernel(PoolBackward op, int64_t count) {
    const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= count) return;
    const PoolForward &f = op.forward;
    const Place p = place_make(op.dx, i);
    const T *image = (const T *)f.x.data + (int64_t)p.image * f.x.h * f.x.w * f.x.c + p.channel;
    const T *dy = (const T *)op.dy.data + (int64_t)p.image * op.dy.h * op.dy.w * op.dy.c + p.channel;
    float sum = op.add.data ? op.add_scale * (float)((const T *)op.add.data)[i] : 0.0f;
    int top, bottom, left, right, place;
    windows_cover(f, p.y, op.dy.h, &top, &bottom);
    windows_cover(f, p.x, op.dy.w, &left, &right);
    for (int y = top; y < bottom; y++) {
        for (int x = left; x < right; x++) {
            const Window w = window_make(f, y, x);
            const float gradient = op.dy_scale * (float)dy[((int64_t)y * op.dy.w + x) * op.dy.c];
            if (f.kind == POOL_MEAN) {
                sum += gradient / window_area(w);
            } else {
                window_max(image, f.x, w, &place);
                if (place == p.y * f.x.w + p.x) sum += gradient;
            }
        }
    }
    ((T *)op.dx.data)[i] = (T)sum;
}

static void check_pool(const PoolForward *op, const Tensor *x, const Tensor *y) {
    const int size = op->size, pad = op->pad, stride = op->stride;
    CHECK(x->n == y->n && op->first >= 0 && op->first + x->c <= y->c, "pool: images or channels differ");
    CHECK(size == 0 || (stride > 0 && pad >= 0 && 2 * pad <= size), "pool: window %d, padding %d", size, pad);
    const int h = size == 0 ? 1 : (x->h + 2 * pad - size) / stride + 1;
    const int w = size == 0 ? 1 : (x->w + 2 * pad - size) / stride + 1;
    CHECK(y->h == h && y->w == w, "pool: output is %d x %d instead of %d x %d", y->h, y->w, h, w);
    CHECK(same_dtype(*x, *y), "pool: types differ");
}

template <typename T, int V> static void forward_launch(const PoolForward &op, cudaStream_t stream) {
    const int64_t count = tensor_rows(&op.y) * (op.x.c / V);
    CHECK(count < INT32_MAX, "pool: %d images at once are too many", op.y.n);
    if (op.size)
        pool_forward_kernel<T, V, float><<<blocks_for(count, BLOCK), BLOCK, 0, stream>>>(op, (uint32_t)count);
    else
        pool_forward_kernel<T, V, double>
            <<<blocks_for(count, BLOCK), BLOCK, 0, stream>>>(op, (uint32_t)count);
}

void cuda_pool_forward(Device *device, const PoolForward *op) {
    check_pool(op, &op->x, &op->y);
    dtype_dispatch(op->y.dtype, [&](auto type) {
        using T = decltype(type);
        constexpr int V = Wide<T>::value;
        const uintptr_t bits = (uintptr_t)op->x.data | (uintptr_t)op->y.data;
        if ((op->x.c | op->y.c | op->first) % V == 0 && bits % 16 == 0)
            forward_launch<T, V>(*op, cuda_stream(device));
        else
            forward_launch<T, 1>(*op, cuda_stream(device));
    });
    CUDA_LAUNCHED("pool_forward");
}

void cuda_pool_backward(Device *device, const PoolBackward *op) {
    const int64_t count = tensor_count(&op->dx);
    check_pool(&op->forward, &op->dx, &op->dy);
    CHECK(tensor_count(&op->forward.x) == count && op->dy.c == op->dx.c && same_dtype(op->forward.x, op->dx),
          "pool_backward: x and dx differ");
    CHECK(same_dtype(op->add, op->dx), "pool_backward: types differ");
    dtype_dispatch(op->dx.dtype, [&](auto type) {
        pool_backward_kernel<decltype(type)>
            <<<blocks_for(count, BLOCK), BLOCK, 0, cuda_stream(device)>>>(*op, count);
    });
    CUDA_LAUNCHED("pool_backward");
}
