/* SPDX-License-Identifier: BSD-2-Clause */
#include "epoch_impl.h"

#include "wait_impl.h"

#include <conveyor/alloc.h>

#include <errno.h>
#include <pthread.h>

_Thread_local struct queue_impl_reader *queue_impl_reader_of_thread;
uint64_t queue_impl_epoch = 1;
uint32_t queue_impl_epoch_fence;

static uint64_t readers; /* the first of all records there have ever been; a pointer */
static uint64_t crowd;	 /* readers without a record that are inside */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool has_key;

static struct queue_impl_reader *
first_reader(void)
{
	return (struct queue_impl_reader *)(uintptr_t)queue_impl_load_acq(&readers);
}

/* At a thread's end: the record is there for another thread. */
static void
unregister(void *record)
{
	struct queue_impl_reader *reader = record;

	queue_impl_reader_of_thread = NULL;
	reader->depth = 0;
	queue_impl_store_rel(&reader->epoch, 0);
	queue_impl_store32_rel(&reader->claimed, 0); /* what the next owner claims */
}

static void
prepare(void)
{
	queue_impl_store32_rlx(&queue_impl_epoch_fence, !queue_impl_barrier_available());
	has_key = pthread_key_create(&key, unregister) == 0;
}

void
queue_impl_epoch_prepare(void)
{
	(void)pthread_once(&once, prepare);
}

static struct queue_impl_reader *
claim(void)
{
	struct queue_impl_reader *reader;

	for (reader = first_reader(); reader; reader = reader->next) {
		uint32_t free = 0;

		if (queue_impl_cas32_acq_rel(&reader->claimed, &free, 1))
			return reader;
	}
	return NULL;
}

/* Records are never freed: there are as many as there have been threads at the same time. */
static struct queue_impl_reader *
make(void)
{
	struct queue_impl_reader *reader = queue_allocator_libc.allocate(
		NULL, sizeof *reader, _Alignof(struct queue_impl_reader));
	uint64_t first;

	if (!reader)
		return NULL;
	reader->epoch = 0;
	reader->depth = 0;
	reader->claimed = 1;
	do {
		reader->next = first_reader();
		first = (uint64_t)(uintptr_t)reader->next;
		reader->number = reader->next ? reader->next->number + 1 : 0;
	} while (!queue_impl_cas_acq_rel(&readers, &first, (uint64_t)(uintptr_t)reader));
	return reader;
}

queue_impl_cold struct queue_impl_reader *
queue_impl_epoch_register(void)
{
	int saved = errno; /* which allocation may touch */
	struct queue_impl_reader *reader = NULL;

	if (has_key && (reader = claim()) == NULL)
		reader = make();
	/* Without this nobody would give the record back. */
	if (reader && pthread_setspecific(key, reader) != 0) {
		queue_impl_store32_rel(&reader->claimed, 0);
		reader = NULL;
	}
	queue_impl_reader_of_thread = reader;
	errno = saved;
	return reader;
}

void
queue_impl_epoch_join_crowd(void)
{
	(void)queue_impl_fetch_add_acq_rel(&crowd, 1);
	queue_impl_fence_after_rmw(); /* EPOCH1 reader */
}

void
queue_impl_epoch_leave_crowd(void)
{
	(void)queue_impl_fetch_add_acq_rel(&crowd, UINT64_MAX); /* EPOCH2 release */
}

uint64_t
queue_impl_epoch_retire(void)
{
	return queue_impl_fetch_add_acq_rel(&queue_impl_epoch, 1) + 1;
}

uint64_t
queue_impl_epoch_oldest(void)
{
	uint64_t oldest = queue_impl_load_acq(&queue_impl_epoch);
	const struct queue_impl_reader *reader;

	queue_impl_fence_full(); /* EPOCH1 */
	/* Should it be taken away from a process that had it, nothing is freed any more. */
	if (!queue_impl_load32_rlx(&queue_impl_epoch_fence) && !queue_impl_barrier())
		return 0;
	if (queue_impl_load_acq(&crowd) != 0) /* EPOCH2 acquire */
		return 0;
	for (reader = first_reader(); reader; reader = reader->next) {
		uint64_t epoch = queue_impl_load_acq(&reader->epoch); /* EPOCH2 acquire */

		if (epoch != 0 && epoch < oldest)
			oldest = epoch;
	}
	return oldest;
}
