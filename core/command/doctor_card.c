/* Nothing here opens a card: networks are recorded and planned without one (train/fit.h), so the question can
 * be asked of a card that one has not got. */
#include "command/doctor_card.h"

#include "base/file.h"
#include "base/text.h"
#include "plan/plan.h"
#include "train/fit.h"
#include "train/network.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

/* A published set need not be here for its size to be known; 0 for other sets that are not. */
static int data_resolution(const Config *config, const Paths *paths) {
    Dataset data;
    Error error;
    if (config->data.resolution) return config->data.resolution;
    if (!strncmp(config->data.name, "cifar10", 7)) return 32;
    if (!strncmp(config->data.name, "imagenet64", 10)) return 64;
    if (!dataset_open(&config->data, paths->data, &data, &error)) return 0;
    const int resolution = data.height;
    dataset_close(&data);
    return resolution;
}

static bool config_of(const char *file, Config *config) {
    Plan plan;
    Error error;
    const PlanRequest request = {.files = &file, .file_count = 1, .without_data = true};
    if (!plan_make(&request, &plan, &error)) return false;
    *config = plan.runs[0].config;
    plan_free(&plan);
    return true;
}

/* "256 of 4096 images at a time in fp16 (61.2 GiB)" */
static void fit_describe(const Config *config, int resolution, Precision precision, double bytes, Text *out) {
    const FitRequest request = {.model = &config->model,
                                .train = &config->train,
                                .teacher = config->ct.teacher_ema != 0,
                                .precision = precision,
                                .resolution = resolution,
                                .channels = 3};
    const int micro = fit_micro_batch(&request, (size_t)bytes);
    const FitNeeds needs = fit_needs(&request, micro ? micro : 1);
    char text[32];
    format_bytes(text, (double)fit_total(&needs));
    if (micro)
        text_append(out, "%d of %d images at a time in %s (%s)", micro, config->train.batch,
                    precision_name(precision), text);
    else
        text_append(out, "does not fit in %s: one image needs %s", precision_name(precision), text);
}

static void experiment_fit(const char *file, const Paths *paths, double bytes) {
    Config config;
    Text text = {0};
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    const int resolution = config_of(file, &config) ? data_resolution(&config, paths) : 0;
    if (!resolution) return;
    fit_describe(&config, resolution, config.precision, bytes, &text);
    if (precision_dtype(config.precision) == DTYPE_F32) {
        text_append(&text, ", ");
        fit_describe(&config, resolution, PRECISION_FP16, bytes, &text);
    }
    printf("  %-18.*s %s\n", (int)strcspn(name, "."), name, text_view(&text));
    text_free(&text);
}

void doctor_fits(const Paths *paths, double bytes) {
    char folder[1024], pattern[1024], text[32];
    glob_t found;
    path_join(pattern, path_join(folder, paths->root, "experiments"), "*.yaml");
    printf("  what trains in %s of a card's memory:\n", format_bytes(text, bytes));
    if (glob(pattern, 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++) experiment_fit(found.gl_pathv[i], paths, bytes);
    globfree(&found);
}
