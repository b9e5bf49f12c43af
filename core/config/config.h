/* The typed configuration of one run, and the one table that describes every key: type, default, range,
 * whether it enters the run's identity, and help. The table serves YAML, key=value overrides, `./run help
 * config`, the resolved configuration that is stored, and the hash.
 *
 * Identity. Two runs with equal identity are the same run: one of them is skipped. Everything that changes
 * the trained weights belongs to it, and everything that changes the evaluations stored with them: a run that
 * asked for other evaluations must not pass as done (`./run eval ID` evaluates old weights anew, without
 * training). Left out are keys that change neither: how often metrics and checkpoints are written, the
 * micro-batch (rounding only), the size of the sample picture. Keys at their default are left out too, so
 * that a new key, whose default is what the program did before, leaves old runs their ids; a default, once
 * given, is therefore never changed without a new NUMERICS_VERSION (test_config.c watches).
 */
#ifndef ICT_CONFIG_CONFIG_H
#define ICT_CONFIG_CONFIG_H

#include "base/text.h"
#include "ct/ct.h"
#include "eval/evaluate.h"
#include "model/unet.h"
#include "train/classifier_file.h"
#include "data/dataset.h"
#include "train/trainer.h"

/* Enters every run's id. Raised whenever the program starts to compute other numbers from the same
 * configuration (a changed initialisation, a corrected formula), so that old results are not taken for new
 * ones. */
enum { NUMERICS_VERSION = 1 };

/* What a run trains. */
typedef enum Task { TASK_CONSISTENCY, TASK_CLASSIFIER } Task;

typedef struct Config {
    Task task;
    int64_t seed;
    Precision precision;
    DataConfig data;
    bool class_conditional; /* key model.class_conditional; model.classes follows from it and the data set */
    ModelConfig model;
    CtConfig ct;
    TrainConfig train;
    EvaluationConfig evaluation;
    ClassifierTask classifier; /* architecture and ranges are the role's: config_classifier() */
} Config;

/* Defaults are those of the paper's CIFAR-10 model. */
Config config_default(void);

/* "ct.s0" from text, lists as "[16, 8]"; the message names the type, the range, or the nearest key. Nothing
 * changes on error. */
bool config_set(Config *, const char *key, const char *value, Error *);

/* Appends the value of a key, in its canonical text; false when there is no such key. */
bool config_get(const Config *, const char *key, Text *out);

/* True for "ct", the first part of keys. */
bool config_has_section(const char *name);
bool config_has_key(const char *name);
/* "; did you mean 'train.batch'?", or "" when no key or section is near. */
const char *config_suggestion(const char *name, char out[128]);

/* Which keys: all of them; those that make the identity (see above); of these, those that decide the weights,
 * hence all but the evaluation's. */
typedef enum ConfigPart { CONFIG_ALL, CONFIG_IDENTITY, CONFIG_TRAINING } ConfigPart;

/* "key: value" lines in the table's order. CONFIG_ALL, as YAML, reads back to the same configuration. */
void config_print(const Config *, ConfigPart, Text *out);

/* What config_print() wrote, over the defaults; every problem at once, as "name:line:column: ...". */
bool config_parse(const char *text, size_t size, const char *name, Config *, Error *);

/* Checks that need several keys at once (heads divide channels, s0 <= s1, ...): all at once, "key: message"
 * lines. */
bool config_check(const Config *, Error *);

/* Fills in what only the data set can say, model.classes, data.resolution and data.count, and checks the rest
 * against it (attention resolutions exist, labels for a class-conditional model, ...), all at once, like
 * config_check. */
bool config_bind(Config *, const Dataset *, Error *);

/* The same for the network of a perceptual distance: its checksum, which must be the one asked for if one is,
 * and in `path` its file below `folder` (weights); "" with other distances. A judge is refused. */
bool config_bind_features(Config *, const Dataset *, const char *folder, char path[1024], Error *);

/* Whether the run is trained against the data set's loss network, or a metric asks for that classifier. */
bool config_needs_classifier(const Config *, ClassifierRole);

/* Whether the judge is there, if a metric asks for it, and has seen none of the images that the network of
 * the perceptual distance was trained on, if that is a classifier. */
bool config_check_judge(const Config *, const Dataset *, const char *folder, Error *);

/* The classifier that the configuration asks for, on this data set. */
ClassifierTask config_classifier(const Config *, const Dataset *);

/* Every key with type, default, range and help. */
void config_help(Text *out);

#endif
