/* SPDX-License-Identifier: BSD-2-Clause */
#include "statistics.h"

#include <stdint.h>

#include "unit.h"

#define SUMMARY(...)                                                                               \
	bench_summarize((double[]){__VA_ARGS__}, sizeof((double[]){__VA_ARGS__}) / sizeof(double))

Test(bench_statistics, nothing_has_a_summary_of_zeros)
{
	struct bench_summary summary = bench_summarize(NULL, 0);

	cr_assert_eq(summary.median, 0);
	cr_assert_eq(summary.min, 0);
	cr_assert_eq(summary.max, 0);
	cr_assert_eq(summary.rounds, 0);
}

Test(bench_statistics, one_sample_is_everything)
{
	struct bench_summary summary = SUMMARY(-2.5);

	cr_assert_eq(summary.median, -2.5);
	cr_assert_eq(summary.min, -2.5);
	cr_assert_eq(summary.max, -2.5);
	cr_assert_eq(summary.rounds, 1);
}

Test(bench_statistics, median_of_an_odd_number_is_the_one_in_the_middle)
{
	struct bench_summary summary = SUMMARY(9, 1, 100, 3, 4);

	cr_assert_eq(summary.median, 4);
	cr_assert_eq(summary.min, 1);
	cr_assert_eq(summary.max, 100);
	cr_assert_eq(summary.rounds, 5);
}

Test(bench_statistics, median_of_an_even_number_is_the_mean_of_the_two_in_the_middle)
{
	struct bench_summary summary = SUMMARY(8, -1, 2, 5);

	cr_assert_eq(summary.median, 3.5);
	cr_assert_eq(summary.min, -1);
	cr_assert_eq(summary.max, 8);
	cr_assert_eq(SUMMARY(7, 7).median, 7);
}

Test(bench_statistics, great_samples_do_not_overflow)
{
	cr_assert_eq(SUMMARY(1.5e308, 1.5e308).median, 1.5e308);
}

Test(bench_statistics, samples_that_differ_by_less_than_one_are_told_apart)
{
	struct bench_summary summary = SUMMARY(0.3, 0.1, 0.2);

	cr_assert_eq(summary.min, 0.1);
	cr_assert_eq(summary.median, 0.2);
	cr_assert_eq(summary.max, 0.3);
}

Test(bench_statistics, the_samples_are_sorted_and_are_the_same_ones)
{
	double samples[257], sum = 0, sum_after = 0;
	uint64_t state = 1;
	size_t n, i;

	for (n = 1; n < 257; n++) {
		for (i = 0, sum = sum_after = 0; i < n; i++) {
			state = state * UINT64_C(6364136223846793005) + 1;
			samples[i] = (double)(state >> 44);
			sum += samples[i];
		}
		(void)bench_summarize(samples, n);
		for (i = 0; i < n; i++) {
			cr_assert(i == 0 || samples[i - 1] <= samples[i], "%zu of %zu", i, n);
			sum_after += samples[i];
		}
		cr_assert_eq(sum, sum_after);
	}
}
