/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG3: committer: bytes cleared -> append: room used again, via released. What was written later
 * must not be cleared, or a record is never seen to be there.
 *
 *   committer:  length = 0; released = 1 (release)
 *   producer:   r = released (acquire); if there is room: length = 2
 *
 * Outcomes (r, length in the end, 0):
 *   allowed    0,0,0
 *   allowed    1,2,0
 *   forbidden  1,0,0   the new record is cleared
 */
#include "litmus.h"

static uint64_t length, released;
static unsigned seen;

static void *
committer(void *unused)
{
	queue_impl_store_rlx(&length, 0);
	queue_impl_store_rel(&released, 1); /* LOG3 release */
	return unused;
}

static void *
producer(void *unused)
{
	seen = (unsigned)queue_impl_load_acq(&released); /* LOG3 acquire */
	if (seen)
		queue_impl_store_rlx(&length, 2);
	return unused;
}

int
main(void)
{
	pthread_t committer_thread, producer_thread;
	unsigned left;

	queue_impl_store_rlx(&length, 1);
	queue_impl_store_rlx(&released, 0);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_create(&producer_thread, NULL, producer, NULL);
	(void)pthread_join(committer_thread, NULL);
	(void)pthread_join(producer_thread, NULL);
	left = (unsigned)queue_impl_load_rlx(&length);
	litmus_outcome(seen, left, 0);
	assert(!seen || left == 2);
	return 0;
}
