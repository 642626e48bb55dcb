/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING5, the seal: a push that looked before close, and a pop that looked after it, both change the slot by
 * a swap. One of them wins, and both know which.
 *
 *   pusher:  m = mode (acquire); if open: went_in = swap {0, 0} for {2, 1}
 *   popper:  mode = closed; sealed = swap {0, 0} for {1, 0}; if not: item = slot.item
 *
 * Outcomes (went in, sealed, item):
 *   allowed    0,1,0
 *   allowed    1,0,1
 *   forbidden  0,0,0   neither
 *   forbidden  1,1,0   accepted, and the end told before
 *   forbidden  1,1,1
 */
#include "litmus.h"

static struct litmus_pair slot;
static uint64_t mode;
static unsigned went_in, sealed, item;

static void *
pusher(void *unused)
{
	went_in = 0;
	if (queue_impl_load_acq(&mode) == 0)		       /* RING5 acquire */
		went_in = litmus_pair_swap(&slot, 0, 0, 2, 1); /* RING1 release */
	return unused;
}

static void *
popper(void *unused)
{
	uint64_t was = 0;

	item = 0;
	(void)queue_impl_cas_acq_rel(&mode, &was, 1);	/* RING5 release */
	sealed = litmus_pair_swap(&slot, 0, 0, 1, 0);	/* RING5 release */
	if (!sealed && litmus_pair_low_acq(&slot) == 2) /* RING1 acquire */
		item = (unsigned)litmus_pair_high_rlx(&slot);
	return unused;
}

int
main(void)
{
	pthread_t pusher_thread, popper_thread;

	litmus_pair_init(&slot, 0, 0);
	queue_impl_store_rlx(&mode, 0);
	(void)pthread_create(&pusher_thread, NULL, pusher, NULL);
	(void)pthread_create(&popper_thread, NULL, popper, NULL);
	(void)pthread_join(pusher_thread, NULL);
	(void)pthread_join(popper_thread, NULL);
	litmus_outcome(went_in, sealed, item);
	assert(went_in + sealed == 1);
	assert(item == went_in);
	return 0;
}
