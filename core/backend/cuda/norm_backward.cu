/* Group normalisation, backward. With xhat = (x - centre) / std, factor = 1 + scale and dv the gradient
 * before dropout and activation, two passes over a sample suffice (core/backend/cpu/norm_backward.c derives
 * them):
 *
 *   1. dv, and per channel  S = sum dv,  T = sum dv xhat,  U = sum xhat;
 *   2. dx = slope dv - A - B xhat,  where A and B are means over the group: of slope S and of slope T.
 *
 * dgamma = factor T, dbeta = factor S, dscale = gamma T + beta S, dshift = S, and the gradient of the bias
 * before the statistics is slope S - pixels A - B U. x and dy are read in both passes, the second time from
 * the cache where that is large enough, and dv is computed twice: cheaper than storing it. A sample's dgamma
 * and dbeta go to the workspace, and a second kernel adds them over the samples, in order.
 */
#include "backend/cuda/norm.cuh"

size_t cuda_norm_backward_workspace(Device *device, const NormForward *op) {
    (void)device;
    return (size_t)op->x[0].n * 2 * (size_t)op->y.c * sizeof(float);
}

/* What both passes compute of V elements of one pixel. */
template <int V> struct NormPixel { float dv[V], distance[V]; /* distance = x - centre */ };

template <typename T, int V>
__device__ __forceinline__ NormPixel<V> pixel_make(const NormBackward &op, const NormCut &cut, NormDrop drop,
                                                   const RandomKey &key, const NormLane<T> &l,
                                                   const NormAffine<V> &a, const T *dy, int p) {
    NormPixel<V> pixel;
    pack_load<T, V>(l.x + (int64_t)p * l.stride, pixel.distance);
    pack_load<T, V>(dy + (int64_t)p * cut.channels, pixel.dv);
    if (drop.threshold)
        norm_drop<V>(key, drop.threshold, drop.kept, (int64_t)p * cut.channels + l.first, pixel.dv);
#pragma unroll
    for (int k = 0; k < V; k++) {
        pixel.distance[k] -= a.centre[k];
        const float v = fmaf(pixel.distance[k], a.slope[k], a.offset[k]);
        pixel.dv[k] = op.dy_scale * pixel.dv[k] * activation_slope(op.forward.activation, v);
    }
    return pixel;
}

/* The chunk's sums, [chunk] each, in shared memory; and the group means that follow from them. */
typedef struct NormSums {
    float *s, *t, *u, *slope, *a, *b;
} NormSums;

template <int V>
__device__ __forceinline__ void sum_keep(float *rows, const NormCut &cut, const float (&value)[V],
                                         float *out) {
    norm_rows_sum<V>(rows, cut, value);
    for (int c = threadIdx.x; c < cut.chunk; c += blockDim.x) out[c] = rows[c];
}

/* A and B of each channel's group, B already times 1 / std, because pass 2 multiplies it with x - centre. */
__device__ __forceinline__ void means_make(const NormForward &op, const NormCut &cut, int sample,
                                           const NormSums &m) {
    const double count = (double)cut.size * cut.pixels;
    __syncthreads();
    for (int g = threadIdx.x; g < cut.groups; g += blockDim.x) {
        const int64_t group = (int64_t)sample * op.groups + blockIdx.x * cut.groups + g;
        const double inverse = op.statistics[2 * group + 1];
        double a = 0.0, b = 0.0;
        for (int c = g * cut.size; c < (g + 1) * cut.size; c++) {
            a += (double)m.slope[c] * (double)m.s[c];
            b += (double)m.slope[c] * (double)m.t[c];
        }
        for (int c = g * cut.size; c < (g + 1) * cut.size; c++) {
            m.a[c] = (float)(a / count);
            m.b[c] = (float)(b / count * inverse);
        }
    }
    __syncthreads();
}

/* What the sums of channel `c` of the chunk say about the parameters. */
__device__ __forceinline__ void channel_gradients(const NormBackward &op, const NormCut &cut, int sample,
                                                  const NormSums &m, int c) {
    const NormForward &forward = op.forward;
    const int channel = blockIdx.x * cut.chunk + c;
    const int64_t side = (int64_t)sample * cut.channels,
                  group = (int64_t)sample * forward.groups + channel / cut.size;
    const float factor =
        forward.scale_shift.data ? 1.0f + element_load(forward.scale_shift, 2 * side + channel) : 1.0f;
    float *partial = (float *)op.workspace + 2 * side;
    partial[channel] = factor * m.t[c];
    partial[cut.channels + channel] = factor * m.s[c];
    if (op.dscale_shift.data) {
        element_store(op.dscale_shift, 2 * side + channel,
                      fmaf(forward.gamma[channel], m.t[c], forward.beta[channel] * m.s[c]));
        element_store(op.dscale_shift, 2 * side + cut.channels + channel, m.s[c]);
    }
    if (op.dbias.data) {
        const float b = m.b[c] / forward.statistics[2 * group + 1];
        element_store(op.dbias, side + channel,
                      m.slope[c] * m.s[c] - (float)cut.pixels * m.a[c] - b * m.u[c]);
    }
}

template <typename T, int V>
__device__ __forceinline__ void
gradient_write(const NormBackward &op, const NormCut &cut, NormDrop drop, const RandomKey &key,
               const NormLane<T> &l, const NormAffine<V> &a, const T *dy, const NormSums &m, int sample) {
    const int lane = threadIdx.x % cut.lanes * V;
    const int64_t at = (int64_t)sample * cut.pixels * l.stride + l.first - (l.source ? op.forward.x[0].c : 0);
    T *dx = (T *)op.dx[l.source].data + at;
    const T *add = op.add[l.source].data ? (const T *)op.add[l.source].data + at : NULL;
    for (int p = l.row; p < cut.pixels; p += cut.rows) {
        const NormPixel<V> pixel = pixel_make<T, V>(op, cut, drop, key, l, a, dy, p);
        float out[V], more[V] = {};
        if (add) pack_load<T, V>(add + (int64_t)p * l.stride, more);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float gradient =
                fmaf(a.slope[k], pixel.dv[k], -m.a[lane + k]) - pixel.distance[k] * m.b[lane + k];
            out[k] = fmaf(op.add_scale[l.source], more[k], gradient);
        }
        pack_store<T, V>(dx + (int64_t)p * l.stride, out);
    }
}

template <typename T, int V>
__global__ void __launch_bounds__(NORM_THREADS)
    norm_backward_kernel(NormBackward op, NormCut cut, NormDrop drop) {
    extern __shared__ float4 shared[];
    float *rows = (float *)shared, *line = rows + cut.rows * cut.chunk;
    const int sample = blockIdx.y, chunk = cut.chunk;
    const NormSums m = {
        line, line + chunk, line + 2 * chunk, line + 3 * chunk, line + 4 * chunk, line + 5 * chunk};
    const NormLane<T> l = norm_lane<T, V>(op.forward, cut, sample);
    const T *dy = (const T *)op.dy.data + (int64_t)sample * cut.pixels * cut.channels + l.first;
    NormAffine<V> a;
    norm_affine<V>(op.forward, cut, sample, l.first, a);
    RandomKey key = {};
    if (drop.threshold) key = norm_drop_key(op.forward.dropout, sample);
    float s[V] = {}, t[V] = {}, u[V] = {};
    for (int p = l.row; p < cut.pixels; p += cut.rows) {
        const NormPixel<V> pixel = pixel_make<T, V>(op, cut, drop, key, l, a, dy, p);
#pragma unroll
        for (int k = 0; k < V; k++) {
            const float xhat = pixel.distance[k] * a.inverse[k];
            s[k] += pixel.dv[k];
            t[k] = fmaf(pixel.dv[k], xhat, t[k]);
            u[k] += xhat;
        }
    }
    sum_keep<V>(rows, cut, s, m.s);
    sum_keep<V>(rows, cut, t, m.t);
    sum_keep<V>(rows, cut, u, m.u);
    if (l.row == 0)
        for (int k = 0; k < V; k++) m.slope[threadIdx.x % cut.lanes * V + k] = a.slope[k];
    means_make(op.forward, cut, sample, m);
    for (int c = threadIdx.x; c < chunk; c += blockDim.x) channel_gradients(op, cut, sample, m, c);
    if (op.dx[l.source].data) gradient_write<T, V>(op, cut, drop, key, l, a, dy, m, sample);
}

/* dgamma and dbeta from the samples' shares [samples][2][channels]: a warp of rows a channel, then those in
 * order. */
__global__ void samples_sum_kernel(const float *partial, int samples, int channels, float *dgamma,
                                   float *dbeta, bool accumulate) {
    __shared__ double memory[8][33];
    const int c = blockIdx.x * 32 + threadIdx.x, columns = 2 * channels;
    double sum = 0.0;
    if (c < columns)
        for (int n = threadIdx.y; n < samples; n += 8) sum += (double)partial[(int64_t)n * columns + c];
    memory[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || c >= columns) return;
    for (int row = 1; row < 8; row++) sum += memory[row][threadIdx.x];
    float *out = c < channels ? dgamma : dbeta;
    const int channel = c < channels ? c : c - channels;
    if (out) out[channel] = (float)sum + (accumulate ? out[channel] : 0.0f);
}

template <typename T, int V> static void backward_run(Device *device, const NormBackward *op) {
    const NormForward *forward = &op->forward;
    const NormCut cut = norm_cut(forward, V);
    CHECK(cut.lanes <= NORM_THREADS, "norm: groups of %d channels are more than a block holds", cut.size);
    const dim3 grid((unsigned)(forward->groups / cut.groups), (unsigned)forward->x[0].n);
    const size_t bytes = (size_t)(cut.rows + 6) * (size_t)cut.chunk * sizeof(float);
    if (bytes > (48 << 10))
        CUDA_CHECK(cudaFuncSetAttribute(norm_backward_kernel<T, V>,
                                        cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    norm_backward_kernel<T, V><<<grid, (unsigned)(cut.lanes * cut.rows), bytes, cuda_stream(device)>>>(
        *op, cut, norm_drop_make(&forward->dropout));
    CUDA_LAUNCHED("norm_backward");
    if (!op->dgamma && !op->dbeta) return;
    samples_sum_kernel<<<blocks_for(2 * cut.channels, 32), dim3(32, 8), 0, cuda_stream(device)>>>(
        (const float *)op->workspace, forward->x[0].n, cut.channels, op->dgamma, op->dbeta, op->accumulate);
    CUDA_LAUNCHED("samples_sum");
}

void cuda_norm_backward(Device *device, const NormBackward *op) {
    norm_check(&op->forward);
    for (int i = 0; i < 2; i++)
        CHECK(same_dtype(op->forward.x[0], op->dx[i]) && same_dtype(op->forward.x[0], op->add[i]),
              "norm_backward: types differ");
    CHECK(same_dtype(op->forward.x[0], op->dy), "norm_backward: types differ");
    dtype_dispatch(op->dy.dtype, [&](auto type) {
        using T = decltype(type);
        if (norm_wide<T>(&op->forward))
            backward_run<T, Wide<T>::value>(device, op);
        else
            backward_run<T, 1>(device, op);
    });
}
