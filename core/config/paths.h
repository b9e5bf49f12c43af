/* Where things lie. The repository is found from the program's own place (or ICT_HOME), never from the
 * working directory, which is the user's and is never changed. */
#ifndef ICT_CONFIG_PATHS_H
#define ICT_CONFIG_PATHS_H

#include "base/error.h"

typedef struct Paths {
    char root[1024];     /* the repository; "." where that is the working directory, to keep messages short */
    char database[1024]; /* --db, ICT_DB, or <results>/ict.db */
    char results[1024];  /* --folder, or the database's folder, or <root>/results */
    char data[1024];     /* --data, ICT_DATA, or <root>/data */
    char weights[1024];  /* of feature networks: ICT_WEIGHTS, or <root>/weights */
} Paths;

/* Each argument is what the user said, or NULL. */
Paths paths_find(const char *database, const char *results, const char *data);

/* <results>/runs/<id>-<name>; what is not fit for a file's name becomes '-'. */
const char *paths_run_folder(const char *results, const char *id, const char *name, char out[1024]);

#endif
