/* Finds the repository, the results, the database and the data. */
#include "config/paths.h"
#include "base/file.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_root(const char *folder) {
    char path[1024];
    return file_exists(path_join(path, folder, "experiments")) &&
           file_exists(path_join(path, folder, "core/config"));
}

/* The program lies in <root>/build/<configuration>/ict; a copy elsewhere works with ICT_HOME or from the
 * root. */
static void root_find(char root[1024]) {
    char program[PATH_MAX], here[PATH_MAX];
    const char *home = getenv("ICT_HOME");
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = 0;
    strcpy(root, ".");
    if (home && *home) {
        snprintf(root, 1024, "%s", home);
        return;
    }
    for (char *slash = strrchr(program, '/'); slash && slash != program; slash = strrchr(program, '/')) {
        *slash = 0;
        if (strlen(program) < 1000 && is_root(program)) break;
    }
    if (*program && is_root(program) && (!getcwd(here, sizeof here) || strcmp(here, program)))
        snprintf(root, 1024, "%.1023s", program);
}

static void below_root(const Paths *paths, const char *name, char out[1024]) {
    if (strcmp(paths->root, "."))
        path_join(out, paths->root, name);
    else
        snprintf(out, 1024, "%s", name);
}

static const char *first_of(const char *said, const char *variable) {
    const char *value = said ? said : getenv(variable);
    return value && *value ? value : NULL;
}

Paths paths_find(const char *database, const char *results, const char *data) {
    Paths paths = {0};
    root_find(paths.root);
    const char *weights = first_of(NULL, "ICT_WEIGHTS");
    database = first_of(database, "ICT_DB");
    data = first_of(data, "ICT_DATA");
    if (results)
        snprintf(paths.results, sizeof paths.results, "%s", results);
    else if (database)
        path_folder(paths.results, database);
    else
        below_root(&paths, "results", paths.results);
    if (database)
        snprintf(paths.database, sizeof paths.database, "%s", database);
    else
        path_join(paths.database, paths.results, "ict.db");
    if (data)
        snprintf(paths.data, sizeof paths.data, "%s", data);
    else
        below_root(&paths, "data", paths.data);
    if (weights)
        snprintf(paths.weights, sizeof paths.weights, "%s", weights);
    else
        below_root(&paths, "weights", paths.weights);
    return paths;
}

const char *paths_run_folder(const char *results, const char *id, const char *name, char out[1024]) {
    char part[128];
    snprintf(part, sizeof part, "runs/%s-%s", id, name);
    for (char *at = part + strlen("runs/"); *at; at++)
        if (!isalnum((unsigned char)*at) && !strchr("._+-", *at)) *at = '-';
    return path_join(out, results, part);
}
