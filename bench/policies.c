/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What it costs when a queue is full, or its items are too old: ns per call, on one thread.
 *
 * Of this library, each policy of queue_push on a full queue_bounded, with an on_drop and a run
 * that only count; and a pop that meets items whose deadline has passed, beside pops of items that
 * are in time and of items without deadlines. QUEUE_BLOCK has no cost on one thread, so it is
 * measured as a hand-over: in a queue of one item, a push that waits for each pop and a pop that
 * waits for each push, on two processors; the same for every subject that has calls that wait. And
 * for every subject what a refused try costs: the push that finds the queue full.
 */
#include "crew.h"
#include "item.h"
#include "suite.h"

#include <conveyor/queue.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1e9
#define CAPACITY 1024u
#define CHUNK 1024 /* calls between two looks at the clock */

struct finding {
	int rc;
	bool wrong;
	bool empty;	    /* nothing came about in the time: no figure, and no fault */
	const char *absent; /* why there is none: a literal, so good in both processes */
	double cost;	    /* ns */
};

struct order {
	const struct experiment *experiment;
	const struct bench_subject *subject;
	double seconds;
};

struct experiment {
	const char *cell;
	const char *subject; /* NULL: every subject */
	void (*body)(void *order, void *finding);
	double weight; /* of the time */
	enum queue_policy policy;
	int answer;	   /* of queue_push when the queue is full */
	uint64_t deadline; /* of each item; 0: none */
	bool deadlines;	   /* the queue asks for them */
};

static bool
is_over(uint64_t end)
{
	return bench_now() >= end;
}

/* ---- The policies of queue_bounded --------------------------------------------------------- */

/* What became of items, by on_drop and run. */
struct fate {
	uint64_t dropped, dropped_sum;
	uint64_t run, run_sum;
};

static void
count_drop(void *item, enum queue_reason reason, void *context)
{
	struct fate *fate = context;

	(void)reason;
	fate->dropped++;
	fate->dropped_sum += (uintptr_t)item;
}

static void
count_run(void *item, void *context)
{
	struct fate *fate = context;

	fate->run++;
	fate->run_sum += (uintptr_t)item;
}

static uint64_t common_deadline;

static uint64_t
deadline_of(const void *item)
{
	(void)item;
	return common_deadline;
}

static int
make_queue(struct queue_bounded **queue, const struct order *order, struct fate *fate)
{
	struct queue_options options;

	memset(&options, 0, sizeof options);
	options.capacity = CAPACITY;
	options.policy = order->experiment->policy;
	options.on_drop = count_drop;
	options.run = count_run;
	options.deadline_of = order->experiment->deadlines ? deadline_of : NULL;
	options.context = fate;
	return queue_create(queue, &options);
}

/* Pushes 1, 2, 3, ... until it is full; how many went in. */
static uint64_t
fill(struct queue_bounded *queue, uint64_t from)
{
	uint64_t value = from;

	while (queue_try_push(queue, (void *)(uintptr_t)value) == 0)
		value++;
	return value - from;
}

/* The sum of first, first + 1, ..., first + count - 1. */
static uint64_t
series(uint64_t first, uint64_t count)
{
	return first * count + (count % 2 ? (count - 1) / 2 * count : count / 2 * (count - 1));
}

/* Calls queue_push on a full queue, then looks where every item is. */
static void
push_when_full(void *context, void *result)
{
	const struct order *order = context;
	struct finding *finding = result;
	struct queue_bounded *queue;
	struct fate fate;
	uint64_t begun, end, pushed, calls = 0, elapsed, left = 0, left_sum = 0, expected = 0, i;
	void *item;

	memset(&fate, 0, sizeof fate);
	finding->rc = make_queue(&queue, order, &fate);
	if (finding->rc)
		return;
	pushed = fill(queue, 1);
	begun = bench_now();
	end = begun + (uint64_t)(order->seconds * NS_PER_S);
	do {
		for (i = 0; i < CHUNK; i++)
			expected +=
				queue_push(queue, (void *)(uintptr_t)(pushed + 1 + calls + i)) ==
				order->experiment->answer;
		calls += CHUNK;
	} while (!is_over(end));
	elapsed = bench_now() - begun;
	while (queue_try_pop(queue, &item) == 0) {
		left++;
		left_sum += (uintptr_t)item;
	}
	/* A refused item is still the caller's: all of those, and they are the last. */
	if (order->experiment->policy == QUEUE_ABORT) {
		fate.run += calls;
		fate.run_sum += series(pushed + 1, calls);
	}
	finding->wrong = expected != calls || pushed != CAPACITY || left != CAPACITY ||
			 left + fate.dropped + fate.run != pushed + calls ||
			 left_sum + fate.dropped_sum + fate.run_sum != series(1, pushed + calls) ||
			 queue_destroy(queue) != 0;
	finding->cost = (double)elapsed / (double)calls;
}

/*
 * Empties full queues by trying to pop: with a deadline that has passed one call goes through all
 * of them. The cost is that of an item. Only the popping is timed.
 */
static void
pop_with_deadline(void *context, void *result)
{
	const struct order *order = context;
	struct finding *finding = result;
	struct queue_bounded *queue;
	struct fate fate;
	uint64_t end = bench_now() + (uint64_t)(order->seconds * NS_PER_S);
	uint64_t popped = 0, sum = 0, filled = 0, elapsed = 0, begun;
	bool expire = order->experiment->deadline == 1;
	void *item;

	memset(&fate, 0, sizeof fate);
	common_deadline = order->experiment->deadline;
	finding->rc = make_queue(&queue, order, &fate);
	if (finding->rc)
		return;
	do {
		filled += fill(queue, 1);
		begun = bench_now();
		while (queue_try_pop(queue, &item) == 0) {
			popped++;
			sum += (uintptr_t)item;
		}
		elapsed += bench_now() - begun;
	} while (!is_over(end));
	finding->wrong = filled % CAPACITY != 0 || popped != (expire ? 0 : filled) ||
			 fate.dropped != (expire ? filled : 0) ||
			 sum + fate.dropped_sum != filled / CAPACITY * series(1, CAPACITY) ||
			 queue_destroy(queue) != 0;
	finding->cost = (double)elapsed / (double)filled;
}

/* ---- What every subject can do ------------------------------------------------------------- */

static void
refuse(void *context, void *result)
{
	const struct order *order = context;
	const struct bench_subject *subject = order->subject;
	const struct bench_shape shape = {CAPACITY, 1, 1};
	struct finding *finding = result;
	uint64_t begun, end, value = 0, calls = 0, refused = 0, sum = 0, elapsed, i;
	void *queue, *item;

	finding->rc = subject->open(&queue, &shape);
	if (finding->rc)
		return;
	if (subject->attach)
		subject->attach(queue);
	/* Some hold more than they are asked to, but none that is bounded so much more. */
	while (value < 64 * CAPACITY && subject->push(queue, (void *)(uintptr_t)(value + 1)) == 0)
		value++;
	if (value == 64 * CAPACITY) {
		finding->absent = "is never full";
		value = 0;
	}
	begun = bench_now();
	end = begun + (uint64_t)(order->seconds * NS_PER_S);
	do {
		for (i = 0; i < CHUNK && !finding->absent; i++)
			refused += subject->push(queue, (void *)(uintptr_t)(value + 1)) != 0;
		calls += CHUNK;
	} while (!finding->absent && !is_over(end));
	elapsed = bench_now() - begun;
	finding->cost = (double)elapsed / (double)calls;
	for (i = 0; subject->pop(queue, &item) == 0; i++)
		sum += (uintptr_t)item;
	finding->wrong = !finding->absent &&
			 (refused != calls || i != value || sum != series(1, value));
	if (subject->detach)
		subject->detach(queue);
	subject->shut(queue);
}

struct hand_over {
	const struct bench_subject *subject;
	void *queue;
	uint64_t duration; /* ns */
	uint32_t stop;
	bool failed;
	uint64_t pushed, popped, pushed_sum, popped_sum;
};

#define LAST UINT64_MAX

static bool
waits(const struct bench_subject *subject)
{
	return subject->push_wait && subject->pop_wait;
}

static void
hand_over_push(struct hand_over *over)
{
	uint64_t count = 0, sum = 0;

	while (!bench_told(&over->stop)) {
		count++;
		sum += count;
		if (over->subject->push_wait(over->queue, (void *)(uintptr_t)count))
			over->failed = true;
	}
	over->pushed = count;
	over->pushed_sum = sum;
	if (over->subject->push_wait(over->queue, (void *)(uintptr_t)LAST))
		over->failed = true;
}

static void
hand_over_pop(struct hand_over *over)
{
	uint64_t count = 0, sum = 0;
	void *item = NULL;

	for (;;) {
		if (over->subject->pop_wait(over->queue, &item) || (uintptr_t)item == LAST)
			break;
		count++;
		sum += (uintptr_t)item;
	}
	over->popped = count;
	over->popped_sum = sum;
}

static void
hand_over_member(void *context, unsigned index)
{
	struct hand_over *over = context;

	if (over->subject->attach)
		over->subject->attach(over->queue);
	if (index == 0)
		hand_over_push(over);
	else
		hand_over_pop(over);
	if (over->subject->detach)
		over->subject->detach(over->queue);
}

static void
hand_over_lasts(void *context)
{
	struct hand_over *over = context;

	bench_sleep_until(bench_now() + over->duration);
	__atomic_store_n(&over->stop, 1, __ATOMIC_RELEASE);
}

static void
hand_over(void *context, void *result)
{
	static struct hand_over over;
	const struct order *order = context;
	const struct bench_shape shape = {1, 1, 1};
	struct finding *finding = result;
	uint64_t elapsed;

	if (!waits(order->subject)) {
		finding->absent = "has no calls that wait on both sides";
		return;
	}
	over.subject = order->subject;
	over.duration = (uint64_t)(order->seconds * NS_PER_S);
	finding->rc = order->subject->open(&over.queue, &shape);
	if (finding->rc)
		return;
	elapsed = bench_crew_run(2, BENCH_PIN_SPREAD, hand_over_member, hand_over_lasts, &over);
	order->subject->shut(over.queue);
	finding->wrong = over.failed || over.pushed != over.popped ||
			 over.pushed_sum != over.popped_sum;
	/* On a busy machine the producer may not have run before the time was over. */
	finding->empty = over.pushed == 0;
	finding->cost = (double)elapsed / (double)over.pushed;
}

/* ---- The suite ----------------------------------------------------------------------------- */

#define OWN "bounded"

static const struct experiment experiments[] = {
	{"policy=abort full capacity=1024", OWN, push_when_full, 1, QUEUE_ABORT, -EAGAIN, 0, false},
	{"policy=discard full capacity=1024", OWN, push_when_full, 1, QUEUE_DISCARD,
	 QUEUE_DISCARDED, 0, false},
	{"policy=discard-oldest full capacity=1024", OWN, push_when_full, 1, QUEUE_DISCARD_OLDEST,
	 QUEUE_EVICTED, 0, false},
	{"policy=caller-runs full capacity=1024", OWN, push_when_full, 1, QUEUE_CALLER_RUNS,
	 QUEUE_RAN, 0, false},
	{"pop deadlines=none", OWN, pop_with_deadline, 1, QUEUE_ABORT, 0, 0, false},
	{"pop deadlines=ahead", OWN, pop_with_deadline, 1, QUEUE_ABORT, 0, QUEUE_NEVER, true},
	{"pop deadlines=passed", OWN, pop_with_deadline, 1, QUEUE_ABORT, 0, 1, true},
	{"refused try full capacity=1024", NULL, refuse, 1, QUEUE_ABORT, 0, 0, false},
	{"hand-over waiting 1x1 capacity=1 pin=spread", NULL, hand_over, 2, QUEUE_BLOCK, 0, 0,
	 false}};

#define EXPERIMENTS (sizeof experiments / sizeof experiments[0])

struct tally {
	enum bench_state state; /* BENCH_ABSENT: not yet anything */
	bool failed;
	const char *note;
	size_t rounds;
	double *samples;
};

struct plan {
	const struct bench_options *options;
	const struct bench_subject **subjects;
	size_t subject_count;
	unsigned rounds;
	double slice; /* seconds of an experiment in a round, by weight */
	struct tally *tallies;
	double *samples; /* of all tallies */
};

static bool
concerns(const struct experiment *experiment, const struct bench_subject *subject)
{
	return !experiment->subject || strcmp(experiment->subject, subject->name) == 0;
}

static void
fail(struct tally *tally, enum bench_state state, const char *note)
{
	tally->state = state;
	tally->failed = true;
	tally->note = note;
}

static void
take_turn(const struct plan *plan, size_t s, size_t e)
{
	struct tally *tally = &plan->tallies[s * EXPERIMENTS + e];
	struct order order = {&experiments[e], plan->subjects[s],
			      plan->slice * experiments[e].weight};
	struct finding finding;
	enum bench_state state;

	/* A subject that has failed once is not given the time to do it again. */
	if (tally->failed || !concerns(&experiments[e], order.subject))
		return;
	state = bench_isolated(experiments[e].body, &order, &finding, sizeof finding,
			       5 + 5 * order.seconds, NULL);
	if (state != BENCH_OK) {
		fail(tally, state, NULL);
	} else if (finding.rc) {
		fail(tally, BENCH_ABSENT,
		     finding.rc == -EINVAL   ? "cannot be had in this shape"
		     : finding.rc == -ENOSYS ? "not on this machine"
					     : "could not be made");
	} else if (finding.absent) {
		fail(tally, BENCH_ABSENT, finding.absent);
	} else if (finding.wrong) {
		fail(tally, BENCH_WRONG, "items were lost or doubled, or an answer was not right");
	} else if (!finding.empty) {
		tally->state = BENCH_OK;
		tally->samples[tally->rounds++] = finding.cost;
	}
}

static void
measure(const struct plan *plan)
{
	unsigned round, turns = plan->rounds * (unsigned)plan->subject_count, turn = 0;
	size_t s, e;

	for (round = 0; round < plan->rounds; round++) {
		for (s = 0; s < plan->subject_count; s++) {
			bench_report_progress(plan->options, "policies", plan->subjects[s]->name,
					      turn++, turns);
			for (e = 0; e < EXPERIMENTS; e++)
				take_turn(plan, s, e);
		}
	}
	bench_report_progress_end(plan->options);
}

static void
add_row(const struct plan *plan, size_t s, size_t e, struct bench_results *results)
{
	const struct experiment *experiment = &experiments[e];
	struct tally *tally = &plan->tallies[s * EXPERIMENTS + e];
	struct bench_row *row;

	if (!concerns(experiment, plan->subjects[s]))
		return;
	if (tally->state == BENCH_OK) {
		(void)bench_results_measured(results, "policies", plan->subjects[s]->name,
					     experiment->cell, "cost", "ns", BENCH_LOWER,
					     tally->samples, tally->rounds);
		return;
	}
	row = bench_results_add(results, "policies", plan->subjects[s]->name, experiment->cell,
				"cost", "ns", BENCH_LOWER);
	bench_results_state(results, row, tally->state, tally->note);
}

/* The subjects that are asked for. */
static int
choose(struct plan *plan)
{
	struct bench_subject *subject;
	size_t room = 0;

	for (subject = bench_subjects(); subject; subject = subject->next)
		room++;
	plan->subjects = calloc(room + 1, sizeof(void *));
	if (!plan->subjects)
		return -ENOMEM;
	for (subject = bench_subjects(); subject; subject = subject->next)
		if (bench_options_want(plan->options, subject))
			plan->subjects[plan->subject_count++] = subject;
	return 0;
}

static int
prepare(struct plan *plan, double seconds)
{
	size_t tallies = plan->subject_count * EXPERIMENTS, i, s, e;
	double weight = 0;

	for (s = 0; s < plan->subject_count; s++)
		for (e = 0; e < EXPERIMENTS; e++)
			if (concerns(&experiments[e], plan->subjects[s]) &&
			    (experiments[e].body != hand_over || waits(plan->subjects[s])))
				weight += experiments[e].weight;
	/* 10 ms are enough for a figure, if there are several of it. */
	plan->rounds = (unsigned)(seconds / (0.01 * weight));
	plan->rounds = plan->rounds < 1 ? 1 : plan->rounds > 7 ? 7 : plan->rounds;
	if (plan->options->rounds)
		plan->rounds = plan->options->rounds;
	plan->slice = 0.9 * seconds / plan->rounds / weight;

	plan->tallies = calloc(tallies, sizeof *plan->tallies);
	plan->samples = calloc(tallies * plan->rounds, sizeof *plan->samples);
	if (!plan->tallies || !plan->samples)
		return -ENOMEM;
	for (i = 0; i < tallies; i++) {
		plan->tallies[i].state = BENCH_ABSENT;
		plan->tallies[i].samples = plan->samples + i * plan->rounds;
	}
	return 0;
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	struct plan plan = {.options = options};
	int rc = choose(&plan);
	size_t s, e;

	if (rc == 0 && plan.subject_count > 0) {
		rc = prepare(&plan, seconds);
		if (rc == 0) {
			measure(&plan);
			for (e = 0; e < EXPERIMENTS; e++)
				for (s = 0; s < plan.subject_count; s++)
					add_row(&plan, s, e, results);
		}
	}
	free(plan.samples);
	free(plan.tallies);
	free(plan.subjects);
	return rc;
}

const struct bench_suite bench_policies = {
	"policies", "what a push costs when the queue is full, and a pop when items have expired",
	10,	    0.04,
	run,
};
