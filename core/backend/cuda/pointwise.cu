/* Element by element: activations, weighted sums, and what a library's product leaves to
 * do. Each reads every input once and writes the output once, 16 bytes a thread; `add` may be the output,
 * because element i depends on elements i alone.
 */
#include "backend/cuda/elements.cuh"

/* Elements a thread takes: 16 bytes' worth, or one where a tensor (or its start) is not a
 * multiple of that. */
template <typename T> static bool wide_enough(int64_t count, const void *a, const void *b, const void *c) {
    const uintptr_t bits = (uintptr_t)a | (uintptr_t)b | (uintptr_t)c;
    return count % Wide<T>::value == 0 && bits % 16 == 0;
}

static void check_sizes(const char *op, const Tensor *tensor, const Tensor *like) {
    CHECK(!tensor->data || tensor_count(tensor) == tensor_count(like), "%s: sizes differ", op);
    CHECK(same_dtype(*tensor, *like), "%s: types differ", op);
}

/* ---- activations ---- */

template <typename T, int V>
__global__ void act_forward_kernel(const T *x, T *y, int64_t count, Activation activation) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * V;
    if (i >= count) return;
    float value[V];
    pack_load<T, V>(x + i, value);
#pragma unroll
    for (int k = 0; k < V; k++) value[k] = activation_value<T>(activation, value[k]);
    pack_store<T, V>(y + i, value);
}

void cuda_act_forward(Device *device, const ActForward *op) {
    const int64_t count = tensor_count(&op->y);
    check_sizes("act_forward", &op->x, &op->y);
    dtype_dispatch(op->y.dtype, [&](auto type) {
        using T = decltype(type);
        const T *x = (const T *)op->x.data;
        T *y = (T *)op->y.data;
        constexpr int V = Wide<T>::value;
        if (wide_enough<T>(count, x, y, NULL))
            act_forward_kernel<T, V><<<blocks_for(count / V, BLOCK), BLOCK, 0, cuda_stream(device)>>>(
                x, y, count, op->activation);
        else
            act_forward_kernel<T, 1>
                <<<blocks_for(count, BLOCK), BLOCK, 0, cuda_stream(device)>>>(x, y, count, op->activation);
    });
    CUDA_LAUNCHED("act_forward");
}

template <typename T> struct ActGradient {
    const T *x, *dy, *add;
    T *dx;
    int64_t count;
    Activation activation;
    float dy_scale, add_scale;
};

template <typename T, int V> __global__ void act_backward_kernel(ActGradient<T> a) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * V;
    if (i >= a.count) return;
    float x[V], dy[V], add[V] = {};
    pack_load<T, V>(a.x + i, x);
    pack_load<T, V>(a.dy + i, dy);
    if (a.add) pack_load<T, V>(a.add + i, add);
#pragma unroll
    for (int k = 0; k < V; k++)
        dy[k] = fmaf(a.add_scale, add[k], a.dy_scale * dy[k] * activation_slope<T>(a.activation, x[k]));
    pack_store<T, V>(a.dx + i, dy);
}

void cuda_act_backward(Device *device, const ActBackward *op) {
    const int64_t count = tensor_count(&op->dx);
    check_sizes("act_backward", &op->x, &op->dx);
    check_sizes("act_backward", &op->dy, &op->dx);
    check_sizes("act_backward", &op->add, &op->dx);
    dtype_dispatch(op->dx.dtype, [&](auto type) {
        using T = decltype(type);
        constexpr int V = Wide<T>::value;
        const ActGradient<T> a = {(const T *)op->x.data,
                                  (const T *)op->dy.data,
                                  (const T *)op->add.data,
                                  (T *)op->dx.data,
                                  count,
                                  op->activation,
                                  op->dy_scale,
                                  op->add_scale};
        const cudaStream_t stream = cuda_stream(device);
        if (wide_enough<T>(count, a.x, a.dy, a.dx) && (uintptr_t)a.add % 16 == 0)
            act_backward_kernel<T, V><<<blocks_for(count / V, BLOCK), BLOCK, 0, stream>>>(a);
        else
            act_backward_kernel<T, 1><<<blocks_for(count, BLOCK), BLOCK, 0, stream>>>(a);
    });
    CUDA_LAUNCHED("act_backward");
}

/* ---- weighted sums; the only op whose input and output may differ in type ---- */

template <typename From, typename To, int V>
__global__ void add_scale_kernel(const From *a, const From *b, To *y, int64_t count, float a_scale,
                                 float b_scale) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * V;
    if (i >= count) return;
    float left[V], right[V];
    pack_load<From, V>(a + i, left);
    if (b) pack_load<From, V>(b + i, right);
#pragma unroll
    for (int k = 0; k < V; k++) left[k] = b ? fmaf(a_scale, left[k], b_scale * right[k]) : a_scale * left[k];
    pack_store<To, V>(y + i, left);
}

template <typename From, typename To> static void add_scale_run(const AddScale *op, cudaStream_t stream) {
    const int64_t count = tensor_count(&op->y);
    const From *a = (const From *)op->a.data, *b = (const From *)op->b.data;
    To *y = (To *)op->y.data;
    if (wide_enough<To>(count, a, b, y) && wide_enough<From>(count, a, b, y))
        add_scale_kernel<From, To, 4>
            <<<blocks_for(count / 4, BLOCK), BLOCK, 0, stream>>>(a, b, y, count, op->a_scale, op->b_scale);
    else
        add_scale_kernel<From, To, 1>
            <<<blocks_for(count, BLOCK), BLOCK, 0, stream>>>(a, b, y, count, op->a_scale, op->b_scale);
}

void cuda_add_scale(Device *device, const AddScale *op) {
    CHECK(tensor_count(&op->a) == tensor_count(&op->y), "add_scale: sizes differ");
    check_sizes("add_scale", &op->b, &op->a);
    dtype_dispatch(op->a.dtype, [&](auto from) {
        dtype_dispatch(op->y.dtype, [&](auto to) {
            add_scale_run<decltype(from), decltype(to)>(op, cuda_stream(device));
        });
    });
    CUDA_LAUNCHED("add_scale");
}

/* ---- after a product ---- */

template <typename T> struct Epilogue {
    T *y;
    const T *residual;
    const float *bias;
    int64_t count;
    int channels;
    float y_scale, scale;
};

template <typename T, int V> __global__ void epilogue_kernel(Epilogue<T> e) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * V;
    if (i >= e.count) return;
    float y[V], add[V] = {};
    pack_load<T, V>(e.y + i, y);
    if (e.residual) pack_load<T, V>(e.residual + i, add);
    const int channel = (int)(i % e.channels);
#pragma unroll
    for (int k = 0; k < V; k++) {
        if (e.bias) add[k] += e.bias[channel + k];
        y[k] = fmaf(e.scale, add[k], e.y_scale * y[k]);
    }
    pack_store<T, V>(e.y + i, y);
}

void cuda_epilogue(Device *device, const Tensor *y, const float *bias, const Tensor *residual, float y_scale,
                   float scale) {
    check_sizes("residual", residual, y);
    dtype_dispatch(y->dtype, [&](auto type) {
        using T = decltype(type);
        constexpr int V = Wide<T>::value;
        const Epilogue<T> e = {(T *)y->data, (const T *)residual->data, bias, tensor_count(y), y->c, y_scale,
                               scale};
        const cudaStream_t stream = cuda_stream(device);
        if (wide_enough<T>(e.channels, e.y, e.residual, NULL))
            epilogue_kernel<T, V><<<blocks_for(e.count / V, BLOCK), BLOCK, 0, stream>>>(e);
        else
            epilogue_kernel<T, 1><<<blocks_for(e.count, BLOCK), BLOCK, 0, stream>>>(e);
    });
    CUDA_LAUNCHED("epilogue");
}

template <typename T, int V>
__global__ void accumulate_kernel(const T *x, float *out, int64_t count, float scale, bool accumulate) {
    const int64_t i = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) * V;
    if (i >= count) return;
    float value[V], before[V] = {};
    pack_load<T, V>(x + i, value);
    if (accumulate) pack_load<float, V>(out + i, before);
#pragma unroll
    for (int k = 0; k < V; k++) before[k] = fmaf(scale, value[k], before[k]);
    pack_store<float, V>(out + i, before);
}

void cuda_accumulate(Device *device, const Tensor *x, float *out, float scale, bool accumulate) {
    const int64_t count = tensor_count(x);
    const cudaStream_t stream = cuda_stream(device);
    dtype_dispatch(x->dtype, [&](auto type) {
        using T = decltype(type);
        const T *from = (const T *)x->data;
        if (wide_enough<T>(count, from, out, NULL))
            accumulate_kernel<T, 4>
                <<<blocks_for(count / 4, BLOCK), BLOCK, 0, stream>>>(from, out, count, scale, accumulate);
        else
            accumulate_kernel<T, 1>
                <<<blocks_for(count, BLOCK), BLOCK, 0, stream>>>(from, out, count, scale, accumulate);
    });
    CUDA_LAUNCHED("accumulate");
}
