/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TOPIC2: holder: last use, release -> message's release, via references. Who finds that his is the only
 * reference left does not swap.
 *
 *   both:  use the message; if references (acquire) is 1, or was when one was taken off: frees
 *
 * Outcomes (how often freed, uses seen then, 0):
 *   allowed    1,2,0
 *   forbidden  0,0,0
 *   forbidden  2,2,0
 *   forbidden  1,1,0   freed while the other used it
 */
#include "litmus.h"

static uint32_t references;
static int memory[2];
static unsigned ends, found;

static void
release(unsigned number)
{
	memory[number] = 1;
	if (queue_impl_load32_acq(&references) != 1 &&			  /* TOPIC2 acquire */
	    queue_impl_fetch_add32_acq_rel(&references, UINT32_MAX) != 1) /* TOPIC2 both */
		return;
	ends++;
	found = (unsigned)(memory[0] + memory[1]);
}

static void *
first(void *unused)
{
	release(0);
	return unused;
}

static void *
second(void *unused)
{
	release(1);
	return unused;
}

int
main(void)
{
	pthread_t first_thread, second_thread;

	queue_impl_store32_rlx(&references, 2);
	ends = found = 0;
	memory[0] = memory[1] = 0;
	(void)pthread_create(&first_thread, NULL, first, NULL);
	(void)pthread_create(&second_thread, NULL, second, NULL);
	(void)pthread_join(first_thread, NULL);
	(void)pthread_join(second_thread, NULL);
	litmus_outcome(ends, found, 0);
	assert(ends == 1 && found == 2);
	return 0;
}
