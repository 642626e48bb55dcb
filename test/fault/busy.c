/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ending objects that somebody waits in, which is refused and changes nothing, and objects with
 * something left inside, which is handed over once.
 */
#include "fault.h"
#include "waits.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

#define SLEEPERS 3
#define MOST 64 /* items */

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- Somebody waits --------------------------------------------------------------------------- */

static bool
has_returned(const struct waiter *waiter)
{
	return queue_impl_load32_acq(&waiter->has_returned) != 0;
}

Test(busy, objects_with_a_sleeper_are_not_ended_and_work_as_before, .timeout = 60)
{
	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];
		struct waiter waiter;

		if (!kind->is_busy)
			continue;
		kind->prepare();
		cr_assert(waiter_start(&waiter, kind, QUEUE_NEVER), "%s", kind->name);
		for (int n = 0; n < 3; n++)
			cr_assert_eq(kind->end(), -EBUSY, "%s", kind->name);
		cr_assert_not(has_returned(&waiter), "%s", kind->name);
		cr_assert_eq(wait_dropped + wait_released, 0, "%s", kind->name);
		kind->satisfy();
		cr_assert(waiter_returns(&waiter), "%s", kind->name);
		cr_assert_eq(waiter_join(&waiter), 0, "%s", kind->name);
		cr_assert_eq(kind->end(), 0, "%s", kind->name);
	}
}

static void
expect_closed(struct waiter *waiter)
{
	cr_assert(waiter_returns(waiter), "%s", waiter->kind->name);
	cr_assert_eq(waiter_join(waiter), waiter->kind->closed, "%s", waiter->kind->name);
}

/*
 * As the manual has it: close, then destroy until it is done; threads need not be joined before.
 * Those of a log have to: it is ended when they have returned.
 */
Test(busy, objects_are_ended_when_the_last_sleeper_has_left, .timeout = 60)
{
	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];
		struct waiter waiters[SLEEPERS];
		int n = kind->is_single ? 1 : SLEEPERS, rc = -EBUSY, w;

		if (!kind->close)
			continue;
		kind->prepare();
		for (w = 0; w < n; w++)
			cr_assert(waiter_start(&waiters[w], kind, QUEUE_NEVER), "%s", kind->name);
		cr_assert_eq(kind->end(), -EBUSY, "%s", kind->name);
		kind->close();
		for (w = 0; w < n && kind->is_kept_apart; w++)
			expect_closed(&waiters[w]);
		for (uint64_t end = queue_after_ms(10000); rc == -EBUSY && queue_now() < end;)
			rc = kind->end();
		cr_assert_eq(rc, 0, "%s", kind->name);
		for (w = 0; w < n && !kind->is_kept_apart; w++)
			expect_closed(&waiters[w]);
	}
}

static struct queue_token_feed *feed;

static void *
take_one(void *unused)
{
	(void)unused;
	return (void *)(intptr_t)queue_token_feed_take_until(feed, 1, queue_after_ms(20));
}

Test(busy, a_feed_is_ended_when_its_last_sleeper_has_given_up, .timeout = 60)
{
	struct queue_token_feed_options options = {.tokens = 1, .period = 3600 * QUEUE_SECOND};
	pthread_t threads[SLEEPERS];
	void *rc;

	cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
	cr_assert_eq(queue_token_feed_take(feed, 1), 0);
	for (int i = 0; i < SLEEPERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, take_one, NULL), 0);
	for (int i = 0; i < SLEEPERS; i++) {
		cr_assert_eq(pthread_join(threads[i], &rc), 0);
		cr_assert_eq((intptr_t)rc, -ETIMEDOUT);
	}
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

/* ---- Something is left ------------------------------------------------------------------------ */

static uint32_t dropped[MOST];
static int order;
static enum queue_reason expected;

static void
note_drop(void *item, enum queue_reason reason, void *context)
{
	uintptr_t number = (uintptr_t)item;

	(void)context;
	cr_assert_lt(number, (uintptr_t)MOST);
	if (reason == expected) {
		cr_assert_eq((int)number, order++, "oldest first");
		dropped[number]++;
	}
}

static void
run(void *item, void *context)
{
	(void)item, (void)context;
}

/* Items 0 to n - 1, in slots from `first` on. */
static void
fill(struct queue_bounded *queue, uint64_t first, uint64_t n)
{
	void *item;

	for (; first > 0; first--) {
		cr_assert_eq(queue_push(queue, NULL), 0);
		cr_assert_eq(queue_pop(queue, &item), 0);
	}
	for (uint64_t i = 0; i < n; i++)
		cr_assert_eq(queue_push(queue, (void *)(uintptr_t)i), 0);
	memset(dropped, 0, sizeof dropped);
	order = 0;
	expected = QUEUE_DESTROYED;
}

static void
expect_each_dropped_once(uint64_t n)
{
	for (uint64_t i = 0; i < MOST; i++)
		cr_assert_eq(dropped[i], i < n, "item %d of %d", (int)i, (int)n);
}

static const uint64_t capacities[] = {1, 2, 7, MOST};

#define FOR_ALL_QUEUES(options)                                                                    \
	for (unsigned flags = 0; flags < 4; flags++)                                               \
		for (int policy = QUEUE_ABORT; policy <= QUEUE_DISCARD_OLDEST; policy++)           \
			for (size_t c = 0; c < COUNT(capacities); c++)                             \
				if (set_options(options, flags, policy, capacities[c]))

static bool
set_options(struct queue_options *options, unsigned flags, int policy, uint64_t capacity)
{
	memset(options, 0, sizeof *options);
	options->flags = flags;
	options->policy = (enum queue_policy)policy;
	options->capacity = capacity;
	options->on_drop = note_drop;
	options->run = run;
	return policy != QUEUE_DISCARD_OLDEST || !(flags & QUEUE_SINGLE_CONSUMER);
}

Test(leftovers, of_a_queue_go_to_on_drop_once_by_destroy_and_by_fini, .timeout = 60)
{
	static _Alignas(QUEUE_RING_ALIGNMENT) char memory[16384];
	struct queue_bounded *const own = (struct queue_bounded *)(void *)memory;
	struct queue_options options;
	struct queue_bounded *queue;

	FOR_ALL_QUEUES(&options)
	{
		for (uint64_t n = 0; n <= options.capacity; n += n < 8 ? 1 : 28) {
			cr_assert_eq(queue_create(&queue, &options), 0);
			fill(queue, n, n);
			cr_assert_eq(queue_destroy(queue), 0);
			expect_each_dropped_once(n);

			cr_assert_eq(queue_init(own, sizeof memory, &options), 0);
			fill(own, 2 * n, n);
			cr_assert_eq(queue_close(own), 0);
			cr_assert_eq(queue_fini(own), 0);
			expect_each_dropped_once(n);
		}
	}
}

Test(leftovers, of_a_queue_without_on_drop_keep_it_from_being_ended)
{
	struct queue_options options = {.capacity = 3};
	struct queue_bounded *queue;
	void *item;

	for (unsigned flags = 0; flags < 4; flags++) {
		options.flags = flags;
		cr_assert_eq(queue_create(&queue, &options), 0);
		fill(queue, 2, 3);
		for (uintptr_t i = 0; i < 3; i++) {
			cr_assert_eq(queue_destroy(queue), -EBUSY);
			cr_assert_eq(queue_pop(queue, &item), 0);
			cr_assert_eq((uintptr_t)item, i);
		}
		/* Neither has it been closed. */
		cr_assert_eq(queue_push(queue, NULL), 0);
		cr_assert_eq(queue_pop(queue, &item), 0);
		cr_assert_eq(queue_destroy(queue), 0);
	}
}

struct progress {
	uint32_t has_begun, may_go;
};

static int
wait_to_be_discarded(void *item, void *context)
{
	struct progress *const progress = context;

	(void)item;
	queue_impl_store32_rel(&progress->has_begun, 1);
	while (!queue_impl_load32_acq(&progress->may_go))
		usleep(100);
	return 0;
}

/* One item is with its worker, which finishes it; the others are dropped, once. */
Test(leftovers, of_a_pool_that_discards_go_to_on_drop_once, .timeout = 60)
{
	for (int batch = 1; batch <= 4; batch++) {
		struct queue_options options = {.capacity = MOST, .on_drop = note_drop};
		struct queue_pool_options workers = {.handler = wait_to_be_discarded,
						     .batch = batch};
		struct queue_pool_stats stats;
		struct queue_pool *pool;
		struct progress progress = {0, 0};
		uint32_t sum = 0;

		/* The single consumer's worker drops them itself: in order, behind its batch. */
		options.flags = QUEUE_SINGLE_CONSUMER;
		cr_assert_eq(queue_create(&workers.queue, &options), 0);
		fill(workers.queue, 3, MOST);
		expected = QUEUE_STOPPED;
		order = 1;
		workers.context = &progress;
		cr_assert_eq(queue_pool_create(&pool, &workers), 0);
		cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&progress.has_begun)));
		cr_assert_eq(queue_depth_approx(workers.queue), MOST - (uint64_t)batch);
		cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DISCARD, 0), -ETIMEDOUT);
		queue_impl_store32_rel(&progress.may_go, 1);
		cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DISCARD, QUEUE_NEVER), 0);
		cr_assert_eq(queue_pool_stats(pool, &stats), 0);
		cr_assert_eq(queue_pool_destroy(pool), 0);
		cr_assert_eq(queue_destroy(workers.queue), 0);
		for (int i = 0; i < MOST; i++)
			sum += dropped[i];
		cr_assert_eq(stats.handled, 1);
		cr_assert_eq(sum, MOST - 1);
		cr_assert_eq(dropped[0], 0);
	}
}

#define SUBSCRIPTIONS 4

static uint32_t told[SUBSCRIPTIONS][MOST], released[MOST], ended[SUBSCRIPTIONS];
static struct queue_message messages[MOST];

static void
note_message_drop(struct queue_message *message, enum queue_reason reason, void *context)
{
	long number = message - messages;

	if (reason == QUEUE_DESTROYED)
		told[(uintptr_t)context][number]++;
	cr_assert_eq(released[number], 0, "it is told before it is released");
}

static void
note_end(void *context)
{
	ended[(uintptr_t)context]++;
}

static void
note_release(struct queue_message *message, void *context)
{
	(void)context;
	released[message - messages]++;
}

/* Subscription s has popped the first s of them. */
static void
expect_told(int s, uint64_t n)
{
	for (uint64_t i = 0; i < MOST; i++)
		cr_assert_eq(told[s][i], i >= (uint64_t)s && i < n, "%d: %d of %d", s, (int)i,
			     (int)n);
	cr_assert_eq(ended[s], 1);
}

/* by_topic: of so many that are left, the others have been unsubscribed before. */
static void
leave_messages(uint64_t n, int by_topic, enum queue_policy policy)
{
	struct queue_subscription_options options = {.capacity = MOST,
						     .policy = policy,
						     .on_drop = note_message_drop,
						     .on_end = note_end};
	struct queue_subscription *subscriptions[SUBSCRIPTIONS];
	struct queue_topic *topic;
	struct queue_message *got = NULL;

	memset(told, 0, sizeof told);
	memset(released, 0, sizeof released);
	memset(ended, 0, sizeof ended);
	cr_assert_eq(queue_topic_create(&topic, NULL), 0);
	for (uintptr_t s = 0; s < SUBSCRIPTIONS; s++) {
		options.context = (void *)s;
		cr_assert_eq(queue_topic_subscribe(topic, &options, &subscriptions[s]), 0);
	}
	for (uint64_t i = 0; i < n; i++) {
		queue_message_init(&messages[i], note_release, NULL);
		cr_assert_eq(queue_topic_publish(topic, &messages[i], 0), SUBSCRIPTIONS);
	}
	for (int s = 0; s < SUBSCRIPTIONS; s++) {
		for (int i = 0; i < s && i < (int)n; i++) {
			cr_assert_eq(queue_topic_try_pop(subscriptions[s], &got), 0);
			queue_message_release(got);
		}
	}
	for (int s = by_topic; s < SUBSCRIPTIONS; s++) {
		cr_assert_eq(queue_topic_unsubscribe(subscriptions[s]), 0);
		expect_told(s, n);
	}
	cr_assert_eq(queue_topic_destroy(topic), 0);
	for (int s = 0; s < SUBSCRIPTIONS; s++)
		expect_told(s, n);
	for (uint64_t i = 0; i < MOST; i++)
		cr_assert_eq(released[i], i < n);
}

Test(leftovers, of_a_topic_are_told_once_to_each_subscription_and_released_once, .timeout = 60)
{
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_BLOCK, QUEUE_DISCARD,
						     QUEUE_DISCARD_OLDEST};
	static const uint64_t numbers[] = {0, 1, 2, SUBSCRIPTIONS, MOST};

	for (size_t p = 0; p < COUNT(policies); p++)
		for (size_t n = 0; n < COUNT(numbers); n++)
			for (int by_topic = 0; by_topic <= SUBSCRIPTIONS; by_topic++)
				leave_messages(numbers[n], by_topic, policies[p]);
}
