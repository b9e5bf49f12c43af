/* Feature networks from files: weights/<name>/weights.safetensors, with weights.yaml beside it, put there by
 * `weights import`. A file says in its metadata which kind of network it is for; sizes are read off its
 * tensors. */
#ifndef ICT_TRAIN_FEATURES_H
#define ICT_TRAIN_FEATURES_H

#include "base/hash.h"
#include "ct/ct.h"
#include "ct/perceptual.h"
#include "model/features.h"
#include "data/dataset.h"
#include "base/safetensors.h"

/* ---- stored files ---- */

/* Copies PATH, when it is a feature network's file, to <folder>/<name>/. A name that stands for published
 * weights (vgg16-lpips, inception) takes those only: the file must say that it was made from them. */
bool features_import(const char *name, const char *path, const char *folder, Error *);

/* The same for what run RUN has trained, in place of what it trained before. A network of any other origin
 * stays: `other` then says whose ("run 1f3a9c02", "an import"), and is "" otherwise. */
bool features_publish(const char *name, const char *path, const char *folder, const char *run, char other[64],
                      Error *);

/* One line per stored network; those that are known but absent with what to do. */
bool features_list(const char *folder, Error *);

/* Path and SHA-256 of a stored network; the message for a missing one says how to get it and what to do
 * meanwhile. */
bool features_find(const char *name, const char *folder, char path[1024], Hash *, Error *);

/* ---- a network at work ---- */

typedef struct FeatureRequest {
    int n, h, w, c; /* images: at most n at a time, a divisor of n is chosen */
    PoolKind pool;
    int size;      /* as FeatureConfig.size */
    double pixels; /* as FeatureConfig.pixels */
    bool tf32;     /* its convolutions may round to TF32 */
} FeatureRequest;

/* What a perceptual distance asks for, on images of this data set. */
FeatureRequest features_request(const FeatureConfig *, const Dataset *, int images, bool tf32);

/* Reads and prepares; the file must have this SHA-256 (features_unchanged()). */
bool features_open(const char *path, const char *hash, const FeatureRequest *, Device *, FeatureNetwork *,
                   Error *);
void features_close(FeatureNetwork *, Device *);

/* Device memory that the opened network and the measuring of distances will take. */
bool features_memory(const char *path, const FeatureRequest *, const Device *, size_t *bytes, Error *);

/* Whether the file has this SHA-256; NULL and "any" fit all. */
bool features_unchanged(const char *path, const char *hash, Error *);

/* Kind and sizes of a file's network; what it is recorded for stays 0. */
bool features_describe(const SafeTensors *, FeatureSpec *, Error *);
/* Whether the file holds all parameters of that network, and nothing else. */
bool features_check(const SafeTensors *, const FeatureSpec *, Error *);
const char *feature_kind_name(FeatureKind);
/* All parameters of a recorded network in memory order, malloc'ed; NULL and an error when the file has
 * others. */
float *features_parameters(const SafeTensors *, const ParamSet *, const FeatureNet *, Error *);

#endif
