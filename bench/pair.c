/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one thread pays, uncontended: a push and a pop, and a poll of an empty queue, for each
 * object and for Vyukov's ring beside them. The objects take turns round by round, so that the
 * machine's wandering speed meets all of them alike; what counts is the ratio of the medians.
 */
#include <conveyor/ring.h>
#include <conveyor/queue.h>
#include <conveyor/version.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vyukov.h"

#define ROUNDS 41
#define PAIRS 200000
#define CAPACITY 1024
#define INSIDE 16 /* items that lie in the queue all the time */

#define die(what) (fprintf(stderr, "pair: %s failed\n", what), exit(1))

/* One measured loop for all: PUSH and POP are inlined into it. */
#define DEFINE_PAIR(name, type, PUSH, POP)                                                         \
	static __attribute__((noinline)) double name(type *q)                                      \
	{                                                                                          \
		uint64_t begin = queue_now();                                                      \
		uintptr_t sum = 0;                                                                 \
		int i;                                                                             \
                                                                                                   \
		for (i = 0; i < PAIRS; i++) {                                                      \
			void *item = NULL;                                                         \
                                                                                                   \
			if (PUSH(q, (void *)(uintptr_t)i) || POP(q, &item))                        \
				die(#name);                                                        \
			sum += (uintptr_t)item;                                                    \
		}                                                                                  \
		if (sum == 0)                                                                      \
			die(#name);                                                                \
		return (double)(queue_now() - begin) / PAIRS;                                      \
	}

#define DEFINE_EMPTY(name, type, POP)                                                              \
	static __attribute__((noinline)) double name(type *q)                                      \
	{                                                                                          \
		uint64_t begin = queue_now();                                                      \
		void *item = NULL;                                                                 \
		int i;                                                                             \
                                                                                                   \
		for (i = 0; i < PAIRS; i++)                                                        \
			if (POP(q, &item) != -EAGAIN)                                              \
				die(#name);                                                        \
		return (double)(queue_now() - begin) / PAIRS;                                      \
	}

DEFINE_PAIR(pair_vyukov, struct vyukov, vyukov_push, vyukov_pop)
DEFINE_PAIR(pair_ring, struct queue_ring, queue_ring_try_push, queue_ring_try_pop)
DEFINE_PAIR(pair_queue, struct queue_bounded, queue_push, queue_pop)
DEFINE_EMPTY(empty_vyukov, struct vyukov, vyukov_pop)
DEFINE_EMPTY(empty_ring, struct queue_ring, queue_ring_try_pop)
DEFINE_EMPTY(empty_queue, struct queue_bounded, queue_try_pop)

static struct queue_ring *
make_ring(unsigned flags, int inside)
{
	struct queue_ring *ring;
	int i;

	if (queue_ring_create(&ring, CAPACITY, flags, NULL))
		die("queue_ring_create");
	for (i = 0; i < inside; i++)
		if (queue_ring_try_push(ring, NULL))
			die("queue_ring_try_push");
	return ring;
}

static struct queue_bounded *
make_queue(unsigned flags, int inside)
{
	struct queue_options options;
	struct queue_bounded *queue;
	int i;

	memset(&options, 0, sizeof options);
	options.capacity = CAPACITY;
	options.flags = flags;
	if (queue_create(&queue, &options))
		die("queue_create");
	for (i = 0; i < inside; i++)
		if (queue_push(queue, NULL))
			die("queue_push");
	return queue;
}

static struct vyukov *
make_vyukov(int inside)
{
	static struct vyukov rings[2];
	static int used;
	struct vyukov *v = &rings[used++];
	int i;

	if (vyukov_init(v, CAPACITY))
		die("vyukov_init");
	for (i = 0; i < inside; i++)
		if (vyukov_push(v, NULL))
			die("vyukov_push");
	return v;
}

static int
ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

enum row {
	VYUKOV,
	RING,
	RING_SP,
	RING_SC,
	RING_SPSC,
	QUEUE,
	QUEUE_SPSC,
	EMPTY_VYUKOV,
	EMPTY_RING,
	EMPTY_QUEUE,
	ROWS
};

static const char *const names[ROWS] = {
	"Vyukov ring, push + pop",     "queue_ring, push + pop",
	"queue_ring, single producer", "queue_ring, single consumer",
	"queue_ring, both single",     "queue_bounded, queue_push + queue_pop",
	"queue_bounded, both single",  "Vyukov ring, empty poll",
	"queue_ring, empty poll",      "queue_bounded, empty poll",
};

/* The row that a row is compared with. */
static const enum row against[ROWS] = {
	VYUKOV, VYUKOV, RING, RING, RING, RING, RING_SPSC, EMPTY_VYUKOV, EMPTY_VYUKOV, EMPTY_RING,
};

int
main(void)
{
	struct vyukov *vyukov = make_vyukov(INSIDE), *empty_v = make_vyukov(0);
	struct queue_ring *ring = make_ring(0, INSIDE), *empty_r = make_ring(0, 0);
	struct queue_ring *sp = make_ring(QUEUE_SINGLE_PRODUCER, INSIDE);
	struct queue_ring *sc = make_ring(QUEUE_SINGLE_CONSUMER, INSIDE);
	struct queue_ring *spsc = make_ring(QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER, INSIDE);
	struct queue_bounded *queue = make_queue(0, INSIDE), *empty_q = make_queue(0, 0);
	struct queue_bounded *queue_spsc =
		make_queue(QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER, INSIDE);
	static double ns[ROWS][ROUNDS];
	int round, row;

	for (round = 0; round < ROUNDS; round++) {
		ns[VYUKOV][round] = pair_vyukov(vyukov);
		ns[RING][round] = pair_ring(ring);
		ns[RING_SP][round] = pair_ring(sp);
		ns[RING_SC][round] = pair_ring(sc);
		ns[RING_SPSC][round] = pair_ring(spsc);
		ns[QUEUE][round] = pair_queue(queue);
		ns[QUEUE_SPSC][round] = pair_queue(queue_spsc);
		ns[EMPTY_VYUKOV][round] = empty_vyukov(empty_v);
		ns[EMPTY_RING][round] = empty_ring(empty_r);
		ns[EMPTY_QUEUE][round] = empty_queue(empty_q);
	}
	printf("conveyor %s, one thread, capacity %d, %d inside, %d rounds of %d, ns per call pair\n\n",
	       QUEUE_VERSION, CAPACITY, INSIDE, ROUNDS, PAIRS);
	printf("%-40s %7s %7s %7s   %s\n", "", "median", "min", "max", "ratio of medians");
	for (row = 0; row < ROWS; row++)
		qsort(ns[row], ROUNDS, sizeof ns[row][0], ascending);
	for (row = 0; row < ROWS; row++) {
		printf("%-40s %7.2f %7.2f %7.2f", names[row], ns[row][ROUNDS / 2], ns[row][0],
		       ns[row][ROUNDS - 1]);
		if (against[row] != (enum row)row)
			printf("   %.2f of %s", ns[row][ROUNDS / 2] / ns[against[row]][ROUNDS / 2],
			       names[against[row]]);
		printf("\n");
	}
	return 0;
}
