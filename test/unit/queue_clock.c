/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue with a clock that is driven: time passes when it is read.
 */
#include <conveyor/queue.h>

#include "unit.h"

/* What happens at which reading of the clock. */
struct world {
	struct queue_bounded *queue;
	uint64_t began;
	int readings;
	int pushes_at; /* 0: never */
	int late_at;   /* from this reading on it is late; 0: never */
};

static uint64_t
read_clock(void *context)
{
	struct world *world = context;

	if (++world->readings == world->pushes_at)
		(void)queue_try_push(world->queue, world);
	return world->began + (world->late_at && world->readings >= world->late_at ? 1000 : 1);
}

static void
open_world(struct world *world)
{
	const struct queue_options options = {
		.capacity = 1,
		.clock = read_clock,
		.context = world,
	};

	cr_assert_eq(queue_create(&world->queue, &options), 0);
	/* No probes but that of the first push: they read the clock as well. */
	world->queue->sample_mask = UINT64_MAX;
}

Test(queue_clock, a_deadline_that_is_almost_never_has_not_come, .timeout = 60)
{
	struct world world = {.pushes_at = 3};
	void *item = NULL;

	open_world(&world);
	cr_assert_eq(queue_pop_until(world.queue, &item, QUEUE_NEVER - 1), 0);
	cr_assert_eq(item, &world);
	cr_assert_eq(queue_destroy(world.queue), 0);
}

Test(queue_clock, a_sleep_of_a_producer_is_counted_as_one_of_a_consumer_is, .timeout = 60)
{
	struct world world = {.late_at = 0};
	struct queue_stats stats;
	void *item;

	open_world(&world);
	cr_assert_eq(queue_try_push(world.queue, &world), 0);
	/* Early when it begins to wait and when it is about to sleep, late after that. */
	world.late_at = world.readings + 3;
	cr_assert_eq(queue_push_until(world.queue, &world, 500), -ETIMEDOUT);
	cr_assert_eq(queue_stats(world.queue, &stats), 0);
	cr_assert_geq(stats.waits, 1);
	world.late_at = 0;
	cr_assert_eq(queue_try_pop(world.queue, &item), 0);
	cr_assert_eq(queue_destroy(world.queue), 0);
}

/* By the system's clock the deadline is in the next century. */
Test(queue_clock, a_wait_ends_by_the_clock_of_the_queue, .timeout = 60)
{
	struct world world = {.began = UINT64_C(1) << 62};
	void *item;

	open_world(&world);
	world.late_at = world.readings + 3;
	cr_assert_eq(queue_pop_until(world.queue, &item, world.began + 500), -ETIMEDOUT);
	cr_assert_eq(queue_destroy(world.queue), 0);
}

Test(queue_clock, a_refused_push_n_leaves_no_probe_for_the_next_push)
{
	struct world world = {.late_at = 0};
	struct queue_stats stats;
	void *item = NULL;

	open_world(&world);
	cr_assert_eq(queue_try_push(world.queue, &world), 0);
	cr_assert_eq(queue_try_pop(world.queue, &item), 0);
	world.queue->sample_mask = UINT64_MAX;
	cr_assert_eq(queue_try_push(world.queue, &world), 0);
	/* From now on every push is sampled. */
	world.queue->sample_mask = 0;
	cr_assert_eq(queue_push_n(world.queue, &item, 1), 0);
	cr_assert_eq(queue_try_pop(world.queue, &item), 0);
	world.late_at = 1;
	world.queue->sample_mask = 0;
	cr_assert_eq(queue_try_push(world.queue, &world), 0);
	cr_assert_eq(queue_try_pop(world.queue, &item), 0);
	cr_assert_eq(queue_stats(world.queue, &stats), 0);
	cr_assert_eq(stats.sojourn_samples, 2);
	cr_assert_eq(stats.sojourn_max, 0);
	cr_assert_eq(queue_destroy(world.queue), 0);
}
