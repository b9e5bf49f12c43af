/* Convolution, linear, group norm with SiLU and everything around it, and attention against PyTorch, forward
 * and backward (tests/golden/ops_heavy.npz, made by scripts/golden_heavy.py). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#define GOLDEN_FILE "tests/golden/ops_heavy.npz"
#include "golden.h"

static void check_golden_vector(const float *got, const char *prefix, const char *key, double tolerance) {
    const Tensor expected = golden_tensor(prefix, key);
    check_golden((Tensor){(void *)(uintptr_t)got, DTYPE_F32, 1, 1, 1, (int)tensor_count(&expected)}, prefix,
                 key, tolerance);
}

static void golden_conv_check(const char *name, int stride) {
    const Tensor x = golden_tensor(name, "x"), w = golden_tensor(name, "weight"),
                 dy = golden_tensor(name, "dy");
    const ConvShape s = {x.n, x.h, x.w, x.c, w.n, w.h, w.w, stride, 1, 1, DTYPE_F32, false};
    OpPlan *plan[3];
    for (ConvPass pass = 0; pass < 3; pass++) plan[pass] = device->ops->conv_prepare(device, &s, pass, NULL);
    const ConvForward f = {.plan = plan[0],
                           .x = x,
                           .y = tensor_like(dy),
                           .weight = w.data,
                           .scale = 1.0f,
                           .bias = golden_tensor(name, "bias").data,
                           .workspace = array_poisoned(plan[0]->workspace)};
    device->ops->conv_forward(device, &f);
    check_golden(f.y, name, "y", 2e-6);
    const ConvBackwardData b = {.plan = plan[1],
                                .dy = dy,
                                .dx = tensor_like(x),
                                .weight = w.data,
                                .dy_scale = 1.0f,
                                .workspace = array_poisoned(plan[1]->workspace)};
    device->ops->conv_backward_data(device, &b);
    check_golden(b.dx, name, "dx", 2e-6);
    const ConvBackwardWeight g = {plan[2],
                                  x,
                                  dy,
                                  (Tensor){0},
                                  tensor_like(w).data,
                                  floats_poisoned(w.n),
                                  1.0f,
                                  false,
                                  array_poisoned(plan[2]->workspace)};
    device->ops->conv_backward_weight(device, &g);
    check_golden_vector(g.dweight, name, "dweight", 2e-6);
    check_golden_vector(g.dbias, name, "dbias", 2e-6);
    for (ConvPass pass = 0; pass < 3; pass++) device->ops->plan_release(device, plan[pass]);
}

static void test_golden_conv(void **state) {
    (void)state;
    golden_conv_check("conv", 1);
    golden_conv_check("conv_stride", 2);
}

/* A vector of the file as `rows` rows. */
static Tensor golden_rows(const char *name, const char *key, int rows) {
    const Tensor t = golden_tensor(name, key);
    return (Tensor){t.data, DTYPE_F32, rows, 1, 1, (int)(tensor_count(&t) / rows)};
}

static void test_golden_linear(void **state) {
    (void)state;
    const Tensor x = golden_rows("linear", "x", 12), dy = golden_rows("linear", "dy", 12);
    const Tensor w = golden_tensor("linear", "weight");
    const LinearForward f = {.x = {x},
                             .y = tensor_like(dy),
                             .weight = w.data,
                             .scale = 1.0f,
                             .bias = golden_tensor("linear", "bias").data};
    device->ops->linear_forward(device, &f);
    check_golden(f.y, "linear", "y", 2e-6);
    const LinearBackwardData b = {.dy = dy, .dx = {tensor_like(x)}, .weight = w.data, .dy_scale = 1.0f};
    device->ops->linear_backward_data(device, &b);
    check_golden(b.dx[0], "linear", "dx", 2e-6);
    const LinearBackwardWeight g = {{x}, dy, tensor_like(w).data, floats_poisoned(dy.c), 1.0f, false};
    device->ops->linear_backward_weight(device, &g);
    check_golden_vector(g.dweight, "linear", "dweight", 2e-6);
    check_golden_vector(g.dbias, "linear", "dbias", 2e-6);
}

static void test_golden_norm(void **state) {
    (void)state;
    const Tensor x = golden_tensor("norm", "x"), bias = golden_rows("norm", "bias", x.n);
    const Tensor scale_shift = golden_rows("norm", "scale_shift", x.n);
    const NormForward f = {.x = {x},
                           .y = tensor_like(x),
                           .bias = bias,
                           .scale_shift = scale_shift,
                           .gamma = golden_tensor("norm", "gamma").data,
                           .beta = golden_tensor("norm", "beta").data,
                           .groups = 8,
                           .epsilon = 1e-6f,
                           .activation = ACT_SILU,
                           .statistics = floats_poisoned(x.n * 8 * 2)};
    device->ops->norm_forward(device, &f);
    check_golden(f.y, "norm", "y", 3e-6);
    const NormBackward b = {.forward = f,
                            .dy = golden_tensor("norm", "dy"),
                            .dx = {tensor_like(x)},
                            .dbias = tensor_like(bias),
                            .dscale_shift = tensor_like(scale_shift),
                            .dy_scale = 1.0f,
                            .dgamma = floats_poisoned(x.c),
                            .dbeta = floats_poisoned(x.c),
                            .workspace = array_poisoned(device->ops->norm_backward_workspace(device, &f))};
    device->ops->norm_backward(device, &b);
    check_golden(b.dx[0], "norm", "dx", 3e-6);
    check_golden_vector(b.dgamma, "norm", "dgamma", 3e-6);
    check_golden_vector(b.dbeta, "norm", "dbeta", 3e-6);
    check_golden_vector(b.dbias.data, "norm", "dbias", 3e-6);
    check_golden_vector(b.dscale_shift.data, "norm", "dscale_shift", 3e-6);
}

static void test_golden_attention(void **state) {
    (void)state;
    const Tensor qkv = golden_tensor("attention", "x"), dy = golden_tensor("attention", "dy");
    const Ops *ops = device->ops;
    const AttentionForward f = {.qkv = qkv,
                                .y = tensor_like(dy),
                                .heads = 2,
                                .workspace =
                                    array_poisoned(ops->attention_workspace(device, &qkv, 2, false))};
    ops->attention_forward(device, &f);
    check_golden(f.y, "attention", "y", 3e-6);
    const AttentionBackward b = {.qkv = qkv,
                                 .y = f.y,
                                 .dy = dy,
                                 .dqkv = tensor_like(qkv),
                                 .heads = 2,
                                 .dy_scale = 1.0f,
                                 .workspace =
                                     array_poisoned(ops->attention_workspace(device, &qkv, 2, true))};
    ops->attention_backward(device, &b);
    check_golden(b.dqkv, "attention", "dx", 3e-6);
}

#define OP_TEST(name) cmocka_unit_test_setup_teardown(name, arrays_setup, arrays_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(test_golden_conv),
        OP_TEST(test_golden_linear),
        OP_TEST(test_golden_norm),
        OP_TEST(test_golden_attention),
    };
    return cmocka_run_group_tests_name("backend: PyTorch's answers", tests, golden_open, golden_close);
}
