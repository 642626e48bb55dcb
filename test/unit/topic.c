/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The topic: the contract of conveyor/topic.h line by line. What waits is tested with a second
 * thread that is known to sleep.
 */
#include "unit.h"

#include <conveyor/impl/atomic.h>
#include <conveyor/pool.h>
#include <conveyor/topic.h>

#include "queue_impl.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEWS 64
#define SEEN_MAX 128
#define MANY 1000
#define PATIENCE 20000 /* milliseconds */

#define BIT(n) (UINT64_C(1) << (n))

/* For loops: Criterion makes every assertion that holds an event, which costs microseconds. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d)", #condition, __LINE__);                    \
	} while (0)

/* Waits for what another thread is about to do. */
#define EVENTUALLY(condition)                                                                      \
	do {                                                                                       \
		uint64_t give_up_at = queue_after_ms(PATIENCE);                                    \
		bool is_so;                                                                        \
                                                                                                   \
		while (!(is_so = (condition)) && queue_now() < give_up_at)                         \
			sched_yield();                                                             \
		if (!is_so)                                                                        \
			cr_assert(false, "%s (line %d)", #condition, __LINE__);                    \
	} while (0)

/* What is published. The message is not first, so that nobody takes one pointer for the other. */
struct news {
	int number;
	uint32_t released;
	uint32_t dropped;
	enum queue_reason reason; /* the last one on_drop was told */
	pthread_t released_by, dropped_by;
	struct queue_message message;
};

static struct news news[NEWS];

/* The topic, and what its callbacks have seen. */
static struct world {
	struct queue_topic *topic;
	int drops;
	int dropped[SEEN_MAX]; /* numbers, in order */
	int asked;
	int asked_about[SEEN_MAX];
	uint64_t asked_tags;
	void (*inside)(struct queue_message *message); /* called by the callbacks, or NULL */
	int answer;				       /* what a call made inside said */
	struct queue_subscription *subscription;
} world;

static struct news *
news_of(const struct queue_message *message)
{
	return (struct news *)((uintptr_t)message - offsetof(struct news, message));
}

static void
note_release(struct queue_message *message, void *context)
{
	struct news *item = context;

	cr_assert_eq(message, &item->message);
	item->released_by = pthread_self();
	(void)queue_impl_fetch_add32_acq_rel(&item->released, 1);
}

static void
note_drop(struct queue_message *message, enum queue_reason reason, void *context)
{
	struct news *item = news_of(message);

	EXPECT(context == &world);
	/* It is told before the reference is gone. */
	EXPECT(queue_impl_load32_acq(&item->released) == 0);
	EXPECT(world.drops < SEEN_MAX);
	world.dropped[world.drops++] = item->number;
	item->reason = reason;
	item->dropped_by = pthread_self();
	(void)queue_impl_fetch_add32_acq_rel(&item->dropped, 1);
	if (world.inside)
		world.inside(message);
}

static bool
accept_odd(const struct queue_message *message, void *context)
{
	const struct news *item = news_of(message);

	EXPECT(context == &world);
	EXPECT(item->released == 0);
	EXPECT(world.asked < SEEN_MAX);
	world.asked_about[world.asked++] = item->number;
	world.asked_tags = queue_message_tags(message);
	return item->number % 2 == 1;
}

/* A message that has not been published, the caller's. */
static struct queue_message *
fresh(int number)
{
	memset(&news[number], 0, sizeof news[number]);
	news[number].number = number;
	queue_message_init(&news[number].message, note_release, &news[number]);
	return &news[number].message;
}

static uint32_t
releases(int number)
{
	return queue_impl_load32_acq(&news[number].released);
}

static int
publish(int number, uint64_t tags)
{
	return queue_topic_publish(world.topic, fresh(number), tags);
}

static struct queue_delivery
publish_report(int number, uint64_t tags)
{
	struct queue_delivery delivery;
	int rc = queue_topic_publish_report(world.topic, fresh(number), tags, &delivery);

	EXPECT(rc >= 0);
	EXPECT((uint64_t)rc == delivery.taken);
	return delivery;
}

static void
expect_delivery(struct queue_delivery told, struct queue_delivery expected)
{
	cr_assert_eq(told.taken, expected.taken);
	cr_assert_eq(told.filtered, expected.filtered);
	cr_assert_eq(told.refused, expected.refused);
	cr_assert_eq(told.discarded, expected.discarded);
	cr_assert_eq(told.evicted, expected.evicted);
	cr_assert_eq(told.closed, expected.closed);
}

#define DELIVERY(...) ((struct queue_delivery){__VA_ARGS__})

static void
make_topic(void)
{
	EXPECT(queue_topic_create(&world.topic, NULL) == 0);
}

static struct queue_subscription_options
options_for(enum queue_policy policy, uint64_t capacity)
{
	return (struct queue_subscription_options){
		.capacity = capacity, .policy = policy, .on_drop = note_drop, .context = &world};
}

static struct queue_subscription *
subscribe_with(const struct queue_subscription_options *options)
{
	struct queue_subscription *subscription = NULL;
	int rc = queue_topic_subscribe(world.topic, options, &subscription);

	cr_assert_eq(rc, 0, "subscribe: %d", rc);
	cr_assert_not_null(subscription);
	return subscription;
}

static struct queue_subscription *
subscribe(enum queue_policy policy, uint64_t capacity)
{
	struct queue_subscription_options options = options_for(policy, capacity);

	return subscribe_with(&options);
}

/* Pops one and lets go of it: its number, or what pop said. */
static int
pop(struct queue_subscription *subscription)
{
	struct queue_message *message = NULL;
	int rc = queue_topic_try_pop(subscription, &message), number;

	if (rc != 0) {
		EXPECT(message == NULL);
		return rc;
	}
	number = news_of(message)->number;
	EXPECT(releases(number) == 0);
	queue_message_release(message);
	return number;
}

static struct queue_message *
take(struct queue_subscription *subscription)
{
	struct queue_message *message = NULL;

	cr_assert_eq(queue_topic_try_pop(subscription, &message), 0);
	cr_assert_not_null(message);
	return message;
}

static struct queue_subscription_stats
stats_of(const struct queue_subscription *subscription)
{
	struct queue_subscription_stats out;

	memset(&out, 0xff, sizeof out);
	EXPECT(queue_subscription_stats(subscription, &out) == 0);
	return out;
}

static struct queue_topic_stats
topic_stats(void)
{
	struct queue_topic_stats out;

	memset(&out, 0xff, sizeof out);
	EXPECT(queue_topic_stats(world.topic, &out) == 0);
	return out;
}

static void
end(struct queue_subscription *subscription)
{
	int rc = queue_topic_unsubscribe(subscription);

	cr_assert_eq(rc, 0, "unsubscribe: %d", rc);
}

/* Ends the topic; then every message that it was given has been released, once. */
static void
finish(void)
{
	int rc = queue_topic_destroy(world.topic), i;

	cr_assert_eq(rc, 0, "destroy: %d", rc);
	for (i = 0; i < NEWS; i++)
		if (news[i].message.release)
			cr_assert_eq(releases(i), 1, "message %d: %u", i, releases(i));
}

/*
 * Making topics and subscriptions.
 */

Test(topic, a_topic_needs_no_options_and_ends_without_having_been_used)
{
	struct queue_topic_options options = {.allocator = NULL};

	cr_assert_eq(queue_topic_create(&world.topic, NULL), 0);
	cr_assert_eq(topic_stats().subscriptions, 0);
	cr_assert_eq(topic_stats().retired, 0);
	cr_assert_eq(topic_stats().closed, 0);
	finish();
	cr_assert_eq(queue_topic_create(&world.topic, &options), 0);
	finish();
	cr_assert_eq(queue_topic_destroy(NULL), 0);
	cr_assert_eq(queue_topic_unsubscribe(NULL), 0);
}

static void *
refuse_to_allocate(void *context, size_t size, size_t alignment)
{
	(void)context, (void)size, (void)alignment;
	return NULL;
}

static void
refuse_to_release(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context, (void)memory, (void)size, (void)alignment;
	cr_assert(false, "there was nothing to release");
}

Test(topic, create_refuses_what_makes_no_sense)
{
	static const struct queue_allocator no_allocate = {NULL, refuse_to_release, NULL};
	static const struct queue_allocator no_release = {refuse_to_allocate, NULL, NULL};
	struct queue_topic_options options = {.allocator = &no_allocate};

	cr_assert_eq(queue_topic_create(&world.topic, &options), -EINVAL);
	options.allocator = &no_release;
	cr_assert_eq(queue_topic_create(&world.topic, &options), -EINVAL);
	cr_assert_eq(queue_topic_create(NULL, NULL), -EINVAL);
	cr_assert_null(world.topic);
}

Test(topic, subscribe_refuses_options_that_make_no_sense)
{
	struct queue_subscription *subscription = NULL;
	struct queue_subscription_options good = options_for(QUEUE_ABORT, 1), bad;

	make_topic();
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		cr_assert_eq(queue_topic_subscribe(world.topic, &bad, &subscription), -EINVAL,     \
			     #change);                                                             \
	} while (0)
	REFUSED(bad.capacity = 0);
	REFUSED(bad.capacity = (uint64_t)QUEUE_CAPACITY_MAX + 1);
	REFUSED(bad.capacity = UINT64_MAX);
	REFUSED(bad.policy = QUEUE_CALLER_RUNS);
	REFUSED(bad.policy = QUEUE_SPILL);
	REFUSED(bad.policy = (enum queue_policy)(QUEUE_SPILL + 1));
	REFUSED(bad.policy = (enum queue_policy)UINT32_MAX);
	REFUSED(bad.flags = QUEUE_SINGLE_PRODUCER);
	REFUSED(bad.flags = QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER);
	REFUSED(bad.flags = ~(unsigned)(QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER));
	REFUSED(bad.flags = 1u << 31);
	/* The publisher that evicts is a second consumer. */
	REFUSED(bad.policy = QUEUE_DISCARD_OLDEST; bad.flags = QUEUE_SINGLE_CONSUMER);
	cr_assert_eq(queue_topic_subscribe(world.topic, NULL, &subscription), -EINVAL);
	cr_assert_eq(queue_topic_subscribe(world.topic, &good, NULL), -EINVAL);
	cr_assert_null(subscription);
	cr_assert_eq(topic_stats().subscriptions, 0);
	finish();
}

Test(topic, subscribe_takes_each_policy_with_and_without_on_drop_and_single_consumer)
{
	static const struct {
		enum queue_policy policy;
		unsigned flags;
	} good[] = {
		{QUEUE_ABORT, 0},	   {QUEUE_ABORT, QUEUE_SINGLE_CONSUMER},
		{QUEUE_BLOCK, 0},	   {QUEUE_BLOCK, QUEUE_SINGLE_CONSUMER},
		{QUEUE_DISCARD, 0},	   {QUEUE_DISCARD, QUEUE_SINGLE_CONSUMER},
		{QUEUE_DISCARD_OLDEST, 0},
	};
	const int n = sizeof good / sizeof good[0];
	struct queue_subscription *subscription[2 * (sizeof good / sizeof good[0])];
	int i;

	make_topic();
	for (i = 0; i < 2 * n; i++) {
		struct queue_subscription_options options = {.capacity = (uint64_t)i + 1};

		options.policy = good[i / 2].policy;
		options.flags = good[i / 2].flags;
		if (i % 2) {
			options.on_drop = note_drop;
			options.context = &world;
		}
		subscription[i] = subscribe_with(&options);
		cr_assert_eq(topic_stats().subscriptions, (uint64_t)i + 1);
		cr_assert_eq(stats_of(subscription[i]).queue.capacity, (uint64_t)i + 1);
	}
	cr_assert_eq(publish(1, 0), 2 * n);
	for (i = 0; i < 2 * n; i++)
		cr_assert_eq(pop(subscription[i]), 1);
	cr_assert_eq(releases(1), 1);
	finish();
}

/*
 * Memory that runs out.
 */

struct counting {
	struct queue_allocator allocator;
	struct queue_topic_options options;
	int left; /* allocations until one fails; negative: none does */
	int64_t bytes;
	int64_t blocks;
};

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	struct counting *counting = context;

	if (counting->left == 0)
		return NULL;
	counting->left--;
	counting->bytes += (int64_t)size;
	counting->blocks++;
	return queue_allocator_libc.allocate(NULL, size, alignment);
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	struct counting *counting = context;

	counting->bytes -= (int64_t)size;
	counting->blocks--;
	queue_allocator_libc.release(NULL, memory, size, alignment);
}

static void
counting_init(struct counting *counting)
{
	memset(counting, 0, sizeof *counting);
	counting->allocator.allocate = counting_allocate;
	counting->allocator.release = counting_release;
	counting->allocator.context = counting;
	counting->options.allocator = &counting->allocator;
	counting->left = -1;
}

Test(topic, memory_that_runs_out_in_create_leaves_nothing)
{
	struct counting counting;
	int i, rc = -ENOMEM;

	for (i = 0; rc != 0; i++) {
		cr_assert_lt(i, 100, "create never succeeds");
		counting_init(&counting);
		counting.left = i;
		rc = queue_topic_create(&world.topic, &counting.options);
		if (rc == 0)
			break;
		cr_assert_eq(rc, -ENOMEM);
		cr_assert_null(world.topic);
		cr_assert_eq(counting.blocks, 0);
		cr_assert_eq(counting.bytes, 0);
	}
	cr_assert_gt(i, 0, "the allocator was not asked");
	finish();
	cr_assert_eq(counting.blocks, 0);
	cr_assert_eq(counting.bytes, 0);
}

Test(topic, memory_that_runs_out_in_subscribe_leaves_the_others_as_they_were)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *subscription[20] = {NULL};
	struct counting counting;
	int n, failed = 0;

	counting_init(&counting);
	cr_assert_eq(queue_topic_create(&world.topic, &counting.options), 0);
	for (n = 0; n < 20; n++) {
		int64_t blocks = counting.blocks, bytes = counting.bytes;
		int i, rc = -ENOMEM, taken;

		for (i = 0; rc != 0; i++) {
			EXPECT(i < 100);
			counting.left = i;
			rc = queue_topic_subscribe(world.topic, &options, &subscription[n]);
			counting.left = -1;
			if (rc == 0)
				break;
			EXPECT(rc == -ENOMEM);
			failed++;
			EXPECT(subscription[n] == NULL);
			EXPECT(counting.blocks == blocks);
			EXPECT(counting.bytes == bytes);
			EXPECT(topic_stats().subscriptions == (uint64_t)n);
			/* Those that are there get what is published. */
			EXPECT(publish(1, 0) == n);
			for (taken = 0; taken < n; taken++)
				EXPECT(pop(subscription[taken]) == 1);
			EXPECT(releases(1) == 1);
		}
	}
	cr_assert_geq(failed, 20);
	finish();
	cr_assert_eq(counting.blocks, 0);
	cr_assert_eq(counting.bytes, 0);
}

Test(topic, without_memory_everything_but_subscribe_works)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *subscription[9];
	struct counting counting;
	int n, i;

	counting_init(&counting);
	cr_assert_eq(queue_topic_create(&world.topic, &counting.options), 0);
	for (n = 0; n < 9; n++)
		subscription[n] = subscribe_with(&options);
	counting.left = 0;
	for (n = 0; n < 7; n++) {
		EXPECT(publish(n, 0) == 9 - n);
		end(subscription[n]);
		EXPECT(topic_stats().subscriptions == (uint64_t)(8 - n));
		for (i = n + 1; i < 9; i++)
			EXPECT(pop(subscription[i]) == n);
		EXPECT(releases(n) == 1);
	}
	cr_assert_eq(publish(8, 0), 2);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	finish();
	cr_assert_eq(counting.blocks, 0);
	cr_assert_eq(counting.bytes, 0);
}

Test(topic, what_could_not_be_unlisted_without_memory_is_so_by_the_next_try)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *first;
	struct counting counting;

	counting_init(&counting);
	cr_assert_eq(queue_topic_create(&world.topic, &counting.options), 0);
	first = subscribe_with(&options);
	(void)subscribe_with(&options);
	counting.left = 0;
	cr_assert_eq(queue_subscription_close(first), 0);
	expect_delivery(publish_report(1, 0), DELIVERY(.taken = 1, .closed = 1));
	counting.left = 100;
	end(first);
	expect_delivery(publish_report(2, 0), DELIVERY(.taken = 1));
	cr_assert_eq(topic_stats().retired, 0);
	finish();
	cr_assert_eq(counting.blocks, 0);
}

Test(topic, subscriptions_that_come_and_go_take_no_more_memory_than_those_that_stay)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 16);
	struct queue_subscription *stays;
	struct counting counting;
	int64_t most;
	int i;

	counting_init(&counting);
	cr_assert_eq(queue_topic_create(&world.topic, &counting.options), 0);
	stays = subscribe_with(&options);
	for (i = 0; i < 4; i++)
		end(subscribe_with(&options));
	most = counting.bytes;
	for (i = 0; i < MANY; i++) {
		struct queue_subscription *comes = subscribe_with(&options);

		EXPECT(publish(1, 0) == 2);
		EXPECT(pop(stays) == 1);
		EXPECT(pop(comes) == 1);
		end(comes);
		/* A few may be kept for a while, but not all of them. */
		EXPECT(counting.bytes <= most + 64 * 1024);
	}
	cr_assert_eq(topic_stats().subscriptions, 1);
	finish();
	cr_assert_eq(counting.blocks, 0);
	cr_assert_eq(counting.bytes, 0);
}

/*
 * Publishing and popping.
 */

Test(topic, what_nobody_wants_is_released_by_publish_before_it_returns)
{
	make_topic();
	cr_assert_eq(publish(1, 7), 0);
	cr_assert_eq(releases(1), 1);
	cr_assert(pthread_equal(news[1].released_by, pthread_self()));
	expect_delivery(publish_report(2, 0), DELIVERY(.taken = 0));
	cr_assert_eq(releases(2), 1);
	finish();
}

Test(topic, a_message_without_release_function_is_nobodys_to_free)
{
	struct queue_subscription *subscription;
	struct queue_message message;

	make_topic();
	queue_message_init(&message, NULL, NULL);
	cr_assert_eq(queue_topic_publish(world.topic, &message, 1), 0);
	queue_message_init(&message, NULL, NULL);
	subscription = subscribe(QUEUE_ABORT, 1);
	cr_assert_eq(queue_topic_publish(world.topic, &message, 1), 1);
	cr_assert_eq(take(subscription), &message);
	queue_message_release(&message);
	finish();
}

Test(topic, every_subscription_gets_the_same_message_and_the_last_to_let_go_releases_it)
{
	struct queue_subscription *subscription[3];
	struct queue_message *message;
	int i;

	make_topic();
	for (i = 0; i < 3; i++)
		subscription[i] = subscribe(QUEUE_ABORT, 4);
	cr_assert_eq(publish(5, 42), 3);
	message = &news[5].message;
	for (i = 0; i < 3; i++) {
		cr_assert_eq(take(subscription[i]), message);
		cr_assert_eq(queue_message_tags(message), 42);
	}
	queue_message_release(message);
	queue_message_release(message);
	cr_assert_eq(releases(5), 0);
	queue_message_release(message);
	cr_assert_eq(releases(5), 1);
	finish();
}

Test(topic, a_subscription_holds_exactly_its_capacity_and_gives_it_in_order)
{
	static const uint64_t capacities[] = {1, 2, 3, 7, 8, 9, 50};
	unsigned c;

	make_topic();
	for (c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
		struct queue_subscription *subscription = subscribe(QUEUE_ABORT, capacities[c]);
		int n = (int)capacities[c], i;

		for (i = 0; i < n; i++) {
			cr_assert_eq(stats_of(subscription).lag, (uint64_t)i);
			cr_assert_eq(publish(i, 0), 1);
		}
		cr_assert_eq(stats_of(subscription).lag, (uint64_t)n);
		cr_assert_eq(publish(n, 0), 0);
		cr_assert_eq(releases(n), 1);
		for (i = 0; i < n; i++)
			cr_assert_eq(pop(subscription), i);
		cr_assert_eq(pop(subscription), -EAGAIN);
		cr_assert_eq(stats_of(subscription).lag, 0);
		end(subscription);
	}
	finish();
}

Test(topic, every_kind_of_pop_gives_the_oldest_messages)
{
	struct queue_subscription *subscription;
	struct queue_message *some[8], *one = NULL;
	int i;

	make_topic();
	subscription = subscribe(QUEUE_ABORT, 20);
	cr_assert_eq(queue_topic_try_pop(subscription, &one), -EAGAIN);
	cr_assert_eq(queue_topic_pop_until(subscription, &one, 0), -ETIMEDOUT);
	cr_assert_eq(queue_topic_pop_until(subscription, &one, queue_now() + 1000), -ETIMEDOUT);
	cr_assert_eq(queue_topic_try_pop_n(subscription, some, 8), 0);
	cr_assert_eq(queue_topic_try_pop_n(subscription, some, 0), -EINVAL);
	cr_assert_eq(queue_topic_pop_n(subscription, some, 0), -EINVAL);
	cr_assert_null(one);
	for (i = 0; i < 12; i++)
		cr_assert_eq(publish(i, 0), 1);
	cr_assert_eq(queue_topic_pop(subscription, &one), 0);
	cr_assert_eq(one, &news[0].message);
	cr_assert_eq(queue_topic_try_pop(subscription, &one), 0);
	cr_assert_eq(one, &news[1].message);
	cr_assert_eq(queue_topic_pop_until(subscription, &one, QUEUE_NEVER), 0);
	cr_assert_eq(one, &news[2].message);
	cr_assert_eq(queue_topic_pop_n(subscription, some, 4), 4);
	cr_assert_eq(queue_topic_try_pop_n(subscription, some + 4, 4), 4);
	for (i = 0; i < 8; i++)
		cr_assert_eq(some[i], &news[3 + i].message);
	for (i = 0; i < 11; i++)
		queue_message_release(&news[i].message);
	cr_assert_eq(queue_topic_pop_n(subscription, some, 8), 1);
	queue_message_release(some[0]);
	finish();
}

Test(topic, a_subscription_gets_what_is_published_after_it_came_and_before_it_went)
{
	struct queue_subscription *early, *late;

	make_topic();
	cr_assert_eq(publish(0, 0), 0);
	early = subscribe(QUEUE_ABORT, 8);
	cr_assert_eq(publish(1, 0), 1);
	late = subscribe(QUEUE_ABORT, 8);
	cr_assert_eq(publish(2, 0), 2);
	cr_assert_eq(pop(early), 1);
	cr_assert_eq(releases(1), 1);
	end(early);
	cr_assert_eq(news[2].reason, QUEUE_DESTROYED);
	cr_assert_eq(publish(3, 0), 1);
	cr_assert_eq(pop(late), 2);
	cr_assert_eq(pop(late), 3);
	cr_assert_eq(pop(late), -EAGAIN);
	end(late);
	cr_assert_eq(publish(4, 0), 0);
	cr_assert_eq(topic_stats().subscriptions, 0);
	finish();
}

Test(topic, topics_do_not_know_of_each_other)
{
	struct queue_topic *first, *second;
	struct queue_subscription *of_first, *of_second;

	make_topic();
	first = world.topic;
	of_first = subscribe(QUEUE_ABORT, 2);
	make_topic();
	second = world.topic;
	of_second = subscribe(QUEUE_ABORT, 2);
	cr_assert_eq(publish(2, 0), 1);
	world.topic = first;
	cr_assert_eq(publish(1, 0), 1);
	cr_assert_eq(pop(of_first), 1);
	cr_assert_eq(pop(of_first), -EAGAIN);
	cr_assert_eq(pop(of_second), 2);
	cr_assert_eq(pop(of_second), -EAGAIN);
	cr_assert_eq(queue_topic_close(first), 0);
	cr_assert_eq(publish(3, 0), -EPIPE);
	queue_message_release(&news[3].message);
	cr_assert_eq(queue_topic_destroy(first), 0);
	world.topic = second;
	cr_assert_eq(publish(4, 0), 1);
	finish();
}

Test(topic, a_thousand_subscriptions_get_what_their_filters_say, .timeout = 60)
{
	static struct queue_subscription *subscription[MANY];
	struct queue_delivery told;
	int i, n;

	make_topic();
	for (i = 0; i < MANY; i++) {
		struct queue_subscription_options options = options_for(QUEUE_ABORT, 1);

		options.any_of = BIT(i % 64);
		subscription[i] = subscribe_with(&options);
	}
	cr_assert_eq(topic_stats().subscriptions, MANY);
	told = publish_report(1, BIT(3) | BIT(63));
	/* 1000 is 15 times 64, and 40 more. */
	expect_delivery(told, DELIVERY(.taken = 16 + 15, .filtered = MANY - 31));
	for (i = n = 0; i < MANY; i++) {
		int number = pop(subscription[i]);

		EXPECT(number == (i % 64 == 3 || i % 64 == 63 ? 1 : -EAGAIN));
		n += number == 1;
		EXPECT(releases(1) == (n == 31));
	}
	/* Every other one leaves, from both ends. */
	for (i = 0; i < MANY / 2; i += 2) {
		end(subscription[i]);
		end(subscription[MANY - 1 - i]);
	}
	cr_assert_eq(topic_stats().subscriptions, MANY / 2);
	cr_assert_eq(publish(2, UINT64_MAX), MANY / 2);
	for (i = 1; i < MANY / 2; i += 2) {
		EXPECT(pop(subscription[i]) == 2);
		EXPECT(pop(subscription[MANY - 1 - i]) == 2);
	}
	cr_assert_eq(releases(2), 1);
	/* Some are left inside. */
	cr_assert_eq(publish(3, BIT(1) | BIT(5)), 16);
	finish();
	cr_assert_eq(world.drops, 16);
	cr_assert_eq(news[3].dropped, 16);
}

/*
 * Filters.
 */

Test(topic, the_filter_asks_for_one_of_some_tags_and_for_each_of_others)
{
	static const struct {
		uint64_t any_of, all_of, tags;
		bool wanted;
	} cases[] = {
		{0, 0, 0, true},
		{0, 0, UINT64_MAX, true},
		{BIT(0), 0, 0, false},
		{BIT(0), 0, BIT(0), true},
		{BIT(0), 0, UINT64_MAX - BIT(0), false},
		{BIT(63), 0, BIT(63), true},
		{BIT(63), 0, UINT64_MAX - BIT(63), false},
		{BIT(0) | BIT(63), 0, BIT(63) | BIT(5), true},
		{BIT(0) | BIT(63), 0, BIT(5), false},
		{BIT(31) | BIT(32), 0, BIT(32), true},
		{UINT64_MAX, 0, 0, false},
		{UINT64_MAX, 0, BIT(17), true},
		{0, BIT(0), 0, false},
		{0, BIT(0), BIT(0) | BIT(1), true},
		{0, BIT(63), BIT(63), true},
		{0, BIT(63), BIT(0), false},
		{0, BIT(0) | BIT(63), BIT(63), false},
		{0, BIT(0) | BIT(63), BIT(0), false},
		{0, BIT(0) | BIT(63), BIT(0) | BIT(63), true},
		{0, UINT64_MAX, UINT64_MAX - BIT(40), false},
		{0, UINT64_MAX, UINT64_MAX, true},
		{BIT(1) | BIT(2), BIT(3), BIT(3), false},
		{BIT(1) | BIT(2), BIT(3), BIT(2), false},
		{BIT(1) | BIT(2), BIT(3), BIT(2) | BIT(3), true},
		{BIT(1) | BIT(2), BIT(2) | BIT(3), BIT(1) | BIT(3), false},
		{BIT(1), BIT(1), BIT(1), true},
	};
	unsigned i;

	make_topic();
	for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct queue_subscription_options options = options_for(QUEUE_ABORT, 1);
		struct queue_subscription *subscription;
		uint64_t wanted = cases[i].wanted;

		options.any_of = cases[i].any_of;
		options.all_of = cases[i].all_of;
		subscription = subscribe_with(&options);
		expect_delivery(publish_report(1, cases[i].tags),
				DELIVERY(.taken = wanted, .filtered = 1 - wanted));
		cr_assert_eq(queue_message_tags(&news[1].message), cases[i].tags);
		cr_assert_eq(stats_of(subscription).filtered, 1 - wanted);
		cr_assert_eq(stats_of(subscription).delivered, wanted);
		cr_assert_eq(releases(1), 1 - wanted, "case %u", i);
		cr_assert_eq(pop(subscription), wanted ? 1 : -EAGAIN, "case %u", i);
		end(subscription);
	}
	cr_assert_eq(world.drops, 0);
	finish();
}

Test(topic, the_predicate_is_asked_on_the_publishing_thread_before_anything_is_queued)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *odd;
	int i;

	make_topic();
	options.accepts = accept_odd;
	odd = subscribe_with(&options);
	for (i = 0; i < 4; i++)
		cr_assert_eq(publish(i, BIT(i)), i % 2);
	cr_assert_eq(world.asked, 4);
	for (i = 0; i < 4; i++)
		cr_assert_eq(world.asked_about[i], i);
	cr_assert_eq(world.asked_tags, BIT(3));
	cr_assert_eq(stats_of(odd).filtered, 2);
	cr_assert_eq(stats_of(odd).queue.pushed, 2);
	cr_assert_eq(releases(0) + releases(2), 2);
	cr_assert_eq(pop(odd), 1);
	cr_assert_eq(pop(odd), 3);
	finish();
	cr_assert_eq(world.drops, 0);
}

Test(topic, tags_and_predicate_must_both_hold)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *subscription;

	make_topic();
	options.any_of = BIT(1) | BIT(2);
	options.all_of = BIT(3);
	options.accepts = accept_odd;
	subscription = subscribe_with(&options);
	cr_assert_eq(publish(1, BIT(1)), 0);
	cr_assert_eq(publish(1, BIT(3)), 0);
	cr_assert_eq(publish(2, BIT(1) | BIT(3)), 0);
	cr_assert_eq(publish(3, BIT(2) | BIT(3)), 1);
	cr_assert_eq(stats_of(subscription).filtered, 3);
	cr_assert_eq(pop(subscription), 3);
	finish();
}

Test(topic, what_the_filter_turns_away_meets_no_policy)
{
	struct queue_subscription_options options = options_for(QUEUE_DISCARD_OLDEST, 1);
	struct queue_subscription *subscription;

	make_topic();
	options.any_of = BIT(1);
	subscription = subscribe_with(&options);
	cr_assert_eq(publish(1, BIT(1)), 1);
	expect_delivery(publish_report(2, BIT(2)), DELIVERY(.filtered = 1));
	cr_assert_eq(world.drops, 0);
	cr_assert_eq(pop(subscription), 1);
	finish();
}

/*
 * Policies. Each test fills a subscription of two that nobody pops.
 */

static struct queue_subscription *
fill_two(enum queue_policy policy)
{
	struct queue_subscription *subscription;

	make_topic();
	subscription = subscribe(policy, 2);
	expect_delivery(publish_report(1, 0), DELIVERY(.taken = 1));
	expect_delivery(publish_report(2, 0), DELIVERY(.taken = 1));
	return subscription;
}

Test(topic, abort_refuses_what_finds_no_room)
{
	struct queue_subscription *subscription = fill_two(QUEUE_ABORT);

	expect_delivery(publish_report(3, 0), DELIVERY(.refused = 1));
	cr_assert_eq(releases(3), 1);
	cr_assert_eq(world.drops, 0, "refused is not dropped");
	cr_assert_eq(stats_of(subscription).delivered, 2);
	cr_assert_eq(stats_of(subscription).refused, 1);
	cr_assert_eq(stats_of(subscription).evicted, 0);
	cr_assert_eq(pop(subscription), 1);
	expect_delivery(publish_report(4, 0), DELIVERY(.taken = 1));
	cr_assert_eq(pop(subscription), 2);
	cr_assert_eq(pop(subscription), 4);
	finish();
}

Test(topic, discard_drops_what_finds_no_room)
{
	struct queue_subscription *subscription = fill_two(QUEUE_DISCARD);

	expect_delivery(publish_report(3, 0), DELIVERY(.discarded = 1));
	cr_assert_eq(releases(3), 1);
	cr_assert_eq(news[3].dropped, 1);
	cr_assert_eq(news[3].reason, QUEUE_DISCARDED);
	cr_assert(pthread_equal(news[3].dropped_by, pthread_self()));
	cr_assert_eq(world.drops, 1);
	cr_assert_eq(stats_of(subscription).delivered, 2);
	cr_assert_eq(stats_of(subscription).refused, 1);
	cr_assert_eq(stats_of(subscription).evicted, 0);
	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(pop(subscription), 2);
	cr_assert_eq(pop(subscription), -EAGAIN);
	finish();
}

Test(topic, discard_oldest_makes_room_for_the_newest)
{
	struct queue_subscription *subscription = fill_two(QUEUE_DISCARD_OLDEST);

	expect_delivery(publish_report(3, 0), DELIVERY(.taken = 1, .evicted = 1));
	cr_assert_eq(releases(1), 1);
	cr_assert_eq(releases(3), 0);
	cr_assert_eq(news[1].dropped, 1);
	cr_assert_eq(news[1].reason, QUEUE_EVICTED);
	cr_assert(pthread_equal(news[1].dropped_by, pthread_self()));
	expect_delivery(publish_report(4, 0), DELIVERY(.taken = 1, .evicted = 1));
	cr_assert_eq(world.drops, 2);
	cr_assert_eq(stats_of(subscription).delivered, 4);
	cr_assert_eq(stats_of(subscription).refused, 0);
	cr_assert_eq(stats_of(subscription).evicted, 2);
	cr_assert_eq(stats_of(subscription).lag, 2);
	cr_assert_eq(pop(subscription), 3);
	cr_assert_eq(pop(subscription), 4);
	finish();
}

Test(topic, policies_drop_and_release_without_on_drop_too)
{
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_DISCARD,
						     QUEUE_DISCARD_OLDEST};
	int i;

	make_topic();
	for (i = 0; i < 3; i++) {
		struct queue_subscription_options options = {.capacity = 1};
		struct queue_subscription *subscription;

		options.policy = policies[i];
		subscription = subscribe_with(&options);
		cr_assert_eq(publish(1, 0), 1);
		cr_assert_eq(publish(2, 0), i == 2);
		/* The older or the newer one is gone. */
		cr_assert_eq(releases(1), i == 2);
		cr_assert_eq(releases(2), i != 2);
		end(subscription);
		cr_assert_eq(releases(1) + releases(2), 2);
	}
	finish();
}

/*
 * Without a clock: a message is with the others when its publish returns, each time, as it was
 * before one of them stopped. They have room for one message only, and would lose the next.
 */
Test(topic, who_has_stopped_for_good_does_not_delay_the_others, .timeout = 60)
{
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_DISCARD,
						     QUEUE_DISCARD_OLDEST};
	struct queue_subscription_options stops = {.capacity = 2};
	struct queue_subscription *first, *stopped, *last;
	struct queue_subscription_stats stats;
	size_t policy;
	int i;

	for (policy = 0; policy < sizeof policies / sizeof *policies; policy++) {
		make_topic();
		first = subscribe(QUEUE_ABORT, 1);
		stops.policy = policies[policy];
		stopped = subscribe_with(&stops);
		last = subscribe(QUEUE_ABORT, 1);
		for (i = 0; i < MANY; i++) {
			/* Not one of the two that it may hold. */
			int number = i < 2 ? i : 2 + i % (NEWS - 2);

			EXPECT(publish(number, 0) >= 2);
			EXPECT(pop(first) == number);
			EXPECT(pop(last) == number);
		}
		stats = stats_of(stopped);
		cr_assert_eq(stats.lag, 2, "it holds what it can");
		cr_assert_eq(stats.refused + stats.evicted, MANY - 2);
		cr_assert_eq(stats_of(first).refused + stats_of(last).refused, 0);
		finish();
	}
}

Test(topic, each_subscription_goes_by_its_own_policy)
{
	struct queue_subscription *aborts, *discards, *evicts, *roomy, *picky;
	struct queue_subscription_options options = options_for(QUEUE_BLOCK, 1);

	make_topic();
	aborts = subscribe(QUEUE_ABORT, 1);
	discards = subscribe(QUEUE_DISCARD, 1);
	evicts = subscribe(QUEUE_DISCARD_OLDEST, 1);
	roomy = subscribe(QUEUE_BLOCK, 10);
	options.all_of = BIT(9);
	picky = subscribe_with(&options);
	expect_delivery(publish_report(1, 0), DELIVERY(.taken = 4, .filtered = 1));
	expect_delivery(publish_report(2, 0), DELIVERY(.taken = 2, .filtered = 1, .refused = 1,
						       .discarded = 1, .evicted = 1));
	cr_assert_eq(world.drops, 2);
	cr_assert_eq(pop(aborts), 1);
	cr_assert_eq(pop(discards), 1);
	cr_assert_eq(pop(evicts), 2);
	cr_assert_eq(pop(roomy), 1);
	cr_assert_eq(releases(1), 1);
	cr_assert_eq(pop(roomy), 2);
	cr_assert_eq(releases(2), 1);
	cr_assert_eq(pop(picky), -EAGAIN);
	finish();
}

/*
 * References: whoever lets go last, released once.
 */

Test(topic, who_has_a_reference_can_have_more_of_them)
{
	struct queue_message *message = fresh(1);
	int i;

	for (i = 0; i < 5; i++)
		queue_message_retain(message);
	for (i = 0; i < 5; i++)
		queue_message_release(message);
	cr_assert_eq(releases(1), 0);
	queue_message_release(message);
	cr_assert_eq(releases(1), 1);
	cr_assert(pthread_equal(news[1].released_by, pthread_self()));
}

Test(topic, a_publisher_that_keeps_a_reference_can_look_at_the_message_afterwards)
{
	struct queue_subscription *subscription;
	struct queue_message *message;

	make_topic();
	subscription = subscribe(QUEUE_ABORT, 2);
	message = fresh(1);
	queue_message_retain(message);
	cr_assert_eq(queue_topic_publish(world.topic, message, 0), 1);
	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(releases(1), 0);
	queue_message_release(message);
	cr_assert_eq(releases(1), 1);
	message = fresh(2);
	queue_message_retain(message);
	end(subscription);
	cr_assert_eq(queue_topic_publish(world.topic, message, 0), 0);
	cr_assert_eq(releases(2), 0);
	queue_message_release(message);
	finish();
}

Test(topic, a_consumer_may_keep_a_message_when_subscription_and_topic_are_gone)
{
	struct queue_subscription *subscription;
	struct queue_message *message;

	make_topic();
	subscription = subscribe(QUEUE_ABORT, 2);
	cr_assert_eq(publish(1, 5), 1);
	message = take(subscription);
	end(subscription);
	cr_assert_eq(queue_topic_destroy(world.topic), 0);
	cr_assert_eq(releases(1), 0);
	cr_assert_eq(queue_message_tags(message), 5);
	queue_message_release(message);
	cr_assert_eq(releases(1), 1);
}

Test(topic, one_message_can_be_in_two_topics)
{
	struct queue_topic *second;
	struct queue_subscription *of_first, *of_second;
	struct queue_message *message;

	make_topic();
	second = world.topic;
	of_second = subscribe(QUEUE_ABORT, 2);
	make_topic();
	of_first = subscribe(QUEUE_ABORT, 2);
	message = fresh(1);
	queue_message_retain(message);
	cr_assert_eq(queue_topic_publish(world.topic, message, 0), 1);
	cr_assert_eq(queue_topic_publish(second, message, 0), 1);
	cr_assert_eq(pop(of_first), 1);
	cr_assert_eq(releases(1), 0);
	cr_assert_eq(pop(of_second), 1);
	cr_assert_eq(releases(1), 1);

	/* A consumer passes on what it got, with its own reference. */
	cr_assert_eq(publish(2, 77), 1);
	message = take(of_first);
	cr_assert_eq(queue_topic_publish(second, message, 77), 1);
	cr_assert_eq(releases(2), 0);
	cr_assert_eq(queue_topic_destroy(second), 0);
	cr_assert_eq(news[2].reason, QUEUE_DESTROYED);
	finish();
}

Test(topic, one_message_can_be_published_twice_to_one_topic)
{
	struct queue_subscription *subscription;
	struct queue_message *message;

	make_topic();
	subscription = subscribe(QUEUE_ABORT, 3);
	cr_assert_eq(publish(1, 3), 1);
	message = take(subscription);
	queue_message_retain(message);
	cr_assert_eq(queue_topic_publish(world.topic, message, 3), 1);
	cr_assert_eq(queue_topic_publish(world.topic, message, 3), 1);
	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(releases(1), 0);
	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(releases(1), 1);
	finish();
}

Test(topic, a_message_that_others_hold_keeps_its_tags)
{
	struct queue_delivery delivery, before;
	struct queue_subscription *subscription;
	struct queue_message *message;

	make_topic();
	subscription = subscribe(QUEUE_ABORT, 4);
	cr_assert_eq(publish(1, 5), 1);
	message = take(subscription);
	queue_message_retain(message);
	memset(&delivery, 0x55, sizeof delivery);
	before = delivery;
	cr_assert_eq(queue_topic_publish(world.topic, message, 6), -EINVAL);
	cr_assert_eq(queue_topic_publish_report(world.topic, message, 0, &delivery), -EINVAL);
	cr_assert_eq(memcmp(&delivery, &before, sizeof delivery), 0, "not written when it fails");
	/* Nobody got it, nobody counted it, and the reference is still ours. */
	cr_assert_eq(queue_message_tags(message), 5);
	cr_assert_eq(pop(subscription), -EAGAIN);
	cr_assert_eq(stats_of(subscription).delivered, 1);
	cr_assert_eq(stats_of(subscription).refused + stats_of(subscription).filtered, 0);
	cr_assert_eq(releases(1), 0);
	/* With the tags it has it can go again, and alone it can have others. */
	cr_assert_eq(queue_topic_publish(world.topic, message, 5), 1);
	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(queue_topic_publish(world.topic, message, 6), 1);
	cr_assert_eq(queue_message_tags(message), 6);
	cr_assert_eq(releases(1), 0);
	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(releases(1), 1);
	finish();
}

Test(topic, a_message_that_its_publisher_keeps_gets_its_first_tags_all_the_same)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *subscription;
	struct queue_message *message = fresh(1);

	make_topic();
	options.all_of = 6;
	subscription = subscribe_with(&options);
	queue_message_retain(message);
	cr_assert_eq(queue_topic_publish(world.topic, message, 6), 1);
	cr_assert_eq(queue_message_tags(message), 6);
	cr_assert_eq(queue_topic_publish(world.topic, message, 7), -EINVAL);
	cr_assert_eq(pop(subscription), 1);
	/* Tags that are 0 are tags as well. */
	message = (queue_message_release(message), fresh(2));
	queue_message_retain(message);
	cr_assert_eq(queue_topic_publish(world.topic, message, 0), 0);
	queue_message_retain(message);
	cr_assert_eq(queue_topic_publish(world.topic, message, 6), -EINVAL);
	queue_message_release(message);
	queue_message_release(message);
	finish();
}

static void
note_end(void *context)
{
	++*(int *)context;
}

Test(topic, on_end_is_told_once_when_nobody_is_in_the_way)
{
	struct queue_subscription_options options = {.capacity = 2, .on_end = note_end};
	int ends[2] = {0, 0};
	struct queue_subscription *first;

	make_topic();
	options.context = &ends[0];
	first = subscribe_with(&options);
	options.context = &ends[1];
	(void)subscribe_with(&options);
	cr_assert_eq(publish(1, 0), 2);
	cr_assert_eq(queue_subscription_close(first), 0);
	cr_assert_eq(ends[0], 0, "it has not ended");
	end(first);
	cr_assert_eq(ends[0], 1);
	cr_assert_eq(ends[1], 0);
	finish();
	cr_assert_eq(ends[0], 1);
	cr_assert_eq(ends[1], 1, "destroy ends it");
}

Test(topic, a_closed_subscription_gets_nothing_and_gives_what_is_inside)
{
	struct queue_subscription *closed, *other;
	struct queue_message *message;
	int i;

	make_topic();
	closed = subscribe(QUEUE_ABORT, 8);
	other = subscribe(QUEUE_ABORT, 8);
	for (i = 1; i <= 2; i++)
		cr_assert_eq(publish(i, 0), 2);
	cr_assert_eq(queue_subscription_close(closed), 0);
	expect_delivery(publish_report(3, 0), DELIVERY(.taken = 1));
	cr_assert_eq(queue_subscription_close(closed), 0, "again");
	for (i = 1; i <= 2; i++)
		cr_assert_eq(pop(closed), i);
	cr_assert_eq(queue_topic_pop(closed, &message), -EPIPE);
	cr_assert_eq(topic_stats().subscriptions, 2);
	cr_assert_eq(topic_stats().closed, 0);
	for (i = 1; i <= 3; i++)
		cr_assert_eq(pop(other), i);
	end(closed);
	cr_assert_eq(world.drops, 0);
	cr_assert_eq(topic_stats().subscriptions, 1);
	finish();
}

Test(topic, what_nobody_popped_is_told_and_released_when_the_subscription_ends)
{
	struct queue_subscription *subscription, *other;
	int i;

	make_topic();
	subscription = subscribe(QUEUE_ABORT, 8);
	other = subscribe(QUEUE_ABORT, 8);
	for (i = 0; i < 5; i++)
		cr_assert_eq(publish(i, 0), 2);
	cr_assert_eq(pop(other), 0);
	cr_assert_eq(pop(subscription), 0);
	cr_assert_eq(pop(other), 1);
	end(subscription);
	cr_assert_eq(world.drops, 4);
	for (i = 1; i < 5; i++) {
		cr_assert_eq(world.dropped[i - 1], i, "oldest first");
		cr_assert_eq(news[i].reason, QUEUE_DESTROYED);
		cr_assert_eq(releases(i), i == 1, "the other has it still");
	}
	for (i = 2; i < 5; i++)
		cr_assert_eq(pop(other), i);
	finish();
}

Test(topic, destroy_ends_the_subscriptions_that_are_left)
{
	int i;

	make_topic();
	for (i = 0; i < 3; i++)
		(void)subscribe(QUEUE_ABORT, 8);
	for (i = 0; i < 5; i++)
		cr_assert_eq(publish(i, 0), 3);
	finish();
	cr_assert_eq(world.drops, 15);
	for (i = 0; i < 5; i++) {
		cr_assert_eq(news[i].dropped, 3);
		cr_assert_eq(news[i].reason, QUEUE_DESTROYED);
	}
}

static void
look_and_close(void *context)
{
	struct queue_topic_stats seen = topic_stats();

	++*(int *)context;
	EXPECT(seen.subscriptions == 0 && seen.retired == 0 && seen.closed);
	EXPECT(queue_topic_close(world.topic) == 0);
}

Test(topic, on_end_may_call_the_topic_that_is_being_destroyed)
{
	int ends = 0;
	struct queue_subscription_options options = {
		.capacity = 2, .on_end = look_and_close, .context = &ends};
	int i;

	make_topic();
	for (i = 0; i < 3; i++)
		(void)subscribe_with(&options);
	finish();
	cr_assert_eq(ends, 3);
}

/*
 * Closing.
 */

Test(topic, after_close_nothing_comes_and_what_is_inside_can_be_popped)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *subscription, *late = NULL;
	struct queue_delivery delivery, before;
	struct queue_message *some[4], *message;

	make_topic();
	subscription = subscribe(QUEUE_ABORT, 4);
	cr_assert_eq(publish(1, 0), 1);
	cr_assert_eq(publish(2, 0), 1);
	cr_assert_eq(topic_stats().closed, 0);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert(topic_stats().closed);
	cr_assert_eq(topic_stats().subscriptions, 1);
	cr_assert(stats_of(subscription).queue.closed);

	message = fresh(3);
	memset(&delivery, 0x55, sizeof delivery);
	before = delivery;
	cr_assert_eq(queue_topic_publish(world.topic, message, 0), -EPIPE);
	cr_assert_eq(queue_topic_publish_report(world.topic, message, 0, &delivery), -EPIPE);
	cr_assert_eq(memcmp(&delivery, &before, sizeof delivery), 0, "not written when it fails");
	cr_assert_eq(releases(3), 0, "it is still the caller's");
	queue_message_release(message);
	cr_assert_eq(releases(3), 1);
	cr_assert_eq(queue_topic_subscribe(world.topic, &options, &late), -EPIPE);
	cr_assert_null(late);

	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(queue_topic_pop_n(subscription, some, 4), 1);
	cr_assert_eq(some[0], &news[2].message);
	queue_message_release(some[0]);
	cr_assert_eq(queue_topic_pop(subscription, &message), -EPIPE);
	cr_assert_eq(queue_topic_try_pop(subscription, &message), -EPIPE);
	cr_assert_eq(queue_topic_pop_until(subscription, &message, QUEUE_NEVER), -EPIPE);
	cr_assert_eq(queue_topic_pop_n(subscription, some, 4), -EPIPE);
	cr_assert_eq(queue_topic_try_pop_n(subscription, some, 4), -EPIPE);
	end(subscription);
	finish();
}

Test(topic, a_closed_topic_without_subscriptions_takes_nothing_either)
{
	make_topic();
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert_eq(publish(1, 0), -EPIPE);
	cr_assert_eq(releases(1), 0);
	queue_message_release(&news[1].message);
	finish();
}

Test(topic, a_closed_topic_says_so_whatever_the_filters_are)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);

	make_topic();
	options.any_of = BIT(1);
	(void)subscribe_with(&options);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert_eq(publish(1, BIT(1)), -EPIPE);
	cr_assert_eq(publish(2, BIT(2)), -EPIPE);
	queue_message_release(&news[1].message);
	queue_message_release(&news[2].message);
	finish();
}

/*
 * Statistics.
 */

Test(topic, a_new_subscription_has_counted_nothing)
{
	struct queue_subscription *subscription;
	struct queue_subscription_stats stats;

	make_topic();
	cr_assert_eq(publish(1, 0), 0);
	subscription = subscribe(QUEUE_ABORT, 3);
	stats = stats_of(subscription);
	cr_assert_eq(stats.delivered, 0);
	cr_assert_eq(stats.filtered, 0);
	cr_assert_eq(stats.refused, 0);
	cr_assert_eq(stats.evicted, 0);
	cr_assert_eq(stats.lag, 0);
	cr_assert_eq(stats.queue.capacity, 3);
	cr_assert_eq(stats.queue.pushed, 0);
	cr_assert_eq(stats.queue.closed, 0);
	finish();
}

Test(topic, what_was_filtered_stays_counted_when_others_come_and_go)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *subscription;
	int i;

	options.any_of = 1;
	make_topic();
	subscription = subscribe_with(&options);
	for (i = 1; i <= 3; i++)
		cr_assert_eq(publish(i, 2), 0);
	cr_assert_eq(publish(4, 1), 1);
	end(subscribe(QUEUE_ABORT, 1));
	cr_assert_eq(topic_stats().retired, 0);
	cr_assert_eq(stats_of(subscription).filtered, 3);
	cr_assert_eq(pop(subscription), 4);
	finish();
}

/* I3, for every policy, with a filter, and with pops in between. */
Test(topic, every_publish_is_delivered_filtered_or_refused)
{
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_DISCARD,
						     QUEUE_DISCARD_OLDEST};
	struct queue_subscription *subscription[3];
	uint64_t told[3][3] = {{0}}, publishes = 0;
	unsigned seed = 1;
	int i, n;

	make_topic();
	for (i = 0; i < 3; i++) {
		struct queue_subscription_options options = {.capacity = 3, .any_of = BIT(0)};

		options.policy = policies[i];
		subscription[i] = subscribe_with(&options);
	}
	for (n = 0; n < 2000; n++) {
		struct queue_delivery sum;

		seed = seed * 1103515245u + 12345u;
		sum = publish_report(n % NEWS, seed >> 16 & 1);
		publishes++;
		EXPECT(sum.taken + sum.filtered + sum.refused + sum.discarded + sum.closed == 3);
		EXPECT(sum.closed == 0);
		told[0][0] += sum.refused;
		told[1][0] += sum.discarded;
		told[2][1] += sum.evicted;
		told[0][2] += sum.filtered;
		/* No message is kept so long that its number comes again. */
		for (i = 0; i < 3; i++)
			if (seed >> (17 + i) & 1 || n % 8 == 7)
				while (pop(subscription[i]) >= 0)
					continue;
	}
	for (i = 0; i < 3; i++) {
		struct queue_subscription_stats stats = stats_of(subscription[i]);

		cr_assert_eq(stats.delivered + stats.filtered + stats.refused, publishes);
		cr_assert_eq(stats.refused, told[i][0]);
		cr_assert_eq(stats.evicted, told[i][1]);
		cr_assert_eq(stats.filtered, told[0][2] / 3);
		cr_assert_eq(stats.delivered, stats.queue.pushed);
		cr_assert_eq(stats.evicted, stats.queue.evicted);
		cr_assert_eq(stats.lag, stats.queue.depth);
		cr_assert_eq(stats.queue.pushed, stats.queue.popped + stats.evicted + stats.lag);
		/* Each of them had something to count. */
		cr_assert_gt(stats.filtered, 0);
		cr_assert_gt(stats.refused + stats.evicted, 0);
	}
	finish();
}

/*
 * Callbacks that call back.
 */

static void
call_everything(struct queue_message *message)
{
	struct queue_subscription_options options = {.capacity = 1, .all_of = BIT(63)};
	struct queue_subscription *subscription;

	world.inside = NULL;
	EXPECT(queue_message_tags(message) == 0);
	queue_message_retain(message);
	queue_message_release(message);
	EXPECT(topic_stats().subscriptions == 1);
	EXPECT(stats_of(world.subscription).queue.capacity == 1);
	EXPECT(queue_topic_subscribe(world.topic, &options, &subscription) == 0);
	EXPECT(topic_stats().subscriptions == 2);
	world.answer = publish(40, BIT(63));
	EXPECT(pop(subscription) == 40);
	EXPECT(queue_topic_unsubscribe(subscription) == 0);
}

Test(topic, on_drop_of_a_discarded_message_may_call_the_topic)
{
	make_topic();
	world.subscription = subscribe(QUEUE_DISCARD, 1);
	cr_assert_eq(publish(1, 0), 1);
	world.inside = call_everything;
	expect_delivery(publish_report(2, 0), DELIVERY(.discarded = 1));
	/* The full subscription has discarded 40 as well. */
	cr_assert_eq(world.answer, 1);
	cr_assert_eq(world.drops, 2);
	cr_assert_eq(topic_stats().subscriptions, 1);
	finish();
}

Test(topic, on_drop_of_an_evicted_message_may_call_the_topic)
{
	make_topic();
	world.subscription = subscribe(QUEUE_DISCARD_OLDEST, 1);
	cr_assert_eq(publish(1, 0), 1);
	world.inside = call_everything;
	expect_delivery(publish_report(2, 0), DELIVERY(.taken = 1, .evicted = 1));
	cr_assert_eq(world.answer, 2);
	cr_assert_eq(world.drops, 2);
	cr_assert_eq(pop(world.subscription), 40);
	finish();
}

/* What is dropped at the end may call the topic, though not the subscription that is gone. */
static void
publish_another(struct queue_message *message)
{
	world.inside = NULL;
	(void)message;
	world.answer = publish(41, 0);
}

Test(topic, on_drop_at_the_end_of_a_subscription_may_publish)
{
	struct queue_subscription *ends, *stays;

	make_topic();
	ends = subscribe(QUEUE_ABORT, 4);
	stays = subscribe(QUEUE_ABORT, 4);
	cr_assert_eq(publish(1, 0), 2);
	world.inside = publish_another;
	end(ends);
	cr_assert_eq(world.answer, 1);
	cr_assert_eq(pop(stays), 1);
	cr_assert_eq(pop(stays), 41);
	finish();
}

static void
release_and_publish(struct queue_message *message, void *context)
{
	int next;

	note_release(message, context);
	next = ((struct news *)context)->number + 1;
	if (next < NEWS) {
		struct queue_message *another = fresh(next);

		another->release = release_and_publish;
		EXPECT(queue_topic_publish(world.topic, another, 0) == 0);
	}
}

Test(topic, release_may_publish_again_and_again)
{
	struct queue_message *message;
	int i;

	make_topic();
	/* Each is refused by a full subscription, so its release publishes the next. */
	world.subscription = subscribe(QUEUE_ABORT, 1);
	cr_assert_eq(publish(0, 0), 1);
	message = fresh(1);
	message->release = release_and_publish;
	cr_assert_eq(queue_topic_publish(world.topic, message, 0), 0);
	for (i = 1; i < NEWS; i++)
		cr_assert_eq(releases(i), 1);
	cr_assert_eq(stats_of(world.subscription).refused, NEWS - 1);
	finish();
}

static bool
subscribe_in_accepts(const struct queue_message *message, void *context)
{
	struct queue_subscription_options options = {.capacity = 4};

	(void)message, (void)context;
	if (!world.subscription)
		EXPECT(queue_topic_subscribe(world.topic, &options, &world.subscription) == 0);
	return true;
}

Test(topic, the_predicate_may_subscribe)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *first;

	make_topic();
	options.accepts = subscribe_in_accepts;
	first = subscribe_with(&options);
	cr_assert_geq(publish(1, 0), 1);
	cr_assert_eq(publish(2, 0), 2);
	cr_assert_eq(pop(first), 1);
	cr_assert_eq(pop(first), 2);
	cr_assert_eq(topic_stats().subscriptions, 2);
	finish();
}

static bool
end_other_in_accepts(const struct queue_message *message, void *context)
{
	(void)message, (void)context;
	if (world.subscription)
		EXPECT(queue_topic_unsubscribe(world.subscription) == 0);
	world.subscription = NULL;
	return true;
}

/* Both orders: the one that ends comes before or after the one whose predicate ends it. */
Test(topic, the_predicate_may_end_another_subscription)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *asked;
	int ends_first;

	options.accepts = end_other_in_accepts;
	for (ends_first = 0; ends_first < 2; ends_first++) {
		struct queue_subscription *other;
		struct queue_delivery told;

		make_topic();
		other = ends_first ? subscribe(QUEUE_ABORT, 4) : NULL;
		asked = subscribe_with(&options);
		other = other ? other : subscribe(QUEUE_ABORT, 4);
		world.subscription = other;
		told = publish_report(1, 0);
		cr_assert_eq(told.taken + told.closed, 2);
		cr_assert_geq(told.taken, 1);
		cr_assert_eq(releases(1), 0);
		cr_assert_eq(topic_stats().subscriptions, 1);
		cr_assert_eq(publish(2, 0), 1);
		cr_assert_eq(pop(asked), 1);
		cr_assert_eq(releases(1), 1);
		cr_assert_eq(pop(asked), 2);
		finish();
	}
}

/*
 * The queue of a subscription: its descriptor, and waiting for several.
 */

static struct queue_subscription *
subscribe_to_tag(int bit)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);

	options.any_of = BIT(bit);
	return subscribe_with(&options);
}

static bool
is_readable(const struct queue_subscription *subscription)
{
	struct pollfd poll_for = {.fd = queue_fd(queue_subscription_queue(subscription)),
				  .events = POLLIN};

	EXPECT(poll_for.fd >= 0);
	return poll(&poll_for, 1, 0) == 1 && poll_for.revents == POLLIN;
}

Test(topic, the_descriptor_of_a_subscription_is_readable_exactly_while_a_pop_would_not_wait)
{
	struct queue_subscription *subscription, *other;
	int i;

	make_topic();
	subscription = subscribe_to_tag(0);
	other = subscribe_to_tag(1);
	for (i = 0; i < 3; i++) {
		EXPECT(!is_readable(subscription) && !is_readable(other));
		/* What the filter turns away does not wake it. */
		EXPECT(publish(1, BIT(1)) == 1);
		EXPECT(!is_readable(subscription) && is_readable(other));
		EXPECT(publish(2, BIT(0)) == 1 && publish(3, BIT(0)) == 1);
		EXPECT(pop(subscription) == 2 && is_readable(subscription));
		EXPECT(pop(subscription) == 3 && !is_readable(subscription));
		EXPECT(pop(other) == 1);
	}
	cr_assert_eq(publish(1, BIT(0)), 1);
	cr_assert_eq(queue_subscription_close(subscription), 0);
	cr_assert_eq(pop(subscription), 1);
	cr_assert(is_readable(subscription), "it is closed");
	cr_assert_not(is_readable(other));
	cr_assert_eq(pop(subscription), -EPIPE);
	end(subscription);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert(is_readable(other));
	finish();
}

Test(topic, select_tells_which_of_two_subscriptions_has_something)
{
	struct queue_subscription *first, *second;
	struct queue_bounded *queues[2];
	int index = -1;

#define SELECT(deadline) queue_select(queues, 2, deadline, &index)
	make_topic();
	first = subscribe_to_tag(0);
	second = subscribe_to_tag(1);
	queues[0] = queue_subscription_queue(first);
	queues[1] = queue_subscription_queue(second);
	cr_assert_eq(SELECT(0), -ETIMEDOUT);
	cr_assert_eq(publish(1, BIT(2)), 0);
	cr_assert_eq(SELECT(0), -ETIMEDOUT);
	cr_assert_eq(publish(2, BIT(1)), 1);
	cr_assert(SELECT(QUEUE_NEVER) == 0 && index == 1);
	cr_assert_eq(publish(3, BIT(0) | BIT(1)), 2);
	cr_assert(SELECT(QUEUE_NEVER) == 0 && index == 0);
	cr_assert(queue_select_fair(queues, 2, QUEUE_NEVER, &index) == 0 && index == 1);
	cr_assert(queue_select_fair(queues, 2, QUEUE_NEVER, &index) == 0 && index == 0);
	cr_assert_eq(pop(first), 3);
	cr_assert(SELECT(QUEUE_NEVER) == 0 && index == 1);
	/* Each ends on its own, and is left out then. */
	cr_assert_eq(queue_subscription_close(first), 0);
	cr_assert(SELECT(QUEUE_NEVER) == 0 && index == 0);
	cr_assert_eq(pop(first), -EPIPE);
	end(first);
	queues[0] = NULL;
	cr_assert(SELECT(QUEUE_NEVER) == 0 && index == 1);
	cr_assert_eq(pop(second), 2);
	cr_assert_eq(pop(second), 3);
	cr_assert_eq(SELECT(0), -ETIMEDOUT);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert(SELECT(QUEUE_NEVER) == 0 && index == 1);
	cr_assert_eq(pop(second), -EPIPE);
	queues[1] = NULL;
	cr_assert_eq(SELECT(QUEUE_NEVER), -EPIPE);
#undef SELECT
	finish();
}

/*
 * A pool's workers on a subscription.
 */

static int
handle_unless_seven(void *item, void *context)
{
	struct queue_message *message = item;

	(void)context;
	if (news_of(message)->number == 7)
		return -EIO;
	queue_message_release(message);
	return 0;
}

Test(topic, a_pool_pops_a_subscription_and_its_failures_go_to_on_drop, .timeout = 60)
{
	struct queue_pool_options options = {.handler = handle_unless_seven, .attempts = 2};
	struct queue_pool_stats stats;
	struct queue_subscription *subscription;
	struct queue_pool *pool;
	int i;

	make_topic();
	subscription = subscribe(QUEUE_BLOCK, 2);
	options.queue = queue_subscription_queue(subscription);
	cr_assert_eq(queue_pool_create(&pool, &options), 0);
	for (i = 0; i < 20; i++)
		cr_assert_eq(publish(i, 0), 1);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_pool_stats(pool, &stats), 0);
	cr_assert_eq(stats.handled, 19);
	cr_assert_eq(stats.failed, 1);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(world.drops, 1);
	cr_assert_eq(world.dropped[0], 7);
	cr_assert_eq(news[7].reason, QUEUE_FAILED);
	for (i = 0; i < 20; i++)
		cr_assert_eq(releases(i), 1);
	finish();
}

static struct queue_delivery from_worker;
static uint32_t worker_has_begun;

/* On a worker of a full subscription: waiting would be for itself. */
static int
publish_from_worker(void *item, void *context)
{
	sem_t *go = context;

	if (news_of(item)->number == 1) {
		queue_impl_store32_rel(&worker_has_begun, 1);
		while (sem_wait(go) != 0)
			continue;
		from_worker = publish_report(3, 0);
	}
	queue_message_release(item);
	return 0;
}

Test(topic, a_worker_that_publishes_to_its_own_full_subscription_is_refused, .timeout = 60)
{
	struct queue_pool_options options = {.handler = publish_from_worker};
	struct queue_subscription *subscription;
	struct queue_pool *pool;
	sem_t go;

	make_topic();
	sem_init(&go, 0, 0);
	subscription = subscribe(QUEUE_BLOCK, 1);
	options.queue = queue_subscription_queue(subscription);
	options.context = &go;
	cr_assert_eq(queue_pool_create(&pool, &options), 0);
	cr_assert_eq(publish(1, 0), 1);
	/* Waits until the worker has taken the first. */
	cr_assert_eq(publish(2, 0), 1);
	sem_post(&go);
	/* If it waited it would wait for ever. */
	EVENTUALLY(stats_of(subscription).refused == 1);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	expect_delivery(from_worker, DELIVERY(.refused = 1));
	cr_assert_eq(releases(3), 1);
	cr_assert_eq(stats_of(subscription).delivered, 2);
	finish();
}

Test(topic, what_a_pool_is_told_to_discard_goes_to_on_drop, .timeout = 60)
{
	struct queue_pool_options options = {.handler = publish_from_worker};
	struct queue_subscription *subscription;
	struct queue_pool *pool;
	sem_t go;
	int i;

	make_topic();
	sem_init(&go, 0, 0);
	subscription = subscribe(QUEUE_ABORT, 8);
	options.queue = queue_subscription_queue(subscription);
	options.context = &go;
	cr_assert_eq(publish(1, 0), 1);
	cr_assert_eq(queue_pool_create(&pool, &options), 0);
	/* What it has popped and not begun would be discarded too. */
	EVENTUALLY(queue_impl_load32_acq(&worker_has_begun));
	for (i = 4; i < 8; i++)
		cr_assert_eq(publish(i, 0), 1);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DISCARD, 0), -ETIMEDOUT);
	sem_post(&go);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	for (i = 4; i < 8; i++) {
		cr_assert_eq(news[i].reason, QUEUE_STOPPED);
		cr_assert_eq(releases(i), 1);
	}
	/* The pool has closed this subscription, which says so to publishers; others go on. */
	expect_delivery(from_worker, DELIVERY(.closed = 1));
	(void)subscribe(QUEUE_ABORT, 8);
	expect_delivery(publish_report(9, 0), DELIVERY(.taken = 1, .closed = 1));
	cr_assert_eq(stats_of(subscription).refused, 2);
	finish();
}

/*
 * A second thread, which waits.
 */

struct other {
	pthread_t thread;
	struct queue_subscription *subscription;
	struct queue_topic *topic;
	struct queue_message *message;
	struct queue_delivery delivery;
	int rc;
	uint32_t done;
};

static void *
pop_on_other_thread(void *argument)
{
	struct other *other = argument;

	other->rc = queue_topic_pop(other->subscription, &other->message);
	queue_impl_store32_rel(&other->done, 1);
	return NULL;
}

static void *
pop_some_on_other_thread(void *argument)
{
	struct other *other = argument;

	other->rc = queue_topic_pop_n(other->subscription, &other->message, 1);
	queue_impl_store32_rel(&other->done, 1);
	return NULL;
}

static void *
publish_on_other_thread(void *argument)
{
	struct other *other = argument;

	other->rc = queue_topic_publish_report(other->topic, other->message, 0, &other->delivery);
	queue_impl_store32_rel(&other->done, 1);
	return NULL;
}

static void
begin(struct other *other, void *(*body)(void *argument))
{
	cr_assert_eq(pthread_create(&other->thread, NULL, body, other), 0);
}

static void
join(struct other *other)
{
	cr_assert_eq(pthread_join(other->thread, NULL), 0);
}

/* Until threads have gone to sleep in it as often as that. */
static void
await_sleeps(const struct queue_subscription *subscription, uint64_t sleeps)
{
	EVENTUALLY(stats_of(subscription).queue.waits >= sleeps);
}

Test(topic, pop_waits_for_a_message, .timeout = 60)
{
	struct other other = {.rc = 1};

	make_topic();
	other.subscription = subscribe(QUEUE_ABORT, 1);
	begin(&other, pop_on_other_thread);
	await_sleeps(other.subscription, 1);
	cr_assert_eq(publish(1, 0), 1);
	join(&other);
	cr_assert_eq(other.rc, 0);
	cr_assert_eq(other.message, &news[1].message);
	queue_message_release(other.message);
	finish();
}

struct selecting {
	pthread_t thread;
	struct queue_bounded *queues[2];
	int rc, index;
};

static void *
select_on_other_thread(void *argument)
{
	struct selecting *selecting = argument;

	selecting->index = -1;
	selecting->rc = queue_select(selecting->queues, 2, QUEUE_NEVER, &selecting->index);
	return NULL;
}

/* Until it waits at both, and, where that can be seen, has gone to sleep. */
static void
begin_to_select(struct selecting *selecting, struct queue_subscription *const *subscriptions)
{
	uint64_t sleeps = stats_of(subscriptions[1]).queue.waits;
	int i;

	for (i = 0; i < 2; i++)
		selecting->queues[i] = queue_subscription_queue(subscriptions[i]);
	EXPECT(pthread_create(&selecting->thread, NULL, select_on_other_thread, selecting) == 0);
	EVENTUALLY(queue_impl_load_acq(&selecting->queues[1]->waiting_to_pop) == 1);
	if (queue_impl_load32_rlx(&queue_impl_select_polls) == 0)
		EVENTUALLY(stats_of(subscriptions[1]).queue.waits > sleeps ||
			   queue_impl_load32_rlx(&queue_impl_select_polls) == 1);
}

Test(topic, a_publish_wakes_who_selects_among_subscriptions, .timeout = 60)
{
	struct queue_subscription *subscriptions[2];
	struct selecting selecting;
	int i;

	make_topic();
	subscriptions[0] = subscribe_to_tag(0);
	subscriptions[1] = subscribe_to_tag(1);
	for (i = 0; i < 20; i++) {
		begin_to_select(&selecting, subscriptions);
		/* Nobody wants that. */
		EXPECT(publish(1, BIT(2)) == 0);
		EXPECT(publish(2, BIT(i % 2)) == 1);
		EXPECT(pthread_join(selecting.thread, NULL) == 0);
		EXPECT(selecting.rc == 0 && selecting.index == i % 2);
		EXPECT(pop(subscriptions[i % 2]) == 2);
	}
	finish();
}

Test(topic, a_subscription_that_somebody_selects_is_busy_and_wakes_him_when_it_ends, .timeout = 60)
{
	struct queue_subscription *subscriptions[2];
	struct selecting selecting;
	int rc;

	make_topic();
	subscriptions[0] = subscribe_to_tag(0);
	subscriptions[1] = subscribe_to_tag(1);
	begin_to_select(&selecting, subscriptions);
	cr_assert_eq(queue_topic_destroy(world.topic), -EBUSY);
	rc = queue_topic_unsubscribe(subscriptions[1]);
	EXPECT(pthread_join(selecting.thread, NULL) == 0);
	cr_assert(selecting.rc == 0 && selecting.index == 1);
	/* He may have been quick. */
	cr_assert(rc == -EBUSY || rc == 0, "%d", rc);
	if (rc == -EBUSY)
		end(subscriptions[1]);
	finish();
}

Test(topic, close_wakes_those_who_wait_in_a_pop, .timeout = 60)
{
	struct other one = {.rc = 1}, many = {.rc = 1};

	make_topic();
	one.subscription = many.subscription = subscribe(QUEUE_ABORT, 1);
	begin(&one, pop_on_other_thread);
	begin(&many, pop_some_on_other_thread);
	await_sleeps(one.subscription, 2);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	join(&one);
	join(&many);
	cr_assert_eq(one.rc, -EPIPE);
	cr_assert_eq(many.rc, -EPIPE);
	finish();
}

/* One round: what unsubscribe said first, while two threads waited. */
static int
end_while_two_wait(void)
{
	struct other one = {.rc = 1}, many = {.rc = 1};
	struct queue_subscription *stays;
	int rc;

	make_topic();
	one.subscription = many.subscription = subscribe(QUEUE_ABORT, 1);
	stays = subscribe(QUEUE_ABORT, 4);
	begin(&one, pop_on_other_thread);
	begin(&many, pop_some_on_other_thread);
	await_sleeps(one.subscription, 2);
	rc = queue_topic_unsubscribe(one.subscription);
	/* Nothing comes any more. */
	cr_assert_eq(publish(1, 0), 1);
	cr_assert_eq(pop(stays), 1);
	cr_assert_eq(releases(1), 1);
	join(&one);
	join(&many);
	cr_assert_eq(one.rc, -EPIPE);
	cr_assert_eq(many.rc, -EPIPE);
	if (rc == -EBUSY)
		end(one.subscription);
	cr_assert_eq(topic_stats().subscriptions, 1);
	finish();
	return rc;
}

Test(topic, unsubscribe_wakes_those_who_wait_in_a_pop_and_is_busy_until_they_have_left,
     .timeout = 60)
{
	int rc = 0, i;

	/* They may be quick, and have left before it looks. */
	for (i = 0; i < MANY && rc == 0; i++)
		rc = end_while_two_wait();
	cr_assert_eq(rc, -EBUSY);
}

Test(topic, destroy_does_nothing_while_a_thread_waits_in_a_pop, .timeout = 60)
{
	struct other other = {.rc = 1};

	make_topic();
	other.subscription = subscribe(QUEUE_ABORT, 1);
	begin(&other, pop_on_other_thread);
	await_sleeps(other.subscription, 1);
	cr_assert_eq(queue_topic_destroy(world.topic), -EBUSY);
	cr_assert_eq(topic_stats().closed, 0);
	cr_assert_eq(queue_impl_load32_acq(&other.done), 0, "it waits still");
	cr_assert_eq(publish(1, 0), 1);
	join(&other);
	cr_assert_eq(other.rc, 0);
	queue_message_release(other.message);
	finish();
}

Test(topic, destroy_of_several_subscriptions_does_nothing_while_a_thread_waits_in_one,
     .timeout = 60)
{
	struct queue_subscription *before, *after;
	struct other other = {.rc = 1};

	make_topic();
	before = subscribe(QUEUE_ABORT, 4);
	other.subscription = subscribe(QUEUE_ABORT, 4);
	after = subscribe(QUEUE_ABORT, 4);
	cr_assert_eq(publish(1, 0), 3);
	cr_assert_eq(pop(other.subscription), 1);
	begin(&other, pop_on_other_thread);
	await_sleeps(other.subscription, 1);
	cr_assert_eq(queue_topic_destroy(world.topic), -EBUSY);
	cr_assert_eq(topic_stats().subscriptions, 3);
	cr_assert_eq(world.drops, 0);
	cr_assert_eq(publish(2, 0), 3);
	cr_assert_eq(pop(before), 1);
	cr_assert_eq(pop(before), 2);
	cr_assert_eq(pop(after), 1);
	cr_assert_eq(pop(after), 2);
	join(&other);
	cr_assert_eq(other.rc, 0);
	queue_message_release(other.message);
	finish();
}

/* Starts a publisher that finds the subscription of capacity one full, and sleeps. */
static void
publish_into_full(struct other *other)
{
	make_topic();
	other->topic = world.topic;
	other->subscription = subscribe(QUEUE_BLOCK, 1);
	cr_assert_eq(publish(1, 0), 1);
	other->message = fresh(2);
	begin(other, publish_on_other_thread);
	await_sleeps(other->subscription, 1);
	cr_assert_eq(queue_impl_load32_acq(&other->done), 0);
}

Test(topic, block_makes_the_publisher_wait_for_room, .timeout = 60)
{
	struct other other = {.rc = -1};

	publish_into_full(&other);
	cr_assert_eq(pop(other.subscription), 1);
	join(&other);
	cr_assert_eq(other.rc, 1);
	expect_delivery(other.delivery, DELIVERY(.taken = 1));
	cr_assert_eq(pop(other.subscription), 2);
	cr_assert_eq(world.drops, 0);
	finish();
}

Test(topic, destroy_does_nothing_while_a_thread_waits_in_a_publish, .timeout = 60)
{
	struct other other = {.rc = -1};

	publish_into_full(&other);
	cr_assert_eq(queue_topic_destroy(world.topic), -EBUSY);
	cr_assert_eq(topic_stats().closed, 0);
	cr_assert_eq(queue_impl_load32_acq(&other.done), 0, "it waits still");
	cr_assert_eq(pop(other.subscription), 1);
	join(&other);
	cr_assert_eq(other.rc, 1);
	finish();
	cr_assert_eq(news[2].reason, QUEUE_DESTROYED);
}

Test(topic, close_wakes_a_publisher_that_waits_and_the_message_is_still_its_own, .timeout = 60)
{
	struct other other = {.rc = -1};

	publish_into_full(&other);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	join(&other);
	cr_assert_eq(other.rc, -EPIPE);
	cr_assert_eq(releases(2), 0);
	queue_message_release(other.message);
	cr_assert_eq(pop(other.subscription), 1);
	cr_assert_eq(pop(other.subscription), -EPIPE);
	finish();
}

Test(topic, close_wakes_a_publisher_whose_message_others_took, .timeout = 60)
{
	struct queue_subscription *took;
	struct other other = {.rc = -1};

	make_topic();
	other.topic = world.topic;
	took = subscribe(QUEUE_ABORT, 4);
	other.subscription = subscribe(QUEUE_BLOCK, 1);
	(void)subscribe(QUEUE_ABORT, 4);
	cr_assert_eq(publish(1, 0), 3);
	other.message = fresh(2);
	begin(&other, publish_on_other_thread);
	await_sleeps(other.subscription, 1);
	/* In whatever order they are served: one of the two has it or nobody has. */
	cr_assert_eq(queue_topic_close(world.topic), 0);
	join(&other);
	cr_assert_eq(pop(took), 1);
	if (other.rc == -EPIPE) {
		cr_assert_eq(pop(took), -EPIPE);
		queue_message_release(other.message);
	} else {
		cr_assert_eq(other.delivery.taken, (uint64_t)other.rc);
		cr_assert_eq(other.delivery.taken + other.delivery.closed, 3);
		cr_assert_geq(other.delivery.taken, 1);
		cr_assert_geq(other.delivery.closed, 1);
	}
	finish();
}

Test(topic, unsubscribe_wakes_a_publisher_that_waits, .timeout = 60)
{
	struct other other = {.rc = -1};

	publish_into_full(&other);
	/* The publisher may be inside still, but it is not in a pop. */
	end(other.subscription);
	cr_assert_eq(news[1].reason, QUEUE_DESTROYED);
	cr_assert_eq(releases(1), 1);
	join(&other);
	/* Nobody else was there; it has been published to nobody. */
	cr_assert_eq(other.rc, 0);
	expect_delivery(other.delivery, DELIVERY(.closed = 1));
	cr_assert_eq(releases(2), 1);
	cr_assert_eq(world.drops, 1);
	finish();
}

Test(topic, a_publisher_that_waits_keeps_back_nothing_of_other_topics, .timeout = 60)
{
	struct queue_subscription_options options = {.capacity = 1, .on_end = note_end};
	struct queue_subscription *subscription;
	struct other other = {.rc = -1};
	struct queue_topic *elsewhere;
	int ends = 0;

	publish_into_full(&other);
	options.context = &ends;
	cr_assert_eq(queue_topic_create(&elsewhere, NULL), 0);
	cr_assert_eq(queue_topic_subscribe(elsewhere, &options, &subscription), 0);
	end(subscription);
	cr_assert_eq(ends, 1);
	cr_assert_eq(queue_topic_destroy(elsewhere), 0);
	end(other.subscription);
	join(&other);
	finish();
}

/*
 * A publisher that has stopped for good, in the middle: nobody waits for it, and what it uses is
 * not freed.
 */

static struct stop {
	pthread_t thread;
	sem_t reached, go;
	int ends;
} stop;

static void
note_stop_end(void *context)
{
	EXPECT(context == &world);
	stop.ends++;
}

static bool
stop_in_accepts(const struct queue_message *message, void *context)
{
	(void)context;
	if (pthread_equal(pthread_self(), stop.thread) && news_of(message)->number == 1) {
		sem_post(&stop.reached);
		while (sem_wait(&stop.go) != 0)
			continue;
	}
	return true;
}

static void *
publish_and_stop(void *argument)
{
	struct other *other = argument;

	stop.thread = pthread_self();
	return publish_on_other_thread(other);
}

Test(topic, a_publisher_that_is_stopped_keeps_nobody_from_anything, .timeout = 60)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *stopping, *stays;
	struct counting counting;
	struct other other = {.rc = -1};
	int i;

	counting_init(&counting);
	sem_init(&stop.reached, 0, 0);
	sem_init(&stop.go, 0, 0);
	cr_assert_eq(queue_topic_create(&world.topic, &counting.options), 0);
	stays = subscribe(QUEUE_ABORT, 4);
	options.accepts = stop_in_accepts;
	options.on_end = note_stop_end;
	stopping = subscribe_with(&options);
	options.accepts = NULL;
	options.on_end = NULL;
	other.topic = world.topic;
	other.message = fresh(1);
	begin(&other, publish_and_stop);
	while (sem_wait(&stop.reached) != 0)
		continue;

	for (i = 0; i < MANY; i++) {
		struct queue_subscription *comes = subscribe_with(&options);
		int number = 2 + i % (NEWS - 2), got;

		EXPECT(publish(number, 0) == 3);
		EXPECT(pop(comes) == number);
		EXPECT(pop(stopping) == number);
		/* The stopped one may have got through to this one first. */
		got = pop(stays);
		EXPECT((got == 1 ? pop(stays) : got) == number);
		end(comes);
	}
	/* The one it has stopped in, too. */
	end(stopping);
	cr_assert_eq(stop.ends, 0, "it may still be called");
	cr_assert_eq(topic_stats().subscriptions, 1);
	cr_assert_geq(topic_stats().retired, 1);
	cr_assert_eq(publish(2, 0), 1);
	cr_assert_eq(pop(stays), 2);

	sem_post(&stop.go);
	join(&other);
	cr_assert_eq(other.delivery.taken + other.delivery.closed, 2);
	cr_assert_geq(other.delivery.closed, 1);
	/* Now nobody is inside, and the next that ends a subscription frees what was kept. */
	end(subscribe_with(&options));
	end(subscribe_with(&options));
	cr_assert_eq(topic_stats().retired, 0);
	cr_assert_eq(stop.ends, 1);
	finish();
	cr_assert_eq(counting.blocks, 0);
	cr_assert_eq(counting.bytes, 0);
}

Test(topic, destroy_tells_on_end_when_no_call_came_after_the_publisher_that_was_in_the_way,
     .timeout = 60)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *stopping;
	struct other other = {.rc = -1};

	sem_init(&stop.reached, 0, 0);
	sem_init(&stop.go, 0, 0);
	make_topic();
	options.accepts = stop_in_accepts;
	options.on_end = note_stop_end;
	stopping = subscribe_with(&options);
	other.topic = world.topic;
	other.message = fresh(1);
	begin(&other, publish_and_stop);
	while (sem_wait(&stop.reached) != 0)
		continue;
	end(stopping);
	cr_assert_eq(stop.ends, 0, "it is being called");
	sem_post(&stop.go);
	join(&other);
	cr_assert_eq(stop.ends, 0, "nobody was there to tell it");
	finish();
	cr_assert_eq(stop.ends, 1);
}

Test(topic, close_does_not_wait_for_a_publisher_that_is_stopped, .timeout = 60)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct other other = {.rc = -1};

	sem_init(&stop.reached, 0, 0);
	sem_init(&stop.go, 0, 0);
	make_topic();
	options.accepts = stop_in_accepts;
	(void)subscribe_with(&options);
	other.topic = world.topic;
	other.message = fresh(1);
	begin(&other, publish_and_stop);
	while (sem_wait(&stop.reached) != 0)
		continue;
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert_eq(publish(2, 0), -EPIPE);
	queue_message_release(&news[2].message);
	sem_post(&stop.go);
	join(&other);
	cr_assert_eq(other.rc, -EPIPE);
	cr_assert_eq(releases(1), 0);
	queue_message_release(other.message);
	finish();
}

Test(topic, destroy_does_nothing_while_a_publisher_that_has_waited_is_inside, .timeout = 60)
{
	struct queue_subscription_options options = options_for(QUEUE_ABORT, 4);
	struct queue_subscription *full;
	struct other other = {.rc = -1};
	int rc = -EBUSY;

	sem_init(&stop.reached, 0, 0);
	sem_init(&stop.go, 0, 0);
	make_topic();
	full = subscribe(QUEUE_BLOCK, 1);
	options.accepts = stop_in_accepts;
	(void)subscribe_with(&options);
	cr_assert_eq(publish(2, 0), 2);
	other.topic = world.topic;
	other.message = fresh(1);
	begin(&other, publish_and_stop);
	await_sleeps(full, 1);
	cr_assert_eq(queue_topic_destroy(world.topic), -EBUSY);
	/* It waits no more, and goes on to the other subscription. */
	cr_assert_eq(queue_topic_close(world.topic), 0);
	while (sem_wait(&stop.reached) != 0)
		continue;
	cr_assert_eq(queue_topic_destroy(world.topic), -EBUSY);
	/* Neither when its snapshot is an old one. */
	end(full);
	cr_assert_eq(queue_topic_destroy(world.topic), -EBUSY);
	cr_assert_eq(topic_stats().retired, 1);
	sem_post(&stop.go);
	EVENTUALLY(rc == 0 || (rc = queue_topic_destroy(world.topic)) == 0);
	join(&other);
	cr_assert_eq(other.rc, -EPIPE);
	cr_assert_eq(releases(1), 0);
	queue_message_release(other.message);
	cr_assert_eq(releases(2), 1);
}

/*
 * Threads that come and go.
 */

Test(topic, threads_that_publish_once_and_end_leave_nothing_behind, .timeout = 60)
{
	struct counting counting;
	struct queue_subscription *subscription;
	int64_t bytes = 0;
	int i;

	counting_init(&counting);
	cr_assert_eq(queue_topic_create(&world.topic, &counting.options), 0);
	subscription = subscribe(QUEUE_ABORT, 1);
	for (i = 0; i < MANY; i++) {
		struct other other = {.rc = -1, .topic = world.topic};

		other.message = fresh(i % NEWS);
		begin(&other, publish_on_other_thread);
		join(&other);
		EXPECT(other.rc == 1);
		EXPECT(pop(subscription) == i % NEWS);
		if (i == 8)
			bytes = counting.bytes;
	}
	cr_assert_eq(counting.bytes, bytes);
	finish();
	cr_assert_eq(counting.blocks, 0);
}

/*
 * Everywhere.
 */

Test(topic, errno_is_left_alone)
{
	struct queue_subscription_options options = options_for(QUEUE_DISCARD, 1), bad = {0};
	struct queue_subscription *subscription;
	struct queue_subscription_stats stats;
	struct queue_topic_stats topic;
	struct queue_topic_options without = {.allocator = NULL};
	struct queue_allocator none = {refuse_to_allocate, refuse_to_release, NULL};
	struct queue_message *message;

	errno = 4711;
	make_topic();
	cr_assert_eq(queue_topic_subscribe(world.topic, &bad, &subscription), -EINVAL);
	subscription = subscribe_with(&options);
	cr_assert_eq(publish(1, 0), 1);
	cr_assert_eq(publish(2, 0), 0);
	cr_assert_eq(pop(subscription), 1);
	cr_assert_eq(pop(subscription), -EAGAIN);
	cr_assert_eq(queue_topic_pop_until(subscription, &message, queue_now() + 1000000),
		     -ETIMEDOUT);
	cr_assert_eq(queue_subscription_stats(subscription, &stats), 0);
	cr_assert_eq(queue_topic_stats(world.topic, &topic), 0);
	cr_assert_eq(publish(3, 0), 1);
	end(subscription);
	cr_assert_eq(queue_topic_close(world.topic), 0);
	cr_assert_eq(queue_topic_subscribe(world.topic, &options, &subscription), -EPIPE);
	finish();
	world.topic = NULL;
	without.allocator = &none;
	cr_assert_eq(queue_topic_create(&world.topic, &without), -ENOMEM);
	cr_assert_eq(errno, 4711);
}

Test(topic, a_message_that_nobody_frees_may_be_refused)
{
	const struct queue_subscription_options options = {.capacity = 1, .policy = QUEUE_ABORT};
	struct queue_delivery delivery;
	struct queue_subscription *only;
	struct queue_message messages[2], *popped;
	struct queue_topic *place;
	unsigned i;

	cr_assert_eq(queue_topic_create(&place, NULL), 0);
	cr_assert_eq(queue_topic_subscribe(place, &options, &only), 0);
	for (i = 0; i < 2; i++) {
		queue_message_init(&messages[i], NULL, NULL);
		cr_assert_eq(queue_topic_publish_report(place, &messages[i], 0, &delivery),
			     i == 0 ? 1 : 0);
	}
	cr_assert_eq(delivery.refused, 1);
	cr_assert_eq(queue_topic_try_pop(only, &popped), 0);
	cr_assert_eq((void *)popped, (void *)&messages[0]);
	queue_message_release(popped);
	cr_assert_eq(queue_topic_destroy(place), 0);
}
