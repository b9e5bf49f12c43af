/* Linear layers and 1x1 convolutions on cuBLAS, fp32 accumulation. cuBLAS stores matrices by columns, so ours
 * (by rows) are its transposes: a product y = x W^T of rows is asked for as y^T = W x^T. A concatenation is
 * two products, the second added; bias and residual follow in one elementwise pass.
 */
#include "backend/cuda/elements.cuh"
#include <cublas_v2.h>

static cudaDataType_t data_type(DType dtype) {
    CHECK(dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16, "linear: floats only");
    return dtype == DTYPE_F32 ? CUDA_R_32F : dtype == DTYPE_F16 ? CUDA_R_16F : CUDA_R_16BF;
}

/* A matrix as cuBLAS sees it: `stride` elements from column to column. */
typedef struct Matrix {
    const void *data;
    DType dtype;
    int stride;
    cublasOperation_t operation;
} Matrix;

/* c[m, n] = alpha a b + beta c, `depth` terms */
static void product(Device *device, const Matrix &a, const Matrix &b, void *c, DType c_dtype, int c_stride,
                    int m, int n, int depth, float alpha, float beta) {
    BLAS_CHECK(cublasGemmEx(cuda_context(device)->blas, a.operation, b.operation, m, n, depth, &alpha, a.data,
                            data_type(a.dtype), a.stride, b.data, data_type(b.dtype), b.stride, &beta, c,
                            data_type(c_dtype), c_stride, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

static const void *matrix_at(const void *weight, DType dtype, int column) {
    return (const char *)weight + (size_t)column * dtype_size(dtype);
}

void cuda_linear_forward(Device *device, const LinearForward *op) {
    const int rows = (int)tensor_rows(&op->y), total = op->x[0].c + (op->x[1].data ? op->x[1].c : 0);
    for (int i = 0, column = 0; i < 2 && op->x[i].data; column += op->x[i].c, i++) {
        const Tensor &x = op->x[i];
        CHECK(tensor_rows(&x) == rows, "linear_forward: x and y differ in rows");
        const Matrix weight = {matrix_at(op->weight, x.dtype, column), x.dtype, total, CUBLAS_OP_T};
        const Matrix input = {x.data, x.dtype, x.c, CUBLAS_OP_N};
        product(device, weight, input, op->y.data, op->y.dtype, op->y.c, op->y.c, rows, x.c, op->scale,
                i ? 1.0f : 0.0f);
    }
    if (op->bias || op->residual.data)
        cuda_epilogue(device, &op->y, op->bias, &op->residual, 1.0f, op->scale);
}

void cuda_linear_backward_data(Device *device, const LinearBackwardData *op) {
    const int rows = (int)tensor_rows(&op->dy), total = op->c[0] + op->c[1];
    for (int i = 0; i < 2; i++) {
        const Tensor &dx = op->dx[i], &add = op->add[i];
        if (!dx.data) continue;
        CHECK(tensor_rows(&dx) == rows && dx.c == op->c[i], "linear_backward_data: size of dx");
        CHECK(same_dtype(dx, add), "linear_backward_data: types differ");
        if (add.data && add.data != dx.data)
            device->copy(device, dx.data, add.data, tensor_bytes(&dx), COPY_ON_DEVICE);
        const Matrix weight = {matrix_at(op->weight, op->dy.dtype, i ? op->c[0] : 0), op->dy.dtype, total,
                               CUBLAS_OP_N};
        const Matrix gradient = {op->dy.data, op->dy.dtype, op->dy.c, CUBLAS_OP_N};
        product(device, weight, gradient, dx.data, dx.dtype, dx.c, dx.c, rows, op->dy.c, op->dy_scale,
                add.data ? op->add_scale[i] : 0.0f);
    }
}

void cuda_linear_backward_weight(Device *device, const LinearBackwardWeight *op) {
    const int rows = (int)tensor_rows(&op->dy), total = op->x[0].c + (op->x[1].data ? op->x[1].c : 0);
    for (int i = 0, column = 0; i < 2 && op->x[i].data; column += op->x[i].c, i++) {
        const Tensor &x = op->x[i];
        const Matrix input = {x.data, x.dtype, x.c, CUBLAS_OP_N};
        const Matrix gradient = {op->dy.data, op->dy.dtype, op->dy.c, CUBLAS_OP_T};
        product(device, input, gradient, op->dweight + column, DTYPE_F32, total, x.c, op->dy.c, rows,
                op->dy_scale, op->accumulate ? 1.0f : 0.0f);
    }
    if (op->dbias) cuda_column_sums(device, &op->dy, op->dbias, op->dy_scale, op->accumulate);
}
