/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DESCRIPTOR2: queue_fd: the number -> push, pop use it, via not_empty, careful: the owner's flag.
 *
 *   opener:  number: 0 -> 7 (swap); careful: 0 -> watched (swap)
 *   pusher:  c = careful (acquire); if watched: n = number
 *
 * Outcomes (watched, number, 0):
 *   allowed    0,0,0
 *   allowed    1,7,0
 *   forbidden  1,0,0   the flag came before the number
 */
#include "litmus.h"

static uint32_t number, careful;
static unsigned watched, used;

static void *
opener(void *unused)
{
	uint32_t none = 0, plain = 0;

	(void)queue_impl_cas32_acq_rel(&number, &none, 7);   /* DESCRIPTOR2 release */
	(void)queue_impl_cas32_acq_rel(&careful, &plain, 2); /* DESCRIPTOR2 release */
	return unused;
}

static void *
pusher(void *unused)
{
	used = 0;
	watched = queue_impl_load32_acq(&careful) != 0; /* DESCRIPTOR2 acquire */
	if (watched)
		used = queue_impl_load32_rlx(&number);
	return unused;
}

int
main(void)
{
	pthread_t opener_thread, pusher_thread;

	queue_impl_store32_rlx(&number, 0);
	queue_impl_store32_rlx(&careful, 0);
	(void)pthread_create(&opener_thread, NULL, opener, NULL);
	(void)pthread_create(&pusher_thread, NULL, pusher, NULL);
	(void)pthread_join(opener_thread, NULL);
	(void)pthread_join(pusher_thread, NULL);
	litmus_outcome(watched, used, 0);
	assert(!watched || used == 7);
	return 0;
}
