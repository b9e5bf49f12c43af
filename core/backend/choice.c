/* Choices as lines of a file, in lists. A line begins with a newline, so that one cut off by a crash spoils
 * no other. */
#include "backend/choice.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a choice ---- */

void choice_write(const Choice *c, char out[256]) {
    snprintf(out, 256, "%s %d %lld", c->problem, c->place, (long long)c->number);
}

/* What is left of the line when its last word, a whole number, is taken off; -1: there is none. */
static int number_take(const char *line, int length, long long *number) {
    while (length > 0 && line[length - 1] != ' ') length--;
    char *end;
    *number = strtoll(line + length, &end, 10);
    return length > 1 && end != line + length && (!*end || *end == ' ') ? length - 1 : -1;
}

bool choice_parse(const char *line, Choice *c) {
    long long number, place;
    const int numbered = number_take(line, (int)strlen(line), &number);
    const int length = numbered > 0 ? number_take(line, numbered, &place) : -1;
    if (length <= 0 || length >= (int)sizeof c->problem || place < -1 || place > INT32_MAX) return false;
    *c = (Choice){.place = (int)place, .number = number};
    memcpy(c->problem, line, (size_t)length);
    return true;
}

/* ---- lists; what is added last is found first ---- */

static void list_add(Choice **list, Choice choice) {
    Choice *kept = malloc(sizeof *kept);
    CHECK(kept, "out of memory");
    *kept = choice;
    kept->next = *list;
    *list = kept;
}

static const Choice *list_find(const Choice *list, const Choice *end, const char *problem) {
    for (; list != end; list = list->next)
        if (strcmp(list->problem, problem) == 0) return list;
    return NULL;
}

static void list_release(Choice **list) {
    while (*list) {
        Choice *choice = *list;
        *list = choice->next;
        free(choice);
    }
}

/* ---- the run's file ---- */

/* A file that cannot be written costs reproducibility, not the run. */
static void line_append(const char *path, const char *before, const char *line) {
    FILE *file = fopen(path, "a");
    bool stored = file && fprintf(file, "%s%s", before, line) >= 0;
    if (file) stored = fclose(file) == 0 && stored; /* what is written, is written here */
    if (!stored)
        log_warn("%s: the choice of a kernel could not be stored; a resumed run may differ in its last bits",
                 path);
}

const Choice *choice_find(Choices *choices, const char *problem) {
    const Choice *choice = list_find(choices->run, NULL, problem);
    const Choice *listed = choice ? NULL : list_find(choices->table, NULL, problem);
    if (listed) choice_add(choices, problem, listed->place, listed->number);
    return listed ? choices->run : choice;
}

void choice_add(Choices *choices, const char *problem, int place, int64_t number) {
    Choice choice = {.place = place, .number = number};
    char line[256];
    CHECK(strlen(problem) < sizeof choice.problem, "too long for a choice: %s", problem);
    snprintf(choice.problem, sizeof choice.problem, "%s", problem);
    list_add(&choices->run, choice);
    choice_write(&choice, line);
    if (choices->path[0]) line_append(choices->path, "\n", line);
}

/* Reads what holds for this card; false when the file is absent or made for another one. */
static bool choices_read(Choices *choices, const char *path) {
    char *bytes;
    size_t size;
    if (!file_exists(path) || !file_read(path, &bytes, &size, NULL)) return false;
    char *state = NULL, *line = strtok_r(bytes, "\n", &state);
    const bool ours = line && strcmp(line, choices->header) == 0;
    if (!ours)
        log_warn("%s: written for another card or library (here %s); the run goes on with other last bits",
                 path, choices->header);
    Choice choice;
    while (ours && (line = strtok_r(NULL, "\n", &state)))
        if (choice_parse(line, &choice)) list_add(&choices->run, choice);
    free(bytes);
    return ours;
}

void choices_remember(Choices *choices, const char *path) {
    const Choice *known = choices->run;
    char line[256];
    CHECK(strlen(path) < sizeof choices->path, "the path %s is too long", path);
    snprintf(choices->path, sizeof choices->path, "%s", path);
    if (!choices_read(choices, path)) {
        remove(path);
        line_append(path, "", choices->header);
    }
    for (const Choice *choice = known; choice; choice = choice->next) {
        if (list_find(choices->run, known, choice->problem)) continue;
        choice_write(choice, line);
        line_append(path, "\n", line);
    }
}

/* ---- tables ---- */

/* Where the line with this text begins, or NULL. */
static const char *line_find(const char *text, const char *line) {
    const size_t length = strlen(line);
    for (; text; text = strchr(text, '\n'), text += text != NULL)
        if (strncmp(text, line, length) == 0 && (text[length] == '\n' || !text[length])) return text;
    return NULL;
}

void choices_open(Choices *choices, const char *header, const char *tables) {
    char line[256];
    snprintf(choices->header, sizeof choices->header, "%s", header);
    const char *begin = line_find(tables, header);
    if (!begin) return;
    const char *end = strchr(begin, '\n');
    for (Choice choice; end; end = strchr(end, '\n')) {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(end + 1, "\n"), end + 1);
        if (!choice_parse(line, &choice)) break;
        list_add(&choices->table, choice);
        end++;
    }
    const Hash hash = hash_bytes(begin, end ? (size_t)(end - begin) : strlen(begin));
    snprintf(choices->table_hash, sizeof choices->table_hash, "%.12s", hash.hex);
}

void choices_forget_table(Choices *choices) {
    list_release(&choices->table);
    choices->table_hash[0] = 0;
}

void choices_release(Choices *choices) {
    list_release(&choices->run);
    list_release(&choices->table);
}
