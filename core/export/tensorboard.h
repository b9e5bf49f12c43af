/* TensorBoard's event files, written without TensorFlow: a list of records (length, checksum, bytes,
 * checksum), each a small protocol-buffer message `Event` with the time, the step and one value. The numbers
 * of the fields are those of TensorFlow's event.proto, summary.proto, types.proto and tensor.proto. */
#ifndef ICT_EXPORT_TENSORBOARD_H
#define ICT_EXPORT_TENSORBOARD_H

#include "base/text.h"

/* Where a value belongs: seconds since 1970, step, and the name that TensorBoard shows; what stands before a
 * '/' in it groups values. */
typedef struct EventPlace {
    double wall;
    int64_t step;
    const char *tag;
} EventPlace;

/* Each appends one record to the bytes of a file; a file begins with `event_version`. */
void event_version(Text *file, double wall);
void event_scalar(Text *file, EventPlace, double value);
void event_image(Text *file, EventPlace, int width, int height, const void *png, size_t size);
void event_text(Text *file, EventPlace, const char *markdown);

/* CRC-32C (Castagnoli; RFC 3720, appendix B.4) of the bytes. */
uint32_t crc32c(const void *bytes, size_t size);

#endif
