/* Checkpoints: what is written comes back to the last bit, damaged files are passed over, other runs' files
 * refused; and weights from files that others wrote. */
#include "train/checkpoint.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/scratch.h"

static const OptimiserConfig config = {.rectified = true,
                                       .learning_rate = 1e-3,
                                       .beta1 = 0.9,
                                       .beta2 = 0.999,
                                       .epsilon = 1e-8,
                                       .ema = {0.05, 0.9999},
                                       .emas = 2};

/* A small state with every layout and with parameters that files do not hold. */
typedef struct Bench {
    Device *device;
    ParamSet params;
    Optimiser optimiser;
    CheckpointState state;
} Bench;

static int bench_make(void **state) {
    Bench *b = calloc(1, sizeof *b);
    Error error;
    if (!device_open("cpu", 1, &b->device, &error)) fail_msg("%s", error.text);
    param_declare(&b->params, (Param){.name = "computed", .rank = 1, .shape = {3}});
    param_declare(&b->params, (Param){.name = "frozen", .rank = 1, .shape = {5}, .in_file = true});
    param_declare(&b->params, (Param){.name = "conv.weight",
                                      .rank = 4,
                                      .shape = {4, 3, 3, 3},
                                      .layout = PARAM_CONV,
                                      .trainable = true,
                                      .in_file = true});
    param_declare(&b->params, (Param){.name = "qkv.weight",
                                      .rank = 4,
                                      .shape = {12, 4, 1, 1},
                                      .layout = PARAM_QKV,
                                      .heads = 2,
                                      .trainable = true,
                                      .in_file = true});
    param_declare(&b->params,
                  (Param){.name = "bias", .rank = 1, .shape = {7}, .trainable = true, .in_file = true});
    b->optimiser = optimiser_create(b->device, &b->params, &config, true);
    b->state = (CheckpointState){&b->params, &b->optimiser, &config};
    *state = b;
    return 0;
}

static int bench_free(void **state) {
    Bench *b = *state;
    optimiser_free(&b->optimiser);
    device_close(b->device);
    param_free(&b->params);
    free(b);
    return 0;
}

/* The CPU's memory is the host's: arrays are filled and compared in place. Padding stays zero. */
static void fill(const Bench *b, float *values, float first) {
    for (int p = 0; p < b->params.count; p++) {
        const Param *param = &b->params.params[p];
        for (int64_t i = 0; i < param->count; i++)
            values[param->offset + i] = first + (float)(100 * p + i) / 7;
    }
}

static void state_fill(Bench *b, float first) {
    Optimiser *o = &b->optimiser;
    float *arrays[6] = {o->weight, o->teacher, o->ema[0], o->ema[1], o->momentum, o->variance};
    for (int i = 0; i < 6; i++) fill(b, arrays[i], first + 1000 * (float)i);
}

static CheckpointFacts facts_make(int64_t step) {
    CheckpointFacts facts = {.step = step,
                             .images = step * 32,
                             .N = 41,
                             .seed = 0xFEDCBA9876543210u,
                             .batch = 32,
                             .config_hash = "c0ffee",
                             .data_hash = "da7a"};
    double *numbers = (double *)&facts.meter;
    for (int i = 0; i < METER_NUMBERS; i++) numbers[i] = sqrt(i) / 3 - 1e-300;
    return facts;
}

static void write_at(Bench *b, const char *folder, int64_t step, char path[1024]) {
    const CheckpointFacts facts = facts_make(step);
    Error error;
    state_fill(b, (float)step);
    if (!checkpoint_write(scratch(folder), &b->state, &facts, path, &error)) fail_msg("%s", error.text);
}

static void everything_comes_back_to_the_last_bit(void **state) {
    Bench *b = *state, *other;
    char path[1024];
    Error error;
    write_at(b, "exact", 12, path);
    assert_string_equal(path_name(path), "checkpoint-12.safetensors");
    bench_make((void **)&other);
    CheckpointFacts facts = {.seed = 0xFEDCBA9876543210u, .batch = 32};
    if (!checkpoint_read(path, &other->state, &facts, &error)) fail_msg("%s", error.text);
    /* What files do not hold is not touched; here it has never been set. */
    for (int i = 0; i < 3; i++) b->optimiser.weight[i] = 0;
    const size_t bytes = (size_t)b->params.total * sizeof(float);
    assert_memory_equal(other->optimiser.weight, b->optimiser.weight, bytes);
    float *const kept[5][2] = {{b->optimiser.teacher, other->optimiser.teacher},
                               {b->optimiser.ema[0], other->optimiser.ema[0]},
                               {b->optimiser.ema[1], other->optimiser.ema[1]},
                               {b->optimiser.momentum, other->optimiser.momentum},
                               {b->optimiser.variance, other->optimiser.variance}};
    for (int i = 0; i < 5; i++)
        assert_memory_equal(kept[i][0] + 16, kept[i][1] + 16, bytes - 16 * sizeof(float));
    const CheckpointFacts expected = facts_make(12);
    assert_int_equal(facts.step, 12);
    assert_int_equal(facts.images, 384);
    assert_int_equal(facts.N, 41);
    assert_memory_equal(&facts.meter, &expected.meter, sizeof facts.meter);
    bench_free((void **)&other);
}

static void files_keep_the_order_of_EDM(void **state) {
    Bench *b = *state;
    char path[1024];
    Error error;
    SafeTensors file;
    write_at(b, "order", 1, path);
    assert_true(safetensors_open(path, &file, &error));
    assert_int_equal(file.count, 6 * 4); /* four parameters in six arrays; "computed" is in none */
    const SafeTensor *conv = safetensors_find(&file, "ema:0.05.conv.weight");
    assert_non_null(conv);
    assert_int_equal(conv->shape[1], 3);
    float second;
    memcpy(&second, (const char *)conv->data + sizeof second, sizeof second);
    const Param *param = param_find(&b->params, "conv.weight");
    /* Element [0][0][0][1] of OIHW is [0][0][1][0] of OHWI, the fourth. */
    assert_true(second == b->optimiser.ema[0][param->offset + 3]);
    safetensors_close(&file);
}

static void file_damage(const char *path, int64_t at) {
    char *content;
    size_t size;
    Error error;
    assert_true(file_read(path, &content, &size, &error));
    content[at < 0 ? (int64_t)size + at : at] ^= 1;
    assert_true(file_write_atomic(path, content, size, &error));
    free(content);
}

static void file_cut(const char *path) {
    char *content;
    size_t size;
    Error error;
    assert_true(file_read(path, &content, &size, &error));
    assert_true(file_write_atomic(path, content, size / 2, &error));
    free(content);
}

static void the_newest_intact_one_is_found(void **state) {
    Bench *b = *state;
    char path[4][1024], newest[1024];
    assert_false(checkpoint_newest(scratch("none"), newest));
    write_at(b, "many", 9, path[0]);
    write_at(b, "many", 10, path[1]);
    write_at(b, "many", 100, path[2]);
    write_at(b, "many", 1000, path[3]);
    assert_true(checkpoint_newest(scratch("many"), newest));
    assert_string_equal(newest, path[3]);
    file_cut(path[3]);
    assert_true(checkpoint_newest(scratch("many"), newest));
    assert_string_equal(newest, path[2]);
    file_damage(path[2], -5); /* a number, so that the structure stays sound */
    assert_true(checkpoint_newest(scratch("many"), newest));
    assert_string_equal(newest, path[1]);
}

static void pruning_keeps_the_last_two(void **state) {
    Bench *b = *state;
    char path[4][1024];
    Error error;
    for (int i = 0; i < 4; i++) write_at(b, "pruned", 8 + i, path[i]);
    assert_true(file_write_atomic(scratch("pruned/checkpoint-14.safetensors.99-0.tmp"), "half", 4, &error));
    assert_true(file_write_atomic(scratch("pruned/notes.txt"), "mine", 4, &error));
    checkpoint_prune(scratch("pruned"), 2);
    assert_false(file_exists(path[0]) || file_exists(path[1]));
    assert_true(file_exists(path[2]) && file_exists(path[3]));
    assert_false(file_exists(scratch("pruned/checkpoint-14.safetensors.99-0.tmp")));
    assert_true(file_exists(scratch("pruned/notes.txt")));
}

static void later_ones_are_set_aside(void **state) {
    Bench *b = *state;
    char path[2][1024];
    for (int i = 0; i < 2; i++) write_at(b, "aside", 9 + i, path[i]);
    checkpoint_set_aside(scratch("aside"), 9);
    assert_true(file_exists(path[0]));
    assert_false(file_exists(path[1]));
    assert_true(file_exists(scratch("aside/checkpoint-10.safetensors.damaged")));
    checkpoint_set_aside(scratch("aside"), -1);
    assert_false(file_exists(path[0]));
}

static void other_runs_are_refused(void **state) {
    Bench *b = *state;
    char path[1024];
    write_at(b, "others", 5, path);
    const CheckpointFacts mine = {
        .seed = 0xFEDCBA9876543210u, .batch = 32, .config_hash = "c0ffee", .data_hash = "da7a"};
    CheckpointFacts facts[4] = {mine, mine, mine, mine};
    facts[0].seed++;
    facts[1].batch = 16;
    strcpy(facts[2].config_hash, "decaf");
    strcpy(facts[3].data_hash, "d1ff");
    for (int i = 0; i < 4; i++) {
        Error error;
        assert_false(checkpoint_read(path, &b->state, &facts[i], &error));
        assert_non_null(strstr(error.text, "checkpoint-5.safetensors"));
        assert_non_null(strstr(error.text, "another run"));
    }
}

/* ---- weights of others ---- */

/* Two parameters stored as `dtype` with the given bytes. */
static bool foreign_load(Bench *b, const char *prefix, const SafeTensor *tensors, int count, float *values,
                         Error *error) {
    SafeTensors file;
    if (!safetensors_write(scratch("foreign.safetensors"), tensors, count, NULL, 0, error))
        fail_msg("%s", error->text);
    if (!safetensors_open(scratch("foreign.safetensors"), &file, error)) fail_msg("%s", error->text);
    const bool done = weights_load(&file, &b->params, prefix, values, error);
    safetensors_close(&file);
    return done;
}

/* The bench's four tensors, all ones of a type, below a prefix. */
static int ones(SafeTensor *tensors, const char *prefix, const char *dtype, const void *one) {
    static uint8_t data[4][108 * 8];
    static const struct {
        const char *name;
        int rank;
        int64_t shape[4], count;
    } list[4] = {{"frozen", 1, {5}, 5},
                 {"conv.weight", 4, {4, 3, 3, 3}, 108},
                 {"qkv.weight", 4, {12, 4, 1, 1}, 48},
                 {"bias", 1, {7}, 7}};
    const size_t size = safetensor_dtype_size(dtype);
    for (int i = 0; i < 4; i++) {
        tensors[i] =
            (SafeTensor){.rank = list[i].rank, .data = data[i], .bytes = (size_t)list[i].count * size};
        snprintf(tensors[i].name, sizeof tensors[i].name, "%s%s", prefix, list[i].name);
        snprintf(tensors[i].dtype, sizeof tensors[i].dtype, "%s", dtype);
        memcpy(tensors[i].shape, list[i].shape, sizeof list[i].shape);
        for (int64_t e = 0; e < list[i].count; e++) memcpy(data[i] + (size_t)e * size, one, size);
    }
    return 4;
}

static void every_float_type_is_read(void **state) {
    Bench *b = *state;
    const float single = -1.5f;
    const double wide = -1.5;
    const uint16_t half = 0xBE00, brain = 0xBFC0;
    const struct {
        const char *dtype;
        const void *value;
    } types[4] = {{"F32", &single}, {"F64", &wide}, {"F16", &half}, {"BF16", &brain}};
    float *values = calloc((size_t)b->params.total, sizeof(float));
    for (int t = 0; t < 4; t++) {
        SafeTensor tensors[4];
        Error error;
        memset(values, 0, (size_t)b->params.total * sizeof(float));
        ones(tensors, "", types[t].dtype, types[t].value);
        if (!foreign_load(b, "", tensors, 4, values, &error)) fail_msg("%s: %s", types[t].dtype, error.text);
        for (int p = 1; p < b->params.count; p++) {
            const Param *param = &b->params.params[p];
            for (int64_t i = 0; i < param->count; i++) assert_true(values[param->offset + i] == -1.5f);
        }
    }
    free(values);
}

static void prefixes_and_buffers(void **state) {
    Bench *b = *state;
    const float one = 1;
    SafeTensor tensors[5];
    Error error;
    float *values = calloc((size_t)b->params.total, sizeof(float));
    ones(tensors, "model.", "F32", &one);
    assert_true(foreign_load(b, "", tensors, 4, values, &error));
    assert_true(foreign_load(b, "model.", tensors, 4, values, &error));
    assert_false(foreign_load(b, "ema:0.05.", tensors, 4, values, &error));
    tensors[4] = tensors[3];
    strcpy(tensors[4].name, "model.enc.block.conv0.resample_filter");
    assert_true(foreign_load(b, "", tensors, 5, values, &error));
    free(values);
}

static void all_that_does_not_fit_is_named_at_once(void **state) {
    Bench *b = *state;
    const float one = 1;
    SafeTensor tensors[4];
    Error error;
    float *values = calloc((size_t)b->params.total, sizeof(float));
    ones(tensors, "", "F32", &one);
    strcpy(tensors[0].name, "surplus");               /* "frozen" is missing, "surplus" unknown */
    tensors[1].shape[0] = 3, tensors[1].shape[1] = 4; /* OIHW of another network of equal size */
    strcpy(tensors[3].dtype, "I32");
    assert_false(foreign_load(b, "", tensors, 4, values, &error));
    assert_non_null(strstr(error.text, "1 missing: frozen"));
    assert_non_null(strstr(error.text, "1 of another shape: conv.weight"));
    assert_non_null(strstr(error.text, "1 not of floating-point type: bias"));
    assert_non_null(strstr(error.text, "1 unknown to this network: surplus"));
    free(values);
}

int main(void) {
#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, bench_make, bench_free)
    const struct CMUnitTest tests[] = {
        WITH_BENCH(everything_comes_back_to_the_last_bit),
        WITH_BENCH(files_keep_the_order_of_EDM),
        WITH_BENCH(the_newest_intact_one_is_found),
        WITH_BENCH(pruning_keeps_the_last_two),
        WITH_BENCH(later_ones_are_set_aside),
        WITH_BENCH(other_runs_are_refused),
        WITH_BENCH(every_float_type_is_read),
        WITH_BENCH(prefixes_and_buffers),
        WITH_BENCH(all_that_does_not_fit_is_named_at_once),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
