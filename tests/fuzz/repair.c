/* Making the checksums of mutated files fit again, so that mutations reach what lies behind them. Nothing
 * here trusts the bytes either: what does not look like the format is left alone. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "tests/fuzz/fuzz.h"

#include "base/safetensors.h"

#include <string.h>
#include <zlib.h>

void repair_nothing(uint8_t *bytes, size_t size) {
    (void)bytes, (void)size;
}

static uint32_t little(const uint8_t *at, int count) {
    uint32_t value = 0;
    for (int i = 0; i < count; i++) value |= (uint32_t)at[i] << 8 * i;
    return value;
}

static void little_put(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> 8 * i);
}

/* ---- zip ---- */

enum { LOCAL = 30, CENTRAL = 46, END = 22 };

/* The local header that a directory entry points to, and its data: for stored members the checksum is
 * computed, written to both places, and the sizes are made equal. */
static void member_repair(uint8_t *bytes, size_t size, uint8_t *entry) {
    const size_t local = little(entry + 42, 4);
    if (local > size || size - local < LOCAL || memcmp(bytes + local, "PK\3\4", 4) != 0) return;
    uint8_t *header = bytes + local;
    const size_t data = local + LOCAL + little(header + 26, 2) + little(header + 28, 2);
    const size_t length = little(entry + 20, 4);
    if (little(entry + 10, 2) != 0 || data > size || length > size - data) return;
    const uint32_t sum = (uint32_t)crc32(0, bytes + data, (uInt)length);
    little_put(entry + 16, sum), little_put(header + 14, sum);
    little_put(entry + 24, (uint32_t)length);
    little_put(header + 18, (uint32_t)length), little_put(header + 22, (uint32_t)length);
}

/* Finds the directory by its entries' mark; where it begins and ends is then written into its end record. */
void repair_zip(uint8_t *bytes, size_t size) {
    size_t first = size, last = 0;
    unsigned count = 0;
    for (size_t at = 0; at + CENTRAL <= size; at++) {
        if (memcmp(bytes + at, "PK\1\2", 4) != 0) continue;
        if (!count++) first = at;
        member_repair(bytes, size, bytes + at);
        last = at + CENTRAL + little(bytes + at + 28, 2) + little(bytes + at + 30, 2) +
               little(bytes + at + 32, 2);
    }
    for (size_t at = 0; at + END <= size; at++) {
        if (memcmp(bytes + at, "PK\5\6", 4) != 0) continue;
        if (last > first && last <= at) little_put(bytes + at + 12, (uint32_t)(last - first));
        if (count) little_put(bytes + at + 16, (uint32_t)first);
        bytes[at + 8] = bytes[at + 10] = (uint8_t)count,
                   bytes[at + 9] = bytes[at + 11] = (uint8_t)(count >> 8);
    }
}

/* ---- PNG ---- */

static uint32_t big(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

void repair_png(uint8_t *bytes, size_t size) {
    if (size < 8 || memcmp(bytes, "\x89PNG", 4) != 0) return;
    for (size_t at = 8; size - at >= 12;) {
        const size_t length = big(bytes + at);
        if (length > size - at - 12) return;
        const uint32_t sum = (uint32_t)crc32(0, bytes + at + 4, (uInt)length + 4);
        for (int i = 0; i < 4; i++) bytes[at + 8 + length + (size_t)i] = (uint8_t)(sum >> (24 - 8 * i));
        at += length + 12;
    }
}

/* ---- tar ---- */

void repair_tar(uint8_t *bytes, size_t size) {
    for (size_t at = 0; at + 512 <= size; at += 512) {
        uint8_t *header = bytes + at;
        unsigned sum = 0;
        char text[8];
        if (memcmp(header + 257, "ustar", 5) != 0) continue;
        for (int i = 0; i < 512; i++) sum += i >= 148 && i < 156 ? ' ' : header[i];
        snprintf(text, sizeof text, "%06o", sum & 0777777);
        memcpy(header + 148, text, 7);
        header[155] = ' ';
    }
}

/* ---- safetensors ---- */

/* The checksum that the content should have, computed by the reader's own complaint about the wrong one. */
void repair_safetensors(uint8_t *bytes, size_t size) {
    static const char key[] = "\"checksum\":\"", said[] = "has the checksum ";
    uint8_t *stored = memmem(bytes, size, key, sizeof key - 1);
    SafeTensors file;
    Error error;
    if (!stored || (size_t)(bytes + size - stored) < sizeof key - 1 + 17) return;
    const char *path = fuzz_file(bytes, size);
    if (!safetensors_open(path, &file, &error)) return;
    const bool whole = safetensors_verify(&file, path, &error);
    safetensors_close(&file);
    const char *right = whole ? NULL : strstr(error.text, said);
    if (right && stored[sizeof key - 1 + 16] == '"')
        memcpy(stored + sizeof key - 1, right + sizeof said - 1, 16);
}
