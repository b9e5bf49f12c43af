/* Sampling, CM algorithm 1: start from pure noise of the highest level and denoise in one step; each further
 * step adds fresh noise up to an intermediate level tau and denoises again.
 *
 * The noise of an image is a function of the image's own seed and the number of the step, and of nothing
 * else: not of the run, the batch it is drawn in, or the device. So image 7 can be compared between any two
 * models.
 */
#include "ct/sampler.h"

#include "backend/replay.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Sampler {
    const CtConfig *ct;
    Network network;
    Device *device;
    int64_t pixels; /* elements of one image */
    /* host, for one batch */
    float *x, *input, *one_hot; /* the first two for sampler_apply() */
    float *landing;             /* images on their way from the device, which copies fast to here */
    Level *level;
    /* device, for one batch */
    Tensor noisy, network_input, f, labels, augment;
    Level *levels;
    /* device: the weights in use */
    const float *master;
    const void *cast;
    Replay denoise;
};

/* ---- memory ---- */

static Tensor tensor_make(Sampler *s, DType dtype, int h, int w, int c) {
    Tensor tensor = {.dtype = dtype, .n = s->network.n, .h = h, .w = w, .c = c};
    tensor.data = s->device->allocate(s->device, tensor_bytes(&tensor));
    s->device->fill(s->device, tensor.data, 0, tensor_bytes(&tensor));
    return tensor;
}

static Tensor image_make(Sampler *s, DType dtype) {
    return tensor_make(s, dtype, s->network.h, s->network.w, s->network.c);
}

static void *host_make(size_t count, size_t size) {
    void *host = calloc(count, size);
    CHECK(host, "out of memory for samples");
    return host;
}

Sampler *sampler_create(const CtConfig *ct, const Network *network, Device *device) {
    Sampler *s = host_make(1, sizeof *s);
    const size_t n = (size_t)network->n;
    s->ct = ct;
    s->network = *network;
    s->device = device;
    s->pixels = (int64_t)network->h * network->w * network->c;
    s->x = host_make(n * (size_t)s->pixels, sizeof(float));
    s->input = host_make(n * (size_t)s->pixels, sizeof(float));
    s->level = host_make(n, sizeof(Level));
    s->landing = device->host_allocate(device, n * (size_t)s->pixels * sizeof(float));
    s->noisy = image_make(s, DTYPE_F32);
    s->network_input = image_make(s, network->dtype);
    s->f = image_make(s, DTYPE_F32);
    s->levels = device->allocate(device, n * sizeof(Level));
    if (network->augment != NO_VALUE) s->augment = tensor_make(s, DTYPE_F32, 1, 1, network->augment_dim);
    if (network->label == NO_VALUE) return s;
    s->one_hot = host_make(n * (size_t)network->classes, sizeof(float));
    s->labels = tensor_make(s, DTYPE_F32, 1, 1, network->classes);
    return s;
}

void sampler_free(Sampler *s) {
    if (!s) return;
    replay_release(&s->denoise, s->device);
    void *host[] = {s->x, s->input, s->one_hot, s->level};
    void *memory[] = {s->noisy.data,  s->network_input.data, s->f.data,
                      s->labels.data, s->augment.data,       s->levels};
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) free(host[i]);
    s->device->host_release(s->device, s->landing);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        if (memory[i]) s->device->release(s->device, memory[i]);
    }
    free(s);
}

/* ---- a batch on the host ---- */

static void labels_set(Sampler *s, const int32_t *labels, int count) {
    const int classes = s->network.classes;
    if (!s->one_hot) return;
    CHECK(labels, "the network has %d classes: every sample needs a label", classes);
    memset(s->one_hot, 0, (size_t)s->network.n * (size_t)classes * sizeof(float));
    for (int i = 0; i < count; i++) {
        CHECK(labels[i] >= -1 && labels[i] < classes, "label %d of %d classes", labels[i], classes);
        if (labels[i] >= 0) s->one_hot[(int64_t)i * classes + labels[i]] = 1;
    }
    s->device->copy(s->device, s->labels.data, s->one_hot, tensor_bytes(&s->labels), COPY_TO_DEVICE);
}

/* ---- a batch on the device ---- */

/* f, and the network's bare output, from the input, the noisy images and the levels. */
static void denoise_enqueue(void *context) {
    const Sampler *s = context;
    const Network *network = &s->network;
    graph_bind(network->graph, network->input, s->network_input.data);
    graph_bind(network->graph, network->level, s->levels);
    if (network->label != NO_VALUE) graph_bind(network->graph, network->label, s->labels.data);
    if (network->augment != NO_VALUE) graph_bind(network->graph, network->augment, s->augment.data);
    graph_forward(network->graph, GRAPH_EVALUATE,
                  &(GraphRun){.master = s->master, .cast = s->cast, .dropout = false});
    const Tensor F = graph_value(network->graph, GRAPH_EVALUATE, network->output);
    s->device->ops->precondition(
        s->device, &(Precondition){.noisy = s->noisy, .network = F, .f = s->f, .level = s->levels});
}

/* What was recorded with other weights is of no use. */
static void weights_choose(Sampler *s, const float *master, const void *cast) {
    if (s->master == master && s->cast == cast) return;
    replay_release(&s->denoise, s->device);
    s->master = master, s->cast = cast;
}

/* Places behind `count` repeat the first one's level. */
static void levels_upload(Sampler *s, int count) {
    for (int i = count; i < s->network.n; i++) s->level[i] = s->level[0];
    s->device->copy(s->device, s->levels, s->level, (size_t)s->network.n * sizeof(Level), COPY_TO_DEVICE);
}

static void images_fetch(Sampler *s, const void *from, int count, float *out) {
    s->device->copy(s->device, out, from, (size_t)count * (size_t)s->pixels * sizeof(float), COPY_TO_HOST);
    s->device->synchronise(s->device);
}

static void images_take(const Sampler *s, int count, float *out) {
    memcpy(out, s->landing, (size_t)count * (size_t)s->pixels * sizeof(float));
}

/* ---- whole requests ---- */

/* The noisy images in s->x, and what the network sees of them: c_in x, or with `bare` x itself. */
static void images_upload(Sampler *s, bool bare) {
    Device *device = s->device;
    for (int i = 0; i < s->network.n; i++) {
        const float c_in = bare ? 1 : s->level[i].c_in;
        for (int64_t j = i * s->pixels; j < (i + 1) * s->pixels; j++) s->input[j] = c_in * s->x[j];
    }
    device->copy(device, s->noisy.data, s->x, tensor_bytes(&s->noisy), COPY_TO_DEVICE);
    device->copy(device, s->f.data, s->input, tensor_bytes(&s->f), COPY_TO_DEVICE);
    device->ops->add_scale(device, &(AddScale){.a = s->f, .a_scale = 1, .y = s->network_input});
}

/* sigma_max z with the caller's z. */
static void latents_upload(Sampler *s, const float *latents, float scale, int count) {
    memset(s->x, 0, tensor_bytes(&s->noisy));
    for (int64_t j = 0; j < count * s->pixels; j++) s->x[j] = scale * latents[j];
    images_upload(s, false);
}

/* All steps of the `count` (<= n) images of seeds first, first + 1, ...; they stay in s->f. */
static void batch_sample(Sampler *s, const SamplerConfig *config, uint32_t first, int count) {
    const CtConfig *ct = s->ct;
    Device *device = s->device;
    for (int step = 0; step < config->nfe; step++) {
        const double tau = step == 0 ? ct->sigma_max : config->sigmas[step - 1];
        const double scale = step == 0 ? tau : sqrt(tau * tau - ct->sigma_min * ct->sigma_min);
        CHECK(tau >= ct->sigma_min && tau <= ct->sigma_max, "sampling level %g outside [%g, %g]", tau,
              ct->sigma_min, ct->sigma_max);
        for (int i = 0; i < count; i++) s->level[i] = ct_level(ct, tau);
        levels_upload(s, count);
        if (!step && config->latents) {
            latents_upload(s, config->latents, (float)scale, count);
            replay_run(&s->denoise, device, denoise_enqueue, s);
            continue;
        }
        if (step) device->copy(device, s->noisy.data, s->f.data, tensor_bytes(&s->f), COPY_ON_DEVICE);
        device->ops->latent_noise(device, &(LatentNoise){.x = s->noisy,
                                                         .input = s->network_input,
                                                         .level = s->levels,
                                                         .first = first,
                                                         .step = (uint32_t)step,
                                                         .scale = (float)scale,
                                                         .go_on = step > 0,
                                                         .clip = config->clip && step > 0});
        replay_run(&s->denoise, device, denoise_enqueue, s);
    }
}

void sampler_draw(Sampler *s, const SamplerConfig *config, const float *master, const void *cast,
                  uint32_t first, int count, const int32_t *labels, float *images) {
    CHECK(config->nfe >= 1 && config->nfe <= MOST_NFE, "%d function evaluations; 1 to %d are possible",
          config->nfe, MOST_NFE);
    weights_choose(s, master, cast);
    int part = 0;
    for (int from = 0; from < count; from += s->network.n) {
        const int landed = part;
        part = count - from < s->network.n ? count - from : s->network.n;
        labels_set(s, labels ? labels + from : NULL, part);
        SamplerConfig batch = *config;
        if (batch.latents) batch.latents += from * s->pixels;
        batch_sample(s, &batch, first + (uint32_t)from, part);
        images_take(s, landed, images + (from - landed) * s->pixels); /* while the device computes */
        images_fetch(s, s->f.data, part, s->landing);
    }
    images_take(s, part, images + (count - part) * s->pixels);
}

/* f(x, level) of the batch in s->x, or F(x, level) with `raw`. */
static void batch_apply(Sampler *s, int count, bool raw, float *out) {
    Device *device = s->device;
    levels_upload(s, count);
    images_upload(s, raw);
    replay_run(&s->denoise, device, denoise_enqueue, s);
    const Tensor F = graph_value(s->network.graph, GRAPH_EVALUATE, s->network.output);
    images_fetch(s, raw ? F.data : s->f.data, count, out);
}

void sampler_apply(Sampler *s, const float *master, const void *cast, const float *x, const float *sigma,
                   const int32_t *labels, int count, bool raw, float *out) {
    weights_choose(s, master, cast);
    for (int from = 0; from < count; from += s->network.n) {
        const int part = count - from < s->network.n ? count - from : s->network.n;
        labels_set(s, labels ? labels + from : NULL, part);
        for (int i = 0; i < part; i++) s->level[i] = ct_level(s->ct, sigma[from + i]);
        memset(s->x, 0, tensor_bytes(&s->noisy));
        memcpy(s->x, x + from * s->pixels, (size_t)(part * s->pixels) * sizeof(float));
        batch_apply(s, part, raw, out + from * s->pixels);
    }
}

/* Written so that NaN becomes 0. */
static uint8_t byte_from(float value) {
    return !(value > 0) ? 0 : value >= 255 ? 255 : (uint8_t)value;
}

void images_to_bytes(const float *images, int64_t count, Rounding rounding, uint8_t *bytes) {
    for (int64_t i = 0; i < count; i++) {
        bytes[i] =
            byte_from(rounding == ROUNDING_ROUND ? images[i] * 127.5f + 128 : (images[i] + 1) / 2 * 255);
    }
}
