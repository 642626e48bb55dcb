/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has waited is done with an object when the object may be freed. A thread leaves a call that
 * waits while another one frees the object as soon as it may, with nothing else between the two;
 * ThreadSanitizer says whether that is ordered.
 */
#include <conveyor/bucket.h>
#include <conveyor/queue.h>
#include <conveyor/topic.h>

#include "../support/disk.h"
#include "log_impl.h"
#include "queue_impl.h"

#include <pthread.h>
#include <sched.h>

#include "unit.h"

#define ROUNDS 200
#define SIZE 65536

/* For loops: Criterion makes every assertion that holds an event, which costs microseconds. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d)", #condition, __LINE__);                    \
	} while (0)

static void *
pop_until_closed(void *queue)
{
	void *item;

	EXPECT(queue_pop((struct queue_bounded *)queue, &item) == -EPIPE);
	return NULL;
}

static void *
push_until_closed(void *queue)
{
	EXPECT(queue_push((struct queue_bounded *)queue, NULL) == -EPIPE);
	return NULL;
}

static void *
select_until_closed(void *opaque)
{
	struct queue_bounded *queue = opaque;
	int index = -1;

	EXPECT(queue_select(&queue, 1, QUEUE_NEVER, &index) == 0);
	return NULL;
}

static void
drop_nothing(void *item, enum queue_reason reason, void *context)
{
	(void)item;
	(void)reason;
	(void)context;
}

/* items: there are so many when the thread begins to wait. */
static void
end_while_a_thread_leaves(void *(*body)(void *queue), int items)
{
	const struct queue_options options = {
		.capacity = 1,
		.policy = QUEUE_BLOCK,
		.on_drop = drop_nothing,
	};
	int round, i, rc;

	for (round = 0; round < ROUNDS; round++) {
		struct queue_bounded *queue = NULL;
		pthread_t thread;

		EXPECT(queue_create(&queue, &options) == 0);
		for (i = 0; i < items; i++)
			EXPECT(queue_try_push(queue, NULL) == 0);
		EXPECT(pthread_create(&thread, NULL, body, queue) == 0);
		while (!queue_impl_is_waited_in(queue))
			(void)sched_yield();
		EXPECT(queue_close(queue) == 0);
		while ((rc = queue_destroy(queue)) == -EBUSY)
			(void)sched_yield();
		EXPECT(rc == 0);
		EXPECT(pthread_join(thread, NULL) == 0);
	}
}

Test(wait_ends, of_a_queue_that_a_thread_has_waited_in_to_pop, .timeout = 60)
{
	end_while_a_thread_leaves(pop_until_closed, 0);
}

Test(wait_ends, of_a_queue_that_a_thread_has_waited_in_to_push, .timeout = 60)
{
	end_while_a_thread_leaves(push_until_closed, 1);
}

Test(wait_ends, of_a_queue_that_a_thread_has_selected, .timeout = 60)
{
	end_while_a_thread_leaves(select_until_closed, 0);
}

struct spiller {
	struct queue_bounded *queue;
	uint64_t encoded; /* it is inside, for it has begun to write an item */
};

static ptrdiff_t
encode_nothing(const void *item, void *buffer, size_t size, void *context)
{
	struct spiller *spiller = context;

	(void)item;
	(void)buffer;
	(void)size;
	/* Relaxed: it must not order what the test is about. */
	queue_impl_store_rlx(&spiller->encoded, 1);
	return 0;
}

static int
decode_nothing(const void *data, size_t length, void **item, void *context)
{
	(void)data;
	(void)length;
	(void)context;
	*item = NULL;
	return 0;
}

static void *
spill(void *argument)
{
	struct spiller *spiller = argument;
	int rc = queue_push(spiller->queue, NULL);

	EXPECT(rc == 0 || rc == -EPIPE);
	return NULL;
}

Test(wait_ends, of_a_queue_that_a_thread_has_stored_an_item_in_the_log_of, .timeout = 60)
{
	const struct queue_log_options small = {.segment_size = SIZE, .staging_size = 4 * SIZE};
	struct disk *disk = disk_new();
	struct queue_log *log = NULL;
	int round, rc;

	EXPECT(queue_impl_log_open(&log, "log", &small, disk_table(disk)) == 0);
	for (round = 0; round < ROUNDS; round++) {
		struct spiller spiller = {.encoded = 0};
		const struct queue_options options = {
			.capacity = 1,
			.policy = QUEUE_SPILL,
			.on_drop = drop_nothing,
			.context = &spiller,
			.log = log,
			.encode = encode_nothing,
			.decode = decode_nothing,
		};
		pthread_t thread;

		EXPECT(queue_create(&spiller.queue, &options) == 0);
		/* Full, now or by what the round before has left in the log. */
		(void)queue_try_push(spiller.queue, NULL);
		EXPECT(pthread_create(&thread, NULL, spill, &spiller) == 0);
		while (!queue_impl_load_rlx(&spiller.encoded))
			(void)sched_yield();
		EXPECT(queue_close(spiller.queue) == 0);
		while ((rc = queue_destroy(spiller.queue)) == -EBUSY)
			(void)sched_yield();
		EXPECT(rc == 0);
		EXPECT(pthread_join(thread, NULL) == 0);
	}
	EXPECT(queue_log_close(log) == 0);
	disk_free(disk);
}

struct taker {
	struct queue_token_feed *feed;
	uint64_t looked; /* it has read the clock, so it is inside */
};

static uint64_t
read_clock(void *context)
{
	struct taker *taker = context;

	/* Relaxed: it must not order what the test is about. */
	queue_impl_store_rlx(&taker->looked, 1);
	return 1;
}

static void *
take(void *argument)
{
	struct taker *taker = argument;

	EXPECT(queue_token_feed_take_until(taker->feed, 1, 1000) == 0);
	return NULL;
}

Test(wait_ends, of_a_feed_that_a_thread_has_waited_in, .timeout = 60)
{
	int round, rc;

	for (round = 0; round < ROUNDS; round++) {
		struct taker taker = {.looked = 0};
		const struct queue_token_feed_options options = {
			.tokens = 1,
			.period = 1,
			.flags = QUEUE_FEED_MANUAL,
			.clock = read_clock,
			.context = &taker,
		};
		pthread_t thread;

		EXPECT(queue_token_feed_create(&taker.feed, &options) == 0);
		EXPECT(queue_token_feed_take(taker.feed, 1) == 0);
		EXPECT(queue_token_feed_advance(taker.feed, 1) == 0);
		EXPECT(pthread_create(&thread, NULL, take, &taker) == 0);
		while (!queue_impl_load_rlx(&taker.looked))
			(void)sched_yield();
		EXPECT(queue_token_feed_advance(taker.feed, 2) == 0);
		while ((rc = queue_token_feed_destroy(taker.feed)) == -EBUSY)
			(void)sched_yield();
		EXPECT(rc == 0);
		EXPECT(pthread_join(thread, NULL) == 0);
	}
}

/* One message, full, and who waits there to pop or to push. */
struct party {
	struct queue_topic *topic;
	struct queue_subscription *subscription;
	struct queue_message first, second;
};

static void
begin_party(struct party *party)
{
	const struct queue_subscription_options options = {.capacity = 1, .policy = QUEUE_BLOCK};

	EXPECT(queue_topic_create(&party->topic, NULL) == 0);
	EXPECT(queue_topic_subscribe(party->topic, &options, &party->subscription) == 0);
	queue_message_init(&party->first, NULL, NULL);
	queue_message_init(&party->second, NULL, NULL);
}

static void
await(const struct party *party)
{
	while (!queue_impl_is_waited_in(queue_subscription_queue(party->subscription)))
		(void)sched_yield();
}

static void *
pop_until_it_ends(void *argument)
{
	const struct party *party = argument;
	struct queue_message *message;

	EXPECT(queue_topic_pop(party->subscription, &message) == -EPIPE);
	return NULL;
}

Test(wait_ends, of_a_subscription_that_a_thread_has_waited_in, .timeout = 60)
{
	int round, rc;

	for (round = 0; round < ROUNDS; round++) {
		struct party party;
		pthread_t thread;

		begin_party(&party);
		EXPECT(pthread_create(&thread, NULL, pop_until_it_ends, &party) == 0);
		await(&party);
		while ((rc = queue_topic_unsubscribe(party.subscription)) == -EBUSY)
			(void)sched_yield();
		EXPECT(rc == 0);
		EXPECT(pthread_join(thread, NULL) == 0);
		EXPECT(queue_topic_destroy(party.topic) == 0);
	}
}

static void *
publish_until_closed(void *argument)
{
	struct party *party = argument;

	EXPECT(queue_topic_publish(party->topic, &party->second, 0) == -EPIPE);
	return NULL;
}

/* others: so many subscriptions come while it waits. */
static void
end_while_a_publish_leaves(int others)
{
	const struct queue_subscription_options options = {.capacity = 1};
	int round, i, rc;

	for (round = 0; round < ROUNDS; round++) {
		struct queue_subscription *other;
		struct party party;
		pthread_t thread;

		begin_party(&party);
		EXPECT(queue_topic_publish(party.topic, &party.first, 0) == 1);
		EXPECT(pthread_create(&thread, NULL, publish_until_closed, &party) == 0);
		await(&party);
		for (i = 0; i < others; i++)
			EXPECT(queue_topic_subscribe(party.topic, &options, &other) == 0);
		EXPECT(queue_topic_close(party.topic) == 0);
		while ((rc = queue_topic_destroy(party.topic)) == -EBUSY)
			(void)sched_yield();
		EXPECT(rc == 0);
		EXPECT(pthread_join(thread, NULL) == 0);
	}
}

Test(wait_ends, of_a_topic_that_a_publish_has_waited_in, .timeout = 60)
{
	end_while_a_publish_leaves(0);
}

Test(wait_ends, of_a_topic_that_a_publish_has_waited_in_and_that_has_changed, .timeout = 60)
{
	end_while_a_publish_leaves(1);
}

#define LOG_ROUNDS 40 /* opening one takes a while */

static void *
wait_until_durable(void *log)
{
	EXPECT(queue_log_wait(log, 0, QUEUE_NEVER) == 0);
	return NULL;
}

static void *
sync_all(void *log)
{
	EXPECT(queue_log_sync(log, QUEUE_NEVER) == 0);
	return NULL;
}

static void
close_while_it_leaves(void *(*call)(void *log))
{
	const struct queue_log_options small = {
		.segment_size = SIZE, .staging_size = 4 * SIZE, .sync = QUEUE_LOG_NONE};
	int round, rc;

	for (round = 0; round < LOG_ROUNDS; round++) {
		struct disk *disk = disk_new();
		struct queue_log *log = NULL;
		pthread_t thread;

		EXPECT(queue_impl_log_open(&log, "log", &small, disk_table(disk)) == 0);
		EXPECT(queue_log_append(log, "first", 5, NULL) == 0);
		EXPECT(pthread_create(&thread, NULL, call, log) == 0);
		/* Relaxed: it must not order what the test is about. */
		while (queue_impl_load32_rlx(&log->waiting) == 0 &&
		       queue_impl_load_rlx(&log->durable) == 0)
			(void)sched_yield();
		if (call == wait_until_durable)
			EXPECT(queue_log_sync(log, QUEUE_NEVER) == 0);
		while ((rc = queue_log_close(log)) == -EBUSY)
			(void)sched_yield();
		EXPECT(rc == 0);
		EXPECT(pthread_join(thread, NULL) == 0);
		disk_free(disk);
	}
}

Test(wait_ends, of_a_log_that_a_thread_has_waited_in, .timeout = 60)
{
	close_while_it_leaves(wait_until_durable);
}

Test(wait_ends, of_a_log_that_a_thread_has_synced, .timeout = 60)
{
	close_while_it_leaves(sync_all);
}
