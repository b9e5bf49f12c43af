/* Model cards. Numbers keep the names of their metrics and stand beside data set, scale, sample count and
 * commit, because a number that has lost them gets compared with what it cannot be compared with. */
#include "export/model_card.h"
#include "answers/answers.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

/* What a card says of its run beyond RunRow. */
typedef struct CardFacts {
    const RunRow *row;
    const Config *config;
    int64_t step;
    const char *weights;
    bool changed;      /* trained with uncommitted changes */
    char metrics[512]; /* names, comma-separated */
} CardFacts;

#define HERE                                                                                              \
    " FROM evaluation WHERE run_id = :run AND step = :step AND weights = :weights AND value IS NOT NULL " \
    "AND metric NOT LIKE "                                                                                \
    "'%-class-%' "

/* JSON's strings are YAML's double-quoted ones. */
static void quoted(Text *out, const char *text) {
    cJSON *string = cJSON_CreateString(text);
    char *printed = cJSON_PrintUnformatted(string);
    CHECK(printed, "out of memory for a model card");
    text_append(out, "%s", printed);
    free(printed);
    cJSON_Delete(string);
}

/* ---- the header ---- */

static void tags_write(const CardFacts *facts, Text *card) {
    const bool labels = facts->config->model.classes > 0;
    text_append(card, "---\n# license: (to be chosen by whoever publishes this model)\n");
    if (!labels) text_append(card, "pipeline_tag: unconditional-image-generation\n");
    text_append(card, "tags:\n  - consistency-model\n  - image-generation\n  - one-step-generation\n");
    if (labels) text_append(card, "  - class-conditional\n");
    text_append(card, "datasets:\n  - ");
    quoted(card, facts->config->data.name);
    text_append(card, "\n");
}

static void metric_names_write(const CardFacts *facts, Text *card) {
    text_append(card, "metrics:\n");
    for (const char *at = facts->metrics; *at; at += strspn(at, ",")) {
        const int length = (int)strcspn(at, ",");
        text_append(card, "  - %.*s\n", length, at);
        at += length;
    }
}

typedef struct IndexWriter {
    const CardFacts *facts;
    Text *card;
} IndexWriter;

static void index_row(void *context, int columns, const char *const *names, const char *const *values) {
    const IndexWriter *w = context;
    char *name =
        text_format("%s, %s network evaluation%s an image, %s samples, weights %s, scale %s, commit %.8s",
                    values[0], values[1], strcmp(values[1], "1") ? "s" : "", values[2], w->facts->weights,
                    w->facts->row->scale, w->facts->row->commit);
    (void)columns, (void)names;
    text_append(w->card, "          - type: ");
    quoted(w->card, values[0]);
    text_append(w->card, "\n            name: ");
    quoted(w->card, name);
    text_append(w->card, "\n            value: %s\n", values[3]);
    free(name);
}

/* The section of results that hubs show as a table and search by. */
static bool index_write(Store *store, const CardFacts *facts, const char *const *parameters, Text *card,
                        Error *error) {
    IndexWriter writer = {facts, card};
    text_append(card, "model-index:\n  - name: ");
    quoted(card, facts->row->experiment);
    text_append(card, "\n    results:\n      - task:\n          type: %s\n        dataset:\n",
                facts->config->model.classes ? "image-generation" : "unconditional-image-generation");
    for (int i = 0; i < 2; i++) {
        text_append(card, "          %s: ", i ? "name" : "type");
        quoted(card, facts->config->data.name);
        text_append(card, "\n");
    }
    text_append(card, "        metrics:\n");
    return store_query(store, "SELECT metric, nfe, samples, value" HERE "ORDER BY metric, nfe, samples",
                       parameters, 3, index_row, &writer, error);
}

/* ---- the page ---- */

static void introduction_write(const CardFacts *facts, Text *card) {
    const RunRow *row = facts->row;
    text_append(card, "---\n\n# %s%s%s\n\n", row->experiment, *row->arm ? ": " : "", row->arm);
    text_append(
        card,
        "A consistency model (Song & Dhariwal, *Improved Techniques for Training Consistency Models*, ICLR "
        "2024) of %d x %d images, trained from scratch on the data set `%s`. It draws an image in one "
        "evaluation of its network, or in several.\n\n"
        "![samples](samples.png)\n\n*Seeds 0 to 63: left in one step, right in two. Not selected.*\n\n",
        facts->config->data.resolution, facts->config->data.resolution, facts->config->data.name);
    text_append(
        card,
        "## Sampling\n\nWith the program that trained it, `ict` at commit %.8s, from this folder:\n\n"
        "    ./run sample THIS_FOLDER --seeds 0-63 --nfe 2 --out pictures\n"
        "    ./run apply THIS_FOLDER/config.yaml --weights THIS_FOLDER/model.safetensors --input in.npz "
        "--output out.npz\n\n"
        "The second line evaluates f(x, sigma) on given arrays. `model.safetensors` holds the weights `%s` "
        "in fp32 under the parameter names of EDM (Karras et al. 2022), `config.yaml` everything else.\n\n",
        row->commit, facts->weights);
}

static bool results_write(Store *store, const CardFacts *facts, const char *const *parameters, Text *card,
                          Error *error) {
    static const char sql[] = "SELECT metric, nfe AS \"network evaluations\", printf('%.4g', value) AS "
                              "value, samples FROM evaluation "
                              "WHERE run_id = :run AND value IS NOT NULL AND metric NOT LIKE '%-class-%' "
                              "AND (step = :step AND weights = :weights OR weights = 'reference') "
                              "ORDER BY nfe = 0, metric, nfe, samples";
    const Question question = {.sql = (char *)(uintptr_t)sql};
    text_append(card, "## Results\n\n");
    if (!*facts->metrics) {
        text_append(card, "These weights were not evaluated at this step.\n\n");
        return true;
    }
    if (!table_print(store, &question, TABLE_MARKDOWN, parameters, 3, card, error)) return false;
    text_append(card,
                "\nRows with 0 network evaluations are what to read the others beside: real images against "
                "real ones (floor), trivial generators, the judge on real images.");
    if (strstr(facts->metrics, "fd-random"))
        text_append(card,
                    " `fd-random` is a Frechet distance on features of a fixed random network. It is **not "
                    "FID** and compares only within this data set and sample count.");
    text_append(card, "\n\n");
    return true;
}

static void origin_write(const CardFacts *facts, Text *card) {
    const RunRow *row = facts->row;
    char hours[32];
    text_append(card, "## Origin\n\n| | |\n|---|---|\n");
    text_append(card, "| run | %s, scale `%s`, seed %lld |\n", row->id, row->scale, (long long)row->seed);
    text_append(card, "| data | `%s`, SHA-256 of its pixels and labels %.16s... |\n",
                facts->config->data.name, row->data_hash);
    text_append(card, "| training | %lld of %lld steps, %lld images seen |\n", (long long)facts->step,
                (long long)row->steps, (long long)facts->step * facts->config->train.batch);
    text_append(card, "| commit | %s%s |\n", row->commit, facts->changed ? ", with uncommitted changes" : "");
    text_append(card, "| device | %s |\n", row->device);
    if (row->ended > row->started)
        text_append(card, "| time | %s from start to end |\n",
                    format_duration(hours, row->ended - row->started));
}

/* ---- the whole ---- */

static void facts_take(void *context, int columns, const char *const *names, const char *const *values) {
    CardFacts *facts = context;
    (void)columns, (void)names;
    facts->changed = values[0] && !strcmp(values[0], "1");
    snprintf(facts->metrics, sizeof facts->metrics, "%s", values[1] ? values[1] : "");
}

bool model_card(Store *store, const RunRow *row, const Config *config, int64_t step, const char *weights,
                Text *card, Error *error) {
    char number[32];
    CardFacts facts = {row, config, step, weights, false, ""};
    snprintf(number, sizeof number, "%lld", (long long)step);
    const char *const parameters[] = {"run", row->id, "step", number, "weights", weights};
    if (!store_query(store,
                     "SELECT git_diff <> '', (SELECT group_concat(metric) FROM (SELECT DISTINCT metric" HERE
                     "ORDER BY metric)) FROM run WHERE id = :run",
                     parameters, 3, facts_take, &facts, error))
        return false;
    tags_write(&facts, card);
    if (*facts.metrics) metric_names_write(&facts, card);
    if (*facts.metrics && !index_write(store, &facts, parameters, card, error)) return false;
    introduction_write(&facts, card);
    if (!results_write(store, &facts, parameters, card, error)) return false;
    origin_write(&facts, card);
    return true;
}
