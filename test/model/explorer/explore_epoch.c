/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Epochs as they are in lib/, for the explorer.
 *
 *	epoch fence|barrier READERS [crowd]
 *
 * Readers enter, look, use what they find, and leave, twice; a thread unlinks it and frees it if it
 * may. What is freed is overwritten: the explorer reports a data race if a reader was still using
 * it. fence: membarrier(2) is not there. crowd: readers cannot have a record of their own.
 */
#include "explorer.h"
#include "machine.h"

#include "epoch_impl.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define READERS_MAX 3

static uint64_t word;
static int thing;
static unsigned freed;
static unsigned found[READERS_MAX];

static void
look(unsigned *n)
{
	struct queue_impl_reader *reader = queue_impl_epoch_enter();
	const int *at = (const int *)(uintptr_t)queue_impl_load_acq(&word);

	if (at) {
		explorer_assert(*at == 1);
		++*n;
	}
	queue_impl_epoch_leave(reader);
}

static void *
reader_main(void *argument)
{
	look((unsigned *)argument);
	look((unsigned *)argument);
	return NULL;
}

static void *
freer_main(void *unused)
{
	uint64_t retired;

	queue_impl_store_rel(&word, 0);
	retired = queue_impl_epoch_retire();
	if (queue_impl_epoch_oldest() >= retired) {
		thing = 2;
		freed = 1;
	}
	return unused;
}

const char program_usage[] = " WORLD READERS [crowd]\n"
			     "\n"
			     "  WORLD    fence: membarrier(2) is not there; barrier: it is\n"
			     "  READERS  threads that read, 1 to 3, beside one that frees\n"
			     "  crowd    readers cannot have a record of their own\n";

void
program_check(void)
{
	const char *const words[] = {"crowd", NULL};

	explorer_need_world(0, "");
	explorer_need_number(1, "READERS", 1, READERS_MAX);
	if (explorer_argument(2))
		explorer_need_word(2, "the third argument", words);
	explorer_need_no_more(3);
}

int
main(void)
{
	pthread_t readers[READERS_MAX], freer;
	unsigned n = (unsigned)(explorer_argument(1)[0] - '0'), i, total = 0;
	char text[32];

	machine_has_barrier = strcmp(explorer_argument(0), "barrier") == 0;
	machine_has_no_keys = explorer_argument(2) != NULL;
	explorer_thread_local(&queue_impl_reader_of_thread, sizeof queue_impl_reader_of_thread);
	explorer_name(&word, "word");
	explorer_name(&queue_impl_epoch, "epoch");
	queue_impl_epoch_prepare();
	thing = 1;
	freed = 0;
	queue_impl_store_rlx(&word, (uint64_t)(uintptr_t)&thing);
	for (i = 0; i < n; i++) {
		found[i] = 0;
		(void)pthread_create(&readers[i], NULL, reader_main, &found[i]);
	}
	(void)pthread_create(&freer, NULL, freer_main, NULL);
	for (i = 0; i < n; i++) {
		(void)pthread_join(readers[i], NULL);
		total += found[i];
	}
	(void)pthread_join(freer, NULL);
	(void)snprintf(text, sizeof text, "found %u freed %u", total, freed);
	explorer_outcome(text);
	return 0;
}
