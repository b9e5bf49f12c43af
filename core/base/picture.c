/* Blocks of images side by side, as one grid. */
#include "base/picture.h"
#include "base/file.h"
#include "base/image.h"

#include <stdlib.h>
#include <string.h>

enum { WIDTH_AIMED_AT = 64, WHITE = 255 };

static void image_to_rgb(const uint8_t *from, int pixels, int channels, uint8_t *to) {
    for (int i = 0; i < pixels; i++)
        for (int c = 0; c < 3; c++) to[3 * i + c] = from[channels * i + (channels == 3 ? c : 0)];
}

static int columns_of(int images) {
    int columns = 1;
    while (columns * columns < images) columns++;
    return columns;
}

/* Small images are enlarged so that one can see them. */
static int zoom_of(int width) {
    return width < WIDTH_AIMED_AT ? WIDTH_AIMED_AT / width : 1;
}

/* Cell (row, column) of the whole picture, or NULL where it is empty. */
static const uint8_t *cell_source(const Picture *picture, int columns, int row, int column) {
    const int block = column / (columns + 1), place = row * columns + column % (columns + 1);
    const size_t bytes = (size_t)picture->height * (size_t)picture->width * (size_t)picture->channels;
    if (column % (columns + 1) == columns || place >= picture->each) return NULL;
    return picture->block[block] + (size_t)place * bytes;
}

bool picture_write(const char *path, const Picture *picture, Error *error) {
    const int columns = columns_of(picture->each), rows = (picture->each + columns - 1) / columns;
    const int wide = picture->blocks * (columns + 1) - 1, pixels = picture->height * picture->width;
    uint8_t *cells = malloc((size_t)wide * (size_t)rows * (size_t)pixels * 3);
    CHECK(cells, "out of memory for a picture of %d x %d images", wide, rows);
    memset(cells, WHITE, (size_t)wide * (size_t)rows * (size_t)pixels * 3);
    for (int row = 0; row < rows; row++) {
        for (int column = 0; column < wide; column++) {
            const uint8_t *from = cell_source(picture, columns, row, column);
            uint8_t *to = cells + ((size_t)row * (size_t)wide + (size_t)column) * (size_t)pixels * 3;
            if (from) image_to_rgb(from, pixels, picture->channels, to);
        }
    }
    Image image =
        image_grid(cells, wide * rows, picture->height, picture->width, wide, 1, zoom_of(picture->width));
    const bool done = image_write_png(path, &image, error);
    image_free(&image);
    free(cells);
    return done;
}

bool picture_encode(const uint8_t *image, int height, int width, int channels, char **bytes, size_t *size,
                    Error *error) {
    Image rgb = {width, height, malloc((size_t)height * (size_t)width * 3)};
    CHECK(rgb.pixels, "out of memory for an image");
    image_to_rgb(image, height * width, channels, rgb.pixels);
    const bool done = image_encode_png(&rgb, bytes, size, error);
    image_free(&rgb);
    return done;
}

bool picture_write_one(const char *path, const uint8_t *image, int height, int width, int channels,
                       Error *error) {
    char *bytes;
    size_t size;
    if (!picture_encode(image, height, width, channels, &bytes, &size, error))
        return error_wrap(error, "%s", path);
    const bool done = file_write_atomic(path, bytes, size, error);
    free(bytes);
    return done;
}
