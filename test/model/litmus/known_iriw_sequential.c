/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answer: independent reads of independent writes, sequentially consistent. The readers have seen
 * x alone, y alone, or both in either order; 1 in the outcome: they saw opposite orders.
 *
 *   writers:  x = 1 | y = 1      readers:  a = x; b = y | c = y; d = x
 *
 * Outcomes (opposite, 0, 0):
 *   allowed    0,0,0
 *   forbidden  1,0,0
 */
#include "litmus.h"

static unsigned x, y, a, b, c, d;

static void *
first_writer(void *unused)
{
	__atomic_store_n(&x, 1, __ATOMIC_SEQ_CST);
	return unused;
}

static void *
second_writer(void *unused)
{
	__atomic_store_n(&y, 1, __ATOMIC_SEQ_CST);
	return unused;
}

static void *
first_reader(void *unused)
{
	a = __atomic_load_n(&x, __ATOMIC_SEQ_CST);
	b = __atomic_load_n(&y, __ATOMIC_SEQ_CST);
	return unused;
}

static void *
second_reader(void *unused)
{
	c = __atomic_load_n(&y, __ATOMIC_SEQ_CST);
	d = __atomic_load_n(&x, __ATOMIC_SEQ_CST);
	return unused;
}

int
main(void)
{
	pthread_t first_writer_thread, second_writer_thread, first_reader_thread,
		second_reader_thread;

	x = 0;
	y = 0;
	(void)pthread_create(&first_writer_thread, NULL, first_writer, NULL);
	(void)pthread_create(&second_writer_thread, NULL, second_writer, NULL);
	(void)pthread_create(&first_reader_thread, NULL, first_reader, NULL);
	(void)pthread_create(&second_reader_thread, NULL, second_reader, NULL);
	(void)pthread_join(first_writer_thread, NULL);
	(void)pthread_join(second_writer_thread, NULL);
	(void)pthread_join(first_reader_thread, NULL);
	(void)pthread_join(second_reader_thread, NULL);
	litmus_outcome(a && !b && c && !d, 0, 0);
	assert(!(a && !b && c && !d));
	return 0;
}
