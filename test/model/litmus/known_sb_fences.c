/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answer: store buffering, with full fences in between.
 *
 *   first:   x = 1; a = y      second:  y = 1; b = x
 *
 * Outcomes (a, b, 0):
 *   allowed    0,1,0
 *   allowed    1,0,0
 *   allowed    1,1,0
 *   forbidden  0,0,0
 */
#include "litmus.h"

static unsigned x, y, a, b;

static void *
first(void *unused)
{
	__atomic_store_n(&x, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	a = __atomic_load_n(&y, __ATOMIC_RELAXED);
	return unused;
}

static void *
second(void *unused)
{
	__atomic_store_n(&y, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	b = __atomic_load_n(&x, __ATOMIC_RELAXED);
	return unused;
}

int
main(void)
{
	pthread_t first_thread, second_thread;

	x = 0;
	y = 0;
	(void)pthread_create(&first_thread, NULL, first, NULL);
	(void)pthread_create(&second_thread, NULL, second, NULL);
	(void)pthread_join(first_thread, NULL);
	(void)pthread_join(second_thread, NULL);
	litmus_outcome(a, b, 0);
	assert(a == 1 || b == 1);
	return 0;
}
