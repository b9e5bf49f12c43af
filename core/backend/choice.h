/* What was chosen among several ways to compute the same thing, as a text file. Ways are chosen by timing
 * (race.h), and two that are equally fast may change places from process to process; a run that is killed and
 * resumed ends in the same bits only if it goes on with the ones it began with. So the trainer names a file
 * in the run's folder (Device.remember): choices that stand there are taken without timing, new ones are
 * appended.
 *
 * What the run's file does not name is taken from a table of known cards, and what that lacks is timed. So
 * that two runs on a known card compute the same bits with nothing but the program in common, tables are
 * built into it.
 *
 * A table's, or a file's, first line says for which card and library the rest holds. Every other line is the
 * problem, in words and numbers; the place among the candidates, best guess first (-1: there is none); and
 * the number of what is found there, which must agree.
 */
#ifndef ICT_BACKEND_CHOICE_H
#define ICT_BACKEND_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Choice Choice;
struct Choice {
    char problem[200];
    int place;
    int64_t number;
    Choice *next;
};

typedef struct Choices {
    Choice *run, *table; /* of this run; known for this card */
    char header[256];    /* what begins a file for this card */
    char table_hash[16]; /* "": no table */
    char path[1024];     /* "": kept in memory only */
} Choices;

/* Takes what `tables`, one after the other, have under this header. */
void choices_open(Choices *choices, const char *header, const char *tables);
/* Forgets the table: everything is timed. */
void choices_forget_table(Choices *choices);
/* From now on in this file; what was chosen before is added to it. */
void choices_remember(Choices *choices, const char *path);
void choices_release(Choices *choices);

/* The run's, or else the table's, which is the run's from then on; NULL: none. */
const Choice *choice_find(Choices *choices, const char *problem);
void choice_add(Choices *choices, const char *problem, int place, int64_t number);

/* As text, without newlines; false: not one. */
void choice_write(const Choice *choice, char out[256]);
bool choice_parse(const char *line, Choice *choice);

#ifdef __cplusplus
}
#endif

#endif
