/* Parameters by name, their order in files and in memory, and their first values, drawn by all threads: one
 * core would take seconds for the largest networks. */
#include "model/param.h"
#include "base/philox.h"
#include "graph/graph.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PARAM_ALIGNMENT = 16 }; /* elements: every parameter starts on a cache line */

const Param *param_find(const ParamSet *set, const char *name) {
    for (int i = 0; i < set->count; i++)
        if (!strcmp(set->params[i].name, name)) return &set->params[i];
    return NULL;
}

static int64_t shape_count(const Param *param) {
    int64_t count = 1;
    for (int i = 0; i < param->rank; i++) count *= param->shape[i];
    return count;
}

ParamOffset param_declare(ParamSet *set, Param param) {
    const Param *known = param_find(set, param.name);
    param.count = shape_count(&param);
    if (known) {
        CHECK(known->count == param.count, "parameter '%s' is declared with two shapes", param.name);
        return known->offset;
    }
    if (set->count == set->capacity) {
        set->capacity = set->capacity ? 2 * set->capacity : 64;
        set->params = realloc(set->params, (size_t)set->capacity * sizeof *set->params);
        CHECK(set->params, "out of memory");
    }
    CHECK(param.trainable || set->frozen == set->total, "frozen parameter '%s' must be declared first",
          param.name);
    param.offset = set->total;
    set->total += (param.count + PARAM_ALIGNMENT - 1) / PARAM_ALIGNMENT * PARAM_ALIGNMENT;
    if (!param.trainable) set->frozen = set->total;
    set->params[set->count++] = param;
    return param.offset;
}

int64_t param_count(const ParamSet *set) {
    int64_t count = 0;
    for (int i = 0; i < set->count; i++)
        if (set->params[i].trainable) count += set->params[i].count;
    return count;
}

void param_free(ParamSet *set) {
    free(set->params);
    *set = (ParamSet){0};
}

/* ---- file order ---- */

/* Rows are what the first axis counts. In a row a convolution's pixels change places with its input channels;
 * the rows of q, k and v are sorted. */
typedef struct Rows {
    int64_t count, size, area; /* area: pixels of a kernel, where they change places */
} Rows;

static Rows rows_of(const Param *param) {
    const int64_t count = param->rank ? param->shape[0] : 1;
    const bool conv = param->layout == PARAM_CONV;
    return (Rows){count, param->count / count, conv ? (int64_t)param->shape[2] * param->shape[3] : 1};
}

/* Place in memory of row `row` of the file. */
static int64_t row_place(const Param *param, int64_t row) {
    if (param->layout != PARAM_QKV) return row;
    const int64_t head_size = param->shape[0] / 3 / param->heads; /* d */
    const int64_t which = row % 3, unit = row / 3 % head_size, head = row / 3 / head_size;
    return (which * param->heads + head) * head_size + unit;
}

/* Place in memory of element `i` of the file. */
static int64_t memory_index(const Param *param, int64_t i) {
    const Rows rows = rows_of(param);
    const int64_t channels = rows.size / rows.area, at = i % rows.size;
    return row_place(param, i / rows.size) * rows.size + at % rows.area * channels + at / rows.area;
}

/* A row of `outer` x `inner` elements becomes one of inner x outer. */
static void row_turn(const float *from, float *to, int64_t outer, int64_t inner) {
    for (int64_t i = 0; i < inner; i++)
        for (int64_t o = 0; o < outer; o++) to[i * outer + o] = from[o * inner + i];
}

void param_to_file(const Param *param, const float *values, float *file) {
    const Rows rows = rows_of(param);
#pragma omp parallel for
    for (int64_t row = 0; row < rows.count; row++) {
        row_turn(values + param->offset + row_place(param, row) * rows.size, file + row * rows.size,
                 rows.area, rows.size / rows.area);
    }
}

void param_from_file(const Param *param, const float *file, float *values) {
    const Rows rows = rows_of(param);
#pragma omp parallel for
    for (int64_t row = 0; row < rows.count; row++) {
        row_turn(file + row * rows.size, values + param->offset + row_place(param, row) * rows.size,
                 rows.size / rows.area, rows.area);
    }
}

/* ---- initial values ---- */

static float init_bound(const Param *param) {
    switch (param->init) {
    case INIT_XAVIER_UNIFORM:
        return sqrtf(6.0f / (float)(param->fan_in + param->fan_out));
    case INIT_KAIMING_UNIFORM:
        return sqrtf(3.0f / (float)param->fan_in);
    case INIT_KAIMING_NORMAL:
        return sqrtf(1.0f / (float)param->fan_in);
    default:
        return 1;
    }
}

static float init_value(const Param *param, RandomKey key, int64_t i) {
    const Random4 block = random_block(key, (uint32_t)(i / 4));
    const float bound = init_bound(param) * param->init_scale;
    switch (param->init) {
    case INIT_CONSTANT:
        return param->init_scale;
    case INIT_XAVIER_UNIFORM:
    case INIT_KAIMING_UNIFORM:
        return bound * (2 * random_uniform(block.x[i % 4]) - 1);
    case INIT_KAIMING_NORMAL:
    case INIT_NORMAL:
        return bound * random_normal4(block).x[i % 4];
    case INIT_POSITIONAL:
        return (float)pow(10000.0, -(double)i / (double)param->count);
    case INIT_POSITIONAL_ENDPOINT:
        return (float)pow(10000.0, -(double)i / (double)(param->count - 1));
    }
    die(__FILE__, __LINE__, "parameter '%s' has no rule to begin with", param->name);
}

/* ImageNet-64's networks have 280 and 470 million: four and seven seconds of one core. */
enum { PARALLEL_LEAST = 1 << 16 };

void param_initialise(const ParamSet *set, uint64_t seed, float *values) {
    memset(values, 0, (size_t)set->total * sizeof *values);
    for (int p = 0; p < set->count; p++) {
        const Param *param = &set->params[p];
        const RandomKey key = {.seed = seed, .stream = STREAM_INIT, .step = 0, .sample = (uint32_t)p};
#pragma omp parallel for schedule(static) if (param->count >= PARALLEL_LEAST)
        for (int64_t i = 0; i < param->count; i++)
            values[param->offset + memory_index(param, i)] = init_value(param, key, i);
    }
}
