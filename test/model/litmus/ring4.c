/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING4: pop: item read -> push: slot reused, via head. The popper reads the item, then moves head; a
 * pusher that finds room overwrites the slot.
 *
 *   popper:  item = slot.item; head = 1 (by a swap)
 *   pusher:  taken = head (acquire); if it is 1: slot.item = 2
 *
 * Outcomes (taken, item, 0):
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,2,0   the popper took what came later
 */
#include "litmus.h"

static uint64_t slot_item, head;
static uint64_t taken, item;

static void *
popper(void *unused)
{
	uint64_t position = 0;

	item = queue_impl_load_rlx(&slot_item);
	(void)queue_impl_cas_acq_rel(&head, &position, 1); /* RING4 release */
	return unused;
}

static void *
pusher(void *unused)
{
	taken = queue_impl_load_acq(&head); /* RING4 acquire */
	if (taken)
		queue_impl_store_rlx(&slot_item, 2);
	return unused;
}

int
main(void)
{
	pthread_t popper_thread, pusher_thread;

	queue_impl_store_rlx(&slot_item, 1);
	queue_impl_store_rlx(&head, 0);
	(void)pthread_create(&popper_thread, NULL, popper, NULL);
	(void)pthread_create(&pusher_thread, NULL, pusher, NULL);
	(void)pthread_join(popper_thread, NULL);
	(void)pthread_join(pusher_thread, NULL);
	litmus_outcome((unsigned)taken, (unsigned)item, 0);
	assert(item == 1);
	return 0;
}
