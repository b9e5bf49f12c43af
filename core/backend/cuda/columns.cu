/* Sums over rows, column by column: how biases get their gradients. The rows are cut into parts; a block adds
 * one part of 32 lanes' worth of columns into the scratch memory, and a second kernel adds the parts in
 * double, in a fixed order; of few rows in fp32 it adds the rows themselves. */
#include "backend/cuda/elements.cuh"

enum { LANES = 32, ROWS = 8, PARTS_MAX = 512, FEW_ROWS = 1024 };

template <typename T, int V>
__global__ void columns_part_kernel(const T *x, int64_t rows, int channels, int64_t part_rows,
                                    float *partial) {
    __shared__ float memory[ROWS][LANES * V];
    const int channel = (blockIdx.x * LANES + threadIdx.x) * V;
    const int64_t first = blockIdx.y * part_rows, end = min(first + part_rows, rows);
    float sum[V] = {}, value[V];
    if (channel < channels) {
#pragma unroll 4
        for (int64_t row = first + threadIdx.y; row < end; row += ROWS) {
            pack_load<T, V>(x + row * channels + channel, value);
#pragma unroll
            for (int k = 0; k < V; k++) sum[k] += value[k];
        }
    }
#pragma unroll
    for (int k = 0; k < V; k++) memory[threadIdx.y][threadIdx.x * V + k] = sum[k];
    __syncthreads();
    for (int i = threadIdx.y * LANES + threadIdx.x; i < LANES * V; i += LANES * ROWS) {
        const int column = blockIdx.x * LANES * V + i;
        float total = 0.0f;
        for (int row = 0; row < ROWS; row++) total += memory[row][i];
        if (column < channels) partial[(int64_t)blockIdx.y * channels + column] = total;
    }
}

__global__ void columns_total_kernel(const float *partial, int parts, int channels, float *out, float scale,
                                     bool accumulate) {
    const int channel = blockIdx.x * 32 + threadIdx.x;
    const double sum = column_total(partial, parts, channels, channels);
    if (threadIdx.y || channel >= channels) return;
    out[channel] = (float)((double)scale * sum) + (accumulate ? out[channel] : 0.0f);
}

template <typename T, int V>
static void columns_part(const Tensor *x, int parts, int64_t part_rows, float *partial, cudaStream_t stream) {
    const dim3 grid(blocks_for(x->c, LANES * V), (unsigned)parts), block(LANES, ROWS);
    columns_part_kernel<T, V>
        <<<grid, block, 0, stream>>>((const T *)x->data, tensor_rows(x), x->c, part_rows, partial);
}

static void columns_total(Device *device, const float *partial, int parts, int channels, float *out,
                          float scale, bool accumulate) {
    columns_total_kernel<<<blocks_for(channels, 32), dim3(32, 32), 0, cuda_stream(device)>>>(
        partial, parts, channels, out, scale, accumulate);
    CUDA_LAUNCHED("columns_total");
}

void cuda_column_sums(Device *device, const Tensor *x, float *out, float scale, bool accumulate) {
    if (x->dtype == DTYPE_F32 && tensor_rows(x) <= FEW_ROWS) {
        columns_total(device, (const float *)x->data, (int)tensor_rows(x), x->c, out, scale, accumulate);
        return;
    }
    const int64_t rows = tensor_rows(x), fit = SCRATCH_FLOATS / x->c;
    const int64_t wanted = (rows + 8 * ROWS - 1) / (8 * ROWS);
    int64_t parts = wanted < PARTS_MAX ? wanted : (int64_t)PARTS_MAX;
    if (parts > fit) parts = fit;
    CHECK(parts > 0, "a bias of %d channels does not fit into the scratch memory", x->c);
    const int64_t part_rows = (rows + parts - 1) / parts;
    float *partial = cuda_context(device)->scratch;
    const cudaStream_t stream = cuda_stream(device);
    dtype_dispatch(x->dtype, [&](auto type) {
        using T = decltype(type);
        constexpr int V = Wide<T>::value;
        if (x->c % V == 0 && (uintptr_t)x->data % 16 == 0)
            columns_part<T, V>(x, (int)parts, part_rows, partial, stream);
        else
            columns_part<T, 1>(x, (int)parts, part_rows, partial, stream);
    });
    CUDA_LAUNCHED("columns_part");
    columns_total(device, partial, (int)parts, x->c, out, scale, accumulate);
}
