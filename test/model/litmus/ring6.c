/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING6: membarrier: no thread alone any more -> swaps, via producer. The first thread moves the tail by a
 * plain store while `producer` names it; the second takes that away, has membarrier(2) end the sequence
 * that may be under way, and swaps. NEEDS: rseq
 *
 *   first:   producer: nobody -> self; in a sequence: if producer is self: tail 0 -> 1; else by a swap
 *   second:  producer: -> undecided; membarrier; producer = anybody (release); tail: swap t -> t + 1
 *
 * Outcomes (first has moved it, second has, tail):
 *   allowed    0,1,1
 *   allowed    1,1,2
 *   allowed    1,0,1   the swap has lost
 *   forbidden  1,1,1   both have taken one number
 */
#include "litmus.h"

static uint64_t producer, tail;
static unsigned first_moved, second_moved;

static void *
first(void *unused)
{
	uint64_t nobody = 0, from = 0;

	first_moved = 0;
	if (queue_impl_cas_acq_rel(&producer, &nobody, litmus_self()))
		first_moved = litmus_move(&producer, &tail, 0, 1);
	else if (queue_impl_load_acq(&producer) == 2) /* RING6 acquire */
		first_moved = queue_impl_cas_acq_rel(&tail, &from, 1);
	return unused;
}

static void *
second(void *unused)
{
	uint64_t who = queue_impl_load_acq(&producer), from;

	while (!queue_impl_cas_acq_rel(&producer, &who, 1))
		continue;
	litmus_heavy_fence();
	queue_impl_store_rel(&producer, 2); /* RING6 release */
	from = queue_impl_load_acq(&tail);
	second_moved = queue_impl_cas_acq_rel(&tail, &from, from + 1);
	return unused;
}

int
main(void)
{
	pthread_t first_thread, second_thread;

	queue_impl_store_rlx(&producer, 0);
	queue_impl_store_rlx(&tail, 0);
	(void)pthread_create(&first_thread, NULL, first, NULL);
	(void)pthread_create(&second_thread, NULL, second, NULL);
	(void)pthread_join(first_thread, NULL);
	(void)pthread_join(second_thread, NULL);
	litmus_outcome(first_moved, second_moved, (unsigned)tail);
	assert(tail == first_moved + second_moved);
	return 0;
}
