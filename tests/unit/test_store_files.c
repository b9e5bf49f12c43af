/* The database as a file: opened by many, read by queries, damaged, made by a newer
 * program. */
#include "store_fixture.h"

static void test_processes_open_a_new_file_at_once(void **state) {
    enum { OPENERS = 8 };
    Fixture *fixture = *state;
    char path[160];
    int pids[OPENERS];
    snprintf(path, sizeof path, "%s/new/ict.db", fixture->folder);
    for (int i = 0; i < OPENERS; i++) {
        pids[i] = fork();
        if (pids[i]) continue;
        Store *store;
        Error error;
        const bool ok = store_open(path, &store, &error);
        if (!ok) print_message("# %s\n", error.text);
        store_close(store);
        _exit(!ok);
    }
    for (int i = 0; i < OPENERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
}

static void test_published_numbers_replace_earlier_ones(void **state) {
    Fixture *fixture = *state;
    const char *text =
        "source,dataset,method,nfe,metric,value\n# a remark\n"
        "\"Song & Dhariwal, 2024\",cifar10,\"iCT \"\"deep\"\"\",1,FID,2.51\r\nCM,cifar10,CD,,FID,2.9\n";
    char path[160];
    Error error;
    snprintf(path, sizeof path, "%s/published.csv", fixture->folder);
    must(file_write_atomic(path, text, strlen(text), &error), &error);
    for (int i = 0; i < 2; i++) must(store_load_published(fixture->store, path, &error), &error);
    assert_sql(fixture->store, "SELECT count(*) FROM published", "2");
    assert_sql(fixture->store,
               "SELECT source || '|' || method || '|' || nfe || '|' || value FROM published LIMIT 1",
               "Song & Dhariwal, 2024|iCT \"deep\"|1|2.51");
    assert_sql(fixture->store, "SELECT nfe FROM published WHERE method = 'CD'", "NULL");
    must(file_write_atomic(path, "CM,cifar10,CD,1,FID,low\n", 24, &error), &error);
    assert_false(store_load_published(fixture->store, path, &error));
    assert_non_null(strstr(error.text, "published.csv:1:"));
    assert_sql(fixture->store, "SELECT count(*) FROM published", "2"); /* all or nothing */
}

static void test_query_reads_only(void **state) {
    Store *store = ((Fixture *)*state)->store;
    const char *const parameters[] = {"name", "it's"};
    char value[256];
    Error error;
    must(store_query(store, "SELECT :name", parameters, 1, first_value, value, &error), &error);
    assert_string_equal(value, "it's");
    assert_false(store_query(store, "DELETE FROM run", NULL, 0, first_value, value, &error));
    assert_false(store_query(store, "SELECT 1; DELETE FROM run", NULL, 0, first_value, value, &error));
    assert_false(store_query(store, "SELECT :missing", NULL, 0, first_value, value, &error));
    assert_non_null(strstr(error.text, ":missing"));
    assert_false(store_query(store, "SELEKT", NULL, 0, first_value, value, &error));
}

static void test_damaged_file_is_named(void **state) {
    Fixture *fixture = *state;
    char path[160];
    Store *store;
    Error error;
    snprintf(path, sizeof path, "%s/broken.db", fixture->folder);
    must(file_write_atomic(path, "this is not a database, and long enough to be looked at", 55, &error),
         &error);
    assert_false(store_open(path, &store, &error));
    assert_null(store);
    assert_non_null(strstr(error.text, "broken.db"));
    assert_non_null(strstr(error.text, "damaged"));
    assert_false(store_open("/proc/nowhere/ict.db", &store, &error));
    assert_non_null(strstr(error.text, "/proc/nowhere"));
}

static void test_layout_below_zero_is_refused(void **state) {
    Fixture *fixture = *state;
    Store *again;
    Error error;
    sqlite3_exec(fixture->store->db, "PRAGMA user_version = -1", NULL, NULL, NULL);
    assert_false(store_open(fixture->path, &again, &error));
    assert_non_null(strstr(error.text, "layout -1"));
}

static void test_newer_layout_is_refused(void **state) {
    Fixture *fixture = *state;
    Store *again;
    Error error;
    assert_int_equal(sqlite3_exec(fixture->store->db, "PRAGMA user_version = 999", NULL, NULL, NULL),
                     SQLITE_OK);
    assert_false(store_open(fixture->path, &again, &error));
    assert_non_null(strstr(error.text, "newer"));
}

static void test_journal_fits_the_file_system(void **state) {
    char journal[16] = "";
    Text problems = {0};
    Error error;
    must(store_check(((Fixture *)*state)->store, journal, &problems, &error), &error);
    assert_string_equal(text_view(&problems), "ok");
    assert_string_equal(journal, "wal"); /* /tmp is a local disk wherever this is tested */
    assert_string_equal(network_file_system(0x6969), "NFS");
    assert_string_equal(network_file_system(0x0BD00BD0), "Lustre");
    assert_string_equal(network_file_system(0x65735546), "FUSE");
    assert_null(network_file_system(0xEF53)); /* ext4 */
    text_free(&problems);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_processes_open_a_new_file_at_once),
        STORE_TEST(test_published_numbers_replace_earlier_ones),
        STORE_TEST(test_query_reads_only),
        STORE_TEST(test_damaged_file_is_named),
        STORE_TEST(test_layout_below_zero_is_refused),
        STORE_TEST(test_newer_layout_is_refused),
        STORE_TEST(test_journal_fits_the_file_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
