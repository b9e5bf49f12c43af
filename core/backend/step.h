/* What a training step reads: noise levels, the table they are drawn from, the numbers that change from step
 * to step, and who draws. Part of the contract with a device (backend.h). */
#ifndef ICT_BACKEND_STEP_H
#define ICT_BACKEND_STEP_H

#include <stdint.h>

/* One noise level with everything the network and the loss derive from it (computed on the host,
 * in core/ct). */
typedef struct Level {
    float sigma, c_in, c_skip, c_out, c_noise;
    float weight; /* lambda of the pair (student at this level, teacher one below), loss normalisation
                     included */
    float reserved[2];
} Level;
enum { LEVEL_FIELDS = 8 };

/* The N levels of the current discretisation, ascending. `threshold[i]` is the cumulative law of the pair
 * index i as a 32-bit integer: a draw u selects the first i with u <= threshold[i]; integers agree on every
 * device. */
typedef struct LevelTable {
    int32_t levels; /* N: there are N - 1 pairs */
    Level *level;
    uint32_t *threshold;
} LevelTable;

enum { MAX_EMAS = 4 };

/* Everything that changes from step to step, computed on the host in double and uploaded some steps ahead.
 * Decays stay in double because the passes need 1 - decay: of a decay rounded to float that would keep only
 * three or four digits. */
typedef struct StepRow {
    uint32_t step;
    float learning_rate, epsilon, weight_decay;
    double beta1, beta2;
    float momentum_correction; /* 1 / (1 - beta1^t) */
    float adaptive;            /* rectification * sqrt(1 - beta2^t); 0 while RAdam is not adaptive yet */
    double teacher_decay;      /* mu */
    double ema_decay[MAX_EMAS];
} StepRow;

/* Loss scaling of fp16 training (Micikevicius et al. 2018): the gradient of `scale` times the loss, whose
 * small numbers would otherwise vanish. A step whose gradient is not finite changes nothing and halves the
 * scale; LOSS_SCALE_GROWTH sound steps in a row double it. Lives in device memory, where the step itself
 * advances it, so that nobody waits for the host. */
typedef struct LossScale {
    float scale;
    int32_t sound; /* steps since it changed */
} LossScale;
enum { LOSS_SCALE_GROWTH = 2000 };

/* Who draws: with stream and element this determines every random number of a step. The first sample's place
 * in the global batch makes draws independent of the micro-batch size. */
typedef struct DrawKey {
    uint64_t seed;
    const StepRow *row; /* device memory: row->step is the step */
    uint32_t first_sample;
} DrawKey;

#endif
