/* A picture is a data URL (RFC 2397) in base64 (RFC 4648): the page is one file and asks nobody for anything.
 * SVG goes the same way, as a picture of its own, because drawings that share a page would share their ids.
 */
#include "answers/html.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

void html_text(Text *out, const char *text) {
    static const char special[] = "&<>\"'";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    while (*text) {
        const size_t plain = strcspn(text, special);
        text_append_bytes(out, text, plain);
        text += plain;
        if (*text) text_append(out, "%s", names[strchr(special, *text++) - special]);
    }
}

static void base64(Text *out, const uint8_t *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i < 3 ? size - i : 3;
        const uint32_t word = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                              (left > 2 ? (uint32_t)bytes[i + 2] : 0);
        const char group[4] = {digits[word >> 18], digits[word >> 12 & 63],
                               left > 1 ? digits[word >> 6 & 63] : '=', left > 2 ? digits[word & 63] : '='};
        text_append_bytes(out, group, 4);
    }
}

bool html_picture(Text *out, const char *path, const char *kind, const char *alt, Error *error) {
    char *bytes;
    size_t size;
    if (!file_read(path, &bytes, &size, error)) return false;
    text_append(out, "<img alt=\"");
    html_text(out, alt);
    text_append(out, "\" src=\"data:%s;base64,", kind);
    base64(out, (const uint8_t *)bytes, size);
    text_append(out, "\">");
    free(bytes);
    return true;
}
