/* What the parts of the command `eval` share. */
#ifndef ICT_COMMAND_EVAL_COMMAND_H
#define ICT_COMMAND_EVAL_COMMAND_H

#include "command/cli.h"
#include "answers/eval_table.h"

typedef struct EvalOptions {
    const char *weights, *metrics, *device, *images, *reference, *features, *statistics, *format, *perturb;
    int nfe, samples, repeats, threads;
    bool skip_bad;
} EvalOptions;

/* What the options change of an evaluation's configuration; "fd-random,classifier" goes through the key
 * table. */
bool eval_options_apply(const EvalOptions *, const Paths *, Config *, Error *);

/* Prints the table in the format asked for. */
bool eval_finish_table(EvalTable *, const EvalOptions *, Error *);

/* Images against a data set, other images or statistics; without `images` the reference's own statistics are
 * written. Nothing is stored. */
bool eval_images(const EvalOptions *, const Paths *, Device *, Error *);

/* Every metric on real images with known damage of growing strength: a table to see what a metric notices. */
bool eval_perturb(const EvalOptions *, const Paths *, Device *, Error *);

/* Features A against features B (NULL: not given). */
bool eval_features(const EvalOptions *, const char *b, Error *);

#endif
