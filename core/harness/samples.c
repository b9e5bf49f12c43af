/* Samples as bytes. Only a piece exists as fp32 at any time: 50,000 images would take 600 MB. */
#include "harness/samples.h"

#include <stdlib.h>

enum { PIECE = 256 };

SamplerConfig sampler_levels(const CtConfig *ct, int nfe, double sigma_mid) {
    SamplerConfig sampler = {.nfe = nfe};
    if (nfe == 2) sampler.sigmas[0] = sigma_mid;
    for (int i = 0; nfe > 2 && i < nfe - 1; i++) sampler.sigmas[i] = ct_sigma(ct, nfe - 1 - i, nfe + 1);
    return sampler;
}

static bool piece_draw(const SampleRequest *request, int done, int count, SampleDraw *draw, void *context,
                       float *images, uint8_t *bytes, Error *error) {
    const uint32_t first = request->first + (uint32_t)done;
    int32_t labels[PIECE];
    for (int i = 0; i < count && request->classes; i++)
        labels[i] = (int32_t)((first + (uint32_t)i) % (uint32_t)request->classes);
    if (!draw(context, &request->sampler, first, count, request->classes ? labels : NULL, images, error))
        return false;
    images_to_bytes(images, (int64_t)count * request->image_size, request->rounding, bytes);
    return true;
}

uint8_t *samples_draw(const SampleRequest *request, SampleDraw *draw, void *context, Error *error) {
    const size_t size = (size_t)request->image_size;
    uint8_t *bytes = malloc((size_t)request->count * size);
    float *images = malloc(PIECE * size * sizeof *images);
    CHECK(bytes && images, "out of memory for %d samples", request->count);
    bool ok = true;
    for (int done = 0; ok && done < request->count; done += PIECE) {
        const int count = request->count - done < PIECE ? request->count - done : PIECE;
        ok = piece_draw(request, done, count, draw, context, images, bytes + (size_t)done * size, error);
    }
    free(images);
    if (ok) return bytes;
    free(bytes);
    return NULL;
}
