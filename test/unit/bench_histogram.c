/* SPDX-License-Identifier: BSD-2-Clause */
#include "histogram.h"

#include <stdlib.h>

#include "schedule.h"
#include "unit.h"

#define SAMPLES 20000
#define COUNT(table) (sizeof(table) / sizeof *(table))

static struct bench_histogram histogram, other;
static uint64_t samples[SAMPLES];

/* Of all sizes alike: as many between 2^10 and 2^11 as between 2^50 and 2^51. */
static void
make_samples(uint64_t seed)
{
	int i;

	for (i = 0; i < SAMPLES; i++)
		samples[i] = bench_random(&seed) >> (bench_random(&seed) % 64);
}

static void
add_samples(struct bench_histogram *to, int from, int end)
{
	for (; from < end; from++)
		bench_histogram_add(to, samples[from]);
}

static int
by_size(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

/* The value is in a bucket whose bounds are around it, and no further apart than 1/64 of it. */
static void
check_bucket(uint64_t value)
{
	unsigned bucket = bench_histogram_bucket(value);
	uint64_t least = 0, bound;

	cr_assert_lt(bucket, BENCH_HISTOGRAM_BUCKETS, "%llu", (unsigned long long)value);
	bound = bench_histogram_bound(bucket);
	if (bucket > 0)
		least = bench_histogram_bound(bucket - 1) + 1;
	cr_assert(least <= value && value <= bound, "%llu is in %u: %llu to %llu",
		  (unsigned long long)value, bucket, (unsigned long long)least,
		  (unsigned long long)bound);
	cr_assert_leq(bound - least, value / 64, "%llu", (unsigned long long)value);
}

Test(bench_histogram, buckets_are_right_around_every_power_of_two)
{
	unsigned power;
	uint64_t i;

	for (power = 0; power < 64; power++)
		for (i = 0; i < 300; i++) {
			check_bucket((UINT64_C(1) << power) + i);
			check_bucket((UINT64_C(1) << power) - 1 - i);
		}
}

Test(bench_histogram, buckets_are_right_for_all_small_values)
{
	uint64_t value;

	for (value = 0; value < 1 << 18; value++)
		check_bucket(value);
}

Test(bench_histogram, every_bucket_ends_where_the_next_begins_and_the_last_is_the_last)
{
	unsigned i;

	for (i = 0; i + 1 < BENCH_HISTOGRAM_BUCKETS; i++) {
		uint64_t bound = bench_histogram_bound(i);

		cr_assert_eq(bench_histogram_bucket(bound), i, "bucket %u", i);
		cr_assert_eq(bench_histogram_bucket(bound + 1), i + 1, "bucket %u", i);
	}
	cr_assert_eq(bench_histogram_bound(i), UINT64_MAX);
	cr_assert_eq(bench_histogram_bucket(UINT64_MAX), i);
}

Test(bench_histogram, has_nothing_when_empty)
{
	bench_histogram_add(&histogram, 1);
	bench_histogram_clear(&histogram);
	cr_assert_eq(histogram.count, 0);
	cr_assert_eq(histogram.min, UINT64_MAX);
	cr_assert_eq(histogram.max, 0);
	cr_assert_eq(histogram.sum, 0);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0), 0);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.5), 0);
	cr_assert_eq(bench_histogram_quantile(&histogram, 1), 0);
}

Test(bench_histogram, takes_the_least_and_the_greatest_value)
{
	bench_histogram_clear(&histogram);
	bench_histogram_add(&histogram, UINT64_MAX);
	cr_assert_eq(histogram.min, UINT64_MAX);
	bench_histogram_add(&histogram, 0);
	cr_assert_eq(histogram.count, 2);
	cr_assert_eq(histogram.min, 0);
	cr_assert_eq(histogram.max, UINT64_MAX);
	cr_assert_eq(histogram.sum, 0x1p64);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.5), 0);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.51), UINT64_MAX);
	cr_assert_eq(bench_histogram_quantile(&histogram, 1), UINT64_MAX);
}

Test(bench_histogram, quantile_is_the_bound_of_the_bucket_that_a_sorted_array_gives)
{
	/* Of SAMPLES = 20000: the quantile of rank 1 to 20000 of 20000. */
	static const struct {
		double fraction;
		int rank;
	} quantiles[] = {
		{0, 1},	       {0.00004, 1},   {0.00005, 1},	{0.00006, 2},	  {0.01, 200},
		{0.1, 2000},   {0.25, 5000},   {0.5, 10000},	{0.50001, 10001}, {0.9, 18000},
		{0.99, 19800}, {0.999, 19980}, {0.9999, 19998}, {0.99999, 20000},
	};
	uint64_t seed;
	size_t i;

	for (seed = 1; seed < 20; seed++) {
		make_samples(seed);
		bench_histogram_clear(&histogram);
		add_samples(&histogram, 0, SAMPLES);
		qsort(samples, SAMPLES, sizeof *samples, by_size);
		for (i = 0; i < COUNT(quantiles); i++) {
			uint64_t exact = samples[quantiles[i].rank - 1];
			uint64_t bound = bench_histogram_bound(bench_histogram_bucket(exact));
			uint64_t got = bench_histogram_quantile(&histogram, quantiles[i].fraction);

			if (bound > samples[SAMPLES - 1])
				bound = samples[SAMPLES - 1];
			cr_assert_eq(got, bound, "%f: %llu, not %llu", quantiles[i].fraction,
				     (unsigned long long)got, (unsigned long long)bound);
			cr_assert(got >= exact && got - exact <= exact / 64);
		}
		cr_assert_eq(bench_histogram_quantile(&histogram, 1), samples[SAMPLES - 1]);
		cr_assert_eq(histogram.min, samples[0]);
		cr_assert_eq(histogram.max, samples[SAMPLES - 1]);
		cr_assert_eq(histogram.count, SAMPLES);
	}
}

Test(bench_histogram, a_fraction_that_has_no_exact_form_is_not_one_rank_too_high)
{
	uint64_t i;

	bench_histogram_clear(&histogram);
	for (i = 1; i <= 100; i++)
		bench_histogram_add(&histogram, i);
	for (i = 1; i <= 100; i++)
		cr_assert_eq(bench_histogram_quantile(&histogram, (double)i / 100), i, "%llu",
			     (unsigned long long)i);
	/* 7.000000000000001 in a double. */
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.07), 7);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.0701), 8);
}

Test(bench_histogram, quantile_is_never_above_the_exact_maximum)
{
	bench_histogram_clear(&histogram);
	bench_histogram_add(&histogram, 1000000);
	cr_assert_gt(bench_histogram_bound(bench_histogram_bucket(1000000)), 1000000);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.5), 1000000);
	bench_histogram_add(&histogram, 1000001);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.5), 1000001);
}

Test(bench_histogram, a_fraction_out_of_range_means_the_end_that_is_nearer)
{
	bench_histogram_clear(&histogram);
	bench_histogram_add(&histogram, 3);
	bench_histogram_add(&histogram, 5000);
	cr_assert_eq(bench_histogram_quantile(&histogram, -1), 3);
	cr_assert_eq(bench_histogram_quantile(&histogram, 1.5), 5000);
	cr_assert_eq(bench_histogram_quantile(&histogram, 1e30), 5000);
}

Test(bench_histogram, merged_ones_are_as_if_one_had_taken_everything)
{
	unsigned i;

	make_samples(7);
	bench_histogram_clear(&histogram);
	bench_histogram_clear(&other);
	add_samples(&histogram, 0, SAMPLES / 3);
	add_samples(&other, SAMPLES / 3, SAMPLES);
	bench_histogram_merge(&histogram, &other);
	bench_histogram_clear(&other);
	add_samples(&other, 0, SAMPLES);
	cr_assert_eq(histogram.count, SAMPLES);
	cr_assert_eq(histogram.min, other.min);
	cr_assert_eq(histogram.max, other.max);
	cr_assert(histogram.sum > other.sum * 0.999999 && histogram.sum < other.sum * 1.000001);
	for (i = 0; i < BENCH_HISTOGRAM_BUCKETS; i++)
		cr_assert_eq(histogram.buckets[i], other.buckets[i], "bucket %u", i);
}

Test(bench_histogram, an_empty_one_changes_nothing_when_it_is_merged)
{
	bench_histogram_clear(&histogram);
	bench_histogram_clear(&other);
	bench_histogram_add(&other, 40);
	bench_histogram_merge(&other, &histogram);
	cr_assert_eq(other.count, 1);
	cr_assert_eq(other.min, 40);
	cr_assert_eq(other.max, 40);
	bench_histogram_merge(&histogram, &other);
	cr_assert_eq(histogram.min, 40);
	cr_assert_eq(histogram.max, 40);
	cr_assert_eq(bench_histogram_quantile(&histogram, 0.5), 40);
}
