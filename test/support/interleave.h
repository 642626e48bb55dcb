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

/*
 * A function for each operation, and one call of it in the place of one call: so gcov counts the
 * branches of a line as it does where the source is compiled by itself.
 */
#define INTERLEAVE(type, name, parameters, arguments)                                              \
	static inline type interleave_##name parameters                                            \
	{                                                                                          \
		interleave_point();                                                                \
		return queue_impl_##name arguments;                                                \
	}
#define INTERLEAVE_VOID(name, parameters, arguments)                                               \
	static inline void interleave_##name parameters                                            \
	{                                                                                          \
		interleave_point();                                                                \
		queue_impl_##name arguments;                                                       \
	}

INTERLEAVE(uint64_t, load_rlx, (const uint64_t *word), (word))
INTERLEAVE(uint64_t, load_acq, (const uint64_t *word), (word))
INTERLEAVE(uint32_t, load32_rlx, (const uint32_t *word), (word))
INTERLEAVE(uint32_t, load32_acq, (const uint32_t *word), (word))
INTERLEAVE_VOID(store_rlx, (uint64_t * word, uint64_t value), (word, value))
INTERLEAVE_VOID(store_rel, (uint64_t * word, uint64_t value), (word, value))
INTERLEAVE_VOID(store32_rlx, (uint32_t * word, uint32_t value), (word, value))
INTERLEAVE_VOID(store32_rel, (uint32_t * word, uint32_t value), (word, value))
INTERLEAVE_VOID(add_rlx, (uint64_t * word, uint64_t delta), (word, delta))
INTERLEAVE(bool, cas_acq_rel, (uint64_t * word, uint64_t *expected, uint64_t desired),
	   (word, expected, desired))
INTERLEAVE(bool, cas32_acq_rel, (uint32_t * word, uint32_t *expected, uint32_t desired),
	   (word, expected, desired))
INTERLEAVE(bool, cas_pair_acq_rel,
	   (struct queue_impl_pair * pair, uint64_t low, uint64_t high, uint64_t new_low,
	    uint64_t new_high),
	   (pair, low, high, new_low, new_high))
INTERLEAVE(uint64_t, fetch_add_acq_rel, (uint64_t * word, uint64_t delta), (word, delta))
#define queue_impl_load_rlx interleave_load_rlx
#define queue_impl_load_acq interleave_load_acq
#define queue_impl_load32_rlx interleave_load32_rlx
#define queue_impl_load32_acq interleave_load32_acq
#define queue_impl_store_rlx interleave_store_rlx
#define queue_impl_store_rel interleave_store_rel
#define queue_impl_store32_rlx interleave_store32_rlx
#define queue_impl_store32_rel interleave_store32_rel
#define queue_impl_add_rlx interleave_add_rlx
#define queue_impl_cas_acq_rel interleave_cas_acq_rel
#define queue_impl_cas32_acq_rel interleave_cas32_acq_rel
#define queue_impl_cas_pair_acq_rel interleave_cas_pair_acq_rel
#define queue_impl_fetch_add_acq_rel interleave_fetch_add_acq_rel

#if defined QUEUE_IMPL_RSEQ
INTERLEAVE(bool, rseq_store_pair_rel,
	   (ptrdiff_t area, const uint64_t *guard, uint64_t expected, struct queue_impl_pair *pair,
	    uint64_t low, uint64_t high),
	   (area, guard, expected, pair, low, high))
INTERLEAVE(bool, rseq_move_rel,
	   (ptrdiff_t area, const uint64_t *owner, uint64_t *word, uint64_t from, uint64_t to),
	   (area, owner, word, from, to))
#define queue_impl_rseq_store_pair_rel interleave_rseq_store_pair_rel
#define queue_impl_rseq_move_rel interleave_rseq_move_rel
#endif

#endif
