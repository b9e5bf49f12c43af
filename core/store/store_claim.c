/* What an experiment says that the paper found, as SQL functions on its stored text:
 *
 *   paper: { best: no EMA (iCT), worse: [EMA 0.99] }      (worse: every other arm, when it is left out)
 *
 *   claim_best(yaml)        the arm that the paper found best, or NULL
 *   claim_worse(yaml, arm)  1 when the paper found this arm worse than that one
 *
 * Names are those under `arms`; what a grid appends to them is the query's affair. */
#include "store/store_internal.h"
#include "config/yaml.h"

#include <string.h>

static bool is_scalar(const YamlNode *node) {
    return node && node->kind == YAML_SCALAR;
}

/* The `paper` map of an experiment's text, and the tree it belongs to. Our own texts were checked when they
 * were planned, imported ones by nobody here; one that cannot be read claims nothing. */
static const YamlNode *claim_find(sqlite3_value *yaml, YamlNode **root) {
    Problems problems = {0};
    const char *text = (const char *)sqlite3_value_text(yaml);
    *root = text ? yaml_parse(text, strlen(text), "experiment", &problems) : NULL;
    problems_free(&problems);
    const YamlNode *claim = *root && (*root)->kind == YAML_MAP ? yaml_find(*root, "paper") : NULL;
    return claim && claim->kind == YAML_MAP && is_scalar(yaml_find(claim, "best")) ? claim : NULL;
}

static void sql_best(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    YamlNode *root;
    const YamlNode *claim = claim_find(values[0], &root);
    if (claim) sqlite3_result_text(context, yaml_find(claim, "best")->text, -1, SQLITE_TRANSIENT);
    yaml_tree_free(root);
}

static bool claims_worse(const YamlNode *claim, const char *arm) {
    const YamlNode *worse = yaml_find(claim, "worse");
    if (!worse) return strcmp(yaml_find(claim, "best")->text, arm) != 0;
    for (int i = 0; i < worse->count; i++)
        if (is_scalar(&worse->children[i]) && !strcmp(worse->children[i].text, arm)) return true;
    return false;
}

static void sql_worse(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    YamlNode *root;
    const YamlNode *claim = claim_find(values[0], &root);
    const char *arm = (const char *)sqlite3_value_text(values[1]);
    sqlite3_result_int(context, claim && arm && claims_worse(claim, arm));
    yaml_tree_free(root);
}

bool claims_register(Store *store, Error *error) {
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    return (sqlite3_create_function(store->db, "claim_best", 1, flags, NULL, sql_best, NULL, NULL) ==
                SQLITE_OK &&
            sqlite3_create_function(store->db, "claim_worse", 2, flags, NULL, sql_worse, NULL, NULL) ==
                SQLITE_OK) ||
           store_error(store, "claim_best", error);
}
