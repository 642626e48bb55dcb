/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answer: coherence of two loads from one location, relaxed.
 *
 *   writer:  x = 1; x = 2      reader:  a = x; b = x
 *
 * Outcomes (a, b, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    0,2,0
 *   allowed    1,1,0
 *   allowed    1,2,0
 *   allowed    2,2,0
 *   forbidden  1,0,0
 *   forbidden  2,0,0
 *   forbidden  2,1,0
 */
#include "litmus.h"

static unsigned x, a, b;

static void *
writer(void *unused)
{
	__atomic_store_n(&x, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&x, 2, __ATOMIC_RELAXED);
	return unused;
}

static void *
reader(void *unused)
{
	a = __atomic_load_n(&x, __ATOMIC_RELAXED);
	b = __atomic_load_n(&x, __ATOMIC_RELAXED);
	return unused;
}

int
main(void)
{
	pthread_t writer_thread, reader_thread;

	x = 0;
	(void)pthread_create(&writer_thread, NULL, writer, NULL);
	(void)pthread_create(&reader_thread, NULL, reader, NULL);
	(void)pthread_join(writer_thread, NULL);
	(void)pthread_join(reader_thread, NULL);
	litmus_outcome(a, b, 0);
	assert(a <= b);
	return 0;
}
