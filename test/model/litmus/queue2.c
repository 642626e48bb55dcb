/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QUEUE2: waiter: last access -> fini frees, via waiting_to_push and waiting_to_pop.
 *
 *   waiter:  uses the queue; waiting - 1
 *   fini:    if waiting (acquire) is 0: frees
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
waiter(void *unused)
{
	memory = 1;
	(void)queue_impl_fetch_add_acq_rel(&waiting, (uint64_t)-1); /* QUEUE2 release */
	return unused;
}

static void *
fini(void *unused)
{
	left = queue_impl_load_acq(&waiting) == 0; /* QUEUE2 acquire */
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
	pthread_t waiter_thread, fini_thread;

	queue_impl_store_rlx(&waiting, 1);
	memory = 0;
	(void)pthread_create(&waiter_thread, NULL, waiter, NULL);
	(void)pthread_create(&fini_thread, NULL, fini, NULL);
	(void)pthread_join(waiter_thread, NULL);
	(void)pthread_join(fini_thread, NULL);
	litmus_outcome(left, freed, (unsigned)memory);
	assert(!left || (freed == 1 && memory == 2));
	return 0;
}
