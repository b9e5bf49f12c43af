/* A stored data set, opened and described: dataset.yaml, images.npy and labels.npy, with lines of "===="
 * between them. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "tests/fuzz/fuzz.h"

#include "base/log.h"
#include "data/dataset.h"

#include <string.h>

FUZZ_REPAIR(repair_nothing);

static const char between[] = "\n====\n";
enum { BETWEEN = sizeof between - 1 };

/* Writes what comes before the next line between files; returns what comes after it. */
static const uint8_t *piece_write(const uint8_t *at, const uint8_t *end, const char *name) {
    char path[1024], folder[1024];
    const uint8_t *stop = memmem(at, (size_t)(end - at), between, BETWEEN);
    path_join(path, path_join(folder, fuzz_folder(), "set"), name);
    FILE *file = fopen(path, "wb");
    CHECK(file, "%s cannot be written", path);
    fwrite(at, 1, (size_t)((stop ? stop : end) - at), file);
    fclose(file);
    return stop ? stop + BETWEEN : end;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const char *const names[3] = {"images.npy", "labels.npy", "dataset.yaml"};
    const DataConfig config = {.name = "set"};
    const uint8_t *end = bytes + size;
    char place[1024];
    Dataset set;
    Error error;
    Text text = {0};
    log_set_level(LOG_ERROR);
    CHECK(folder_make(path_join(place, fuzz_folder(), "set"), &error), "%s", error.text);
    for (int i = 0; i < 3; i++) bytes = piece_write(bytes, end, names[i]);
    if (!dataset_open(&config, fuzz_folder(), &set, &error)) {
        fuzz_refused(&error);
        return 0;
    }
    fuzz_touch(set.images, (size_t)set.count * (size_t)set.height * (size_t)set.width * (size_t)set.channels);
    dataset_describe(&set, &text);
    dataset_empty_classes(&set, &text);
    text_free(&text);
    dataset_close(&set);
    return 0;
}
