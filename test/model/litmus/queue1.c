/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUEUE1: push: a probe's time -> pop reads it, via probe_position; and the swap that takes
 * the probe keeps a second sampler from overwriting the time before.
 *
 *   sampler:  claims (swap idle -> claimed); time = 1; probe_position = 5 (release)
 *   popper:   seen = probe_position (acquire); t = time; if seen is 5 and swap 5 -> idle: uses t
 *
 * Outcomes (taken, time, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   a position without its time
 */
#include "litmus.h"

#define IDLE 9
#define CLAIMED 8

static uint64_t probe_position, probe_time;
static unsigned taken, used;

static void *
sampler(void *unused)
{
	uint64_t seen = IDLE;

	if (queue_impl_cas_acq_rel(&probe_position, &seen, CLAIMED)) {
		queue_impl_store_rlx(&probe_time, 1);
		queue_impl_store_rel(&probe_position, 5); /* QUEUE1 release */
	}
	return unused;
}

static void *
popper(void *unused)
{
	uint64_t seen = queue_impl_load_acq(&probe_position); /* QUEUE1 acquire */
	uint64_t time = queue_impl_load_rlx(&probe_time);

	used = 0;
	taken = seen == 5 && queue_impl_cas_acq_rel(&probe_position, &seen, IDLE);
	if (taken)
		used = (unsigned)time;
	return unused;
}

int
main(void)
{
	pthread_t sampler_thread, popper_thread;

	queue_impl_store_rlx(&probe_position, IDLE);
	queue_impl_store_rlx(&probe_time, 0);
	(void)pthread_create(&sampler_thread, NULL, sampler, NULL);
	(void)pthread_create(&popper_thread, NULL, popper, NULL);
	(void)pthread_join(sampler_thread, NULL);
	(void)pthread_join(popper_thread, NULL);
	litmus_outcome(taken, used, 0);
	assert(!taken || used == 1);
	return 0;
}
