/* All damage depends on a fixed seed and the image's number alone. */
#include "eval/perturb.h"

#include "backend/order.h"
#include "base/image.h"
#include "eval/trivial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOISE_SEED = 11 };

const Perturbation perturbations[PERTURB_KINDS] = {
    [PERTURB_NOISE] = {"noise", "grey levels", {4, 8, 16, 32}},
    [PERTURB_BLUR] = {"blur", "times", {1, 2, 4, 8}},
    [PERTURB_JPEG] = {"jpeg", "100 - quality", {10, 40, 70, 90}},
    [PERTURB_CLASSES] = {"classes", "missing of 10", {1, 3, 5, 8}},
    [PERTURB_DUPLICATES] = {"duplicates", "copies", {2, 8, 32, 128}},
};

/* ---- one image ---- */

static uint8_t byte_of(double value) {
    return (uint8_t)fmin(fmax(value + 0.5, 0), 255);
}

static void noise_add(uint8_t *image, size_t size, uint32_t number, double deviation) {
    for (size_t p = 0; p < size; p++) {
        const RandomKey key = {NOISE_SEED, STREAM_EVALUATE, 2, number};
        const float z = random_normal4(random_block(key, (uint32_t)(p / 4))).x[p % 4];
        image[p] = byte_of(image[p] + deviation * (double)z);
    }
}

/* One pass along rows (stride: channels) or columns; edges repeat. */
static void blur_line(uint8_t *line, int length, size_t stride) {
    int before = line[0];
    for (int i = 0; i < length; i++) {
        uint8_t *at = line + (size_t)i * stride;
        const int here = *at, after = i + 1 < length ? at[stride] : here;
        *at = (uint8_t)((before + 2 * here + after + 2) / 4);
        before = here;
    }
}

static void blur(uint8_t *image, const Dataset *data, int times) {
    const size_t channels = (size_t)data->channels, row = (size_t)data->width * channels;
    for (int pass = 0; pass < times; pass++)
        for (size_t c = 0; c < channels; c++) {
            for (int y = 0; y < data->height; y++)
                blur_line(image + (size_t)y * row + c, data->width, channels);
            for (int x = 0; x < data->width; x++)
                blur_line(image + (size_t)x * channels + c, data->height, row);
        }
}

static bool jpeg(uint8_t *image, const Dataset *data, int quality, Error *error) {
    const Image plain = {data->width, data->height, image};
    Image back;
    uint8_t *bytes;
    size_t size;
    if (data->channels != 3) return error_set(error, "JPEG damage is for colour images");
    if (!image_encode_jpeg(&plain, quality, &bytes, &size, error)) return false;
    const bool done = image_decode(bytes, size, "damaged image", &back, error);
    if (done) memcpy(image, back.pixels, image_size(data));
    if (done) image_free(&back);
    free(bytes);
    return done;
}

static bool image_damage(uint8_t *image, const Dataset *data, PerturbKind kind, int strength, int number,
                         Error *error) {
    if (kind == PERTURB_NOISE) noise_add(image, image_size(data), (uint32_t)number, strength);
    if (kind == PERTURB_BLUR) blur(image, data, strength);
    return kind != PERTURB_JPEG || jpeg(image, data, 100 - strength, error);
}

/* ---- which images ---- */

/* The `number`-th of the first half, in the order that floors take (trivial.c). */
static uint32_t real_number(const Dataset *data, int number) {
    return order_permute(REAL_ORDER_SEED, 0, (uint32_t)number, (uint32_t)data->count);
}

/* Image `number` of the damaged set; those of missing classes are passed over, and the half begins again. */
static uint32_t image_choose(const Dataset *data, PerturbKind kind, int strength, int number, int *next) {
    const int half = data->count / 2;
    if (kind == PERTURB_DUPLICATES) return real_number(data, number / strength % half);
    for (;;) {
        const uint32_t from = real_number(data, (*next)++ % half);
        if (kind != PERTURB_CLASSES || data->labels[from] >= strength) return from;
    }
}

static bool classes_check(const Dataset *data, int strength, Error *error) {
    if (data->labels && data->classes > strength) return true;
    return error_set(error, "data set '%s' has %d classes: %d cannot be missing", data->name,
                     data->labels ? data->classes : 0, strength);
}

uint8_t *perturb_images(const Dataset *data, PerturbKind kind, int strength, int count, Error *error) {
    const size_t size = image_size(data);
    int next = 0;
    if (kind == PERTURB_CLASSES && !classes_check(data, strength, error)) return NULL;
    uint8_t *images = malloc((size_t)count * size);
    CHECK(images && data->count > 1, "out of memory, or images, for %d damaged images", count);
    bool done = true;
    for (int i = 0; done && i < count; i++) {
        const uint32_t from = image_choose(data, kind, strength, i, &next);
        memcpy(images + (size_t)i * size, data->images + from * size, size);
        done = image_damage(images + (size_t)i * size, data, kind, strength, i, error);
    }
    if (done) return images;
    free(images);
    return NULL;
}
