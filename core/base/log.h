/* Log lines and the progress line. Log lines go to stderr. A terminal gets one redrawn progress line; a file
 * gets plain tick lines, never both. */
#ifndef ICT_BASE_LOG_H
#define ICT_BASE_LOG_H

#include "base/error.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

void log_set_level(LogLevel level);
void log_line(LogLevel level, const char *format, ...) PRINTF_LIKE(2, 3);
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

/* Replaces the progress line on a terminal; `final` (or no terminal) prints it as a line of its own. */
void log_progress(bool final, const char *format, ...) PRINTF_LIKE(2, 3);

/* Seconds from a clock that never goes backwards, and seconds since 1970. */
double clock_monotonic(void);
double clock_wall(void);

#endif
