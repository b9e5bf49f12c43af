/* `./run help config`: the table of config.c for readers. */
#include "config/config_key.h"

#include <stdio.h>
#include <string.h>

static const char *type_name(const Key *key) {
    switch (key->type) {
    case KEY_BOOL:
        return "true or false";
    case KEY_INT:
        return "whole number";
    case KEY_NUMBER:
        return "number";
    case KEY_WORD:
        return "one of";
    case KEY_NAME:
        return "name";
    }
    return "";
}

/* "whole number in [1, 64]", "one of song, adm", "list of at most 8 numbers ..." */
static void print_type(const Key *key, Text *out) {
    if (key->capacity != NOT_A_LIST) text_append(out, "list of at most %d, each a ", key->capacity);
    text_append(out, "%s", type_name(key));
    if (key->type == KEY_INT || key->type == KEY_NUMBER) text_append(out, " in %s", key->limits);
    if (key->type != KEY_WORD) return;
    const char *word;
    size_t length;
    for (int i = 0; (length = key_word(key, i, &word)) > 0; i++)
        text_append(out, "%s %.*s", i ? "," : "", (int)length, word);
}

static bool same_section(const char *a, const char *b) {
    const size_t length = strcspn(a, ".");
    return strchr(a, '.') && strncmp(a, b, length + 1) == 0;
}

void config_help(Text *out) {
    const Config config = config_default();
    text_append(out,
                "Keys of experiments/*.yaml and of key=value on the command line, with their defaults (the "
                "paper's CIFAR-10\n"
                "model). Runs that differ in any key have different ids, except for the keys marked *.\n");
    for (int i = 0; i < config_key_count; i++) {
        const Key *key = &config_keys[i];
        if (i == 0 || (strchr(key->name, '.') && !same_section(key->name, config_keys[i - 1].name)))
            text_append(out, "\n");
        text_append(out, "%s%s: ", key->name, key->identity ? "" : " *");
        key_print(key, &config, out);
        text_append(out, "\n    %s\n    ", key->help);
        print_type(key, out);
        text_append(out, "\n");
    }
}
