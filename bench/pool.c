/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Work handed to threads. Tasks: one thread pushes as fast as it can, the workers of a queue_pool
 * call a handler that only adds to sums of its own thread. Round trips: callers push a request with
 * a queue_call and wait for its reply, one at a time each.
 *
 * Beside it a pool as it is usually written: a ring of tasks, one mutex, and two condition
 * variables; its calls have a mutex and a condition variable in each request. It does nothing else:
 * no attempts, deadlines, resizing or figures.
 */
#include "crew.h"
#include "item.h"
#include "suite.h"

#include <conveyor/call.h>
#include <conveyor/pool.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_S 1e9
#define CAPACITY 1024u
#define THREADS_MAX 64
#define LINE 128

/* ---- What the handlers count --------------------------------------------------------------- */

/* By one worker. */
struct tally {
	uint64_t count, sum;
} __attribute__((aligned(LINE)));

static struct tally tallies[THREADS_MAX];
static unsigned tallies_used;
static _Thread_local struct tally *own_tally;

/* Tasks are numbers from 1 on. */
static void
count_task(void *item)
{
	if (!own_tally)
		own_tally = &tallies[__atomic_fetch_add(&tallies_used, 1, __ATOMIC_RELAXED) %
				     THREADS_MAX];
	own_tally->count++;
	own_tally->sum += (uintptr_t)item;
}

/* After the workers have ended: have 1 to `count` been handled, once each? */
static bool
all_handled(uint64_t count)
{
	uint64_t handled = 0, sum = 0;
	unsigned i;

	for (i = 0; i < THREADS_MAX; i++) {
		handled += tallies[i].count;
		sum += tallies[i].sum;
	}
	return count > 0 && handled == count &&
	       sum == (count % 2 ? (count + 1) / 2 * count : count / 2 * (count + 1));
}

/* ---- The usual pool ------------------------------------------------------------------------ */

struct usual_pool {
	pthread_mutex_t mutex;
	pthread_cond_t not_empty, not_full;
	void (*handler)(void *item);
	void *items[CAPACITY];
	uint64_t head, tail;
	bool closed;
	unsigned workers;
	pthread_t threads[THREADS_MAX];
};

static void *
usual_worker(void *context)
{
	struct usual_pool *pool = context;
	void *item;

	for (;;) {
		(void)pthread_mutex_lock(&pool->mutex);
		while (pool->head == pool->tail && !pool->closed)
			(void)pthread_cond_wait(&pool->not_empty, &pool->mutex);
		if (pool->head == pool->tail)
			break;
		item = pool->items[pool->head++ % CAPACITY];
		(void)pthread_mutex_unlock(&pool->mutex);
		(void)pthread_cond_signal(&pool->not_full);
		pool->handler(item);
	}
	(void)pthread_mutex_unlock(&pool->mutex);
	return NULL;
}

/* The workers handle what is there, and end. */
static void
usual_stop(struct usual_pool *pool)
{
	(void)pthread_mutex_lock(&pool->mutex);
	pool->closed = true;
	(void)pthread_mutex_unlock(&pool->mutex);
	(void)pthread_cond_broadcast(&pool->not_empty);
	while (pool->workers > 0)
		(void)pthread_join(pool->threads[--pool->workers], NULL);
	(void)pthread_cond_destroy(&pool->not_full);
	(void)pthread_cond_destroy(&pool->not_empty);
	(void)pthread_mutex_destroy(&pool->mutex);
}

static int
usual_start(struct usual_pool *pool, unsigned workers, void (*handler)(void *item))
{
	int rc = 0;

	memset(pool, 0, sizeof *pool);
	pool->handler = handler;
	if (pthread_mutex_init(&pool->mutex, NULL) || pthread_cond_init(&pool->not_empty, NULL) ||
	    pthread_cond_init(&pool->not_full, NULL))
		return -ENOMEM;
	while (rc == 0 && pool->workers < workers) {
		rc = pthread_create(&pool->threads[pool->workers], NULL, usual_worker, pool);
		pool->workers += rc == 0;
	}
	if (rc)
		usual_stop(pool);
	return -rc;
}

static void
usual_push(struct usual_pool *pool, void *item)
{
	(void)pthread_mutex_lock(&pool->mutex);
	while (pool->tail - pool->head == CAPACITY)
		(void)pthread_cond_wait(&pool->not_full, &pool->mutex);
	pool->items[pool->tail++ % CAPACITY] = item;
	(void)pthread_mutex_unlock(&pool->mutex);
	(void)pthread_cond_signal(&pool->not_empty);
}

/* ---- This library's ------------------------------------------------------------------------ */

struct own_pool {
	struct queue_bounded *queue;
	struct queue_pool *pool;
	uint64_t dropped;
};

static void
count_drop(void *item, enum queue_reason reason, void *context)
{
	struct own_pool *pool = context;

	(void)item;
	(void)reason;
	(void)__atomic_add_fetch(&pool->dropped, 1, __ATOMIC_RELAXED);
}

static int
own_start(struct own_pool *pool, unsigned workers, unsigned batch,
	  int (*handler)(void *item, void *context))
{
	struct queue_options options;
	struct queue_pool_options pool_options;
	int rc;

	memset(pool, 0, sizeof *pool);
	memset(&options, 0, sizeof options);
	options.capacity = CAPACITY;
	options.policy = QUEUE_BLOCK;
	options.on_drop = count_drop;
	options.context = pool;
	rc = queue_create(&pool->queue, &options);
	if (rc)
		return rc;
	memset(&pool_options, 0, sizeof pool_options);
	pool_options.queue = pool->queue;
	pool_options.handler = handler;
	pool_options.workers = (int)workers;
	pool_options.batch = (int)batch;
	rc = queue_pool_create(&pool->pool, &pool_options);
	if (rc)
		(void)queue_destroy(pool->queue);
	return rc;
}

/* The workers handle what is there, and end. True if they handled so many, and dropped none. */
static bool
own_stop(struct own_pool *pool, uint64_t count)
{
	struct queue_pool_stats stats;
	bool right = queue_pool_stop(pool->pool, QUEUE_POOL_DRAIN, QUEUE_NEVER) == 0;

	(void)queue_pool_stats(pool->pool, &stats);
	right = right && stats.handled == count && pool->dropped == 0;
	right = queue_pool_destroy(pool->pool) == 0 && right;
	return queue_destroy(pool->queue) == 0 && right;
}

/* ---- Tasks --------------------------------------------------------------------------------- */

struct kind {
	const char *subject;
	void (*body)(void *order, void *finding);
	unsigned batch; /* most items that a worker takes at a time */
	bool calls, own;
};

struct experiment {
	const struct kind *kind;
	unsigned workers; /* and as many callers */
};

struct order {
	const struct experiment *experiment;
	double seconds;
};

struct finding {
	int rc;
	bool wrong;
	double rate; /* a second */
};

static int
handle_task(void *item, void *context)
{
	(void)context;
	count_task(item);
	return 0;
}

static uint64_t
end_of(const struct order *order)
{
	return bench_now() + (uint64_t)(order->seconds * NS_PER_S);
}

/* Between two looks at the clock. */
#define CHUNK 256

static void
own_tasks(void *context, void *result)
{
	static struct own_pool pool;
	const struct order *order = context;
	struct finding *finding = result;
	uint64_t begun, end, count = 0, i;
	bool right = true;

	finding->rc = own_start(&pool, order->experiment->workers, order->experiment->kind->batch,
				handle_task);
	if (finding->rc)
		return;
	begun = bench_now();
	end = end_of(order);
	do {
		for (i = 0; i < CHUNK; i++)
			right &= queue_push(pool.queue, (void *)(uintptr_t)++count) == 0;
	} while (bench_now() < end);
	right &= own_stop(&pool, count);
	finding->rate = (double)count * NS_PER_S / (double)(bench_now() - begun);
	finding->wrong = !right || !all_handled(count);
}

static void
usual_tasks(void *context, void *result)
{
	static struct usual_pool pool;
	const struct order *order = context;
	struct finding *finding = result;
	uint64_t begun, end, count = 0, i;

	finding->rc = usual_start(&pool, order->experiment->workers, count_task);
	if (finding->rc)
		return;
	begun = bench_now();
	end = end_of(order);
	do {
		for (i = 0; i < CHUNK; i++)
			usual_push(&pool, (void *)(uintptr_t)++count);
	} while (bench_now() < end);
	usual_stop(&pool);
	finding->rate = (double)count * NS_PER_S / (double)(bench_now() - begun);
	finding->wrong = !all_handled(count);
}

/* ---- Round trips --------------------------------------------------------------------------- */

/* A caller takes the next one in turn when its worker has released it, which is soon. */
#define REQUESTS 4

struct request {
	struct queue_call call; /* this library's */
	pthread_mutex_t mutex;	/* the usual one's */
	pthread_cond_t changed;
	bool replied;
	uint32_t busy; /* one of the two sides has it */
	uint64_t argument, reply;
} __attribute__((aligned(LINE)));

struct caller {
	struct request requests[REQUESTS];
	uint64_t count, wrong;
} __attribute__((aligned(LINE)));

struct office {
	const struct order *order;
	uint64_t end;
	struct own_pool own;
	struct usual_pool usual;
	struct caller callers[THREADS_MAX];
};

static uint64_t
reply_to(uint64_t argument)
{
	return argument * 3 + 1;
}

static void
release_request(struct queue_call *call, void *context)
{
	struct request *request = context;

	(void)call;
	__atomic_store_n(&request->busy, 0, __ATOMIC_RELEASE);
}

static int
handle_call(void *item, void *context)
{
	struct request *request = item;

	(void)context;
	if (queue_call_claim(&request->call) == 0) {
		request->reply = reply_to(request->argument);
		(void)queue_call_reply(&request->call);
	}
	queue_call_release(&request->call);
	return 0;
}

static void
handle_usual_call(void *item)
{
	struct request *request = item;

	(void)pthread_mutex_lock(&request->mutex);
	request->reply = reply_to(request->argument);
	request->replied = true;
	(void)pthread_cond_signal(&request->changed);
	(void)pthread_mutex_unlock(&request->mutex);
}

static bool
own_call(struct office *office, struct request *request)
{
	const struct queue_call_options options = {NULL, release_request, request};
	bool replied;

	if (queue_call_init(&request->call, &options))
		return false;
	__atomic_store_n(&request->busy, 1, __ATOMIC_RELAXED);
	if (queue_push(office->own.queue, request)) {
		(void)queue_call_refuse(&request->call);
		queue_call_release(&request->call);
	}
	replied = queue_call_wait(&request->call, QUEUE_NEVER) == 0;
	replied = replied && request->reply == reply_to(request->argument);
	queue_call_release(&request->call);
	return replied;
}

static bool
usual_call(struct office *office, struct request *request)
{
	bool right;

	request->replied = false;
	usual_push(&office->usual, request);
	(void)pthread_mutex_lock(&request->mutex);
	while (!request->replied)
		(void)pthread_cond_wait(&request->changed, &request->mutex);
	right = request->reply == reply_to(request->argument);
	(void)pthread_mutex_unlock(&request->mutex);
	return right;
}

static void
call_again_and_again(void *context, unsigned index)
{
	struct office *office = context;
	struct caller *caller = &office->callers[index];
	bool own = office->order->experiment->kind->own;
	unsigned tries = 0;

	do {
		struct request *request = &caller->requests[caller->count % REQUESTS];

		while (__atomic_load_n(&request->busy, __ATOMIC_ACQUIRE))
			bench_pace(&tries);
		request->argument = (uint64_t)index << 40 | caller->count;
		request->reply = 0;
		caller->wrong += !(own ? own_call : usual_call)(office, request);
		caller->count++;
	} while (bench_now() < office->end);
}

/* Makes the callers call, and counts. */
static uint64_t
let_call(struct office *office, struct finding *finding)
{
	uint64_t elapsed, count = 0, wrong = 0;
	unsigned i, callers = office->order->experiment->workers;

	office->end = end_of(office->order);
	elapsed = bench_crew_run(callers, BENCH_PIN_NONE, call_again_and_again, NULL, office);
	for (i = 0; i < callers; i++) {
		count += office->callers[i].count;
		wrong += office->callers[i].wrong;
	}
	finding->rate = (double)count * NS_PER_S / (double)elapsed;
	finding->wrong = wrong > 0 || count == 0;
	return count;
}

static struct office the_office;

static void
own_calls(void *context, void *result)
{
	struct finding *finding = result;

	the_office.order = context;
	finding->rc =
		own_start(&the_office.own, the_office.order->experiment->workers, 1, handle_call);
	if (finding->rc)
		return;
	if (!own_stop(&the_office.own, let_call(&the_office, finding)))
		finding->wrong = true;
}

static void
usual_calls(void *context, void *result)
{
	struct finding *finding = result;
	unsigned i, k;

	the_office.order = context;
	for (i = 0; i < the_office.order->experiment->workers; i++) {
		for (k = 0; k < REQUESTS; k++) {
			struct request *request = &the_office.callers[i].requests[k];

			if (pthread_mutex_init(&request->mutex, NULL) ||
			    pthread_cond_init(&request->changed, NULL)) {
				finding->rc = -ENOMEM;
				return;
			}
		}
	}
	finding->rc = usual_start(&the_office.usual, the_office.order->experiment->workers,
				  handle_usual_call);
	if (finding->rc)
		return;
	(void)let_call(&the_office, finding);
	usual_stop(&the_office.usual);
}

/* ---- The suite ----------------------------------------------------------------------------- */

static const struct kind kinds[] = {{"queue_pool", own_tasks, 1, false, true},
				    {"queue_pool batch=32", own_tasks, 32, false, true},
				    {"mutex pool", usual_tasks, 1, false, false},
				    {"queue_call", own_calls, 1, true, true},
				    {"mutex call", usual_calls, 1, true, false}};

#define KINDS (sizeof kinds / sizeof kinds[0])

/* How many workers; those that are for calls as well. */
static const struct size {
	unsigned workers;
	bool for_calls;
} sizes[] = {{1, true}, {2, false}, {4, true}, {8, false}};

#define SIZES (sizeof sizes / sizeof sizes[0])

struct series {
	struct experiment experiment;
	enum bench_state state; /* BENCH_ABSENT: not yet anything */
	bool failed;
	const char *note;
	size_t rounds;
	double *samples;
};

struct plan {
	const struct bench_options *options;
	struct series series[KINDS * SIZES];
	size_t count;
	unsigned rounds;
	double slice; /* seconds of a series in a round */
	double *samples;
};

static bool
wanted(const struct bench_options *options, const char *name)
{
	const struct bench_subject *subject = bench_subject_named(name);

	return subject && bench_options_want(options, subject);
}

/* The pools are no subjects: theirs are those of the queue that they are made of. */
static void
choose(struct plan *plan)
{
	bool own = wanted(plan->options, "bounded");
	bool usual = own || wanted(plan->options, "mutex");
	size_t i, k;

	for (i = 0; i < SIZES; i++) {
		for (k = 0; k < KINDS; k++) {
			if ((kinds[k].calls && !sizes[i].for_calls) ||
			    !(kinds[k].own ? own : usual))
				continue;
			plan->series[plan->count].experiment.kind = &kinds[k];
			plan->series[plan->count].experiment.workers = sizes[i].workers;
			plan->series[plan->count++].state = BENCH_ABSENT;
		}
	}
}

static int
divide(struct plan *plan, double seconds)
{
	double each = seconds / (double)plan->count;
	size_t i;

	/* Shorter than 50 ms, starting the threads would be much of it. */
	plan->rounds = each < 0.1 ? 1 : each > 0.35 ? 7 : (unsigned)(each / 0.05);
	if (plan->options->rounds)
		plan->rounds = plan->options->rounds;
	plan->slice = 0.9 * each / plan->rounds;
	plan->samples = calloc(plan->count * plan->rounds, sizeof *plan->samples);
	if (!plan->samples)
		return -ENOMEM;
	for (i = 0; i < plan->count; i++)
		plan->series[i].samples = plan->samples + i * plan->rounds;
	return 0;
}

static void
fail(struct series *series, enum bench_state state, const char *note)
{
	series->state = state;
	series->failed = true;
	series->note = note;
}

static void
take_turn(const struct plan *plan, struct series *series)
{
	struct order order = {&series->experiment, plan->slice};
	struct finding finding;
	enum bench_state state;

	/* What has failed once is not given the time to do it again. */
	if (series->failed)
		return;
	state = bench_isolated(series->experiment.kind->body, &order, &finding, sizeof finding,
			       5 + 5 * plan->slice, NULL);
	if (state != BENCH_OK) {
		fail(series, state, NULL);
	} else if (finding.rc) {
		fail(series, BENCH_ABSENT, "could not be started");
	} else if (finding.wrong) {
		fail(series, BENCH_WRONG,
		     "tasks were lost or done twice, or a reply was not right");
	} else {
		series->state = BENCH_OK;
		series->samples[series->rounds++] =
			finding.rate * (series->experiment.kind->calls ? 1e-3 : 1e-6);
	}
}

static void
measure(struct plan *plan)
{
	unsigned round, turns = plan->rounds * (unsigned)plan->count, turn = 0;
	size_t i;

	for (round = 0; round < plan->rounds; round++) {
		for (i = 0; i < plan->count; i++) {
			bench_report_progress(plan->options, "pool",
					      plan->series[i].experiment.kind->subject, turn++,
					      turns);
			take_turn(plan, &plan->series[i]);
		}
	}
	bench_report_progress_end(plan->options);
}

static void
add_row(struct series *series, struct bench_results *results)
{
	const struct experiment *experiment = &series->experiment;
	const char *unit = experiment->kind->calls ? "k/s" : "M/s";
	struct bench_row *row;
	char cell[sizeof row->cell];

	if (experiment->kind->calls)
		(void)snprintf(cell, sizeof cell, "round trips callers=%u workers=%u",
			       experiment->workers, experiment->workers);
	else
		(void)snprintf(cell, sizeof cell, "tasks workers=%u capacity=%u",
			       experiment->workers, CAPACITY);
	if (series->state == BENCH_OK) {
		(void)bench_results_measured(results, "pool", experiment->kind->subject, cell,
					     "rate", unit, BENCH_HIGHER, series->samples,
					     series->rounds);
		return;
	}
	row = bench_results_add(results, "pool", experiment->kind->subject, cell, "rate", unit,
				BENCH_HIGHER);
	bench_results_state(results, row, series->state, series->note);
}

/* Tasks first: the rows of a cell have to come together. */
static int
run(const struct bench_options *options, double seconds, struct bench_results *results)
{
	static struct plan plan;
	unsigned calls;
	size_t i;
	int rc;

	memset(&plan, 0, sizeof plan);
	plan.options = options;
	choose(&plan);
	if (plan.count == 0)
		return 0;
	rc = divide(&plan, seconds);
	if (rc)
		return rc;
	measure(&plan);
	for (calls = 0; calls < 2; calls++)
		for (i = 0; i < plan.count; i++)
			if (plan.series[i].experiment.kind->calls == (calls == 1))
				add_row(&plan.series[i], results);
	free(plan.samples);
	return 0;
}

const struct bench_suite bench_pool = {
	"pool", "tasks through worker threads, and round trips of requests and replies", 10, 0.04,
	run,
};
