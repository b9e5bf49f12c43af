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

/* ---------------------------------------------------------------------------------------------- file order
 */

/* Place in memory of element `i` of the file. */
static int64_t memory_index(const Param *param, int64_t i) {
    if (param->layout == PARAM_CONV) {
        const int64_t in = param->shape[1], area = (int64_t)param->shape[2] * param->shape[3];
        const int64_t out = i / (in * area), channel = i / area % in, place = i % area;
        return (out * area + place) * in + channel;
    }
    if (param->layout == PARAM_QKV) {
        const int64_t row_size = param->count / param->shape[0], row = i / row_size;
        const int64_t head_size = param->shape[0] / 3 / param->heads; /* d */
        const int64_t which = row % 3, unit = row / 3 % head_size, head = row / 3 / head_size;
        return ((which * param->heads + head) * head_size + unit) * row_size + i % row_size;
    }
    return i;
}

void param_to_file(const Param *param, const float *values, float *file) {
    for (int64_t i = 0; i < param->count; i++) file[i] = values[param->offset + memory_index(param, i)];
}

void param_from_file(const Param *param, const float *file, float *values) {
    for (int64_t i = 0; i < param->count; i++) values[param->offset + memory_index(param, i)] = file[i];
}

/* ---------------------------------------------------------------------------------------------- initial
 * values */

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
