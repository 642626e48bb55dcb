/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG1: append: the message's bytes -> committer: writes them, via the record's length.
 *
 *   producer:   bytes = 1; length = 1 (release)
 *   committer:  l = length (acquire); if it is there: b = bytes
 *
 * Outcomes (l, b, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   a record is written without its bytes
 */
#include "litmus.h"

static uint64_t bytes, length;
static unsigned seen, read;

static void *
producer(void *unused)
{
	queue_impl_store_rlx(&bytes, 1);
	queue_impl_store_rel(&length, 1); /* LOG1 release */
	return unused;
}

static void *
committer(void *unused)
{
	read = 0;
	seen = (unsigned)queue_impl_load_acq(&length); /* LOG1 acquire */
	if (seen)
		read = (unsigned)queue_impl_load_rlx(&bytes);
	return unused;
}

int
main(void)
{
	pthread_t producer_thread, committer_thread;

	queue_impl_store_rlx(&bytes, 0);
	queue_impl_store_rlx(&length, 0);
	(void)pthread_create(&producer_thread, NULL, producer, NULL);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_join(producer_thread, NULL);
	(void)pthread_join(committer_thread, NULL);
	litmus_outcome(seen, read, 0);
	assert(!seen || read == 1);
	return 0;
}
