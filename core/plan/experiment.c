/* Reading an experiment's file and, before it, the files it builds on. */
#include "plan/experiment.h"

#include "base/file.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST_CHAIN = 16, LONGEST_PATH = 500 };

/* The files being read, innermost first: a base that is among them would never end. */
typedef struct Chain {
    const struct Chain *above;
    const char *real; /* without links and ".." */
    int depth;
} Chain;

typedef struct Source {
    const char *path;
    const YamlNode *root;
    Problems *problems;
} Source;

PRINTF_LIKE(3, 4)
static void complain(const Source *source, const YamlNode *node, const char *format, ...) {
    char where[640], message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    problem_add(source->problems, yaml_place(where, source->path, node), "%s", message);
}

/* ---- named lists and axes ---- */

const NamedSettings *named_find(const NamedList *list, const char *name) {
    for (int i = 0; i < list->count; i++)
        if (strcmp(list->items[i].name, name) == 0) return &list->items[i];
    return NULL;
}

static NamedSettings *named_add(NamedList *list, const char *name, const char *where) {
    list->items = realloc(list->items, sizeof *list->items * (size_t)(list->count + 1));
    CHECK(list->items, "out of memory for %d names", list->count);
    list->items[list->count] = (NamedSettings){text_copy(name), text_copy(where), {0}};
    return &list->items[list->count++];
}

static void named_free(NamedList *list) {
    for (int i = 0; i < list->count; i++) {
        free(list->items[i].name);
        free(list->items[i].where);
        settings_free(&list->items[i].settings);
    }
    free(list->items);
}

Settings *axes_add(Axes *axes) {
    axes->items = realloc(axes->items, sizeof *axes->items * (size_t)(axes->count + 1));
    CHECK(axes->items, "out of memory for %d axes", axes->count);
    axes->items[axes->count] = (Settings){0};
    return &axes->items[axes->count++];
}

void axes_free(Axes *axes) {
    for (int i = 0; i < axes->count; i++) settings_free(&axes->items[i]);
    free(axes->items);
    *axes = (Axes){0};
}

/* ---- the words around the settings ---- */

/* A word that may stand in file names and tables. */
static bool is_word(const char *text, size_t size) {
    if (!isalnum((unsigned char)text[0]) || strlen(text) >= size) return false;
    for (const char *at = text; *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._-", *at)) return false;
    return true;
}

/* Copies the value of `key`, when it is there, into `out`. */
static void read_word(const Source *source, const char *key, char *out, size_t size) {
    const YamlNode *node = yaml_find(source->root, key);
    if (!node) return;
    if (node->kind == YAML_SCALAR && is_word(node->text, size))
        strcpy(out, node->text);
    else
        complain(source, node, "'%s': expected a name of letters, digits and . _ -, at most %zu long", key,
                 size - 1);
}

static void read_notes(const Source *source, char **notes) {
    const YamlNode *node = yaml_find(source->root, "notes");
    if (node && node->kind == YAML_SCALAR)
        *notes = text_copy(node->text);
    else if (node)
        complain(source, node, "'notes': expected text");
}

/* Maps of maps: arms and scales. A scale that a base knows already gets the new settings behind
 * its old ones. */
static void read_named(const Source *source, const char *key, size_t longest, NamedList *list) {
    char where[640];
    const YamlNode *map = yaml_find(source->root, key);
    if (map && map->kind != YAML_MAP) {
        complain(source, map, "'%s': expected a map, { name: { key: value } }", key);
        return; /* a list's children have no names */
    }
    for (int i = 0; map && i < map->count; i++) {
        const YamlNode *child = &map->children[i];
        if (child->key[0] == 0 || strlen(child->key) > longest || strpbrk(child->key, "\n\r\t")) {
            complain(source, child, "'%s': a name has 1 to %zu letters, in one line", key, longest);
            continue;
        }
        Settings settings = {0};
        settings_read_map(&settings, child, source->path, source->problems);
        NamedSettings *named = (NamedSettings *)named_find(list, child->key);
        if (!named) named = named_add(list, child->key, yaml_place(where, source->path, child));
        settings_move(&named->settings, &settings);
    }
}

static void read_axis(const Source *source, const char *key, const YamlNode *list, Axes *grid) {
    for (int i = 0; i < grid->count; i++) {
        if (strcmp(grid->items[i].items[0].key, key)) continue;
        complain(source, list, "'%s' is given twice; first at %s", key, grid->items[i].items[0].where);
        return;
    }
    Settings *axis = axes_add(grid);
    settings_read_axis(axis, key, list, source->path, source->problems);
    if (axis->count == 0) grid->count--; /* nothing good in it, which has been said */
}

/* `grid: {seed: [0, 1]}`, `grid: {ct.s0: [2, 10]}` or `grid: {ct: {s0: [2, 10]}}`. */
static void read_grid(const Source *source, Axes *grid) {
    const YamlNode *map = yaml_find(source->root, "grid");
    if (map && map->kind != YAML_MAP) {
        complain(source, map, "'grid': expected a map, { key: [value, value] }");
        return;
    }
    for (int i = 0; map && i < map->count; i++) {
        const YamlNode *child = &map->children[i];
        if (child->kind != YAML_MAP || !config_has_section(child->key)) {
            read_axis(source, child->key, child, grid);
            continue;
        }
        for (int j = 0; j < child->count; j++) {
            char *key = text_format("%s.%s", child->key, child->children[j].key);
            read_axis(source, key, &child->children[j], grid);
            free(key);
        }
    }
}

static void check_arm(const Source *source, const YamlNode *node, const NamedList *arms) {
    if (node->kind != YAML_SCALAR || !named_find(arms, node->text))
        complain(source, node, "'paper': '%s' is none of the arms",
                 node->kind == YAML_SCALAR ? node->text : "...");
}

/* `paper: { best: ARM, worse: [ARM, ARM] }`, what the paper found; the verdict reads it from the text that is
 * stored (store_claim.c), so here it is only checked. */
static void check_claim(const Source *source, const NamedList *arms) {
    const YamlNode *claim = yaml_find(source->root, "paper");
    if (!claim) return;
    const YamlNode *best = claim->kind == YAML_MAP ? yaml_find(claim, "best") : NULL,
                   *worse = best ? yaml_find(claim, "worse") : NULL;
    if (!best || claim->count != (worse ? 2 : 1) || (worse && worse->kind != YAML_LIST)) {
        complain(source, claim, "'paper': expected { best: ARM } or { best: ARM, worse: [ARM, ...] }");
        return;
    }
    check_arm(source, best, arms);
    for (int i = 0; worse && i < worse->count; i++) check_arm(source, &worse->children[i], arms);
}

/* ---- the settings ---- */

static const char *const words[] = {"name",   "notes", "base", "set",  "scale",
                                    "scales", "arms",  "grid", "paper"};
enum { WORDS = sizeof words / sizeof *words };

static bool is_reserved(const char *key) {
    for (int i = 0; i < WORDS; i++)
        if (strcmp(words[i], key) == 0) return true;
    return false;
}

/* A top-level key that is no setting may be a misspelt word ("arm"), which the table of settings does not
 * know. */
static bool is_unknown(const Source *source, const YamlNode *node) {
    char suggestion[128];
    if (config_has_section(node->key) || config_has_key(node->key) || strchr(node->key, '.')) return false;
    const int nearest = text_nearest(node->key, words, WORDS);
    if (nearest >= 0)
        complain(source, node, "unknown key '%s'; did you mean '%s'?", node->key, words[nearest]);
    else
        complain(source, node, "unknown key '%s'%s", node->key, config_suggestion(node->key, suggestion));
    return true;
}

static void read_settings(const Source *source, Settings *settings) {
    Settings own = {0}, set = {0};
    for (int i = 0; i < source->root->count; i++) {
        const YamlNode *node = &source->root->children[i];
        if (!is_reserved(node->key) && !is_unknown(source, node))
            settings_read(&own, node, source->path, source->problems);
    }
    const YamlNode *map = yaml_find(source->root, "set");
    if (map) settings_read_map(&set, map, source->path, source->problems);
    settings_move(settings, &own);
    settings_move(settings, &set);
}

/* ---- files ---- */

static int is_experiment(const struct dirent *entry) {
    const char *dot = strrchr(entry->d_name, '.');
    return dot && strcmp(dot, ".yaml") == 0;
}

/* A file that is not there is often one that is called a little differently. */
static void complain_missing(const char *path, const char *where, const char *reason, Problems *problems) {
    enum { MOST = 256 };
    char folder[1024], found[1024];
    const char *names[MOST];
    struct dirent **entries;
    const int all = scandir(path_folder(folder, path), &entries, is_experiment, alphasort);
    const int count = all < MOST ? all : MOST;
    for (int i = 0; i < count; i++) names[i] = entries[i]->d_name;
    const int nearest = all > 0 && !file_exists(path) ? text_nearest(path_name(path), names, count) : -1;
    if (nearest >= 0)
        problem_add(problems, where, "%s; did you mean %s?", reason,
                    path_join(found, folder, names[nearest]));
    else
        problem_add(problems, where, "%s", reason);
    for (int i = 0; i < all; i++) free(entries[i]);
    if (all >= 0) free(entries);
}

/* Text and tree of a file; NULL, with a problem at `where` or in the file itself, when it cannot be had. */
static YamlNode *file_parse(const char *path, const char *where, char **text, Problems *problems) {
    Error error;
    size_t size;
    if (file_size(path) > YAML_LARGEST) {
        problem_add(problems, where, "%s: larger than any configuration (%d bytes)", path, YAML_LARGEST);
        return NULL;
    }
    if (!file_read(path, text, &size, &error)) {
        complain_missing(path, where, error.text, problems);
        return NULL;
    }
    YamlNode *root = yaml_parse(*text, size, path, problems);
    if (root && root->kind == YAML_MAP && root->count) return root;
    if (root) problem_add(problems, path, size ? "expected a map of keys and values" : "the file is empty");
    yaml_tree_free(root);
    free(*text);
    *text = NULL;
    return NULL;
}

static void chain_read(ExperimentFile *, const char *path, const char *where, const Chain *above, Problems *);

/* `base` is relative to the file that names it. */
static void read_base(ExperimentFile *experiment, const Source *source, const Chain *chain) {
    char folder[1024], path[1024], where[640];
    const YamlNode *node = yaml_find(source->root, "base");
    if (!node) return;
    if (node->kind != YAML_SCALAR || node->text[0] == 0 || strlen(node->text) > LONGEST_PATH) {
        complain(source, node, "'base': expected the path of one experiment, relative to this file");
        return;
    }
    const bool absolute = node->text[0] == '/';
    path_join(path, absolute ? "/" : path_folder(folder, source->path), node->text + absolute);
    chain_read(experiment, path, yaml_place(where, source->path, node), chain, source->problems);
}

static void read_everything(ExperimentFile *experiment, const Source *source, const Chain *chain) {
    read_base(experiment, source, chain);
    read_settings(source, &experiment->settings);
    read_word(source, "scale", experiment->scale, sizeof experiment->scale);
    read_named(source, "scales", sizeof experiment->scale - 1, &experiment->scales);
    if (chain->above) return; /* a base gives settings; its name, arms and grid are its own */
    read_word(source, "name", experiment->record.name, sizeof experiment->record.name);
    read_notes(source, &experiment->record.notes);
    read_named(source, "arms", sizeof((RunSpec *)0)->arm - 1, &experiment->arms);
    read_grid(source, &experiment->grid);
    check_claim(source, &experiment->arms);
}

static bool chain_is_good(const Chain *chain, const char *where, const char *path, Problems *problems) {
    for (const Chain *at = chain->above; at; at = at->above) {
        if (strcmp(at->real, chain->real)) continue;
        problem_add(problems, where, "'base': %s builds on itself", path);
        return false;
    }
    if (chain->depth <= LONGEST_CHAIN && strlen(path) <= LONGEST_PATH) return true;
    problem_add(problems, where, "'base': more than %d files in a row, or a path of more than %d letters",
                LONGEST_CHAIN, LONGEST_PATH);
    return false;
}

static void chain_read(ExperimentFile *experiment, const char *path, const char *where, const Chain *above,
                       Problems *problems) {
    char real[PATH_MAX];
    const Chain chain = {above, realpath(path, real) ? real : path, above ? above->depth + 1 : 1};
    char *text = NULL;
    if (!chain_is_good(&chain, where, path, problems)) return;
    YamlNode *root = file_parse(path, where, &text, problems);
    if (!root) return;
    const Source source = {path, root, problems};
    read_everything(experiment, &source, &chain);
    yaml_tree_free(root);
    if (above)
        free(text);
    else
        experiment->record.yaml = text;
}

void experiment_read(const char *path, ExperimentFile *experiment, Problems *problems) {
    *experiment = (ExperimentFile){.scale = "paper"};
    const char *name = path_name(path), *end = strrchr(name, '.');
    snprintf(experiment->record.name, sizeof experiment->record.name, "%.*s",
             (int)(end && end > name ? end - name : 63), name);
    snprintf(experiment->record.file, sizeof experiment->record.file, "%s", path);
    chain_read(experiment, path, "command line", NULL, problems);
    if (!is_word(experiment->record.name, sizeof experiment->record.name))
        problem_add(problems, path,
                    "its name has more than letters, digits and . _ -: give the experiment a 'name:'");
    if (!experiment->record.notes) experiment->record.notes = text_copy("");
    if (!experiment->record.yaml) experiment->record.yaml = text_copy("");
}

void experiment_free(ExperimentFile *experiment) {
    free(experiment->record.notes);
    free(experiment->record.yaml);
    settings_free(&experiment->settings);
    named_free(&experiment->scales);
    named_free(&experiment->arms);
    axes_free(&experiment->grid);
    *experiment = (ExperimentFile){0};
}

/* `instead: { ct.s1: { 150: 10 } }` */
static void read_instead(const Source *source, ScaleFile *scale) {
    const YamlNode *map = yaml_find(source->root, "instead");
    if (map && map->kind != YAML_MAP)
        complain(source, map, "'instead': expected a map, { key: { value: other value } }");
    for (int i = 0; map && map->kind == YAML_MAP && i < map->count; i++)
        settings_read_instead(&scale->values, &scale->instead, &map->children[i], source->path,
                              source->problems);
}

void scale_read(const char *path, ScaleFile *scale, Problems *problems) {
    char *text = NULL;
    Settings own = {0};
    YamlNode *root = file_parse(path, "scale", &text, problems);
    if (!root) return;
    const Source source = {path, root, problems};
    for (int i = 0; i < root->count; i++) {
        const YamlNode *node = &root->children[i];
        if (strcmp(node->key, "notes") == 0 || strcmp(node->key, "instead") == 0) continue;
        if (is_reserved(node->key))
            complain(&source, node, "'%s': a scale has only notes, settings and 'instead'", node->key);
        else
            settings_read(&own, node, path, problems);
    }
    read_instead(&source, scale);
    settings_move(&scale->settings, &own);
    free(text);
    yaml_tree_free(root);
}

void scale_free(ScaleFile *scale) {
    settings_free(&scale->settings);
    settings_free(&scale->values);
    settings_free(&scale->instead);
}
