/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_SUITE_H
#define BENCH_SUITE_H

/*
 * A suite measures one kind of thing. Each is a file of its own; main.c lists them. A suite divides
 * the seconds it is given among its measurements, lets the subjects take turns round by round, and
 * adds its rows when all rounds are done. It returns 0, or a negative errno when it could not
 * measure at all; a subject that fails is a row that says so, not an error.
 */
#include "options.h"
#include "result.h"

struct bench_suite {
	const char *name;
	const char *about; /* one line for --help */
	double seconds;	   /* unless the user says */
	double share;	   /* of the report's time */
	int (*run)(const struct bench_options *options, double seconds,
		   struct bench_results *results);
};

extern const struct bench_suite bench_limits, bench_throughput, bench_latency, bench_progress,
	bench_idle, bench_policies, bench_bucket, bench_pool, bench_topic, bench_log, bench_alloc;

/*
 * Runs a chosen set of the suites (NULL at the end) and writes the report. 0; 1 when results were
 * wrong, which the report shows; a negative errno when there is no report.
 */
int bench_report(const struct bench_options *options, const struct bench_suite *const *suites);

/*
 * The machine's limits that other suites compare with, measured once when first asked for (about
 * 20 ms each, on processors 0 and 1).
 */
enum bench_limit {
	BENCH_LIMIT_LOCKED, /* ns: one compare-and-swap of 8 bytes on a line of one's own */
	BENCH_LIMIT_LOAD,   /* ns: one load from the first-level cache, with its loop */
	BENCH_LIMIT_STREAM, /* million words a second: full lines written on one core, read on another */
	BENCH_LIMIT_TRANSFER, /* ns: a line passed from one core to another, one way */
	BENCH_LIMIT_FUTEX,    /* ns: a futex wake until the other thread runs, one way */
	BENCH_LIMIT_CLOCK,    /* ns: reading CLOCK_MONOTONIC */
	BENCH_LIMITS
};

double bench_limit(enum bench_limit limit);
const char *bench_limit_name(enum bench_limit limit);

/* What is being done now, on the terminal if there is one: done of total. */
void bench_report_progress(const struct bench_options *options, const char *suite, const char *what,
			   unsigned done, unsigned total);
void bench_report_progress_end(const struct bench_options *options);

#endif
