/* The YAML reader: what it accepts, where it says things stand, what it refuses, and that no bytes bring it
 * down. */
#include "config/yaml.h"

#include "base/file.h"
#include "base/philox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static YamlNode *parse(const char *text, Problems *problems) {
    *problems = (Problems){0};
    return yaml_parse(text, strlen(text), "f.yaml", problems);
}

/* The text is refused with exactly this line. */
static void refused(const char *text, const char *line) {
    Problems problems;
    YamlNode *root = parse(text, &problems);
    assert_string_equal(text_view(&problems.text), line);
    yaml_tree_free(root);
    problems_free(&problems);
}

static void a_tree_knows_where_its_values_stand(void **state) {
    (void)state;
    Problems problems;
    YamlNode *root = parse("# a comment\nname: ema\ntrain:\n  batch: 512\n  ema: [0.05, 0.1]\n", &problems);
    assert_non_null(root);
    assert_int_equal(problems.count, 0);
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->count, 2);
    const YamlNode *train = yaml_find(root, "train"), *batch = yaml_find(train, "batch");
    const YamlNode *ema = yaml_find(train, "ema");
    char place[640];
    assert_string_equal(batch->text, "512");
    assert_string_equal(yaml_place(place, "f.yaml", batch), "f.yaml:4:3");
    assert_int_equal(batch->column, 10);
    assert_int_equal(ema->kind, YAML_LIST);
    assert_int_equal(ema->count, 2);
    assert_string_equal(yaml_place(place, "f.yaml", &ema->children[1]), "f.yaml:5:15");
    assert_null(yaml_find(root, "batch"));
    yaml_tree_free(root);
}

static void scalars_stay_text(void **state) {
    (void)state;
    Problems problems;
    YamlNode *root = parse("a: 1e-4\nb: no\nc: 012\nd: \"x # y\"\ne:\nf: |\n  two\n  lines\n", &problems);
    const char *expected[6] = {"1e-4", "no", "012", "x # y", "", "two\nlines\n"};
    for (int i = 0; i < 6; i++) assert_string_equal(root->children[i].text, expected[i]);
    yaml_tree_free(root);
}

static void an_empty_text_is_an_empty_map(void **state) {
    (void)state;
    Problems problems;
    const char *texts[3] = {"", "# nothing\n", "{}"};
    for (int i = 0; i < 3; i++) {
        YamlNode *root = parse(texts[i], &problems);
        assert_non_null(root);
        assert_true(root->kind == YAML_MAP && root->count == 0 && problems.count == 0);
        yaml_tree_free(root);
    }
}

static void duplicates_name_both_lines(void **state) {
    (void)state;
    refused("seed: 1\nname: x\nseed: 2\n", "f.yaml:3:1: 'seed' is given twice; first at line 1\n");
    Problems problems;
    YamlNode *root = parse("a: {b: 1, b: 2}\nc: 3\na: 4\n", &problems);
    assert_non_null(root); /* reading goes on, so that all problems are found */
    assert_int_equal(problems.count, 2);
    assert_string_equal(yaml_find(yaml_find(root, "a"), "b")->text, "1");
    assert_string_equal(yaml_find(root, "c")->text, "3");
    yaml_tree_free(root);
    problems_free(&problems);
}

static void what_experiments_do_not_need_is_refused(void **state) {
    (void)state;
    refused("a: &x 1\n",
            "f.yaml:1:4: '&x': anchors are not supported; put what is shared into a 'base:' file\n");
    refused("a: *x\n", "f.yaml:1:4: '*x': aliases are not supported; write the value out, or put what is "
                       "shared into a 'base:' file\n");
    refused("a: !!int 3\n", "f.yaml:1:4: 'tag:yaml.org,2002:int': tags are not supported; the key decides "
                            "the type of its value\n");
    refused("? [a]\n: 1\n", "f.yaml:1:3: a key must be plain text\n");
    refused("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document ('---'); a file holds one\n");
    refused("a: \"x\\0y\"\n", "f.yaml:1:4: a zero byte inside a value\n");
}

static void broken_text_is_placed(void **state) {
    (void)state;
    refused("a: [1, 2\nb: 3\n",
            "f.yaml:2:2: not valid YAML: did not find expected ',' or ']' while parsing a "
            "flow sequence\n");
    refused("a:\n\tb: 1\n", "f.yaml:2:1: not valid YAML: found character that cannot start any token while "
                            "scanning for the next token\n");
    refused("ab: 1\nc: \xff\n", "f.yaml:2:4: not readable as text: invalid leading UTF-8 octet\n");
}

static void size_and_depth_have_limits(void **state) {
    (void)state;
    char deep[128];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    refused(deep, "f.yaml:1:17: nested deeper than 16 levels\n");

    Text many = {0};
    for (int i = 0; i < 10001; i++) text_append(&many, "- 1\n");
    refused(many.text, "f.yaml:10000:3: more than 10000 values in one file\n");
    text_clear(&many);
    for (int i = 0; i <= YAML_LARGEST; i++) text_append(&many, "#");
    refused(many.text, "f.yaml: 1048577 bytes; a configuration has at most 1048576\n");
    text_free(&many);
}

/* Mutations of a real file: bytes replaced, cut out and doubled at places drawn from a fixed seed. */
static size_t mutate(const char *from, size_t size, uint32_t number, char *to) {
    memcpy(to, from, size);
    static const char special[] = "[]{}:,-#&*!|>'\"%@`?\n\t \\\0\xff\xef\xbb\xc3";
    const RandomKey key = {.seed = 5, .stream = STREAM_DATA, .sample = number};
    for (uint32_t block = 0; block < 1 + number % 5; block++) {
        const Random4 r = random_block(key, block);
        const size_t at = r.x[0] % size, length = r.x[1] % 40, rest = size - at;
        if (r.x[2] % 4 == 0 && length < rest && size > 100) {
            memmove(to + at, to + at + length, rest - length);
            size -= length;
        } else if (r.x[2] % 4 == 1 && length < rest) {
            memmove(to + at + length, to + at, rest);
            size += length;
        } else {
            to[at] = special[r.x[3] % (sizeof special - 1)];
        }
    }
    return size;
}

static void no_bytes_bring_it_down(void **state) {
    (void)state;
    char *text;
    size_t size;
    int trees = 0, refusals = 0;
    assert_true(file_read("ablations/ema.yaml", &text, &size, NULL));
    char *mutant = malloc(size + 5 * 40);
    for (uint32_t i = 0; i < 5000; i++) {
        Problems problems = {0};
        const size_t length = mutate(text, size, i, mutant);
        YamlNode *root = yaml_parse(mutant, length, "f.yaml", &problems);
        trees += root != NULL;
        refusals += problems.count > 0;
        assert_true(root || problems.count > 0);
        yaml_tree_free(root);
        problems_free(&problems);
    }
    assert_true(trees > 100 && refusals > 100); /* both kinds were met */
    free(mutant);
    free(text);
}

static void problems_keep_whole_lines(void **state) {
    (void)state;
    Problems problems = {0};
    Error error;
    assert_true(problems_none(&problems, &error));
    problem_add(&problems, "a:1:1", "broken\n    line \x1b[31m");
    problem_add(&problems, "a:1:1", "broken\n    line \x1b[31m");
    assert_int_equal(problems.count, 1);
    assert_false(problems_none(&problems, &error));
    assert_string_equal(error.text, "a:1:1: broken line ?[31m");
    for (int i = 0; i < 200; i++) problem_add(&problems, "b.yaml", "problem number %d", i);
    assert_false(problems_none(&problems, &error));
    const char *last = strrchr(error.text, '\n');
    int more, shown = -1;
    for (const char *at = error.text; at; at = strchr(at + 1, '\n')) shown++;
    assert_int_equal(sscanf(last, "\n... and %d more", &more), 1);
    assert_int_equal(shown + more, 201);
    problems_free(&problems);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_knows_where_its_values_stand),
        cmocka_unit_test(scalars_stay_text),
        cmocka_unit_test(an_empty_text_is_an_empty_map),
        cmocka_unit_test(duplicates_name_both_lines),
        cmocka_unit_test(what_experiments_do_not_need_is_refused),
        cmocka_unit_test(broken_text_is_placed),
        cmocka_unit_test(size_and_depth_have_limits),
        cmocka_unit_test(no_bytes_bring_it_down),
        cmocka_unit_test(problems_keep_whole_lines),
    };
    return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
