/* Half of the data set is damaged, the other half is the reference: at strength 0 stands the floor. */
#include "eval/perturb.h"

#include "base/file.h"
#include "base/log.h"
#include "eval/trivial.h"
#include "command/eval_command.h"

#include <stdlib.h>

static bool set_judge(Evaluator *evaluator, const char *of, const uint8_t *images, int count,
                      EvalTable *table, Error *error) {
    Evaluation *numbers = malloc(MAX_EVALUATIONS * sizeof *numbers);
    CHECK(numbers, "out of memory");
    const int found = evaluator_run(evaluator, images, count, "as given", numbers, error);
    if (found >= 0) eval_table_add(table, of, numbers, found, NULL, 0);
    free(numbers);
    return found >= 0;
}

static bool kind_judge(Evaluator *evaluator, const Dataset *data, PerturbKind kind, int count,
                       EvalTable *table, Error *error) {
    const Perturbation *p = &perturbations[kind];
    for (int i = 0; i < PERTURB_STRENGTHS; i++) {
        char of[96];
        Error why;
        uint8_t *images = perturb_images(data, kind, p->strengths[i], count, &why);
        snprintf(of, sizeof of, "%s %d", p->name, p->strengths[i]);
        if (!images) {
            log_warn("no %s: %s", of, why.text);
            continue;
        }
        const bool done = set_judge(evaluator, of, images, count, table, error);
        free(images);
        if (!done) return false;
    }
    return true;
}

static bool data_perturb(const EvalOptions *options, const Dataset *data, Evaluator *evaluator,
                         Error *error) {
    const int half = data->count / 2,
              count = options->samples && options->samples < half ? options->samples : half;
    EvalTable table = {0};
    uint8_t *real = real_images(data, 0, count);
    bool done = set_judge(evaluator, "undamaged 0", real, count, &table, error);
    free(real);
    for (int kind = 0; done && kind < PERTURB_KINDS; kind++)
        done = kind_judge(evaluator, data, (PerturbKind)kind, count, &table, error);
    done = done && eval_finish_table(&table, options, error);
    eval_table_free(&table);
    return done;
}

bool eval_perturb(const EvalOptions *options, const Paths *paths, Device *device, Error *error) {
    Config config = config_default();
    DataConfig wanted = {.resolution = 0};
    Dataset data;
    snprintf(wanted.name, sizeof wanted.name, "%s", options->perturb);
    if (!eval_options_apply(options, paths, &config, error) ||
        !dataset_open(&wanted, paths->data, &data, error))
        return false;
    const int half = data.count / 2;
    uint8_t *others = real_images(&data, half, half);
    Dataset reference = data;
    reference.images = others, reference.labels = NULL, reference.count = half;
    reference.hash = hash_bytes(others, (size_t)half * image_size(&data));
    char cache[1024];
    const SpaceFolders folders = {path_join(cache, paths->results, "cache"), paths->weights};
    Evaluator *evaluator = evaluator_open(&config.evaluation, &reference, device, &folders, error);
    const bool done = evaluator && data_perturb(options, &data, evaluator, error);
    evaluator_close(evaluator);
    free(others);
    dataset_close(&data);
    return done;
}
