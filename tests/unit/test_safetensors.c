/* The safetensors reader against files that are whole, cut short, and wrong in every way the
 * format allows. */
#include "base/safetensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/text.h"
#include "tests/unit/scratch.h"

static const float floats[6] = {1, -2, 3.5f, 4, 5, 6};
static const uint8_t bytes[3] = {7, 8, 9};

static const char *small_write(const char *name) {
    const SafeTensor tensors[3] = {
        {.name = "b.weight",
         .dtype = "F32",
         .rank = 2,
         .shape = {2, 3},
         .data = floats,
         .bytes = sizeof floats},
        {.name = "a \"quoted\" name", .dtype = "U8", .rank = 1, .shape = {3}, .data = bytes, .bytes = 3},
        {.name = "nothing", .dtype = "F16", .rank = 2, .shape = {0, 5}, .bytes = 0}};
    const char *const metadata[4] = {"step", "12", "note", "line\nbreak"};
    const char *path = scratch(name);
    Error error;
    if (!safetensors_write(path, tensors, 3, metadata, 2, &error)) fail_msg("%s", error.text);
    return path;
}

static void what_is_written_is_read(void **state) {
    (void)state;
    SafeTensors file;
    Error error;
    const char *path = small_write("small.safetensors");
    if (!safetensors_open(path, &file, &error)) fail_msg("%s", error.text);
    assert_int_equal(file.count, 3);
    assert_string_equal(safetensors_metadata(&file, "step"), "12");
    assert_string_equal(safetensors_metadata(&file, "note"), "line\nbreak");
    assert_null(safetensors_metadata(&file, "absent"));
    const SafeTensor *weight = safetensors_find(&file, "b.weight");
    assert_non_null(weight);
    assert_string_equal(weight->dtype, "F32");
    assert_int_equal(weight->rank, 2);
    assert_int_equal(weight->shape[1], 3);
    assert_memory_equal(weight->data, floats, sizeof floats);
    assert_memory_equal(safetensors_find(&file, "a \"quoted\" name")->data, bytes, 3);
    assert_int_equal(safetensor_count(safetensors_find(&file, "nothing")), 0);
    assert_null(safetensors_find(&file, "c"));
    assert_true(safetensors_verify(&file, path, &error));
    safetensors_close(&file);
}

/* A file of the given bytes, opened. */
static bool opens(const void *content, size_t size, Error *error) {
    const char *path = scratch("case.safetensors");
    assert_true(file_write_atomic(path, content, size, error));
    SafeTensors file;
    const bool open = safetensors_open(path, &file, error);
    if (open) safetensors_close(&file);
    return open;
}

static void every_shorter_file_is_refused(void **state) {
    (void)state;
    char *content;
    size_t size;
    Error error;
    assert_true(file_read(small_write("whole.safetensors"), &content, &size, &error));
    assert_true(opens(content, size, &error));
    for (size_t length = 0; length < size; length++) assert_false(opens(content, length, &error));
    free(content);
}

/* Damage anywhere is either refused at once or found by the checksum. */
static void every_flipped_bit_is_found(void **state) {
    (void)state;
    char *content;
    size_t size;
    Error error;
    assert_true(file_read(small_write("whole.safetensors"), &content, &size, &error));
    const char *path = scratch("flipped.safetensors");
    for (size_t bit = 0; bit < 8 * size; bit++) {
        content[bit / 8] ^= (char)(1 << bit % 8);
        assert_true(file_write_atomic(path, content, size, &error));
        SafeTensors file;
        if (safetensors_open(path, &file, &error)) {
            /* Renaming the key of the checksum itself cannot be found; nothing else may pass. */
            const bool has_sum = safetensors_metadata(&file, SAFETENSORS_CHECKSUM);
            if (has_sum && safetensors_verify(&file, path, &error))
                fail_msg("bit %zu of byte %zu", bit % 8, bit / 8);
            safetensors_close(&file);
        }
        content[bit / 8] ^= (char)(1 << bit % 8);
    }
    free(content);
}

/* A header of our own followed by `data` zeros. */
static bool header_opens(const char *header, size_t data, Error *error) {
    Text text = {0};
    const uint64_t length = strlen(header);
    text_append_bytes(&text, &length, 8); /* little endian, as this machine */
    text_append(&text, "%s", header);
    for (size_t i = 0; i < data; i++) text_append_bytes(&text, "", 1);
    const bool open = opens(text.text, text.length, error);
    text_free(&text);
    return open;
}

#define T(name, shape, begin, end) \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void sound_headers_open(void **state) {
    (void)state;
    Error error;
    const struct {
        const char *header;
        size_t data;
    } sound[] = {{"{}", 0},
                 {"{}   \n", 0},
                 {"{" T("a", "[]", "0", "4") "}", 4},
                 {"{" T("a", "[2]", "4", "12") "," T("b", "[1,1]", "0", "4") "}", 12},
                 {"{\"__metadata__\":{}," T("a", "[0]", "0", "0") "}", 0}};
    for (size_t i = 0; i < sizeof sound / sizeof sound[0]; i++) {
        if (!header_opens(sound[i].header, sound[i].data, &error))
            fail_msg("%s: %s", sound[i].header, error.text);
    }
}

static void unsound_headers_are_refused_and_say_why(void **state) {
    (void)state;
    const struct {
        const char *header;
        size_t data;
        const char *says;
    } unsound[] = {
        {"", 0, "not JSON"},
        {"{", 0, "not JSON"},
        {"[]", 0, "not a JSON object"},
        {"3", 0, "not a JSON object"},
        {"{} x", 0, "something follows"},
        {"{\"a\":3}", 0, "once each"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[]}}", 0, "once each"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"shape\":[],\"data_offsets\":[0,4]}}", 4, "once each"},
        {"{\"a\":{\"dtype\":\"F33\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, "type \"F33\" is unknown"},
        {"{\"a\":{\"dtype\":4,\"shape\":[],\"data_offsets\":[0,4]}}", 4, "once each"},
        {"{" T("a", "3", "0", "4") "}", 4, "shape is not a list"},
        {"{" T("a", "[-1]", "0", "4") "}", 4, "whole numbers"},
        {"{" T("a", "[1.5]", "0", "4") "}", 4, "whole numbers"},
        {"{" T("a", "[\"1\"]", "0", "4") "}", 4, "whole numbers"},
        {"{" T("a", "[1,1,1,1,1,1,1,1,1]", "0", "4") "}", 4, "more than 8"},
        {"{" T("a", "[1]", "0", "8") "}", 8, "not what its shape"},
        {"{" T("a", "[4294967296,4294967296,4]", "0", "0") "}", 0, "not what its shape"},
        {"{" T("a", "[1]", "0", "4") "}", 3, "outside"},
        {"{" T("a", "[1]", "4", "0") "}", 4, "outside"},
        {"{" T("a", "[1]", "-4", "0") "}", 4, "two whole numbers"},
        {"{" T("a", "[1]", "0", "1e300") "}", 4, "two whole numbers"},
        {"{" T("a", "[1]", "0", "4") "}", 5, "belong to none"},
        {"{" T("a", "[1]", "1", "5") "}", 5, "hole"},
        {"{" T("a", "[1]", "0", "4") "," T("b", "[1]", "0", "4") "}", 4, "overlaps"},
        {"{" T("a", "[1]", "0", "4") "," T("b", "[1]", "2", "6") "}", 6, "overlaps"},
        {"{" T("a", "[1]", "0", "4") "," T("a", "[1]", "4", "8") "}", 8, "occurs twice"},
        {"{\"__metadata__\":3}", 0, "not an object"},
        {"{\"__metadata__\":{\"a\":3}}", 0, "not a text"},
        {"{\"__metadata__\":{\"a\":\"\",\"a\":\"\"}}", 0, "occurs twice"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "occurs twice"},
    };
    for (size_t i = 0; i < sizeof unsound / sizeof unsound[0]; i++) {
        Error error = {{0}};
        if (header_opens(unsound[i].header, unsound[i].data, &error)) fail_msg("%s opens", unsound[i].header);
        if (!strstr(error.text, unsound[i].says)) fail_msg("%s: %s", unsound[i].header, error.text);
        assert_non_null(strstr(error.text, "case.safetensors"));
    }
}

static void deep_nesting_and_huge_headers_are_refused(void **state) {
    (void)state;
    Error error;
    Text deep = {0};
    for (int i = 0; i < 100000; i++) text_append(&deep, "[");
    assert_false(header_opens(deep.text, 0, &error));
    text_free(&deep);
    const uint8_t huge[16] = {0, 0, 0, 0, 0, 0, 0, 0x80, '{', '}'};
    assert_false(opens(huge, sizeof huge, &error));
    const uint8_t past[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    assert_false(opens(past, sizeof past, &error));
}

static void a_missing_file_is_named(void **state) {
    (void)state;
    SafeTensors file;
    Error error;
    assert_false(safetensors_open(scratch("absent.safetensors"), &file, &error));
    assert_non_null(strstr(error.text, "absent.safetensors"));
    assert_false(safetensors_write(scratch("no/such/folder/x"), NULL, 0, NULL, 0, &error));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(every_shorter_file_is_refused),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(sound_headers_open),
        cmocka_unit_test(unsound_headers_are_refused_and_say_why),
        cmocka_unit_test(deep_nesting_and_huge_headers_are_refused),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
