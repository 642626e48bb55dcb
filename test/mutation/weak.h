/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_WEAK_H
#define CONVEYOR_IMPL_WEAK_H

/*
 * Read-modify-writes with less order than the library's own, for mutants: mutation.sh puts this at
 * the end of impl/atomic.h in its copies. Locked instructions of x86-64 have no weaker form, so with
 * Concurrency Kit these are the same as those with both orders.
 */

#define queue_impl_no_fence(...) ((void)0)

#if defined MODEL_EXPLORER_ATOMIC_H
/* There they are already: test/model/explorer/atomic.h */
#elif defined QUEUE_ATOMICS_CK

#define queue_impl_cas_acq queue_impl_cas_acq_rel
#define queue_impl_cas_rel queue_impl_cas_acq_rel
#define queue_impl_cas32_acq queue_impl_cas32_acq_rel
#define queue_impl_cas32_rel queue_impl_cas32_acq_rel
#define queue_impl_fetch_add_acq queue_impl_fetch_add_acq_rel
#define queue_impl_fetch_add_rel queue_impl_fetch_add_acq_rel
#define queue_impl_fetch_add32_acq queue_impl_fetch_add32_acq_rel
#define queue_impl_fetch_add32_rel queue_impl_fetch_add32_acq_rel
#define queue_impl_cas_pair_acq queue_impl_cas_pair_acq_rel
#define queue_impl_cas_pair_rel queue_impl_cas_pair_acq_rel

#else

#define QUEUE_IMPL_WEAK(suffix, type, order, failed)                                               \
	static inline bool queue_impl_cas##suffix(type *word, type *expected, type desired)        \
	{                                                                                          \
		return __atomic_compare_exchange_n(word, expected, desired, false, order, failed); \
	}                                                                                          \
	static inline type queue_impl_fetch_add##suffix(type *word, type delta)                    \
	{                                                                                          \
		return __atomic_fetch_add(word, delta, order);                                     \
	}

QUEUE_IMPL_WEAK(_acq, uint64_t, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
QUEUE_IMPL_WEAK(_rel, uint64_t, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
QUEUE_IMPL_WEAK(32_acq, uint32_t, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
QUEUE_IMPL_WEAK(32_rel, uint32_t, __ATOMIC_RELEASE, __ATOMIC_RELAXED)

#if defined QUEUE_IMPL_TSAN && defined __x86_64__

/* The instruction has both; what the sanitizer is told has one. */
static inline bool
queue_impl_cas_pair_weak(struct queue_impl_pair *pair, uint64_t low, uint64_t high,
			 uint64_t new_low, uint64_t new_high, bool acquire, bool release)
{
	uint64_t compare[2] = {low, high}, set[2] = {new_low, new_high}, seen[2];
	bool swapped;

	if (release)
		__tsan_release(&pair->low);
	swapped = ck_pr_cas_64_2_value((uint64_t *)(void *)pair, compare, set, seen);
	if (swapped && acquire)
		__tsan_acquire(&pair->low);
	return swapped;
}

#define queue_impl_cas_pair_acq(...) queue_impl_cas_pair_weak(__VA_ARGS__, true, false)
#define queue_impl_cas_pair_rel(...) queue_impl_cas_pair_weak(__VA_ARGS__, false, true)

#elif defined __x86_64__

#define QUEUE_IMPL_WEAK_PAIR(suffix, order, failed)                                                \
	static inline bool queue_impl_cas_pair##suffix(struct queue_impl_pair *pair, uint64_t low, \
						       uint64_t high, uint64_t new_low,            \
						       uint64_t new_high)                          \
	{                                                                                          \
		queue_impl_wide compare = (queue_impl_wide)high << 64 | low;                       \
		queue_impl_wide set = (queue_impl_wide)new_high << 64 | new_low;                   \
                                                                                                   \
		return __atomic_compare_exchange_n((queue_impl_wide *)(void *)pair, &compare, set, \
						   false, order, failed);                          \
	}

QUEUE_IMPL_WEAK_PAIR(_acq, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE)
QUEUE_IMPL_WEAK_PAIR(_rel, __ATOMIC_RELEASE, __ATOMIC_RELAXED)

#endif
#endif

#endif
