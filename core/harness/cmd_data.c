/* `data`: data sets. */
#include "base/log.h"
#include "harness/cli.h"

#include <string.h>

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
    else {
        log_error("usage: ./run %s", command_data.usage);
        return EXIT_USAGE;
    }
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_data = {"data", "data ls | data import NAME PATH",
                              "list data sets; import a zip of images or CIFAR-10's archive", data_run};
