/* The report: one HTML page with everything that the database can answer, which opens anywhere without
 * network. */
#ifndef ICT_ANSWERS_REPORT_H
#define ICT_ANSWERS_REPORT_H

#include "config/paths.h"
#include "store/store.h"

/* Fills paper_figs/report.html with experiments (answers, samples), runs (origin, the command that runs them
 * again, curves, configuration) and the answers that are about neither. Figures are drawn into
 * <results>/figures on the way. The same database gives the same bytes. */
bool report_write(const Paths *, Store *, const char *path, Error *);

/* ---- what its files share ---- */

typedef struct Report {
    const Paths *paths;
    Store *store;
    Text page;
} Report;

/* All tables, then all figures, that take this parameter ("run", "experiment", NULL: none); those without an
 * answer stay away. */
void report_answers(Report *, const char *parameter, const char *subject);
/* The run's newest picture of samples; nothing when there is none. */
bool report_samples(Report *, const RunRow *, const char *arm, Error *);
/* One run with all that is known about it. */
bool report_run(Report *, const RunRow *, Error *);

#endif
