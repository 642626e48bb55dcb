/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that are cancelled inside calls that wait, which are no cancellation points, and handlers
 * of a pool that end their thread.
 */
#include <conveyor.h>

#include "fault.h"
#include "waits.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

#define ITEMS 40
#define ROUNDS 10

static bool
has_returned(const struct waiter *waiter)
{
	return queue_impl_load32_acq(&waiter->has_returned) != 0;
}

/* It goes on waiting, gets what it waits for, and is cancelled by what its thread does next. */
static void
cancel_one(const struct wait_kind *kind, uint64_t deadline, bool close)
{
	struct waiter waiter;

	kind->prepare();
	cr_assert(waiter_start(&waiter, kind, deadline), "%s", kind->name);
	cr_assert_eq(pthread_cancel(waiter.thread), 0);
	/* The signal that cancels has interrupted it. */
	cr_assert(FAULT_EVENTUALLY(fault_is_asleep((pid_t)waiter.number)), "%s", kind->name);
	cr_assert_not(has_returned(&waiter), "%s", kind->name);
	if (kind->is_busy)
		cr_assert_eq(kind->end(), -EBUSY, "%s: has it left?", kind->name);
	if (close)
		kind->close();
	else
		kind->satisfy();
	cr_assert(waiter_returns(&waiter), "%s was left", kind->name);
	cr_assert_eq(waiter_join(&waiter), close ? kind->closed : 0, "%s", kind->name);
	cr_assert(waiter.was_cancelled, "%s: it can still be cancelled", kind->name);
	cr_assert_eq(kind->end(), 0, "%s", kind->name);
}

Test(cancel, does_not_end_a_call_that_waits_and_takes_effect_behind_it, .timeout = 60)
{
	int threads = fault_threads();

	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];

		/*
		 * More than once: where a pool's threads are joined it is by chance whether that
		 * waits; a log's are held up.
		 */
		for (int round = 0; round < (kind->is_parents ? 1 : ROUNDS); round++)
			cancel_one(kind, QUEUE_NEVER, false);
		if (kind->has_deadline)
			cancel_one(kind, queue_after_ms(3600000), false);
		if (kind->close)
			cancel_one(kind, QUEUE_NEVER, true);
	}
	cr_assert(fault_threads_return_to(threads));
}

/* One that is cancelled before it begins to wait sees none of it either. */
static void *
cancel_oneself_and_wait(void *argument)
{
	struct waiter *waiter = argument;

	(void)pthread_cancel(pthread_self());
	waiter->rc = waiter->kind->wait(QUEUE_NEVER);
	queue_impl_store32_rel(&waiter->has_returned, 1);
	pthread_testcancel();
	return NULL;
}

Test(cancel, that_is_pending_does_not_keep_a_call_from_waiting, .timeout = 60)
{
	for (int i = 0; i < wait_kinds_count; i++) {
		const struct wait_kind *kind = &wait_kinds[i];
		struct waiter waiter = {.kind = kind};

		kind->prepare();
		cr_assert_eq(pthread_create(&waiter.thread, NULL, cancel_oneself_and_wait, &waiter),
			     0);
		kind->satisfy();
		cr_assert(waiter_returns(&waiter), "%s", kind->name);
		cr_assert_eq(waiter_join(&waiter), 0, "%s", kind->name);
		cr_assert(waiter.was_cancelled, "%s", kind->name);
		cr_assert_eq(kind->end(), 0, "%s", kind->name);
	}
}

/* ---- What else might be a cancellation point -------------------------------------------------- */

static int
handle_nothing(void *item, void *context)
{
	(void)item, (void)context;
	return 0;
}

static void
count_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)reason;
	(void)queue_impl_fetch_add32_acq_rel(context, 1);
}

/* The steps that a thread comes through though it has been cancelled. */
static uint32_t steps;

#define STEP(condition)                                                                            \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return NULL;                                                               \
		(void)queue_impl_fetch_add32_acq_rel(&steps, 1);                                   \
	} while (0)

static void *
use_everything(void *stream)
{
	struct queue_options options = {.capacity = 2, .on_drop = count_drop};
	struct queue_subscription_options wants = {.capacity = 2};
	struct queue_token_feed_options rate = {.tokens = 1};
	struct queue_pool_options workers = {.handler = handle_nothing, .workers = 3};
	struct queue_subscription *subscription;
	struct queue_message message;
	struct queue_token_feed *feed;
	struct queue_topic *topic;
	struct queue_pool *pool;
	struct queue_call call;
	struct queue_stats stats;
	uint32_t drops = 0;

	(void)pthread_cancel(pthread_self());
	options.context = &drops;
	STEP(queue_create(&workers.queue, &options) == 0);
	STEP(queue_fd(workers.queue) >= 0);
	STEP(queue_push(workers.queue, NULL) == 0);
	STEP(queue_stats(workers.queue, &stats) == 0);
	STEP(queue_stats_print(stream, &stats) == 0);
	STEP(queue_stats_prometheus(stream, "a", &stats) == 0);
	STEP(queue_pool_create(&pool, &workers) == 0);
	STEP(queue_pool_resize(pool, 1) == 0);
	STEP(queue_pool_resize(pool, 4) == 0);
	STEP(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER) == 0);
	STEP(queue_pool_destroy(pool) == 0);
	STEP(queue_destroy(workers.queue) == 0);
	STEP(queue_token_feed_create(&feed, &rate) == 0);
	STEP(queue_token_feed_take(feed, 1) == 0);
	STEP(queue_token_feed_destroy(feed) == 0);
	STEP(queue_topic_create(&topic, NULL) == 0);
	STEP(queue_topic_subscribe(topic, &wants, &subscription) == 0);
	queue_message_init(&message, NULL, NULL);
	STEP(queue_topic_publish(topic, &message, 0) == 1);
	STEP(queue_topic_unsubscribe(subscription) == 0);
	STEP(queue_topic_destroy(topic) == 0);
	STEP(queue_call_init(&call, NULL) == 0);
	STEP(queue_call_fd(&call) >= 0);
	STEP(queue_call_cancel(&call) == 0);
	queue_call_release(&call);
	queue_call_release(&call);
	(void)queue_impl_fetch_add32_acq_rel(&steps, 1);
	pthread_testcancel();
	return NULL;
}

#define STEPS 24

static ptrdiff_t
encode(const void *item, void *buffer, size_t size, void *context)
{
	(void)context;
	if (size >= sizeof item)
		memcpy(buffer, &item, sizeof item);
	return sizeof item;
}

static int
decode(const void *data, size_t length, void **item, void *context)
{
	(void)context;
	if (length != sizeof *item)
		return -EILSEQ;
	memcpy(item, data, sizeof *item);
	return 0;
}

static int
visit(const struct queue_log_half *half, void *context)
{
	(void)half;
	(void)queue_impl_fetch_add32_acq_rel(context, 1);
	return 0;
}

/* In files of the system: what it does with those are cancellation points by their names. */
static void *
use_a_log(void *path)
{
	struct queue_log_options small = {.segment_size = QUEUE_LOG_SEGMENT_MIN,
					  .staging_size = UINT64_C(1) << 18};
	struct queue_options options = {.capacity = 1,
					.policy = QUEUE_SPILL,
					.on_drop = count_drop,
					.encode = encode,
					.decode = decode};
	static const char block[15000]; /* five take more than a file */
	struct queue_log_message messages[8];
	struct queue_log_reader *reader;
	struct queue_bounded *queue;
	struct queue_log *log;
	uint64_t position;
	static char buffer[8 * sizeof block];
	uint32_t drops = 0, seen = 0;
	void *item;

	(void)pthread_cancel(pthread_self());
	options.context = &drops;
	STEP(queue_log_open(&log, path, &small) == 0);
	for (int i = 0; i < 5; i++)
		STEP(queue_log_append(log, block, sizeof block, NULL) == 0);
	STEP(queue_log_append_async(log, block, 1, &position) == 0);
	STEP(queue_log_wait(log, position, QUEUE_NEVER) == 0);
	STEP(queue_log_fd(log) >= 0);
	STEP(queue_log_fd_clear(log) > position);
	STEP(queue_log_reader_open(log, "a", NULL, &reader) == 0);
	STEP(queue_log_read(reader, &messages[0], buffer, sizeof buffer, QUEUE_NEVER) == 0);
	STEP(queue_log_ack(reader, messages[0].position) == 0);
	STEP(queue_log_read_n(reader, messages, 8, buffer, sizeof buffer, QUEUE_NEVER) == 5);
	STEP(queue_log_nack(reader, messages[0].position, 0) == 0);
	STEP(queue_log_read(reader, &messages[0], buffer, sizeof buffer, QUEUE_NEVER) == 0);
	STEP(queue_log_ack_n(reader, messages, 5) == 5);
	STEP(queue_log_prepare(log, "key", 3, block, 1, &position) == 0);
	STEP(queue_log_undecided(log, visit, &seen) == 0 && seen == 1);
	STEP(queue_log_commit(log, position, NULL) == 0);
	STEP(queue_log_prepare(log, "key", 3, block, 1, &position) == 0);
	STEP(queue_log_rollback(log, position) == 0);
	STEP(queue_log_sync(log, QUEUE_NEVER) == 0);
	STEP(queue_log_reader_close(reader) == 0);
	STEP(queue_log_reader_remove(log, "a") == 0);
	STEP(queue_log_close(log) == 0);
	/* Again, with what is there, and as a queue's. */
	STEP(queue_log_open(&log, path, &small) == 0);
	STEP(queue_log_reader_open(log, "spill", NULL, &reader) == 0);
	STEP(queue_log_read_n(reader, messages, 8, buffer, sizeof buffer, 0) > 0);
	while (queue_log_ack_n(reader, messages, 8) > 0)
		(void)queue_log_read_n(reader, messages, 8, buffer, sizeof buffer, 0);
	STEP(queue_log_reader_close(reader) == 0);
	options.log = log;
	STEP(queue_create(&queue, &options) == 0);
	for (int i = 0; i < 3; i++)
		STEP(queue_push(queue, &drops) == 0);
	for (int i = 0; i < 3; i++)
		STEP(queue_pop(queue, &item) == 0 && item == &drops);
	STEP(queue_destroy(queue) == 0);
	STEP(queue_log_close(log) == 0);
	pthread_testcancel();
	return NULL;
}

#define LOG_STEPS 39
#define LOG_ROUNDS 3

Test(cancel, ends_no_call_of_the_library, .timeout = 60)
{
	FILE *stream = fopen("/dev/null", "w");

	cr_assert_not_null(stream);
	for (int round = 0; round < 50; round++) {
		int threads = fault_threads();
		pthread_t thread;
		void *value;

		steps = 0;
		cr_assert_eq(pthread_create(&thread, NULL, use_everything, stream), 0);
		cr_assert_eq(pthread_join(thread, &value), 0);
		cr_assert_eq(steps, STEPS, "after step %u", steps);
		cr_assert_eq(value, PTHREAD_CANCELED);
		/* Nobody has left with the stream locked. */
		cr_assert_eq(ftrylockfile(stream), 0);
		funlockfile(stream);
		cr_assert(fault_threads_return_to(threads));
	}
	cr_assert_eq(fclose(stream), 0);
}

Test(cancel, ends_no_call_of_a_log_either, .timeout = 60)
{
	char path[FAULT_PATH];
	int threads = fault_threads();

	for (int round = 0; round < LOG_ROUNDS; round++) {
		pthread_t thread;
		void *value;

		fault_make_path(path);
		steps = 0;
		cr_assert_eq(pthread_create(&thread, NULL, use_a_log, path), 0);
		cr_assert_eq(pthread_join(thread, &value), 0);
		cr_assert_eq(steps, LOG_STEPS, "after step %u", steps);
		cr_assert_eq(value, PTHREAD_CANCELED);
		cr_assert(fault_threads_return_to(threads));
		fault_remove_directory(path);
	}
}

/* ---- Handlers that end their thread ----------------------------------------------------------- */

enum end {
	RETURNS,
	EXITS,
	IS_CANCELLED,
	IS_CANCELLED_LATER,
	ENDS
};

static struct queue_pool *pool;
static struct queue_bounded *queue, *dead;
static uint32_t handled[ITEMS], dropped[ITEMS], dead_lettered;

/* Every third item ends the thread, each in another way. */
static enum end
end_of(uintptr_t number)
{
	return number % 3 == 2 ? (enum end)(1 + number / 3 % (ENDS - 1)) : RETURNS;
}

static int
end_thread(void *item, void *context)
{
	uintptr_t number = (uintptr_t)item;

	(void)context;
	switch (end_of(number)) {
	case EXITS:
		pthread_exit(NULL);
	case IS_CANCELLED:
		/*
		 * NULL: AddressSanitizer would find a variable's surroundings on the stack when the
		 * thread has left it by being cancelled.
		 */
		(void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
		(void)pthread_cancel(pthread_self());
		pthread_testcancel();
		break;
	case IS_CANCELLED_LATER:
		/* Workers cannot be cancelled, so it comes to nothing. */
		(void)pthread_cancel(pthread_self());
		pthread_testcancel();
		usleep(1);
		break;
	case RETURNS:
	case ENDS:
	default:
		break;
	}
	(void)queue_impl_fetch_add32_acq_rel(&handled[number], 1);
	return 0;
}

static void
note_drop(void *item, enum queue_reason reason, void *context)
{
	(void)context;
	cr_assert_eq(reason, QUEUE_FAILED);
	(void)queue_impl_fetch_add32_acq_rel(&dropped[(uintptr_t)item], 1);
}

static void
end_threads(int workers, int batch, bool dead_letters)
{
	struct queue_options options = {.capacity = ITEMS, .on_drop = note_drop};
	struct queue_pool_options pool_options = {
		.handler = end_thread, .workers = workers, .batch = batch};
	struct queue_pool_stats stats;
	struct fault_allocator memory;
	void *item;

	fault_init(&memory);
	options.allocator = pool_options.allocator = &memory.allocator;
	memset(handled, 0, sizeof handled);
	memset(dropped, 0, sizeof dropped);
	dead_lettered = 0;
	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_eq(queue_create(&dead, &options), 0);
	pool_options.queue = queue;
	pool_options.dead_letters = dead_letters ? dead : NULL;
	cr_assert_eq(queue_pool_create(&pool, &pool_options), 0);
	for (uintptr_t i = 0; i < ITEMS; i++)
		cr_assert_eq(queue_push(queue, (void *)i), 0);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_pool_stats(pool, &stats), 0);
	while (queue_try_pop(dead, &item) == 0) {
		dead_lettered++;
		(void)queue_impl_fetch_add32_acq_rel(&dropped[(uintptr_t)item], 1);
	}
	for (uintptr_t i = 0; i < ITEMS; i++) {
		enum end end = end_of(i);

		cr_assert_eq(handled[i] + dropped[i], 1, "item %d", (int)i);
		if (end == EXITS || end == IS_CANCELLED)
			cr_assert_eq(dropped[i], 1, "item %d", (int)i);
		else if (batch == 1)
			cr_assert_eq(handled[i], 1, "item %d", (int)i);
	}
	cr_assert_eq(stats.handled + stats.failed, ITEMS);
	cr_assert_eq(stats.dead_lettered, dead_lettered);
	cr_assert_eq(dead_letters, dead_lettered > 0);
	cr_assert_eq(stats.running, 0);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(queue_destroy(dead), 0);
	cr_assert(fault_is_balanced(&memory));
}

Test(handlers, that_end_their_thread_in_any_way_cost_what_it_held_and_no_worker, .timeout = 60)
{
	int threads = fault_threads();

	for (int workers = 1; workers <= 3; workers++)
		for (int batch = 1; batch <= 5; batch += 2)
			for (int dead_letters = 0; dead_letters < 2; dead_letters++)
				end_threads(workers, batch, dead_letters);
	cr_assert(fault_threads_return_to(threads));
}
