/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many items a second go through, by numbers of threads, capacity, items per call, size of the
 * message and placement of the threads; and what one thread alone pays for a pair and for a poll.
 */
#include "crew.h"
#include "item.h"
#include "statistics.h"
#include "suite.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUITE "throughput"
#define ROUNDS 5
#define CELLS_MAX 1024
#define SHORTEST 0.002 /* seconds of one run */
#define BOUND 3.0      /* seconds that a run may take beyond four times its time */
#define PAIRS 50000

struct cell {
	bool alone; /* one thread: pairs and polls */
	unsigned producers, consumers;
	uint64_t capacity;
	unsigned batch, payload;
	enum bench_pin pin;
};

/* What one run is to do; the child has a copy. */
struct run {
	const struct bench_subject *subject;
	const struct cell *cell;
	double seconds;
};

/* What comes back from the child. */
struct outcome {
	int rc; /* what opening the queue said */
	bool wrong;
	double seconds;
	double items;
	double fairness;
	double pair, poll; /* ns */
};

/* In the child, for the threads. */
struct stage {
	const struct run *run;
	struct outcome *outcome;
	void *queue;
	struct bench_lane *lanes; /* producers first */
	uint32_t stop, drained;
	unsigned producing;
};

static void
work(void *context, unsigned index)
{
	struct stage *stage = context;
	const struct bench_subject *subject = stage->run->subject;
	bool produces = index < stage->run->cell->producers;

	if (subject->attach)
		subject->attach(stage->queue);
	if (produces)
		subject->produce(stage->queue, &stage->lanes[index]);
	else
		subject->consume(stage->queue, &stage->lanes[index]);
	if (subject->detach)
		subject->detach(stage->queue);
	if (produces)
		__atomic_fetch_sub(&stage->producing, 1, __ATOMIC_ACQ_REL);
}

/* Ends the run: first the producers, and when all of their items are inside, the consumers. */
static void
conduct(void *context)
{
	struct stage *stage = context;
	uint64_t end = bench_now() + (uint64_t)(stage->run->seconds * 1e9);

	bench_sleep_until(end);
	__atomic_store_n(&stage->stop, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&stage->producing, __ATOMIC_ACQUIRE) > 0)
		bench_sleep_until(bench_now() + 20000);
	__atomic_store_n(&stage->drained, 1, __ATOMIC_RELEASE);
}

static void
prepare_lane(struct stage *stage, unsigned index)
{
	const struct cell *cell = stage->run->cell;
	struct bench_lane *lane = &stage->lanes[index];
	bool produces = index < cell->producers;
	uint64_t messages = 1;

	lane->index = produces ? index : index - cell->producers;
	lane->batch = cell->batch;
	lane->payload = cell->payload;
	lane->stop = produces ? &stage->stop : &stage->drained;
	if (!produces || cell->payload <= sizeof(uint64_t))
		return;
	while (messages < cell->capacity / cell->producers + 2 * cell->batch + 64)
		messages *= 2;
	lane->pool_mask = messages - 1;
	lane->pool = aligned_alloc(64, messages * bench_stride(cell->payload));
	if (!lane->pool)
		abort();
	memset(lane->pool, 0, messages * bench_stride(cell->payload));
}

static double
ratio_of_extremes(const struct bench_lane *lanes, unsigned n)
{
	uint64_t least = UINT64_MAX, most = 0;
	unsigned i;

	for (i = 0; i < n; i++) {
		least = lanes[i].count < least ? lanes[i].count : least;
		most = lanes[i].count > most ? lanes[i].count : most;
	}
	return most > 0 ? (double)least / (double)most : 0;
}

/* Some queues say empty falsely while others pop; what was left behind is taken here. */
static void
take_the_rest(struct stage *stage, struct bench_lane *lane)
{
	const struct bench_subject *subject = stage->run->subject;
	void *item = NULL;

	while (subject->pop(stage->queue, &item) == 0) {
		lane->sum += bench_unwrap(lane, item);
		lane->count++;
	}
}

static void
measure_threads(struct stage *stage)
{
	struct outcome *outcome = stage->outcome;
	const struct cell *cell = stage->run->cell;
	unsigned threads = cell->producers + cell->consumers, i;
	uint64_t in = 0, out = 0, sum_in = 0, sum_out = 0, disorder = 0;
	static struct bench_lane rest;

	stage->lanes = aligned_alloc(128, (threads * sizeof *stage->lanes + 127) / 128 * 128);
	if (!stage->lanes)
		abort();
	memset(stage->lanes, 0, threads * sizeof *stage->lanes);
	for (i = 0; i < threads; i++)
		prepare_lane(stage, i);
	stage->producing = cell->producers;
	outcome->seconds = (double)bench_crew_run(threads, cell->pin, work, conduct, stage) * 1e-9;
	rest.payload = cell->payload;
	if (stage->run->subject->attach)
		stage->run->subject->attach(stage->queue);
	take_the_rest(stage, &rest);
	for (i = 0; i < cell->producers; i++) {
		in += stage->lanes[i].count;
		sum_in += stage->lanes[i].sum;
	}
	for (; i < threads; i++) {
		out += stage->lanes[i].count;
		sum_out += stage->lanes[i].sum;
		disorder += stage->lanes[i].disorder;
	}
	outcome->items = (double)out;
	outcome->fairness = ratio_of_extremes(stage->lanes, cell->producers);
	if (cell->consumers > 1) {
		double fairness =
			ratio_of_extremes(stage->lanes + cell->producers, cell->consumers);

		outcome->fairness = fairness < outcome->fairness ? fairness : outcome->fairness;
	}
	outcome->wrong = in != out + rest.count || sum_in != sum_out + rest.sum ||
			 (disorder > 0 && (stage->run->subject->traits & BENCH_IN_ORDER));
}

/* Until the run is over; for there to be a second thread. */
static void
look_on(void *context, unsigned index)
{
	const struct stage *stage = context;

	(void)index;
	while (!bench_told(&stage->stop))
		bench_sleep_until(bench_now() + 1000000);
}

static void
measure_alone(void *context)
{
	struct stage *stage = context;
	struct outcome *outcome = stage->outcome;
	const struct bench_subject *subject = stage->run->subject;
	uint64_t begin, n = PAIRS;
	double spent = 0, polled = 0;
	uint64_t pairs = 0, polls = 0;

	if (subject->attach)
		subject->attach(stage->queue);
	while (spent < stage->run->seconds / 2 * 1e9) {
		uint64_t sum;

		begin = bench_now();
		sum = subject->pairs(stage->queue, n);
		spent += (double)(bench_now() - begin);
		pairs += n;
		outcome->wrong |= sum != n * (n + 1) / 2;
		if (outcome->wrong)
			break;
	}
	while (polled < stage->run->seconds / 2 * 1e9) {
		begin = bench_now();
		outcome->wrong |= subject->polls(stage->queue, n) != n;
		polled += (double)(bench_now() - begin);
		polls += n;
	}
	outcome->pair = spent / (double)pairs;
	outcome->poll = polled / (double)polls;
	__atomic_store_n(&stage->stop, 1, __ATOMIC_RELEASE);
}

static void
perform(void *context, void *result)
{
	const struct run *run = context;
	struct outcome *outcome = result;
	struct bench_shape shape = {run->cell->capacity, run->cell->producers,
				    run->cell->consumers};
	struct stage stage;

	memset(&stage, 0, sizeof stage);
	stage.run = run;
	stage.outcome = outcome;
	outcome->rc = run->subject->open(&stage.queue, &shape);
	if (outcome->rc)
		return;
	if (run->cell->alone) {
		/*
		 * Beside a second thread, which sleeps: the C library leaves locked instructions
		 * out of mutexes as long as a process has one thread only.
		 */
		bench_crew_pin(BENCH_PIN_ONE, 0);
		(void)bench_crew_run(1, BENCH_PIN_NONE, look_on, measure_alone, &stage);
	} else {
		measure_threads(&stage);
	}
}

/* What came of all rounds of one subject in one cell. */
struct record {
	const struct bench_subject *subject;
	enum bench_state state;
	const char *note;
	size_t rounds;
	double rate[BENCH_ROUNDS_MAX], fairness[BENCH_ROUNDS_MAX], cpu[BENCH_ROUNDS_MAX],
		switches[BENCH_ROUNDS_MAX];
	double pair[BENCH_ROUNDS_MAX], poll[BENCH_ROUNDS_MAX];
};

static void
perform_isolated(struct record *record, const struct run *run)
{
	struct bench_usage usage;
	struct outcome outcome;
	size_t i = record->rounds;

	record->state = bench_isolated(perform, (void *)(uintptr_t)run, &outcome, sizeof outcome,
				       4 * run->seconds + BOUND, &usage);
	if (record->state != BENCH_OK)
		return;
	if (outcome.rc) {
		record->state = BENCH_ABSENT;
		record->note = outcome.rc == -EINVAL ? "cannot have this capacity"
						     : "not on this machine";
		return;
	}
	if (outcome.wrong) {
		record->state = BENCH_WRONG;
		record->note = "items were missing, doubled or out of order";
		return;
	}
	if (run->cell->alone) {
		record->pair[i] = outcome.pair;
		record->poll[i] = outcome.poll;
	} else {
		double millions = outcome.items / 1e6;

		record->rate[i] = millions / outcome.seconds;
		record->fairness[i] = outcome.fairness;
		record->cpu[i] = millions > 0 ? usage.cpu / millions : 0;
		record->switches[i] = (double)usage.switches / outcome.seconds;
	}
	record->rounds++;
}

static void
name_cell(const struct cell *cell, char *name, size_t size)
{
	if (cell->alone)
		(void)snprintf(name, size, "one thread capacity=%llu",
			       (unsigned long long)cell->capacity);
	else
		(void)snprintf(name, size, "%ux%u capacity=%llu batch=%u payload=%u pin=%s",
			       cell->producers, cell->consumers, (unsigned long long)cell->capacity,
			       cell->batch, cell->payload, bench_pin_name(cell->pin));
}

struct measure {
	const char *metric, *unit;
	enum bench_better better;
	double *samples;
};

static void
add_row(struct bench_results *results, const struct record *record, const char *cell,
	const struct measure *measure, const char *limit, double limit_value)
{
	struct bench_row *row = bench_results_measured(
		results, SUITE, record->subject->name, cell, measure->metric, measure->unit,
		measure->better, measure->samples, record->state == BENCH_OK ? record->rounds : 0);

	if (record->state != BENCH_OK)
		bench_results_state(results, row, record->state, record->note);
	if (limit) {
		(void)snprintf(row->limit, sizeof row->limit, "%s", limit);
		row->limit_value = limit_value;
	}
}

static void
add_rows(struct bench_results *results, const struct cell *cell, struct record *record)
{
	struct measure alone[] = {
		{"pair", "ns", BENCH_LOWER, record->pair},
		{"poll", "ns", BENCH_LOWER, record->poll},
	};
	struct measure rate = {"rate", "M/s", BENCH_HIGHER, record->rate};
	struct measure others[] = {
		{"fairness", "min/max", BENCH_NEITHER, record->fairness},
		{"cpu", "s/M", BENCH_LOWER, record->cpu},
		{"switches", "1/s", BENCH_NEITHER, record->switches},
	};
	char name[96];
	size_t i;

	name_cell(cell, name, sizeof name);
	if (cell->alone) {
		add_row(results, record, name, &alone[0], bench_limit_name(BENCH_LIMIT_LOCKED),
			bench_limit(BENCH_LIMIT_LOCKED));
		add_row(results, record, name, &alone[1], bench_limit_name(BENCH_LIMIT_LOAD),
			bench_limit(BENCH_LIMIT_LOAD));
		return;
	}
	if (cell->payload == sizeof(uint64_t))
		add_row(results, record, name, &rate, bench_limit_name(BENCH_LIMIT_STREAM),
			bench_limit(BENCH_LIMIT_STREAM));
	else
		add_row(results, record, name, &rate, NULL, 0);
	for (i = 0; i < sizeof others / sizeof others[0]; i++)
		add_row(results, record, name, &others[i], NULL, 0);
}

struct plan {
	struct cell cells[CELLS_MAX];
	size_t count;
};

static bool
is_same(const struct cell *a, const struct cell *b)
{
	return a->alone == b->alone && a->producers == b->producers &&
	       a->consumers == b->consumers && a->capacity == b->capacity && a->batch == b->batch &&
	       a->payload == b->payload && a->pin == b->pin;
}

static void
plan_cell(struct plan *plan, unsigned producers, unsigned consumers, uint64_t capacity,
	  unsigned batch, unsigned payload, enum bench_pin pin)
{
	struct cell cell;
	size_t i;

	memset(&cell, 0, sizeof cell);
	cell.alone = producers == 0;
	cell.producers = cell.alone ? 1 : producers;
	cell.consumers = cell.alone ? 1 : consumers;
	cell.capacity = capacity;
	cell.batch = batch;
	cell.payload = payload;
	cell.pin = pin;
	for (i = 0; i < plan->count; i++)
		if (is_same(&plan->cells[i], &cell))
			return;
	if (plan->count < CELLS_MAX)
		plan->cells[plan->count++] = cell;
}

static const unsigned threads[][2] = {{1, 1},	{2, 2}, {4, 4}, {8, 8},
				      {16, 16}, {1, 4}, {4, 1}, {32, 1}};
static const uint64_t capacities[] = {1, 2, 64, 65536};
static const unsigned batches[] = {8, 32};
static const unsigned payloads[] = {64, 256, 1500};
static const enum bench_pin pins[] = {BENCH_PIN_SPREAD, BENCH_PIN_ONE};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The cells around the middle one, in which one thing differs from it, for given threads. */
static void
plan_variations(struct plan *plan, unsigned producers, unsigned consumers)
{
	size_t i;

	for (i = 0; i < COUNT(pins); i++)
		plan_cell(plan, producers, consumers, 1024, 1, 8, pins[i]);
	for (i = 0; i < COUNT(capacities); i++)
		plan_cell(plan, producers, consumers, capacities[i], 1, 8, BENCH_PIN_NONE);
	for (i = 0; i < COUNT(batches); i++)
		plan_cell(plan, producers, consumers, 1024, batches[i], 8, BENCH_PIN_NONE);
	for (i = 0; i < COUNT(payloads); i++)
		plan_cell(plan, producers, consumers, 1024, 1, payloads[i], BENCH_PIN_NONE);
}

static void
plan_own_choice(struct plan *plan, const struct bench_options *options)
{
	size_t i;

	plan_cell(plan, 0, 0, 1024, 1, 8, BENCH_PIN_ONE);
	if (options->quick) {
		plan_cell(plan, 1, 1, 1024, 1, 8, BENCH_PIN_SPREAD);
		plan_cell(plan, 4, 4, 1024, 1, 8, BENCH_PIN_NONE);
		plan_cell(plan, 4, 4, 1024, 32, 8, BENCH_PIN_NONE);
		return;
	}
	plan_cell(plan, 1, 1, 1024, 1, 8, BENCH_PIN_SPREAD);
	for (i = 0; i < COUNT(threads); i++)
		plan_cell(plan, threads[i][0], threads[i][1], 1024, 1, 8, BENCH_PIN_NONE);
	for (i = 0; i < COUNT(threads) && !options->full; i++)
		plan_cell(plan, threads[i][0], threads[i][1], 1024, 32, 8, BENCH_PIN_NONE);
	for (i = 0; i < COUNT(threads); i++)
		if (options->full ||
		    (threads[i][0] == threads[i][1] && (threads[i][0] == 1 || threads[i][0] == 4)))
			plan_variations(plan, threads[i][0], threads[i][1]);
}

/* What the user asked for: all combinations, with the middle's values for what was not said. */
static void
plan_product(struct plan *plan, const struct bench_options *options)
{
	size_t t, c, b, p, n;

	for (t = 0; t < (options->threads_count ? options->threads_count : COUNT(threads)); t++)
		for (c = 0; c < (options->capacity_count ? options->capacity_count : 1); c++)
			for (b = 0; b < (options->batch_count ? options->batch_count : 1); b++)
				for (p = 0;
				     p < (options->payload_count ? options->payload_count : 1); p++)
					for (n = 0;
					     n < (options->pin_count ? options->pin_count : 1); n++)
						plan_cell(plan,
							  options->threads_count
								  ? options->threads[t].producers
								  : threads[t][0],
							  options->threads_count
								  ? options->threads[t].consumers
								  : threads[t][1],
							  options->capacity_count
								  ? options->capacity[c]
								  : 1024,
							  options->batch_count ? options->batch[b]
									       : 1,
							  options->payload_count
								  ? options->payload[p]
								  : 8,
							  options->pin_count ? options->pin[n]
									     : BENCH_PIN_NONE);
}

/* All rounds of all subjects in one cell: they take turns. */
static void
measure_cell(const struct bench_options *options, const struct cell *cell, size_t number,
	     size_t cells, double seconds, size_t rounds, struct record *records, size_t count,
	     struct bench_results *results)
{
	struct run run = {NULL, cell, seconds};
	size_t round, i;
	char name[96];

	name_cell(cell, name, sizeof name);
	for (round = 0; round < rounds; round++) {
		bench_report_progress(options, SUITE, name, (unsigned)(number * rounds + round),
				      (unsigned)(cells * rounds));
		for (i = 0; i < count; i++) {
			run.subject = records[i].subject;
			if (records[i].state == BENCH_OK)
				perform_isolated(&records[i], &run);
		}
	}
	for (i = 0; i < count; i++)
		add_rows(results, cell, &records[i]);
	if (count == 0)
		(void)fprintf(stderr, "queue-bench: %s: %s: none of the subjects serves that\n",
			      SUITE, name);
}

static int
run_throughput(const struct bench_options *options, double seconds, struct bench_results *results)
{
	bool asked = options->threads_count || options->capacity_count || options->batch_count ||
		     options->payload_count || options->pin_count;
	size_t rounds = options->rounds ? options->rounds : options->quick ? 3 : ROUNDS;
	struct plan *plan = calloc(1, sizeof *plan);
	struct bench_subject *subject;
	struct record *records;
	size_t subjects = 0, i;
	double each;

	for (subject = bench_subjects(); subject; subject = subject->next)
		subjects += bench_options_want(options, subject);
	records = calloc(subjects + 1, sizeof *records);
	if (!plan || !records) {
		free(plan);
		free(records);
		return -ENOMEM;
	}
	if (asked)
		plan_product(plan, options);
	else
		plan_own_choice(plan, options);
	each = seconds / (double)(plan->count * rounds * (subjects ? subjects : 1));
	each = each < SHORTEST ? SHORTEST : each;
	for (i = 0; i < plan->count; i++) {
		const struct cell *cell = &plan->cells[i];
		size_t count = 0;

		memset(records, 0, (subjects + 1) * sizeof *records);
		for (subject = bench_subjects(); subject; subject = subject->next)
			if (bench_options_want(options, subject) &&
			    bench_subject_serves(subject, cell->producers, cell->consumers))
				records[count++].subject = subject;
		measure_cell(options, cell, i, plan->count, each, rounds, records, count, results);
	}
	free(plan);
	free(records);
	return 0;
}

const struct bench_suite bench_throughput = {
	.name = SUITE,
	.about = "items per second by threads, capacity, batch, payload and placement",
	.seconds = 300,
	.share = 0.4,
	.run = run_throughput,
};
