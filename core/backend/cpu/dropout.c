/* The dropout mask: element e of a sample's layer output (NHWC order) reads 16-bit lane e % 8 of random block
 * e / 8. Lane j is the low half of word j / 2 for even j, the high half for odd j, which is how a
 * little-endian processor sees the four words as eight short ones. The element is kept when its lane is at
 * least rate * 65536. Sixteen blocks are drawn at once, one per vector lane. */
#include "backend/cpu/norm.h"
#include "base/philox.h"
#include <math.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lanes are read through memory");

enum { BLOCKS = DROPOUT_STEP / 8 };

/* The generator of base/philox.h for several blocks at once, a block's word in the low half of each 64-bit
 * lane: the instruction that multiplies low halves into whole lanes ignores what a round leaves in the high
 * halves. (The compiler does not find this; it multiplies 64 by 64 bits, three times as slow.) */
#if defined(__AVX512F__)
#include <immintrin.h>
typedef __m512i Wide;
#define wide_multiply(a, b) _mm512_mul_epu32(a, b)
#elif defined(__AVX2__)
#include <immintrin.h>
typedef __m256i Wide;
#define wide_multiply(a, b) _mm256_mul_epu32(a, b)
#else
typedef uint64_t Wide __attribute__((vector_size(16)));
#define wide_multiply(a, b) (((a)&0xffffffffu) * ((b)&0xffffffffu))
#endif
enum { WIDE = sizeof(Wide) / 8 };
typedef uint64_t WideWord __attribute__((vector_size(sizeof(Wide)))); /* for operators */

/* Blocks first .. first + WIDE - 1 of the sequence, block by block. */
static inline void blocks_draw(RandomKey key, uint32_t first, uint32_t words[4 * WIDE]) {
    const WideWord zero = {0}, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
    WideWord x0 = zero + first, x1 = zero + key.sample, x2 = zero + key.step, x3 = zero + key.stream;
    uint32_t key0 = (uint32_t)key.seed, key1 = (uint32_t)(key.seed >> 32);
    for (int i = 0; i < WIDE; i++) x0[i] += (uint64_t)i;
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
        const WideWord p0 = (WideWord)wide_multiply((Wide)x0, (Wide)m0),
                       p1 = (WideWord)wide_multiply((Wide)x2, (Wide)m1);
        x0 = (p1 >> 32) ^ x1 ^ (uint64_t)key0;
        x2 = (p0 >> 32) ^ x3 ^ (uint64_t)key1;
        x1 = p1;
        x3 = p0;
    }
    const WideWord low = (x0 & 0xffffffffu) | x1 << 32, high = (x2 & 0xffffffffu) | x3 << 32;
    for (int i = 0; i < WIDE; i++) {
        memcpy(words + 4 * i, &(uint64_t){low[i]}, 8);
        memcpy(words + 4 * i + 2, &(uint64_t){high[i]}, 8);
    }
}

void dropout_mask(const Dropout *dropout, int sample, int64_t first, int count, float *mask) {
    const uint32_t threshold = (uint32_t)lrint(dropout->rate * 65536.0);
    const float kept = (float)(1.0 / (1.0 - (double)dropout->rate));
    const DrawKey *draw = &dropout->draw;
    const RandomKey key = {draw->seed, STREAM_DROPOUT + dropout->layer, draw->row->step,
                           draw->first_sample + (uint32_t)sample};
    for (int64_t e = first; e < first + count; e += DROPOUT_STEP) {
        uint32_t words[4 * BLOCKS];
        uint16_t lanes[DROPOUT_STEP];
        float *out = mask + (e - first);
        for (int b = 0; b < BLOCKS; b += WIDE)
            blocks_draw(key, (uint32_t)(e / 8) + (uint32_t)b, words + 4 * b);
        memcpy(lanes, words, sizeof lanes);
#pragma omp simd
        for (int i = 0; i < DROPOUT_STEP; i++) out[i] = lanes[i] >= threshold ? kept : 0.0f;
    }
}
