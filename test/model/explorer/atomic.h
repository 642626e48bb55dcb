/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODEL_EXPLORER_ATOMIC_H
#define MODEL_EXPLORER_ATOMIC_H

/*
 * Included before everything else (gcc -include) in what runs under the explorer, or under another
 * model checker: conveyor/impl/atomic.h as it is, but that what it has of inline assembly, which no
 * checker can see into, is replaced. MODEL_RSEQ: there are restartable sequences.
 */
#define queue_impl_fence_full machine_fence_full
#define queue_impl_fence_after_rmw machine_fence_after_rmw
#define queue_impl_pause machine_pause
#define queue_impl_thread machine_thread
#define queue_impl_cas_pair_acq_rel machine_cas_pair
#define queue_impl_rseq_store_pair_rel machine_rseq_store_pair
#define queue_impl_rseq_move_rel machine_rseq_move
#include <conveyor/impl/atomic.h>
#undef queue_impl_fence_full
#undef queue_impl_fence_after_rmw
#undef queue_impl_pause
#undef queue_impl_thread
#undef queue_impl_cas_pair_acq_rel
#undef queue_impl_rseq_store_pair_rel
#undef queue_impl_rseq_move_rel
#undef QUEUE_IMPL_RSEQ

static inline void
queue_impl_fence_full(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* A processor that has to order by a fence here, which x86-64 need not. */
static inline void
queue_impl_fence_after_rmw(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void
queue_impl_pause(void)
{
}

#if !defined MODEL_WITHOUT_PAIR
#include "explorer.h"

/* The weaker forms do not exist in the library. They are for showing that it needs the others. */
#define MODEL_CAS_PAIR(name, order)                                                                \
	static inline bool queue_impl_cas_pair_##name(struct queue_impl_pair *pair, uint64_t low,  \
						      uint64_t high, uint64_t new_low,             \
						      uint64_t new_high)                           \
	{                                                                                          \
		return explorer_cas_pair(pair, low, high, new_low, new_high, order);               \
	}
MODEL_CAS_PAIR(acq_rel, __ATOMIC_ACQ_REL)
MODEL_CAS_PAIR(acq, __ATOMIC_ACQUIRE)
MODEL_CAS_PAIR(rel, __ATOMIC_RELEASE)
MODEL_CAS_PAIR(rlx, __ATOMIC_RELAXED)
#endif

#define MODEL_RMW(name, order, failure)                                                            \
	static inline bool queue_impl_cas_##name(uint64_t *word, uint64_t *expected,               \
						 uint64_t desired)                                 \
	{                                                                                          \
		return __atomic_compare_exchange_n(word, expected, desired, false, order,          \
						   failure);                                       \
	}                                                                                          \
	static inline bool queue_impl_cas32_##name(uint32_t *word, uint32_t *expected,             \
						   uint32_t desired)                               \
	{                                                                                          \
		return __atomic_compare_exchange_n(word, expected, desired, false, order,          \
						   failure);                                       \
	}                                                                                          \
	static inline uint64_t queue_impl_fetch_add_##name(uint64_t *word, uint64_t delta)         \
	{                                                                                          \
		return __atomic_fetch_add(word, delta, order);                                     \
	}                                                                                          \
	static inline uint32_t queue_impl_fetch_add32_##name(uint32_t *word, uint32_t delta)       \
	{                                                                                          \
		return __atomic_fetch_add(word, delta, order);                                     \
	}
MODEL_RMW(acq, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
MODEL_RMW(rel, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
MODEL_RMW(rlx, __ATOMIC_RELAXED, __ATOMIC_RELAXED)

#if defined MODEL_RSEQ
#define QUEUE_IMPL_RSEQ 1

static inline bool
queue_impl_rseq_store_pair_rel(ptrdiff_t area, const uint64_t *guard, uint64_t expected,
			       struct queue_impl_pair *pair, uint64_t low, uint64_t high)
{
	(void)area;
	return explorer_rseq_store_pair(guard, expected, pair, low, high);
}

static inline uint64_t
queue_impl_thread(void)
{
	return (explorer_thread() + 1) * UINT64_C(64);
}

static inline bool
queue_impl_rseq_move_rel(ptrdiff_t area, const uint64_t *owner, uint64_t *word, uint64_t from,
			 uint64_t to)
{
	(void)area;
	return explorer_rseq_move(owner, queue_impl_thread(), word, from, to);
}
#endif

#endif
