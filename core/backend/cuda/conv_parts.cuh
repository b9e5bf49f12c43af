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
#ifndef ICT_BACKEND_CUDA_CONV_PARTS_CUH
#define ICT_BACKEND_CUDA_CONV_PARTS_CUH

#include "backend/cuda/elements.cuh"
#include "backend/cuda/warp_products.cuh"

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#error "conv_parts: cp.async and products of 16 x 8 x 16 need compute capability 8.0"
#endif

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
            matrices_load(w,
                          (const char *)&weight[n * 8 + lane % 8][lane / 16 * DEPTH + k + lane / 8 % 2 * 8]);
            float part[4][4] = {};
#pragma unroll
            for (int m = 0; m < 4; m++) multiply<__half>(part[m], hi[m], w[0], w[1]);
            if (EXACT) {
#pragma unroll
                for (int m = 0; m < 4; m++) multiply<__half>(part[m], lo[m], w[0], w[1]);
#pragma unroll
                for (int m = 0; m < 4; m++) multiply<__half>(part[m], hi[m], w[2], w[3]);
            }
#pragma unroll
            for (int m = 0; m < 4; m++)
#pragma unroll
                for (int i = 0; i < 4; i++) sum[m][n][i] += part[m][i];
        }
    }
}

/* ---- what becomes of a column ---- */

/* Everything that writing a column of the product needs, looked up once a block: written out for each of a
 * thread's sums, the way to it was 14,000 instructions, more than a multiprocessor keeps at hand, and cost as
 * much as thirty stages. */
struct Column {
    float *y; /* of row 0; NULL: beyond the last */
    float scale, bias, least;
    int width; /* from one row to the next */
};

__device__ __forceinline__ Column column_make(const Problem &p, int column) {
    if (column >= p.columns) return Column{};
    const Part &part = part_of(p, column);
    return Column{part.y + (column - part.begin), p.scale[column], p.bias[column],
                  part.activation == ACT_RELU ? 0.0f : -INFINITY, part.width};
}

/* Scale, bias and activation of a thread's eight sums in one column, which are `at` and at + 2
 * of fragment n. */
template <int WIDTH>
__device__ __forceinline__ void column_finish(const Column &column, int n, int at,
                                              float (&sum)[4][WIDTH / 8][4]) {
#pragma unroll
    for (int m = 0; m < 4; m++)
#pragma unroll
        for (int i = at; i < 4; i += 2) {
            const float v = fmaf(sum[m][n][i], column.scale, column.bias);
            sum[m][n][i] = v < column.least ? column.least : v; /* NaN stays NaN */
        }
}

/* PAIRS: two neighbouring columns of a row are one store. */
template <int WIDTH, bool PAIRS>
__device__ __forceinline__ void sums_write(const Problem &p, int row, const Column *columns,
                                           float (&sum)[4][WIDTH / 8][4]) {
    const int lane = threadIdx.x % 32;
    row += lane / 4, columns += lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++) {
        const Column a = columns[n * 8], b = columns[n * 8 + 1];
        column_finish<WIDTH>(a, n, 0, sum);
        column_finish<WIDTH>(b, n, 1, sum);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const int64_t to = row + i * 8;
            const float *s = &sum[i / 2][n][i % 2 * 2];
            if (to >= p.rows) continue;
            if (PAIRS) {
                if (a.y) *reinterpret_cast<float2 *>(a.y + to * a.width) = make_float2(s[0], s[1]);
            } else {
                if (a.y) a.y[to * a.width] = s[0];
                if (b.y) b.y[to * b.width] = s[1];
            }
        }
    }
}

/* Until at most `pending` of the stages asked for last are on their way. */
__device__ __forceinline__ void stages_wait(int pending) {
    if (pending == 2)
        copies_wait<2>();
    else if (pending == 1)
        copies_wait<1>();
    else
        copies_wait<0>();
}

/* V: floats of x that are fetched at once, 4 or 1. */
template <int BN, int V, bool EXACT>
__global__ void __launch_bounds__(THREADS, BN > 32 ? 1 : 2) parts_kernel(const __grid_constant__ Problem p) {
    constexpr int WIDTH = BN / 2;
    extern __shared__ __align__(128) unsigned char memory[];
    Stage<BN> *stages = reinterpret_cast<Stage<BN> *>(memory);
    __shared__ Corner corners[ROWS];
    __shared__ Column columns[BN];
    const int row = (int)blockIdx.x / p.tiles * ROWS, column = (int)blockIdx.x % p.tiles * BN;
    const int warp = threadIdx.x / 32, warp_row = warp / 2 * 64, warp_column = warp % 2 * WIDTH;
    const int steps = (p.depth + DEPTH - 1) / DEPTH;
    float sum[4][WIDTH / 8][4] = {};
    corners[threadIdx.x] = corner_of(p, row + threadIdx.x);
    if (threadIdx.x < BN) columns[threadIdx.x] = column_make(p, column + threadIdx.x);
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
        __pipeline_commit();
        if (step < 0) continue;
        const Stage<BN> &stage = stages[step % p.stages];
        stage_multiply<WIDTH, EXACT>(stage.x + warp_row, stage.weight + warp_column, sum);
    }
    if (p.pairs)
        sums_write<WIDTH, true>(p, row + warp_row, columns + warp_column, sum);
    else
        sums_write<WIDTH, false>(p, row + warp_row, columns + warp_column, sum);
}

} // namespace

#endif
