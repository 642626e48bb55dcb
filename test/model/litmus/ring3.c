/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING3: positions before are filled -> a push takes a number, via filled and tail. Who pushes second
 * reads filled, not the slot before his own: what he takes for filled is.
 *
 *   first:   slot.seq = 1 (release); filled = 1 (release)
 *   second:  before = filled (acquire); if it is 1: seq = slot.seq
 *
 * Outcomes (before, seq, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   the hint came before the fact (I5)
 */
#include "litmus.h"

static uint64_t slot_seq, filled;
static uint64_t before, seq;

static void *
first(void *unused)
{
	queue_impl_store_rel(&slot_seq, 1); /* RING1 release */
	queue_impl_store_rel(&filled, 1);   /* RING3 release */
	return unused;
}

static void *
second(void *unused)
{
	seq = 0;
	before = queue_impl_load_acq(&filled); /* RING3 acquire */
	if (before)
		seq = queue_impl_load_rlx(&slot_seq);
	return unused;
}

int
main(void)
{
	pthread_t first_thread, second_thread;

	queue_impl_store_rlx(&slot_seq, 0);
	queue_impl_store_rlx(&filled, 0);
	(void)pthread_create(&first_thread, NULL, first, NULL);
	(void)pthread_create(&second_thread, NULL, second, NULL);
	(void)pthread_join(first_thread, NULL);
	(void)pthread_join(second_thread, NULL);
	litmus_outcome((unsigned)before, (unsigned)seq, 0);
	assert(before == 0 || seq == 1);
	return 0;
}
