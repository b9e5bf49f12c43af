/* Pictures: reading a file of either kind, writing PNG, and grids. The decoders are in image_decode.c. */
#include "base/image.h"

#include "base/file.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

bool image_read(const char *path, Image *image, Error *error) {
    char *bytes;
    size_t size;
    *image = (Image){0};
    if (!file_read(path, &bytes, &size, error)) return false;
    const bool done = image_decode(bytes, size, path, image, error);
    free(bytes);
    return done;
}

bool image_encode_png(const Image *image, char **bytes, size_t *size, Error *error) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image->width,
                     .height = (png_uint_32)image->height,
                     .format = PNG_FORMAT_RGB};
    *bytes = NULL;
    *size = 0;
    FILE *memory = open_memstream(bytes, size);
    CHECK(memory, "out of memory for a PNG file");
    const bool made = png_image_write_to_stdio(&png, memory, 0, image->pixels, 0, NULL);
    if (fclose(memory) == 0 && made) return true;
    free(*bytes);
    *bytes = NULL;
    return error_set(error, "the PNG cannot be made: %s", png.message);
}

bool image_write_png(const char *path, const Image *image, Error *error) {
    /* First to memory: of a failed write libpng only says that it failed. */
    char *bytes;
    size_t size;
    if (!image_encode_png(image, &bytes, &size, error)) return error_wrap(error, "%s", path);
    const bool done = file_write_atomic(path, bytes, size, error);
    free(bytes);
    return done;
}

void image_free(Image *image) {
    free(image->pixels);
    *image = (Image){0};
}

/* Writes one image of the grid with its top left corner at pixel (x, y). */
static void grid_place(Image *grid, const uint8_t *pixels, int height, int width, int x, int y, int zoom) {
    for (int row = 0; row < height * zoom; row++) {
        uint8_t *to = grid->pixels + ((size_t)(y + row) * (size_t)grid->width + (size_t)x) * 3;
        const uint8_t *from = pixels + (size_t)(row / zoom) * (size_t)width * 3;
        for (int column = 0; column < width * zoom; column++)
            memcpy(to + 3 * column, from + 3 * (column / zoom), 3);
    }
}

Image image_grid(const uint8_t *images, int count, int height, int width, int columns, int gap, int zoom) {
    CHECK(count > 0 && height > 0 && width > 0 && columns > 0 && gap >= 0 && zoom > 0, "a grid of nothing");
    if (columns > count) columns = count;
    const int rows = (count + columns - 1) / columns, pitch_x = width * zoom + gap,
              pitch_y = height * zoom + gap;
    Image grid = {.width = columns * pitch_x - gap, .height = rows * pitch_y - gap};
    const size_t size = (size_t)grid.width * (size_t)grid.height * 3;
    grid.pixels = malloc(size);
    CHECK(grid.pixels, "out of memory for a picture of %d x %d", grid.width, grid.height);
    memset(grid.pixels, 255, size);
    for (int i = 0; i < count; i++)
        grid_place(&grid, images + (size_t)i * (size_t)(height * width * 3), height, width,
                   i % columns * pitch_x, i / columns * pitch_y, zoom);
    return grid;
}
