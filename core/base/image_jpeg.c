/* Writing JPEG (libjpeg-turbo): for damage of a known strength. */
#include "base/image.h"

#include <setjmp.h>
#include <stdio.h> /* jpeglib.h needs FILE */
#include <stdlib.h>
#include <jpeglib.h>

/* Everything that must survive the jump out of the library's error. */
typedef struct Encoder {
    struct jpeg_error_mgr errors;
    jmp_buf escape;
    unsigned char *bytes;
    unsigned long size;
    char problem[JMSG_LENGTH_MAX];
} Encoder;

static void encoder_fail(j_common_ptr jpeg) {
    Encoder *encoder = jpeg->client_data;
    jpeg->err->format_message(jpeg, encoder->problem);
    longjmp(encoder->escape, 1);
}

static void rows_write(struct jpeg_compress_struct *jpeg, const Image *image, int quality) {
    jpeg->image_width = (JDIMENSION)image->width;
    jpeg->image_height = (JDIMENSION)image->height;
    jpeg->input_components = 3;
    jpeg->in_color_space = JCS_RGB;
    jpeg_set_defaults(jpeg);
    jpeg_set_quality(jpeg, quality, TRUE);
    jpeg_start_compress(jpeg, TRUE);
    while (jpeg->next_scanline < jpeg->image_height) {
        JSAMPROW row = image->pixels + (size_t)jpeg->next_scanline * (size_t)image->width * 3;
        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
}

bool image_encode_jpeg(const Image *image, int quality, uint8_t **bytes, size_t *size, Error *error) {
    struct jpeg_compress_struct jpeg = {0};
    Encoder encoder = {.bytes = NULL};
    volatile bool done = false;
    jpeg.err = jpeg_std_error(&encoder.errors);
    encoder.errors.error_exit = encoder_fail;
    jpeg.client_data = &encoder;
    if (setjmp(encoder.escape) == 0) {
        jpeg_create_compress(&jpeg);
        jpeg.client_data = &encoder;
        jpeg_mem_dest(&jpeg, &encoder.bytes, &encoder.size);
        rows_write(&jpeg, image, quality);
        done = true;
    }
    jpeg_destroy_compress(&jpeg);
    *bytes = encoder.bytes;
    *size = encoder.size;
    if (done) return true;
    free(encoder.bytes);
    *bytes = NULL;
    return error_set(error, "the JPEG cannot be made: %s", encoder.problem);
}
