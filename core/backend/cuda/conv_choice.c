/* Which configuration each convolution got, as a text file. Configurations are chosen by timing, and two that
 * are equally fast may change places from process to process; a run that is killed and resumed ends in the
 * same bits only if it goes on with the ones it began with. So the trainer names a file in the run's folder
 * (Device.remember): choices that stand there are taken without timing, new ones are appended.
 *
 * The first line says for which card and cuDNN the rest holds. A line is precision and pass, images,
 * their size, channels in and out, kernel, stride, padding, whether a bias and a residual are added, the
 * place among the candidates that cuDNN lists (-1: it has none), and the number of the engine found there,
 * which must agree. It begins with a newline, so that one cut off by a crash spoils no other.
 */
#include "backend/cuda/conv.h"
#include "base/file.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS = 16 };

static const char *const precisions[] = {"fp32", "tf32", "bf16", "fp16"};
static const char *const passes[] = {"forward", "data", "weight"};

static void header_make(const Device *device, char out[256]) {
    snprintf(out, 256, "cuDNN %zu on %s", cudnnGetVersion(), device->name);
}

static Precision problem_precision(const ConvProblem *p) {
    return p->shape.dtype == DTYPE_BF16  ? PRECISION_BF16
           : p->shape.dtype == DTYPE_F16 ? PRECISION_FP16
           : p->tf32                     ? PRECISION_TF32
                                         : PRECISION_FP32;
}

/* The line of a choice, without newlines. */
static void line_make(const ConvChoice *c, char out[256]) {
    const ConvShape *s = &c->problem.shape;
    const ConvEpilogue *e = &c->problem.epilogue;
    snprintf(out, 256, "%s %s %d %dx%d %d>%d %dx%d /%d +%dx%d %d %d %d %lld",
             precisions[problem_precision(&c->problem)], passes[c->problem.pass], s->n, s->h, s->w, s->c_in,
             s->c_out, s->kernel_h, s->kernel_w, s->stride, s->pad_h, s->pad_w, e->bias, e->residual,
             c->place, (long long)c->engine);
}

/* Place of the word among `count`, or -1. */
static int word_place(const char *word, const char *const *words, int count) {
    while (count-- > 0)
        if (strcmp(word, words[count]) == 0) return count;
    return -1;
}

static bool line_parse(const char *line, ConvChoice *c) {
    ConvShape *s = &c->problem.shape;
    char precision[8], pass[8];
    int bias, residual;
    long long engine;
    const int fields = sscanf(line, "%7s %7s %d %dx%d %d>%d %dx%d /%d +%dx%d %d %d %d %lld", precision, pass,
                              &s->n, &s->h, &s->w, &s->c_in, &s->c_out, &s->kernel_h, &s->kernel_w,
                              &s->stride, &s->pad_h, &s->pad_w, &bias, &residual, &c->place, &engine);
    if (fields != FIELDS) return false;
    const int p = word_place(precision, precisions, 4), w = word_place(pass, passes, 3);
    if (p < 0 || w < 0) return false;
    s->dtype = precision_dtype((Precision)p);
    c->problem.tf32 = p == PRECISION_TF32;
    c->problem.pass = (ConvPass)w;
    c->problem.epilogue = (ConvEpilogue){bias, residual, 1};
    c->engine = engine;
    return true;
}

static void choice_keep(CudaContext *context, ConvChoice choice) {
    ConvChoice *kept = malloc(sizeof *kept);
    CHECK(kept, "out of memory");
    *kept = choice;
    kept->next = context->choices;
    context->choices = kept;
}

const ConvChoice *conv_choice_find(Device *device, const ConvProblem *problem) {
    for (const ConvChoice *c = cuda_context(device)->choices; c; c = c->next)
        if (conv_same_problem(&c->problem, problem, false)) return c;
    return NULL;
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
    choice_keep(context, choice);
    line_make(&choice, line);
    if (context->choice_path[0]) line_append(context->choice_path, "\n", line);
}

/* Reads what holds for this card; false when the file is absent or made for another one. */
static bool choices_read(Device *device, const char *path) {
    char header[256], *bytes;
    size_t size;
    if (!file_exists(path) || !file_read(path, &bytes, &size, NULL)) return false;
    header_make(device, header);
    char *state = NULL, *line = strtok_r(bytes, "\n", &state);
    const bool ours = line && strcmp(line, header) == 0;
    if (!ours)
        log_warn("%s: written for another card or cuDNN (here %s); the run goes on with other last bits",
                 path, header);
    ConvChoice choice = {.place = 0};
    while (ours && (line = strtok_r(NULL, "\n", &state)))
        if (line_parse(line, &choice))
            choice_keep(cuda_context(device), choice); /* the last of several is found first */
    free(bytes);
    return ours;
}

/* Whether the choices from `list` up to `end` have one for the same convolution. */
static bool choice_stands(const ConvChoice *list, const ConvChoice *end, const ConvChoice *choice) {
    for (; list != end; list = list->next)
        if (conv_same_problem(&list->problem, &choice->problem, false)) return true;
    return false;
}

/* What was chosen before the file was named is added to it. */
void cuda_remember(Device *device, const char *path) {
    CudaContext *context = cuda_context(device);
    const ConvChoice *known = context->choices;
    char line[256];
    CHECK(strlen(path) < sizeof context->choice_path, "the path %s is too long", path);
    snprintf(context->choice_path, sizeof context->choice_path, "%s", path);
    if (!choices_read(device, path)) {
        header_make(device, line);
        remove(path);
        line_append(path, "", line);
    }
    for (const ConvChoice *choice = known; choice; choice = choice->next) {
        if (choice_stands(context->choices, known, choice)) continue;
        line_make(choice, line);
        line_append(path, "\n", line);
    }
}

void conv_choices_release(CudaContext *context) {
    while (context->choices) {
        ConvChoice *choice = context->choices;
        context->choices = choice->next;
        free(choice);
    }
}
