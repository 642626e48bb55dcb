/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_RING_H
#define CONVEYOR_RING_H

/*
 * queue_ring: a bounded FIFO of pointers for any number of producers and consumers. It never waits
 * for another thread and never allocates after creation. See queue_ring(3).
 *
 * Progress.     Lock-free: a thread stopped for ever between any two instructions of any call but
 *               init, fini, create and destroy keeps nobody from finishing. System calls are made
 *               only to overtake such a thread, when an end of the ring gets its second thread, and
 *               by pops that find a closed ring empty: calls of membarrier(2).
 * Concurrency.                push  pop  close  stats  init, fini, destroy    (X = keep them apart)
 *               push           -     -     -      -     X
 *               pop            -     -     -      -     X
 *               close          -     -     -      -     X
 *               With QUEUE_SINGLE_PRODUCER only one thread at a time pushes or closes; with
 *               QUEUE_SINGLE_CONSUMER only one thread at a time pops.
 * Invariants.   I1  0 <= tail - head <= capacity, exactly, for any capacity.
 *               I2  Position p lives in slot p & mask. The slot's seq is 2p + 1 when it holds p and
 *                   2p when it is sealed there; it never decreases.
 *               I3  A position is filled after every position before it, and taken likewise.
 *               I4  tail numbers the pushes: positions from tail on are not filled, those before
 *                   tail are or will be. (With a single producer those before tail are filled, and
 *                   some from tail on may be.) head numbers the pops, exactly.
 *               I5  filled and head_seen are hints that lag: everything before filled is filled,
 *                   everything before head_seen is taken.
 *               I6  While producer (consumer) names a thread, only that thread moves tail (head).
 * Ordering.     RING1  push: item bytes -> pop: item bytes                         via slot.seq
 *               RING3  push: positions before are filled -> push: takes a number   via filled, tail
 *               RING4  pop: item read -> push: slot reused                         via head, head_seen
 *               RING5  close -> push: refused, pop: may seal                       via mode
 *               RING6  membarrier: no thread alone any more -> push, pop: swaps    via producer,
 *                                                                                      consumer
 */
#include <conveyor/alloc.h>
#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Roles: promises by the caller that make a ring faster. */
#define QUEUE_SINGLE_PRODUCER 1u
#define QUEUE_SINGLE_CONSUMER 2u

#define QUEUE_CAPACITY_MAX (UINT64_C(1) << 32)
#define QUEUE_RING_ALIGNMENT QUEUE_IMPL_APART

/* Opaque, but for its size: use the functions. */
struct queue_ring {
	/* read-mostly: written when somebody is overtaken, by close, and by the second threads */
	uint64_t mode;		       /* roles, closed, and how often revoked */
	struct queue_impl_pair *slots; /* {seq, item}, mask + 1 of them */
	uint64_t mask;
	uint64_t capacity;
	ptrdiff_t rseq;	   /* threads' areas for restartable sequences; 0: there are none */
	uint64_t producer; /* who moves tail */
	uint64_t consumer; /* who moves head */
	uint64_t first;	   /* the first position ever used */
	const struct queue_allocator *allocator;
	size_t size;

	/* producers */
	uint64_t tail queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t filled;
	uint64_t head_seen;

	/* consumers */
	uint64_t head queue_impl_aligned(QUEUE_IMPL_APART);
} queue_impl_aligned(QUEUE_IMPL_APART);

struct queue_ring_stats {
	uint64_t capacity; /* items */
	uint64_t pushed;   /* items that went in since init */
	uint64_t popped;   /* items that came out since init */
	uint64_t depth;	   /* items inside; pushed == popped + depth holds at rest */
	int closed;
};

/*
 * The bytes a ring of `capacity` items takes, from 1 to QUEUE_CAPACITY_MAX; 0 when the capacity or
 * the flags are not valid. It holds exactly `capacity` items, whether or not a power of two.
 */
size_t queue_ring_footprint(uint64_t capacity, unsigned flags);

/*
 * Makes an empty ring in the caller's memory: `size` bytes, at least the footprint, aligned to
 * QUEUE_RING_ALIGNMENT. flags: roles or 0. -EINVAL when anything is not valid; nothing is written.
 */
int queue_ring_init(struct queue_ring *ring, size_t size, uint64_t capacity, unsigned flags);

/* Ends a ring made by init. Items still inside remain the caller's: pop them before. */
void queue_ring_fini(struct queue_ring *ring);

/*
 * Allocates and inits. allocator: NULL is queue_allocator_libc. -EINVAL, -ENOMEM; *out is written
 * on success only.
 */
int queue_ring_create(struct queue_ring **out, uint64_t capacity, unsigned flags,
		      const struct queue_allocator *allocator);

/* Frees a ring made by create, NULL allowed. Items still inside remain the caller's. */
void queue_ring_destroy(struct queue_ring *ring);

/*
 * Appends an item of any value, NULL included. 0; -EAGAIN: at one instant during the call the ring
 * was full; -EPIPE: closed. On failure the item is still the caller's.
 */
static inline int queue_ring_try_push(struct queue_ring *ring, void *item);

/*
 * Takes the oldest item. 0; -EAGAIN: at one instant during the call the ring was empty; -EPIPE:
 * closed and drained, for ever. *item is written on success only.
 */
static inline int queue_ring_try_pop(struct queue_ring *ring, void **item);

/*
 * Appends items[0..n) in order as far as there is room. Other producers' items may come between.
 * Returns how many went in, 0 when full; -EPIPE: closed and none went in; -EINVAL: n < 0.
 */
ptrdiff_t queue_ring_push_n(struct queue_ring *ring, void *const *items, ptrdiff_t n);

/*
 * Takes up to n items, oldest first, into items[0..). Returns how many, 0 when empty; -EPIPE:
 * closed and drained; -EINVAL: n < 0.
 */
ptrdiff_t queue_ring_pop_n(struct queue_ring *ring, void **items, ptrdiff_t n);

/*
 * No push succeeds that begins after close has returned; every item that went in can still be
 * popped. Closing again is allowed. Never waits. With QUEUE_SINGLE_PRODUCER the producer closes.
 */
void queue_ring_close(struct queue_ring *ring);

/* Items inside, 0 to capacity: what it was a moment ago, or a little less among many pops. */
uint64_t queue_ring_depth_approx(const struct queue_ring *ring);

/* Fills *out. Each figure is right on its own; together they agree at rest. */
void queue_ring_stats(const struct queue_ring *ring, struct queue_ring_stats *out);

/* Inline bodies. Not API. */
#include <conveyor/impl/ring.h>

#ifdef __cplusplus
}
#endif

#endif
