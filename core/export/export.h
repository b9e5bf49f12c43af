/* What `export` writes for other programs: rows as CSV or JSON, TensorBoard's event files, and a folder for a
 * model hub. */
#ifndef ICT_EXPORT_EXPORT_H
#define ICT_EXPORT_EXPORT_H

#include "config/paths.h"
#include "store/store.h"

/* CSV: RFC 4180's quoting with Unix line ends, the first line has the columns' names, NULL, NaN and
 * infinities are empty fields. JSON: one document, an array with one object a line; NULL, NaN and infinities
 * are null. */
typedef enum ExportFormat { EXPORT_CSV, EXPORT_JSON } ExportFormat;

/* The query behind one of the tables that can be exported by name; NULL when there is none of that name, with
 * the names in the error. */
const char *export_query(const char *table, Error *);
bool export_rows(Store *, const char *sql, ExportFormat, FILE *, Error *);

/* Writes <folder>/<experiment>-<arm>-seed<seed>-<id>/events.out.tfevents.* of each run named (all runs that
 * have metrics when `count` is 0): every metric and evaluation, sample pictures that still exist, and the
 * configuration. The same database gives the same bytes. `written` counts the runs. */
bool export_tensorboard(Store *, const char *folder, char *const *ids, int count, int *written, Error *);

/* Writes a folder from which others can sample and which can be uploaded as it is: model.safetensors (EDM's
 * names, the weights named, fp32), config.yaml, samples.png (one step on the left, two on the right),
 * README.md (a model card). `weights` NULL: those that the run was evaluated with. */
bool export_hub(const Paths *, Store *, const RunRow *, const char *weights, Device *, const char *folder,
                Error *);

#endif
