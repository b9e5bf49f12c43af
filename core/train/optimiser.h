/* The trained state: weights, RAdam's moments, teacher EMA, sampling EMAs, as flat device arrays; and the per-step numbers
 * that drive one fused pass over them. */
#ifndef ICT_TRAIN_OPTIMISER_H
#define ICT_TRAIN_OPTIMISER_H

#include "backend/backend.h"
#include "model/param.h"

typedef struct OptimiserConfig {
    bool rectified; /* RAdam; otherwise Adam */
    double learning_rate, beta1, beta2, epsilon, weight_decay;
    /* Sampling EMAs: a relative width sigma_rel (< 0.3; power function, Karras et al. 2024) or a fixed decay (> 0.3). */
    double ema[MAX_EMAS];
    int emas;
} OptimiserConfig;

/* Numbers of step k (0-based; t = k + 1), all computed in double: torch.optim.RAdam's rectification, the power-function
 * decay (1 - 1/t)^(gamma + 1), mu. */
StepRow optimiser_row(const OptimiserConfig *, int64_t k, double teacher_decay);

/* gamma of a power-function EMA of relative width sigma_rel (Karras et al. 2024, eq. 126). */
double ema_gamma(double sigma_rel);
/* "ema:0.05": the name of EMA i in files and evaluations. */
const char *ema_name(const OptimiserConfig *, int i, char out[32]);

typedef struct Optimiser {
    Device *device;
    int64_t trainable, total;
    float *weight, *gradient, *momentum, *variance, *teacher, *ema[MAX_EMAS];
    int emas;
    UpdateReport *report;
    void *workspace;
} Optimiser;

Optimiser optimiser_create(Device *, const ParamSet *, const OptimiserConfig *, bool teacher);
void optimiser_free(Optimiser *);
void optimiser_set_weights(Optimiser *, const float *host); /* weights, teacher and EMAs all start here */
void optimiser_step(Optimiser *, const StepRow *row, float gradient_scale);

#endif
