/* Writing safetensors files, tensor by tensor, so that a checkpoint never needs a second copy of everything
 * in memory. The header comes first in the file but holds a checksum of what follows: it is written with
 * zeros, and filled in at the end.
 */
#include "base/safetensors.h"

#include "base/file.h"
#include "base/text.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_SUM "0000000000000000"

static cJSON *tensor_describe(const SafeTensor *tensor, size_t begin) {
    cJSON *item = cJSON_CreateObject(), *shape = cJSON_CreateArray(), *place = cJSON_CreateArray();
    for (int i = 0; i < tensor->rank; i++) {
        cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)tensor->shape[i]));
    }
    cJSON_AddItemToArray(place, cJSON_CreateNumber((double)begin));
    cJSON_AddItemToArray(place, cJSON_CreateNumber((double)(begin + tensor->bytes)));
    cJSON_AddStringToObject(item, "dtype", tensor->dtype);
    cJSON_AddItemToObject(item, "shape", shape);
    cJSON_AddItemToObject(item, "data_offsets", place);
    return item;
}

/* Metadata first, so that the first "checksum" in the text is ours. Padded with spaces: the data begins at a
 * multiple of 8. */
static Text header_compose(const SafeTensor *tensors, int count, const char *const *metadata, int pairs) {
    cJSON *header = cJSON_CreateObject(), *facts = cJSON_CreateObject();
    cJSON_AddStringToObject(facts, SAFETENSORS_CHECKSUM, NO_SUM);
    for (int i = 0; i < pairs; i++) cJSON_AddStringToObject(facts, metadata[2 * i], metadata[2 * i + 1]);
    cJSON_AddItemToObject(header, "__metadata__", facts);
    size_t begin = 0;
    for (int i = 0; i < count; i++) {
        cJSON_AddItemToObject(header, tensors[i].name, tensor_describe(&tensors[i], begin));
        begin += tensors[i].bytes;
    }
    char *json = cJSON_PrintUnformatted(header);
    CHECK(json, "out of memory for the header of %d tensors", count);
    Text text = {0};
    text_append(&text, "%s", json);
    while (text.length % 8) text_append(&text, " ");
    free(json);
    cJSON_Delete(header);
    return text;
}

/* The length of the header, lowest byte first. */
static void number_write(AtomicFile *file, uint64_t number) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)(number >> (8 * i));
    atomic_write(file, bytes, sizeof bytes);
}

/* Writes all tensors and returns the sum of their hashes. */
static uint64_t tensors_write(AtomicFile *file, const SafeTensor *tensors, int count, TensorProvider *provide,
                              void *context) {
    size_t largest = 1;
    for (int i = 0; i < count; i++) largest = tensors[i].bytes > largest ? tensors[i].bytes : largest;
    void *buffer = malloc(largest);
    CHECK(buffer, "out of memory for a tensor of %zu bytes", largest);
    uint64_t sum = 0;
    for (int i = 0; i < count; i++) {
        provide(context, i, buffer);
        sum += safetensor_hash(&tensors[i], buffer);
        atomic_write(file, buffer, tensors[i].bytes);
    }
    free(buffer);
    return sum;
}

static void checksum_write(AtomicFile *file, const char *header, uint64_t sum) {
    char text[sizeof NO_SUM];
    const char *place = strstr(header, NO_SUM);
    CHECK(place, "the header has lost its checksum");
    snprintf(text, sizeof text, "%016llx", (unsigned long long)sum);
    atomic_write_at(file, 8 + (place - header), text, strlen(text));
}

bool safetensors_stream(const char *path, const SafeTensor *tensors, int count, const char *const *metadata,
                        int pairs, TensorProvider *provide, void *context, Error *error) {
    AtomicFile file;
    if (!atomic_open(&file, path, error)) return false;
    Text header = header_compose(tensors, count, metadata, pairs);
    number_write(&file, header.length);
    atomic_write(&file, header.text, header.length);
    uint64_t sum = tensors_write(&file, tensors, count, provide, context);
    for (int i = 0; i < pairs; i++) {
        sum += metadata_hash(metadata[2 * i], metadata[2 * i + 1]);
    }
    checksum_write(&file, header.text, sum);
    text_free(&header);
    return atomic_commit(&file, error);
}

static void provide_data(void *context, int index, void *out) {
    const SafeTensor *tensor = (const SafeTensor *)context + index;
    if (tensor->bytes) memcpy(out, tensor->data, tensor->bytes);
}

bool safetensors_write(const char *path, const SafeTensor *tensors, int count, const char *const *metadata,
                       int pairs, Error *error) {
    return safetensors_stream(path, tensors, count, metadata, pairs, provide_data, (void *)(uintptr_t)tensors,
                              error);
}
