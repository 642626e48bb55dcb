/* SPDX-License-Identifier: BSD-2-Clause */
#include "schedule.h"

#include <stddef.h>
#include <string.h>

#include "unit.h"

#define SENDS 200000
#define MILLISECOND 1000000u
#define COUNT(table) (sizeof(table) / sizeof *(table))

static struct bench_schedule schedule, other;

Test(bench_schedule, random_numbers_are_those_of_splitmix64)
{
	/* What the published algorithm gives for this seed. */
	static const uint64_t expected[] = {
		UINT64_C(6457827717110365317),	UINT64_C(3203168211198807973),
		UINT64_C(9817491932198370423),	UINT64_C(4593380528125082431),
		UINT64_C(16408922859458223821),
	};
	uint64_t state = 1234567;
	size_t i;

	for (i = 0; i < COUNT(expected); i++)
		cr_assert_eq(bench_random(&state), expected[i], "number %zu", i);
}

Test(bench_schedule, the_first_time_is_the_beginning)
{
	bench_schedule_begin(&schedule, 123456789, 1000, 1, true);
	cr_assert_eq(bench_schedule_next(&schedule), 123456789);
	bench_schedule_begin(&schedule, 123456789, 1000, 1, false);
	cr_assert_eq(bench_schedule_next(&schedule), 123456789);
}

Test(bench_schedule, even_gaps_are_all_alike)
{
	uint64_t i;

	bench_schedule_begin(&schedule, 5, 1000, 1, true);
	for (i = 0; i < SENDS; i++)
		cr_assert_eq(bench_schedule_next(&schedule), 5 + i * MILLISECOND);
}

Test(bench_schedule, a_gap_that_is_no_whole_number_adds_up)
{
	uint64_t i, last = 0;

	/* A third of a nanosecond more than 333. */
	bench_schedule_begin(&schedule, 0, 3000000, 1, true);
	for (i = 0; i <= 3 * SENDS; i++)
		last = bench_schedule_next(&schedule);
	cr_assert(last == UINT64_C(1000) * SENDS || last == UINT64_C(1000) * SENDS - 1, "%llu",
		  (unsigned long long)last);
}

Test(bench_schedule, a_late_beginning_takes_nothing_from_the_precision)
{
	uint64_t begin = (UINT64_C(1) << 62) + 1, i;

	bench_schedule_begin(&schedule, begin, 1e9, 1, true);
	for (i = 0; i < 1000; i++)
		cr_assert_eq(bench_schedule_next(&schedule), begin + i);
}

Test(bench_schedule, equal_seeds_give_equal_times_and_others_do_not)
{
	unsigned i, equal = 0;

	bench_schedule_begin(&schedule, 0, 1000, 42, false);
	bench_schedule_begin(&other, 0, 1000, 42, false);
	for (i = 0; i < 1000; i++)
		cr_assert_eq(bench_schedule_next(&schedule), bench_schedule_next(&other));
	bench_schedule_begin(&other, 0, 1000, 43, false);
	bench_schedule_begin(&schedule, 0, 1000, 42, false);
	for (i = 0; i < 1000; i++)
		equal += bench_schedule_next(&schedule) == bench_schedule_next(&other);
	cr_assert_lt(equal, 10);
}

Test(bench_schedule, times_are_the_same_on_every_machine)
{
	static const uint64_t expected[] = {0,	     566561,  1537564, 2414913,
					    2819055, 3273993, 5339953, 6387854};
	size_t i;

	bench_schedule_begin(&schedule, 0, 1000, 1, false);
	for (i = 0; i < COUNT(expected); i++)
		cr_assert_eq(bench_schedule_next(&schedule), expected[i], "time %zu", i);
}

/* Standard deviations of the mean and of the shares below are under 0.0025: these are four or more. */
Test(bench_schedule, random_gaps_are_exponential_with_the_right_mean)
{
	static const double tails[] = {0.904837, 0.606531, 0.367879, 0.135335, 0.018316};
	static const double lengths[] = {0.1, 0.5, 1, 2, 4};
	unsigned longer[COUNT(lengths)] = {0}, i;
	uint64_t seed, last, time;
	size_t k;

	for (seed = 0; seed < 3; seed++) {
		double mean, squares = 0, neighbours = 0, before = 0;

		memset(longer, 0, sizeof longer);
		bench_schedule_begin(&schedule, 1000, 1000, seed, false);
		last = bench_schedule_next(&schedule);
		for (i = 0; i < SENDS; i++) {
			double gap;

			time = bench_schedule_next(&schedule);
			cr_assert_geq(time, last);
			gap = (double)(time - last) / MILLISECOND;
			for (k = 0; k < COUNT(lengths); k++)
				longer[k] += gap > lengths[k];
			squares += gap * gap;
			neighbours += (gap - 1) * (before - 1);
			before = gap;
			last = time;
		}
		mean = (double)(last - 1000) / MILLISECOND / SENDS;
		cr_assert(mean > 0.99 && mean < 1.01, "mean %f", mean);
		/* Twice the square of the mean. */
		cr_assert(squares / SENDS > 1.92 && squares / SENDS < 2.08, "%f", squares / SENDS);
		cr_assert(neighbours / SENDS > -0.02 && neighbours / SENDS < 0.02);
		for (k = 0; k < COUNT(lengths); k++) {
			double share = (double)longer[k] / SENDS;

			cr_assert(share > tails[k] - 0.005 && share < tails[k] + 0.005,
				  "longer than %.1f: %f", lengths[k], share);
		}
	}
}

Test(bench_schedule, a_rate_above_one_in_a_nanosecond_gives_equal_times_but_never_earlier_ones)
{
	uint64_t last = 0, time;
	int i;

	bench_schedule_begin(&schedule, 0, 4e9, 1, false);
	for (i = 0; i < SENDS; i++) {
		time = bench_schedule_next(&schedule);
		cr_assert_geq(time, last);
		last = time;
	}
	cr_assert(last > SENDS / 4 * 99 / 100 && last < SENDS / 4 * 101 / 100, "%llu",
		  (unsigned long long)last);
}

Test(bench_schedule, at_the_end_of_time_it_stays_there)
{
	bench_schedule_begin(&schedule, UINT64_MAX - 5, 1e9 / 4, 1, true);
	cr_assert_eq(bench_schedule_next(&schedule), UINT64_MAX - 5);
	cr_assert_eq(bench_schedule_next(&schedule), UINT64_MAX - 1);
	cr_assert_eq(bench_schedule_next(&schedule), UINT64_MAX);
	/* One in several times the age of the universe. */
	bench_schedule_begin(&schedule, 0, 1e-300, 1, true);
	cr_assert_eq(bench_schedule_next(&schedule), 0);
	cr_assert_eq(bench_schedule_next(&schedule), UINT64_MAX);
	cr_assert_eq(bench_schedule_next(&schedule), UINT64_MAX);
}
