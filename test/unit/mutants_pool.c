/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What test/mutation found that no other test noticed, of the pool: what counts as a failure.
 */
#include <conveyor/pool.h>

#include "unit.h"

#define ITEMS 3

static uint32_t drops;

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item;
	(void)context;
	if (reason == QUEUE_FAILED)
		(void)queue_impl_fetch_add32_acq_rel(&drops, 1);
}

static int
fail_by_the_least(void *item, void *context)
{
	(void)item;
	(void)context;
	return -1;
}

/* Lets a pool of one worker fail with all items of one batch. */
static void
let_fail(struct queue_pool_stats *stats)
{
	const struct queue_options queue_options = {.capacity = ITEMS, .on_drop = on_drop};
	struct queue_pool_options options = {.handler = fail_by_the_least, .batch = ITEMS};
	struct queue_bounded *queue;
	struct queue_pool *pool;
	int i;

	cr_assert_eq(queue_create(&queue, &queue_options), 0);
	for (i = 0; i < ITEMS; i++)
		cr_assert_eq(queue_push(queue, NULL), 0);
	options.queue = queue;
	cr_assert_eq(queue_pool_create(&pool, &options), 0);
	cr_assert_eq(queue_pool_stop(pool, QUEUE_POOL_DRAIN, QUEUE_NEVER), 0);
	cr_assert_eq(queue_pool_stats(pool, stats), 0);
	cr_assert_eq(queue_pool_destroy(pool), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(mutants_pool, whatever_is_negative_is_a_failure, .timeout = 60)
{
	struct queue_pool_stats stats;

	let_fail(&stats);
	cr_assert_eq(stats.failed, ITEMS);
	cr_assert_eq(stats.handled, 0);
	cr_assert_eq(drops, ITEMS);
}
