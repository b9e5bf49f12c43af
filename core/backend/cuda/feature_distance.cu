/* A share of a perceptual distance (core/backend/cpu/feature_distance.c has the formulas). A block takes a
 * sample, a warp one position after another with its lanes over the channels, which it reads three times:
 * once from memory, then from the cache. Warps add their positions in a fixed order, then the block adds its
 * warps. */
#include "backend/cuda/elements.cuh"

enum { WARP = 32, SAMPLE_BLOCK = 1024 };
#define NORM_FLOOR 1e-10f /* added to norms, as in the reference implementation of LPIPS */

/* Sum over the warp, in every lane, always in the same order. */
template <typename S> __device__ __forceinline__ S warp_sum(S value) {
#pragma unroll
    for (int half = WARP / 2; half > 0; half /= 2) value += __shfl_xor_sync(0xffffffffu, value, half);
    return value;
}

template <typename T> __device__ float features_norm(const T *x, int channels, int lane) {
    double sum = 0.0;
    for (int c = lane; c < channels; c += WARP) sum = fma((double)(float)x[c], (double)(float)x[c], sum);
    return (float)sqrt(warp_sum(sum));
}

__device__ __forceinline__ float channel_weight(const FeatureDistance &op, int c) {
    return op.weight ? op.weight[c] : 1.0f;
}

/* The distance of one position, in every lane, and its gradient. */
template <typename T>
__device__ double position_distance(const FeatureDistance &op, int64_t row, double factor, int lane) {
    const int channels = op.a.c;
    const T *a = (const T *)op.a.data + row * channels, *b = (const T *)op.b.data + row * channels;
    const float norm_a = features_norm(a, channels, lane), inverse_a = 1.0f / (norm_a + NORM_FLOOR);
    const float inverse_b = 1.0f / (features_norm(b, channels, lane) + NORM_FLOOR);
    double distance = 0.0, along = 0.0;
    for (int c = lane; c < channels; c += WARP) {
        const float u = (float)a[c] * inverse_a, difference = u - (float)b[c] * inverse_b;
        const double part = (double)channel_weight(op, c) * difference;
        distance += part * difference;
        along += part * u;
    }
    distance = warp_sum(distance);
    if (!op.da.data) return distance;
    T *da = (T *)op.da.data + row * channels;
    along = warp_sum(along);
    const float slope = norm_a == 0.0f ? 0.0f : (float)(factor * inverse_a);
    const float back = norm_a == 0.0f ? 0.0f : (float)along / norm_a;
    for (int c = lane; c < channels; c += WARP) {
        const float value = (float)a[c], difference = value * inverse_a - (float)b[c] * inverse_b;
        da[c] = (T)(slope == 0.0f ? 0.0f : slope * (channel_weight(op, c) * difference - back * value));
    }
    return distance;
}

template <typename T> __global__ void feature_distance_kernel(FeatureDistance op, int positions) {
    __shared__ double warps[SAMPLE_BLOCK / WARP];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const double weight = op.level ? (double)op.level[blockIdx.x].weight : 1.0;
    const double factor = 2.0 * op.scale * weight / positions;
    double sum = 0.0;
    for (int i = warp; i < positions; i += SAMPLE_BLOCK / WARP)
        sum += position_distance<T>(op, (int64_t)blockIdx.x * positions + i, factor, lane);
    if (lane == 0) warps[warp] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    double total = 0.0;
    for (int i = 0; i < SAMPLE_BLOCK / WARP; i++) total += warps[i];
    op.distance[blockIdx.x] = (op.accumulate ? op.distance[blockIdx.x] : 0.0f) + (float)(total / positions);
}

void cuda_feature_distance(Device *device, const FeatureDistance *op) {
    CHECK(tensor_count(&op->a) == tensor_count(&op->b) && op->a.c == op->b.c &&
              (!op->da.data || tensor_count(&op->da) == tensor_count(&op->a)),
          "feature_distance: sizes differ");
    CHECK(same_dtype(op->a, op->b) && same_dtype(op->da, op->a), "feature_distance: types differ");
    dtype_dispatch(op->a.dtype, [&](auto type) {
        feature_distance_kernel<decltype(type)>
            <<<(unsigned)op->a.n, SAMPLE_BLOCK, 0, cuda_stream(device)>>>(*op, op->a.h * op->a.w);
    });
    CUDA_LAUNCHED("feature_distance");
}
