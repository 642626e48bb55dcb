/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING3: where one thread pushes, the tail says that everything before is filled: to who looks at the
 * depth, and to the next thread that has the role.
 *
 *   pusher:  slot.seq = 1 (release); tail = 1 (release)
 *   other:   end = tail (acquire); if it is 1: seq = slot.seq
 *
 * Outcomes (end, seq, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   a position before the tail is not filled (I4)
 */
#include "litmus.h"

static uint64_t slot_seq, tail;
static uint64_t end, seq;

static void *
pusher(void *unused)
{
	queue_impl_store_rel(&slot_seq, 1); /* RING1 release */
	queue_impl_store_rel(&tail, 1);	    /* RING3 release */
	return unused;
}

static void *
other(void *unused)
{
	seq = 0;
	end = queue_impl_load_acq(&tail); /* RING3 acquire */
	if (end)
		seq = queue_impl_load_rlx(&slot_seq);
	return unused;
}

int
main(void)
{
	pthread_t pusher_thread, other_thread;

	queue_impl_store_rlx(&slot_seq, 0);
	queue_impl_store_rlx(&tail, 0);
	(void)pthread_create(&pusher_thread, NULL, pusher, NULL);
	(void)pthread_create(&other_thread, NULL, other, NULL);
	(void)pthread_join(pusher_thread, NULL);
	(void)pthread_join(other_thread, NULL);
	litmus_outcome((unsigned)end, (unsigned)seq, 0);
	assert(end == 0 || seq == 1);
	return 0;
}
