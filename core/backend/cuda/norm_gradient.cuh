/* What the kernels of group normalisation do backward with a thread's V channels of a pixel, in registers.
 * The formulas stand in norm_backward.cu. */
#ifndef ICT_BACKEND_CUDA_NORM_GRADIENT_CUH
#define ICT_BACKEND_CUDA_NORM_GRADIENT_CUH

#include "backend/cuda/norm.cuh"

/* The affine maps of the thread's channels, and the key of its mask. */
template <int V> struct NormMap {
    float centre[V], slope[V], offset[V];
    RandomKey key;
};

/* x - centre, which 16-bit types leave at x */
template <typename T, int V>
__device__ __forceinline__ void distance_make(const NormMap<V> &map, float (&x)[V]) {
#pragma unroll
    for (int k = 0; k < V; k++)
        if (!Narrow<T>::value) x[k] -= map.centre[k];
}

/* dv from dy, where x holds the distance, but for the factor drop.kept (of dy, and of what dropout keeps),
 * which sums and slopes get afterwards, a channel at a time. `bits` are the pixel's of the kept mask;
 * `element` is its place in the sample, for a mask that is drawn again. */
template <typename T, int V, int TAIL>
__device__ __forceinline__ void gradient_make(const NormBackward &op, NormDrop drop, const NormMap<V> &map,
                                              uint32_t bits, int element, const float (&x)[V], Pack<T, V> dy,
                                              float (&dv)[V]) {
    if constexpr (TAIL == TAIL_SILU_MASK && V == 8) pack_keep<T>(dy, bits);
    pack_widen<T, V>(dy, dv);
    if (TAIL != TAIL_SILU_MASK && tail_drops<TAIL>(drop))
        norm_drop<V>(map.key, NormDrop{drop.threshold, 1.0f}, (uint32_t)element, dv);
#pragma unroll
    for (int k = 0; k < V; k++)
        dv[k] *=
            activation_slope<T>(tail_activation<TAIL>(op.forward), fmaf(x[k], map.slope[k], map.offset[k]));
}

/* S, and the sum of dv times distance. */
template <int V>
__device__ __forceinline__ void gradient_sum(const float (&x)[V], const float (&dv)[V],
                                             float (&sums)[2 * V]) {
#pragma unroll
    for (int k = 0; k < V; k++) {
        sums[k] += dv[k];
        sums[V + k] = fmaf(dv[k], x[k], sums[V + k]);
    }
}

/* The factor that gradient_make() left out, for gradient_finish(). */
template <int V> __device__ __forceinline__ void slope_scale(NormDrop drop, NormMap<V> &map) {
#pragma unroll
    for (int k = 0; k < V; k++) map.slope[k] *= drop.kept;
}

/* dv becomes dx = slope dv - b distance - a, which is summed, plus what is to be added. */
template <int V>
__device__ __forceinline__ void gradient_finish(const NormMap<V> &map, const float (&a)[V],
                                                const float (&b)[V], const float (&x)[V], float add_scale,
                                                const float (&added)[V], float (&dv)[V], float (&sums)[V]) {
#pragma unroll
    for (int k = 0; k < V; k++) {
        dv[k] = fmaf(-x[k], b[k], fmaf(map.slope[k], dv[k], -a[k]));
        sums[k] += dv[k];
        dv[k] = fmaf(add_scale, added[k], dv[k]);
    }
}

#endif
