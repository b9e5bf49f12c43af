/* The plan: every file's arms and grid multiplied out, each point resolved to a configuration, checked, and
 * given its id. */
#include "plan/plan.h"

#include "base/file.h"
#include "base/hash.h"
#include "plan/experiment.h"
#include "plan/plan_data.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_RUNS = 10000, MOST_AXES = 32, ID_DIGITS = 8 };

typedef struct Planner {
    const PlanRequest *request;
    Plan *plan;
    Problems problems;
    Axes overrides;
    DataCache data;
} Planner;

/* What one run is made of: lists of settings in the order of application. An axis gives one setting each. */
typedef struct Point {
    const Settings *lists[4];
    int list_count;
    const ScaleFile *scale; /* what it has instead of values in the lists; an axis gets what it asks for */
    const Setting *settings[MOST_AXES];
    int setting_count;
} Point;

/* ---- ids ---- */

void plan_run_id(const Config *config, const char *data_hash, char id[16]) {
    Text text = {0};
    text_append(&text, "numerics: %d\n", NUMERICS_VERSION);
    config_print(config, CONFIG_IDENTITY, &text);
    text_append(&text, "data: %s\n", data_hash);
    const Hash hash = hash_bytes(text.text, text.length);
    snprintf(id, 16, "%.*s", ID_DIGITS, hash.hex);
    text_free(&text);
}

/* ---- points ---- */

static void point_apply(const Point *point, Config *config) {
    *config = config_default();
    for (int i = 0; i < point->list_count; i++) settings_apply(point->lists[i], config);
    settings_replace(&point->scale->values, &point->scale->instead, config);
    for (int i = 0; i < point->setting_count; i++)
        settings_apply(&(Settings){(Setting *)point->settings[i], 1}, config);
}

/* The place that decided a key: the last setting of it. */
static const char *point_place(const Point *point, const char *key, const char *otherwise) {
    const char *place = otherwise;
    for (int i = 0; i < point->list_count; i++)
        for (int j = 0; j < point->lists[i]->count; j++)
            if (strcmp(point->lists[i]->items[j].key, key) == 0) place = point->lists[i]->items[j].where;
    for (int i = 0; i < point->setting_count; i++)
        if (strcmp(point->settings[i]->key, key) == 0) place = point->settings[i]->where;
    return place;
}

/* Lines "key: message" become problems at the key's place. */
static void point_complain(Planner *planner, const Point *point, const Experiment *experiment,
                           const char *lines) {
    for (const char *line = lines; *line;) {
        const size_t length = strcspn(line, "\n");
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(line, ":"), line);
        const char *place = point_place(point, key, experiment->file);
        const bool elsewhere = strncmp(place, experiment->file, strlen(experiment->file)) != 0;
        problem_add(&planner->problems, place, "%.*s%s%s%s", (int)length, line, elsewhere ? " (in " : "",
                    elsewhere ? experiment->file : "", elsewhere ? ")" : "");
        line += length + (line[length] == '\n');
    }
}

/* ---- one run ---- */

/* Given on the command line, the network of a perceptual distance makes other arms of the file's. */
static bool is_other_network(const Point *point, const Setting *setting) {
    if (strcmp(setting->key, "ct.perceptual")) return false;
    for (int i = 0; i < point->list_count; i++)
        for (int j = 0; j < point->lists[i]->count; j++) {
            const Setting *own = &point->lists[i]->items[j];
            if (!strcmp(own->key, setting->key) && strcmp(own->value, setting->value)) return true;
        }
    return false;
}

static void run_name(const Point *point, const Axes *axes, const NamedSettings *arm, Text *name) {
    if (arm) text_append(name, "%s", arm->name);
    for (int i = 0; i < point->setting_count; i++) {
        const Setting *setting = point->settings[i];
        const bool said = axes->items[i].count > 1 || is_other_network(point, setting);
        if (!said || strcmp(setting->key, "seed") == 0) continue;
        text_append(name, "%s%s=%s", name->length ? ", " : "", setting->key, setting->value);
    }
}

/* The networks that a run is trained against and judged by. */
static bool run_bind_weights(Planner *planner, const Point *point, const Experiment *experiment,
                             const Dataset *data, RunSpec *run) {
    const char *folder = planner->request->weights_folder ? planner->request->weights_folder : "weights";
    Error error;
    char path[1024];
    run->waits =
        planner->request->classifiers_later && plan_note_needs(planner->plan, &run->config, data, folder);
    if (run->waits) return true;
    const bool bound = config_bind_features(&run->config, data, folder, path, &error);
    if (bound && config_check_judge(&run->config, data, folder, &error)) return true;
    problem_add(&planner->problems,
                point_place(point, bound ? "evaluation.metrics" : "ct.distance", experiment->file), "%s",
                error.text);
    return false;
}

/* The data set's hash, and what the configuration takes from it. */
static bool run_bind(Planner *planner, const Point *point, const Experiment *experiment, RunSpec *run) {
    Error error;
    const Dataset *data =
        data_cache_open(&planner->data, &run->config.data, planner->request->data_folder, &error);
    if (!data) {
        problem_add(&planner->problems, point_place(point, "data.name", experiment->file), "%s", error.text);
        return false;
    }
    memcpy(run->data_hash, data->hash.hex, sizeof run->data_hash);
    if (!config_bind(&run->config, data, &error)) {
        point_complain(planner, point, experiment, error.text);
        return false;
    }
    return run_bind_weights(planner, point, experiment, data, run);
}

static void run_add(Planner *planner, const Point *point, const Experiment *experiment, const char *scale,
                    const char *arm) {
    Plan *plan = planner->plan;
    RunSpec *run = &plan->runs[plan->run_count];
    Error error;
    memset(run, 0, sizeof *run);
    point_apply(point, &run->config);
    bool good = config_check(&run->config, &error);
    if (!good) point_complain(planner, point, experiment, error.text);
    if (good && !planner->request->without_data) good = run_bind(planner, point, experiment, run);
    if (strlen(arm) >= sizeof run->arm) {
        problem_add(&planner->problems, experiment->file, "the arm '%s' has a name of more than %zu letters",
                    arm, sizeof run->arm - 1);
        good = false;
    }
    if (!good) return;
    plan_run_id(&run->config, run->data_hash, run->id);
    strcpy(run->arm, arm);
    strcpy(run->experiment, experiment->name);
    strcpy(run->scale, scale);
    plan->run_count++;
}

/* Two points of one experiment that mean the same run: a slip that would leave an arm without runs of its
 * own. */
static void refuse_twins(Planner *planner, const Experiment *experiment, const RunSpec *a, const RunSpec *b) {
    if (strcmp(a->arm, b->arm))
        problem_add(
            &planner->problems, experiment->file,
            "arms '%s' and '%s' are the same run: the grid, the scale or the command line sets what they set",
            a->arm, b->arm);
    else
        problem_add(&planner->problems, experiment->file,
                    "'%s' with seed %lld is asked for twice: a value is given twice", a->arm,
                    (long long)a->config.seed);
}

static void check_twins(Planner *planner, const Experiment *experiment, int first) {
    const Plan *plan = planner->plan;
    for (int i = first; i < plan->run_count; i++) {
        int twin = first;
        while (strcmp(plan->runs[twin].id, plan->runs[i].id)) twin++;
        if (twin < i) refuse_twins(planner, experiment, &plan->runs[twin], &plan->runs[i]);
    }
}

/* ---- one experiment ---- */

static void axes_to_front(Settings *axes, int count, const char *key) {
    for (int i = 1; i < count; i++) {
        if (strcmp(axes[i].items[0].key, key)) continue;
        const Settings axis = axes[i];
        memmove(axes + 1, axes, sizeof *axes * (size_t)i);
        axes[0] = axis;
    }
}

/* Grid and command line together, as one layer; the command line replaces an axis of the grid. The data set's
 * name comes before what is said about it, and the seed, in front of all, goes round slowest, so that a plan
 * that is cut short still compares all arms. */
static int axes_collect(const Axes *grid, const Axes *overrides, Settings axes[MOST_AXES]) {
    int count = 0;
    for (int i = 0; i < grid->count; i++) {
        bool replaced = false;
        for (int j = 0; j < overrides->count; j++)
            replaced = replaced || strcmp(grid->items[i].items[0].key, overrides->items[j].items[0].key) == 0;
        if (!replaced) axes[count++] = grid->items[i];
    }
    for (int j = 0; j < overrides->count; j++) axes[count++] = overrides->items[j];
    axes_to_front(axes, count, "data.name");
    axes_to_front(axes, count, "seed");
    return count;
}

static bool runs_reserve(Planner *planner, const Experiment *experiment, const Axes *axes, int arms) {
    Plan *plan = planner->plan;
    int64_t runs = arms;
    for (int i = 0; i < axes->count && runs <= MOST_RUNS; i++) runs *= axes->items[i].count;
    if (plan->run_count + runs > MOST_RUNS) {
        problem_add(&planner->problems, experiment->file, "more than %d runs; ask for fewer at a time",
                    MOST_RUNS);
        return false;
    }
    plan->runs = realloc(plan->runs, sizeof *plan->runs * (size_t)(plan->run_count + runs));
    CHECK(plan->runs, "out of memory for %lld runs", (long long)runs);
    return true;
}

static bool arm_wanted(const PlanRequest *request, const char *name) {
    for (int i = 0; i < request->arm_count; i++)
        if (!strcmp(request->arms[i], name)) return true;
    return !request->arms;
}

/* All points: `base` with every combination of axes and arms. */
static void experiment_expand(Planner *planner, const ExperimentFile *file, Point base, const char *scale) {
    Settings items[MOST_AXES];
    const Axes axes = {items, axes_collect(&file->grid, &planner->overrides, items)};
    const int arms = file->arms.count ? file->arms.count : 1, first = planner->plan->run_count;
    if (!runs_reserve(planner, &file->record, &axes, arms)) return;
    int total = arms;
    for (int i = 0; i < axes.count; i++) total *= axes.items[i].count;
    base.setting_count = axes.count;
    for (int number = 0; number < total; number++) {
        Point point = base;
        Text name = {0};
        const NamedSettings *arm = file->arms.count ? &file->arms.items[number % arms] : NULL;
        if (arm && !arm_wanted(planner->request, arm->name)) continue;
        if (arm) point.lists[point.list_count++] = &arm->settings;
        int rest = number / arms;
        for (int i = axes.count - 1; i >= 0; i--) {
            point.settings[i] = &axes.items[i].items[rest % axes.items[i].count];
            rest /= axes.items[i].count;
        }
        run_name(&point, &axes, arm, &name);
        run_add(planner, &point, &file->record, scale, text_view(&name));
        text_free(&name);
    }
    check_twins(planner, &file->record, first);
}

/* ---- scales ---- */

static void scale_list(const char *folder, Text *out) {
    char pattern[1024];
    glob_t found;
    const int status = glob(path_join(pattern, folder, "*.yaml"), 0, NULL, &found);
    for (size_t i = 0; status == 0 && i < found.gl_pathc; i++) {
        const char *name = path_name(found.gl_pathv[i]);
        text_append(out, "%s%.*s", i ? ", " : "", (int)(strlen(name) - strlen(".yaml")), name);
    }
    globfree(&found);
}

/* The path of a scale's file; false, with a problem at `where`, when there is none. */
static bool scale_find(Planner *planner, const char *name, const char *where, char path[1024]) {
    const char *folder =
        planner->request->scale_folder ? planner->request->scale_folder : "experiments/scales";
    char file[64];
    if (strlen(name) < sizeof((RunSpec *)0)->scale && !strchr(name, '/')) {
        snprintf(file, sizeof file, "%s.yaml", name);
        if (file_exists(path_join(path, folder, file))) return true;
    }
    Text known = {0};
    scale_list(folder, &known);
    problem_add(&planner->problems, where, "no scale '%s'; there are %s", name, text_view(&known));
    text_free(&known);
    return false;
}

/* What the scale adds to a file's settings; a file needs nothing for the scale that it is written at. */
static void scale_overlay(Planner *planner, const ExperimentFile *file, const char *scale,
                          ScaleFile *overlay) {
    char path[1024];
    const int before = planner->problems.found;
    if (strcmp(scale, file->scale) == 0 || !scale_find(planner, scale, "command line", path)) return;
    scale_read(path, overlay, &planner->problems);
    if (overlay->settings.count || planner->problems.found > before) return;
    problem_add(&planner->problems, file->record.file,
                "written at scale '%s'; scale '%s' changes nothing, so it cannot be had from this file",
                file->scale, scale);
}

static void check_scales(Planner *planner, const ExperimentFile *file) {
    char path[1024];
    for (int i = 0; i < file->scales.count; i++)
        if (strcmp(file->scales.items[i].name, file->scale))
            scale_find(planner, file->scales.items[i].name, file->scales.items[i].where, path);
}

static const char *scale_choose(const PlanRequest *request, const ExperimentFile *file) {
    const bool wanted =
        request->scale && (!request->scale_where_named || named_find(&file->scales, request->scale));
    return wanted ? request->scale : file->scale;
}

/* Reads a file and, when all of it is good, adds its runs. */
static void plan_file(Planner *planner, const char *path, ExperimentFile *file) {
    const int before = planner->problems.found;
    ScaleFile overlay = {0};
    experiment_read(path, file, &planner->problems);
    const char *scale = scale_choose(planner->request, file);
    const NamedSettings *exceptions = named_find(&file->scales, scale);
    check_scales(planner, file);
    scale_overlay(planner, file, scale, &overlay);
    if (file->grid.count + planner->overrides.count > MOST_AXES)
        problem_add(&planner->problems, path, "more than %d keys in grid and on the command line", MOST_AXES);
    if (planner->problems.found == before) {
        Point base = {.lists = {&file->settings, &overlay.settings}, .list_count = 2, .scale = &overlay};
        if (exceptions) base.lists[base.list_count++] = &exceptions->settings;
        experiment_expand(planner, file, base, scale);
    }
    scale_free(&overlay);
}

/* ---- the request ---- */

static void read_override(Planner *planner, const char *text) {
    const char *equals = strchr(text, '=');
    if (!equals) {
        problem_add(&planner->problems, "command line", "expected key=value, found '%s'", text);
        return;
    }
    char *key = text_format("%.*s", (int)(equals - text), text);
    for (int i = 0; i < planner->overrides.count; i++)
        if (strcmp(planner->overrides.items[i].items[0].key, key) == 0)
            problem_add(&planner->problems, "command line", "'%s' is given twice", key);
    Settings *axis = axes_add(&planner->overrides);
    settings_split_axis(axis, key, equals + 1, "command line", &planner->problems);
    if (axis->count == 0) planner->overrides.count--; /* nothing good in it, which has been said */
    free(key);
}

static void check_names(Planner *planner) {
    const Plan *plan = planner->plan;
    for (int i = 0; i < plan->experiment_count; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(plan->experiments[i].name, plan->experiments[j].name) == 0)
                problem_add(&planner->problems, plan->experiments[i].file, "its name '%s' is that of %s too",
                            plan->experiments[i].name, plan->experiments[j].file);
}

static void plan_files(Planner *planner) {
    const PlanRequest *request = planner->request;
    Plan *plan = planner->plan;
    plan->experiments = calloc((size_t)request->file_count + 1, sizeof *plan->experiments);
    CHECK(plan->experiments, "out of memory for %d experiments", request->file_count);
    for (int i = 0; i < request->file_count; i++) {
        ExperimentFile file;
        plan_file(planner, request->files[i], &file);
        plan->experiments[plan->experiment_count++] = file.record;
        file.record = (Experiment){0}; /* now the plan's */
        experiment_free(&file);
    }
    check_names(planner);
}

/* Which seed of its experiment a run has: 0 for the first. Runs of an experiment lie together,
 * seed by seed. */
static int *seed_ranks(const Plan *plan) {
    int *rank = calloc((size_t)plan->run_count + 1, sizeof *rank);
    CHECK(rank, "out of memory for %d runs", plan->run_count);
    for (int i = 1; i < plan->run_count; i++) {
        const RunSpec *before = &plan->runs[i - 1], *run = &plan->runs[i];
        if (!strcmp(run->experiment, before->experiment))
            rank[i] = rank[i - 1] + (run->config.seed != before->config.seed);
    }
    return rank;
}

/* Several files take turns, a seed each, so that a queue that is cut short still compares all arms of all
 * of them. */
static void plan_interleave(Plan *plan) {
    if (plan->experiment_count < 2) return;
    int *rank = seed_ranks(plan), placed = 0;
    RunSpec *runs = malloc(sizeof *runs * (size_t)(plan->run_count + 1));
    CHECK(runs, "out of memory for %d runs", plan->run_count);
    for (int turn = 0; placed < plan->run_count; turn++)
        for (int i = 0; i < plan->run_count; i++)
            if (rank[i] == turn) runs[placed++] = plan->runs[i];
    free(plan->runs);
    free(rank);
    plan->runs = runs;
}

bool plan_make(const PlanRequest *request, Plan *plan, Error *error) {
    Planner planner = {.request = request, .plan = plan};
    *plan = (Plan){0};
    if (request->file_count == 0)
        problem_add(&planner.problems, "command line", "no experiment given: ./run experiments/NAME.yaml");
    for (int i = 0; i < request->override_count; i++) read_override(&planner, request->overrides[i]);
    plan_files(&planner);
    plan_interleave(plan);
    for (int i = 0; request->without_data && i < plan->run_count; i++) plan->runs[i].id[0] = 0;
    const bool good = problems_none(&planner.problems, error);
    if (!good) plan_free(plan);
    axes_free(&planner.overrides);
    data_cache_free(&planner.data);
    problems_free(&planner.problems);
    return good;
}

void plan_free(Plan *plan) {
    for (int i = 0; i < plan->experiment_count; i++) {
        free(plan->experiments[i].notes);
        free(plan->experiments[i].yaml);
    }
    free(plan->experiments);
    free(plan->runs);
    *plan = (Plan){0};
}
