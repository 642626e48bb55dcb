/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * WAIT1, where both sides have a fence: the thing made true; fence; word read (notifier) and word written;
 * fence; the thing looked at (waiter). Either the notifier sees the waiter, or the waiter the thing.
 *
 *   notifier:  thing = 1; fence; counted = word
 *   waiter:    word + 1; fence; looked = thing; if it is 0, sleeps
 *
 * Outcomes (the notifier saw the waiter, the waiter saw the thing, 0):
 *   allowed    0,1,0
 *   allowed    1,0,0
 *   allowed    1,1,0
 *   forbidden  0,0,0   asleep beside it
 */
#include "litmus.h"

static uint64_t thing, word;
static unsigned counted, looked;

static void *
notifier(void *unused)
{
	queue_impl_store_rel(&thing, 1);
	queue_impl_fence_full(); /* WAIT1 notifier */
	counted = queue_impl_load_rlx(&word) != 0;
	return unused;
}

static void *
waiter(void *unused)
{
	(void)queue_impl_fetch_add_acq_rel(&word, 1);
	queue_impl_fence_after_rmw(); /* WAIT1 waiter */
	looked = queue_impl_load_acq(&thing) != 0;
	return unused;
}

int
main(void)
{
	pthread_t notifier_thread, waiter_thread;

	queue_impl_store_rlx(&thing, 0);
	queue_impl_store_rlx(&word, 0);
	(void)pthread_create(&notifier_thread, NULL, notifier, NULL);
	(void)pthread_create(&waiter_thread, NULL, waiter, NULL);
	(void)pthread_join(notifier_thread, NULL);
	(void)pthread_join(waiter_thread, NULL);
	litmus_outcome(counted, looked, 0);
	assert(counted || looked);
	return 0;
}
