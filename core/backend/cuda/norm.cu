/* Group normalisation with all that follows it, forward: means, then variances around them, then the result,
 * three passes over a slab that is read from memory once where it fits into shared memory. */
#include "backend/cuda/norm.cuh"

/* Where passes two and three find the slab: in shared memory, or in the tensor itself. */
template <typename T, int V, bool CACHED>
__device__ __forceinline__ void slab_load(const T *slab, const NormCut &cut, const NormLane<T> &l, int pixel,
                                          float (&x)[V]) {
    if (CACHED)
        pack_load<T, V>(slab + (int64_t)pixel * cut.chunk + threadIdx.x % cut.lanes * V, x);
    else
        pack_load<T, V>(l.x + (int64_t)pixel * l.stride, x);
}

/* Sums of x - pivot, where the pivot is the channel's first pixel: nothing is lost when the mean is a
 * thousand deviations. Keeps the slab on the way. */
template <typename T, int V, bool CACHED>
__device__ __forceinline__ void sum_first(T *slab, const NormCut &cut, const NormLane<T> &l,
                                          const float (&pivot)[V], float (&sum)[V]) {
    for (int p = l.row; p < cut.pixels; p += cut.rows) {
        const Pack<T, V> pack = *reinterpret_cast<const Pack<T, V> *>(l.x + (int64_t)p * l.stride);
        if (CACHED)
            *reinterpret_cast<Pack<T, V> *>(slab + (int64_t)p * cut.chunk + threadIdx.x % cut.lanes * V) =
                pack;
#pragma unroll
        for (int k = 0; k < V; k++) sum[k] += (float)pack.lane[k] - pivot[k];
    }
}

/* Mean of each of the block's groups, into `mean`; `sum` is the first row of norm_rows_sum. */
__device__ __forceinline__ void means_make(const NormForward &op, const NormCut &cut, int sample,
                                           const float *sum, const float *pivot, float *mean) {
    for (int g = threadIdx.x; g < cut.groups; g += blockDim.x) {
        double total = 0.0;
        for (int c = g * cut.size; c < (g + 1) * cut.size; c++) {
            const int64_t place = (int64_t)sample * cut.channels + blockIdx.x * cut.chunk + c;
            const float bias = op.bias.data ? element_load(op.bias, place) : 0.0f;
            total += (double)pivot[c] + (double)sum[c] / cut.pixels + (double)bias;
        }
        mean[g] = (float)(total / cut.size);
        op.statistics[((int64_t)sample * op.groups + blockIdx.x * cut.groups + g) * 2] = mean[g];
    }
    __syncthreads();
}

__device__ __forceinline__ void deviations_make(const NormForward &op, const NormCut &cut, int sample,
                                                const float *sum) {
    for (int g = threadIdx.x; g < cut.groups; g += blockDim.x) {
        const int64_t group = (int64_t)sample * op.groups + blockIdx.x * cut.groups + g;
        double square = 0.0;
        for (int c = g * cut.size; c < (g + 1) * cut.size; c++) square += (double)sum[c];
        const double variance = square / ((double)cut.size * cut.pixels);
        op.statistics[group * 2 + 1] = (float)(1.0 / sqrt(variance + (double)op.epsilon));
    }
    __syncthreads();
}

template <typename T, int V, bool CACHED>
__device__ __forceinline__ void apply(const NormForward &op, const NormCut &cut, NormDrop drop, int sample,
                                      const T *slab, const NormLane<T> &l) {
    NormAffine<V> a;
    norm_affine<V>(op, cut, sample, l.first, a);
    RandomKey key = {};
    if (drop.threshold) key = norm_drop_key(op.dropout, sample);
    T *y = (T *)op.y.data + (int64_t)sample * cut.pixels * cut.channels + l.first;
    for (int p = l.row; p < cut.pixels; p += cut.rows) {
        float x[V];
        slab_load<T, V, CACHED>(slab, cut, l, p, x);
#pragma unroll
        for (int k = 0; k < V; k++)
            x[k] = activation_value(op.activation, fmaf(x[k] - a.centre[k], a.slope[k], a.offset[k]));
        if (drop.threshold)
            norm_drop<V>(key, drop.threshold, drop.kept, (int64_t)p * cut.channels + l.first, x);
        pack_store<T, V>(y + (int64_t)p * cut.channels, x);
    }
}

template <typename T, int V, bool CACHED>
__global__ void __launch_bounds__(NORM_THREADS)
    norm_forward_kernel(NormForward op, NormCut cut, NormDrop drop) {
    extern __shared__ float4 shared[];
    float *sum = (float *)shared, *pivots = sum + cut.rows * cut.chunk, *mean = pivots + cut.chunk;
    T *slab = (T *)(mean + (cut.chunk + 3) / 4 * 4);
    const int sample = blockIdx.y;
    const NormLane<T> l = norm_lane<T, V>(op, cut, sample);
    const int lane = threadIdx.x % cut.lanes;
    float pivot[V], part[V] = {};
    pack_load<T, V>(l.x, pivot);
    if (l.row == 0)
        for (int k = 0; k < V; k++) pivots[lane * V + k] = pivot[k];
    sum_first<T, V, CACHED>(slab, cut, l, pivot, part);
    norm_rows_sum<V>(sum, cut, part);
    means_make(op, cut, sample, sum, pivots, mean);
#pragma unroll
    for (int k = 0; k < V; k++) {
        const float bias =
            op.bias.data ? element_load(op.bias, (int64_t)sample * cut.channels + l.first + k) : 0.0f;
        pivot[k] = mean[(lane * V + k) / cut.size] - bias;
        part[k] = 0.0f;
    }
    for (int p = l.row; p < cut.pixels; p += cut.rows) {
        float x[V];
        slab_load<T, V, CACHED>(slab, cut, l, p, x);
#pragma unroll
        for (int k = 0; k < V; k++) part[k] = fmaf(x[k] - pivot[k], x[k] - pivot[k], part[k]);
    }
    norm_rows_sum<V>(sum, cut, part);
    deviations_make(op, cut, sample, sum);
    apply<T, V, CACHED>(op, cut, drop, sample, slab, l);
}

template <typename T, int V, bool CACHED>
static void forward_launch(Device *device, const NormForward *op, const NormCut &cut, size_t bytes) {
    const dim3 grid((unsigned)(op->groups / cut.groups), (unsigned)op->x[0].n);
    if (bytes > (48 << 10))
        CUDA_CHECK(cudaFuncSetAttribute(norm_forward_kernel<T, V, CACHED>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    norm_forward_kernel<T, V, CACHED><<<grid, (unsigned)(cut.lanes * cut.rows), bytes, cuda_stream(device)>>>(
        *op, cut, norm_drop_make(&op->dropout));
    CUDA_LAUNCHED("norm_forward");
}

template <typename T, int V> static void forward_run(Device *device, const NormForward *op) {
    const NormCut cut = norm_cut(op, V);
    CHECK(cut.lanes <= NORM_THREADS, "norm: groups of %d channels are more than a block holds", cut.size);
    const size_t sums = (size_t)(cut.rows * cut.chunk + cut.chunk + (cut.chunk + 3) / 4 * 4) * sizeof(float);
    const size_t aligned = (sums + 15) / 16 * 16, slab = (size_t)cut.pixels * cut.chunk * sizeof(T);
    CHECK(sums == aligned || V == 1, "norm: the slab is not aligned");
    if (sums == aligned && aligned + slab <= NORM_SLAB)
        forward_launch<T, V, true>(device, op, cut, aligned + slab);
    else
        forward_launch<T, V, false>(device, op, cut, sums);
}

void cuda_norm_forward(Device *device, const NormForward *op) {
    norm_check(op);
    CHECK(same_dtype(op->x[0], op->y), "norm_forward: types differ");
    dtype_dispatch(op->x[0].dtype, [&](auto type) {
        using T = decltype(type);
        if (norm_wide<T>(op))
            forward_run<T, Wide<T>::value>(device, op);
        else
            forward_run<T, 1>(device, op);
    });
}
