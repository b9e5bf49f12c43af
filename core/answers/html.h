/* Pieces of HTML: escaped text, and pictures that travel inside the page. */
#ifndef ICT_ANSWERS_HTML_H
#define ICT_ANSWERS_HTML_H

#include "base/text.h"

/* Text as it reads, inside an element or between double quotes. */
void html_text(Text *out, const char *text);
/* <img> with the file's bytes in it. `kind`: "image/png", "image/svg+xml". */
bool html_picture(Text *out, const char *path, const char *kind, const char *alt, Error *);

#endif
