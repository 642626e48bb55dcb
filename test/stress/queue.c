/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue under many threads: every item ends up in exactly one pair of hands, and every
 * figure says so.
 *
 * Producers push numbered items by all the calls there are, consumers pop them by all the calls
 * there are, an observer reads the figures meanwhile, and somebody closes the queue, in the middle
 * or at the end. Each item notes who got it. Afterwards the notes and the answers that the calls
 * gave are held against queue_stats. What is not given on the command line changes from round to
 * round: 1 to 16 threads a side (more than most machines have cores), the capacity, the roles.
 */
/* ARGS: --policy abort */
/* ARGS: --policy block */
/* ARGS: --policy caller-runs */
/* ARGS: --policy discard */
/* ARGS: --policy discard-oldest */
/* ARGS: --policy block --capacity 1 --producers 16 --consumers 16 */
/* ARGS: --policy discard-oldest --capacity 2 --producers 16 --consumers 1 */
#include <conveyor/queue.h>

#include "stress.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define THREADS_MAX 16
#define ITEMS_MAX 8192
#define BATCH 8

/* Who has an item. */
enum fate {
	NOBODY,
	KEPT, /* the producer: every push of it failed */
	POPPED,
	RAN,
	DROPPED /* + enum queue_reason */
};

#define FATES (DROPPED + QUEUE_FAILED + 1)

struct item {
	uint64_t deadline;
	uint32_t fate;
	uint32_t producer;
};

/* What one thread's calls have answered. */
struct tally {
	uint64_t pushed, rejected, closed_rejected, ran, discarded, evicting;
	uint64_t popped;
};

struct party {
	struct stress_thread thread;
	struct round *round;
	uint32_t number;
	bool closes; /* a producer that closes the queue when it is done */
	struct tally tally;
};

struct round {
	struct queue_bounded *queue;
	struct queue_options options;
	struct stress_gate gate;
	uint64_t number;
	uint32_t producers, consumers, threads;
	uint32_t items; /* per producer */
	uint32_t producing;
	bool closing; /* somebody closes in the middle */
	bool leaving; /* consumers may leave a closed queue before it is drained */
	uint32_t done;
	struct item *item; /* items of the first producer, then of the second, ... */
};

static struct queue_bounded *current;

static void
show_state(int signal)
{
	struct queue_stats stats;
	char text[512];
	int n;

	(void)signal;
	(void)queue_stats(current, &stats);
	n = snprintf(text, sizeof text,
		     "hung: seed %" PRIu64 " depth %" PRIu64 " of %" PRIu64
		     " closed %d pushed %" PRIu64 " popped %" PRIu64 " waits %" PRIu64
		     " wakes %" PRIu64 " not_empty %" PRIx64 " not_full %" PRIx64 "\n",
		     stress_seed, stats.depth, stats.capacity, stats.closed, stats.pushed,
		     stats.popped, stats.waits, stats.wakes, current->not_empty.word,
		     current->not_full.word);
	(void)!write(STDERR_FILENO, text, (size_t)n);
	_exit(1);
}

static void
settle(struct item *item, enum fate fate)
{
	uint32_t before = queue_impl_exchange32_acq_rel(&item->fate, fate);

	stress_check(before == NOBODY, "item %p went to %u and to %u", (void *)item, before, fate);
}

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	struct round *round = context;

	stress_check(reason > QUEUE_RAN && reason <= QUEUE_DESTROYED, "reason %d", reason);
	/* It may call the queue. */
	if (round->number % 4 == 0)
		(void)queue_depth_approx(round->queue);
	settle(item, DROPPED + (enum fate)reason);
}

static void
run(void *item, void *context)
{
	(void)context;
	settle(item, RAN);
}

static uint64_t
deadline_of(const void *item)
{
	return ((const struct item *)item)->deadline;
}

/* ---- Producers ------------------------------------------------------------------------------ */

static uint64_t
some_deadline(struct stress_random *random)
{
	if (stress_one_in(random, 4))
		return 0;
	return queue_now() + stress_random_below(random, 100000);
}

/* One push by some call. 0: the item is gone; otherwise it is still ours. */
static int
push_one(struct party *party, struct stress_random *random, struct item *item)
{
	struct queue_bounded *queue = party->round->queue;
	struct tally *tally = &party->tally;
	bool waits = false;
	int rc;

	switch (stress_random_below(random, 4)) {
	case 0:
		rc = queue_try_push(queue, item);
		break;
	case 1:
		rc = queue_push_until(queue, item, some_deadline(random));
		waits = true;
		break;
	default:
		rc = queue_push(queue, item);
	}
	switch (rc) {
	case 0:
		tally->pushed++;
		return 0;
	case QUEUE_RAN:
		tally->ran++;
		return 0;
	case QUEUE_DISCARDED:
		tally->discarded++;
		return 0;
	case QUEUE_EVICTED:
		tally->evicting++;
		tally->pushed++;
		return 0;
	case -EPIPE:
		tally->closed_rejected++;
		return rc;
	default:
		stress_check(rc == (waits ? -ETIMEDOUT : -EAGAIN), "a push said %d", rc);
		tally->rejected++;
		return rc;
	}
}

/* Some pushes of what begins at item, at most left. Returns how many items are settled. */
static uint32_t
push_some(struct party *party, struct stress_random *random, struct item *item, uint32_t left)
{
	int rc = 0, n = 1, i;

	if (!stress_one_in(random, 3)) {
		/* An item whose push failed is tried again, or kept for good. */
		while ((rc = push_one(party, random, item)) != 0) {
			if (rc == -EPIPE || stress_one_in(random, 8)) {
				settle(item, KEPT);
				return 1;
			}
			sched_yield();
		}
		return 1;
	} else {
		void *items[BATCH];

		while (n < BATCH && (uint32_t)n < left && !stress_one_in(random, 4))
			n++;
		for (i = 0; i < n; i++)
			items[i] = item + i;
		rc = queue_push_n(party->round->queue, items, n);
		if (rc == -EPIPE) {
			party->tally.closed_rejected += (uint64_t)n;
			return 0;
		}
		stress_check(rc >= 0 && rc <= n, "push_n said %d", rc);
		party->tally.pushed += (uint64_t)rc;
		party->tally.rejected += (uint64_t)(n - rc);
		return (uint32_t)rc;
	}
}

static void
produce(void *argument)
{
	struct party *party = argument;
	struct round *round = party->round;
	struct stress_random random = stress_random_init(round->number * 64 + party->number);
	struct item *item = round->item + party->number * round->items;
	uint32_t close_at = round->items, at = 0;

	if (party->closes && round->closing)
		close_at = (uint32_t)stress_random_below(&random, round->items);
	stress_gate_pass(&round->gate, round->threads);
	while (at < round->items) {
		if (at >= close_at) {
			(void)queue_close(round->queue);
			close_at = UINT32_MAX;
		}
		at += push_some(party, &random, item + at, round->items - at);
		if (stress_one_in(&random, 32))
			sched_yield();
	}
	/* The last one out closes, unless that was done in the middle. */
	if (queue_impl_fetch_add32_acq_rel(&round->producing, (uint32_t)-1) == 1)
		(void)queue_close(round->queue);
}

/* ---- Consumers ------------------------------------------------------------------------------ */

static void
consume(void *argument)
{
	struct party *party = argument;
	struct round *round = party->round;
	struct queue_bounded *queue = round->queue;
	struct stress_random random = stress_random_init(round->number * 64 + 32 + party->number);
	struct item *last[THREADS_MAX] = {NULL};

	stress_gate_pass(&round->gate, round->threads);
	for (;;) {
		void *items[BATCH];
		uint64_t deadline;
		int n = 1, rc, i;

		switch (stress_random_below(&random, 5)) {
		case 0:
			rc = queue_try_pop(queue, items);
			stress_check(rc == 0 || rc == -EAGAIN || rc == -EPIPE, "%d", rc);
			if (rc == -EAGAIN)
				sched_yield();
			break;
		case 1:
			deadline = some_deadline(&random);
			rc = queue_pop_until(queue, items, deadline);
			stress_check(rc == 0 || rc == -ETIMEDOUT || rc == -EPIPE, "%d", rc);
			stress_check(rc != -ETIMEDOUT || queue_now() >= deadline, "too early");
			break;
		case 2:
			n = 1 + (int)stress_random_below(&random, BATCH);
			rc = queue_pop_n(queue, items, n);
			stress_check(rc == -EPIPE || (rc > 0 && rc <= n), "%d", rc);
			n = rc;
			rc = rc > 0 ? 0 : rc;
			break;
		default:
			rc = queue_pop(queue, items);
			stress_check(rc == 0 || rc == -EPIPE, "%d", rc);
		}
		if (rc == -EPIPE)
			return;
		for (i = 0; rc == 0 && i < n; i++) {
			struct item *item = items[i];

			settle(item, POPPED);
			party->tally.popped++;
			/* One consumer sees each producer's items in the order of their pushes. */
			stress_check(!last[item->producer] || last[item->producer] < item,
				     "producer %u", item->producer);
			last[item->producer] = item;
		}
		/* In a closed queue nobody waits for room: what is left is for destroy. */
		if (round->leaving && stress_one_in(&random, 256)) {
			struct queue_stats stats;

			(void)queue_stats(queue, &stats);
			if (stats.closed)
				return;
		}
	}
}

/* ---- The observer --------------------------------------------------------------------------- */

#define FORWARD(field)                                                                             \
	stress_check(now.field >= before.field, #field " went from %" PRIu64 " to %" PRIu64,       \
		     before.field, now.field)

static void
observe(void *argument)
{
	struct party *party = argument;
	struct round *round = party->round;
	struct queue_stats before = {.capacity = round->options.capacity}, now;

	stress_gate_pass(&round->gate, round->threads);
	while (queue_impl_load32_acq(&round->done) == 0) {
		(void)queue_stats(round->queue, &now);
		stress_check(now.capacity == before.capacity, "%" PRIu64, now.capacity);
		stress_check(now.depth <= now.capacity, "%" PRIu64, now.depth);
		stress_check(now.closed >= before.closed, "open again");
		FORWARD(pushed);
		FORWARD(popped);
		FORWARD(rejected);
		FORWARD(discarded);
		FORWARD(evicted);
		FORWARD(ran);
		FORWARD(expired);
		FORWARD(closed_rejected);
		FORWARD(waits);
		FORWARD(wakes);
		FORWARD(sojourn_samples);
		FORWARD(sojourn_max);
		stress_check(now.sojourn_p50 <= now.sojourn_p90, "percentiles");
		stress_check(now.sojourn_p90 <= now.sojourn_p99, "percentiles");
		stress_check(now.sojourn_p99 <= now.sojourn_max, "percentiles");
		stress_check(now.sojourn_samples <= now.popped + now.capacity, "samples");
		before = now;
		sched_yield();
	}
}

/* ---- A round -------------------------------------------------------------------------------- */

static uint64_t given_producers, given_consumers, given_capacity, policy = QUEUE_BLOCK;

#define SAME(a, b, what)                                                                           \
	stress_check((a) == (b), what ": %" PRIu64 " and %" PRIu64, (uint64_t)(a), (uint64_t)(b))

static void
reconcile(struct round *round, const struct tally *told)
{
	uint64_t fates[FATES] = {0};
	struct queue_stats stats;
	uint32_t i;

	(void)queue_stats(round->queue, &stats);
	SAME(stats.pushed, told->pushed, "pushed");
	SAME(stats.popped, told->popped, "popped");
	SAME(stats.rejected, told->rejected, "rejected");
	SAME(stats.closed_rejected, told->closed_rejected, "closed_rejected");
	SAME(stats.ran, told->ran, "ran");
	SAME(stats.discarded, told->discarded, "discarded");
	SAME(stats.pushed, stats.popped + stats.evicted + stats.expired + stats.depth, "invariant");
	stress_check(stats.wakes <= stats.waits, "%" PRIu64 " wakes", stats.wakes);
	stress_check(stats.evicted >= told->evicting, "evicted %" PRIu64, stats.evicted);
	stress_check(round->leaving || stats.depth == 0, "%" PRIu64 " left", stats.depth);
	stress_check(queue_destroy(round->queue) == 0, "busy");
	for (i = 0; i < round->producers * round->items; i++)
		fates[round->item[i].fate]++;
	SAME(fates[NOBODY], 0, "nobody's");
	SAME(fates[POPPED], stats.popped, "popped");
	SAME(fates[RAN], stats.ran, "ran");
	SAME(fates[DROPPED + QUEUE_DISCARDED], stats.discarded, "discarded");
	SAME(fates[DROPPED + QUEUE_EVICTED], stats.evicted, "evicted");
	SAME(fates[DROPPED + QUEUE_EXPIRED], stats.expired, "expired");
	SAME(fates[DROPPED + QUEUE_DESTROYED], stats.depth, "destroyed");
}

static void
play_round(uint64_t number)
{
	static const uint64_t capacities[] = {1, 2, 7, 1024};
	static struct item items[ITEMS_MAX];
	static struct party producers[THREADS_MAX], consumers[THREADS_MAX], observer;
	struct stress_random random = stress_random_init(UINT64_MAX - number);
	struct round round = {.number = number, .item = items};
	struct tally told = {0};
	uint32_t i;

	round.options.policy = (enum queue_policy)policy;
	round.options.on_drop = on_drop;
	round.options.run = run;
	round.options.context = &round;
	round.options.capacity = given_capacity ? given_capacity : capacities[number % 4];
	round.options.flags = (unsigned)(number / 4 % 4);
	/* Few threads, many threads, about equally often. */
	round.producers = 1 + (uint32_t)stress_random_below(&random, UINT64_C(1) << number / 2 % 5);
	round.consumers = 1 + (uint32_t)stress_random_below(&random, UINT64_C(1) << number / 3 % 5);
	if (given_producers)
		round.producers = (uint32_t)given_producers;
	if (given_consumers)
		round.consumers = (uint32_t)given_consumers;
	if (policy == QUEUE_DISCARD_OLDEST)
		round.options.flags &= QUEUE_SINGLE_PRODUCER;
	if (round.options.flags & QUEUE_SINGLE_PRODUCER)
		round.producers = 1;
	if (round.options.flags & QUEUE_SINGLE_CONSUMER)
		round.consumers = 1;
	round.producing = round.producers;
	round.threads = round.producers + round.consumers + 1;
	round.closing = stress_one_in(&random, 2);
	/* Consumers that leave would leave the single producer, who closes, waiting for room. */
	round.leaving = round.closing && stress_one_in(&random, 2);
	if (stress_one_in(&random, 2))
		round.options.deadline_of = deadline_of;
	round.items = ITEMS_MAX / round.producers;
	for (i = 0; i < round.producers * round.items; i++) {
		items[i].fate = NOBODY;
		items[i].producer = i / round.items;
		items[i].deadline =
			stress_one_in(&random, 3)
				? 0
				: queue_now() +
					  stress_random_below(&random, 10 * QUEUE_MILLISECOND);
	}
	stress_check(queue_create(&round.queue, &round.options) == 0, "create");
	current = round.queue;

	for (i = 0; i < round.producers; i++) {
		producers[i] = (struct party){.round = &round, .number = i, .closes = i == 0};
		stress_start(&producers[i].thread, produce, &producers[i]);
	}
	for (i = 0; i < round.consumers; i++) {
		consumers[i] = (struct party){.round = &round, .number = i};
		stress_start(&consumers[i].thread, consume, &consumers[i]);
	}
	observer = (struct party){.round = &round};
	stress_start(&observer.thread, observe, &observer);
	for (i = 0; i < round.producers; i++) {
		stress_join(&producers[i].thread);
		told.pushed += producers[i].tally.pushed;
		told.rejected += producers[i].tally.rejected;
		told.closed_rejected += producers[i].tally.closed_rejected;
		told.ran += producers[i].tally.ran;
		told.discarded += producers[i].tally.discarded;
		told.evicting += producers[i].tally.evicting;
	}
	for (i = 0; i < round.consumers; i++) {
		stress_join(&consumers[i].thread);
		told.popped += consumers[i].tally.popped;
	}
	queue_impl_store32_rel(&round.done, 1);
	stress_join(&observer.thread);
	reconcile(&round, &told);
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"policy", &policy, "when it is full",
		 .words = STRESS_WORDS("abort", "block", "caller-runs", "discard",
				       "discard-oldest")},
		{"producers", &given_producers, "threads that push, 0 for any",
		 .most = THREADS_MAX},
		{"consumers", &given_consumers, "threads that pop, 0 for any", .most = THREADS_MAX},
		{"capacity", &given_capacity, "items the queue holds, 0 for any",
		 .most = STRESS_CAPACITY_MAX},
		{.name = NULL},
	};
	uint64_t number = 0;

	stress_begin(argc, argv, options);
	signal(SIGALRM, show_state);
	while (stress_time_is_left())
		play_round(number++);
	return stress_end();
}
