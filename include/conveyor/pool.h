/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_POOL_H
#define CONVEYOR_POOL_H

/*
 * queue_pool: threads that pop a bounded queue and run a handler on each item. Resized while
 * running, stopped by draining or by discarding, with attempts and a dead-letter queue. See
 * queue_pool(3).
 *
 * Progress.     Workers wait inside the queue and use no CPU while it is empty. stats is wait-free.
 *               resize never waits for a handler; stop waits until its deadline; destroy waits.
 * Concurrency.               resize  stop  stats  create, destroy    (X = keep them apart)
 *               resize         -      -      -     X
 *               stop           -      -      -     X
 *               A handler (and on_drop, on a worker) may call resize and stats; stop and destroy
 *               answer -EDEADLK there.
 * Invariants.   I1  Every item that a worker popped is, once, handled, or given to the dead-letter
 *                   queue, or given to the queue's on_drop. At rest
 *                   handled + failed + stopped == items popped by the pool.
 *               I2  At most `batch` items are held by one worker; they are handled in queue order.
 * Ordering.     POOL1  create, stop: what was done before -> worker    via ready, stopping
 *               POOL2  worker: last act -> stop, destroy return        via running
 *               The rest is ordered by the pool's lock, which no callback is called under.
 */
#include <conveyor/alloc.h>
#include <conveyor/queue.h>

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define QUEUE_POOL_WORKERS_MAX 1024
#define QUEUE_POOL_BATCH_MAX 256

struct queue_pool;

struct queue_pool_options {
	/*
	 * What the workers pop; the caller's, outlives the pool. It must have an on_drop, where
	 * items go that cannot be handled. With QUEUE_SINGLE_CONSUMER there can be one worker.
	 */
	struct queue_bounded *queue;
	/*
	 * Does the work of one item: 0 or more, or a negative number when it failed and is to be
	 * tried again at once, up to `attempts` times in all. Runs on a worker; the item is the
	 * handler's when it has succeeded. It must return.
	 */
	int (*handler)(void *item, void *context);
	void *context;
	int workers;  /* to begin with, 1 to QUEUE_POOL_WORKERS_MAX; 0 is 1 */
	int batch;    /* the most items one worker takes at a time, to QUEUE_POOL_BATCH_MAX; 0: 1 */
	int attempts; /* 1 or more; 0 is 1 */
	/*
	 * Gets, by its own policy, items that failed `attempts` times. What it refuses, or NULL,
	 * sends them to on_drop(QUEUE_FAILED) of the queue.
	 */
	struct queue_bounded *dead_letters;
	/* Threads are called name/0, name/1, ...; cut to fit 15 bytes; NULL: "pool". */
	const char *name;
	const struct queue_allocator *allocator; /* NULL: queue_allocator_libc */
};

enum queue_pool_stop {
	QUEUE_POOL_DRAIN,  /* handle everything that is in the queue */
	QUEUE_POOL_DISCARD /* finish the handler calls under way; the rest to on_drop */
};

struct queue_pool_stats {
	int workers;	  /* asked for */
	int running;	  /* threads alive; differs from workers while a resize takes effect */
	uint64_t handled; /* items whose handler succeeded */
	uint64_t retried; /* handler calls beyond an item's first */
	uint64_t failed;  /* items whose attempts were used up */
	uint64_t dead_lettered; /* of these, taken by the dead-letter queue */
	uint64_t stopped;	/* items given to on_drop(QUEUE_STOPPED) */
};

/*
 * Starts the workers; *out is there before the first handler runs. -EINVAL: an option is not valid,
 * the queue has no on_drop or is its own dead-letter queue; -ENOMEM: no memory; -EAGAIN: no more
 * threads. When it fails nothing has been popped, no thread is left and *out is not written.
 */
int queue_pool_create(struct queue_pool **out, const struct queue_pool_options *options);

/*
 * Asks for another number of workers, 1 to QUEUE_POOL_WORKERS_MAX. New ones are running when it
 * returns; surplus ones leave after the items they hold. -EINVAL; -EPIPE: stopped; -ENOMEM,
 * -EAGAIN: as many as could be started are running; another resize tries again.
 */
int queue_pool_resize(struct queue_pool *pool, int workers);

/*
 * Closes the queue and waits until the deadline for the workers to finish and leave. 0; -ETIMEDOUT:
 * they go on, and stop may be called again, also with QUEUE_POOL_DISCARD to hurry them; -EDEADLK:
 * called by one of its workers; -EINVAL. What is discarded goes to on_drop(QUEUE_STOPPED).
 * -ENOMEM, -EAGAIN: handlers ended all threads and no other can be started; items are left inside.
 */
int queue_pool_stop(struct queue_pool *pool, enum queue_pool_stop how, uint64_t deadline);

/* Stops by draining if it has not been stopped, waits, frees. NULL is allowed. 0, -EDEADLK. */
int queue_pool_destroy(struct queue_pool *pool);

/* Fills *out; returns 0. Each figure is right on its own; together they agree at rest. */
int queue_pool_stats(const struct queue_pool *pool, struct queue_pool_stats *out);

#ifdef __cplusplus
}
#endif

#endif
