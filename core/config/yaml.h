/* YAML text to a small tree that remembers where everything stood, so that a complaint about a value can name
 * its line.
 *
 * Only what experiments need is accepted: one document of maps, lists and scalars. Scalars stay text: the
 * key's type in the configuration table decides what `1e-4`, `no` or `012` mean, never YAML's own guesses.
 * Refused by name, each with its place: duplicate keys, anchors, aliases, tags, merge keys, several
 * documents, keys that are not plain text, deep nesting and huge files.
 *
 * (The function that releases a tree is not called yaml_free: libyaml has one of that name.) */
#ifndef ICT_CONFIG_YAML_H
#define ICT_CONFIG_YAML_H

#include "config/problem.h"

enum { YAML_LARGEST = 1 << 20 }; /* bytes of one file */

typedef enum YamlKind { YAML_SCALAR, YAML_LIST, YAML_MAP } YamlKind;

typedef struct YamlNode YamlNode;
struct YamlNode {
    YamlKind kind;
    int line, column;         /* of the value, from 1 */
    char *text;               /* of a scalar; NULL otherwise */
    char *key;                /* when it belongs to a map; NULL otherwise */
    int key_line, key_column; /* of the key */
    YamlNode *children;       /* of a list or a map, in the order of the file */
    int count;
};

/* The root, or NULL when the text is not YAML (a problem says why). With duplicate keys there is a problem
 * and a tree that holds the first of them. An empty text is a map without keys. `name` stands in front of
 * every line number. */
YamlNode *yaml_parse(const char *bytes, size_t size, const char *name, Problems *);
void yaml_tree_free(YamlNode *root);

/* The value of a map's key, or NULL. */
const YamlNode *yaml_find(const YamlNode *map, const char *key);

/* "file:line:column" of a key (of the value where there is no key); written to `out` and returned. */
const char *yaml_place(char out[640], const char *file, const YamlNode *node);

#endif
