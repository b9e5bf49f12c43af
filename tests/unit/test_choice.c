/* Of the choices that the run's file, a table of known cards and the clock name, the first one's is taken. */
#include "backend/choice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/scratch.h"

static const char header[] = "a library on a card";
static const char problem[] = "fp32 a problem 3x3 /1 0";
static const char other[] = "fp32 a problem 3x3 /2 0";

static Choices choices;

static void table_open(const char *body) {
    char text[1024];
    snprintf(text, sizeof text, "%s 9\n%s 3 1\n%s\n%s\nanother library\n%s 4 1\n", header, other, header,
             body, other);
    choices_open(&choices, header, text);
}

static void reset(void) {
    choices_release(&choices);
    choices = (Choices){0};
}

static void file_put(const char *name, const char *text) {
    assert_true(file_write_atomic(scratch(name), text, strlen(text), NULL));
}

static void file_holds(const char *name, const char *expected) {
    char *bytes;
    size_t size;
    assert_true(file_read(scratch(name), &bytes, &size, NULL));
    assert_string_equal(bytes, expected);
    free(bytes);
}

static void a_choice_is_a_line(void **state) {
    (void)state;
    static const char *const lines[] = {"bf16 data 512 16x16 256>256 3x3 /1 +1x1 0 0 2 67", "a -1 -1",
                                        "cuBLAS 130100 256x524288>256 NT 0 2 123456789012"};
    static const char *const others[] = {"",        "67",     "2 67",    " 2 67",
                                         "a 2 67x", "a b 67", "a -2 67", "NVIDIA H100 80GB HBM3"};
    Choice choice;
    char text[256];
    for (int i = 0; i < 3; i++) {
        assert_true(choice_parse(lines[i], &choice));
        choice_write(&choice, text);
        assert_string_equal(text, lines[i]);
    }
    assert_true(choice_parse(lines[0], &choice));
    assert_string_equal(choice.problem, "bf16 data 512 16x16 256>256 3x3 /1 +1x1 0 0");
    assert_int_equal(choice.place, 2);
    assert_int_equal(choice.number, 67);
    for (int i = 0; i < 8; i++)
        if (choice_parse(others[i], &choice)) fail_msg("taken for a choice: '%s'", others[i]);
    memset(text, 'a', sizeof text);
    memcpy(text + 240, " 2 67", 6);
    assert_false(choice_parse(text, &choice)); /* longer than any problem */
}

static void a_table_is_for_one_card_and_library(void **state) {
    (void)state;
    char hash[16];
    choices_open(&choices, header, "a library on another card\nfp32 a problem 3x3 /1 0 2 67\n");
    assert_null(choices.table);
    assert_string_equal(choices.table_hash, "");
    table_open("fp32 a problem 3x3 /1 0 2 67");
    assert_int_equal(choice_find(&choices, problem)->place, 2);
    assert_int_equal(choice_find(&choices, problem)->number, 67);
    assert_null(choice_find(&choices, other)); /* other cards' lines are not taken */
    snprintf(hash, sizeof hash, "%s", choices.table_hash);
    assert_int_equal(strlen(hash), 12);
    reset();
    table_open("fp32 a problem 3x3 /1 0 2 67");
    assert_string_equal(choices.table_hash, hash);
    reset();
    table_open("fp32 a problem 3x3 /1 0 3 67");
    assert_string_not_equal(choices.table_hash, hash);
    choices_forget_table(&choices);
    assert_null(choice_find(&choices, problem));
    assert_string_equal(choices.table_hash, "");
    reset();
}

/* A run that began with other choices than today's table goes on with them; one that begins keeps the
 * table's. */
static void the_run_goes_before_the_table(void **state) {
    (void)state;
    file_put("old.txt", "a library on a card\nfp32 a problem 3x3 /1 0 5 67");
    table_open("fp32 a problem 3x3 /1 0 2 67");
    choices_remember(&choices, scratch("old.txt"));
    assert_int_equal(choice_find(&choices, problem)->place, 5);
    reset();
    table_open("fp32 a problem 3x3 /1 0 2 67");
    choices_remember(&choices, scratch("new.txt"));
    assert_int_equal(choice_find(&choices, problem)->place, 2);
    assert_int_equal(choice_find(&choices, problem)->place, 2); /* written once */
    file_holds("new.txt", "a library on a card\nfp32 a problem 3x3 /1 0 2 67");
    reset();
}

/* What was chosen before the file was named is added to it; a line cut off by a crash spoils no other. */
static void the_file_has_every_choice(void **state) {
    (void)state;
    file_put("run.txt", "a library on a card\nfp32 a prob");
    choices_open(&choices, header, "");
    choice_add(&choices, problem, 1, 10);
    choices_remember(&choices, scratch("run.txt"));
    choice_add(&choices, other, -1, -1);
    reset();
    choices_open(&choices, header, "");
    choices_remember(&choices, scratch("run.txt"));
    assert_int_equal(choice_find(&choices, problem)->number, 10);
    assert_int_equal(choice_find(&choices, other)->place, -1);
    file_holds("run.txt", "a library on a card\nfp32 a prob\nfp32 a problem 3x3 /1 0 1 10\n"
                          "fp32 a problem 3x3 /2 0 -1 -1");
    reset();
}

/* Another card's choices mean nothing here: the file begins anew. */
static void another_cards_file_is_replaced(void **state) {
    (void)state;
    file_put("run.txt", "a library on another card\nfp32 a problem 3x3 /1 0 5 67");
    choices_open(&choices, header, "");
    choices_remember(&choices, scratch("run.txt"));
    assert_null(choice_find(&choices, problem));
    choice_add(&choices, problem, 1, 10);
    file_holds("run.txt", "a library on a card\nfp32 a problem 3x3 /1 0 1 10");
    reset();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_choice_is_a_line),       cmocka_unit_test(a_table_is_for_one_card_and_library),
        IN_SCRATCH(the_run_goes_before_the_table),  IN_SCRATCH(the_file_has_every_choice),
        IN_SCRATCH(another_cards_file_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
