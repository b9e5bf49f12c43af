/* `shapes`, the built-in data set: one coloured shape on a background, ten classes, drawn from a seed at any
 * resolution. It exists so that everything here can be run, tested and learnt from without downloading
 * anything: simple enough for a tiny network to imitate in minutes, varied enough that memorising does not
 * do.
 *
 * What varies: class (image number mod 10, so that classes are exactly balanced), and a little of each:
 * place, size, turn, a vertical gradient; the shape's hue is any, the background is dark and of a roughly
 * opposite hue. The same (seed, image number) is the same scene at every resolution. The ranges were chosen
 * so that a network trained for four minutes on two processor cores draws shapes, not blobs: with larger
 * turns and shifts, and light as well as dark backgrounds, it did not.
 *
 * A shape is a function that gives the distance to its outline, negative inside; a pixel's coverage is that
 * distance cut to half a pixel either side. Only sums, products, quotients and square roots are used, which
 * IEEE rounds alike on every machine, so the pixels, and their hash, are the same everywhere. */
#include "data/dataset_internal.h"

#include "base/philox.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SHAPES = 10,
    COUNT_DEFAULT = 10000,
    RESOLUTION_DEFAULT = 32,
    RESOLUTION_MIN = 8,
    RESOLUTION_MAX = 1024
};

/* ---- outlines: x to the right, y up, about one unit from the middle to the rim ---- */

/* Unlike fmaxf() and fminf(), whose rules for NaN make them calls, these compile to one instruction. */
static float larger(float a, float b) {
    return a > b ? a : b;
}

static float smaller(float a, float b) {
    return a < b ? a : b;
}

static float length2(float x, float y) {
    return sqrtf(x * x + y * y);
}

static float disc(float x, float y) {
    return length2(x, y) - 0.95f;
}

static float square(float x, float y) {
    return larger(fabsf(x), fabsf(y)) - 0.83f;
}

static float triangle(float x, float y) {
    y += 0.25f;
    return larger(-y, 0.8660254f * fabsf(x) + 0.5f * y) - 0.6f;
}

static float diamond(float x, float y) {
    return 0.8137335f * fabsf(x) + 0.5812382f * fabsf(y) - 0.65f;
}

static float bars(float x, float y, float half) {
    return smaller(larger(fabsf(x) - 1, fabsf(y) - half), larger(fabsf(x) - half, fabsf(y) - 1));
}

static float plus(float x, float y) {
    return bars(x, y, 0.33f);
}

static float cross(float x, float y) {
    return bars(0.6363961f * (x + y), 0.6363961f * (x - y), 0.27f) / 0.9f;
}

static float ring(float x, float y) {
    return fabsf(length2(x, y) - 0.72f) - 0.25f;
}

/* Five lines at one distance from the middle cut out a star: inside are the points beyond at most one of
 * them, so the second largest of the five distances decides. */
static float star(float x, float y) {
    static const float normals[5][2] = {{0, -1},
                                        {0.9510565f, -0.3090170f},
                                        {0.5877853f, 0.8090170f},
                                        {-0.5877853f, 0.8090170f},
                                        {-0.9510565f, -0.3090170f}};
    float first = -8, second = -8;
    for (int i = 0; i < 5; i++) {
        const float distance = normals[i][0] * x + normals[i][1] * y;
        second = larger(second, smaller(first, distance));
        first = larger(first, distance);
    }
    return second - 0.36f;
}

/* A square on its tip and two discs on its upper edges. */
static float heart(float x, float y) {
    x = fabsf(x);
    y += 0.14f;
    const float tip = 0.7071068f * (x + fabsf(y)) - 0.62f;
    return smaller(tip, length2(x - 0.4384062f, y - 0.4384062f) - 0.62f);
}

static float crescent(float x, float y) {
    x -= 0.17f;
    return larger(length2(x, y) - 1, 0.80f - length2(x - 0.5f, y - 0.12f));
}

static const struct {
    const char *name;
    float (*outline)(float x, float y);
} shapes[SHAPES] = {
    {"disc", disc},   {"square", square},     {"triangle", triangle}, {"diamond", diamond},
    {"plus", plus},   {"cross", cross},       {"ring", ring},         {"star", star},
    {"heart", heart}, {"crescent", crescent},
};

/* ---- scenes ---- */

typedef struct Colour {
    float rgb[3];
} Colour;

/* A colour of hue `hue` (any real number, period 1): the pure one, mixed with white or black until its luma
 * is `luma`, and then with grey of that luma; `saturation` is what is left of the colour. */
static Colour colour_make(float hue, float luma, float saturation) {
    const float place = 6 * (hue - floorf(hue)); /* red 0, green 2, blue 4 */
    Colour colour = {{fabsf(place - 3) - 1, 2 - fabsf(place - 2), 2 - fabsf(place - 4)}};
    for (int c = 0; c < 3; c++) colour.rgb[c] = smaller(larger(colour.rgb[c], 0), 1);
    const float own = 0.299f * colour.rgb[0] + 0.587f * colour.rgb[1] + 0.114f * colour.rgb[2];
    const float towards = luma > own ? 1 : 0, keep = luma > own ? (1 - luma) / (1 - own) : luma / own;
    for (int c = 0; c < 3; c++) {
        const float mixed = towards + keep * (colour.rgb[c] - towards);
        colour.rgb[c] = luma + saturation * (mixed - luma);
    }
    return colour;
}

typedef struct Scene {
    float x, y, size;   /* of the shape, in units of the image's side */
    float cosine, sine; /* of its turn */
    float gradient;     /* added to the background at the top, taken away at the bottom */
    Colour shape, background;
} Scene;

static float between(float low, float high, uint32_t word) {
    return low + (high - low) * random_uniform(word);
}

static Scene scene_draw(uint64_t seed, uint32_t image) {
    const RandomKey key = {.seed = seed, .stream = STREAM_DATA, .sample = image};
    const Random4 a = random_block(key, 0), b = random_block(key, 1), c = random_block(key, 2);
    Scene scene = {.x = between(0.47f, 0.53f, a.x[0]), .y = between(0.47f, 0.53f, a.x[1])};
    scene.size = between(0.36f, 0.41f, a.x[2]);
    const float turn = between(-0.09f, 0.09f, a.x[3]), square_turn = turn * turn; /* radians: 5 degrees */
    scene.sine = turn * (1 - square_turn * (1.0f / 6 - square_turn * (1.0f / 120)));
    scene.cosine = 1 - square_turn * (0.5f - square_turn * (1.0f / 24));
    const float hue = random_uniform(b.x[0]), other_hue = hue + between(0.35f, 0.65f, b.x[1]);
    const float luma = between(0.62f, 0.80f, b.x[2]), other_luma = between(0.12f, 0.24f, b.x[3]);
    scene.shape = colour_make(hue, luma, 0.9f);
    scene.background = colour_make(other_hue, other_luma, 0.6f);
    scene.gradient = between(-0.04f, 0.04f, c.x[1]);
    return scene;
}

static uint8_t byte_of(float value) {
    return (uint8_t)(255 * smaller(larger(value, 0), 1) + 0.5f);
}

static void scene_paint(const Scene *scene, int class, int resolution, uint8_t *pixels) {
    const float pixel = 1 / (float)resolution, sharpness = scene->size * (float)resolution;
    for (int row = 0; row < resolution; row++) {
        const float v = ((float)row + 0.5f) * pixel, y = (scene->y - v) / scene->size;
        for (int column = 0; column < resolution; column++, pixels += 3) {
            const float x = (((float)column + 0.5f) * pixel - scene->x) / scene->size;
            const float distance = shapes[class].outline(scene->cosine * x + scene->sine * y,
                                                         scene->cosine * y - scene->sine * x);
            const float cover = smaller(larger(0.5f - distance * sharpness, 0), 1);
            for (int c = 0; c < 3; c++) {
                const float behind = scene->background.rgb[c] + scene->gradient * (1 - 2 * v);
                pixels[c] = byte_of(behind + cover * (scene->shape.rgb[c] - behind));
            }
        }
    }
}

/* ---- the set ---- */

bool shapes_is_name(const char *name) {
    return strcmp(name, "shapes") == 0;
}

static bool config_check(const DataConfig *config, Error *error) {
    if (config->resolution && (config->resolution < RESOLUTION_MIN || config->resolution > RESOLUTION_MAX))
        return error_set(error, "data.resolution is %d; shapes can be drawn at %d to %d", config->resolution,
                         RESOLUTION_MIN, RESOLUTION_MAX);
    if (config->count >= 0) return true;
    return error_set(error, "data.count is %d; it must not be negative (0: %d images)", config->count,
                     COUNT_DEFAULT);
}

bool shapes_draw(const DataConfig *config, Dataset *set, Error *error) {
    if (!config_check(config, error)) return false;
    const int side = config->resolution ? config->resolution : RESOLUTION_DEFAULT;
    const size_t size = (size_t)(side * side * 3);
    set->count = config->count ? config->count : COUNT_DEFAULT;
    set->height = set->width = side;
    set->channels = 3;
    set->classes = SHAPES;
    uint8_t *images = malloc((size_t)set->count * size);
    int32_t *labels = malloc((size_t)set->count * sizeof *labels);
    if (!images || !labels) {
        free(images), free(labels);
        return error_set(error, "out of memory for %d shapes of %d x %d", set->count, side, side);
    }
    for (int i = 0; i < SHAPES; i++)
        snprintf(set->class_names[i], sizeof set->class_names[i], "%s", shapes[i].name);
#pragma omp parallel for schedule(static)
    for (int i = 0; i < set->count; i++) {
        const Scene scene = scene_draw((uint64_t)config->seed, (uint32_t)i);
        labels[i] = i % SHAPES;
        scene_paint(&scene, labels[i], side, images + (size_t)i * size);
    }
    set->images = images;
    set->labels = labels;
    return true;
}
