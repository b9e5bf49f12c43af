/* `run`: plan, store, queue. `worker`: what the queue starts. */
#include "base/file.h"
#include "base/log.h"
#include "command/cli.h"
#include "base/process.h"
#include "worker/queue.h"
#include "worker/worker.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- run ---- */

typedef struct RunOptions {
    const char *scale, *device;
    int jobs, threads;
    double max_wall;
    bool dry_run, resolved, retry, force, fail_fast;
    Paths paths;
    char **files, **overrides;
    int file_count, override_count;
} RunOptions;

/* An override has its '=' before any '/': paths may contain one too. */
static bool is_override(const char *word) {
    const char *equals = strchr(word, '=');
    return equals && equals != word && (size_t)(equals - word) == strcspn(word, "=/");
}

/* Files come first, overrides behind them, in place. */
static bool words_sort(RunOptions *options, char **words, int count) {
    options->files = words;
    for (int i = 0; i < count; i++) {
        if (is_override(words[i])) continue;
        const size_t length = strlen(words[i]);
        const bool yaml = (length > 5 && !strcmp(words[i] + length - 5, ".yaml")) ||
                          (length > 4 && !strcmp(words[i] + length - 4, ".yml"));
        if (!yaml) {
            log_error("'%s' is neither a YAML file nor key=value", words[i]);
            return false;
        }
        char *word = words[i];
        memmove(words + options->file_count + 1, words + options->file_count,
                (size_t)(i - options->file_count) * sizeof *words);
        words[options->file_count++] = word;
    }
    options->overrides = words + options->file_count;
    options->override_count = count - options->file_count;
    if (!options->file_count) log_error("name a YAML file, for instance experiments/quickstart.yaml");
    return options->file_count > 0;
}

static PlanRequest request_of(const RunOptions *options, char scales[1024]) {
    return (PlanRequest){.files = (const char *const *)options->files,
                         .file_count = options->file_count,
                         .overrides = (const char *const *)options->overrides,
                         .override_count = options->override_count,
                         .scale = options->scale,
                         .data_folder = options->paths.data,
                         .weights_folder = options->paths.weights,
                         .scale_folder = path_join(scales, options->paths.root, "experiments/scales")};
}

static bool plan_of(const RunOptions *options, bool classifiers_later, Plan *plan, Error *error) {
    char scales[1024];
    PlanRequest request = request_of(options, scales);
    request.classifiers_later = classifiers_later;
    return plan_make(&request, plan, error);
}

static const Experiment *experiment_of(const Plan *plan, const RunSpec *spec) {
    for (int i = 0; i < plan->experiment_count; i++)
        if (!strcmp(plan->experiments[i].name, spec->experiment)) return &plan->experiments[i];
    CHECK(false, "the plan has no experiment %s", spec->experiment);
    return NULL;
}

static bool plan_store(Store *store, const Paths *paths, const Plan *plan, Error *error) {
    char published[1024];
    for (int i = 0; i < plan->run_count; i++)
        if (!store_add_run(store, experiment_of(plan, &plan->runs[i]), &plan->runs[i], error)) return false;
    path_join(published, paths->root, "results/published.csv");
    return !file_exists(published) || store_load_published(store, published, error);
}

/* What --dry-run shows of a run. */
static void run_show(Store *store, const RunSpec *spec) {
    RunRow row;
    const char *state = "new";
    if (store && !spec->waits && store_get_run(store, spec->id, &row, NULL)) {
        state = run_state_name(row.state);
        run_row_free(&row);
    }
    printf("%-10s %-12s %-24s %-28s %-8s seed %-4lld %lld steps of %d images\n",
           spec->waits ? "later" : spec->id, state, spec->experiment, *spec->arm ? spec->arm : "-",
           spec->scale, (long long)spec->config.seed, (long long)spec->config.train.steps,
           spec->config.train.batch);
}

/* With --resolved, every key of every run, as it is stored: several runs are several YAML documents. */
static void config_show(const RunSpec *spec, bool first) {
    Text text = {0};
    config_print(&spec->config, CONFIG_ALL, &text);
    printf("%s%s", first ? "" : "---\n", text_view(&text));
    text_free(&text);
}

static int dry_run(const RunOptions *options, const Plan *plan) {
    Store *store = file_exists(options->paths.database) ? cli_store(&options->paths) : NULL;
    for (int i = 0; i < plan->run_count; i++) {
        if (options->resolved)
            config_show(&plan->runs[i], i == 0);
        else
            run_show(store, &plan->runs[i]);
    }
    store_close(store);
    return EXIT_DONE;
}

static char *words_join(int argc, char **argv) {
    Text text = {0};
    text_append(&text, "./run");
    for (int i = 0; i < argc; i++) text_append(&text, strpbrk(argv[i], " '\"") ? " '%s'" : " %s", argv[i]);
    char *joined = text_copy(text_view(&text));
    text_free(&text);
    return joined;
}

static int plan_run(const RunOptions *options, const Plan *plan, const char *command) {
    Error error;
    Store *store = cli_store(&options->paths);
    if (!store) return EXIT_USAGE;
    const QueueRequest request = {.store = store,
                                  .plan = plan,
                                  .paths = &options->paths,
                                  .device = options->device,
                                  .threads = options->threads,
                                  .jobs = options->jobs > 0 ? options->jobs : 1,
                                  .max_wall = options->max_wall,
                                  .retry = options->retry,
                                  .force = options->force,
                                  .fail_fast = options->fail_fast,
                                  .command = command};
    const int code =
        plan_store(store, &options->paths, plan, &error) ? queue_run(&request) : cli_fail(EXIT_USAGE, &error);
    store_close(store);
    return code;
}

static int plan_answer(const RunOptions *options, const Plan *plan, const char *command) {
    return options->dry_run || options->resolved ? dry_run(options, plan) : plan_run(options, plan, command);
}

/* ---- classifiers first ---- */

enum { DATA_KEYS = 4 };

/* Of a stored set all images, also for runs that see a part of them: its classifiers have but one name. */
static void data_words(const DataConfig *data, char *words[DATA_KEYS]) {
    static const char *const keys[DATA_KEYS] = {"data.name", "data.resolution", "data.count", "data.seed"};
    Config config = config_default();
    config.data = *data;
    if (strcmp(data->name, "shapes")) config.data.count = 0;
    for (int i = 0; i < DATA_KEYS; i++) {
        Text value = {0};
        config_get(&config, keys[i], &value);
        words[i] = text_format("%s=%s", keys[i], text_view(&value));
        text_free(&value);
    }
}

static bool same_data(const DataConfig *a, const DataConfig *b) {
    return !strcmp(a->name, b->name) && a->resolution == b->resolution && a->count == b->count &&
           a->seed == b->seed;
}

/* The runs that train the classifiers which the plan needs on the same data as its need `first`. */
static bool needs_plan(const RunOptions *options, const Plan *plan, int first, Plan *out, Error *error) {
    const DataConfig *data = &plan->needs[first].data;
    const char *arms[MOST_NEEDS];
    char *words[DATA_KEYS], scales[1024], path[1024];
    const char *files[] = {path_join(path, options->paths.root,
                                     strcmp(data->name, "shapes") ? "experiments/classifier_cifar10.yaml"
                                                                  : "experiments/classifier_shapes.yaml")};
    PlanRequest request = request_of(options, scales);
    for (int i = first; i < plan->need_count; i++)
        if (same_data(&plan->needs[i].data, data))
            arms[request.arm_count++] = classifier_role_name(plan->needs[i].role);
    data_words(data, words);
    request.arms = arms, request.scale_where_named = true;
    request.files = files, request.file_count = 1;
    request.overrides = (const char *const *)words, request.override_count = DATA_KEYS;
    const bool made = plan_make(&request, out, error);
    for (int i = 0; i < DATA_KEYS; i++) free(words[i]);
    return made;
}

/* Whether all have been trained before, so that what they left has been removed since. */
static bool plan_done(const RunOptions *options, const Plan *plan) {
    RunRow row;
    bool done = file_exists(options->paths.database);
    Store *store = done ? cli_store(&options->paths) : NULL;
    for (int i = 0; done && i < plan->run_count; i++) {
        done = store && store_get_run(store, plan->runs[i].id, &row, NULL);
        if (!done) break;
        done = row.state == RUN_DONE;
        run_row_free(&row);
    }
    store_close(store);
    return done;
}

/* Trains them, or shows the runs that would. */
static int needs_answer(const RunOptions *options, const Plan *plan, int first, const char *command) {
    Plan classifiers;
    Error error;
    RunOptions mine = *options;
    if (!needs_plan(options, plan, first, &classifiers, &error)) return cli_fail(EXIT_USAGE, &error);
    mine.force = options->force || plan_done(options, &classifiers);
    const int code = plan_answer(&mine, &classifiers, command);
    plan_free(&classifiers);
    return code;
}

/* All of them; the time that they take is the command's. */
static int needs_train(RunOptions *options, const Plan *plan, const char *command) {
    const double began = clock_monotonic();
    int code = EXIT_DONE;
    for (int i = 0; i < plan->need_count && code == EXIT_DONE; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++) seen = seen || same_data(&plan->needs[i].data, &plan->needs[j].data);
        log_info("first %s, which runs are trained against or judged by", plan->needs[i].name);
        if (!seen) code = needs_answer(options, plan, i, command);
    }
    if (!(options->max_wall > 0)) return code;
    options->max_wall -= clock_monotonic() - began;
    return code == EXIT_DONE && options->max_wall <= 0 ? EXIT_STOPPED : code;
}

/* A run's id follows from the weights of its classifiers, so they are trained before it can be planned. */
static int runs_answer(RunOptions *options, const char *command) {
    Plan plan;
    Error error;
    if (!plan_of(options, true, &plan, &error)) return cli_fail(EXIT_USAGE, &error);
    int code = options->resolved ? EXIT_DONE : needs_train(options, &plan, command);
    if (code == EXIT_DONE && plan.need_count && !options->dry_run && !options->resolved) {
        plan_free(&plan);
        if (!plan_of(options, false, &plan, &error)) return cli_fail(EXIT_USAGE, &error);
    }
    if (code == EXIT_DONE) code = plan_answer(options, &plan, command);
    plan_free(&plan);
    return code;
}

static int run_run(int argc, char **argv) {
    RunOptions options = {.device = "cpu", .jobs = 1};
    char *command = words_join(argc - 1, argv + 1);
    const Option list[] = {
        {"scale", 's', OPTION_TEXT, &options.scale, "NAME",
         "smoke, desk, hour or paper (experiments/scales)"},
        {"device", 0, OPTION_TEXT, &options.device, "D", "cpu, cuda or cuda:1 (default cpu)"},
        {"jobs", 'j', OPTION_COUNT, &options.jobs, "N", "runs at a time (default 1)"},
        {"threads", 0, OPTION_COUNT, &options.threads, "N",
         "CPU threads of each run (default: all, shared among the jobs)"},
        {"max-wall", 0, OPTION_DURATION, &options.max_wall, "9m",
         "stop after this time with the state saved"},
        {"dry-run", 'n', OPTION_FLAG, &options.dry_run, NULL,
         "show the runs and their states, start nothing"},
        {"resolved", 0, OPTION_FLAG, &options.resolved, NULL,
         "with --dry-run: every key of every run instead"},
        {"retry", 0, OPTION_FLAG, &options.retry, NULL, "run failed runs again, from their last checkpoint"},
        {"force", 0, OPTION_FLAG, &options.force, NULL,
         "run all of them again from the beginning, finished ones too"},
        {"fail-fast", 0, OPTION_FLAG, &options.fail_fast, NULL, "stop at the first failure"},
    };
    int count;
    char **words =
        options_parse(&command_run, argc, argv, list, sizeof list / sizeof *list, &options.paths, &count);
    const int code = words_sort(&options, words, count) ? runs_answer(&options, command) : EXIT_USAGE;
    free(command);
    return code;
}

const Command command_run = {
    "run", "FILE.yaml... [key=value...] [options]",
    "run experiments (the word `run` may be left out); the same command again resumes", run_run};

/* ---- worker ---- */

static int worker_command(int argc, char **argv) {
    Worker worker = {.device_spec = "cpu"};
    int parent = 0, count;
    const Option list[] = {
        {"run-folder", 0, OPTION_TEXT, &worker.folder, "PATH", "the run's own folder, with config.yaml"},
        {"device", 0, OPTION_TEXT, &worker.device_spec, "D", "cpu, cuda or cuda:1"},
        {"threads", 0, OPTION_COUNT, &worker.threads, "N", "CPU threads"},
        {"sharing", 0, OPTION_COUNT, &worker.sharing, "N", "runs at once on the device"},
        {"parent", 0, OPTION_COUNT, &parent, "PID", "stop when this process ends"},
        {"max-wall", 0, OPTION_DURATION, &worker.max_wall, "9m", "stop after this time"},
    };
    char **words =
        options_parse(&command_worker, argc, argv, list, sizeof list / sizeof *list, &worker.paths, &count);
    if (count != 1 || !worker.folder) {
        log_error("worker is started by `run`, with one run's id and --run-folder");
        return EXIT_USAGE;
    }
    if (parent && !process_follow_parent(parent)) return EXIT_STOPPED;
    worker.id = words[0];
    return worker_run(&worker);
}

const Command command_worker = {"worker", "worker ID --run-folder PATH", NULL, worker_command};
