/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CALL4: caller: descriptor -> who ends the call, via state. The number is stored first; who ends the call
 * and has seen that it is wanted has seen the number.
 *
 *   caller:  descriptor = 7; state: pending -> pending, tells; if it has ended: raises it itself
 *   worker:  state: -> ended; if the old one tells: raises what descriptor says
 *
 * Outcomes (worker told, the number it raised, the caller raised it):
 *   allowed    0,0,1
 *   allowed    1,7,0
 *   forbidden  0,0,0   nobody did
 *   forbidden  1,0,0   the wrong one was raised
 *   forbidden  1,7,1   twice
 */
#include "litmus.h"

#define TELLS 2

static uint32_t state, descriptor;
static unsigned told, raised, by_caller;

static void *
caller(void *unused)
{
	uint32_t word;

	queue_impl_store32_rlx(&descriptor, 7);
	word = queue_impl_load32_acq(&state);
	by_caller = 1;
	if (word == 0 && queue_impl_cas32_acq_rel(&state, &word, TELLS)) /* CALL4 release */
		by_caller = 0;
	return unused;
}

static void *
worker(void *unused)
{
	uint32_t word = queue_impl_load32_acq(&state), number; /* CALL4 acquire */

	do {
		number = queue_impl_load32_rlx(&descriptor);
	} while (!queue_impl_cas32_acq_rel(&state, &word, 1)); /* CALL4 acquire */
	told = (word & TELLS) != 0;
	raised = told ? (unsigned)number : 0;
	return unused;
}

int
main(void)
{
	pthread_t caller_thread, worker_thread;

	queue_impl_store32_rlx(&state, 0);
	queue_impl_store32_rlx(&descriptor, 0);
	(void)pthread_create(&caller_thread, NULL, caller, NULL);
	(void)pthread_create(&worker_thread, NULL, worker, NULL);
	(void)pthread_join(caller_thread, NULL);
	(void)pthread_join(worker_thread, NULL);
	litmus_outcome(told, raised, by_caller);
	assert(told + by_caller == 1);
	assert(!told || raised == 7);
	return 0;
}
