/* Trivial generators: what they draw depends on a fixed seed alone. */
#include "eval/trivial.h"

#include "backend/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER_SEED = REAL_ORDER_SEED };

size_t image_size(const Dataset *data) {
    return (size_t)data->height * (size_t)data->width * (size_t)data->channels;
}

static uint8_t *image_buffer(const Dataset *data, int count) {
    uint8_t *images = malloc((size_t)count * image_size(data));
    CHECK(images, "out of memory: %d images", count);
    return images;
}

uint8_t *real_images(const Dataset *data, int first, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    for (int i = 0; i < count; i++) {
        const uint32_t from = order_permute(ORDER_SEED, 0, (uint32_t)(first + i), (uint32_t)data->count);
        memcpy(images + (size_t)i * size, data->images + from * size, size);
    }
    return images;
}

/* Mean and deviation of every value of an image over the data set, the one behind the other. */
static double *value_moments(const Dataset *data, size_t size) {
    double *mean = calloc(2 * size, sizeof *mean), *deviation = mean + size;
    CHECK(mean, "out of memory for a mean image");
    for (int i = 0; i < data->count; i++)
        for (size_t p = 0; p < size; p++) {
            const double v = data->images[(size_t)i * size + p];
            mean[p] += v, deviation[p] += v * v;
        }
    for (size_t p = 0; p < size; p++) {
        mean[p] /= data->count;
        deviation[p] = sqrt(fmax(deviation[p] / data->count - mean[p] * mean[p], 0));
    }
    return mean;
}

uint8_t *mean_noise_images(const Dataset *data, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    double *mean = value_moments(data, size);
    const double *deviation = mean + size;
    for (int i = 0; i < count; i++) {
        const RandomKey key = {ORDER_SEED, STREAM_EVALUATE, 0, (uint32_t)i};
        for (size_t block = 0; block < size; block += 4) {
            const Normal4 z = random_normal4(random_block(key, (uint32_t)(block / 4)));
            for (size_t p = block; p < size && p < block + 4; p++)
                images[(size_t)i * size + p] =
                    (uint8_t)fmin(fmax(mean[p] + deviation[p] * (double)z.x[p % 4] + 0.5, 0), 255);
        }
    }
    free(mean);
    return images;
}

uint8_t *pixel_images(const Dataset *data, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    for (int i = 0; i < count; i++) {
        const RandomKey key = {ORDER_SEED, STREAM_EVALUATE, 1, (uint32_t)i};
        for (size_t block = 0; block < size; block += 4) {
            const Random4 random = random_block(key, (uint32_t)(block / 4));
            for (size_t p = block; p < size && p < block + 4; p++) {
                const size_t from = (size_t)(((uint64_t)random.x[p % 4] * (uint64_t)data->count) >> 32);
                images[(size_t)i * size + p] = data->images[from * size + p];
            }
        }
    }
    return images;
}
