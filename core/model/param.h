/* Parameters of a network: names, shapes, places in one flat fp32 array, and how they begin.
 *
 * Names and shapes are EDM's (`enc.16x16_block0.conv0.weight`, OIHW); in memory convolution weights are OHWI
 * and the query/key/value rows of attention lie in three blocks instead of interleaved. Files keep EDM's
 * order, so a state_dict of EDM's network loads as it is; param_to_file() and param_from_file() convert.
 */
#ifndef ICT_MODEL_PARAM_H
#define ICT_MODEL_PARAM_H

#include "graph/graph.h"

typedef enum ParamLayout {
    PARAM_PLAIN, /* same order in file and memory */
    PARAM_CONV,  /* OIHW in the file, OHWI in memory */
    PARAM_QKV    /* output channels [head][d][qkv] in the file (EDM), [qkv][head][d] in memory */
} ParamLayout;

/* EDM's rules: the bound or deviation is sqrt(6/(in+out)), sqrt(3/in) and sqrt(1/in). */
typedef enum ParamInit {
    INIT_CONSTANT,
    INIT_XAVIER_UNIFORM,
    INIT_KAIMING_UNIFORM,
    INIT_KAIMING_NORMAL,
    INIT_NORMAL,
    INIT_POSITIONAL,         /* 10000^(-i / count): the frequencies of the sinusoidal embedding, */
    INIT_POSITIONAL_ENDPOINT /* 10000^(-i / (count - 1)) */
} ParamInit;

typedef struct Param {
    char name[96];
    int rank, shape[4]; /* as in the file */
    int64_t offset, count;
    ParamLayout layout;
    int heads; /* PARAM_QKV */
    ParamInit init;
    float init_scale; /* multiplies the draw; the value itself for INIT_CONSTANT */
    int fan_in, fan_out;
    bool trainable; /* frozen ones (Fourier frequencies) are never updated */
    bool in_file;   /* positional frequencies are computed and never stored */
} Param;

typedef struct ParamSet {
    Param *params;
    int count, capacity;
    int64_t
        frozen; /* elements of the flat array that are never updated: a prefix, so they are declared first */
    int64_t total; /* all elements, padding between parameters included */
} ParamSet;

/* The offset of `param` (by its name), which is added first when it is new. */
ParamOffset param_declare(ParamSet *, Param param);
const Param *param_find(const ParamSet *, const char *name);
int64_t param_count(const ParamSet *); /* trainable parameters without padding */
void param_free(ParamSet *);

/* Initial values, a pure function of the seed, the parameter's number and the element in file order. */
void param_initialise(const ParamSet *, uint64_t seed, float *values);

void param_to_file(const Param *, const float *values, float *file); /* `values` is the flat array */
void param_from_file(const Param *, const float *file, float *values);

#endif
