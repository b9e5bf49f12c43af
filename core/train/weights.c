/* Parameters from a safetensors file, whoever wrote it: a checkpoint of ours, or a network of EDM's or ECT's.
 * All that does not fit is reported in one message, because "missing x" alone rarely says which configuration
 * is wrong. */
#include "train/checkpoint.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* IEEE half precision. Its bits, moved to where a float has them, are the number over 2^112, subnormals
 * included; infinities and NaN have an exponent of their own. (Not every compiler has _Float16.) */
static float half_widen(const uint8_t *bytes) {
    const uint32_t half = bytes[0] | (uint32_t)bytes[1] << 8;
    const bool finite = (half & 0x7C00) != 0x7C00;
    uint32_t word = (half & 0x7FFF) << 13 | (finite ? 0 : 0x7F800000u);
    float value;
    memcpy(&value, &word, sizeof value);
    if (finite) value *= 0x1p112f;
    return half & 0x8000 ? -value : value;
}

static float bfloat_widen(const uint8_t *bytes) {
    const uint32_t word = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 24;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static float double_narrow(const uint8_t *bytes) {
    double value;
    memcpy(&value, bytes, sizeof value);
    return (float)value;
}

static bool floats_read(const SafeTensor *tensor, float *out) {
    const int64_t count = safetensor_count(tensor);
    if (strcmp(tensor->dtype, "F32") == 0) {
        memcpy(out, tensor->data, tensor->bytes);
        return true;
    }
    float (*convert)(const uint8_t *) = strcmp(tensor->dtype, "F16") == 0    ? half_widen
                                        : strcmp(tensor->dtype, "BF16") == 0 ? bfloat_widen
                                        : strcmp(tensor->dtype, "F64") == 0  ? double_narrow
                                                                             : NULL;
    const size_t size = safetensor_dtype_size(tensor->dtype);
    for (int64_t i = 0; convert && i < count; i++)
        out[i] = convert((const uint8_t *)tensor->data + (size_t)i * size);
    return convert != NULL;
}

/* ---- problems ---- */

/* The first few names of one kind of problem, and how many there are. */
typedef struct Problem {
    Text names;
    int count;
} Problem;

static void problem_add(Problem *problem, const char *name) {
    if (problem->count++ < 6) text_append(&problem->names, "%s%s", problem->count > 1 ? ", " : "", name);
}

static void problem_tell(Problem *problem, const char *kind, Text *out) {
    if (problem->count) {
        text_append(out, "; %d %s: %s%s", problem->count, kind, text_view(&problem->names),
                    problem->count > 6 ? ", ..." : "");
    }
    text_free(&problem->names);
}

typedef struct Problems {
    Problem missing, misshapen, untyped, unknown;
} Problems;

static bool problems_report(Problems *p, const char *prefix, Error *error) {
    const bool none = p->missing.count + p->misshapen.count + p->untyped.count + p->unknown.count == 0;
    Text text = {0};
    problem_tell(&p->missing, "missing", &text);
    problem_tell(&p->misshapen, "of another shape", &text);
    problem_tell(&p->untyped, "not of floating-point type", &text);
    problem_tell(&p->unknown, "unknown to this network", &text);
    if (!none) error_set(error, "the weights \"%s*\" do not fit the network%s", prefix, text_view(&text));
    text_free(&text);
    return none;
}

/* ---- loading ---- */

static const SafeTensor *param_tensor(const SafeTensors *file, const char *prefix, const Param *param) {
    char name[sizeof((SafeTensor *)0)->name];
    snprintf(name, sizeof name, "%s%s", prefix, param->name);
    return safetensors_find(file, name);
}

static bool shape_agrees(const Param *param, const SafeTensor *tensor) {
    bool same = param->rank == tensor->rank;
    for (int i = 0; same && i < param->rank; i++) same = param->shape[i] == tensor->shape[i];
    return same;
}

/* "name (24 x 3 in the file, 16 x 3 in the network)" */
static const char *shapes_print(const Param *param, const SafeTensor *tensor, char out[256]) {
    Text text = {0};
    text_append(&text, "%s (", param->name);
    for (int i = 0; i < tensor->rank; i++)
        text_append(&text, i ? " x %lld" : "%lld", (long long)tensor->shape[i]);
    text_append(&text, " in the file, ");
    for (int i = 0; i < param->rank; i++) text_append(&text, i ? " x %d" : "%d", param->shape[i]);
    snprintf(out, 256, "%s in the network)", text_view(&text));
    text_free(&text);
    return out;
}

static void param_load(const SafeTensors *file, const char *prefix, const Param *param, float *values,
                       Problems *problems) {
    const SafeTensor *tensor = param_tensor(file, prefix, param);
    if (!tensor) {
        problem_add(&problems->missing, param->name);
    } else if (!shape_agrees(param, tensor)) {
        char both[256];
        const bool first = problems->misshapen.count == 0;
        problem_add(&problems->misshapen, first ? shapes_print(param, tensor, both) : param->name);
    } else {
        float *floats = malloc((size_t)param->count * sizeof(float) + 1);
        CHECK(floats, "out of memory for %s", param->name);
        if (floats_read(tensor, floats)) {
            param_from_file(param, floats, values);
        } else {
            problem_add(&problems->untyped, param->name);
        }
        free(floats);
    }
}

static bool name_ends(const char *name, const char *end) {
    const size_t length = strlen(name), tail = strlen(end);
    return length >= tail && strcmp(name + length - tail, end) == 0;
}

/* Names below the prefix that no parameter claims; EDM stores its resampling filters, which are no
 * parameters. */
static void unknown_find(const SafeTensors *file, const ParamSet *params, const char *prefix,
                         Problems *problems) {
    const size_t skip = strlen(prefix);
    for (int i = 0; i < file->count; i++) {
        const char *name = file->tensors[i].name;
        if (strncmp(name, prefix, skip) != 0 || name_ends(name, "resample_filter")) continue;
        const Param *param = param_find(params, name + skip);
        if (!param || !param->in_file) problem_add(&problems->unknown, name + skip);
    }
}

/* A bare network has bare names; in a checkpoint the network itself is "model.". */
static const char *prefix_choose(const SafeTensors *file, const ParamSet *params, const char *prefix) {
    if (*prefix) return prefix;
    for (int i = 0; i < params->count; i++) {
        if (param_tensor(file, "", &params->params[i])) return "";
        if (param_tensor(file, "model.", &params->params[i])) return "model.";
    }
    return "";
}

bool weights_load(const SafeTensors *file, const ParamSet *params, const char *prefix, float *values,
                  Error *error) {
    Problems problems = {0};
    prefix = prefix_choose(file, params, prefix);
    for (int i = 0; i < params->count; i++) {
        if (params->params[i].in_file) param_load(file, prefix, &params->params[i], values, &problems);
    }
    unknown_find(file, params, prefix, &problems);
    return problems_report(&problems, prefix, error);
}

/* ---- writing ---- */

static SafeTensor tensor_of(const Param *p, const float *values, float *file) {
    SafeTensor tensor = {
        .dtype = "F32", .rank = p->rank, .data = file + p->offset, .bytes = (size_t)p->count * sizeof(float)};
    snprintf(tensor.name, sizeof tensor.name, "%s", p->name);
    for (int k = 0; k < p->rank; k++) tensor.shape[k] = p->shape[k];
    param_to_file(p, values, file + p->offset);
    return tensor;
}

bool weights_write(const char *path, const ParamSet *params, const float *values, const char *const *metadata,
                   int pairs, Error *error) {
    SafeTensor *tensors = calloc((size_t)params->count, sizeof *tensors);
    float *file = calloc((size_t)params->total, sizeof *file);
    int count = 0;
    CHECK(tensors && file, "out of memory for %lld parameters", (long long)params->total);
    for (int i = 0; i < params->count; i++)
        if (params->params[i].in_file) tensors[count++] = tensor_of(&params->params[i], values, file);
    const bool written = safetensors_write(path, tensors, count, metadata, pairs, error);
    free(tensors);
    free(file);
    return written;
}
