/* Protocol buffers by hand: a message is a list of (field number and wire type, value); a message inside a
 * message is bytes with a length in front. Inner messages are therefore made first. */
#include "export/tensorboard.h"

#include <string.h>

/* ---- protocol buffers ---- */

enum { WIRE_VARINT, WIRE_64, WIRE_BYTES, WIRE_32 = 5 };

static void varint(Text *out, uint64_t value) {
    uint8_t byte;
    do {
        byte = (uint8_t)(value & 0x7F);
        value >>= 7;
        if (value) byte |= 0x80;
        text_append_bytes(out, &byte, 1);
    } while (value);
}

/* The lowest `size` bytes, the least significant first, on any machine. */
static void little_endian(Text *out, uint64_t value, int size) {
    for (int i = 0; i < size; i++) {
        const uint8_t byte = (uint8_t)(value >> (8 * i));
        text_append_bytes(out, &byte, 1);
    }
}

static void field_key(Text *out, int field, int wire) {
    varint(out, (uint64_t)field << 3 | (uint64_t)wire);
}

static void field_integer(Text *out, int field, int64_t value) {
    field_key(out, field, WIRE_VARINT);
    varint(out, (uint64_t)value);
}

static void field_double(Text *out, int field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    field_key(out, field, WIRE_64);
    little_endian(out, bits, 8);
}

static void field_float(Text *out, int field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    field_key(out, field, WIRE_32);
    little_endian(out, bits, 4);
}

static void field_bytes(Text *out, int field, const void *bytes, size_t size) {
    field_key(out, field, WIRE_BYTES);
    varint(out, size);
    text_append_bytes(out, bytes, size);
}

static void field_string(Text *out, int field, const char *text) {
    field_bytes(out, field, text, strlen(text));
}

/* The inner message moves into the outer one. */
static void field_message(Text *out, int field, Text *inner) {
    field_bytes(out, field, text_view(inner), inner->length);
    text_free(inner);
}

/* ---- records ---- */

uint32_t crc32c(const void *bytes, size_t size) {
    uint32_t crc = 0xFFFFFFFFu;
    for (const uint8_t *at = bytes; size; at++, size--) {
        crc ^= *at;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82F63B78u & -(crc & 1));
    }
    return ~crc;
}

/* Rotated and shifted, so that a checksum of data that holds checksums stays a good one (TensorFlow's
 * record_writer). */
static uint32_t checksum(const void *bytes, size_t size) {
    const uint32_t crc = crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static void record(Text *file, Text *event) {
    const size_t start = file->length;
    little_endian(file, event->length, 8);
    little_endian(file, checksum(file->text + start, 8), 4);
    text_append_bytes(file, text_view(event), event->length);
    little_endian(file, checksum(text_view(event), event->length), 4);
    text_free(event);
}

/* ---- events ---- */

enum { EVENT_WALL = 1, EVENT_STEP, EVENT_VERSION, EVENT_SUMMARY = 5 };
enum { SUMMARY_VALUE = 1 };
enum { VALUE_TAG = 1, VALUE_SCALAR, VALUE_IMAGE = 4, VALUE_TENSOR = 8, VALUE_METADATA };
enum { IMAGE_HEIGHT = 1, IMAGE_WIDTH, IMAGE_COLOURS, IMAGE_ENCODED };
enum { METADATA_PLUGIN = 1, PLUGIN_NAME = 1 };
enum {
    TENSOR_TYPE = 1,
    TENSOR_SHAPE,
    TENSOR_STRING = 8,
    TYPE_STRING = 7,
    SHAPE_DIMENSION = 2,
    DIMENSION_SIZE = 1
};

void event_version(Text *file, double wall) {
    Text event = {0};
    field_double(&event, EVENT_WALL, wall);
    field_string(&event, EVENT_VERSION, "brain.Event:2");
    record(file, &event);
}

/* `content` is what follows the tag in Summary.Value. */
static void event_value(Text *file, EventPlace place, Text *content) {
    Text event = {0}, summary = {0}, value = {0};
    field_string(&value, VALUE_TAG, place.tag);
    text_append_bytes(&value, text_view(content), content->length);
    text_free(content);
    field_message(&summary, SUMMARY_VALUE, &value);
    field_double(&event, EVENT_WALL, place.wall);
    field_integer(&event, EVENT_STEP, place.step);
    field_message(&event, EVENT_SUMMARY, &summary);
    record(file, &event);
}

void event_scalar(Text *file, EventPlace place, double value) {
    Text content = {0};
    field_float(&content, VALUE_SCALAR, (float)value);
    event_value(file, place, &content);
}

void event_image(Text *file, EventPlace place, int width, int height, const void *png, size_t size) {
    Text content = {0}, image = {0};
    field_integer(&image, IMAGE_HEIGHT, height);
    field_integer(&image, IMAGE_WIDTH, width);
    field_integer(&image, IMAGE_COLOURS, 3);
    field_bytes(&image, IMAGE_ENCODED, png, size);
    field_message(&content, VALUE_IMAGE, &image);
    event_value(file, place, &content);
}

/* A tensor of one string, which metadata give to the plugin that shows text. */
void event_text(Text *file, EventPlace place, const char *markdown) {
    Text content = {0}, tensor = {0}, shape = {0}, dimension = {0}, plugin = {0}, metadata = {0};
    field_integer(&dimension, DIMENSION_SIZE, 1);
    field_message(&shape, SHAPE_DIMENSION, &dimension);
    field_integer(&tensor, TENSOR_TYPE, TYPE_STRING);
    field_message(&tensor, TENSOR_SHAPE, &shape);
    field_string(&tensor, TENSOR_STRING, markdown);
    field_message(&content, VALUE_TENSOR, &tensor);
    field_string(&plugin, PLUGIN_NAME, "text");
    field_message(&metadata, METADATA_PLUGIN, &plugin);
    field_message(&content, VALUE_METADATA, &metadata);
    event_value(file, place, &content);
}
