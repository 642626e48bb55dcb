/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Producers push into a pool that is resized at random, from outside and from its own handlers,
 * while handlers fail and end their threads and memory runs out now and then; then it is stopped in
 * one of several ways, often with items everywhere.
 *
 * What must hold: each item that was pushed has had exactly one end (handled, dead letter, dropped)
 * and each that was not has had none; no item is handled more often than its attempts allow; the
 * pool's figures add up to what happened; and no thread and no memory is left.
 */
/* ARGS: --producers 1 --workers 1 --capacity 1 */
/* ARGS: --producers 2 --workers 64 --capacity 100 */
/* ARGS: --producers 4 --workers 8 --capacity 16 */
#include "stress.h"

#include <conveyor/pool.h>

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define PRODUCERS_MAX 16
#define ITEMS 1500 /* per producer and round */
#define ATTEMPTS 3

struct item {
	uint32_t handled;
	uint32_t dead;
	uint32_t dropped[QUEUE_FAILED + 1];
	uint32_t calls;
	uint32_t tries; /* the call that succeeds; more than ATTEMPTS: none */
	bool ends_thread;
	bool pushed;
};

struct producer {
	struct stress_thread thread;
	uint64_t stream;
	struct item items[ITEMS];
};

static uint64_t producers_number = 2, workers_max = 64, capacity = 16;
static struct queue_bounded *queue, *dead_letters;
static struct queue_pool *pool;
static struct producer producers[PRODUCERS_MAX];
static struct stress_gate gate;
static uint64_t rounds;
static uint32_t producers_done, blocks_given;
static int64_t stops;

static _Thread_local struct stress_random dice;
static uint64_t next_stream; /* for workers, which come and go */

static struct stress_random *
dice_of_thread(void)
{
	if (dice.state == 0)
		dice = stress_random_init(queue_impl_fetch_add_acq_rel(&next_stream, 1));
	return &dice;
}

static uint64_t
roll(uint64_t n)
{
	return stress_random_below(dice_of_thread(), n);
}

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	(void)context;
	/* Now and then there is no memory, once the pool stands. */
	if (pool && roll(16) == 0)
		return NULL;
	(void)queue_impl_fetch_add32_acq_rel(&blocks_given, 1);
	return queue_allocator_libc.allocate(NULL, size, alignment);
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context;
	(void)queue_impl_fetch_add32_acq_rel(&blocks_given, UINT32_MAX);
	queue_allocator_libc.release(NULL, memory, size, alignment);
}

static const struct queue_allocator allocator = {counting_allocate, counting_release, NULL};

static void
resize(void)
{
	int rc = queue_pool_resize(pool, 1 + (int)roll(workers_max));

	stress_check(rc == 0 || rc == -ENOMEM || rc == -EPIPE, "resize: %d", rc);
}

static void
drop(void *context, enum queue_reason reason, void *unused)
{
	struct item *item = context;

	(void)unused;
	(void)queue_impl_fetch_add32_acq_rel(&item->dropped[reason], 1);
}

/* The items are the producers' arrays, so pops and pushes say who may touch what. */
static int
handle(void *context, void *unused)
{
	struct item *item = context;

	(void)unused;
	item->calls++;
	stress_check(item->calls <= ATTEMPTS, "called %u times", item->calls);
	if (roll(64) == 0)
		sched_yield();
	if (roll(200) == 0)
		resize();
	if (item->ends_thread)
		pthread_exit(NULL);
	if (roll(200) == 0)
		stress_check(queue_pool_stop(pool, QUEUE_POOL_DRAIN, 0) == -EDEADLK, "stop");
	if (item->calls < item->tries)
		return -EIO;
	item->handled++;
	return 0;
}

static void
produce(void *argument)
{
	struct producer *producer = argument;
	int i;

	dice = stress_random_init(producer->stream);
	stress_gate_pass(&gate, (unsigned)producers_number + 1);
	for (i = 0; i < ITEMS; i++) {
		struct item *item = &producer->items[i];
		int rc;

		item->tries = roll(8) ? 1 : 1 + (uint32_t)roll(ATTEMPTS + 1);
		item->ends_thread = roll(400) == 0;
		rc = queue_push_until(queue, item, QUEUE_NEVER);
		stress_check(rc == 0 || rc == -EPIPE, "push: %d", rc);
		/* Written after the push, read after the pool's end: nobody else writes it. */
		item->pushed = rc == 0;
		if (rc)
			break;
	}
	(void)queue_impl_fetch_add32_acq_rel(&producers_done, 1); /* STRESS4 release */
}

static void
stop_at_random(void *argument)
{
	uint64_t i, loops;
	int rc;

	dice = stress_random_init((uintptr_t)argument);
	/* Either when all is pushed or after a while; then usually not with patience at once. */
	loops = roll(3) ? UINT64_MAX : roll(2000);
	for (i = 0; i < loops && queue_impl_load32_acq(&producers_done) < producers_number; i++)
		sched_yield(); /* STRESS4 acquire */
	while (roll(3)) {
		enum queue_pool_stop how = roll(4) ? QUEUE_POOL_DRAIN : QUEUE_POOL_DISCARD;

		rc = queue_pool_stop(pool, how, queue_now() + roll(200000));
		stress_check(rc == 0 || rc == -ETIMEDOUT || rc == -ENOMEM, "stop: %d", rc);
		if (rc == 0)
			break;
	}
	do {
		rc = queue_pool_stop(pool, roll(2) ? QUEUE_POOL_DRAIN : QUEUE_POOL_DISCARD,
				     QUEUE_NEVER);
		stress_check(rc == 0 || rc == -ENOMEM, "stop for ever: %d", rc);
	} while (rc);
}

static void
resize_at_random(void *argument)
{
	struct queue_pool_stats stats;

	dice = stress_random_init((uintptr_t)argument);
	stress_gate_pass(&gate, (unsigned)producers_number + 1);
	do {
		resize();
		if (roll(4) == 0)
			sched_yield();
		(void)queue_pool_stats(pool, &stats);
	} while (queue_impl_load32_acq(&producers_done) < producers_number); /* STRESS4 acquire */
}

static void
bury(void *argument)
{
	void *context;

	(void)argument;
	while (queue_pop(dead_letters, &context) == 0)
		((struct item *)context)->dead++;
}

/* Workers that are told to go and then to stay: in the end there are as many as were asked for. */
static void
settle(void)
{
	struct queue_pool_stats stats;
	uint64_t i, pauses = roll(2000);
	int workers = 1 + (int)roll(workers_max);

	resize();
	for (i = 0; i < pauses; i++)
		queue_impl_pause();
	while (queue_pool_resize(pool, workers) != 0)
		continue;
	do {
		(void)queue_pool_stats(pool, &stats);
		stress_check(stats.workers == workers, "%d workers asked for", stats.workers);
		sched_yield();
	} while (stats.running != workers);
}

static uint32_t
dropped(const struct item *item)
{
	uint32_t total = 0;
	int reason;

	for (reason = 0; reason <= QUEUE_FAILED; reason++)
		total += item->dropped[reason];
	return total;
}

static void
check_round(const struct queue_pool_stats *stats)
{
	uint64_t i, k, pushed = 0, handled = 0, failed = 0, stopped = 0, letters = 0, calls = 0;
	uint64_t begun = 0;

	for (i = 0; i < producers_number; i++) {
		for (k = 0; k < ITEMS; k++) {
			struct item *item = &producers[i].items[k];
			uint32_t ends = item->handled + item->dead + dropped(item);

			stress_check(ends == item->pushed,
				     "pushed %d, handled %u, dead %u, dropped %u", item->pushed,
				     item->handled, item->dead, dropped(item));
			pushed += item->pushed;
			handled += item->handled;
			failed += item->dropped[QUEUE_FAILED];
			stopped += item->dropped[QUEUE_STOPPED];
			/* Evicted and discarded ones were dead letters first. */
			letters += item->dead + item->dropped[QUEUE_EVICTED] +
				   item->dropped[QUEUE_DISCARDED];
			calls += item->calls;
			begun += item->calls > 0;
			stress_check(item->dropped[QUEUE_DESTROYED] == 0, "left inside");
		}
	}
	stress_check(stats->handled == handled, "handled");
	stress_check(stats->failed == failed + letters, "failed");
	stress_check(stats->dead_lettered == letters, "dead letters");
	stress_check(stats->stopped == stopped, "stopped");
	stress_check(stats->retried == calls - begun, "retried");
	stress_check(pushed == handled + failed + letters + stopped, "an item is missing");
	stress_check(stats->running == 0, "%d still run", stats->running);
	stops += (int64_t)stopped;
}

static void
one_round(void)
{
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_BLOCK, QUEUE_DISCARD,
						     QUEUE_DISCARD_OLDEST};
	struct queue_options options = {.capacity = capacity, .on_drop = drop};
	struct queue_pool_options pool_options = {
		.handler = handle, .attempts = ATTEMPTS, .name = "stress", .allocator = &allocator};
	struct queue_pool_stats stats;
	struct stress_thread resizer, stoppers[2], grave_digger;
	uint64_t i, stream = rounds * 64;

	next_stream = UINT64_C(1) << 40 | rounds << 20;
	dice = stress_random_init(stream++);
	gate.came = 0;
	producers_done = 0;
	stress_check(queue_create(&queue, &options) == 0, "queue_create");
	options.capacity = 4;
	options.policy = policies[rounds++ % 4];
	stress_check(queue_create(&dead_letters, &options) == 0, "queue_create");
	pool_options.queue = queue;
	pool_options.dead_letters = roll(4) ? dead_letters : NULL;
	pool_options.batch = roll(2) ? 1 : 1 + (int)roll(QUEUE_POOL_BATCH_MAX);
	pool_options.workers = 1 + (int)roll(workers_max);
	memset(producers, 0, sizeof producers);
	stress_check(queue_pool_create(&pool, &pool_options) == 0, "queue_pool_create");

	for (i = 0; i < 8; i++)
		settle();
	stress_start(&grave_digger, bury, NULL);
	stress_start(&resizer, resize_at_random, (void *)(uintptr_t)stream++);
	for (i = 0; i < producers_number; i++) {
		producers[i].stream = stream++;
		stress_start(&producers[i].thread, produce, &producers[i]);
	}
	for (i = 0; i < 2; i++)
		stress_start(&stoppers[i], stop_at_random, (void *)(uintptr_t)stream++);
	for (i = 0; i < producers_number; i++)
		stress_join(&producers[i].thread);
	for (i = 0; i < 2; i++)
		stress_join(&stoppers[i]);
	stress_join(&resizer);
	stress_check(queue_pool_stats(pool, &stats) == 0, "stats");
	queue_close(dead_letters);
	stress_join(&grave_digger);
	stress_check(queue_pool_destroy(pool) == 0, "queue_pool_destroy");
	pool = NULL;
	stress_check(queue_destroy(queue) == 0, "queue_destroy");
	stress_check(queue_destroy(dead_letters) == 0, "queue_destroy");
	stress_check(queue_impl_load32_acq(&blocks_given) == 0, "%u blocks left", blocks_given);
	check_round(&stats);
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"producers", &producers_number, "threads that push", .least = 1,
		 .most = PRODUCERS_MAX},
		{"workers", &workers_max, "the most workers", .least = 1,
		 .most = QUEUE_POOL_WORKERS_MAX},
		{"capacity", &capacity, "items the queue holds", .least = 1,
		 .most = STRESS_CAPACITY_MAX},
		{.name = NULL},
	};

	stress_begin(argc, argv, options);
	while (stress_time_is_left())
		one_round();
	return stress_end();
}
