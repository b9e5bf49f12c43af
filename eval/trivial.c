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

uint8_t *mean_noise_images(const Dataset *data, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    for (size_t p = 0; p < size; p++) {
        double sum = 0, square = 0;
        for (int i = 0; i < data->count; i++) {
            const double v = data->images[(size_t)i * size + p];
            sum += v, square += v * v;
        }
        const double mean = sum / data->count, deviation = sqrt(fmax(square / data->count - mean * mean, 0));
        for (int i = 0; i < count; i++) {
            const RandomKey key = {ORDER_SEED, STREAM_EVALUATE, 0, (uint32_t)i};
            const double z = (double)random_normal4(random_block(key, (uint32_t)(p / 4))).x[p % 4];
            images[(size_t)i * size + p] = (uint8_t)fmin(fmax(mean + deviation * z + 0.5, 0), 255);
        }
    }
    return images;
}

uint8_t *pixel_images(const Dataset *data, int count) {
    const size_t size = image_size(data);
    uint8_t *images = image_buffer(data, count);
    for (int i = 0; i < count; i++) {
        const RandomKey key = {ORDER_SEED, STREAM_EVALUATE, 1, (uint32_t)i};
        for (size_t p = 0; p < size; p++) {
            const uint32_t from = (uint32_t)(((uint64_t)random_block(key, (uint32_t)(p / 4)).x[p % 4] *
                                              (uint64_t)data->count) >>
                                             32);
            images[(size_t)i * size + p] = data->images[from * size + p];
        }
    }
    return images;
}
