/* SPDX-License-Identifier: BSD-2-Clause */
#include "statistics.h"

#include <stdlib.h>

static int
by_size(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

struct bench_summary
bench_summarize(double *samples, size_t n)
{
	struct bench_summary summary = {0, 0, 0, n};

	if (n == 0)
		return summary;
	qsort(samples, n, sizeof *samples, by_size);
	summary.min = samples[0];
	summary.max = samples[n - 1];
	summary.median = samples[n / 2];
	if (n % 2 == 0) /* halves first, for the sum of two great ones is infinite */
		summary.median = samples[n / 2 - 1] / 2 + samples[n / 2] / 2;
	return summary;
}
