/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

/*
 * A histogram of durations in nanoseconds, from 0 to 2^64 - 1, kept to within 1/64 of each value:
 * 64 buckets for each power of two. Adding is a few instructions and allocates nothing. The exact
 * smallest and largest value are kept beside it. One thread adds; merge afterwards.
 */
#include <stdint.h>

/* 64 for the values below 64, and 64 for each of the 58 powers of two from 2^6 to 2^63. */
#define BENCH_HISTOGRAM_BUCKETS (64 + 64 * 58)

struct bench_histogram {
	uint64_t count;
	uint64_t min; /* UINT64_MAX while empty */
	uint64_t max;
	double sum;
	uint64_t buckets[BENCH_HISTOGRAM_BUCKETS];
};

void bench_histogram_clear(struct bench_histogram *histogram);
void bench_histogram_add(struct bench_histogram *histogram, uint64_t value);
void bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from);

/*
 * The smallest recorded duration that at least `fraction` of all are not above, as the upper end
 * of its bucket, but never above the exact maximum. fraction: 0 to 1 (1: the exact maximum). 0 when
 * empty.
 */
uint64_t bench_histogram_quantile(const struct bench_histogram *histogram, double fraction);

/* The bucket of a value, and the largest value that falls into a bucket. */
unsigned bench_histogram_bucket(uint64_t value);
uint64_t bench_histogram_bound(unsigned bucket);

#endif
