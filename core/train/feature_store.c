/* Where feature networks are kept: weights/<name>/weights.safetensors, and weights.yaml for the eye and for a
 * plan that wants the checksum without reading the weights. Published networks cannot be shipped here, so
 * this file knows their names, how to recognise them, and what to tell who lacks them. */
#include "train/features.h"

#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "model/inception.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHTS_FILE "weights.safetensors"
#define DESCRIPTION "weights.yaml"

/* ---- known ones ---- */

/* Published weights. `pins`: what the converter leaves in the metadata about the files that it read, and how
 * that begins: PyTorch's model zoo puts the beginning of the SHA-256 into the file's name, and for LPIPS's
 * heads many projects check the MD5. `meanwhile`: what needs no such weights. */
typedef struct Known {
    const char *name;
    FeatureKind kind;
    int widths[VGG_STAGES];
    const char *pins[2][2];
    const char *how, *meanwhile;
} Known;

#define MEANWHILE                                                                       \
    "the metrics of other networks (fd-random, kd-random, ...: ./run help config), or " \
    "`./run eval --features A.npz B.npz` with features of another tool"

static const Known known[] = {
    {"vgg16-lpips",
     FEATURES_VGG16,
     {64, 128, 256, 512, 512},
     {{"vgg16_sha256", "397923af"}, {"lpips_md5", "d507d7349b931f0638a25a48a722f98a"}},
     "fetch https://download.pytorch.org/models/vgg16-397923af.pth, and vgg.pth of LPIPS v0.1 from "
     "https://github.com/richzhang/PerceptualSimilarity (lpips/weights/v0.1); then `python3 "
     "scripts/convert_features.py vgg16-397923af.pth vgg.pth vgg16-lpips.safetensors` and "
     "`./run weights import vgg16-lpips vgg16-lpips.safetensors`",
     NULL},
    {"inception",
     FEATURES_INCEPTION,
     {INCEPTION_FIRST_WIDTH},
     {{"pth_sha256", "6726825d"}},
     "fetch https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
     "pt_inception-2015-12-05-6726825d.pth; then `python3 scripts/convert_features.py inception "
     "pt_inception-2015-12-05-6726825d.pth inception.safetensors` and "
     "`./run weights import inception inception.safetensors`",
     MEANWHILE},
    {"vgg16",
     FEATURES_VGG16_FC2,
     {64, 128, 256, 512, 512},
     {{"vgg16_sha256", "397923af"}},
     "fetch https://download.pytorch.org/models/vgg16-397923af.pth; then `python3 "
     "scripts/convert_features.py "
     "vgg16-fc2 vgg16-397923af.pth vgg16.safetensors` and `./run weights import vgg16 vgg16.safetensors`",
     MEANWHILE},
};
enum { KNOWN = sizeof known / sizeof *known };

static const Known *known_find(const char *name) {
    for (int i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0) return &known[i];
    return NULL;
}

/* A published name is a promise to everybody who reads it in a table. */
static bool known_check(const Known *one, const SafeTensors *file, const FeatureSpec *spec, Error *error) {
    const char *second = one->pins[1][0];
    bool same = spec->kind == one->kind && !memcmp(spec->widths, one->widths, sizeof one->widths);
    for (int i = 0; i < 2 && one->pins[i][0]; i++) {
        const char *found = safetensors_metadata(file, one->pins[i][0]);
        same = same && found && strncmp(found, one->pins[i][1], strlen(one->pins[i][1])) == 0;
    }
    return same ||
           error_set(error,
                     "these are not the published weights '%s' (the metadata should say %s: %s...%s%s%s%s): "
                     "import them under another name, or %s",
                     one->name, one->pins[0][0], one->pins[0][1], second ? " and " : "", second ? second : "",
                     second ? ": " : "", second ? one->pins[1][1] : "", one->how);
}

/* ---- places ---- */

static bool name_check(const char *name, Error *error) {
    const size_t length = strlen(name);
    bool good = length > 0 && length < 64 && isalnum((unsigned char)name[0]);
    for (const char *at = name; *at; at++) good = good && (isalnum((unsigned char)*at) || strchr("_-.", *at));
    return good ||
           error_set(error, "'%s' cannot name a network: letters, digits, '_', '-' and '.', at most 63",
                     name);
}

static const char *stored_path(const char *folder, const char *name, const char *file, char path[1024]) {
    char inside[1024];
    return path_join(path, path_join(inside, folder, name), file);
}

/* The value of the first "key: value" in a description: our own lines stand before what the file said. */
static bool description_value(const char *path, const char *key, char *value, size_t size) {
    char *text;
    size_t length;
    bool found = false;
    if (!file_read(path, &text, &length, NULL)) return false;
    char *rest = text;
    for (char *line; !found && (line = strsep(&rest, "\n"));)
        if (!strncmp(line, key, strlen(key)) && !strncmp(line + strlen(key), ": ", 2)) {
            snprintf(value, size, "%s", line + strlen(key) + 2);
            found = true;
        }
    free(text);
    return found;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* Calls body(name) for every stored network. */
static void stored_each(const char *folder, void (*body)(const char *name, const char *folder, void *context),
                        void *context) {
    struct dirent **entries;
    char path[1024];
    const int count = scandir(folder, &entries, is_visible, by_name);
    for (int i = 0; i < count; i++) {
        if (strlen(folder) + strlen(entries[i]->d_name) < 960 &&
            file_exists(stored_path(folder, entries[i]->d_name, WEIGHTS_FILE, path)))
            body(entries[i]->d_name, folder, context);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
}

/* ---- finding ---- */

static void name_append(const char *name, const char *folder, void *context) {
    (void)folder;
    Text *text = context;
    text_append(text, "%s%s", text->length ? ", " : "", name);
}

/* The command that trains a classifier of this name (classifier_name()); false when it is none. */
static bool classifier_command(const char *name, Text *out) {
    char role[8], rest[64];
    int resolution, count, length = 0;
    if (sscanf(name, "classifier-%7[a-z]-%63s", role, rest) != 2) return false;
    const bool drawn = sscanf(rest, "shapes-%d-%d%n", &resolution, &count, &length) == 2 && !rest[length];
    if (drawn)
        text_append(out, "./run experiments/classifier_shapes.yaml data.resolution=%d data.count=%d",
                    resolution, count);
    else
        text_append(out, "./run experiments/classifier_cifar10.yaml data.name=%s", rest);
    return true;
}

static bool classifier_missing(const char *name, const char *folder, Error *error) {
    Text command = {0};
    const bool is_classifier = classifier_command(name, &command);
    if (is_classifier)
        error_set(error, "there are no weights '%s' in %s: `%s` trains them", name, folder,
                  text_view(&command));
    text_free(&command);
    return is_classifier;
}

static bool missing_tell(const char *name, const char *folder, Error *error) {
    const Known *one = known_find(name);
    Text stored = {0};
    if (classifier_missing(name, folder, error)) return false;
    if (one && one->meanwhile)
        return error_set(error, "there are no weights '%s' in %s: %s. Meanwhile: %s", name, folder, one->how,
                         one->meanwhile);
    stored_each(folder, name_append, &stored);
    error_set(error, "there are no weights '%s' in %s: %s. Meanwhile: ct.distance=l2 or pseudo_huber%s%s",
              name, folder, one ? one->how : "bring them with ./run weights import NAME FILE.safetensors",
              stored.length ? ", or ct.perceptual=NAME with " : "", text_view(&stored));
    text_free(&stored);
    return false;
}

bool features_find(const char *name, const char *folder, char path[1024], Hash *hash, Error *error) {
    char description[1024];
    if (!name_check(name, error)) return false;
    if (!file_exists(stored_path(folder, name, WEIGHTS_FILE, path))) return missing_tell(name, folder, error);
    stored_path(folder, name, DESCRIPTION, description);
    if (description_value(description, "sha256", hash->hex, sizeof hash->hex) &&
        strspn(hash->hex, "0123456789abcdef") == 64)
        return true;
    return hash_file(path, hash, error);
}

/* ---- importing ---- */

static bool name_ends(const char *name, const char *end) {
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

static bool file_check(const char *name, const char *path, FeatureSpec *spec, Text *sources, Error *error) {
    SafeTensors file;
    if (name_ends(path, ".pth") || name_ends(path, ".pt"))
        return error_set(error,
                         "%s: is a PyTorch file; scripts/convert_features.py makes a safetensors file "
                         "of it, which is what is imported",
                         path);
    if (!safetensors_open(path, &file, error)) return false;
    const Known *one = known_find(name);
    const bool good =
        safetensors_verify(&file, path, error) &&
        ((features_describe(&file, spec, error) && (!one || known_check(one, &file, spec, error)) &&
          features_check(&file, spec, error)) ||
         error_wrap(error, "%s", path));
    for (int i = 0; good && i < file.metadata_count; i++) {
        const char *key = file.metadata[2 * i], *value = file.metadata[2 * i + 1];
        if (strcmp(key, SAFETENSORS_CHECKSUM) && strcmp(key, "kind") && !strpbrk(key, "\n:") &&
            !strchr(value, '\n'))
            text_append(sources, "%s: %s\n", key, value);
    }
    safetensors_close(&file);
    return good;
}

/* The description last: a network that has one is whole. */
static bool store_write(const char *name, const char *path, const char *folder, const FeatureSpec *spec,
                        const Text *sources, Error *error) {
    char inside[1024], to[1024];
    char *bytes;
    size_t size;
    if (!folder_make(path_join(inside, folder, name), error) || !file_read(path, &bytes, &size, error))
        return false;
    const Hash hash = hash_bytes(bytes, size);
    Text text = {0};
    text_append(&text, "name: %s\nkind: %s\nfile: %s\nbytes: %zu\nsha256: %s\n%s", name,
                feature_kind_name(spec->kind), path_name(path), size, hash.hex, text_view(sources));
    const bool done = file_write_atomic(path_join(to, inside, WEIGHTS_FILE), bytes, size, error) &&
                      file_write_atomic(path_join(to, inside, DESCRIPTION), text.text, text.length, error);
    if (done) log_info("%s/%s: kind %s, SHA-256 %s", folder, name, feature_kind_name(spec->kind), hash.hex);
    text_free(&text);
    free(bytes);
    return done;
}

static bool network_store(const char *name, const char *path, const char *folder, Error *error) {
    FeatureSpec spec;
    Text sources = {0};
    const bool done = file_check(name, path, &spec, &sources, error) &&
                      store_write(name, path, folder, &spec, &sources, error);
    text_free(&sources);
    return done;
}

bool features_import(const char *name, const char *path, const char *folder, Error *error) {
    char inside[1024], there[1024];
    if (!name_check(name, error)) return false;
    if (file_exists(stored_path(folder, name, DESCRIPTION, there)))
        return error_set(error, "%s: is there already; remove it first to import it anew",
                         path_join(inside, folder, name));
    return network_store(name, path, folder, error);
}

bool features_publish(const char *name, const char *path, const char *folder, const char *run, char other[64],
                      Error *error) {
    char there[1024], before[32] = "";
    other[0] = 0;
    if (!name_check(name, error)) return false;
    if (!file_exists(stored_path(folder, name, DESCRIPTION, there)))
        return network_store(name, path, folder, error);
    if (description_value(there, "run", before, sizeof before) && !strcmp(before, run))
        return network_store(name, path, folder, error);
    snprintf(other, 64, *before ? "run %s" : "an import", before);
    return true;
}

/* ---- listing ---- */

static void line_print(const char *name, const char *folder, void *context) {
    (void)context;
    char path[1024], kind[32] = "?", hash[65] = "?", file[256] = "?";
    stored_path(folder, name, DESCRIPTION, path);
    description_value(path, "kind", kind, sizeof kind);
    description_value(path, "sha256", hash, sizeof hash);
    description_value(path, "file", file, sizeof file);
    printf("%-30s  %-10s  %-12.12s  %s\n", name, kind, hash, file);
}

bool features_list(const char *folder, Error *error) {
    (void)error; /* a folder that is not there holds no networks */
    char path[1024];
    printf("%-30s  %-10s  %-12s  %s\n", "name", "kind", "SHA-256", "file");
    stored_each(folder, line_print, NULL);
    for (int i = 0; i < KNOWN; i++)
        if (!file_exists(stored_path(folder, known[i].name, WEIGHTS_FILE, path)))
            printf("%-30s  not here: %s\n", known[i].name, known[i].how);
    return true;
}
