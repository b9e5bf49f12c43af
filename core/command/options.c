/* Options described by data, on top of getopt_long: values are converted and checked here, --help is made of
 * the same table, and a misspelt option is answered with the nearest one. */
#include "base/log.h"
#include "command/cli.h"

#include <ctype.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_OPTIONS = 24, LONG_BASE = 256 };

bool duration_parse(const char *text, double *seconds) {
    double total = 0;
    if (!isdigit((unsigned char)*text)) return false;
    while (*text) {
        char *end;
        const double value = strtod(text, &end);
        if (end == text || value < 0) return false;
        const char unit = *end ? (char)tolower((unsigned char)*end) : 's';
        const double scale = unit == 's'   ? 1
                             : unit == 'm' ? 60
                             : unit == 'h' ? 3600
                             : unit == 'd' ? 86400
                                           : -1;
        if (scale < 0) return false;
        total += value * scale;
        text = *end ? end + 1 : end;
    }
    *seconds = total;
    return true;
}

bool range_parse(const char *text, uint32_t *first, int *count) {
    char *end;
    if (!isdigit((unsigned char)*text)) return false;
    const unsigned long from = strtoul(text, &end, 10);
    unsigned long to = from;
    if (*end == '-' && isdigit((unsigned char)end[1])) to = strtoul(end + 1, &end, 10);
    if (*end || to < from || to > UINT32_MAX || to - from >= INT_MAX) return false;
    *first = (uint32_t)from;
    *count = (int)(to - from) + 1;
    return true;
}

static bool count_parse(const char *text, int *count) {
    char *end;
    const long value = strtol(text, &end, 10);
    if (end == text || *end || value < 0 || value > INT_MAX) return false;
    *count = (int)value;
    return true;
}

static bool value_set(const Option *option, const char *text) {
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)option->value = true;
        return true;
    case OPTION_TEXT:
        *(const char **)option->value = text;
        return true;
    case OPTION_COUNT:
        return count_parse(text, option->value);
    case OPTION_DURATION:
        return duration_parse(text, option->value);
    }
    return false;
}

static void options_help(const Command *command, const Option *options, int count) {
    printf("usage: ./run %s\n%s\n\n", command->usage, command->summary ? command->summary : "internal");
    for (int i = 0; i < count; i++) {
        char name[64], letter[8] = "";
        if (options[i].letter) snprintf(letter, sizeof letter, "-%c, ", options[i].letter);
        snprintf(name, sizeof name, "%s--%s%s%s", letter, options[i].name, options[i].value_name ? " " : "",
                 options[i].value_name ? options[i].value_name : "");
        printf("  %-22s %s\n", name, options[i].help);
    }
}

static _Noreturn void option_refuse(const Command *command, const Option *options, int count,
                                    const char *word) {
    const char *names[MOST_OPTIONS];
    for (int i = 0; i < count; i++) names[i] = options[i].name;
    const char *bare = word + strspn(word, "-");
    const int nearest = text_nearest(bare, names, count);
    if (nearest >= 0)
        log_error("%s: unknown option '%s'; did you mean '--%s'?", command->name, word, names[nearest]);
    else
        log_error("%s: unknown option '%s': see ./run help %s", command->name, word, command->name);
    exit(EXIT_USAGE);
}

/* getopt's own tables: letters with ':' after those that take a value, and long names numbered from
 * LONG_BASE. */
static void tables_make(const Option *options, int count, char *letters, struct option *longs) {
    *letters++ = ':'; /* a missing value is told apart from an unknown option */
    for (int i = 0; i < count; i++) {
        const bool takes = options[i].kind != OPTION_FLAG;
        longs[i] =
            (struct option){options[i].name, takes ? required_argument : no_argument, NULL, LONG_BASE + i};
        if (!options[i].letter) continue;
        *letters++ = options[i].letter;
        if (takes) *letters++ = ':';
    }
    longs[count] = (struct option){0};
    *letters = 0;
}

static const Option *option_of(const Option *options, int count, int code) {
    if (code >= LONG_BASE) return &options[code - LONG_BASE];
    for (int i = 0; i < count; i++)
        if (options[i].letter == code) return &options[i];
    return NULL;
}

static void parse_all(const Command *command, int argc, char **argv, const Option *options, int count) {
    char letters[2 * MOST_OPTIONS + 2];
    struct option longs[MOST_OPTIONS + 1];
    tables_make(options, count, letters, longs);
    opterr = 0;
    optind = 0; /* starts getopt anew */
    for (int code; (code = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        const char *word = argv[optind - 1];
        if (code == '?') option_refuse(command, options, count, word);
        if (code == ':') {
            log_error("%s: %s needs a value", command->name, word);
            exit(EXIT_USAGE);
        }
        const Option *option = option_of(options, count, code);
        if (value_set(option, optarg)) continue;
        log_error("%s: --%s: '%s' is not %s", command->name, option->name, optarg,
                  option->kind == OPTION_DURATION ? "a duration such as 90, 45s, 9m, 1h30m" : "a count");
        exit(EXIT_USAGE);
    }
}

char **options_parse(const Command *command, int argc, char **argv, const Option *own, int own_count,
                     Paths *paths, int *left) {
    const char *database = NULL, *results = NULL, *data = NULL;
    bool help = false;
    const Option common[] = {
        {"db", 0, OPTION_TEXT, &database, "PATH", "the database (ICT_DB; default results/ict.db)"},
        {"folder", 0, OPTION_TEXT, &results, "PATH", "where runs/ lies (default: the database's folder)"},
        {"data", 0, OPTION_TEXT, &data, "PATH", "where data sets lie (ICT_DATA; default data/)"},
        {"help", 'h', OPTION_FLAG, &help, NULL, "this text"},
    };
    enum { COMMON = sizeof common / sizeof *common };
    Option options[MOST_OPTIONS];
    CHECK(own_count + COMMON <= MOST_OPTIONS, "%s has more than %d options", command->name, MOST_OPTIONS);
    if (own_count) memcpy(options, own, (size_t)own_count * sizeof *own);
    memcpy(options + own_count, common, sizeof common);
    parse_all(command, argc, argv, options, own_count + COMMON);
    if (help) {
        options_help(command, options, own_count + COMMON);
        exit(EXIT_DONE);
    }
    *paths = paths_find(database, results, data);
    *left = argc - optind;
    return argv + optind;
}
