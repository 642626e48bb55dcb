/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_RING_H
#define CONVEYOR_IMPL_RING_H

/*
 * The steps of the ring. Not API; included by conveyor/ring.h alone.
 *
 * The algorithm is a cycle ring: each slot carries the position it serves (Vyukov's bounded MPMC
 * queue, 2011; the cycle of Nikolaev's SCQ, DISC 2019), and a slot is filled by one double-width
 * swap, so that no thread ever owns a slot it has not filled. What differs from both:
 *  - head and tail are not counters that threads take numbers from, but hints. A thread looks at
 *    position p only after it has seen every position before p filled (taken): through the hint,
 *    which is published after the fact, or by stepping. So a slot that is not filled proves where
 *    the tail is, a lost swap proves that another thread has succeeded, and full and empty are
 *    exact.
 *  - any capacity up to the number of slots: position p may be filled once p - capacity is taken.
 *  - close seals the slot at the tail, which settles the race with a push that began earlier.
 *
 * When producer and consumer are both single the ring is Lamport's (1983), with each side keeping
 * a copy of the other's index (as MCRingBuffer does, Lee et al., IPDPS 2010).
 */

#define QUEUE_IMPL_RING_INDEXED 4u
#define QUEUE_IMPL_RING_CLOSED 8u

#define QUEUE_IMPL_RING_FREE 0u
#define QUEUE_IMPL_RING_FULL 1u
#define QUEUE_IMPL_RING_SEALED 2u

/* The answers of a step; also the return values of the calls made of them. */
#define QUEUE_IMPL_RING_PASSED 1 /* the position is behind: somebody else was first */

/*
 * What a push or pop answers, and the position it happened at. By value, in two registers: a local
 * whose address escapes would be stored before every locked instruction, which then waits for it.
 */
struct queue_impl_ring_result {
	uint64_t position;
	int rc;
};

/* The cold halves, in lib/ring.c. They go on from a position. */
struct queue_impl_ring_result queue_impl_ring_push_slow(struct queue_ring *ring, void *item,
							uint64_t position);
struct queue_impl_ring_result queue_impl_ring_pop_slow(struct queue_ring *ring, void **item,
						       uint64_t position);
int queue_impl_ring_init_at(struct queue_ring *ring, size_t size, uint64_t capacity, unsigned flags,
			    uint64_t first);

queue_impl_inline uint64_t
queue_impl_ring_seq(uint64_t position, unsigned state)
{
	return position << 2 | state;
}

queue_impl_inline struct queue_impl_pair *
queue_impl_ring_slot(const struct queue_ring *ring, uint64_t position)
{
	return &ring->slots[position & ring->mask];
}

/* Position p is taken when its slot serves p + slots or a later one. */
queue_impl_inline bool
queue_impl_ring_taken(const struct queue_ring *ring, uint64_t position)
{
	uint64_t seq =
		queue_impl_load_acq(&queue_impl_ring_slot(ring, position)->low); /* RING2 acquire */

	return (int64_t)(seq - queue_impl_ring_seq(position + ring->mask + 1, 0)) >= 0;
}

/*
 * Fills `position`, before which everything is filled. 0; -EAGAIN: the ring was full;
 * QUEUE_IMPL_RING_PASSED: another push was first, or the slot is sealed.
 */
queue_impl_inline int
queue_impl_ring_fill(struct queue_ring *ring, uint32_t mode, uint64_t position, void *item)
{
	struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);
	uint64_t seq = queue_impl_load_acq(&slot->low); /* RING2 acquire */
	int64_t ahead = (int64_t)(seq - queue_impl_ring_seq(position, QUEUE_IMPL_RING_FREE));
	uint64_t old;

	if (ahead != 0)
		return ahead < 0 ? -EAGAIN : QUEUE_IMPL_RING_PASSED;
	/* With as many slots as items the slot being free has said it already. */
	if (ring->capacity <= ring->mask && !queue_impl_ring_taken(ring, position - ring->capacity))
		return -EAGAIN;
	if (mode & QUEUE_SINGLE_PRODUCER) {
		/* Relaxed: published by the store of seq. */
		queue_impl_store_rlx(&slot->high, (uint64_t)(uintptr_t)item);
		queue_impl_store_rel(&slot->low, seq | QUEUE_IMPL_RING_FULL); /* RING1 release */
		return 0;
	}
	/* Relaxed: the swap fails unless this is what seq guards. */
	old = queue_impl_load_rlx(&slot->high);
	if (queue_impl_cas_pair_acq_rel(slot, seq, old, seq | QUEUE_IMPL_RING_FULL,
					(uint64_t)(uintptr_t)item)) /* RING1 release */
		return 0;
	return QUEUE_IMPL_RING_PASSED;
}

/*
 * Takes the item at `position`, before which everything is taken. 0; -EAGAIN: the ring was empty;
 * QUEUE_IMPL_RING_PASSED: another pop was first, or the slot is sealed.
 */
queue_impl_inline int
queue_impl_ring_take(struct queue_ring *ring, uint32_t mode, uint64_t position, void **item)
{
	struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);
	uint64_t seq = queue_impl_load_acq(&slot->low); /* RING1 acquire */
	uint64_t next = queue_impl_ring_seq(position + ring->mask + 1, QUEUE_IMPL_RING_FREE);
	uint64_t value;

	if (seq != queue_impl_ring_seq(position, QUEUE_IMPL_RING_FULL))
		return seq == queue_impl_ring_seq(position, QUEUE_IMPL_RING_FREE)
			       ? -EAGAIN
			       : QUEUE_IMPL_RING_PASSED;
	/* Relaxed: the item changes only together with seq, which is checked by the swap. */
	value = queue_impl_load_rlx(&slot->high);
	if (mode & QUEUE_SINGLE_CONSUMER)
		queue_impl_store_rel(&slot->low, next);		  /* RING2 release */
	else if (!queue_impl_cas_acq_rel(&slot->low, &seq, next)) /* RING2 release */
		return QUEUE_IMPL_RING_PASSED;
	*item = (void *)(uintptr_t)value;
	return 0;
}

queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_result(int rc, uint64_t position)
{
	struct queue_impl_ring_result result;

	result.rc = rc;
	result.position = position;
	return result;
}

/* Both roles single: Lamport's ring. The full check looks at the real head before saying full. */
queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_push_indexed(struct queue_ring *ring, uint32_t mode, void *item)
{
	uint64_t tail = queue_impl_load_rlx(&ring->tail); /* relaxed: our own */
	uint64_t head;

	if (mode & QUEUE_IMPL_RING_CLOSED)
		return queue_impl_ring_result(-EPIPE, tail);
	if (tail - ring->head_seen >= ring->capacity) {
		head = queue_impl_load_acq(&ring->head); /* RING7 acquire */
		if (tail - head >= ring->capacity)
			return queue_impl_ring_result(-EAGAIN, tail);
		ring->head_seen = head;
	}
	ring->cells[tail & ring->mask] = (uint64_t)(uintptr_t)item;
	queue_impl_store_rel(&ring->tail, tail + 1); /* RING6 release */
	return queue_impl_ring_result(0, tail);
}

queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_pop_indexed(struct queue_ring *ring, uint32_t mode, void **item)
{
	uint64_t head = queue_impl_load_rlx(&ring->head); /* relaxed: our own */
	uint64_t tail;

	if (head == ring->tail_seen) {
		tail = queue_impl_load_acq(&ring->tail); /* RING6 acquire */
		/* The mode was read first: a closed ring that is empty now stays so. */
		if (head == tail)
			return queue_impl_ring_result(
				mode & QUEUE_IMPL_RING_CLOSED ? -EPIPE : -EAGAIN, head);
		ring->tail_seen = tail;
	}
	*item = (void *)(uintptr_t)ring->cells[head & ring->mask];
	queue_impl_store_rel(&ring->head, head + 1); /* RING7 release */
	return queue_impl_ring_result(0, head);
}

queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_push(struct queue_ring *ring, void *item)
{
	uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
	uint64_t position;

	if (mode & QUEUE_IMPL_RING_INDEXED)
		return queue_impl_ring_push_indexed(ring, mode, item);
	position = queue_impl_load_acq(&ring->tail); /* RING3 acquire */
	if (!(mode & QUEUE_IMPL_RING_CLOSED) &&
	    queue_impl_ring_fill(ring, mode, position, item) == 0) {
		queue_impl_store_rel(&ring->tail, position + 1); /* RING3 release */
		return queue_impl_ring_result(0, position);
	}
	return queue_impl_ring_push_slow(ring, item, position);
}

/* An empty poll writes nothing. */
queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_pop(struct queue_ring *ring, void **item)
{
	uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
	uint64_t position;
	int rc;

	if (mode & QUEUE_IMPL_RING_INDEXED)
		return queue_impl_ring_pop_indexed(ring, mode, item);
	position = queue_impl_load_acq(&ring->head); /* RING4 acquire */
	rc = queue_impl_ring_take(ring, mode, position, item);
	if (rc == 0) {
		queue_impl_store_rel(&ring->head, position + 1); /* RING4 release */
		return queue_impl_ring_result(0, position);
	}
	if (rc == -EAGAIN && !(mode & QUEUE_IMPL_RING_CLOSED))
		return queue_impl_ring_result(rc, position);
	return queue_impl_ring_pop_slow(ring, item, position);
}

queue_impl_inline int
queue_ring_try_push(struct queue_ring *ring, void *item)
{
	return queue_impl_ring_push(ring, item).rc;
}

queue_impl_inline int
queue_ring_try_pop(struct queue_ring *ring, void **item)
{
	return queue_impl_ring_pop(ring, item).rc;
}

#endif
