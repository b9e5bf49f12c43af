/* Questions: finding and reading the .sql files. */
#include "answers/answers.h"
#include "base/file.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *question_folder(const Paths *paths, char out[1024]) {
    return path_join(out, paths->root, "paper_figs");
}

static const char *question_path(const Paths *paths, const char *name, const char *extension,
                                 char out[1024]) {
    char folder[1024], file[300];
    snprintf(file, sizeof file, "%s.%s", name, extension);
    return path_join(out, question_folder(paths, folder), file);
}

/* The rest of a line `-- key: rest`, copied without its newline. */
static void header_value(const char *sql, const char *key, char *out, size_t size) {
    char mark[32];
    snprintf(mark, sizeof mark, "-- %s: ", key);
    const char *found = strstr(sql, mark);
    if (!found) return;
    found += strlen(mark);
    snprintf(out, size, "%.*s", (int)strcspn(found, "\n"), found);
}

int question_names(const Paths *paths, bool figures, char *names[MAX_QUESTIONS]) {
    char folder[1024], plot[1024];
    struct dirent **entries;
    int count = 0;
    const int found = scandir(question_folder(paths, folder), &entries, NULL, alphasort);
    for (int i = 0; i < found; i++) {
        char *dot = strrchr(entries[i]->d_name, '.');
        if (dot && !strcmp(dot, ".sql") && count < MAX_QUESTIONS) {
            *dot = 0;
            if (file_exists(question_path(paths, entries[i]->d_name, "gp", plot)) == figures)
                names[count++] = text_copy(entries[i]->d_name);
        }
        free(entries[i]);
    }
    if (found >= 0) free(entries);
    return count;
}

static bool question_unknown(const Paths *paths, const char *name, Error *error) {
    char *names[2 * MAX_QUESTIONS];
    Text text = {0};
    int count = question_names(paths, false, names);
    count += question_names(paths, true, names + count);
    const int nearest = text_nearest(name, (const char *const *)names, count);
    text_append(&text, "no question '%s' in paper_figs", name);
    if (nearest >= 0) text_append(&text, "; did you mean '%s'?", names[nearest]);
    text_append(&text, " There are:");
    for (int i = 0; i < count; i++) {
        text_append(&text, " %s", names[i]);
        free(names[i]);
    }
    error_set(error, "%s", text_view(&text));
    text_free(&text);
    return false;
}

/* The SELECT of a file that says `-- begins with: NAME` goes on after paper_figs/parts/NAME.sql. */
static bool question_begin(const Paths *paths, Question *question, Error *error) {
    char part[64] = "", folder[1024], path[1100], *text;
    size_t size;
    header_value(question->sql, "begins with", part, sizeof part);
    if (!*part) return true;
    char *file = text_format("parts/%s.sql", part);
    const bool read = file_read(path_join(path, question_folder(paths, folder), file), &text, &size, error);
    free(file);
    if (!read) return false;
    char *whole = text_format("%s%s", text, question->sql);
    free(text);
    free(question->sql);
    question->sql = whole;
    return true;
}

bool question_read(const Paths *paths, const char *name, Question *question, Error *error) {
    char path[1024];
    size_t size;
    *question = (Question){0};
    if (strchr(name, '/') || strlen(name) >= sizeof question->name ||
        !file_exists(question_path(paths, name, "sql", path)))
        return question_unknown(paths, name, error);
    snprintf(question->name, sizeof question->name, "%s", name);
    if (!file_read(path, &question->sql, &size, error)) return false;
    header_value(question->sql, "title", question->title, sizeof question->title);
    header_value(question->sql, "caption", question->caption, sizeof question->caption);
    if (question_begin(paths, question, error)) return true;
    question_free(question);
    return false;
}

const char *question_title(const Question *question, const char *const *parameters, int pairs,
                           char out[512]) {
    size_t length = 0;
    for (const char *c = question->title; *c && length < 511;) {
        int pair = *c == ':' ? pairs - 1 : -1;
        while (pair >= 0 && strncmp(c + 1, parameters[2 * pair], strlen(parameters[2 * pair]))) pair--;
        if (pair < 0) {
            out[length++] = *c++;
            continue;
        }
        length += (size_t)snprintf(out + length, 512 - length, "%s", parameters[2 * pair + 1]);
        c += 1 + strlen(parameters[2 * pair]);
    }
    out[length < 512 ? length : 511] = 0;
    return out;
}

const char *question_parameter(const Question *question) {
    static const char *const all[] = {"run", "experiment", "session"};
    for (int i = 0; i < 3; i++) {
        char mark[16];
        snprintf(mark, sizeof mark, ":%s", all[i]);
        if (strstr(question->sql, mark)) return all[i];
    }
    return NULL;
}

void question_free(Question *question) {
    free(question->sql);
    question->sql = NULL;
}

bool question_list(const Paths *paths, bool figures, Error *error) {
    char *names[MAX_QUESTIONS];
    const int count = question_names(paths, figures, names);
    bool ok = true;
    for (int i = 0; i < count; i++) {
        Question question = {0};
        ok = ok && question_read(paths, names[i], &question, error);
        if (ok) printf("%-20s %s\n", names[i], question.title);
        question_free(&question);
        free(names[i]);
    }
    return ok;
}
