/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CALL3: either: last use, release -> options.release, via references.
 *
 *   both:  use the call; references - 1; the last one frees
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
	if (queue_impl_fetch_add32_acq_rel(&references, UINT32_MAX) != 1) /* CALL3 both */
		return;
	/* The last one: what both did is seen. */
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
