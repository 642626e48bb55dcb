/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

/*
 * What was measured: a list of rows, one for each figure of a subject in a cell of a suite. Suites
 * add rows; the rows are printed as tables, or written as JSON or CSV, or made into the report.
 */
#include "subject.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum bench_state {
	BENCH_OK,
	BENCH_STALLED, /* did not finish in the bound */
	BENCH_WRONG,   /* finished, but items were missing, doubled or out of order */
	BENCH_CRASHED,
	BENCH_ABSENT /* cannot do this, or not on this machine: `note` says why */
};

enum bench_better {
	BENCH_HIGHER,
	BENCH_LOWER,
	BENCH_NEITHER /* stands for itself */
};

struct bench_row {
	char suite[16];	    /* throughput */
	char subject[40];   /* a subject's name, or what else is measured: futex ping-pong */
	char cell[96];	    /* in which conditions: 4x4 capacity=1024 batch=1 payload=8 pin=none */
	char metric[40];    /* what of it: rate */
	char unit[16];	    /* M/s */
	char note[96];	    /* what must be known to read it, or "" */
	char limit[40];	    /* which of the machine's limits is the fitting one, or "" */
	double limit_value; /* in the same unit */
	enum bench_better better;
	enum bench_state state;
	double median, min, max;
	size_t rounds;
};

struct bench_results {
	struct bench_row *rows;
	size_t count, room;
	unsigned wrong; /* rows whose state is BENCH_WRONG or BENCH_CRASHED */
};

void bench_results_clear(struct bench_results *results);

/*
 * Adds a row of the given names and returns it, its state BENCH_ABSENT and its figures 0, for the
 * caller to fill before the next is added. Names that are too long are cut.
 */
struct bench_row *bench_results_add(struct bench_results *results, const char *suite,
				    const char *subject, const char *cell, const char *metric,
				    const char *unit, enum bench_better better);

/* The same with figures: sorts the samples; with n == 0 the row stays BENCH_ABSENT. */
struct bench_row *bench_results_measured(struct bench_results *results, const char *suite,
					 const char *subject, const char *cell, const char *metric,
					 const char *unit, enum bench_better better,
					 double *samples, size_t n);

/* Counts the row's state in results->wrong as well; note may be NULL. */
void bench_results_state(struct bench_results *results, struct bench_row *row,
			 enum bench_state state, const char *note);

/* Is less of it better? A time that is not compared counts as one, for what needs a direction. */
bool bench_row_is_cost(const struct bench_row *row);

/* NULL when there is none. */
const struct bench_row *bench_results_find(const struct bench_results *results, const char *suite,
					   const char *subject, const char *cell,
					   const char *metric);

/* "ok", "stalled", "wrong", "crashed", "absent". */
const char *bench_state_name(enum bench_state state);

/* Where and with what it was measured. */
struct bench_machine {
	char cpu[128];
	char kernel[128];
	char compiler[128];
	char flags[256];  /* that all subjects were compiled with */
	char version[64]; /* of this library, with the commit where it is known */
	char when[32];	  /* UTC, ISO 8601 */
	unsigned processors;
	uint64_t seed;
	double seconds; /* how long the run took */
	double steal;	/* share of the processors' time that the host took away, 0 to 1 */
	double spread;	/* median of (max - min) / median over the rows of several rounds */
	struct {
		uint64_t time, stolen, all;
	} begun; /* what the three above are counted from; not written */
};

void bench_machine_read(struct bench_machine *machine, uint64_t seed);
/* Fills what is known at the end: seconds, steal, spread. */
void bench_machine_end(struct bench_machine *machine, const struct bench_results *results);

/* In a few lines of text. */
void bench_machine_print(const struct bench_machine *machine, FILE *to);

/* The processor's name, from what /proc/cpuinfo has. */
void bench_cpu_read(FILE *cpuinfo, char *name, size_t size);

/*
 * From what /proc/stat has: the time stolen and all time, in the same unit. False, and 0 of both,
 * when it does not say.
 */
bool bench_steal_read(FILE *stat, uint64_t *stolen, uint64_t *all);

/*
 * As text: for each suite and cell a table with a line per subject and a column per metric, best
 * first by the first metric, with the ratio to the best, and how far from the limit where there is
 * one; states other than ok in words. To a terminal or a pipe alike, at most 110 columns wide; what
 * does not fit stands below. "Of best" is the figure divided by the best one, whichever is better,
 * "of limit" is 100 % at the limit. A list, with a line per figure, where there is one subject, or
 * where each has metrics of its own. Then the subjects that occurred.
 */
void bench_results_print(const struct bench_results *results, FILE *to);

/* The subjects that occur, or all of them where results is NULL: name, traits, library, remark. */
void bench_subjects_print(const struct bench_results *results, FILE *to);

/*
 * {"machine": {...}, "subjects": [...], "rows": [...]}: everything, numbers as numbers. Null is for
 * what there is not: the figures of a row without rounds, a limit, a note, what is not a number.
 */
void bench_results_json(const struct bench_results *results, const struct bench_machine *machine,
			FILE *to);

/* One line per row, the names of the columns first, RFC 4180. */
void bench_results_csv(const struct bench_results *results, FILE *to);

/* Writes text as a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void bench_json_string(const char *text, FILE *to);

#endif
