/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODEL_LITMUS_H
#define MODEL_LITMUS_H

/*
 * What litmus programs have in common. One file in litmus/ is one program: main makes its threads,
 * joins them, and says how it ended. The outcomes that there can be, and some that there cannot, are
 * listed in its comment, which litmus.sh reads. Three ways to run it:
 *
 * LITMUS_EXPLORER  under the explorer of this directory: all executions
 * LITMUS_NATIVE    again and again on this machine, by native.c
 * neither          under another checker, such as GenMC: main as it is. Preprocess with -include
 *                  explorer/atomic.h -DMODEL_WITHOUT_PAIR -DLITMUS_PACKED_PAIR; litmus.sh runs these
 *                  once, so that they stay programs.
 */
#include <conveyor/impl/atomic.h>

#include <assert.h>
#include <pthread.h>
#include <stddef.h>

#if defined LITMUS_EXPLORER
#include "explorer.h"
#include <stdio.h>

static inline void
litmus_outcome(unsigned a, unsigned b, unsigned c)
{
	char text[32];

	(void)snprintf(text, sizeof text, "%u,%u,%u", a, b, c);
	explorer_outcome(text);
}

/* One side has a fence that costs nothing, since the other one has membarrier(2) order for both. */
#define litmus_light_fence queue_impl_fence_compiler
#define litmus_heavy_fence explorer_membarrier

/* What the calling thread is called. */
static inline uint64_t
litmus_self(void)
{
	return (explorer_thread() + 1) * UINT64_C(64);
}

/* A store that is done only while *owner is the calling thread, in a restartable sequence. */
static inline bool
litmus_move(const uint64_t *owner, uint64_t *word, uint64_t from, uint64_t to)
{
	return explorer_rseq_move(owner, litmus_self(), word, from, to);
}

#elif defined LITMUS_NATIVE

void litmus_outcome(unsigned a, unsigned b, unsigned c);
void litmus_heavy_fence(void);
uint64_t litmus_self(void);
bool litmus_move(const uint64_t *owner, uint64_t *word, uint64_t from, uint64_t to);
int litmus_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *),
		  void *argument);
int litmus_join(pthread_t thread, void **result);
#define litmus_light_fence queue_impl_fence_compiler
#define pthread_create litmus_create
#define pthread_join litmus_join

#else

#define litmus_outcome(a, b, c) ((void)0)
#define litmus_light_fence queue_impl_fence_full
#define litmus_heavy_fence queue_impl_fence_full

static inline uint64_t
litmus_self(void)
{
	return 64;
}

/* No checker knows these sequences: there the lone thread swaps, and this edge is not covered. */
static inline bool
litmus_move(const uint64_t *owner, uint64_t *word, uint64_t from, uint64_t to)
{
	return queue_impl_load_acq(owner) == litmus_self() &&
	       queue_impl_cas_acq_rel(word, &from, to);
}

#endif

/*
 * A slot: two words swapped as one. Packed, both are halves of one word, for checkers without swaps of
 * 16 bytes; they are numbers below 2^32.
 */
#if defined LITMUS_PACKED_PAIR

struct litmus_pair {
	uint64_t both;
};

static inline void
litmus_pair_init(struct litmus_pair *pair, uint64_t low, uint64_t high)
{
	queue_impl_store_rlx(&pair->both, high << 32 | low);
}

static inline uint64_t
litmus_pair_low_acq(const struct litmus_pair *pair)
{
	return queue_impl_load_acq(&pair->both) & UINT32_MAX;
}

static inline uint64_t
litmus_pair_high_rlx(const struct litmus_pair *pair)
{
	return queue_impl_load_rlx(&pair->both) >> 32;
}

static inline bool
litmus_pair_swap(struct litmus_pair *pair, uint64_t low, uint64_t high, uint64_t new_low,
		 uint64_t new_high)
{
	uint64_t expected = high << 32 | low;

	return queue_impl_cas_acq_rel(&pair->both, &expected, new_high << 32 | new_low);
}

#else

struct litmus_pair {
	struct queue_impl_pair halves;
};

static inline void
litmus_pair_init(struct litmus_pair *pair, uint64_t low, uint64_t high)
{
	queue_impl_store_rlx(&pair->halves.low, low);
	queue_impl_store_rlx(&pair->halves.high, high);
}

static inline uint64_t
litmus_pair_low_acq(const struct litmus_pair *pair)
{
	return queue_impl_load_acq(&pair->halves.low);
}

static inline uint64_t
litmus_pair_high_rlx(const struct litmus_pair *pair)
{
	return queue_impl_load_rlx(&pair->halves.high);
}

static inline bool
litmus_pair_swap(struct litmus_pair *pair, uint64_t low, uint64_t high, uint64_t new_low,
		 uint64_t new_high)
{
	return queue_impl_cas_pair_acq_rel(&pair->halves, low, high, new_low, new_high);
}

#endif

#endif
