/* SPDX-License-Identifier: BSD-2-Clause */
#include <conveyor/ring.h>

#include "alloc_impl.h"

#include <string.h>

/* The layout, in one place: who writes lies apart from who else writes. */
_Static_assert(sizeof(struct queue_impl_pair) == 16, "a slot is what one swap covers");
_Static_assert(offsetof(struct queue_ring, mode) < QUEUE_IMPL_LINE, "what calls read is one line");
_Static_assert(offsetof(struct queue_ring, tail) == QUEUE_IMPL_APART, "producers' lines");
_Static_assert(offsetof(struct queue_ring, head) == 2 * QUEUE_IMPL_APART, "consumers' lines");
_Static_assert(sizeof(struct queue_ring) == 3 * QUEUE_IMPL_APART, "the slots follow, aligned");

#define ROLES (QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)

static uint64_t
slots_for(uint64_t capacity)
{
	uint64_t slots = 1;

	while (slots < capacity)
		slots *= 2;
	return slots;
}

static bool
is_indexed(unsigned flags)
{
	return (flags & ROLES) == ROLES;
}

size_t
queue_ring_footprint(uint64_t capacity, unsigned flags)
{
	size_t slot = is_indexed(flags) ? sizeof(uint64_t) : sizeof(struct queue_impl_pair);
	size_t size;

	if (capacity == 0 || capacity > QUEUE_CAPACITY_MAX || (flags & ~ROLES))
		return 0;
	size = sizeof(struct queue_ring) + slots_for(capacity) * slot;
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
	ring->tail = ring->head = ring->head_seen = ring->tail_seen = first;
	if (is_indexed(flags)) {
		ring->mode |= QUEUE_IMPL_RING_INDEXED;
		ring->cells = (uint64_t *)(ring + 1);
		memset(ring->cells, 0, slots * sizeof *ring->cells);
		return 0;
	}
	ring->slots = (struct queue_impl_pair *)(ring + 1);
	for (position = first; position != first + slots; position++) {
		struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);

		slot->low = queue_impl_ring_seq(position, QUEUE_IMPL_RING_FREE);
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

/* Positions before the tail are filled, positions before the head taken: passed, at that end. */
enum end {
	TAIL,
	HEAD
};

/* `position` itself if it is not passed, or else what its slot says must come after it. */
static uint64_t
beyond(const struct queue_ring *ring, uint64_t position, enum end end)
{
	uint64_t seq = queue_impl_load_acq(
		&queue_impl_ring_slot(ring, position)->low); /* RING1, RING2 acquire */
	uint64_t lap = end == HEAD ? ring->mask + 1 : 0;
	int64_t ahead = (int64_t)(seq - queue_impl_ring_seq(position + lap, QUEUE_IMPL_RING_FREE));
	uint64_t served;

	if (ahead < 0 || (end == TAIL && ahead == QUEUE_IMPL_RING_FREE))
		return position;
	served = position + lap + (uint64_t)(ahead >> 2);
	switch (seq & 3) {
	case QUEUE_IMPL_RING_FREE:
		return served - ring->mask;
	case QUEUE_IMPL_RING_FULL:
		return end == HEAD ? served + 1 - ring->capacity : served + 1;
	default: /* sealed: the tail stays there, and the head comes no further */
		return served;
	}
}

/*
 * Where is this end, starting at a position before which everything is passed? Who fills (takes) a
 * position has seen all before it filled (taken), so one that is passed vouches for those before
 * it (RING1, RING2). A hint may lag by any distance: the stride doubles, and a slot of a later lap
 * says at once how far to jump.
 */
static uint64_t
seek(const struct queue_ring *ring, uint64_t position, enum end end)
{
	uint64_t stride = 1;

	for (;;) {
		uint64_t probe = position + stride - 1;
		uint64_t next = beyond(ring, probe, end);

		if (next != probe) {
			position = next;
			if (stride <= ring->mask / 2)
				stride *= 2;
		} else if (stride == 1) {
			return position;
		} else {
			stride = 1;
		}
	}
}

queue_impl_cold struct queue_impl_ring_result
queue_impl_ring_push_slow(struct queue_ring *ring, void *item, uint64_t position)
{
	for (;;) {
		uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
		int rc;

		if (mode & QUEUE_IMPL_RING_CLOSED)
			return queue_impl_ring_result(-EPIPE, position);
		rc = queue_impl_ring_fill(ring, mode, position, item);
		if (rc == 0)
			queue_impl_store_rel(&ring->tail, position + 1); /* RING3 release */
		if (rc != QUEUE_IMPL_RING_PASSED)
			return queue_impl_ring_result(rc, position);
		position = seek(ring, position, TAIL);
	}
}

/*
 * The ring was seen empty and closed, but a push may have looked before it was closed and be about
 * to fill the slot. Whoever changes the slot first decides: our seal, or its item.
 */
static bool
seal(struct queue_ring *ring, uint32_t mode, uint64_t position)
{
	struct queue_impl_pair *slot = queue_impl_ring_slot(ring, position);
	uint64_t seq = queue_impl_ring_seq(position, QUEUE_IMPL_RING_FREE);
	uint64_t old;

	/* The single producer closes after its last push, so what was pushed is visible now. */
	if (mode & QUEUE_SINGLE_PRODUCER)
		return queue_impl_load_acq(&slot->low) == seq; /* RING1 acquire */
	/* Relaxed: the swap fails unless this is what seq guards. */
	old = queue_impl_load_rlx(&slot->high);
	return queue_impl_cas_pair_acq_rel(slot, seq, old, seq | QUEUE_IMPL_RING_SEALED, old);
}

queue_impl_cold struct queue_impl_ring_result
queue_impl_ring_pop_slow(struct queue_ring *ring, void **item, uint64_t position)
{
	for (;;) {
		uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
		int rc = queue_impl_ring_take(ring, mode, position, item);

		if (rc == 0)
			queue_impl_store_rel(&ring->head, position + 1); /* RING4 release */
		if (rc == 0 || (rc == -EAGAIN && !(mode & QUEUE_IMPL_RING_CLOSED)))
			return queue_impl_ring_result(rc, position);
		if (rc == -EAGAIN) {
			if (seal(ring, mode, position))
				return queue_impl_ring_result(-EPIPE, position);
			continue;
		}
		if (queue_impl_load_acq(&queue_impl_ring_slot(ring, position)->low) ==
		    queue_impl_ring_seq(position, QUEUE_IMPL_RING_SEALED)) /* RING5 acquire */
			return queue_impl_ring_result(-EPIPE, position);
		position = seek(ring, position, HEAD);
	}
}

static ptrdiff_t
push_n_indexed(struct queue_ring *ring, void *const *items, ptrdiff_t n)
{
	uint64_t tail = queue_impl_load_rlx(&ring->tail); /* relaxed: our own */
	uint64_t head = ring->head_seen;
	uint64_t room = ring->capacity - (tail - head);
	ptrdiff_t i;

	if (room < (uint64_t)n) {
		head = queue_impl_load_acq(&ring->head); /* RING7 acquire */
		room = ring->capacity - (tail - head);
	}
	if (room < (uint64_t)n)
		n = (ptrdiff_t)room;
	if (n == 0)
		return 0;
	ring->head_seen = head;
	for (i = 0; i < n; i++)
		ring->cells[(tail + (uint64_t)i) & ring->mask] = (uint64_t)(uintptr_t)items[i];
	queue_impl_store_rel(&ring->tail, tail + (uint64_t)n); /* RING6 release */
	return n;
}

static ptrdiff_t
pop_n_indexed(struct queue_ring *ring, void **items, ptrdiff_t n)
{
	uint64_t head = queue_impl_load_rlx(&ring->head); /* relaxed: our own */
	uint64_t tail = ring->tail_seen;
	uint64_t there = tail - head;
	ptrdiff_t i;

	if (there < (uint64_t)n) {
		tail = queue_impl_load_acq(&ring->tail); /* RING6 acquire */
		there = tail - head;
	}
	if (there < (uint64_t)n)
		n = (ptrdiff_t)there;
	if (n == 0)
		return 0;
	ring->tail_seen = tail;
	for (i = 0; i < n; i++)
		items[i] = (void *)(uintptr_t)ring->cells[(head + (uint64_t)i) & ring->mask];
	queue_impl_store_rel(&ring->head, head + (uint64_t)n); /* RING7 release */
	return n;
}

ptrdiff_t
queue_ring_push_n(struct queue_ring *ring, void *const *items, ptrdiff_t n)
{
	uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
	uint64_t position;
	ptrdiff_t done = 0;

	if (n < 0)
		return -EINVAL;
	if (mode & QUEUE_IMPL_RING_CLOSED)
		return -EPIPE;
	if (mode & QUEUE_IMPL_RING_INDEXED)
		return push_n_indexed(ring, items, n);
	position = queue_impl_load_acq(&ring->tail); /* RING3 acquire */
	while (done < n) {
		int rc = queue_impl_ring_fill(ring, mode, position, items[done]);

		if (rc == -EAGAIN)
			break;
		if (rc == 0) {
			position++;
			done++;
			continue;
		}
		mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
		if (mode & QUEUE_IMPL_RING_CLOSED) {
			if (done == 0)
				return -EPIPE;
			break;
		}
		position = seek(ring, position, TAIL);
	}
	if (done > 0)
		queue_impl_store_rel(&ring->tail, position); /* RING3 release */
	return done;
}

ptrdiff_t
queue_ring_pop_n(struct queue_ring *ring, void **items, ptrdiff_t n)
{
	uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
	uint64_t position;
	ptrdiff_t done = 0;

	if (n < 0)
		return -EINVAL;
	if (mode & QUEUE_IMPL_RING_INDEXED) {
		done = pop_n_indexed(ring, items, n);
		return done == 0 && n > 0 && (mode & QUEUE_IMPL_RING_CLOSED) ? -EPIPE : done;
	}
	position = queue_impl_load_acq(&ring->head); /* RING4 acquire */
	while (done < n) {
		int rc = queue_impl_ring_take(ring, mode, position, &items[done]);

		if (rc == 0) {
			position++;
			done++;
		} else if (done > 0 && rc == -EAGAIN) {
			break;
		} else {
			/* Lost a race, empty or closed: the slow half knows all of these. */
			struct queue_impl_ring_result result =
				queue_impl_ring_pop_slow(ring, &items[done], position);

			if (result.rc == -EAGAIN || (result.rc == -EPIPE && done > 0))
				break;
			if (result.rc)
				return result.rc;
			position = result.position + 1;
			done++;
		}
	}
	if (done > 0)
		queue_impl_store_rel(&ring->head, position); /* RING4 release */
	return done;
}

void
queue_ring_close(struct queue_ring *ring)
{
	uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */

	/* A locked operation, so that it is seen everywhere before close returns. */
	while (!queue_impl_cas32_acq_rel(&ring->mode, &mode,
					 mode | QUEUE_IMPL_RING_CLOSED)) /* RING5 release */
		continue;
}

static uint64_t
tail_of(const struct queue_ring *ring, uint32_t mode)
{
	uint64_t tail = queue_impl_load_acq(&ring->tail); /* RING3 acquire */

	return mode & QUEUE_IMPL_RING_INDEXED ? tail : seek(ring, tail, TAIL);
}

static uint64_t
head_of(const struct queue_ring *ring, uint32_t mode)
{
	uint64_t head = queue_impl_load_acq(&ring->head); /* RING4 acquire */

	return mode & QUEUE_IMPL_RING_INDEXED ? head : seek(ring, head, HEAD);
}

void
queue_ring_stats(const struct queue_ring *ring, struct queue_ring_stats *out)
{
	uint32_t mode = queue_impl_load32_acq(&ring->mode); /* RING5 acquire */
	/* Head first: it passes no tail that is read later, so the depth is never negative. */
	uint64_t head = head_of(ring, mode);
	uint64_t tail = tail_of(ring, mode);

	out->capacity = ring->capacity;
	out->pushed = tail - ring->first;
	out->popped = head - ring->first;
	out->depth = tail - head < ring->capacity ? tail - head : ring->capacity;
	out->closed = (mode & QUEUE_IMPL_RING_CLOSED) != 0;
}

uint64_t
queue_ring_depth_approx(const struct queue_ring *ring)
{
	struct queue_ring_stats stats;

	queue_ring_stats(ring, &stats);
	return stats.depth;
}
