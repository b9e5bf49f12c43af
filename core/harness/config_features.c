/* What only the weights' folder can say of a configuration. Apart from config_check.c, so that whoever only
 * reads configurations needs no networks. */
#include "harness/config.h"
#include "train/features.h"

#include <string.h>

bool config_bind_features(Config *config, const char *folder, char path[1024], Error *error) {
    FeatureConfig *perceptual = &config->ct.perceptual;
    Hash hash;
    path[0] = 0;
    if (config->ct.distance != DISTANCE_PERCEPTUAL) return true;
    if (!features_find(perceptual->name, folder, path, &hash, error)) return false;
    if (strcmp(perceptual->hash, "any") && strcmp(perceptual->hash, hash.hex))
        return error_set(error, "%s has the SHA-256 %s, ct.perceptual_hash asks for %s", path, hash.hex,
                         perceptual->hash);
    strcpy(perceptual->hash, hash.hex);
    return true;
}
