/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bucket's number is made of the place of the value's highest set bit and the six bits behind it:
 *
 *	values            width  buckets
 *	0 .. 63           1      0 .. 63
 *	64 .. 127         1      64 .. 127
 *	128 .. 255        2      128 .. 191
 *	256 .. 511        4      192 .. 255
 *	...
 *	2^63 .. 2^64 - 1  2^57   3712 .. 3775
 */
#include "histogram.h"

#include <string.h>

#define PER_POWER 64u
#define BITS 6

void
bench_histogram_clear(struct bench_histogram *histogram)
{
	memset(histogram, 0, sizeof *histogram);
	histogram->min = UINT64_MAX;
}

unsigned
bench_histogram_bucket(uint64_t value)
{
	unsigned shift;

	if (value < PER_POWER)
		return (unsigned)value;
	shift = 63u - (unsigned)__builtin_clzll(value) - BITS;
	return shift * PER_POWER + (unsigned)(value >> shift);
}

uint64_t
bench_histogram_bound(unsigned bucket)
{
	unsigned shift;

	if (bucket < PER_POWER)
		return bucket;
	shift = bucket / PER_POWER - 1;
	/* Of the last bucket the first term is 2^64: it wraps to 0, and the difference is right. */
	return ((uint64_t)(PER_POWER + bucket % PER_POWER + 1) << shift) - 1;
}

void
bench_histogram_add(struct bench_histogram *histogram, uint64_t value)
{
	histogram->count++;
	histogram->sum += (double)value;
	if (value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->buckets[bench_histogram_bucket(value)]++;
}

void
bench_histogram_merge(struct bench_histogram *into, const struct bench_histogram *from)
{
	unsigned i;

	into->count += from->count;
	into->sum += from->sum;
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	for (i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

/*
 * How many are meant by a fraction of `count`: rounded up, at least 1. A product that is above a
 * whole number only because 0.07 has no exact form (0.07 * 100 is 7.000000000000001) is that number.
 */
static uint64_t
rank_of(double fraction, uint64_t count)
{
	double exact = fraction * (double)count;
	uint64_t rank;

	if (!(exact > 1))
		return 1;
	if (exact >= (double)count)
		return count;
	rank = (uint64_t)exact;
	if (exact - (double)rank > exact * 1e-15)
		rank++;
	return rank;
}

uint64_t
bench_histogram_quantile(const struct bench_histogram *histogram, double fraction)
{
	uint64_t rank, below = 0;
	unsigned i;

	if (histogram->count == 0)
		return 0;
	rank = rank_of(fraction, histogram->count);
	for (i = 0; i < BENCH_HISTOGRAM_BUCKETS - 1; i++) {
		below += histogram->buckets[i];
		if (below >= rank)
			break;
	}
	if (bench_histogram_bound(i) > histogram->max)
		return histogram->max;
	return bench_histogram_bound(i);
}
