/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG7: who closes: all appended before -> committer: writes it, via closing.
 *
 *   closer:     tail = 1; closing = 1 (release)
 *   committer:  s = closing (acquire); f = tail
 *
 * Outcomes (s, f, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   what was appended is not written
 */
#include "litmus.h"

static uint64_t tail;
static uint32_t closing;
static unsigned seen, found;

static void *
closer(void *unused)
{
	queue_impl_store_rlx(&tail, 1);
	queue_impl_store32_rel(&closing, 1); /* LOG7 release */
	return unused;
}

static void *
committer(void *unused)
{
	seen = (unsigned)queue_impl_load32_acq(&closing); /* LOG7 acquire */
	found = (unsigned)queue_impl_load_rlx(&tail);
	return unused;
}

int
main(void)
{
	pthread_t closer_thread, committer_thread;

	queue_impl_store_rlx(&tail, 0);
	queue_impl_store32_rlx(&closing, 0);
	(void)pthread_create(&closer_thread, NULL, closer, NULL);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_join(closer_thread, NULL);
	(void)pthread_join(committer_thread, NULL);
	litmus_outcome(seen, found, 0);
	assert(!seen || found);
	return 0;
}
