/* The dropout mask: element e of a sample's layer output (NHWC order) reads 16-bit lane e % 8 of random block
 * e / 8. Lane j is the low half of word j / 2 for even j, the high half for odd j; the element is kept when
 * its lane is at least rate * 65536. Sixteen blocks are drawn at once, one per vector lane, then stored
 * element by element. */
#include "backend/cpu/norm.h"
#include "base/philox.h"
#include <math.h>

enum { BLOCKS = DROPOUT_STEP / 8 };

static void blocks_draw(RandomKey key, uint32_t first, uint32_t words[4][BLOCKS]) {
#pragma omp simd
    for (uint32_t i = 0; i < BLOCKS; i++) {
        const Random4 r = random_block(key, first + i);
        words[0][i] = r.x[0];
        words[1][i] = r.x[1];
        words[2][i] = r.x[2];
        words[3][i] = r.x[3];
    }
}

void dropout_mask(const Dropout *dropout, int sample, int64_t first, int count, float *mask) {
    const uint32_t threshold = (uint32_t)lrint(dropout->rate * 65536.0);
    const float kept = (float)(1.0 / (1.0 - (double)dropout->rate));
    const DrawKey *draw = &dropout->draw;
    const RandomKey key = {draw->seed, STREAM_DROPOUT + dropout->layer, draw->row->step,
                           draw->first_sample + (uint32_t)sample};
    for (int64_t e = first; e < first + count; e += DROPOUT_STEP) {
        uint32_t words[4][BLOCKS];
        blocks_draw(key, (uint32_t)(e / 8), words);
        float *out = mask + (e - first);
        for (int i = 0; i < BLOCKS; i++)
            for (int w = 0; w < 4; w++) {
                out[i * 8 + 2 * w] = (words[w][i] & 0xffff) >= threshold ? kept : 0.0f;
                out[i * 8 + 2 * w + 1] = words[w][i] >> 16 >= threshold ? kept : 0.0f;
            }
    }
}
