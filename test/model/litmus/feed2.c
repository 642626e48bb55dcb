/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FEED2: who waits: last access -> destroy frees, via waiting.
 *
 *   taker:      uses the feed; waiting - 1
 *   destroyer:  if waiting (acquire) is 0: frees
 * Outcomes (left, what it found, what is left there):
 *   allowed    0,0,1
 *   allowed    1,1,2
 *   forbidden  1,0,2   freed while it was used
 *   forbidden  1,0,1
 *   forbidden  1,1,1
 */
#include "litmus.h"

static uint64_t waiting;
static int memory;
static unsigned left, freed;

static void *
taker(void *unused)
{
	memory = 1;
	(void)queue_impl_fetch_add_acq_rel(&waiting, (uint64_t)-1); /* FEED2 release */
	return unused;
}

static void *
destroyer(void *unused)
{
	left = queue_impl_load_acq(&waiting) == 0; /* FEED2 acquire */
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
	pthread_t taker_thread, destroyer_thread;

	queue_impl_store_rlx(&waiting, 1);
	memory = 0;
	(void)pthread_create(&taker_thread, NULL, taker, NULL);
	(void)pthread_create(&destroyer_thread, NULL, destroyer, NULL);
	(void)pthread_join(taker_thread, NULL);
	(void)pthread_join(destroyer_thread, NULL);
	litmus_outcome(left, freed, (unsigned)memory);
	assert(!left || (freed == 1 && memory == 2));
	return 0;
}
