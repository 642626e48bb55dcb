/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clocks that jump, back and ahead, by years and to the ends of what 64 bits hold, and deadlines out
 * there. What is computed is right or cut off at an end, nothing overflows (which the build with
 * sanitizers would say), and nobody waits for ever.
 */
#include "fault.h"
#include "waits.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

#define YEAR (UINT64_C(365) * 86400 * QUEUE_SECOND)
#define START (3 * YEAR)
#define FAR_FUTURE ((uint64_t)INT64_MAX)

static const uint64_t times[] = {
	0,
	1,
	START - YEAR,
	START - 1,
	START,
	START + 1,
	START + QUEUE_SECOND,
	START + 100 * YEAR,
	FAR_FUTURE - 1,
	FAR_FUTURE,
	FAR_FUTURE + 1,
	FAR_FUTURE + START,
	UINT64_MAX - QUEUE_SECOND,
	UINT64_MAX - 1,
	UINT64_MAX,
};

#define FOR_ALL_JUMPS(from, to)                                                                    \
	for (size_t from##_i = 0; from##_i < COUNT(times); from##_i++)                             \
		for (size_t to##_i = 0; to##_i < COUNT(times); to##_i++)                           \
			if (set_jump(&from, &to, times[from##_i], times[to##_i]))

static uint64_t now;
static uint32_t reads;

static bool
set_jump(uint64_t *from, uint64_t *to, uint64_t a, uint64_t b)
{
	*from = a;
	*to = b;
	queue_impl_store_rel(&now, a);
	return true;
}

static void
jump(uint64_t to)
{
	queue_impl_store_rel(&now, to);
}

static uint64_t
driven(void *context)
{
	(void)context;
	(void)queue_impl_fetch_add32_acq_rel(&reads, 1);
	return queue_impl_load_acq(&now);
}

static uint32_t expired;

static void
note_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)context;
	expired += reason == QUEUE_EXPIRED;
}

static uint64_t
item_is_deadline(const void *item)
{
	return *(const uint64_t *)item;
}

static struct queue_bounded *
make_queue(uint64_t capacity, bool expires)
{
	struct queue_options options = {
		.capacity = capacity, .on_drop = note_drop, .clock = driven};
	struct queue_bounded *queue;

	if (expires)
		options.deadline_of = item_is_deadline;
	expired = 0;
	cr_assert_eq(queue_create(&queue, &options), 0);
	return queue;
}

/* ---- Figures and expiry ----------------------------------------------------------------------- */

Test(clock, that_jumps_makes_sojourn_times_right_or_none, .timeout = 60)
{
	uint64_t from, to;
	void *item;

	FOR_ALL_JUMPS(from, to)
	{
		struct queue_bounded *queue = make_queue(2, false);
		uint64_t expected = to > from ? to - from : 0;
		struct queue_stats stats;

		cr_assert_eq(queue_push(queue, NULL), 0);
		jump(to);
		cr_assert_eq(queue_pop(queue, &item), 0);
		/* And back, and ahead again. */
		for (int i = 0; i < 40; i++) {
			jump(i % 2 ? to : from);
			cr_assert_eq(queue_push(queue, NULL), 0);
			cr_assert_eq(queue_pop(queue, &item), 0);
		}
		cr_assert_eq(queue_stats(queue, &stats), 0);
		cr_assert_geq(stats.sojourn_samples, 1);
		cr_assert_eq(stats.sojourn_max, expected, "%d to %d", (int)from_i, (int)to_i);
		cr_assert_leq(stats.sojourn_p99, expected);
		cr_assert_leq(stats.sojourn_p50, stats.sojourn_p90);
		cr_assert_leq(stats.sojourn_p90, stats.sojourn_p99);
		cr_assert_eq(queue_destroy(queue), 0);
	}
}

Test(clock, that_jumps_expires_what_is_due_by_where_it_is_and_nothing_else, .timeout = 60)
{
	uint64_t from, to;

	FOR_ALL_JUMPS(from, to)
	{
		for (size_t i = 0; i < COUNT(times); i++) {
			struct queue_bounded *queue = make_queue(1, true);
			uint64_t deadline = times[i];
			bool late = deadline != 0 && deadline <= to;
			void *item = NULL;

			cr_assert_eq(queue_push(queue, &deadline), 0);
			jump(to);
			cr_assert_eq(queue_try_pop(queue, &item), late ? -EAGAIN : 0);
			cr_assert_eq(expired, late);
			cr_assert(late || item == &deadline);
			jump(from);
			cr_assert_eq(queue_destroy(queue), 0);
		}
	}
}

/* ---- Waiting ---------------------------------------------------------------------------------- */

/* Pops, pushes or takes by the driven clock, in a thread. */
static struct driven_wait {
	const char *name;
	int (*wait)(uint64_t deadline);
	void (*satisfy)(void);
} driven_waits[3];

static struct queue_bounded *waited_for;
static struct queue_token_feed *feed;

static int
pop_until(uint64_t deadline)
{
	void *item;

	return queue_pop_until(waited_for, &item, deadline);
}

static int
push_until(uint64_t deadline)
{
	return queue_push_until(waited_for, NULL, deadline);
}

static int
take_until(uint64_t deadline)
{
	return queue_token_feed_take_until(feed, 1, deadline);
}

static void
push_one(void)
{
	cr_assert_eq(queue_push(waited_for, NULL), 0);
}

static void
pop_one(void)
{
	void *item;

	cr_assert_eq(queue_try_pop(waited_for, &item), 0);
}

static void
bring_token(void)
{
	cr_assert_eq(queue_token_feed_advance(feed, 1 + QUEUE_SECOND), 0);
}

static void
prepare_waits(void)
{
	driven_waits[0] = (struct driven_wait){"queue_pop_until", pop_until, push_one};
	driven_waits[1] = (struct driven_wait){"queue_push_until", push_until, pop_one};
	driven_waits[2] =
		(struct driven_wait){"queue_token_feed_take_until", take_until, bring_token};
}

static void
make_waited_for(int number)
{
	struct queue_token_feed_options options = {
		.tokens = 1, .flags = QUEUE_FEED_MANUAL, .clock = driven};

	waited_for = make_queue(1, false);
	if (number == 1)
		cr_assert_eq(queue_push(waited_for, NULL), 0);
	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	cr_assert_eq(queue_token_feed_take(feed, 1), 0);
	cr_assert_eq(queue_token_feed_advance(feed, 1), 0);
}

static void
end_waited_for(void)
{
	cr_assert_eq(queue_destroy(waited_for), 0);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

Test(clock, that_is_at_or_behind_the_deadline_makes_a_try_of_a_wait, .timeout = 60)
{
	uint64_t at, deadline;

	prepare_waits();
	for (int number = 0; number < 3; number++) {
		make_waited_for(number);
		FOR_ALL_JUMPS(at, deadline)
		{
			if (deadline <= at && deadline != QUEUE_NEVER)
				cr_assert_eq(driven_waits[number].wait(deadline), -ETIMEDOUT, "%s",
					     driven_waits[number].name);
		}
		end_waited_for();
	}
}

struct thread {
	pthread_t id;
	const struct driven_wait *kind;
	uint64_t deadline;
	uint32_t has_returned;
	int rc;
};

static void *
wait_in_thread(void *argument)
{
	struct thread *thread = argument;

	thread->rc = thread->kind->wait(thread->deadline);
	queue_impl_store32_rel(&thread->has_returned, 1);
	return NULL;
}

/*
 * While it waits the clock goes through everything before its deadline, back and ahead. Then it jumps
 * to the deadline, or behind it; or what is waited for comes.
 */
static void
wait_through_jumps(int number, uint64_t deadline, uint64_t end)
{
	struct thread thread = {.kind = &driven_waits[number], .deadline = deadline};

	make_waited_for(number);
	jump(0);
	cr_assert_eq(pthread_create(&thread.id, NULL, wait_in_thread, &thread), 0);
	for (size_t i = 0; i < 2 * COUNT(times); i++) {
		size_t place = i < COUNT(times) ? i : 2 * COUNT(times) - 1 - i;

		if (times[place] >= deadline)
			continue;
		jump(times[place]);
		usleep(200);
		cr_assert_not(queue_impl_load32_acq(&thread.has_returned));
	}
	if (end >= deadline && deadline != QUEUE_NEVER)
		jump(end);
	else
		driven_waits[number].satisfy();
	cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&thread.has_returned)), "%s",
		  driven_waits[number].name);
	cr_assert_eq(pthread_join(thread.id, NULL), 0);
	cr_assert_eq(thread.rc, end >= deadline && deadline != QUEUE_NEVER ? -ETIMEDOUT : 0, "%s",
		     driven_waits[number].name);
	end_waited_for();
}

Test(clock, that_jumps_neither_ends_a_wait_early_nor_keeps_it_for_ever, .timeout = 60)
{
	static const uint64_t deadlines[] = {START,	     START + 100 * YEAR, FAR_FUTURE,
					     FAR_FUTURE + 1, UINT64_MAX - 1,	 QUEUE_NEVER};

	prepare_waits();
	for (int number = 0; number < 3; number++) {
		for (size_t i = 0; i < COUNT(deadlines); i++) {
			wait_through_jumps(number, deadlines[i], deadlines[i]);
			wait_through_jumps(number, deadlines[i], UINT64_MAX);
			wait_through_jumps(number, deadlines[i], 0);
		}
	}
}

/* By the system's clock: deadlines at the far end of time are slept for, and not taken for the past. */
Test(clock, that_is_the_systems_serves_the_farthest_deadlines, .timeout = 60)
{
	static const uint64_t deadlines[] = {FAR_FUTURE - 1, FAR_FUTURE,     FAR_FUTURE + 1,
					     UINT64_MAX / 2, UINT64_MAX - 1, QUEUE_NEVER};
	static const uint64_t past[] = {0, 1, QUEUE_SECOND / 1000};

	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];
		struct waiter waiter;

		if (!kind->has_deadline)
			continue;
		for (size_t d = 0; d < COUNT(deadlines); d++) {
			kind->prepare();
			cr_assert(waiter_start(&waiter, kind, deadlines[d]), "%s: %d", kind->name,
				  (int)d);
			kind->satisfy();
			cr_assert(waiter_returns(&waiter), "%s: %d", kind->name, (int)d);
			cr_assert_eq(waiter_join(&waiter), 0, "%s: %d", kind->name, (int)d);
			cr_assert_eq(kind->end(), 0, "%s: %d", kind->name, (int)d);
		}
		for (size_t d = 0; d < COUNT(past); d++) {
			kind->prepare();
			cr_assert_eq(kind->wait(past[d]), -ETIMEDOUT, "%s: %d", kind->name, (int)d);
			cr_assert_eq(kind->end(), 0, "%s: %d", kind->name, (int)d);
		}
	}
}

/* ---- Buckets ---------------------------------------------------------------------------------- */

__extension__ typedef unsigned __int128 wide;

static const struct {
	uint64_t tokens, period, burst;
} rates[] = {
	{1, 1, 1},
	{1, QUEUE_SECOND, 10},
	{1 << 30, 1, QUEUE_BURST_MAX},
	{999999937, QUEUE_SECOND, QUEUE_BURST_MAX},
	{1, UINT64_C(1) << 61, QUEUE_BURST_MAX},
	{7, 3 * QUEUE_SECOND, 5},
	{(1 << 30) - 1, UINT64_C(1) << 61, 3},
};

/* How many have come since all were taken at `from`. */
static uint64_t
come(size_t rate, uint64_t from, uint64_t to)
{
	wide tokens = to > from ? (wide)(to - from) * rates[rate].tokens / rates[rate].period : 0;

	return tokens < rates[rate].burst ? (uint64_t)tokens : rates[rate].burst;
}

Test(clock, that_jumps_makes_a_bucket_no_token_more_and_none_less, .timeout = 60)
{
	for (size_t rate = 0; rate < COUNT(rates); rate++) {
		struct queue_bucket_options options = {.tokens = rates[rate].tokens,
						       .period = rates[rate].period,
						       .burst = rates[rate].burst,
						       .clock = driven};
		uint64_t from, to;

		FOR_ALL_JUMPS(from, to)
		{
			uint64_t there = come(rate, from, to), when;
			struct queue_bucket bucket;

			cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
			cr_assert_eq(queue_bucket_take(&bucket, options.burst), 0);
			cr_assert_eq(queue_bucket_take(&bucket, 1), -EAGAIN);
			jump(to);
			cr_assert_eq(queue_bucket_available_approx(&bucket, to), there,
				     "rate %d, %d to %d", (int)rate, (int)from_i, (int)to_i);
			if (there < options.burst)
				cr_assert_eq(queue_bucket_take(&bucket, there + 1), -EAGAIN);
			when = queue_bucket_when(&bucket, options.burst, to);
			cr_assert_geq(when, to);
			if (there == options.burst)
				cr_assert_eq(when, to);
			cr_assert_eq(queue_bucket_take(&bucket, there), 0);
			cr_assert_eq(queue_bucket_available_approx(&bucket, to), 0);
			/* Back again: what was taken there is not here. */
			jump(from);
			cr_assert_eq(queue_bucket_take(&bucket, 1), -EAGAIN);
			cr_assert_eq(queue_bucket_refund(&bucket, UINT64_MAX), 0);
			cr_assert_leq(queue_bucket_available_approx(&bucket, UINT64_MAX),
				      options.burst);
		}
	}
}

Test(clock, that_jumps_across_a_change_of_rate_makes_no_tokens, .timeout = 60)
{
	for (size_t rate = 0; rate < COUNT(rates); rate++) {
		struct queue_bucket_options options = {.tokens = rates[rate].tokens,
						       .period = rates[rate].period,
						       .burst = rates[rate].burst,
						       .clock = driven};
		uint64_t from, to;

		FOR_ALL_JUMPS(from, to)
		{
			size_t next = (rate + from_i + to_i) % COUNT(rates);
			struct queue_bucket_options changed = {.tokens = rates[next].tokens,
							       .period = rates[next].period,
							       .burst = rates[next].burst};
			uint64_t there = come(rate, from, to);
			struct queue_bucket bucket;

			if (there > changed.burst)
				there = changed.burst;
			cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
			cr_assert_eq(queue_bucket_take(&bucket, options.burst), 0);
			jump(to);
			cr_assert_eq(queue_bucket_set(&bucket, &changed), 0);
			/* Whole tokens stay, when the clock is not behind that of the take. */
			if (to >= from)
				cr_assert_eq(queue_bucket_available_approx(&bucket, to), there,
					     "rate %d to %d, %d to %d", (int)rate, (int)next,
					     (int)from_i, (int)to_i);
			else
				cr_assert_eq(queue_bucket_available_approx(&bucket, to), 0);
			cr_assert_leq(queue_bucket_available_approx(&bucket, UINT64_MAX),
				      changed.burst);
		}
	}
}

/* With the present as its deadline it takes what is there, or gives up. */
Test(clock, that_jumps_lets_no_take_wait_for_ever, .timeout = 60)
{
	uint64_t from, to;

	FOR_ALL_JUMPS(from, to)
	{
		struct queue_bucket_options options = {
			.tokens = 1, .period = QUEUE_SECOND, .burst = 1, .clock = driven};
		struct queue_bucket bucket;

		cr_assert_eq(queue_bucket_init(&bucket, &options), 0);
		cr_assert_eq(queue_bucket_take(&bucket, 1), 0);
		jump(to);
		cr_assert_eq(queue_bucket_take_until(&bucket, 1, to),
			     to > from && to - from >= QUEUE_SECOND ? 0 : -ETIMEDOUT);
	}
}

/* ---- Feeds ------------------------------------------------------------------------------------ */

Test(clock, that_jumps_makes_a_feed_no_more_than_it_holds_and_it_goes_on, .timeout = 60)
{
	for (size_t rate = 0; rate < COUNT(rates); rate++) {
		struct queue_token_feed_options options = {.tokens = rates[rate].tokens,
							   .period = rates[rate].period,
							   .flags = QUEUE_FEED_MANUAL};
		uint64_t from, to;

		options.burst = rates[rate].burst < 100 ? rates[rate].burst : 100;
		FOR_ALL_JUMPS(from, to)
		{
			struct queue_token_feed *fed;
			uint64_t due = come(rate, from, to);

			if (from == QUEUE_NEVER)
				continue; /* that is not a time to begin at */
			if (due > options.burst)
				due = options.burst;
			cr_assert_eq(queue_token_feed_create(&fed, &options), 0);
			cr_assert_eq(queue_token_feed_take(fed, options.burst), 0);
			cr_assert_eq(queue_token_feed_advance(fed, from), 0);
			cr_assert_eq(queue_token_feed_available_approx(fed), 0);
			cr_assert_eq(queue_token_feed_advance(fed, to), 0);
			cr_assert_eq(queue_token_feed_available_approx(fed), due,
				     "rate %d, %d to %d", (int)rate, (int)from_i, (int)to_i);
			cr_assert_eq(queue_token_feed_advance(fed, from), 0);
			cr_assert_eq(queue_token_feed_available_approx(fed), due);
			cr_assert_eq(queue_token_feed_destroy(fed), 0);
		}
	}
}

/* Its thread reads the clock once a millisecond, wherever it is. */
Test(clock, that_jumps_is_followed_by_a_feeds_thread, .timeout = 60)
{
	struct queue_token_feed_options options = {.tokens = 1, .burst = 3, .clock = driven};
	uint64_t from, to;
	uint32_t before;

	FOR_ALL_JUMPS(from, to)
	{
		if (from_i % 3 || to_i % 3)
			continue;
		jump(from);
		cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
		cr_assert_eq(queue_token_feed_take(feed, 3), 0);
		/* It counts from the first time that it reads the clock afterwards. */
		before = queue_impl_load32_acq(&reads);
		cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&reads) - before >= 2));
		cr_assert_eq(queue_token_feed_available_approx(feed), 0);
		jump(to);
		if (to > from && to - from >= 3 * QUEUE_SECOND)
			cr_assert_eq(queue_token_feed_take_until(feed, 3, QUEUE_NEVER), 0);
		else if (to <= from)
			cr_assert_eq(queue_token_feed_take(feed, 1), -EAGAIN);
		cr_assert_eq(queue_token_feed_destroy(feed), 0);
	}
}
