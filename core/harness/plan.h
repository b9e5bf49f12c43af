/* From YAML files, overrides and a scale to the list of runs they mean. */
#ifndef ICT_HARNESS_PLAN_H
#define ICT_HARNESS_PLAN_H

#include "harness/config.h"

typedef struct RunSpec {
    char id[16];           /* first digits of the hash of identity configuration and data hash */
    char experiment[64];   /* the YAML's name */
    char arm[96];          /* "EMA 0.99", "" without arms; grid points other than seed are part of it */
    char scale[16];
    Config config;
    char data_hash[65];
} RunSpec;

typedef struct Experiment {
    char name[64], file[512];
    char *notes, *yaml;    /* the text as read, bases not included */
} Experiment;

typedef struct Plan {
    Experiment *experiments;
    int experiment_count;
    RunSpec *runs;
    int run_count;
} Plan;

typedef struct PlanRequest {
    const char *const *files;
    int file_count;
    const char *const *overrides; /* "key=value" or "key=v1,v2,v3" (a sweep) */
    int override_count;
    const char *scale;            /* NULL: the experiment's own (paper) */
    const char *data_folder;
} PlanRequest;

/* Reports every problem at once (file:line:column each), one per line. Opens the data sets to know their hashes. */
bool plan_make(const PlanRequest *, Plan *, Error *);
void plan_free(Plan *);

#endif
