/* Classifiers: which images each may see and what it is called; a file gives back the very network that was
 * written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "train/classifier_file.h"
#include "train/features.h"
#include "tests/unit/scratch.h"

#include <string.h>

static void test_nobody_sees_what_another_has_seen(void **state) {
    (void)state;
    char text[32];
    for (int count = 50000; count > 10; count = count * 3 / 7) {
        const ImageRange loss = classifier_train_range(CLASSIFIER_LOSS, count),
                         judge = classifier_train_range(CLASSIFIER_JUDGE, count),
                         held_out = classifier_held_out(count);
        assert_int_equal(loss.first, 0);
        assert_int_equal(judge.first, loss.count);
        assert_int_equal(held_out.first, judge.first + judge.count);
        assert_int_equal(held_out.first + held_out.count, count);
    }
    assert_string_equal(image_range_name(classifier_train_range(CLASSIFIER_LOSS, 50000), text), "0-24999");
    assert_string_equal(image_range_name(classifier_train_range(CLASSIFIER_JUDGE, 50000), text),
                        "25000-44999");
    assert_string_equal(image_range_name(classifier_held_out(50000), text), "45000-49999");
}

static void test_names(void **state) {
    (void)state;
    char name[64];
    const Dataset cifar = {.name = "cifar10-jpeg", .height = 32},
                  shapes = {.name = "shapes", .height = 16, .count = 2048};
    assert_string_equal(classifier_name(CLASSIFIER_JUDGE, &cifar, name), "classifier-judge-cifar10-jpeg");
    assert_string_equal(classifier_name(CLASSIFIER_LOSS, &shapes, name), "classifier-loss-shapes-16-2048");
}

/* A network of this configuration, its parameters drawn, written and described. */
static void file_gives_back(ClassifierConfig config) {
    ParamSet params = {0};
    Graph *graph = graph_create();
    Error error;
    SafeTensors file;
    FeatureSpec spec;
    const Dataset data = {.name = "toys", .height = 16};
    const ClassifierFacts facts = {.role = CLASSIFIER_JUDGE, .data = &data, .accuracy = 0.5, .run = "ab12"};
    const Value images = graph_input(graph, "image", DTYPE_F32, 1, 16, 16, 3, false);
    const ClassifierNet net = classifier_record(&config, &params, graph, images, 10, PRECISION_FP32);
    assert_int_equal(net.dimension, config.widths[config.stages - 1]);
    assert_int_equal(graph_shape(graph, net.features).c, net.dimension);
    assert_int_equal(graph_shape(graph, net.stage[net.stages - 1]).h, 16 >> (config.stages - 1));
    float *values = calloc((size_t)params.total, sizeof *values);
    param_initialise(&params, 3, values);
    const char *path = scratch("network.safetensors");
    assert_true(classifier_file_write(path, &params, values, &facts, &error));
    assert_true(safetensors_open(path, &file, &error));
    if (!features_describe(&file, &spec, &error)) fail_msg("%s", error.text);
    assert_memory_equal(&spec.classifier, &config, sizeof config);
    assert_int_equal(spec.classes, 10);
    assert_int_equal(spec.resolution, 16);
    assert_true(features_check(&file, &spec, &error));
    assert_string_equal(safetensors_metadata(&file, "run"), "ab12");
    safetensors_close(&file);
    free(values);
    graph_free(graph);
    param_free(&params);
}

static void test_files(void **state) {
    (void)state;
    file_gives_back((ClassifierConfig){CLASSIFIER_VGG, 3, {8, 16, 32}, 2, 0});
    file_gives_back((ClassifierConfig){CLASSIFIER_VGG, 4, {8, 16, 32, 32}, 1, 0});
    file_gives_back((ClassifierConfig){CLASSIFIER_RESIDUAL, 3, {8, 16, 32}, 1, 0});
    file_gives_back((ClassifierConfig){CLASSIFIER_RESIDUAL, 2, {16, 24}, 3, 0});
    file_gives_back(classifier_small());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_sees_what_another_has_seen),
        cmocka_unit_test(test_names),
        cmocka_unit_test_setup_teardown(test_files, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests_name("classifiers", tests, NULL, NULL);
}
