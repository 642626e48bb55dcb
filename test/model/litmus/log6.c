/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG6: committer: the last that is stored -> reader: there is no more, via failed.
 *
 *   committer:  written = 1; failed = 1 (release)
 *   reader:     s = failed (acquire); f = written
 *
 * Outcomes (s, f, 0):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   a message that is stored is left out
 */
#include "litmus.h"

static uint64_t written;
static uint32_t failed;
static unsigned seen, found;

static void *
committer(void *unused)
{
	queue_impl_store_rlx(&written, 1);
	queue_impl_store32_rel(&failed, 1); /* LOG6 release */
	return unused;
}

static void *
reader(void *unused)
{
	seen = (unsigned)queue_impl_load32_acq(&failed); /* LOG6 acquire */
	found = (unsigned)queue_impl_load_rlx(&written);
	return unused;
}

int
main(void)
{
	pthread_t committer_thread, reader_thread;

	queue_impl_store_rlx(&written, 0);
	queue_impl_store32_rlx(&failed, 0);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_create(&reader_thread, NULL, reader, NULL);
	(void)pthread_join(committer_thread, NULL);
	(void)pthread_join(reader_thread, NULL);
	litmus_outcome(seen, found, 0);
	assert(!seen || found);
	return 0;
}
