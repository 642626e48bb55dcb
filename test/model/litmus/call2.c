/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CALL2: worker: reply bytes, reply -> caller, via state; against a cancel, of which one wins.
 *
 *   worker:  bytes = 1; state: pending -> replied
 *   caller:  s = state (acquire); replied: reads the bytes; else state: pending -> cancelled
 *
 * Outcomes (replied, cancelled, bytes the caller read):
 *   allowed    0,1,0
 *   allowed    1,0,1
 *   forbidden  1,1,0   both
 *   forbidden  1,1,1
 *   forbidden  0,0,0   neither
 *   forbidden  1,0,0   the reply came before its bytes
 */
#include "litmus.h"

static uint32_t state;
static int bytes;
static unsigned replied, cancelled, value;

static void *
worker(void *unused)
{
	uint32_t was = 0;

	bytes = 1;
	replied = queue_impl_cas32_acq_rel(&state, &was, 1); /* CALL2 release */
	return unused;
}

static void *
caller(void *unused)
{
	uint32_t was = queue_impl_load32_acq(&state); /* CALL2 acquire */

	value = 0;
	cancelled = was == 0 && queue_impl_cas32_acq_rel(&state, &was, 2); /* CALL2 acquire */
	if (was == 1)
		value = (unsigned)bytes;
	return unused;
}

int
main(void)
{
	pthread_t worker_thread, caller_thread;

	queue_impl_store32_rlx(&state, 0);
	bytes = 0;
	(void)pthread_create(&worker_thread, NULL, worker, NULL);
	(void)pthread_create(&caller_thread, NULL, caller, NULL);
	(void)pthread_join(worker_thread, NULL);
	(void)pthread_join(caller_thread, NULL);
	litmus_outcome(replied, cancelled, value);
	assert(replied + cancelled == 1);
	assert(value == replied);
	return 0;
}
