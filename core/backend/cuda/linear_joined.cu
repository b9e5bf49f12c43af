/* Linear layers of two sources (the shortcuts of a U-Net's way up) as one product each way. A library makes
 * two products of them, of which forward the second reads and writes again what the first has written, and
 * backward both read dy; all are bound by memory.
 *
 * A block keeps its slice of the weight, 128 columns of the result over all terms, in shared memory for good
 * and walks over tiles of 64 rows. It has two teams of four warps with a ring of boxes each, which a warp of
 * its own keeps filled: while one team multiplies, the other writes. What several slices read is in the L2
 * cache, because their blocks keep step.
 */
#include "backend/cuda/hopper.cuh"
#include "backend/cuda/linear_hopper.h"

enum {
    TILE = 64,          /* rows */
    SLICE = 128,        /* columns */
    CHUNK = HOPPER_BOX, /* terms */
    MOST_CHUNKS = 8,
    MOST_SLICES = 16,
    TEAMS = 2,
    TEAM = 128, /* threads */
    STAGES = 5,
    JOINED_THREADS = TEAMS * (TEAM + 32),
    BOX_BYTES = TILE * CHUNK * 2,
    SLICE_BYTES = SLICE * CHUNK * 2,
    PACKS = SLICE / 32 * 2 /* of eight numbers that a thread writes of a tile */
};

/* Where 128 columns of the result go: result = alpha * (product + bias) + add_scale * add. */
typedef struct JoinedSlice {
    void *to;
    const void *add;
    const float *bias;
    float add_scale;
    int stride, column; /* elements of a row of `to` and `add`; first column of the slice in the weight */
} JoinedSlice;

typedef struct JoinedProduct {
    JoinedSlice slice[MOST_SLICES];
    int slices, tiles, chunks, second; /* chunks from `second` on are the other source's */
    float alpha;
} JoinedProduct;

typedef struct JoinedMaps {
    CUtensorMap source[2], weight;
} JoinedMaps;

struct JoinedMemory {
    alignas(HOPPER_ALIGNMENT) char weight[MOST_CHUNKS][SLICE_BYTES];
    char source[TEAMS][STAGES][BOX_BYTES];
    float bias[SLICE];
    Barrier weight_there, full[TEAMS][STAGES], empty[TEAMS][STAGES];
};

/* A team's tiles, and its place in the ring. */
struct JoinedWalk {
    int tile, step, place, round;
    __device__ void next() {
        if (++place == STAGES) place = 0, round ^= 1;
    }
};

__device__ __forceinline__ JoinedWalk walk_begin(const JoinedProduct &p, int team) {
    return JoinedWalk{(int)blockIdx.x / p.slices * TEAMS + team, (int)gridDim.x / p.slices * TEAMS, 0, 0};
}

template <bool BY_TERMS>
__device__ void weight_fetch(const JoinedProduct &p, const JoinedMaps &maps, int column, JoinedMemory &m) {
    barrier_expect(&m.weight_there, p.chunks * SLICE_BYTES);
    for (int chunk = 0; chunk < p.chunks; chunk++)
        if (BY_TERMS)
            for (int i = 0; i < SLICE / HOPPER_BOX; i++)
                box_begin(m.weight[chunk] + i * HOPPER_BOX * 128, maps.weight, chunk * CHUNK,
                          column + i * HOPPER_BOX, &m.weight_there);
        else
            box_begin(m.weight[chunk], maps.weight, column, chunk * CHUNK, &m.weight_there);
}

__device__ void tiles_fetch(const JoinedProduct &p, const JoinedMaps &maps, int team, JoinedMemory &m) {
    JoinedWalk w = walk_begin(p, team);
    for (; w.tile < p.tiles; w.tile += w.step)
        for (int chunk = 0; chunk < p.chunks; chunk++, w.next()) {
            const bool second = chunk >= p.second;
            barrier_wait(&m.empty[team][w.place], w.round ^ 1);
            barrier_expect(&m.full[team][w.place], BOX_BYTES);
            box_begin(m.source[team][w.place], maps.source[second], w.tile * TILE,
                      (chunk - (second ? p.second : 0)) * CHUNK, &m.full[team][w.place]);
        }
}

/* Lane q of four gets word q of lanes 0 .. 3. */
__device__ __forceinline__ void quad_transpose(uint32_t (&word)[4]) {
#pragma unroll
    for (int step = 1; step < 4; step *= 2) {
        const bool upper = threadIdx.x & step;
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if (i & step) continue;
            const uint32_t got = __shfl_xor_sync(~0u, upper ? word[i] : word[i + step], step);
            (upper ? word[i] : word[i + step]) = got;
        }
    }
}

/* Pack i of a thread: eight columns of a row, 64 bytes of it in four lanes. */
__device__ __forceinline__ int64_t pack_at(const JoinedSlice &s, int i) {
    return (int64_t)(i % 2 * 8) * s.stride + i / 2 * 32;
}

template <typename T>
__device__ __forceinline__ void tile_write(const JoinedSlice &s, float alpha, const float *bias, int64_t at,
                                           const float (&sum)[64], uint4 (&add)[PACKS]) {
    T *to = (T *)s.to + at;
#pragma unroll
    for (int i = 0; i < PACKS; i++) {
        uint32_t out[4], in[4] = {add[i].x, add[i].y, add[i].z, add[i].w};
        if (s.add) quad_transpose(in);
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int block = i / 2 * 4 + j;
            const float2 b = *reinterpret_cast<const float2 *>(bias + block * 8 + threadIdx.x % 4 * 2);
            float low = fmaf(sum[block * 4 + i % 2 * 2], alpha, b.x),
                  high = fmaf(sum[block * 4 + i % 2 * 2 + 1], alpha, b.y), add_low, add_high;
            pair_widen(reinterpret_cast<const T *>(&in[j]), add_low, add_high);
            if (s.add) low = fmaf(add_low, s.add_scale, low), high = fmaf(add_high, s.add_scale, high);
            pair_round(low, high, reinterpret_cast<T *>(&out[j]));
        }
        quad_transpose(out);
        *reinterpret_cast<uint4 *>(to + pack_at(s, i)) = make_uint4(out[0], out[1], out[2], out[3]);
    }
}

template <typename T, bool BY_TERMS>
__device__ void tiles_multiply(const JoinedProduct &p, const JoinedSlice &s, int team, JoinedMemory &m) {
    const int lane = threadIdx.x % 32, row = threadIdx.x % TEAM / 32 * 16 + lane / 4;
    JoinedWalk w = walk_begin(p, team);
    for (; w.tile < p.tiles; w.tile += w.step) {
        const int64_t at = ((int64_t)w.tile * TILE + row) * s.stride + lane % 4 * 8;
        uint4 add[PACKS] = {};
        float sum[64];
        if (s.add)
#pragma unroll
            for (int i = 0; i < PACKS; i++)
                add[i] = *reinterpret_cast<const uint4 *>((const T *)s.add + at + pack_at(s, i));
        Barrier *before = NULL;
        for (int chunk = 0; chunk < p.chunks; chunk++, w.next()) {
            barrier_wait(&m.full[team][w.place], w.round);
            const uint64_t left = factor_by_rows(m.source[team][w.place]);
            const uint64_t right =
                BY_TERMS ? factor_by_terms(m.weight[chunk]) : factor_by_rows(m.weight[chunk]);
            products_fence();
#pragma unroll
            for (int k = 0; k < CHUNK / 16; k++)
                product_begin<T, false, BY_TERMS>(sum, left + k * BY_ROWS_STEP,
                                                  right + k * (BY_TERMS ? BY_TERMS_STEP : BY_ROWS_STEP),
                                                  chunk || k);
            products_commit();
            if (before) {
                products_wait<1>();
                if (lane == 0) barrier_arrive(before);
            }
            before = &m.empty[team][w.place];
        }
        products_wait<0>();
        if (lane == 0) barrier_arrive(before);
        tile_write<T>(s, p.alpha, m.bias, at, sum, add);
    }
}

template <typename T, bool BY_TERMS>
__global__ void __launch_bounds__(JOINED_THREADS, 1)
    joined_kernel(const __grid_constant__ JoinedProduct p, const __grid_constant__ JoinedMaps maps) {
    extern __shared__ float4 shared[];
    JoinedMemory &m = memory_align<JoinedMemory>(shared);
    const JoinedSlice &s = p.slice[blockIdx.x % p.slices];
    const int team = threadIdx.x / TEAM;
    if (threadIdx.x < SLICE) m.bias[threadIdx.x] = s.bias ? s.bias[threadIdx.x] * p.alpha : 0.0f;
    if (threadIdx.x == 0) {
        barrier_init(&m.weight_there, 1);
        for (int i = 0; i < TEAMS * STAGES; i++) {
            barrier_init(&m.full[i / STAGES][i % STAGES], 1);
            barrier_init(&m.empty[i / STAGES][i % STAGES], TEAM / 32);
        }
        barriers_publish();
    }
    __syncthreads();
    if (team < TEAMS) {
        barrier_wait(&m.weight_there, 0);
        tiles_multiply<T, BY_TERMS>(p, s, team, m);
    } else if (threadIdx.x % 32 == 0) {
        const int served = (threadIdx.x - TEAMS * TEAM) / 32;
        if (served == 0) weight_fetch<BY_TERMS>(p, maps, s.column, m);
        tiles_fetch(p, maps, served, m);
    }
}

/* ---- on the host ---- */

bool cuda_is_hopper(const Device *device) {
    cudaFuncAttributes code;
    CUDA_CHECK(cudaFuncGetAttributes(&code, joined_kernel<__half, false>));
    return cuda_attribute(device, cudaDevAttrComputeCapabilityMajor) == 9 &&
           cuda_attribute(device, cudaDevAttrComputeCapabilityMinor) == 0 && code.ptxVersion >= 90;
}

template <typename T, bool BY_TERMS>
static void joined_launch(Device *device, const JoinedProduct &p, const JoinedMaps &maps) {
    const auto kernel = joined_kernel<T, BY_TERMS>;
    const int bytes = (int)sizeof(JoinedMemory) + HOPPER_ALIGNMENT;
    const int processors = cuda_attribute(device, cudaDevAttrMultiProcessorCount);
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
    const int workers = processors / p.slices, most = (p.tiles + TEAMS - 1) / TEAMS;
    kernel<<<(unsigned)((workers < most ? workers : most) * p.slices), JOINED_THREADS, bytes,
             cuda_stream(device)>>>(p, maps);
    CUDA_LAUNCHED("joined_kernel");
}

template <bool BY_TERMS>
static void joined_run(Device *device, DType dtype, const JoinedProduct &p, const JoinedMaps &maps) {
    if (dtype == DTYPE_F16)
        joined_launch<__half, BY_TERMS>(device, p, maps);
    else
        joined_launch<__nv_bfloat16, BY_TERMS>(device, p, maps);
}

/* Whether tiles, chunks and slices are whole, the weight's slice fits, and each slice finds a block. */
static bool joined_fits(const Device *device, DType dtype, int64_t rows, int terms, int columns) {
    return dtype_size(dtype) == 2 && rows % TILE == 0 && terms <= MOST_CHUNKS * CHUNK &&
           columns % SLICE == 0 && columns <= MOST_SLICES * SLICE &&
           columns / SLICE <= cuda_attribute(device, cudaDevAttrMultiProcessorCount) &&
           cuda_is_hopper(device);
}

bool cuda_linear_joined_forward(Device *device, const LinearForward *op) {
    const Tensor *x = op->x, *y = &op->y;
    const int64_t rows = tensor_rows(y);
    const int terms = x[0].c + x[1].c;
    if (!x[1].data || x[0].c % CHUNK || x[1].c % CHUNK) return false;
    if (x[0].dtype != y->dtype || x[1].dtype != y->dtype) return false;
    if (!joined_fits(device, y->dtype, rows, terms, y->c)) return false;
    JoinedProduct p = {};
    for (; p.slices < y->c / SLICE; p.slices++) {
        const int column = p.slices * SLICE;
        const size_t offset = (size_t)column * 2;
        p.slice[p.slices] = {(char *)y->data + offset,
                             op->residual.data ? (char *)op->residual.data + offset : NULL,
                             op->bias ? op->bias + column : NULL,
                             op->scale,
                             y->c,
                             column};
    }
    p.tiles = (int)(rows / TILE), p.chunks = terms / CHUNK, p.second = x[0].c / CHUNK, p.alpha = op->scale;
    const JoinedMaps maps = {
        {box_map(x[0].data, y->dtype, rows, x[0].c, TILE), box_map(x[1].data, y->dtype, rows, x[1].c, TILE)},
        box_map(op->weight, y->dtype, y->c, terms, SLICE)};
    joined_run<false>(device, y->dtype, p, maps);
    return true;
}

bool cuda_linear_joined_backward_data(Device *device, const LinearBackwardData *op) {
    const Tensor *dy = &op->dy;
    const int64_t rows = tensor_rows(dy);
    const int columns = op->c[0] + op->c[1];
    /* Slices that add and slices that do not would fall out of step, which costs more than it saves. */
    if (!op->add[0].data != !op->add[1].data) return false;
    if (!op->dx[0].data || !op->dx[1].data || op->c[0] % SLICE || dy->c % CHUNK) return false;
    if (op->dx[0].dtype != dy->dtype || op->dx[1].dtype != dy->dtype) return false;
    if (op->dx[0].data == op->dx[1].data) return false; /* one after the other */
    if (!joined_fits(device, dy->dtype, rows, dy->c, columns)) return false;
    JoinedProduct p = {};
    for (; p.slices < columns / SLICE; p.slices++) {
        const int column = p.slices * SLICE, i = column >= op->c[0], within = column - (i ? op->c[0] : 0);
        const size_t offset = (size_t)within * 2;
        p.slice[p.slices] = {(char *)op->dx[i].data + offset,
                             op->add[i].data ? (char *)op->add[i].data + offset : NULL,
                             NULL,
                             op->add_scale[i],
                             op->c[i],
                             column};
    }
    p.tiles = (int)(rows / TILE), p.chunks = p.second = dy->c / CHUNK, p.alpha = op->dy_scale;
    const CUtensorMap source = box_map(dy->data, dy->dtype, rows, dy->c, TILE);
    const JoinedMaps maps = {{source, source}, box_map(op->weight, dy->dtype, dy->c, columns, HOPPER_BOX)};
    joined_run<true>(device, dy->dtype, p, maps);
    return true;
}
