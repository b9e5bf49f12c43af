/* Imports a zip or folder of PNG and JPEG files: pictures sorted by name, with the labels that
 * import_labels.c finds. All pictures must have one size: how they are cropped and scaled decides about the
 * scores (a FID between two resampling filters is larger than that between two good models), so an importer
 * should not do it in passing, and EDM's dataset_tool.py does it as the literature's numbers have it.
 */
#include "data/dataset_internal.h"
#include "data/import_source.h"

#include "base/image.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

/* ---- pictures ---- */

typedef struct Job {
    const Source *source;
    DatasetWriter *writer;
    int done,
        failed; /* failed: the first picture that did, so that the message does not depend on the threads */
    double told;
    Error error;
} Job;

static bool picture_import(Job *job, SourceReader *reader, int i, Error *error) {
    const DatasetInfo *info = &job->writer->info;
    const char *name = job->source->pictures[i].name;
    Image image;
    if (!reader_read(reader, &job->source->pictures[i], error)) return false;
    if (!image_decode(reader->bytes, reader->size, name, &image, error))
        return error_wrap(error, "%s", job->source->path);
    const bool fits = image.width == info->width && image.height == info->height;
    const size_t size = (size_t)(info->height * info->width * 3);
    if (fits)
        memcpy(job->writer->images + (size_t)i * size, image.pixels, size);
    else
        error_set(
            error,
            "%s: '%s' is %d x %d, but the first picture ('%s') is %d x %d; all must have one size: crop and "
            "scale them first, for instance with EDM's dataset_tool.py --transform=center-crop "
            "--resolution=64x64",
            job->source->path, name, image.width, image.height, job->source->pictures[0].name, info->width,
            info->height);
    image_free(&image);
    return fits;
}

static void failure_note(Job *job, int i, const Error *error) {
#pragma omp critical(import_failure)
    if (i < job->failed) {
        job->error = *error;
#pragma omp atomic write
        job->failed = i;
    }
}

static void progress_note(Job *job) {
    int done;
#pragma omp atomic capture
    done = ++job->done;
    if (done % 256) return;
#pragma omp critical(import_progress)
    if (clock_monotonic() - job->told > 1) {
        job->told = clock_monotonic();
        log_progress(false, "importing: %d of %d pictures", done, job->source->count);
    }
}

static bool pictures_import(const Source *source, DatasetWriter *writer, Error *error) {
    Job job = {.source = source, .writer = writer, .failed = source->count, .told = clock_monotonic()};
#pragma omp parallel
    {
        SourceReader reader;
        Error mine;
        const bool ready = reader_open(&reader, source, &mine);
        if (!ready) failure_note(&job, 0, &mine);
#pragma omp for schedule(dynamic, 64)
        for (int i = 0; i < source->count; i++) {
            int failed;
#pragma omp atomic read
            failed = job.failed;
            if (!ready || i >= failed) continue;
            if (!picture_import(&job, &reader, i, &mine)) failure_note(&job, i, &mine);
            progress_note(&job);
        }
        reader_close(&reader);
    }
    if (job.failed == source->count) return true;
    return error_set(error, "%s", job.error.text);
}

/* Size of the first picture, labels of all. */
static bool info_find(DatasetInfo *info, const Source *source, int32_t *labels, Error *error) {
    SourceReader reader;
    Image image;
    if (!reader_open(&reader, source, error)) return false;
    bool good = reader_read(&reader, &source->pictures[0], error) &&
                (image_decode(reader.bytes, reader.size, source->pictures[0].name, &image, error) ||
                 error_wrap(error, "%s", source->path));
    if (good) {
        info->count = source->count;
        info->width = image.width, info->height = image.height;
        image_free(&image);
        good = labels_find(&reader, labels, info, error);
    }
    reader_close(&reader);
    return good;
}

bool import_images(DatasetInfo *info, const char *path, const char *folder, Error *error) {
    Source source;
    DatasetWriter writer;
    if (!source_open(&source, path, error)) return false;
    if (source.others)
        log_warn("%s: %d files that are neither PNG nor JPEG are left out", path, source.others);
    int32_t *labels = calloc((size_t)source.count, sizeof *labels);
    CHECK(labels, "out of memory for %d labels", source.count);
    bool done = info_find(info, &source, labels, error) && writer_open(&writer, info, folder, error);
    if (done) {
        if (writer.labels) memcpy(writer.labels, labels, (size_t)source.count * sizeof *labels);
        done = pictures_import(&source, &writer, error) && writer_commit(&writer, error);
        writer_cancel(&writer);
    }
    free(labels);
    source_close(&source);
    return done;
}
