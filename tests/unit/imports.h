/* What tests of importers share: the data folder, and an import that must be refused and leave nothing
 * behind. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_IMPORTS_H
#define ICT_TESTS_IMPORTS_H

#include "base/file.h"
#include "base/log.h"
#include "tests/unit/mentions.h"
#include "tests/unit/scratch.h"
#include "data/dataset.h"

static Error error;

/* The data folder; log lines of imports would only be noise here. */
static inline const char *data(void) {
    log_set_level(LOG_ERROR);
    return scratch("data");
}

static inline void assert_refused(const char *path, const char *mention) {
    assert_false(dataset_import("set", path, data(), &error));
    assert_mentions(&error, mention);
    assert_false(file_exists(scratch("data/set")));
    assert_false(file_exists(scratch("data/.set.import")));
}

#endif
