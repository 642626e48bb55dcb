/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TOPIC4: publish: pushes -> statistics: queue's figures, via published. Who reads first how many messages
 * were published finds at least as many of them in the queue.
 *
 *   publisher:  tail + 1 (a push); published + 1
 *   reader:     p = published (acquire); t = tail
 *
 * Outcomes (published, tail, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   published, but it never went in
 */
#include "litmus.h"

static uint64_t published, tail;
static unsigned counted, found;

static void *
publisher(void *unused)
{
	queue_impl_store_rel(&tail, 1);
	(void)queue_impl_fetch_add_acq_rel(&published, 1); /* TOPIC4 release */
	return unused;
}

static void *
reader(void *unused)
{
	counted = (unsigned)queue_impl_load_acq(&published); /* TOPIC4 acquire */
	found = (unsigned)queue_impl_load_rlx(&tail);
	return unused;
}

int
main(void)
{
	pthread_t publisher_thread, reader_thread;

	queue_impl_store_rlx(&published, 0);
	queue_impl_store_rlx(&tail, 0);
	(void)pthread_create(&publisher_thread, NULL, publisher, NULL);
	(void)pthread_create(&reader_thread, NULL, reader, NULL);
	(void)pthread_join(publisher_thread, NULL);
	(void)pthread_join(reader_thread, NULL);
	litmus_outcome(counted, found, 0);
	assert(found >= counted);
	return 0;
}
