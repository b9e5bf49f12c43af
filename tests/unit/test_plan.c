/* From files to runs: order of application, arms and grids, scales, ids, all problems at once.
 * Whether the repository's own files can be planned is test_plan_files.c's affair, what they say
 * test_experiments.c's. */
#include "plan/plan.h"

#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/near.h"
#include "tests/unit/scratch.h"

enum { MOST = 8 };

/* A request with a few files and overrides, NULL-terminated. */
typedef struct Ask {
    const char *files[MOST], *overrides[MOST], *scale;
    bool with_data, own_scales; /* scales written by a test, so that those of the repository may be tuned */
} Ask;

static bool ask(const Ask *a, Plan *plan, Error *error) {
    PlanRequest request = {.files = a->files,
                           .overrides = a->overrides,
                           .scale = a->scale,
                           .data_folder = scratch("data"),
                           .scale_folder = a->own_scales ? scratch("scales") : NULL,
                           .without_data = !a->with_data};
    while (a->files[request.file_count]) request.file_count++;
    while (a->overrides[request.override_count]) request.override_count++;
    return plan_make(&request, plan, error);
}

static Plan planned(Ask a) {
    Plan plan;
    Error error = {0};
    if (!ask(&a, &plan, &error)) fail_msg("%s", error.text);
    return plan;
}

static void refused(Ask a, const char *message) {
    Plan plan;
    Error error = {0};
    assert_false(ask(&a, &plan, &error));
    assert_int_equal(plan.run_count, 0);
    assert_string_equal(error.text, message);
}

/* Writes a file of the scratch folder and gives its path, valid for the rest of the test. */
static const char *written(const char *name, const char *text) {
    static char paths[16][1024];
    static int next;
    const char *path = path_join(paths[next++ % 16], scratch_folder, name);
    assert_true(file_write_atomic(path, text, strlen(text), NULL));
    return path;
}

/* A message that names scratch files: "@" stands for their folder. */
static const char *placed(const char *message) {
    static Text text;
    text_clear(&text);
    for (; *message; message++) {
        if (*message == '@')
            text_append(&text, "%s", scratch_folder);
        else
            text_append_bytes(&text, message, 1);
    }
    return text_view(&text);
}

/* A small experiment that every test may start from. */
static const char small[] = "data: {name: shapes, resolution: 16, count: 64}\n"
                            "model: {channels: 8, channel_mult: [1, 1], blocks: 1, attention: []}\n"
                            "ct: {s0: 2, s1: 8}\n"
                            "train: {steps: 100, batch: 8, ema: [0.1]}\n"
                            "evaluation: {weights: raw}\n";

/* ---- order ---- */

static void later_settings_win(void **state) {
    (void)state;
    written("a.yaml", "seed: 1\ntrain.batch: 11\ntrain.steps: 11\ndata.count: 11\nset: {train.batch: 12}\n");
    written("b.yaml", "base: a.yaml\nct: {p_mean: -2}\ntrain.steps: 21\nset: {ct.p_std: 3}\n");
    const char *c = written("c.yaml", "base: b.yaml\n"
                                      "model.dropout: 0.5\nmodel: {blocks: 3}\n"
                                      "set: {model.blocks: 5}\n"
                                      "arms:\n  x: {model.dropout: 0.6, train.lr: 2e-3}\n"
                                      "grid: {train.lr: [3e-3]}\n");
    Plan plan = planned((Ask){.files = {c}, .overrides = {"train.beta1=0.8"}});
    assert_int_equal(plan.run_count, 1);
    const Config *config = &plan.runs[0].config;
    assert_int_equal(config->seed, 1);                    /* the base's base */
    assert_int_equal(config->train.batch, 12);            /* its set, over its own settings */
    assert_int_equal(config->train.steps, 21);            /* the base, over its base */
    NEAR(config->ct.p_mean, -2, 0);                       /* nested and */
    NEAR(config->ct.p_std, 3, 0);                         /* dotted keys */
    assert_int_equal(config->model.blocks, 5);            /* set, over its own settings */
    NEAR(config->model.dropout, 0.6, 1e-6);               /* the arm, over both */
    NEAR(config->train.optimiser.learning_rate, 3e-3, 0); /* the grid, over the arm */
    NEAR(config->train.optimiser.beta1, 0.8, 0);          /* the command line */
    assert_string_equal(plan.runs[0].arm, "x");
    assert_string_equal(plan.runs[0].experiment, "c");
    plan_free(&plan);
    plan = planned((Ask){.files = {c}, .overrides = {"train.lr=4e-3"}}); /* over the grid */
    NEAR(plan.runs[0].config.train.optimiser.learning_rate, 4e-3, 0);
    plan_free(&plan);
}

static void a_base_gives_settings_and_scale_alone(void **state) {
    (void)state;
    written("question.yaml",
            "name: first\nscale: own\nct.s0: 7\narms: {x: {}, y: {ct.s0: 8}}\ngrid: {seed: [0, 1]}\n");
    const char *path = written("heir.yaml", "base: question.yaml\n");
    Plan plan = planned((Ask){.files = {path}});
    assert_int_equal(plan.run_count, 1);
    assert_int_equal(plan.runs[0].config.ct.s0, 7);
    assert_string_equal(plan.runs[0].experiment, "heir");
    assert_string_equal(plan.runs[0].scale, "own");
    assert_string_equal(plan.runs[0].arm, "");
    plan_free(&plan);
}

static void write_scales(void) {
    assert_true(folder_make(scratch("scales"), NULL));
    written("scales/paper.yaml", "notes: nothing changes\n");
    written("scales/tiny.yaml",
            "notes: text\nct: {s0: 5}\ntrain: {batch: 32, steps: 512}\nmodel.dropout: 0\n");
    written("scales/bad.yaml", "sizes: 3\nset: {seed: 1}\nct.s0: 5\nct.s0: 6\n"
                               "instead: {ct.s1: {x: 1}, ct.sl: {1: 2}}\n");
}

static void a_scale_lies_between_settings_and_arms(void **state) {
    (void)state;
    write_scales();
    const char *path = written("scaled.yaml", "train.batch: 100\nset: {train.steps: 1000}\n"
                                              "scales: {tiny: {ct.s0: 3}, paper: {ct.s0: 4}}\n"
                                              "arms: {x: {}, y: {model.dropout: 0.25}}\n");
    Plan plan = planned((Ask){.files = {path}, .scale = "tiny", .own_scales = true});
    assert_int_equal(plan.run_count, 2);
    assert_int_equal(plan.runs[0].config.train.batch, 32);
    assert_int_equal(plan.runs[0].config.train.steps, 512);
    assert_int_equal(plan.runs[0].config.ct.s0, 3); /* the experiment's exception, over the scale */
    NEAR(plan.runs[0].config.model.dropout, 0, 0);
    NEAR(plan.runs[1].config.model.dropout, 0.25, 0);
    assert_string_equal(plan.runs[1].scale, "tiny");
    plan_free(&plan);
    plan = planned((Ask){.files = {path}, .own_scales = true});
    assert_string_equal(plan.runs[0].scale, "paper");
    assert_true(plan.runs[0].config.train.batch == 100 && plan.runs[0].config.ct.s0 == 4);
    plan_free(&plan);
}

static void scales_that_cannot_be_are_refused(void **state) {
    (void)state;
    write_scales();
    const char *path = written("scale.yaml", "scales: {tinny: {ct.s0: 3}}\n");
    refused((Ask){.files = {path}, .scale = "huge", .own_scales = true},
            placed("@/scale.yaml:1:10: no scale 'tinny'; there are bad, paper, tiny\n"
                   "command line: no scale 'huge'; there are bad, paper, tiny"));
    path = written("own.yaml", "scale: own\n");
    refused((Ask){.files = {path}, .scale = "paper", .own_scales = true},
            placed("@/own.yaml: written at scale 'own'; scale 'paper' changes nothing, so it cannot be had "
                   "from this file"));
    refused((Ask){.files = {path}, .scale = "bad", .own_scales = true},
            placed("@/scales/bad.yaml:4:1: 'ct.s0' is given twice; first at line 3\n"
                   "@/scales/bad.yaml:1:1: unknown key 'sizes'\n"
                   "@/scales/bad.yaml:2:1: 'set': a scale has only notes, settings and 'instead'\n"
                   "@/scales/bad.yaml:5:19: ct.s1: expected a whole number, found 'x'\n"
                   "@/scales/bad.yaml:5:34: unknown key 'ct.sl'; did you mean 'ct.s0'?"));
}

static void another_data_set_forgets_what_was_said_of_the_first(void **state) {
    (void)state;
    const char *path = written("data.yaml", "data: {resolution: 16, count: 64, seed: 3, name: shapes}\n");
    Plan plan = planned((Ask){.files = {path}, .overrides = {"data.name=shapes"}});
    const DataConfig *data = &plan.runs[0].config.data;
    assert_true(data->resolution == 16 && data->count == 64 && data->seed == 3);
    plan_free(&plan);
    plan = planned((Ask){.files = {path}, .overrides = {"data.count=9", "data.name=cifar10"}});
    data = &plan.runs[0].config.data;
    assert_true(data->resolution == 0 && data->count == 9 && data->seed == 0);
    plan_free(&plan);
    const char *based = written("data2.yaml", "base: data.yaml\ndata.seed: 5\ndata.name: cifar10\n");
    plan = planned((Ask){.files = {based}});
    data = &plan.runs[0].config.data;
    assert_true(data->resolution == 0 && data->count == 0 && data->seed == 5);
    plan_free(&plan);
}

/* ---- arms and grids ---- */

static void arms_multiply_with_the_grid_seeds_outermost(void **state) {
    (void)state;
    const char *path =
        written("grid.yaml", "arms:\n  no EMA: {ct.teacher_ema: 0}\n  EMA: {ct.teacher_ema: 0.99}\n"
                             "grid: {ct: {s0: [5, 10]}, seed: [0, 1]}\n");
    Plan plan = planned((Ask){.files = {path}});
    static const char *const arms[4] = {"no EMA, ct.s0=5", "EMA, ct.s0=5", "no EMA, ct.s0=10",
                                        "EMA, ct.s0=10"};
    assert_int_equal(plan.run_count, 8);
    for (int i = 0; i < 8; i++) {
        assert_string_equal(plan.runs[i].arm, arms[i % 4]);
        assert_int_equal(plan.runs[i].config.seed, i / 4);
        assert_int_equal(plan.runs[i].config.ct.s0, i % 4 < 2 ? 5 : 10);
        NEAR(plan.runs[i].config.ct.teacher_ema, i % 2 ? 0.99 : 0, 0);
    }
    plan_free(&plan);
    plan = planned((Ask){.files = {path}, .overrides = {"seed=7", "ct.s0=6"}}); /* both replace the grid's */
    assert_int_equal(plan.run_count, 2);
    assert_string_equal(plan.runs[1].arm, "EMA");
    assert_true(plan.runs[1].config.seed == 7 && plan.runs[1].config.ct.s0 == 6);
    plan_free(&plan);
}

static void sweeps_come_from_the_command_line(void **state) {
    (void)state;
    Plan plan = planned((Ask){.files = {"experiments/quickstart.yaml"},
                              .overrides = {"model.attention=[8],[16,8]", "seed=3,4"}});
    assert_int_equal(plan.run_count, 4);
    assert_string_equal(plan.runs[0].arm, "model.attention=[8]");
    assert_string_equal(plan.runs[3].arm, "model.attention=[16, 8]");
    assert_true(plan.runs[3].config.seed == 4 && plan.runs[3].config.model.attentions == 2);
    plan_free(&plan);
}

static void files_take_turns_seed_by_seed(void **state) {
    (void)state;
    const char *two = written("two.yaml", "arms: {a: {}, b: {ct.s0: 5}}\ngrid: {seed: [0, 1]}\n"),
               *three = written("three.yaml", "grid: {seed: [7, 8, 9]}\n");
    Plan plan = planned((Ask){.files = {two, three}});
    static const char *const order[] = {"two a 0", "two b 0",  "three  7", "two a 1",
                                        "two b 1", "three  8", "three  9"};
    assert_int_equal(plan.run_count, 7);
    for (int i = 0; i < 7; i++) {
        char found[256];
        snprintf(found, sizeof found, "%s %s %lld", plan.runs[i].experiment, plan.runs[i].arm,
                 (long long)plan.runs[i].config.seed);
        assert_string_equal(found, order[i]);
    }
    plan_free(&plan);
}

static void an_arm_is_never_silently_another(void **state) {
    (void)state;
    refused((Ask){.files = {"ablations/ema.yaml"},
                  .overrides = {"ct.teacher_ema=0.9", "ct.teacher_schedule=fixed", "seed=0"},
                  .scale = "smoke"},
            "ablations/ema.yaml: arms 'no EMA (iCT)' and 'EMA 0.75' are the same run: the grid, the scale or "
            "the command line sets "
            "what they set\n"
            "ablations/ema.yaml: arms 'no EMA (iCT)' and 'EMA 0.99' are the same run: the grid, the scale or "
            "the command line sets "
            "what they set\n"
            "ablations/ema.yaml: arms 'no EMA (iCT)' and 'CT schedule' are the same run: the grid, the scale "
            "or the command line "
            "sets what they set");
    refused((Ask){.files = {"experiments/quickstart.yaml"}, .overrides = {"seed=1,2,1"}},
            "experiments/quickstart.yaml: '' with seed 1 is asked for twice: a value is given twice");
}

static void too_many_runs_are_refused(void **state) {
    (void)state;
    Text text = {0};
    text_append(&text, "grid:\n");
    static const char *const keys[] = {"seed", "data.seed", "data.count", "model.blocks", "ct.s0"};
    for (int i = 0; i < 5; i++) text_append(&text, "  %s: [1, 2, 3, 4, 5, 6, 7]\n", keys[i]);
    const char *path = written("many.yaml", text.text);
    refused((Ask){.files = {path}}, placed("@/many.yaml: more than 10000 runs; ask for fewer at a time"));
    text_free(&text);
}

/* ---- ids ---- */

static void the_id_is_the_hash_of_what_decides_the_numbers(void **state) {
    (void)state;
    const char *path = written("small.yaml", small);
    Plan plan = planned((Ask){.files = {path}, .with_data = true});
    const RunSpec *run = &plan.runs[0];
    Text text = {0};
    text_append(&text, "numerics: %d\n", NUMERICS_VERSION);
    config_print(&run->config, CONFIG_IDENTITY, &text);
    text_append(&text, "data: %s\n", run->data_hash);
    const Hash hash = hash_bytes(text.text, text.length);
    text_free(&text);
    assert_int_equal(strlen(run->id), 8);
    assert_int_equal(strlen(run->data_hash), 64);
    assert_memory_equal(run->id, hash.hex, 8);

    Plan same = planned(
        (Ask){.files = {path}, .overrides = {"train.tick=7", "evaluation.grid=4"}, .with_data = true});
    assert_string_equal(same.runs[0].id, run->id);
    Plan others = planned(
        (Ask){.files = {path}, .overrides = {"data.seed=1,2", "train.lr=1e-3,2e-3"}, .with_data = true});
    assert_int_equal(others.run_count, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_not_equal(others.runs[i].id, run->id);
        for (int j = 0; j < i; j++) assert_string_not_equal(others.runs[i].id, others.runs[j].id);
    }
    assert_string_not_equal(others.runs[0].data_hash, others.runs[2].data_hash);
    assert_string_equal(others.runs[0].data_hash, others.runs[1].data_hash);
    plan_free(&plan);
    plan_free(&same);
    plan_free(&others);
}

static void the_stored_configuration_gives_the_same_id(void **state) {
    (void)state;
    Plan plan = planned((Ask){.files = {written("small.yaml", small)},
                              .overrides = {"model.class_conditional=true"},
                              .with_data = true});
    Text text = {0};
    Config config;
    Error error = {0};
    char id[16];
    config_print(&plan.runs[0].config, CONFIG_ALL, &text);
    assert_true(config_parse(text.text, text.length, "stored", &config, &error));
    plan_run_id(&config, plan.runs[0].data_hash, id);
    assert_string_equal(id, plan.runs[0].id);
    assert_true(plan.runs[0].config.model.classes > 1); /* from the data set */
    text_free(&text);
    plan_free(&plan);
}

static void the_same_run_may_belong_to_two_experiments(void **state) {
    (void)state;
    const char *one = written("one.yaml", small),
               *two = written("two.yaml", "base: one.yaml\narms: {x: {}, y: {seed: 1}}\n");
    Plan plan = planned((Ask){.files = {one, two}, .with_data = true});
    assert_int_equal(plan.run_count, 3);
    assert_int_equal(plan.experiment_count, 2);
    assert_string_equal(plan.runs[0].id, plan.runs[1].id);
    assert_string_equal(plan.experiments[1].yaml, "base: one.yaml\narms: {x: {}, y: {seed: 1}}\n");
    plan_free(&plan);
}

/* ---- problems ---- */

static void all_problems_come_at_once(void **state) {
    (void)state;
    written("broken_base.yaml", "model: {bloks: 4}\n");
    const char *path = written("broken.yaml", "base: broken_base.yaml\n"
                                              "arm: {x: {seed: 1}}\n"
                                              "train:\n  batch: big\n  lr: 1e-4\n"
                                              "train.lr: 2e-4\n"
                                              "seed: [0, 1]\n"
                                              "modle: {blocks: 3}\n"
                                              "ct: 3\n"
                                              "name: a b\n"
                                              "set: {ct.s0: 0}\n"
                                              "grid: {seed: 1}\n");
    refused(
        (Ask){.files = {path, "no.yaml"}, .overrides = {"train.bach=3", "seed", "ct.s0=1", "ct.s0=2"}},
        placed(
            "command line: unknown key 'train.bach'; did you mean 'train.batch'?\n"
            "command line: expected key=value, found 'seed'\n"
            "command line: 'ct.s0' is given twice\n"
            "@/broken_base.yaml:1:9: unknown key 'model.bloks'; did you mean 'model.blocks'?\n"
            "@/broken.yaml:2:1: unknown key 'arm'; did you mean 'arms'?\n"
            "@/broken.yaml:4:3: train.batch: expected a whole number, found 'big'\n"
            "@/broken.yaml:6:1: 'train.lr' is given twice; first at @/broken.yaml:5:3\n"
            "@/broken.yaml:7:1: seed: one value expected, found the list [0, 1] (several go under 'grid:')\n"
            "@/broken.yaml:8:1: unknown key 'modle'; did you mean 'model'?\n"
            "@/broken.yaml:9:1: 'ct' is a group of keys, not a key: write 'ct: { ... }' or 'ct.KEY: ...'\n"
            "@/broken.yaml:11:7: ct.s0: 0 is outside [1, 1000000]\n"
            "@/broken.yaml:10:1: 'name': expected a name of letters, digits and . _ -, at most 63 long\n"
            "@/broken.yaml:12:8: 'seed': expected a list of values to run through\n"
            "command line: no.yaml: cannot be opened: No such file or directory"));
}

static void arms_and_what_is_said_of_them(void **state) {
    (void)state;
    refused((Ask){.files = {written("lists.yaml", "arms: [x]\ngrid: [seed]\n")}},
            placed("@/lists.yaml:1:1: 'arms': expected a map, { name: { key: value } }\n"
                   "@/lists.yaml:2:1: 'grid': expected a map, { key: [value, value] }"));
    const char *one = written("claim.yaml", "arms: {x: {}, y: {seed: 1}}\npaper: {best: z, worse: [y, w]}\n"),
               *two = written("claims.yaml", "arms: {x: {}, y: {seed: 1}}\npaper: x\n");
    refused((Ask){.files = {one, two}},
            placed("@/claim.yaml:2:9: 'paper': 'z' is none of the arms\n"
                   "@/claim.yaml:2:29: 'paper': 'w' is none of the arms\n"
                   "@/claims.yaml:2:1: 'paper': expected { best: ARM } or { best: ARM, "
                   "worse: [ARM, ...] }"));
}

static void contradictions_name_the_line_that_decided(void **state) {
    (void)state;
    const char *path = written(
        "contrary.yaml", "ct:\n  s1: 20\narms:\n  good: {}\n  bad: {ct.s0: 30}\ngrid: {seed: [0, 1]}\n");
    refused((Ask){.files = {path}}, placed("@/contrary.yaml:5:9: ct.s0: 30 is above ct.s1 20"));
    refused((Ask){.files = {path}, .overrides = {"ct.s0=40"}},
            placed("command line: ct.s0: 40 is above ct.s1 20 (in @/contrary.yaml)"));
}

static void bases_that_lead_nowhere_are_refused(void **state) {
    (void)state;
    const char *path = written("loop.yaml", "base: loop2.yaml\n");
    written("loop2.yaml", "seed: 1\nbase: ./loop.yaml\n");
    refused((Ask){.files = {path}}, placed("@/loop2.yaml:2:1: 'base': @/./loop.yaml builds on itself"));
    path = written("orphan.yaml", "\n base: gone/x.yaml\n");
    refused((Ask){.files = {path}},
            placed("@/orphan.yaml:2:2: @/gone/x.yaml: cannot be opened: No such file or directory"));
}

static void names_must_differ(void **state) {
    (void)state;
    const char *one = written("first.yaml", "name: same\nseed: 1\n"),
               *two = written("second.yaml", "name: same\nseed: 2\n");
    refused((Ask){.files = {one, two}}, placed("@/second.yaml: its name 'same' is that of @/first.yaml too"));
    refused((Ask){.files = {NULL}}, "command line: no experiment given: ./run experiments/NAME.yaml");
}

static void missing_data_is_said_once_with_its_line(void **state) {
    (void)state;
    Plan plan;
    Error error = {0};
    const char *path = written("absent.yaml", "data:\n  name: absent\ngrid: {seed: [0, 1, 2]}\n");
    assert_false(ask(&(Ask){.files = {path}, .with_data = true}, &plan, &error));
    const char *start = placed("@/absent.yaml:2:3: ");
    assert_memory_equal(error.text, start, strlen(start));
    assert_null(strchr(error.text, '\n'));
    assert_non_null(strstr(error.text, "absent"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_settings_win),
        cmocka_unit_test(a_base_gives_settings_and_scale_alone),
        cmocka_unit_test(a_scale_lies_between_settings_and_arms),
        cmocka_unit_test(scales_that_cannot_be_are_refused),
        cmocka_unit_test(another_data_set_forgets_what_was_said_of_the_first),
        cmocka_unit_test(arms_multiply_with_the_grid_seeds_outermost),
        cmocka_unit_test(sweeps_come_from_the_command_line),
        cmocka_unit_test(files_take_turns_seed_by_seed),
        cmocka_unit_test(an_arm_is_never_silently_another),
        cmocka_unit_test(too_many_runs_are_refused),
        cmocka_unit_test(the_id_is_the_hash_of_what_decides_the_numbers),
        cmocka_unit_test(the_stored_configuration_gives_the_same_id),
        cmocka_unit_test(the_same_run_may_belong_to_two_experiments),
        cmocka_unit_test(all_problems_come_at_once),
        cmocka_unit_test(arms_and_what_is_said_of_them),
        cmocka_unit_test(contradictions_name_the_line_that_decided),
        cmocka_unit_test(bases_that_lead_nowhere_are_refused),
        cmocka_unit_test(names_must_differ),
        cmocka_unit_test(missing_data_is_said_once_with_its_line),
    };
    return cmocka_run_group_tests_name("plan", tests, scratch_make, scratch_remove);
}
