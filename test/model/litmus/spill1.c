/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SPILL1: who moves the last item from the log -> push: goes behind it, via state. A push that went in
 * before would be popped before items that were pushed earlier.
 *
 *   mover:  tail = 1; state = not active (release)
 *   push:   if state (acquire) is not active: takes the number tail
 *
 * Outcomes (not active, the number, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   in front of the item
 */
#include "litmus.h"

static uint64_t tail;
static uint32_t state;
static unsigned passed, number;

static void *
mover(void *unused)
{
	uint32_t active = 1;

	queue_impl_store_rlx(&tail, 1);
	(void)queue_impl_cas32_acq_rel(&state, &active, 0); /* SPILL1 release */
	return unused;
}

static void *
push(void *unused)
{
	passed = queue_impl_load32_acq(&state) == 0; /* SPILL1 acquire */
	number = 0;
	if (passed)
		number = (unsigned)queue_impl_load_rlx(&tail);
	return unused;
}

int
main(void)
{
	pthread_t mover_thread, push_thread;

	queue_impl_store_rlx(&tail, 0);
	queue_impl_store32_rlx(&state, 1);
	(void)pthread_create(&mover_thread, NULL, mover, NULL);
	(void)pthread_create(&push_thread, NULL, push, NULL);
	(void)pthread_join(mover_thread, NULL);
	(void)pthread_join(push_thread, NULL);
	litmus_outcome(passed, number, 0);
	assert(!passed || number == 1);
	return 0;
}
