/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that runs out: at every nth call of the allocator, once or for good, in each function that
 * makes or changes an object, with an allocator of the object's own and with libc's.
 *
 * A function that needs memory answers -ENOMEM, has written nothing to *out, and has given back all
 * that it got; what was there before works as before, and the same call succeeds when there is
 * memory again. A function that is said to need none succeeds.
 */
/* LIBS: -Wl,--wrap=posix_memalign -Wl,--wrap=free */
#include <conveyor.h>

#include "fault.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define SUBSCRIPTIONS 70
#define ITEMS 8
#define TRIES_MAX 200

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- libc's memory --------------------------------------------------------------------------- */

int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
void __real_free(void *memory);
void __wrap_free(void *memory);

static struct {
	bool counts; /* it is what the scenario's objects use */
	bool for_good;
	uint64_t fail_at, calls, failed, blocks;
} libc;

static uint64_t
next(uint64_t *counter)
{
	return queue_impl_fetch_add_acq_rel(counter, 1) + 1;
}

int
__wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
	int rc;

	if (libc.counts) {
		uint64_t number = next(&libc.calls);

		if (libc.fail_at != 0 &&
		    (libc.for_good ? number >= libc.fail_at : number == libc.fail_at)) {
			next(&libc.failed);
			errno = ENOMEM;
			return ENOMEM;
		}
	}
	rc = __real_posix_memalign(memory, alignment, size);
	if (rc == 0 && libc.counts)
		next(&libc.blocks);
	return rc;
}

void
__wrap_free(void *memory)
{
	if (libc.counts && memory)
		(void)queue_impl_fetch_add_acq_rel(&libc.blocks, UINT64_MAX);
	__real_free(memory);
}

/* ---- Either kind of memory ------------------------------------------------------------------- */

static struct fault_allocator own;

static const struct queue_allocator *
allocator(void)
{
	return libc.counts ? NULL : &own.allocator;
}

static void
set_memory(uint64_t fail_at, bool for_good)
{
	fault_set(&own, fail_at, for_good);
	libc.fail_at = fail_at;
	libc.for_good = for_good;
	libc.calls = libc.failed = 0;
}

static uint64_t
calls(void)
{
	return libc.counts ? libc.calls : own.calls;
}

static uint64_t
failed(void)
{
	return libc.counts ? libc.failed : own.failed;
}

static uint64_t
blocks(void)
{
	return libc.counts ? libc.blocks : own.blocks;
}

/* ---- What the scenarios use ------------------------------------------------------------------- */

static unsigned variant;
static struct queue_bounded *queue;
static struct queue_ring *ring;
static struct queue_topic *topic;
static struct queue_pool *pool;
static struct queue_token_feed *feed;
static struct queue_subscription *subscriptions[SUBSCRIPTIONS];
static int subscribed;
static uint32_t handled, dropped, ended, released;

static char untouched;
#define UNTOUCHED ((void *)&untouched)

static void
note_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)reason, (void)context;
	(void)queue_impl_fetch_add32_acq_rel(&dropped, 1);
}

static void
run(void *item, void *context)
{
	(void)item, (void)context;
}

static int
handle(void *item, void *context)
{
	(void)context;
	/* The first one of a scenario that wants it ends its thread. */
	if (item == UNTOUCHED)
		pthread_exit(NULL);
	(void)queue_impl_fetch_add32_acq_rel(&handled, 1);
	return 0;
}

static void
nothing(void)
{
}

/* ---- Rings and queues ------------------------------------------------------------------------- */

static int
ring_create(void)
{
	static const uint64_t capacities[] = {1, 7, 1024};

	ring = UNTOUCHED;
	return queue_ring_create(&ring, capacities[variant / 4], variant % 4, allocator());
}

static bool
ring_is_untouched(void)
{
	return ring == UNTOUCHED;
}

static void
ring_finish(void)
{
	void *item = NULL;

	cr_assert_eq(queue_ring_try_push(ring, &item), 0);
	cr_assert_eq(queue_ring_try_pop(ring, &item), 0);
	queue_ring_destroy(ring);
}

static int
queue_make(void)
{
	struct queue_options options = {
		.capacity = 5,
		.policy = (enum queue_policy)(variant % 5),
		.flags = variant / 5,
		.on_drop = note_drop,
		.run = run,
		.allocator = allocator(),
	};

	if (options.policy == QUEUE_DISCARD_OLDEST)
		options.flags &= QUEUE_SINGLE_PRODUCER;
	queue = UNTOUCHED;
	return queue_create(&queue, &options);
}

static bool
queue_is_untouched(void)
{
	return queue == UNTOUCHED;
}

static void
queue_finish(void)
{
	void *item = NULL;

	cr_assert_eq(queue_push(queue, &item), 0);
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_push(queue, &item), 0);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(dropped, 1);
}

/* ---- Topics ----------------------------------------------------------------------------------- */

static void
note_end(void *context)
{
	(void)context;
	ended++;
}

static void
note_release(struct queue_message *message, void *context)
{
	(void)message, (void)context;
	released++;
}

static int
topic_make(void)
{
	struct queue_topic_options options = {.allocator = allocator()};

	topic = UNTOUCHED;
	return queue_topic_create(&topic, &options);
}

static bool
topic_is_untouched(void)
{
	return topic == UNTOUCHED;
}

static int
subscribe(uint64_t any_of)
{
	struct queue_subscription_options options = {
		.capacity = 4, .any_of = any_of, .on_end = note_end};
	struct queue_subscription **out = &subscriptions[subscribed];
	int rc;

	*out = UNTOUCHED;
	rc = queue_topic_subscribe(topic, &options, out);
	subscribed += rc == 0;
	return rc;
}

static bool
subscription_is_untouched(void)
{
	return subscriptions[subscribed] == UNTOUCHED;
}

static void
topic_with(int n)
{
	cr_assert_eq(topic_make(), 0);
	while (subscribed < n)
		cr_assert_eq(subscribe(0), 0);
}

/* Without subscriptions, with some, and with so many that a filter takes another group. */
static void
topic_prepare(void)
{
	static const int before[] = {0, 3, 64};

	topic_with(before[variant % 3]);
}

static int
subscribe_another(void)
{
	return subscribe(variant < 3 ? 0 : 1);
}

/* Those from `first` on get what is published, those before nothing. */
static void
expect_published_from(int first)
{
	struct queue_message message, *got = NULL;
	int i;

	released = 0;
	queue_message_init(&message, note_release, NULL);
	cr_assert_eq(queue_topic_publish(topic, &message, 1), subscribed - first);
	for (i = first; i < subscribed; i++) {
		cr_assert_eq(queue_topic_try_pop(subscriptions[i], &got), 0);
		cr_assert_eq(got, &message);
		queue_message_release(got);
	}
	cr_assert_eq(released, 1);
}

static void
topic_finish(void)
{
	expect_published_from(0);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert_eq(ended, (uint32_t)subscribed);
}

static void
topic_of_three(void)
{
	topic_with(2);
	cr_assert_eq(subscribe(variant), 0);
}

static int
unsubscribe(void)
{
	return queue_topic_unsubscribe(subscriptions[0]);
}

static int
subscription_close(void)
{
	return queue_subscription_close(subscriptions[0]);
}

static void
topic_finish_without_first(void)
{
	struct queue_topic_stats stats;

	expect_published_from(1);
	cr_assert_eq(queue_topic_stats(topic, &stats), 0);
	cr_assert_leq(stats.subscriptions, 3);
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert_eq(ended, 3);
}

/* ---- Pools and feeds -------------------------------------------------------------------------- */

static void
pool_queue(void)
{
	struct queue_options options = {.capacity = ITEMS, .on_drop = note_drop};
	int i;

	cr_assert_eq(queue_create(&queue, &options), 0);
	for (i = 0; i < ITEMS; i++)
		cr_assert_eq(queue_push(queue, NULL), 0);
}

static int
pool_make(int workers, int batch)
{
	struct queue_pool_options options = {.queue = queue,
					     .handler = handle,
					     .workers = workers,
					     .batch = batch,
					     .allocator = allocator()};

	pool = UNTOUCHED;
	return queue_pool_create(&pool, &options);
}

static int
pool_create(void)
{
	static const int workers[] = {1, 2, 5};

	return pool_make(workers[variant], variant == 1 ? 4 : 0);
}

static bool
pool_is_untouched(void)
{
	return pool == UNTOUCHED && queue_depth_approx(queue) == ITEMS && handled == 0 &&
	       dropped == 0;
}

static void
pool_finish(void)
{
	struct queue_pool_stats stats;

	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_pool_stats(pool, &stats), 0);
	cr_assert_eq(stats.running, 0);
	cr_assert_eq(handled + dropped, ITEMS);
	cr_assert_eq(dropped, stats.failed);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

static void
pool_prepare(void)
{
	pool_queue();
	cr_assert_eq(pool_make(1, 0), 0);
}

static int
pool_resize(void)
{
	return queue_pool_resize(pool, 5);
}

/* As many as could be started run; nothing is undone. */
static bool
pool_is_running(void)
{
	struct queue_pool_stats stats;

	cr_assert_eq(queue_pool_stats(pool, &stats), 0);
	return stats.workers == 5 && stats.running >= 1 && stats.running < 5;
}

static void
pool_with_an_item_that_ends_its_thread(void)
{
	struct queue_options options = {.capacity = ITEMS, .on_drop = note_drop};

	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_eq(pool_make(1, 0), 0);
}

static int
pool_stop(void)
{
	int i, rc;

	/* The first time; then it has been closed, and the items are inside. */
	for (i = 0; i < ITEMS; i++)
		if (queue_push(queue, i == 0 ? UNTOUCHED : NULL) != 0)
			break;
	rc = queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER);
	return rc;
}

static bool
pool_has_items_left(void)
{
	return queue_depth_approx(queue) == ITEMS - 1;
}

static int
feed_create(void)
{
	struct queue_token_feed_options options = {.tokens = 1,
						   .burst = 3,
						   .flags = variant ? QUEUE_FEED_MANUAL : 0,
						   .allocator = allocator()};

	feed = UNTOUCHED;
	return queue_token_feed_create(&feed, &options);
}

static bool
feed_is_untouched(void)
{
	return feed == UNTOUCHED;
}

static void
feed_finish(void)
{
	cr_assert_eq(queue_token_feed_take(feed, 3), 0);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
}

/* ---- The table -------------------------------------------------------------------------------- */

static const struct scenario {
	const char *name;
	unsigned variants;
	uint64_t needs; /* calls of the allocator, in the variant that makes fewest */
	void (*prepare)(void);
	int (*act)(void);
	/* After -ENOMEM; NULL: it does not need the memory, and succeeds without. */
	bool (*is_untouched)(void);
	void (*finish)(void); /* when it has succeeded in the end */
	bool keeps;	      /* what it got before it failed is in use */
	bool own_only;	      /* not with libc's memory, which threads use for themselves */
} scenarios[] = {
	{"queue_ring_create", 12, 1, nothing, ring_create, ring_is_untouched, ring_finish, false,
	 false},
	{"queue_create", 20, 1, nothing, queue_make, queue_is_untouched, queue_finish, false,
	 false},
	{"queue_topic_create", 1, 1, nothing, topic_make, topic_is_untouched, topic_finish, false,
	 false},
	{"queue_topic_subscribe", 6, 2, topic_prepare, subscribe_another, subscription_is_untouched,
	 topic_finish, false, false},
	{"queue_topic_unsubscribe", 2, 1, topic_of_three, unsubscribe, NULL,
	 topic_finish_without_first, false, false},
	{"queue_subscription_close", 2, 1, topic_of_three, subscription_close, NULL,
	 topic_finish_without_first, false, false},
	{"queue_pool_create", 3, 2, pool_queue, pool_create, pool_is_untouched, pool_finish, false,
	 false},
	{"queue_pool_resize", 1, 4, pool_prepare, pool_resize, pool_is_running, pool_finish, true,
	 false},
	{"queue_pool_stop after a handler has ended the thread", 1, 1,
	 pool_with_an_item_that_ends_its_thread, pool_stop, pool_has_items_left, pool_finish, true,
	 true},
	{"queue_token_feed_create", 2, 2, nothing, feed_create, feed_is_untouched, feed_finish,
	 false, false},
};

static void
start_scenario(const struct scenario *scenario)
{
	fault_init(&own);
	memset(subscriptions, 0, sizeof subscriptions);
	subscribed = 0;
	handled = dropped = ended = released = 0;
	libc.blocks = 0;
	set_memory(0, false);
	scenario->prepare();
}

/* The nth call fails. Returns false when there were fewer. */
static bool
play(const struct scenario *scenario, uint64_t n, bool for_good)
{
	uint64_t before;
	bool has_failed;
	int rc;

	start_scenario(scenario);
	before = blocks();
	set_memory(n, for_good);
	rc = scenario->act();
	has_failed = failed() > 0;
	if (!has_failed)
		cr_assert_geq(calls(), scenario->needs, "%s", scenario->name);
	set_memory(0, false);
	/* Once: what a worker could not do when it ended, stop does. */
	if (rc != 0) {
		cr_assert(has_failed && scenario->is_untouched, "%s: %d", scenario->name, rc);
		cr_assert_eq(rc, -ENOMEM, "%s, call %d: %d", scenario->name, (int)n, rc);
		cr_assert(scenario->is_untouched(), "%s, call %d", scenario->name, (int)n);
		if (!scenario->keeps)
			cr_assert_eq(blocks(), before, "%s, call %d", scenario->name, (int)n);
		cr_assert_eq(scenario->act(), 0, "%s, again", scenario->name);
	} else {
		cr_assert(!has_failed || !scenario->is_untouched || (scenario->keeps && !for_good),
			  "%s, call %d: it needs no memory", scenario->name, (int)n);
	}
	scenario->finish();
	cr_assert_eq(blocks(), 0, "%s, call %d", scenario->name, (int)n);
	cr_assert(libc.counts || fault_is_balanced(&own), "%s, call %d", scenario->name, (int)n);
	return has_failed;
}

static void
play_all(void)
{
	for (size_t i = 0; i < COUNT(scenarios); i++) {
		int threads = fault_threads();

		if (libc.counts && scenarios[i].own_only)
			continue;
		for (variant = 0; variant < scenarios[i].variants; variant++) {
			for (int for_good = 0; for_good < 2; for_good++) {
				uint64_t n = 1;

				while (play(&scenarios[i], n, for_good))
					cr_assert_lt(n++, TRIES_MAX);
			}
		}
		cr_assert(fault_threads_return_to(threads), "%s", scenarios[i].name);
	}
}

/* Registers the thread, and sees to what is made once, so that it is not counted. */
static void
warm_up(void)
{
	struct queue_message message;

	fault_init(&own);
	subscribed = 0;
	topic_with(1);
	queue_message_init(&message, NULL, NULL);
	cr_assert_eq(queue_topic_publish(topic, &message, 0), 1);
	cr_assert_eq(queue_topic_destroy(topic), 0);
}

Test(allocation, that_fails_at_any_call_is_reported_and_leaves_nothing, .timeout = 60)
{
	warm_up();
	play_all();
}

Test(allocation, that_fails_in_libc_at_any_call_is_reported_and_leaves_nothing, .timeout = 60)
{
	warm_up();
	libc.counts = true;
	play_all();
	libc.counts = false;
}

/* ---- What needs no memory --------------------------------------------------------------------- */

static void *
publish_in_a_thread(void *message)
{
	return (void *)(intptr_t)queue_topic_publish(topic, message, 1);
}

/* Its first publish registers a thread, or not. */
Test(allocation, that_fails_when_a_thread_is_registered_costs_no_message, .timeout = 60)
{
	struct queue_message message, *got = NULL;
	pthread_t thread;
	void *rc;

	fault_init(&own);
	cr_assert_eq(topic_make(), 0);
	cr_assert_eq(subscribe(0), 0);
	libc.counts = true;
	for (uint64_t fail_at = 2; fail_at-- > 0;) {
		libc.fail_at = fail_at;
		libc.calls = libc.failed = 0;
		released = 0;
		queue_message_init(&message, note_release, NULL);
		cr_assert_eq(pthread_create(&thread, NULL, publish_in_a_thread, &message), 0);
		cr_assert_eq(pthread_join(thread, &rc), 0);
		cr_assert_eq(libc.failed, fail_at);
		cr_assert_eq((intptr_t)rc, 1);
		cr_assert_eq(queue_topic_try_pop(subscriptions[0], &got), 0);
		queue_message_release(got);
		cr_assert_eq(released, 1);
	}
	libc.counts = false;
	cr_assert_eq(queue_topic_destroy(topic), 0);
	cr_assert(fault_is_balanced(&own));
}

/* From here on any call of either allocator fails, and is seen. */
static void
forbid_memory(void)
{
	set_memory(1, true);
	libc.counts = true;
}

static void
expect_none_asked(void)
{
	libc.counts = false;
	cr_assert_eq(own.calls, 0);
	cr_assert_eq(libc.calls, 0);
	set_memory(0, false);
}

Test(allocation, is_not_made_by_what_is_done_with_an_object, .timeout = 60)
{
	struct queue_options options = {.capacity = 4, .on_drop = note_drop};
	struct queue_bucket_options rate = {.tokens = 1000000000};
	struct queue_bucket bucket;
	struct queue_call call;
	struct queue_message message, *got = NULL;
	struct queue_stats stats;
	void *items[4] = {NULL};
	int index = -1;

	fault_init(&own);
	warm_up();
	options.allocator = &own.allocator;
	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_eq(queue_ring_create(&ring, 4, 0, &own.allocator), 0);
	subscribed = 0;
	topic_with(2);
	variant = 1;
	cr_assert_eq(feed_create(), 0);
	cr_assert_eq(queue_bucket_init(&bucket, &rate), 0);

	forbid_memory();
	cr_assert_eq(queue_ring_push_n(ring, items, 4), 4);
	cr_assert_eq(queue_ring_pop_n(ring, items, 4), 4);
	queue_ring_close(ring);
	queue_ring_destroy(ring);

	cr_assert_geq(queue_fd(queue), 0);
	cr_assert_eq(queue_push_n(queue, items, 4), 4);
	cr_assert_eq(queue_push_until(queue, NULL, queue_after_ms(2)), -ETIMEDOUT);
	cr_assert_eq(queue_select(&queue, 1, QUEUE_NEVER, &index), 0);
	cr_assert_eq(queue_pop_n(queue, items, 4), 4);
	cr_assert_eq(queue_pop_until(queue, items, queue_after_ms(2)), -ETIMEDOUT);
	cr_assert_eq(queue_select_fair(&queue, 1, queue_after_ms(2), &index), -ETIMEDOUT);
	cr_assert_eq(queue_stats(queue, &stats), 0);
	cr_assert_eq(queue_close(queue), 0);
	cr_assert_eq(queue_destroy(queue), 0);

	queue_message_init(&message, NULL, NULL);
	cr_assert_eq(queue_topic_publish(topic, &message, 1), 2);
	cr_assert_eq(queue_topic_pop(subscriptions[0], &got), 0);
	queue_message_release(got);
	cr_assert_eq(queue_topic_close(topic), 0);
	cr_assert_eq(queue_topic_destroy(topic), 0);

	cr_assert_eq(queue_token_feed_take(feed, 3), 0);
	cr_assert_eq(queue_token_feed_advance(feed, 1), 0);
	cr_assert_eq(queue_token_feed_take_until(feed, 1, queue_after_ms(2)), -ETIMEDOUT);
	cr_assert_eq(queue_token_feed_destroy(feed), 0);
	rate.tokens = 5;
	cr_assert_eq(queue_bucket_take(&bucket, 1), 0);
	cr_assert_eq(queue_bucket_set(&bucket, &rate), 0);
	cr_assert_eq(queue_bucket_refund(&bucket, 1), 0);

	cr_assert_eq(queue_call_init(&call, NULL), 0);
	cr_assert_geq(queue_call_fd(&call), 0);
	cr_assert_eq(queue_call_wait(&call, queue_after_ms(2)), -ETIMEDOUT);
	queue_call_release(&call);
	queue_call_release(&call);
	expect_none_asked();
	cr_assert(fault_is_balanced(&own));
}
