/* What cuBLAS and cuDNN do for our ops, in plain loops and OpenBLAS: factors as they are, sums in fp32,
 * results rounded to the network's type. */
#include "backend/cuda/conv.h"
#include "products.h"
#include <cblas.h>
#include <cublas_v2.h>
#include <stdlib.h>

/* ---- numbers of any type ---- */

static float number_read(const void *from, DType dtype, int64_t i) {
    if (dtype == DTYPE_F32) return ((const float *)from)[i];
    if (dtype == DTYPE_F16) return (float)((const _Float16 *)from)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)from)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void number_write(void *to, DType dtype, int64_t i, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (dtype == DTYPE_F32)
        ((float *)to)[i] = value;
    else if (dtype == DTYPE_F16)
        ((_Float16 *)to)[i] = (_Float16)value;
    else
        ((uint16_t *)to)[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static float *floats_make(int64_t count) {
    float *made = calloc((size_t)count, sizeof *made);
    CHECK(made, "out of memory");
    return made;
}

/* ---- products of matrices ---- */

/* Its `columns` of `rows`, beside each other. */
static float *matrix_widen(const Matrix *m, int rows, int columns) {
    float *wide = floats_make((int64_t)rows * columns);
    for (int j = 0; j < columns; j++)
        for (int i = 0; i < rows; i++)
            wide[(int64_t)j * rows + i] = number_read(m->data, m->dtype, (int64_t)j * m->stride + i);
    return wide;
}

void product_run(const Product *p) {
    const int a_rows = p->a.transposed ? p->depth : p->m, b_rows = p->b.transposed ? p->n : p->depth;
    float *a = matrix_widen(&p->a, a_rows, p->a.transposed ? p->m : p->depth);
    float *b = matrix_widen(&p->b, b_rows, p->b.transposed ? p->depth : p->n);
    float *sums = p->beta == 0.0f ? floats_make((int64_t)p->m * p->n) : matrix_widen(&p->c, p->m, p->n);
    cblas_sgemm(CblasColMajor, p->a.transposed ? CblasTrans : CblasNoTrans,
                p->b.transposed ? CblasTrans : CblasNoTrans, p->m, p->n, p->depth, p->alpha, a, a_rows, b,
                b_rows, p->beta, sums, p->m);
    for (int j = 0; j < p->n; j++)
        for (int i = 0; i < p->m; i++)
            number_write((void *)p->d.data, p->d.dtype, (int64_t)j * p->d.stride + i,
                         sums[(int64_t)j * p->m + i] +
                             (p->bias ? number_read(p->bias, p->d.dtype, i) : 0.0f));
    free(a);
    free(b);
    free(sums);
}

int cublasGemmStridedBatchedEx(struct cublasContext *blas, cublasOperation_t a_operation,
                               cublasOperation_t b_operation, int m, int n, int depth, const float *alpha,
                               const void *a, cudaDataType_t a_type, int a_stride, int64_t a_image,
                               const void *b, cudaDataType_t b_type, int b_stride, int64_t b_image,
                               const float *beta, void *c, cudaDataType_t c_type, int c_stride,
                               int64_t c_image, int count, cublasComputeType_t compute, int algorithm) {
    (void)blas, (void)compute, (void)algorithm;
    const int64_t size = (int64_t)dtype_size((DType)a_type);
    for (int i = 0; i < count; i++) {
        const Matrix out = {(char *)c + i * c_image * size, (DType)c_type, c_stride, false};
        product_run(&(Product){
            .a = {(const char *)a + i * a_image * size, (DType)a_type, a_stride, a_operation == CUBLAS_OP_T},
            .b = {(const char *)b + i * b_image * size, (DType)b_type, b_stride, b_operation == CUBLAS_OP_T},
            .c = out,
            .d = out,
            .m = m,
            .n = n,
            .depth = depth,
            .alpha = *alpha,
            .beta = *beta});
    }
    return 0;
}

/* ---- convolutions ---- */

Tensor conv_tensor_x(const ConvShape *s) {
    return (Tensor){NULL, s->dtype, s->n, s->h, s->w, s->c_in};
}

Tensor conv_tensor_y(const ConvShape *s) {
    const DType dtype = s->wide ? DTYPE_F32 : s->dtype;
    return (Tensor){NULL, dtype, s->n, conv_out_h(s), conv_out_w(s), s->c_out};
}

int64_t conv_weight_count(const ConvShape *s) {
    return (int64_t)s->c_out * s->kernel_h * s->kernel_w * s->c_in;
}

/* A kernel is its problem. */
typedef struct Found {
    ConvKernel kernel;
    ConvProblem problem;
} Found;

const ConvKernel *conv_kernel_find(Device *device, const ConvProblem *problem) {
    static Found found[1 << 12];
    static int count;
    (void)device;
    CHECK(count < (int)(sizeof found / sizeof *found), "too many convolutions");
    found[count].problem = *problem;
    return &found[count++].kernel;
}

static float *tensor_widen(const void *data, DType dtype, int64_t count) {
    float *wide = floats_make(count);
    for (int64_t i = 0; i < count && data; i++) wide[i] = number_read(data, dtype, i);
    return wide;
}

/* Output pixel `out` and the input pixel under one of its taps, all channels. */
static void tap_add(const ConvProblem *p, float *x, float *weight, float *y) {
    const ConvShape *s = &p->shape;
    const int64_t filter = (int64_t)s->kernel_h * s->kernel_w * s->c_in;
    for (int o = 0; o < s->c_out; o++)
        for (int c = 0; c < s->c_in; c++) {
            float *w = weight + o * filter + c;
            if (p->pass == CONV_FORWARD) y[o] += x[c] * *w;
            if (p->pass == CONV_BACKWARD_DATA) x[c] += y[o] * *w;
            if (p->pass == CONV_BACKWARD_WEIGHT) *w += x[c] * y[o];
        }
}

static void taps_add(const ConvProblem *p, float *x, float *weight, float *y) {
    const ConvShape *s = &p->shape;
    const int height = conv_out_h(s), width = conv_out_w(s), taps = s->kernel_h * s->kernel_w;
    for (int64_t out = 0; out < (int64_t)s->n * height * width; out++)
        for (int tap = 0; tap < taps; tap++) {
            const int row = (int)(out / width % height) * s->stride - s->pad_h + tap / s->kernel_w;
            const int column = (int)(out % width) * s->stride - s->pad_w + tap % s->kernel_w;
            if (row < 0 || row >= s->h || column < 0 || column >= s->w) continue;
            const int64_t in = (out / width / height * s->h + row) * s->w + column;
            tap_add(p, x + in * s->c_in, weight + (int64_t)tap * s->c_in, y + out * s->c_out);
        }
}

/* Forward y = scale * (conv + residual) + bias. */
void conv_kernel_run(Device *device, const ConvKernel *kernel, const ConvPointers *at, void *workspace) {
    const ConvProblem *p = &((const Found *)kernel)->problem;
    const ConvShape *s = &p->shape;
    const Tensor tx = conv_tensor_x(s), ty = conv_tensor_y(s);
    const int64_t count[] = {tensor_count(&tx), conv_weight_count(s), tensor_count(&ty)};
    const void *given[] = {at->x, at->weight, at->y};
    const int made = p->pass == CONV_FORWARD ? 2 : p->pass == CONV_BACKWARD_DATA ? 0 : 1;
    float *wide[3];
    (void)device, (void)workspace;
    for (int i = 0; i < 3; i++) wide[i] = tensor_widen(i == made ? NULL : given[i], s->dtype, count[i]);
    taps_add(p, wide[0], wide[1], wide[2]);
    for (int64_t i = 0; i < count[made]; i++) {
        float value = wide[made][i];
        if (at->residual) value += number_read(at->residual, s->dtype, i);
        value *= p->epilogue.scale;
        if (at->bias) value += number_read(at->bias, s->dtype, i % s->c_out);
        number_write((void *)given[made], s->dtype, i, value);
    }
    for (int i = 0; i < 3; i++) free(wide[i]);
}
