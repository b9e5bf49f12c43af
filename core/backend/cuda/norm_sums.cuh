/* Sums over all pixels of a slab (norm.cuh): within a thread, then within a warp by shuffles or straight in
 * shared memory, over the block, and over the blocks of a cluster; in an order that never varies. */
#ifndef ICT_BACKEND_CUDA_NORM_SUMS_CUH
#define ICT_BACKEND_CUDA_NORM_SUMS_CUH

#include "backend/cuda/norm.cuh"
#include <cooperative_groups.h>

__device__ __forceinline__ void norm_cluster_sync() {
#if __CUDA_ARCH__ >= 900
    cooperative_groups::this_cluster().sync();
#endif
}

__device__ __forceinline__ float norm_remote(float *mine, int rank) {
#if __CUDA_ARCH__ >= 900
    return *cooperative_groups::this_cluster().map_shared_rank(mine, rank);
#else
    return *mine;
#endif
}

/* Adds over the warp's rows, OFFSET threads apart and nearer: while a thread has several values, it gives
 * half of them away and takes the other half from its partner. What is left are `count` values from the
 * `first`-th on, or one that several threads have (`writes` in one of them). */
struct NormFolded {
    int first, count;
    bool writes;
};

template <int K, int OFFSET>
__device__ __forceinline__ void norm_fold(float *value, int shift, NormFolded &f) {
    if constexpr (OFFSET > 0) {
        if (OFFSET >> shift == 0) return;
        const bool upper = threadIdx.x & OFFSET;
        if constexpr (K > 1) {
#pragma unroll
            for (int k = 0; k < K / 2; k++) {
                const float give = upper ? value[k] : value[k + K / 2],
                            keep = upper ? value[k + K / 2] : value[k];
                value[k] = keep + __shfl_xor_sync(0xffffffffu, give, OFFSET);
            }
            f.count = K / 2;
            if (upper) f.first += K / 2;
            norm_fold<K / 2, OFFSET / 2>(value, shift, f);
        } else {
            value[0] += __shfl_xor_sync(0xffffffffu, value[0], OFFSET);
            if (upper) f.writes = false;
            norm_fold<1, OFFSET / 2>(value, shift, f);
        }
    }
}

/* Sums over the warp's pixels of value[j * V + k], to row[j][channel of the chunk], rows of `width`. */
template <int V, int K>
__device__ __forceinline__ void norm_fold_store(float (&value)[K * V], int shift, int lane, float *row,
                                                int width) {
    NormFolded f = {0, K * V, true};
    norm_fold<K * V, 16>(value, shift, f);
#pragma unroll
    for (int k = 0; k < K * V; k++)
        if (k < f.count && f.writes) {
            const int place = f.first + k;
            row[place / V * width + lane * V + place % V] = value[k];
        }
}

/* to[c] = sum of `lines` lines of `width`. */
__device__ __forceinline__ void lines_sum(const float *lines, int count, int width, float *to) {
    for (int c = threadIdx.x; c < width; c += blockDim.x) {
        float total = 0.0f;
#pragma unroll 4
        for (int line = 0; line < count; line++) total += lines[line * width + c];
        to[c] = total;
    }
}

/* The sums over the block's pixels, to own[j][channel of the chunk]; a barrier must follow. */
template <int V, int K>
__device__ __forceinline__ void block_sum(float (&value)[K * V], const NormCut &cut, const NormMemory &m,
                                          const NormLane &l, float *own) {
    const int width = cut.chunk, warps = blockDim.x / 32;
    if (cut.shift >= 0) {
        norm_fold_store<V, K>(value, cut.shift, l.lane, m.lines + threadIdx.x / 32 * K * width, width);
        __syncthreads();
        lines_sum(m.lines, warps, K * width, own);
        return;
    }
#pragma unroll
    for (int j = 0; j < K; j++) {
        if (j > 0) __syncthreads();
#pragma unroll
        for (int k = 0; k < V; k++)
            if (l.row < cut.rows) m.lines[l.row * width + l.lane * V + k] = value[j * V + k];
        __syncthreads();
        lines_sum(m.lines, cut.rows, width, own + j * width);
    }
}

/* m.sum[j][channel of the chunk] = sum over all pixels of value[j * V + k], K = 1 or 2 values a channel.
 * `turn` is 0 and 1 in turn, because a neighbour may still read what the last call left for it. */
template <int V, int K>
__device__ __forceinline__ void norm_sum(float (&value)[K * V], const NormCut &cut, const NormMemory &m,
                                         const NormLane &l, int turn) {
    const int width = K * cut.chunk;
    float *own = cut.cluster > 1 ? m.own + turn * 2 * cut.chunk : m.sum;
    block_sum<V, K>(value, cut, m, l, own);
    if (cut.cluster > 1) {
        norm_cluster_sync();
        for (int c = threadIdx.x; c < width; c += blockDim.x) {
            float total = 0.0f;
            for (int rank = 0; rank < cut.cluster; rank++) total += norm_remote(own + c, rank);
            m.sum[c] = total;
        }
    }
    __syncthreads();
}

/* Before a block leaves: nobody reads its memory any more. */
__device__ __forceinline__ void norm_leave(const NormCut &cut) {
    if (cut.cluster > 1) norm_cluster_sync();
}

#endif
