/* A run in the report: what it is, where it comes from, how to run it again. */
#include "answers/answers.h"
#include "answers/html.h"
#include "answers/report.h"
#include "base/file.h"
#include "base/log.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the database knows of a run beyond its row. */
typedef struct RunFacts {
    bool changed;           /* uncommitted changes */
    char *versions;         /* JSON */
    char *command;          /* that started it first; "" when not recorded */
    char samples[1024];     /* stored path of the newest picture; "" when there is none */
    long long samples_step; /* its step */
} RunFacts;

static const char facts_sql[] =
    "SELECT git_diff <> '', coalesce(versions, '{}'), "
    "coalesce((SELECT substr(text, 1, instr(text, ' (was ') - 1) FROM event WHERE run_id = run.id AND text "
    "LIKE '%"
    " (was %' ORDER BY wall LIMIT 1), ''), "
    "(SELECT path FROM artifact WHERE run_id = run.id AND kind = 'samples' ORDER BY step DESC LIMIT 1), "
    "(SELECT max(step) FROM artifact WHERE run_id = run.id AND kind = 'samples') FROM run WHERE id = :run";

static void facts_take(void *context, int columns, const char *const *names, const char *const *values) {
    RunFacts *facts = context;
    (void)columns, (void)names;
    facts->changed = values[0] && !strcmp(values[0], "1");
    facts->versions = text_copy(values[1]);
    facts->command = text_copy(values[2]);
    snprintf(facts->samples, sizeof facts->samples, "%s", values[3] ? values[3] : "");
    facts->samples_step = values[4] ? atoll(values[4]) : 0;
}

static bool facts_read(Report *report, const RunRow *row, RunFacts *facts, Error *error) {
    *facts = (RunFacts){.changed = false};
    return store_query(report->store, facts_sql, (const char *[]){"run", row->id}, 1, facts_take, facts,
                       error);
}

static void facts_free(RunFacts *facts) {
    free(facts->versions);
    free(facts->command);
}

/* ---- samples ---- */

static void samples_caption(const RunRow *row, const char *arm, const RunFacts *facts, char *out,
                            size_t size) {
    char nfe[64] = "[]"; /* as the configuration has it, "[1, 2]" */
    config_text_get(row->config, "evaluation.nfe", nfe, sizeof nfe);
    nfe[strcspn(nfe, "]")] = 0;
    snprintf(out, size, "%s%sseed %lld, step %lld: samples in %s network evaluations, then real images", arm,
             *arm ? ", " : "", (long long)row->seed, facts->samples_step, nfe + 1);
}

bool report_samples(Report *report, const RunRow *row, const char *arm, Error *error) {
    RunFacts facts;
    char path[1024], caption[512];
    Error why;
    if (!facts_read(report, row, &facts, error)) return false;
    if (*facts.samples) {
        Text figure = {0};
        samples_caption(row, arm, &facts, caption, sizeof caption);
        text_append(&figure, "<figure class=\"samples\">");
        if (html_picture(&figure, store_locate(report->store, facts.samples, path), "image/png", caption,
                         &why)) {
            text_append(&figure, "<figcaption><a href=\"#run-%s\">%s</a>: ", row->id, row->id);
            html_text(&figure, caption);
            text_append(&figure, "</figcaption></figure>\n");
            text_append_bytes(&report->page, text_view(&figure), figure.length);
        } else
            log_warn("left out: %s", why.text);
        text_free(&figure);
    }
    facts_free(&facts);
    return true;
}

/* ---- origin ---- */

static void fact_put(Text *page, const char *name, const char *value) {
    if (!*value) return;
    text_append(page, "<dt>%s</dt><dd>", name);
    html_text(page, value);
    text_append(page, "</dd>");
}

/* In universal time: the page says the same wherever it is made. */
static const char *time_text(double seconds, char out[40]) {
    const time_t whole = (time_t)seconds;
    struct tm broken;
    *out = 0;
    if (seconds > 0 && gmtime_r(&whole, &broken)) strftime(out, 40, "%Y-%m-%d %H:%M:%S UTC", &broken);
    return out;
}

static void versions_put(Text *page, const char *json) {
    cJSON *object = cJSON_Parse(json), *item;
    cJSON_ArrayForEach(item, object) {
        char *value = cJSON_IsString(item) ? NULL : cJSON_PrintUnformatted(item);
        fact_put(page, item->string, value ? value : cJSON_GetStringValue(item));
        free(value);
    }
    cJSON_Delete(object);
}

static void origin_put(Text *page, const RunRow *row, const RunFacts *facts) {
    char text[256], data[64] = "";
    config_text_get(row->config, "data.name", data, sizeof data);
    text_append(page, "<dl>");
    fact_put(page, "scale", row->scale);
    snprintf(text, sizeof text, "%s, SHA-256 %s", data, row->data_hash);
    fact_put(page, "data", text);
    snprintf(text, sizeof text, "%lld of %lld", (long long)row->step, (long long)row->steps);
    fact_put(page, "step", text);
    fact_put(page, "device", row->device);
    snprintf(text, sizeof text, "%s%s", row->commit, facts->changed ? ", with uncommitted changes" : "");
    fact_put(page, "commit", text);
    fact_put(page, "started", time_text(row->started, text));
    fact_put(page, "ended", time_text(row->ended, text));
    fact_put(page, "error", row->error);
    text_append(page, "</dl>\n");
}

static void command_put(Text *page, const RunRow *row, const RunFacts *facts) {
    if (!*facts->command) return;
    text_append(page, "<p>To run it again:</p><pre><code>git checkout ");
    html_text(page, row->commit);
    if (facts->changed) text_append(page, "   # with uncommitted changes: ./run show %s --patch", row->id);
    text_append(page, "\n");
    html_text(page, facts->command);
    text_append(page, "</code></pre>\n");
}

static void details_put(Text *page, const char *title, const char *text) {
    text_append(page, "<details><summary>%s</summary><pre>", title);
    html_text(page, text);
    text_append(page, "</pre></details>\n");
}

/* ---- the run ---- */

static void numbers_put(Report *report, const RunRow *row) {
    static const char sql[] =
        "SELECT step, weights, nfe AS NFE, metric, printf('%.4g', value) AS value, samples FROM evaluation "
        "WHERE run_id = :run AND metric NOT LIKE '%-class-%' AND (nfe = 0 OR step = (SELECT max(step) FROM "
        "evaluation "
        "WHERE run_id = :run AND nfe > 0)) ORDER BY nfe = 0, metric, nfe, weights, samples";
    Question question = {.name = "evaluations",
                         .title = "Last evaluations, and what to read them beside (NFE 0)",
                         .sql = (char *)(uintptr_t)sql};
    Text table = {0};
    if (table_print(report->store, &question, TABLE_HTML, (const char *[]){"run", row->id}, 1, &table, NULL))
        text_append_bytes(&report->page, text_view(&table), table.length);
    text_free(&table);
}

bool report_run(Report *report, const RunRow *row, Error *error) {
    RunFacts facts;
    Text *page = &report->page;
    if (!facts_read(report, row, &facts, error)) return false;
    text_append(page, "<article id=\"run-%s\"><h3>%s: ", row->id, row->id);
    html_text(page, row->experiment);
    text_append(page, "%s", *row->arm ? ", " : "");
    html_text(page, row->arm);
    text_append(page, ", seed %lld <span class=\"state %s\">%s</span></h3>\n", (long long)row->seed,
                run_state_name(row->state), run_state_name(row->state));
    origin_put(page, row, &facts);
    command_put(page, row, &facts);
    numbers_put(report, row);
    text_append(page, "<details><summary>Curves</summary>\n");
    report_answers(report, "run", row->id);
    text_append(page, "</details>\n");
    details_put(page, "Configuration", row->config);
    text_append(page, "<details><summary>Software and machine</summary><dl>");
    versions_put(page, facts.versions);
    text_append(page, "</dl></details>\n</article>\n");
    facts_free(&facts);
    return true;
}
