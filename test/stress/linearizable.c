/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Are the ring and the bounded queue linearizable, and exact? Threads push, pop and close; each
 * writes down what it was told, and when it began and ended. Afterwards test/support/history.h
 * tells whether this can have happened one call after the other, on a queue of that capacity.
 * Threads are stopped in the middle of calls, see test/support/preempt.h.
 *
 * --clock counter   Time is a number in memory. A call begins by reading it, and ends by taking one:
 *                   an acquire, and an acquire and release. So when a call's end is less than
 *                   another's begin, then the one happened before the other, in the sense of C, and
 *                   whatever is found is wrong, on any machine. It orders threads that would not be
 *                   ordered otherwise, though.
 * --clock time      CLOCK_MONOTONIC, which for Linux is one clock for all processors, read in order
 *                   with what is around it, and behind a full fence where a call ends: a ring's
 *                   plain stores may be seen a little after the call, as queue_ring(3) warns. The
 *                   program first looks whether threads agree on the time, and counts when not.
 *
 * --operations 200  Short rounds are mostly beginnings and ends: a close that pushes race with comes
 *                   once in each.
 *
 * --expect NAME     Passes only when this violation is found, at the latest after a minute, and
 *                   nothing that is wrong with successful calls, so that only a refusal can be
 *                   expected. Vyukov's ring, which answers empty or full while another thread is in
 *                   the middle of a call, shows that the program sees such a thing.
 */
/* ARGS: --subject ring */
/* ARGS: --subject queue */
/* ARGS: --subject any --operations 200 */
/* ARGS: --subject vyukov --expect false-empty */
#include <conveyor/clock.h>
#include <conveyor/queue.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../bench/adapters/vyukov.h"

#include "history.h"
#include "preempt.h"
#include "stress.h"

#define MOST_THREADS 8 /* a side */
#define MOST_WORKERS (2 * MOST_THREADS)
#define MOST_BATCH 100 /* more than the ring moves an end by at once */
#define MOST_OPERATIONS (UINT32_MAX / 2)
#define ANY_BATCH 200
#define ANY_SIGNALS 2
#define EXPECT_BOUND (60 * QUEUE_SECOND)

enum subject {
	RING,
	QUEUE,
	VYUKOV,
	ANY
};

/* What the options say; of a role the number is its flags. "any" stands for all before it. */
static const char *const subjects[] = {"ring", "queue", "vyukov", "any", NULL};
static const char *const roles[] = {"mpmc", "spmc", "mpsc", "spsc", "any", NULL};
static const char *const clocks[] = {"counter", "time", "any", NULL};
static const char *const closes[] = {"never", "end", "middle", "twice", "any", NULL};

#define ANY_ROLE 4
#define ANY_CLOCK 2
#define ANY_CLOSE 4

/* What can be wrong with a call that was refused. */
static const char *const expectations[] = {"nothing", "false-empty", "false-full", NULL};

static uint64_t option_producers, option_consumers, option_capacity,
	option_operations = 20000, option_batch = ANY_BATCH, option_signals = ANY_SIGNALS,
	option_subject = ANY, option_role = ANY_ROLE, option_clock = ANY_CLOCK,
	option_close = ANY_CLOSE, option_expect;

struct worker {
	unsigned index;
	bool produces;
	uint64_t close_at; /* calls */
	uint64_t calls;
	uint64_t pushed; /* items */
	struct stress_random random;
	struct history_part part;
	struct history_part evicted; /* in this call, by our push */
	struct stress_thread thread;
};

static struct trial {
	enum subject subject;
	struct queue_ring *ring;
	struct queue_bounded *queue;
	struct vyukov *vyukov;
	uint64_t capacity;
	unsigned flags, producers, consumers, batch;
	enum queue_policy policy;
	bool counts; /* by a counter, not in nanoseconds */
	bool closes;
	uint64_t mean;
	bool signals;
	struct stress_gate gate;
	struct worker workers[MOST_WORKERS];
	struct worker last; /* drains what is left */

	uint32_t producing queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t time queue_impl_aligned(QUEUE_IMPL_APART);
} trial;

static _Thread_local struct worker *me;
static bool time_is_one;
static struct preempt_counts preemptions;
static uint64_t operations_checked, refusals_checked;

/* ---- Time ----------------------------------------------------------------------------------- */

/* Nothing behind it is done before the clock has been read. */
static void
fence_behind_clock(void)
{
#if defined __x86_64__
	__asm__ __volatile__("lfence" : : : "memory");
#else
	__asm__ __volatile__("isb" : : : "memory");
#endif
}

static uint64_t
begin(void)
{
	uint64_t now;

	if (trial.counts)
		return queue_impl_load_acq(&trial.time); /* TIME1 acquire */
	now = queue_now();
	fence_behind_clock();
	return now;
}

static uint64_t
end(void)
{
	if (trial.counts)
		return queue_impl_fetch_add_acq_rel(&trial.time, 1); /* TIME1 acq_rel */
	queue_impl_fence_full();
	return queue_now();
}

#define EXCHANGES 2000

static struct {
	uint64_t turn, stamp;
	bool disagree;
} exchange;

/* Two threads that show each other the time, in turn. */
static void
compare_clocks(void *argument)
{
	uint64_t side = *(const uint64_t *)argument;

	for (uint64_t i = 0; i < EXCHANGES; i++) {
		uint64_t now;

		while (queue_impl_load_acq(&exchange.turn) != 2 * i + side) /* TIME1 acquire */
			sched_yield();
		now = queue_now();
		if (now < exchange.stamp)
			exchange.disagree = true;
		exchange.stamp = queue_now();
		queue_impl_store_rel(&exchange.turn, 2 * i + side + 1); /* TIME1 release */
	}
}

static bool
clocks_agree(void)
{
	struct stress_thread threads[2];
	uint64_t sides[2] = {0, 1};

	for (int i = 0; i < 2; i++)
		stress_start(&threads[i], compare_clocks, &sides[i]);
	for (int i = 0; i < 2; i++)
		stress_join(&threads[i]);
	return !exchange.disagree;
}

/* ---- Calls ---------------------------------------------------------------------------------- */

/* How many items were moved; and when that is not all, *why. */
static uint64_t
answer(ptrdiff_t rc, uint64_t n, bool bulk, enum history_what *why)
{
	if (rc == -EPIPE) {
		*why = me->produces ? HISTORY_PUSH_CLOSED : HISTORY_POP_CLOSED;
		return 0;
	}
	if (rc == -EAGAIN || rc == -ETIMEDOUT || (bulk && rc == 0)) {
		*why = me->produces ? HISTORY_PUSH_FULL : HISTORY_POP_EMPTY;
		return 0;
	}
	*why = me->produces ? HISTORY_PUSH_SHORT : HISTORY_POP_SHORT;
	if (!bulk && (rc == 0 || rc == QUEUE_EVICTED))
		return 1;
	stress_check(rc > 0 && (uint64_t)rc <= n, "a call for %" PRIu64 " answers %td", n, rc);
	return (uint64_t)rc;
}

static uint64_t
soon(void)
{
	return queue_now() + stress_random_below(&me->random, 50 * QUEUE_MICROSECOND);
}

static ptrdiff_t
push_one(void *item)
{
	switch (trial.subject) {
	case RING:
		return queue_ring_try_push(trial.ring, item);
	case QUEUE:
		switch (stress_random_below(&me->random, 4)) {
		case 0:
			return queue_push_until(trial.queue, item, soon());
		case 1:
			return queue_push(trial.queue, item);
		default:
			return queue_try_push(trial.queue, item);
		}
	case VYUKOV:
	case ANY:
	default:
		return vyukov_push(trial.vyukov, item);
	}
}

static ptrdiff_t
pop_one(void **item)
{
	switch (trial.subject) {
	case RING:
		return queue_ring_try_pop(trial.ring, item);
	case QUEUE:
		if (stress_one_in(&me->random, 4))
			return queue_pop_until(trial.queue, item, soon());
		return queue_try_pop(trial.queue, item);
	case VYUKOV:
	case ANY:
	default:
		return vyukov_pop(trial.vyukov, item);
	}
}

static ptrdiff_t
push_many(void *const *items, uint64_t n)
{
	if (trial.subject == RING)
		return queue_ring_push_n(trial.ring, items, (ptrdiff_t)n);
	return queue_push_n(trial.queue, items, (int)n);
}

static ptrdiff_t
pop_many(void **items, uint64_t n)
{
	if (trial.subject == RING)
		return queue_ring_pop_n(trial.ring, items, (ptrdiff_t)n);
	return queue_try_pop_n(trial.queue, items, (int)n);
}

/* What our own push throws out, it pops. */
static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	struct history_operation operation = {.value = (uint64_t)(uintptr_t)item};

	(void)context;
	stress_check(reason == QUEUE_EVICTED, "%s", queue_reason_name(reason));
	history_add(&me->evicted, operation);
}

static void
record(struct history_operation *operation, enum history_what what, void *item)
{
	operation->what = what;
	operation->value = (uint64_t)(uintptr_t)item;
	history_add(&me->part, *operation);
}

/*
 * Calls that were refused change nothing, and may be left out of a history: when there are a great
 * many, as of who polls while the others sleep.
 */
static void
record_refusal(struct history_operation *operation, enum history_what why)
{
	if (me->part.count < 4 * option_operations / (trial.producers + trial.consumers))
		record(operation, why, NULL);
}

static enum history_what
call(uint64_t n, bool bulk)
{
	struct history_operation operation = {.call = (uint32_t)++me->calls};
	void *items[MOST_BATCH];
	enum history_what why = HISTORY_CLOSE;
	uint64_t moved;
	ptrdiff_t rc;

	/* Unique: the first is NULL, which is an item like any other. */
	for (uint64_t i = 0; me->produces && i < n; i++)
		items[i] = (void *)(uintptr_t)((me->pushed + i) * MOST_WORKERS + me->index);
	me->evicted.count = 0;
	operation.begin = begin();
	preempt_enter();
	if (me->produces)
		rc = bulk ? push_many(items, n) : push_one(items[0]);
	else
		rc = bulk ? pop_many(items, n) : pop_one(items);
	preempt_leave();
	operation.end = end();
	moved = answer(rc, n, bulk, &why);
	for (uint64_t i = 0; i < moved; i++)
		record(&operation, me->produces ? HISTORY_PUSHED : HISTORY_POPPED, items[i]);
	if (me->produces)
		me->pushed += moved;
	for (size_t i = 0; i < me->evicted.count; i++)
		record(&operation, HISTORY_POPPED,
		       (void *)(uintptr_t)me->evicted.operations[i].value);
	if (moved == n)
		return me->produces ? HISTORY_PUSHED : HISTORY_POPPED;
	record_refusal(&operation, why);
	return why;
}

static void
close_it(void)
{
	struct history_operation operation = {.call = (uint32_t)++me->calls};

	operation.begin = begin();
	preempt_enter();
	if (trial.subject == RING)
		queue_ring_close(trial.ring);
	else
		queue_close(trial.queue);
	preempt_leave();
	operation.end = end();
	record(&operation, HISTORY_CLOSE, NULL);
}

/* ---- Threads -------------------------------------------------------------------------------- */

static enum history_what
some_call(void)
{
	bool bulk = stress_random_below(&me->random, 100) < trial.batch;
	uint64_t most = stress_one_in(&me->random, 4) ? MOST_BATCH : 4;
	enum history_what what;

	if (me->calls == me->close_at)
		close_it();
	what = call(bulk ? 1 + stress_random_below(&me->random, most) : 1, bulk);
	if (what != HISTORY_PUSHED && what != HISTORY_POPPED && stress_one_in(&me->random, 2))
		sched_yield();
	return what;
}

static void
produce(void)
{
	uint64_t quota = option_operations / 2 / trial.producers;
	unsigned closed = 0;

	/* Once it is closed, a few times more. */
	while (me->part.count < quota && closed < 4)
		closed += some_call() == HISTORY_PUSH_CLOSED;
	/* The last of them closes, if it is to be closed. */
	if (queue_impl_fetch_add32_acq_rel(&trial.producing, UINT32_MAX) == 1 && trial.closes)
		close_it();
}

static void
consume(void)
{
	unsigned ends = 0;

	while (ends < 4) {
		bool last = queue_impl_load32_acq(&trial.producing) == 0;
		enum history_what what = some_call();

		ends += what == HISTORY_POP_CLOSED ||
			(last && !trial.closes && what == HISTORY_POP_EMPTY);
	}
}

static void
work(void *argument)
{
	me = argument;
	stress_gate_pass(&trial.gate, trial.producers + trial.consumers);
	preempt_begin(stress_random(&me->random), trial.mean, trial.signals);
	if (me->produces)
		produce();
	else
		consume();
	preempt_end(&preemptions);
}

/* ---- A round -------------------------------------------------------------------------------- */

static uint64_t
one_of(struct stress_random *random, const uint64_t *values, size_t n)
{
	return values[stress_random_below(random, n)];
}

static unsigned
choose_threads(struct stress_random *random, uint64_t option, bool single)
{
	if (single)
		return 1;
	return (unsigned)(option ? option : 1 + stress_random_below(random, MOST_THREADS));
}

static void
choose_closers(struct stress_random *random, unsigned how)
{
	unsigned workers = trial.producers + trial.consumers;
	/* With a single producer it is he who closes. */
	unsigned may = trial.flags & QUEUE_SINGLE_PRODUCER ? 1 : workers;

	trial.closes = how > 0;
	for (unsigned i = 0; i < workers; i++)
		trial.workers[i].close_at = UINT64_MAX;
	for (; how > 1; how--)
		trial.workers[stress_random_below(random, may)].close_at =
			1 + stress_random_below(random, option_operations / 2 / trial.producers);
}

static void
choose_trial(struct stress_random *random)
{
	static const uint64_t capacities[] = {1, 2, 3, 7, 64}, powers[] = {2, 4, 64};
	static const uint64_t batches[] = {0, 10, 50, 100}, means[] = {0, 20, 200, 2000, 20000};
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_BLOCK,
						     QUEUE_DISCARD_OLDEST};

	trial.subject = option_subject == ANY ? (enum subject)stress_random_below(random, 2)
					      : (enum subject)option_subject;
	trial.flags = trial.subject == VYUKOV
			      ? 0
			      : (unsigned)stress_choose(random, option_role, ANY_ROLE);
	trial.producers =
		choose_threads(random, option_producers, trial.flags & QUEUE_SINGLE_PRODUCER);
	trial.consumers =
		choose_threads(random, option_consumers, trial.flags & QUEUE_SINGLE_CONSUMER);
	trial.capacity = option_capacity	   ? option_capacity
			 : trial.subject == VYUKOV ? one_of(random, powers, 3)
						   : one_of(random, capacities, 5);
	trial.batch = (unsigned)(option_batch <= 100 ? option_batch : one_of(random, batches, 4));
	/* Evicting is popping. */
	trial.policy =
		policies[stress_random_below(random, trial.flags & QUEUE_SINGLE_CONSUMER ? 2 : 3)];
	trial.counts = stress_choose(random, option_clock, ANY_CLOCK) == 0 || !time_is_one;
	trial.mean = one_of(random, means, 5);
	trial.signals = stress_choose(random, option_signals, ANY_SIGNALS) != 0;
	choose_closers(random, (unsigned)stress_choose(random, option_close, ANY_CLOSE));
	if (trial.subject == VYUKOV) {
		trial.batch = 0;
		trial.closes = false;
		for (unsigned i = 0; i < MOST_WORKERS; i++)
			trial.workers[i].close_at = UINT64_MAX;
	}
}

static void
make_subject(struct stress_random *random)
{
	const struct queue_options options = {.capacity = trial.capacity,
					      .policy = trial.policy,
					      .flags = trial.flags,
					      .on_drop = on_drop};
	size_t size = queue_ring_footprint(trial.capacity, trial.flags);

	switch (trial.subject) {
	case RING:
		trial.ring = aligned_alloc(QUEUE_RING_ALIGNMENT, size);
		stress_check(trial.ring, "out of memory");
		/* So that positions wrap, now and then. */
		stress_check(queue_impl_ring_init_at(trial.ring, size, trial.capacity, trial.flags,
						     -stress_random_below(random, 10000)) == 0,
			     "init");
		break;
	case QUEUE:
		stress_check(queue_create(&trial.queue, &options) == 0, "create");
		break;
	case VYUKOV:
	case ANY:
	default:
		stress_check(vyukov_open(&trial.vyukov, trial.capacity) == 0, "open");
		break;
	}
}

static void
destroy_subject(void)
{
	switch (trial.subject) {
	case RING:
		queue_ring_fini(trial.ring);
		free(trial.ring);
		break;
	case QUEUE:
		stress_check(queue_destroy(trial.queue) == 0, "destroy");
		break;
	case VYUKOV:
	case ANY:
	default:
		vyukov_shut(trial.vyukov);
		break;
	}
}

/* How often that violation was found, if it is what is looked for. */
static size_t
check_trial(void)
{
	struct history_part parts[MOST_WORKERS + 1];
	unsigned workers = trial.producers + trial.consumers;
	struct history_report report;
	size_t sum, expected = 0;

	for (unsigned i = 0; i < workers; i++) {
		parts[i] = trial.workers[i].part;
		history_free(&trial.workers[i].evicted);
	}
	parts[workers] = trial.last.part;
	sum = history_check(parts, workers + 1, trial.capacity, true, &report);
	operations_checked += report.operations;
	for (unsigned i = 0; i <= workers; i++) {
		for (size_t k = 0; k < parts[i].count; k++)
			refusals_checked += parts[i].operations[k].what != HISTORY_PUSHED &&
					    parts[i].operations[k].what != HISTORY_POPPED;
	}
	if (option_expect) {
		sum -= report.found[HISTORY_FALSE_EMPTY] + report.found[HISTORY_FALSE_FULL];
		expected =
			report.found[option_expect == 1 ? HISTORY_FALSE_EMPTY : HISTORY_FALSE_FULL];
	}
	if (sum > 0)
		history_print(parts, workers + 1, &report);
	for (unsigned i = 0; i <= workers; i++)
		history_free(&parts[i]);
	stress_check(sum == 0,
		     "%s %s, capacity %" PRIu64
		     ", policy %d, %u producers, %u consumers, batch %u, "
		     "clock %s, mean %" PRIu64 ", signals %d",
		     subjects[trial.subject], roles[trial.flags], trial.capacity, (int)trial.policy,
		     trial.producers, trial.consumers, trial.batch,
		     trial.counts ? "counter" : "time", trial.mean, trial.signals);
	return expected;
}

static size_t
run_round(struct stress_random *random)
{
	unsigned workers;

	memset(&trial, 0, sizeof trial);
	choose_trial(random);
	make_subject(random);
	workers = trial.producers + trial.consumers;
	trial.producing = trial.producers;
	for (unsigned i = 0; i < workers; i++) {
		trial.workers[i].index = i;
		trial.workers[i].produces = i < trial.producers;
		trial.workers[i].random = stress_random_init(stress_random(random));
	}
	for (unsigned i = 0; i < workers; i++)
		stress_start(&trial.workers[i].thread, work, &trial.workers[i]);
	for (unsigned i = 0; i < workers; i++)
		stress_join(&trial.workers[i].thread);
	me = &trial.last;
	me->random = stress_random_init(stress_random(random));
	while (call(1, false) == HISTORY_POPPED)
		continue;
	destroy_subject();
	return check_trial();
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"subject", &option_subject, "what is used; any is one of the first two",
		 .words = subjects},
		{"role", &option_role, "who pushes and who pops", .words = roles},
		{"producers", &option_producers, "threads that push, 0 for any",
		 .most = MOST_THREADS},
		{"consumers", &option_consumers, "threads that pop, 0 for any",
		 .most = MOST_THREADS},
		{"capacity", &option_capacity,
		 "of vyukov 2, 4, 8 and so on, 0 for 1, 2, 3, 7 or 64",
		 .most = STRESS_CAPACITY_MAX},
		{"operations", &option_operations, "in a round, about", .least = MOST_WORKERS,
		 .most = MOST_OPERATIONS},
		{"batch", &option_batch, "percent of bulk calls, above 100 for any",
		 .most = ANY_BATCH},
		{"clock", &option_clock, "what the time is", .words = clocks},
		{"close", &option_close, "when it is closed", .words = closes},
		{"signals", &option_signals, "1 for with, 0 for without, 2 for either",
		 .most = ANY_SIGNALS},
		{"expect", &option_expect, "a violation that must be found", .words = expectations},
		{.name = NULL},
	};
	uint64_t began = queue_now();
	struct stress_random random;
	size_t expected = 0;

	stress_begin(argc, argv, options);
	if (option_subject == VYUKOV &&
	    (option_capacity == 1 || (option_capacity & (option_capacity - 1)) != 0))
		stress_refuse("--capacity is \"%" PRIu64
			      "\"; of vyukov it must be 2, 4, 8 and so on",
			      option_capacity);
	time_is_one = clocks_agree();
	random = stress_random_init(0);
	while (stress_time_is_left() ||
	       (option_expect && expected == 0 && queue_now() - began < EXPECT_BOUND))
		expected += run_round(&random);
	stress_check(!option_expect || expected > 0, "there is no %s", expectations[option_expect]);
	printf("%" PRIu64 " operations, %" PRIu64 " of them refused", operations_checked,
	       refusals_checked);
	if (option_expect)
		printf(", %zu times %s", expected, expectations[option_expect]);
	printf("\n%" PRIu64 " points, %" PRIu64 " stops, %" PRIu64 " interruptions%s\n",
	       preemptions.points, preemptions.stops, preemptions.interruptions,
	       time_is_one ? "" : "; threads do not agree on the time");
	return stress_end();
}
