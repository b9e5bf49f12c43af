/* Arrays (.npy, .npz) against files that numpy wrote (scripts/golden_npy.py), and pictures, whole and
 * damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "tests/unit/mentions.h"
#include "tests/unit/scratch.h"

#include "base/file.h"
#include "base/image.h"
#include "base/npy.h"

#include <jpeglib.h>
#include <png.h>
#include <string.h>

/* ---- arrays ---- */

static void npy_of_numpy_is_read(void **state) {
    (void)state;
    Error error;
    NpyArray array;
    assert_true(npy_read("tests/golden/numpy.npy", &array, &error));
    assert_true(array.type == NPY_F32 && array.rank == 2 && array.shape[0] == 2 && array.shape[1] == 3);
    for (int i = 0; i < 6; i++) assert_true(((float *)array.data)[i] == (float)i / 4);
    npy_free(&array);
}

/* What we write is what numpy would have written. */
static void npy_is_written_as_numpy_does(void **state) {
    (void)state;
    float values[6] = {0, 0.25f, 0.5f, 0.75f, 1, 1.25f};
    const NpyArray array = {.type = NPY_F32, .rank = 2, .shape = {2, 3}, .data = values};
    char *ours, *numpys;
    size_t size, expected;
    assert_true(npy_write(scratch("a.npy"), &array, NULL));
    assert_true(file_read(scratch("a.npy"), &ours, &size, NULL));
    assert_true(file_read("tests/golden/numpy.npy", &numpys, &expected, NULL));
    assert_int_equal(size, expected);
    assert_memory_equal(ours, numpys, size);
    free(ours), free(numpys);
}

static void npy_round_trips_every_type_and_rank(void **state) {
    (void)state;
    uint64_t values[24];
    for (int i = 0; i < 24; i++) values[i] = 0x0102030405060708ull * (uint64_t)(i + 1);
    for (int type = NPY_U8; type <= NPY_F64; type++) {
        for (int rank = 0; rank <= 3; rank++) {
            const NpyArray array = {.type = (NpyType)type, .rank = rank, .shape = {2, 3, 4}, .data = values};
            NpyArray read;
            assert_true(npy_write(scratch("a.npy"), &array, NULL));
            assert_true(npy_read(scratch("a.npy"), &read, NULL));
            assert_true(read.type == array.type && read.rank == rank &&
                        npy_count(&read) == npy_count(&array));
            assert_memory_equal(read.shape, array.shape, (size_t)rank * sizeof *read.shape);
            assert_memory_equal(read.data, values, (size_t)npy_count(&read) * npy_type_size(read.type));
            npy_free(&read);
        }
    }
}

static void npy_is_parsed_in_place(void **state) {
    (void)state;
    FileMap map;
    NpyArray array;
    Error error;
    assert_true(file_map("tests/golden/numpy.npy", &map, &error));
    assert_true(npy_parse(map.bytes, map.size, &array, &error));
    assert_ptr_equal(array.data, map.bytes + map.size - 24);
    assert_false(npy_parse(map.bytes, map.size - 1, &array, &error));
    assert_mentions(&error, "cut short: its array takes 24 bytes, 23 are there");
    assert_false(npy_parse(map.bytes, 40, &array, &error));
    assert_mentions(&error, "within its header");
    assert_false(npy_parse("PK\3\4 is a zip", 13, &array, &error));
    assert_mentions(&error, "not a .npy file");
    file_unmap(&map);
}

/* A .npy file with this header and eight bytes of data. */
static bool header_accepted(const char *header, Error *error) {
    char bytes[256] = "\x93NUMPY\1";
    bytes[8] = (char)strlen(header);
    strcpy(bytes + 10, header);
    assert_true(file_write_atomic(scratch("h.npy"), bytes, 10 + strlen(header) + 8, NULL));
    NpyArray array;
    const bool accepted = npy_read(scratch("h.npy"), &array, error);
    if (accepted) npy_free(&array);
    return accepted;
}

static void npy_headers_we_cannot_use_are_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *header, *mention;
    } cases[] = {
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", "'>f4'"},
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }", "'<f2'"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "'|O'"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "no plain type"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", "Fortran order"},
        {"{'descr': '<f4', 'shape': (1, 2), }", "fortran_order"},
        {"{'descr': '<f4', 'fortran_order': False, }", "no shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2", "shape cannot be read"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "shape cannot be read"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
         "larger than any memory"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
         "more than 8 dimensions"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "cut short"},
    };
    Error error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_false(header_accepted(cases[i].header, &error));
        assert_mentions(&error, cases[i].mention);
        assert_mentions(&error, "h.npy");
    }
    assert_true(header_accepted("{'shape': (2,), 'fortran_order': False, 'descr': '<f4'}", &error));
    assert_true(header_accepted("{'descr': '<u1', 'fortran_order': True, 'shape': (8,), }", &error));
}

static void npz_of_numpy_is_read(void **state) {
    (void)state;
    Error error;
    NpzMember *members;
    int count;
    assert_true(npz_read("tests/golden/numpy.npz", &members, &count, &error));
    assert_int_equal(count, 5);
    const NpyArray *bytes = npz_find(members, count, "bytes"), *ints = npz_find(members, count, "ints");
    const NpyArray *longs = npz_find(members, count, "longs"), *scalar = npz_find(members, count, "scalar");
    const NpyArray *empty = npz_find(members, count, "empty");
    assert_true(bytes && bytes->rank == 3 && ((uint8_t *)bytes->data)[63] == 63);
    assert_true(ints && ((int32_t *)ints->data)[0] == INT32_MIN && ((int32_t *)ints->data)[1] == 7);
    assert_true(longs && ((int64_t *)longs->data)[0] == 1ll << 40);
    assert_true(scalar && scalar->rank == 0 && *(double *)scalar->data == 0.1);
    assert_true(empty && npy_count(empty) == 0 && empty->shape[1] == 5);
    assert_null(npz_find(members, count, "absent"));
    npz_free(members, count);
}

static void npz_round_trips_and_is_reproducible(void **state) {
    (void)state;
    double x[3] = {1, -2.5, 1e300};
    int32_t y[2] = {3, 4};
    const NpzMember members[3] = {{"x", {.type = NPY_F64, .rank = 1, .shape = {3}, .data = x}},
                                  {"deep/y", {.type = NPY_I32, .rank = 2, .shape = {2, 1}, .data = y}},
                                  {"none", {.type = NPY_F32, .rank = 1, .shape = {0}, .data = NULL}}};
    Error error;
    NpzMember *read;
    int count;
    assert_true(npz_write(scratch("a.npz"), members, 3, &error));
    assert_true(npz_read(scratch("a.npz"), &read, &count, &error));
    assert_int_equal(count, 3);
    assert_memory_equal(npz_find(read, count, "x")->data, x, sizeof x);
    assert_memory_equal(npz_find(read, count, "deep/y")->data, y, sizeof y);
    assert_int_equal(npy_count(npz_find(read, count, "none")), 0);
    npz_free(read, count);
    char *first, *second;
    size_t size, again;
    assert_true(file_read(scratch("a.npz"), &first, &size, &error));
    assert_true(npz_write(scratch("a.npz"), members, 3, &error));
    assert_true(file_read(scratch("a.npz"), &second, &again, &error));
    assert_int_equal(size, again);
    assert_memory_equal(first, second, size);
    free(first), free(second);
    assert_false(npz_write(scratch("absent/a.npz"), members, 3, &error));
    assert_mentions(&error, "absent/a.npz");
}

/* Cut or changed anywhere, the archive is refused (each member has a checksum) and the message names the
 * file. */
static void npz_damaged_is_refused(void **state) {
    (void)state;
    Error error;
    NpzMember *members;
    int count;
    char *bytes;
    size_t size;
    assert_false(npz_read(scratch("absent.npz"), &members, &count, &error));
    assert_mentions(&error, "absent.npz");
    assert_true(file_read("tests/golden/numpy.npz", &bytes, &size, &error));
    for (size_t cut = 0; cut < size; cut += 50) {
        assert_true(file_write_atomic(scratch("cut.npz"), bytes, cut, &error));
        if (cut) assert_false(npz_read(scratch("cut.npz"), &members, &count, &error));
        if (cut) assert_mentions(&error, "cut.npz");
    }
    bytes[120] ^= 0x10; /* in the compressed data of the first member */
    assert_true(file_write_atomic(scratch("flip.npz"), bytes, size, &error));
    assert_false(npz_read(scratch("flip.npz"), &members, &count, &error));
    assert_mentions(&error, "flip.npz: 'bytes.npy'");
    free(bytes);
    /* The same in an archive of ours, which is not compressed: only the checksum can tell. */
    double x[64] = {0};
    const NpzMember member = {"x", {.type = NPY_F64, .rank = 1, .shape = {64}, .data = x}};
    assert_true(npz_write(scratch("stored.npz"), &member, 1, &error));
    assert_true(file_read(scratch("stored.npz"), &bytes, &size, &error));
    bytes[size / 2] ^= 1;
    assert_true(file_write_atomic(scratch("stored.npz"), bytes, size, &error));
    assert_false(npz_read(scratch("stored.npz"), &members, &count, &error));
    assert_mentions(&error, "stored.npz: 'x.npy'");
    free(bytes);
}

/* ---- pictures ---- */

/* Smooth colours, so that JPEG keeps them nearly. */
static Image picture(int width, int height) {
    Image image = {.width = width, .height = height, .pixels = malloc((size_t)(width * height) * 3)};
    assert_non_null(image.pixels);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *pixel = image.pixels + (y * width + x) * 3;
            pixel[0] = (uint8_t)(255 * x / width), pixel[1] = (uint8_t)(255 * y / height), pixel[2] = 128;
        }
    return image;
}

static void write_png(const char *path, int format, const void *pixels, int side) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)side,
                     .height = (png_uint_32)side,
                     .format = (png_uint_32)format};
    assert_true(png_image_write_to_file(&png, path, 0, pixels, 0, NULL));
}

/* Writes `channels` x 8 bits in libjpeg's `space`. */
static void write_jpeg(const char *path, int width, int height, int channels, J_COLOR_SPACE space,
                       uint8_t *pixels) {
    struct jpeg_error_mgr errors;
    struct jpeg_compress_struct jpeg = {.err = jpeg_std_error(&errors)};
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    jpeg_create_compress(&jpeg);
    jpeg_stdio_dest(&jpeg, file);
    jpeg.image_width = (JDIMENSION)width, jpeg.image_height = (JDIMENSION)height;
    jpeg.input_components = channels, jpeg.in_color_space = space;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 95, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    for (int y = 0; y < height; y++) {
        JSAMPROW row = pixels + (size_t)(y * width * channels);
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    fclose(file);
}

static void png_round_trips(void **state) {
    (void)state;
    Error error;
    Image written = picture(13, 7), read;
    assert_true(image_write_png(scratch("a.png"), &written, &error));
    assert_true(image_read(scratch("a.png"), &read, &error));
    assert_true(read.width == 13 && read.height == 7);
    assert_memory_equal(read.pixels, written.pixels, 13 * 7 * 3);
    image_free(&read);
    assert_false(image_write_png(scratch("absent/a.png"), &written, &error));
    assert_mentions(&error, "absent/a.png");
    image_free(&written);
}

static void jpeg_is_read(void **state) {
    (void)state;
    Error error;
    Image written = picture(24, 16), read;
    write_jpeg(scratch("a.jpg"), 24, 16, 3, JCS_RGB, written.pixels);
    assert_true(image_read(scratch("a.jpg"), &read, &error));
    assert_true(read.width == 24 && read.height == 16);
    for (int i = 0; i < 24 * 16 * 3; i++) assert_true(abs(read.pixels[i] - written.pixels[i]) < 12);
    image_free(&read), image_free(&written);
}

static void grey_becomes_rgb(void **state) {
    (void)state;
    uint8_t grey[64];
    for (int i = 0; i < 64; i++) grey[i] = (uint8_t)(i * 4);
    Image read;
    write_png(scratch("g.png"), PNG_FORMAT_GRAY, grey, 8);
    assert_true(image_read(scratch("g.png"), &read, NULL));
    for (int i = 0; i < 64 * 3; i++) assert_int_equal(read.pixels[i], grey[i / 3]);
    image_free(&read);
    write_jpeg(scratch("g.jpg"), 8, 8, 1, JCS_GRAYSCALE, grey);
    assert_true(image_read(scratch("g.jpg"), &read, NULL));
    for (int i = 0; i < 64; i++) {
        const uint8_t *pixel = read.pixels + 3 * i;
        assert_true(pixel[0] == pixel[1] && pixel[1] == pixel[2] && abs(pixel[0] - grey[i]) < 8);
    }
    image_free(&read);
}

static void pictures_we_cannot_use_are_refused_by_name(void **state) {
    (void)state;
    static uint16_t samples[8 * 8 * 4];
    Error error;
    Image image;
    write_png(scratch("alpha.png"), PNG_FORMAT_RGBA, samples, 8);
    assert_false(image_read(scratch("alpha.png"), &image, &error));
    assert_mentions(&error, "alpha.png");
    assert_mentions(&error, "has an alpha channel");
    write_png(scratch("deep.png"), PNG_FORMAT_LINEAR_RGB, samples, 8);
    assert_false(image_read(scratch("deep.png"), &image, &error));
    assert_mentions(&error, "deep.png");
    assert_mentions(&error, "16-bit samples");
    write_jpeg(scratch("cmyk.jpg"), 8, 8, 4, JCS_CMYK, (uint8_t *)samples);
    assert_false(image_read(scratch("cmyk.jpg"), &image, &error));
    assert_mentions(&error, "4 colour components");
    assert_false(image_decode("GIF89a..", 8, "a.gif", &image, &error));
    assert_mentions(&error, "a.gif: is neither a PNG nor a JPEG");
    assert_null(image.pixels);
}

/* No cut file is accepted, and none ends the program. */
static void refuse_cuts(const char *path) {
    Error error;
    Image image;
    char *bytes;
    size_t size;
    assert_true(file_read(path, &bytes, &size, &error));
    for (size_t cut = 0; cut < size; cut++) {
        if (image_decode(bytes, cut, "cut", &image, &error))
            fail_msg("%s cut to %zu of %zu", path, cut, size);
        assert_mentions(&error, "cut: ");
    }
    assert_true(image_decode(bytes, size, "whole", &image, &error));
    image_free(&image);
    free(bytes);
}

static void truncated_pictures_are_refused(void **state) {
    (void)state;
    Image image = picture(16, 16);
    assert_true(image_write_png(scratch("a.png"), &image, NULL));
    write_jpeg(scratch("a.jpg"), 16, 16, 3, JCS_RGB, image.pixels);
    refuse_cuts(scratch("a.png"));
    refuse_cuts(scratch("a.jpg"));
    image_free(&image);
}

/* Every byte damaged in turn: whatever comes of it, the program lives, and PNG (which has
 * checksums) refuses. */
static void damaged_pictures_do_no_harm(void **state) {
    (void)state;
    Error error;
    Image image = picture(16, 16), read;
    assert_true(image_write_png(scratch("a.png"), &image, NULL));
    write_jpeg(scratch("a.jpg"), 16, 16, 3, JCS_RGB, image.pixels);
    image_free(&image);
    const char *const names[] = {"a.png", "a.jpg"};
    int refused[2] = {0};
    size_t size;
    for (int kind = 0; kind < 2; kind++) {
        char *bytes;
        assert_true(file_read(scratch(names[kind]), &bytes, &size, &error));
        for (size_t i = 0; i < size; i++) {
            bytes[i] ^= 0x55;
            if (image_decode(bytes, size, "damaged", &read, &error))
                image_free(&read);
            else
                refused[kind]++;
            bytes[i] ^= 0x55;
        }
        free(bytes);
        assert_true(refused[kind] > 50);
    }
}

/* Memory follows the sizes a header claims, so they are held against the bytes; an honest flat picture
 * passes. */
static void jpegs_claim_no_more_than_they_hold(void **state) {
    (void)state;
    Error error;
    uint8_t *bytes;
    size_t size, at = 0;
    Image flat = {.width = 2048, .height = 2048, .pixels = calloc(2048 * 2048, 3)}, small = picture(16, 16),
          read;
    assert_true(image_encode_jpeg(&flat, 50, &bytes, &size, &error));
    assert_true(image_decode(bytes, size, "flat", &read, &error));
    free(bytes);
    image_free(&read);
    image_free(&flat);
    assert_true(image_encode_jpeg(&small, 90, &bytes, &size, &error));
    image_free(&small);
    while (bytes[at] != 0xff || bytes[at + 1] != 0xc0)
        at++; /* start of frame: length, depth, height, width */
    memcpy(bytes + at + 5, "\x04\x00\x04\x00", 4);
    assert_false(image_decode(bytes, size, "claim", &read, &error));
    assert_mentions(&error, "bytes cannot hold 1024 x 1024 pixels");
    free(bytes);
}

static void grid_lays_images_out_in_rows(void **state) {
    (void)state;
    enum { H = 2, W = 3, COUNT = 5, COLUMNS = 2, GAP = 1, ZOOM = 2 };
    uint8_t images[COUNT * H * W * 3];
    for (int i = 0; i < (int)sizeof images; i++) images[i] = (uint8_t)i;
    Image grid = image_grid(images, COUNT, H, W, COLUMNS, GAP, ZOOM);
    assert_true(grid.width == 2 * W * ZOOM + GAP && grid.height == 3 * H * ZOOM + 2 * GAP);
    for (int y = 0; y < grid.height; y++)
        for (int x = 0; x < grid.width; x++) {
            const int row = y / (H * ZOOM + GAP), column = x / (W * ZOOM + GAP), i = row * COLUMNS + column;
            const int v = y % (H * ZOOM + GAP) / ZOOM, u = x % (W * ZOOM + GAP) / ZOOM;
            const bool white = v >= H || u >= W || i >= COUNT;
            for (int c = 0; c < 3; c++)
                assert_int_equal(grid.pixels[(y * grid.width + x) * 3 + c],
                                 white ? 255 : images[((i * H + v) * W + u) * 3 + c]);
        }
    image_free(&grid);
    grid = image_grid(images, 1, H, W, 8, 0, 1);
    assert_true(grid.width == W && grid.height == H);
    assert_memory_equal(grid.pixels, images, H * W * 3);
    image_free(&grid);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(npy_of_numpy_is_read),
        IN_SCRATCH(npy_is_written_as_numpy_does),
        IN_SCRATCH(npy_round_trips_every_type_and_rank),
        cmocka_unit_test(npy_is_parsed_in_place),
        IN_SCRATCH(npy_headers_we_cannot_use_are_refused_by_name),
        cmocka_unit_test(npz_of_numpy_is_read),
        IN_SCRATCH(npz_round_trips_and_is_reproducible),
        IN_SCRATCH(npz_damaged_is_refused),
        IN_SCRATCH(png_round_trips),
        IN_SCRATCH(jpeg_is_read),
        IN_SCRATCH(grey_becomes_rgb),
        IN_SCRATCH(pictures_we_cannot_use_are_refused_by_name),
        IN_SCRATCH(truncated_pictures_are_refused),
        IN_SCRATCH(damaged_pictures_do_no_harm),
        cmocka_unit_test(jpegs_claim_no_more_than_they_hold),
        cmocka_unit_test(grid_lays_images_out_in_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
