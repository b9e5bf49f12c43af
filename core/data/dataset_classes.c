/* How the images of a data set are spread over its classes: a set that came with half of its classes empty,
 * or with one class ten times as large as another, should be seen to be so before a week is spent on it. */
#include "data/dataset_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Images of each class; malloc'ed. */
static int *classes_count(const Dataset *set) {
    int *counts = calloc((size_t)set->classes + 1, sizeof *counts);
    CHECK(counts, "out of memory for %d classes", set->classes);
    for (int i = 0; i < set->count; i++) counts[set->labels[i]]++;
    return counts;
}

static void classes_span(const Dataset *set, const int *counts, int *fewest, int *most) {
    *fewest = set->count, *most = 0;
    for (int k = 0; k < set->classes; k++) {
        *fewest = counts[k] < *fewest ? counts[k] : *fewest;
        *most = counts[k] > *most ? counts[k] : *most;
    }
}

const char *dataset_each_class(const Dataset *set, char out[32]) {
    int fewest, most;
    out[0] = 0;
    if (!set->labels) return out;
    int *counts = classes_count(set);
    classes_span(set, counts, &fewest, &most);
    free(counts);
    if (fewest == most)
        snprintf(out, 32, "%d", fewest);
    else
        snprintf(out, 32, "%d to %d", fewest, most);
    return out;
}

void dataset_summary(const Dataset *set, Text *out) {
    char each[32];
    text_append(out, "%s: %d images ", set->name, set->count);
    if (set->labels)
        text_append(out, "of %d classes, %s each", set->classes, dataset_each_class(set, each));
    else
        text_append(out, "without labels");
}

int dataset_empty_classes(const Dataset *set, Text *out) {
    enum { NAMED = 8 };
    int empty = 0;
    if (!set->labels) return 0;
    int *counts = classes_count(set);
    Text names = {0};
    for (int k = 0; k < set->classes; k++)
        if (!counts[k] && empty++ < NAMED) text_append(&names, empty > 1 ? ", %d" : "%d", k);
    free(counts);
    if (empty)
        text_append(out, "%d of %d classes have no images: %s%s", empty, set->classes, text_view(&names),
                    empty > NAMED ? ", ..." : "");
    text_free(&names);
    return empty;
}

void dataset_describe(const Dataset *set, Text *out) {
    dataset_summary(set, out);
    text_append(out, "\n");
    if (!set->labels) return;
    int *counts = classes_count(set);
    for (int k = 0; k < set->classes; k++)
        text_append(out, "%6d  %-24s %9d  %5.2f %%\n", k, k < CLASS_NAMES_MAX ? set->class_names[k] : "",
                    counts[k], 100.0 * counts[k] / set->count);
    free(counts);
}
