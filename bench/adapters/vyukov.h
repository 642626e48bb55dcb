/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_ADAPTERS_VYUKOV_H
#define BENCH_ADAPTERS_VYUKOV_H

/*
 * The speed reference: Dmitry Vyukov's bounded MPMC queue (1024cores.net, 2011), written plainly
 * with the compiler's atomics. It is not lock-free: a thread that stops between taking a number
 * and publishing its cell blocks the others. Capacities are powers of two.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

struct vyukov_cell {
	uint64_t seq;
	void *item;
};

struct vyukov {
	struct vyukov_cell *cells;
	uint64_t mask;
	uint64_t tail __attribute__((aligned(128)));
	uint64_t head __attribute__((aligned(128)));
} __attribute__((aligned(128)));

/* -EINVAL: with one cell, or not a power of two, it does not work. */
static inline int
vyukov_open(struct vyukov **out, uint64_t capacity)
{
	struct vyukov *v;
	uint64_t i;

	if (capacity < 2 || (capacity & (capacity - 1)) != 0)
		return -EINVAL;
	v = (struct vyukov *)aligned_alloc(128, sizeof *v);
	if (!v)
		return -ENOMEM;
	v->cells = (struct vyukov_cell *)aligned_alloc(128, (capacity * sizeof *v->cells + 127) /
								    128 * 128);
	if (!v->cells) {
		free(v);
		return -ENOMEM;
	}
	for (i = 0; i < capacity; i++) {
		v->cells[i].seq = i;
		v->cells[i].item = NULL;
	}
	v->mask = capacity - 1;
	v->tail = v->head = 0;
	*out = v;
	return 0;
}

static inline void
vyukov_shut(struct vyukov *v)
{
	free(v->cells);
	free(v);
}

static inline int
vyukov_push(struct vyukov *v, void *item)
{
	uint64_t tail = __atomic_load_n(&v->tail, __ATOMIC_RELAXED);

	for (;;) {
		struct vyukov_cell *cell = &v->cells[tail & v->mask];
		uint64_t seq = __atomic_load_n(&cell->seq, __ATOMIC_ACQUIRE);
		int64_t ahead = (int64_t)(seq - tail);

		if (ahead == 0) {
			if (__atomic_compare_exchange_n(&v->tail, &tail, tail + 1, 1,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
				cell->item = item;
				__atomic_store_n(&cell->seq, tail + 1, __ATOMIC_RELEASE);
				return 0;
			}
		} else if (ahead < 0) {
			return -EAGAIN;
		} else {
			tail = __atomic_load_n(&v->tail, __ATOMIC_RELAXED);
		}
	}
}

static inline int
vyukov_pop(struct vyukov *v, void **item)
{
	uint64_t head = __atomic_load_n(&v->head, __ATOMIC_RELAXED);

	for (;;) {
		struct vyukov_cell *cell = &v->cells[head & v->mask];
		uint64_t seq = __atomic_load_n(&cell->seq, __ATOMIC_ACQUIRE);
		int64_t ahead = (int64_t)(seq - (head + 1));

		if (ahead == 0) {
			if (__atomic_compare_exchange_n(&v->head, &head, head + 1, 1,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
				*item = cell->item;
				__atomic_store_n(&cell->seq, head + v->mask + 1, __ATOMIC_RELEASE);
				return 0;
			}
		} else if (ahead < 0) {
			return -EAGAIN;
		} else {
			head = __atomic_load_n(&v->head, __ATOMIC_RELAXED);
		}
	}
}

#endif
