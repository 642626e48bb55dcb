/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * FEED1: tokens pushed -> take pops them, via ready. Who is granted a token by ready finds it in the ring.
 *
 *   maker:  slot.seq = 1 (release); ready + 1
 *   taker:  r = ready (acquire); if 1, swap 1 -> 0; then seq = slot.seq
 *
 * Outcomes (granted, seq, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   granted what is not there
 */
#include "litmus.h"

static uint64_t slot_seq, ready;
static unsigned granted, seq;

static void *
maker(void *unused)
{
	queue_impl_store_rel(&slot_seq, 1);
	(void)queue_impl_fetch_add_acq_rel(&ready, 1); /* FEED1 release */
	return unused;
}

static void *
taker(void *unused)
{
	uint64_t seen = queue_impl_load_acq(&ready);

	seq = 0;
	granted = seen == 1 && queue_impl_cas_acq_rel(&ready, &seen, 0); /* FEED1 acquire */
	if (granted)
		seq = (unsigned)queue_impl_load_rlx(&slot_seq);
	return unused;
}

int
main(void)
{
	pthread_t maker_thread, taker_thread;

	queue_impl_store_rlx(&slot_seq, 0);
	queue_impl_store_rlx(&ready, 0);
	(void)pthread_create(&maker_thread, NULL, maker, NULL);
	(void)pthread_create(&taker_thread, NULL, taker, NULL);
	(void)pthread_join(maker_thread, NULL);
	(void)pthread_join(taker_thread, NULL);
	litmus_outcome(granted, seq, 0);
	assert(!granted || seq == 1);
	return 0;
}
