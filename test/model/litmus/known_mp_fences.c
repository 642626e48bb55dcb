/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answer: message passing, with a release and an acquire fence.
 *
 *   writer:  x = 1; y = 1      reader:  a = y; b = x
 *
 * Outcomes (a, b, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0
 */
#include "litmus.h"

static unsigned x, y, a, b;

static void *
writer(void *unused)
{
	__atomic_store_n(&x, 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	__atomic_store_n(&y, 1, __ATOMIC_RELAXED);
	return unused;
}

static void *
reader(void *unused)
{
	a = __atomic_load_n(&y, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	b = __atomic_load_n(&x, __ATOMIC_RELAXED);
	return unused;
}

int
main(void)
{
	pthread_t writer_thread, reader_thread;

	x = 0;
	y = 0;
	(void)pthread_create(&writer_thread, NULL, writer, NULL);
	(void)pthread_create(&reader_thread, NULL, reader, NULL);
	(void)pthread_join(writer_thread, NULL);
	(void)pthread_join(reader_thread, NULL);
	litmus_outcome(a, b, 0);
	assert(a == 0 || b == 1);
	return 0;
}
