/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answer: two writes each to two locations, sequentially consistent. What is left in the end:
 *
 *   first:   x = 1; y = 2      second:  y = 1; x = 2
 *
 * Outcomes (x, y, 0):
 *   allowed    1,2,0
 *   allowed    2,1,0
 *   allowed    2,2,0
 *   forbidden  1,1,0
 */
#include "litmus.h"

static unsigned x, y;

static void *
first(void *unused)
{
	__atomic_store_n(&x, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&y, 2, __ATOMIC_SEQ_CST);
	return unused;
}

static void *
second(void *unused)
{
	__atomic_store_n(&y, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&x, 2, __ATOMIC_SEQ_CST);
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
	litmus_outcome(x, y, 0);
	assert(x == 2 || y == 2);
	return 0;
}
