/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_TEST_INTERLEAVE_H
#define CONVEYOR_TEST_INTERLEAVE_H

/*
 * For a test that is compiled together with a source file of the library: lets something happen
 * right before the atomic operation of a call that has a given number, as if another thread had run
 * there. So the race that a loop or a second look is for is lost at will, and each time.
 *
 *	#include "interleave.h"
 *
 *	#include "../../lib/queue.c"
 *
 *	interleave(3, others);
 *	rc = queue_push(queue, item);
 *	happened = interleave_end();
 *
 * What happens is itself not disturbed. It runs on the same thread, as a signal handler does.
 */
#include <conveyor/impl/atomic.h>

static void (*interleave_body)(void);
static unsigned interleave_left;  /* operations before the one */
static unsigned interleave_times; /* how often it is to happen, at one operation after the other */
static unsigned interleave_done;

static inline void
interleave_point(void)
{
	void (*body)(void) = interleave_body;

	if (!body || interleave_left-- > 0)
		return;
	interleave_left = 0;
	interleave_body = NULL;
	body();
	interleave_body = ++interleave_done < interleave_times ? body : NULL;
}

static inline void
interleave_often(unsigned times, unsigned after, void (*body)(void))
{
	interleave_left = after;
	interleave_times = times;
	interleave_done = 0;
	interleave_body = body;
}

static inline void
interleave(unsigned after, void (*body)(void))
{
	interleave_often(1, after, body);
}

/* How often it has happened. */
static inline unsigned
interleave_end(void)
{
	interleave_body = NULL;
	return interleave_done;
}

/* A macro is not expanded within itself, so these come to the functions of atomic.h. */
#define queue_impl_load_rlx(...) (interleave_point(), queue_impl_load_rlx(__VA_ARGS__))
#define queue_impl_load_acq(...) (interleave_point(), queue_impl_load_acq(__VA_ARGS__))
#define queue_impl_load32_rlx(...) (interleave_point(), queue_impl_load32_rlx(__VA_ARGS__))
#define queue_impl_load32_acq(...) (interleave_point(), queue_impl_load32_acq(__VA_ARGS__))
#define queue_impl_store_rlx(...) (interleave_point(), queue_impl_store_rlx(__VA_ARGS__))
#define queue_impl_store_rel(...) (interleave_point(), queue_impl_store_rel(__VA_ARGS__))
#define queue_impl_store32_rlx(...) (interleave_point(), queue_impl_store32_rlx(__VA_ARGS__))
#define queue_impl_store32_rel(...) (interleave_point(), queue_impl_store32_rel(__VA_ARGS__))
#define queue_impl_add_rlx(...) (interleave_point(), queue_impl_add_rlx(__VA_ARGS__))
#define queue_impl_cas_acq_rel(...) (interleave_point(), queue_impl_cas_acq_rel(__VA_ARGS__))
#define queue_impl_cas32_acq_rel(...) (interleave_point(), queue_impl_cas32_acq_rel(__VA_ARGS__))
#define queue_impl_cas_pair_acq_rel(...)                                                           \
	(interleave_point(), queue_impl_cas_pair_acq_rel(__VA_ARGS__))
#define queue_impl_fetch_add_acq_rel(...)                                                          \
	(interleave_point(), queue_impl_fetch_add_acq_rel(__VA_ARGS__))
#define queue_impl_rseq_store_pair_rel(...)                                                        \
	(interleave_point(), queue_impl_rseq_store_pair_rel(__VA_ARGS__))
#define queue_impl_rseq_move_rel(...) (interleave_point(), queue_impl_rseq_move_rel(__VA_ARGS__))

#endif
