/* Noise embedding: sines and cosines of the noise level. Angles reach a thousand radians (frequency scale 16,
 * or the factor 1000 of OpenAI's ADM), where a float angle is off by 3e-5; so angle, sine and cosine are
 * computed in double. There are only n x channels/2 of them.
 */
#include "backend/cpu/cpu.h"
#include <math.h>

_Static_assert(sizeof(Level) == LEVEL_FIELDS * sizeof(float), "Level is a row of LEVEL_FIELDS floats");

static void embed_sample(const NoiseEmbed *op, int sample) {
    const double two_pi = 6.283185307179586477;
    const int half = op->y.c / 2;
    const Level *level = (const Level *)op->level.data + sample;
    const double unit = (op->kind == EMBED_FOURIER ? two_pi : 1.0) * op->noise_scale * level->c_noise;
    float *first = (float *)op->y.data + (int64_t)sample * op->y.c, *second = first + half;
    float *sine = op->cosine_first ? second : first, *cosine = op->cosine_first ? first : second;
    for (int i = 0; i < half; i++) {
        sine[i] = (float)sin(unit * op->frequency[i]);
        cosine[i] = (float)cos(unit * op->frequency[i]);
    }
}

void cpu_noise_embed(Device *device, const NoiseEmbed *op) {
    CHECK_F32(op->level);
    CHECK_F32(op->y);
    const int n = op->y.n;
    CHECK(tensor_count(&op->level) == (int64_t)n * LEVEL_FIELDS, "noise_embed: one Level a sample");
    CHECK(tensor_rows(&op->y) == n && op->y.c % 2 == 0, "noise_embed: y is [n,1,1,even]");
    const int parts = cpu_parts(device, tensor_count(&op->y) * 16);
#pragma omp parallel for num_threads(parts) schedule(static, 1)
    for (int part = 0; part < parts; part++) {
        const Range range = range_part(n, part, parts);
        for (int64_t i = range.begin; i < range.end; i++) embed_sample(op, (int)i);
    }
}
