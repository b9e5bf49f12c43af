/* The text of a choice among a convolution's configurations, and the tables of choices that are built into
 * the program (plans/), so that two runs on a known card compute the same bits with nothing but the program
 * in common.
 *
 * A table's first line says for which card and cuDNN the rest holds. Every other line is precision and pass,
 * images, their size, channels in and out, kernel, stride, padding, whether a bias and a residual are added,
 * the place among the candidates that cuDNN lists (-1: it has none), and the number of the engine found
 * there, which must agree.
 */
#include "backend/cuda/conv.h"
#include "base/hash.h"
#include <stdio.h>

/* One after the other; the assembler reads them. */
extern const char conv_tables_text[];
__asm__(".pushsection .rodata\n"
        ".global conv_tables_text\n"
        "conv_tables_text:\n"
        ".incbin \"core/backend/cuda/plans/h100-80gb-hbm3-cudnn-9.14.txt\"\n"
        ".byte 0\n"
        ".popsection");

const char *conv_tables(void) {
    return conv_tables_text;
}

enum { FIELDS = 16 };

static const char *const precisions[] = {"fp32", "tf32", "bf16", "fp16"};
static const char *const passes[] = {"forward", "data", "weight"};

void conv_choice_header(const Device *device, char out[256]) {
    snprintf(out, 256, "cuDNN %zu on %s", cudnnGetVersion(), device->name);
}

static Precision problem_precision(const ConvProblem *p) {
    return p->shape.dtype == DTYPE_BF16  ? PRECISION_BF16
           : p->shape.dtype == DTYPE_F16 ? PRECISION_FP16
           : p->tf32                     ? PRECISION_TF32
                                         : PRECISION_FP32;
}

void conv_choice_write(const ConvChoice *c, char out[256]) {
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

bool conv_choice_parse(const char *line, ConvChoice *c) {
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

/* Where the line with this text begins, or NULL. */
static const char *line_find(const char *text, const char *line) {
    const size_t length = strlen(line);
    for (; text; text = strchr(text, '\n'), text += text != NULL)
        if (strncmp(text, line, length) == 0 && (text[length] == '\n' || !text[length])) return text;
    return NULL;
}

void conv_table_open(Device *device, const char *tables) {
    CudaContext *context = cuda_context(device);
    char header[256], line[256];
    conv_choice_header(device, header);
    const char *begin = line_find(tables, header);
    if (!begin) return;
    const char *end = strchr(begin, '\n');
    for (ConvChoice choice = {0}; end; end = strchr(end, '\n')) {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(end + 1, "\n"), end + 1);
        if (!conv_choice_parse(line, &choice)) break;
        conv_choice_keep(&context->table, choice);
        end++;
    }
    const Hash hash = hash_bytes(begin, end ? (size_t)(end - begin) : strlen(begin));
    snprintf(context->table_hash, sizeof context->table_hash, "%.12s", hash.hex);
}

void cuda_tune(Device *device) {
    CudaContext *context = cuda_context(device);
    conv_choices_release(&context->table);
    context->table_hash[0] = 0;
    device->races.each = device->races.all = INFINITY;
}
