/* SPDX-License-Identifier: BSD-2-Clause */
/* queue_ring and queue_bounded. */
#include "stage.h"

#include <conveyor/queue.h>
#include <conveyor/ring.h>

#include <inttypes.h>
#include <string.h>

/* In an object's flags, beside the roles: somebody has asked for the queue's descriptor. */
#define WATCHED 0x100u

/*
 * Who has made it ready, because of restartable sequences: an end of a ring is moved by plain
 * stores while one thread alone has moved it. So the victim may be that thread, and lose the end
 * to the others while it is stopped; or take it away from another; or find it anybody's.
 */
enum {
	BY_VICTIM,
	BY_ANOTHER,
	BY_BOTH
};

static const char *const variants[] = {"used by the victim alone before",
				       "used by another thread alone before", "used by both before",
				       NULL};

/* Before the others enter comes the victim, who is the one to fill it unless another does. */
static void
prepare(unsigned self)
{
	unsigned variant = board->scene.variant;

	if (self == VICTIM && variant != BY_ANOTHER)
		line_cycle(self);
	if (self == VICTIM && variant == BY_VICTIM)
		line_fill(self);
	if (self != 0)
		return;
	if (variant != BY_VICTIM) {
		line_cycle(self);
		line_fill(self);
	}
}

/* ---- The ring -------------------------------------------------------------------------------- */

static struct queue_ring *ring;
static struct queue_ring_stats ring_stats;

static int
ring_push(void *item)
{
	return queue_ring_try_push(ring, item);
}

static int
ring_pop(void **item)
{
	return queue_ring_try_pop(ring, item);
}

static const struct line ring_line = {ring_push, ring_pop};

static int
ring_open(void)
{
	const struct scene *scene = &board->scene;

	line_open(&ring_line);
	return queue_ring_create(&ring, scene->capacity, scene->object->flags, NULL);
}

static void
ring_shut(void)
{
	queue_ring_destroy(ring);
}

/* The item is made before the first instruction counts; what came of it is noted by line_judge. */
static void
take_items(void)
{
	int i;

	if (board->scene.operation->side == PUSHES)
		for (i = 0; i < BULK; i++)
			outcome.items[i] = line_item(VICTIM);
}

static void
ring_prepare(unsigned self)
{
	prepare(self);
	if (self == VICTIM)
		take_items();
}

static ptrdiff_t
single(int rc)
{
	return rc == 0 ? 1 : rc;
}

static void
ring_try_push(void)
{
	outcome.rc = single(queue_ring_try_push(ring, outcome.items[0]));
}

static void
ring_try_pop(void)
{
	outcome.rc = single(queue_ring_try_pop(ring, outcome.items));
}

static void
ring_push_n(void)
{
	outcome.rc = queue_ring_push_n(ring, outcome.items, BULK);
}

static void
ring_pop_n(void)
{
	outcome.rc = queue_ring_pop_n(ring, outcome.items, BULK);
}

static void
ring_close(void)
{
	queue_ring_close(ring);
}

static void
ring_look(void)
{
	queue_ring_stats(ring, &ring_stats);
}

/* All that the victim may have seen, whatever the others did meanwhile. */
static void
judge_figures(uint64_t pushed, uint64_t popped, uint64_t depth, uint64_t pushed_in_all)
{
	const struct scene *scene = &board->scene;

	require(depth <= scene->capacity && popped <= pushed && pushed >= scene->inside &&
			pushed <= pushed_in_all,
		"figures: depth %" PRIu64 ", pushed %" PRIu64 " of %" PRIu64 ", popped %" PRIu64,
		depth, pushed, pushed_in_all, popped);
}

static void
ring_judge(void)
{
	struct queue_ring_stats now;

	queue_ring_stats(ring, &now);
	require(now.pushed == now.popped + now.depth, "at rest: depth %" PRIu64, now.depth);
	line_judge();
	if (board->scene.operation->act == ring_look)
		judge_figures(ring_stats.pushed, ring_stats.popped, ring_stats.depth, now.pushed);
}

static const struct operation ring_operations[] = {
	{"try_push", PUSHES, ring_try_push, false},
	{"try_pop", POPS, ring_try_pop, false},
	{"push_n", PUSHES, ring_push_n, false},
	{"pop_n", POPS, ring_pop_n, false},
	{"close", CLOSES, ring_close, false},
	{"stats", LOOKS, ring_look, true},
	{NULL, LOOKS, NULL, false},
};

#define RING(title, roles, producers, consumers)                                                   \
	{                                                                                          \
		.name = (title), .flags = (roles), .producers_max = (producers),                   \
		.consumers_max = (consumers), .operations = ring_operations, .variants = variants, \
		.open = ring_open, .shut = ring_shut, .prepare = ring_prepare,                     \
		.traffic = line_traffic, .judge = ring_judge                                       \
	}

const struct object ring_objects[] = {
	RING("ring", 0, 0, 0),
	RING("ring_sp", QUEUE_SINGLE_PRODUCER, 1, 0),
	RING("ring_sc", QUEUE_SINGLE_CONSUMER, 0, 1),
	RING("ring_spsc", QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER, 1, 1),
	{.name = NULL},
};

/* ---- The bounded queue ----------------------------------------------------------------------- */

static struct queue_bounded *queue;
static struct queue_stats queue_figures;

static int
bounded_push(void *item)
{
	return queue_try_push(queue, item);
}

static int
bounded_pop(void **item)
{
	return queue_try_pop(queue, item);
}

static const struct line bounded_line = {bounded_push, bounded_pop};

static int
bounded_open(void)
{
	const struct scene *scene = &board->scene;
	struct queue_options options;
	int rc;

	line_open(&bounded_line);
	memset(&options, 0, sizeof options);
	options.capacity = scene->capacity;
	options.flags = scene->object->flags & ~WATCHED;
	rc = queue_create(&queue, &options);
	if (rc == 0 && (scene->object->flags & WATCHED))
		require(queue_fd(queue) >= 0, "no descriptor");
	return rc;
}

static void
bounded_shut(void)
{
	int rc = queue_destroy(queue);

	require(rc == 0, "destroy answers %d", rc);
}

static void
bounded_try_push(void)
{
	outcome.rc = single(queue_try_push(queue, outcome.items[0]));
}

static void
bounded_try_pop(void)
{
	outcome.rc = single(queue_try_pop(queue, outcome.items));
}

static void
bounded_push_n(void)
{
	outcome.rc = queue_push_n(queue, outcome.items, BULK);
}

static void
bounded_pop_n(void)
{
	outcome.rc = queue_try_pop_n(queue, outcome.items, BULK);
}

static void
bounded_close(void)
{
	(void)queue_close(queue);
}

static void
bounded_look(void)
{
	(void)queue_stats(queue, &queue_figures);
}

static void
bounded_judge(void)
{
	struct queue_stats now;

	(void)queue_stats(queue, &now);
	require(now.pushed == now.popped + now.depth, "at rest: depth %" PRIu64, now.depth);
	line_judge();
	if (board->scene.operation->act == bounded_look)
		judge_figures(queue_figures.pushed, queue_figures.popped, queue_figures.depth,
			      now.pushed);
}

static const struct operation bounded_operations[] = {
	{"try_push", PUSHES, bounded_try_push, false},
	{"try_pop", POPS, bounded_try_pop, false},
	{"push_n", PUSHES, bounded_push_n, false},
	{"try_pop_n", POPS, bounded_pop_n, false},
	{"close", CLOSES, bounded_close, false},
	{"stats", LOOKS, bounded_look, true},
	{NULL, LOOKS, NULL, false},
};

#define BOUNDED(title, bits, producers, consumers)                                                 \
	{                                                                                          \
		.name = (title), .flags = (bits), .producers_max = (producers),                    \
		.consumers_max = (consumers), .enters_kernel = ((bits)&WATCHED) != 0,              \
		.operations = bounded_operations, .variants = variants, .open = bounded_open,      \
		.shut = bounded_shut, .prepare = ring_prepare, .traffic = line_traffic,            \
		.judge = bounded_judge                                                             \
	}

const struct object queue_objects[] = {
	BOUNDED("queue", 0, 0, 0),
	BOUNDED("queue_spsc", QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER, 1, 1),
	BOUNDED("queue_fd", WATCHED, 0, 0),
	{.name = NULL},
};
