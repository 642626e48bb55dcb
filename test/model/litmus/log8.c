/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG8: who waited: last access -> close: frees, via waiting.
 *
 *   waiter:     uses the log; waiting - 1
 *   closer:     if waiting (acquire) is 0: frees
 * Outcomes (left, what it found, what is left there):
 *   allowed    0,0,1
 *   allowed    1,1,2
 *   forbidden  1,0,2   freed while it was used
 *   forbidden  1,0,1
 *   forbidden  1,1,1
 */
#include "litmus.h"

static uint32_t waiting;
static int memory;
static unsigned left, freed;

static void *
waiter(void *unused)
{
	memory = 1;
	(void)queue_impl_fetch_add32_acq_rel(&waiting, UINT32_MAX); /* LOG8 release */
	return unused;
}

static void *
closer(void *unused)
{
	left = queue_impl_load32_acq(&waiting) == 0; /* LOG8 acquire */
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
	pthread_t waiter_thread, closer_thread;

	queue_impl_store32_rlx(&waiting, 1);
	memory = 0;
	(void)pthread_create(&waiter_thread, NULL, waiter, NULL);
	(void)pthread_create(&closer_thread, NULL, closer, NULL);
	(void)pthread_join(waiter_thread, NULL);
	(void)pthread_join(closer_thread, NULL);
	litmus_outcome(left, freed, (unsigned)memory);
	assert(!left || (freed == 1 && memory == 2));
	return 0;
}
