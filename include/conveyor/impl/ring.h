/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_RING_H
#define CONVEYOR_IMPL_RING_H

/*
 * The steps of the ring. Not API; included by conveyor/ring.h alone.
 *
 * Like Vyukov's bounded MPMC queue (2011), a push takes a number from the tail and then fills the
 * slot of that number, and a slot carries the position it holds. What makes it lock-free, and full
 * and empty exact:
 *  - A push takes a number only when the position before is filled. So what is filled is always a
 *    prefix, an unfilled slot proves that the ring is empty, and at most one push is between
 *    taking its number and filling its slot.
 *  - Who finds such a push stopped there fills the slot in its place, with an item of his own, by
 *    swapping the whole slot. The other notices when it goes on, and takes a new number.
 *  - Where there are restartable sequences (impl/atomic.h) a push fills its slot by plain stores.
 *    Who wants to swap first revokes all plain stores that may be under way: he changes the word
 *    that guards them, and lets membarrier(2) interrupt the threads that have seen the old one.
 *    Elsewhere every push swaps.
 *  - A pop reads the slot, then moves head; it never writes a slot. The item was read before the
 *    slot could be used again, or else head has moved and the swap of head fails.
 *  - close lets the pop that finds the ring empty seal the slot at the head, which settles the race
 *    with a push that began earlier.
 *  - Who relies on the ring being open looks at that last: behind the look at head that tells a push
 *    whether there is room, and behind the look at the slot that tells a pop that there is nothing.
 *    So close is one instant to all: what a push fills later could have gone in before it, and
 *    no answer tells of what others did after it.
 *  - any capacity up to the number of slots: position p may be filled once p - capacity is taken.
 *
 * That the answers of all calls are those of one order takes a little more than acquire and
 * release: nothing may pass a swap, neither way. Locked instructions of x86-64 are such, and on
 * aarch64 CASAL, or LDAXR and STLXR where what acquires is LDAR; C11 does not say it of the swap.
 * Where plain stores fill slots or move ends, full and empty may be news that is a store buffer old.
 *
 * Who moves the tail (the head) as the only thread so far does it by a plain store as well, in a
 * restartable sequence that is guarded by a word naming the thread: the bias of biased locking
 * (Kawachiya, Koseki, Onodera, OOPSLA 2002), applied to the ends of a queue. The second thread that
 * comes to either end ends the bias of both for good.
 */

/* In the mode, beside the roles. The rest of it counts revocations. */
#define QUEUE_IMPL_RING_CLOSED 4u
#define QUEUE_IMPL_RING_REVOKED UINT64_C(16)

/* Who moves an end: nobody yet, one thread (its queue_impl_thread()), undecided, or anybody. */
#define QUEUE_IMPL_RING_NOBODY UINT64_C(0)
#define QUEUE_IMPL_RING_UNDECIDED UINT64_C(1)
#define QUEUE_IMPL_RING_ANYBODY UINT64_C(2)

/* How far ahead of the tail a push asks for the line it will write. Measured: see the commit. */
#define QUEUE_IMPL_RING_AHEAD 16u

/*
 * What a push or pop answers, and the position it happened at. By value, in two registers: a local
 * whose address escapes would be stored before every locked instruction, which then waits for it.
 */
struct queue_impl_ring_result {
	uint64_t position;
	int rc;
};

/* The cold halves, in lib/ring.c. `position`: where the push has a number already, if `claimed`. */
struct queue_impl_ring_result queue_impl_ring_push_slow(struct queue_ring *ring, void *item,
							uint64_t position, bool claimed);
struct queue_impl_ring_result queue_impl_ring_pop_slow(struct queue_ring *ring, void **item);
int queue_impl_ring_init_at(struct queue_ring *ring, size_t size, uint64_t capacity, unsigned flags,
			    uint64_t first);

/* The seq of a slot that holds `position`; one less: that is sealed there. */
queue_impl_inline uint64_t
queue_impl_ring_seq(uint64_t position)
{
	return position << 1 | 1;
}

queue_impl_inline struct queue_impl_pair *
queue_impl_ring_slot(const struct queue_ring *ring, uint64_t position)
{
	return &ring->slots[position & ring->mask];
}

/* Is this position filled, and so every one before it (I3)? It may have been taken since. */
queue_impl_inline bool
queue_impl_ring_is_filled(const struct queue_ring *ring, uint64_t position)
{
	uint64_t seq =
		queue_impl_load_acq(&queue_impl_ring_slot(ring, position)->low); /* RING1 acquire */

	return (int64_t)(seq - queue_impl_ring_seq(position)) >= 0;
}

/* May a push take the number `tail`: is everything before it filled? */
queue_impl_inline bool
queue_impl_ring_is_next(const struct queue_ring *ring, uint64_t tail)
{
	return queue_impl_likely(queue_impl_load_acq(&ring->filled) == tail) || /* RING3 acquire */
	       queue_impl_ring_is_filled(ring, tail - 1);
}

/*
 * Moves one end of the ring, `word`, by the rule that `owner` states. False: somebody else has
 * moved it, or who may move it has to be decided first.
 */
queue_impl_inline bool
queue_impl_ring_move(struct queue_ring *ring, const uint64_t *owner, uint64_t *word, uint64_t from,
		     uint64_t to)
{
	uint64_t who = queue_impl_load_acq(owner); /* RING6 acquire */

#if defined QUEUE_IMPL_RSEQ
	if (who != QUEUE_IMPL_RING_ANYBODY)
		return queue_impl_rseq_move_rel(ring->rseq, owner, word, from, to);
#else
	(void)ring;
	if (who != QUEUE_IMPL_RING_ANYBODY)
		return false;
#endif
	return queue_impl_cas_acq_rel(word, &from, to);
}

/*
 * Moves an end that only one thread may move, by promise. A plain store is enough. Against several
 * threads at the `other` end it is too fast, though: it would run into them all the time, each time
 * taking a line away that they are writing. A swap is slow just as theirs are.
 */
queue_impl_inline void
queue_impl_ring_move_alone(const uint64_t *other, uint64_t *word, uint64_t from, uint64_t to)
{
	/* Relaxed: it says what is faster. */
	if (queue_impl_load_rlx(other) == QUEUE_IMPL_RING_ANYBODY)
		(void)queue_impl_cas_acq_rel(word, &from, to);
	else
		queue_impl_store_rel(word, to);
}

/*
 * Fills a position that is not filled, whose plain store has been revoked or was never begun: by a
 * swap, since several may try. False: somebody else has filled it, or it is sealed, or it changed.
 */
queue_impl_inline bool
queue_impl_ring_swap_in(struct queue_ring *ring, uint64_t position, void *item)
{
	struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);
	uint64_t filled = queue_impl_ring_seq(position);
	uint64_t seq = queue_impl_load_acq(&slot->low); /* RING1 acquire */
	/* Relaxed: the swap fails unless this is what seq belongs to. */
	uint64_t old = queue_impl_load_rlx(&slot->high);

	/* Sealed is just one less than filled. */
	return (int64_t)(seq - filled) < -1 &&
	       queue_impl_cas_pair_acq_rel(slot, seq, old, filled,
					   (uint64_t)(uintptr_t)item); /* RING1 release */
}

/* Fills the position that this push has the number of. False: by a swap, if at all. */
queue_impl_inline bool
queue_impl_ring_fill(struct queue_ring *ring, uint64_t mode, uint64_t position, void *item)
{
	struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);
	uint64_t seq = queue_impl_ring_seq(position);

	if (mode & QUEUE_SINGLE_PRODUCER) {
		/* Relaxed: published by the store of seq. */
		queue_impl_store_rlx(&slot->high, (uint64_t)(uintptr_t)item);
		queue_impl_store_rel(&slot->low, seq); /* RING1 release */
		return true;
	}
#if defined QUEUE_IMPL_RSEQ
	return queue_impl_likely(ring->rseq != 0) &&
	       queue_impl_rseq_store_pair_rel(ring->rseq, &ring->mode, mode, slot, seq,
					      (uint64_t)(uintptr_t)item); /* RING1 release */
#else
	return queue_impl_ring_swap_in(ring, position, item);
#endif
}

queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_result(int rc, uint64_t position)
{
	struct queue_impl_ring_result result;

	result.rc = rc;
	result.position = position;
	return result;
}

/* How many more items there is surely room for; a copy of head says, which lags (RING4). */
queue_impl_inline int64_t
queue_impl_ring_room(const struct queue_ring *ring, uint64_t tail)
{
	return (int64_t)(ring->capacity -
			 (tail - queue_impl_load_acq(&ring->head_seen))); /* RING4 acquire */
}

queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_push(struct queue_ring *ring, void *item)
{
	uint64_t mode, tail;
	int64_t room;

	tail = queue_impl_load_acq(&ring->tail); /* RING3 acquire */
	room = queue_impl_ring_room(ring, tail);
	/* After that, so that there was room before it was closed: see the comment above. */
	mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */
	if (room <= 0 || (mode & QUEUE_IMPL_RING_CLOSED))
		return queue_impl_ring_push_slow(ring, item, tail, false);
	/* Only into lines that consumers are known to have left. */
	if (tail % 4 == 0 && room > (int64_t)QUEUE_IMPL_RING_AHEAD)
		queue_impl_prefetch_to_write(
			queue_impl_ring_slot(ring, tail + QUEUE_IMPL_RING_AHEAD));
	if (mode & QUEUE_SINGLE_PRODUCER) {
		(void)queue_impl_ring_fill(ring, mode, tail, item);
		queue_impl_ring_move_alone(&ring->consumer, &ring->tail, tail,
					   tail + 1); /* RING3 release */
		return queue_impl_ring_result(0, tail);
	}
	if (!queue_impl_ring_is_next(ring, tail) ||
	    !queue_impl_ring_move(ring, &ring->producer, &ring->tail, tail, tail + 1))
		return queue_impl_ring_push_slow(ring, item, tail, false);
	if (queue_impl_unlikely(!queue_impl_ring_fill(ring, mode, tail, item)))
		return queue_impl_ring_push_slow(ring, item, tail, true);
	queue_impl_store_rel(&ring->filled, tail + 1); /* RING3 release */
	return queue_impl_ring_result(0, tail);
}

/* An empty poll writes nothing. */
queue_impl_inline struct queue_impl_ring_result
queue_impl_ring_pop(struct queue_ring *ring, void **item)
{
	const struct queue_impl_pair *slot;
	uint64_t mode, head, seq, value;

	head = queue_impl_load_acq(&ring->head); /* RING4 acquire */
	slot = queue_impl_ring_slot(ring, head);
	seq = queue_impl_load_acq(&slot->low); /* RING1 acquire */
	/* After that, so that it was empty before it was closed. */
	mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */
	if (seq != queue_impl_ring_seq(head)) {
		if ((int64_t)(seq - queue_impl_ring_seq(head)) < 0 &&
		    !(mode & QUEUE_IMPL_RING_CLOSED))
			return queue_impl_ring_result(-EAGAIN, head);
		return queue_impl_ring_pop_slow(ring, item);
	}
	/* Relaxed: should the slot be used again before head moves, then head has moved already. */
	value = queue_impl_load_rlx(&slot->high);
	if (mode & QUEUE_SINGLE_CONSUMER)
		queue_impl_ring_move_alone(&ring->producer, &ring->head, head,
					   head + 1); /* RING4 release */
	else if (!queue_impl_ring_move(ring, &ring->consumer, &ring->head, head,
				       head + 1)) /* RING4 release */
		return queue_impl_ring_pop_slow(ring, item);
	*item = (void *)(uintptr_t)value;
	return queue_impl_ring_result(0, head);
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
