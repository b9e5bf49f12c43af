/* What only the weights' folder can say of a configuration. Apart from config_check.c, so that whoever only
 * reads configurations needs no networks. */
#include "eval/metric.h"
#include "config/config.h"
#include "train/classifier_file.h"
#include "train/features.h"

#include <string.h>

/* The name below `weights` that the setting stands for: each data set has a loss network of its own. */
static const char *network_name(const FeatureConfig *perceptual, const Dataset *data, char out[64]) {
    return strcmp(perceptual->name, PERCEPTUAL_CLASSIFIER) ? perceptual->name
                                                           : classifier_name(CLASSIFIER_LOSS, data, out);
}

/* A judge that a model was trained to please is none. Classifiers of other programs do not say their role. */
static bool judge_refuse(const char *path, Error *error) {
    ClassifierRecord record;
    return !classifier_file_read(path, &record, NULL) || record.role == CLASSIFIER_LOSS ||
           error_set(error,
                     "%s is the judge of %s, which must not know what it judges: "
                     "ct.perceptual=" PERCEPTUAL_CLASSIFIER " takes the data set's loss network",
                     path, record.dataset);
}

bool config_bind_features(Config *config, const Dataset *data, const char *folder, char path[1024],
                          Error *error) {
    FeatureConfig *perceptual = &config->ct.perceptual;
    char name[64];
    Hash hash;
    path[0] = 0;
    if (config->task == TASK_CLASSIFIER || config->ct.distance != DISTANCE_PERCEPTUAL) return true;
    if (!features_find(network_name(perceptual, data, name), folder, path, &hash, error) ||
        !judge_refuse(path, error))
        return false;
    if (strcmp(perceptual->hash, "any") && strcmp(perceptual->hash, hash.hex))
        return error_set(error, "%s has the SHA-256 %s, ct.perceptual_hash asks for %s", path, hash.hex,
                         perceptual->hash);
    strcpy(perceptual->hash, hash.hex);
    return true;
}

static bool has_space(const EvaluationConfig *evaluation, const char *space) {
    Metric metric;
    for (int i = 0; i < evaluation->metric_count; i++)
        if (metric_find(evaluation->metrics[i], &metric) && !strcmp(metric.space, space)) return true;
    return false;
}

bool config_needs_classifier(const Config *config, ClassifierRole role) {
    if (config->task == TASK_CLASSIFIER) return false;
    const bool trained = role == CLASSIFIER_LOSS && config->ct.distance == DISTANCE_PERCEPTUAL &&
                         !strcmp(config->ct.perceptual.name, PERCEPTUAL_CLASSIFIER);
    return trained ||
           has_space(&config->evaluation, role == CLASSIFIER_JUDGE ? "classifier" : "classifier-loss");
}

/* What the perceptual distance's network says of itself; false where there is none that says so. */
static bool loss_read(const Config *config, const Dataset *data, const char *folder,
                      ClassifierRecord *record) {
    char name[64], path[1024];
    Hash hash;
    return config->ct.distance == DISTANCE_PERCEPTUAL &&
           features_find(network_name(&config->ct.perceptual, data, name), folder, path, &hash, NULL) &&
           classifier_file_read(path, record, NULL);
}

bool config_check_judge(const Config *config, const Dataset *data, const char *folder, Error *error) {
    ClassifierRecord judge, loss;
    char name[64], path[1024];
    Hash hash;
    if (config->task == TASK_CLASSIFIER || !has_space(&config->evaluation, "classifier")) return true;
    if (!features_find(classifier_name(CLASSIFIER_JUDGE, data, name), folder, path, &hash, error) ||
        !classifier_file_read(path, &judge, error))
        return false;
    return !loss_read(config, data, folder, &loss) || classifiers_independent(&loss, &judge, error);
}
