/* Sampling, CM algorithm 1: start from pure noise of the highest level and denoise in one step; each further
 * step adds fresh noise up to an intermediate level tau and denoises again.
 *
 * The noise of an image is a function of the image's own seed and the number of the step, and of nothing
 * else: not of the run, the batch it is drawn in, or the device. So image 7 can be compared between any two
 * models. It is made on the host; a few million normals are nothing beside a network.
 */
#include "ct/sampler.h"

#include "base/philox.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Sampler {
    const CtConfig *ct;
    Network network;
    Device *device;
    int64_t pixels; /* elements of one image */
    /* host, for one batch */
    float *x, *input, *one_hot;
    Level *level;
    /* device, for one batch */
    Tensor noisy, staged, network_input, f, labels, augment;
    Level *levels;
};

/* ------------------------------------------------------------------------------------------ memory */

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
    s->noisy = image_make(s, DTYPE_F32);
    s->staged = image_make(s, DTYPE_F32);
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
    void *host[] = {s->x, s->input, s->one_hot, s->level};
    void *memory[] = {s->noisy.data,   s->staged.data, s->network_input.data, s->f.data, s->labels.data,
                      s->augment.data, s->levels};
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) free(host[i]);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        if (memory[i]) s->device->release(s->device, memory[i]);
    }
    free(s);
}

/* ------------------------------------------------------------------------------------------ a batch on the
 * host */

/* Fresh normals for image `seed` at sampling step `step`: element i is lane i % 4 of block i / 4. */
static void noise_draw(float *z, int64_t count, uint32_t seed, int step) {
    const RandomKey key = {.seed = 0, .stream = STREAM_LATENT, .step = (uint32_t)step, .sample = seed};
    for (int64_t i = 0; i < count; i += 4) {
        const Normal4 normal = random_normal4(random_block(key, (uint32_t)(i / 4)));
        for (int64_t j = i; j < count && j < i + 4; j++) z[j] = normal.x[j - i];
    }
}

/* x += scale * z for the `count` images of seeds first, first + 1, ... */
static void noise_add(Sampler *s, uint32_t first, int count, int step, float scale) {
    const int64_t pixels = s->pixels;
#pragma omp parallel for num_threads(s->device->threads) schedule(static)
    for (int i = 0; i < count; i++) {
        float *x = s->x + i * pixels, *z = s->input + i * pixels; /* the input is made only afterwards */
        noise_draw(z, pixels, first + (uint32_t)i, step);
        for (int64_t j = 0; j < pixels; j++) x[j] += scale * z[j];
    }
}

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

/* The network's input of the batch: c_in x, or x as it is. Places behind `count` repeat sigma of the first.
 */
static void input_make(Sampler *s, int count, bool raw) {
    for (int i = count; i < s->network.n; i++) s->level[i] = s->level[0];
    for (int i = 0; i < s->network.n; i++) {
        const float c_in = raw ? 1 : s->level[i].c_in;
        for (int64_t j = i * s->pixels; j < (i + 1) * s->pixels; j++) s->input[j] = c_in * s->x[j];
    }
}

/* ------------------------------------------------------------------------------------------ a batch on the
 * device */

static void network_run(Sampler *s, const float *master, const void *cast) {
    const Network *network = &s->network;
    graph_bind(network->graph, network->input, s->network_input.data);
    graph_bind(network->graph, network->level, s->levels);
    if (network->label != NO_VALUE) graph_bind(network->graph, network->label, s->labels.data);
    if (network->augment != NO_VALUE) graph_bind(network->graph, network->augment, s->augment.data);
    graph_forward(network->graph, GRAPH_EVALUATE,
                  &(GraphRun){.master = master, .cast = cast, .dropout = false});
}

/* f(x, level) of the batch, or F(x, level) with `raw`, into host memory for the first `count` images. */
static void batch_denoise(Sampler *s, const float *master, const void *cast, int count, bool raw,
                          float *out) {
    Device *device = s->device;
    input_make(s, count, raw);
    device->copy(device, s->levels, s->level, (size_t)s->network.n * sizeof(Level), COPY_TO_DEVICE);
    device->copy(device, s->noisy.data, s->x, tensor_bytes(&s->noisy), COPY_TO_DEVICE);
    device->copy(device, s->staged.data, s->input, tensor_bytes(&s->staged), COPY_TO_DEVICE);
    device->ops->add_scale(device, &(AddScale){.a = s->staged, .a_scale = 1, .y = s->network_input});
    network_run(s, master, cast);
    const Tensor F = graph_value(s->network.graph, GRAPH_EVALUATE, s->network.output);
    device->ops->precondition(
        device, &(Precondition){.noisy = s->noisy, .network = F, .f = s->f, .level = s->levels});
    const size_t bytes = (size_t)count * (size_t)s->pixels * sizeof(float);
    device->copy(device, out, raw ? F.data : s->f.data, bytes, COPY_TO_HOST);
    device->synchronise(device);
}

/* ------------------------------------------------------------------------------------------ whole requests
 */

static void batch_clip(Sampler *s, int count) {
    for (int64_t i = 0; i < count * s->pixels; i++) s->x[i] = fminf(fmaxf(s->x[i], -1), 1);
}

/* All steps of the `count` (<= n) images of seeds first, first + 1, ...; the result stays in s->x. */
static void batch_sample(Sampler *s, const SamplerConfig *config, const float *master, const void *cast,
                         uint32_t first, int count) {
    const CtConfig *ct = s->ct;
    memset(s->x, 0, tensor_bytes(&s->noisy));
    for (int step = 0; step < config->nfe; step++) {
        const double tau = step == 0 ? ct->sigma_max : config->sigmas[step - 1];
        const double scale = step == 0 ? tau : sqrt(tau * tau - ct->sigma_min * ct->sigma_min);
        CHECK(tau >= ct->sigma_min && tau <= ct->sigma_max, "sampling level %g outside [%g, %g]", tau,
              ct->sigma_min, ct->sigma_max);
        if (config->clip && step > 0) batch_clip(s, count);
        noise_add(s, first, count, step, (float)scale);
        for (int i = 0; i < count; i++) s->level[i] = ct_level(ct, tau);
        batch_denoise(s, master, cast, count, false, s->x);
    }
}

void sampler_draw(Sampler *s, const SamplerConfig *config, const float *master, const void *cast,
                  uint32_t first, int count, const int32_t *labels, float *images) {
    CHECK(config->nfe >= 1 && config->nfe <= MOST_NFE, "%d function evaluations; 1 to %d are possible",
          config->nfe, MOST_NFE);
    for (int from = 0; from < count; from += s->network.n) {
        const int part = count - from < s->network.n ? count - from : s->network.n;
        labels_set(s, labels ? labels + from : NULL, part);
        batch_sample(s, config, master, cast, first + (uint32_t)from, part);
        memcpy(images + from * s->pixels, s->x, (size_t)(part * s->pixels) * sizeof(float));
    }
}

void sampler_apply(Sampler *s, const float *master, const void *cast, const float *x, const float *sigma,
                   const int32_t *labels, int count, bool raw, float *out) {
    for (int from = 0; from < count; from += s->network.n) {
        const int part = count - from < s->network.n ? count - from : s->network.n;
        labels_set(s, labels ? labels + from : NULL, part);
        for (int i = 0; i < part; i++) s->level[i] = ct_level(s->ct, sigma[from + i]);
        memset(s->x, 0, tensor_bytes(&s->noisy));
        memcpy(s->x, x + from * s->pixels, (size_t)(part * s->pixels) * sizeof(float));
        batch_denoise(s, master, cast, part, raw, out + from * s->pixels);
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
