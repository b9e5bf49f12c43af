/* Two classifiers of one data set: the loss network, whose stages measure a perceptual distance, and the
 * judge, whose features measure sets of images. Neither takes the other's place, what they have seen is
 * compared, and every number says whose it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/mentions.h"
#include "tests/unit/scratch.h"
#include "eval/space.h"
#include "config/config.h"
#include "train/classifier_file.h"
#include "train/features.h"

#include <string.h>

enum { SIZE = 16, COUNT = 200 };
static Device *device;
static Dataset data;

static const ClassifierConfig judge_network = {CLASSIFIER_RESIDUAL, 3, {8, 16, 32}, 1, 0},
                              loss_network = {CLASSIFIER_VGG, 3, {8, 16, 24}, 1, 0};

/* A file with random weights that says what it is. */
static const char *network_write(const ClassifierConfig *network, ClassifierRole role, ImageRange trained) {
    ParamSet params = {0};
    Graph *graph = graph_create();
    Error error;
    const ClassifierFacts facts = {.role = role, .data = &data, .trained = trained, .held_out = {180, 20}};
    const Value images = graph_input(graph, "image", DTYPE_F32, 1, SIZE, SIZE, 3, false);
    classifier_record(network, &params, graph, images, 10, PRECISION_FP32);
    float *values = calloc((size_t)params.total, sizeof *values);
    param_initialise(&params, 3, values);
    const char *path = scratch("network.safetensors");
    if (!classifier_file_write(path, &params, values, &facts, &error)) fail_msg("%s", error.text);
    free(values);
    graph_free(graph);
    param_free(&params);
    return path;
}

/* weights/<name>, from a file of that network, role and share. */
static const char *weights_make(const char *folder, const char *name, const ClassifierConfig *network,
                                ClassifierRole role, ImageRange trained) {
    static char path[1024];
    Error error;
    snprintf(path, sizeof path, "%s/%s", scratch_folder, folder);
    if (!features_import(name, network_write(network, role, trained), path, &error))
        fail_msg("%s", error.text);
    return path;
}

static const char *both_make(void) {
    weights_make("both", "classifier-loss-shapes-16-200", &loss_network, CLASSIFIER_LOSS,
                 classifier_train_range(CLASSIFIER_LOSS, COUNT));
    return weights_make("both", "classifier-judge-shapes-16-200", &judge_network, CLASSIFIER_JUDGE,
                        classifier_train_range(CLASSIFIER_JUDGE, COUNT));
}

/* ---- the spaces ---- */

static void space_case(const char *name, const char *folder, int dimension, const char *note, Hash *hash) {
    Error error = {0};
    Space space;
    const SpaceFolders folders = {"", folder};
    assert_true(space_available(name, &data, folder, &error));
    if (!space_open(name, &data, device, &folders, &space, &error)) fail_msg("%s", error.text);
    assert_int_equal(space.dimension, dimension);
    assert_string_equal(space.note, note);
    float features[2 * 32];
    space.run(space.network, data.images, 2, features, NULL);
    assert_true(memcmp(features, features + dimension, (size_t)dimension * sizeof *features) != 0);
    *hash = space.hash;
    space_close(&space);
}

static void test_each_role_has_a_space(void **state) {
    (void)state;
    Hash judge, loss;
    const char *folder = both_make();
    space_case("classifier", folder, 32, "trained on 100-179", &judge);
    space_case("classifier-loss", folder, 24, "trained on 0-99", &loss);
    assert_string_not_equal(judge.hex, loss.hex);
}

static void space_refused(const char *name, const Dataset *like, const char *folder, const char *word) {
    Error error = {0};
    Space space;
    const SpaceFolders folders = {"", folder};
    assert_false(space_open(name, like, device, &folders, &space, &error));
    assert_mentions(&error, word);
}

static void test_roles_are_not_exchanged(void **state) {
    (void)state;
    weights_make("swapped", "classifier-loss-shapes-16-200", &judge_network, CLASSIFIER_JUDGE,
                 (ImageRange){100, 80});
    const char *swapped = weights_make("swapped", "classifier-judge-shapes-16-200", &loss_network,
                                       CLASSIFIER_LOSS, (ImageRange){0, 100});
    space_refused("classifier", &data, swapped, "trained as loss network");
    space_refused("classifier-loss", &data, swapped, "trained as judge network");
    const char *wrong = weights_make("wrong", "classifier-judge-toys", &judge_network, CLASSIFIER_JUDGE,
                                     (ImageRange){100, 80});
    const Dataset small = {.name = "toys", .height = 8, .width = 8, .channels = 3},
                  grey = {.name = "toys", .height = SIZE, .width = SIZE, .channels = 1};
    space_refused("classifier", &small, wrong, "16 x 16");
    space_refused("classifier", &grey, wrong, "3 channels");
}

/* Every number of a classifier's space says what the network has seen. */
static void test_numbers_say_what_the_judge_has_seen(void **state) {
    (void)state;
    const EvaluationConfig config = {.metrics = {"fd-classifier", "kd-classifier-loss"}, .metric_count = 2};
    const SpaceFolders folders = {scratch_folder, both_make()};
    Error error;
    Evaluation numbers[MAX_EVALUATIONS];
    Evaluator *evaluator = evaluator_open(&config, &data, device, &folders, &error);
    if (!evaluator) fail_msg("%s", error.text);
    assert_int_equal(evaluator_run(evaluator, data.images, COUNT, "round", numbers, &error), 3);
    assert_string_equal(numbers[0].metric, "fd-classifier");
    assert_string_equal(numbers[0].protocol, "round; trained on 100-179");
    assert_string_equal(numbers[1].metric, "kd-classifier-loss");
    assert_string_equal(numbers[1].protocol, "round; 100 subsets of 100; trained on 0-99");
    evaluator_close(evaluator);
}

static void test_a_missing_one_names_its_training(void **state) {
    (void)state;
    const Dataset cifar = {.name = "cifar10-jpeg", .height = 32, .width = 32, .channels = 3};
    space_refused("classifier", &cifar, scratch("nothing"),
                  "`./run experiments/classifier_cifar10.yaml data.name=cifar10-jpeg` trains them");
    space_refused("classifier-loss", &data, scratch("nothing"),
                  "experiments/classifier_shapes.yaml data.resolution=16 data.count=200`");
}

/* ---- a run's configuration ---- */

static Config config_make(const char *perceptual, const char *metrics) {
    Config config = config_default();
    Error error;
    assert_true(config_set(&config, "ct.distance", "perceptual", &error));
    assert_true(config_set(&config, "ct.perceptual", perceptual, &error));
    assert_true(config_set(&config, "evaluation.metrics", metrics, &error));
    return config;
}

static void test_a_run_finds_its_loss_network(void **state) {
    (void)state;
    const char *folder = both_make();
    char path[1024];
    Error error = {0};
    Hash hash;
    Config config = config_make("classifier", "[fd-classifier, fd-classifier-loss]");
    if (!config_bind_features(&config, &data, folder, path, &error)) fail_msg("%s", error.text);
    assert_non_null(strstr(path, "classifier-loss-shapes-16-200/weights.safetensors"));
    assert_true(hash_file(path, &hash, &error));
    assert_string_equal(config.ct.perceptual.hash, hash.hex);
    if (!config_check_judge(&config, &data, folder, &error)) fail_msg("%s", error.text);
}

static void test_a_judge_is_no_loss(void **state) {
    (void)state;
    char path[1024];
    Error error = {0};
    Config config = config_make("classifier-judge-shapes-16-200", "[fd-random]");
    assert_false(config_bind_features(&config, &data, both_make(), path, &error));
    assert_mentions(&error, "is the judge of shapes");
    assert_mentions(&error, "ct.perceptual=classifier");
}

/* Files whose shares overlap, as nothing here makes them. */
static void test_shares_in_common_are_refused(void **state) {
    (void)state;
    char path[1024];
    Error error = {0};
    Config config = config_make("classifier", "[fd-classifier]");
    weights_make("common", "classifier-loss-shapes-16-200", &loss_network, CLASSIFIER_LOSS,
                 (ImageRange){0, 101});
    const char *folder = weights_make("common", "classifier-judge-shapes-16-200", &judge_network,
                                      CLASSIFIER_JUDGE, (ImageRange){100, 80});
    assert_true(config_bind_features(&config, &data, folder, path, &error));
    assert_false(config_check_judge(&config, &data, folder, &error));
    assert_mentions(&error, "images 0-100 of shapes, the judge on 100-179");
    assert_true(config_set(&config, "ct.distance", "l2", &error));
    assert_true(config_check_judge(&config, &data, folder, &error));
}

static void test_files_say_disjoint_shares(void **state) {
    (void)state;
    ClassifierRecord loss, judge;
    Error error = {0};
    char path[1100];
    const char *folder = both_make();
    snprintf(path, sizeof path, "%s/classifier-loss-shapes-16-200/weights.safetensors", folder);
    assert_true(classifier_file_read(path, &loss, &error));
    snprintf(path, sizeof path, "%s/classifier-judge-shapes-16-200/weights.safetensors", folder);
    assert_true(classifier_file_read(path, &judge, &error));
    assert_true(loss.trained.first + loss.trained.count <= judge.trained.first);
    assert_string_equal(loss.data_hash, data.hash.hex);
    assert_true(classifiers_independent(&loss, &judge, &error));
    assert_false(classifiers_independent(&judge, &loss, &error));
    assert_mentions(&error, "must not judge it");
    assert_false(classifiers_independent(&loss, &loss, &error));
    strcpy(judge.dataset, "copy"); /* the same images under another name */
    judge.trained = loss.trained;
    assert_false(classifiers_independent(&loss, &judge, &error));
    assert_mentions(&error, "none in common");
    strcpy(judge.data_hash, "other");
    assert_true(classifiers_independent(&loss, &judge, &error));
}

static int all_open(void **state) {
    (void)state;
    Error error;
    const DataConfig shapes = {.name = "shapes", .resolution = SIZE, .count = COUNT};
    return device_open("cpu", 2, &device, &error) && dataset_open(&shapes, "", &data, &error) ? 0 : -1;
}

static int all_close(void **state) {
    (void)state;
    dataset_close(&data);
    device_close(device);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(test_each_role_has_a_space),
        IN_SCRATCH(test_roles_are_not_exchanged),
        IN_SCRATCH(test_a_missing_one_names_its_training),
        IN_SCRATCH(test_numbers_say_what_the_judge_has_seen),
        IN_SCRATCH(test_a_run_finds_its_loss_network),
        IN_SCRATCH(test_a_judge_is_no_loss),
        IN_SCRATCH(test_shares_in_common_are_refused),
        IN_SCRATCH(test_files_say_disjoint_shares),
    };
    return cmocka_run_group_tests_name("judges", tests, all_open, all_close);
}
