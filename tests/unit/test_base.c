/* The foundations: errors, text, log lines, files, hashes. Arrays and pictures are in test_formats.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/mentions.h"
#include "tests/unit/scratch.h"

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"

#include <float.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <signal.h>

static int folder_entries(void) {
    char *command = text_format("exit $(ls -A '%s' | wc -l)", scratch_folder);
    const int status = system(command);
    free(command);
    return WEXITSTATUS(status);
}

/* ---- errors ---- */

static void errors_are_set_wrapped_and_optional(void **state) {
    (void)state;
    Error error;
    assert_false(error_set(&error, "no '%s'", "x"));
    assert_false(error_wrap(&error, "%s:%d", "f.yaml", 3));
    assert_string_equal(error.text, "f.yaml:3: no 'x'");
    error_set(&error, "again: %s", error.text);
    assert_string_equal(error.text, "again: f.yaml:3: no 'x'");
    assert_false(error_set(NULL, "x") || error_wrap(NULL, "x"));
}

static void errors_too_long_are_cut_at_the_end(void **state) {
    (void)state;
    Error error;
    char *longer = text_format("%5000s", "x");
    error_set(&error, "%s", longer);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    error_wrap(&error, "where");
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    assert_memory_equal(error.text, "where:  ", 8);
    error_wrap(&error, "%s", longer);
    assert_int_equal(strlen(error.text), sizeof error.text - 1);
    free(longer);
}

/* Runs die() in a child whose stderr is a file. */
static void die_names_place_and_context_and_aborts(void **state) {
    (void)state;
    const char *path = scratch("stderr");
    const pid_t child = fork();
    if (child == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(open(path, O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
        die_set_context("run %s, step %d", "1f3a", 12);
        CHECK(1 + 1 == 2, "not this");
        die("conv.c", 7, "bad shape %d", 5);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    char *text;
    size_t size;
    assert_true(file_read(path, &text, &size, NULL));
    assert_string_equal(text, "fatal: conv.c:7: bad shape 5 (run 1f3a, step 12)\n");
    free(text);
}

static void log_lines_in_a_file_are_plain(void **state) {
    (void)state;
    const char *path = scratch("log");
    const int saved = dup(STDERR_FILENO), file = open(path, O_WRONLY | O_CREAT, 0600);
    dup2(file, STDERR_FILENO);
    log_info("a %d", 1);
    log_line(LOG_DEBUG, "unseen");
    log_progress(false, "tick %d", 1);
    log_progress(true, "tick %d", 2);
    log_warn("b");
    log_set_level(LOG_ERROR);
    log_info("unseen");
    log_error("c");
    log_set_level(LOG_INFO);
    dup2(saved, STDERR_FILENO);
    close(saved), close(file);
    char *text;
    size_t size;
    assert_true(file_read(path, &text, &size, NULL));
    assert_string_equal(text, "a 1\ntick 1\ntick 2\nwarning: b\nerror: c\n");
    free(text);
}

/* ---- text ---- */

static void text_grows_and_clears(void **state) {
    (void)state;
    Text text = {0};
    assert_string_equal(text_view(&text), "");
    for (int i = 0; i < 1000; i++) text_append(&text, "%d,", i % 10);
    text_append_bytes(&text, "\0z", 2);
    assert_int_equal(text.length, 2002);
    assert_memory_equal(text.text + 1996, "8,9,\0z", 7);
    text_clear(&text);
    assert_string_equal(text_view(&text), "");
    text_free(&text);
    char *copy = text_copy("abc"), *made = text_format("%s-%04d", "a", 7);
    assert_string_equal(copy, "abc");
    assert_string_equal(made, "a-0007");
    free(copy), free(made);
}

static void nearest_name_finds_typos_and_nothing_else(void **state) {
    (void)state;
    static const char *const keys[] = {"train.batch",  "train.steps", "ct.sigma_data",
                                       "ct.sigma_min", "seed",        "ema"};
    static const struct {
        const char *name;
        int nearest;
    } cases[] = {{"train.bacth", 0}, {"train.step", 1}, {"Train-Steps", 1}, {"sigma_data", 2},
                 {"sigma_mni", 3},   {"sede", 4},       {"batch", 0},       {"em", 5},
                 {"zebra", -1},      {"", -1},          {"ct.colour", -1},  {"x", -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int nearest = text_nearest(cases[i].name, keys, 6);
        if (nearest != cases[i].nearest) fail_msg("'%s' gives %d", cases[i].name, nearest);
    }
    assert_int_equal(text_nearest("a", keys, 0), -1);
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[199] = 0;
    assert_int_equal(text_nearest(longer, keys, 6), -1);
}

static void numbers_read_well(void **state) {
    (void)state;
    char out[32];
    assert_string_equal(format_bytes(out, 0), "0 B");
    assert_string_equal(format_bytes(out, 1023), "1023 B");
    assert_string_equal(format_bytes(out, 1.21 * 1073741824), "1.21 GiB");
    assert_string_equal(format_bytes(out, 1000 * 1024), "1000 KiB");
    assert_string_equal(format_duration(out, 0.25), "0.25s");
    assert_string_equal(format_duration(out, 9.96), "10s");
    assert_string_equal(format_duration(out, 192), "3m 12s");
    assert_string_equal(format_duration(out, 59.7), "1m 00s");
    assert_string_equal(format_duration(out, 7500), "2h 05m");
    assert_string_equal(format_duration(out, 100000), "1d 03h");
    assert_string_equal(format_duration(out, NAN), "unknown");
    assert_string_equal(format_count(out, 56.4e6), "56.4M");
    assert_string_equal(format_count(out, 999.7), "1k");
    assert_string_equal(format_count(out, 12), "12");
}

static void doubles_are_written_shortest_and_read_back(void **state) {
    (void)state;
    char out[32];
    assert_string_equal(format_double(out, 0.1), "0.1");
    assert_string_equal(format_double(out, 1e-8), "1e-08");
    assert_string_equal(format_double(out, 80), "80");
    assert_string_equal(format_double(out, -0.0), "-0");
    assert_string_equal(format_double(out, 0.1 + 0.2), "0.30000000000000004");
    assert_string_equal(format_double(out, INFINITY), "inf");
    uint64_t bits = 88172645463325252ull;
    for (int i = 0; i < 20000; i++) {
        bits ^= bits << 13, bits ^= bits >> 7, bits ^= bits << 17;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value)) assert_true(strtod(format_double(out, value), NULL) == value);
    }
    assert_true(strtod(format_double(out, DBL_TRUE_MIN), NULL) == DBL_TRUE_MIN);
    assert_true(strtod(format_double(out, DBL_MAX), NULL) == DBL_MAX);
}

/* ---- files ---- */

static void files_are_written_and_read(void **state) {
    (void)state;
    Error error;
    char *bytes;
    size_t size;
    FileMap map;
    assert_true(file_write_atomic(scratch("a"), "one\0two", 7, &error));
    assert_int_equal(file_size(scratch("a")), 7);
    assert_true(file_read(scratch("a"), &bytes, &size, &error));
    assert_int_equal(size, 7);
    assert_memory_equal(bytes, "one\0two\0", 8);
    free(bytes);
    assert_true(file_map(scratch("a"), &map, &error));
    assert_true(map.size == 7 && memcmp(map.bytes, "one\0two", 7) == 0);
    file_unmap(&map);
    assert_true(file_write_atomic(scratch("a"), "", 0, &error));
    assert_true(file_map(scratch("a"), &map, &error));
    assert_int_equal(map.size, 0);
    file_unmap(&map);
    assert_int_equal(file_size(scratch("absent")), -1);
    assert_false(file_exists(scratch("absent")));
    assert_int_equal(folder_entries(), 1);
}

static void file_errors_name_the_path(void **state) {
    (void)state;
    Error error;
    char *bytes;
    size_t size;
    FileMap map;
    Hash hash;
    assert_false(file_read(scratch("absent"), &bytes, &size, &error));
    assert_mentions(&error, scratch("absent"));
    assert_mentions(&error, "No such file");
    assert_false(file_map(scratch_folder, &map, &error));
    assert_mentions(&error, "is a folder");
    assert_false(file_write_atomic(scratch("absent/b"), "x", 1, &error));
    assert_mentions(&error, "absent/b");
    assert_false(hash_file(scratch("absent"), &hash, &error));
    assert_mentions(&error, "absent");
}

/* A limit on file sizes stands in for a full disk. The old content must survive, and no temporary file. */
static void failed_write_leaves_the_old_file(void **state) {
    (void)state;
    Error error;
    struct rlimit before, small;
    static char big[1 << 16];
    assert_true(file_write_atomic(scratch("a"), "old", 3, &error));
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    const bool written = file_write_atomic(scratch("a"), big, sizeof big, &error);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_false(written);
    assert_mentions(&error, "File too large");
    char *bytes;
    size_t size;
    assert_true(file_read(scratch("a"), &bytes, &size, &error));
    assert_string_equal(bytes, "old");
    free(bytes);
    assert_int_equal(folder_entries(), 1);
}

static void cancelled_write_leaves_the_old_file(void **state) {
    (void)state;
    AtomicFile file;
    Error error;
    assert_true(file_write_atomic(scratch("a"), "old", 3, &error));
    assert_true(atomic_open(&file, scratch("a"), &error));
    fputs("new content", file.stream);
    atomic_cancel(&file);
    atomic_cancel(&file);
    assert_int_equal(file_size(scratch("a")), 3);
    assert_int_equal(folder_entries(), 1);
}

static void new_files_have_the_usual_permissions(void **state) {
    (void)state;
    struct stat status;
    const mode_t mask = umask(022);
    assert_true(file_write_atomic(scratch("a"), "x", 1, NULL));
    umask(mask);
    assert_int_equal(stat(scratch("a"), &status), 0);
    assert_int_equal(status.st_mode & 0777, 0644);
}

static void folders_are_made_and_removed(void **state) {
    (void)state;
    Error error;
    char deep[1024], target[1024], link[1024];
    path_join(deep, scratch_folder, "x/y//z/");
    assert_true(folder_make(deep, &error));
    assert_true(folder_make(deep, &error));
    assert_true(file_write_atomic(path_join(target, scratch_folder, "kept"), "k", 1, &error));
    assert_int_equal(symlink(target, path_join(link, scratch_folder, "x/y/link")), 0);
    assert_false(folder_make(scratch("kept/w"), &error));
    assert_mentions(&error, "kept");
    assert_true(folder_remove(scratch("x"), &error));
    assert_true(folder_remove(scratch("x"), &error));
    assert_false(file_exists(scratch("x")));
    assert_true(file_exists(scratch("kept")));
}

static void paths_are_cut_and_joined(void **state) {
    (void)state;
    char out[1024];
    assert_string_equal(path_join(out, "a", "b"), "a/b");
    assert_string_equal(path_join(out, "a/", "b"), "a/b");
    assert_string_equal(path_join(out, "", "b"), "b");
    assert_string_equal(path_folder(out, "a/b/c"), "a/b");
    assert_string_equal(path_folder(out, "c"), ".");
    assert_string_equal(path_folder(out, "/c"), "/");
    assert_string_equal(path_name("a/b/c"), "c");
    assert_string_equal(path_name("c"), "c");
}

/* FIPS 180-2's examples. */
static void hashes_are_sha256(void **state) {
    (void)state;
    const char *abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const char *million = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
    assert_string_equal(hash_bytes("abc", 3).hex, abc);
    assert_string_equal(hash_bytes("", 0).hex,
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    char *many = malloc(1000000);
    assert_non_null(many);
    memset(many, 'a', 1000000);
    assert_true(file_write_atomic(scratch("many"), many, 1000000, NULL));
    free(many);
    Hash hash;
    assert_true(hash_file(scratch("many"), &hash, NULL));
    assert_string_equal(hash.hex, million);
    HashSum sum;
    hash_begin(&sum);
    hash_add(&sum, "a", 1);
    hash_add(&sum, "bc", 2);
    assert_string_equal(hash_end(&sum).hex, abc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_set_wrapped_and_optional),
        cmocka_unit_test(errors_too_long_are_cut_at_the_end),
        IN_SCRATCH(die_names_place_and_context_and_aborts),
        IN_SCRATCH(log_lines_in_a_file_are_plain),
        cmocka_unit_test(text_grows_and_clears),
        cmocka_unit_test(nearest_name_finds_typos_and_nothing_else),
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(doubles_are_written_shortest_and_read_back),
        IN_SCRATCH(files_are_written_and_read),
        IN_SCRATCH(file_errors_name_the_path),
        IN_SCRATCH(failed_write_leaves_the_old_file),
        IN_SCRATCH(cancelled_write_leaves_the_old_file),
        IN_SCRATCH(new_files_have_the_usual_permissions),
        IN_SCRATCH(folders_are_made_and_removed),
        cmocka_unit_test(paths_are_cut_and_joined),
        IN_SCRATCH(hashes_are_sha256),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
