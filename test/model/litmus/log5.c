/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG5: committer: synced, or refused -> who called sync: says so, via synced_ticket.
 *
 *   committer:  refused = 1; synced_ticket = 1 (release)
 *   syncer:     s = synced_ticket (acquire); f = refused
 *
 * Outcomes (s, f, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   what was refused is taken for synced
 */
#include "litmus.h"

static uint64_t refused;
static uint64_t synced_ticket;
static unsigned seen, found;

static void *
committer(void *unused)
{
	queue_impl_store_rlx(&refused, 1);
	queue_impl_store_rel(&synced_ticket, 1); /* LOG5 release */
	return unused;
}

static void *
syncer(void *unused)
{
	seen = (unsigned)queue_impl_load_acq(&synced_ticket); /* LOG5 acquire */
	found = (unsigned)queue_impl_load_rlx(&refused);
	return unused;
}

int
main(void)
{
	pthread_t committer_thread, syncer_thread;

	queue_impl_store_rlx(&refused, 0);
	queue_impl_store_rlx(&synced_ticket, 0);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_create(&syncer_thread, NULL, syncer, NULL);
	(void)pthread_join(committer_thread, NULL);
	(void)pthread_join(syncer_thread, NULL);
	litmus_outcome(seen, found, 0);
	assert(!seen || found);
	return 0;
}
