/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that cannot be started: pthread_create(3) fails at every nth call, once or for good, with
 * each error it has.
 */
/* LIBS: -Wl,--wrap=pthread_create */
#include <conveyor/bucket.h>
#include <conveyor/pool.h>

#include "../../lib/log_impl.h"
#include "../support/disk.h"
#include "fault.h"

#include <errno.h>
#include <string.h>

#include "unit.h"

#define ITEMS 64
#define MOST 6 /* workers */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*body)(void *argument), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*body)(void *argument), void *argument);

static struct {
	uint64_t fail_at; /* from 1; 0: none does */
	bool for_good;
	int error;
	uint64_t calls, failed;
} start;

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
		      void *(*body)(void *argument), void *argument)
{
	uint64_t number = queue_impl_fetch_add_acq_rel(&start.calls, 1) + 1;

	if (start.fail_at != 0 &&
	    (start.for_good ? number >= start.fail_at : number == start.fail_at)) {
		(void)queue_impl_fetch_add_acq_rel(&start.failed, 1);
		return start.error;
	}
	return __real_pthread_create(thread, attributes, body, argument);
}

static void
set_start(uint64_t fail_at, bool for_good, int error)
{
	start.fail_at = fail_at;
	start.for_good = for_good;
	start.error = error;
	start.calls = start.failed = 0;
}

static const int errors[] = {EAGAIN, ENOMEM, EPERM};

#define FOR_ALL_FAILURES(fail_at, for_good, error, most)                                           \
	for (int fail_at = 1; fail_at <= (most); fail_at++)                                        \
		for (int for_good = 0; for_good < 2; for_good++)                                   \
			for (int error = 0; error < 3; error++)

static struct fault_allocator memory;
static struct queue_bounded *queue;
static struct queue_pool *pool;
static uint32_t handled[ITEMS], dropped[ITEMS], handled_total;

static char untouched;
#define UNTOUCHED ((void *)&untouched)

/* This number of the items ends the thread that handles it. */
static uintptr_t deadly;
static uint32_t deaths;

static int
handle(void *item, void *context)
{
	uintptr_t number = (uintptr_t)item;

	(void)context;
	if (number < deadly) {
		(void)queue_impl_fetch_add32_acq_rel(&deaths, 1);
		pthread_exit(NULL);
	}
	(void)queue_impl_fetch_add32_acq_rel(&handled[number], 1);
	(void)queue_impl_fetch_add32_acq_rel(&handled_total, 1);
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
make_queue(uintptr_t items)
{
	struct queue_options options = {.capacity = ITEMS, .on_drop = note_drop};

	fault_init(&memory);
	options.allocator = &memory.allocator;
	memset(handled, 0, sizeof handled);
	memset(dropped, 0, sizeof dropped);
	handled_total = 0;
	deadly = 0;
	deaths = 0;
	set_start(0, false, 0);
	cr_assert_eq(queue_create(&queue, &options), 0);
	for (uintptr_t i = 0; i < items; i++)
		cr_assert_eq(queue_push(queue, (void *)i), 0);
}

static int
make_pool(int workers)
{
	struct queue_pool_options options = {.queue = queue,
					     .handler = handle,
					     .workers = workers,
					     .allocator = &memory.allocator};

	pool = UNTOUCHED;
	return queue_pool_create(&pool, &options);
}

static struct queue_pool_stats
stats(void)
{
	struct queue_pool_stats out;

	cr_assert_eq(queue_pool_stats(pool, &out), 0);
	return out;
}

/* Every item has been handled or, if it ended its thread, dropped: once. */
static void
finish(uintptr_t items)
{
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(queue_destroy(queue), 0);
	for (uintptr_t i = 0; i < items; i++) {
		cr_assert_eq(handled[i], i >= deadly, "item %d", (int)i);
		cr_assert_eq(dropped[i], i < deadly, "item %d", (int)i);
	}
	cr_assert(fault_is_balanced(&memory));
}

Test(threads, that_cannot_be_started_fail_create_with_nothing_popped_and_nothing_left,
     .timeout = 60)
{
	int threads = fault_threads();

	for (int workers = 1; workers <= MOST; workers++) {
		FOR_ALL_FAILURES(fail_at, for_good, error, workers)
		{
			uint64_t blocks;

			make_queue(ITEMS);
			blocks = memory.blocks;
			set_start((uint64_t)fail_at, for_good, errors[error]);
			errno = 4711;
			cr_assert_eq(make_pool(workers), -EAGAIN);
			cr_assert_eq(errno, 4711);
			cr_assert_eq(start.failed, 1);
			cr_assert_eq(pool, UNTOUCHED);
			cr_assert_eq(memory.blocks, blocks);
			cr_assert_eq(queue_depth_approx(queue), ITEMS);
			cr_assert_eq(handled_total, 0);
			cr_assert(fault_threads_return_to(threads));
			/* The queue is as it was: still open, and good for a pool. */
			set_start(0, false, 0);
			cr_assert_eq(make_pool(workers), 0);
			cr_assert_eq(stats().running, workers);
			finish(ITEMS);
		}
	}
	cr_assert(fault_threads_return_to(threads));
}

Test(threads, that_cannot_be_started_leave_a_resized_pool_with_those_that_could, .timeout = 60)
{
	FOR_ALL_FAILURES(fail_at, for_good, error, MOST - 1)
	{
		make_queue(0);
		cr_assert_eq(make_pool(1), 0);
		set_start((uint64_t)fail_at, for_good, errors[error]);
		errno = 4711;
		cr_assert_eq(queue_pool_resize(pool, MOST), -EAGAIN);
		cr_assert_eq(errno, 4711);
		cr_assert_eq(stats().workers, MOST);
		cr_assert_eq(stats().running, fail_at);
		/* It works with these, */
		for (uintptr_t i = 0; i < ITEMS / 2; i++)
			cr_assert_eq(queue_push(queue, (void *)i), 0);
		cr_assert(FAULT_EVENTUALLY(queue_impl_load32_acq(&handled_total) == ITEMS / 2));
		/* and another resize tries again. */
		set_start(0, false, 0);
		cr_assert_eq(queue_pool_resize(pool, MOST), 0);
		cr_assert_eq(stats().running, MOST);
		for (uintptr_t i = ITEMS / 2; i < ITEMS; i++)
			cr_assert_eq(queue_push(queue, (void *)i), 0);
		finish(ITEMS);
	}
}

Test(threads, that_cannot_take_over_are_started_by_the_next_resize_or_stop, .timeout = 60)
{
	for (int by_stop = 0; by_stop < 2; by_stop++) {
		for (int workers = 1; workers <= 3; workers++) {
			make_queue(0);
			cr_assert_eq(make_pool(workers), 0);
			/* As many items as there are workers end their threads. */
			set_start(1, true, EAGAIN);
			deadly = (uintptr_t)workers;
			for (uintptr_t i = 0; i < ITEMS; i++)
				cr_assert_eq(queue_push(queue, (void *)i), 0);
			cr_assert(FAULT_EVENTUALLY(stats().running == 0));
			cr_assert_eq(queue_impl_load32_acq(&deaths), (uint32_t)workers);
			cr_assert_eq(queue_impl_load_acq(&start.failed), (uint64_t)workers);
			if (by_stop)
				cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER),
					     -EAGAIN);
			else
				cr_assert_eq(queue_pool_resize(pool, workers), -EAGAIN);
			set_start(0, false, 0);
			if (by_stop)
				cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER),
					     0);
			else
				cr_assert_eq(queue_pool_resize(pool, workers), 0);
			finish(ITEMS);
		}
	}
}

Test(threads, that_cannot_be_started_fail_a_feed_and_not_one_without_a_thread)
{
	struct queue_token_feed_options options = {.tokens = 7};
	struct queue_token_feed *feed = UNTOUCHED;

	for (int error = 0; error < 3; error++) {
		fault_init(&memory);
		options.allocator = &memory.allocator;
		options.flags = 0;
		set_start(1, true, errors[error]);
		errno = 4711;
		cr_assert_eq(queue_token_feed_create(&feed, &options),
			     errors[error] == ENOMEM ? -ENOMEM : -EAGAIN);
		cr_assert_eq(errno, 4711);
		cr_assert_eq(feed, UNTOUCHED);
		cr_assert(fault_is_balanced(&memory));
		options.flags = QUEUE_FEED_MANUAL;
		cr_assert_eq(queue_token_feed_create(&feed, &options), 0);
		cr_assert_eq(start.calls, 1);
		cr_assert_eq(queue_token_feed_take(feed, 7), 0);
		cr_assert_eq(queue_token_feed_destroy(feed), 0);
		cr_assert(fault_is_balanced(&memory));
		feed = UNTOUCHED;
	}
}

static enum queue_log_verdict
ask(const struct queue_log_half *half, void *context)
{
	(void)half, (void)context;
	return QUEUE_LOG_UNKNOWN;
}

/* Two threads, and one more when there is a message to ask for. */
Test(threads, that_cannot_be_started_leave_a_log_closed_and_as_it_was)
{
	struct queue_log_options options = {
		.segment_size = 65536, .staging_size = 4 * 65536, .check = ask};
	int threads = fault_threads();

	for (int i = 0; i < 9; i++) {
		struct disk *disk = disk_new();
		struct queue_log *log;
		uint64_t id;

		fault_init(&memory);
		options.allocator = &memory.allocator;
		set_start(0, false, 0);
		cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(disk)), 0);
		cr_assert_eq(queue_log_prepare(log, "key", 3, "half", 4, &id), 0);
		cr_assert_eq(queue_log_close(log), 0);
		log = UNTOUCHED;
		set_start((uint64_t)i % 3 + 1, false, errors[i / 3]);
		errno = 4711;
		cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(disk)), -EAGAIN);
		cr_assert_eq(errno, 4711);
		cr_assert_eq(start.failed, 1);
		cr_assert_eq(log, UNTOUCHED);
		cr_assert(fault_is_balanced(&memory));
		cr_assert(fault_threads_return_to(threads));
		set_start(0, false, 0);
		cr_assert_eq(queue_impl_log_open(&log, "log", &options, disk_table(disk)), 0);
		cr_assert_eq(queue_log_commit(log, id, NULL), 0);
		cr_assert_eq(queue_log_close(log), 0);
		cr_assert(fault_is_balanced(&memory));
		disk_free(disk);
	}
}

static uint32_t cannot_decode;

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
	if (queue_impl_load32_acq(&cannot_decode))
		return -EPROTO;
	memcpy(item, data, length);
	return 0;
}

static void
note_any_drop(void *item, enum queue_reason reason, void *context)
{
	(void)context;
	if (reason == QUEUE_FAILED)
		(void)queue_impl_fetch_add32_acq_rel(&dropped[(uintptr_t)item], 1);
}

/* The only worker ends when nothing is in memory, and the rest in the log. */
Test(threads, that_cannot_take_over_are_started_by_stop_for_what_is_in_a_log, .timeout = 60)
{
	static const struct queue_log_options small = {.segment_size = 65536,
						       .staging_size = 4 * 65536};
	struct queue_options options = {.capacity = 1,
					.policy = QUEUE_SPILL,
					.on_drop = note_any_drop,
					.encode = encode,
					.decode = decode};
	struct disk *disk = disk_new();
	struct queue_stats figures;

	fault_init(&memory);
	set_start(0, false, 0);
	cr_assert_eq(queue_impl_log_open(&options.log, "log", &small, disk_table(disk)), 0);
	cr_assert_eq(queue_create(&queue, &options), 0);
	for (uintptr_t i = 0; i < 5; i++)
		cr_assert_eq(queue_push(queue, (void *)i), 0);
	queue_impl_store32_rel(&cannot_decode, 1);
	deadly = 1;
	set_start(2, true, EAGAIN);
	cr_assert_eq(make_pool(1), 0);
	cr_assert(FAULT_EVENTUALLY(stats().running == 0));
	cr_assert_eq(queue_stats(queue, &figures), 0);
	cr_assert_eq(figures.depth, 0);
	cr_assert_eq(figures.backlog, 4);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), -EAGAIN);
	queue_impl_store32_rel(&cannot_decode, 0);
	set_start(0, false, 0);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	finish(5);
	cr_assert_eq(queue_log_close(options.log), 0);
	disk_free(disk);
}
