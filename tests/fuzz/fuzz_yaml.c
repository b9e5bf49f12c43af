/* YAML: the tree, an experiment's file, and a resolved configuration, all from the same bytes. */
#include "tests/fuzz/fuzz.h"

#include "config/config.h"
#include "plan/experiment.h"
#include "config/yaml.h"

#include <string.h>

FUZZ_REPAIR(repair_nothing);

static void tree_touch(const YamlNode *node) {
    if (node->text) fuzz_touch(node->text, strlen(node->text));
    if (node->key) fuzz_touch(node->key, strlen(node->key));
    for (int i = 0; i < node->count; i++) tree_touch(&node->children[i]);
}

static void tree_try(const uint8_t *bytes, size_t size) {
    Problems problems = {0};
    Error error;
    YamlNode *root = yaml_parse((const char *)bytes, size, "fuzz.yaml", &problems);
    if (root)
        tree_touch(root);
    else
        CHECK(problems.count, "refused without a word");
    if (!problems_none(&problems, &error)) fuzz_refused(&error);
    yaml_tree_free(root);
    problems_free(&problems);
}

static void experiment_try(const char *path) {
    Problems problems = {0};
    ExperimentFile file;
    experiment_read(path, &file, &problems);
    Config config = config_default();
    settings_apply(&file.settings, &config);
    experiment_free(&file);
    problems_free(&problems);
}

/* What is accepted must print as text that is accepted again and prints the same. */
static void config_try(const uint8_t *bytes, size_t size) {
    Config config, again;
    Error error;
    Text text = {0}, twice = {0};
    if (!config_parse((const char *)bytes, size, "fuzz.yaml", &config, &error)) {
        fuzz_refused(&error);
        return;
    }
    config_print(&config, false, &text);
    CHECK(config_parse(text.text, text.length, "again.yaml", &again, &error), "%s", error.text);
    config_print(&again, false, &twice);
    CHECK(strcmp(text.text, twice.text) == 0, "a configuration that changes when read back");
    if (!config_check(&config, &error)) fuzz_refused(&error);
    text_free(&text);
    text_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    tree_try(bytes, size);
    config_try(bytes, size);
    experiment_try(fuzz_file(bytes, size));
    return 0;
}
