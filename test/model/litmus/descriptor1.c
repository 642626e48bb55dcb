/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DESCRIPTOR1: the thing changed; fence; state read (who changed it) and state written; fence; the thing
 * looked at (who makes a call). Who has changed the thing finds the descriptor being turned the other way,
 * or who turns it sees the change.
 *
 *   changer:  thing = 1; fence; s = state: is it being lowered?
 *   lowerer:  state = 1 (by a swap: it is being lowered); fence; looked = thing
 *
 * Outcomes (the changer saw it, the lowerer saw the thing, 0):
 *   allowed    0,1,0
 *   allowed    1,0,0
 *   allowed    1,1,0
 *   forbidden  0,0,0   left down with something there
 */
#include "litmus.h"

static uint64_t thing, state;
static unsigned saw, looked;

static void *
changer(void *unused)
{
	queue_impl_store_rel(&thing, 1);
	queue_impl_fence_full(); /* DESCRIPTOR1, who changed it */
	saw = queue_impl_load_acq(&state) != 0;
	return unused;
}

static void *
lowerer(void *unused)
{
	uint64_t seen = 0;

	(void)queue_impl_cas_acq_rel(&state, &seen, 1);
	queue_impl_fence_after_rmw(); /* DESCRIPTOR1, who makes a call */
	looked = queue_impl_load_acq(&thing) != 0;
	return unused;
}

int
main(void)
{
	pthread_t changer_thread, lowerer_thread;

	queue_impl_store_rlx(&thing, 0);
	queue_impl_store_rlx(&state, 0);
	(void)pthread_create(&changer_thread, NULL, changer, NULL);
	(void)pthread_create(&lowerer_thread, NULL, lowerer, NULL);
	(void)pthread_join(changer_thread, NULL);
	(void)pthread_join(lowerer_thread, NULL);
	litmus_outcome(saw, looked, 0);
	assert(saw || looked);
	return 0;
}
