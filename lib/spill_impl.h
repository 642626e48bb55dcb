/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_SPILL_IMPL_H
#define CONVEYOR_LIB_SPILL_IMPL_H

/*
 * What lib/queue.c knows of lib/spill.c, where a queue with QUEUE_SPILL goes on in a log. It gets
 * there by a table that every log carries, so that a program without logs is linked with neither.
 */
#include <conveyor/log.h>
#include <conveyor/queue.h>

#include <stdbool.h>

/* There are items in the log, or were a moment ago: pushes go behind them. */
#define QUEUE_IMPL_SPILL_ACTIVE 1u
/* queue_close was called; the ring is closed when ACTIVE is gone. Set once, for good. */
#define QUEUE_IMPL_SPILL_CLOSED 2u

struct queue_impl_spill;

struct queue_impl_spill_operations {
	/*
	 * Opens the log's reader, in memory of its own, for a queue that is about to be made. -EINVAL,
	 * -ENOMEM, and as queue_log_reader_open.
	 */
	int (*create)(struct queue_impl_spill **out, struct queue_bounded *queue,
		      const struct queue_options *options);

	/* A push that found no room in memory: it goes to the log. As queue_push_until. */
	int (*push)(struct queue_bounded *queue, void *item, uint64_t deadline);

	/*
	 * Moves items from the log to the ring where those there are few, and does all else that is
	 * due. 1: there may be an item in the ring now, or it is closed; 0: nothing came; negative:
	 * nothing came, for the log, or decode, said so.
	 */
	int (*attend)(struct queue_bounded *queue);

	/* Nothing comes from the log any more. -ENOMEM: all is as it was. */
	int (*detach)(struct queue_bounded *queue);
	/* After that. */
	void (*destroy)(struct queue_bounded *queue);
};

/* The first member of lib/spill.c's own. */
struct queue_impl_spill {
	const struct queue_impl_spill_operations *operations;
	uint64_t high; /* with so many items in memory queue_push goes to the log */

	/* read by every push */
	uint32_t state;	    /* QUEUE_IMPL_SPILL_ */
	uint64_t head_seen; /* a copy of the ring's head, which lags */
	uint64_t sample_mask;

	/* read by every pop: when the head has come there, attend is to be called */
	uint64_t attention;

	uint64_t spilled, backlog; /* figures */
};

/* Every struct queue_log begins with a pointer to them. */
static inline const struct queue_impl_spill_operations *
queue_impl_spill_of(const struct queue_log *log)
{
	return *(const struct queue_impl_spill_operations *const *)(const void *)log;
}

#endif
