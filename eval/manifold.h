/* How much of the samples lies among real images, and how much of the real images among samples, by balls
 * around every point that reach to its k-th nearest neighbour.
 *
 *   precision   share of samples inside some real image's ball
 *   recall      share of real images inside some sample's ball
 *   density     real images' balls around a sample, over k
 *   coverage    share of real images with a sample in their ball
 *
 * The first two are of Kynkaanniemi et al. 2019 (k = 3), the others of Naeem et al. 2020 (k = 5).
 */
#ifndef ICT_EVAL_MANIFOLD_H
#define ICT_EVAL_MANIFOLD_H

#include "eval/points.h"

typedef struct ManifoldScores {
    double precision, recall, density, coverage;
} ManifoldScores;

/* With the neighbour `k` for the first pair of scores, `k_density` for the second; both sets need more points
 * than that. A point on the rim of a ball counts as inside for precision and recall, and as outside for
 * density and coverage: so do the papers' codes. */
bool manifold_scores(Points real, Points samples, int k, int k_density, ManifoldScores *, Error *);

#endif
