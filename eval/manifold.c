/* All distances between two sets, a block at a time: memory stays small for 50,000 images. */
#include "eval/manifold.h"

#include <math.h>
#include <stdlib.h>

enum { BLOCK_ROWS = 512, BLOCK_COLUMNS = 2048, LARGEST_K = 64 };

static void *memory(size_t count, size_t size) {
    void *all = calloc(count, size);
    CHECK(all, "out of memory: %zu bytes", count * size);
    return all;
}

static int smaller(int a, int b) {
    return a < b ? a : b;
}

/* ---- radii ---- */

/* The smallest `k` values so far, ascending: what the k-th neighbour is found with. */
static void nearest_add(double *nearest, int k, double value) {
    if (value >= nearest[k - 1]) return;
    int place = k - 1;
    for (; place > 0 && nearest[place - 1] > value; place--) nearest[place] = nearest[place - 1];
    nearest[place] = value;
}

/* Squared distances of every point to its k-th nearest other point, in `radius`, for two values
 * of k at once. */
static void radii_find(Points p, const int k[2], double *radius[2]) {
    const int most = k[0] > k[1] ? k[0] : k[1];
    double *distances = memory((size_t)BLOCK_ROWS * BLOCK_COLUMNS, sizeof *distances);
    double *nearest = memory((size_t)BLOCK_ROWS * (size_t)most, sizeof *nearest);
    for (int i0 = 0; i0 < p.count; i0 += BLOCK_ROWS) {
        const int rows = smaller(BLOCK_ROWS, p.count - i0);
        for (int i = 0; i < rows * most; i++) nearest[i] = INFINITY;
        for (int j0 = 0; j0 < p.count; j0 += BLOCK_COLUMNS) {
            const int columns = smaller(BLOCK_COLUMNS, p.count - j0);
            points_distances(points_part(p, i0, rows), points_part(p, j0, columns), distances);
            for (int i = 0; i < rows; i++)
                for (int j = 0; j < columns; j++)
                    if (i0 + i != j0 + j)
                        nearest_add(nearest + (size_t)i * (size_t)most, most,
                                    distances[(size_t)i * (size_t)columns + (size_t)j]);
        }
        for (int i = 0; i < rows; i++)
            for (int which = 0; which < 2; which++) radius[which][i0 + i] = nearest[i * most + k[which] - 1];
    }
    free(distances);
    free(nearest);
}

/* ---- who lies in whose ball ---- */

typedef struct Balls {
    double *real[2], *samples[2]; /* squared radii for k and k_density */
    bool *sample_inside, *real_inside;
    double *nearest_sample; /* of every real image, squared */
    double around;          /* real balls around samples, counted over all samples */
} Balls;

static void balls_add(Balls *balls, const double *distances, int i0, int rows, int j0, int columns) {
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            const double d = distances[(size_t)i * (size_t)columns + (size_t)j];
            const int real = i0 + i, sample = j0 + j;
            if (d <= balls->real[0][real]) balls->sample_inside[sample] = true;
            if (d <= balls->samples[0][sample]) balls->real_inside[real] = true;
            if (d < balls->real[1][real]) balls->around++;
            if (d < balls->nearest_sample[real]) balls->nearest_sample[real] = d;
        }
}

static void balls_fill(Balls *balls, Points real, Points samples) {
    double *distances = memory((size_t)BLOCK_ROWS * BLOCK_COLUMNS, sizeof *distances);
    for (int i = 0; i < real.count; i++) balls->nearest_sample[i] = INFINITY;
    for (int i0 = 0; i0 < real.count; i0 += BLOCK_ROWS)
        for (int j0 = 0; j0 < samples.count; j0 += BLOCK_COLUMNS) {
            const int rows = smaller(BLOCK_ROWS, real.count - i0),
                      columns = smaller(BLOCK_COLUMNS, samples.count - j0);
            points_distances(points_part(real, i0, rows), points_part(samples, j0, columns), distances);
            balls_add(balls, distances, i0, rows, j0, columns);
        }
    free(distances);
}

static double share(const bool *inside, int count) {
    int sum = 0;
    for (int i = 0; i < count; i++) sum += inside[i];
    return (double)sum / count;
}

static ManifoldScores scores_of(const Balls *balls, int real, int samples, int k_density) {
    int covered = 0;
    for (int i = 0; i < real; i++) covered += balls->nearest_sample[i] < balls->real[1][i];
    return (ManifoldScores){.precision = share(balls->sample_inside, samples),
                            .recall = share(balls->real_inside, real),
                            .density = balls->around / k_density / samples,
                            .coverage = (double)covered / real};
}

static Balls balls_make(int real, int samples) {
    Balls balls = {.sample_inside = memory((size_t)samples, 1), .real_inside = memory((size_t)real, 1)};
    balls.nearest_sample = memory((size_t)real, sizeof(double));
    for (int which = 0; which < 2; which++) {
        balls.real[which] = memory((size_t)real, sizeof(double));
        balls.samples[which] = memory((size_t)samples, sizeof(double));
    }
    return balls;
}

static void balls_free(Balls *balls) {
    for (int which = 0; which < 2; which++) free(balls->real[which]), free(balls->samples[which]);
    free(balls->sample_inside);
    free(balls->real_inside);
    free(balls->nearest_sample);
}

bool manifold_scores(Points real, Points samples, int k, int k_density, ManifoldScores *scores,
                     Error *error) {
    const int both[2] = {k, k_density}, most = k > k_density ? k : k_density;
    CHECK(k >= 1 && k_density >= 1 && most <= LARGEST_K, "neighbours %d and %d", k, k_density);
    if (real.count <= most || samples.count <= most)
        return error_set(error, "%d real images and %d samples are too few for their %dth neighbours",
                         real.count, samples.count, most);
    Balls balls = balls_make(real.count, samples.count);
    radii_find(real, both, balls.real);
    radii_find(samples, both, balls.samples);
    balls_fill(&balls, real, samples);
    *scores = scores_of(&balls, real.count, samples.count, k_density);
    balls_free(&balls);
    return true;
}
