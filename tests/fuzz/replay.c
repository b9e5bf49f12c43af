/* A fuzz target without a fuzzer: gives it each file named on the command line, or else the target's seeds,
 * and says so in TAP. What once broke a reader is kept as a seed, so this is a regression test with any
 * compiler. */
#include "tests/fuzz/fuzz.h"

#include "base/log.h"

#include <dirent.h>
#include <string.h>

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static void replay(int number, const char *path) {
    char *bytes;
    size_t size;
    Error error;
    const bool read = file_read(path, &bytes, &size, &error);
    if (read) {
        LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
        free(bytes);
    }
    printf("%sok %d - %s\n", read ? "" : "not ", number, path_name(path));
    fflush(stdout);
}

/* Seeds of the program .../fuzz_<name> are in tests/fuzz/seeds/<name>/. */
static int seeds_replay(const char *program) {
    char place[1024], path[1024];
    struct dirent **entries;
    path_join(place, "tests/fuzz/seeds", path_name(program) + strlen("fuzz_"));
    const int count = scandir(place, &entries, visible, alphasort);
    printf("1..%d\n", count);
    fflush(stdout);
    for (int i = 0; i < count; i++) {
        replay(i + 1, path_join(path, place, entries[i]->d_name));
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    return count > 0 ? 0 : 1;
}

int main(int argc, char **argv) {
    log_set_level(LOG_ERROR);
    for (int i = 1; i < argc; i++) replay(i, argv[i]);
    return argc > 1 ? 0 : seeds_replay(argv[0]);
}
