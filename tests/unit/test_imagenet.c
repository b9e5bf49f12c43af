/* The downsampled ImageNet's npz files: stored, deflated, in folders, in zips; in the order of their numbers;
 * damaged ones named. And a stored set of ImageNet's size, of which only what is asked for is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/imports.h"

#include "backend/backend.h"
#include "backend/order.h"
#include "base/log.h"
#include "base/npy.h"
#include "base/npy_bytes.h"
#include "base/text.h"
#include "data/dataset.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

static Dataset set_import(const char *path) {
    const DataConfig config = {.name = "set"};
    Dataset set;
    folder_remove(scratch("data"), NULL);
    if (!dataset_import("set", path, data(), &error) || !dataset_open(&config, data(), &set, &error))
        fail_msg("%s", error.text);
    return set;
}

/* ---- files as numpy.savez writes them ---- */

enum { SIDE = 4, PLANE = SIDE * SIDE, PIXELS = 3 * PLANE, MOST = 200 };

/* Image `i` of the whole set: red counts up from it, green is it, blue is 255 less it. */
static void planes_fill(uint8_t *planes, int i) {
    for (int p = 0; p < PLANE; p++) {
        planes[p] = (uint8_t)(i + p);
        planes[PLANE + p] = (uint8_t)i;
        planes[2 * PLANE + p] = (uint8_t)(255 - i);
    }
}

static int label_of(int i) {
    return 1 + 7 * i % 1000;
}

static void npz_make(const char *path, int first, int count) {
    static uint8_t pixels[MOST * PIXELS];
    static int64_t labels[MOST];
    static double mean[PIXELS];
    for (int i = 0; i < count; i++) {
        planes_fill(pixels + i * PIXELS, first + i);
        labels[i] = label_of(first + i);
    }
    const NpzMember members[3] = {
        {"data", {.type = NPY_U8, .rank = 2, .shape = {count, PIXELS}, .data = pixels}},
        {"labels", {.type = NPY_I64, .rank = 1, .shape = {count}, .data = labels}},
        {"mean", {.type = NPY_F64, .rank = 1, .shape = {PIXELS}, .data = mean}}};
    if (!npz_write(path, members, 3, &error)) fail_msg("%s", error.text);
}

/* The same zip with deflated members, as numpy.savez_compressed writes it. */
static void npz_deflate(const char *path) {
    zip_t *zip = zip_open(path, 0, NULL);
    assert_non_null(zip);
    for (zip_uint64_t i = 0; i < 3; i++)
        assert_int_equal(zip_set_file_compression(zip, i, ZIP_CM_DEFLATE, 9), 0);
    assert_int_equal(zip_close(zip), 0);
}

/* A zip of files that are in the scratch folder. */
static void zip_make(const char *path, const char *const *files, int count) {
    zip_t *zip = zip_open(path, ZIP_CREATE, NULL);
    assert_non_null(zip);
    for (int i = 0; i < count; i++)
        assert_true(zip_file_add(zip, files[i], zip_source_file(zip, scratch(files[i]), 0, 0), 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
}

static void assert_images(const Dataset *set, int count) {
    uint8_t planes[PIXELS];
    assert_true(set->count == count && set->width == SIDE && set->height == SIDE && set->channels == 3);
    assert_int_equal(set->classes, 1000);
    for (int i = 0; i < count; i++) {
        planes_fill(planes, i);
        for (int p = 0; p < PIXELS; p++)
            assert_int_equal(set->images[i * PIXELS + p], planes[p % 3 * PLANE + p / 3]);
        assert_int_equal(set->labels[i], label_of(i) - 1);
    }
}

/* ---- import ---- */

static void one_file_is_imported(void **state) {
    (void)state;
    npz_make(scratch("val_data.npz"), 0, 150);
    Dataset set = set_import(scratch("val_data.npz"));
    assert_images(&set, 150);
    char stored[65];
    strcpy(stored, set.hash.hex);
    dataset_close(&set);
    npz_deflate(scratch("val_data.npz"));
    assert_true(file_size(scratch("val_data.npz")) < 150 * PIXELS);
    set = set_import(scratch("val_data.npz"));
    assert_string_equal(set.hash.hex, stored);
    dataset_close(&set);
}

/* 1, 2, 10: not as letters sort. The validation file is no training file. */
static void folder_is_imported_in_the_order_of_numbers(void **state) {
    (void)state;
    assert_true(folder_make(scratch("in"), &error));
    npz_make(scratch("in/train_data_batch_10.npz"), 9, 4);
    npz_make(scratch("in/train_data_batch_1.npz"), 0, 2);
    npz_make(scratch("in/train_data_batch_2.npz"), 2, 7);
    npz_make(scratch("in/val_data.npz"), 50, 3);
    Dataset set = set_import(scratch("in"));
    assert_images(&set, 13);
    dataset_close(&set);
}

static void zips_are_unpacked_and_their_pieces_go(void **state) {
    (void)state;
    static const char *const files[2] = {"train_data_batch_1.npz", "train_data_batch_2.npz"};
    npz_make(scratch(files[0]), 0, 5);
    npz_make(scratch(files[1]), 5, 3);
    zip_make(scratch("all.zip"), files, 2);
    Dataset set = set_import(scratch("all.zip"));
    assert_images(&set, 8);
    dataset_close(&set);
    assert_true(folder_make(scratch("in"), &error));
    zip_make(scratch("in/Imagenet4_train_part1_npz.zip"), &files[0], 1);
    zip_make(scratch("in/Imagenet4_train_part2_npz.zip"), &files[1], 1);
    set = set_import(scratch("in"));
    assert_images(&set, 8);
    dataset_close(&set);
    assert_true(folder_remove(scratch("data/set"), &error));
    assert_int_equal(rmdir(scratch("data")), 0); /* nothing else was left in it */
    zip_make(scratch("in/twice_npz.zip"), &files[0], 1);
    assert_refused(scratch("in"), "there is a second train_data_batch_1.npz");
}

static void wrong_files_are_named(void **state) {
    (void)state;
    uint8_t pixels[2 * PIXELS] = {0};
    int64_t labels[2] = {3, 1001};
    NpzMember members[2] = {
        {"data", {.type = NPY_U8, .rank = 2, .shape = {2, PIXELS}, .data = pixels}},
        {"labels", {.type = NPY_I64, .rank = 1, .shape = {2}, .data = labels}},
    };
    char path[1024];
    path_join(path, scratch_folder, "val_data.npz");
    assert_true(npz_write(path, members, 2, &error));
    assert_refused(path, "val_data.npz: the label of image 1 is 1001; these files' labels are 1 to 1000");
    labels[1] = 0;
    assert_true(npz_write(path, members, 2, &error));
    assert_refused(path, "the label of image 1 is 0");
    members[1].array.shape[0] = 1;
    assert_true(npz_write(path, members, 2, &error));
    assert_refused(path, "'labels' are not whole numbers (i4 or i8), one for each of 2 images");
    assert_true(npz_write(path, members, 1, &error));
    assert_refused(path, "there is no array 'labels'");
    members[0].array.shape[1] = PIXELS - 3;
    assert_true(npz_write(path, members, 2, &error));
    assert_refused(path, "'data' is not uint8 of shape");
    strcpy(members[0].name, "images");
    assert_true(npz_write(scratch("train_data_batch_1.npz"), members, 2, &error));
    assert_true(folder_make(scratch("in"), &error));
    assert_int_equal(rename(scratch("train_data_batch_1.npz"), scratch("in/train_data_batch_1.npz")), 0);
    assert_refused(scratch("in"), "there are no .npz files");
}

static void damaged_files_are_named(void **state) {
    (void)state;
    char *bytes;
    size_t size;
    npz_make(scratch("val_data.npz"), 0, 100);
    assert_true(file_read(scratch("val_data.npz"), &bytes, &size, &error));
    assert_true(file_write_atomic(scratch("cut.npz"), bytes, size / 2, &error));
    assert_refused(scratch("cut.npz"), "cut.npz: the zip cannot be opened");
    bytes[2000] ^= 1;
    assert_true(file_write_atomic(scratch("flip.npz"), bytes, size, &error));
    free(bytes);
    assert_refused(scratch("flip.npz"), "flip.npz: 'data.npy' is damaged: CRC error");
}

static void pickles_are_refused(void **state) {
    (void)state;
    assert_true(folder_make(scratch("in"), &error));
    assert_true(file_write_atomic(scratch("in/train_data_batch_1"), "\x80\x03}q", 4, &error));
    assert_refused(scratch("in"), "in: these are Python pickles");
    assert_refused(scratch("in/train_data_batch_1"), "Python pickles");
}

/* ---- ImageNet's size ---- */

enum { WIDE = 64, MANY = 1281167, WIDE_PIXELS = WIDE * WIDE * 3 };

/* A set of 15.7 GB, all zeros but the last image; the files are sparse. False where files cannot
 * be so large. */
static bool huge_make(void) {
    const NpyArray images = {.type = NPY_U8, .rank = 4, .shape = {MANY, WIDE, WIDE, 3}};
    Text header = {0}, yaml = {0};
    uint8_t last[WIDE_PIXELS];
    memset(last, 200, sizeof last);
    assert_true(folder_make(scratch("data/huge"), &error));
    const int file = open(scratch("data/huge/images.npy"), O_WRONLY | O_CREAT, 0666);
    npy_header(&images, &header);
    const off_t end = (off_t)header.length + (off_t)MANY * WIDE_PIXELS;
    const bool made = ftruncate(file, end) == 0 &&
                      pwrite(file, header.text, header.length, 0) == (ssize_t)header.length &&
                      pwrite(file, last, sizeof last, end - WIDE_PIXELS) == WIDE_PIXELS;
    close(file);
    text_free(&header);
    text_append(
        &yaml,
        "name: huge\nsource: none\ncount: %d\nheight: 64\nwidth: 64\nchannels: 3\nclasses: 0\nhash: ", MANY);
    for (int i = 0; i < 64; i++) text_append(&yaml, "0");
    assert_true(file_write_atomic(scratch("data/huge/dataset.yaml"), yaml.text, yaml.length, &error));
    text_free(&yaml);
    return made;
}

/* Memory of this process that is in use, in bytes. */
static int64_t memory_resident(void) {
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

/* The step of one image at which the order comes to the last image. */
static uint32_t step_of_last(void) {
    uint32_t step = 0;
    while (order_image(0, step, 1, 0, MANY) != MANY - 1) step++;
    return step;
}

/* The last pixel of a batch that is the last image. */
static float last_gathered(const Dataset *set) {
    static float out[WIDE_PIXELS];
    Device *device;
    if (!device_open("cpu", 1, &device, &error)) fail_msg("%s", error.text);
    const StepRow row = {.step = step_of_last()};
    const BatchGather op = {.images = set->images,
                            .count = MANY,
                            .batch = 1,
                            .draw = {.row = &row},
                            .y = {.data = out, .dtype = DTYPE_F32, .n = 1, .h = WIDE, .w = WIDE, .c = 3}};
    device->ops->batch_gather(device, &op);
    device_close(device);
    return out[WIDE_PIXELS - 1];
}

/* Opening reads the header; the hash is the one that the import has written. */
static void a_set_of_imagenets_size_costs_what_is_read(void **state) {
    (void)state;
    const DataConfig config = {.name = "huge"};
    Dataset set;
    if (!huge_make()) skip();
    const int64_t before = memory_resident();
    if (!dataset_open(&config, data(), &set, &error)) fail_msg("%s", error.text);
    assert_int_equal(set.count, MANY);
    assert_int_equal(set.hash.hex[0], '0');
    assert_float_equal(last_gathered(&set), 200 / 127.5f - 1, 1e-6);
    const int64_t grown = memory_resident() - before;
    if (grown > 64 << 20) fail_msg("opening took %lld bytes of memory", (long long)grown);
    dataset_close(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(one_file_is_imported),
        IN_SCRATCH(folder_is_imported_in_the_order_of_numbers),
        IN_SCRATCH(zips_are_unpacked_and_their_pieces_go),
        IN_SCRATCH(wrong_files_are_named),
        IN_SCRATCH(damaged_files_are_named),
        IN_SCRATCH(pickles_are_refused),
        IN_SCRATCH(a_set_of_imagenets_size_costs_what_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
