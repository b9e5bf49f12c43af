/* The typed configuration of one run, and the one table that describes every key: type, default, range, whether it enters
 * the run's identity, and help. The table serves YAML, key=value overrides, `./run help config`, the resolved configuration
 * that is stored, and the hash. */
#ifndef ICT_HARNESS_CONFIG_H
#define ICT_HARNESS_CONFIG_H

#include "base/text.h"
#include "ct/ct.h"
#include "eval/evaluate.h"
#include "model/unet.h"
#include "train/dataset.h"
#include "train/trainer.h"

typedef enum Precision { PRECISION_FP32, PRECISION_TF32, PRECISION_BF16, PRECISION_FP16 } Precision;

typedef struct Config {
    int64_t seed;
    Precision precision;
    DataConfig data;
    ModelConfig model;
    CtConfig ct;
    TrainConfig train;
    EvaluationConfig evaluation;
} Config;

/* Defaults are those of the paper's CIFAR-10 model. */
Config config_default(void);

/* "ct.s0" from text; the message names the type, the range, or the nearest key. */
bool config_set(Config *, const char *key, const char *value, Error *);

/* "key: value" lines in the table's order; `identity` leaves out what does not change the numbers. */
void config_print(const Config *, bool identity, Text *out);

/* Checks that need several keys at once (heads divide channels, attention resolutions exist, ...), all at once. */
bool config_check(const Config *, Error *);

/* Every key with type, default, range and help. */
void config_help(Text *out);

#endif
