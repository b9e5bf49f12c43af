/* Linear layers and 1x1 convolutions: products that take scale, residual, bias and what is to be added along.
 * A concatenation is two products, the second added to the first. The bias comes after cuBLASLt's factors and
 * in the network's type, so a small kernel scales and rounds it first, into the scratch memory. Where kernels
 * of our own do more at once (linear_hopper.h), they come first. */
#include "backend/cuda/linear_hopper.h"
#include "backend/cuda/product.h"

/* Columns of the weight from `column` on; `total` is the length of its rows. */
static Matrix weight_columns(const void *weight, DType dtype, int column, int total, bool transposed) {
    return (Matrix){(const char *)weight + (size_t)column * dtype_size(dtype), dtype, total, transposed};
}

static Matrix matrix_of(const Tensor *t, bool transposed) {
    return (Matrix){t->data, t->dtype, t->c, transposed};
}

static int sources_width(const Tensor x[2]) {
    return x[0].c + (x[1].data ? x[1].c : 0);
}

static const void *bias_scaled(Device *device, const LinearForward *op) {
    const Tensor bias = {(void *)op->bias, DTYPE_F32, 1, 1, 1, op->y.c};
    const Tensor scaled = {cuda_context(device)->scratch, op->y.dtype, 1, 1, 1, op->y.c};
    if (!op->bias || (op->scale == 1.0f && op->y.dtype == DTYPE_F32)) return op->bias;
    CHECK(op->y.c <= SCRATCH_FLOATS, "a bias of %d channels does not fit into the scratch memory", op->y.c);
    cuda_add_scale(device, &(AddScale){.a = bias, .y = scaled, .a_scale = op->scale});
    return scaled.data;
}

void cuda_linear_forward(Device *device, const LinearForward *op) {
    const int rows = (int)tensor_rows(&op->y), total = sources_width(op->x);
    const bool two = op->x[1].data;
    CHECK(!op->residual.data ||
              (op->residual.dtype == op->y.dtype && tensor_count(&op->residual) == tensor_count(&op->y)),
          "linear_forward: residual and y differ");
    if (cuda_linear_joined_forward(device, op)) return;
    const void *bias = bias_scaled(device, op);
    for (int i = 0, column = 0; i <= two; column += op->x[i].c, i++) {
        const Tensor *x = &op->x[i], *add = i ? &op->y : &op->residual;
        CHECK(tensor_rows(x) == rows, "linear_forward: x and y differ in rows");
        cuda_product(device, &(Product){.a = weight_columns(op->weight, x->dtype, column, total, true),
                                        .b = matrix_of(x, false),
                                        .c = matrix_of(add->data ? add : &op->y, false),
                                        .d = matrix_of(&op->y, false),
                                        .m = op->y.c,
                                        .n = rows,
                                        .depth = x->c,
                                        .alpha = op->scale,
                                        .beta = i           ? 1.0f
                                                : add->data ? op->scale
                                                            : 0.0f,
                                        .bias = i == two ? bias : NULL});
    }
}

void cuda_linear_backward_data(Device *device, const LinearBackwardData *op) {
    const int rows = (int)tensor_rows(&op->dy), total = op->c[0] + op->c[1];
    if (cuda_linear_joined_backward_data(device, op)) return;
    for (int i = 0; i < 2; i++) {
        const Tensor *dx = &op->dx[i], *add = &op->add[i];
        if (!dx->data) continue;
        CHECK(tensor_rows(dx) == rows && dx->c == op->c[i], "linear_backward_data: size of dx");
        CHECK(!add->data || add->dtype == dx->dtype, "linear_backward_data: types differ");
        cuda_product(device,
                     &(Product){.a = weight_columns(op->weight, op->dy.dtype, i ? op->c[0] : 0, total, false),
                                .b = matrix_of(&op->dy, false),
                                .c = matrix_of(add->data ? add : dx, false),
                                .d = matrix_of(dx, false),
                                .m = dx->c,
                                .n = rows,
                                .depth = op->dy.c,
                                .alpha = op->dy_scale,
                                .beta = add->data ? op->add_scale[i] : 0.0f});
    }
}

void cuda_linear_backward_weight(Device *device, const LinearBackwardWeight *op) {
    const int rows = (int)tensor_rows(&op->dy), total = sources_width(op->x);
    if (cuda_linear_gradient(device, op)) return;
    for (int i = 0, column = 0; i < 2 && op->x[i].data; column += op->x[i].c, i++) {
        const Matrix dweight = weight_columns(op->dweight, DTYPE_F32, column, total, false);
        cuda_product(device, &(Product){.a = matrix_of(&op->x[i], false),
                                        .b = matrix_of(&op->dy, true),
                                        .c = dweight,
                                        .d = dweight,
                                        .m = op->x[i].c,
                                        .n = op->dy.c,
                                        .depth = rows,
                                        .alpha = op->dy_scale,
                                        .beta = op->accumulate ? 1.0f : 0.0f});
    }
    if (op->dbias) cuda_column_sums(device, &op->dy, op->dbias, op->dy_scale, op->accumulate);
}
