/* What changes over a run: how many noise levels there are (the curriculum), where they lie (the Karras
 * grid), how often each pair of neighbours is drawn, how much it counts, and how fast an EMA teacher follows.
 *
 * N counts points everywhere; the codes of the papers often count intervals, N - 1. Curricula that are
 * rational in k are computed in integers: a rounding error below a ceil() would otherwise move a whole stage.
 */
#include "ct/ct.h"

#include <math.h>

__extension__ typedef unsigned __int128 Wide;

/* ceil(a / b) */
static int64_t ceil_ratio(Wide a, Wide b) {
    return (int64_t)((a + b - 1) / b);
}

/* ceil(sqrt(a / b)) */
static int64_t ceil_root_ratio(Wide a, Wide b) {
    int64_t m = (int64_t)sqrt((double)a / (double)b);
    while (m > 0 && (Wide)m * (Wide)m * b >= a) m--;
    while ((Wide)m * (Wide)m * b < a) m++;
    return m;
}

/* CM section 5: ceil(sqrt(u ((s1+1)^2 - s0^2) + s0^2) - 1) intervals, at least one as in the code. */
static int64_t intervals_square_root(const CtConfig *ct, int64_t k, int64_t K) {
    const int64_t low = (int64_t)ct->s0 * ct->s0, high = ((int64_t)ct->s1 + 1) * (ct->s1 + 1);
    const int64_t intervals =
        ceil_root_ratio((Wide)k * (Wide)(high - low) + (Wide)low * (Wide)K, (Wide)K) - 1;
    return intervals > 1 ? intervals : 1;
}

/* iCT eq. 9: min(s0 2^floor(k / K'), s1) intervals, K' = floor(K / (log2 floor(s1 / s0) + 1)). */
static int64_t intervals_exponential(const CtConfig *ct, int64_t k, int64_t K) {
    const double stages = log2((double)(ct->s1 / ct->s0)) + 1;
    const int64_t length = (int64_t)floor((double)K / stages);
    const int64_t doublings = k / (length > 1 ? length : 1);
    const int64_t intervals = (int64_t)ct->s0 << (doublings < 31 ? doublings : 31);
    return intervals < ct->s1 ? intervals : ct->s1;
}

/* The epsilon keeps the rounding of the cosine from lifting an exact integer to the next one. */
static int64_t intervals_cosine(const CtConfig *ct, int64_t k, int64_t K) {
    const double share = (1 - cos(M_PI * (double)k / (double)K)) / 2;
    return (int64_t)ceil(ct->s0 + share * (ct->s1 - ct->s0) - 1e-9);
}

int ct_levels(const CtConfig *ct, int64_t k, int64_t K) {
    CHECK(K > 0 && ct->s0 >= 1 && ct->s1 >= ct->s0, "curriculum from s0 = %d to s1 = %d over %lld steps",
          ct->s0, ct->s1, (long long)K);
    const int64_t at = k < 0 ? 0 : k > K ? K : k;
    const Wide gap = (Wide)(ct->s1 - ct->s0), step = (Wide)at, steps = (Wide)K;
    int64_t intervals = ct->s1;
    switch (ct->curriculum) {
    case CURRICULUM_CONSTANT:
        break;
    case CURRICULUM_SQUARE_ROOT:
        intervals = intervals_square_root(ct, at, K);
        break;
    case CURRICULUM_LINEAR:
        intervals = ct->s0 + ceil_ratio(step * gap, steps);
        break;
    case CURRICULUM_SQUARE:
        intervals = ct->s0 + ceil_ratio(step * step * gap, steps * steps);
        break;
    case CURRICULUM_COSINE:
        intervals = intervals_cosine(ct, at, K);
        break;
    case CURRICULUM_EXPONENTIAL:
        intervals = intervals_exponential(ct, at, K);
        break;
    }
    return (int)intervals + 1;
}

int ct_levels_limit(const CtConfig *ct) {
    return ct->s1 + 1;
}

double ct_sigma(const CtConfig *ct, int i, int N) {
    CHECK(N >= 2 && i >= 0 && i < N, "noise level %d of %d", i, N);
    if (i == 0) return ct->sigma_min;
    if (i == N - 1) return ct->sigma_max;
    const double low = pow(ct->sigma_min, 1 / ct->rho), high = pow(ct->sigma_max, 1 / ct->rho);
    return pow(low + (double)i / (N - 1) * (high - low), ct->rho);
}

/* (erf(b) - erf(a)) / 2 for a < b, the mass of a normal law between two points; in a tail the difference of
 * two numbers near 1 would lose every digit, that of two small ones does not. */
static double mass_between(double a, double b) {
    if (a > 0) return (erfc(a) - erfc(b)) / 2;
    if (b < 0) return (erfc(-b) - erfc(-a)) / 2;
    return (erf(b) - erf(a)) / 2;
}

static double lognormal_masses(const CtConfig *ct, int N, double *p) {
    const double scale = 1 / (M_SQRT2 * ct->p_std);
    double total = 0, low = (log(ct->sigma_min) - ct->p_mean) * scale;
    for (int i = 0; i < N - 1; i++) {
        const double high = (log(ct_sigma(ct, i + 1, N)) - ct->p_mean) * scale;
        total += p[i] = mass_between(low, high);
        low = high;
    }
    return total;
}

double ct_pair_probabilities(const CtConfig *ct, int N, double *p) {
    if (ct->noise == NOISE_UNIFORM) {
        for (int i = 0; i < N - 1; i++) p[i] = 1.0 / (N - 1);
        return 1;
    }
    const double total = lognormal_masses(ct, N, p);
    CHECK(total > 0, "the lognormal law (mean %g, deviation %g of ln sigma) has no mass in [%g, %g]",
          ct->p_mean, ct->p_std, ct->sigma_min, ct->sigma_max);
    for (int i = 0; i < N - 1; i++) p[i] /= total;
    return total;
}

double ct_weight(const CtConfig *ct, int i, int N) {
    if (ct->weighting == WEIGHTING_ONE) return 1;
    return 1 / (ct_sigma(ct, i + 1, N) - ct_sigma(ct, i, N));
}

double ct_teacher_decay(const CtConfig *ct, int N) {
    if (ct->teacher_schedule == TEACHER_FIXED || ct->teacher_ema == 0) return ct->teacher_ema;
    return exp(ct->s0 * log(ct->teacher_ema) / (N - 1));
}

double ct_huber_c(const CtConfig *ct, int dimension) {
    return ct->huber_c > 0 ? ct->huber_c : 0.00054 * sqrt(dimension);
}
