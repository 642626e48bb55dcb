/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_STATS_H
#define CONVEYOR_STATS_H

/*
 * queue_stats: what a bounded queue tells about itself, and two ways to write it down.
 * See queue_stats(3).
 *
 * Invariant.    I1  pushed == popped + evicted + expired + depth, at rest. An item that was in a log
 *                   counts as pushed when it has come from there: pushed + backlog are those that
 *                   went in, and were there when the queue was made.
 */
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Counters count since init and never go back. Times are in nanoseconds. */
struct queue_stats {
	uint64_t capacity;
	uint64_t depth; /* items inside now */
	int closed;

	uint64_t pushed;	  /* items that went in */
	uint64_t popped;	  /* items that a consumer got */
	uint64_t rejected;	  /* pushes refused because the queue was full or stayed so */
	uint64_t discarded;	  /* incoming items dropped by QUEUE_DISCARD */
	uint64_t evicted;	  /* oldest items dropped by QUEUE_DISCARD_OLDEST */
	uint64_t ran;		  /* items run by their producer, QUEUE_CALLER_RUNS */
	uint64_t expired;	  /* items whose deadline had passed when they were popped */
	uint64_t closed_rejected; /* pushes refused because the queue was closed */
	uint64_t spilled;	  /* items stored in the log, QUEUE_SPILL */
	uint64_t backlog; /* items in the log now; of those from before the queue was made, 1 */
	uint64_t waits;	  /* times a thread went to sleep in the kernel */
	uint64_t wakes;	  /* times a thread was woken there */

	/* Time from push to pop, sampled; an upper bound, at most 12.5 % above the true figure. */
	uint64_t sojourn_samples;
	uint64_t sojourn_p50;
	uint64_t sojourn_p90;
	uint64_t sojourn_p99;
	uint64_t sojourn_max;
};

/* Writes *stats as a few lines for people. 0; -EIO: the stream failed. */
int queue_stats_print(FILE *stream, const struct queue_stats *stats);

/*
 * Writes *stats in the Prometheus text format, every metric name starting with `name` and an
 * underscore. 0; -EINVAL: name is not a metric name; -EIO: the stream failed.
 */
int queue_stats_prometheus(FILE *stream, const char *name, const struct queue_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
