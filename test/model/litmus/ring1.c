/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING1, a push that is alone: item bytes -> pop reads them, via slot.seq.
 *
 *   pusher:  bytes = 1; slot.item = 1; slot.seq = 1 (release)
 *   popper:  seq = slot.seq (acquire); if it is 1: item = slot.item, reads the bytes
 *
 * Outcomes (seq, item, bytes):
 *   allowed    0,0,0
 *   allowed    1,1,1
 *   forbidden  1,0,0   the seq came before the item
 *   forbidden  1,1,0   the item came before its bytes
 */
#include "litmus.h"

static uint64_t slot_seq, slot_item;
static int bytes;
static uint64_t seen, item, value;

static void *
pusher(void *unused)
{
	bytes = 1;
	queue_impl_store_rlx(&slot_item, 1);
	queue_impl_store_rel(&slot_seq, 1); /* RING1 release */
	return unused;
}

static void *
popper(void *unused)
{
	item = value = 0;
	seen = queue_impl_load_acq(&slot_seq); /* RING1 acquire */
	if (seen) {
		item = queue_impl_load_rlx(&slot_item);
		value = (uint64_t)bytes;
	}
	return unused;
}

int
main(void)
{
	pthread_t pusher_thread, popper_thread;

	queue_impl_store_rlx(&slot_seq, 0);
	queue_impl_store_rlx(&slot_item, 0);
	bytes = 0;
	(void)pthread_create(&pusher_thread, NULL, pusher, NULL);
	(void)pthread_create(&popper_thread, NULL, popper, NULL);
	(void)pthread_join(pusher_thread, NULL);
	(void)pthread_join(popper_thread, NULL);
	litmus_outcome((unsigned)seen, (unsigned)item, (unsigned)value);
	assert(seen == 0 || (item == 1 && value == 1));
	return 0;
}
