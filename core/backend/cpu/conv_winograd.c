/* 3x3 convolutions with a quarter of the multiplications: Winograd's F(4x4, 3x3) (Lavin and Gray 2016,
 * arXiv:1509.09308). The image is cut into tiles of 4x4 outputs, which meet 6x6 inputs d. With the constant
 * matrices A, B, G,
 *
 *     y = A' [ sum_c (G g_c G') * (B' d_c B) ] A,
 *
 * where * is element by element: 36 numbers per tile and channel, hence 36 independent matrix products (tiles
 * x c_in) times (c_in x c_out), and 36 multiplications in place of 144. Blocks of tiles go through input
 * transform, products and output transform while they are in the second-level cache.
 *
 * The gradient with respect to x is the same with the mirrored, transposed weights. The gradient with respect
 * to the weight is the adjoint of the formula in g: with D = B' d B and E = A dy A',
 *
 *     dg = G' [ sum_tiles E * D ] G.
 *
 * Rounding: the transforms add numbers of different size, so errors are some times those of the plain sum
 * (measured in core/backend/README.md), far below what fp32 training notices.
 */
#include "backend/cpu/conv.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/winograd.h"
#include <stdlib.h>
#include <string.h>

/* One direction: images [n, h, w, inputs] to [n, h, w, outputs]. For the gradient of the weight, inputs are
 * x's channels and outputs are dy's. */
typedef struct Plan {
    ConvPlan base;
    int h, w, inputs, outputs;
    int across, per_image, tiles; /* tiles in a row of an image, in an image, in all */
    int threads, parts, block;    /* parts: threads with tiles; block: tiles that pass together on each */
    /* Where things lie in the workspace; of those that have a size here, every thread has one. */
    size_t turned_at, packed_at, input_at, output_at, outside_at, gradient_at;
    int64_t input_floats, output_floats, outside_floats, gradient_floats;
} Plan;

/* Distance between the matrices of neighbouring points. Were it a multiple of 4 KiB, the 36 places that a
 * transform writes to would fall on the same few lines of the cache. */
static int64_t point_stride(int64_t floats) {
    return floats + 16;
}

/* With very few tiles, transforming the weights costs more than it saves. */
static bool suits(const ConvShape *s, ConvPass pass) {
    (void)pass;
    const int tiles = s->n * ((s->h + TILE - 1) / TILE) * ((s->w + TILE - 1) / TILE);
    return s->kernel_h == 3 && s->kernel_w == 3 && s->stride == 1 && s->pad_h == 1 && s->pad_w == 1 &&
           s->c_in % VECTOR_LANES == 0 && s->c_out % VECTOR_LANES == 0 && s->h >= TILE && s->w >= TILE &&
           tiles >= 8;
}

/* Both transformed sides of a block together take about half of a second-level cache of 2 MiB. */
static int block_size(int channels) {
    enum { CACHE_FLOATS = 1 << 18, LEAST = 2 * GEMM_ROWS, MOST = 16 * GEMM_ROWS };
    const int fit = CACHE_FLOATS / (POINTS * channels) / GEMM_ROWS * GEMM_ROWS;
    return fit < LEAST ? LEAST : fit > MOST ? MOST : fit;
}

static ConvPlan *plan_prepare(Device *device, const ConvShape *s, ConvPass pass) {
    Plan *p = calloc(1, sizeof *p);
    CHECK(p, "conv: out of memory");
    p->base = (ConvPlan){.method = &conv_winograd, .shape = *s, .pass = pass};
    const bool back = pass == CONV_BACKWARD_DATA;
    p->h = s->h, p->w = s->w;
    p->inputs = back ? s->c_out : s->c_in, p->outputs = back ? s->c_in : s->c_out;
    p->across = (s->w + TILE - 1) / TILE;
    p->per_image = p->across * ((s->h + TILE - 1) / TILE);
    p->tiles = s->n * p->per_image;
    p->threads = device->threads;
    p->parts = p->threads < p->tiles ? p->threads : p->tiles;
    p->block = block_size(p->inputs + p->outputs);
    p->input_floats = POINTS * point_stride((int64_t)p->block * p->inputs);
    p->output_floats = POINTS * point_stride((int64_t)p->block * p->outputs);
    p->outside_floats = 2 * (p->inputs > p->outputs ? p->inputs : p->outputs);
    p->gradient_floats = POINTS * point_stride((int64_t)p->inputs * p->outputs) + p->outputs;
    p->input_at = conv_reserve(&p->base, p->parts * p->input_floats);
    p->output_at = conv_reserve(&p->base, p->parts * p->output_floats);
    p->outside_at = conv_reserve(&p->base, p->parts * p->outside_floats);
    if (pass == CONV_BACKWARD_WEIGHT) {
        p->gradient_at = conv_reserve(&p->base, p->parts * p->gradient_floats);
    } else {
        p->turned_at = conv_reserve(&p->base, conv_weight_count(s));
        p->packed_at = conv_reserve(&p->base, p->gradient_floats);
    }
    return &p->base;
}

static void plan_release(ConvPlan *base) {
    free(base);
}

/* ---- tiles ---- */

/* One thread's memory. */
typedef struct Scratch {
    float *input, *output; /* [36, tiles of the block, channels] */
    float *zeros, *waste;  /* pixels outside of the image are read from and written to here */
} Scratch;

static Scratch scratch_lay(const Plan *p, void *workspace, int part) {
    Scratch s = {.input = conv_memory(workspace, p->input_at) + part * p->input_floats,
                 .output = conv_memory(workspace, p->output_at) + part * p->output_floats,
                 .zeros = conv_memory(workspace, p->outside_at) + part * p->outside_floats};
    s.waste = s.zeros + p->outside_floats / 2;
    memset(s.zeros, 0, (size_t)p->outside_floats / 2 * sizeof(float));
    return s;
}

/* Addresses of size x size pixels from `border` above and left of tile t's outputs on. Those outside of the
 * image are `outside`, so that the loops over channels need no questions. */
static void tile_pixels(const Plan *p, int t, int border, int size, const float *images, int channels,
                        const float *outside, const float *pixel[POINTS]) {
    const int inside = t % p->per_image;
    const int y = inside / p->across * TILE - border, x = inside % p->across * TILE - border;
    const float *image = images + (int64_t)(t / p->per_image) * p->h * p->w * channels;
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) {
            const bool exists = y + i >= 0 && y + i < p->h && x + j >= 0 && x + j < p->w;
            pixel[i * size + j] = exists ? image + ((int64_t)(y + i) * p->w + x + j) * channels : outside;
        }
}

/* Where element (k, j) of a packed [depth, n] matrix stands (gemm_pack's layout). */
static int64_t packed_place(int depth, int n, int k, int j) {
    const int panel = j / GEMM_PANEL * GEMM_PANEL;
    const int width = n - panel > GEMM_LANES ? GEMM_PANEL : GEMM_LANES;
    return (int64_t)panel * depth + (int64_t)k * width + j - panel;
}

/* ---- forward, and gradient with respect to x ---- */

/* What happens to a result, as in gemm.h. `y` and `add` are whole batches. */
typedef struct Finish {
    float *y;
    const float *bias, *add;
    float scale, add_scale;
} Finish;

/* OHWI -> [tap, i, o], a cache line of inputs at a time. */
static void weights_turn(const Plan *p, const float *weight, float *turned) {
#pragma omp for schedule(static)
    for (int first = 0; first < p->inputs; first += VECTOR_LANES)
        for (int tap = 0; tap < 9; tap++)
            for (int o = 0; o < p->outputs; o++) {
                const float *from = weight + ((int64_t)o * 9 + tap) * p->inputs + first;
                float *to = turned + ((int64_t)tap * p->inputs + first) * p->outputs + o;
                for (int i = 0; i < VECTOR_LANES; i++) to[(int64_t)i * p->outputs] = from[i];
            }
}

/* The weights of every point, packed for gemm_run(): row k is an input, column j an output. For the gradient
 * with respect to x, OHWI has them in that order already, with the taps to be mirrored. */
static void weights_pack(const Plan *p, const float *weight, void *workspace) {
    const bool back = p->base.pass == CONV_BACKWARD_DATA;
    const int64_t matrix = point_stride((int64_t)p->inputs * p->outputs);
    float *packed = conv_memory(workspace, p->packed_at), *turned = conv_memory(workspace, p->turned_at);
    if (!back) weights_turn(p, weight, turned);
    const float *from = back ? weight : turned;
    const int64_t row = back ? 9 * (int64_t)p->outputs : p->outputs;
    const int64_t tap = back ? p->outputs : (int64_t)p->inputs * p->outputs;
#pragma omp for schedule(static)
    for (int k = 0; k < p->inputs; k++)
        for (int j = 0; j < p->outputs; j += VECTOR_LANES)
            winograd_weight(from + k * row + j, tap, back, packed + packed_place(p->inputs, p->outputs, k, j),
                            matrix);
}

static void tile_finish(const Plan *p, const Scratch *s, const float *from, int64_t stride, int t,
                        const Finish *f) {
    const float *to[POINTS], *add[POINTS];
    const Vector scale = vector_set(f->scale), add_scale = vector_set(f->add_scale);
    tile_pixels(p, t, 0, TILE, f->y, p->outputs, s->waste, to);
    if (f->add) tile_pixels(p, t, 0, TILE, f->add, p->outputs, s->zeros, add);
    for (int c = 0; c < p->outputs; c += VECTOR_LANES) {
        Vector y[TILE * TILE];
        winograd_output(from + c, stride, y);
        const Vector bias = f->bias ? vector_load(f->bias + c) : vector_set(0.0f);
        for (int i = 0; i < TILE * TILE; i++) {
            Vector value = scale * (y[i] + bias);
            if (f->add) value = vector_fma(add_scale, vector_load(add[i] + c), value);
            vector_store((float *)(uintptr_t)to[i] + c, value);
        }
    }
}

static void block_convolve(const Plan *p, const Scratch *s, const float *x, const float *packed, Range block,
                           const Finish *f) {
    const int count = (int)(block.end - block.begin);
    const int64_t in = point_stride((int64_t)count * p->inputs),
                  out = point_stride((int64_t)count * p->outputs);
    const int64_t matrix = point_stride((int64_t)p->inputs * p->outputs);
    for (int t = 0; t < count; t++) {
        const float *pixel[POINTS];
        tile_pixels(p, (int)block.begin + t, 1, PATCH, x, p->inputs, s->zeros, pixel);
        for (int c = 0; c < p->inputs; c += VECTOR_LANES)
            winograd_input(pixel, c, s->input + (int64_t)t * p->inputs + c, in);
    }
    for (int point = 0; point < POINTS; point++) {
        const GemmTerm term = {s->input + point * in, p->inputs, p->inputs};
        const GemmResult r = {.c = s->output + point * out, .stride = p->outputs, .scale = 1.0f};
        gemm_run(&term, 1, packed + point * matrix, count, p->outputs, &r);
    }
    for (int t = 0; t < count; t++)
        tile_finish(p, s, s->output + (int64_t)t * p->outputs, out, (int)block.begin + t, f);
}

/* The tiles of a part in blocks of nearly equal size. */
static Range part_block(const Plan *p, int part, int64_t number, int64_t *blocks) {
    const Range r = range_part(p->tiles, part, p->parts);
    *blocks = (r.end - r.begin + p->block - 1) / p->block;
    const Range b = range_part(r.end - r.begin, (int)number, (int)*blocks);
    return (Range){r.begin + b.begin, r.begin + b.end};
}

static void convolve(const Plan *p, const float *x, const float *weight, const Finish *f, void *workspace) {
#pragma omp parallel num_threads(p->threads)
    {
        weights_pack(p, weight, workspace);
#pragma omp for schedule(static, 1)
        for (int part = 0; part < p->parts; part++) {
            const Scratch s = scratch_lay(p, workspace, part);
            int64_t blocks = 1;
            for (int64_t b = 0; b < blocks; b++) {
                const Range block = part_block(p, part, b, &blocks);
                block_convolve(p, &s, x, conv_memory(workspace, p->packed_at), block, f);
            }
        }
    }
}

static void forward_run(Device *device, const ConvPlan *base, const ConvForward *a) {
    (void)device;
    const Finish f = {a->y.data, a->bias, a->residual.data, a->scale, a->scale};
    convolve((const Plan *)base, a->x.data, a->weight, &f, a->workspace);
}

static void backward_data_run(Device *device, const ConvPlan *base, const ConvBackwardData *a) {
    (void)device;
    const Finish f = {a->dx.data, NULL, a->add.data, a->dy_scale, a->add_scale};
    convolve((const Plan *)base, a->dy.data, a->weight, &f, a->workspace);
}

/* ---- gradient with respect to the weight ---- */

/* D and E of a block of tiles; the sum of dy is added to `bias`. */
static void block_transform(const Plan *p, const Scratch *s, const ConvBackwardWeight *a, Range block,
                            float *bias) {
    const int count = (int)(block.end - block.begin);
    const int64_t in = point_stride((int64_t)count * p->inputs),
                  out = point_stride((int64_t)count * p->outputs);
    for (int t = 0; t < count; t++) {
        const float *pixel[POINTS];
        tile_pixels(p, (int)block.begin + t, 1, PATCH, a->x.data, p->inputs, s->zeros, pixel);
        for (int c = 0; c < p->inputs; c += VECTOR_LANES)
            winograd_input(pixel, c, s->input + packed_place(count, p->inputs, t, c), in);
        tile_pixels(p, (int)block.begin + t, 0, TILE, a->dy.data, p->outputs, s->zeros, pixel);
        for (int c = 0; c < p->outputs; c += VECTOR_LANES) {
            const Vector sum = winograd_spread(pixel, c, s->output + (int64_t)t * p->outputs + c, out);
            vector_store(bias + c, vector_load(bias + c) + sum);
        }
    }
}

/* Adds a block's share to the thread's transformed gradient. */
static void block_gradient(const Plan *p, const Scratch *s, Range block, float *gradient, bool first) {
    const int count = (int)(block.end - block.begin);
    const int64_t in = point_stride((int64_t)count * p->inputs),
                  out = point_stride((int64_t)count * p->outputs);
    const int64_t matrix = point_stride((int64_t)p->inputs * p->outputs);
    for (int point = 0; point < POINTS; point++) {
        float *to = gradient + point * matrix;
        const GemmResult r = {to, p->inputs, 1.0f, NULL, first ? NULL : to, p->inputs, 1.0f};
        gemm_run_transposed(s->output + point * out, p->outputs, count, s->input + point * in, p->outputs,
                            p->inputs, &r);
    }
}

static void part_gradient(const Plan *p, const ConvBackwardWeight *a, int part, float *gradient) {
    const Scratch s = scratch_lay(p, a->workspace, part);
    float *bias = gradient + POINTS * point_stride((int64_t)p->inputs * p->outputs);
    int64_t blocks = 1;
    memset(bias, 0, (size_t)p->outputs * sizeof *bias);
    for (int64_t b = 0; b < blocks; b++) {
        const Range block = part_block(p, part, b, &blocks);
        block_transform(p, &s, a, block, bias);
        block_gradient(p, &s, block, gradient, b == 0);
    }
}

/* dW of output o: the threads' sums, in their order, transformed back. */
static void output_gradient(const Plan *p, const ConvBackwardWeight *a, const float *gradients, int o) {
    const int64_t matrix = point_stride((int64_t)p->inputs * p->outputs);
    for (int c = 0; c < p->inputs; c += VECTOR_LANES) {
        const float *from = gradients + (int64_t)o * p->inputs + c;
        Vector u[POINTS], g[9];
        for (int point = 0; point < POINTS; point++) {
            u[point] = vector_load(from + point * matrix);
            for (int part = 1; part < p->parts; part++)
                u[point] += vector_load(from + part * p->gradient_floats + point * matrix);
        }
        winograd_gather(u, g);
        for (int tap = 0; tap < 9; tap++) {
            float *to = a->dweight + ((int64_t)o * 9 + tap) * p->inputs + c;
            Vector value = vector_set(a->dy_scale) * g[tap];
            if (a->accumulate) value += vector_load(to);
            vector_store(to, value);
        }
    }
    if (!a->dbias) return;
    float sum = 0.0f;
    for (int part = 0; part < p->parts; part++)
        sum += gradients[part * p->gradient_floats + POINTS * matrix + o];
    a->dbias[o] = a->dy_scale * sum + (a->accumulate ? a->dbias[o] : 0.0f);
}

static void backward_weight_run(Device *device, const ConvPlan *base, const ConvBackwardWeight *a) {
    (void)device;
    const Plan *p = (const Plan *)base;
    float *gradients = conv_memory(a->workspace, p->gradient_at);
#pragma omp parallel num_threads(p->threads)
    {
#pragma omp for schedule(static, 1)
        for (int part = 0; part < p->parts; part++)
            part_gradient(p, a, part, gradients + part * p->gradient_floats);
#pragma omp for schedule(static)
        for (int o = 0; o < p->outputs; o++) output_gradient(p, a, gradients, o);
    }
}

const ConvMethod conv_winograd = {.name = "Winograd",
                                  .suits = suits,
                                  .prepare = plan_prepare,
                                  .release = plan_release,
                                  .forward = forward_run,
                                  .backward_data = backward_data_run,
                                  .backward_weight = backward_weight_run};
