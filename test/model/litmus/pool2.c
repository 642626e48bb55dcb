/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * POOL2: worker: last act -> stop, destroy return, via running.
 *
 *   worker:  uses the pool; running - 1
 *   stopper: if running (acquire) is 0: frees
 * Outcomes (left, what it found, what is left there):
 *   allowed    0,0,1
 *   allowed    1,1,2
 *   forbidden  1,0,2   freed while it was used
 *   forbidden  1,0,1
 *   forbidden  1,1,1
 */
#include "litmus.h"

static uint32_t running;
static int memory;
static unsigned left, freed;

static void *
worker(void *unused)
{
	memory = 1;
	(void)queue_impl_fetch_add32_acq_rel(&running, (uint32_t)-1); /* POOL2 release */
	return unused;
}

static void *
stopper(void *unused)
{
	left = queue_impl_load32_acq(&running) == 0; /* POOL2 acquire */
	freed = 0;
	if (left) {
		freed = (unsigned)memory;
		memory = 2;
	}
	return unused;
}

int
main(void)
{
	pthread_t worker_thread, stopper_thread;

	queue_impl_store32_rlx(&running, 1);
	memory = 0;
	(void)pthread_create(&worker_thread, NULL, worker, NULL);
	(void)pthread_create(&stopper_thread, NULL, stopper, NULL);
	(void)pthread_join(worker_thread, NULL);
	(void)pthread_join(stopper_thread, NULL);
	litmus_outcome(left, freed, (unsigned)memory);
	assert(!left || (freed == 1 && memory == 2));
	return 0;
}
