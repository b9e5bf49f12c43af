/* Runs of one arm that are not one point: somebody gave a setting on the command line, or the file has
 * changed since. A mean over them would be of nothing, so queries about arms name them apart, as a grid
 * would, with two SQL functions:
 *
 *   settings_varying(config)      an aggregate: the keys in which the configurations of a group differ, seed
 *                                 apart; '' for none
 *   settings_said(config, keys)   those keys' values, behind an arm's name: ", train.lr=0.002"
 *
 * Only what belongs to a run's identity counts. A configuration that was stored before there was a key has
 * its default, and a file that was still to be trained ("any") is not another one. */
#include "config/config_key.h"
#include "store/store_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_KEYS = 256, LONGEST_VALUE = 256, HASH_DIGITS = 8 };

typedef struct Varying {
    char *first[MOST_KEYS]; /* by place in config_keys; NULL: not known yet */
    bool differs[MOST_KEYS];
} Varying;

static void value_of(const char *config, const char *key, char value[LONGEST_VALUE]) {
    if (config_text_get(config, key, value, LONGEST_VALUE)) return;
    const Config defaults = config_default();
    Text text = {0};
    config_get(&defaults, key, &text);
    snprintf(value, LONGEST_VALUE, "%s", text_view(&text));
    text_free(&text);
}

static bool is_hash(const char *key) {
    const size_t length = strlen(key);
    return length > 5 && !strcmp(key + length - 5, "_hash");
}

static void varying_note(Varying *varying, int place, const char *config) {
    const Key *key = &config_keys[place];
    char value[LONGEST_VALUE];
    if (!key->identity || !strcmp(key->name, "seed") || varying->differs[place]) return;
    value_of(config, key->name, value);
    if (is_hash(key->name) && !strcmp(value, "any")) return;
    if (!varying->first[place])
        varying->first[place] = text_copy(value);
    else
        varying->differs[place] = strcmp(varying->first[place], value) != 0;
}

static void varying_step(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    Varying *varying = sqlite3_aggregate_context(context, sizeof *varying);
    const char *config = (const char *)sqlite3_value_text(values[0]);
    CHECK(varying && config_key_count <= MOST_KEYS, "%d keys, or no memory", config_key_count);
    for (int i = 0; config && i < config_key_count; i++) varying_note(varying, i, config);
}

static void varying_final(sqlite3_context *context) {
    Varying *varying = sqlite3_aggregate_context(context, 0);
    Text keys = {0};
    for (int i = 0; varying && i < config_key_count; i++) {
        if (varying->differs[i]) text_append(&keys, "%s ", config_keys[i].name);
        free(varying->first[i]);
    }
    sqlite3_result_text(context, text_view(&keys), -1, SQLITE_TRANSIENT);
    text_free(&keys);
}

static void sql_said(sqlite3_context *context, int count, sqlite3_value **values) {
    (void)count;
    const char *config = (const char *)sqlite3_value_text(values[0]),
               *keys = (const char *)sqlite3_value_text(values[1]);
    Text said = {0};
    char key[64], value[LONGEST_VALUE];
    while (config && keys && sscanf(keys, "%63s", key) == 1) {
        value_of(config, key, value);
        text_append(&said, ", %s=%.*s", key, is_hash(key) ? HASH_DIGITS : LONGEST_VALUE, value);
        keys += strlen(key) + 1;
    }
    sqlite3_result_text(context, text_view(&said), -1, SQLITE_TRANSIENT);
    text_free(&said);
}

bool variants_register(Store *store, Error *error) {
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    return (sqlite3_create_function(store->db, "settings_varying", 1, flags, NULL, NULL, varying_step,
                                    varying_final) == SQLITE_OK &&
            sqlite3_create_function(store->db, "settings_said", 2, flags, NULL, sql_said, NULL, NULL) ==
                SQLITE_OK) ||
           store_error(store, "settings_varying", error);
}
