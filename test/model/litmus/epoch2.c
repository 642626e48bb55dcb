/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * EPOCH2: reader: last look, leaves -> freed, via epoch and crowd. Here the crowd: readers without a record
 * of their own.
 *
 *   reader:  uses it; crowd - 1
 *   freer:   if crowd (acquire) is 0 and inside (acquire) is 0: frees
 *
 * Outcomes (freed, uses seen then, 0):
 *   allowed    0,0,0
 *   allowed    1,1,0
 *   forbidden  1,0,0   freed while it was used
 */
#include "litmus.h"

static uint64_t crowd;
static int memory;
static unsigned freed, found;

static void *
reader(void *unused)
{
	memory = 1;
	(void)queue_impl_fetch_add_acq_rel(&crowd, UINT64_MAX); /* EPOCH2 release */
	return unused;
}

static void *
freer(void *unused)
{
	found = 0;
	freed = queue_impl_load_acq(&crowd) == 0; /* EPOCH2 acquire */
	if (freed)
		found = (unsigned)memory;
	return unused;
}

int
main(void)
{
	pthread_t reader_thread, freer_thread;

	queue_impl_store_rlx(&crowd, 1);
	memory = 0;
	(void)pthread_create(&reader_thread, NULL, reader, NULL);
	(void)pthread_create(&freer_thread, NULL, freer, NULL);
	(void)pthread_join(reader_thread, NULL);
	(void)pthread_join(freer_thread, NULL);
	litmus_outcome(freed, found, 0);
	assert(!freed || found == 1);
	return 0;
}
