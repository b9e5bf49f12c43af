/* Data sets: importing zips, folders and CIFAR's binary files, opening what was imported, and naming what is
 * damaged. All inputs are made here, in a folder that goes when the test ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/imports.h"

#include "base/image.h"
#include "base/log.h"
#include "base/npy.h"
#include "base/text.h"
#include "data/dataset.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

static Dataset set_open(const char *name, int resolution, int count) {
    DataConfig config = {.resolution = resolution, .count = count};
    Dataset set;
    strcpy(config.name, name);
    if (!dataset_open(&config, data(), &set, &error)) fail_msg("%s", error.text);
    return set;
}

static void set_refused(const char *name, int resolution, int count, const char *mention) {
    DataConfig config = {.resolution = resolution, .count = count};
    Dataset set;
    strcpy(config.name, name);
    assert_false(dataset_open(&config, data(), &set, &error));
    assert_mentions(&error, mention);
}

/* ---- pictures ---- */

/* Pixel values of picture `i`, all different from those of others. */
static uint8_t value(int i, size_t place) {
    return (uint8_t)(31 * i + (int)place);
}

static void picture_write(const char *path, int i, int width, int height) {
    Image image = {.width = width, .height = height, .pixels = malloc((size_t)(width * height) * 3)};
    assert_non_null(image.pixels);
    for (size_t p = 0; p < (size_t)(width * height) * 3; p++) image.pixels[p] = value(i, p);
    assert_true(image_write_png(path, &image, &error));
    image_free(&image);
}

/* Adds the file at `path`, or, when `bytes` is not NULL, those bytes. */
static void zip_put(zip_t *zip, const char *name, const char *path, const char *bytes) {
    zip_source_t *source =
        bytes ? zip_source_buffer(zip, bytes, strlen(bytes), 0) : zip_source_file(zip, path, 0, 0);
    assert_non_null(source);
    assert_true(zip_file_add(zip, name, source, ZIP_FL_ENC_UTF_8) >= 0);
}

/* A zip of `count` pictures of 6 x 4 under names that are not in the order of their numbers in the archive,
 * with `json` as dataset.json (NULL: none) and a file that is no picture. */
static const char *zip_make(int count, const char *json) {
    const char *path = scratch("set.zip");
    remove(path);
    zip_t *zip = zip_open(path, ZIP_CREATE, NULL);
    assert_non_null(zip);
    for (int i = count - 1; i >= 0; i--) {
        char name[32];
        snprintf(name, sizeof name, "%d/%03d.png", i % 2, i);
        char *file = text_format("%s/%03d.png", scratch_folder, i);
        picture_write(file, i, 6, 4);
        zip_put(zip, name, file, NULL);
        free(file);
    }
    zip_put(zip, "readme.txt", NULL, "not a picture");
    zip_put(zip, "__MACOSX/0/._000.png", NULL, "not a picture either");
    if (json) zip_put(zip, "dataset.json", NULL, json);
    assert_int_equal(zip_close(zip), 0);
    return path;
}

/* Sorted by name: 0/000, 0/002, 0/004, 1/001, 1/003. */
static const int sorted[5] = {0, 2, 4, 1, 3};
static const char *const five_labels = "{\"labels\": [[\"1/003.png\", 3], [\"0/000.png\", 0], "
                                       "[\"0/002.png\", 2], [\"0/004.png\", 4], [\"1/001.png\", 1]]}";

static void assert_five_pictures(const Dataset *set) {
    assert_true(set->count == 5 && set->width == 6 && set->height == 4 && set->channels == 3);
    for (int i = 0; i < 5; i++)
        for (size_t p = 0; p < 72; p++)
            assert_int_equal(set->images[(size_t)i * 72 + p], value(sorted[i], p));
}

static void zip_is_imported_sorted_with_its_labels(void **state) {
    (void)state;
    if (!dataset_import("set", zip_make(5, five_labels), data(), &error)) fail_msg("%s", error.text);
    Dataset set = set_open("set", 0, 0);
    assert_five_pictures(&set);
    assert_int_equal(set.classes, 5);
    for (int i = 0; i < 5; i++) assert_int_equal(set.labels[i], sorted[i]);
    dataset_close(&set);
    assert_false(file_exists(scratch("data/.set.import")));
}

static void zip_without_labels_is_imported(void **state) {
    (void)state;
    assert_true(dataset_import("null", zip_make(5, "{\"labels\": null}"), data(), &error));
    Dataset null = set_open("null", 0, 0);
    assert_five_pictures(&null);
    assert_true(null.classes == 0 && !null.labels);
    dataset_close(&null);
}

static void folders_are_classes_where_nothing_says_otherwise(void **state) {
    (void)state;
    assert_true(dataset_import("set", zip_make(5, NULL), data(), &error));
    Dataset set = set_open("set", 0, 0);
    assert_five_pictures(&set);
    assert_int_equal(set.classes, 2);
    for (int i = 0; i < 5; i++) assert_int_equal(set.labels[i], sorted[i] % 2);
    assert_string_equal(set.class_names[1], "1");
    dataset_close(&set);
}

/* In the order of the folders' names, which is not that of the pictures' whole names: '-'
 * comes before '/'. */
static void classes_have_the_order_of_folders(void **state) {
    (void)state;
    static const char *const names[3] = {"in/cat-big/a.png", "in/cat/b.png", "in/ant, red/c.png"};
    for (int i = 0; i < 3; i++) {
        char folder[1024];
        assert_true(folder_make(path_folder(folder, scratch(names[i])), &error));
        picture_write(scratch(names[i]), i, 6, 4);
    }
    assert_true(dataset_import("set", scratch("in"), data(), &error));
    Dataset set = set_open("set", 0, 0);
    static const int32_t expected[3] = {0, 2, 1};
    static const char *const classes[3] = {"ant_ red", "cat", "cat-big"};
    assert_memory_equal(set.labels, expected, sizeof expected);
    for (int k = 0; k < 3; k++) assert_string_equal(set.class_names[k], classes[k]);
    dataset_close(&set);
}

/* EDM's pages of a thousand pictures, and pictures at the top. */
static void other_folders_are_no_classes(void **state) {
    (void)state;
    static const char *const names[2][2] = {{"pages/00000/a.png", "pages/00001/b.png"},
                                            {"mixed/a.png", "mixed/x/b.png"}};
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 2; i++) {
            char folder[1024];
            assert_true(folder_make(path_folder(folder, scratch(names[k][i])), &error));
            picture_write(scratch(names[k][i]), i, 6, 4);
        }
        assert_true(dataset_import(k ? "mixed" : "pages", scratch(k ? "mixed" : "pages"), data(), &error));
        Dataset set = set_open(k ? "mixed" : "pages", 0, 0);
        assert_true(set.count == 2 && set.classes == 0 && !set.labels);
        dataset_close(&set);
    }
}

static void empty_classes_are_named(void **state) {
    (void)state;
    Text text = {0};
    char each[32];
    assert_true(dataset_import("set", zip_make(2, "{\"labels\": [[\"0/000.png\", 1], [\"1/001.png\", 3]]}"),
                               data(), &error));
    Dataset set = set_open("set", 0, 0);
    assert_int_equal(dataset_empty_classes(&set, &text), 2);
    assert_string_equal(text_view(&text), "2 of 4 classes have no images: 0, 2");
    assert_string_equal(dataset_each_class(&set, each), "0 to 1");
    text_free(&text);
    dataset_close(&set);
}

static void folder_is_imported_as_the_same_set(void **state) {
    (void)state;
    assert_true(folder_make(scratch("in/0"), &error) && folder_make(scratch("in/1"), &error));
    for (int i = 0; i < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "in/%d/%03d.png", i % 2, i);
        picture_write(scratch(name), i, 6, 4);
    }
    assert_true(file_write_atomic(scratch("in/dataset.json"), five_labels, strlen(five_labels), &error));
    assert_true(dataset_import("folder", scratch("in/"), data(), &error));
    assert_true(dataset_import("zip", zip_make(5, five_labels), data(), &error));
    Dataset from_folder = set_open("folder", 0, 0), from_zip = set_open("zip", 0, 0);
    assert_five_pictures(&from_folder);
    assert_string_equal(from_folder.hash.hex, from_zip.hash.hex);
    dataset_close(&from_folder), dataset_close(&from_zip);
}

static void odd_picture_is_named(void **state) {
    (void)state;
    zip_t *zip = zip_open(zip_make(5, NULL), 0, NULL);
    picture_write(scratch("odd.png"), 9, 5, 4);
    zip_put(zip, "0/003.png", scratch("odd.png"), NULL);
    assert_int_equal(zip_close(zip), 0);
    assert_refused(scratch("set.zip"), "'0/003.png' is 5 x 4, but the first picture ('0/000.png') is 6 x 4");
}

static void bad_labels_are_named(void **state) {
    (void)state;
    assert_refused(zip_make(2, "{\"labels\": [[\"0/000.png\", 1]]}"), "has no label for '1/001.png'");
    assert_refused(zip_make(1, "{\"labels\": [[\"0/000.png\", 1.5]]}"),
                   "label of '0/000.png' is not a class number");
    assert_refused(zip_make(1, "{\"labels\": [[\"0/000.png\", -1]]}"),
                   "label of '0/000.png' is not a class number");
    assert_refused(zip_make(1, "{\"labels\": [[\"0/000.png\", [0.5]]]}"), "label of '0/000.png'");
    assert_refused(zip_make(1, "{\"labels\": [7]}"), "is not [\"file name\", class number]");
    assert_refused(zip_make(1, "{\"labels\": 7}"), "is not a list");
    assert_refused(zip_make(1, "{\"labels\": [[\"0/000"), "dataset.json is not JSON");
}

static void damaged_picture_is_named(void **state) {
    (void)state;
    char *bytes;
    size_t size;
    zip_make(3, NULL);
    assert_true(file_read(scratch("001.png"), &bytes, &size, &error));
    assert_true(file_write_atomic(scratch("cut.png"), bytes, size - 20, &error));
    free(bytes);
    zip_t *zip = zip_open(scratch("set.zip"), 0, NULL);
    zip_put(zip, "0/001.png", scratch("cut.png"), NULL);
    zip_put(zip, "0/004.jpg", NULL, "\xff\xd8\xff\xe0 broken");
    assert_int_equal(zip_close(zip), 0);
    assert_refused(scratch("set.zip"),
                   "0/001.png: the PNG cannot be decoded"); /* the first of the two, always */
}

/* One byte of the compressed data changed: the zip's checksum tells. */
static void damaged_zip_is_named(void **state) {
    (void)state;
    char *bytes;
    size_t size;
    assert_true(file_read(zip_make(3, NULL), &bytes, &size, &error));
    assert_true(file_write_atomic(scratch("cut.zip"), bytes, size / 2, &error));
    assert_refused(scratch("cut.zip"), "cut.zip: the zip cannot be opened");
    bytes[80] ^= 1; /* in the picture that was put in first, 0/002 */
    assert_true(file_write_atomic(scratch("flip.zip"), bytes, size, &error));
    free(bytes);
    assert_refused(scratch("flip.zip"), "flip.zip");
    assert_mentions(&error, "0/002.png");
    assert_true(folder_make(scratch("empty"), &error));
    assert_refused(scratch("empty"), "no PNG or JPEG files");
}

/* ---- stored sets ---- */

static void part_of_a_set_is_another_set(void **state) {
    (void)state;
    assert_true(dataset_import("set", zip_make(5, five_labels), data(), &error));
    Dataset whole = set_open("set", 0, 5), part = set_open("set", 0, 3), all = set_open("set", 0, 0);
    assert_true(part.count == 3 && whole.count == 5);
    assert_string_equal(whole.hash.hex, all.hash.hex);
    assert_string_not_equal(whole.hash.hex, part.hash.hex);
    assert_memory_equal(whole.images, part.images, 3 * 72);
    dataset_close(&whole), dataset_close(&part), dataset_close(&all);
    set_refused("set", 0, 6, "data.count is 6, but 'set' has 5 images");
    set_refused("set", 8, 0, "data.resolution is 8, but the images of 'set' are 6 x 4");
}

/* The definition that dataset_internal.h states, computed here from the files. */
static void hash_is_of_shape_pixels_and_labels(void **state) {
    (void)state;
    assert_true(dataset_import("set", zip_make(5, five_labels), data(), &error));
    Dataset set = set_open("set", 0, 0);
    const int32_t shape[4] = {5, 4, 6, 3};
    Text text = {0};
    text_append_bytes(&text, shape, sizeof shape);
    text_append_bytes(&text, set.images, 5 * 72);
    text_append_bytes(&text, set.labels, 5 * 4);
    assert_string_equal(hash_bytes(text.text, text.length).hex, set.hash.hex);
    text_free(&text);
    dataset_close(&set);
}

static void missing_and_damaged_sets_are_named(void **state) {
    (void)state;
    set_refused("cifar10", 0, 0, "./run data import cifar10 PATH");
    assert_true(dataset_import("set", zip_make(5, five_labels), data(), &error));
    set_refused("cifar10", 0, 0, "there are: set, and shapes");
    set_refused("../data/set", 0, 0, "there is no data set");
    const int32_t bad[5] = {0, 1, 5, 0, 0};
    const NpyArray labels = {.type = NPY_I32, .rank = 1, .shape = {5}, .data = (void *)(uintptr_t)bad};
    assert_true(npy_write(scratch("data/set/labels.npy"), &labels, &error));
    set_refused("set", 0, 0, "label 5 of image 2 is not one of 5 classes");
    assert_int_equal(truncate(scratch("data/set/images.npy"), 200), 0);
    set_refused("set", 0, 0, "cut short");
    assert_int_equal(remove(scratch("data/set/images.npy")), 0);
    set_refused("set", 0, 0, "images.npy: cannot be opened");
    assert_true(file_write_atomic(scratch("data/set/dataset.yaml"), "name: set\n", 10, &error));
    set_refused("set", 0, 0, "dataset.yaml: is damaged");
}

/* One pixel, by somebody else than the importer; and copies, which are younger but the same. */
static void changed_pixels_are_noticed(void **state) {
    (void)state;
    char *bytes;
    size_t size;
    assert_true(dataset_import("set", zip_make(5, five_labels), data(), &error));
    const char *path = scratch("data/set/images.npy");
    assert_true(file_read(path, &bytes, &size, &error));
    assert_true(file_write_atomic(path, bytes, size, &error));
    Dataset set = set_open("set", 0, 0);
    dataset_close(&set);
    /* The copy was compared once: its description is now the younger one. */
    struct stat images, description;
    assert_true(stat(path, &images) == 0 && stat(scratch("data/set/dataset.yaml"), &description) == 0);
    assert_true(
        description.st_mtime > images.st_mtime ||
        (description.st_mtime == images.st_mtime && description.st_mtim.tv_nsec >= images.st_mtim.tv_nsec));
    bytes[size - 1] ^= 1;
    assert_true(file_write_atomic(path, bytes, size, &error));
    free(bytes);
    set_refused("set", 0, 0, "have changed since they were imported");
}

static void bad_imports_are_refused(void **state) {
    (void)state;
    const char *zip = zip_make(1, NULL);
    static const char *const names[] = {"", ".hidden", "a/b", "a b", "..", "-x"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_false(dataset_import(names[i], zip, data(), &error));
        assert_mentions(&error, "cannot name a data set");
    }
    assert_false(dataset_import("shapes", zip, data(), &error));
    assert_mentions(&error, "built-in");
    assert_refused(scratch("absent.zip"), "absent.zip: there is no such file");
    assert_true(file_write_atomic(scratch("words.txt"), "words", 5, &error));
    assert_refused(scratch("words.txt"), "words.txt: this is neither");
    assert_true(dataset_import("set", scratch("set.zip"), data(), &error));
    assert_false(dataset_import("set", scratch("set.zip"), data(), &error));
    assert_mentions(&error, "data/set: is there already");
}

static void leftovers_of_an_interrupted_import_go(void **state) {
    (void)state;
    assert_true(folder_make(scratch("data/.set.import"), &error));
    assert_true(file_write_atomic(scratch("data/.set.import/images.npy"), "half", 4, &error));
    assert_true(dataset_import("set", zip_make(5, five_labels), data(), &error));
    Dataset set = set_open("set", 0, 0);
    assert_five_pictures(&set);
    dataset_close(&set);
}

static void list_names_stored_and_built_in_sets(void **state) {
    (void)state;
    assert_true(dataset_import("set", zip_make(5, five_labels), data(), &error));
    assert_true(dataset_import("bird-photos", scratch("set.zip"), data(), &error));
    fflush(stdout);
    const int saved = dup(STDOUT_FILENO);
    assert_non_null(freopen(scratch("list"), "w", stdout));
    const bool listed = dataset_list(data(), &error);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_true(listed);
    char *text;
    size_t size;
    assert_true(file_read(scratch("list"), &text, &size, &error));
    const char *birds = strstr(text, "bird-photos"), *set = strstr(text, "set  "),
               *shapes = strstr(text, "shapes");
    assert_true(birds && set && shapes && birds < set && set < shapes);
    assert_non_null(strstr(text, "6 x 4"));
    free(text);
}

static void classes_are_counted(void **state) {
    (void)state;
    Text text = {0};
    const char *labels = "{\"labels\": [[\"1/003.png\", 2], [\"0/000.png\", 0], [\"0/002.png\", 2], "
                         "[\"0/004.png\", 2], [\"1/001.png\", 0]]}";
    assert_true(dataset_import("set", zip_make(5, labels), data(), &error));
    Dataset set = set_open("set", 0, 0);
    dataset_describe(&set, &text);
    assert_non_null(strstr(text_view(&text), "set: 5 images of 3 classes, 0 to 3 each\n"));
    assert_non_null(strstr(text_view(&text), "3  60.00 %\n"));
    assert_non_null(strstr(text_view(&text), "0   0.00 %\n"));
    text_free(&text);
    dataset_close(&set);
    set = set_open("shapes", 8, 50);
    dataset_describe(&set, &text);
    assert_non_null(strstr(text_view(&text), "shapes: 50 images of 10 classes, 5 each\n"));
    text_free(&text);
    dataset_close(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(zip_is_imported_sorted_with_its_labels),
        IN_SCRATCH(zip_without_labels_is_imported),
        IN_SCRATCH(folders_are_classes_where_nothing_says_otherwise),
        IN_SCRATCH(classes_have_the_order_of_folders),
        IN_SCRATCH(other_folders_are_no_classes),
        IN_SCRATCH(empty_classes_are_named),
        IN_SCRATCH(folder_is_imported_as_the_same_set),
        IN_SCRATCH(odd_picture_is_named),
        IN_SCRATCH(bad_labels_are_named),
        IN_SCRATCH(damaged_picture_is_named),
        IN_SCRATCH(damaged_zip_is_named),
        IN_SCRATCH(part_of_a_set_is_another_set),
        IN_SCRATCH(hash_is_of_shape_pixels_and_labels),
        IN_SCRATCH(missing_and_damaged_sets_are_named),
        IN_SCRATCH(changed_pixels_are_noticed),
        IN_SCRATCH(bad_imports_are_refused),
        IN_SCRATCH(leftovers_of_an_interrupted_import_go),
        IN_SCRATCH(list_names_stored_and_built_in_sets),
        IN_SCRATCH(classes_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
