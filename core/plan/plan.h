/* From YAML files, overrides and a scale to the list of runs they mean. The rules are in
 * experiments/README.md: settings are applied in the order base chain, own settings, `set`, scale (its file,
 * then the experiment's `scales`), arm, what the scale has instead of single values, grid point, command
 * line. */
#ifndef ICT_PLAN_PLAN_H
#define ICT_PLAN_PLAN_H

#include "config/config.h"
#include "train/classifier_file.h"

typedef struct RunSpec {
    char id[16];         /* first digits of the hash of identity configuration and data hash */
    char experiment[64]; /* the YAML's name */
    char arm[96];        /* "" without arms; grid points but the seed are in it: "EMA 0.99, ct.s1=160" */
    char scale[16];
    Config config;
    char data_hash[65];
    bool waits; /* for a classifier (Plan.needs): the id is not the final one */
} RunSpec;

typedef struct Experiment {
    char name[64], file[512];
    char *notes, *yaml; /* the text as read, bases not included */
} Experiment;

/* A classifier that runs of a plan are trained against or judged by. */
typedef struct ClassifierNeed {
    ClassifierRole role;
    char name[64]; /* classifier_name() */
    DataConfig data;
} ClassifierNeed;

enum { MOST_NEEDS = 16 };

typedef struct Plan {
    Experiment *experiments;
    int experiment_count;
    ClassifierNeed needs[MOST_NEEDS]; /* that are not there yet (PlanRequest.classifiers_later) */
    int need_count;
    RunSpec *runs; /* by seed, and for each by experiment: all arms of all first seeds come first */
    int run_count;
} Plan;

typedef struct PlanRequest {
    const char *const *files;
    int file_count;
    const char *const
        *overrides; /* "key=value" or "key=v1,v2,v3" (a sweep); replaces a grid's values for the key */
    int override_count;
    const char *scale;       /* NULL: the experiment's own (paper, unless its file says otherwise) */
    bool scale_where_named;  /* only of files that say under `scales` what they change there */
    const char *const *arms; /* only these; NULL: all */
    int arm_count;
    const char *data_folder;
    const char *weights_folder; /* feature networks; NULL: weights */
    const char *scale_folder;   /* NULL: experiments/scales */
    bool classifiers_later; /* a missing classifier is no problem but a need of the plan, whose runs have no
                               final ids then: train it, and plan again */
    bool without_data; /* opens no data set; ids and data hashes stay empty, nothing is checked against the
                          data */
} PlanRequest;

/* Reports every problem at once (file:line:column each), one per line; the plan is empty then. Opens each
 * data set once to know its hash. Runs of one experiment differ from each other; runs of different
 * experiments may have the same id: they are the same run. */
bool plan_make(const PlanRequest *, Plan *, Error *);
void plan_free(Plan *);

/* Notes the classifiers that a configuration asks for and that are not below `folder`; whether there are any
 * (plan_needs.c). */
bool plan_note_needs(Plan *, const Config *, const Dataset *, const char *folder);

/* The id that a configuration has on data with this hash. */
void plan_run_id(const Config *, const char *data_hash, char id[16]);

#endif
