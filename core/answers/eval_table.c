/* Floors are found by the names that evaluator_reference() gives them. */
#include "answers/eval_table.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double floor_find(const char *metric, const Evaluation *floors, int count) {
    for (int i = 0; i < count; i++) {
        const size_t length = strlen(metric);
        if (strncmp(floors[i].metric, metric, length)) continue;
        if (!strcmp(floors[i].metric + length, "-floor") || !strcmp(floors[i].metric + length, "-real"))
            return floors[i].value;
    }
    return NAN;
}

void eval_table_add(EvalTable *table, const char *of, const Evaluation *numbers, int count,
                    const Evaluation *floors, int floor_count) {
    table->rows = realloc(table->rows, (size_t)(table->count + count + 1) * sizeof *table->rows);
    CHECK(table->rows, "out of memory for a table");
    for (int i = 0; i < count; i++) {
        EvalRow *row = &table->rows[table->count++];
        *row = (EvalRow){.number = numbers[i], .floor = floor_find(numbers[i].metric, floors, floor_count)};
        snprintf(row->of, sizeof row->of, "%.95s", of);
    }
}

enum { CELLS = 8 };
static const char *const titles[CELLS] = {"of",      "metric",    "value",    "real against real",
                                          "samples", "reference", "features", "protocol"};

static void cells_write(const EvalRow *row, int hash_digits, char cells[CELLS][96]) {
    const Evaluation *e = &row->number;
    snprintf(cells[0], 96, "%s", row->of);
    snprintf(cells[1], 96, "%s", e->metric);
    snprintf(cells[2], 96, "%.6g", e->value);
    snprintf(cells[3], 96, isnan(row->floor) ? "" : "%.6g", row->floor);
    snprintf(cells[4], 96, "%d", e->samples);
    snprintf(cells[5], 96, "%.*s", hash_digits, e->reference_hash);
    snprintf(cells[6], 96, "%.*s", hash_digits, e->features_hash);
    snprintf(cells[7], 96, "%s", e->protocol);
}

static void markdown_print(const EvalTable *table, Text *out) {
    for (int k = 0; k < CELLS; k++) text_append(out, "| %s ", titles[k]);
    text_append(out, "|\n|---|---|---:|---:|---:|---|---|---|\n");
    for (int i = 0; i < table->count; i++) {
        char cells[CELLS][96];
        cells_write(&table->rows[i], 12, cells);
        for (int k = 0; k < CELLS; k++) text_append(out, "| %s ", cells[k]);
        text_append(out, "|\n");
    }
}

static void csv_print(const EvalTable *table, Text *out) {
    for (int k = 0; k < CELLS; k++) text_append(out, "%s%s", k ? "," : "", titles[k]);
    text_append(out, "\n");
    for (int i = 0; i < table->count; i++) {
        char cells[CELLS][96];
        cells_write(&table->rows[i], 64, cells);
        for (int k = 0; k < CELLS; k++) {
            if (k) text_append(out, ",");
            text_append_csv(out, cells[k]);
        }
        text_append(out, "\n");
    }
}

static void json_print(const EvalTable *table, Text *out) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < table->count; i++) {
        const EvalRow *row = &table->rows[i];
        cJSON *item = cJSON_CreateObject();
        cJSON_AddStringToObject(item, "of", row->of);
        cJSON_AddStringToObject(item, "metric", row->number.metric);
        cJSON_AddNumberToObject(item, "value", row->number.value);
        if (!isnan(row->floor)) cJSON_AddNumberToObject(item, "floor", row->floor);
        cJSON_AddNumberToObject(item, "samples", row->number.samples);
        cJSON_AddStringToObject(item, "reference_hash", row->number.reference_hash);
        cJSON_AddStringToObject(item, "features_hash", row->number.features_hash);
        cJSON_AddStringToObject(item, "protocol", row->number.protocol);
        cJSON_AddItemToArray(list, item);
    }
    char *text = cJSON_Print(list);
    CHECK(text, "out of memory for a table");
    text_append(out, "%s\n", text);
    free(text);
    cJSON_Delete(list);
}

bool eval_table_print(const EvalTable *table, const char *format, Text *out, Error *error) {
    if (!format || !strcmp(format, "md"))
        markdown_print(table, out);
    else if (!strcmp(format, "csv"))
        csv_print(table, out);
    else if (!strcmp(format, "json"))
        json_print(table, out);
    else
        return error_set(error, "--format: md, csv or json, not '%s'", format);
    return true;
}

void eval_table_free(EvalTable *table) {
    free(table->rows);
    *table = (EvalTable){0};
}
