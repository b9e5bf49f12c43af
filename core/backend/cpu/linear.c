/* Linear layers and 1x1 convolutions: products of many rows with a small matrix. Every thread packs the
 * matrix and takes some of the rows; with few rows (the noise embedding's layers) every thread takes some of
 * the columns instead. */
#include "backend/cpu/cpu.h"
#include "backend/cpu/gemm.h"

/* y = scale * (terms * W + bias) + add_scale * add with W(k, j) = weight[k * depth_stride + j *
 * column_stride]. */
typedef struct Product {
    GemmTerm term[2];
    int terms, depth;
    const float *weight;
    int64_t depth_stride, column_stride;
    int64_t rows;
    int columns;
    GemmResult result;
} Product;

/* The part of a product that one thread does: as many columns at a time as fit into its scratch memory. */
static void product_part(const Product *p, Range rows, Range columns, float *scratch) {
    const int fit = SCRATCH_FLOATS / p->depth / GEMM_PANEL * GEMM_PANEL;
    CHECK(fit > 0, "linear: %d input channels are more than the CPU backend's scratch memory holds",
          p->depth);
    for (int64_t first = columns.begin; first < columns.end; first += fit) {
        const int count = (int)(columns.end - first < fit ? columns.end - first : fit);
        gemm_pack(scratch, p->weight + first * p->column_stride, p->depth_stride, p->column_stride, p->depth,
                  count);
        GemmTerm term[2];
        for (int t = 0; t < p->terms; t++) {
            term[t] = p->term[t];
            term[t].a += rows.begin * term[t].row_stride;
        }
        GemmResult r = p->result;
        r.c += rows.begin * r.stride + first;
        if (r.bias) r.bias += first;
        if (r.add) r.add += rows.begin * r.add_stride + first;
        gemm_run(term, p->terms, scratch, (int)(rows.end - rows.begin), count, &r);
    }
}

static void product_run(const Device *device, const Product *p) {
    const int parts = cpu_parts(device, p->rows * p->columns * p->depth / 8);
    const bool by_rows = p->rows >= 8 * (int64_t)p->columns || p->columns < parts * GEMM_PANEL;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        Range rows = {0, p->rows}, columns = {0, p->columns};
        if (by_rows)
            rows = range_part_step(p->rows, GEMM_ROWS, part, parts);
        else
            columns = range_part_step(p->columns, GEMM_PANEL, part, parts);
        if (rows.begin < rows.end && columns.begin < columns.end)
            product_part(p, rows, columns, cpu_scratch(device, part));
    }
}

void cpu_linear_forward(Device *device, const LinearForward *a) {
    CHECK_F32(a->x[0]);
    CHECK_F32(a->x[1]);
    CHECK_F32(a->y);
    CHECK_F32(a->residual);
    Product p = {.terms = a->x[1].data ? 2 : 1, .rows = tensor_rows(&a->y), .columns = a->y.c};
    for (int t = 0; t < p.terms; t++) {
        CHECK(tensor_rows(&a->x[t]) == p.rows, "linear_forward: x and y differ in rows");
        p.term[t] = (GemmTerm){a->x[t].data, a->x[t].c, a->x[t].c};
        p.depth += a->x[t].c;
    }
    p.weight = a->weight;
    p.depth_stride = 1;
    p.column_stride = p.depth;
    p.result = (GemmResult){a->y.data, a->y.c, a->scale, a->bias, a->residual.data, a->y.c, a->scale};
    product_run(device, &p);
}

void cpu_linear_backward_data(Device *device, const LinearBackwardData *a) {
    CHECK_F32(a->dy);
    const int total = a->dx[0].c + a->dx[1].c;
    for (int i = 0, offset = 0; i < 2; offset += a->dx[i].c, i++) {
        if (!a->dx[i].data) continue;
        CHECK_F32(a->dx[i]);
        CHECK_F32(a->add[i]);
        const int c = a->dx[i].c;
        Product p = {.terms = 1, .rows = tensor_rows(&a->dy), .columns = c, .depth = a->dy.c};
        p.term[0] = (GemmTerm){a->dy.data, a->dy.c, a->dy.c};
        p.weight = (const float *)a->weight + offset;
        p.depth_stride = total;
        p.column_stride = 1;
        p.result = (GemmResult){a->dx[i].data, c, a->dy_scale, NULL, a->add[i].data, c, a->add_scale[i]};
        product_run(device, &p);
    }
}

/* ---- gradient of the weight: dW = dy^T [x0 | x1], a product whose depth is the rows ---- */

/* Rows of x that are packed at once. Their sum is added to dW as a whole, so rounding errors grow with the
 * number of blocks and with the length of a block, not with their product. */
static int depth_block(int inputs) {
    const int fit = (int)(SCRATCH_FLOATS / 2 / gemm_packed_size(1, inputs));
    CHECK(fit > 0, "linear: %d input channels are more than the CPU backend's scratch memory holds", inputs);
    return fit < 256 ? fit : 256;
}

/* What one thread computes: some rows of the batch, some outputs; into `target` (ld = all inputs). */
typedef struct WeightPart {
    Range rows;
    Range outputs;
    float *dweight, *dbias; /* dbias may be NULL */
    float *packed;
    float scale;
    bool accumulate;
    int depth; /* rows at once */
} WeightPart;

/* out[j] = scale * (sum of dy's rows) (+ out[j]) for the columns `outputs`. */
static void bias_block(const LinearBackwardWeight *a, Range rows, const WeightPart *part, bool add) {
    enum { LANES = 64 };
    for (int64_t first = part->outputs.begin; first < part->outputs.end; first += LANES) {
        const int count = (int)(part->outputs.end - first < LANES ? part->outputs.end - first : LANES);
        float sum[LANES] = {0};
        for (int64_t row = rows.begin; row < rows.end; row++) {
            const float *dy = (const float *)a->dy.data + row * a->dy.c + first;
#pragma omp simd
            for (int j = 0; j < count; j++) sum[j] += dy[j];
        }
        float *out = part->dbias + first;
        for (int j = 0; j < count; j++) out[j] = part->scale * sum[j] + (add ? out[j] : 0.0f);
    }
}

static void weight_block(const LinearBackwardWeight *a, Range rows, const WeightPart *part, bool add) {
    const int depth = (int)(rows.end - rows.begin), outputs = (int)(part->outputs.end - part->outputs.begin);
    const int inputs = a->x[0].c + a->x[1].c;
    const float *dy = (const float *)a->dy.data + rows.begin * a->dy.c + part->outputs.begin;
    for (int i = 0, offset = 0; i < 2; offset += a->x[i].c, i++) {
        if (!a->x[i].data) continue;
        const int c = a->x[i].c;
        float *to = part->dweight + part->outputs.begin * inputs + offset;
        gemm_pack(part->packed, (const float *)a->x[i].data + rows.begin * c, c, 1, depth, c);
        const GemmResult r = {to, inputs, part->scale, NULL, add ? to : NULL, inputs, 1.0f};
        gemm_run_transposed(dy, a->dy.c, depth, part->packed, outputs, c, &r);
    }
    if (part->dbias) bias_block(a, rows, part, add);
}

static void weight_part(const LinearBackwardWeight *a, const WeightPart *part) {
    bool add = part->accumulate;
    for (int64_t row = part->rows.begin; row < part->rows.end; row += part->depth, add = true) {
        const int64_t end = row + part->depth;
        weight_block(a, (Range){row, end < part->rows.end ? end : part->rows.end}, part, add);
    }
}

/* Large matrices: every thread makes some rows of dW from all rows of the batch. */
static void weight_by_outputs(const Device *device, const LinearBackwardWeight *a, int parts) {
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const WeightPart w = {{0, tensor_rows(&a->dy)},
                              range_part(a->dy.c, part, parts),
                              a->dweight,
                              a->dbias,
                              cpu_scratch(device, part),
                              a->dy_scale,
                              a->accumulate,
                              depth_block(a->x[0].c + a->x[1].c)};
        if (w.outputs.begin < w.outputs.end) weight_part(a, &w);
    }
}

/* to = (to +) the threads' sums, which start at the same place of every scratch memory, in the order of the
 * threads. */
static void sums_add(const Device *device, float *to, int64_t offset, Range range, int parts,
                     const LinearBackwardWeight *a) {
    for (int part = 0; part < parts; part++) {
        const float *sum = cpu_scratch(device, part) + offset;
        const bool add = part > 0 || a->accumulate;
#pragma omp simd
        for (int64_t i = range.begin; i < range.end; i++) to[i] = a->dy_scale * sum[i] + (add ? to[i] : 0.0f);
    }
}

/* Small matrices, many rows: every thread makes a dW of its own from its rows, in its scratch memory. */
static void weight_by_rows(const Device *device, const LinearBackwardWeight *a, int parts, int64_t size) {
    const int64_t rows = tensor_rows(&a->dy);
    const int depth = depth_block(a->x[0].c + a->x[1].c);
#pragma omp parallel num_threads(parts)
    {
#pragma omp for schedule(static, 1)
        for (int part = 0; part < parts; part++) {
            float *scratch = cpu_scratch(device, part);
            const WeightPart w = {range_part_step(rows, depth, part, parts),
                                  {0, a->dy.c},
                                  scratch,
                                  a->dbias ? scratch + size : NULL,
                                  scratch + size + a->dy.c,
                                  1.0f,
                                  false,
                                  depth};
            weight_part(a, &w);
        }
#pragma omp for schedule(static, 1)
        for (int part = 0; part < parts; part++) {
            sums_add(device, a->dweight, 0, range_part_step(size, 16, part, parts), parts, a);
            if (a->dbias)
                sums_add(device, a->dbias, size, range_part_step(a->dy.c, 16, part, parts), parts, a);
        }
    }
}

void cpu_linear_backward_weight(Device *device, const LinearBackwardWeight *a) {
    CHECK_F32(a->dy);
    CHECK_F32(a->x[0]);
    CHECK_F32(a->x[1]);
    const int64_t rows = tensor_rows(&a->dy), inputs = a->x[0].c + a->x[1].c, size = inputs * a->dy.c;
    const int depth = depth_block((int)inputs);
    const int64_t packed = gemm_packed_size(depth, inputs);
    const int parts = cpu_parts(device, rows * size / 8);
    if (size + a->dy.c + packed <= SCRATCH_FLOATS && rows >= parts * (int64_t)depth)
        weight_by_rows(device, a, parts, size);
    else
        weight_by_outputs(device, a, parts);
}
