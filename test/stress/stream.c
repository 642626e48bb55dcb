/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A chain of stages, each a pool between two bounded queues that wait for room, under attack:
 *
 *	producers -> queue 0 -> parse -> queue 1 -> enrich -> queue 2 -> count -> queue 3 -> store
 *	                          |                   |                    |
 *	                          +-------------------+--------------------+-> dead letters
 *
 * From round to round everything is another: how many producers and workers there are, the
 * capacities, which stage is slow, how many items fail, whether pools are resized meanwhile,
 * whether the first queue is closed too early, or one in the middle, or a stage is told to discard.
 * The store is a timed pull: it wakes by the clock and takes what is there.
 *
 * What must hold: what went in has come to exactly one end (stored, malformed, dead letter, refused
 * by a queue that had been closed, discarded), and in a round without attack to the end that was
 * meant for it; it went through all stages in their order; there are never more items inside than
 * the queues have room for and the threads have in their hands; and a chain whose end is dammed up
 * fills to exactly that and then takes nothing more.
 */
/* ARGS: --capacity 1 --workers 1 */
/* ARGS: --capacity 64 --workers 8 */
/* ARGS: --capacity 3 --workers 24 */
#include "stress.h"

#include <conveyor/pool.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#define STAGES 3
#define COUNTING 2 /* the stage that has one worker only */
#define QUEUES (STAGES + 1)
#define PRODUCERS_MAX 4
#define ITEMS 400 /* per producer and round */
#define ATTEMPTS 2
#define PULL_MAX 16
#define WINDOWS 8
#define PATIENCE (60 * QUEUE_SECOND)

enum end {
	NOWHERE, /* never went in, or is inside */
	STORED,
	MALFORMED,
	DEAD,
	REFUSED,
	DISCARDED,
	ENDS
};

static const char *const end_names[ENDS] = {"nowhere", "stored",  "malformed",
					    "dead",    "refused", "discarded"};

enum attack {
	NONE,
	CLOSED_EARLY, /* the first queue, in the middle of it all */
	TORN,	      /* any queue */
	STOPPED	      /* a stage discards what it has */
};

struct item {
	uint32_t end;
	uint32_t producer, number;
	uint32_t passed; /* stages */
	uint32_t calls;	 /* of the handler that is to fail */
	uint32_t fails_in, failures;
	uint32_t window;
	bool malformed, slow, counted, pushed;
};

struct producer {
	struct stress_thread thread;
	struct item items[ITEMS];
};

struct stage {
	struct queue_pool *pool;
	int workers; /* the most */
	int batch;
	bool slow;
};

static uint64_t workers_max = 8, capacity_max = 64;
static struct producer producers[PRODUCERS_MAX];
static struct stage stages[STAGES];
static struct queue_bounded *queues[QUEUES], *dead_letters;
static uint64_t capacities[QUEUES], dead_capacity;
static uint64_t windows[WINDOWS]; /* the counting worker's */

static unsigned producers_number;
static int pull;	/* items that the store takes at a time */
static long pull_every; /* nanoseconds */
static enum attack attack;
static bool keeps_order; /* one worker everywhere */

/* touched by all */
static uint64_t inside_max; /* rooms and hands; grows when there are more */
static uint64_t inside, entered;
static uint32_t producers_done;

static struct stress_random dice;

static uint64_t
roll(uint64_t n)
{
	return stress_random_below(&dice, n);
}

static void
pause_for(long nanoseconds)
{
	nanosleep(&(struct timespec){.tv_nsec = nanoseconds}, NULL);
}

/* ---- What happens to an item ----------------------------------------------------------------- */

static void
finish(struct item *item, enum end end)
{
	uint32_t old = queue_impl_fetch_add32_acq_rel(&item->end, end);

	stress_check(old == NOWHERE, "item %u of %u: %s, and %s before", item->number,
		     item->producer, end_names[end], old < ENDS ? end_names[old] : "more");
	(void)queue_impl_fetch_add_acq_rel(&inside, UINT64_MAX);
}

static void
drop(void *argument, enum queue_reason reason, void *context)
{
	(void)context;
	stress_check(reason == QUEUE_FAILED || reason == QUEUE_STOPPED, "dropped: %s",
		     queue_reason_name(reason));
	finish(argument, reason == QUEUE_FAILED ? DEAD : DISCARDED);
}

/* The items are the producers' arrays, so pushes and pops say who may touch what. */
static int
handle(void *argument, void *context)
{
	struct stage *stage = context;
	struct item *item = argument;
	uint32_t number = (uint32_t)(stage - stages);
	int rc;

	stress_check(item->passed == number, "%u stages passed, in stage %u", item->passed, number);
	if (stage->slow && item->slow)
		pause_for(20000);
	if (item->fails_in == number) {
		stress_check(item->calls++ < ATTEMPTS, "called %u times", item->calls);
		if (item->calls <= item->failures)
			return -EIO;
	}
	if (number == 0 && item->malformed) {
		finish(item, MALFORMED);
		return 0;
	}
	if (number == COUNTING) {
		windows[item->window]++;
		item->counted = true;
	}
	item->passed++; /* before the push, after which it is another's */
	rc = queue_push(queues[number + 1], item);
	stress_check(rc == 0 || (rc == -EPIPE && attack == TORN), "push: %d", rc);
	if (rc != 0)
		finish(item, REFUSED);
	return 0;
}

static void
store(void *argument)
{
	uint32_t next[PRODUCERS_MAX] = {0};
	void *batch[PULL_MAX];
	int i, n;

	(void)argument;
	while ((n = queue_try_pop_n(queues[STAGES], batch, pull)) != -EPIPE) {
		stress_check(n >= 0 && n <= pull, "%d of %d", n, pull);
		for (i = 0; i < n; i++) {
			struct item *item = batch[i];

			stress_check(item->passed == STAGES, "stored after %u", item->passed);
			if (keeps_order)
				stress_check(item->number >= next[item->producer], "out of order");
			next[item->producer] = item->number + 1;
			finish(item, STORED);
		}
		if (n < pull)
			pause_for(pull_every);
	}
}

static void
bury(void *argument)
{
	void *item;

	(void)argument;
	while (queue_pop(dead_letters, &item) == 0)
		finish(item, DEAD);
}

/* ---- The other threads ----------------------------------------------------------------------- */

static void
produce(void *argument)
{
	struct producer *producer = argument;
	int i;

	for (i = 0; i < ITEMS; i++) {
		struct item *item = &producer->items[i];
		int rc = queue_push(queues[0], item);
		uint64_t now, most;

		stress_check(rc == 0 ||
				     (rc == -EPIPE && (attack == CLOSED_EARLY || attack == TORN)),
			     "push: %d", rc);
		if (rc != 0)
			break;
		/* Counted late here and in finish: so it may be too few here, and never too many. */
		item->pushed = true; /* nobody else writes it */
		now = queue_impl_fetch_add_acq_rel(&inside, 1) + 1;
		most = queue_impl_load_rlx(&inside_max); /* relaxed: no more than a bound */
		stress_check((int64_t)now <= (int64_t)most,
			     "%" PRId64 " inside, rooms and hands for %" PRIu64, (int64_t)now,
			     most);
		(void)queue_impl_fetch_add_acq_rel(&entered, 1);
	}
	(void)queue_impl_fetch_add32_acq_rel(&producers_done, 1); /* STREAM1 release */
}

static bool
all_is_pushed(void)
{
	return queue_impl_load32_acq(&producers_done) == producers_number; /* STREAM1 acquire */
}

static void
close_at_random(void *argument)
{
	struct stress_random random = stress_random_init((uintptr_t)argument);
	uint64_t when = stress_random_below(&random, (uint64_t)producers_number * ITEMS);
	uint64_t which = attack == TORN ? stress_random_below(&random, QUEUES) : 0;

	/* Acquire orders nothing here: it is a moment like any other. */
	while (queue_impl_load_acq(&entered) < when && !all_is_pushed())
		sched_yield();
	(void)queue_close(queues[which]);
}

static void
resize_at_random(void *argument)
{
	struct stress_random random = stress_random_init((uintptr_t)argument);

	while (!all_is_pushed()) {
		struct stage *stage = &stages[stress_random_below(&random, COUNTING)];
		int workers = 1 + (int)stress_random_below(&random, (uint64_t)stage->workers);
		int rc = queue_pool_resize(stage->pool, workers);

		stress_check(rc == 0, "resize: %d", rc);
		sched_yield();
	}
}

/* ---- A round --------------------------------------------------------------------------------- */

static void
prepare_items(bool may_fail)
{
	unsigned i, k;

	memset(producers, 0, sizeof producers);
	for (i = 0; i < producers_number; i++)
		for (k = 0; k < ITEMS; k++)
			producers[i].items[k] = (struct item){
				.producer = i,
				.number = k,
				.window = (uint32_t)roll(WINDOWS),
				.malformed = may_fail && roll(16) == 0,
				.slow = roll(32) == 0,
				.fails_in = may_fail && roll(8) == 0 ? (uint32_t)roll(STAGES)
								     : STAGES,
				.failures = 1 + (uint32_t)roll(ATTEMPTS),
			};
}

static void
open_queues(void)
{
	struct queue_options options = {.policy = QUEUE_BLOCK, .on_drop = drop};
	unsigned i;

	for (i = 0; i < QUEUES; i++) {
		capacities[i] = options.capacity = 1 + roll(capacity_max);
		stress_check(queue_create(&queues[i], &options) == 0, "queue_create");
		inside_max += options.capacity;
	}
	dead_capacity = options.capacity = 1 + roll(4);
	options.policy = roll(2) ? QUEUE_BLOCK : QUEUE_ABORT;
	stress_check(queue_create(&dead_letters, &options) == 0, "queue_create");
}

/* From the back to the front; counts hands. */
static void
open_stages(bool one_by_one)
{
	int number;

	keeps_order = true;
	for (number = STAGES - 1; number >= 0; number--) {
		struct stage *stage = &stages[number];

		stage->workers = number == COUNTING ? 1 : 1 + (int)roll(workers_max);
		stage->batch = one_by_one || roll(2) ? 1 : 1 + (int)roll(8);
		stage->slow = roll(STAGES) == 0;
		stress_check(queue_pool_create(&stage->pool,
					       &(struct queue_pool_options){
						       .queue = queues[number],
						       .handler = handle,
						       .context = stage,
						       .workers = stage->workers,
						       .batch = stage->batch,
						       .attempts = ATTEMPTS,
						       .dead_letters = dead_letters,
						       .name = "stage",
					       }) == 0,
			     "queue_pool_create");
		inside_max += (uint64_t)stage->workers * (uint64_t)stage->batch;
		keeps_order = keeps_order && stage->workers == 1;
	}
}

static void
open_chain(bool dammed)
{
	inside = entered = inside_max = 0;
	producers_done = 0;
	memset(windows, 0, sizeof windows);
	producers_number = 1 + (unsigned)roll(PRODUCERS_MAX);
	pull = 1 + (int)roll(PULL_MAX);
	pull_every = 1 + (long)roll(200000);
	prepare_items(!dammed);
	open_queues();
	open_stages(dammed);
}

/* From the front to the back; before the last queue nobody pushes to the next one any more. */
static void
close_chain(struct stress_thread *storing)
{
	unsigned discards = attack == STOPPED ? (unsigned)roll(STAGES) : STAGES;
	unsigned i;

	for (i = 0; i < STAGES; i++) {
		enum queue_pool_stop how = i == discards ? QUEUE_POOL_DISCARD : QUEUE_POOL_DRAIN;
		int rc = queue_pool_stop(stages[i].pool, how, queue_now() + PATIENCE);

		stress_check(rc == 0, "stop of stage %u: %d", i, rc);
	}
	(void)queue_close(queues[STAGES]);
	stress_join(storing);
}

static void
check_stage(unsigned number)
{
	struct queue_pool_stats pool;
	struct queue_stats queue;

	(void)queue_pool_stats(stages[number].pool, &pool);
	(void)queue_stats(queues[number], &queue);
	stress_check(pool.handled + pool.failed + pool.stopped == queue.popped,
		     "stage %u: %" PRIu64 " popped", number, queue.popped);
	stress_check(queue.pushed == queue.popped && queue.depth == 0,
		     "stage %u: %" PRIu64 " pushed, %" PRIu64 " popped", number, queue.pushed,
		     queue.popped);
}

static void
end_chain(void)
{
	unsigned i;

	for (i = 0; i < STAGES; i++) {
		check_stage(i);
		stress_check(queue_pool_destroy(stages[i].pool) == 0, "queue_pool_destroy");
	}
	for (i = 0; i < QUEUES; i++)
		stress_check(queue_destroy(queues[i]) == 0, "queue_destroy");
	stress_check(queue_destroy(dead_letters) == 0, "queue_destroy");
}

/* Where an item goes that nobody attacks. */
static enum end
meant_for(const struct item *item)
{
	if (item->failures >= ATTEMPTS && item->fails_in < STAGES &&
	    (item->fails_in == 0 || !item->malformed))
		return DEAD;
	return item->malformed ? MALFORMED : STORED;
}

static void
check_items(void)
{
	uint64_t ends[ENDS] = {0}, counted[WINDOWS] = {0}, pushed = 0, sum = 0;
	unsigned i, k;

	for (i = 0; i < producers_number; i++)
		for (k = 0; k < ITEMS; k++) {
			const struct item *item = &producers[i].items[k];

			stress_check((item->end != NOWHERE) == item->pushed,
				     "item %u of %u: pushed %d, %s", k, i, item->pushed,
				     end_names[item->end]);
			if (attack == NONE)
				stress_check(item->end == (uint32_t)meant_for(item),
					     "item %u of %u: %s, not %s", k, i,
					     end_names[item->end], end_names[meant_for(item)]);
			ends[item->end]++;
			pushed += item->pushed;
			counted[item->window] += item->counted;
		}
	for (i = STORED; i < ENDS; i++)
		sum += ends[i];
	stress_check(pushed == sum && pushed == entered && inside == 0,
		     "%" PRIu64 " went in, %" PRIu64 " have ended, %" PRId64 " are inside", pushed,
		     sum, (int64_t)inside);
	stress_check(memcmp(windows, counted, sizeof windows) == 0, "windows");
}

static void
start_producers(void)
{
	unsigned i;

	for (i = 0; i < producers_number; i++)
		stress_start(&producers[i].thread, produce, &producers[i]);
}

static void
join_producers(void)
{
	unsigned i;

	for (i = 0; i < producers_number; i++)
		stress_join(&producers[i].thread);
}

static void
attacked_round(uint64_t stream)
{
	struct stress_thread storing, burying, closing, resizing;
	bool closes, resizes = roll(2) == 0;

	attack = (enum attack)roll(STOPPED + 1);
	closes = attack == CLOSED_EARLY || attack == TORN;
	open_chain(false);
	/* Other hands: the store's, who buries, and who stops a stage and drops what it has. */
	inside_max += (uint64_t)pull + dead_capacity + 1 + 1;
	stress_start(&storing, store, NULL);
	stress_start(&burying, bury, NULL);
	if (closes)
		stress_start(&closing, close_at_random, (void *)(uintptr_t)stream);
	if (resizes)
		stress_start(&resizing, resize_at_random, (void *)(uintptr_t)(stream + 1));
	start_producers();
	join_producers();
	if (closes)
		stress_join(&closing);
	if (resizes)
		stress_join(&resizing);
	close_chain(&storing);
	(void)queue_close(dead_letters);
	stress_join(&burying);
	end_chain();
	check_items();
}

/* Nobody stores: everything fills up, to the last room and hand, and stays so. */
static void
check_dam(void)
{
	uint64_t deadline = queue_now() + PATIENCE;
	unsigned i;

	/* Acquire orders nothing: when it is full, nobody has anything more to do. */
	while (queue_impl_load_acq(&inside) != inside_max) {
		stress_check(queue_now() < deadline, "%" PRIu64 " inside, of %" PRIu64,
			     queue_impl_load_acq(&inside), inside_max);
		sched_yield();
	}
	for (i = 0; i < QUEUES; i++)
		stress_check(queue_depth_approx(queues[i]) == capacities[i],
			     "%" PRIu64 " in queue %u", queue_depth_approx(queues[i]), i);
}

static void
dammed_round(void)
{
	struct stress_thread storing;

	attack = NONE;
	open_chain(true);
	start_producers();
	check_dam();
	queue_impl_add_rlx(&inside_max, (uint64_t)pull);
	stress_start(&storing, store, NULL);
	join_producers();
	close_chain(&storing);
	end_chain();
	check_items();
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"workers", &workers_max, "the most workers of a stage", .least = 1, .most = 64},
		{"capacity", &capacity_max, "the most items of a queue", .least = 1, .most = 64},
		{.name = NULL},
	};
	uint64_t stream = 0;

	stress_begin(argc, argv, options);
	dice = stress_random_init(stream++);
	while (stress_time_is_left()) {
		if (roll(4) == 0)
			dammed_round();
		else
			attacked_round(stream);
		stream += 2;
	}
	return stress_end();
}
