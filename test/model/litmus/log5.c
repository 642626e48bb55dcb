/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG5: committer: it is synced -> who called sync: says so, via told_ticket.
 *
 *   committer:  durable = 1; told_ticket = 1 (release)
 *   syncer:     s = told_ticket (acquire); f = durable
 *
 * Outcomes (s, f, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   it is said to be synced and does not look so
 */
#include "litmus.h"

static uint64_t durable;
static uint64_t told_ticket;
static unsigned seen, found;

static void *
committer(void *unused)
{
	queue_impl_store_rlx(&durable, 1);
	queue_impl_store_rel(&told_ticket, 1); /* LOG5 release */
	return unused;
}

static void *
syncer(void *unused)
{
	seen = (unsigned)queue_impl_load_acq(&told_ticket); /* LOG5 acquire */
	found = (unsigned)queue_impl_load_rlx(&durable);
	return unused;
}

int
main(void)
{
	pthread_t committer_thread, syncer_thread;

	queue_impl_store_rlx(&durable, 0);
	queue_impl_store_rlx(&told_ticket, 0);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_create(&syncer_thread, NULL, syncer, NULL);
	(void)pthread_join(committer_thread, NULL);
	(void)pthread_join(syncer_thread, NULL);
	litmus_outcome(seen, found, 0);
	assert(!seen || found);
	return 0;
}
