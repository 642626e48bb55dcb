/* SPDX-License-Identifier: BSD-2-Clause */
#include "schedule.h"

#define NS_PER_S 1e9

/*
 * SplitMix64: a counter with a mixing function behind it. G. L. Steele, D. Lea, C. H. Flood: Fast
 * Splittable Pseudorandom Number Generators, OOPSLA 2014. Any seed is as good as another, 0 too.
 */
uint64_t
bench_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/*
 * An exponential variate of mean 1, by comparisons only: J. von Neumann, Various Techniques Used in
 * Connection With Random Digits, 1951. For a first number x, a run x > u2 > u3 > ... of odd length
 * comes with probability exp(-x); each run of even length adds 1 to the result, for what is left of
 * an exponential time is as long as the whole. There is no logarithm in it, whose last bit differs
 * between C libraries: equal seeds give equal times everywhere.
 *
 * 63 bits each, so that there are no ties to speak of. About 4.3 of them are used.
 */
static double
exponential(uint64_t *random)
{
	double whole = 0;

	for (;;) {
		uint64_t first = bench_random(random) >> 1, last = first, next;
		bool odd = true;

		while ((next = bench_random(random) >> 1) < last) {
			last = next;
			odd = !odd;
		}
		if (odd)
			return whole + (double)first * 0x1p-63;
		whole++;
	}
}

void
bench_schedule_begin(struct bench_schedule *schedule, uint64_t begin, double rate, uint64_t seed,
		     bool even)
{
	schedule->begin = begin;
	schedule->next = 0;
	schedule->gap = NS_PER_S / rate;
	schedule->random = seed;
	schedule->even = even;
}

uint64_t
bench_schedule_next(struct bench_schedule *schedule)
{
	/* What is beyond the end of time is never. */
	uint64_t after = schedule->next < 0x1p64 ? (uint64_t)schedule->next : UINT64_MAX;

	schedule->next += schedule->even ? schedule->gap
					 : schedule->gap * exponential(&schedule->random);
	return after <= UINT64_MAX - schedule->begin ? schedule->begin + after : UINT64_MAX;
}
