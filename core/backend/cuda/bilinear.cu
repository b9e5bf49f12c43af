/* Bilinear interpolation and its transpose; which pixels meet with what weights stands in backend/bilinear.h.
 * A thread takes an element of the result; the transposed one asks every output that may have read its pixel,
 * so that nothing is added by two threads. */
#include "backend/cuda/elements.cuh"
#include "backend/bilinear.h"

template <typename T>
__device__ float bilinear_forward(const Bilinear &op, const T *image, int row, int column) {
    const BilinearPair v = bilinear_pair(op.grid, op.x.h, op.y.h, row);
    const BilinearPair h = bilinear_pair(op.grid, op.x.w, op.y.w, column);
    const int channels = op.x.c;
    const T *low = image + (int64_t)v.low * op.x.w * channels,
            *high = image + (int64_t)v.high * op.x.w * channels;
    float sum = v.weight_low * h.weight_low * (float)low[h.low * channels];
    sum = fmaf(v.weight_low * h.weight, (float)low[h.high * channels], sum);
    sum = fmaf(v.weight * h.weight_low, (float)high[h.low * channels], sum);
    return fmaf(v.weight * h.weight, (float)high[h.high * channels], sum);
}

/* Here x is the gradient of the outputs, and `row`, `column` a pixel of what was interpolated. */
template <typename T>
__device__ float bilinear_adjoint(const Bilinear &op, const T *image, int row, int column) {
    int top, bottom, left, right;
    float sum = 0.0f;
    bilinear_readers(op.grid, op.y.h, op.x.h, row, &top, &bottom);
    bilinear_readers(op.grid, op.y.w, op.x.w, column, &left, &right);
    for (int i = top; i < bottom; i++) {
        const float v = bilinear_weight(bilinear_pair(op.grid, op.y.h, op.x.h, i), row);
        if (v == 0.0f) continue;
        for (int j = left; j < right; j++) {
            const float h = bilinear_weight(bilinear_pair(op.grid, op.y.w, op.x.w, j), column);
            if (h != 0.0f) sum = fmaf(v * h, (float)image[((int64_t)i * op.x.w + j) * op.x.c], sum);
        }
    }
    return sum;
}

template <typename T> __global__ void bilinear_kernel(Bilinear op, int64_t count) {
    const int64_t i = (int64_t)blockIdx.x * BLOCK + threadIdx.x;
    if (i >= count) return;
    const int64_t pixel = i / op.y.c, line = pixel / op.y.w;
    const int row = (int)(line % op.y.h), column = (int)(pixel % op.y.w);
    const T *image = (const T *)op.x.data + line / op.y.h * op.x.h * op.x.w * op.x.c + i % op.y.c;
    const float value =
        op.adjoint ? bilinear_adjoint(op, image, row, column) : bilinear_forward(op, image, row, column);
    const float add = op.add.data ? op.add_scale * (float)((const T *)op.add.data)[i] : 0.0f;
    ((T *)op.y.data)[i] = (T)fmaf(op.scale, value, add);
}

/* Of bytes: a thread makes a pixel. */
__global__ void bilinear_bytes_kernel(Bilinear op, uint32_t pixels) {
    const uint32_t i = blockIdx.x * BLOCK + threadIdx.x, area = op.y.h * op.y.w;
    if (i >= pixels) return;
    const int place = (int)(i % area), channels = op.x.c;
    const BilinearPair v = bilinear_pair(op.grid, op.x.h, op.y.h, place / op.y.w);
    const BilinearPair h = bilinear_pair(op.grid, op.x.w, op.y.w, place % op.y.w);
    const uint8_t *image = (const uint8_t *)op.x.data + (int64_t)(i / area) * op.x.h * op.x.w * channels;
    const uint8_t *low = image + v.low * op.x.w * channels, *high = image + v.high * op.x.w * channels;
    float *y = (float *)op.y.data + (int64_t)i * channels;
    for (int c = 0; c < channels; c++) {
        float sum = v.weight_low * h.weight_low * op.values[low[h.low * channels + c]];
        sum = fmaf(v.weight_low * h.weight, op.values[low[h.high * channels + c]], sum);
        sum = fmaf(v.weight * h.weight_low, op.values[high[h.low * channels + c]], sum);
        y[c] = op.scale * fmaf(v.weight * h.weight, op.values[high[h.high * channels + c]], sum);
    }
}

static void bytes_run(Device *device, const Bilinear *op) {
    const int64_t pixels = tensor_rows(&op->y);
    CHECK(op->values && !op->adjoint && !op->add.data && op->y.dtype == DTYPE_F32,
          "bilinear: bytes stand for something, and are only read");
    CHECK(pixels < INT32_MAX, "bilinear: %d images at once are too many", op->y.n);
    bilinear_bytes_kernel<<<blocks_for(pixels, BLOCK), BLOCK, 0, cuda_stream(device)>>>(*op,
                                                                                        (uint32_t)pixels);
    CUDA_LAUNCHED("bilinear");
}

void cuda_bilinear(Device *device, const Bilinear *op) {
    const int64_t count = tensor_count(&op->y);
    CHECK(op->x.n == op->y.n && op->x.c == op->y.c, "bilinear: images or channels differ");
    if (op->x.dtype == DTYPE_U8) {
        bytes_run(device, op);
        return;
    }
    CHECK(!op->add.data || tensor_count(&op->add) == count, "bilinear: size of add");
    CHECK(same_dtype(op->x, op->y) && same_dtype(op->add, op->y), "bilinear: types differ");
    dtype_dispatch(op->y.dtype, [&](auto type) {
        bilinear_kernel<decltype(type)>
            <<<blocks_for(count, BLOCK), BLOCK, 0, cuda_stream(device)>>>(*op, count);
    });
    CUDA_LAUNCHED("bilinear");
}
