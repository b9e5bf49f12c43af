/* libyaml's events to the tree of yaml.h. The event interface is used, not libyaml's own document loader,
 * because the loader builds aliases and duplicate keys in without a word, and because here depth and size can
 * be limited while reading. */
#include "config/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEEPEST = 16, MOST_NODES = 10000 };

typedef struct Reader {
    yaml_parser_t parser;
    const char *name, *bytes;
    size_t size;
    Problems *problems;
    int depth, nodes;
} Reader;

PRINTF_LIKE(4, 5)
static bool refuse(Reader *r, size_t line, size_t column, const char *format, ...) {
    char message[512], where[640];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    snprintf(where, sizeof where, "%s:%zu:%zu", r->name, line + 1, column + 1);
    problem_add(r->problems, where, "%s", message);
    return false;
}

/* Bytes that are no characters are reported by their offset, not by line and column. */
static bool refuse_bytes(Reader *r) {
    size_t line = 0, column = 0;
    for (size_t i = 0; i < r->parser.problem_offset && i < r->size; i++) {
        const bool end = r->bytes[i] == '\n';
        line += end;
        column = end ? 0 : column + 1;
    }
    return refuse(r, line, column, "not readable as text: %s", r->parser.problem);
}

static bool next(Reader *r, yaml_event_t *event) {
    if (yaml_parser_parse(&r->parser, event)) return true;
    const yaml_parser_t *p = &r->parser;
    CHECK(p->error != YAML_MEMORY_ERROR, "out of memory for %s", r->name);
    if (p->error == YAML_READER_ERROR) return refuse_bytes(r);
    /* libyaml says both where it lost the thread and what it was reading then. */
    return refuse(r, p->problem_mark.line, p->problem_mark.column, "not valid YAML: %s%s%s", p->problem,
                  p->context ? " " : "", p->context ? p->context : "");
}

/* ---- one value ---- */

static bool refuse_extras(Reader *r, const yaml_event_t *event) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) anchor = event->data.scalar.anchor, tag = event->data.scalar.tag;
    if (event->type == YAML_SEQUENCE_START_EVENT)
        anchor = event->data.sequence_start.anchor, tag = event->data.sequence_start.tag;
    if (event->type == YAML_MAPPING_START_EVENT)
        anchor = event->data.mapping_start.anchor, tag = event->data.mapping_start.tag;
    if (event->type == YAML_ALIAS_EVENT)
        return refuse(r, event->start_mark.line, event->start_mark.column,
                      "'*%.60s': aliases are not supported; write the value out, or put what is shared into "
                      "a 'base:' file",
                      event->data.alias.anchor);
    if (anchor)
        return refuse(r, event->start_mark.line, event->start_mark.column,
                      "'&%.60s': anchors are not supported; put what is shared into a 'base:' file", anchor);
    if (tag)
        return refuse(r, event->start_mark.line, event->start_mark.column,
                      "'%.60s': tags are not supported; the key decides the type of its value", tag);
    return true;
}

static bool scalar_text(Reader *r, const yaml_event_t *event, char **text) {
    const char *value = (const char *)event->data.scalar.value;
    if (memchr(value, 0, event->data.scalar.length))
        return refuse(r, event->start_mark.line, event->start_mark.column, "a zero byte inside a value");
    *text = text_copy(value);
    return true;
}

static YamlNode *child_add(YamlNode *parent) {
    const int count = parent->count;
    if ((count & (count - 1)) == 0) { /* room for the next power of two */
        parent->children = realloc(parent->children, sizeof(YamlNode) * (count ? 2 * (size_t)count : 1));
        CHECK(parent->children, "out of memory for %d values", count);
    }
    parent->children[parent->count++] = (YamlNode){0};
    return &parent->children[count];
}

static void node_clear(YamlNode *node) {
    for (int i = 0; i < node->count; i++) node_clear(&node->children[i]);
    free(node->children);
    free(node->text);
    free(node->key);
    *node = (YamlNode){0};
}

static bool read_value(Reader *, yaml_event_t *, YamlNode *);

static bool read_list(Reader *r, YamlNode *list) {
    for (;;) {
        yaml_event_t event;
        if (!next(r, &event)) return false;
        const bool end = event.type == YAML_SEQUENCE_END_EVENT;
        const bool good = end || read_value(r, &event, child_add(list));
        yaml_event_delete(&event);
        if (end || !good) return good;
    }
}

/* ---- maps ---- */

static bool read_key(Reader *r, const yaml_event_t *event, YamlNode *node) {
    if (!refuse_extras(r, event)) return false;
    if (event->type != YAML_SCALAR_EVENT)
        return refuse(r, event->start_mark.line, event->start_mark.column, "a key must be plain text");
    node->key_line = (int)event->start_mark.line + 1;
    node->key_column = (int)event->start_mark.column + 1;
    return scalar_text(r, event, &node->key);
}

static bool read_pair(Reader *r, const yaml_event_t *key, YamlNode *map) {
    YamlNode *node = child_add(map);
    yaml_event_t event;
    if (!read_key(r, key, node) || !next(r, &event)) return false;
    const bool good = read_value(r, &event, node);
    yaml_event_delete(&event);
    for (int i = 0; good && i < map->count - 1; i++) {
        if (strcmp(map->children[i].key, node->key)) continue;
        refuse(r, (size_t)node->key_line - 1, (size_t)node->key_column - 1,
               "'%s' is given twice; first at line %d", node->key, map->children[i].key_line);
        node_clear(node);
        map->count--;
        break;
    }
    return good;
}

static bool read_map(Reader *r, YamlNode *map) {
    for (;;) {
        yaml_event_t event;
        if (!next(r, &event)) return false;
        const bool end = event.type == YAML_MAPPING_END_EVENT;
        const bool good = end || read_pair(r, &event, map);
        yaml_event_delete(&event);
        if (end || !good) return good;
    }
}

/* The value that `event` begins. Its children stay good until the caller frees the root, also after a
 * failure. */
static bool read_value(Reader *r, yaml_event_t *event, YamlNode *node) {
    const yaml_mark_t mark = event->start_mark;
    node->line = (int)mark.line + 1;
    node->column = (int)mark.column + 1;
    if (!refuse_extras(r, event)) return false;
    if (++r->nodes > MOST_NODES)
        return refuse(r, mark.line, mark.column, "more than %d values in one file", MOST_NODES);
    node->kind = YAML_SCALAR;
    if (event->type == YAML_SCALAR_EVENT) return scalar_text(r, event, &node->text);
    node->kind = event->type == YAML_SEQUENCE_START_EVENT ? YAML_LIST : YAML_MAP;
    if (r->depth >= DEEPEST)
        return refuse(r, mark.line, mark.column, "nested deeper than %d levels", DEEPEST);
    r->depth++;
    const bool good = node->kind == YAML_LIST ? read_list(r, node) : read_map(r, node);
    r->depth--;
    return good;
}

/* ---- one file ---- */

static bool read_end(Reader *r) {
    yaml_event_t event;
    for (bool end = false; !end;) {
        if (!next(r, &event)) return false;
        const bool again = event.type == YAML_DOCUMENT_START_EVENT;
        end = event.type == YAML_STREAM_END_EVENT;
        const yaml_mark_t mark = event.start_mark;
        yaml_event_delete(&event);
        if (again) return refuse(r, mark.line, mark.column, "a second document ('---'); a file holds one");
    }
    return true;
}

/* Skips what comes before the first value; a file without any is an empty map. */
static bool read_document(Reader *r, YamlNode *root) {
    yaml_event_t event;
    for (;;) {
        if (!next(r, &event)) return false;
        if (event.type != YAML_STREAM_START_EVENT && event.type != YAML_DOCUMENT_START_EVENT) break;
        yaml_event_delete(&event);
    }
    const bool empty = event.type == YAML_STREAM_END_EVENT;
    *root = (YamlNode){.kind = YAML_MAP, .line = 1, .column = 1};
    const bool good = empty || read_value(r, &event, root);
    yaml_event_delete(&event);
    return good && (empty || read_end(r));
}

YamlNode *yaml_parse(const char *bytes, size_t size, const char *name, Problems *problems) {
    if (size > YAML_LARGEST) {
        problem_add(problems, name, "%zu bytes; a configuration has at most %d", size, (int)YAML_LARGEST);
        return NULL;
    }
    Reader r = {.name = name, .bytes = bytes, .size = size, .problems = problems};
    YamlNode *root = calloc(1, sizeof *root);
    CHECK(root && yaml_parser_initialize(&r.parser), "out of memory for %s", name);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes, size);
    const bool good = read_document(&r, root);
    yaml_parser_delete(&r.parser);
    if (good) return root;
    yaml_tree_free(root);
    return NULL;
}

void yaml_tree_free(YamlNode *root) {
    if (root) node_clear(root);
    free(root);
}

const YamlNode *yaml_find(const YamlNode *map, const char *key) {
    for (int i = 0; i < map->count; i++)
        if (map->children[i].key && strcmp(map->children[i].key, key) == 0) return &map->children[i];
    return NULL;
}

const char *yaml_place(char out[640], const char *file, const YamlNode *node) {
    snprintf(out, 640, "%s:%d:%d", file, node->key ? node->key_line : node->line,
             node->key ? node->key_column : node->column);
    return out;
}
