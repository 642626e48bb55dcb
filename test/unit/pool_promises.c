/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What handlers may rely on: what counts as a failure, that they see what was written before the
 * call that led to them (which ThreadSanitizer says), and that a worker which is wanted again
 * before it has left stays.
 */
/* LIBS: -Wl,--wrap=queue_impl_pop_n_unless */
#include <conveyor/pool.h>

#include "queue_impl.h"

#include <limits.h>

#include "unit.h"

#define ITEMS 3
#define ROUNDS 20

static uint32_t drops;
static uint32_t begun; /* a handler has been called */
static uint32_t met;   /* handlers have been called */
static uint32_t alone; /* handlers that have waited for another in vain */

/* Plain: what these tests are about is who may read them. */
static struct queue_pool *pool;
static int reason_to_stop;

static int told; /* what a callback has read */
static struct queue_pool *found;

int __real_queue_impl_pop_n_unless(struct queue_bounded *queue, void **items, int n,
				   bool (*interrupted)(void *context), void *context);
int __wrap_queue_impl_pop_n_unless(struct queue_bounded *queue, void **items, int n,
				   bool (*interrupted)(void *context), void *context);

/* How many workers are wanted, after all, when one has just learnt that it is not; 0: as it is. */
static uint32_t wanted_again;

int
__wrap_queue_impl_pop_n_unless(struct queue_bounded *queue, void **items, int n,
			       bool (*interrupted)(void *context), void *context)
{
	int rc = __real_queue_impl_pop_n_unless(queue, items, n, interrupted, context);
	int workers = (int)queue_impl_load32_acq(&wanted_again);

	if (rc == -ECANCELED && workers != 0) {
		(void)queue_pool_resize(pool, workers);
		/* Not before: the test would stop the pool, and a stopped one is not resized. */
		queue_impl_store32_rel(&wanted_again, 0);
	}
	return rc;
}

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item;
	(void)context;
	if (reason == QUEUE_FAILED)
		(void)queue_impl_fetch_add32_acq_rel(&drops, 1);
	if (reason == QUEUE_STOPPED)
		told = reason_to_stop;
}

static void
set_up(struct queue_bounded **queue, struct queue_pool_options *options, int items)
{
	const struct queue_options queue_options = {.capacity = ITEMS, .on_drop = on_drop};
	int i;

	cr_assert_eq(queue_create(queue, &queue_options), 0);
	for (i = 0; i < items; i++)
		cr_assert_eq(queue_push(*queue, NULL), 0);
	options->queue = *queue;
	cr_assert_eq(queue_pool_create(&pool, options), 0);
}

static void
tear_down(struct queue_bounded *queue)
{
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

/* Nothing that orders memory: a test must not mend what it is looking at. */
static void
await(const uint32_t *word, uint32_t value)
{
	while (queue_impl_load32_rlx(word) < value)
		queue_impl_pause();
}

static int
fail_by_the_least(void *item, void *context)
{
	(void)item;
	(void)context;
	queue_impl_store32_rlx(&begun, 1);
	return -1;
}

Test(pool_promises, whatever_is_negative_is_a_failure, .timeout = 60)
{
	struct queue_pool_options options = {.handler = fail_by_the_least, .batch = ITEMS};
	struct queue_pool_stats stats;
	struct queue_bounded *queue;

	drops = 0;
	set_up(&queue, &options, ITEMS);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_pool_stats(pool, &stats), 0);
	tear_down(queue);
	cr_assert_eq(stats.failed, ITEMS);
	cr_assert_eq(stats.handled, 0);
	cr_assert_eq(drops, ITEMS);
}

static int
look_at_the_pool(void *item, void *context)
{
	(void)item;
	(void)context;
	found = pool;
	queue_impl_store32_rlx(&begun, 1);
	return 0;
}

/* The item is there already when the worker starts, so nothing but create orders the two. */
Test(pool_promises, a_handler_finds_the_pool_that_create_has_made, .timeout = 60)
{
	struct queue_pool_options options = {.handler = look_at_the_pool};
	struct queue_bounded *queue;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		pool = NULL;
		begun = 0;
		set_up(&queue, &options, 1);
		await(&begun, 1);
		cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
		cr_assert_eq(found, pool);
		tear_down(queue);
	}
}

/* The handler is called again and again until the pool discards: nothing else reaches its thread. */
Test(pool_promises, what_was_written_before_a_discard_is_there_in_on_drop, .timeout = 60)
{
	struct queue_pool_options options = {.handler = fail_by_the_least, .attempts = INT_MAX};
	struct queue_bounded *queue;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		begun = 0;
		told = 0;
		set_up(&queue, &options, 1);
		await(&begun, 1);
		reason_to_stop = i + 1;
		cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DISCARD, QUEUE_NEVER), 0);
		cr_assert_eq(told, i + 1);
		tear_down(queue);
	}
}

/* Ends when two are inside, or when it is too late for that. */
static int
meet(void *item, void *context)
{
	uint64_t deadline = queue_now() + 10 * QUEUE_SECOND;

	(void)item;
	(void)context;
	(void)queue_impl_fetch_add32_acq_rel(&met, 1);
	while (queue_impl_load32_acq(&met) < 2 && queue_now() < deadline)
		queue_impl_pause();
	if (queue_impl_load32_acq(&met) < 2)
		queue_impl_store32_rel(&alone, 1);
	return 0;
}

Test(pool_promises, a_worker_that_is_wanted_again_stays, .timeout = 60)
{
	struct queue_pool_options options = {.handler = meet, .workers = 2};
	struct queue_pool_stats stats;
	struct queue_bounded *queue;

	met = alone = 0;
	set_up(&queue, &options, 0);
	/* Both inside the call that tells one of them. */
	while (queue_impl_load_acq(&queue->waiting_to_pop) < 2)
		queue_impl_pause();
	queue_impl_store32_rel(&wanted_again, 2);
	cr_assert_eq(queue_pool_resize(pool, 1), 0);
	while (queue_impl_load32_acq(&wanted_again) != 0)
		queue_impl_pause();
	cr_assert_eq(queue_push(queue, NULL), 0);
	cr_assert_eq(queue_push(queue, NULL), 0);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_pool_stats(pool, &stats), 0);
	tear_down(queue);
	cr_assert_eq(stats.handled, 2);
	cr_assert_eq(met, 2);
	cr_assert_eq(alone, 0);
}
