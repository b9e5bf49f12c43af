/* Which configuration each convolution got, as a text file. Configurations are chosen by timing, and two that
 * are equally fast may change places from process to process; a run that is killed and resumed ends in the
 * same bits only if it goes on with the ones it began with. So the trainer names a file in the run's folder
 * (Device.remember): choices that stand there are taken without timing, new ones are appended.
 *
 * What the run's file does not name is taken from the table of known cards (conv_table.c), and what that
 * lacks is timed. A line begins with a newline, so that one cut off by a crash spoils no other.
 */
#include "backend/cuda/conv.h"
#include "base/file.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>

void conv_choice_keep(ConvChoice **list, ConvChoice choice) {
    ConvChoice *kept = malloc(sizeof *kept);
    CHECK(kept, "out of memory");
    *kept = choice;
    kept->next = *list;
    *list = kept;
}

static const ConvChoice *list_find(const ConvChoice *list, const ConvChoice *end,
                                   const ConvProblem *problem) {
    for (; list != end; list = list->next)
        if (conv_same_problem(&list->problem, problem, false)) return list;
    return NULL;
}

const ConvChoice *conv_choice_find(Device *device, const ConvProblem *problem) {
    const CudaContext *context = cuda_context(device);
    const ConvChoice *choice = list_find(context->choices, NULL, problem);
    const ConvChoice *listed = choice ? NULL : list_find(context->table, NULL, problem);
    if (listed) conv_choice_add(device, problem, listed->place, listed->engine);
    return listed ? context->choices : choice;
}

/* A file that cannot be written costs reproducibility, not the run. */
static void line_append(const char *path, const char *before, const char *line) {
    FILE *file = fopen(path, "a");
    bool stored = file && fprintf(file, "%s%s", before, line) >= 0;
    if (file) stored = fclose(file) == 0 && stored; /* what is written, is written here */
    if (!stored)
        log_warn(
            "%s: the choice of a convolution could not be stored; a resumed run may differ in its last bits",
            path);
}

void conv_choice_add(Device *device, const ConvProblem *problem, int place, int64_t engine) {
    CudaContext *context = cuda_context(device);
    const ConvChoice choice = {.problem = *problem, .place = place, .engine = engine};
    char line[256];
    conv_choice_keep(&context->choices, choice);
    conv_choice_write(&choice, line);
    if (context->choice_path[0]) line_append(context->choice_path, "\n", line);
}

/* Reads what holds for this card; false when the file is absent or made for another one. */
static bool choices_read(Device *device, const char *path) {
    char header[256], *bytes;
    size_t size;
    if (!file_exists(path) || !file_read(path, &bytes, &size, NULL)) return false;
    conv_choice_header(device, header);
    char *state = NULL, *line = strtok_r(bytes, "\n", &state);
    const bool ours = line && strcmp(line, header) == 0;
    if (!ours)
        log_warn("%s: written for another card or cuDNN (here %s); the run goes on with other last bits",
                 path, header);
    ConvChoice choice = {.place = 0};
    while (ours && (line = strtok_r(NULL, "\n", &state)))
        if (conv_choice_parse(line, &choice))
            conv_choice_keep(&cuda_context(device)->choices, choice); /* the last of several is found first */
    free(bytes);
    return ours;
}

/* What was chosen before the file was named is added to it. */
void cuda_remember(Device *device, const char *path) {
    CudaContext *context = cuda_context(device);
    const ConvChoice *known = context->choices;
    char line[256];
    CHECK(strlen(path) < sizeof context->choice_path, "the path %s is too long", path);
    snprintf(context->choice_path, sizeof context->choice_path, "%s", path);
    if (!choices_read(device, path)) {
        conv_choice_header(device, line);
        remove(path);
        line_append(path, "", line);
    }
    for (const ConvChoice *choice = known; choice; choice = choice->next) {
        if (list_find(context->choices, known, &choice->problem)) continue;
        conv_choice_write(choice, line);
        line_append(path, "\n", line);
    }
}

void conv_choices_release(ConvChoice **list) {
    while (*list) {
        ConvChoice *choice = *list;
        *list = choice->next;
        free(choice);
    }
}
