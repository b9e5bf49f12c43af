/* Pictures of samples: blocks of small images side by side, for instance one-step samples, two-step samples,
 * real images. */
#ifndef ICT_BASE_PICTURE_H
#define ICT_BASE_PICTURE_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

enum { PICTURE_BLOCKS = 10 };

typedef struct Picture {
    int blocks, each;                     /* images in every block */
    int height, width, channels;          /* of an image; 1 or 3 channels */
    const uint8_t *block[PICTURE_BLOCKS]; /* each x height x width x channels */
} Picture;

/* Writes a PNG: every block as square as can be, an empty column between two blocks. */
bool picture_write(const char *path, const Picture *, Error *);

/* One image as PNG: its bytes (malloc'ed), or a file of them. */
bool picture_encode(const uint8_t *image, int height, int width, int channels, char **bytes, size_t *size,
                    Error *);
bool picture_write_one(const char *path, const uint8_t *image, int height, int width, int channels, Error *);

#endif
