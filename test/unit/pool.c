/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include <conveyor/impl/atomic.h>
#include <conveyor/pool.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Waits for what other threads are about to do; gives up after ten seconds. What was so once is not
 * asked again: it may not last.
 */
#define EVENTUALLY(condition)                                                                      \
	do {                                                                                       \
		uint64_t give_up_at = queue_after_ms(10000);                                       \
		bool is_so;                                                                        \
                                                                                                   \
		while (!(is_so = (condition)) && queue_now() < give_up_at)                         \
			usleep(100);                                                               \
		cr_assert(is_so, #condition);                                                      \
	} while (0)

/* Items are numbers; what has become of each is counted here. */
#define ITEMS 1000

struct world {
	struct queue_bounded *queue;
	struct queue_bounded *dead;
	struct queue_pool *pool;
	uint32_t handled[ITEMS];
	uint32_t calls[ITEMS];
	uint32_t dropped[ITEMS];
	uint32_t reason[ITEMS]; /* the last one on_drop was told */
	int fails[ITEMS];	/* how often the handler is to fail, before it succeeds */
	uint32_t order[ITEMS];	/* the items handled, in order */
	uint32_t ticket, handled_total, dropped_total;
	sem_t begun, go; /* slow_handler: posts, waits */
	int (*extra)(struct world *world, uintptr_t item);
	uint32_t answer;
	uint32_t ended;
};

static struct world world;

static void *
item_of(uintptr_t number)
{
	return (void *)number; /* NULL is an item too */
}

static uint32_t
get(const uint32_t *word)
{
	return queue_impl_load32_acq(word);
}

static uint32_t
bump(uint32_t *word)
{
	return queue_impl_fetch_add32_acq_rel(word, 1);
}

static int
quick_handler(void *item, void *context)
{
	uintptr_t number = (uintptr_t)item;

	cr_assert_eq(context, &world);
	if (bump(&world.calls[number]) < (uint32_t)world.fails[number])
		return -EIO;
	bump(&world.handled[number]);
	world.order[bump(&world.ticket)] = (uint32_t)number;
	bump(&world.handled_total);
	return 0;
}

static int
slow_handler(void *item, void *context)
{
	sem_post(&world.begun);
	while (sem_wait(&world.go) != 0)
		continue;
	return quick_handler(item, context);
}

static int
extra_handler(void *item, void *context)
{
	int rc = world.extra(&world, (uintptr_t)item);

	queue_impl_store32_rel(&world.answer, (uint32_t)rc);
	return quick_handler(item, context);
}

static void
note_drop(void *item, enum queue_reason reason, void *context)
{
	uintptr_t number = (uintptr_t)item;

	(void)context;
	queue_impl_store32_rel(&world.reason[number], reason);
	bump(&world.dropped[number]);
	bump(&world.dropped_total);
}

static struct queue_options
queue_options(uint64_t capacity)
{
	return (struct queue_options){.capacity = capacity, .on_drop = note_drop};
}

static struct queue_pool_options
pool_options(int (*handler)(void *item, void *context))
{
	return (struct queue_pool_options){
		.queue = world.queue, .handler = handler, .context = &world};
}

static void
make_queue(uint64_t capacity)
{
	struct queue_options options = queue_options(capacity);

	cr_assert_eq(queue_create(&world.queue, &options), 0);
	sem_init(&world.begun, 0, 0);
	sem_init(&world.go, 0, 0);
}

static void
make_pool(const struct queue_pool_options *options)
{
	int rc = queue_pool_create(&world.pool, options);

	cr_assert_eq(rc, 0, "queue_pool_create: %d", rc);
}

static void
push(uintptr_t from, uintptr_t to)
{
	for (; from < to; from++)
		cr_assert_eq(queue_push(world.queue, item_of(from)), 0);
}

static void
wait_for_begun(int n)
{
	while (n > 0)
		n -= sem_wait(&world.begun) == 0;
}

static void
let_go(int n)
{
	while (n-- > 0)
		sem_post(&world.go);
}

static struct queue_pool_stats
stats(void)
{
	struct queue_pool_stats out;

	cr_assert_eq(queue_pool_stats(world.pool, &out), 0);
	return out;
}

/* Ends the pool and the queue; nothing may be left in either. */
static void
finish(void)
{
	cr_assert_eq(queue_pool_destroy(world.pool), 0);
	cr_assert_eq(queue_depth_approx(world.queue), 0);
	cr_assert_eq(queue_destroy(world.queue), 0);
	cr_assert_eq(queue_destroy(world.dead), 0);
}

Test(pool, handles_every_item_once_and_one_worker_does_so_in_order, .timeout = 60)
{
	struct queue_pool_options options;
	int i;

	make_queue(ITEMS);
	push(0, ITEMS);
	options = pool_options(quick_handler);
	make_pool(&options);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	for (i = 0; i < ITEMS; i++) {
		cr_assert_eq(world.handled[i], 1);
		cr_assert_eq(world.order[i], (uint32_t)i);
	}
	cr_assert_eq(stats().handled, ITEMS);
	cr_assert_eq(stats().failed + stats().retried + stats().stopped, 0);
	finish();
}

Test(pool, batches_are_handled_in_order_too, .timeout = 60)
{
	struct queue_pool_options options;
	int i;

	make_queue(ITEMS);
	push(0, ITEMS);
	options = pool_options(quick_handler);
	options.batch = QUEUE_POOL_BATCH_MAX;
	make_pool(&options);
	EVENTUALLY(get(&world.handled_total) == ITEMS);
	for (i = 0; i < ITEMS; i++)
		cr_assert_eq(world.order[i], (uint32_t)i);
	finish();
}

Test(pool, create_refuses_options_that_make_no_sense)
{
	static const struct queue_allocator incomplete = {NULL, NULL, NULL};
	struct queue_options without_drop = {.capacity = 1};
	struct queue_options single = queue_options(1);
	struct queue_bounded *silent, *alone;
	struct queue_pool_options good, bad;
	struct queue_pool *pool = NULL;

	make_queue(1);
	single.flags = QUEUE_SINGLE_CONSUMER;
	cr_assert_eq(queue_create(&silent, &without_drop), 0);
	cr_assert_eq(queue_create(&alone, &single), 0);
	good = pool_options(quick_handler);
#define REFUSED(change)                                                                            \
	do {                                                                                       \
		bad = good;                                                                        \
		change;                                                                            \
		cr_assert_eq(queue_pool_create(&pool, &bad), -EINVAL, #change);                    \
	} while (0)
	REFUSED(bad.queue = NULL);
	REFUSED(bad.handler = NULL);
	REFUSED(bad.queue = silent);
	REFUSED(bad.queue = silent; bad.dead_letters = alone);
	REFUSED(bad.dead_letters = bad.queue);
	REFUSED(bad.workers = -1);
	REFUSED(bad.workers = QUEUE_POOL_WORKERS_MAX + 1);
	REFUSED(bad.queue = alone; bad.workers = 2);
	REFUSED(bad.batch = -1);
	REFUSED(bad.batch = QUEUE_POOL_BATCH_MAX + 1);
	REFUSED(bad.attempts = -1);
	REFUSED(bad.allocator = &incomplete);
	cr_assert_eq(queue_pool_create(NULL, &good), -EINVAL);
	cr_assert_eq(queue_pool_create(&pool, NULL), -EINVAL);
	cr_assert_null(pool);
	cr_assert_eq(queue_destroy(silent), 0);
	cr_assert_eq(queue_destroy(alone), 0);
	cr_assert_eq(queue_destroy(world.queue), 0);
	cr_assert_eq(queue_pool_destroy(NULL), 0);
}

/*
 * Memory and threads that run out.
 */

struct counting {
	struct queue_allocator allocator;
	int left; /* allocations until one fails; negative: none does */
	bool no_threads_instead;
	int64_t bytes;
	uint32_t given;
};

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	struct counting *counting = context;

	if (counting->left == 0) {
		pthread_attr_t attributes;

		if (!counting->no_threads_instead)
			return NULL;
		/* A stack larger than any address space: from now on no thread can be made. */
		pthread_attr_init(&attributes);
		cr_assert_eq(pthread_attr_setstacksize(&attributes, SIZE_MAX / 4 + 1), 0);
		cr_assert_eq(pthread_setattr_default_np(&attributes), 0);
	}
	counting->left--;
	counting->bytes += (int64_t)size;
	counting->given++;
	return queue_allocator_libc.allocate(NULL, size, alignment);
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	struct counting *counting = context;

	counting->bytes -= (int64_t)size;
	counting->given--;
	queue_allocator_libc.release(NULL, memory, size, alignment);
}

static void
counting_init(struct counting *counting)
{
	memset(counting, 0, sizeof *counting);
	counting->allocator.allocate = counting_allocate;
	counting->allocator.release = counting_release;
	counting->allocator.context = counting;
	counting->left = -1;
}

/* How many threads of the process have names that start like that. */
static int
threads_called(const char *start)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int n = 0;

	cr_assert_not_null(tasks);
	while ((entry = readdir(tasks)) != NULL) {
		char path[300], name[32] = "";
		FILE *file;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		(void)!fgets(name, sizeof name, file);
		fclose(file);
		n += strncmp(name, start, strlen(start)) == 0;
	}
	closedir(tasks);
	return n;
}

Test(pool, memory_that_runs_out_in_create_leaves_no_thread_and_no_item_touched, .timeout = 60)
{
	struct queue_pool_options options;
	struct counting counting;
	int i;

	make_queue(8);
	push(0, 8);
	options = pool_options(quick_handler);
	options.workers = 4;
	options.allocator = &counting.allocator;
	/* The pool, then each worker. */
	for (i = 0; i < 5; i++) {
		counting_init(&counting);
		counting.left = i;
		cr_assert_eq(queue_pool_create(&world.pool, &options), -ENOMEM);
		cr_assert_null(world.pool);
		cr_assert_eq(counting.given, 0);
		cr_assert_eq(counting.bytes, 0);
		EVENTUALLY(threads_called("pool/") == 0);
		cr_assert_eq(queue_depth_approx(world.queue), 8);
	}
	counting_init(&counting);
	make_pool(&options);
	finish();
	cr_assert_eq(counting.given, 0);
	cr_assert_eq(counting.bytes, 0);
	cr_assert_eq(world.handled_total, 8);
}

Test(pool, threads_that_run_out_in_create_leave_no_thread_and_no_item_touched, .timeout = 60)
{
	struct queue_pool_options options;
	struct counting counting;

	make_queue(8);
	push(0, 8);
	options = pool_options(quick_handler);
	options.workers = 4;
	options.allocator = &counting.allocator;
	counting_init(&counting);
	counting.left = 3; /* the pool and two workers; the third gets memory and no thread */
	counting.no_threads_instead = true;
	cr_assert_eq(queue_pool_create(&world.pool, &options), -EAGAIN);
	cr_assert_eq(counting.given, 0);
	cr_assert_eq(counting.bytes, 0);
	EVENTUALLY(threads_called("pool/") == 0);
	cr_assert_eq(queue_depth_approx(world.queue), 8);
	cr_assert_eq(queue_destroy(world.queue), 0);
	cr_assert_eq(world.reason[0], QUEUE_DESTROYED);
}

Test(pool, memory_that_runs_out_in_resize_leaves_as_many_as_could_be_started, .timeout = 60)
{
	struct queue_pool_options options;
	struct counting counting;

	make_queue(8);
	options = pool_options(quick_handler);
	options.allocator = &counting.allocator;
	counting_init(&counting);
	make_pool(&options);
	counting.left = 2;
	cr_assert_eq(queue_pool_resize(world.pool, 8), -ENOMEM);
	cr_assert_eq(stats().running, 3);
	cr_assert_eq(stats().workers, 8);
	counting.left = -1;
	cr_assert_eq(queue_pool_resize(world.pool, 8), 0);
	cr_assert_eq(stats().running, 8);
	push(0, 8);
	finish();
	cr_assert_eq(world.handled_total, 8);
	cr_assert_eq(counting.given, 0);
	cr_assert_eq(counting.bytes, 0);
}

/*
 * Items that fail.
 */

Test(pool, a_failing_item_is_tried_again_until_it_succeeds, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(8);
	world.fails[1] = 2;
	push(0, 3);
	options = pool_options(quick_handler);
	options.attempts = 3;
	make_pool(&options);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(world.calls[1], 3);
	cr_assert_eq(world.handled[1], 1);
	/* At once, before the next item. */
	cr_assert_eq(world.order[1], 1);
	cr_assert_eq(stats().handled, 3);
	cr_assert_eq(stats().retried, 2);
	cr_assert_eq(stats().failed, 0);
	finish();
}

Test(pool, an_item_that_failed_every_attempt_goes_to_on_drop_when_there_are_no_dead_letters,
     .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(8);
	world.fails[0] = 3;
	push(0, 2);
	options = pool_options(quick_handler);
	options.attempts = 3;
	make_pool(&options);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(world.calls[0], 3);
	cr_assert_eq(world.handled[0], 0);
	cr_assert_eq(world.dropped[0], 1);
	cr_assert_eq(world.reason[0], QUEUE_FAILED);
	cr_assert_eq(stats().failed, 1);
	cr_assert_eq(stats().retried, 2);
	cr_assert_eq(stats().dead_lettered, 0);
	cr_assert_eq(world.handled[1], 1);
	finish();
}

/* Three items that fail, and a dead-letter queue of one place. */
static void
fail_three(enum queue_policy policy, bool closed)
{
	struct queue_options dead_options = queue_options(1);
	struct queue_pool_options options;

	make_queue(8);
	dead_options.policy = policy;
	cr_assert_eq(queue_create(&world.dead, &dead_options), 0);
	if (closed)
		cr_assert_eq(queue_close(world.dead), 0);
	world.fails[0] = world.fails[1] = world.fails[2] = 1;
	push(0, 3);
	options = pool_options(quick_handler);
	options.dead_letters = world.dead;
	make_pool(&options);
}

Test(pool, dead_letters_get_failed_items_and_on_drop_those_they_refuse, .timeout = 60)
{
	void *item;

	fail_three(QUEUE_ABORT, false);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_try_pop(world.dead, &item), 0);
	cr_assert_eq(item, item_of(0));
	cr_assert_eq(world.reason[1], QUEUE_FAILED);
	cr_assert_eq(world.reason[2], QUEUE_FAILED);
	cr_assert_eq(world.dropped_total, 2);
	cr_assert_eq(stats().failed, 3);
	cr_assert_eq(stats().dead_lettered, 1);
	finish();
}

Test(pool, what_the_policy_of_the_dead_letters_did_with_an_item_is_left_at_that, .timeout = 60)
{
	void *item;

	fail_three(QUEUE_DISCARD_OLDEST, false);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_try_pop(world.dead, &item), 0);
	cr_assert_eq(item, item_of(2));
	cr_assert_eq(world.reason[0], QUEUE_EVICTED);
	cr_assert_eq(world.reason[1], QUEUE_EVICTED);
	cr_assert_eq(world.dropped_total, 2);
	cr_assert_eq(stats().dead_lettered, 3);
	finish();
}

Test(pool, closed_dead_letters_send_failed_items_to_on_drop, .timeout = 60)
{
	fail_three(QUEUE_BLOCK, true);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(world.dropped_total, 3);
	cr_assert_eq(world.reason[0], QUEUE_FAILED);
	cr_assert_eq(stats().dead_lettered, 0);
	finish();
}

Test(pool, waiting_for_room_among_the_dead_letters_ends_when_they_are_closed, .timeout = 60)
{
	void *item;

	fail_three(QUEUE_BLOCK, false);
	EVENTUALLY(stats().failed == 2);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, queue_after_ms(5)), -ETIMEDOUT);
	cr_assert_eq(queue_close(world.dead), 0);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(world.dropped_total, 2);
	cr_assert_eq(queue_try_pop(world.dead, &item), 0);
	finish();
}

static int
fail_slowly(void *item, void *context)
{
	sem_post(&world.begun);
	while (sem_wait(&world.go) != 0)
		continue;
	bump(&world.calls[(uintptr_t)item]);
	(void)context;
	return -EIO;
}

Test(pool, discarding_does_not_wait_for_room_among_the_dead_letters, .timeout = 60)
{
	struct queue_options dead_options = queue_options(1);
	struct queue_pool_options options;
	void *item;

	make_queue(8);
	dead_options.policy = QUEUE_BLOCK;
	cr_assert_eq(queue_create(&world.dead, &dead_options), 0);
	cr_assert_eq(queue_push(world.dead, item_of(9)), 0);
	push(0, 1);
	options = pool_options(fail_slowly);
	options.dead_letters = world.dead;
	make_pool(&options);
	wait_for_begun(1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, 0), -ETIMEDOUT);
	let_go(1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, QUEUE_NEVER), 0);
	cr_assert_eq(world.reason[0], QUEUE_FAILED);
	cr_assert_eq(queue_try_pop(world.dead, &item), 0);
	finish();
}

static int
exit_thread(struct world *context, uintptr_t number)
{
	(void)context;
	if (number == 2)
		pthread_exit(NULL);
	return 0;
}

Test(pool, a_handler_that_ends_its_thread_costs_what_the_thread_held_and_no_worker, .timeout = 60)
{
	struct queue_pool_options options;
	int i;

	make_queue(16);
	push(0, 10);
	world.extra = exit_thread;
	options = pool_options(extra_handler);
	options.batch = 4;
	make_pool(&options);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	for (i = 0; i < 10; i++) {
		cr_assert_eq(world.handled[i], i != 2 && i != 3);
		cr_assert_eq(world.dropped[i], i == 2 || i == 3);
	}
	cr_assert_eq(world.reason[3], QUEUE_FAILED);
	cr_assert_eq(stats().failed, 2);
	cr_assert_eq(stats().running, 0);
	finish();
}

Test(pool, another_worker_takes_the_place_of_one_whose_thread_was_ended, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(16);
	world.extra = exit_thread;
	options = pool_options(extra_handler);
	make_pool(&options);
	push(0, 5);
	EVENTUALLY(get(&world.handled_total) == 4);
	/* The other one is there, as it has handled some; so this one is gone, and not counted. */
	EVENTUALLY(threads_called("pool/0\n") == 1);
	cr_assert_eq(stats().running, 1);
	finish();
}

Test(pool, when_no_thread_can_take_over_from_those_that_handlers_ended_stop_says_so, .timeout = 60)
{
	struct queue_pool_options options;
	struct counting counting;

	make_queue(16);
	world.extra = exit_thread;
	counting_init(&counting);
	options = pool_options(extra_handler);
	options.allocator = &counting.allocator;
	make_pool(&options);
	counting.left = 0;
	push(2, 5);
	EVENTUALLY(stats().running == 0);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), -ENOMEM);
	cr_assert_eq(queue_depth_approx(world.queue), 2);
	counting.left = 1;
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(world.handled_total, 2);
	finish();
	cr_assert_eq(counting.given, 0);
}

static int
look_for_pool(struct world *context, uintptr_t number)
{
	(void)number;
	return context->pool != NULL;
}

Test(pool, a_handler_finds_the_pool_where_create_puts_it, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(16);
	push(0, 1);
	world.extra = look_for_pool;
	options = pool_options(extra_handler);
	make_pool(&options);
	finish();
	cr_assert_eq(world.answer, 1);
}

/*
 * Resizing.
 */

Test(pool, can_be_resized_from_1_to_64_and_back_while_items_flow, .timeout = 60)
{
	static const int sizes[] = {64, 1, 64, 2, 33, 1};
	struct queue_pool_options options;
	uintptr_t item = 0;
	size_t i;
	int k;

	make_queue(ITEMS);
	options = pool_options(quick_handler);
	make_pool(&options);
	cr_assert_eq(stats().workers, 1);
	cr_assert_eq(stats().running, 1);
	for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		push(item, item + 100);
		item += 100;
		cr_assert_eq(queue_pool_resize(world.pool, sizes[i]), 0);
		cr_assert_eq(stats().workers, sizes[i]);
		EVENTUALLY(stats().running == sizes[i]);
		EVENTUALLY(get(&world.handled_total) == item);
	}
	finish();
	for (k = 0; k < (int)item; k++)
		cr_assert_eq(world.handled[k], 1);
}

Test(pool, all_workers_of_a_grown_pool_work, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(64);
	options = pool_options(slow_handler);
	make_pool(&options);
	push(0, 64);
	wait_for_begun(1);
	cr_assert_eq(queue_pool_resize(world.pool, 64), 0);
	wait_for_begun(63); /* all at the same time */
	let_go(64);
	finish();
	cr_assert_eq(world.handled_total, 64);
}

Test(pool, a_surplus_worker_handles_the_items_it_holds_before_it_leaves, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(16);
	push(0, 8);
	options = pool_options(slow_handler);
	options.workers = 2;
	options.batch = 4;
	make_pool(&options);
	wait_for_begun(2);
	cr_assert_eq(queue_depth_approx(world.queue), 0);
	cr_assert_eq(queue_pool_resize(world.pool, 1), 0);
	cr_assert_eq(stats().running, 2);
	let_go(8);
	EVENTUALLY(get(&world.handled_total) == 8);
	EVENTUALLY(stats().running == 1);
	push(8, 10);
	let_go(2);
	finish();
	cr_assert_eq(world.handled_total, 10);
	cr_assert_eq(world.dropped_total, 0);
}

Test(pool, a_surplus_worker_that_is_wanted_again_in_time_stays, .timeout = 60)
{
	struct queue_pool_options options;
	struct counting counting;

	make_queue(16);
	push(0, 2);
	counting_init(&counting);
	options = pool_options(slow_handler);
	options.workers = 2;
	options.allocator = &counting.allocator;
	make_pool(&options);
	wait_for_begun(2);
	cr_assert_eq(queue_pool_resize(world.pool, 1), 0);
	cr_assert_eq(queue_pool_resize(world.pool, 2), 0);
	cr_assert_eq(counting.given, 3);
	cr_assert_eq(stats().running, 2);
	push(2, 4);
	let_go(4);
	finish();
	cr_assert_eq(world.handled_total, 4);
}

static int
resize_within(struct world *context, uintptr_t number)
{
	return queue_pool_resize(context->pool, number % 2 ? 1 : 8);
}

Test(pool, a_handler_may_resize_its_pool, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(ITEMS);
	world.extra = resize_within;
	options = pool_options(extra_handler);
	make_pool(&options);
	push(0, 101);
	EVENTUALLY(get(&world.handled_total) == 101);
	cr_assert_eq(get(&world.answer), 0);
	finish();
}

Test(pool, resize_refuses_what_cannot_be, .timeout = 60)
{
	struct queue_options single = queue_options(4);
	struct queue_pool_options options;

	single.flags = QUEUE_SINGLE_CONSUMER;
	cr_assert_eq(queue_create(&world.queue, &single), 0);
	options = pool_options(quick_handler);
	make_pool(&options);
	cr_assert_eq(queue_pool_resize(world.pool, 0), -EINVAL);
	cr_assert_eq(queue_pool_resize(world.pool, QUEUE_POOL_WORKERS_MAX + 1), -EINVAL);
	cr_assert_eq(queue_pool_resize(world.pool, 2), -EINVAL);
	cr_assert_eq(queue_pool_resize(world.pool, 1), 0);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_pool_resize(world.pool, 1), -EPIPE);
	finish();
}

/*
 * Stopping.
 */

Test(pool, drain_handles_what_is_in_the_queue_and_refuses_more, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(ITEMS);
	push(0, ITEMS);
	options = pool_options(quick_handler);
	options.workers = 4;
	options.batch = 8;
	make_pool(&options);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_push(world.queue, NULL), -EPIPE);
	cr_assert_eq(world.handled_total, ITEMS);
	cr_assert_eq(stats().running, 0);
	/* Again, in any way. */
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, 0), 0);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, 0), 0);
	cr_assert_eq(stats().stopped, 0);
	finish();
}

Test(pool, discard_drops_the_queue_at_once_and_batches_when_their_worker_gets_there, .timeout = 60)
{
	struct queue_pool_options options;
	int i;

	make_queue(16);
	push(0, 10);
	options = pool_options(slow_handler);
	options.batch = 4;
	make_pool(&options);
	wait_for_begun(1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, queue_after_ms(50)),
		     -ETIMEDOUT);
	/* The worker sits in item 0 and holds 1 to 3. */
	for (i = 0; i < 10; i++)
		cr_assert_eq(world.dropped[i], i > 3);
	let_go(1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, QUEUE_NEVER), 0);
	cr_assert_eq(world.handled[0], 1);
	for (i = 1; i < 10; i++) {
		cr_assert_eq(world.handled[i], 0);
		cr_assert_eq(world.dropped[i], 1);
		cr_assert_eq(world.reason[i], QUEUE_STOPPED);
	}
	cr_assert_eq(stats().handled, 1);
	cr_assert_eq(stats().stopped, 9);
	finish();
}

Test(pool, a_drain_that_took_too_long_can_be_hurried_by_a_discard, .timeout = 60)
{
	struct queue_pool_options options;
	uint64_t deadline = queue_after_ms(20);

	make_queue(16);
	push(0, 10);
	options = pool_options(slow_handler);
	make_pool(&options);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, deadline), -ETIMEDOUT);
	cr_assert_geq(queue_now(), deadline);
	let_go(2);
	wait_for_begun(3);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, 0), -ETIMEDOUT);
	let_go(1);
	/* A drain does not take the discard back. */
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(stats().handled, 3);
	cr_assert_eq(stats().stopped, 7);
	finish();
}

Test(pool, discard_makes_no_further_attempts, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(16);
	push(0, 1);
	options = pool_options(fail_slowly);
	options.attempts = 1000000;
	make_pool(&options);
	let_go(2);
	wait_for_begun(3);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, 0), -ETIMEDOUT);
	let_go(1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, QUEUE_NEVER), 0);
	cr_assert_eq(world.calls[0], 3);
	cr_assert_eq(world.reason[0], QUEUE_STOPPED);
	cr_assert_eq(stats().retried, 2);
	cr_assert_eq(stats().failed, 0);
	cr_assert_eq(stats().stopped, 1);
	finish();
}

Test(pool, discard_leaves_a_single_consumer_queue_to_its_worker, .timeout = 60)
{
	struct queue_options single = queue_options(16);
	struct queue_pool_options options;
	int i;

	single.flags = QUEUE_SINGLE_CONSUMER | QUEUE_SINGLE_PRODUCER;
	make_queue(1);
	cr_assert_eq(queue_destroy(world.queue), 0);
	cr_assert_eq(queue_create(&world.queue, &single), 0);
	push(0, 10);
	options = pool_options(slow_handler);
	make_pool(&options);
	wait_for_begun(1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, queue_after_ms(5)),
		     -ETIMEDOUT);
	cr_assert_eq(get(&world.dropped_total), 0);
	let_go(1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DISCARD, QUEUE_NEVER), 0);
	for (i = 1; i < 10; i++)
		cr_assert_eq(world.reason[i], QUEUE_STOPPED);
	finish();
}

Test(pool, stop_refuses_what_is_neither_drain_nor_discard, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(1);
	options = pool_options(quick_handler);
	make_pool(&options);
	cr_assert_eq(queue_pool_stop(world.pool, (enum queue_pool_stop)2, 0), -EINVAL);
	cr_assert_eq(queue_push(world.queue, NULL), 0);
	finish();
}

Test(pool, destroy_drains_when_nothing_has_been_stopped, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(ITEMS);
	push(0, ITEMS);
	options = pool_options(quick_handler);
	options.workers = 3;
	make_pool(&options);
	finish();
	cr_assert_eq(world.handled_total, ITEMS);
}

Test(pool, workers_finish_and_leave_when_somebody_else_closes_the_queue, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(ITEMS);
	push(0, 100);
	options = pool_options(quick_handler);
	options.workers = 3;
	make_pool(&options);
	cr_assert_eq(queue_close(world.queue), 0);
	EVENTUALLY(stats().running == 0);
	cr_assert_eq(get(&world.handled_total), 100);
	cr_assert_eq(stats().workers, 3);
	finish();
}

static int
stop_within(struct world *context, uintptr_t number)
{
	(void)number;
	return queue_pool_stop(context->pool, QUEUE_POOL_DRAIN, QUEUE_NEVER);
}

static int
destroy_within(struct world *context, uintptr_t number)
{
	(void)number;
	return queue_pool_destroy(context->pool);
}

static int
push_within(struct world *context, uintptr_t number)
{
	int rc = 0;

	if (number == 0) {
		while (rc == 0)
			rc = queue_push(context->queue, item_of(1));
		if (rc == -EDEADLK)
			rc = queue_push_until(context->queue, item_of(1), QUEUE_NEVER);
	}
	return rc;
}

static void
expect_deadlock(int (*extra)(struct world *context, uintptr_t number))
{
	struct queue_options options = queue_options(2);
	struct queue_pool_options pool;

	memset(&world, 0, sizeof world);
	options.policy = QUEUE_BLOCK;
	cr_assert_eq(queue_create(&world.queue, &options), 0);
	world.extra = extra;
	pool = pool_options(extra_handler);
	make_pool(&pool);
	push(0, 1);
	EVENTUALLY(get(&world.calls[0]) == 1);
	cr_assert_eq((int)get(&world.answer), -EDEADLK);
	finish();
}

static int
push_once_within(void *item, void *context)
{
	if ((uintptr_t)item == 0)
		queue_impl_store32_rel(&world.answer,
				       (uint32_t)push_within(&world, (uintptr_t)item));
	return quick_handler(item, context);
}

Test(pool, what_would_wait_for_the_very_worker_that_asks_is_a_deadlock, .timeout = 60)
{
	struct queue_options options = queue_options(2);
	struct queue_pool_options pool;

	expect_deadlock(stop_within);
	expect_deadlock(destroy_within);

	memset(&world, 0, sizeof world);
	options.policy = QUEUE_BLOCK;
	cr_assert_eq(queue_create(&world.queue, &options), 0);
	pool = pool_options(push_once_within);
	make_pool(&pool);
	push(0, 1);
	EVENTUALLY(get(&world.handled_total) == 3);
	cr_assert_eq((int)get(&world.answer), -EDEADLK);
	finish();
}

/*
 * What threads are like.
 */

Test(pool, threads_have_names_that_keep_the_number_when_they_are_cut, .timeout = 60)
{
	struct queue_pool_options options;
	char name[] = "desk";

	make_queue(1);
	options = pool_options(quick_handler);
	options.workers = 4;
	options.name = name;
	make_pool(&options);
	memset(name, 'x', sizeof name - 1); /* it was copied */
	EVENTUALLY(threads_called("desk/3\n") == 1);
	cr_assert_eq(queue_pool_destroy(world.pool), 0);
	cr_assert_eq(queue_destroy(world.queue), 0);

	make_queue(1);
	options = pool_options(quick_handler);
	options.workers = 11;
	options.name = "order_handler_of_the_shop";
	make_pool(&options);
	EVENTUALLY(threads_called("order_handle/10\n") == 1);
	cr_assert_eq(queue_pool_destroy(world.pool), 0);
	cr_assert_eq(queue_destroy(world.queue), 0);

	make_queue(1);
	options = pool_options(quick_handler);
	make_pool(&options);
	EVENTUALLY(threads_called("pool/0\n") == 1);
	finish();
}

static pthread_key_t key;

static void
take_time_to_end(void *value)
{
	usleep(20000);
	bump(value);
}

static int
have_something_to_end(struct world *context, uintptr_t number)
{
	(void)number;
	return pthread_setspecific(key, &context->ended);
}

Test(pool, when_stop_returns_its_threads_have_ended, .timeout = 60)
{
	struct queue_pool_options options;

	cr_assert_eq(pthread_key_create(&key, take_time_to_end), 0);
	make_queue(4);
	world.extra = have_something_to_end;
	options = pool_options(extra_handler);
	make_pool(&options);
	push(0, 1);
	cr_assert_eq(queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(world.ended, 1);
	finish();
}

static int
look_at_signals(struct world *context, uintptr_t number)
{
	sigset_t set;

	(void)context;
	(void)number;
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	return sigismember(&set, SIGTERM) && sigismember(&set, SIGUSR1) &&
	       sigismember(&set, SIGALRM) && !sigismember(&set, SIGSEGV) &&
	       !sigismember(&set, SIGPROF);
}

Test(pool, workers_leave_signals_to_the_programs_own_threads_and_faults_where_they_are,
     .timeout = 60)
{
	struct queue_pool_options options;
	sigset_t before, after;
	int i;

	make_queue(4);
	world.extra = look_at_signals;
	options = pool_options(extra_handler);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	make_pool(&options);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (i = 1; i < 32; i++)
		cr_assert_eq(sigismember(&before, i), sigismember(&after, i));
	push(0, 1);
	finish();
	cr_assert_eq(world.answer, 1);
}

Test(pool, errno_is_never_touched, .timeout = 60)
{
	struct queue_pool_options options;

	make_queue(4);
	options = pool_options(quick_handler);
	options.workers = 2;
	errno = 12345;
	make_pool(&options);
	(void)queue_pool_resize(world.pool, 8);
	(void)queue_pool_resize(world.pool, 0);
	(void)queue_pool_resize(world.pool, 1);
	(void)stats();
	(void)queue_pool_stop(world.pool, QUEUE_POOL_DRAIN, queue_now() + QUEUE_MILLISECOND);
	cr_assert_eq(errno, 12345);
	cr_assert_eq(queue_pool_destroy(world.pool), 0);
	cr_assert_eq(errno, 12345);
	cr_assert_eq(queue_destroy(world.queue), 0);
}
