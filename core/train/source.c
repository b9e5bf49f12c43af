/* Gathered batches have a slot for every step of a window, because the host may be that far ahead of the
 * copies. */
#include "train/source.h"

#include "backend/order.h"

#include <string.h>

enum { MEGABYTE = 1 << 20, SLOTS_MEGABYTES = 512, SPARE_MEGABYTES = 2048 };

static size_t image_bytes(const Source *s) {
    return (size_t)s->data->height * (size_t)s->data->width * (size_t)s->data->channels;
}

static bool set_fits(const Source *s) {
    size_t available = 0, total = 0;
    if (!s->device->memory) return true;
    s->device->memory(s->device, &available, &total);
    return (size_t)s->data->count * image_bytes(s) + (size_t)SPARE_MEGABYTES * MEGABYTE <= available;
}

/* The whole set on the device. */
static void set_upload(Source *s) {
    const size_t count = (size_t)s->data->count;
    s->images = s->device->allocate(s->device, count * image_bytes(s));
    s->device->copy(s->device, s->images, s->data->images, count * image_bytes(s), COPY_TO_DEVICE);
    if (!s->data->labels) return;
    s->labels = s->device->allocate(s->device, count * sizeof(int32_t));
    s->device->copy(s->device, s->labels, s->data->labels, count * sizeof(int32_t), COPY_TO_DEVICE);
}

static void slots_make(Source *s) {
    const size_t bytes = s->batch * image_bytes(s);
    const size_t fit = (size_t)SLOTS_MEGABYTES * MEGABYTE / bytes;
    s->slots = fit < 2 ? 2 : fit < SOURCE_SLOTS ? (int)fit : SOURCE_SLOTS;
    s->images = s->device->allocate(s->device, bytes);
    s->labels = s->device->allocate(s->device, s->batch * sizeof(int32_t));
    s->host_images = s->device->host_allocate(s->device, (size_t)s->slots * bytes);
    s->host_labels = s->device->host_allocate(s->device, (size_t)s->slots * s->batch * sizeof(int32_t));
}

Source source_create(const Dataset *data, Device *device, uint64_t seed, uint32_t batch, bool flip,
                     SourcePlace place) {
    Source s = {.data = data, .device = device, .seed = seed, .batch = batch, .flip = flip};
    const bool on_host = strcmp(device->kind, "cpu") == 0;
    if (place == SOURCE_GATHERED || (!on_host && !set_fits(&s)))
        slots_make(&s);
    else if (!on_host)
        set_upload(&s);
    return s;
}

void source_free(Source *s) {
    if (s->images) s->device->release(s->device, s->images);
    if (s->labels) s->device->release(s->device, s->labels);
    if (s->host_images) s->device->host_release(s->device, s->host_images);
    if (s->host_labels) s->device->host_release(s->device, s->host_labels);
    *s = (Source){0};
}

ImageSource source_images(const Source *s) {
    const bool labelled = s->data->labels != NULL;
    return (ImageSource){.images = s->images ? s->images : s->data->images,
                         .labels = !labelled   ? NULL
                                   : s->labels ? s->labels
                                               : s->data->labels,
                         .count = (uint32_t)s->data->count,
                         .flip = s->flip,
                         .gathered = s->slots > 0};
}

int source_steps(const Source *s) {
    return s->slots ? s->slots : SOURCE_SLOTS;
}

/* In many threads, because images come from a mapped file and each may have to be waited for. */
static void batch_gather(Source *s, uint8_t *images, int32_t *labels, int64_t step) {
    const size_t bytes = image_bytes(s);
    const int threads = s->device->threads;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t place = 0; place < (int64_t)s->batch; place++) {
        const uint32_t image =
            order_image(s->seed, (uint32_t)step, s->batch, (uint32_t)place, (uint32_t)s->data->count);
        memcpy(images + (size_t)place * bytes, s->data->images + image * bytes, bytes);
        labels[place] = s->data->labels ? s->data->labels[image] : 0;
    }
}

void source_fetch(Source *s, int slot, int64_t step) {
    if (!s->slots) return;
    CHECK(slot < s->slots, "batch %d of %d slots", slot, s->slots);
    const size_t bytes = s->batch * image_bytes(s);
    uint8_t *images = s->host_images + (size_t)slot * bytes;
    int32_t *labels = s->host_labels + (size_t)slot * s->batch;
    batch_gather(s, images, labels, step);
    s->device->copy(s->device, s->images, images, bytes, COPY_TO_DEVICE);
    s->device->copy(s->device, s->labels, labels, s->batch * sizeof(int32_t), COPY_TO_DEVICE);
}
