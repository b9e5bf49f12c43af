/* An experiment's file, read: its settings with those of its bases before them, the arms and the grid. What
 * it means in runs is plan.c's affair. The format is described for users in experiments/README.md. */
#ifndef ICT_PLAN_EXPERIMENT_H
#define ICT_PLAN_EXPERIMENT_H

#include "plan/plan.h"
#include "config/settings.h"

/* An arm, or what an experiment changes at a scale. */
typedef struct NamedSettings {
    char *name, *where;
    Settings settings;
} NamedSettings;

typedef struct NamedList {
    NamedSettings *items;
    int count;
} NamedList;

/* A key and the values to run through: settings of the same key. */
typedef struct Axes {
    Settings *items;
    int count;
} Axes;

typedef struct ExperimentFile {
    Experiment record;
    char scale[16];    /* the scale that the settings are written at */
    Settings settings; /* bases first, each with its `set` */
    NamedList scales, arms;
    Axes grid;
} ExperimentFile;

/* Problems are added, never returned; what could be read is filled in. */
void experiment_read(const char *path, ExperimentFile *, Problems *);
void experiment_free(ExperimentFile *);

/* A scale's file: notes, settings, and what stands instead of single values that an experiment or an arm asks
 * for. */
typedef struct ScaleFile {
    Settings settings, values, instead;
} ScaleFile;

void scale_read(const char *path, ScaleFile *, Problems *);
void scale_free(ScaleFile *);

const NamedSettings *named_find(const NamedList *, const char *name); /* NULL when there is none */
Settings *axes_add(Axes *);
void axes_free(Axes *);

#endif
