/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CALL1: caller: request bytes -> worker, via the queue that carries it: that is RING1 with the call as the
 * item, here with the reply coming back over CALL2.
 *
 *   caller:  request = 3; slot.seq = 1 (release); ... if state (acquire) is replied: reads the reply
 *   worker:  if slot.seq (acquire) is 1: reply = request + 1; state = replied (by a swap)
 *
 * Outcomes (seen by the worker, replied, reply):
 *   allowed    0,0,0
 *   allowed    1,0,0
 *   allowed    1,1,4
 *   forbidden  0,1,4
 *   forbidden  1,1,0
 *   forbidden  1,1,1   the call came before the request
 */
#include "litmus.h"

static uint64_t slot_seq;
static uint32_t state;
static unsigned request, reply, seen, replied, value;

static void *
caller(void *unused)
{
	value = 0;
	request = 3;
	queue_impl_store_rel(&slot_seq, 1);	 /* RING1 release */
	replied = queue_impl_load32_acq(&state); /* CALL2 acquire */
	if (replied)
		value = reply;
	return unused;
}

static void *
worker(void *unused)
{
	uint32_t was = 0;

	seen = (unsigned)queue_impl_load_acq(&slot_seq); /* RING1 acquire */
	if (seen) {
		reply = request + 1;
		(void)queue_impl_cas32_acq_rel(&state, &was, 1); /* CALL2 release */
	}
	return unused;
}

int
main(void)
{
	pthread_t caller_thread, worker_thread;

	queue_impl_store_rlx(&slot_seq, 0);
	queue_impl_store32_rlx(&state, 0);
	request = reply = 0;
	(void)pthread_create(&caller_thread, NULL, caller, NULL);
	(void)pthread_create(&worker_thread, NULL, worker, NULL);
	(void)pthread_join(caller_thread, NULL);
	(void)pthread_join(worker_thread, NULL);
	litmus_outcome(seen, replied, value);
	assert(!replied || (seen && value == 4));
	return 0;
}
