/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An epoch between a reader and a thread that unlinks what the reader may look at, and writes to it
 * as soon as it may be freed.
 *
 *	readers BARRIER CROWD
 *
 * BARRIER: 1, there is membarrier(2), or 0: then readers have fences. CROWD: 1, the reader has no
 * record.
 */
#include "explorer.h"
#include "machine.h"

/* All of it, for what is its own. */
#include "epoch.c"

#include <pthread.h>

struct thing {
	int value;
};

static struct thing things[2];
static struct queue_impl_reader record;
static uint64_t word; /* points to a thing */
static bool in_crowd;

static void *
read_it(void *nothing)
{
	struct queue_impl_reader *reader = NULL;
	const struct thing *thing;

	if (in_crowd) {
		queue_impl_epoch_join_crowd();
	} else {
		queue_impl_reader_of_thread = &record;
		reader = queue_impl_epoch_enter();
	}
	thing = (const struct thing *)(uintptr_t)queue_impl_load_acq(&word);
	explorer_assert(thing->value == 1);
	queue_impl_epoch_leave(reader);
	return nothing;
}

static void *
replace_it(void *nothing)
{
	uint64_t retired;

	queue_impl_store_rel(&word, (uint64_t)(uintptr_t)&things[1]);
	retired = queue_impl_epoch_retire();
	if (retired <= queue_impl_epoch_oldest())
		things[0].value = 2;
	return nothing;
}

int
main(void)
{
	pthread_t reader, writer;

	explorer_thread_local(&queue_impl_reader_of_thread, sizeof queue_impl_reader_of_thread);
	machine_has_barrier = explorer_argument(0)[0] == '1';
	in_crowd = explorer_argument(1)[0] == '1';
	queue_impl_epoch_fence = !machine_has_barrier;
	things[0].value = things[1].value = 1;
	word = (uint64_t)(uintptr_t)&things[0];
	record.claimed = 1;
	readers = (uint64_t)(uintptr_t)&record;
	(void)pthread_create(&reader, NULL, read_it, NULL);
	(void)pthread_create(&writer, NULL, replace_it, NULL);
	(void)pthread_join(reader, NULL);
	(void)pthread_join(writer, NULL);
	return 0;
}
