/* Settings: "this key gets this value, says this line". Experiments, arms, scales and overrides are all lists
 * of them; a configuration is what remains after the lists have been applied in order. Each setting is
 * checked when it is read, so that its own place can be named; applying a checked setting cannot fail. */
#ifndef ICT_CONFIG_SETTINGS_H
#define ICT_CONFIG_SETTINGS_H

#include "config/config.h"
#include "config/yaml.h"

typedef struct Setting {
    char *key, *value; /* "ct.s0" and "10", or "[16, 8]"; canonical */
    char *where;       /* "ablations/ema.yaml:3:5" or "command line" */
} Setting;

/* Zero-initialise. */
typedef struct Settings {
    Setting *items;
    int count;
} Settings;

/* Adds one; a problem instead when key or value are wrong, or when the list has the key already. */
void settings_add(Settings *, const char *key, const char *value, const char *where, Problems *);

/* Adds what a key of a YAML map says: `ct.s0: 10`, or `ct: {s0: 10}`. */
void settings_read(Settings *, const YamlNode *node, const char *file, Problems *);
/* The same for all keys of a map. A null value counts as an empty map: an arm that changes nothing. */
void settings_read_map(Settings *, const YamlNode *map, const char *file, Problems *);

/* The values of one key, each a setting of its own: `seed: [0, 1, 2]`. */
void settings_read_axis(Settings *, const char *key, const YamlNode *list, const char *file, Problems *);
/* `ct.s1: {150: 10, 200: 12}`: what stands instead of a value of a key, each pair at the same place of both
 * lists. */
void settings_read_instead(Settings *values, Settings *instead, const YamlNode *map, const char *file,
                           Problems *);
/* An axis from the command line: "0,1,2", or "[16],[16,8]" for keys that hold lists. */
void settings_split_axis(Settings *, const char *key, const char *values, const char *where, Problems *);

/* Moves all of `from`, as one layer, behind those of `to`; later ones win. */
void settings_move(Settings *to, Settings *from);
/* A data set's name takes data.resolution, data.count and data.seed with it: another name clears them, since
 * what was said about one data set (16 x 16 shapes) is wrong for another. Within a layer the name comes
 * first. */
void settings_apply(const Settings *, Config *);
/* Where the configuration has one of the values, what stands instead. */
void settings_replace(const Settings *values, const Settings *instead, Config *);
void settings_free(Settings *);

#endif
