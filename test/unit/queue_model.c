/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue against a model: an array that does, one thread at a time, what the manual
 * says. Random calls go to both; answers, items, what the callbacks get and in which order, and
 * every figure must be the same. Time is driven; calls that would wait are not made.
 */
#include <conveyor/queue.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"

#define OPERATIONS 100000 /* per policy and capacity, at least */
#define ITEMS 2048	  /* distinct items; more than can be in a queue at once */
#define EVENTS 4096	  /* what the callbacks get during one call */
#define CAPACITY_MAX 1000

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d, operation %u, capacity %u)", #condition,    \
				  __LINE__, game->operation, (unsigned)game->options.capacity);    \
	} while (0)

struct item {
	uint64_t deadline;
};

struct event {
	const void *item;
	enum queue_reason reason;
};

struct events {
	struct event list[EVENTS];
	unsigned n;
};

struct game {
	struct queue_options options;
	struct queue_bounded *queue;
	struct item items[ITEMS];
	unsigned next_item;
	unsigned operation;
	uint64_t random;
	uint64_t now;
	struct events seen; /* by the callbacks */

	/* the model */
	const void *inside[CAPACITY_MAX];
	struct queue_stats stats; /* depth and closed are the model's own, too */
	struct events expected;
};

static uint64_t
random_below(struct game *game, uint64_t n)
{
	game->random ^= game->random << 13;
	game->random ^= game->random >> 7;
	game->random ^= game->random << 17;
	return (game->random >> 11) % n;
}

/* ---- What the queue calls ------------------------------------------------------------------- */

static void
note(struct events *events, const void *item, enum queue_reason reason)
{
	if (events->n < EVENTS) {
		events->list[events->n].item = item;
		events->list[events->n].reason = reason;
	}
	events->n++;
}

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	note(&((struct game *)context)->seen, item, reason);
}

static void
run(void *item, void *context)
{
	note(&((struct game *)context)->seen, item, QUEUE_RAN);
}

static uint64_t
deadline_of(const void *item)
{
	return item ? ((const struct item *)item)->deadline : 0;
}

static uint64_t
driven_clock(void *context)
{
	return ((struct game *)context)->now;
}

/* ---- The model ------------------------------------------------------------------------------ */

static const void *
model_take(struct game *game)
{
	const void *oldest = game->inside[0];

	game->stats.depth--;
	memmove(game->inside, game->inside + 1, game->stats.depth * sizeof *game->inside);
	return oldest;
}

static void
model_put(struct game *game, const void *item)
{
	game->inside[game->stats.depth++] = item;
	game->stats.pushed++;
}

static bool
model_is_full(const struct game *game)
{
	return game->stats.depth == game->stats.capacity;
}

static bool
model_is_expired(const struct game *game, const void *item)
{
	return game->options.deadline_of && deadline_of(item) != 0 &&
	       deadline_of(item) <= game->now;
}

static int
model_push(struct game *game, const void *item)
{
	if (game->stats.closed) {
		game->stats.closed_rejected++;
		return -EPIPE;
	}
	if (!model_is_full(game)) {
		model_put(game, item);
		return 0;
	}
	switch (game->options.policy) {
	case QUEUE_CALLER_RUNS:
		game->stats.ran++;
		note(&game->expected, item, QUEUE_RAN);
		return QUEUE_RAN;
	case QUEUE_DISCARD:
		game->stats.discarded++;
		note(&game->expected, item, QUEUE_DISCARDED);
		return QUEUE_DISCARDED;
	case QUEUE_DISCARD_OLDEST:
		game->stats.evicted++;
		note(&game->expected, model_take(game), QUEUE_EVICTED);
		model_put(game, item);
		return QUEUE_EVICTED;
	default:
		game->stats.rejected++;
		return -EAGAIN;
	}
}

static int
model_try_push(struct game *game, const void *item, int when_full)
{
	if (game->stats.closed) {
		game->stats.closed_rejected++;
		return -EPIPE;
	}
	if (model_is_full(game)) {
		game->stats.rejected++;
		return when_full;
	}
	model_put(game, item);
	return 0;
}

static int
model_push_n(struct game *game, void *const *items, int n)
{
	int done;

	if (game->stats.closed) {
		game->stats.closed_rejected += (uint64_t)n;
		return -EPIPE;
	}
	for (done = 0; done < n && !model_is_full(game); done++)
		model_put(game, items[done]);
	game->stats.rejected += (uint64_t)(n - done);
	return done;
}

static int
model_pop_n(struct game *game, const void **items, int n, int when_empty)
{
	int done = 0;

	while (done < n && game->stats.depth > 0) {
		const void *item = model_take(game);

		if (model_is_expired(game, item)) {
			game->stats.expired++;
			note(&game->expected, item, QUEUE_EXPIRED);
		} else {
			game->stats.popped++;
			items[done++] = item;
		}
	}
	if (done > 0)
		return done;
	return game->stats.closed ? -EPIPE : when_empty;
}

/* Would a pop find something, so that it does not wait? */
static bool
model_has_something(const struct game *game)
{
	for (uint64_t i = 0; i < game->stats.depth; i++)
		if (!model_is_expired(game, game->inside[i]))
			return true;
	return game->stats.closed;
}

/* ---- Playing -------------------------------------------------------------------------------- */

static void
begin(struct game *game, enum queue_policy policy, uint64_t capacity)
{
	memset(&game->options, 0, sizeof game->options);
	game->options.capacity = capacity;
	game->options.policy = policy;
	game->options.flags = (unsigned)random_below(game, 4);
	if (policy == QUEUE_DISCARD_OLDEST)
		game->options.flags &= QUEUE_SINGLE_PRODUCER;
	game->options.on_drop = on_drop;
	game->options.run = run;
	game->options.deadline_of = random_below(game, 2) ? deadline_of : NULL;
	game->options.context = game;
	game->options.clock = driven_clock;
	memset(&game->stats, 0, sizeof game->stats);
	game->stats.capacity = capacity;
	EXPECT(queue_create(&game->queue, &game->options) == 0);
}

static void
expect_the_same_events(struct game *game)
{
	EXPECT(game->seen.n == game->expected.n);
	EXPECT(game->seen.n <= EVENTS);
	for (unsigned i = 0; i < game->seen.n; i++) {
		EXPECT(game->seen.list[i].item == game->expected.list[i].item);
		EXPECT(game->seen.list[i].reason == game->expected.list[i].reason);
	}
	game->seen.n = game->expected.n = 0;
}

static void
expect_the_same_figures(struct game *game)
{
	const struct queue_stats *expected = &game->stats;
	struct queue_stats stats;

	EXPECT(queue_stats(game->queue, &stats) == 0);
	EXPECT(stats.capacity == expected->capacity);
	EXPECT(stats.depth == expected->depth);
	EXPECT(stats.depth == queue_depth_approx(game->queue));
	EXPECT(!stats.closed == !expected->closed);
	EXPECT(stats.pushed == expected->pushed);
	EXPECT(stats.popped == expected->popped);
	EXPECT(stats.rejected == expected->rejected);
	EXPECT(stats.discarded == expected->discarded);
	EXPECT(stats.evicted == expected->evicted);
	EXPECT(stats.ran == expected->ran);
	EXPECT(stats.expired == expected->expired);
	EXPECT(stats.closed_rejected == expected->closed_rejected);
	EXPECT(stats.waits == 0);
	EXPECT(stats.wakes == 0);
	EXPECT(stats.pushed == stats.popped + stats.evicted + stats.expired + stats.depth);
	/* What is sampled is the implementation's choice, but it must fit together. */
	EXPECT(stats.sojourn_samples <= stats.popped);
	EXPECT(stats.sojourn_p50 <= stats.sojourn_p90);
	EXPECT(stats.sojourn_p90 <= stats.sojourn_p99);
	EXPECT(stats.sojourn_p99 <= stats.sojourn_max);
}

static void
end(struct game *game)
{
	expect_the_same_figures(game);
	while (game->stats.depth > 0)
		note(&game->expected, model_take(game), QUEUE_DESTROYED);
	EXPECT(queue_destroy(game->queue) == 0);
	expect_the_same_events(game);
}

static void *
new_item(struct game *game)
{
	struct item *item = &game->items[game->next_item++ % ITEMS];

	if (random_below(game, 64) == 0)
		return NULL;
	switch (random_below(game, 4)) {
	case 0:
		item->deadline = 0;
		break;
	case 1:
		item->deadline = game->now;
		break;
	default:
		item->deadline = game->now + random_below(game, 400);
	}
	return item;
}

static void
play_push(struct game *game)
{
	void *item = new_item(game);

	switch (random_below(game, 4)) {
	case 0:
		if (game->options.policy == QUEUE_BLOCK && model_is_full(game) &&
		    !game->stats.closed)
			return;
		EXPECT(queue_push(game->queue, item) == model_push(game, item));
		break;
	case 1:
		EXPECT(queue_try_push(game->queue, item) == model_try_push(game, item, -EAGAIN));
		break;
	case 2:
		EXPECT(queue_push_until(game->queue, item, random_below(game, game->now + 1)) ==
		       model_try_push(game, item, -ETIMEDOUT));
		break;
	default: {
		void *items[16];
		int n = (int)random_below(game, 17);

		/* What -EPIPE says about no items at all is left open. */
		if (n == 0 && game->stats.closed)
			return;
		for (int i = 0; i < n; i++)
			items[i] = new_item(game);
		EXPECT(queue_push_n(game->queue, items, n) == model_push_n(game, items, n));
	}
	}
}

static void
play_pop(struct game *game)
{
	void *items[16] = {NULL};
	const void *expected[16] = {NULL};
	uint64_t what = random_below(game, 4);
	int n = 1, rc, model_rc, i;

	/* Two calls that would wait. */
	if ((what == 0 || what == 3) && !model_has_something(game))
		return;
	if (what == 3)
		n = 1 + (int)random_below(game, 16);
	if (what == 0)
		rc = queue_pop(game->queue, items);
	else if (what == 1)
		rc = queue_try_pop(game->queue, items);
	else if (what == 2)
		rc = queue_pop_until(game->queue, items, random_below(game, game->now + 1));
	else
		rc = queue_pop_n(game->queue, items, n);
	model_rc = model_pop_n(game, expected, n, what == 2 ? -ETIMEDOUT : -EAGAIN);
	if (what != 3 && model_rc > 0)
		model_rc = 0;
	EXPECT(rc == model_rc);
	for (i = 0; i < 1 || i < rc; i++)
		EXPECT(items[i] == expected[i]);
}

static void
play(enum queue_policy policy, uint64_t capacity)
{
	static struct game the_game;
	struct game *game = &the_game;
	uint64_t bias = 2;

	memset(game, 0, sizeof *game);
	game->random = 0x9e3779b97f4a7c15u * (capacity * 8 + (uint64_t)policy + 1);
	game->now = 1000000;
	begin(game, policy, capacity);
	for (game->operation = 0; game->operation < OPERATIONS; game->operation++) {
		/* Full and empty in turn: more pushes than pops for a while, and the reverse. */
		if (random_below(game, 200 + 2 * capacity) == 0)
			bias = 1 + random_below(game, 3);
		if (random_below(game, 4) < bias)
			play_push(game);
		else
			play_pop(game);
		game->now += random_below(game, 20);
		expect_the_same_events(game);
		if (random_below(game, 16) == 0)
			expect_the_same_figures(game);
		if (random_below(game, 5000) == 0) {
			EXPECT(queue_close(game->queue) == 0);
			game->stats.closed = 1;
		}
		if (random_below(game, game->stats.closed ? 200 + capacity : 20000) == 0) {
			end(game);
			begin(game, policy, capacity);
		}
	}
	end(game);
}

static void
play_all_capacities(enum queue_policy policy)
{
	static const uint64_t capacities[] = {1, 2, 3, 7, 8, CAPACITY_MAX};

	for (size_t i = 0; i < sizeof capacities / sizeof *capacities; i++)
		play(policy, capacities[i]);
}

Test(queue_model, abort_behaves_like_the_model)
{
	play_all_capacities(QUEUE_ABORT);
}

Test(queue_model, block_behaves_like_the_model)
{
	play_all_capacities(QUEUE_BLOCK);
}

Test(queue_model, caller_runs_behaves_like_the_model)
{
	play_all_capacities(QUEUE_CALLER_RUNS);
}

Test(queue_model, discard_behaves_like_the_model)
{
	play_all_capacities(QUEUE_DISCARD);
}

Test(queue_model, discard_oldest_behaves_like_the_model)
{
	play_all_capacities(QUEUE_DISCARD_OLDEST);
}
