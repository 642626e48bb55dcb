/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * POOL1: create, stop: what was done before -> worker, via ready, stopping.
 *
 *   creator:  prepares the pool; ready = 1 (release)
 *   worker:   r = ready (acquire); if it is 1: uses the pool
 *
 * Outcomes (ready, pool, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   a pool half made
 */
#include "litmus.h"

static uint32_t ready;
static int pool;
static unsigned seen, used;

static void *
creator(void *unused)
{
	pool = 1;
	queue_impl_store32_rel(&ready, 1); /* POOL1 release */
	return unused;
}

static void *
worker(void *unused)
{
	used = 0;
	seen = queue_impl_load32_acq(&ready); /* POOL1 acquire */
	if (seen)
		used = (unsigned)pool;
	return unused;
}

int
main(void)
{
	pthread_t creator_thread, worker_thread;

	queue_impl_store32_rlx(&ready, 0);
	pool = 0;
	(void)pthread_create(&creator_thread, NULL, creator, NULL);
	(void)pthread_create(&worker_thread, NULL, worker, NULL);
	(void)pthread_join(creator_thread, NULL);
	(void)pthread_join(worker_thread, NULL);
	litmus_outcome(seen, used, 0);
	assert(!seen || used == 1);
	return 0;
}
