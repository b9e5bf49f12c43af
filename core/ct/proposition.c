/* Proposition 1 of iCT; proposition.h says what it is about. */
#include "ct/proposition.h"

#include "base/error.h"

#include <math.h>

static double toy_gap(ToyGrid grid) {
    CHECK(grid.N >= 2 && grid.sigma_min > 0 && grid.sigma_max > grid.sigma_min, "no grid of %d points",
          grid.N);
    return (grid.sigma_max - grid.sigma_min) / (grid.N - 1);
}

/* What pair i says: 1 - s/sigma_{i+1}, and the difference of student and teacher. Written so that nothing
 * cancels when theta' = theta: (1 - s/sigma_i)(theta - theta') + (s/sigma_i - s/sigma_{i+1})(theta - xi). */
static double toy_residual(ToyGrid grid, ToyState state, double gap, int i, double *slope) {
    const double low = grid.sigma_min + i * gap, high = low + gap;
    *slope = 1 - grid.sigma_min / high;
    return (1 - grid.sigma_min / low) * (state.theta - state.teacher) +
           grid.sigma_min * gap / (low * high) * (state.theta - state.xi);
}

double toy_loss(ToyGrid grid, ToyState state) {
    const double gap = toy_gap(grid);
    double sum = 0, slope;
    for (int i = 0; i < grid.N - 1; i++) {
        const double r = toy_residual(grid, state, gap, i, &slope);
        sum += r * r;
    }
    return sum / (grid.N - 1);
}

double toy_gradient(ToyGrid grid, ToyState state) {
    const double gap = toy_gap(grid);
    double sum = 0, slope;
    for (int i = 0; i < grid.N - 1; i++) {
        const double r = toy_residual(grid, state, gap, i, &slope);
        sum += 2 * slope * r;
    }
    return sum / (grid.N - 1) / gap;
}

/* E[(1 - s/sigma)^2] for sigma uniform between s and S: [S - s^2/S - 2 s ln(S/s)] / (S - s). */
double toy_loss_limit(ToyGrid grid, ToyState state) {
    const double s = grid.sigma_min, S = grid.sigma_max, lag = state.theta - state.teacher;
    return (S - s * s / S - 2 * s * log(S / s)) / (S - s) * lag * lag;
}

/* E[2 (s/sigma^2)(1 - s/sigma)](theta - xi) = (theta - xi)(S - s) / S^2 when theta' = theta. */
double toy_gradient_limit(ToyGrid grid, ToyState state) {
    if (state.theta != state.teacher) return state.theta > state.teacher ? INFINITY : -INFINITY;
    return (state.theta - state.xi) * (grid.sigma_max - grid.sigma_min) / (grid.sigma_max * grid.sigma_max);
}

double toy_descent(ToyGrid grid, double xi, double mu, double learning_rate, int steps) {
    ToyState state = {0, 0, xi};
    for (int k = 0; k < steps; k++) {
        state.theta -= learning_rate * toy_gradient(grid, state);
        state.teacher = mu * state.teacher + (1 - mu) * state.theta;
    }
    return state.theta;
}
