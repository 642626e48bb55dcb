/* SPDX-License-Identifier: BSD-2-Clause */
#include <conveyor/bucket.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "../support/fault.h"

/*
 * All timeouts are the same: for each further value Criterion loses some memory, which
 * AddressSanitizer tells.
 */
__extension__ typedef __int128 wide;

#define DAY (86400 * QUEUE_SECOND)
#define MOST QUEUE_BURST_MAX
#define COUNT(table) (sizeof(table) / sizeof *(table))

static struct queue_bucket bucket;

static uint64_t
driven_clock(void *context)
{
	return *(uint64_t *)context;
}

static struct queue_bucket_options
rate(uint64_t tokens, uint64_t period, uint64_t burst)
{
	struct queue_bucket_options options = {.tokens = tokens, .period = period, .burst = burst};

	return options;
}

static void
make(uint64_t tokens, uint64_t period, uint64_t burst)
{
	struct queue_bucket_options options = rate(tokens, period, burst);

	cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
}

static void
make_driven(uint64_t tokens, uint64_t period, uint64_t burst, uint64_t *now)
{
	struct queue_bucket_options options = rate(tokens, period, burst);

	options.clock = driven_clock;
	options.context = now;
	cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
}

static int
set(uint64_t tokens, uint64_t period, uint64_t burst)
{
	struct queue_bucket_options options = rate(tokens, period, burst);

	return queue_bucket_set(&bucket, &options);
}

/* xorshift64 */
static uint64_t
random_next(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Rates that differ in what they ask of the arithmetic, each in lowest terms where it matters. */
static const struct {
	uint64_t tokens, period, burst;
} rates[] = {
	{1, DAY, 1},
	{1, DAY, 7},
	{1, DAY, MOST},
	{1, QUEUE_SECOND, 1},
	{1, QUEUE_SECOND, MOST},
	{3, QUEUE_SECOND, 2},
	{7, 3 * QUEUE_SECOND, 5},
	{7, 3 * QUEUE_SECOND, MOST},
	{100, QUEUE_SECOND, 10},
	{1000, QUEUE_SECOND, 1000},
	{12345, QUEUE_SECOND, 99},
	{1000000, QUEUE_SECOND, 50},
	{999999937, QUEUE_SECOND, 1},
	{999999937, QUEUE_SECOND, 1000},
	{999999937, QUEUE_SECOND, MOST},
	{1000000000, QUEUE_SECOND, 1},
	{1000000000, QUEUE_SECOND, 1000},
	{1000000000, QUEUE_SECOND, MOST},
	{1073741789, 1000000007, 3},
	{1073741789, 2305843009213693951, 3},
	{1073741789, 2305843009213693951, MOST},
	{1, UINT64_C(1) << 61, MOST},
	{5, 1, 1000},
	{1 << 30, 1, MOST},
};

/* ---- Making one ----------------------------------------------------------------------------- */

Test(bucket, is_one_cache_line)
{
	cr_assert_eq(sizeof(struct queue_bucket), 64);
	cr_assert_eq(_Alignof(struct queue_bucket), 64);
}

Test(bucket, options_that_are_not_valid_are_refused_and_nothing_is_written)
{
	static const struct {
		uint64_t tokens, period, burst;
	} bad[] = {
		{0, 0, 0},
		{0, QUEUE_SECOND, 1},
		{1, 1, MOST + 1},
		{1, 1, UINT64_MAX},
		{MOST + 1, QUEUE_SECOND, 0},
		{(1 << 30) + 1, 1, 1},
		{(1 << 30) + 1, 1 << 29, 1},
		{UINT64_MAX, 1, 1},
		{UINT64_MAX, UINT64_MAX - 1, 1},
		{1, (UINT64_C(1) << 61) + 1, 1},
		{1, UINT64_MAX, 1},
	};
	struct queue_bucket before;
	struct queue_bucket_options good = rate(1, 1, 1);
	unsigned i;

	memset(&bucket, 0xa5, sizeof bucket);
	before = bucket;
	for (i = 0; i < COUNT(bad); i++) {
		struct queue_bucket_options options =
			rate(bad[i].tokens, bad[i].period, bad[i].burst);

		cr_assert_eq(queue_bucket_init(&bucket, &options), -EINVAL, "row %u", i);
	}
	cr_assert_eq(queue_bucket_init(&bucket, NULL), -EINVAL);
	cr_assert_eq(queue_bucket_init(NULL, &good), -EINVAL);
	cr_assert_eq(queue_bucket_init((struct queue_bucket *)((uintptr_t)&bucket + 32), &good),
		     -EINVAL);
	cr_assert_eq(memcmp(&before, &bucket, sizeof bucket), 0);
}

Test(bucket, options_are_reduced_before_they_are_judged)
{
	struct queue_bucket_options equal = rate(UINT64_MAX, UINT64_MAX, 1);
	struct queue_bucket_options day = rate(UINT64_C(1) << 32, UINT64_C(1) << 62, 1);

	cr_assert_eq(queue_bucket_init(&bucket, &equal), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, 10), 0);
	cr_assert_eq(queue_bucket_when(&bucket, 1, 10), 11);
	cr_assert_eq(queue_bucket_init(&bucket, &day), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, 10), 0);
	cr_assert_eq(queue_bucket_when(&bucket, 1, 10), 10 + (UINT64_C(1) << 30));
}

Test(bucket, a_period_of_zero_is_a_second_and_a_burst_of_zero_is_one_period_of_tokens)
{
	make(10, 0, 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 0), 10);
	cr_assert_eq(queue_bucket_take_at(&bucket, 10, 0), 0);
	cr_assert_eq(queue_bucket_when(&bucket, 10, 0), QUEUE_SECOND);
}

Test(bucket, is_full_at_the_start_whatever_the_time)
{
	static const uint64_t times[] = {0, 1, DAY, UINT64_C(1) << 62, UINT64_MAX};
	unsigned i, t;

	for (i = 0; i < COUNT(rates); i++)
		for (t = 0; t < COUNT(times); t++) {
			uint64_t burst = rates[i].burst, now = times[t];

			make(rates[i].tokens, rates[i].period, burst);
			cr_assert_eq(queue_bucket_available_approx(&bucket, now), burst);
			cr_assert_eq(queue_bucket_take_at(&bucket, burst, now), 0);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, now), -EAGAIN);
			cr_assert_eq(queue_bucket_available_approx(&bucket, now), 0);
		}
}

/* ---- Taking --------------------------------------------------------------------------------- */

Test(bucket, takes_all_or_none)
{
	make(1, QUEUE_SECOND, 10);
	cr_assert_eq(queue_bucket_take_at(&bucket, 7, 0), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 4, 0), -EAGAIN);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 0), 3);
	cr_assert_eq(queue_bucket_take_at(&bucket, 3, 0), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, 0), -EAGAIN);
}

Test(bucket, no_tokens_are_always_there_and_more_than_the_burst_never)
{
	make(1, QUEUE_SECOND, 3);
	cr_assert_eq(queue_bucket_take_at(&bucket, 3, 0), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 0, 0), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 4, 0), -EINVAL);
	cr_assert_eq(queue_bucket_take_at(&bucket, UINT64_MAX, UINT64_MAX), -EINVAL);
	cr_assert_eq(queue_bucket_when(&bucket, 0, 5), 5);
	cr_assert_eq(queue_bucket_when(&bucket, 4, 5), QUEUE_NEVER);
	cr_assert_eq(queue_bucket_when(&bucket, UINT64_MAX, 5), QUEUE_NEVER);
}

Test(bucket, a_refusal_writes_nothing)
{
	struct queue_bucket before;
	unsigned i, sets;

	for (i = 0; i < COUNT(rates); i++)
		for (sets = 0; sets < 2; sets++) {
			make(rates[i].tokens, rates[i].period, rates[i].burst);
			if (sets)
				cr_assert_eq(set(rates[i].tokens, rates[i].period, rates[i].burst),
					     0);
			cr_assert_eq(queue_bucket_take_at(&bucket, rates[i].burst, UINT64_MAX), 0);
			memcpy(&before, &bucket, sizeof bucket);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, UINT64_MAX), -EAGAIN);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, 0), -EAGAIN);
			cr_assert_eq(queue_bucket_take_at(&bucket, MOST + 1, 0), -EINVAL);
			cr_assert_eq(memcmp(&before, &bucket, sizeof bucket), 0);
		}
}

Test(bucket, when_is_the_first_time_at_which_the_take_succeeds)
{
	static const uint64_t times[] = {0, 12345678901, UINT64_C(1) << 62, UINT64_MAX - DAY};
	uint64_t seed = 88172645463325252;
	unsigned i, t, step;

	for (i = 0; i < COUNT(rates); i++)
		for (t = 0; t < COUNT(times); t++) {
			uint64_t now = times[t], burst = rates[i].burst;

			make(rates[i].tokens, rates[i].period, burst);
			cr_assert_eq(queue_bucket_when(&bucket, burst, now), now);
			cr_assert_eq(queue_bucket_take_at(&bucket, burst, now), 0);
			for (step = 0; step < 20; step++) {
				uint64_t n = 1 + random_next(&seed) % (burst < 5 ? burst : 5);
				uint64_t when = queue_bucket_when(&bucket, n, now);

				cr_assert_geq(when, now);
				if (when == QUEUE_NEVER)
					break;
				if (when > now)
					cr_assert_eq(queue_bucket_take_at(&bucket, n, when - 1),
						     -EAGAIN);
				cr_assert_eq(queue_bucket_when(&bucket, n, when), when);
				cr_assert_eq(queue_bucket_take_at(&bucket, n, when), 0);
				now = when;
			}
		}
}

Test(bucket, when_is_never_once_the_clock_has_no_such_time)
{
	make(1, DAY, 2);
	cr_assert_eq(queue_bucket_take_at(&bucket, 2, UINT64_MAX - DAY - 1), 0);
	cr_assert_eq(queue_bucket_when(&bucket, 1, 0), UINT64_MAX - 1);
	cr_assert_eq(queue_bucket_when(&bucket, 2, 0), QUEUE_NEVER);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, UINT64_MAX - 1), 0);
	cr_assert_eq(queue_bucket_when(&bucket, 1, UINT64_MAX), QUEUE_NEVER);
}

Test(bucket, seven_tokens_in_three_seconds_come_at_exactly_their_times)
{
	uint64_t k, now;

	make(7, 3 * QUEUE_SECOND, 2);
	cr_assert_eq(queue_bucket_take_at(&bucket, 2, 0), 0);
	/*
	 * The k-th is there at 3k/7 s, rounded up to a nanosecond, with nothing adding up: with a
	 * burst of 2 the bucket is never full again, and fractions are kept for ever.
	 */
	for (k = 1; k < 100000; k++) {
		now = (k * 3 * QUEUE_SECOND + 6) / 7;
		if (queue_bucket_take_at(&bucket, 1, now - 1) != -EAGAIN ||
		    queue_bucket_take_at(&bucket, 1, now) != 0)
			break;
	}
	cr_assert_eq(k, 100000);
}

Test(bucket, a_clock_that_goes_back_makes_no_tokens)
{
	make(1, QUEUE_MILLISECOND, 5);
	cr_assert_eq(queue_bucket_take_at(&bucket, 5, DAY), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, 0), -EAGAIN);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, DAY - 1), -EAGAIN);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 0), 0);
	cr_assert_eq(queue_bucket_when(&bucket, 1, 0), DAY + QUEUE_MILLISECOND);
	/* There and back any number of times. */
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, DAY + QUEUE_MILLISECOND), 0);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, DAY), -EAGAIN);
	cr_assert_eq(queue_bucket_take_at(&bucket, 1, DAY + QUEUE_MILLISECOND), -EAGAIN);
}

Test(bucket, reads_the_clock_it_was_given)
{
	uint64_t now = 1000;

	make_driven(1, 10, 2, &now);
	cr_assert_eq(queue_bucket_take(&bucket, 2), 0);
	cr_assert_eq(queue_bucket_take(&bucket, 1), -EAGAIN);
	now = 1009;
	cr_assert_eq(queue_bucket_take(&bucket, 1), -EAGAIN);
	now = 1010;
	cr_assert_eq(queue_bucket_take(&bucket, 1), 0);
}

Test(bucket, reads_the_monotonic_clock_when_it_was_given_none)
{
	uint64_t before = queue_now(), when;

	make(1, DAY, 1);
	cr_assert_eq(queue_bucket_take(&bucket, 1), 0);
	when = queue_bucket_when(&bucket, 1, before);
	cr_assert_geq(when, before + DAY);
	cr_assert_leq(when, queue_now() + DAY);
}

Test(bucket, touches_no_errno)
{
	errno = 77;
	make(1, QUEUE_MILLISECOND, 1);
	(void)queue_bucket_take(&bucket, 1);
	(void)queue_bucket_take(&bucket, 1);
	(void)queue_bucket_take(&bucket, 2);
	(void)queue_bucket_take_until(&bucket, 1, queue_after_ms(1000));
	(void)queue_bucket_take_until(&bucket, 1, 0);
	(void)set(1, 1, 1);
	cr_assert_eq(errno, 77);
}

Test(bucket, in_shared_memory_is_one_for_all_processes)
{
	struct queue_bucket_options options = rate(1, DAY, 10);
	struct queue_bucket *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = -1;
	pid_t child;

	cr_assert(shared != MAP_FAILED);
	cr_assert_eq(queue_bucket_init(shared, &options), 0);
	child = fork();
	if (child == 0)
		_exit(queue_bucket_take(shared, 7) == 0 ? 0 : 1);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(queue_bucket_take(shared, 4), -EAGAIN);
	cr_assert_eq(queue_bucket_take(shared, 3), 0);
	cr_assert_eq(munmap(shared, sizeof *shared), 0);
}

/* ---- Waiting -------------------------------------------------------------------------------- */

/* A clock that goes on by itself whenever it is read. */
static uint64_t
running_clock(void *context)
{
	return *(uint64_t *)context += 100;
}

Test(bucket, take_until_waits_for_the_tokens_but_not_longer_than_the_deadline)
{
	struct queue_bucket_options options = rate(1, 1000, 2);
	uint64_t now = 0;

	options.clock = running_clock;
	options.context = &now;
	cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
	cr_assert_eq(queue_bucket_take_until(&bucket, 2, 0), 0, "they are there: a late try");
	cr_assert_eq(now, 100);
	cr_assert_eq(queue_bucket_take_until(&bucket, 1, 1099), -ETIMEDOUT);
	cr_assert_eq(now, 200, "it is clear at once");
	cr_assert_eq(queue_bucket_take_until(&bucket, 1, 1100), 0);
	cr_assert_eq(now, 1100);
	cr_assert_eq(queue_bucket_take_until(&bucket, 2, QUEUE_NEVER), 0);
	cr_assert_eq(now, 3100);
	cr_assert_eq(queue_bucket_take_until(&bucket, 3, QUEUE_NEVER), -EINVAL);
	cr_assert_eq(queue_bucket_take_until(&bucket, 0, 0), 0);
}

Test(bucket, take_until_times_out_at_once_when_the_clock_ends_before)
{
	uint64_t now = UINT64_MAX - 5;

	make_driven(1, DAY, 1, &now);
	cr_assert_eq(queue_bucket_take_until(&bucket, 1, QUEUE_NEVER), 0);
	cr_assert_eq(queue_bucket_take_until(&bucket, 1, QUEUE_NEVER), -ETIMEDOUT);
}

Test(bucket, take_until_sleeps_in_real_time)
{
	uint64_t start;

	make(1, 3 * QUEUE_MILLISECOND, 1);
	start = queue_now();
	cr_assert_eq(queue_bucket_take_until(&bucket, 1, QUEUE_NEVER), 0);
	cr_assert_eq(queue_bucket_take_until(&bucket, 1, QUEUE_NEVER), 0);
	cr_assert_geq(queue_now() - start, 3 * QUEUE_MILLISECOND);
}

/* ---- Giving back ---------------------------------------------------------------------------- */

Test(bucket, refund_undoes_a_take)
{
	unsigned i, sets;

	for (i = 0; i < COUNT(rates); i++)
		for (sets = 0; sets < 2; sets++) {
			uint64_t burst = rates[i].burst, now = 12345678901;

			make_driven(rates[i].tokens, rates[i].period, burst, &now);
			if (sets)
				cr_assert_eq(set(rates[i].tokens, rates[i].period, burst), 0);
			cr_assert_eq(queue_bucket_take_at(&bucket, burst, now), 0);
			cr_assert_eq(queue_bucket_refund(&bucket, 1), 0);
			cr_assert_eq(queue_bucket_available_approx(&bucket, now), 1);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, now), 0);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, now), -EAGAIN);
			cr_assert_eq(queue_bucket_refund(&bucket, 0), 0);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, now), -EAGAIN);
		}
}

Test(bucket, refund_never_fills_above_the_burst)
{
	unsigned i, sets;

	for (i = 0; i < COUNT(rates); i++)
		for (sets = 0; sets < 2; sets++) {
			uint64_t burst = rates[i].burst, now = 5;

			make_driven(rates[i].tokens, rates[i].period, burst, &now);
			if (sets)
				cr_assert_eq(set(rates[i].tokens, rates[i].period, burst), 0);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, now), 0);
			cr_assert_eq(queue_bucket_refund(&bucket, UINT64_MAX), 0);
			cr_assert_eq(queue_bucket_refund(&bucket, burst), 0);
			cr_assert_eq(queue_bucket_available_approx(&bucket, now), burst);
			cr_assert_eq(queue_bucket_take_at(&bucket, burst, now), 0);
			cr_assert_eq(queue_bucket_take_at(&bucket, 1, now), -EAGAIN);
		}
}

/* ---- Changing the rate ---------------------------------------------------------------------- */

Test(bucket, set_changes_the_rate_from_now_on)
{
	uint64_t now = 1000;

	make_driven(1, 10, 5, &now);
	cr_assert_eq(queue_bucket_take(&bucket, 5), 0);
	now = 1020;
	cr_assert_eq(set(1, 100, 5), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 1020), 2);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 1119), 2);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 1120), 3);
	now = 1120;
	cr_assert_eq(set(1, 1, 5), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 1120), 3);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 1122), 5);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 1123), 5);
}

Test(bucket, set_keeps_fractions_of_a_token)
{
	uint64_t now = 0;

	make_driven(1, 10, 5, &now);
	cr_assert_eq(queue_bucket_take(&bucket, 5), 0);
	now = 7;
	cr_assert_eq(set(1, 1000, 5), 0);
	cr_assert_eq(queue_bucket_when(&bucket, 1, 7), 7 + 300);
	/* A third of a token does not go into whole tenths: rounded down, to a tick. */
	now = 7 + 300 + 333;
	cr_assert_eq(set(1, 10, 5), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, now), 1);
	cr_assert_eq(queue_bucket_when(&bucket, 2, now), now + 7);
}

Test(bucket, set_to_a_smaller_burst_keeps_as_many_tokens_as_it_allows)
{
	uint64_t now = 1000;

	make_driven(1, 10, 100, &now);
	cr_assert_eq(queue_bucket_take(&bucket, 30), 0);
	cr_assert_eq(set(1, 10, 80), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, now), 70);
	cr_assert_eq(set(1, 10, 50), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, now), 50);
	cr_assert_eq(queue_bucket_take(&bucket, 51), -EINVAL);
	cr_assert_eq(queue_bucket_take(&bucket, 50), 0);
	cr_assert_eq(queue_bucket_take(&bucket, 1), -EAGAIN);
}

Test(bucket, set_to_a_larger_burst_does_not_fill_it)
{
	uint64_t now = 1000;

	make_driven(1, DAY, 10, &now);
	cr_assert_eq(set(1000, QUEUE_SECOND, MOST), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, now), 10);
	cr_assert_eq(queue_bucket_take(&bucket, 11), -EAGAIN);
	cr_assert_eq(queue_bucket_when(&bucket, 11, now), now + QUEUE_MILLISECOND);
	cr_assert_eq(queue_bucket_when(&bucket, MOST, now), now + (MOST - 10) * QUEUE_MILLISECOND);
}

Test(bucket, set_between_all_pairs_of_rates_keeps_whole_tokens_exactly)
{
	static const uint64_t times[] = {0, 77777777777, UINT64_C(1) << 63, UINT64_MAX};
	unsigned i, j, t;

	for (i = 0; i < COUNT(rates); i++)
		for (j = 0; j < COUNT(rates); j++)
			for (t = 0; t < COUNT(times); t++) {
				uint64_t now = times[t], left = rates[i].burst - 1;

				make_driven(rates[i].tokens, rates[i].period, rates[i].burst, &now);
				cr_assert_eq(queue_bucket_take(&bucket, 1), 0);
				cr_assert_eq(set(rates[j].tokens, rates[j].period, rates[j].burst),
					     0);
				if (left > rates[j].burst)
					left = rates[j].burst;
				cr_assert_eq(queue_bucket_available_approx(&bucket, now), left);
				cr_assert_eq(queue_bucket_take(&bucket, left), 0);
				cr_assert_eq(queue_bucket_take(&bucket, 1), -EAGAIN);
			}
}

Test(bucket, set_refuses_what_init_refuses_and_changes_nothing)
{
	struct queue_bucket before;

	make(1, QUEUE_SECOND, 3);
	before = bucket;
	cr_assert_eq(set(0, 1, 1), -EINVAL);
	cr_assert_eq(set(1, 1, MOST + 1), -EINVAL);
	cr_assert_eq(set(UINT64_MAX, 1, 1), -EINVAL);
	cr_assert_eq(queue_bucket_set(&bucket, NULL), -EINVAL);
	cr_assert_eq(memcmp(&before, &bucket, sizeof bucket), 0);
}

Test(bucket, set_by_a_clock_behind_that_of_the_takes_makes_no_tokens)
{
	uint64_t now = 0;

	make_driven(1, 1000, 4, &now);
	cr_assert_eq(queue_bucket_take_at(&bucket, 4, UINT64_C(1) << 62), 0);
	cr_assert_eq(set(1000, 1, 4), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, UINT64_C(1) << 62), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, (UINT64_C(1) << 62) + 1), 4);
	/* At the end of time, back and forth. */
	cr_assert_eq(queue_bucket_take_at(&bucket, 4, UINT64_MAX), 0);
	cr_assert_eq(set(1, UINT64_C(1) << 61, MOST), 0);
	cr_assert_eq(set(1 << 30, 1, MOST), 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, UINT64_MAX), 0);
}

/* What is called from within set, by way of the clock, is what runs while set is stopped there. */
static struct {
	int busy, taken, takes_left, too_many, refunded;
} meanwhile;

static uint64_t
meddling_clock(void *context)
{
	struct queue_bucket_options other = rate(1, 1, 3);

	meanwhile.busy = queue_bucket_set(&bucket, &other);
	if (meanwhile.takes_left > 0) {
		meanwhile.takes_left--;
		meanwhile.taken += queue_bucket_take_at(&bucket, 2, 500) == 0;
		meanwhile.too_many = queue_bucket_take_at(&bucket, 11, 500);
		meanwhile.refunded = queue_bucket_refund(&bucket, 1);
	}
	return *(uint64_t *)context;
}

Test(bucket, a_thread_stopped_inside_set_keeps_nobody_from_taking)
{
	struct queue_bucket_options options = rate(1, DAY, 10);
	uint64_t now = 500;

	options.clock = meddling_clock;
	options.context = &now;
	cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
	meanwhile.takes_left = 3;
	cr_assert_eq(set(1, 1, 20), 0);
	cr_assert_eq(meanwhile.busy, -EBUSY);
	cr_assert_eq(meanwhile.taken, 3);
	cr_assert_eq(meanwhile.too_many, -EINVAL, "the old burst, until it is done");
	cr_assert_eq(meanwhile.refunded, 0);
	cr_assert_eq(queue_bucket_available_approx(&bucket, 500), 10 - 3 * 2 + 3);
	cr_assert_eq(queue_bucket_take_at(&bucket, 20, 513), 0, "the new burst and rate");
}

/* ---- Against references --------------------------------------------------------------------- */

/*
 * A leaky counter: what is missing to a full bucket, in shares of a token of which `period` make
 * one and `tokens` come in a nanosecond, as of a time. It knows no arrival times and no widths.
 */
struct leaky {
	uint64_t tokens, period, burst, as_of;
	wide missing;
};

static uint64_t
divisor_of(uint64_t a, uint64_t b)
{
	return b ? divisor_of(b, a % b) : a;
}

static void
leaky_rate(struct leaky *leaky, uint64_t tokens, uint64_t period, uint64_t burst)
{
	uint64_t divisor = divisor_of(tokens, period);

	leaky->tokens = tokens / divisor;
	leaky->period = period / divisor;
	leaky->burst = burst;
}

static wide
leaky_missing(const struct leaky *leaky, uint64_t now)
{
	wide passed = (wide)now - leaky->as_of;
	wide missing = leaky->missing - passed * (wide)leaky->tokens;

	return missing > 0 ? missing : 0;
}

static int
leaky_take(struct leaky *leaky, uint64_t n, uint64_t now)
{
	wide missing = leaky_missing(leaky, now) + (wide)n * leaky->period;

	if (n == 0)
		return 0;
	if (n > leaky->burst)
		return -EINVAL;
	if (missing > (wide)leaky->burst * leaky->period)
		return -EAGAIN;
	leaky->as_of = now;
	leaky->missing = missing;
	return 0;
}

/* A surplus over a full bucket is remembered for clocks that go back, up to the start of time. */
static void
leaky_refund(struct leaky *leaky, uint64_t n)
{
	leaky->missing -= (wide)(n < leaky->burst ? n : leaky->burst) * leaky->period;
	if (leaky->missing < -(wide)leaky->as_of * (wide)leaky->tokens)
		leaky->missing = -(wide)leaky->as_of * (wide)leaky->tokens;
}

static uint64_t
leaky_available(const struct leaky *leaky, uint64_t now)
{
	wide there = (wide)leaky->burst * leaky->period - leaky_missing(leaky, now);

	return there > 0 ? (uint64_t)(there / leaky->period) : 0;
}

static void
leaky_set(struct leaky *leaky, uint64_t tokens, uint64_t period, uint64_t burst, uint64_t now)
{
	struct leaky old = *leaky;
	wide room = (wide)old.burst * old.period, tokens_missing, rest;

	/* Time cannot be before that of the last take. */
	while (leaky_missing(&old, now) > room)
		now += (uint64_t)((leaky_missing(&old, now) - room + (wide)old.tokens - 1) /
				  (wide)old.tokens);
	tokens_missing = leaky_missing(&old, now) / old.period;
	rest = leaky_missing(&old, now) % old.period;
	leaky_rate(leaky, tokens, period, burst);
	tokens_missing += (wide)burst - (wide)old.burst;
	rest = (rest * leaky->period + old.period - 1) / old.period;
	leaky->as_of = now;
	leaky->missing = tokens_missing < 0 ? 0 : tokens_missing * leaky->period + rest;
}

/* A step in time that is of interest at this rate: none, within a token, within a burst, or far. */
static uint64_t
random_step(uint64_t *seed, const struct leaky *leaky)
{
	uint64_t token = leaky->period / leaky->tokens + 1, r = random_next(seed);
	uint64_t burst = token * (leaky->burst < 100 ? leaky->burst : 100) + 1;

	switch (r % 16) {
	case 0:
		return 0;
	case 1:
		return (r >> 8) % (burst * 2);
	case 2:
		return (r >> 8) % 3;
	case 3:
		return r % 4096 < 16 ? r >> 16 : 0;
	default:
		return (r >> 8) % (token + token / 8 + 1);
	}
}

/* Steps until bucket and reference differ, or `steps`. */
static uint64_t
compare(unsigned row, uint64_t steps, bool with_sets)
{
	uint64_t step, now = row % 2 ? UINT64_C(1) << 40 : 0, seed = 1 + row;
	struct leaky leaky = {.missing = 0, .as_of = 0};

	make_driven(rates[row].tokens, rates[row].period, rates[row].burst, &now);
	leaky_rate(&leaky, rates[row].tokens, rates[row].period, rates[row].burst);
	for (step = 0; step < steps; step++) {
		uint64_t r = random_next(&seed), delta = random_step(&seed, &leaky), n, when;

		if (r % 8 == 0)
			now -= delta < now ? delta : now;
		else
			now += delta < UINT64_MAX - now ? delta : UINT64_MAX - now;
		/* Once at the end of time there is nothing more to see there. */
		if (now > UINT64_MAX - 1000 && r % 64 == 0)
			now = r;
		n = (r >> 8) % (leaky.burst < 6 ? leaky.burst + 2 : 6);
		if (r % 32 == 1)
			n = leaky_available(&leaky, now) + (r >> 8) % 2;
		if (with_sets && r % 512 == 2) {
			unsigned other = (unsigned)((r >> 16) % COUNT(rates));

			if (set(rates[other].tokens, rates[other].period, rates[other].burst))
				return step;
			leaky_set(&leaky, rates[other].tokens, rates[other].period,
				  rates[other].burst, now);
		} else if (r % 32 == 3) {
			(void)queue_bucket_refund(&bucket, n);
			leaky_refund(&leaky, n);
		}
		if (r % 8 == 5) {
			if (queue_bucket_available_approx(&bucket, now) !=
			    leaky_available(&leaky, now))
				return step;
			when = queue_bucket_when(&bucket, n, now);
			if (n > leaky.burst ? when != QUEUE_NEVER : when < now)
				return step;
			if (when != QUEUE_NEVER) {
				if (leaky_available(&leaky, when) < n)
					return step;
				if (when > now && leaky_available(&leaky, when - 1) >= n)
					return step;
			}
		}
		if (queue_bucket_take_at(&bucket, n, now) != leaky_take(&leaky, n, now))
			return step;
	}
	return step;
}

/* Fewer where everything takes ten times as long: under ThreadSanitizer and in an emulator. */
#if defined UNIT_STAND_IN
#define STEPS (1000000 / COUNT(rates) + 1)
#define FEED_STEPS 20000
#else
#define STEPS (10000000 / COUNT(rates) + 1)
#define FEED_STEPS 200000
#endif

Test(bucket, ten_million_random_steps_answer_as_an_exact_reference_does, .timeout = 60)
{
	unsigned row;

	for (row = 0; row < COUNT(rates); row++)
		cr_assert_eq(compare(row, STEPS, false), STEPS, "row %u", row);
}

Test(bucket, ten_million_more_with_rate_changes_do, .timeout = 60)
{
	unsigned row;

	for (row = 0; row < COUNT(rates); row++)
		cr_assert_eq(compare(row, STEPS, true), STEPS, "row %u", row);
}

/* Time goes by one nanosecond at a time, and each brings its share: nothing is computed at all. */
Test(bucket, small_rates_answer_as_counting_by_the_nanosecond_does)
{
	uint64_t tokens, period, burst, now, seed = 99;

	for (tokens = 1; tokens < 8; tokens++)
		for (period = 1; period < 12; period++)
			for (burst = 1; burst < 5; burst++) {
				uint64_t shares = burst * period, mismatches = 0;

				make(tokens, period, burst);
				for (now = 0; now < 2000; now++) {
					uint64_t n = 1 + random_next(&seed) % burst;
					int expected = shares >= n * period ? 0 : -EAGAIN;

					mismatches += queue_bucket_take_at(&bucket, n, now) !=
						      expected;
					if (expected == 0)
						shares -= n * period;
					shares += tokens;
					if (shares > burst * period)
						shares = burst * period;
				}
				cr_assert_eq(mismatches, 0);
			}
}

/* ---- The contract, on what was really granted ----------------------------------------------- */

#define GRANTS 1500

static struct {
	uint64_t time, n;
} grants[GRANTS];

/* Windows of recorded grants that break the contract; the lower bound only under saturation. */
static unsigned
broken_windows(unsigned row, unsigned count, bool saturated)
{
	wide tokens = (wide)rates[row].tokens, period = (wide)rates[row].period;
	unsigned first, last, broken = 0;

	for (first = 0; first < count; first++) {
		wide sum = 0;

		for (last = first; last < count; last++) {
			wide width = (wide)(grants[last].time - grants[first].time) * tokens;

			sum += grants[last].n;
			broken += sum * period > (wide)rates[row].burst * period + width;
			/* From just after the first grant on. */
			if (saturated)
				broken += (sum - (wide)grants[first].n) * period < width - period;
		}
	}
	return broken;
}

Test(bucket, no_window_sees_more_than_the_burst_and_its_share_of_the_rate, .timeout = 60)
{
	uint64_t seed = 4711;
	unsigned row;

	for (row = 0; row < COUNT(rates); row++) {
		struct leaky leaky = {.missing = 0};
		uint64_t now = 0, tries = 0;
		unsigned count = 0;

		leaky_rate(&leaky, rates[row].tokens, rates[row].period, rates[row].burst);
		make(rates[row].tokens, rates[row].period, rates[row].burst);
		while (count < GRANTS && tries++ < 100 * GRANTS) {
			uint64_t n = 1 + random_next(&seed) % (leaky.burst < 9 ? leaky.burst : 9);

			if (n == 9)
				n += queue_bucket_available_approx(&bucket, now) / 2;
			now += random_step(&seed, &leaky);
			if (now > UINT64_MAX / 2)
				break;
			if (queue_bucket_take_at(&bucket, n, now) == 0) {
				grants[count].time = now;
				grants[count++].n = n;
			}
		}
		cr_assert_gt(count, 1);
		cr_assert_eq(broken_windows(row, count, false), 0, "row %u", row);
	}
}

Test(bucket, under_saturation_no_window_sees_a_token_less_than_its_share, .timeout = 60)
{
	unsigned row;

	for (row = 0; row < COUNT(rates); row++) {
		uint64_t now = 1;
		unsigned count = 0;

		/*
		 * Every token is asked for at the nanosecond in which it comes. A bucket that is
		 * full before, having room for less than a token and what that nanosecond brings,
		 * is not asked soon enough to be saturated.
		 */
		if (rates[row].period % rates[row].tokens &&
		    (rates[row].burst - 1) * (wide)rates[row].period < rates[row].tokens)
			continue;
		make(rates[row].tokens, rates[row].period, rates[row].burst);
		cr_assert_eq(queue_bucket_take_at(&bucket, rates[row].burst, now), 0);
		grants[count].time = now;
		grants[count++].n = rates[row].burst;
		while (count < GRANTS && now != QUEUE_NEVER) {
			uint64_t n = 0;

			now = queue_bucket_when(&bucket, 1, now);
			while (now != QUEUE_NEVER && n < 2000 &&
			       queue_bucket_take_at(&bucket, 1, now) == 0)
				n++;
			if (n == 2000)
				break;
			grants[count].time = now;
			grants[count].n = n;
			count += n > 0;
		}
		cr_assert_eq(broken_windows(row, count, true), 0, "row %u", row);
	}
}

/* ---- The feed ------------------------------------------------------------------------------- */

static struct queue_token_feed *
manual_feed(uint64_t tokens, uint64_t period, uint64_t burst)
{
	struct queue_token_feed_options options = {
		.tokens = tokens, .period = period, .burst = burst, .flags = QUEUE_FEED_MANUAL};
	struct queue_token_feed *feed = NULL;

	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	cr_assert_not_null(feed);
	return feed;
}

Test(token_feed, options_that_are_not_valid_are_refused)
{
	static const struct queue_allocator incomplete = {NULL, NULL, NULL};
	static const struct queue_token_feed_options bad[] = {
		{.tokens = 0},
		{.tokens = 1, .burst = MOST + 1},
		{.tokens = MOST + 1},
		{.tokens = 1, .flags = 2},
		{.tokens = UINT64_MAX, .period = 2, .burst = 1},
		{.tokens = 1, .period = UINT64_MAX, .burst = 1},
		{.tokens = 1, .allocator = &incomplete},
	};
	struct queue_token_feed_options good = {.tokens = 1, .flags = QUEUE_FEED_MANUAL};
	struct queue_token_feed *feed = NULL;
	unsigned i;

	for (i = 0; i < COUNT(bad); i++)
		cr_assert_eq(queue_token_feed_create(&feed, &bad[i]), -EINVAL, "row %u", i);
	cr_assert_eq(queue_token_feed_create(&feed, NULL), -EINVAL);
	cr_assert_eq(queue_token_feed_create(NULL, &good), -EINVAL);
	cr_assert_null(feed);
}

static int live_allocations, allocations_left;

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	void *memory = NULL;

	(void)context;
	if (allocations_left-- <= 0 || posix_memalign(&memory, alignment, size))
		return NULL;
	live_allocations++;
	return memory;
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context;
	(void)size;
	(void)alignment;
	live_allocations -= memory != NULL;
	free(memory);
}

Test(token_feed, uses_its_allocator_and_gives_everything_back)
{
	static const struct queue_allocator counting = {counting_allocate, counting_release, NULL};
	struct queue_token_feed_options options = {.tokens = 5, .allocator = &counting};
	struct queue_token_feed *feed = NULL;
	int allowed, rc = -ENOMEM;

	for (allowed = 0; rc == -ENOMEM && allowed < 10; allowed++) {
		cr_assert_null(feed);
		cr_assert_eq(live_allocations, 0);
		allocations_left = allowed;
		rc = queue_token_feed_create(&feed, &options);
	}
	cr_assert_eq(rc, 0);
	cr_assert_gt(live_allocations, 0);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
	cr_assert_eq(live_allocations, 0);
	cr_assert_eq(queue_token_feed_destroy(NULL), 0);
}

Test(token_feed, is_full_at_the_start_and_takes_all_or_none)
{
	struct queue_token_feed *feed = manual_feed(1, QUEUE_SECOND, 1000);

	cr_assert_eq(queue_token_feed_available_approx(feed), 1000);
	cr_assert_eq(queue_token_feed_take(feed, 1001), -EINVAL);
	cr_assert_eq(queue_token_feed_take(feed, 700), 0);
	cr_assert_eq(queue_token_feed_take(feed, 301), -EAGAIN);
	cr_assert_eq(queue_token_feed_available_approx(feed), 300);
	cr_assert_eq(queue_token_feed_take(feed, 0), 0);
	cr_assert_eq(queue_token_feed_take(feed, 300), 0);
	cr_assert_eq(queue_token_feed_take(feed, 1), -EAGAIN);
	cr_assert_eq(queue_token_feed_take(feed, 0), 0);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

Test(token_feed, drops_what_finds_no_room)
{
	struct queue_token_feed *feed = manual_feed(1, 10, 3);

	cr_assert_eq(queue_token_feed_advance(feed, 100), 0);
	cr_assert_eq(queue_token_feed_take(feed, 3), 0);
	cr_assert_eq(queue_token_feed_advance(feed, 119), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 1);
	cr_assert_eq(queue_token_feed_advance(feed, 1000), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 3);
	/* It was full at 1000, and no part of a token is kept from before. */
	cr_assert_eq(queue_token_feed_take(feed, 1), 0);
	cr_assert_eq(queue_token_feed_advance(feed, 1009), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 2);
	cr_assert_eq(queue_token_feed_advance(feed, 1010), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 3);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

Test(token_feed, a_clock_that_goes_back_makes_no_tokens)
{
	struct queue_token_feed *feed = manual_feed(1, 10, 100);

	cr_assert_eq(queue_token_feed_advance(feed, 1000), 0);
	cr_assert_eq(queue_token_feed_take(feed, 100), 0);
	cr_assert_eq(queue_token_feed_advance(feed, 1050), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 5);
	cr_assert_eq(queue_token_feed_advance(feed, 0), 0);
	cr_assert_eq(queue_token_feed_advance(feed, 1020), 0);
	cr_assert_eq(queue_token_feed_advance(feed, 1050), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 5);
	cr_assert_eq(queue_token_feed_advance(feed, 1060), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 6);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

Test(token_feed, time_begins_with_the_first_advance)
{
	struct queue_token_feed *feed = manual_feed(1, 10, 3);

	cr_assert_eq(queue_token_feed_take(feed, 3), 0);
	cr_assert_eq(queue_token_feed_advance(feed, DAY), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 0);
	cr_assert_eq(queue_token_feed_advance(feed, DAY + 10), 0);
	cr_assert_eq(queue_token_feed_available_approx(feed), 1);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

Test(token_feed, admits_what_the_bucket_admits_under_a_driven_clock, .timeout = 60)
{
	uint64_t step, seed = 31337, available, now, n;
	unsigned row;
	int rc;

	for (row = 0; row < COUNT(rates); row++) {
		struct leaky leaky = {.missing = 0};
		struct queue_token_feed *feed;
		/* Each token is a token here: no room for 2^32 of them. */
		uint64_t burst = rates[row].burst < 1000 ? rates[row].burst : 1000;

		leaky_rate(&leaky, rates[row].tokens, rates[row].period, burst);
		make(rates[row].tokens, rates[row].period, burst);
		feed = manual_feed(rates[row].tokens, rates[row].period, burst);
		for (now = step = 0; step < FEED_STEPS; step++) {
			uint64_t delta = random_step(&seed, &leaky);

			now += delta < UINT64_MAX - now ? delta : UINT64_MAX - now;
			(void)queue_token_feed_advance(feed, now);
			available = queue_bucket_available_approx(&bucket, now);
			n = random_next(&seed) % (burst < 9 ? burst + 2 : 9);
			if (n == 8)
				n = available;
			rc = queue_bucket_take_at(&bucket, n, now);
			if (queue_token_feed_available_approx(feed) != available ||
			    queue_token_feed_take(feed, n) != rc)
				break;
		}
		cr_assert_eq(step, FEED_STEPS, "row %u", row);
		cr_assert_eq(queue_token_feed_destroy(feed), 0);
	}
}

Test(token_feed, its_thread_brings_tokens_and_is_not_to_be_advanced_by_hand)
{
	struct queue_token_feed_options options = {.tokens = 1000, .burst = 5};
	struct queue_token_feed *feed;
	uint64_t start = queue_now(), n;

	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	cr_assert_eq(queue_token_feed_advance(feed, queue_now()), -EINVAL);
	cr_assert_eq(queue_token_feed_take(feed, 5), 0);
	for (n = 0; n < 4; n++)
		cr_assert_eq(queue_token_feed_take_until(feed, 5, queue_after_ms(10000)), 0);
	/* Twenty tokens at one in a millisecond. */
	cr_assert_geq(queue_now() - start, 20 * QUEUE_MILLISECOND);
	cr_assert_eq(queue_token_feed_take_until(feed, 6, QUEUE_NEVER), -EINVAL);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

static uint32_t shared_calls;
static uint64_t shared_now;

static uint64_t
shared_clock(void *context)
{
	uint64_t now = queue_impl_load_acq(&shared_now);

	(void)context;
	(void)queue_impl_fetch_add32_acq_rel(&shared_calls, 1);
	return now;
}

/* What there is once the feed's thread has looked in full, or has made more than is right. */
static uint64_t
once_it_looked(const struct queue_token_feed *feed, uint64_t right)
{
	uint32_t calls = queue_impl_load32_acq(&shared_calls);

	while (queue_impl_load32_acq(&shared_calls) - calls < 2 &&
	       queue_token_feed_available_approx(feed) <= right)
		(void)sched_yield();
	return queue_token_feed_available_approx(feed);
}

Test(token_feed, saves_up_nothing_while_it_is_full, .timeout = 60)
{
	struct queue_token_feed_options options = {
		.tokens = 1000, .burst = 100, .clock = shared_clock};
	struct queue_token_feed *feed;

	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	queue_impl_store_rel(&shared_now, DAY);
	cr_assert_eq(queue_token_feed_take(feed, 100), 0);
	cr_assert_eq(once_it_looked(feed, 0), 0);
	queue_impl_store_rel(&shared_now, DAY + 99 * QUEUE_MILLISECOND);
	cr_assert_eq(once_it_looked(feed, 99), 99);
	/* Full again, but only after a token too many to be kept. */
	queue_impl_store_rel(&shared_now, DAY + 101 * QUEUE_MILLISECOND);
	while (queue_token_feed_available_approx(feed) < 100)
		(void)sched_yield();
	queue_impl_store_rel(&shared_now, 2 * DAY);
	cr_assert_eq(queue_token_feed_take(feed, 1), 0);
	cr_assert_eq(once_it_looked(feed, 99), 99);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

Test(token_feed, a_take_from_a_full_queue_wakes_the_thread, .timeout = 60)
{
	struct queue_token_feed_options options = {.tokens = 1000000, .burst = 1};
	uint64_t start, took, best = QUEUE_NEVER;
	struct queue_token_feed *feed;
	int i;

	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	for (i = 0; i < 10; i++) {
		/* Full for long enough that the thread sleeps. */
		for (start = queue_now(); queue_now() < start + 5 * QUEUE_MILLISECOND;)
			(void)sched_yield();
		start = queue_now();
		if (queue_token_feed_take(feed, 1) != 0)
			continue;
		cr_assert_eq(queue_token_feed_take_until(feed, 1, QUEUE_NEVER), 0);
		took = queue_now() - start;
		best = took < best ? took : best;
	}
	/* By itself it would have looked again within 50 ms of when it began to sleep. */
	cr_assert_lt(best, 20 * QUEUE_MILLISECOND);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

Test(token_feed, destroy_does_not_wait_for_the_next_token, .timeout = 60)
{
	struct queue_token_feed_options options = {.tokens = 1, .period = DAY};
	struct queue_token_feed *feed;
	uint64_t start;

	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	cr_assert_eq(queue_token_feed_take(feed, 1), 0);
	start = queue_now();
	cr_assert_eq(queue_token_feed_take_until(feed, 1, start), -ETIMEDOUT);
	cr_assert_eq(queue_token_feed_take_until(feed, 1, queue_after_ms(2)), -ETIMEDOUT);
	cr_assert_geq(queue_now() - start, 2 * QUEUE_MILLISECOND);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
	cr_assert_lt(queue_now() - start, 10 * QUEUE_SECOND);
}

static struct queue_token_feed *waited_for;
static int destroyed_while_waiting;

static uint64_t
destroying_clock(void *context)
{
	uint64_t *now = context;

	if (waited_for)
		destroyed_while_waiting = queue_token_feed_destroy(waited_for);
	return *now += 10;
}

Test(token_feed, is_not_destroyed_while_somebody_waits_inside)
{
	uint64_t now = 0;
	struct queue_token_feed_options options = {.tokens = 1,
						   .flags = QUEUE_FEED_MANUAL,
						   .clock = destroying_clock,
						   .context = &now};
	struct queue_token_feed *feed;

	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	cr_assert_eq(queue_token_feed_take(feed, 1), 0);
	waited_for = feed;
	cr_assert_eq(queue_token_feed_take_until(feed, 1, 25), -ETIMEDOUT);
	cr_assert_eq(now, 30, "the deadline is by the feed's clock");
	waited_for = NULL;
	cr_assert_eq(destroyed_while_waiting, -EBUSY);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

static struct queue_token_feed *shared_feed;
static pid_t takers[3];

static void *
take_one(void *argument)
{
	__atomic_store_n((pid_t *)argument, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
	return queue_token_feed_take_until(shared_feed, 1, QUEUE_NEVER) == 0 ? NULL : argument;
}

/* Three tokens at once for three who wait: none is left behind for the next one. */
Test(token_feed, tokens_that_come_at_once_wake_all_who_can_have_them, .timeout = 60)
{
	uint64_t now = queue_now();
	pthread_t threads[3];
	void *failed;

	shared_feed = manual_feed(1, QUEUE_SECOND, 4);
	cr_assert_eq(queue_token_feed_take(shared_feed, 4), 0);
	cr_assert_eq(queue_token_feed_advance(shared_feed, now), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, take_one, &takers[i]), 0);
	for (int i = 0; i < 3; i++)
		while (!__atomic_load_n(&takers[i], __ATOMIC_ACQUIRE) ||
		       !fault_is_asleep(__atomic_load_n(&takers[i], __ATOMIC_ACQUIRE)))
			(void)sched_yield();
	cr_assert_eq(
		queue_token_feed_advance(shared_feed, now + 3 * QUEUE_SECOND + QUEUE_SECOND / 2),
		0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(pthread_join(threads[i], &failed), 0);
		cr_assert_null(failed);
	}
	cr_assert_eq(queue_token_feed_available_approx(shared_feed), 0);
	cr_assert_eq(queue_token_feed_destroy(shared_feed), 0);
}
