/* `data`: data sets. */
#include "base/log.h"
#include "command/cli.h"

#include <stdio.h>
#include <string.h>

static bool classes_list(const char *name, const char *folder, Error *error) {
    Dataset set;
    Text text = {0};
    DataConfig config = {0};
    snprintf(config.name, sizeof config.name, "%s", name);
    if (!dataset_open(&config, folder, &set, error)) return false;
    dataset_describe(&set, &text);
    fputs(text_view(&text), stdout);
    text_free(&text);
    dataset_close(&set);
    return true;
}

static int data_run(int argc, char **argv) {
    Paths paths;
    Error error;
    int count;
    char **words = options_parse(&command_data, argc, argv, NULL, 0, &paths, &count);
    bool done;
    if (count == 3 && !strcmp(words[0], "import"))
        done = dataset_import(words[1], words[2], paths.data, &error);
    else if (count == 1 && !strcmp(words[0], "ls"))
        done = dataset_list(paths.data, &error);
    else if (count == 2 && !strcmp(words[0], "ls"))
        done = classes_list(words[1], paths.data, &error);
    else {
        log_error("usage: ./run %s", command_data.usage);
        return EXIT_USAGE;
    }
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_data = {
    "data", "data ls [NAME] | data import NAME PATH",
    "list data sets, or how many images of each class one has; import images, CIFAR-10 or ImageNet's npz",
    data_run};
