/* Samples as bytes. Only a piece exists as fp32 at any time: 50,000 images would take 600 MB. */
#include "worker/samples.h"
#include "base/philox.h"

#include <math.h>
#include <stdlib.h>

enum { PIECE = 1024 };

SamplerConfig sampler_levels(const CtConfig *ct, const EvaluationConfig *evaluation, int nfe) {
    SamplerConfig sampler = {.nfe = nfe, .clip = evaluation->clip};
    const bool given = evaluation->sigma_count > 0 && evaluation->sigma_count == nfe - 1;
    for (int i = 0; i < nfe - 1; i++)
        sampler.sigmas[i] = given      ? evaluation->sigmas[i]
                            : nfe == 2 ? evaluation->sigma_mid
                                       : ct_sigma(ct, nfe - 1 - i, nfe + 1);
    return sampler;
}

int32_t label_of_seed(const LabelSource *source, int classes, uint32_t seed) {
    const RandomKey key = {.seed = 0, .stream = STREAM_LABEL, .step = 0, .sample = seed};
    if (!source->labels) return (int32_t)(seed % (uint32_t)classes);
    if (source->rule == LABELS_IN_TURN) return source->labels[seed % (uint32_t)source->count];
    return source->labels[(uint64_t)random_block(key, 0).x[0] * (uint64_t)source->count >> 32];
}

/* As bytes they would be black pictures, which a metric takes for pictures. */
static bool images_finite(const float *images, int count, int size, uint32_t first, Error *error) {
    for (int64_t i = 0; i < (int64_t)count * size; i++)
        if (!isfinite(images[i]))
            return error_set(error, "the image of seed %u holds %g: the network's weights are not sound",
                             first + (uint32_t)(i / size), (double)images[i]);
    return true;
}

static bool piece_draw(const SampleRequest *request, int done, int count, SampleDraw *draw, void *context,
                       float *images, uint8_t *bytes, Error *error) {
    const uint32_t first = request->first + (uint32_t)done;
    int32_t labels[PIECE];
    for (int i = 0; i < count && request->classes; i++)
        labels[i] = label_of_seed(&request->labels, request->classes, first + (uint32_t)i);
    SamplerConfig sampler = request->sampler;
    if (sampler.latents) sampler.latents += (size_t)done * (size_t)request->image_size;
    if (!draw(context, &sampler, first, count, request->classes ? labels : NULL, images, error) ||
        !images_finite(images, count, request->image_size, first, error))
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
