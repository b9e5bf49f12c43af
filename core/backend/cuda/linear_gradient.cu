/* Gradients of a linear layer's weight and bias in one pass over x and dy,
 *
 *     dW[o, i] = scale sum_r dy[r, o] x[r, i],     db[o] = scale sum_r dy[r, o],
 *
 * for images, where the rows are many and reading them is what takes time. A block has 256 rows of dW times
 * 128 columns of it in registers and adds up a share of the rows; a second kernel adds the shares, in order.
 * db is a product too, of dy and ones.
 *
 * One warp fills a ring of boxes, four of dy and two of x, 64 rows by 64 columns each, and eight empty it.
 */
#include "backend/cuda/hopper.cuh"
#include "backend/cuda/linear_hopper.h"

enum {
    ROWS = 64,  /* of dy and x, in a stage */
    OUTS = 256, /* columns of dy, rows of dW */
    INS = 128,  /* columns of x and dW */
    TEAMS = 2,  /* of four warps, with OUTS / TEAMS rows of dW each, 64 at a time */
    TEAM = 128,
    HALVES = OUTS / TEAMS / 64,
    STAGES = 4,
    LEAST_STAGES = 8, /* of a share */
    LEAST_ROWS = 496, /* a processor; with fewer the sums of shares cost what one pass saves */
    GRADIENT_THREADS = TEAMS * TEAM + 32,
    BOX_BYTES = ROWS * 128,
    OUT_BOXES = OUTS / HOPPER_BOX,
    IN_BOXES = INS / HOPPER_BOX
};

/* Tile t has columns INS * (t / outs) of [x0 | x1] and OUTS * (t % outs) of dy. */
typedef struct GradientCut {
    int outs, tiles, shares, stages; /* tiles of OUTS; of dW; shares of the rows; stages of all rows */
    int columns, second;             /* of dW; the first that is the second source's */
    float *parts;                    /* [shares][rows of dW][columns], then [shares][rows of dW] for db */
} GradientCut;

typedef struct GradientMaps {
    CUtensorMap dy, x[2];
} GradientMaps;

template <typename T> struct GradientMemory {
    alignas(HOPPER_ALIGNMENT) char dy[STAGES][OUT_BOXES][BOX_BYTES];
    char x[STAGES][IN_BOXES][BOX_BYTES];
    alignas(16) T ones[16 * 8];
    Barrier full[STAGES], empty[STAGES];
};

struct GradientPlace {
    int out, in, share, begin, end; /* first row and column of dW; stages */
};

__device__ __forceinline__ GradientPlace gradient_place(const GradientCut &cut) {
    const int tile = blockIdx.x % cut.tiles, share = blockIdx.x / cut.tiles;
    return GradientPlace{tile % cut.outs * OUTS, tile / cut.outs * INS, share,
                         (int)((int64_t)cut.stages * share / cut.shares),
                         (int)((int64_t)cut.stages * (share + 1) / cut.shares)};
}

template <typename T>
__device__ void stages_fetch(const GradientCut &cut, const GradientMaps &maps, const GradientPlace &at,
                             GradientMemory<T> &m) {
    const bool second = at.in >= cut.second;
    const int column = at.in - (second ? cut.second : 0);
    for (int i = at.begin, n = 0; i < at.end; i++, n++) {
        const int place = n % STAGES;
        barrier_wait(&m.empty[place], n / STAGES % 2 ^ 1);
        barrier_expect(&m.full[place], (OUT_BOXES + IN_BOXES) * BOX_BYTES);
        for (int k = 0; k < OUT_BOXES; k++)
            box_begin(m.dy[place][k], maps.dy, i * ROWS, at.out + k * HOPPER_BOX, &m.full[place]);
        for (int k = 0; k < IN_BOXES; k++)
            box_begin(m.x[place][k], maps.x[second], i * ROWS, column + k * HOPPER_BOX, &m.full[place]);
    }
}

/* The team's part of the tile over the share's rows. */
template <typename T>
__device__ void stages_multiply(const GradientPlace &at, int team, GradientMemory<T> &m,
                                float (&sum)[HALVES][64], float (&bias)[HALVES][4]) {
    const uint64_t ones = factor_plain(m.ones);
    for (int i = at.begin, n = 0; i < at.end; i++, n++) {
        const int place = n % STAGES;
        barrier_wait(&m.full[place], n / STAGES % 2);
        const uint64_t right = factor_by_terms(m.x[place]);
        products_fence();
#pragma unroll
        for (int half = 0; half < HALVES; half++) {
            const uint64_t left = factor_by_terms(m.dy[place][team * HALVES + half]);
#pragma unroll
            for (int k = 0; k < ROWS / 16; k++) {
                product_begin<T, true, true>(sum[half], left + k * BY_TERMS_STEP, right + k * BY_TERMS_STEP,
                                             n || k);
                product_narrow_begin<T, true>(bias[half], left + k * BY_TERMS_STEP, ones, n || k);
            }
        }
        products_commit();
        if (n) {
            products_wait<1>();
            if (threadIdx.x % 32 == 0) barrier_arrive(&m.empty[(n - 1) % STAGES]);
        }
    }
    products_wait<0>();
}

__device__ __forceinline__ void part_write(const GradientCut &cut, const GradientPlace &at, int team,
                                           const float (&sum)[HALVES][64], const float (&bias)[HALVES][4]) {
    const int lane = threadIdx.x % 32, rows = cut.outs * OUTS;
    float *biases = cut.parts + (int64_t)cut.shares * rows * cut.columns;
#pragma unroll
    for (int half = 0; half < HALVES; half++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int out =
                at.out + (team * HALVES + half) * 64 + threadIdx.x % TEAM / 32 * 16 + lane / 4 + 8 * h;
            float *to = cut.parts + ((int64_t)at.share * rows + out) * cut.columns + at.in + lane % 4 * 2;
#pragma unroll
            for (int i = 0; i < INS / 8; i++)
                *reinterpret_cast<float2 *>(to + i * 8) =
                    make_float2(sum[half][4 * i + 2 * h], sum[half][4 * i + 2 * h + 1]);
            if (at.in == 0 && lane % 4 == 0) biases[at.share * rows + out] = bias[half][2 * h];
        }
}

template <typename T>
__global__ void __launch_bounds__(GRADIENT_THREADS, 1)
    gradient_kernel(const __grid_constant__ GradientCut cut, const __grid_constant__ GradientMaps maps) {
    extern __shared__ float4 shared[];
    GradientMemory<T> &m = memory_align<GradientMemory<T>>(shared);
    const GradientPlace at = gradient_place(cut);
    const int team = threadIdx.x / TEAM;
    if (threadIdx.x < 16 * 8) m.ones[threadIdx.x] = (T)1.0f;
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++)
            barrier_init(&m.full[i], 1), barrier_init(&m.empty[i], TEAMS * TEAM / 32);
        barriers_publish();
    }
    products_see();
    __syncthreads();
    if (team < TEAMS) {
        float sum[HALVES][64], bias[HALVES][4];
        stages_multiply(at, team, m, sum, bias);
        part_write(cut, at, team, sum, bias);
    } else if (threadIdx.x % 32 == 0) {
        stages_fetch(cut, maps, at, m);
    }
}

/* to[i] (+)= scale * (parts[0][i] + parts[1][i] + ...), four at a time. */
__global__ void parts_sum_kernel(const float4 *parts, int shares, int count, float4 *to, float scale,
                                 bool accumulate) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float4 sum = {};
#pragma unroll 8
    for (int share = 0; share < shares; share++) {
        const float4 part = parts[(int64_t)share * count + i];
        sum.x += part.x, sum.y += part.y, sum.z += part.z, sum.w += part.w;
    }
    const float4 old = accumulate ? to[i] : float4{};
    to[i] = float4{fmaf(sum.x, scale, old.x), fmaf(sum.y, scale, old.y), fmaf(sum.z, scale, old.z),
                   fmaf(sum.w, scale, old.w)};
}

/* ---- on the host ---- */

static void parts_sum(Device *device, const float *parts, int shares, int count, float *to, float scale,
                      bool accumulate) {
    parts_sum_kernel<<<blocks_for(count / 4, BLOCK), BLOCK, 0, cuda_stream(device)>>>(
        (const float4 *)parts, shares, count / 4, (float4 *)to, scale, accumulate);
    CUDA_LAUNCHED("parts_sum_kernel");
}

/* As many shares as fill the card, as far as their sums fit into the scratch memory: cards of as many
 * multiprocessors make the same bits. */
static bool gradient_cut(const Device *device, const LinearBackwardWeight *op, GradientCut *cut) {
    const Tensor *x = op->x, *dy = &op->dy;
    const int64_t rows = tensor_rows(dy);
    const int columns = x[0].c + (x[1].data ? x[1].c : 0),
              processors = cuda_attribute(device, cudaDevAttrMultiProcessorCount);
    if (dtype_size(dy->dtype) != 2 || x[0].dtype != dy->dtype || rows % ROWS) return false;
    if (x[1].data && x[1].dtype != dy->dtype) return false;
    if (dy->c % OUTS || x[0].c % INS || columns % INS) return false;
    *cut = GradientCut{};
    cut->outs = dy->c / OUTS, cut->stages = (int)(rows / ROWS);
    cut->columns = columns, cut->second = x[0].c;
    cut->tiles = cut->outs * (columns / INS);
    cut->shares = processors / cut->tiles;
    const int most = SCRATCH_FLOATS / (dy->c * (columns + 1));
    if (cut->shares > most) cut->shares = most;
    if (cut->shares > cut->stages / LEAST_STAGES) cut->shares = cut->stages / LEAST_STAGES;
    cut->parts = cuda_context(device)->scratch;
    return cut->shares > 0 && rows >= (int64_t)LEAST_ROWS * processors && cuda_is_hopper(device);
}

template <typename T>
static void gradient_launch(Device *device, const GradientCut &cut, const GradientMaps &maps) {
    const int bytes = (int)sizeof(GradientMemory<T>) + HOPPER_ALIGNMENT;
    CUDA_CHECK(cudaFuncSetAttribute(gradient_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    gradient_kernel<T>
        <<<(unsigned)(cut.tiles * cut.shares), GRADIENT_THREADS, bytes, cuda_stream(device)>>>(cut, maps);
    CUDA_LAUNCHED("gradient_kernel");
}

bool cuda_linear_gradient(Device *device, const LinearBackwardWeight *op) {
    const Tensor *x = op->x, *dy = &op->dy;
    const int64_t rows = tensor_rows(dy);
    GradientCut cut;
    if (!gradient_cut(device, op, &cut)) return false;
    const Tensor *second = &x[x[1].data ? 1 : 0];
    const GradientMaps maps = {box_map(dy->data, dy->dtype, rows, dy->c, ROWS),
                               {box_map(x[0].data, dy->dtype, rows, x[0].c, ROWS),
                                box_map(second->data, dy->dtype, rows, second->c, ROWS)}};
    if (dy->dtype == DTYPE_F16)
        gradient_launch<__half>(device, cut, maps);
    else
        gradient_launch<__nv_bfloat16>(device, cut, maps);
    const int count = dy->c * cut.columns;
    parts_sum(device, cut.parts, cut.shares, count, op->dweight, op->dy_scale, op->accumulate);
    if (op->dbias)
        parts_sum(device, cut.parts + (int64_t)cut.shares * count, cut.shares, dy->c, op->dbias, op->dy_scale,
                  op->accumulate);
    return true;
}
