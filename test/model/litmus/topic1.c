/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TOPIC1: subscribe: subscription -> publish uses it, via snapshot (the topic's word).
 *
 *   subscriber:  subscription = 1; word = snapshot (release)
 *   publisher:   w = word (acquire); if there is one: uses the subscription
 *
 * Outcomes (seen, subscription, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   a subscription half made
 */
#include "litmus.h"

static uint64_t word;
static int subscription;
static unsigned seen, used;

static void *
subscriber(void *unused)
{
	subscription = 1;
	queue_impl_store_rel(&word, 1); /* TOPIC1 release */
	return unused;
}

static void *
publisher(void *unused)
{
	used = 0;
	seen = queue_impl_load_acq(&word) != 0; /* TOPIC1 acquire */
	if (seen)
		used = (unsigned)subscription;
	return unused;
}

int
main(void)
{
	pthread_t subscriber_thread, publisher_thread;

	queue_impl_store_rlx(&word, 0);
	subscription = 0;
	(void)pthread_create(&subscriber_thread, NULL, subscriber, NULL);
	(void)pthread_create(&publisher_thread, NULL, publisher, NULL);
	(void)pthread_join(subscriber_thread, NULL);
	(void)pthread_join(publisher_thread, NULL);
	litmus_outcome(seen, used, 0);
	assert(!seen || used == 1);
	return 0;
}
