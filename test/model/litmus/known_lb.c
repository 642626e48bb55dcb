/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answer: load buffering, relaxed. C11 allows 1,1,0; the explorer, in which loads see what has
 * been written only, does not find it, like RC11. No processor that the library runs on is known to show
 * it where the store depends on nothing but the program's order; the compilers do not reorder atomics.
 *
 *   first:   a = x; y = 1      second:  b = y; x = 1
 *
 * Outcomes (a, b, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,0,0
 *   hole       1,1,0
 */
#include "litmus.h"

static unsigned x, y, a, b;

static void *
first(void *unused)
{
	a = __atomic_load_n(&x, __ATOMIC_RELAXED);
	__atomic_store_n(&y, 1, __ATOMIC_RELAXED);
	return unused;
}

static void *
second(void *unused)
{
	b = __atomic_load_n(&y, __ATOMIC_RELAXED);
	__atomic_store_n(&x, 1, __ATOMIC_RELAXED);
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
	return 0;
}
