/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RING5: close -> push refused, pop may seal, via mode. What the closer did before, such as the last push
 * of a single producer, is seen by the pop that says that the ring is closed.
 *
 *   closer:  slot.seq = 1 (release); mode = closed (by a swap)
 *   popper:  m = mode (acquire); seq = slot.seq (acquire); closed and not filled: it is the end
 *
 * Outcomes (closed, seq, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   the end was told while an item was left
 */
#include "litmus.h"

static uint64_t slot_seq, mode;
static uint64_t closed, seq;

static void *
closer(void *unused)
{
	uint64_t was = 0;

	queue_impl_store_rel(&slot_seq, 1);	      /* RING1 release */
	(void)queue_impl_cas_acq_rel(&mode, &was, 1); /* RING5 release */
	return unused;
}

static void *
popper(void *unused)
{
	closed = queue_impl_load_acq(&mode);  /* RING5 acquire */
	seq = queue_impl_load_acq(&slot_seq); /* RING1 acquire */
	return unused;
}

int
main(void)
{
	pthread_t closer_thread, popper_thread;

	queue_impl_store_rlx(&slot_seq, 0);
	queue_impl_store_rlx(&mode, 0);
	(void)pthread_create(&closer_thread, NULL, closer, NULL);
	(void)pthread_create(&popper_thread, NULL, popper, NULL);
	(void)pthread_join(closer_thread, NULL);
	(void)pthread_join(popper_thread, NULL);
	litmus_outcome((unsigned)closed, (unsigned)seq, 0);
	assert(closed == 0 || seq == 1);
	return 0;
}
