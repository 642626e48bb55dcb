/* SPDX-License-Identifier: BSD-2-Clause */
#include <conveyor/ring.h>

#include "alloc_impl.h"
#include "rseq_impl.h"

#include <string.h>

/* The layout, in one place: who writes lies apart from who else writes. */
_Static_assert(sizeof(struct queue_impl_pair) == 16, "a slot is what one swap covers");
_Static_assert(offsetof(struct queue_ring, consumer) < QUEUE_IMPL_LINE,
	       "what calls read is one line");
_Static_assert(offsetof(struct queue_ring, tail) == QUEUE_IMPL_APART, "producers' lines");
_Static_assert(offsetof(struct queue_ring, head) == 2 * QUEUE_IMPL_APART, "consumers' lines");
_Static_assert(sizeof(struct queue_ring) == 3 * QUEUE_IMPL_APART, "the slots follow, aligned");

#define ROLES (QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)

/* How often a push looks whether another one, which has its number already, fills its slot. */
#define PATIENCE 64

/*
 * A push that finds room for a few items only, where there is some for many, stays away from head
 * for a moment: consumers move it all the time, and each look takes the line away from them.
 */
#define FEW 16
#define MANY 64
#define PACE 4 /* pauses */

/* How often the depth is looked at until nothing has moved meanwhile. */
#define LOOKS 8

/* The most items that push_n and pop_n move an end by at once. */
#define STRIDE 64

static uint64_t
slots_for(uint64_t capacity)
{
	uint64_t slots = 1;

	while (slots < capacity)
		slots *= 2;
	return slots;
}

size_t
queue_ring_footprint(uint64_t capacity, unsigned flags)
{
	size_t size;

	if (capacity == 0 || capacity > QUEUE_CAPACITY_MAX || (flags & ~ROLES))
		return 0;
	size = sizeof(struct queue_ring) + slots_for(capacity) * sizeof(struct queue_impl_pair);
	return (size + QUEUE_RING_ALIGNMENT - 1) & ~(size_t)(QUEUE_RING_ALIGNMENT - 1);
}

/* Starts at any position, so that tests see what happens when positions wrap. */
int
queue_impl_ring_init_at(struct queue_ring *ring, size_t size, uint64_t capacity, unsigned flags,
			uint64_t first)
{
	size_t footprint = queue_ring_footprint(capacity, flags);
	uint64_t position, slots;

	if (!ring || (uintptr_t)ring % QUEUE_RING_ALIGNMENT || footprint == 0 || size < footprint)
		return -EINVAL;
	slots = slots_for(capacity);
	memset(ring, 0, sizeof *ring);
	ring->mask = slots - 1;
	ring->capacity = capacity;
	ring->first = first;
	ring->mode = flags;
	ring->tail = ring->filled = ring->head = ring->head_seen = first;
	ring->rseq = queue_impl_rseq_area();
	ring->producer = ring->consumer = ring->rseq ? QUEUE_IMPL_RING_NOBODY
						     : QUEUE_IMPL_RING_ANYBODY;
	ring->slots = (struct queue_impl_pair *)(ring + 1);
	for (position = first - slots; position != first; position++) {
		struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);

		slot->low = queue_impl_ring_seq(position);
		slot->high = 0;
	}
	return 0;
}

int
queue_ring_init(struct queue_ring *ring, size_t size, uint64_t capacity, unsigned flags)
{
	return queue_impl_ring_init_at(ring, size, capacity, flags, 0);
}

void
queue_ring_fini(struct queue_ring *ring)
{
	(void)ring;
}

int
queue_ring_create(struct queue_ring **out, uint64_t capacity, unsigned flags,
		  const struct queue_allocator *allocator)
{
	size_t size = queue_ring_footprint(capacity, flags);
	struct queue_ring *ring;
	int rc;

	allocator = queue_impl_allocator(allocator);
	if (!out || !allocator || size == 0)
		return -EINVAL;
	ring = (struct queue_ring *)allocator->allocate(allocator->context, size,
							QUEUE_RING_ALIGNMENT);
	if (!ring)
		return -ENOMEM;
	rc = queue_ring_init(ring, size, capacity, flags);
	if (rc) {
		allocator->release(allocator->context, ring, size, QUEUE_RING_ALIGNMENT);
		return rc;
	}
	ring->allocator = allocator;
	ring->size = size;
	*out = ring;
	return 0;
}

void
queue_ring_destroy(struct queue_ring *ring)
{
	if (!ring)
		return;
	queue_ring_fini(ring);
	ring->allocator->release(ring->allocator->context, ring, ring->size, QUEUE_RING_ALIGNMENT);
}

/*
 * Afterwards no plain store is under way any more that was begun by a push with a number taken
 * before, or with the mode read before: it is done, or its push will have to swap.
 */
static void
revoke(struct queue_ring *ring)
{
	if (!ring->rseq)
		return;
	(void)queue_impl_fetch_add_acq_rel(&ring->mode, QUEUE_IMPL_RING_REVOKED);
	queue_impl_rseq_interrupt();
}

/* Takes an end away from the thread it belongs to, if any: its sequences fail from here on. */
static void
unsettle(uint64_t *owner)
{
	uint64_t who = queue_impl_load_acq(owner);

	while (who != QUEUE_IMPL_RING_ANYBODY && who != QUEUE_IMPL_RING_UNDECIDED &&
	       !queue_impl_cas_acq_rel(owner, &who, QUEUE_IMPL_RING_UNDECIDED))
		continue;
}

/*
 * Settles who moves an end, and says whether the caller may, by swaps at least. The first thread
 * gets it for itself. The second takes it away, and the other end with it: one side that is much
 * faster than the other keeps running into it, which measured far worse than none being so. After
 * the interruption no sequence is under way that had seen the words as they were. Who comes
 * meanwhile does the same, and waits for nobody.
 */
static bool
settle(struct queue_ring *ring, uint64_t *owner)
{
	uint64_t who = queue_impl_load_acq(owner);

	if (who == QUEUE_IMPL_RING_ANYBODY)
		return true;
#if defined QUEUE_IMPL_RSEQ
	if (who == queue_impl_thread())
		return true;
	if (who == QUEUE_IMPL_RING_NOBODY)
		return queue_impl_cas_acq_rel(owner, &who, queue_impl_thread());
#endif
	unsettle(&ring->producer);
	unsettle(&ring->consumer);
	queue_impl_rseq_interrupt();
	queue_impl_store_rel(&ring->producer, QUEUE_IMPL_RING_ANYBODY); /* RING6 release */
	queue_impl_store_rel(&ring->consumer, QUEUE_IMPL_RING_ANYBODY); /* RING6 release */
	return true;
}

/* Does nobody but the calling thread move this end? */
static bool
is_ours(const uint64_t *owner)
{
#if defined QUEUE_IMPL_RSEQ
	return queue_impl_load_acq(owner) == queue_impl_thread();
#else
	(void)owner;
	return false;
#endif
}

/*
 * Moves an end as queue_impl_ring_move does, but always by a swap, which the thread that an end
 * belongs to may use as well: a sequence could be interrupted each time, as by single stepping.
 */
static bool
move_surely(struct queue_ring *ring, uint64_t *owner, uint64_t *word, uint64_t from, uint64_t to)
{
	return settle(ring, owner) && queue_impl_cas_acq_rel(word, &from, to);
}

/* The first position that is not filled, of those before `tail` that have been given out. */
static uint64_t
first_unfilled(const struct queue_ring *ring, uint64_t tail)
{
	while (!queue_impl_ring_is_filled(ring, tail - 1))
		tail--;
	return tail;
}

/* Where head is; when that makes room for few items, where it is a moment later. */
static uint64_t
look_at_head(const struct queue_ring *ring, uint64_t tail)
{
	uint64_t head = queue_impl_load_acq(&ring->head); /* RING4 acquire */
	int64_t room = (int64_t)(ring->capacity - (tail - head));
	unsigned i;

	if (room <= 0 || room >= FEW || ring->capacity < MANY || is_ours(&ring->consumer))
		return head;
	for (i = 0; i < PACE; i++)
		queue_impl_pause();
	return queue_impl_load_acq(&ring->head); /* RING4 acquire */
}

/*
 * Before `tail` somebody was stopped between taking a number and filling its slot, unless he is done
 * by now: then false. Otherwise *position is where our item may be swapped in instead of his.
 */
static bool
overtake(struct queue_ring *ring, uint64_t tail, uint64_t *position)
{
	*position = first_unfilled(ring, tail);
	if (*position == tail)
		return false;
	revoke(ring);
	return true;
}

queue_impl_cold struct queue_impl_ring_result
queue_impl_ring_push_slow(struct queue_ring *ring, void *item, uint64_t position, bool claimed)
{
	uint64_t watched = position;
	unsigned looks = 0;

	for (;;) {
		uint64_t mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */
		uint64_t tail, head;

		if (mode & QUEUE_IMPL_RING_CLOSED)
			return queue_impl_ring_result(-EPIPE, position);
		/* The position can be filled by swaps only. That somebody else does it is progress. */
		if (claimed) {
			if (queue_impl_ring_swap_in(ring, position, item)) {
				queue_impl_store_rel(&ring->filled,
						     position + 1); /* RING3 release */
				return queue_impl_ring_result(0, position);
			}
			claimed = !queue_impl_ring_is_filled(ring, position);
			continue;
		}
		tail = queue_impl_load_acq(&ring->tail); /* RING3 acquire */
		if (!(mode & QUEUE_SINGLE_PRODUCER) && !queue_impl_ring_is_next(ring, tail)) {
			/* Always the same push that is not done, or one after the other? */
			if (tail != watched)
				looks = 0;
			watched = tail;
			if (looks++ < PATIENCE) {
				queue_impl_pause();
				continue;
			}
			looks = 0;
			claimed = overtake(ring, tail, &position);
			continue;
		}
		/* All before the tail is filled, so what head says now decides on full. */
		head = look_at_head(ring, tail);
		/* Room that was made after the close is nobody's, see impl/ring.h. */
		mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */
		if (mode & QUEUE_IMPL_RING_CLOSED)
			return queue_impl_ring_result(-EPIPE, tail);
		if ((int64_t)(tail - head) >= (int64_t)ring->capacity)
			return queue_impl_ring_result(-EAGAIN, tail);
		queue_impl_store_rel(&ring->head_seen, head); /* RING4 release */
		if (mode & QUEUE_SINGLE_PRODUCER) {
			(void)queue_impl_ring_fill(ring, mode, tail, item);
			queue_impl_store_rel(&ring->tail, tail + 1); /* RING3 release */
			return queue_impl_ring_result(0, tail);
		}
		if (!move_surely(ring, &ring->producer, &ring->tail, tail, tail + 1))
			continue;
		if (queue_impl_ring_fill(ring, mode, tail, item)) {
			queue_impl_store_rel(&ring->filled, tail + 1); /* RING3 release */
			return queue_impl_ring_result(0, tail);
		}
		position = tail;
		claimed = true;
	}
}

/*
 * The ring was seen empty and closed, but a push may have looked before it was closed and be about
 * to fill the slot. Whoever changes the slot first decides: our seal, or its item.
 */
static bool
seal(struct queue_ring *ring, uint64_t position)
{
	struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);
	uint64_t seal = queue_impl_ring_seq(position) - 1;
	uint64_t seq = queue_impl_load_acq(&slot->low); /* RING1 acquire */
	/* Relaxed: the swap fails unless this is what seq belongs to. */
	uint64_t old = queue_impl_load_rlx(&slot->high);

	if (seq == seal)
		return true;
	revoke(ring);
	return (int64_t)(seq - seal) < 0 &&
	       queue_impl_cas_pair_acq_rel(slot, seq, old, seal, old); /* RING5 release */
}

queue_impl_cold struct queue_impl_ring_result
queue_impl_ring_pop_slow(struct queue_ring *ring, void **item)
{
	for (;;) {
		uint64_t mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */
		uint64_t head = queue_impl_load_acq(&ring->head); /* RING4 acquire */
		const struct queue_impl_pair *slot = queue_impl_ring_slot(ring, head);
		uint64_t seq = queue_impl_load_acq(&slot->low); /* RING1 acquire */
		int64_t ahead = (int64_t)(seq - queue_impl_ring_seq(head));

		if (ahead > 0)
			continue; /* it was taken, and used again: head has moved */
		if (ahead == 0) {
			/* Relaxed: see queue_impl_ring_pop. */
			uint64_t value = queue_impl_load_rlx(&slot->high);

			if (mode & QUEUE_SINGLE_CONSUMER) {
				queue_impl_store_rel(&ring->head, head + 1); /* RING4 release */
			} else if (!move_surely(ring, &ring->consumer, &ring->head, head,
						head + 1)) { /* RING4 release */
				continue;
			}
			*item = (void *)(uintptr_t)value;
			return queue_impl_ring_result(0, head);
		}
		if (!(mode & QUEUE_IMPL_RING_CLOSED)) {
			/* Only if it is open even now was it so when the slot was found empty. */
			if (queue_impl_load_acq(&ring->mode) &
			    QUEUE_IMPL_RING_CLOSED) /* RING5 acquire */
				continue;
			return queue_impl_ring_result(-EAGAIN, head);
		}
		/* The single producer closes after its last push, so all of it is visible now. */
		if ((mode & QUEUE_SINGLE_PRODUCER) || seal(ring, head))
			return queue_impl_ring_result(-EPIPE, head);
	}
}

static int64_t
smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/*
 * Takes up to n numbers at once: how many, 0 when the ring is full, -EBUSY when the step must be
 * left to the slow half, which knows how to go on in every case.
 */
static int64_t
claim(struct queue_ring *ring, uint64_t mode, uint64_t tail, int64_t n)
{
	int64_t room = queue_impl_ring_room(ring, tail);

	if (!(mode & QUEUE_SINGLE_PRODUCER) && !queue_impl_ring_is_next(ring, tail))
		return -EBUSY;
	if (room < n) {
		uint64_t head = look_at_head(ring, tail);

		room = (int64_t)(ring->capacity - (tail - head));
		if (room > 0)
			queue_impl_store_rel(&ring->head_seen, head); /* RING4 release */
	}
	/* Behind the look at head: see impl/ring.h. */
	if (queue_impl_load_acq(&ring->mode) & QUEUE_IMPL_RING_CLOSED) /* RING5 acquire */
		return -EBUSY;
	if (room <= 0)
		return 0;
	n = smaller(n, room);
	if (mode & QUEUE_SINGLE_PRODUCER)
		return n;
	return queue_impl_ring_move(ring, &ring->producer, &ring->tail, tail, tail + (uint64_t)n)
		       ? n
		       : -EBUSY;
}

/*
 * Fills the positions [tail, tail + n), whose numbers this call has. Somebody who found us stopped
 * may have filled some of them with his items; ours keep their order in what is left. Returns how
 * many of ours went in.
 */
static ptrdiff_t
fill_n(struct queue_ring *ring, uint64_t mode, uint64_t tail, int64_t n, void *const *items)
{
	uint64_t end = tail + (uint64_t)n;
	ptrdiff_t done = 0;

	for (; tail != end && queue_impl_ring_fill(ring, mode, tail, items[done]); tail++)
		done++;
	if (mode & QUEUE_SINGLE_PRODUCER) {
		queue_impl_store_rel(&ring->tail, end); /* RING3 release */
		return done;
	}
	while (tail != end) {
		if (queue_impl_ring_swap_in(ring, tail, items[done])) {
			done++;
			tail++;
		} else if (queue_impl_ring_is_filled(ring, tail)) {
			tail++;
		} else if (queue_impl_load_acq(&ring->mode) &
			   QUEUE_IMPL_RING_CLOSED) { /* RING5 acquire */
			break;
		}
	}
	queue_impl_store_rel(&ring->filled, tail); /* RING3 release */
	return done;
}

ptrdiff_t
queue_ring_push_n(struct queue_ring *ring, void *const *items, ptrdiff_t n)
{
	ptrdiff_t done = 0;

	if (n < 0)
		return -EINVAL;
	do {
		uint64_t mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */
		uint64_t tail = queue_impl_load_acq(&ring->tail); /* RING3 acquire */
		int64_t claimed;

		if (mode & QUEUE_IMPL_RING_CLOSED)
			return done > 0 ? done : -EPIPE;
		if (n == 0)
			return 0;
		claimed = claim(ring, mode, tail, smaller(n - done, STRIDE));
		if (claimed == 0)
			return done;
		if (claimed > 0) {
			done += fill_n(ring, mode, tail, claimed, items + done);
		} else {
			int rc = queue_impl_ring_push_slow(ring, items[done], tail, false).rc;

			if (rc == -EAGAIN)
				return done;
			done += rc == 0;
		}
	} while (done < n);
	return done;
}

/* Reads up to n items at the head, and moves it behind them: how many, or 0. */
static ptrdiff_t
take_n(struct queue_ring *ring, uint64_t mode, void **items, ptrdiff_t n)
{
	uint64_t head = queue_impl_load_acq(&ring->head); /* RING4 acquire */
	ptrdiff_t there;

	for (there = 0; there < n; there++) {
		uint64_t position = head + (uint64_t)there;
		const struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);

		if (queue_impl_load_acq(&slot->low) !=
		    queue_impl_ring_seq(position)) /* RING1 acquire */
			break;
		/* Relaxed: see queue_impl_ring_pop. */
		items[there] = (void *)(uintptr_t)queue_impl_load_rlx(&slot->high);
	}
	if (there == 0)
		return 0;
	if (mode & QUEUE_SINGLE_CONSUMER)
		queue_impl_store_rel(&ring->head, head + (uint64_t)there); /* RING4 release */
	else if (!queue_impl_ring_move(ring, &ring->consumer, &ring->head, head,
				       head + (uint64_t)there)) /* RING4 release */
		return 0;
	return there;
}

ptrdiff_t
queue_ring_pop_n(struct queue_ring *ring, void **items, ptrdiff_t n)
{
	uint64_t mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */
	ptrdiff_t done = 0;

	if (n < 0)
		return -EINVAL;
	while (done < n) {
		ptrdiff_t taken =
			take_n(ring, mode, items + done, (ptrdiff_t)smaller(n - done, STRIDE));

		if (taken == 0) {
			/* Lost a race, empty or closed: the slow half knows all of these. */
			int rc = queue_impl_ring_pop_slow(ring, &items[done]).rc;

			if (rc == -EAGAIN || (rc == -EPIPE && done > 0))
				break;
			if (rc)
				return rc;
			taken = 1;
		}
		done += taken;
	}
	return done;
}

void
queue_ring_close(struct queue_ring *ring)
{
	uint64_t mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */

	/* A locked operation, so that it is seen everywhere before close returns. */
	while (!queue_impl_cas_acq_rel(&ring->mode, &mode,
				       mode | QUEUE_IMPL_RING_CLOSED)) /* RING5 release */
		continue;
}

/* How far the ring is filled. */
static uint64_t
filled_of(const struct queue_ring *ring, uint64_t mode)
{
	uint64_t tail = queue_impl_load_acq(&ring->tail); /* RING3 acquire */

	if (!(mode & QUEUE_SINGLE_PRODUCER))
		return first_unfilled(ring, tail);
	/* A single producer fills first, up to STRIDE positions, and moves the tail then. */
	while (queue_impl_ring_is_filled(ring, tail))
		tail++;
	return tail;
}

/*
 * How many are inside. Between two looks at head that see the same, what is filled says it exactly;
 * when head keeps moving, at least as many as are left at the last look.
 */
static uint64_t
depth_of(const struct queue_ring *ring, uint64_t mode)
{
	uint64_t head = queue_impl_load_acq(&ring->head), before, tail; /* RING4 acquire */
	int i;

	for (i = 0; i < LOOKS; i++) {
		before = head;
		tail = filled_of(ring, mode);
		head = queue_impl_load_acq(&ring->head); /* RING4 acquire */
		if (head == before)
			return tail - head;
	}
	return (int64_t)(tail - head) > 0 ? tail - head : 0;
}

void
queue_ring_stats(const struct queue_ring *ring, struct queue_ring_stats *out)
{
	uint64_t mode = queue_impl_load_acq(&ring->mode); /* RING5 acquire */

	out->capacity = ring->capacity;
	/* Head first: it passes nothing that is filled later, so more is never popped than pushed. */
	out->popped = queue_impl_load_acq(&ring->head) - ring->first; /* RING4 acquire */
	out->pushed = filled_of(ring, mode) - ring->first;
	out->depth = depth_of(ring, mode);
	out->closed = (mode & QUEUE_IMPL_RING_CLOSED) != 0;
}

uint64_t
queue_ring_depth_approx(const struct queue_ring *ring)
{
	return depth_of(ring, queue_impl_load_acq(&ring->mode)); /* RING5 acquire */
}
