/* Values of the configuration: from text, where the key alone decides the type, and back to text. The way
 * back is canonical, one text for one value, because run ids are hashes of it. */
#include "config/config_key.h"
#include "config/problem.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENT_LONGEST = 128 };

/* ---- one element from text; `to` is what the key points at ---- */

/* `range` is mathematical notation, "[0, 1)" or "(0, inf)". */
static bool range_contains(const char *range, double value) {
    char left, right;
    double low, high;
    CHECK(sscanf(range, "%c%lf, %lf%c", &left, &low, &high, &right) == 4,
          "the range %s is not written as one", range);
    return (left == '[' ? value >= low : value > low) && (right == ']' ? value <= high : value < high);
}

static bool set_bool(const Key *key, const char *text, void *to, Error *error) {
    const bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false"))
        return error_set(error, "%s: expected true or false, found '%s'", key->name, text);
    *(bool *)to = yes;
    return true;
}

/* Plain decimal only: 0x10, 012, 1_000 and 1e3 mean different things to different readers. */
static bool looks_whole(const char *text) {
    const char *digits = text + (*text == '-');
    const size_t count = strspn(digits, "0123456789");
    return count > 0 && digits[count] == 0 && (digits[0] != '0' || count == 1);
}

static bool set_int(const Key *key, const char *text, void *to, Error *error) {
    if (!looks_whole(text))
        return error_set(error, "%s: expected a whole number, found '%s'", key->name, text);
    errno = 0;
    const long long value = strtoll(text, NULL, 10);
    const bool fits = errno == 0 && (key->size == 8 || (value >= INT_MIN && value <= INT_MAX));
    if (!fits || !range_contains(key->limits, (double)value))
        return error_set(error, "%s: %s is outside %s", key->name, text,
                         fits ? key->limits : "what an integer can hold");
    if (key->size == 8)
        *(int64_t *)to = value;
    else
        *(int *)to = (int)value;
    return true;
}

/* 1, -1.5, .5, 1e-4; not inf, nan, 0x1p3, or digits followed by something else. */
static bool looks_decimal(const char *text) {
    const char *at = text + (*text == '-' || *text == '+');
    const size_t whole = strspn(at, "0123456789");
    at += whole;
    const size_t fraction = *at == '.' ? strspn(at + 1, "0123456789") : 0;
    if (*at == '.') at += 1 + fraction;
    if (whole + fraction == 0) return false;
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '-' || at[1] == '+');
        const size_t exponent = strspn(at, "0123456789");
        if (exponent == 0) return false;
        at += exponent;
    }
    return *at == 0;
}

static bool set_number(const Key *key, const char *text, void *to, Error *error) {
    if (!looks_decimal(text)) return error_set(error, "%s: expected a number, found '%s'", key->name, text);
    double value = strtod(text, NULL);
    if (key->size == sizeof(float)) value = (double)strtof(text, NULL);
    if (value == 0) value = 0; /* -0 is 0: one text for one value */
    if (!isfinite(value) || !range_contains(key->limits, value))
        return error_set(error, "%s: %s is outside %s", key->name, text, key->limits);
    if (key->size == sizeof(float))
        *(float *)to = (float)value;
    else
        *(double *)to = value;
    return true;
}

size_t key_word(const Key *key, int index, const char **word) {
    const char *at = key->limits;
    for (; index > 0 && at; index--) {
        at = strchr(at, '|');
        if (at) at++;
    }
    *word = at;
    return at ? strcspn(at, "|") : 0;
}

static bool refuse_word(const Key *key, const char *text, Error *error) {
    char words[16][32], list[256] = "", suggestion[64] = "";
    const char *names[16], *word;
    int count = 0;
    for (size_t length; count < 16 && (length = key_word(key, count, &word)) > 0; count++) {
        snprintf(words[count], sizeof words[count], "%.*s", (int)length, word);
        names[count] = words[count];
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", count ? ", " : "", words[count]);
    }
    const int nearest = text_nearest(text, names, count);
    if (nearest >= 0) snprintf(suggestion, sizeof suggestion, "; did you mean '%s'?", names[nearest]);
    return error_set(error, "%s: expected one of %s; found '%s'%s", key->name, list, text, suggestion);
}

static bool set_word(const Key *key, const char *text, void *to, Error *error) {
    const char *word;
    int index = 0;
    for (size_t length; (length = key_word(key, index, &word)) > 0; index++)
        if (strlen(text) == length && memcmp(text, word, length) == 0) break;
    if (!word) return refuse_word(key, text, error);
    if (key->size == sizeof(bool))
        *(bool *)to = index;
    else
        *(int *)to = index; /* enums are ints here; checked by the table's test */
    return true;
}

static bool set_name(const Key *key, const char *text, void *to, Error *error) {
    if (strlen(text) >= key->size)
        return error_set(error, "%s: at most %zu letters, found '%s'", key->name, key->size - 1, text);
    const size_t length = strlen(text);
    bool good = length > 0 && isalnum((unsigned char)text[0]) && isalnum((unsigned char)text[length - 1]);
    for (const char *at = text; *at; at++)
        good = good && (isalnum((unsigned char)*at) || strchr("._:+-", *at));
    if (!good)
        return error_set(error, "%s: expected a name of letters, digits and, inside, . _ : + -; found '%s'",
                         key->name, text);
    memset(to, 0, key->size);
    strcpy(to, text);
    return true;
}

static bool set_element(const Key *key, const char *text, void *to, Error *error) {
    switch (key->type) {
    case KEY_BOOL:
        return set_bool(key, text, to, error);
    case KEY_INT:
        return set_int(key, text, to, error);
    case KEY_NUMBER:
        return set_number(key, text, to, error);
    case KEY_WORD:
        return set_word(key, text, to, error);
    case KEY_NAME:
        return set_name(key, text, to, error);
    }
    return false;
}

/* ---- lists: "[16, 8]" ---- */

/* Cuts the text up to the next ',' or ']' out of the list, without the spaces around it. */
static bool next_element(const char **at, char element[ELEMENT_LONGEST]) {
    *at += strspn(*at, " ");
    size_t length = strcspn(*at, ",]");
    const char *start = *at;
    *at += length;
    while (length > 0 && start[length - 1] == ' ') length--;
    if (length >= ELEMENT_LONGEST) return false;
    memcpy(element, start, length);
    element[length] = 0;
    return true;
}

static bool set_list(Config *config, const Key *key, const char *text, Error *error) {
    char elements[512], element[ELEMENT_LONGEST];
    CHECK((size_t)key->capacity * key->size <= sizeof elements, "the list %s is larger than its parser",
          key->name);
    memset(elements, 0, sizeof elements);
    const size_t length = strlen(text);
    if (length < 2 || text[0] != '[' || text[length - 1] != ']')
        return error_set(error, "%s: expected a list in brackets, found '%s'", key->name, text);
    int count = 0;
    const char *at = text + 1 + strspn(text + 1, " "), *end = text + length - 1;
    for (bool more = at < end; more; at += more) {
        if (count == key->capacity)
            return error_set(error, "%s: more than %d values", key->name, key->capacity);
        if (!next_element(&at, element)) return error_set(error, "%s: a value that is too long", key->name);
        if (!set_element(key, element, elements + (size_t)count * key->size, error)) return false;
        count++;
        more = *at == ',';
    }
    if (at != end) return error_set(error, "%s: expected a list of values, found '%s'", key->name, text);
    memcpy((char *)config + key->offset, elements, (size_t)key->capacity * key->size);
    *(int *)((char *)config + key->count_offset) = count;
    return true;
}

bool config_set(Config *config, const char *name, const char *value, Error *error) {
    const Key *key = key_find(name);
    char suggestion[128];
    if (!key && config_has_section(name))
        return error_set(error, "'%s' is a group of keys, not a key: write '%s: { ... }' or '%s.KEY: ...'",
                         name, name, name);
    if (!key) return error_set(error, "unknown key '%s'%s", name, config_suggestion(name, suggestion));
    if (key->capacity != NOT_A_LIST) return set_list(config, key, value, error);
    if (value[0] == '[')
        return error_set(error, "%s: one value expected, found the list %s (several go under 'grid:')", name,
                         value);
    return set_element(key, value, (char *)config + key->offset, error);
}

/* ---- back to text ---- */

/* The shortest decimal that reads back as the same float: 0.3, not 0.300000012. */
static double float_decimal(float value) {
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return strtod(text, NULL);
}

static void print_number(const Key *key, const void *from, Text *out) {
    char text[32];
    const double value =
        key->size == sizeof(float) ? float_decimal(*(const float *)from) : *(const double *)from;
    if (value == trunc(value) && fabs(value) < 1e15)
        text_append(out, "%.0f", value); /* 80, not 8e+01 */
    else
        text_append(out, "%s", format_double(text, value));
}

static void print_element(const Key *key, const void *from, Text *out) {
    switch (key->type) {
    case KEY_BOOL:
        text_append(out, "%s", *(const bool *)from ? "true" : "false");
        break;
    case KEY_INT:
        text_append(out, "%lld",
                    key->size == 8 ? (long long)*(const int64_t *)from : (long long)*(const int *)from);
        break;
    case KEY_NUMBER:
        print_number(key, from, out);
        break;
    case KEY_WORD: {
        const char *word;
        const size_t length =
            key_word(key, key->size == sizeof(bool) ? *(const bool *)from : *(const int *)from, &word);
        text_append_bytes(out, word, length);
        break;
    }
    case KEY_NAME:
        text_append(out, "%s", (const char *)from);
        break;
    }
}

void key_print(const Key *key, const Config *config, Text *out) {
    const char *value = (const char *)config + key->offset;
    if (key->capacity == NOT_A_LIST) {
        print_element(key, value, out);
        return;
    }
    const int count = *(const int *)((const char *)config + key->count_offset);
    text_append(out, "[");
    for (int i = 0; i < count; i++) {
        text_append(out, "%s", i ? ", " : "");
        print_element(key, value + (size_t)i * key->size, out);
    }
    text_append(out, "]");
}

bool config_get(const Config *config, const char *name, Text *out) {
    const Key *key = key_find(name);
    if (key) key_print(key, config, out);
    return key != NULL;
}

static bool is_default(const Key *key, const Config *config, const Config *initial) {
    Text value = {0}, other = {0};
    key_print(key, config, &value);
    key_print(key, initial, &other);
    const bool same = strcmp(text_view(&value), text_view(&other)) == 0;
    text_free(&value);
    text_free(&other);
    return same;
}

static bool is_part(const Key *key, ConfigPart part) {
    if (part == CONFIG_TRAINING && !strncmp(key->name, "evaluation.", 11)) return false;
    return part == CONFIG_ALL || key->identity;
}

void config_print(const Config *config, ConfigPart part, Text *out) {
    const Config initial = config_default();
    for (int i = 0; i < config_key_count; i++) {
        const Key *key = &config_keys[i];
        if (!is_part(key, part) || (part != CONFIG_ALL && is_default(key, config, &initial))) continue;
        text_append(out, "%s: ", key->name);
        key_print(key, config, out);
        text_append(out, "\n");
    }
}
