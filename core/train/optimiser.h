/* The trained state: weights, RAdam's moments, teacher EMA, sampling EMAs, as flat device arrays; and the
 * per-step numbers that drive one fused pass over them. */
#ifndef ICT_TRAIN_OPTIMISER_H
#define ICT_TRAIN_OPTIMISER_H

#include "backend/backend.h"
#include "model/param.h"

typedef struct OptimiserConfig {
    bool rectified; /* RAdam; otherwise Adam */
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    /* Sampling EMAs: a relative width sigma_rel (< 0.28; power function, Karras et al. 2024) or a fixed decay
     * (> 0.5). */
    double ema[MAX_EMAS];
    int emas;
} OptimiserConfig;

/* Numbers of step k (0-based; t = k + 1), all computed in double: torch.optim.RAdam's rectification (Liu et
 * al. 2020), the decays of the EMAs, and `teacher_decay` = mu as it is. */
StepRow optimiser_row(const OptimiserConfig *, int64_t k, double teacher_decay);

/* gamma of a power-function EMA of relative width sigma_rel, 0 < sigma_rel < 0.28: the root of
 * sigma_rel^2 = (gamma + 1) / ((gamma + 2)^2 (gamma + 3)) (Karras et al. 2024, appendix C). */
double ema_gamma(double sigma_rel);
/* Decay of EMA i at step k: (1 - 1/t)^(gamma + 1), so that the first step replaces the initial weights; or
 * the fixed decay. */
double ema_decay(const OptimiserConfig *, int i, int64_t k);
/* "ema:0.05": the name of EMA i in files and evaluations. */
const char *ema_name(const OptimiserConfig *, int i, char out[32]);

/* All arrays are laid out as the ParamSet says and hold `total` floats; the first `frozen` ones are never
 * updated. */
typedef struct Optimiser {
    Device *device;
    int64_t frozen, total;
    float *weight, *gradient, *momentum, *variance;
    float *teacher; /* NULL without a teacher EMA */
    float *ema[MAX_EMAS];
    int emas;
    /* Copies of weight and teacher as products read them: the arrays themselves when dtype is fp32. */
    DType dtype;
    void *weight_cast, *teacher_cast;
    LossScale *loss_scale; /* NULL: none */
    UpdateReport *report;  /* of the last step, device memory */
    void *workspace;
} Optimiser;

Optimiser optimiser_create(Device *, const ParamSet *, const OptimiserConfig *, bool teacher);
/* Before the weights are set: keeps copies of 16 bits for such a precision. `loss_scale`: the first one; 0:
 * none.
 */
void optimiser_set_precision(Optimiser *, Precision, double loss_scale);
void optimiser_free(Optimiser *);
/* Weights (`total` floats), teacher and EMAs all start here; the moments start at 0. */
void optimiser_set_weights(Optimiser *, const float *host);
/* Makes the copies anew, after the arrays were written from outside. */
void optimiser_refresh(Optimiser *);
/* The loss scale's state, waiting for the device; {1, 0} without. */
LossScale optimiser_loss_scale(const Optimiser *);
void optimiser_set_loss_scale(Optimiser *, LossScale);
/* One step along `gradient`; `row` is device memory. */
void optimiser_step(Optimiser *, const StepRow *row, float gradient_scale);

#endif
