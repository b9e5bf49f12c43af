/* Why the teacher must not be an EMA: Proposition 1 of iCT, in numbers.
 *
 * One-dimensional data at a single point xi. There the consistency function is known,
 * f*(x, sigma) = (s/sigma) x + (1 - s/sigma) xi with s = sigma_min, and the model is the same with theta in
 * the place of xi. Student and teacher see the same noise z; it cancels from their difference, so no
 * expectation over z is left and everything below is exact. Squared distance, uniform grid, uniform pairs.
 * Theta is trained, theta' is the teacher's.
 */
#ifndef ICT_CT_PROPOSITION_H
#define ICT_CT_PROPOSITION_H

typedef struct ToyGrid {
    double sigma_min, sigma_max;
    int N; /* points, at least 2 */
} ToyGrid;

typedef struct ToyState {
    double theta, teacher, xi;
} ToyState;

/* L_N, the mean over all pairs of the squared difference of student and teacher. */
double toy_loss(ToyGrid, ToyState);
/* (1 / Delta sigma) dL_N / dtheta, theta' held constant. */
double toy_gradient(ToyGrid, ToyState);

/* Their limits for N -> infinity (iCT eq. 6 and 7). The loss does not know xi unless theta' = theta; the
 * gradient is then finite, otherwise plus or minus infinity. */
double toy_loss_limit(ToyGrid, ToyState);
double toy_gradient_limit(ToyGrid, ToyState);

/* Theta after `steps` steps of descent on L_N / Delta sigma from theta = theta' = 0, the teacher following
 * with rate mu. */
double toy_descent(ToyGrid, double xi, double mu, double learning_rate, int steps);

#endif
