/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_STATISTICS_H
#define BENCH_STATISTICS_H

/* What is said of several rounds of one measurement. */
#include <stddef.h>

struct bench_summary {
	double median; /* of an even number: the mean of the two in the middle */
	double min;
	double max;
	size_t rounds;
};

/* Sorts the samples. With n == 0 everything is 0. */
struct bench_summary bench_summarize(double *samples, size_t n);

#endif
