/* PNG and JPEG from memory. Both libraries report a broken file by a callback that must not return; here it
 * jumps back (setjmp) and becomes an Error. Warnings of the JPEG library are errors too: it calls a truncated
 * file a warning, and fills the rest with grey. PNG colours are taken as they are, without the gamma
 * correction that libpng's simplified interface would apply, because that is what every data set's other
 * readers do. */
#include "base/image.h"

#include <png.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h> /* jpeglib.h needs FILE */
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>

/* A picture is not believed to hold more than its bytes can. A PNG: at most 8 one-bit pixels times deflate's
 * 1032:1. A JPEG: a bit is at least one block of 64 pixels; its decoder keeps all coefficients of a
 * progressive file, 6 bytes a pixel, so that belief is memory. Such a file repaints the whole picture in
 * every scan; real ones have about ten. */
enum { SIDE_MAX = 16384, PNG_PIXELS_PER_BYTE = 8 * 1032, JPEG_PIXELS_PER_BYTE = 8 * 64, SCANS_MAX = 64 };

/* Everything that must survive a jump lives here, not in local variables. */
typedef struct Decoder {
    jmp_buf escape;
    const uint8_t *bytes;
    size_t size, place;
    Image image;
    char problem[256];
} Decoder;

PRINTF_LIKE(2, 3)
static _Noreturn void decoder_fail(Decoder *decoder, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(decoder->problem, sizeof decoder->problem, format, arguments);
    va_end(arguments);
    longjmp(decoder->escape, 1);
}

static void size_check(Decoder *decoder, unsigned width, unsigned height, unsigned pixels_per_byte) {
    if (!width || !height || width > SIDE_MAX || height > SIDE_MAX)
        decoder_fail(decoder, "its size is %u x %u", width, height);
    if ((uint64_t)width * height > (uint64_t)decoder->size * pixels_per_byte)
        decoder_fail(decoder, "its %zu bytes cannot hold %u x %u pixels", decoder->size, width, height);
}

static void decoder_allocate(Decoder *decoder, unsigned width, unsigned height) {
    decoder->image =
        (Image){.width = (int)width, .height = (int)height, .pixels = malloc((size_t)width * height * 3)};
    if (!decoder->image.pixels) decoder_fail(decoder, "out of memory for %u x %u pixels", width, height);
}

/* ---- PNG ---- */

static _Noreturn void png_fail(png_structp png, const char *problem) {
    decoder_fail(png_get_error_ptr(png), "%s", problem);
}

static void png_ignore(png_structp png, const char *warning) {
    (void)png, (void)warning; /* about colour profiles and the like, which nobody here uses */
}

static void png_supply(png_structp png, png_bytep to, png_size_t count) {
    Decoder *decoder = png_get_io_ptr(png);
    if (count > decoder->size - decoder->place) png_fail(png, "the file is cut short");
    memcpy(to, decoder->bytes + decoder->place, count);
    decoder->place += count;
}

static void png_refuse(png_structp png, png_infop info) {
    if (png_get_bit_depth(png, info) == 16) png_fail(png, "it has 16-bit samples; convert it to 8 bits");
    if ((png_get_color_type(png, info) & PNG_COLOR_MASK_ALPHA) || png_get_valid(png, info, PNG_INFO_tRNS))
        png_fail(png, "it has an alpha channel; flatten it first");
}

static void png_rows(Decoder *decoder, png_structp png, png_infop info) {
    png_set_read_fn(png, decoder, png_supply);
    png_read_info(png, info);
    png_refuse(png, info);
    png_set_expand(png);
    png_set_gray_to_rgb(png);
    const int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    const unsigned width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    size_check(decoder, width, height, PNG_PIXELS_PER_BYTE);
    decoder_allocate(decoder, width, height);
    const size_t stride = (size_t)decoder->image.width * 3;
    if (png_get_rowbytes(png, info) != stride) png_fail(png, "its rows are not 8-bit RGB");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < decoder->image.height; y++)
            png_read_row(png, decoder->image.pixels + (size_t)y * stride, NULL);
    png_read_end(png, NULL);
}

static bool png_decode(Decoder *decoder) {
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, decoder, png_fail, png_ignore);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    CHECK(info, "out of memory for libpng");
    bool done = false; /* as it still is after a jump */
    if (setjmp(decoder->escape) == 0) {
        png_rows(decoder, png, info);
        done = true;
    }
    png_destroy_read_struct(&png, &info, NULL);
    return done;
}

/* ---- JPEG ---- */

static void jpeg_fail(j_common_ptr jpeg) {
    char problem[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, problem);
    decoder_fail(jpeg->client_data, "%s", problem);
}

/* Levels below zero are warnings about damaged data, the others are chatter. */
static void jpeg_message(j_common_ptr jpeg, int level) {
    if (level < 0) jpeg_fail(jpeg);
}

static void jpeg_watch(j_common_ptr jpeg) {
    if (((j_decompress_ptr)jpeg)->input_scan_number > SCANS_MAX)
        decoder_fail(jpeg->client_data, "it has more than %d scans", SCANS_MAX);
}

static void jpeg_rows(Decoder *decoder, struct jpeg_decompress_struct *jpeg) {
    jpeg_mem_src(jpeg, decoder->bytes, decoder->size);
    jpeg_read_header(jpeg, TRUE);
    if (jpeg->num_components != 1 && jpeg->num_components != 3)
        decoder_fail(decoder, "it has %d colour components (CMYK?); convert it to RGB", jpeg->num_components);
    size_check(decoder, jpeg->image_width, jpeg->image_height, JPEG_PIXELS_PER_BYTE);
    jpeg->out_color_space = JCS_RGB;
    jpeg_start_decompress(jpeg);
    decoder_allocate(decoder, jpeg->output_width, jpeg->output_height);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row =
            decoder->image.pixels + (size_t)jpeg->output_scanline * (size_t)decoder->image.width * 3;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
}

static bool jpeg_decode(Decoder *decoder) {
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress = {.progress_monitor = jpeg_watch};
    struct jpeg_decompress_struct jpeg = {.err = jpeg_std_error(&errors), .client_data = decoder};
    errors.error_exit = jpeg_fail;
    errors.emit_message = jpeg_message;
    bool done = false;
    if (setjmp(decoder->escape) == 0) {
        jpeg_create_decompress(&jpeg);
        jpeg.progress = &progress;
        jpeg_rows(decoder, &jpeg);
        done = true;
    }
    jpeg_destroy_decompress(&jpeg);
    return done;
}

bool image_decode(const void *bytes, size_t size, const char *name, Image *image, Error *error) {
    *image = (Image){0};
    Decoder decoder = {.bytes = bytes, .size = size};
    const bool png = size >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0;
    const bool jpeg = size >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0;
    if (!png && !jpeg) return error_set(error, "%s: is neither a PNG nor a JPEG file", name);
    if (png ? png_decode(&decoder) : jpeg_decode(&decoder)) {
        *image = decoder.image;
        return true;
    }
    free(decoder.image.pixels);
    return error_set(error, "%s: the %s cannot be decoded: %s", name, png ? "PNG" : "JPEG", decoder.problem);
}
