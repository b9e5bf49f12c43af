/* Consistency training: every choice of the method, named as in the papers (Song et al. 2023, "CM"; Song &
 * Dhariwal 2024, "iCT"). All arithmetic is in double; only the finished coefficients become floats.
 */
#ifndef ICT_CT_CT_H
#define ICT_CT_CT_H

#include "backend/backend.h"

typedef enum Curriculum {
    CURRICULUM_CONSTANT,
    CURRICULUM_SQUARE_ROOT,
    CURRICULUM_LINEAR,
    CURRICULUM_SQUARE,
    CURRICULUM_COSINE,
    CURRICULUM_EXPONENTIAL
} Curriculum;
typedef enum NoiseLaw { NOISE_UNIFORM, NOISE_LOGNORMAL } NoiseLaw;
typedef enum Weighting { WEIGHTING_ONE, WEIGHTING_INVERSE_GAP } Weighting;
typedef enum TeacherSchedule { TEACHER_FIXED, TEACHER_CT } TeacherSchedule;

/* The network of the perceptual distance. */
#define PERCEPTUAL_CLASSIFIER "classifier" /* stands for the data set's own loss network */
typedef struct FeatureConfig {
    char name[64]; /* of the weights: "vgg16-lpips" */
    char hash[72]; /* SHA-256 of their file, "any" before it is known */
    PoolKind pool; /* of a vgg16: CM's CIFAR code keeps max, OpenAI's takes the mean */
    int size;      /* images are resized to size x size; 0: to what the network was made for */
    double pixels; /* weight of the image itself beside the network's stages */
} FeatureConfig;

typedef struct CtConfig {
    double sigma_min, sigma_max, sigma_data, rho;
    bool sigma_shift; /* subtract sigma_min in c_skip and c_out (CM); off: ECT's training */
    Curriculum curriculum;
    int s0, s1;
    NoiseLaw noise;
    double p_mean, p_std; /* of ln sigma, lognormal law */
    Weighting weighting;
    Distance distance; /* l2 is squared; l2 and l1 are means over the image's elements */
    double huber_c;    /* 0: 0.00054 sqrt(d) */
    FeatureConfig perceptual;
    double teacher_ema; /* 0: teacher = stopgrad(student); mu, or mu_0 of the CT schedule */
    TeacherSchedule teacher_schedule;
} CtConfig;

/* N(k) in points (so N - 1 pairs) at step k of K: iCT eq. 9 for the exponential curriculum, CM section 5 for
 * the square root; constant, linear, square and cosine join the same end points (s0 + 1, s1 + 1) by curves of
 * our own definition. */
int ct_levels(const CtConfig *, int64_t k, int64_t K);
/* The largest N of the whole run: room for tables. */
int ct_levels_limit(const CtConfig *);
/* Karras grid, ascending, i = 0 .. N-1 (CM eq. 5; iCT eq. 1); both ends are exact. */
double ct_sigma(const CtConfig *, int i, int N);
/* p(sigma_i) of the pair (i, i+1), i = 0 .. N-2, normalised (iCT section 3.5). Returns the law's mass inside
 * [sigma_min, sigma_max] before normalising (1 for the uniform law). */
double ct_pair_probabilities(const CtConfig *, int N, double *p);
/* lambda of the pair (i, i+1): 1, or 1 / (sigma_{i+1} - sigma_i) (iCT section 3.1). */
double ct_weight(const CtConfig *, int i, int N);
/* mu(k) (CM section 5, with the interval count N - 1 as the code has it); 0: teacher = stopgrad(student). */
double ct_teacher_decay(const CtConfig *, int N);
/* c of the pseudo-Huber distance for d-dimensional images (iCT section 3.3). */
double ct_huber_c(const CtConfig *, int dimension);

/* Coefficients at one sigma (CM appendix C); weight 0. */
Level ct_level(const CtConfig *, double sigma);
/* Host table for N levels; free with ct_table_free. The weight of pair (i, i+1) stands in level i+1, the
 * student's. */
LevelTable ct_table(const CtConfig *, int N);
void ct_table_free(LevelTable *);

#endif
