/* Reading settings from YAML nodes and from the command line. */
#include "config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void settings_push(Settings *settings, Setting setting) {
    const int count = settings->count;
    if ((count & (count - 1)) == 0) { /* room for the next power of two */
        settings->items = realloc(settings->items, sizeof(Setting) * (count ? 2 * (size_t)count : 1));
        CHECK(settings->items, "out of memory for %d settings", count);
    }
    settings->items[settings->count++] = setting;
}

/* Checked on a configuration that is thrown away: whether a value is good never depends on other keys. Kept
 * in its canonical text, so that the same value has the same name in arms and tables however it was written.
 */
static void settings_add_point(Settings *settings, const char *key, const char *value, const char *where,
                               Problems *problems) {
    Config scratch;
    Error error;
    Text canonical = {0};
    memset(&scratch, 0, sizeof scratch);
    if (!config_set(&scratch, key, value, &error)) {
        problem_add(problems, where, "%s", error.text);
        return;
    }
    config_get(&scratch, key, &canonical);
    settings_push(settings, (Setting){text_copy(key), canonical.text, text_copy(where)});
}

void settings_add(Settings *settings, const char *key, const char *value, const char *where,
                  Problems *problems) {
    for (int i = 0; i < settings->count; i++) {
        if (strcmp(settings->items[i].key, key)) continue;
        problem_add(problems, where, "'%s' is given twice; first at %s", key, settings->items[i].where);
        return;
    }
    settings_add_point(settings, key, value, where, problems);
}

/* ---- from YAML ---- */

/* A scalar's text, or a list of scalars as "[a, b]". */
static bool value_text(const YamlNode *node, const char *file, Text *out, Problems *problems) {
    char where[640];
    if (node->kind == YAML_SCALAR) text_append(out, "%s", node->text);
    if (node->kind == YAML_MAP)
        text_append(out, "{...}"); /* no value; config_set says what was expected instead */
    if (node->kind != YAML_LIST) return true;
    text_append(out, "[");
    for (int i = 0; i < node->count; i++) {
        const YamlNode *item = &node->children[i];
        if (item->kind != YAML_SCALAR || strpbrk(item->text, ",[]")) {
            problem_add(problems, yaml_place(where, file, item), "expected a single value inside the list");
            return false;
        }
        text_append(out, "%s%s", i ? ", " : "", item->text);
    }
    text_append(out, "]");
    return true;
}

static void read_value(Settings *settings, const char *key, const YamlNode *node, const char *file,
                       Problems *problems) {
    Text text = {0};
    char where[640];
    if (value_text(node, file, &text, problems))
        settings_add(settings, key, text_view(&text), yaml_place(where, file, node), problems);
    text_free(&text);
}

void settings_read(Settings *settings, const YamlNode *node, const char *file, Problems *problems) {
    if (node->kind != YAML_MAP || !config_has_section(node->key)) {
        read_value(settings, node->key, node, file, problems);
        return;
    }
    for (int i = 0; i < node->count; i++) {
        const YamlNode *child = &node->children[i];
        char *key = text_format("%s.%s", node->key, child->key);
        read_value(settings, key, child, file, problems);
        free(key);
    }
}

void settings_read_map(Settings *settings, const YamlNode *map, const char *file, Problems *problems) {
    char where[640];
    if (map->kind == YAML_SCALAR && map->text[0] == 0) return;
    if (map->kind != YAML_MAP) {
        problem_add(problems, yaml_place(where, file, map),
                    "'%s': expected a map of settings, { key: value }", map->key);
        return;
    }
    for (int i = 0; i < map->count; i++) settings_read(settings, &map->children[i], file, problems);
}

void settings_read_axis(Settings *settings, const char *key, const YamlNode *list, const char *file,
                        Problems *problems) {
    char where[640];
    if (list->kind != YAML_LIST || list->count == 0) {
        problem_add(problems, yaml_place(where, file, list), "'%s': expected a list of values to run through",
                    key);
        return;
    }
    for (int i = 0; i < list->count; i++) {
        Text text = {0};
        if (value_text(&list->children[i], file, &text, problems))
            settings_add_point(settings, key, text_view(&text), yaml_place(where, file, &list->children[i]),
                               problems);
        text_free(&text);
    }
}

void settings_read_instead(Settings *values, Settings *instead, const YamlNode *map, const char *file,
                           Problems *problems) {
    char where[640];
    if (map->kind != YAML_MAP)
        problem_add(problems, yaml_place(where, file, map), "'%s': expected a map, { value: other value }",
                    map->key);
    for (int i = 0; map->kind == YAML_MAP && i < map->count; i++) {
        const YamlNode *child = &map->children[i];
        Text text = {0};
        const int before = problems->found;
        yaml_place(where, file, child);
        if (value_text(child, file, &text, problems))
            settings_add_point(instead, map->key, text_view(&text), where, problems);
        if (problems->found == before) settings_add_point(values, map->key, child->key, where, problems);
        text_free(&text);
    }
}

/* ---- from the command line ---- */

/* Length up to the next comma that is not inside brackets. */
static size_t value_length(const char *values) {
    int depth = 0;
    size_t length = 0;
    for (; values[length] && (values[length] != ',' || depth > 0); length++)
        depth += (values[length] == '[') - (values[length] == ']');
    return length;
}

void settings_split_axis(Settings *settings, const char *key, const char *values, const char *where,
                         Problems *problems) {
    for (bool more = true; more; values++) {
        const size_t length = value_length(values);
        char *value = text_format("%.*s", (int)length, values);
        settings_add_point(settings, key, value, where, problems);
        free(value);
        values += length;
        more = *values == ',';
    }
}

/* ---- as a whole ---- */

static bool names_data(const Setting *setting) {
    return strcmp(setting->key, "data.name") == 0;
}

void settings_move(Settings *to, Settings *from) {
    for (int i = 0; i < from->count; i++)
        if (names_data(&from->items[i])) settings_push(to, from->items[i]);
    for (int i = 0; i < from->count; i++)
        if (!names_data(&from->items[i])) settings_push(to, from->items[i]);
    free(from->items);
    *from = (Settings){0};
}

static void setting_apply(const Setting *setting, Config *config) {
    const DataConfig before = config->data;
    Error error;
    CHECK(config_set(config, setting->key, setting->value, &error), "%s: %s", setting->where, error.text);
    if (strcmp(before.name, config->data.name) == 0) return;
    config->data.resolution = config->data.count = 0;
    config->data.seed = 0;
}

void settings_apply(const Settings *settings, Config *config) {
    for (int i = 0; i < settings->count; i++) setting_apply(&settings->items[i], config);
}

void settings_replace(const Settings *values, const Settings *instead, Config *config) {
    Config before = *config;
    for (int i = 0; i < values->count; i++) {
        Text value = {0};
        config_get(&before, values->items[i].key, &value);
        if (!strcmp(text_view(&value), values->items[i].value)) setting_apply(&instead->items[i], config);
        text_free(&value);
    }
}

void settings_free(Settings *settings) {
    for (int i = 0; i < settings->count; i++) {
        free(settings->items[i].key);
        free(settings->items[i].value);
        free(settings->items[i].where);
    }
    free(settings->items);
    *settings = (Settings){0};
}

/* ---- a stored configuration ---- */

bool config_parse(const char *text, size_t size, const char *name, Config *config, Error *error) {
    Problems problems = {0};
    Settings read = {0}, settings = {0};
    YamlNode *root = yaml_parse(text, size, name, &problems);
    if (root && root->kind == YAML_MAP) settings_read_map(&read, root, name, &problems);
    if (root && root->kind != YAML_MAP) problem_add(&problems, name, "expected lines 'key: value'");
    const bool good = problems_none(&problems, error);
    settings_move(&settings, &read);
    if (good) {
        *config = config_default();
        settings_apply(&settings, config);
    }
    yaml_tree_free(root);
    settings_free(&settings);
    problems_free(&problems);
    return good;
}
