/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TOPIC3: publish: last use of a snapshot -> its end, via pins.
 *
 *   publisher:  uses the snapshot; pins - 1
 *   reclaimer:  if pins (acquire) is 0: frees
 * Outcomes (left, what it found, what is left there):
 *   allowed    0,0,1
 *   allowed    1,1,2
 *   forbidden  1,0,2   freed while it was used
 *   forbidden  1,0,1
 *   forbidden  1,1,1
 */
#include "litmus.h"

static uint64_t pins;
static int memory;
static unsigned left, freed;

static void *
publisher(void *unused)
{
	memory = 1;
	(void)queue_impl_fetch_add_acq_rel(&pins, (uint64_t)-1); /* TOPIC3 release */
	return unused;
}

static void *
reclaimer(void *unused)
{
	left = queue_impl_load_acq(&pins) == 0; /* TOPIC3 acquire */
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
	pthread_t publisher_thread, reclaimer_thread;

	queue_impl_store_rlx(&pins, 1);
	memory = 0;
	(void)pthread_create(&publisher_thread, NULL, publisher, NULL);
	(void)pthread_create(&reclaimer_thread, NULL, reclaimer, NULL);
	(void)pthread_join(publisher_thread, NULL);
	(void)pthread_join(reclaimer_thread, NULL);
	litmus_outcome(left, freed, (unsigned)memory);
	assert(!left || (freed == 1 && memory == 2));
	return 0;
}
