/* `weights`: feature networks of perceptual distances and of metrics. */
#include "base/log.h"
#include "command/cli.h"
#include "train/features.h"

#include <string.h>

static int weights_run(int argc, char **argv) {
    Paths paths;
    Error error;
    int count;
    char **words = options_parse(&command_weights, argc, argv, NULL, 0, &paths, &count);
    bool done;
    if (count == 3 && !strcmp(words[0], "import"))
        done = features_import(words[1], words[2], paths.weights, &error);
    else if (count == 1 && !strcmp(words[0], "ls"))
        done = features_list(paths.weights, &error);
    else {
        log_error("usage: ./run %s", command_weights.usage);
        return EXIT_USAGE;
    }
    return done ? EXIT_DONE : cli_fail(EXIT_USAGE, &error);
}

const Command command_weights = {"weights", "weights ls | weights import NAME FILE.safetensors",
                                 "list feature networks, of perceptual distances and of metrics; import one",
                                 weights_run};
