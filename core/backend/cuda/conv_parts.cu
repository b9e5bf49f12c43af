/* Convolutions side by side in fp32, on tensor cores: forward passes of networks that only judge (Inception).
 *
 * Tensor cores take no fp32 factors, so each factor is cut in two halves of 11 bits, hi = fp16(v) and
 * lo = fp16(v - hi), and v w is hi hi + hi lo + lo hi: 22 bits, what is left out is 2^-22 of the product.
 * Rows of weights are first scaled by a power of two, which keeps lo clear of fp16's smallest numbers; an
 * activation's lo is exact to 2^-25. Tensor cores cut sums off instead of rounding them, so that long sums
 * shrink: they add up 16 terms of each product, and those are added in fp32 by ordinary instructions. Three
 * products at the rate of fp16 are several times as fast as one of fp32 without tensor cores, and as exact.
 * Activations beyond 65,504 become NaN, which whoever reads features refuses. Where the caller allows TF32,
 * hi hi alone is taken: fp16 has TF32's 11 bits.
 *
 * The convolution is a product of matrices over (pixel of y) x (channel of y) x (place in the kernel, channel
 * of x). A block makes ROWS x BN of it, DEPTH terms at a time: x comes into shared memory by cp.async as the
 * image lies, places in the padding as zeros, weights as prepare_kernel() has cut them. Eight warps, four by
 * two, make 64 x BN/2 each. Bias, rectifier and the place in a concatenation are part of writing y.
 */
#include "backend/cuda/elements.cuh"
#include <stdlib.h>

namespace {

enum {
    ROWS = 256,
    DEPTH = 32,
    THREADS = 256,
    WEIGHT_ROW = 72 /* fp16: hi, lo, and 16 bytes against bank conflicts */
};

/* A part's channels are columns begin .. of the product. */
struct Part {
    float *y;
    const float *weight, *bias;
    int begin, width; /* width: channels of the whole y */
    Activation activation;
};

struct Problem {
    const float *x;
    const __half *weight;      /* [columns, rounded up][depth / 32][hi 32 | lo 32] */
    const float *scale, *bias; /* a column each */
    int h, w, c_in, out_h, out_w, kernel_h, kernel_w, stride, pad_h, pad_w;
    int rows, columns, depth;
    int tiles, stages; /* blocks side by side; stages in shared memory, 2 to 4 */
    bool pairs;        /* two neighbouring channels may be written at once */
    int parts;
    Part part[CONV_PARTS];
};

/* ---- instructions ---- */

__device__ __forceinline__ uint32_t shared_address(const void *at) {
    return (uint32_t)__cvta_generic_to_shared(at);
}

/* BYTES (4 or 16) of global into shared memory, or zeros. */
template <int BYTES> __device__ __forceinline__ void async_copy(uint32_t to, const void *from, bool valid) {
    const int size = valid ? BYTES : 0;
    if (BYTES == 16)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(size));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from), "r"(size));
}

__device__ __forceinline__ void async_commit() {
    asm volatile("cp.async.commit_group;");
}

template <int PENDING> __device__ __forceinline__ void async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING));
}

/* Four matrices of 8 x 8 fp16; lane i names a row of matrix i / 8. */
__device__ __forceinline__ void matrices_load(uint32_t (&to)[4], uint32_t from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(from));
}

/* sum[16 x 8] += a[16 x 16] b[16 x 8] */
__device__ __forceinline__ void multiply(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, "
                 "%9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ void pair_cut(float a, float b, uint32_t &hi, uint32_t &lo) {
    const __half2 high = __floats2half2_rn(a, b);
    const float2 wide = __half22float2(high);
    const __half2 low = __floats2half2_rn(a - wide.x, b - wide.y);
    hi = *reinterpret_cast<const uint32_t *>(&high);
    lo = *reinterpret_cast<const uint32_t *>(&low);
}

/* ---- weights ---- */

/* Within 16 terms, place p of a row holds term term_at(p): a thread of the product then finds its four terms
 * of x, 4t .. 4t + 3, side by side. */
__device__ __forceinline__ int term_at(int p) {
    return p < 8 ? p / 2 * 4 + p % 2 : (p - 8) / 2 * 4 + 2 + p % 2;
}

__device__ __forceinline__ const Part &part_of(const Problem &p, int column) {
    int i = 0;
    while (i + 1 < p.parts && column >= p.part[i + 1].begin) i++;
    return p.part[i];
}

/* A block cuts one row of weights, scaled so that its largest is between 1 and 2; rows beyond the columns are
 * zeros. */
__global__ void prepare_kernel(Problem p, __half *cut, float *scale, float *bias) {
    __shared__ float memory[THREADS];
    const int column = blockIdx.x, padded = (p.depth + DEPTH - 1) / DEPTH * DEPTH;
    const bool real = column < p.columns;
    const Part &part = part_of(p, column);
    const float *row = part.weight + (int64_t)(column - part.begin) * p.depth;
    float largest = 0.0f;
    for (int k = threadIdx.x; real && k < p.depth; k += THREADS) largest = fmaxf(largest, fabsf(row[k]));
    memory[threadIdx.x] = largest;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half)
            memory[threadIdx.x] = fmaxf(memory[threadIdx.x], memory[threadIdx.x + half]);
    }
    __syncthreads();
    const int exponent = memory[0] > 0.0f ? max(-100, min(100, ilogbf(memory[0]))) : 0;
    const float down = ldexpf(1.0f, -exponent);
    for (int i = threadIdx.x; i < padded; i += THREADS) {
        const int k = i / 16 * 16 + term_at(i % 16);
        const float v = real && k < p.depth ? row[k] * down : 0.0f;
        const __half hi = __float2half_rn(v);
        __half *to = cut + (int64_t)column * 2 * padded + i / DEPTH * 2 * DEPTH + i % DEPTH;
        to[0] = hi;
        to[DEPTH] = __float2half_rn(v - __half2float(hi));
    }
    if (threadIdx.x == 0 && real) {
        scale[column] = ldexpf(1.0f, exponent);
        bias[column] = part.bias ? part.bias[column - part.begin] : 0.0f;
    }
}

/* ---- the product ---- */

/* Where the kernel's top left corner lies for a row of the product: its element of x, which may lie before
 * the image, and its coordinates. */
struct Corner {
    int element;
    short y, x;
};

__device__ __forceinline__ Corner corner_of(const Problem &p, int row) {
    if (row >= p.rows) return Corner{0, -16384, -16384};
    const int image = row / (p.out_h * p.out_w), pixel = row % (p.out_h * p.out_w);
    const int y = pixel / p.out_w * p.stride - p.pad_h, x = pixel % p.out_w * p.stride - p.pad_w;
    return Corner{((image * p.h + y) * p.w + x) * p.c_in, (short)y, (short)x};
}

/* A term of the product: a place in the kernel and a channel. */
struct Term {
    int k, y, x, c;
};

__device__ __forceinline__ Term term_make(const Problem &p, int k) {
    const int place = k / p.c_in;
    return Term{k, place / p.kernel_w, place % p.kernel_w, k % p.c_in};
}

__device__ __forceinline__ void term_advance(const Problem &p, Term &t) {
    t.k += DEPTH, t.c += DEPTH;
    while (t.c >= p.c_in) {
        t.c -= p.c_in;
        if (++t.x == p.kernel_w) t.x = 0, t.y++;
    }
}

/* One of the stages in shared memory. Rows of x are 32 floats in eight packs, whose places are swapped in odd
 * rows: eight threads that read four packs of two rows meet no bank twice. */
template <int BN> struct alignas(128) Stage {
    float x[ROWS][DEPTH];
    __half weight[BN][WEIGHT_ROW];
};

template <int V>
__device__ __forceinline__ void x_fetch(const Problem &p, const Corner *corners, const Term &t,
                                        float (*x)[DEPTH]) {
    constexpr int COLUMNS = DEPTH / V, AT_ONCE = THREADS / COLUMNS;
    const int column = threadIdx.x % COLUMNS * V, delta = (t.y * p.w + t.x) * p.c_in + t.c;
    const bool inside = t.k < p.depth;
#pragma unroll
    for (int i = 0; i < ROWS / AT_ONCE; i++) {
        const int row = threadIdx.x / COLUMNS + i * AT_ONCE;
        const Corner corner = corners[row];
        const bool valid = inside && (unsigned)(corner.y + t.y) < (unsigned)p.h &&
                           (unsigned)(corner.x + t.x) < (unsigned)p.w;
        const float *from = valid ? p.x + (corner.element + delta) : p.x;
        async_copy<4 * V>(shared_address(&x[row][column ^ (row & 1) << 4]), from, valid);
    }
}

template <int BN>
__device__ __forceinline__ void weight_fetch(const Problem &p, int first, int step,
                                             __half (*weight)[WEIGHT_ROW]) {
    const int steps = (p.depth + DEPTH - 1) / DEPTH;
#pragma unroll
    for (int i = 0; i < BN * 8 / THREADS; i++) {
        const int row = (threadIdx.x + i * THREADS) / 8, pack = threadIdx.x % 8;
        async_copy<16>(shared_address(&weight[row][pack * 8]),
                       p.weight + ((int64_t)(first + row) * steps + step) * 2 * DEPTH + pack * 8, true);
    }
}

/* What a warp adds to its 64 x WIDTH sums from one stage. */
template <int WIDTH, bool EXACT>
__device__ __forceinline__ void stage_multiply(const float (*x)[DEPTH], const __half (*weight)[WEIGHT_ROW],
                                               float (&sum)[4][WIDTH / 8][4]) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
        uint32_t hi[4][4], lo[4][4];
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = m * 16 + half * 8 + g;
                const float4 v = *reinterpret_cast<const float4 *>(&x[row][(k + 4 * t) ^ (row & 1) << 4]);
                pair_cut(v.x, v.y, hi[m][half], lo[m][half]);
                pair_cut(v.z, v.w, hi[m][half + 2], lo[m][half + 2]);
            }
#pragma unroll
        for (int n = 0; n < WIDTH / 8; n++) {
            uint32_t w[4]; /* hi of 8 terms, hi of the others; lo of both */
            matrices_load(
                w, shared_address(&weight[n * 8 + lane % 8][lane / 16 * DEPTH + k + lane / 8 % 2 * 8]));
            float part[4][4] = {};
#pragma unroll
            for (int m = 0; m < 4; m++) multiply(part[m], hi[m], w[0], w[1]);
            if (EXACT) {
#pragma unroll
                for (int m = 0; m < 4; m++) multiply(part[m], lo[m], w[0], w[1]);
#pragma unroll
                for (int m = 0; m < 4; m++) multiply(part[m], hi[m], w[2], w[3]);
            }
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) sum[m][n][i] += part[m][i];
        }
    }
}

__device__ __forceinline__ void pair_write(const Problem &p, int row, int column, float a, float b) {
    if (row >= p.rows || column >= p.columns) return;
    if (p.pairs) {
        const Part &part = part_of(p, column);
        const float2 out = {activation_value<float>(part.activation, a),
                            activation_value<float>(part.activation, b)};
        *reinterpret_cast<float2 *>(part.y + (int64_t)row * part.width + (column - part.begin)) = out;
        return;
    }
    const float value[2] = {a, b};
    for (int i = 0; i < 2 && column + i < p.columns; i++) {
        const Part &part = part_of(p, column + i);
        part.y[(int64_t)row * part.width + (column + i - part.begin)] =
            activation_value<float>(part.activation, value[i]);
    }
}

template <int WIDTH>
__device__ __forceinline__ void sums_write(const Problem &p, int row, int column,
                                           const float (&sum)[4][WIDTH / 8][4]) {
    const int lane = threadIdx.x % 32;
    row += lane / 4, column += lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++, column += 8) {
        const int next = min(column + 1, p.columns - 1), here = min(column, p.columns - 1);
        const float scale[2] = {p.scale[here], p.scale[next]}, bias[2] = {p.bias[here], p.bias[next]};
#pragma unroll
        for (int m = 0; m < 4; m++) {
            const float(&s)[4] = sum[m][n];
            pair_write(p, row + m * 16, column, fmaf(s[0], scale[0], bias[0]), fmaf(s[1], scale[1], bias[1]));
            pair_write(p, row + m * 16 + 8, column, fmaf(s[2], scale[0], bias[0]),
                       fmaf(s[3], scale[1], bias[1]));
        }
    }
}

/* Until at most `pending` of the stages asked for last are on their way. */
__device__ __forceinline__ void stages_wait(int pending) {
    if (pending == 2)
        async_wait<2>();
    else if (pending == 1)
        async_wait<1>();
    else
        async_wait<0>();
}

/* V: floats of x that are fetched at once, 4 or 1. */
template <int BN, int V, bool EXACT>
__global__ void __launch_bounds__(THREADS, BN > 32 ? 1 : 2) parts_kernel(const __grid_constant__ Problem p) {
    constexpr int WIDTH = BN / 2;
    extern __shared__ __align__(128) unsigned char memory[];
    Stage<BN> *stages = reinterpret_cast<Stage<BN> *>(memory);
    __shared__ Corner corners[ROWS];
    const int row = (int)blockIdx.x / p.tiles * ROWS, column = (int)blockIdx.x % p.tiles * BN;
    const int warp = threadIdx.x / 32, warp_row = warp / 2 * 64, warp_column = warp % 2 * WIDTH;
    const int steps = (p.depth + DEPTH - 1) / DEPTH;
    float sum[4][WIDTH / 8][4] = {};
    corners[threadIdx.x] = corner_of(p, row + threadIdx.x);
    Term term = term_make(p, threadIdx.x % (DEPTH / V) * V);
    __syncthreads();
    for (int step = 1 - p.stages; step < steps; step++) {
        if (step >= 0) {
            stages_wait(p.stages - 2);
            __syncthreads(); /* the stage is there for all, and the one before it has been read by all */
        }
        const int next = step + p.stages - 1;
        if (next < steps) {
            Stage<BN> &stage = stages[next % p.stages];
            x_fetch<V>(p, corners, term, stage.x);
            weight_fetch<BN>(p, column, next, stage.weight);
            term_advance(p, term);
        }
        async_commit();
        if (step < 0) continue;
        const Stage<BN> &stage = stages[step % p.stages];
        stage_multiply<WIDTH, EXACT>(stage.x + warp_row, stage.weight + warp_column, sum);
    }
    sums_write<WIDTH>(p, row + warp_row, column + warp_column, sum);
}

/* ---- the op ---- */

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
    const int most = width == 32 ? 3 : 4, fit = (shared - ROWS * (int)sizeof(Corner)) / stage_bytes(width);
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
    int shared;
    PartsPlan *plan = (PartsPlan *)calloc(1, sizeof *plan);
    CHECK(plan, "out of memory");
    CHECK(shape->dtype == DTYPE_F32, "conv_parts: fp32 only");
    CHECK(conv_out_h(shape) > 0 && conv_out_w(shape) > 0, "conv: the kernel is larger than the padded image");
    CHECK((int64_t)shape->n * (shape->h + 2 * shape->pad_h) * (shape->w + 2 * shape->pad_w) * shape->c_in <
                  INT32_MAX &&
              (int64_t)shape->n * conv_out_h(shape) * conv_out_w(shape) < INT32_MAX - ROWS,
          "conv_parts: %d images at once are too many", shape->n);
    CUDA_CHECK(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                      cuda_context(device)->index));
    const int depth = shape->kernel_h * shape->kernel_w * shape->c_in,
              padded = (depth + DEPTH - 1) / DEPTH * DEPTH;
    plan->shape = *shape;
    plan->exact = !device->tf32;
    plan->width = width_choose(shape->c_out, shape->c_in, shared);
    plan->tiles = (shape->c_out + plan->width - 1) / plan->width;
    plan->stages = stages_fit(plan->width, shared);
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
