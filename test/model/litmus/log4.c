/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG4: who calls sync: all appended before -> committer: syncs that, via wanted_ticket.
 *
 *   syncer:     tail = 1; wanted_ticket + 1 (acquire and release)
 *   committer:  s = wanted_ticket (acquire); f = tail
 *
 * Outcomes (s, f, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   it is told synced without what was appended
 */
#include "litmus.h"

static uint64_t tail;
static uint64_t wanted_ticket;
static unsigned seen, found;

static void *
syncer(void *unused)
{
	queue_impl_store_rlx(&tail, 1);
	(void)queue_impl_fetch_add_acq_rel(&wanted_ticket, 1); /* LOG4 release */
	return unused;
}

static void *
committer(void *unused)
{
	seen = (unsigned)queue_impl_load_acq(&wanted_ticket); /* LOG4 acquire */
	found = (unsigned)queue_impl_load_rlx(&tail);
	return unused;
}

int
main(void)
{
	pthread_t syncer_thread, committer_thread;

	queue_impl_store_rlx(&tail, 0);
	queue_impl_store_rlx(&wanted_ticket, 0);
	(void)pthread_create(&syncer_thread, NULL, syncer, NULL);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_join(syncer_thread, NULL);
	(void)pthread_join(committer_thread, NULL);
	litmus_outcome(seen, found, 0);
	assert(!seen || found);
	return 0;
}
