/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs a litmus program again and again on this machine and counts how it ends. Its threads are
 * workers that are there all the time and are let go together, so that they do meet.
 *
 *	PROGRAM SECONDS rseq|any OUTCOME...
 *
 * The exit status is 1 when it ended in another way than those, which litmus.sh takes from the program's
 * comment. Which of them are seen depends on the machine: on x86-64 many that are allowed never are.
 * rseq: it cannot be run where there are no restartable sequences.
 */
#include "litmus.h"

#include "rseq_impl.h"

#undef pthread_create
#undef pthread_join

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORKERS_MAX 4
#define OUTCOMES 64
#define POLLS 200

int litmus_main(void);

static struct worker {
	pthread_t thread;
	void *(*function)(void *);
	void *argument;
	uint64_t wanted; /* goes up by one for each run */
	uint64_t done;
} workers[WORKERS_MAX];
static unsigned created, started;
static uint64_t rounds[WORKERS_MAX];
static ptrdiff_t area;

static struct {
	char text[32];
	unsigned long count;
} outcomes[OUTCOMES];
static unsigned n_outcomes;

static void
wait_for(const uint64_t *word, uint64_t value)
{
	unsigned polls = 0;

	while (queue_impl_load_acq(word) != value)
		if (++polls % POLLS == 0)
			(void)sched_yield();
}

static void *
work(void *argument)
{
	struct worker *worker = (struct worker *)argument;
	uint64_t round = 0;

	for (;;) {
		wait_for(&worker->wanted, ++round);
		(void)worker->function(worker->argument);
		queue_impl_store_rel(&worker->done, round);
	}
	return NULL;
}

int
litmus_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *),
	      void *argument)
{
	struct worker *worker = &workers[created];

	(void)attributes;
	if (created == WORKERS_MAX)
		abort();
	worker->function = function;
	worker->argument = argument;
	if (created == started) {
		if (pthread_create(&worker->thread, NULL, work, worker) != 0)
			abort();
		started++;
	}
	*thread = created++;
	return 0;
}

int
litmus_join(pthread_t thread, void **result)
{
	unsigned i;

	(void)result;
	for (i = 0; i < created; i++)
		queue_impl_store_rel(&workers[i].wanted, ++rounds[i]);
	created = 0;
	wait_for(&workers[thread].done, rounds[thread]);
	return 0;
}

void
litmus_outcome(unsigned a, unsigned b, unsigned c)
{
	char text[32];
	unsigned i;

	(void)snprintf(text, sizeof text, "%u,%u,%u", a, b, c);
	for (i = 0; i < n_outcomes && strcmp(outcomes[i].text, text) != 0; i++)
		continue;
	if (i == OUTCOMES)
		abort();
	if (i == n_outcomes)
		(void)snprintf(outcomes[n_outcomes++].text, sizeof text, "%s", text);
	outcomes[i].count++;
}

void
litmus_heavy_fence(void)
{
	/* Where there are no restartable sequences this does nothing, and main has not come here. */
	queue_impl_rseq_interrupt();
}

#if defined QUEUE_IMPL_RSEQ
uint64_t
litmus_self(void)
{
	return queue_impl_thread();
}

bool
litmus_move(const uint64_t *owner, uint64_t *word, uint64_t from, uint64_t to)
{
	return queue_impl_rseq_move_rel(area, owner, word, from, to);
}
#else
/* main does not come here. */
uint64_t
litmus_self(void)
{
	abort();
}

bool
litmus_move(const uint64_t *owner, uint64_t *word, uint64_t from, uint64_t to)
{
	(void)owner, (void)word, (void)from, (void)to;
	abort();
}
#endif

static bool
is_among(char *const *allowed, const char *text)
{
	while (*allowed && strcmp(*allowed, text) != 0)
		allowed++;
	return *allowed != NULL;
}

static double
now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
	double seconds, until;
	int failed = 0;
	char *end;
	unsigned i;

	if (argc < 4) {
		fprintf(stderr, "usage: PROGRAM SECONDS rseq|any OUTCOME...\n");
		return 2;
	}
	seconds = strtod(argv[1], &end);
	if (*end || end == argv[1] || seconds < 0) {
		fprintf(stderr, "%s: not a number of seconds\n", argv[1]);
		return 2;
	}
	area = queue_impl_rseq_area();
	if (strcmp(argv[2], "rseq") == 0 && area == 0) {
		printf("left out: there are no restartable sequences\n");
		return 0;
	}
	until = now() + seconds;
	do
		for (i = 0; i < 200; i++)
			(void)litmus_main();
	while (now() < until);
	for (i = 0; i < n_outcomes; i++) {
		bool allowed = is_among(argv + 3, outcomes[i].text);

		printf("%s %s: %lu times\n", allowed ? "allowed" : "FORBIDDEN", outcomes[i].text,
		       outcomes[i].count);
		failed |= !allowed;
	}
	return failed;
}
