/* Pictures: PNG (libpng) and JPEG (libjpeg-turbo) to and from 8-bit RGB, and grids of small images. */
#ifndef ICT_BASE_IMAGE_H
#define ICT_BASE_IMAGE_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Image {
    int width, height; /* always 3 channels, RGB, row-major */
    uint8_t *pixels;   /* malloc'ed */
} Image;

/* PNG or JPEG, told apart by their first bytes. Grey is widened to RGB; alpha and 16-bit samples are refused
 * by name. */
bool image_decode(const void *bytes, size_t size, const char *name, Image *image, Error *error);
bool image_read(const char *path, Image *image, Error *error);
/* The file's bytes, malloc'ed. */
bool image_encode_png(const Image *image, char **bytes, size_t *size, Error *error);
/* 4:2:0, quality 1 to 100; malloc'ed. */
bool image_encode_jpeg(const Image *image, int quality, uint8_t **bytes, size_t *size, Error *error);
bool image_write_png(const char *path, const Image *image, Error *error);
void image_free(Image *image);

/* `count` images of height x width x 3 laid out `columns` a row with `gap` white pixels between, each
 * enlarged `zoom` times by repetition. */
Image image_grid(const uint8_t *images, int count, int height, int width, int columns, int gap, int zoom);

#endif
