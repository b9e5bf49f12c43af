/* The convolution to an image: 16-bit features in, a few channels in fp32 out, weights and their gradients in
 * fp32. As a product it reads the features once. A column is a tap of an output channel, in the weight's own
 * order [c_out][taps]:
 *
 *     forward   P[column][pixel] = sum_c W[column][c] x[pixel][c]
 *               y[p][o] = sum over taps of P[o, tap][p + tap]
 *     data      Q[column][pixel] = dy[pixel - tap][o]
 *               dx[pixel][c] = sum over columns of Q W
 *     weight    dW[column][c] = sum over pixels of Q x
 *
 * fp32 factors are cut in two of 16 bits, a = high + low, which keeps 16 bits of them in bf16 and 22 in fp16
 * (TF32 has 11), and columns stand there twice, for the high and for the low halves of what is cut: W
 * forward, Q (that is, dy) backward, where W is rounded to 16 bits as in every other layer. fp16 holds 256 W:
 * the low halves of small weights would be too small for it. Columns of pixels lie beside each other, so that
 * neighbouring threads read and write neighbours.
 */
#include "backend/cuda/conv_wide.h"
#include "backend/cuda/elements.cuh"
#include "backend/cuda/product.h"

static int columns_half(const ConvShape *s) {
    return s->kernel_h * s->kernel_w * s->c_out;
}

/* Whole 16 bytes. */
static int columns_all(const ConvShape *s) {
    return (2 * columns_half(s) + 7) / 8 * 8;
}

static int64_t shape_pixels(const ConvShape *s) {
    return (int64_t)s->n * s->h * s->w;
}

static size_t aligned(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

static float weight_factor(DType dtype) {
    return dtype == DTYPE_F16 ? 256.0f : 1.0f;
}

static size_t weights_bytes(const ConvShape *s) {
    return aligned((size_t)columns_all(s) * (size_t)s->c_in * 2);
}

static size_t pixels_bytes(const ConvShape *s, size_t element) {
    return aligned((size_t)columns_all(s) * (size_t)shape_pixels(s) * element);
}

size_t cuda_wide_workspace(const ConvShape *s, ConvPass pass) {
    if (pass == CONV_FORWARD) return weights_bytes(s) + pixels_bytes(s, sizeof(float));
    if (pass == CONV_BACKWARD_DATA) return weights_bytes(s) + pixels_bytes(s, 2);
    return pixels_bytes(s, 2) + (size_t)columns_all(s) * (size_t)s->c_in * sizeof(float);
}

/* ---- cutting ---- */

/* out[2 half + rest][c_in]: the high halves of factor * W, then the low ones (or the high ones again), then
 * zeros. */
template <typename T>
__global__ void weights_cut_kernel(const float *weight, T *out, int half, int all, int c_in, float factor,
                                   bool low) {
    const int i = blockIdx.x * BLOCK + threadIdx.x, count = half * c_in;
    if (i >= all * c_in) return;
    const float value = i < 2 * count ? factor * weight[i < count ? i : i - count] : 0.0f;
    const T high = (T)value;
    out[i] = low && i >= count ? (T)(value - (float)high) : high;
}

template <typename T>
static void weights_cut(Device *device, const ConvShape *s, const void *weight, void *out, bool low) {
    const int all = columns_all(s);
    weights_cut_kernel<T><<<blocks_for((int64_t)all * s->c_in, BLOCK), BLOCK, 0, cuda_stream(device)>>>(
        (const float *)weight, (T *)out, columns_half(s), all, s->c_in, weight_factor(s->dtype), low);
    CUDA_LAUNCHED("weights_cut");
}

/* Q: a thread has one pixel of x, and of every column what dy's pixel under its tap was. */
template <typename T> __global__ void gradient_cut_kernel(ConvShape s, const float *dy, T *out, int all) {
    const int64_t pixels = (int64_t)s.n * s.h * s.w, p = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    const int out_h = s.h + 2 * s.pad_h - s.kernel_h + 1, out_w = s.w + 2 * s.pad_w - s.kernel_w + 1;
    const int taps = s.kernel_h * s.kernel_w;
    if (p >= pixels) return;
    const int column = p % s.w, row = p / s.w % s.h, half = taps * s.c_out;
    const int64_t image = p / s.w / s.h;
    for (int tap = 0; tap < taps; tap++) {
        const int r = row + s.pad_h - tap / s.kernel_w, c = column + s.pad_w - tap % s.kernel_w;
        const bool there = r >= 0 && r < out_h && c >= 0 && c < out_w;
        const float *from = dy + ((image * out_h + r) * out_w + c) * s.c_out;
        for (int o = 0; o < s.c_out; o++) {
            const float value = there ? from[o] : 0.0f;
            const T high = (T)value;
            out[(o * taps + tap) * pixels + p] = high;
            out[(half + o * taps + tap) * pixels + p] = (T)(value - (float)high);
        }
    }
    for (int rest = 2 * half; rest < all; rest++) out[rest * pixels + p] = (T)0.0f;
}

template <typename T>
static void gradient_cut(Device *device, const ConvShape *s, const Tensor *dy, void *out) {
    gradient_cut_kernel<T><<<blocks_for(shape_pixels(s), BLOCK), BLOCK, 0, cuda_stream(device)>>>(
        *s, (const float *)dy->data, (T *)out, columns_all(s));
    CUDA_LAUNCHED("gradient_cut");
}

/* ---- forward ---- */

/* y = scale * (sums of P over the taps + bias + residual); a thread makes one element of y. */
__global__ void columns_gather_kernel(ConvShape s, const float *columns, const float *bias,
                                      const float *residual, float *y, float factor, float scale) {
    const int64_t pixels = (int64_t)s.n * s.h * s.w, p = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    const int out_h = s.h + 2 * s.pad_h - s.kernel_h + 1, out_w = s.w + 2 * s.pad_w - s.kernel_w + 1;
    const int taps = s.kernel_h * s.kernel_w;
    if (p >= (int64_t)s.n * out_h * out_w) return;
    const int o = blockIdx.y, column = p % out_w, row = p / out_w % out_h, half = taps * s.c_out;
    const int64_t image = p / out_w / out_h;
    float sum = 0.0f;
    for (int tap = 0; tap < taps; tap++) {
        const int r = row - s.pad_h + tap / s.kernel_w, c = column - s.pad_w + tap % s.kernel_w;
        if (r < 0 || r >= s.h || c < 0 || c >= s.w) continue;
        const float *from = columns + (o * taps + tap) * pixels + (image * s.h + r) * s.w + c;
        sum += from[0] + from[half * pixels];
    }
    const int64_t at = p * s.c_out + o;
    y[at] = scale * (sum * factor + (bias ? bias[o] : 0.0f) + (residual ? residual[at] : 0.0f));
}

void cuda_wide_forward(Device *device, const ConvShape *s, const ConvForward *op) {
    const int64_t pixels = shape_pixels(s), outputs = (int64_t)s->n * conv_out_h(s) * conv_out_w(s);
    float *columns = (float *)((char *)op->workspace + weights_bytes(s));
    dtype_dispatch(s->dtype, [&](auto type) {
        weights_cut<decltype(type)>(device, s, op->weight, op->workspace, true);
    });
    const Matrix out = {columns, DTYPE_F32, (int)pixels, false};
    const Product product = {.a = {op->x.data, s->dtype, s->c_in, true},
                             .b = {op->workspace, s->dtype, s->c_in, false},
                             .c = out,
                             .d = out,
                             .m = (int)pixels,
                             .n = columns_all(s),
                             .depth = s->c_in,
                             .alpha = 1.0f,
                             .beta = 0.0f,
                             .bias = NULL};
    cuda_product(device, &product);
    columns_gather_kernel<<<dim3(blocks_for(outputs, BLOCK), (unsigned)s->c_out), BLOCK, 0,
                            cuda_stream(device)>>>(*s, columns, op->bias, (const float *)op->residual.data,
                                                   (float *)op->y.data, 1.0f / weight_factor(s->dtype),
                                                   op->scale);
    CUDA_LAUNCHED("columns_gather");
}

/* ---- backward ---- */

void cuda_wide_backward_data(Device *device, const ConvShape *s, const ConvBackwardData *op) {
    const int64_t pixels = shape_pixels(s);
    void *columns = (char *)op->workspace + weights_bytes(s);
    CHECK(same_dtype(op->add, op->dx), "conv_backward_data: types differ");
    dtype_dispatch(s->dtype, [&](auto type) {
        weights_cut<decltype(type)>(device, s, op->weight, op->workspace, false);
        gradient_cut<decltype(type)>(device, s, &op->dy, columns);
    });
    const Matrix out = {op->dx.data, s->dtype, s->c_in, false};
    const Product product = {.a = {op->workspace, s->dtype, s->c_in, false},
                             .b = {columns, s->dtype, (int)pixels, true},
                             .c = {op->add.data ? op->add.data : op->dx.data, s->dtype, s->c_in, false},
                             .d = out,
                             .m = s->c_in,
                             .n = (int)pixels,
                             .depth = columns_all(s),
                             .alpha = op->dy_scale / weight_factor(s->dtype),
                             .beta = op->add.data ? op->add_scale : 0.0f,
                             .bias = NULL};
    cuda_product(device, &product);
}

/* dweight = sums of the high and the low columns (+ dweight) */
__global__ void columns_add_kernel(const float *columns, float *dweight, int count, float scale,
                                   bool accumulate) {
    const int i = blockIdx.x * BLOCK + threadIdx.x;
    if (i >= count) return;
    dweight[i] = fmaf(scale, columns[i] + columns[count + i], accumulate ? dweight[i] : 0.0f);
}

void cuda_wide_backward_weight(Device *device, const ConvShape *s, const ConvBackwardWeight *op) {
    const int64_t pixels = shape_pixels(s);
    const int count = columns_half(s) * s->c_in;
    float *made = (float *)((char *)op->workspace + pixels_bytes(s, 2));
    dtype_dispatch(s->dtype,
                   [&](auto type) { gradient_cut<decltype(type)>(device, s, &op->dy, op->workspace); });
    const Matrix out = {made, DTYPE_F32, s->c_in, false};
    const Product product = {.a = {op->x.data, s->dtype, s->c_in, false},
                             .b = {op->workspace, s->dtype, (int)pixels, false},
                             .c = out,
                             .d = out,
                             .m = s->c_in,
                             .n = columns_all(s),
                             .depth = (int)pixels,
                             .alpha = 1.0f,
                             .beta = 0.0f,
                             .bias = NULL};
    cuda_product(device, &product);
    columns_add_kernel<<<blocks_for(count, BLOCK), BLOCK, 0, cuda_stream(device)>>>(
        made, op->dweight, count, op->dy_scale, op->accumulate);
    CUDA_LAUNCHED("columns_add");
}
