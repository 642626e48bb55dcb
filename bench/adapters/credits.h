/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_ADAPTERS_CREDITS_H
#define BENCH_ADAPTERS_CREDITS_H

/*
 * A bound for a queue that has none. There are as many credits as the capacity; a push takes one, a
 * pop gives one back. So that their count is touched seldom, threads take and give them by the
 * chunk: never are there more items than the capacity, but a push may find it full a few chunks
 * earlier. Who finds the queue empty gives back all it has. Lock-free. For C and C++.
 */
#include "../subject.h"

#include <errno.h>

#define CREDITS_CHUNK_MAX 64

struct credits {
	int64_t chunk;
	int64_t left __attribute__((aligned(128))); /* in nobody's hand */
} __attribute__((aligned(128)));

/* What this thread has in hand, and of which queue: it may push to one and pop from another. */
struct credits_hand {
	struct credits *of;
	int64_t count;
};

static __thread struct credits_hand credits_to_push, credits_popped;

/*
 * -EINVAL: too few. All threads together keep at most half of them in hand, so that the others go
 * on when some stop with theirs.
 */
static inline int
credits_open(struct credits *credits, const struct bench_shape *shape)
{
	uint64_t chunk = shape->capacity / (4 * (shape->producers + shape->consumers));

	if (chunk == 0 || shape->capacity > INT64_MAX)
		return -EINVAL;
	credits->chunk = chunk < CREDITS_CHUNK_MAX ? (int64_t)chunk : CREDITS_CHUNK_MAX;
	credits->left = (int64_t)shape->capacity;
	return 0;
}

static inline void
credits_return(struct credits_hand *hand)
{
	if (hand->count > 0)
		__atomic_fetch_add(&hand->of->left, hand->count, __ATOMIC_RELAXED);
	hand->count = 0;
}

static inline void
credits_use(struct credits_hand *hand, struct credits *credits)
{
	if (hand->of == credits)
		return;
	credits_return(hand);
	hand->of = credits;
}

/* For n pushes; returns for how many there are. */
static inline ptrdiff_t
credits_take(struct credits *credits, ptrdiff_t n)
{
	struct credits_hand *hand = &credits_to_push;
	int64_t want;

	credits_use(hand, credits);
	want = n - hand->count;
	if (want > 0) {
		int64_t left = __atomic_load_n(&credits->left, __ATOMIC_RELAXED), taken;

		if (want < credits->chunk)
			want = credits->chunk;
		do
			taken = left < want ? left : want;
		while (taken > 0 &&
		       !__atomic_compare_exchange_n(&credits->left, &left, left - taken, true,
						    __ATOMIC_RELAXED, __ATOMIC_RELAXED));
		hand->count += taken;
		if (n > hand->count)
			n = (ptrdiff_t)hand->count;
	}
	hand->count -= n;
	return n;
}

/* After n pops; 0: it was empty. */
static inline void
credits_give(struct credits *credits, ptrdiff_t n)
{
	struct credits_hand *hand = &credits_popped;

	credits_use(hand, credits);
	hand->count += n;
	if (n == 0 || hand->count >= credits->chunk)
		credits_return(hand);
}

/* When a thread has done with the queue. */
static inline void
credits_detach(struct credits *credits)
{
	if (credits_to_push.of == credits)
		credits_use(&credits_to_push, NULL);
	if (credits_popped.of == credits)
		credits_use(&credits_popped, NULL);
}

#endif
