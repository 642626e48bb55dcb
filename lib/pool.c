/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers are numbered from 0. The one with number i has slot i and is wanted while i < target; so
 * a resize says who leaves, and a worker that has not noticed yet when it is wanted again stays.
 * A worker decides to leave under the lock, which is what makes its slot free for a new one.
 *
 * Threads that have left are kept on a list until a resize, stop or destroy joins them.
 */
#include <conveyor/pool.h>

#include "alloc_impl.h"
#include "queue_impl.h"
#include "wait_impl.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define NAME_SIZE 16 /* what Linux keeps of a thread's name, with the zero at its end */

/* What has been asked of a pool; it only goes up. */
#define RUNNING 0u
#define DRAINING 1u
#define DISCARDING 2u

/* How long a worker leaves a queue alone that has something and cannot get it, from its log. */
#define TRY_AGAIN (10 * QUEUE_MILLISECOND)

struct worker {
	struct queue_pool *pool;
	struct worker *next; /* among those that have left */
	pthread_t thread;
	uint32_t number;
	bool finished; /* by itself, not by a handler that ended the thread */
	int held;      /* items popped */
	int done;      /* of these, out of our hands */
	void *items[]; /* pool->batch */
};

struct queue_pool {
	/* read-only after create */
	struct queue_bounded *queue;
	struct queue_bounded *dead_letters;
	int (*handler)(void *item, void *context);
	void *context;
	int batch;
	int attempts;
	const struct queue_allocator *allocator;
	char name[NAME_SIZE];

	/* read by workers all the time, written by create, resize and stop, under the lock */
	uint32_t target;
	uint32_t stopping;
	uint32_t ready; /* create knows whether all workers could be started; a futex */
	uint32_t error; /* why the last worker could not drain the queue, an error number */

	/* written by workers for every item */
	uint64_t handled queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t retried;
	uint64_t failed;
	uint64_t dead_lettered;
	uint64_t stopped;

	/* cold */
	uint32_t running queue_impl_aligned(QUEUE_IMPL_APART); /* threads; a futex */
	pthread_mutex_t lock;
	struct worker *left;
	struct worker *slots[QUEUE_POOL_WORKERS_MAX];
};

/* The pool that the calling thread works for. */
static _Thread_local const struct queue_pool *working_for;

static bool
is_single_consumer(const struct queue_bounded *queue)
{
	/* Relaxed: the roles never change. */
	return (queue_impl_load_rlx(&queue->ring.mode) & QUEUE_SINGLE_CONSUMER) != 0;
}

static bool
is_discarding(const struct queue_pool *pool)
{
	return queue_impl_load32_acq(&pool->stopping) == DISCARDING; /* POOL1 acquire */
}

static bool
is_past(uint64_t deadline)
{
	return deadline != QUEUE_NEVER && queue_now() >= deadline;
}

/* Relaxed: counters order nothing. */
static void
count(uint64_t *counter)
{
	queue_impl_add_rlx(counter, 1);
}

/*
 * The three ends of an item that no handler took.
 */

static void
discard(struct queue_pool *pool, void *item)
{
	count(&pool->stopped);
	queue_impl_drop(pool->queue, item, QUEUE_STOPPED);
}

static void
fail(struct queue_pool *pool, void *item)
{
	int rc = -EAGAIN;

	count(&pool->failed);
	/* Whoever discards is in a hurry: do not wait then, though the policy be QUEUE_BLOCK. */
	if (pool->dead_letters && is_discarding(pool))
		rc = queue_try_push(pool->dead_letters, item);
	else if (pool->dead_letters)
		rc = queue_push(pool->dead_letters, item);
	if (rc < 0)
		queue_impl_drop(pool->queue, item, QUEUE_FAILED);
	else
		count(&pool->dead_lettered);
}

/*
 * A worker.
 */

/* Relaxed: who believes to be surplus looks again under the lock. */
static bool
is_surplus(void *context)
{
	const struct worker *worker = context;

	return worker->number >= queue_impl_load32_rlx(&worker->pool->target);
}

/* True when the worker is surplus still; then its slot is another's. */
static bool
vacate(struct worker *worker)
{
	struct queue_pool *pool = worker->pool;
	bool surplus;

	pthread_mutex_lock(&pool->lock);
	surplus = is_surplus(worker);
	if (surplus)
		pool->slots[worker->number] = NULL;
	pthread_mutex_unlock(&pool->lock);
	return surplus;
}

/*
 * The next item held. It is counted as done before anything is called that may end the thread
 * after having taken it.
 */
static void
process(struct worker *worker)
{
	struct queue_pool *pool = worker->pool;
	void *item = worker->items[worker->done];
	int attempt;

	for (attempt = 1; !is_discarding(pool); attempt++) {
		if (attempt > 1)
			count(&pool->retried);
		if (pool->handler(item, pool->context) >= 0) {
			worker->done++;
			count(&pool->handled);
			return;
		}
		if (attempt >= pool->attempts) {
			worker->done++;
			fail(pool, item);
			return;
		}
	}
	worker->done++;
	discard(pool, item);
}

/*
 * The queue has answered with an error of its log, or of decode. True: it is to be tried again. What
 * is left stays in the log, and whoever waits for the pool to stop is told.
 */
static bool
is_worth_another_try(struct queue_pool *pool, int rc)
{
	if (queue_impl_load32_acq(&pool->stopping) == RUNNING) { /* POOL1 acquire */
		queue_impl_sleep_until(queue_now() + TRY_AGAIN);
		return true;
	}
	queue_impl_store32_rlx(&pool->error,
			       (uint32_t)-rc); /* relaxed: the end of the thread orders it */
	return false;
}

/* Until the queue is drained or the worker is surplus. */
static void
work(struct worker *worker)
{
	struct queue_pool *pool = worker->pool;

	for (;;) {
		int n = -ECANCELED;

		if (!is_surplus(worker))
			n = queue_impl_pop_n_unless(pool->queue, worker->items, pool->batch,
						    is_surplus, worker);
		if (n == -ECANCELED && !vacate(worker))
			continue;
		if (n < 0 && n != -ECANCELED && n != -EPIPE && is_worth_another_try(pool, n))
			continue;
		if (n < 0)
			break;
		worker->held = n;
		worker->done = 0;
		while (worker->done < worker->held)
			process(worker);
	}
	worker->finished = true;
}

static int start(struct queue_pool *pool, uint32_t number);

/*
 * The last thing a worker does. When a handler has ended the thread the items it held have failed,
 * and another worker takes its place; if none can be started, the next resize or stop tries again.
 */
static void
leave(void *context)
{
	struct worker *worker = context;
	struct queue_pool *pool = worker->pool;

	while (worker->done < worker->held)
		fail(pool, worker->items[worker->done++]);
	pthread_mutex_lock(&pool->lock);
	if (pool->slots[worker->number] == worker) {
		pool->slots[worker->number] = NULL;
		if (!worker->finished && !is_surplus(worker))
			(void)start(pool, worker->number);
	}
	worker->next = pool->left;
	pool->left = worker;
	pthread_mutex_unlock(&pool->lock);
	/* The pool is not freed before this thread has been joined. */
	if (queue_impl_fetch_add32_acq_rel(&pool->running, UINT32_MAX) == 1) /* POOL2 release */
		(void)queue_impl_futex_wake(&pool->running, INT_MAX);
}

static void
set_name(const struct worker *worker)
{
	char suffix[NAME_SIZE], name[NAME_SIZE];
	size_t number = (size_t)snprintf(suffix, sizeof suffix, "/%u", worker->number);
	size_t length = strlen(worker->pool->name);

	if (length > sizeof name - 1 - number)
		length = sizeof name - 1 - number;
	memcpy(name, worker->pool->name, length);
	memcpy(name + length, suffix, number + 1);
	(void)pthread_setname_np(pthread_self(), name);
}

static void *
worker_main(void *argument)
{
	struct worker *worker = argument;
	int old;

	set_name(worker);
	/* A thread that disappears between a pop and its handler would take items with it. */
	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	queue_impl_worker_of = worker->pool->queue;
	working_for = worker->pool;
	while (!queue_impl_load32_acq(&worker->pool->ready)) /* POOL1 acquire */
		queue_impl_futex_wait(&worker->pool->ready, 0, QUEUE_NEVER);
	pthread_cleanup_push(leave, worker);
	work(worker);
	pthread_cleanup_pop(1);
	return NULL;
}

/*
 * Starting and joining.
 */

static size_t
worker_size(const struct queue_pool *pool)
{
	return sizeof(struct worker) + (size_t)pool->batch * sizeof(void *);
}

static void
worker_free(struct queue_pool *pool, struct worker *worker)
{
	pool->allocator->release(pool->allocator->context, worker, worker_size(pool),
				 _Alignof(struct worker));
}

/* With the lock held. */
static int
start(struct queue_pool *pool, uint32_t number)
{
	struct worker *worker = pool->allocator->allocate(
		pool->allocator->context, worker_size(pool), _Alignof(struct worker));

	if (!worker)
		return -ENOMEM;
	worker->pool = pool;
	worker->number = number;
	worker->finished = false;
	worker->held = 0;
	worker->done = 0;
	if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
		worker_free(pool, worker);
		return -EAGAIN;
	}
	pool->slots[number] = worker;
	(void)queue_impl_fetch_add32_acq_rel(&pool->running, 1);
	return 0;
}

/*
 * Blocks, for the threads about to be started, the signals that a program's handlers expect on
 * threads of its own. Not those that a thread raises by what it does, and not the profiler's.
 */
static void
block_signals(sigset_t *old)
{
	static const int own[] = {SIGSEGV, SIGBUS, SIGFPE,  SIGILL,
				  SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
	sigset_t set;
	size_t i;

	sigfillset(&set);
	for (i = 0; i < sizeof own / sizeof *own; i++)
		sigdelset(&set, own[i]);
	pthread_sigmask(SIG_BLOCK, &set, old);
}

/* With the lock held: every slot below the target gets a worker. */
static int
start_missing(struct queue_pool *pool, uint32_t target)
{
	int rc = 0, saved_errno = errno;
	uint32_t number;
	sigset_t old;

	block_signals(&old);
	for (number = 0; number < target && rc == 0; number++) {
		if (!pool->slots[number])
			rc = start(pool, number);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved_errno;
	return rc;
}

/*
 * Those that have left have nothing more to do than to end. Joining is a cancellation point, and who
 * ended in it would leave threads behind that nobody knows of any more.
 */
static void
join_left(struct queue_pool *pool)
{
	struct worker *worker, *next;
	int old, disabled;

	(void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_mutex_lock(&pool->lock);
	worker = pool->left;
	pool->left = NULL;
	pthread_mutex_unlock(&pool->lock);
	for (; worker; worker = next) {
		next = worker->next;
		(void)pthread_join(worker->thread, NULL);
		worker_free(pool, worker);
	}
	(void)pthread_setcancelstate(old, &disabled);
}

/* Until no worker is left: 0, -ETIMEDOUT. */
static int
wait_for_workers(struct queue_pool *pool, uint64_t deadline)
{
	uint32_t running = queue_impl_load32_acq(&pool->running); /* POOL2 acquire */

	while (running != 0) {
		if (is_past(deadline))
			return -ETIMEDOUT;
		queue_impl_futex_wait(&pool->running, running, deadline);
		running = queue_impl_load32_acq(&pool->running); /* POOL2 acquire */
	}
	join_left(pool);
	return 0;
}

static void
pool_free(struct queue_pool *pool)
{
	pthread_mutex_destroy(&pool->lock);
	pool->allocator->release(pool->allocator->context, pool, sizeof *pool,
				 _Alignof(struct queue_pool));
}

/*
 * The interface.
 */

static bool
are_valid(const struct queue_pool_options *options)
{
	return options && options->queue && options->queue->on_drop && options->handler &&
	       options->dead_letters != options->queue && options->workers >= 0 &&
	       options->workers <=
		       (is_single_consumer(options->queue) ? 1 : QUEUE_POOL_WORKERS_MAX) &&
	       options->batch >= 0 && options->batch <= QUEUE_POOL_BATCH_MAX &&
	       options->attempts >= 0 && queue_impl_allocator(options->allocator);
}

int
queue_pool_create(struct queue_pool **out, const struct queue_pool_options *options)
{
	const struct queue_allocator *allocator;
	struct queue_pool *pool;
	int rc;

	if (!out || !are_valid(options))
		return -EINVAL;
	allocator = queue_impl_allocator(options->allocator);
	pool = allocator->allocate(allocator->context, sizeof *pool, _Alignof(struct queue_pool));
	if (!pool)
		return -ENOMEM;
	memset(pool, 0, sizeof *pool);
	pool->queue = options->queue;
	pool->dead_letters = options->dead_letters;
	pool->handler = options->handler;
	pool->context = options->context;
	pool->batch = options->batch ? options->batch : 1;
	pool->attempts = options->attempts ? options->attempts : 1;
	pool->allocator = allocator;
	(void)snprintf(pool->name, sizeof pool->name, "%s", options->name ? options->name : "pool");
	pthread_mutex_init(&pool->lock, NULL);

	pthread_mutex_lock(&pool->lock);
	pool->target = options->workers ? (uint32_t)options->workers : 1;
	rc = start_missing(pool, pool->target);
	if (rc == 0)
		*out = pool; /* before a handler runs, which may want to look at it */
	else
		queue_impl_store32_rlx(&pool->target, 0); /* relaxed: nobody is wanted */
	pthread_mutex_unlock(&pool->lock);
	queue_impl_store32_rel(&pool->ready, 1); /* POOL1 release */
	(void)queue_impl_futex_wake(&pool->ready, INT_MAX);
	if (rc) {
		(void)wait_for_workers(pool, QUEUE_NEVER);
		pool_free(pool);
	}
	return rc;
}

int
queue_pool_resize(struct queue_pool *pool, int workers)
{
	int rc = -EPIPE;

	if (workers < 1 || workers > QUEUE_POOL_WORKERS_MAX ||
	    (workers > 1 && is_single_consumer(pool->queue)))
		return -EINVAL;
	pthread_mutex_lock(&pool->lock);
	/* Relaxed, both: locked. */
	if (queue_impl_load32_rlx(&pool->stopping) == RUNNING) {
		queue_impl_store32_rlx(&pool->target, (uint32_t)workers);
		rc = start_missing(pool, (uint32_t)workers);
	}
	pthread_mutex_unlock(&pool->lock);
	queue_impl_interrupt(pool->queue);
	join_left(pool);
	return rc;
}

/* In memory or in its log. */
static bool
has_items(const struct queue_bounded *queue)
{
	struct queue_stats stats;

	(void)queue_stats(queue, &stats);
	return stats.depth > 0 || stats.backlog > 0;
}

static int
stop(struct queue_pool *pool, uint32_t how, uint64_t deadline)
{
	void *item;
	int rc;

	pthread_mutex_lock(&pool->lock);
	if (how > queue_impl_load32_rlx(&pool->stopping))     /* relaxed: locked */
		queue_impl_store32_rel(&pool->stopping, how); /* POOL1 release */
	pthread_mutex_unlock(&pool->lock);
	(void)queue_close(pool->queue);
	/* All workers may be busy for long; what they have not popped need not wait for them. */
	if (is_discarding(pool) && !is_single_consumer(pool->queue)) {
		while (!is_past(deadline) && queue_try_pop(pool->queue, &item) == 0)
			discard(pool, item);
	}
	for (;;) {
		rc = wait_for_workers(pool, deadline);
		if (rc == 0)
			rc = -(int)queue_impl_load32_rlx(
				&pool->error); /* relaxed: all have ended */
		if (rc || !has_items(pool->queue))
			return rc;
		/* Handlers have ended all threads, and then no other could be started. */
		pthread_mutex_lock(&pool->lock);
		rc = start_missing(pool, 1);
		pthread_mutex_unlock(&pool->lock);
		if (rc)
			return rc;
	}
}

int
queue_pool_stop(struct queue_pool *pool, enum queue_pool_stop how, uint64_t deadline)
{
	if (how != QUEUE_POOL_DRAIN && how != QUEUE_POOL_DISCARD)
		return -EINVAL;
	if (working_for == pool)
		return -EDEADLK;
	return stop(pool, how == QUEUE_POOL_DISCARD ? DISCARDING : DRAINING, deadline);
}

int
queue_pool_destroy(struct queue_pool *pool)
{
	if (!pool)
		return 0;
	if (working_for == pool)
		return -EDEADLK;
	(void)stop(pool, DRAINING, QUEUE_NEVER);
	pool_free(pool);
	return 0;
}

int
queue_pool_stats(const struct queue_pool *pool, struct queue_pool_stats *out)
{
	/* Relaxed, all: figures, each right on its own. */
	out->workers = (int)queue_impl_load32_rlx(&pool->target);
	out->running = (int)queue_impl_load32_rlx(&pool->running);
	out->handled = queue_impl_load_rlx(&pool->handled);
	out->retried = queue_impl_load_rlx(&pool->retried);
	out->failed = queue_impl_load_rlx(&pool->failed);
	out->dead_lettered = queue_impl_load_rlx(&pool->dead_lettered);
	out->stopped = queue_impl_load_rlx(&pool->stopped);
	return 0;
}
