/* Bilinear interpolation and its transpose; which pixels meet with what weights stands in backend/bilinear.h.
 * The forward pass walks the outputs, the transposed one the pixels, each asking who reads it, so that either
 * way nothing is written by two threads. */
#include "backend/cpu/cpu.h"
#include "backend/bilinear.h"

static const float *pixel_at(const Tensor *t, int image, int y, int x) {
    return (const float *)t->data + (((int64_t)image * t->h + y) * t->w + x) * t->c;
}

/* y += weight * x, a pixel's channels */
static void pixel_add(float *y, const float *x, float weight, int channels) {
#pragma omp simd
    for (int c = 0; c < channels; c++) y[c] = __builtin_fmaf(weight, x[c], y[c]);
}

/* The same of bytes, by what they stand for. */
static void bytes_add(const Bilinear *op, float *y, int image, int row, int column, float weight) {
    const uint8_t *x =
        (const uint8_t *)op->x.data + (((int64_t)image * op->x.h + row) * op->x.w + column) * op->x.c;
    for (int c = 0; c < op->x.c; c++) y[c] = __builtin_fmaf(weight, op->values[x[c]], y[c]);
}

static void forward_pixel(const Bilinear *op, int image, BilinearPair v, int column, float *out) {
    const BilinearPair h = bilinear_pair(op->grid, op->x.w, op->y.w, column);
    const float high = op->scale * v.weight, low = op->scale * v.weight_low;
    if (op->x.dtype == DTYPE_U8) {
        bytes_add(op, out, image, v.low, h.low, low * h.weight_low);
        bytes_add(op, out, image, v.low, h.high, low * h.weight);
        bytes_add(op, out, image, v.high, h.low, high * h.weight_low);
        bytes_add(op, out, image, v.high, h.high, high * h.weight);
        return;
    }
    pixel_add(out, pixel_at(&op->x, image, v.low, h.low), low * h.weight_low, op->x.c);
    pixel_add(out, pixel_at(&op->x, image, v.low, h.high), low * h.weight, op->x.c);
    pixel_add(out, pixel_at(&op->x, image, v.high, h.low), high * h.weight_low, op->x.c);
    pixel_add(out, pixel_at(&op->x, image, v.high, h.high), high * h.weight, op->x.c);
}

/* Here x is the gradient of the outputs, and `row`, `column` a pixel of what was interpolated. */
static void adjoint_pixel(const Bilinear *op, int image, int row, int column, float *out) {
    int top, bottom, left, right;
    bilinear_readers(op->grid, op->y.h, op->x.h, row, &top, &bottom);
    bilinear_readers(op->grid, op->y.w, op->x.w, column, &left, &right);
    for (int i = top; i < bottom; i++) {
        const float v = op->scale * bilinear_weight(bilinear_pair(op->grid, op->y.h, op->x.h, i), row);
        if (v == 0.0f) continue;
        for (int j = left; j < right; j++) {
            const float h = bilinear_weight(bilinear_pair(op->grid, op->y.w, op->x.w, j), column);
            if (h != 0.0f) pixel_add(out, pixel_at(&op->x, image, i, j), v * h, op->x.c);
        }
    }
}

static void bilinear_row(const Bilinear *op, int64_t index) {
    const int image = (int)(index / op->y.h), row = (int)(index % op->y.h), channels = op->y.c;
    BilinearPair v = {0};
    if (!op->adjoint) v = bilinear_pair(op->grid, op->x.h, op->y.h, row);
    for (int column = 0; column < op->y.w; column++) {
        const int64_t at = (index * op->y.w + column) * channels;
        float *out = (float *)op->y.data + at;
        const float *add = op->add.data ? (const float *)op->add.data + at : NULL;
        for (int c = 0; c < channels; c++) out[c] = add ? op->add_scale * add[c] : 0.0f;
        if (op->adjoint)
            adjoint_pixel(op, image, row, column, out);
        else
            forward_pixel(op, image, v, column, out);
    }
}

void cpu_bilinear(Device *device, const Bilinear *op) {
    CHECK(op->x.dtype == DTYPE_F32 || (op->x.dtype == DTYPE_U8 && op->values && !op->adjoint),
          "bilinear: x is neither fp32 nor bytes that stand for something");
    CHECK_F32(op->y);
    CHECK_F32(op->add);
    CHECK(op->x.n == op->y.n && op->x.c == op->y.c, "bilinear: images or channels differ");
    CHECK(!op->add.data || tensor_count(&op->add) == tensor_count(&op->y), "bilinear: size of add");
    const int parts = cpu_parts(device, 4 * (tensor_count(&op->x) + tensor_count(&op->y)));
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part((int64_t)op->y.n * op->y.h, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) bilinear_row(op, i);
    }
}
