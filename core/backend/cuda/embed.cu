/* Noise embedding: sines and cosines of the noise level, with angles in double as on the CPU: they reach a
 * thousand radians, where a float angle is off by 3e-5. There are only n x channels/2 of them. */
#include "backend/cuda/elements.cuh"

__global__ void noise_embed_kernel(NoiseEmbed op, int half) {
    const int i = blockIdx.x * BLOCK + threadIdx.x, sample = i / half, k = i % half;
    if (sample >= op.y.n) return;
    const double two_pi = 6.283185307179586477;
    const Level *level = (const Level *)op.level.data + sample;
    const double unit = (op.kind == EMBED_FOURIER ? two_pi : 1.0) * op.noise_scale * level->c_noise;
    const double angle = unit * op.frequency[k];
    const int64_t first = (int64_t)sample * op.y.c;
    element_store(op.y, first + (op.cosine_first ? half : 0) + k, (float)sin(angle));
    element_store(op.y, first + (op.cosine_first ? 0 : half) + k, (float)cos(angle));
}

void cuda_noise_embed(Device *device, const NoiseEmbed *op) {
    const int n = op->y.n, half = op->y.c / 2;
    CHECK(op->level.dtype == DTYPE_F32 && tensor_count(&op->level) == (int64_t)n * LEVEL_FIELDS,
          "noise_embed: one Level a sample");
    CHECK(tensor_rows(&op->y) == n && op->y.c % 2 == 0, "noise_embed: y is [n,1,1,even]");
    noise_embed_kernel<<<blocks_for((int64_t)n * half, BLOCK), BLOCK, 0, cuda_stream(device)>>>(*op, half);
    CUDA_LAUNCHED("noise_embed");
}

/* Any kernel of ours tells: all are compiled for the same cards. */
bool cuda_has_kernels(void) {
    cudaFuncAttributes attributes;
    const bool has = cudaFuncGetAttributes(&attributes, noise_embed_kernel) == cudaSuccess;
    cudaGetLastError(); /* asked and answered: not for whoever looks next */
    return has;
}
