/* Random numbers without state: Philox4x32-10 (Salmon et al. 2011) keyed by who asks. Every number is a pure
 * function of (seed, stream, step, sample, element), so nothing has to be saved for resume, and the draws are
 * the same on CPU and CUDA, for any micro-batch size and any number of devices. Integers are bit-identical
 * everywhere; normals are made by polynomials with explicit fmaf, so they agree within 4 ulp.
 *
 * Header-only, because the same code is compiled by gcc and nvcc.
 */
#ifndef ICT_BASE_PHILOX_H
#define ICT_BASE_PHILOX_H

#include <stdint.h>
#include <math.h>
#include <string.h>

#ifdef __CUDACC__
#define PHILOX_FUNCTION static __host__ __device__ __forceinline__
#else
#define PHILOX_FUNCTION static inline
#endif

/* Who asks. Streams of dropout layers are STREAM_DROPOUT + layer number. */
enum {
    STREAM_INIT = 1,  /* sample = parameter number, element = element of the parameter */
    STREAM_ORDER = 2, /* data order: key of the epoch's permutation */
    STREAM_FLIP = 3,
    STREAM_LEVEL = 4,    /* index of the noise level */
    STREAM_NOISE = 5,    /* z of training */
    STREAM_LATENT = 6,   /* x_T and z of sampling: sample = the image's seed, step = the sampling step */
    STREAM_DATA = 7,     /* built-in data sets */
    STREAM_FEATURE = 8,  /* random feature networks */
    STREAM_EVALUATE = 9, /* subsets in metrics */
    STREAM_LABEL = 10,   /* labels: which classes are hidden in training, which are drawn in evaluation */
    STREAM_SHIFT = 11,   /* by how much a classifier's images are moved */
    STREAM_DROPOUT = 64
};

typedef struct Random4 {
    uint32_t x[4];
} Random4;

typedef struct RandomKey {
    uint64_t seed;
    uint32_t stream, step, sample;
} RandomKey;

/* Both halves of a product. Of one in 64 bits, nvcc would add 0 to the upper half. */
PHILOX_FUNCTION void philox_product(uint32_t a, uint32_t b, uint32_t *low, uint32_t *high) {
#if defined(__CUDACC__) && defined(__CUDA_ARCH__)
    asm("{ .reg .b64 p; mul.wide.u32 p, %2, %3; mov.b64 {%0, %1}, p; }"
        : "=r"(*low), "=r"(*high)
        : "r"(a), "r"(b));
#else
    const uint64_t product = (uint64_t)a * b;
    *low = (uint32_t)product;
    *high = (uint32_t)(product >> 32);
#endif
}

PHILOX_FUNCTION void philox_round(uint32_t x[4], uint32_t key0, uint32_t key1) {
    uint32_t low0, high0, low1, high1;
    philox_product(x[0], 0xD2511F53u, &low0, &high0);
    philox_product(x[2], 0xCD9E8D57u, &low1, &high1);
    const uint32_t y0 = high1 ^ x[1] ^ key0, y2 = high0 ^ x[3] ^ key1;
    x[1] = low1;
    x[3] = low0;
    x[0] = y0;
    x[2] = y2;
}

/* The generator itself: 128-bit counter, 64-bit key, ten rounds. */
PHILOX_FUNCTION Random4 philox4x32(const uint32_t counter[4], uint32_t key0, uint32_t key1) {
    Random4 r = {{counter[0], counter[1], counter[2], counter[3]}};
    for (int round = 0; round < 10; round++) {
        philox_round(r.x, key0, key1);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return r;
}

/* Block `block` of the sequence that belongs to `key`: four 32-bit words, or eight 16-bit lanes. */
PHILOX_FUNCTION Random4 random_block(RandomKey key, uint32_t block) {
    const uint32_t counter[4] = {block, key.sample, key.step, key.stream};
    return philox4x32(counter, (uint32_t)key.seed, (uint32_t)(key.seed >> 32));
}

/* Uniform in the open interval (0, 1): 23 bits, centred, hence exact and never 0 or 1. */
PHILOX_FUNCTION float random_uniform(uint32_t word) {
    return ((float)(word >> 9) + 0.5f) * (1.0f / 8388608.0f);
}

/* ln u for u in (0, 1), within 1 ulp. u = 2^e m with m in [2/3, 4/3), f = m - 1, and ln m = f - f^2/2 + f^3
 * P(f) with a minimax P; the first two terms stay exact, so that the result is as good near 1, where ln u
 * vanishes. */
PHILOX_FUNCTION float philox_log(float u) {
    int32_t bits;
    memcpy(&bits, &u, sizeof bits);
    const int32_t e = (bits - 0x3F2AAAAB) >> 23; /* 0x3F2AAAAB is 2/3 */
    bits -= (int32_t)((uint32_t)e << 23);
    float m;
    memcpy(&m, &bits, sizeof m);
    const float f = m - 1.0f, k = (float)e;
    float p = -0.1289352029f;
    p = fmaf(p, f, 0.1398630291f);
    p = fmaf(p, f, -0.1218388528f);
    p = fmaf(p, f, 0.1400552392f);
    p = fmaf(p, f, -0.1668051034f);
    p = fmaf(p, f, 0.2001042515f);
    p = fmaf(p, f, -0.2499979734f);
    p = fmaf(p, f, 0.3333321512f);
    const float rest =
        fmaf(f * f, fmaf(p, f, -0.5f), k * -2.12194440e-4f); /* ln 2 = 0.693359375 - 2.12194440e-4 */
    return fmaf(k, 0.693359375f, f) + rest;
}

typedef struct NormalPair {
    float a, b;
} NormalPair;

/* Two standard normals of two words (Box and Muller 1958): sqrt(-2 ln u1) (cos 2 pi u2, sin 2 pi u2), each
 * within 3 ulp of the exact value for the same words; |z| < 5.8. No branch and no library call, so loops over
 * it vectorise; every sum of a product is an explicit fmaf, so that no compiler can round it another way. */
PHILOX_FUNCTION NormalPair random_normal_pair(uint32_t word1, uint32_t word2) {
    /* 4 u2 = quarter + r with r in [-1/2, 1/2], exactly: u2 is an odd multiple of 2^-24. */
    const int32_t turn = (int32_t)(word2 >> 9) * 2 + 1;
    const int32_t quarter = (turn + (1 << 21)) >> 22;
    const float r = (float)(turn - (quarter << 22)) * (1.0f / 4194304.0f), y = r * r;
    /* sin(pi r / 2) and cos(pi r / 2), minimax; pi/2 in two parts */
    float s = fmaf(-0.004601657887f, y, 0.07968003277f);
    s = fmaf(fmaf(s, y, -0.6459634602f), y, -4.37113883e-8f);
    s = fmaf(r, 1.57079637f, r * s);
    float c = fmaf(0.0009037665395f, y, -0.02086016511f);
    c = fmaf(fmaf(fmaf(c, y, 0.253669226f), y, -1.2337005426f), y, 1.0f);
    const float length = sqrtf(-2.0f * philox_log(random_uniform(word1)));
    const int odd = quarter & 1;
    const float x_size = odd ? s : c, y_size = odd ? c : s;
    const float x_sign = (quarter + 1) & 2 ? -length : length, y_sign = quarter & 2 ? -length : length;
    const NormalPair pair = {x_sign * x_size, y_sign * y_size};
    return pair;
}

typedef struct Normal4 {
    float x[4];
} Normal4;

/* The four normals of a block: elements 4 block .. 4 block + 3 of the key's sequence. */
PHILOX_FUNCTION Normal4 random_normal4(Random4 block) {
    const NormalPair first = random_normal_pair(block.x[0], block.x[1]);
    const NormalPair second = random_normal_pair(block.x[2], block.x[3]);
    const Normal4 normals = {{first.a, first.b, second.a, second.b}};
    return normals;
}

#endif
