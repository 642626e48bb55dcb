/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A message that several threads hold: each reads it and lets go, and whoever is last writes to it.
 *
 *	message THREADS
 */
#include "explorer.h"
#include "machine.h"

#include <conveyor/topic.h>

#include <pthread.h>

#define THREADS_MAX 3

static struct news {
	struct queue_message message; /* first */
	int value;
	int releases;
} news;

static void
release(struct queue_message *message, void *context)
{
	struct news *item = (struct news *)(void *)message;

	explorer_assert(context == NULL && item->value == 1);
	item->value = 2;
	item->releases++;
}

static void *
read_it(void *unused)
{
	explorer_assert(news.value == 1);
	queue_message_release(&news.message);
	return unused;
}

const char program_usage[] = " THREADS\n"
			     "\n"
			     "  THREADS  so many hold the message, 1 to 3\n";

void
program_check(void)
{
	explorer_need_number(0, "THREADS", 1, THREADS_MAX);
	explorer_need_no_more(1);
}

int
main(void)
{
	pthread_t threads[THREADS_MAX];
	int n = explorer_argument(0)[0] - '0', i;

	news.value = 1;
	news.releases = 0;
	queue_message_init(&news.message, release, NULL);
	for (i = 1; i < n; i++)
		queue_message_retain(&news.message);
	for (i = 0; i < n; i++)
		(void)pthread_create(&threads[i], NULL, read_it, NULL);
	for (i = 0; i < n; i++)
		(void)pthread_join(threads[i], NULL);
	explorer_assert(news.releases == 1);
	return 0;
}
