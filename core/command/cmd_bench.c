/* `bench`: the rate of whole training steps of an experiment on this machine, and with --ops the time of
 * every op; with --session kept in the database, beside what other programs do in the same work. */
#include "base/file.h"
#include "base/log.h"
#include "base/philox.h"
#include "command/bench_rates.h"
#include "command/bench_record.h"
#include "command/cli.h"
#include "base/machine.h"
#include "train/features_inception.h"
#include "train/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TICK_STEPS = 4, LEAST_TICKS = 2 };

typedef struct Bench {
    const char *device_spec, *tuned, *session, *peer, *inception;
    int threads;
    double seconds; /* to measure */
    bool ops, dump, sample;
    Paths paths;
    Config config;
    Dataset data;
    char features[1024];
    Device *device;
    int ticks; /* seen; the first one warms up and does not count */
    double measured, images;
    int polls;
    double began, opened, first_step; /* of the command; seconds after it */
    char experiment[64];
    BenchResult result;
    GraphOpTime op[GRAPH_MOST_OPS];
    int op_count;
} Bench;

/* ---- whole steps ---- */

static bool on_tick(void *context, const Tick *tick, Error *error) {
    Bench *bench = context;
    (void)error; /* nothing can fail here */
    if (bench->ticks++)
        bench->measured += tick->seconds, bench->images += tick->images_per_second * tick->seconds;
    return true;
}

/* On a card the first step is a window of its own, so the second poll comes after it. */
static bool on_stop(void *context) {
    Bench *bench = context;
    if (++bench->polls == 2) bench->first_step = clock_monotonic() - bench->began;
    return bench->ticks > LEAST_TICKS && bench->measured >= bench->seconds;
}

/* Of an image: student and teacher forward, and a backward pass of two products for each forward one. */
static double step_flops(const Trainer *trainer) {
    return 4 * trainer_cost(trainer).forward_flops / trainer_micro_batch(trainer);
}

/* What only a card is asked for: its memory, and what share of its products' rate the steps reach. */
static void card_measure(Bench *bench) {
    Device *device = bench->device;
    size_t available = 0, total = 0;
    if (!device->memory) return;
    device->memory(device, &available, &total);
    bench->result.memory = (double)(total - available);
    bench->result.matrix = bench_matrix_rate(device, bench->config.precision, 2);
}

static void result_take(Bench *bench, const Trainer *trainer) {
    const double rate = bench->images / bench->measured;
    bench->result = (BenchResult){.batch = bench->config.train.batch,
                                  .micro_batch = trainer_micro_batch(trainer),
                                  .rate = rate,
                                  .sample_rate = bench->result.sample_rate,
                                  .flops = rate * step_flops(trainer),
                                  .ready = bench->opened,
                                  .first_step = bench->first_step,
                                  .memory = machine_peak_memory()};
    card_measure(bench);
}

static void card_print(const Bench *bench, const Trainer *trainer) {
    const BenchResult *result = &bench->result;
    char used[32], all[32], product[32];
    size_t available, total;
    if (!bench->device->memory) return;
    bench->device->memory(bench->device, &available, &total);
    printf("memory of the card: %s of %s in use; the data set is %s\n", format_bytes(used, result->memory),
           format_bytes(all, (double)total),
           trainer_holds_data(trainer) ? "held by the card" : "gathered by the host");
    printf("a product of %d^3: %s FLOP/s; a step reaches %.1f%% of that\n", MATRIX_SIDE,
           format_count(product, result->matrix), 100 * result->flops / result->matrix);
}

static void rate_print(const Bench *bench, const Trainer *trainer) {
    const BenchResult *result = &bench->result;
    const GraphCost cost = trainer_cost(trainer);
    char parameters[32], flops[32], planned[32], naive[32];
    printf("%s: %s, %d threads; %s parameters, batch %d in micro-batches of %d\n", bench->device->kind,
           bench->device->name, bench->device->threads,
           format_count(parameters, (double)trainer_parameters(trainer)), bench->config.train.batch,
           trainer_micro_batch(trainer));
    printf("activations and gradients of a micro-batch: %s planned, %s with one buffer each\n",
           format_bytes(planned, (double)cost.arena_bytes), format_bytes(naive, (double)cost.naive_bytes));
    printf("a step takes %.4g ms, %s FLOP/s\n", 1e3 * result->batch / result->rate,
           format_count(flops, result->flops));
    printf("device and network were ready after %.1f s, the first step was done after %.1f s\n",
           bench->opened, bench->first_step);
    if (bench->device->races.races)
        printf("%.1f s of that to find the fastest kernels of %d convolutions and products\n",
               bench->device->races.spent, bench->device->races.races);
    card_print(bench, trainer);
    printf("peak memory of the process: %.1f MiB\n", machine_peak_memory() / (1 << 20));
    printf("training: %.1f images/s\n", result->rate);
    if (bench->sample) printf("sampling in one step: %.1f images/s\n", result->sample_rate);
}

static bool sample_measure(Bench *bench, Trainer *trainer, Error *error) {
    const Dataset *data = &bench->data;
    bench->result.sample_rate =
        bench_sample_rate(trainer, bench->config.model.classes, data->height * data->width * data->channels,
                          bench->seconds, error);
    return bench->result.sample_rate > 0;
}

/* Without a folder there are no checkpoints, which are gigabytes for the larger networks. */
static bool steps_measure(Bench *bench, Error *error) {
    if (bench->config.task == TASK_CLASSIFIER)
        return error_set(error, "bench measures consistency training; a classifier's run says its own rate");
    bench->config.train.tick_steps = TICK_STEPS;
    bench->config.train.evaluations = bench->config.train.checkpoint_steps = 0;
    const TrainSetup setup = {.model = &bench->config.model,
                              .ct = &bench->config.ct,
                              .train = &bench->config.train,
                              .data = &bench->data,
                              .flip = bench->config.data.flip,
                              .device = bench->device,
                              .seed = (uint64_t)bench->config.seed,
                              .precision = bench->config.precision,
                              .features = *bench->features ? bench->features : NULL,
                              .name = "bench"};
    const TrainHooks hooks = {.context = bench, .on_tick = on_tick, .should_stop = on_stop};
    Trainer *trainer = trainer_open(&setup, error);
    bench->opened = clock_monotonic() - bench->began;
    if (!trainer) return false;
    const TrainEnd end = trainer_run(trainer, &hooks, error);
    bool done =
        (end == TRAIN_STOPPED || end == TRAIN_DONE) &&
        (bench->measured > 0 || error_set(error, "the run is too short to be measured: train.steps=100"));
    done = done && (!bench->sample || sample_measure(bench, trainer, error));
    if (done) {
        result_take(bench, trainer);
        rate_print(bench, trainer);
        fflush(stdout);
    }
    if (done && bench->tuned && bench->device->remember) bench->device->remember(bench->device, bench->tuned);
    trainer_close(trainer);
    return done;
}

/* ---- single ops ---- */

static float *device_floats(Device *device, const float *host, size_t count) {
    float *memory = device->allocate(device, count * sizeof *memory);
    if (host)
        device->copy(device, memory, host, count * sizeof *memory, COPY_TO_DEVICE);
    else
        device->fill(device, memory, 0, count * sizeof *memory);
    return memory;
}

/* Numbers of the size that the network sees; zeros would be quicker than the truth. */
static float *input_make(Device *device, size_t count) {
    float *host = malloc(count * sizeof *host);
    CHECK(host, "out of memory");
    for (size_t i = 0; i < count; i++)
        host[i] = 2 * random_uniform(
                          random_block((RandomKey){.seed = 1, .stream = STREAM_NOISE}, (uint32_t)i).x[0]) -
                  1;
    float *memory = device_floats(device, host, count);
    device->synchronise(device);
    free(host);
    return memory;
}

/* The same in the network's type. */
static void *input_cast(Device *device, const Network *network, float *input, void **narrow) {
    if (network->dtype == DTYPE_F32) return input;
    const Tensor wide = {input, DTYPE_F32, network->n, network->h, network->w, network->c};
    Tensor y = wide;
    y.dtype = network->dtype;
    y.data = *narrow = device->allocate(device, tensor_bytes(&y));
    device->ops->add_scale(device, &(AddScale){.a = wide, .a_scale = 1, .y = y});
    return y.data;
}

static float *levels_make(const Bench *bench, int n) {
    Level host[1024];
    CHECK(n <= 1024, "micro-batch %d", n);
    for (int i = 0; i < n; i++) host[i] = ct_level(&bench->config.ct, 1.0);
    float *memory = device_floats(bench->device, (const float *)host, (size_t)n * LEVEL_FIELDS);
    bench->device->synchronise(bench->device);
    return memory;
}

static float *weights_make(const Bench *bench, const ParamSet *params) {
    float *host = malloc((size_t)params->total * sizeof *host);
    CHECK(host, "out of memory");
    param_initialise(params, (uint64_t)bench->config.seed, host);
    float *memory = device_floats(bench->device, host, (size_t)params->total);
    bench->device->synchronise(bench->device);
    free(host);
    return memory;
}

/* The network's plan, and the time of every node. */
static void ops_profile(Bench *bench, int n) {
    enum { REPEATS = 5 };
    Device *device = bench->device;
    ParamSet params = {0};
    const Dataset *data = &bench->data;
    Network network = network_create(&bench->config.model, &params, device, n, data->height, data->channels,
                                     true, network_precision(device, bench->config.precision));
    void *narrow[2] = {NULL, NULL}; /* weights and input in 16 bits */
    float *weights = weights_make(bench, &params),
          *gradients = device_floats(device, NULL, (size_t)params.total);
    float *input =
        input_make(device, (size_t)n * (size_t)data->height * (size_t)data->width * (size_t)data->channels);
    float *level = levels_make(bench, n), *row = device_floats(device, NULL, sizeof(StepRow) / sizeof(float));
    float *extra =
        device_floats(device, NULL, (size_t)n * (size_t)(network.classes + network.augment_dim + 1));
    const void *cast = network_cast(&network, device, &params, weights, &narrow[0]);
    graph_bind(network.graph, network.input, input_cast(device, &network, input, &narrow[1]));
    graph_bind(network.graph, network.level, level);
    if (network.label != NO_VALUE) graph_bind(network.graph, network.label, extra);
    if (network.augment != NO_VALUE) graph_bind(network.graph, network.augment, extra);
    const GraphRun run = {
        .master = weights, .cast = cast, .draw = {.row = (const StepRow *)row}, .dropout = true};
    if (bench->dump) graph_dump(network.graph, stdout);
    if (bench->ops) {
        printf("\none forward and one backward pass of %d images:\n", n);
        bench->op_count = graph_profile(network.graph, &run, gradients, REPEATS, stdout, bench->op);
    }
    for (float **memory = (float *[]){weights, gradients, input, level, row, extra, NULL}; *memory; memory++)
        device->release(device, *memory);
    for (int i = 0; i < 2; i++)
        if (narrow[i]) device->release(device, narrow[i]);
    network_free(&network);
    param_free(&params);
}

/* ---- the Inception network ---- */

/* Of images of CIFAR-10's size, in fp32 and with its factors rounded to TF32. */
static bool inception_bench(Bench *bench, Error *error) {
    bool done = device_open(bench->device_spec, bench->threads, &bench->device, error);
    for (int tf32 = 0; done && tf32 < 2; tf32++) {
        const InceptionRequest request = {32, 32, INCEPTION_TF1, tf32};
        InceptionNetwork *network = inception_open(bench->inception, NULL, &request, bench->device, error);
        done = network != NULL;
        if (!done) break;
        const double rate = inception_measure(network, bench->seconds, bench->ops ? stdout : NULL);
        printf("inception, %s: %.1f images/s\n", tf32 ? "tf32" : "fp32", rate);
        inception_close(network);
        if (!strcmp(bench->device->kind, "cpu")) break; /* it has no other precision */
    }
    device_close(bench->device);
    return done;
}

/* ---- the command ---- */

static bool bench_plan(Bench *bench, char **words, int count, Error *error) {
    char scales[1024], quickstart[1024];
    const bool named = count && !strchr(words[0], '=');
    const char *file =
        named ? words[0] : path_join(quickstart, bench->paths.root, "experiments/quickstart.yaml");
    const PlanRequest request = {.files = &file,
                                 .file_count = 1,
                                 .overrides = (const char *const *)(words + named),
                                 .override_count = count - named,
                                 .data_folder = bench->paths.data,
                                 .weights_folder = bench->paths.weights,
                                 .scale_folder = path_join(scales, bench->paths.root, "experiments/scales")};
    Plan plan;
    if (!plan_make(&request, &plan, error)) return false;
    bench->config = plan.runs[0].config;
    const char *name = path_name(file);
    snprintf(bench->experiment, sizeof bench->experiment, "%.*s", (int)strcspn(name, "."), name);
    plan_free(&plan);
    return true;
}

static bool result_keep(const Bench *bench, Error *error) {
    Store *store;
    if (!bench->session) return true;
    if (!store_open(bench->paths.database, &store, error)) return false;
    const BenchPlace place = {.store = store,
                              .paths = &bench->paths,
                              .session = bench->session,
                              .experiment = bench->experiment,
                              .config = &bench->config,
                              .device = bench->device};
    const bool done = bench_record(&place, &bench->result, bench->op, bench->op_count, error);
    store_close(store);
    return done;
}

static bool bench_all(Bench *bench, Error *error) {
    if (!dataset_open(&bench->config.data, bench->paths.data, &bench->data, error)) return false;
    bool done =
        config_bind_features(&bench->config, &bench->data, bench->paths.weights, bench->features, error) &&
        device_open(bench->device_spec, bench->threads, &bench->device, error);
    if (done) {
        if (bench->tuned && bench->device->tune) bench->device->tune(bench->device);
        done = steps_measure(bench, error);
        if (done && (bench->ops || bench->dump)) ops_profile(bench, bench->result.micro_batch);
        done = done && result_keep(bench, error);
        device_close(bench->device);
    }
    dataset_close(&bench->data);
    return done;
}

/* Nothing is measured: a peer was, and its numbers are kept. */
static bool peer_keep(const Bench *bench, Error *error) {
    Store *store;
    if (!bench->session)
        return error_set(error, "--peer %s: say which session of bench it belongs to: --session NAME",
                         bench->peer);
    if (!store_open(bench->paths.database, &store, error)) return false;
    const bool done = bench_record_peer(store, bench->session, bench->peer, error);
    store_close(store);
    return done;
}

static int bench_run(int argc, char **argv) {
    Bench bench = {.device_spec = "cpu", .seconds = 10, .began = clock_monotonic()};
    Error error;
    int count;
    const Option list[] = {
        {"ops", 0, OPTION_FLAG, &bench.ops, NULL, "also time, bytes and FLOPs of every op"},
        {"sample", 0, OPTION_FLAG, &bench.sample, NULL, "also the rate of one-step sampling"},
        {"inception", 0, OPTION_TEXT, &bench.inception, "FILE",
         "instead: the rate of an Inception's weights (.safetensors) on images of 32 x 32"},
        {"dump", 0, OPTION_FLAG, &bench.dump, NULL, "also the plan: every node, its buffers and their lives"},
        {"tune", 0, OPTION_TEXT, &bench.tuned, "FILE",
         "race every convolution and large product; append the choices to FILE (core/backend/cuda/plans)"},
        {"session", 0, OPTION_TEXT, &bench.session, "NAME",
         "keep what is measured in the database, under this name"},
        {"peer", 0, OPTION_TEXT, &bench.peer, "FILE",
         "measure nothing: keep what scripts/bench_peer.py printed (- for standard input)"},
        {"seconds", 0, OPTION_DURATION, &bench.seconds, "10", "how long to measure"},
        {"device", 0, OPTION_TEXT, &bench.device_spec, "D", "cpu, cuda or cuda:1 (default cpu)"},
        {"threads", 0, OPTION_COUNT, &bench.threads, "N", "CPU threads (default: all)"},
    };
    char **words =
        options_parse(&command_bench, argc, argv, list, sizeof list / sizeof *list, &bench.paths, &count);
    if (bench.inception) return inception_bench(&bench, &error) ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
    const bool done = bench.peer ? peer_keep(&bench, &error)
                                 : bench_plan(&bench, words, count, &error) && bench_all(&bench, &error);
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_bench = {
    "bench", "bench [FILE.yaml] [key=value...] [--ops] [--session NAME]",
    "rate of a training step (default: experiments/quickstart.yaml), time of every op", bench_run};
