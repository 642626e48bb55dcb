/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What consumers cost that wait in an empty queue, and what it takes to wake one: the processor
 * time of 1, 8 and 64 waiting consumers; and, with 64 of them asleep, how many threads wake for one
 * item, and how long it is under way. A bare futex goes through the same, as what the kernel asks
 * for it at least: where the scheduler puts a thread that wakes decides more than any queue.
 */
#include "crew.h"
#include "item.h"
#include "statistics.h"
#include "suite.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 3
#define WINDOW_MAX 2.0	/* seconds that the waiting is watched, at most */
#define WINDOW_MIN 0.05 /* and at least */
#define ITEMS_MAX 200	/* pushed to sleeping consumers, one by one */
#define ITEMS_MIN 25
#define GAP_MAX 2000000u /* ns from one to the next, for the consumer to fall asleep again */
#define GAP_MIN 500000u
#define SETTLE_STEP 5000000u /* ns between two looks at whether all have fallen asleep */
#define SETTLE_STEPS 100u    /* looks, at most */

/*
 * One item is inside at most, so any capacity will do: the first that the subject can be had with.
 * A pipe has whole pages, a POSIX message queue usually 10 items at most.
 */
static const uint64_t capacities[] = {1024, 8};

static const unsigned waiting[] = {1, 8, 64};

#define WAITINGS (sizeof waiting / sizeof *waiting)
#define SLEEPERS 64u

enum figure {
	USE,
	SWITCHES,
	WAKES,
	UNDER_WAY,
	PUSH_CALL,
	FIGURES
};

/* ---- The limit: one word that holds an item, one futex --------------------------------------- */

struct bare {
	uint64_t item;	/* 0: none */
	uint32_t event; /* counts the pushes */
};

static int
bare_open(void **queue, const struct bench_shape *shape)
{
	(void)shape;
	*queue = calloc(1, sizeof(struct bare));
	return *queue ? 0 : -ENOMEM;
}

static int
bare_push(void *queue, void *item)
{
	struct bare *bare = queue;

	if (__atomic_load_n(&bare->item, __ATOMIC_RELAXED) != 0)
		return -EAGAIN;
	__atomic_store_n(&bare->item, (uint64_t)(uintptr_t)item, __ATOMIC_RELEASE);
	(void)__atomic_fetch_add(&bare->event, 1, __ATOMIC_SEQ_CST);
	(void)syscall(SYS_futex, &bare->event, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	return 0;
}

static int
bare_pop_wait(void *queue, void **item)
{
	struct bare *bare = queue;

	for (;;) {
		uint32_t event = __atomic_load_n(&bare->event, __ATOMIC_SEQ_CST);
		uint64_t value = __atomic_exchange_n(&bare->item, 0, __ATOMIC_ACQ_REL);

		if (value != 0) {
			*item = (void *)(uintptr_t)value;
			return 0;
		}
		(void)syscall(SYS_futex, &bare->event, FUTEX_WAIT_PRIVATE, event, NULL, NULL, 0);
	}
}

static const struct bench_subject bare_futex = {
	.name = "bare futex",
	.open = bare_open,
	.shut = free,
	.push = bare_push,
	.pop_wait = bare_pop_wait,
	.producers_max = 1,
};

/* ---- Scenes ---------------------------------------------------------------------------------- */

/* What happens in one child. */
struct scene {
	const struct bench_subject *subject;
	void *queue;
	unsigned consumers;
	double window;		   /* seconds: watch them wait so long, */
	unsigned items;		   /* or, when this is not 0, push so many */
	uint64_t gap;		   /* ns apart */
	uint64_t *pushed, *popped; /* when, by item */
	uint32_t taken;		   /* items, by all */
	struct outcome *outcome;
};

struct outcome {
	int error; /* of open */
	uint32_t wrong;
	double use;		     /* per cent of one processor */
	double switches;	     /* per second */
	double wakes;		     /* per item */
	double under_way, push_call; /* ns */
};

static void
enter(const struct scene *scene)
{
	if (scene->subject->attach)
		scene->subject->attach(scene->queue);
}

static void
leave(const struct scene *scene)
{
	if (scene->subject->detach)
		scene->subject->detach(scene->queue);
}

/* Items are of producer 0; one of another tells a consumer to go. */
static void
consumer(void *context, unsigned index)
{
	struct scene *scene = context;
	void *item = NULL;

	(void)index;
	enter(scene);
	while (scene->subject->pop_wait(scene->queue, &item) == 0) {
		uint64_t now = bench_now(), value = (uint64_t)(uintptr_t)item, place;

		if (bench_producer_of(value) != 0)
			break;
		place = value - bench_value(0, 0);
		if (place < scene->items)
			scene->popped[place] = now;
		(void)__atomic_fetch_add(&scene->taken, 1, __ATOMIC_RELAXED);
	}
	leave(scene);
}

static struct rusage
use_of(int whom)
{
	struct rusage rusage;

	if (getrusage(whom, &rusage))
		abort();
	return rusage;
}

static double
seconds_of(const struct rusage *rusage)
{
	return (double)(rusage->ru_utime.tv_sec + rusage->ru_stime.tv_sec) +
	       (double)(rusage->ru_utime.tv_usec + rusage->ru_stime.tv_usec) * 1e-6;
}

/* Voluntary context switches of all threads but this one, so far: it is never counted. */
static uint64_t
sleeps_of_others(void)
{
	struct rusage all = use_of(RUSAGE_SELF), own = use_of(RUSAGE_THREAD);

	return (uint64_t)(all.ru_nvcsw - own.ru_nvcsw);
}

/*
 * Until all have gone to sleep at least once and nobody wakes or falls asleep any more. For a
 * subject whose consumers sleep in small pieces that never happens; then it begins regardless.
 */
static void
settle(unsigned consumers)
{
	uint64_t before = 0;
	unsigned i;

	for (i = 0; i < SETTLE_STEPS; i++) {
		uint64_t now;

		bench_sleep_until(bench_now() + SETTLE_STEP);
		now = sleeps_of_others();
		if (now >= consumers && now == before)
			return;
		before = now;
	}
}

/* Nobody has to be woken at the end: the child ends here, with what was watched. */
static void
watch(void *context)
{
	struct scene *scene = context;
	struct rusage before, after;
	uint64_t begun;
	double took;

	settle(scene->consumers);
	begun = bench_now();
	before = use_of(RUSAGE_SELF);
	bench_sleep_until(begun + (uint64_t)(scene->window * 1e9));
	after = use_of(RUSAGE_SELF);
	took = (double)(bench_now() - begun) / 1e9;
	scene->outcome->use = (seconds_of(&after) - seconds_of(&before)) / took * 100;
	/* Less the one of this thread's own sleep. */
	scene->outcome->switches = (double)(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw -
					    before.ru_nivcsw - 1) /
				   took;
	if (scene->outcome->switches < 0)
		scene->outcome->switches = 0;
	_exit(0);
}

static void
push(struct scene *scene, uint64_t value)
{
	unsigned tries = 0;

	while (scene->subject->push(scene->queue, (void *)(uintptr_t)value) != 0)
		bench_pace(&tries);
}

static void
dismiss(struct scene *scene)
{
	unsigned i;

	for (i = 0; i < scene->consumers; i++)
		push(scene, bench_value(1, i));
}

static void
wake(void *context)
{
	struct scene *scene = context;
	double *calls = calloc(scene->items, sizeof *calls);
	uint64_t before, next;
	unsigned i;

	if (!calls)
		abort();
	enter(scene);
	settle(scene->consumers);
	before = sleeps_of_others();
	next = bench_now();
	for (i = 0; i < scene->items; i++) {
		scene->pushed[i] = bench_now();
		push(scene, bench_value(0, i));
		calls[i] = (double)(bench_now() - scene->pushed[i]);
		next += scene->gap;
		bench_sleep_until(next);
	}
	/* The last ones, should they be late. One that got lost keeps us here until the bound. */
	while (__atomic_load_n(&scene->taken, __ATOMIC_RELAXED) < scene->items)
		bench_sleep_until(bench_now() + scene->gap);
	settle(scene->consumers);
	scene->outcome->wakes = (double)(sleeps_of_others() - before) / scene->items;
	scene->outcome->push_call = bench_summarize(calls, scene->items).median;
	dismiss(scene);
	leave(scene);
	free(calls);
}

static void
wake_all(struct scene *scene)
{
	double *under_way = calloc(scene->items, sizeof *under_way);
	unsigned i;

	scene->pushed = calloc(scene->items, sizeof *scene->pushed);
	scene->popped = calloc(scene->items, sizeof *scene->popped);
	if (!under_way || !scene->pushed || !scene->popped)
		abort();
	(void)bench_crew_run(scene->consumers, BENCH_PIN_NONE, consumer, wake, scene);
	for (i = 0; i < scene->items; i++) {
		if (scene->popped[i] < scene->pushed[i]) /* never, or before it was there */
			scene->outcome->wrong = 1;
		under_way[i] = (double)(scene->popped[i] - scene->pushed[i]);
	}
	if (scene->taken != scene->items)
		scene->outcome->wrong = 1;
	scene->outcome->under_way = bench_summarize(under_way, scene->items).median;
	free(scene->pushed);
	free(scene->popped);
	free(under_way);
}

static int
open_any(struct scene *scene)
{
	int rc = -EINVAL;
	size_t i;

	for (i = 0; rc == -EINVAL && i < sizeof capacities / sizeof *capacities; i++) {
		struct bench_shape shape = {capacities[i], 1, scene->consumers};

		rc = scene->subject->open(&scene->queue, &shape);
	}
	return rc;
}

static void
play(void *context, void *result)
{
	struct scene scene = *(const struct scene *)context;

	scene.outcome = result;
	scene.outcome->error = open_any(&scene);
	if (scene.outcome->error)
		return;
	if (scene.items == 0)
		(void)bench_crew_run(scene.consumers, BENCH_PIN_NONE, consumer, watch, &scene);
	else
		wake_all(&scene);
	scene.subject->shut(scene.queue);
}

/* One kind of scene with one subject, all its rounds. Waiting has two of the figures. */
struct record {
	enum bench_state state;
	int error;
	size_t n[FIGURES];
	double *samples[FIGURES];
};

struct entry {
	const struct bench_subject *subject;
	struct record records[WAITINGS + 1];
};

struct plan {
	unsigned rounds;
	double window;
	unsigned items;
	uint64_t gap;
};

static void
keep(struct record *record, size_t figure, double value)
{
	record->samples[figure][record->n[figure]++] = value;
}

/* Plays it; whether there is anything to keep. */
static bool
play_isolated(struct scene *scene, struct record *record, double bound, struct outcome *outcome)
{
	enum bench_state state;

	memset(outcome, 0, sizeof *outcome);
	state = bench_isolated(play, scene, outcome, sizeof *outcome, bound, NULL);
	if (state == BENCH_OK && outcome->wrong)
		state = BENCH_WRONG;
	if (state != BENCH_OK)
		record->state = state;
	if (outcome->error)
		record->error = outcome->error;
	return state == BENCH_OK && !outcome->error;
}

static bool
can_wait(const struct bench_subject *subject, unsigned consumers)
{
	return subject->pop_wait && bench_subject_serves(subject, 1, consumers);
}

/* `which`: one of waiting[], or WAITINGS: waking. */
static void
one_sample(const struct bench_subject *subject, struct record *record, const struct plan *plan,
	   size_t which)
{
	struct scene scene;
	struct outcome outcome;

	memset(&scene, 0, sizeof scene);
	scene.subject = subject;
	scene.consumers = which < WAITINGS ? waiting[which] : SLEEPERS;
	if (!can_wait(subject, scene.consumers))
		return;
	if (which < WAITINGS) {
		scene.window = plan->window;
		if (!play_isolated(&scene, record, plan->window + 5, &outcome))
			return;
		keep(record, USE, outcome.use);
		keep(record, SWITCHES, outcome.switches);
		return;
	}
	scene.items = plan->items;
	scene.gap = plan->gap;
	if (!play_isolated(&scene, record, (double)plan->gap * plan->items * 2e-9 + 5, &outcome))
		return;
	keep(record, WAKES, outcome.wakes);
	keep(record, UNDER_WAY, outcome.under_way);
	keep(record, PUSH_CALL, outcome.push_call);
}

static void
describe(struct bench_results *results, struct bench_row *row, const struct bench_subject *subject,
	 unsigned consumers, const struct record *record)
{
	if (!subject->pop_wait)
		bench_results_state(results, row, BENCH_ABSENT, "only polls");
	else if (!bench_subject_serves(subject, 1, consumers))
		bench_results_state(results, row, BENCH_ABSENT, "not for so many consumers");
	else if (record->state != BENCH_OK)
		bench_results_state(results, row, record->state, NULL);
	else if (record->error)
		bench_results_state(results, row, BENCH_ABSENT, strerror(-record->error));
}

static const struct {
	const char *metric, *unit;
} metrics[FIGURES] = {
	[USE] = {"processor use", "%"},	     [SWITCHES] = {"switches", "/s"},
	[WAKES] = {"wake-ups per item", ""}, [UNDER_WAY] = {"push to popped", "ns"},
	[PUSH_CALL] = {"push call", "ns"},
};

/* The rows of one subject and one kind of scene: a single one where it has no figures. */
static void
add_rows(struct bench_results *results, const struct bench_subject *subject, size_t which,
	 struct record *record)
{
	bool wakes = which == WAITINGS;
	unsigned consumers = wakes ? SLEEPERS : waiting[which];
	size_t figure = wakes ? WAKES : USE, end = wakes ? FIGURES : WAKES;
	char cell[48];

	(void)snprintf(cell, sizeof cell, "consumers=%u %s", consumers,
		       wakes ? "asleep, one item at a time" : "waiting");
	for (; figure < end; figure++) {
		struct bench_row *row = bench_results_measured(
			results, "idle", subject->name, cell, metrics[figure].metric,
			metrics[figure].unit, BENCH_LOWER, record->samples[figure],
			record->n[figure]);

		describe(results, row, subject, consumers, record);
		if (row->state == BENCH_ABSENT)
			break;
	}
}

/* What a queue can reach at best is what the bare futex had, where that means something. */
static void
add_limits(struct bench_results *results, size_t from)
{
	size_t i;

	for (i = from; i < results->count; i++) {
		struct bench_row *row = &results->rows[i];
		const struct bench_row *limit = bench_results_find(results, "idle", bare_futex.name,
								   row->cell, row->metric);

		if (row->state != BENCH_OK || !limit || limit == row || limit->state != BENCH_OK ||
		    limit->median <= 0)
			continue;
		/* At rest both are the noise of the measurement. */
		if (strcmp(row->metric, metrics[USE].metric) == 0 ||
		    strcmp(row->metric, metrics[SWITCHES].metric) == 0)
			continue;
		(void)snprintf(row->limit, sizeof row->limit, "%s", bare_futex.name);
		row->limit_value = limit->median;
	}
}

/*
 * One round of a subject: three windows, and about as much as one of them for waking. Less time
 * makes first the rounds fewer, then the windows shorter, then the items fewer.
 */
static struct plan
make_plan(const struct bench_options *options, double seconds, unsigned waiters)
{
	struct plan plan = {options->rounds ? options->rounds : ROUNDS, WINDOW_MAX, ITEMS_MAX,
			    GAP_MAX};
	unsigned scenes = (unsigned)(WAITINGS + 1) * waiters;
	double least = WINDOW_MIN * scenes, share;

	while (!options->rounds && plan.rounds > 1 && seconds < least * plan.rounds)
		plan.rounds--;
	share = seconds / scenes / plan.rounds;
	if (share < plan.window)
		plan.window = share < WINDOW_MIN ? WINDOW_MIN : share;
	if (share < (double)plan.gap * plan.items / 1e9) {
		double gap = share * 1e9 / plan.items;

		plan.gap = gap < GAP_MIN ? GAP_MIN : (uint64_t)gap;
		while (plan.items > ITEMS_MIN && (double)plan.gap * plan.items / 1e9 > share)
			plan.items /= 2;
	}
	return plan;
}

static void
all_rounds(const struct bench_options *options, const struct plan *plan, struct entry *entries,
	   size_t count)
{
	unsigned round, done = 0;
	size_t i, which;

	for (round = 0; round < plan->rounds; round++)
		for (which = 0; which <= WAITINGS; which++)
			for (i = 0; i < count; i++) {
				bench_report_progress(
					options, "idle", entries[i].subject->name, done++,
					plan->rounds * (unsigned)(count * (WAITINGS + 1)));
				one_sample(entries[i].subject, &entries[i].records[which], plan,
					   which);
			}
	bench_report_progress_end(options);
}

/* Fills the list, if there is one, the limit first; how many there are. */
static size_t
list_subjects(const struct bench_options *options, struct entry *entries, unsigned *waiters)
{
	const struct bench_subject *subject;
	size_t count = 1;

	*waiters = 1;
	if (entries)
		entries[0].subject = &bare_futex;
	for (subject = bench_subjects(); subject; subject = subject->next) {
		if (!bench_options_want(options, subject))
			continue;
		if (entries)
			entries[count].subject = subject;
		count++;
		*waiters += subject->pop_wait != NULL;
	}
	return count;
}

static void
add_all_rows(struct bench_results *results, struct entry *entries, size_t count)
{
	size_t from = results->count, i, which;

	for (i = 0; i < count; i++)
		for (which = 0; which <= WAITINGS; which++)
			add_rows(results, entries[i].subject, which, &entries[i].records[which]);
	add_limits(results, from);
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	unsigned waiters;
	size_t count = list_subjects(options, NULL, &waiters), i, which, figure;
	struct plan plan = make_plan(options, seconds, waiters);
	struct entry *entries = calloc(count, sizeof *entries);
	double *samples = calloc(count * (WAITINGS + 1) * FIGURES * plan.rounds, sizeof *samples);
	double *next = samples;

	if (!entries || !samples) {
		free(entries);
		free(samples);
		return -ENOMEM;
	}
	(void)list_subjects(options, entries, &waiters);
	for (i = 0; i < count; i++)
		for (which = 0; which <= WAITINGS; which++)
			for (figure = 0; figure < FIGURES; figure++, next += plan.rounds)
				entries[i].records[which].samples[figure] = next;
	all_rounds(options, &plan, entries, count);
	add_all_rows(results, entries, count);
	free(entries);
	free(samples);
	return 0;
}

const struct bench_suite bench_idle = {
	"idle", "what waiting consumers cost, and what it takes to wake one", 40, 0.06, run,
};
