/* dataset.yaml, the description of a stored data set: a handful of `key: value` lines that this file writes
 * and reads back. It is YAML for the eye; a YAML parser would be a large tool for nine lines. */
#include "data/dataset_internal.h"

#include "base/file.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static void class_names_write(Text *text, const DatasetInfo *info) {
    if (!info->class_names[0][0]) return;
    text_append(text, "class_names: [");
    for (int i = 0; i < info->classes && i < CLASS_NAMES_MAX; i++)
        text_append(text, i ? ", %s" : "%s", info->class_names[i]);
    text_append(text, "]\n");
}

bool dataset_info_write(const char *path, const DatasetInfo *info, Error *error) {
    Text text = {0};
    text_append(&text, "name: %s\nsource: %s\n", info->name, info->source);
    text_append(&text, "count: %d\nheight: %d\nwidth: %d\nchannels: %d\nclasses: %d\n", info->count,
                info->height, info->width, info->channels, info->classes);
    class_names_write(&text, info);
    text_append(&text, "hash: %s\n", info->hash.hex);
    const bool done = file_write_atomic(path, text.text, text.length, error);
    text_free(&text);
    return done;
}

static void class_names_read(const char *value, DatasetInfo *info) {
    for (int i = 0; i < CLASS_NAMES_MAX && *value && *value != ']'; i++) {
        value += strspn(value, "[ ,");
        const size_t length = strcspn(value, ",]");
        snprintf(info->class_names[i], sizeof info->class_names[i], "%.*s", (int)length, value);
        value += length;
    }
}

/* Sets the field of that key; keys of later versions of this program are passed over. */
static void line_read(const char *key, const char *value, DatasetInfo *info) {
    const struct {
        const char *key;
        int *number;
    } numbers[] = {{"count", &info->count},
                   {"height", &info->height},
                   {"width", &info->width},
                   {"channels", &info->channels},
                   {"classes", &info->classes}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (strcmp(key, numbers[i].key) == 0) *numbers[i].number = atoi(value);
    if (strcmp(key, "name") == 0) snprintf(info->name, sizeof info->name, "%s", value);
    if (strcmp(key, "source") == 0) snprintf(info->source, sizeof info->source, "%s", value);
    if (strcmp(key, "hash") == 0) snprintf(info->hash.hex, sizeof info->hash.hex, "%s", value);
    if (strcmp(key, "class_names") == 0) class_names_read(value, info);
}

bool dataset_info_read(const char *path, DatasetInfo *info, Error *error) {
    char *text;
    size_t size;
    *info = (DatasetInfo){0};
    if (!file_read(path, &text, &size, error)) return false;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        char *value = strstr(line, ": ");
        if (!value) continue;
        *value = 0;
        line_read(line, value + 2, info);
    }
    free(text);
    const bool whole = info->count > 0 && info->height > 0 && info->width > 0 && info->channels > 0 &&
                       info->classes >= 0 && info->classes <= CLASSES_MAX &&
                       strspn(info->hash.hex, "0123456789abcdef") == 64;
    if (whole) return true;
    return error_set(error,
                     "%s: is damaged: count, height, width, channels, classes or hash is missing or "
                     "impossible; import the data set again",
                     path);
}
