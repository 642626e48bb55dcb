/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * LOG2: committer: written, synced -> append, wait, read, via durable. The file's page is memory too,
 * which the committer's system call fills and the reader's looks at.
 *
 *   committer:  page = 1; durable = 1 (release)
 *   reader:     d = durable (acquire); if it is durable: p = page
 *
 * Outcomes (d, p, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   what is durable cannot be read
 */
#include "litmus.h"

static uint64_t page, durable;
static unsigned seen, read;

static void *
committer(void *unused)
{
	queue_impl_store_rlx(&page, 1);
	queue_impl_store_rel(&durable, 1); /* LOG2 release */
	return unused;
}

static void *
reader(void *unused)
{
	read = 0;
	seen = (unsigned)queue_impl_load_acq(&durable); /* LOG2 acquire */
	if (seen)
		read = (unsigned)queue_impl_load_rlx(&page);
	return unused;
}

int
main(void)
{
	pthread_t committer_thread, reader_thread;

	queue_impl_store_rlx(&page, 0);
	queue_impl_store_rlx(&durable, 0);
	(void)pthread_create(&committer_thread, NULL, committer, NULL);
	(void)pthread_create(&reader_thread, NULL, reader, NULL);
	(void)pthread_join(committer_thread, NULL);
	(void)pthread_join(reader_thread, NULL);
	litmus_outcome(seen, read, 0);
	assert(!seen || read == 1);
	return 0;
}
