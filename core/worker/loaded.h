/* A network with weights from a file, ready to sample or to be applied: what `sample`, `eval` and `apply`
 * share. */
#ifndef ICT_WORKER_LOADED_H
#define ICT_WORKER_LOADED_H

#include "worker/samples.h"
#include "store/store.h"
#include "train/network.h"

typedef struct Loaded {
    Config config; /* classes as the weights have them */
    int resolution, channels;
    int64_t step;             /* of a checkpoint; 0 for other files */
    char parametrisation[16]; /* which f the weights are for, if the file says so: boundary, edm, vp, ve */
    Device *device;           /* borrowed */
    ParamSet params;
    Network network;
    float *weights;   /* device memory */
    const void *cast; /* the same as the network's products read them */
    void *narrow;     /* the memory of `cast` where it is not `weights` itself */
    Sampler *sampler;
} Loaded;

/* `weights` names a set in the file: "raw", "teacher", "ema:0.05", or NULL for a bare network (the file's
 * names then have no prefix, or "model."). resolution 0: that of the configuration's data. `batch` images go
 * through at a time. */
bool loaded_open(const Config *, const char *path, const char *weights, int resolution, int batch, Device *,
                 Loaded *, Error *);
void loaded_close(Loaded *);

/* Whether f = c_skip x + c_out F is what the weights were made for (scripts/convert_weights.py says it in its
 * files). EDM's denoisers see sigma where consistency models see sigma - sigma_min: a warning when
 * ct.sigma_shift says otherwise. EDM's vp and ve networks see another noise input: an error. F alone is
 * always possible. */
bool loaded_check_function(const Loaded *, Error *);

/* What stands before the parameters' names in a checkpoint: "model." for "raw", "ema:0.05."
 * for "ema:0.05". */
const char *loaded_prefix(const char *weights, char out[64]);

/* The newest sound checkpoint of a run, and the run's configuration. */
bool loaded_find(const RunRow *, const char *results, char path[1024], Config *, Error *);

/* A folder made by `export --hub`: its weights (bare: open them with `weights` NULL) and its
 * configuration. */
#define LOADED_WEIGHTS "model.safetensors"
bool loaded_is_folder(const char *folder);
bool loaded_find_folder(const char *folder, char path[1024], Config *, Error *);

/* A SampleDraw; the context is the Loaded. */
bool loaded_draw(void *loaded, const SamplerConfig *, uint32_t first, int count, const int32_t *labels,
                 float *images, Error *);

#endif
