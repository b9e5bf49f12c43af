/* What leaves the program for others: rows as CSV and JSON, TensorBoard's records beside those of its own
 * package (tests/golden/events.tfevents, made by scripts/golden_tensorboard.py), model cards. */
#include "store_fixture.h"
#include "export/export.h"
#include "export/model_card.h"
#include "export/tensorboard.h"
#include "mentions.h"

static void test_checksum_has_its_known_answers(void **state) {
    uint8_t zeros[32] = {0};
    (void)state;
    assert_int_equal(crc32c("123456789", 9), 0xE3069283u);
    assert_int_equal(crc32c(zeros, sizeof zeros), 0x8A9136AAu); /* RFC 3720, B.4 */
    assert_int_equal(crc32c("", 0), 0);
}

static void test_events_are_tensorboards_own_bytes(void **state) {
    Text file = {0};
    char *golden;
    size_t size;
    Error error;
    (void)state;
    event_version(&file, 1.0);
    event_scalar(&file, (EventPlace){1.5, 20, "training/loss"}, 0.25);
    event_scalar(&file, (EventPlace){1.6e9, 300, "training/gradient_norm"}, INFINITY);
    event_image(&file, (EventPlace){2.5, (int64_t)1 << 40, "samples"}, 7, 260, "\x89PNG\r\n\x1a\n", 8);
    event_text(&file, (EventPlace){3.5, 1, "configuration"}, "**bold** ü\n");
    must(file_read("tests/golden/events.tfevents", &golden, &size, &error), &error);
    assert_int_equal(file.length, size);
    assert_memory_equal(file.text, golden, size);
    free(golden);
    text_free(&file);
}

/* What `export` prints for a query. */
static char *exported(Store *store, const char *sql, ExportFormat format) {
    char *text = NULL;
    size_t size;
    Error error;
    FILE *stream = open_memstream(&text, &size);
    must(export_rows(store, sql, format, stream, &error), &error);
    fclose(stream);
    return text;
}

static void assert_exported(Store *store, const char *sql, ExportFormat format, const char *expected) {
    char *text = exported(store, sql, format);
    assert_string_equal(text, expected);
    free(text);
}

static const char awkward[] =
    "SELECT '41' AS text, 41 AS number, 0.1 AS real, 9e999 AS infinite, NULL AS empty, "
    "'a,\"b\"' || char(10) || 'c' AS \"quo,ted\"";

static void test_csv_is_quoted(void **state) {
    Store *store = ((Fixture *)*state)->store;
    assert_exported(store, awkward, EXPORT_CSV,
                    "text,number,real,infinite,empty,\"quo,ted\"\n41,41,0.1,,,\"a,\"\"b\"\"\nc\"\n");
    assert_exported(store, "SELECT char(13) AS x UNION ALL SELECT ''", EXPORT_CSV, "x\n\"\r\"\n\n");
}

static void test_json_keeps_types_and_has_no_infinities(void **state) {
    Store *store = ((Fixture *)*state)->store;
    assert_exported(store, awkward, EXPORT_JSON,
                    "[\n{\"text\":\"41\",\"number\":41,\"real\":0.1,\"infinite\":null,\"empty\":null,"
                    "\"quo,ted\":\"a,\\\"b\\\"\\nc\"}\n]\n");
    assert_exported(store, "SELECT 1 WHERE 0", EXPORT_JSON, "[]\n");
}

static void run_with_numbers(Store *store, const char *id, const char *arm) {
    const Evaluation good = {.metric = "fd-random", .value = 0.5, .samples = 64},
                     bad = {.metric = "kid", .value = NAN, .samples = 64};
    Error error;
    run_add(store, id, arm);
    run_claim(store, id, false, false);
    run_start(store, id, 0);
    ticks_write(store, id, 100, 200, 100);
    must(store_evaluation(store, id, 200, "ema:0.05", 1, &good, &error), &error);
    must(store_evaluation(store, id, 200, "ema:0.05", 2, &bad, &error), &error);
}

static void test_rows_say_where_they_come_from(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Error error;
    run_with_numbers(store, "12345678", "c = 0.03, \"small\"");
    const char *tables[] = {"runs", "metrics", "evaluations", "artifacts", "events", "published"};
    for (int i = 0; i < 6; i++) {
        const char *sql = export_query(tables[i], &error);
        assert_non_null(sql);
        free(exported(store, sql, EXPORT_CSV));
    }
    char *metrics = exported(store, export_query("metrics", &error), EXPORT_CSV);
    assert_non_null(strstr(metrics, ",experiment,arm,scale,seed,data,state,device,git_commit,changed\n"));
    assert_non_null(strstr(metrics, "\n12345678,200,6400,loss,200.5,"));
    assert_non_null(
        strstr(metrics, ",ema,\"c = 0.03, \"\"small\"\"\",smoke,0,cifar10,running,cpu: test,0123abcd,0\n"));
    free(metrics);
    char *numbers = exported(store, export_query("evaluations", &error), EXPORT_JSON);
    assert_non_null(strstr(numbers, "{\"run_id\":\"12345678\",\"step\":200,"));
    assert_non_null(strstr(numbers, "\"metric\":\"kid\",\"value\":null,"));
    free(numbers);
    assert_null(export_query("runes", &error));
    assert_mentions(&error, "evaluations");
}

/* The run's own file, however its folder is called. */
static char *events_of(const char *folder, size_t *size) {
    char pattern[200], path[1024] = "", *bytes;
    Error error;
    snprintf(pattern, sizeof pattern, "ls %s/*/events.out.tfevents.*.ict", folder);
    FILE *list = popen(pattern, "r");
    assert_non_null(fgets(path, sizeof path, list));
    pclose(list);
    path[strcspn(path, "\n")] = 0;
    must(file_read(path, &bytes, size, &error), &error);
    return bytes;
}

static void test_tensorboard_gets_every_row_and_the_same_bytes_twice(void **state) {
    Fixture *fixture = *state;
    char folder[160], *first, *second, *id = (char[]){"aa10"};
    size_t size, again;
    int written;
    Error error;
    run_with_numbers(fixture->store, "aa10", "with/slash");
    run_add(fixture->store, "bb20", "has not begun");
    snprintf(folder, sizeof folder, "%s/board", fixture->folder);
    must(export_tensorboard(fixture->store, folder, NULL, 0, &written, &error), &error);
    assert_int_equal(written, 1); /* a run without a tick has nothing to show */
    first = events_of(folder, &size);
    must(export_tensorboard(fixture->store, folder, &id, 1, &written, &error), &error);
    second = events_of(folder, &again);
    assert_int_equal(size, again);
    assert_memory_equal(first, second, size);
    int records = 0;
    for (size_t at = 0; at < size; records++) {
        uint64_t length;
        memcpy(&length, first + at, sizeof length);
        at += 8 + 4 + length + 4;
        assert_true(at <= size);
    }
    int64_t rows;
    must(store_integer(fixture->store, &error, &rows, 0, "SELECT count(*) FROM metric", ""), &error);
    assert_int_equal(records, 2 + rows + 1); /* version, configuration; the evaluation that is a number */
    free(first);
    free(second);
    id = (char[]){"ff"};
    assert_false(export_tensorboard(fixture->store, folder, &id, 1, &written, &error));
}

static void test_model_card_keeps_names_and_context(void **state) {
    Store *store = ((Fixture *)*state)->store;
    Config config = config_default();
    RunRow row;
    Text card = {0};
    Error error;
    snprintf(config.data.name, sizeof config.data.name, "my \"own\" set");
    run_with_numbers(store, "aa10", "no EMA");
    must(store_get_run(store, "aa10", &row, &error), &error);
    must(model_card(store, &row, &config, 200, "ema:0.05", &card, &error), &error);
    assert_memory_equal(card.text, "---\n# license:", 14);
    assert_non_null(strstr(card.text, "datasets:\n  - \"my \\\"own\\\" set\"\n"));
    assert_non_null(strstr(card.text, "            value: 0.5\n"));
    assert_non_null(strstr(card.text, "64 samples, weights ema:0.05, scale smoke, commit 0123abcd\""));
    assert_non_null(strstr(card.text, "| fd-random | 1 | 0.5 | 64 |"));
    assert_non_null(strstr(card.text, "./run sample"));
    assert_non_null(strstr(card.text, "**not FID**"));
    assert_null(strstr(card.text, "kid")); /* not a number */
    text_clear(&card);
    must(model_card(store, &row, &config, 100, "raw", &card, &error), &error);
    assert_null(strstr(card.text, "model-index"));
    assert_non_null(strstr(card.text, "not evaluated"));
    text_free(&card);
    run_row_free(&row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checksum_has_its_known_answers),
        cmocka_unit_test(test_events_are_tensorboards_own_bytes),
        STORE_TEST(test_csv_is_quoted),
        STORE_TEST(test_json_keeps_types_and_has_no_infinities),
        STORE_TEST(test_rows_say_where_they_come_from),
        STORE_TEST(test_tensorboard_gets_every_row_and_the_same_bytes_twice),
        STORE_TEST(test_model_card_keeps_names_and_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
