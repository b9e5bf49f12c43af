/* A temporary folder for one test program, removed at its end. Include it after <cmocka.h>. */
#ifndef ICT_TESTS_SCRATCH_H
#define ICT_TESTS_SCRATCH_H

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>

static char scratch_folder[512];

/* For cmocka_run_group_tests, or for one test: makes and removes the folder. */
static inline int scratch_make(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    snprintf(scratch_folder, sizeof scratch_folder, "%s/ict-test-XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(scratch_folder) ? 0 : -1;
}

static inline int scratch_remove(void **state) {
    (void)state;
    return folder_remove(scratch_folder, NULL) ? 0 : -1;
}

/* A test that begins with an empty folder of its own. */
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

/* A path in the folder; valid until the next but three calls. */
static inline const char *scratch(const char *name) {
    static char paths[4][1024];
    static int next;
    return path_join(paths[next++ % 4], scratch_folder, name);
}

#endif
