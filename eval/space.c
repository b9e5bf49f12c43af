/* The table of feature spaces, and the random one. */
#include "eval/space.h"
#include "eval/judge.h"

#include <string.h>

#define MEANWHILE                                                                                  \
    "; without it there are fd-random, kd-random, precision-random, ... (./run help config), and " \
    "`eval --features A.npz B.npz` takes any network's features that another tool has computed"

typedef struct SpaceKind {
    const char *name;
    bool (*open)(Space *, const Dataset *like, Device *, const SpaceFolders *, Error *);
    const char *missing; /* what to say where the network is not there (open NULL) */
} SpaceKind;

/* ---- random features ---- */

static void judge_features(void *network, const uint8_t *images, int count, float *features, float *logits) {
    (void)logits; /* it has none */
    judge_run(network, images, count, features);
}

static void judge_end(void *network) {
    judge_close(network);
}

static bool random_open(Space *space, const Dataset *like, Device *device, const SpaceFolders *folders,
                        Error *error) {
    (void)folders, (void)error; /* its weights come from a seed */
    Judge *judge = judge_random(like, device);
    space->dimension = judge->net.dimension;
    space->hash = judge->hash;
    space->network = judge;
    space->run = judge_features;
    space->close = judge_end;
    return true;
}

/* ---- the table ---- */

static const SpaceKind kinds[] = {
    {"random", random_open, NULL},
    {"classifier", NULL, "the features of a trained classifier are not in this build" MEANWHILE},
    {"inception", NULL,
     "FID, KID, IS, precision and recall need the Inception network of 2015-12-05 "
     "(pt_inception-2015-12-05-6726825d.pth, which pytorch-fid publishes), which is not in this "
     "build" MEANWHILE},
    {"vgg16", NULL,
     "metrics on VGG-16 need its published weights, and the network is not in this build" MEANWHILE},
};

static const SpaceKind *kind_find(const char *name, Error *error) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, name)) continue;
        if (kinds[i].open) return &kinds[i];
        error_set(error, "%s", kinds[i].missing);
        return NULL;
    }
    error_set(error, "there is no feature space '%s'", name);
    return NULL;
}

bool space_available(const char *name, Error *error) {
    return kind_find(name, error) != NULL;
}

bool space_open(const char *name, const Dataset *like, Device *device, const SpaceFolders *folders,
                Space *space, Error *error) {
    const SpaceKind *kind = kind_find(name, error);
    *space = (Space){0};
    if (!kind) return false;
    space->name = kind->name;
    return kind->open(space, like, device, folders, error);
}

void space_close(Space *space) {
    if (space->network) space->close(space->network);
    *space = (Space){0};
}
