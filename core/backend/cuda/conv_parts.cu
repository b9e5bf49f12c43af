/* The op conv_parts: which width of block a problem gets, what goes into the workspace, and the launches of
 * the kernels that conv_parts.cuh has. */
#include "backend/cuda/conv_parts.cuh"
#include <stdlib.h>

namespace {

struct PartsPlan {
    OpPlan plan;
    ConvShape shape;
    int width, tiles, stages; /* channels that a block makes; see Problem */
    size_t numbers;           /* bytes of the cut weights; scales and biases follow */
    bool exact;
};

static int stage_bytes(int width) {
    return ROWS * DEPTH * (int)sizeof(float) + width * WEIGHT_ROW * (int)sizeof(__half);
}

/* What blocks of `width` channels have room for; of 32, two share a multiprocessor. */
static int stages_fit(int width, int shared) {
    const int most = width == 32 ? 3 : 4,
              room = shared - ROWS * (int)sizeof(Corner) - width * (int)sizeof(Column),
              fit = room / stage_bytes(width);
    return fit < most ? fit : most;
}

/* The width whose blocks compute least, narrow ones being slower. Channels that are not whole packs are
 * fetched one by one, by the narrowest. */
static int width_choose(int columns, int c_in, int shared) {
    static const int widths[] = {128, 96, 64, 32};
    static const float costs[] = {1.0f, 1.05f, 1.15f, 1.5f};
    int best = 32;
    if (c_in % 4) return best;
    float least = INFINITY;
    for (int i = 0; i < 4; i++) {
        const float cost = costs[i] * (float)((columns + widths[i] - 1) / widths[i] * widths[i]);
        if (cost < least && stages_fit(widths[i], shared) >= 2) least = cost, best = widths[i];
    }
    return best;
}

template <int BN, int V, bool EXACT> static void parts_launch(const Problem &p, cudaStream_t stream) {
    const unsigned blocks = (unsigned)((p.rows + ROWS - 1) / ROWS * p.tiles);
    const int bytes = p.stages * (int)sizeof(Stage<BN>);
    CUDA_CHECK(cudaFuncSetAttribute((const void *)parts_kernel<BN, V, EXACT>,
                                    cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    parts_kernel<BN, V, EXACT><<<blocks, THREADS, bytes, stream>>>(p);
    CUDA_LAUNCHED("conv_parts");
}

template <int BN, int V> static void width_launch(const Problem &p, bool exact, cudaStream_t stream) {
    if (exact)
        parts_launch<BN, V, true>(p, stream);
    else
        parts_launch<BN, V, false>(p, stream);
}

/* The parts' outputs and weights, each a stretch of the product's columns. */
static void parts_describe(const ConvParts *op, const ConvShape *s, Problem *p) {
    int begin = 0;
    p->pairs = true;
    for (int i = 0; i < op->parts; i++) {
        const ConvPart *from = &op->part[i];
        const Tensor *y = &from->y;
        CHECK(y->dtype == DTYPE_F32 && y->n == s->n && y->h == conv_out_h(s) && y->w == conv_out_w(s) &&
                  from->first >= 0 && from->first + from->c_out <= y->c,
              "conv_parts: y of part %d differs from the plan's", i);
        CHECK(from->activation != ACT_SILU, "conv_parts: a rectifier or nothing");
        p->part[i] =
            Part{(float *)y->data + from->first, from->weight, from->bias, begin, y->c, from->activation};
        p->pairs = p->pairs && from->c_out % 2 == 0 && y->c % 2 == 0 && (uintptr_t)p->part[i].y % 8 == 0;
        begin += from->c_out;
    }
    p->parts = op->parts;
    CHECK(begin == s->c_out, "conv_parts: %d channels in all, the plan has %d", begin, s->c_out);
}

static Problem problem_make(const PartsPlan *plan, const ConvParts *op) {
    const ConvShape *s = &plan->shape;
    const float *scale = (const float *)((const char *)op->workspace + plan->numbers);
    Problem p = {};
    CHECK((uintptr_t)op->x.data % 16 == 0, "conv_parts: x is not aligned");
    CHECK(op->x.dtype == DTYPE_F32 && op->x.n == s->n && op->x.h == s->h && op->x.w == s->w &&
              op->x.c == s->c_in,
          "conv_parts: x differs from the plan's");
    p.x = (const float *)op->x.data, p.weight = (const __half *)op->workspace;
    p.scale = scale, p.bias = scale + s->c_out;
    p.h = s->h, p.w = s->w, p.c_in = s->c_in, p.out_h = conv_out_h(s), p.out_w = conv_out_w(s);
    p.kernel_h = s->kernel_h, p.kernel_w = s->kernel_w, p.stride = s->stride, p.pad_h = s->pad_h,
    p.pad_w = s->pad_w;
    p.rows = s->n * p.out_h * p.out_w, p.columns = s->c_out, p.depth = s->kernel_h * s->kernel_w * s->c_in;
    p.tiles = plan->tiles, p.stages = plan->stages;
    parts_describe(op, s, &p);
    return p;
}

} // namespace

OpPlan *cuda_conv_parts_prepare(Device *device, const ConvShape *shape, const int *c_out, int parts) {
    (void)c_out, (void)parts; /* one product makes all of them */
    const int shared = cuda_attribute(device, cudaDevAttrMaxSharedMemoryPerBlockOptin);
    PartsPlan *plan = (PartsPlan *)calloc(1, sizeof *plan);
    CHECK(plan, "out of memory");
    CHECK(shape->dtype == DTYPE_F32, "conv_parts: fp32 only");
    CHECK(conv_out_h(shape) > 0 && conv_out_w(shape) > 0, "conv: the kernel is larger than the padded image");
    CHECK((int64_t)shape->n * (shape->h + 2 * shape->pad_h) * (shape->w + 2 * shape->pad_w) * shape->c_in <
                  INT32_MAX &&
              (int64_t)shape->n * conv_out_h(shape) * conv_out_w(shape) < INT32_MAX - ROWS,
          "conv_parts: %d images at once are too many", shape->n);
    const int depth = shape->kernel_h * shape->kernel_w * shape->c_in,
              padded = (depth + DEPTH - 1) / DEPTH * DEPTH;
    plan->shape = *shape;
    plan->exact = !device->tf32;
    plan->width = width_choose(shape->c_out, shape->c_in, shared);
    plan->tiles = (shape->c_out + plan->width - 1) / plan->width;
    plan->stages = stages_fit(plan->width, shared);
    CHECK(plan->stages >= 2, "conv_parts: %d bytes of shared memory a block are too few", shared);
    plan->numbers = (size_t)plan->tiles * (size_t)plan->width * (size_t)padded * 2 * sizeof(__half);
    plan->plan.workspace = plan->numbers + 2 * (size_t)shape->c_out * sizeof(float);
    return &plan->plan;
}

void cuda_conv_parts(Device *device, const ConvParts *op) {
    const PartsPlan *plan = (const PartsPlan *)op->plan;
    const Problem p = problem_make(plan, op);
    const cudaStream_t stream = cuda_stream(device);
    prepare_kernel<<<(unsigned)(plan->tiles * plan->width), THREADS, 0, stream>>>(
        p, (__half *)p.weight, (float *)p.scale, (float *)p.bias);
    CUDA_LAUNCHED("conv_parts, weights");
    if (p.c_in % 4)
        width_launch<32, 1>(p, plan->exact, stream);
    else if (plan->width == 128)
        width_launch<128, 4>(p, plan->exact, stream);
    else if (plan->width == 96)
        width_launch<96, 4>(p, plan->exact, stream);
    else if (plan->width == 64)
        width_launch<64, 4>(p, plan->exact, stream);
    else
        width_launch<32, 4>(p, plan->exact, stream);
}
