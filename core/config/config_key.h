/* A row of the configuration's table, for the files that work on it: config.c (the table), config_value.c
 * (text to value and back) and config_help.c. */
#ifndef ICT_CONFIG_CONFIG_KEY_H
#define ICT_CONFIG_CONFIG_KEY_H

#include "config/config.h"

typedef enum KeyType {
    KEY_BOOL,   /* true or false */
    KEY_INT,    /* int or int64_t, by size */
    KEY_NUMBER, /* float or double, by size */
    KEY_WORD,   /* an enum (or a bool that has two names) */
    KEY_NAME    /* letters, digits and . _ : + - in a char array: safe in file names, YAML and SQL as it is */
} KeyType;

enum { NOT_A_LIST = 0 };

typedef struct Key {
    const char *name;
    KeyType type;
    size_t offset, size; /* in Config; size of one element */
    size_t count_offset; /* lists: the int that holds their length, */
    int capacity;        /* and their greatest length; NOT_A_LIST otherwise */
    bool identity;
    const char *initial; /* the default, as the user would write it */
    const char *limits;  /* "[0, 1)" for numbers; "song|adm", in the enum's order, for words; NULL for bools
                            and names */
    const char *help;
} Key;

extern const Key config_keys[];
extern const int config_key_count;

const Key *key_find(const char *name); /* NULL when there is none */

/* The word at place `index` of "song|adm"; its length, or 0 past the last. */
size_t key_word(const Key *, int index, const char **word);

void key_print(const Key *, const Config *, Text *out); /* the value alone */

#endif
