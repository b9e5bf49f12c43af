/* Self-attention. One (image, head) is one task: its keys and values are packed once, then blocks of queries
 * pass by, so the matrix of weights softmax(q k^T / sqrt(d)) exists only for one block at a time, in the
 * cache. The backward pass computes the weights again. With dP = dy v^T and r = sum_j P dP of every row,
 *
 *     dS = P (dP - r),   dq = dS k / sqrt(d),   dk = dS^T q / sqrt(d),   dv = P^T dy.
 */
#include "backend/cpu/cpu.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/simd.h"
#include <math.h>

enum { QUERIES = 96 }; /* rows of a block: whole tiles of gemm.h with AVX-512 and AVX2 */

/* Sizes and one thread's memory. Strides are floats from one pixel to the next. */
typedef struct Head {
    int length, width; /* pixels; channels per head */
    int64_t stride, out_stride;
    float scale;
    float *packed_a, *packed_b, *packed_c; /* keys, values; backward also keys the other way */
    float *weight, *dweight;               /* [QUERIES, length] */
    float *packed_block;                   /* backward: a block of queries or dy */
} Head;

static int64_t packed_floats(int length, int width) {
    const int64_t a = gemm_packed_size(width, length), b = gemm_packed_size(length, width);
    return ((a > b ? a : b) + 15) / 16 * 16;
}

/* Floats that one thread needs. */
static int64_t head_floats(int length, int width, bool backward) {
    const int64_t packed = packed_floats(length, width), block = (int64_t)QUERIES * length;
    const int64_t queries = gemm_packed_size(QUERIES, width);
    return backward ? 3 * packed + 2 * block + queries : 2 * packed + block;
}

static Head head_lay(const Tensor *qkv, int heads, float *memory, bool backward) {
    CHECK_F32(*qkv);
    CHECK(heads > 0 && qkv->c % (3 * heads) == 0, "attention: %d channels do not make q, k and v of %d heads",
          qkv->c, heads);
    const int length = qkv->h * qkv->w, width = qkv->c / 3 / heads;
    const int64_t packed = packed_floats(length, width);
    Head h = {.length = length, .width = width, .stride = qkv->c, .out_stride = qkv->c / 3};
    h.scale = (float)(1.0 / sqrt((double)width));
    h.packed_a = memory;
    h.packed_b = h.packed_a + packed;
    h.packed_c = backward ? h.packed_b + packed : NULL;
    h.weight = (backward ? h.packed_c : h.packed_b) + packed;
    h.dweight = h.weight + (int64_t)QUERIES * length;
    h.packed_block = h.dweight + (int64_t)QUERIES * length;
    return h;
}

size_t cpu_attention_workspace(Device *device, const Tensor *qkv, int heads, bool backward) {
    const int64_t floats = head_floats(qkv->h * qkv->w, qkv->c / 3 / heads, backward);
    return (size_t)(device->threads * floats) * sizeof(float);
}

/* Row by row: exponentials of the distances to the row's maximum, divided by their sum. */
static void rows_softmax(float *rows, int count, int length) {
    for (int i = 0; i < count; i++) {
        float *row = rows + (int64_t)i * length, top = row[0], sum = 0.0f;
#pragma omp simd reduction(max : top)
        for (int j = 0; j < length; j++) top = row[j] > top ? row[j] : top;
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < length; j++) {
            row[j] = simd_exp(row[j] - top);
            sum += row[j];
        }
        const float inverse = 1.0f / sum;
#pragma omp simd
        for (int j = 0; j < length; j++) row[j] *= inverse;
    }
}

/* h->weight = softmax(q k^T / sqrt(d)) of some queries; packed_a holds the keys. */
static void block_weights(const Head *h, const float *q, int count) {
    const GemmTerm term = {q, h->stride, h->width};
    const GemmResult r = {.c = h->weight, .stride = h->length, .scale = h->scale};
    gemm_run(&term, 1, h->packed_a, count, h->length, &r);
    rows_softmax(h->weight, count, h->length);
}

static void head_forward(const Head *h, const float *q, float *y) {
    const float *k = q + h->out_stride, *v = k + h->out_stride;
    gemm_pack(h->packed_a, k, 1, h->stride, h->width, h->length);
    gemm_pack(h->packed_b, v, h->stride, 1, h->length, h->width);
    for (int first = 0; first < h->length; first += QUERIES) {
        const int count = h->length - first < QUERIES ? h->length - first : QUERIES;
        block_weights(h, q + first * h->stride, count);
        const GemmTerm term = {h->weight, h->length, h->length};
        const GemmResult r = {.c = y + first * h->out_stride, .stride = h->out_stride, .scale = 1.0f};
        gemm_run(&term, 1, h->packed_b, count, h->width, &r);
    }
}

void cpu_attention_forward(Device *device, const AttentionForward *a) {
    const int heads = a->heads, tasks = a->qkv.n * heads;
    const int64_t pixels = (int64_t)a->qkv.h * a->qkv.w, inner = a->qkv.c / 3;
    const int64_t floats = head_floats((int)pixels, (int)inner / heads, false);
    const int parts = cpu_parts(device, tensor_count(&a->qkv) * pixels / 8);
    CHECK_F32(a->y);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Head h = head_lay(&a->qkv, heads, (float *)a->workspace + part * floats, false);
        const Range r = range_part(tasks, part, parts);
        for (int64_t t = r.begin; t < r.end; t++) {
            const int64_t row = t / heads * pixels, channel = t % heads * h.width;
            head_forward(&h, (const float *)a->qkv.data + row * h.stride + channel,
                         (float *)a->y.data + row * inner + channel);
        }
    }
}

/* dweight: dP on entry, dS on return. */
static void rows_softmax_backward(const float *weight, float *dweight, int count, int length) {
    for (int i = 0; i < count; i++) {
        const float *p = weight + (int64_t)i * length;
        float *d = dweight + (int64_t)i * length, sum = 0.0f;
#pragma omp simd reduction(+ : sum)
        for (int j = 0; j < length; j++) sum += p[j] * d[j];
#pragma omp simd
        for (int j = 0; j < length; j++) d[j] = p[j] * (d[j] - sum);
    }
}

/* to (+)= scale * left^T right, for the keys' and values' gradients; left is [count, length], right [count,
 * width]. */
static void block_gather(const Head *h, const float *left, const float *right, int64_t right_stride,
                         int count, float scale, float *to, bool add) {
    gemm_pack(h->packed_block, right, right_stride, 1, count, h->width);
    const GemmResult r = {to, h->stride, scale, NULL, add ? to : NULL, h->stride, 1.0f};
    gemm_run_transposed(left, h->length, count, h->packed_block, h->length, h->width, &r);
}

/* One block of queries, from `first` on: dP, then dS, then all three gradients. */
static void block_backward(const Head *h, const float *q, const float *dy, float *dq, float dy_scale,
                           int first) {
    const int count = h->length - first < QUERIES ? h->length - first : QUERIES;
    float *dk = dq + h->out_stride, *dv = dk + h->out_stride;
    q += first * h->stride;
    dy += first * h->out_stride;
    block_weights(h, q, count);
    const GemmTerm outer = {dy, h->out_stride, h->width};
    const GemmResult dp = {.c = h->dweight, .stride = h->length, .scale = dy_scale};
    gemm_run(&outer, 1, h->packed_b, count, h->length, &dp);
    rows_softmax_backward(h->weight, h->dweight, count, h->length);
    const GemmTerm inner = {h->dweight, h->length, h->length};
    const GemmResult result = {.c = dq + first * h->stride, .stride = h->stride, .scale = h->scale};
    gemm_run(&inner, 1, h->packed_c, count, h->width, &result);
    block_gather(h, h->dweight, q, h->stride, count, h->scale, dk, first > 0);
    block_gather(h, h->weight, dy, h->out_stride, count, dy_scale, dv, first > 0);
}

static void head_backward(const Head *h, const float *q, const float *dy, float *dq, float dy_scale) {
    const float *k = q + h->out_stride, *v = k + h->out_stride;
    gemm_pack(h->packed_a, k, 1, h->stride, h->width, h->length);
    gemm_pack(h->packed_b, v, 1, h->stride, h->width, h->length);
    gemm_pack(h->packed_c, k, h->stride, 1, h->length, h->width);
    for (int first = 0; first < h->length; first += QUERIES) block_backward(h, q, dy, dq, dy_scale, first);
}

void cpu_attention_backward(Device *device, const AttentionBackward *a) {
    const int heads = a->heads, tasks = a->qkv.n * heads;
    const int64_t pixels = (int64_t)a->qkv.h * a->qkv.w, inner = a->qkv.c / 3;
    const int64_t floats = head_floats((int)pixels, (int)inner / heads, true);
    const int parts = cpu_parts(device, tensor_count(&a->qkv) * pixels / 8);
    CHECK_F32(a->dy);
    CHECK_F32(a->dqkv);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Head h = head_lay(&a->qkv, heads, (float *)a->workspace + part * floats, true);
        const Range r = range_part(tasks, part, parts);
        for (int64_t t = r.begin; t < r.end; t++) {
            const int64_t row = t / heads * pixels, channel = t % heads * h.width;
            const int64_t at = row * h.stride + channel;
            head_backward(&h, (const float *)a->qkv.data + at,
                          (const float *)a->dy.data + row * inner + channel, (float *)a->dqkv.data + at,
                          a->dy_scale);
        }
    }
}
