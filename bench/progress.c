/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to the others when a thread stops. Producers and consumers push and pop as fast as
 * they can; again and again one of them, drawn by chance, gets a signal at a moment drawn by chance
 * and sleeps in its handler for 10 ms, wherever it was: mostly inside of a push or a pop, for the
 * loop hardly does anything else. The handler itself reads what the others have done, when it
 * begins and when it ends, so no further thread has to be scheduled at the right time.
 *
 * throughput   Operations (items pushed and items popped) a second of all threads but the stopped
 *              one during the stops, divided by those of all threads in runs without stops (their
 *              median), which take turns with the others. With more threads than processors the
 *              others have the stopped one's processor time, so a queue that holds nobody up
 *              comes to about 1.
 * longest gap  During a stop, the longest time in which none of the others completed an operation.
 *              Each thread notes from when until when it had none, if that was longer than
 *              QUIET_NS; where these times of all of them overlap, there is a gap. So it is exact
 *              without a thread that watches. Shorter gaps than QUIET_NS are not told apart: the
 *              figure is QUIET_NS then. A gap is cut off at the beginning and the end of the stop.
 *              "without stops": the same in the run without, which is what the machine does.
 * stops felt   The share of the stops with a gap of over half their length.
 */
#include "crew.h"
#include "item.h"
#include "schedule.h"
#include "statistics.h"
#include "suite.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NS_PER_S 1e9
#define CAPACITY 1024u
#define STOP_NS UINT64_C(10000000)
#define PAUSE_NS UINT64_C(3000000) /* between stops, on the average */
#define QUIET_NS UINT64_C(20000)
#define STOPS_FULL 1000
#define LINE 128

static const struct shape {
	unsigned producers, consumers;
	double weight; /* of the time */
} shapes[] = {{4, 4, 2}, {2, 2, 1}};

#define SHAPES (sizeof shapes / sizeof shapes[0])

/* ---- One run, in a process of its own ------------------------------------------------------ */

/* A time in which a thread completed nothing, or in which it was stopped. */
struct quiet {
	uint64_t begin, end;
};

struct worker {
	/* by the thread itself */
	uint64_t done; /* operations */
	uint64_t last; /* when the last of them was */
	size_t noted;
	int tid;
	struct bench_lane lane;
	/* once */
	struct quiet *quiet;
	size_t room;
} __attribute__((aligned(LINE)));

struct stop {
	struct quiet when;
	uint64_t before, after; /* operations of the others */
	unsigned victim;
};

struct traffic {
	const struct bench_subject *subject;
	void *queue;
	unsigned producers, consumers;
	struct worker *workers; /* the producers first */
	uint64_t random;
	uint64_t duration; /* ns, without stops */
	struct stop *stops;
	unsigned stop_count, stopped;
	sem_t over;	    /* a stop is */
	uint64_t done;	    /* without stops: operations of all, from begin to end */
	struct quiet whole; /* the time that counts */
	uint32_t told, drained;
	unsigned producing;
};

struct order {
	const struct bench_subject *subject;
	const struct shape *shape;
	unsigned stops;	   /* 0: a run without */
	uint64_t duration; /* of that, ns */
	uint64_t seed;
};

struct finding {
	int rc;
	bool wrong, overflow;
	double rate; /* operations a second, of the others during stops or of all */
	double gap;  /* ns */
	double felt; /* 0 to 1 */
};

/* For the handler: there is one run in a process. */
static struct traffic *interrupted;
static _Thread_local unsigned self;

static uint64_t
done_by_others(const struct traffic *traffic, unsigned but)
{
	uint64_t done = 0;
	unsigned i;

	for (i = 0; i < traffic->producers + traffic->consumers; i++)
		if (i != but)
			done += __atomic_load_n(&traffic->workers[i].done, __ATOMIC_RELAXED);
	return done;
}

/* Of this, the clock, the sleep and the post may be called in a handler. */
static void
stop_here(int number)
{
	int saved = errno;
	unsigned index = __atomic_load_n(&interrupted->stopped, __ATOMIC_ACQUIRE);
	struct stop *stop = &interrupted->stops[index];

	(void)number;
	stop->victim = self;
	stop->when.begin = bench_now();
	stop->before = done_by_others(interrupted, self);
	bench_sleep_until(stop->when.begin + STOP_NS);
	stop->after = done_by_others(interrupted, self);
	stop->when.end = bench_now();
	(void)sem_post(&interrupted->over);
	errno = saved;
}

static void
note_quiet(struct worker *worker, uint64_t now)
{
	if (worker->noted < worker->room) {
		worker->quiet[worker->noted].begin = worker->last;
		worker->quiet[worker->noted].end = now;
	}
	worker->noted++;
}

static inline void
completed(struct worker *worker)
{
	uint64_t now = bench_now();

	__atomic_store_n(&worker->done, worker->done + 1, __ATOMIC_RELAXED);
	if (now - worker->last > QUIET_NS)
		note_quiet(worker, now);
	worker->last = now;
}

static void
produce(struct traffic *traffic, struct worker *worker)
{
	const struct bench_subject *subject = traffic->subject;
	struct bench_lane *lane = &worker->lane;
	uint64_t count = 0, sum = 0;
	unsigned tries = 0;

	while (!bench_told(lane->stop)) {
		uint64_t value = bench_value(lane->index, count);

		if (subject->push(traffic->queue, (void *)(uintptr_t)value) != 0) {
			bench_pace(&tries);
			continue;
		}
		completed(worker);
		tries = 0;
		count++;
		sum += value;
	}
	lane->count = count;
	lane->sum = sum;
}

static void
consume(struct traffic *traffic, struct worker *worker)
{
	const struct bench_subject *subject = traffic->subject;
	struct bench_lane *lane = &worker->lane;
	uint64_t count = 0, sum = 0;
	unsigned tries = 0;
	void *item = NULL;

	for (;;) {
		bool ending = bench_told(lane->stop);

		if (subject->pop(traffic->queue, &item) == 0) {
			completed(worker);
			sum += bench_unwrap(lane, item);
			count++;
			tries = 0;
			continue;
		}
		if (ending)
			break;
		bench_pace(&tries);
	}
	lane->count = count;
	lane->sum = sum;
}

static void
work(void *context, unsigned index)
{
	struct traffic *traffic = context;
	struct worker *worker = &traffic->workers[index];
	const struct bench_subject *subject = traffic->subject;

	self = index;
	if (subject->attach)
		subject->attach(traffic->queue);
	worker->last = bench_now();
	__atomic_store_n(&worker->tid, (int)syscall(SYS_gettid), __ATOMIC_RELEASE);
	if (index < traffic->producers) {
		produce(traffic, worker);
		if (__atomic_sub_fetch(&traffic->producing, 1, __ATOMIC_ACQ_REL) == 0)
			__atomic_store_n(&traffic->drained, 1, __ATOMIC_RELEASE);
	} else {
		consume(traffic, worker);
	}
	note_quiet(worker, bench_now());
	if (subject->detach)
		subject->detach(traffic->queue);
}

/* Everybody is there, and has had the time to begin. */
static void
await_all(struct traffic *traffic)
{
	unsigned i;

	for (i = 0; i < traffic->producers + traffic->consumers; i++)
		while (__atomic_load_n(&traffic->workers[i].tid, __ATOMIC_ACQUIRE) == 0)
			bench_sleep_until(bench_now() + QUIET_NS);
	bench_sleep_until(bench_now() + PAUSE_NS);
}

static void
leave_alone(void *context)
{
	struct traffic *traffic = context;
	unsigned nobody = traffic->producers + traffic->consumers;
	uint64_t before;

	await_all(traffic);
	traffic->whole.begin = bench_now();
	before = done_by_others(traffic, nobody);
	bench_sleep_until(traffic->whole.begin + traffic->duration);
	traffic->done = done_by_others(traffic, nobody) - before;
	traffic->whole.end = bench_now();
	__atomic_store_n(&traffic->told, 1, __ATOMIC_RELEASE);
}

/* One victim after the other; the next when the one before is running again. */
static void
stop_them(void *context)
{
	struct traffic *traffic = context;
	unsigned count = traffic->producers + traffic->consumers, victim;

	await_all(traffic);
	while (traffic->stopped < traffic->stop_count) {
		bench_sleep_until(bench_now() + PAUSE_NS / 2 +
				  bench_random(&traffic->random) % PAUSE_NS);
		victim = (unsigned)(bench_random(&traffic->random) % count);
		if (syscall(SYS_tgkill, getpid(), traffic->workers[victim].tid, SIGUSR1))
			abort();
		while (sem_wait(&traffic->over) != 0 && errno == EINTR)
			continue;
		__atomic_store_n(&traffic->stopped, traffic->stopped + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&traffic->told, 1, __ATOMIC_RELEASE);
}

/* ---- What the notes say -------------------------------------------------------------------- */

/* The first quiet time of the worker that is not over at `at`, from *next on; NULL: none. */
static const struct quiet *
quiet_after(const struct worker *worker, size_t *next, uint64_t at)
{
	while (*next < worker->noted && worker->quiet[*next].end <= at)
		++*next;
	return *next < worker->noted ? &worker->quiet[*next] : NULL;
}

/*
 * The longest time within `window` in which all workers but one were quiet. next: for each worker a
 * note to look from; kept for later windows.
 */
static uint64_t
longest_gap(const struct traffic *traffic, struct quiet window, unsigned but, size_t *next)
{
	uint64_t at = window.begin, longest = QUIET_NS;
	unsigned i;

	while (at < window.end) {
		struct quiet common = {at, window.end};

		for (i = 0; i < traffic->producers + traffic->consumers; i++) {
			const struct quiet *quiet;

			if (i == but)
				continue;
			quiet = quiet_after(&traffic->workers[i], &next[i], at);
			if (!quiet)
				return longest;
			if (quiet->begin > common.begin)
				common.begin = quiet->begin;
			if (quiet->end < common.end)
				common.end = quiet->end;
		}
		if (common.end > common.begin && common.end - common.begin > longest)
			longest = common.end - common.begin;
		/* Whatever ends first cannot be part of another gap. */
		at = common.end > at ? common.end : at + 1;
	}
	return longest;
}

static void
judge(const struct traffic *traffic, struct finding *finding)
{
	size_t next[2 * BENCH_PRODUCERS_MAX] = {0};
	uint64_t done = 0, time = 0, gap;
	unsigned i, felt = 0;

	if (traffic->stop_count == 0) {
		finding->rate = (double)traffic->done * NS_PER_S /
				(double)(traffic->whole.end - traffic->whole.begin);
		finding->gap =
			(double)longest_gap(traffic, traffic->whole, 2 * BENCH_PRODUCERS_MAX, next);
		return;
	}
	for (i = 0; i < traffic->stop_count; i++) {
		const struct stop *stop = &traffic->stops[i];

		done += stop->after - stop->before;
		time += stop->when.end - stop->when.begin;
		gap = longest_gap(traffic, stop->when, stop->victim, next);
		felt += gap > STOP_NS / 2;
		if ((double)gap > finding->gap)
			finding->gap = (double)gap;
	}
	finding->rate = (double)done * NS_PER_S / (double)time;
	finding->felt = (double)felt / traffic->stop_count;
}

/* Whether every item that went in came out, once and in its order. */
static bool
is_right(const struct traffic *traffic)
{
	uint64_t count = 0, sum = 0, disorder = 0, pushed = 0;
	unsigned i;

	for (i = 0; i < traffic->producers; i++) {
		count += traffic->workers[i].lane.count;
		sum += traffic->workers[i].lane.sum;
	}
	pushed = count;
	for (; i < traffic->producers + traffic->consumers; i++) {
		count -= traffic->workers[i].lane.count;
		sum -= traffic->workers[i].lane.sum;
		disorder += traffic->workers[i].lane.disorder;
	}
	if (!(traffic->subject->traits & (BENCH_FIFO | BENCH_IN_ORDER)))
		disorder = 0;
	return pushed > 0 && count == 0 && sum == 0 && disorder == 0;
}

static void *
zeroed(size_t size)
{
	size_t rounded = (size + LINE - 1) / LINE * LINE;
	void *memory = aligned_alloc(LINE, rounded);

	if (!memory)
		abort();
	return memset(memory, 0, rounded);
}

/* Twice what can be noted in the time that the run should take. */
static size_t
notes_needed(const struct order *order)
{
	uint64_t time = order->stops * (STOP_NS + 2 * PAUSE_NS) + order->duration + 4 * PAUSE_NS;

	return (size_t)(2 * time / QUIET_NS);
}

static void
prepare(struct traffic *traffic, const struct order *order)
{
	unsigned i, count = order->shape->producers + order->shape->consumers;

	traffic->subject = order->subject;
	traffic->producers = traffic->producing = order->shape->producers;
	traffic->consumers = order->shape->consumers;
	traffic->random = order->seed;
	traffic->duration = order->duration;
	traffic->stop_count = order->stops;
	traffic->stops = zeroed((order->stops + 1) * sizeof *traffic->stops);
	traffic->workers = zeroed(count * sizeof *traffic->workers);
	for (i = 0; i < count; i++) {
		struct worker *worker = &traffic->workers[i];

		worker->room = notes_needed(order);
		/* Not touched, so no memory, until it is needed. */
		worker->quiet = malloc(worker->room * sizeof *worker->quiet);
		if (!worker->quiet)
			abort();
		worker->lane.index = i < traffic->producers ? i : i - traffic->producers;
		worker->lane.batch = 1;
		worker->lane.payload = sizeof(uint64_t);
		worker->lane.stop = i < traffic->producers ? &traffic->told : &traffic->drained;
	}
}

static void
dispose(struct traffic *traffic)
{
	unsigned i;

	for (i = 0; i < traffic->producers + traffic->consumers; i++)
		free(traffic->workers[i].quiet);
	free(traffic->workers);
	free(traffic->stops);
}

static void
run_once(void *context, void *result)
{
	static struct traffic traffic;
	const struct order *order = context;
	const struct bench_shape shape = {CAPACITY, order->shape->producers,
					  order->shape->consumers};
	struct finding *finding = result;
	struct sigaction action;
	unsigned i, count = shape.producers + shape.consumers;

	finding->rc = order->subject->open(&traffic.queue, &shape);
	if (finding->rc)
		return;
	prepare(&traffic, order);
	memset(&action, 0, sizeof action);
	action.sa_handler = stop_here;
	action.sa_flags = SA_RESTART;
	interrupted = &traffic;
	if (sem_init(&traffic.over, 0, 0) || sigaction(SIGUSR1, &action, NULL))
		abort();
	(void)bench_crew_run(count, BENCH_PIN_NONE, work, order->stops ? stop_them : leave_alone,
			     &traffic);
	order->subject->shut(traffic.queue);
	for (i = 0; i < count; i++)
		finding->overflow |= traffic.workers[i].noted > traffic.workers[i].room;
	finding->wrong = !is_right(&traffic);
	if (!finding->overflow)
		judge(&traffic, finding);
	dispose(&traffic);
}

/* ---- The suite ----------------------------------------------------------------------------- */

enum metric {
	GAP,
	THROUGHPUT,
	FELT,
	GAP_WITHOUT,
	RATE_WITHOUT,
	METRICS
};

static const struct {
	const char *name, *unit;
	enum bench_better better;
} metrics[METRICS] = {{"longest gap", "ms", BENCH_LOWER},
		      /* Each against its own rate: who has hardly any without stops gains. */
		      {"throughput of the others", "ratio", BENCH_NEITHER},
		      {"stops felt", "%", BENCH_LOWER},
		      {"longest gap without stops", "ms", BENCH_NEITHER},
		      {"rate without stops", "M/s", BENCH_NEITHER}};

struct tally {
	enum bench_state state; /* BENCH_ABSENT: not yet anything */
	bool failed;
	const char *note;
	size_t rounds;
};

struct plan {
	const struct bench_options *options;
	const struct bench_subject **subjects;
	size_t subject_count;
	unsigned rounds;
	unsigned stops[SHAPES]; /* in one round */
	struct tally *tallies;
	double *samples; /* of each tally METRICS times as many as there are rounds */
};

static double *
samples_of(const struct plan *plan, size_t s, size_t h)
{
	return plan->samples + (s * SHAPES + h) * METRICS * plan->rounds;
}

static void
fail(struct tally *tally, enum bench_state state, const char *note)
{
	tally->state = state;
	tally->failed = true;
	tally->note = note;
}

/* True when there is something to record. */
static bool
ran_well(struct tally *tally, enum bench_state state, const struct finding *finding)
{
	if (state != BENCH_OK)
		fail(tally, state, NULL);
	else if (finding->rc)
		fail(tally, BENCH_ABSENT,
		     finding->rc == -EINVAL   ? "cannot be had in this shape"
		     : finding->rc == -ENOSYS ? "not on this machine"
					      : "could not be made");
	else if (finding->wrong)
		fail(tally, BENCH_WRONG, "items were lost, doubled or out of order");
	else if (finding->overflow)
		fail(tally, BENCH_STALLED, "took far longer than the stops");
	else
		return true;
	return false;
}

static void
take_turn(const struct plan *plan, size_t s, size_t h, unsigned round)
{
	struct tally *tally = &plan->tallies[s * SHAPES + h];
	struct order order = {plan->subjects[s], &shapes[h], 0, 0, plan->options->seed + round};
	struct finding without, with;
	enum bench_state state;
	double *sample = samples_of(plan, s, h) + tally->rounds, bound;

	if (!bench_subject_serves(order.subject, shapes[h].producers, shapes[h].consumers)) {
		fail(tally, BENCH_ABSENT, "not for so many threads");
		return;
	}
	/* A subject that has failed once is not given the time to do it again. */
	if (tally->failed)
		return;
	order.duration = plan->stops[h] * (STOP_NS + PAUSE_NS) / 4;
	bound = 5 + 5 * (double)order.duration / NS_PER_S;
	state = bench_isolated(run_once, &order, &without, sizeof without, bound, NULL);
	if (!ran_well(tally, state, &without))
		return;
	bound = 5 + 20 * (double)order.duration / NS_PER_S;
	order.duration = 0;
	order.stops = plan->stops[h];
	state = bench_isolated(run_once, &order, &with, sizeof with, bound, NULL);
	if (!ran_well(tally, state, &with))
		return;
	sample[THROUGHPUT * plan->rounds] = with.rate / 1e6; /* divided when all rounds are done */
	sample[RATE_WITHOUT * plan->rounds] = without.rate / 1e6;
	sample[GAP * plan->rounds] = with.gap / 1e6;
	sample[GAP_WITHOUT * plan->rounds] = without.gap / 1e6;
	sample[FELT * plan->rounds] = with.felt * 100;
	tally->rounds++;
	tally->state = BENCH_OK;
}

/* Puts the rates with stops in relation to the median of those without. */
static void
relate(const struct plan *plan, double *samples, size_t rounds)
{
	double *with = samples + THROUGHPUT * plan->rounds;
	double usual = bench_summarize(samples + RATE_WITHOUT * plan->rounds, rounds).median;
	size_t i;

	for (i = 0; i < rounds; i++)
		with[i] = usual > 0 ? with[i] / usual : 0;
}

static void
add_rows(const struct plan *plan, size_t s, size_t h, struct bench_results *results)
{
	const struct tally *tally = &plan->tallies[s * SHAPES + h];
	const char *subject = plan->subjects[s]->name;
	struct bench_row *row;
	char cell[sizeof row->cell];
	unsigned i;

	(void)snprintf(cell, sizeof cell, "%ux%u capacity=%u pin=%s stop=10ms", shapes[h].producers,
		       shapes[h].consumers, CAPACITY, bench_pin_name(BENCH_PIN_NONE));
	if (tally->state != BENCH_OK) {
		row = bench_results_add(results, "progress", subject, cell, metrics[0].name,
					metrics[0].unit, metrics[0].better);
		bench_results_state(results, row, tally->state, tally->note);
		return;
	}
	relate(plan, samples_of(plan, s, h), tally->rounds);
	for (i = 0; i < METRICS; i++) {
		row = bench_results_measured(results, "progress", subject, cell, metrics[i].name,
					     metrics[i].unit, metrics[i].better,
					     samples_of(plan, s, h) + i * plan->rounds,
					     tally->rounds);
		if (i != GAP_WITHOUT && i != RATE_WITHOUT)
			(void)snprintf(row->note, sizeof row->note, "%u stops a round",
				       plan->stops[h]);
	}
}

static void
measure(const struct plan *plan)
{
	unsigned round, turns = plan->rounds * (unsigned)plan->subject_count, turn = 0;
	size_t s, h;

	for (round = 0; round < plan->rounds; round++) {
		for (s = 0; s < plan->subject_count; s++) {
			bench_report_progress(plan->options, "progress", plan->subjects[s]->name,
					      turn++, turns);
			for (h = 0; h < SHAPES; h++)
				take_turn(plan, s, h, round);
		}
	}
	bench_report_progress_end(plan->options);
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

/*
 * How many stops there is time for, and in how many rounds: at least 20 in each, for a stop hits
 * the few instructions that matter only now and then. --full: 1000, however long it takes, unless
 * --seconds says how long.
 */
static void
divide(struct plan *plan, double seconds)
{
	/* A stop, the pause after it, and a quarter of both for the run without. */
	const double stop = 1.25 * (double)(STOP_NS + PAUSE_NS) / NS_PER_S, overhead = 0.02;
	double weight = 0, slice;
	size_t s, h;

	for (s = 0; s < plan->subject_count; s++)
		for (h = 0; h < SHAPES; h++)
			if (bench_subject_serves(plan->subjects[s], shapes[h].producers,
						 shapes[h].consumers))
				weight += shapes[h].weight;
	slice = plan->options->full && plan->options->seconds <= 0
			? 2 * STOPS_FULL * stop
			: seconds / (weight > 0 ? weight : 1);
	plan->rounds = slice < 40 * stop ? 1 : slice < 60 * stop ? 2 : 3;
	if (plan->options->rounds)
		plan->rounds = plan->options->rounds;
	for (h = 0; h < SHAPES; h++) {
		double stops = (slice * shapes[h].weight / plan->rounds - overhead) / stop;
		double most = (double)STOPS_FULL / plan->rounds;

		stops = stops > most ? most : stops;
		plan->stops[h] = stops < 3 ? 3 : (unsigned)stops;
	}
}

static int
make_room(struct plan *plan)
{
	size_t tallies = plan->subject_count * SHAPES, i;

	plan->samples = calloc(tallies * METRICS * plan->rounds, sizeof *plan->samples);
	plan->tallies = calloc(tallies, sizeof *plan->tallies);
	if (!plan->tallies || !plan->samples)
		return -ENOMEM;
	for (i = 0; i < tallies; i++)
		plan->tallies[i].state = BENCH_ABSENT;
	return 0;
}

static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	struct plan plan = {.options = options};
	int rc = choose(&plan);
	size_t s, h;

	if (rc == 0 && plan.subject_count > 0) {
		divide(&plan, seconds);
		rc = make_room(&plan);
		if (rc == 0) {
			measure(&plan);
			for (h = 0; h < SHAPES; h++)
				for (s = 0; s < plan.subject_count; s++)
					add_rows(&plan, s, h, results);
		}
	}
	free(plan.samples);
	free(plan.tallies);
	free(plan.subjects);
	return rc;
}

const struct bench_suite bench_progress = {
	"progress", "what the others can do while one thread is stopped for 10 ms", 60, 0.15, run,
};
