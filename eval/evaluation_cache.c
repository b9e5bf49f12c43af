/* One line a number, its fields between tabs; the last line says that the file is whole. */
#include "eval/evaluation_cache.h"

#include "base/file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIELDS = 6 };
#define LAST_LINE "end"

static const char *cache_path(const char *folder, const Hash *key, char path[1024]) {
    char name[64];
    snprintf(name, sizeof name, "beside-%.32s.tsv", key->hex);
    return path_join(path, folder, name);
}

/* Cuts the line at its tabs; false when there are not FIELDS of them. */
static bool line_split(char *line, char *fields[FIELDS]) {
    int count = 0;
    for (char *field; (field = strsep(&line, "\t")); count++) {
        if (count == FIELDS) return false;
        fields[count] = field;
    }
    return count == FIELDS;
}

static bool line_parse(char *line, Evaluation *e) {
    char *fields[FIELDS], *end;
    if (!line_split(line, fields)) return false;
    *e = (Evaluation){.value = strtod(fields[1], &end), .samples = atoi(fields[2])};
    snprintf(e->metric, sizeof e->metric, "%s", fields[0]);
    snprintf(e->features_hash, sizeof e->features_hash, "%s", fields[3]);
    snprintf(e->reference_hash, sizeof e->reference_hash, "%s", fields[4]);
    snprintf(e->protocol, sizeof e->protocol, "%s", fields[5]);
    return !*end && end != fields[1];
}

int evaluations_read(const char *folder, const Hash *key, Evaluation *out, int most) {
    char path[1024], *bytes, *state = NULL;
    size_t size;
    int count = 0;
    bool whole = false;
    if (!file_exists(cache_path(folder, key, path)) || !file_read(path, &bytes, &size, NULL)) return -1;
    for (char *line = strtok_r(bytes, "\n", &state); line; line = strtok_r(NULL, "\n", &state)) {
        whole = !strcmp(line, LAST_LINE);
        if (whole) break;
        if (count == most || !line_parse(line, &out[count])) break;
        count++;
    }
    free(bytes);
    return whole ? count : -1;
}

bool evaluations_write(const char *folder, const Hash *key, const Evaluation *list, int count, Error *error) {
    Text text = {0};
    char path[1024];
    for (int i = 0; i < count; i++)
        text_append(&text, "%s\t%.17g\t%d\t%s\t%s\t%s\n", list[i].metric, list[i].value, list[i].samples,
                    list[i].features_hash, list[i].reference_hash, list[i].protocol);
    text_append(&text, LAST_LINE "\n");
    const bool ok = folder_make(folder, error) &&
                    file_write_atomic(cache_path(folder, key, path), text.text, text.length, error);
    text_free(&text);
    return ok;
}
