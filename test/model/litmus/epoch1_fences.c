/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * EPOCH1, where both sides have a fence: reader: epoch; fence; looks. Who frees: unlinked, new epoch; fence; the
 * reader's epoch looked at. Either the reader does not find it any more, or it is seen inside.
 *
 *   reader:   inside = epoch; fence; p = word; if it is there: uses it; inside = 0 (release)
 *   freer:    word = 0 (release); epoch + 1; fence; i = inside (acquire); 0, or not older: frees
 *
 * Outcomes (the reader found it, it was freed meanwhile, found freed):
 *   allowed    0,0,0
 *   allowed    0,1,0
 *   allowed    1,0,0
 *   allowed    1,1,0   it had left (EPOCH2)
 *   forbidden  1,1,1   used after it was freed
 */
#include "litmus.h"

static uint64_t epoch, inside, word;
static unsigned memory; /* 1: freed */
static unsigned found, freed, bad;

static void *
reader(void *unused)
{
	found = bad = 0;
	queue_impl_store_rel(&inside, queue_impl_load_acq(&epoch));
	queue_impl_fence_full(); /* EPOCH1 reader */
	if (queue_impl_load_acq(&word) != 0) {
		found = 1;
		bad = memory;
	}
	queue_impl_store_rel(&inside, 0); /* EPOCH2 release */
	return unused;
}

static void *
freer(void *unused)
{
	uint64_t retired, oldest;

	queue_impl_store_rel(&word, 0);
	retired = queue_impl_fetch_add_acq_rel(&epoch, 1) + 1;
	queue_impl_fence_full();	       /* EPOCH1 */
	oldest = queue_impl_load_acq(&inside); /* EPOCH2 acquire */
	freed = oldest == 0 || oldest >= retired;
	if (freed)
		memory = 1;
	return unused;
}

int
main(void)
{
	pthread_t reader_thread, freer_thread;

	queue_impl_store_rlx(&epoch, 1);
	queue_impl_store_rlx(&inside, 0);
	queue_impl_store_rlx(&word, 1);
	memory = 0;
	(void)pthread_create(&reader_thread, NULL, reader, NULL);
	(void)pthread_create(&freer_thread, NULL, freer, NULL);
	(void)pthread_join(reader_thread, NULL);
	(void)pthread_join(freer_thread, NULL);
	litmus_outcome(found, freed, bad);
	assert(!bad);
	return 0;
}
