/* Random numbers without state: Philox4x32-10 (Salmon et al. 2011) keyed by who asks. Every number is a pure function of
 * (seed, stream, step, sample, element), so nothing has to be saved for resume, and the draws are the same on CPU and
 * CUDA, for any micro-batch size and any number of devices. Integers are bit-identical everywhere; normals are made by
 * polynomials with explicit fmaf, so they agree within 4 ulp.
 *
 * Header-only, because the same code is compiled by gcc and nvcc.
 */
#ifndef ICT_BASE_PHILOX_H
#define ICT_BASE_PHILOX_H

#include <stdint.h>
#include <math.h>

#ifdef __CUDACC__
#define PHILOX_FUNCTION static __host__ __device__ __forceinline__
#else
#define PHILOX_FUNCTION static inline
#endif

/* Who asks. Streams of dropout layers are STREAM_DROPOUT + layer number. */
enum {
    STREAM_INIT = 1,     /* sample = parameter number, element = element of the parameter */
    STREAM_ORDER = 2,    /* data order: key of the epoch's permutation */
    STREAM_FLIP = 3,
    STREAM_LEVEL = 4,    /* index of the noise level */
    STREAM_NOISE = 5,    /* z of training */
    STREAM_LATENT = 6,   /* x_T and z of sampling: sample = seed of the image, step = number of the sampling step */
    STREAM_DATA = 7,     /* built-in data sets */
    STREAM_FEATURE = 8,  /* random feature networks */
    STREAM_EVALUATE = 9, /* subsets in metrics */
    STREAM_DROPOUT = 64
};

typedef struct Random4 {
    uint32_t x[4];
} Random4;

typedef struct RandomKey {
    uint64_t seed;
    uint32_t stream, step, sample;
} RandomKey;

PHILOX_FUNCTION void philox_round(uint32_t x[4], uint32_t key0, uint32_t key1)
{
    const uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
    const uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ key0, y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ key1;
    x[1] = (uint32_t)p1;
    x[3] = (uint32_t)p0;
    x[0] = y0;
    x[2] = y2;
}

/* The generator itself: 128-bit counter, 64-bit key, ten rounds. */
PHILOX_FUNCTION Random4 philox4x32(const uint32_t counter[4], uint32_t key0, uint32_t key1)
{
    Random4 r = {{counter[0], counter[1], counter[2], counter[3]}};
    for (int round = 0; round < 10; round++) {
        philox_round(r.x, key0, key1);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return r;
}

/* Block `block` of the sequence that belongs to `key`: four 32-bit words, or eight 16-bit lanes. */
PHILOX_FUNCTION Random4 random_block(RandomKey key, uint32_t block)
{
    const uint32_t counter[4] = {block, key.sample, key.step, key.stream};
    return philox4x32(counter, (uint32_t)key.seed, (uint32_t)(key.seed >> 32));
}

/* Uniform in the open interval (0, 1): 23 bits, centred, hence exact and never 0 or 1. */
PHILOX_FUNCTION float random_uniform(uint32_t word)
{
    return ((float)(word >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

#endif
