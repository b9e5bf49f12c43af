/* The import of a data set from one file, and its opening when the import succeeds. */
#ifndef ICT_TESTS_FUZZ_IMPORT_H
#define ICT_TESTS_FUZZ_IMPORT_H

#include "tests/fuzz/fuzz.h"

#include "base/log.h"
#include "data/dataset.h"

static inline void import_try(const char *path) {
    const DataConfig config = {.name = "set"};
    Dataset set;
    Error error;
    log_set_level(LOG_ERROR);
    if (!dataset_import("set", path, fuzz_folder(), &error)) {
        fuzz_refused(&error);
        return;
    }
    CHECK(dataset_open(&config, fuzz_folder(), &set, &error), "imported, but not readable: %s", error.text);
    fuzz_touch(set.images, (size_t)set.count * (size_t)(set.height * set.width * set.channels));
    if (set.labels) fuzz_touch(set.labels, (size_t)set.count * sizeof *set.labels);
    dataset_close(&set);
    char place[1024];
    folder_remove(path_join(place, fuzz_folder(), "set"), NULL);
}

#endif
