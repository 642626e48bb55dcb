/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_PAGE_H
#define BENCH_PAGE_H

/*
 * What the rows say of this library's queues beside the others, and the page that shows it.
 */
#include "plot.h"
#include "result.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum bench_outcome {
	BENCH_AHEAD,
	BENCH_LEVEL, /* within 5 % */
	BENCH_BEHIND
};

/*
 * One comparison: all subjects in one cell by one metric. Where subjects that are restricted to one
 * producer or one consumer take part there are two: with them, and among those for any number of
 * threads.
 */
struct bench_verdict {
	const struct bench_row *own;	   /* the best of this library's */
	const struct bench_row *peer;	   /* the best of the others */
	const struct bench_row *fifo;	   /* the best of those that keep one order; or NULL */
	const struct bench_row *lock_free; /* the best of those that are lock-free; or NULL */
	bool single_roles;		   /* restricted subjects take part */
	enum bench_outcome outcome;
	/*
	 * How many times better the own one is, above 1: ahead. INFINITY or 0 when only one of the
	 * two finished, or used nothing at all. The same against fifo and lock_free, NAN if NULL.
	 */
	double ratio, ratio_fifo, ratio_lock_free;
	double efficiency; /* of the own one: 1 is the machine's limit; NAN without a limit */
};

struct bench_verdicts {
	struct bench_verdict *list;
	size_t count;
};

/* Verdicts that answer one question: one suite and metric, cells that differ in threads or load. */
struct bench_question {
	const char *suite;
	char label[96];
	bool single_roles; /* as in its verdicts; the label does not say it */
	const struct bench_verdict *worst, *best;
	size_t first, count; /* in the list of verdicts, which are sorted by question */
	size_t ahead, level, behind;
	double ratio, ratio_fifo, ratio_lock_free; /* geometric means; NAN: none */
	double efficiency, efficiency_most;	   /* the median; NAN: none */
	bool headline;				   /* one of those that come first on the page */
};

struct bench_questions {
	struct bench_question *list;
	size_t count;
};

/* 0 or -ENOMEM. The verdicts point into the rows. */
int bench_judge(const struct bench_results *results, struct bench_verdicts *verdicts,
		struct bench_questions *questions);
void bench_judge_clear(struct bench_verdicts *verdicts, struct bench_questions *questions);

/* A suite that could not measure at all. */
struct bench_failure {
	const char *suite;
	int error; /* negative errno */
};

struct bench_page {
	const struct bench_results *results;
	const struct bench_machine *machine;
	const struct bench_verdicts *verdicts;
	const struct bench_questions *questions;
	const struct bench_plots *plots;
	const struct bench_failure *failures;
	size_t failures_count;
	const char *length;  /* how long a run was asked for: --quick, --full, --seconds 5, or "" */
	const char *command; /* that repeats it */
};

/* Writes the page: HTML that refers to nothing outside it. */
void bench_page_write(const struct bench_page *page, FILE *to);

#endif
