/* The classifiers that runs need before they can be planned: their files' checksums are part of the runs'
 * ids. */
#include "plan/plan.h"
#include "train/features.h"

#include <string.h>

static bool need_note(Plan *plan, ClassifierRole role, const Config *config, const Dataset *data,
                      const char *folder) {
    char path[1024];
    Hash hash;
    ClassifierNeed need = {.role = role, .data = config->data};
    classifier_name(role, data, need.name);
    if (features_find(need.name, folder, path, &hash, NULL)) return false;
    for (int i = 0; i < plan->need_count; i++)
        if (!strcmp(plan->needs[i].name, need.name)) return true;
    CHECK(plan->need_count < MOST_NEEDS, "more than %d classifiers to train first", MOST_NEEDS);
    plan->needs[plan->need_count++] = need;
    return true;
}

bool plan_note_needs(Plan *plan, const Config *config, const Dataset *data, const char *folder) {
    static const ClassifierRole roles[] = {CLASSIFIER_LOSS, CLASSIFIER_JUDGE};
    bool any = false;
    for (int i = 0; i < 2; i++)
        if (config_needs_classifier(config, roles[i]) && need_note(plan, roles[i], config, data, folder))
            any = true;
    return any;
}
