/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring, one thread at a time: the contract of conveyor/ring.h line by line, a sequential model,
 * and, looking behind the API, what another thread may leave behind when it stops between two of
 * its steps.
 */
#include <conveyor/ring.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "unit.h"

#define MPMC 0u
#define SPMC QUEUE_SINGLE_PRODUCER
#define MPSC QUEUE_SINGLE_CONSUMER
#define SPSC (QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)

#define FOR_ALL_ROLES(flags) for (unsigned flags = 0; flags <= SPSC; flags++)

/*
 * A kind of ring is its roles, and perhaps SWAPS: as on a machine that has no restartable sequences.
 * On such a machine both kinds are the same.
 */
#define SWAPS 16u
#define ROLES_OF(kind) ((kind)&SPSC)
#define FOR_ALL_KINDS(kind) for (unsigned kind = 0; kind <= (SPSC | SWAPS); kind = next_kind(kind))
/* Those whose pushes take numbers. */
#define FOR_ALL_NUMBERED(kind) FOR_ALL_KINDS(kind) if (!(kind & QUEUE_SINGLE_PRODUCER))

static unsigned
next_kind(unsigned kind)
{
	return kind == SPSC ? SWAPS : kind + 1;
}

/* For loops: Criterion makes every assertion that holds an event, which costs microseconds. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d)", #condition, __LINE__);                    \
	} while (0)

static void *
item_of(uint64_t number)
{
	return (void *)(uintptr_t)number;
}

static uint64_t
number_of(void *item)
{
	return (uint64_t)(uintptr_t)item;
}

/* Memory that ends where an unmapped page begins, so that a step too far is seen. */
struct guarded {
	char *pages;
	size_t bytes; /* without the page behind */
	void *memory;
};

#define PAGE ((size_t)65536) /* a multiple of every page size there is */

/* The last one released, for the next of its size: tests that make thousands would only map memory. */
static struct guarded spare;

static struct guarded
guarded_allocate(size_t size)
{
	struct guarded area;

	area.bytes = (size + PAGE - 1) / PAGE * PAGE;
	if (spare.bytes == area.bytes) {
		area.pages = spare.pages;
		area.memory = area.pages + area.bytes - size;
		spare.bytes = 0;
		memset(area.memory, 0xa5, size);
		return area;
	}
	area.pages = mmap(NULL, area.bytes + PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(area.pages != MAP_FAILED);
	EXPECT(mprotect(area.pages + area.bytes, PAGE, PROT_NONE) == 0);
	area.memory = area.pages + area.bytes - size;
	return area;
}

static void
guarded_release(struct guarded *area)
{
	if (spare.bytes != 0)
		munmap(spare.pages, spare.bytes + PAGE);
	spare = *area;
}

/* A ring in guarded memory. */
struct made {
	struct queue_ring *ring;
	struct guarded area;
};

static void
init_kind(struct queue_ring *ring, uint64_t capacity, unsigned kind, uint64_t first)
{
	size_t size = queue_ring_footprint(capacity, ROLES_OF(kind));

	EXPECT(queue_impl_ring_init_at(ring, size, capacity, ROLES_OF(kind), first) == 0);
	if (kind & SWAPS) {
		ring->rseq = 0;
		if (!(kind & QUEUE_SINGLE_PRODUCER))
			ring->producer = QUEUE_IMPL_RING_ANYBODY;
		if (!(kind & QUEUE_SINGLE_CONSUMER))
			ring->consumer = QUEUE_IMPL_RING_ANYBODY;
	}
}

static struct made
make_at(uint64_t capacity, unsigned kind, uint64_t first)
{
	struct made made;

	made.area = guarded_allocate(queue_ring_footprint(capacity, ROLES_OF(kind)));
	made.ring = made.area.memory;
	init_kind(made.ring, capacity, kind, first);
	return made;
}

static struct made
make(uint64_t capacity, unsigned kind)
{
	return make_at(capacity, kind, 0);
}

static void
unmake(struct made *made)
{
	queue_ring_fini(made->ring);
	guarded_release(&made->area);
}

static uint64_t
depth(const struct queue_ring *ring)
{
	return queue_ring_depth_approx(ring);
}

/* ---- Making a ring -------------------------------------------------------------------------- */

Test(ring, footprint_is_zero_for_what_is_not_valid)
{
	FOR_ALL_ROLES(flags)
	{
		cr_assert_eq(queue_ring_footprint(0, flags), 0);
		cr_assert_eq(queue_ring_footprint(QUEUE_CAPACITY_MAX + 1, flags), 0);
		cr_assert_eq(queue_ring_footprint(UINT64_MAX, flags), 0);
		cr_assert_eq(queue_ring_footprint(16, flags | 4u), 0);
		cr_assert_eq(queue_ring_footprint(16, flags | 8u), 0);
		cr_assert_eq(queue_ring_footprint(16, flags | 1u << 31), 0);
	}
}

Test(ring, footprint_is_the_slots_and_less_than_a_page)
{
	FOR_ALL_ROLES(flags)
	{
		for (uint64_t slots = 1; slots <= QUEUE_CAPACITY_MAX; slots *= 2) {
			size_t size = queue_ring_footprint(slots, flags);

			EXPECT(size >= slots * 16 + sizeof(struct queue_ring));
			EXPECT(size < slots * 16 + 4096);
			/* Every capacity in between needs the next power of two. */
			if (slots > 2) {
				EXPECT(queue_ring_footprint(slots - 1, flags) == size);
				EXPECT(queue_ring_footprint(slots / 2 + 1, flags) == size);
			}
		}
	}
}

Test(ring, init_refuses_what_is_not_valid_and_writes_nothing)
{
	static const struct {
		size_t offset;	/* from an aligned address */
		int64_t excess; /* of the size over the footprint of 5 items */
		uint64_t capacity;
		unsigned flags;
	} table[] = {
		{0, 0, 0, MPMC},
		{0, 0, QUEUE_CAPACITY_MAX + 1, MPMC},
		{0, 0, QUEUE_CAPACITY_MAX, MPMC},
		{0, 0, UINT64_MAX, MPMC},
		{0, 0, 5, 4},
		{0, 0, 5, 8},
		{0, 0, 5, 1u << 31},
		{0, 0, 5, ~0u},
		{0, -1, 5, MPMC},
		{0, -1, 8, MPMC},
		{0, 0, 9, MPMC},
		{1, 0, 5, MPMC},
		{8, 0, 5, MPMC},
		{16, 0, 5, MPMC},
		{QUEUE_RING_ALIGNMENT / 2, 0, 5, MPMC},
	};
	size_t footprint = queue_ring_footprint(5, MPMC);
	size_t bytes = footprint + 2 * QUEUE_RING_ALIGNMENT;
	unsigned char *memory = aligned_alloc(QUEUE_RING_ALIGNMENT, bytes);

	cr_assert_not_null(memory);
	memset(memory, 0xa5, bytes);
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
		struct queue_ring *ring = (void *)(memory + table[i].offset);
		size_t size = (size_t)((int64_t)footprint + table[i].excess);

		errno = 4242;
		cr_assert_eq(queue_ring_init(ring, size, table[i].capacity, table[i].flags),
			     -EINVAL, "row %zu", i);
		cr_assert_eq(errno, 4242);
	}
	cr_assert_eq(queue_ring_init((void *)memory, 0, 5, MPMC), -EINVAL);
	cr_assert_eq(queue_ring_init((void *)memory, queue_ring_footprint(5, SPSC) - 1, 5, SPSC),
		     -EINVAL);
	cr_assert_eq(queue_ring_init(NULL, footprint, 5, MPMC), -EINVAL);
	for (size_t i = 0; i < bytes; i++)
		EXPECT(memory[i] == 0xa5);

	cr_assert_eq(queue_ring_init((void *)memory, footprint, 5, MPMC), 0);
	for (size_t i = footprint; i < bytes; i++)
		EXPECT(memory[i] == 0xa5);
	queue_ring_fini((void *)memory);
	free(memory);
}

struct counting {
	unsigned allocations, releases;
	size_t size, alignment;
	void *memory;
	bool refuse;
	size_t skew;
};

static void *
counting_allocate(void *context, size_t size, size_t alignment)
{
	struct counting *counting = context;

	counting->allocations++;
	counting->size = size;
	counting->alignment = alignment;
	if (counting->refuse)
		return NULL;
	counting->memory = aligned_alloc(alignment, size + alignment);
	return (char *)counting->memory + counting->skew;
}

static void
counting_release(void *context, void *memory, size_t size, size_t alignment)
{
	struct counting *counting = context;

	counting->releases++;
	EXPECT(memory == (char *)counting->memory + counting->skew);
	EXPECT(size == counting->size);
	EXPECT(alignment == counting->alignment);
	free(counting->memory);
}

Test(ring, create_and_destroy_use_the_given_allocator_with_matching_sizes)
{
	FOR_ALL_ROLES(flags)
	{
		struct counting counting = {0};
		struct queue_allocator allocator = {counting_allocate, counting_release, &counting};
		struct queue_ring *ring = NULL;

		cr_assert_eq(queue_ring_create(&ring, 100, flags, &allocator), 0);
		cr_assert_eq(counting.allocations, 1);
		cr_assert_eq(counting.size, queue_ring_footprint(100, flags));
		cr_assert_eq(counting.alignment, QUEUE_RING_ALIGNMENT);
		cr_assert_eq(queue_ring_try_push(ring, item_of(1)), 0);
		cr_assert_eq(counting.releases, 0);
		queue_ring_destroy(ring);
		cr_assert_eq(counting.allocations, 1);
		cr_assert_eq(counting.releases, 1);
	}
}

Test(ring, create_without_an_allocator_uses_libc)
{
	struct queue_ring *ring = NULL;

	cr_assert_eq(queue_ring_create(&ring, 3, MPMC, NULL), 0);
	cr_assert_eq((uintptr_t)ring % QUEUE_RING_ALIGNMENT, 0);
	cr_assert_eq(queue_ring_try_push(ring, item_of(1)), 0);
	queue_ring_destroy(ring);
}

Test(ring, create_refuses_what_is_not_valid_and_leaves_out_alone)
{
	struct counting counting = {0};
	struct queue_allocator allocator = {counting_allocate, counting_release, &counting};
	struct queue_ring *out = item_of(0xa5a5);

	errno = 4242;
	cr_assert_eq(queue_ring_create(&out, 0, MPMC, &allocator), -EINVAL);
	cr_assert_eq(queue_ring_create(&out, QUEUE_CAPACITY_MAX + 1, MPMC, &allocator), -EINVAL);
	cr_assert_eq(queue_ring_create(&out, 8, 4, &allocator), -EINVAL);
	cr_assert_eq(queue_ring_create(&out, 8, ~0u, &allocator), -EINVAL);
	cr_assert_eq(queue_ring_create(NULL, 8, MPMC, &allocator), -EINVAL);
	allocator.release = NULL;
	cr_assert_eq(queue_ring_create(&out, 8, MPMC, &allocator), -EINVAL);
	allocator.release = counting_release;
	allocator.allocate = NULL;
	cr_assert_eq(queue_ring_create(&out, 8, MPMC, &allocator), -EINVAL);
	cr_assert_eq(counting.allocations, 0);
	cr_assert_eq(out, item_of(0xa5a5));
	cr_assert_eq(errno, 4242);
}

Test(ring, create_reports_an_allocator_without_memory)
{
	struct counting counting = {.refuse = true};
	struct queue_allocator allocator = {counting_allocate, counting_release, &counting};
	struct queue_ring *out = item_of(0xa5a5);

	errno = 4242;
	FOR_ALL_ROLES(flags)
	{
		cr_assert_eq(queue_ring_create(&out, QUEUE_CAPACITY_MAX, flags, &allocator),
			     -ENOMEM);
		cr_assert_eq(counting.size, queue_ring_footprint(QUEUE_CAPACITY_MAX, flags));
	}
	cr_assert_eq(counting.allocations, 4);
	cr_assert_eq(counting.releases, 0);
	cr_assert_eq(out, item_of(0xa5a5));
	cr_assert_eq(errno, 4242);
}

Test(ring, create_gives_misaligned_memory_back)
{
	struct counting counting = {.skew = 16};
	struct queue_allocator allocator = {counting_allocate, counting_release, &counting};
	struct queue_ring *out = item_of(0xa5a5);

	cr_assert_eq(queue_ring_create(&out, 8, MPMC, &allocator), -EINVAL);
	cr_assert_eq(counting.allocations, 1);
	cr_assert_eq(counting.releases, 1);
	cr_assert_eq(out, item_of(0xa5a5));
}

Test(ring, destroy_accepts_null)
{
	queue_ring_destroy(NULL);
}

/* ---- Capacity, order, return values --------------------------------------------------------- */

static void
holds_exactly(uint64_t capacity, unsigned kind, uint64_t first)
{
	struct made made = make_at(capacity, kind, first);
	struct queue_ring *ring = made.ring;
	uint64_t in = 0, out = 0;
	void *item = NULL;

	/* Fill it; then let it slide, always full, over three laps; then empty it. */
	while (in < capacity)
		EXPECT(queue_ring_try_push(ring, item_of(in++)) == 0);
	EXPECT(depth(ring) == capacity);
	for (uint64_t i = 0; i < 3 * capacity + 3; i++) {
		EXPECT(queue_ring_try_push(ring, item_of(999999)) == -EAGAIN);
		EXPECT(queue_ring_push_n(ring, &item, 1) == 0);
		EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == out++);
		EXPECT(depth(ring) == capacity - 1);
		EXPECT(queue_ring_try_push(ring, item_of(in++)) == 0);
	}
	while (out < in)
		EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == out++);
	EXPECT(queue_ring_try_pop(ring, &item) == -EAGAIN);
	EXPECT(depth(ring) == 0);
	/* And almost empty, over three laps more. */
	for (uint64_t i = 0; i < 3 * capacity + 3; i++) {
		EXPECT(queue_ring_try_push(ring, item_of(i)) == 0);
		EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == i);
		EXPECT(queue_ring_try_pop(ring, &item) == -EAGAIN);
		EXPECT(queue_ring_pop_n(ring, &item, 1) == 0);
	}
	unmake(&made);
}

Test(ring, holds_exactly_its_capacity_whatever_that_is)
{
	FOR_ALL_KINDS(kind)
	{
		for (uint64_t capacity = 1; capacity <= 70; capacity++)
			holds_exactly(capacity, kind, 0);
		holds_exactly(127, kind, 0);
		holds_exactly(129, kind, 0);
		holds_exactly(1000, kind, 0);
		holds_exactly(1024, kind, 0);
	}
}

Test(ring, holds_exactly_its_capacity_where_counters_wrap)
{
	static const unsigned bits[] = {31, 32, 61, 62, 63, 64};

	FOR_ALL_KINDS(kind)
	{
		for (uint64_t capacity = 1; capacity <= 9; capacity++)
			for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
				for (uint64_t before = 0; before <= 20; before++)
					holds_exactly(capacity, kind,
						      ((uint64_t)1 << (bits[i] - 1)) * 2 - before);
	}
}

Test(ring, carries_any_item_value)
{
	void *const values[] = {
		NULL, item_of(UINTPTR_MAX), item_of(1), item_of(UINTPTR_MAX - 1), NULL, NULL};

	FOR_ALL_KINDS(kind)
	{
		struct made made = make(4, kind);

		for (int lap = 0; lap < 5; lap++) {
			for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
				void *item = item_of(7);

				cr_assert_eq(queue_ring_try_push(made.ring, values[i]), 0);
				cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
				cr_assert_eq(item, values[i]);
			}
		}
		unmake(&made);
	}
}

Test(ring, a_pop_writes_the_item_on_success_only)
{
	FOR_ALL_KINDS(kind)
	{
		struct made made = make(2, kind);
		void *item[2] = {item_of(0xa5a5), NULL};
		void *items[2];

		errno = 4242;
		cr_assert_eq(queue_ring_try_pop(made.ring, item), -EAGAIN);
		cr_assert_eq(queue_ring_pop_n(made.ring, items, 2), 0);
		cr_assert_eq(item[0], item_of(0xa5a5));
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(1)), 0);
		cr_assert_eq(queue_ring_pop_n(made.ring, item, 2), 1);
		cr_assert_eq(item[0], item_of(1));
		item[0] = item_of(0xa5a5);
		queue_ring_close(made.ring);
		cr_assert_eq(queue_ring_try_pop(made.ring, item), -EPIPE);
		cr_assert_eq(queue_ring_pop_n(made.ring, items, 2), -EPIPE);
		cr_assert_eq(item[0], item_of(0xa5a5));
		cr_assert_eq(errno, 4242);
		unmake(&made);
	}
}

Test(ring, push_n_takes_what_there_is_room_for)
{
	void *const items[] = {item_of(1), item_of(2), item_of(3), item_of(4), item_of(5)};

	FOR_ALL_KINDS(kind)
	{
		struct made made = make(3, kind);
		void *out[5];

		cr_assert_eq(queue_ring_push_n(made.ring, items, -1), -EINVAL);
		cr_assert_eq(queue_ring_push_n(made.ring, items, PTRDIFF_MIN), -EINVAL);
		cr_assert_eq(queue_ring_push_n(made.ring, NULL, 0), 0);
		cr_assert_eq(queue_ring_push_n(made.ring, items, 2), 2);
		cr_assert_eq(queue_ring_push_n(made.ring, items + 2, 3), 1);
		cr_assert_eq(queue_ring_push_n(made.ring, items, 5), 0);
		cr_assert_eq(depth(made.ring), 3);
		cr_assert_eq(queue_ring_pop_n(made.ring, out, 5), 3);
		for (int i = 0; i < 3; i++)
			cr_assert_eq(out[i], items[i]);
		unmake(&made);
	}
}

Test(ring, pop_n_takes_what_is_there)
{
	FOR_ALL_KINDS(kind)
	{
		struct made made = make(3, kind);
		void *out[5] = {NULL};

		cr_assert_eq(queue_ring_pop_n(made.ring, out, -1), -EINVAL);
		cr_assert_eq(queue_ring_pop_n(made.ring, out, PTRDIFF_MIN), -EINVAL);
		cr_assert_eq(queue_ring_pop_n(made.ring, NULL, 0), 0);
		cr_assert_eq(queue_ring_pop_n(made.ring, out, 5), 0);
		for (uint64_t i = 1; i <= 3; i++)
			cr_assert_eq(queue_ring_try_push(made.ring, item_of(i)), 0);
		cr_assert_eq(queue_ring_pop_n(made.ring, NULL, 0), 0);
		cr_assert_eq(queue_ring_pop_n(made.ring, out, 2), 2);
		cr_assert_eq(out[0], item_of(1));
		cr_assert_eq(out[1], item_of(2));
		cr_assert_eq(queue_ring_pop_n(made.ring, out, PTRDIFF_MAX), 1);
		cr_assert_eq(out[0], item_of(3));
		unmake(&made);
	}
}

Test(ring, bulk_calls_go_across_the_end_of_the_slots)
{
	static const uint64_t capacities[] = {1, 2, 3, 7, 8, 13};

	FOR_ALL_KINDS(kind)
	{
		for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
			uint64_t capacity = capacities[c], in = 0, out = 0;
			struct made made = make(capacity, kind);
			void *items[13];

			for (uint64_t n = 0; n < 300; n++) {
				uint64_t count = n % capacity + 1;

				for (uint64_t i = 0; i < count; i++)
					items[i] = item_of(in++);
				EXPECT(queue_ring_push_n(made.ring, items, (ptrdiff_t)count) ==
				       (ptrdiff_t)count);
				memset(items, 0, sizeof items);
				EXPECT(queue_ring_pop_n(made.ring, items, 13) == (ptrdiff_t)count);
				for (uint64_t i = 0; i < count; i++)
					EXPECT(number_of(items[i]) == out++);
			}
			unmake(&made);
		}
	}
}

Test(ring, an_open_ring_answers_by_what_is_inside)
{
	FOR_ALL_KINDS(kind)
	{
		struct made made = make(2, kind);
		void *item;

		cr_assert_eq(queue_ring_try_pop(made.ring, &item), -EAGAIN); /* empty */
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(1)), 0);
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(2)), 0);
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(3)), -EAGAIN); /* full */
		cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(3)), 0);
		unmake(&made);
	}
}

Test(ring, a_closed_ring_refuses_pushes_and_drains)
{
	FOR_ALL_KINDS(kind)
	{
		struct made made = make(3, kind);
		void *items[3] = {item_of(1), item_of(2), item_of(3)};
		void *item;

		cr_assert_eq(queue_ring_push_n(made.ring, items, 3), 3);
		queue_ring_close(made.ring);
		/* closed and full: -EPIPE goes before -EAGAIN */
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(9)), -EPIPE);
		cr_assert_eq(queue_ring_push_n(made.ring, items, 3), -EPIPE);
		cr_assert_eq(queue_ring_push_n(made.ring, items, -1), -EINVAL);
		cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
		cr_assert_eq(item, item_of(1));
		/* closed, with room */
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(9)), -EPIPE);
		queue_ring_close(made.ring);
		cr_assert_eq(queue_ring_pop_n(made.ring, items, 3), 2);
		cr_assert_eq(items[0], item_of(2));
		cr_assert_eq(items[1], item_of(3));
		for (int i = 0; i < 10; i++) {
			cr_assert_eq(queue_ring_try_pop(made.ring, &item), -EPIPE);
			cr_assert_eq(queue_ring_pop_n(made.ring, items, 3), -EPIPE);
			cr_assert_eq(queue_ring_pop_n(made.ring, items, -1), -EINVAL);
			cr_assert_eq(queue_ring_try_push(made.ring, item_of(9)), -EPIPE);
			cr_assert_eq(queue_ring_push_n(made.ring, items, 3), -EPIPE);
			queue_ring_close(made.ring);
			cr_assert_eq(depth(made.ring), 0);
		}
		unmake(&made);
	}
}

Test(ring, closing_an_empty_ring_ends_it_at_any_position)
{
	FOR_ALL_KINDS(kind)
	{
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			for (uint64_t used = 0; used <= 20; used++) {
				struct made made = make(capacity, kind);
				void *item;

				for (uint64_t i = 0; i < used; i++) {
					EXPECT(queue_ring_try_push(made.ring, item_of(i)) == 0);
					EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
				}
				queue_ring_close(made.ring);
				EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
				EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
				EXPECT(queue_ring_try_push(made.ring, item_of(1)) == -EPIPE);
				unmake(&made);
			}
		}
	}
}

Test(ring, stats_count_from_zero_and_agree_at_rest)
{
	static const uint64_t firsts[] = {0, UINT32_MAX - 2, UINT64_MAX / 4 - 2, UINT64_MAX - 2};

	FOR_ALL_KINDS(kind)
	{
		for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++) {
			struct made made = make_at(3, kind, firsts[f]);
			struct queue_ring_stats stats;
			void *items[3] = {NULL, NULL, NULL};

			memset(&stats, 0xa5, sizeof stats);
			queue_ring_stats(made.ring, &stats);
			cr_assert_eq(stats.capacity, 3);
			cr_assert_eq(stats.pushed, 0);
			cr_assert_eq(stats.popped, 0);
			cr_assert_eq(stats.depth, 0);
			cr_assert_eq(stats.closed, 0);
			for (uint64_t round = 0; round < 5; round++) {
				cr_assert_eq(queue_ring_push_n(made.ring, items, 3), 3);
				cr_assert_eq(queue_ring_pop_n(made.ring, items, 2), 2);
				queue_ring_stats(made.ring, &stats);
				cr_assert_eq(stats.pushed, 3 * round + 3);
				cr_assert_eq(stats.popped, 3 * round + 2);
				cr_assert_eq(stats.depth, 1);
				cr_assert_eq(depth(made.ring), 1);
				cr_assert_eq(queue_ring_pop_n(made.ring, items, 2), 1);
			}
			queue_ring_close(made.ring);
			cr_assert_eq(queue_ring_try_pop(made.ring, items), -EPIPE);
			queue_ring_stats(made.ring, &stats);
			cr_assert_eq(stats.pushed, 15);
			cr_assert_eq(stats.popped, 15);
			cr_assert_eq(stats.depth, 0);
			cr_assert_eq(stats.closed, 1);
			unmake(&made);
		}
	}
}

/* ---- What must not be written --------------------------------------------------------------- */

static void
make_read_only(struct made *made)
{
	EXPECT(mprotect(made->area.pages, made->area.bytes, PROT_READ) == 0);
}

static void
make_writable(struct made *made)
{
	EXPECT(mprotect(made->area.pages, made->area.bytes, PROT_READ | PROT_WRITE) == 0);
}

Test(ring, polling_an_empty_ring_writes_nothing_to_it)
{
	FOR_ALL_KINDS(kind)
	{
		struct made made = make(3, kind);
		void *items[2] = {NULL, NULL};

		for (int used = 0; used < 10; used++) {
			make_read_only(&made);
			for (int i = 0; i < 3; i++) {
				cr_assert_eq(queue_ring_try_pop(made.ring, items), -EAGAIN);
				cr_assert_eq(queue_ring_pop_n(made.ring, items, 2), 0);
				cr_assert_eq(queue_ring_pop_n(made.ring, items, 0), 0);
				cr_assert_eq(depth(made.ring), 0);
			}
			make_writable(&made);
			cr_assert_eq(queue_ring_try_push(made.ring, items[0]), 0);
			cr_assert_eq(queue_ring_try_pop(made.ring, items), 0);
		}
		unmake(&made);
	}
}

Test(ring, pushing_to_a_full_ring_writes_nothing_to_it)
{
	FOR_ALL_KINDS(kind)
	{
		for (uint64_t capacity = 1; capacity <= 4; capacity++) {
			struct made made = make(capacity, kind);
			void *items[4] = {NULL, NULL, NULL, NULL};

			cr_assert_eq(queue_ring_push_n(made.ring, items, (ptrdiff_t)capacity),
				     (ptrdiff_t)capacity);
			for (int used = 0; used < 10; used++) {
				make_read_only(&made);
				for (int i = 0; i < 3; i++) {
					cr_assert_eq(queue_ring_try_push(made.ring, NULL), -EAGAIN);
					cr_assert_eq(queue_ring_push_n(made.ring, items, 2), 0);
					cr_assert_eq(queue_ring_push_n(made.ring, items, 0), 0);
					cr_assert_eq(depth(made.ring), capacity);
				}
				make_writable(&made);
				cr_assert_eq(queue_ring_try_pop(made.ring, items), 0);
				cr_assert_eq(queue_ring_try_push(made.ring, NULL), 0);
			}
			unmake(&made);
		}
	}
}

Test(ring, a_closed_ring_is_refused_and_read_without_writing_to_it)
{
	FOR_ALL_KINDS(kind)
	{
		struct made made = make(2, kind);
		struct queue_ring_stats stats;
		void *items[2] = {NULL, NULL};

		cr_assert_eq(queue_ring_push_n(made.ring, items, 2), 2);
		queue_ring_close(made.ring);
		make_read_only(&made);
		cr_assert_eq(queue_ring_try_push(made.ring, NULL), -EPIPE);
		cr_assert_eq(queue_ring_push_n(made.ring, items, 2), -EPIPE);
		queue_ring_stats(made.ring, &stats);
		make_writable(&made);
		cr_assert_eq(stats.closed, 1);
		cr_assert_eq(stats.depth, 2);
		unmake(&made);
	}
}

/* ---- What the words say --------------------------------------------------------------------- */

#define CLOSED QUEUE_IMPL_RING_CLOSED
#define REVOKED QUEUE_IMPL_RING_REVOKED
#define NOBODY QUEUE_IMPL_RING_NOBODY
#define UNDECIDED QUEUE_IMPL_RING_UNDECIDED
#define ANYBODY QUEUE_IMPL_RING_ANYBODY
/* What no thread pointer of this process is. */
#define SOMEBODY_ELSE UINT64_C(64)

#define STRIDE 64 /* the most numbers that push_n takes at once */

static uint64_t
revocations(const struct queue_ring *ring)
{
	return ring->mode / REVOKED;
}

/*
 * I1 to I5 for a ring at which everything before `head` is taken, everything before `filled` is
 * filled, and, when `numbers` is not 0, so many numbers more have been given out.
 */
static void
check_words(const struct queue_ring *ring, uint64_t head, uint64_t filled, uint64_t numbers,
	    bool sealed)
{
	uint64_t slots = ring->mask + 1;

	EXPECT(ring->head == head);
	EXPECT(ring->tail == filled + numbers);
	EXPECT(filled - head <= ring->capacity);
	EXPECT(ring->tail - head <= ring->capacity);
	EXPECT((int64_t)(head - ring->head_seen) >= 0);
	EXPECT((int64_t)(filled - ring->filled) >= 0);
	for (uint64_t position = head; position != head + slots; position++) {
		uint64_t seq = queue_impl_ring_slot(ring, position)->low;

		if (position - head < filled - head)
			EXPECT(seq == 2 * position + 1);
		else if (sealed && position == filled)
			EXPECT(seq == 2 * position);
		else
			EXPECT(seq == 2 * (position - slots) + 1);
	}
}

Test(ring, a_new_ring_has_every_slot_one_lap_behind)
{
	static const uint64_t firsts[] = {0, 1, UINT32_MAX, UINT64_MAX / 2, UINT64_MAX - 1};

	FOR_ALL_KINDS(kind)
	{
		for (uint64_t capacity = 1; capacity <= 9; capacity++) {
			for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++) {
				struct made made = make_at(capacity, kind, firsts[f]);

				check_words(made.ring, firsts[f], firsts[f], 0, false);
				EXPECT((made.ring->mode) == ROLES_OF(kind));
				unmake(&made);
			}
		}
	}
}

Test(ring, every_operation_leaves_the_words_as_the_invariants_say)
{
	static const uint64_t capacities[] = {1, 2, 3, 5, 64, 100};
	static const unsigned bits[] = {32, 63, 64};

	FOR_ALL_KINDS(kind)
	{
		for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
			for (size_t b = 0; b < sizeof bits / sizeof bits[0]; b++) {
				uint64_t capacity = capacities[c];
				uint64_t in = ((uint64_t)1 << (bits[b] - 1)) * 2 - 2 * capacity;
				uint64_t out = in;
				struct made made = make_at(capacity, kind, in);
				void *items[100] = {NULL};
				void *item = NULL;

				for (uint64_t i = 0; i < 4 * capacity; i++) {
					uint64_t n = 1 + i % capacity;

					EXPECT(queue_ring_try_push(made.ring, item_of(in)) == 0);
					check_words(made.ring, out, ++in, 0, false);
					EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
					check_words(made.ring, ++out, in, 0, false);
					EXPECT(queue_ring_push_n(made.ring, items, (ptrdiff_t)n) ==
					       (ptrdiff_t)n);
					in += n;
					check_words(made.ring, out, in, 0, false);
					EXPECT(queue_ring_pop_n(made.ring, items, (ptrdiff_t)n) ==
					       (ptrdiff_t)n);
					out += n;
					check_words(made.ring, out, in, 0, false);
				}
				queue_ring_close(made.ring);
				EXPECT(queue_ring_try_push(made.ring, NULL) == -EPIPE);
				check_words(made.ring, out, in, 0, false);
				EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
				check_words(made.ring, out, in, 0, !(kind & QUEUE_SINGLE_PRODUCER));
				unmake(&made);
			}
		}
	}
}

Test(ring, bulk_calls_of_more_than_a_stride_are_whole)
{
	static const uint64_t counts[] = {STRIDE - 1, STRIDE,	      STRIDE + 1, 2 * STRIDE - 1,
					  2 * STRIDE, 2 * STRIDE + 1, 200};
	static const uint64_t capacities[] = {1, 63, 64, 65, 100, 128, 129, 300};

	FOR_ALL_KINDS(kind)
	{
		for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
			uint64_t capacity = capacities[c], in = 0, out = 0;
			struct made made = make(capacity, kind);
			void *items[300];

			for (uint64_t turn = 0; turn < 30; turn++) {
				uint64_t n = counts[turn % 7], room = capacity - (in - out);
				uint64_t fits = n < room ? n : room, back = counts[(turn + 3) % 7];

				for (uint64_t i = 0; i < n; i++)
					items[i] = item_of(in + i);
				EXPECT(queue_ring_push_n(made.ring, items, (ptrdiff_t)n) ==
				       (ptrdiff_t)fits);
				in += fits;
				check_words(made.ring, out, in, 0, false);
				back = back < in - out ? back : in - out;
				EXPECT(queue_ring_pop_n(made.ring, items, (ptrdiff_t)back) ==
				       (ptrdiff_t)back);
				for (uint64_t i = 0; i < back; i++)
					EXPECT(number_of(items[i]) == out++);
				check_words(made.ring, out, in, 0, false);
			}
			EXPECT(queue_ring_pop_n(made.ring, items, 300) == (ptrdiff_t)(in - out));
			queue_ring_close(made.ring);
			EXPECT(queue_ring_pop_n(made.ring, items, 300) == -EPIPE);
			unmake(&made);
		}
	}
}

/* ---- Hints ---------------------------------------------------------------------------------- */

/*
 * A ring at which `pushed` items went in and `popped` came out, numbered from 0, and whose hints
 * are then set back, as by a thread that stopped before it stored one and goes on now.
 */
static void
set_back(struct queue_ring *ring, uint64_t filled, uint64_t head, uint64_t filled_lag,
	 uint64_t head_lag)
{
	ring->filled = filled - filled_lag;
	/* A single producer's copy of head is its own: it may lag too. */
	ring->head_seen = head - head_lag;
}

static struct made
lagging(uint64_t capacity, unsigned kind, uint64_t first, uint64_t pushed, uint64_t popped,
	uint64_t filled_lag, uint64_t head_lag)
{
	struct made made = make_at(capacity, kind, first);
	uint64_t in = 0, out = 0;
	void *item;

	while (in < pushed || out < popped) {
		if (in < pushed && in - out < capacity)
			EXPECT(queue_ring_try_push(made.ring, item_of(in++)) == 0);
		else
			EXPECT(queue_ring_try_pop(made.ring, &item) == 0 &&
			       number_of(item) == out++);
	}
	set_back(made.ring, first + pushed, first + popped, filled_lag, head_lag);
	return made;
}

static void
check_lagging(uint64_t capacity, unsigned kind, uint64_t first, uint64_t depth_now,
	      uint64_t filled_lag, uint64_t head_lag)
{
	uint64_t pushed = 4 * capacity + 3, popped = pushed - depth_now;
	struct queue_ring_stats stats;
	struct made made;
	void *items[128];
	void *item = NULL;
	uint64_t i;
	ptrdiff_t n;

	if (filled_lag > pushed || head_lag > popped)
		return;

	/* every kind of call first, each on a ring of its own */
	made = lagging(capacity, kind, first, pushed, popped, filled_lag, head_lag);
	queue_ring_stats(made.ring, &stats);
	EXPECT(stats.pushed == pushed && stats.popped == popped && stats.depth == depth_now);
	EXPECT(depth(made.ring) == depth_now);
	EXPECT(queue_ring_try_push(made.ring, item_of(pushed)) ==
	       (depth_now < capacity ? 0 : -EAGAIN));
	for (i = popped; i < pushed + (depth_now < capacity); i++)
		EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == i);
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EAGAIN);
	unmake(&made);

	made = lagging(capacity, kind, first, pushed, popped, filled_lag, head_lag);
	for (i = 0; i < 128; i++)
		items[i] = item_of(pushed + i);
	n = queue_ring_push_n(made.ring, items, 128);
	EXPECT(n == (ptrdiff_t)(capacity - depth_now < 128 ? capacity - depth_now : 128));
	check_words(made.ring, first + popped, first + pushed + (uint64_t)n, 0, false);
	for (i = popped; i < pushed + (uint64_t)n; i++)
		EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == i);
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EAGAIN);
	unmake(&made);

	made = lagging(capacity, kind, first, pushed, popped, filled_lag, head_lag);
	n = queue_ring_pop_n(made.ring, items, 128);
	EXPECT(n == (ptrdiff_t)depth_now);
	for (i = 0; i < depth_now; i++)
		EXPECT(number_of(items[i]) == popped + i);
	EXPECT(queue_ring_pop_n(made.ring, items, 128) == 0);
	check_words(made.ring, first + pushed, first + pushed, 0, false);
	unmake(&made);

	made = lagging(capacity, kind, first, pushed, popped, filled_lag, head_lag);
	queue_ring_close(made.ring);
	EXPECT(queue_ring_try_push(made.ring, NULL) == -EPIPE);
	for (i = popped; i < pushed; i++)
		EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == i);
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
	/* and again, with hints that lag behind the end */
	set_back(made.ring, first + pushed, first + popped, filled_lag, head_lag);
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
	EXPECT(queue_ring_pop_n(made.ring, items, 64) == -EPIPE);
	EXPECT(queue_ring_try_push(made.ring, NULL) == -EPIPE);
	EXPECT(queue_ring_push_n(made.ring, items, 1) == -EPIPE);
	queue_ring_stats(made.ring, &stats);
	EXPECT(stats.pushed == pushed && stats.popped == pushed && stats.depth == 0);
	check_words(made.ring, first + pushed, first + pushed, 0, !(kind & QUEUE_SINGLE_PRODUCER));
	unmake(&made);
}

Test(ring, lagging_hints_change_no_answer)
{
#if defined QUEUE_IMPL_TSAN
	/* It takes nearly a minute for the large ones, and one thread alone races with nobody. */
	static const uint64_t capacities[] = {1, 2, 3, 5};
#else
	static const uint64_t capacities[] = {1, 2, 3, 5, 64, 100};
#endif
	static const uint64_t firsts[] = {0, UINT32_MAX - 20, UINT64_MAX / 2 - 20, UINT64_MAX - 20};

	FOR_ALL_KINDS(kind)
	{
		for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
			uint64_t capacity = capacities[c], pushed = 4 * capacity + 3;
			const uint64_t lags[] = {0,	1, capacity, capacity + 1, 3 * capacity,
						 pushed};
			const uint64_t depths[] = {0, 1, capacity / 2, capacity - 1, capacity};

			for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++)
				for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++)
					for (size_t i = 0; i < sizeof lags / sizeof lags[0]; i++)
						for (size_t k = 0; k < sizeof lags / sizeof lags[0];
						     k++)
							check_lagging(capacity, kind, firsts[f],
								      depths[d], lags[i], lags[k]);
		}
	}
}

/* ---- Pushes that stop with a number --------------------------------------------------------- */

/* What a push has done that took `n` numbers and then stopped. The first of them. */
static uint64_t
take_numbers(struct queue_ring *ring, uint64_t n)
{
	uint64_t position = ring->tail;

	ring->tail += n;
	return position;
}

/* It goes on: by a swap, as it finds its plain stores revoked. */
static int
go_on(struct queue_ring *ring, uint64_t position, void *item)
{
	return queue_impl_ring_push_slow(ring, item, position, true).rc;
}

/* As go_on, but by plain stores, if the mode it had read still holds. */
static int
go_on_plainly(struct queue_ring *ring, uint64_t mode, uint64_t position, void *item)
{
	if (!queue_impl_ring_fill(ring, mode, position, item))
		return go_on(ring, position, item);
	ring->filled = position + 1;
	return 0;
}

static void
use(struct queue_ring *ring, uint64_t n)
{
	void *item;

	while (n-- > 0) {
		EXPECT(queue_ring_try_push(ring, NULL) == 0);
		EXPECT(queue_ring_try_pop(ring, &item) == 0);
	}
}

Test(ring, a_number_without_an_item_is_neither_popped_nor_counted)
{
	FOR_ALL_NUMBERED(kind)
	{
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			for (uint64_t n = 1; n <= capacity; n++) {
				struct made made = make(capacity, kind);
				struct queue_ring_stats stats;
				void *items[2];

				use(made.ring, capacity + 1);
				(void)take_numbers(made.ring, n);
				make_read_only(&made);
				EXPECT(queue_ring_try_pop(made.ring, items) == -EAGAIN);
				EXPECT(queue_ring_pop_n(made.ring, items, 2) == 0);
				queue_ring_stats(made.ring, &stats);
				make_writable(&made);
				EXPECT(stats.pushed == capacity + 1);
				EXPECT(stats.popped == capacity + 1);
				EXPECT(stats.depth == 0);
				unmake(&made);
			}
		}
	}
}

/* By single calls and by bulk calls; then the one that had stopped goes on, first when it can. */
static void
check_overtaken(unsigned kind, uint64_t capacity, uint64_t first, uint64_t before, uint64_t n,
		bool bulk)
{
	struct made made = make_at(capacity, kind, first);
	struct queue_ring *ring = made.ring;
	struct queue_ring_stats stats;
	uint64_t in = 0, out = 0, position, revoked;
	void *items[128], *item = NULL;

	use(ring, 3);
	first += 3;
	while (in < before)
		EXPECT(queue_ring_try_push(ring, item_of(in++)) == 0);
	position = take_numbers(ring, n);
	revoked = revocations(ring);
	if (bulk) {
		for (uint64_t i = 0; i < 128; i++)
			items[i] = item_of(before + i);
		EXPECT(queue_ring_push_n(ring, items, 128) == (ptrdiff_t)(capacity - before));
		in = capacity;
	} else {
		while (in < capacity) {
			EXPECT(queue_ring_try_push(ring, item_of(in++)) == 0);
			check_words(ring, first, first + in, in < before + n ? before + n - in : 0,
				    false);
			queue_ring_stats(ring, &stats);
			EXPECT(stats.pushed == 3 + in && stats.depth == in);
		}
	}
	EXPECT(revocations(ring) == revoked + (ring->rseq ? n : 0));
	EXPECT((ring->mode & (REVOKED - 1)) == ROLES_OF(kind));
	EXPECT(queue_ring_try_push(ring, NULL) == -EAGAIN);
	EXPECT(queue_ring_push_n(ring, items, 2) == 0);
	check_words(ring, first, first + in, 0, false);
	/* Each of its items finds its position taken, and the ring full. */
	for (uint64_t i = 0; i < n; i++)
		EXPECT(go_on(ring, position + i, item_of(1000 + i)) == -EAGAIN);
	for (uint64_t i = 0; i < n; i++) {
		EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == out++);
		EXPECT(go_on(ring, position + i, item_of(1000 + i)) == 0);
		check_words(ring, first + out, first + in + i + 1, 0, false);
	}
	while (out < in)
		EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == out++);
	for (uint64_t i = 0; i < n; i++)
		EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == 1000 + i);
	EXPECT(queue_ring_try_pop(ring, &item) == -EAGAIN);
	unmake(&made);
}

Test(ring, a_push_that_stops_with_numbers_is_overtaken)
{
	static const uint64_t capacities[] = {1, 2, 3, 5, 64, 100};
	static const uint64_t firsts[] = {0, UINT32_MAX - 5, UINT64_MAX / 2 - 5, UINT64_MAX - 5};

	FOR_ALL_NUMBERED(kind)
	{
		for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
			uint64_t capacity = capacities[c];
			const uint64_t counts[] = {1, 2, 3, capacity, capacity - 1};

			for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
				uint64_t n = counts[i] < STRIDE ? counts[i] : STRIDE;

				if (n == 0 || n > capacity)
					continue;
				for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++) {
					check_overtaken(kind, capacity, firsts[f], 0, n, false);
					check_overtaken(kind, capacity, firsts[f], 0, n, true);
					check_overtaken(kind, capacity, firsts[f], capacity - n, n,
							false);
					check_overtaken(kind, capacity, firsts[f], capacity - n, n,
							true);
				}
			}
		}
	}
}

Test(ring, a_push_that_stops_with_a_number_keeps_it_when_nobody_came)
{
	FOR_ALL_NUMBERED(kind)
	{
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			struct made made = make(capacity, kind);
			uint64_t revoked, position;
			void *item = NULL;

			use(made.ring, capacity);
			revoked = revocations(made.ring);
			position = take_numbers(made.ring, 1);
			EXPECT(go_on(made.ring, position, item_of(7)) == 0);
			check_words(made.ring, position, position + 1, 0, false);
			EXPECT(revocations(made.ring) == revoked);
			EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == 7);

			position = take_numbers(made.ring, 1);
			EXPECT(go_on_plainly(made.ring, made.ring->mode, position, item_of(8)) ==
			       0);
			check_words(made.ring, position, position + 1, 0, false);
			EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == 8);
			unmake(&made);
		}
	}
}

/* Several that stopped at different times, and go on in any order, each with its item once. */
Test(ring, several_pushes_that_were_overtaken_go_on_in_any_order)
{
	FOR_ALL_NUMBERED(kind)
	{
		for (uint64_t order = 0; order < 24; order++) {
			struct made made = make(8, kind);
			uint64_t position[4], mode[4], left = order;
			bool went[4] = {false};
			void *item = NULL;

			for (uint64_t i = 0; i < 4; i++) {
				mode[i] = made.ring->mode;
				position[i] = take_numbers(made.ring, 1);
				EXPECT(queue_ring_try_push(made.ring, item_of(i)) == 0);
			}
			for (uint64_t i = 0; i < 4; i++) {
				uint64_t skip = left % (4 - i), k = 0;

				left /= 4 - i;
				while (went[k] || skip-- > 0)
					k++;
				went[k] = true;
				EXPECT(go_on_plainly(made.ring, mode[k], position[k],
						     item_of(100 + k)) == 0);
			}
			for (uint64_t i = 0; i < 4; i++)
				EXPECT(queue_ring_try_pop(made.ring, &item) == 0 &&
				       number_of(item) == i);
			for (uint64_t i = 0, seen = 0; i < 4; i++) {
				EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
				seen |= UINT64_C(1) << (number_of(item) - 100);
				EXPECT(i < 3 || seen == 15);
			}
			EXPECT(queue_ring_try_pop(made.ring, &item) == -EAGAIN);
			unmake(&made);
		}
	}
}

/* Stopped in the middle of its plain stores: the item is there, the seq is that of a lap ago. */
Test(ring, a_push_that_stops_between_its_stores_is_overtaken)
{
	FOR_ALL_NUMBERED(kind)
	{
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			for (int closing = 0; closing <= 1; closing++) {
				struct made made = make(capacity, kind);
				uint64_t position;
				void *item = NULL;

				use(made.ring, capacity + 2);
				position = take_numbers(made.ring, 1);
				queue_impl_ring_slot(made.ring, position)->high = 4711;
				EXPECT(queue_ring_try_pop(made.ring, &item) == -EAGAIN);
				EXPECT(depth(made.ring) == 0);
				if (closing) {
					queue_ring_close(made.ring);
					EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
					check_words(made.ring, position, position, 1, true);
					EXPECT(go_on(made.ring, position, NULL) == -EPIPE);
				} else {
					EXPECT(queue_ring_try_push(made.ring, item_of(5)) == 0);
					EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
					EXPECT(number_of(item) == 5);
					EXPECT(go_on(made.ring, position, item_of(6)) == 0);
					EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
					EXPECT(number_of(item) == 6);
				}
				unmake(&made);
			}
		}
	}
}

#if defined QUEUE_IMPL_RSEQ
/* A plain store that was revoked is not done, whatever is in the slot by now. */
Test(ring, a_plain_store_is_not_done_under_another_mode)
{
	FOR_ALL_NUMBERED(kind)
	{
		struct made made = make(2, kind);
		uint64_t mode = made.ring->mode, position = take_numbers(made.ring, 1);
		void *item = NULL;

		made.ring->mode += REVOKED;
		cr_assert(!queue_impl_ring_fill(made.ring, mode, position, item_of(1)));
		cr_assert_eq(queue_ring_try_pop(made.ring, &item), -EAGAIN);
		made.ring->mode = mode | CLOSED;
		cr_assert(!queue_impl_ring_fill(made.ring, mode, position, item_of(1)));
		check_words(made.ring, 0, 0, 1, false);
		made.ring->mode = mode;
		cr_assert_eq(go_on_plainly(made.ring, mode, position, item_of(2)), 0);
		cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
		cr_assert_eq(item, item_of(2));
		unmake(&made);
	}
}
#endif

/*
 * A push reads that the ring is open and stops, with a number or before. Others close the ring,
 * drain it and are told that it is over. The push must not succeed any more: nobody would come for
 * its item.
 */
Test(ring, a_push_that_looked_before_close_is_refused_once_the_end_was_told)
{
	FOR_ALL_NUMBERED(kind)
	{
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			for (uint64_t n = 0; n <= capacity; n++) {
				for (uint64_t used = 0; used < 2 * capacity; used++) {
					struct made made = make(capacity, kind);
					struct queue_ring *ring = made.ring;
					uint64_t mode, position;
					struct queue_ring_stats stats;
					void *items[2];

					use(ring, used);
					mode = ring->mode;
					position = take_numbers(ring, n);
					queue_ring_close(ring);
					if (used % 2)
						EXPECT(queue_ring_try_pop(ring, items) == -EPIPE);
					else
						EXPECT(queue_ring_pop_n(ring, items, 2) == -EPIPE);
					check_words(ring, used, used, n, true);
					/* now it goes on: with a number late, or by all of them */
					if (n == 0)
						(void)take_numbers(ring, 1);
					EXPECT(go_on_plainly(ring, mode, position, NULL) == -EPIPE);
					EXPECT(queue_impl_ring_push_slow(ring, NULL, position,
									 false)
						       .rc == -EPIPE);
					EXPECT(queue_ring_try_push(ring, NULL) == -EPIPE);
					EXPECT(queue_ring_push_n(ring, items, 2) == -EPIPE);
					EXPECT(queue_ring_try_pop(ring, items) == -EPIPE);
					queue_ring_stats(ring, &stats);
					EXPECT(stats.pushed == used && stats.popped == used &&
					       stats.depth == 0 && stats.closed);
					check_words(ring, used, used, n ? n : 1, true);
					unmake(&made);
				}
			}
		}
	}
}

/* With items before it: they are drained, and no more than they. */
Test(ring, a_closed_ring_drains_up_to_a_push_that_stopped)
{
	FOR_ALL_NUMBERED(kind)
	{
		for (uint64_t capacity = 2; capacity <= 5; capacity++) {
			for (uint64_t inside = 1; inside < capacity; inside++) {
				struct made made = make(capacity, kind);
				uint64_t position, revoked;
				void *items[5];

				use(made.ring, 3);
				for (uint64_t i = 0; i < inside; i++)
					EXPECT(queue_ring_try_push(made.ring, item_of(i)) == 0);
				position = take_numbers(made.ring, capacity - inside);
				queue_ring_close(made.ring);
				revoked = revocations(made.ring);
				EXPECT(depth(made.ring) == inside);
				EXPECT(queue_ring_try_push(made.ring, NULL) == -EPIPE);
				EXPECT(queue_ring_pop_n(made.ring, items, 5) == (ptrdiff_t)inside);
				for (uint64_t i = 0; i < inside; i++)
					EXPECT(number_of(items[i]) == i);
				EXPECT(queue_ring_pop_n(made.ring, items, 5) == -EPIPE);
				EXPECT(revocations(made.ring) == revoked + (made.ring->rseq != 0));
				/* Polling the end costs no further one. */
				EXPECT(queue_ring_try_pop(made.ring, items) == -EPIPE);
				EXPECT(revocations(made.ring) == revoked + (made.ring->rseq != 0));
				EXPECT((made.ring->mode & (REVOKED - 1)) ==
				       (ROLES_OF(kind) | CLOSED));
				EXPECT(go_on(made.ring, position, NULL) == -EPIPE);
				unmake(&made);
			}
		}
	}
}

/* A single producer fills first, one slot or many, and moves the tail then. */
Test(ring, what_a_single_producer_has_filled_is_there_before_the_tail_says_so)
{
	const unsigned kinds[] = {SPMC, SPSC, SPMC | SWAPS, SPSC | SWAPS};

	for (size_t k = 0; k < 4; k++) {
		for (uint64_t capacity = 1; capacity <= 64; capacity++) {
			struct made made = make(capacity, kinds[k]);
			struct queue_ring_stats stats;
			void *item = NULL;

			for (uint64_t i = 0; i < capacity; i++)
				EXPECT(queue_impl_ring_fill(made.ring, made.ring->mode, i,
							    item_of(i)));
			EXPECT(made.ring->tail == 0);
			for (uint64_t i = 0; i < capacity; i++) {
				queue_ring_stats(made.ring, &stats);
				EXPECT(stats.popped == i);
				EXPECT(stats.pushed == stats.popped + stats.depth);
				EXPECT(stats.pushed == capacity || stats.pushed >= i);
				EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
				EXPECT(number_of(item) == i);
			}
			queue_ring_stats(made.ring, &stats);
			EXPECT(stats.popped == capacity && stats.pushed == capacity);
			EXPECT(stats.depth == 0);
			EXPECT(queue_ring_try_pop(made.ring, &item) == -EAGAIN);
			unmake(&made);
		}
	}
}

/* A push or pop that read tail or head, then slept while others went on, has lost its turn. */
Test(ring, a_step_from_a_position_that_is_behind_does_nothing)
{
	FOR_ALL_NUMBERED(kind)
	{
		struct made made = make(3, kind);
		struct queue_ring *ring = made.ring;

		use(ring, 9);
		cr_assert_eq(queue_ring_try_push(ring, item_of(9)), 0);
		for (uint64_t behind = 0; behind < 9; behind++) {
			cr_assert(!queue_impl_ring_move(ring, &ring->producer, &ring->tail, behind,
							behind + 1));
			if (!(kind & QUEUE_SINGLE_CONSUMER))
				cr_assert(!queue_impl_ring_move(ring, &ring->consumer, &ring->head,
								behind, behind + 1));
			check_words(ring, 9, 10, 0, false);
		}
		unmake(&made);
	}
}

/* ---- Who moves an end ----------------------------------------------------------------------- */

#if defined QUEUE_IMPL_RSEQ
Test(ring, the_first_thread_gets_an_end_for_itself)
{
	for (unsigned kind = MPMC; kind <= SPSC; kind++) {
		struct made made = make(3, kind);
		struct queue_ring *ring = made.ring;
		uint64_t self = queue_impl_thread();
		void *item;

		cr_assert_eq(self % 64, 0);
		cr_assert_gt(self, ANYBODY);
		if (ring->rseq != 0) {
			cr_assert_eq(ring->producer, NOBODY);
			cr_assert_eq(ring->consumer, NOBODY);
			cr_assert_eq(queue_ring_try_pop(ring, &item), -EAGAIN);
			cr_assert_eq(ring->consumer, NOBODY);
			use(ring, 5);
			cr_assert_eq(ring->producer, kind & QUEUE_SINGLE_PRODUCER ? NOBODY : self);
			cr_assert_eq(ring->consumer, kind & QUEUE_SINGLE_CONSUMER ? NOBODY : self);
		} else {
			if (!(kind & QUEUE_SINGLE_PRODUCER))
				cr_assert_eq(ring->producer, ANYBODY);
			if (!(kind & QUEUE_SINGLE_CONSUMER))
				cr_assert_eq(ring->consumer, ANYBODY);
		}
		unmake(&made);
	}
}

/* The sequences do nothing at all when the guard, or what is to be moved, is another. */
Test(ring, a_sequence_stores_nothing_when_its_guard_has_changed)
{
	struct made made = make(3, MPMC);
	ptrdiff_t area = made.ring->rseq;
	uint64_t guard = 1, ours = queue_impl_thread(), theirs = ours + 64, word = 10;
	struct queue_impl_pair pair = {1, 2};
	bool stored = false;

	for (int i = 0; i < 1000 && area; i++) {
		cr_assert(!queue_impl_rseq_move_rel(area, &theirs, &word, 10, 11));
		cr_assert(!queue_impl_rseq_move_rel(area, &ours, &word, 9, 11));
		cr_assert(!queue_impl_rseq_store_pair_rel(area, &guard, 2, &pair, 3, 4));
		cr_assert_eq(word, 10);
		cr_assert_eq(pair.low, 1);
		cr_assert_eq(pair.high, 2);
	}
	/* They may be interrupted and fail, but not each time. */
	for (int i = 0; i < 1000 && area && !stored; i++)
		stored = queue_impl_rseq_move_rel(area, &ours, &word, 10, 11);
	cr_assert(!area || (stored && word == 11));
	stored = false;
	for (int i = 0; i < 1000 && area && !stored; i++)
		stored = queue_impl_rseq_store_pair_rel(area, &guard, 1, &pair, 3, 4);
	cr_assert(!area || (stored && pair.low == 3 && pair.high == 4));
	unmake(&made);
}
#endif

/* What another thread has, and even what nobody has decided yet, becomes everybody's. */
Test(ring, the_second_thread_ends_the_bias_of_an_end)
{
	static const uint64_t owners[] = {SOMEBODY_ELSE, UNDECIDED, UINT64_MAX - 63};

	for (unsigned kind = MPMC; kind <= SPSC; kind++) {
		for (size_t o = 0; o < sizeof owners / sizeof owners[0]; o++) {
			for (int bulk = 0; bulk <= 1; bulk++) {
				struct made made = make(3, kind);
				struct queue_ring *ring = made.ring;
				uint64_t mode = ring->mode;
				void *items[2] = {item_of(1), item_of(2)};

				if (ring->rseq)
					ring->producer = ring->consumer = owners[o];
				if (bulk)
					cr_assert_eq(queue_ring_push_n(ring, items, 2), 2);
				else
					cr_assert_eq(queue_ring_try_push(ring, items[0]), 0);
				/* Both ends', whichever it came to. */
				if (!(kind & QUEUE_SINGLE_PRODUCER)) {
					cr_assert_eq(ring->producer, ANYBODY);
					if (!(kind & QUEUE_SINGLE_CONSUMER))
						cr_assert_eq(ring->consumer, ANYBODY);
				}
				items[0] = NULL;
				if (bulk)
					cr_assert_eq(queue_ring_pop_n(ring, items, 2), 2);
				else
					cr_assert_eq(queue_ring_try_pop(ring, items), 0);
				cr_assert_eq(items[0], item_of(1));
				if (!(kind & QUEUE_SINGLE_CONSUMER))
					cr_assert_eq(ring->consumer, ANYBODY);
				use(ring, 10);
				if (!(kind & QUEUE_SINGLE_PRODUCER))
					cr_assert_eq(ring->producer, ANYBODY);
				cr_assert_eq(ring->mode, mode);
				unmake(&made);
			}
		}
	}
}

/* The end's owner stopped with numbers: they are overtaken, and the end becomes everybody's. */
Test(ring, an_owner_that_stopped_with_numbers_is_overtaken)
{
	static const uint64_t owners[] = {SOMEBODY_ELSE, UNDECIDED};

	for (unsigned kind = MPMC; kind <= MPSC; kind += MPSC) {
		for (uint64_t n = 1; n <= 3; n++) {
			for (size_t o = 0; o < 2; o++) {
				struct made made = make(5, kind);
				struct queue_ring *ring = made.ring;
				uint64_t position;
				void *item = NULL;

				if (ring->rseq)
					ring->producer = owners[o];
				position = take_numbers(ring, n);
				for (uint64_t i = 0; i < 5; i++)
					EXPECT(queue_ring_try_push(ring, item_of(i)) == 0);
				EXPECT(ring->producer == ANYBODY);
				EXPECT(queue_ring_try_push(ring, item_of(9)) == -EAGAIN);
				for (uint64_t i = 0; i < 5; i++)
					EXPECT(queue_ring_try_pop(ring, &item) == 0 &&
					       number_of(item) == i);
				EXPECT(go_on(ring, position, item_of(6)) == 0);
				EXPECT(queue_ring_try_pop(ring, &item) == 0);
				EXPECT(number_of(item) == 6);
				EXPECT(queue_ring_try_pop(ring, &item) == -EAGAIN);
				unmake(&made);
			}
		}
	}
}

Test(ring, revocations_disturb_neither_roles_nor_the_end)
{
	FOR_ALL_NUMBERED(kind)
	{
		struct made made = make(2, kind);
		struct queue_ring *ring = made.ring;
		struct queue_ring_stats stats;
		void *item = NULL;

		/* Shortly before the count goes round. */
		ring->mode += UINT64_MAX / REVOKED * REVOKED - 5 * REVOKED;
		for (uint64_t i = 0; i < 20; i++) {
			uint64_t position = take_numbers(ring, 1);

			EXPECT(queue_ring_try_push(ring, item_of(i)) == 0);
			EXPECT(go_on(ring, position, item_of(100 + i)) == 0);
			EXPECT(queue_ring_try_push(ring, NULL) == -EAGAIN);
			EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == i);
			EXPECT(queue_ring_try_pop(ring, &item) == 0 && number_of(item) == 100 + i);
			EXPECT(queue_ring_try_pop(ring, &item) == -EAGAIN);
			EXPECT((ring->mode & (REVOKED - 1)) == ROLES_OF(kind));
			queue_ring_stats(ring, &stats);
			EXPECT(!stats.closed && stats.depth == 0 && stats.pushed == 2 * (i + 1));
		}
		queue_ring_close(ring);
		EXPECT((ring->mode & (REVOKED - 1)) == (ROLES_OF(kind) | CLOSED));
		unmake(&made);
	}
}

/* ---- A sequential model --------------------------------------------------------------------- */

/* Fewer where everything takes ten times as long: under ThreadSanitizer and in an emulator. */
#if defined UNIT_STAND_IN
#define MODEL_STEPS 20000
#else
#define MODEL_STEPS 100000
#endif
#define MODEL_BATCH 150

struct model {
	uint64_t capacity;
	uint64_t pushed, popped; /* item number n is the n-th pushed */
	bool closed, ended;

	/* pushes that stopped with numbers: where, and with which mode */
	struct {
		uint64_t mode, position;
	} stopped[STRIDE];
	uint64_t stops;
	uint64_t given; /* numbers, from the first on */
};

static uint64_t random_state;

static uint64_t
random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % n;
}

/* Items that are neither small numbers nor unique per slot. */
static void *
model_item(uint64_t number)
{
	return item_of(number % 11 == 0 ? 0 : ~number);
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static void
model_push(struct model *model, struct queue_ring *ring)
{
	uint64_t inside = model->pushed - model->popped;
	int rc = queue_ring_try_push(ring, model_item(model->pushed));

	if (model->closed)
		EXPECT(rc == -EPIPE);
	else if (inside == model->capacity)
		EXPECT(rc == -EAGAIN);
	else
		EXPECT(rc == 0);
	model->pushed += rc == 0;
}

static void
model_pop(struct model *model, struct queue_ring *ring)
{
	void *item = item_of(0xa5a5);
	int rc = queue_ring_try_pop(ring, &item);

	if (model->pushed > model->popped)
		EXPECT(rc == 0 && item == model_item(model->popped++));
	else if (model->closed)
		EXPECT(rc == -EPIPE);
	else
		EXPECT(rc == -EAGAIN);
	model->ended = rc == -EPIPE;
	if (rc != 0)
		EXPECT(item == item_of(0xa5a5));
}

static void
model_push_n(struct model *model, struct queue_ring *ring)
{
	uint64_t room = model->capacity - (model->pushed - model->popped);
	uint64_t n = random_below(MODEL_BATCH + 1);
	void *items[MODEL_BATCH];
	ptrdiff_t rc;

	for (uint64_t i = 0; i < n; i++)
		items[i] = model_item(model->pushed + i);
	rc = queue_ring_push_n(ring, items, (ptrdiff_t)n);
	if (model->closed) {
		EXPECT(n == 0 || rc == -EPIPE);
		return;
	}
	EXPECT(rc == (ptrdiff_t)smaller(n, room));
	model->pushed += (uint64_t)rc;
}

static void
model_pop_n(struct model *model, struct queue_ring *ring)
{
	uint64_t inside = model->pushed - model->popped;
	uint64_t n = random_below(MODEL_BATCH + 1);
	void *items[MODEL_BATCH];
	ptrdiff_t rc;

	rc = queue_ring_pop_n(ring, items, (ptrdiff_t)n);
	if (model->closed && inside == 0 && n > 0) {
		EXPECT(rc == -EPIPE);
		model->ended = true;
		rc = 0;
	} else {
		EXPECT(rc == (ptrdiff_t)smaller(n, inside));
		/* It has looked at the end, though it has more to tell. */
		model->ended = model->ended || (model->closed && n > inside);
	}
	for (ptrdiff_t i = 0; i < rc; i++)
		EXPECT(items[i] == model_item(model->popped++));
}

static void
model_stats(const struct model *model, const struct queue_ring *ring)
{
	struct queue_ring_stats stats;

	queue_ring_stats(ring, &stats);
	EXPECT(stats.capacity == model->capacity);
	EXPECT(stats.pushed == model->pushed);
	EXPECT(stats.popped == model->popped);
	EXPECT(stats.depth == model->pushed - model->popped);
	EXPECT(stats.closed == (model->closed ? 1 : 0));
	EXPECT(depth(ring) == stats.depth);
}

/* Any position that it has had already is legal for a hint. */
static void
model_set_hints_back(const struct model *model, struct queue_ring *ring)
{
	uint64_t lag = random_below(4) ? random_below(3 * model->capacity + 2)
				       : random_below(model->pushed + 1);

	if (random_below(2))
		ring->filled = ring->first + model->pushed - smaller(lag, model->pushed);
	else
		ring->head_seen = ring->first + model->popped - smaller(lag, model->popped);
}

/* A push that takes numbers and stops: only when everything is filled, and as far as there is room. */
static void
model_stop(struct model *model, struct queue_ring *ring)
{
	uint64_t room = model->capacity - (model->pushed - model->popped);
	uint64_t n = smaller(1 + random_below(random_below(3) ? 3 : STRIDE), room);

	if (model->given > model->pushed || model->closed || model->stops + n > STRIDE)
		return;
	for (uint64_t i = 0; i < n; i++) {
		model->stopped[model->stops].mode = ring->mode;
		model->stopped[model->stops++].position = ring->tail++;
	}
	model->given = model->pushed + n;
}

/* One that had stopped goes on: the first, or any whose position others have filled. */
static void
model_go_on(struct model *model, struct queue_ring *ring)
{
	uint64_t inside = model->pushed - model->popped, next = ring->first + model->pushed;
	uint64_t chosen = random_below(model->stops + 1), position, mode;
	void *item = model_item(model->pushed);
	int rc;

	if (chosen == model->stops)
		return;
	position = model->stopped[chosen].position;
	mode = model->stopped[chosen].mode;
	/* What was taken at once is filled in order (I3). */
	if ((int64_t)(position - next) > 0)
		return;
	model->stopped[chosen] = model->stopped[--model->stops];
	if (position == next && random_below(2) &&
	    queue_impl_ring_fill(ring, mode, position, item)) {
#if defined QUEUE_IMPL_RSEQ
		EXPECT(!model->closed);
#endif
		/* By a swap it gets in even now, as long as nobody was told the end. */
		EXPECT(!model->ended);
		rc = 0;
		if (random_below(2))
			ring->filled = position + 1;
	} else {
		rc = queue_impl_ring_push_slow(ring, item, position, true).rc;
		if (model->closed)
			EXPECT(rc == -EPIPE);
		else
			EXPECT(rc == (inside == model->capacity ? -EAGAIN : 0));
	}
	model->pushed += rc == 0;
}

static void
model_unsettle(struct queue_ring *ring)
{
	static const uint64_t owners[] = {NOBODY, SOMEBODY_ELSE, UNDECIDED, ANYBODY};

	if (ring->rseq == 0)
		return;
	if (random_below(2))
		ring->producer = owners[random_below(4)];
	else
		ring->consumer = owners[random_below(4)];
}

static void
model_check(struct model *model, const struct queue_ring *ring, unsigned kind)
{
	if (model->given < model->pushed)
		model->given = model->pushed;
	check_words(ring, ring->first + model->popped, ring->first + model->pushed,
		    model->given - model->pushed, model->ended && !(kind & QUEUE_SINGLE_PRODUCER));
}

static void
model_run(uint64_t capacity, unsigned kind, bool disturbed)
{
	static const unsigned bits[] = {32, 61, 62, 63, 64};
	struct guarded area = guarded_allocate(queue_ring_footprint(capacity, ROLES_OF(kind)));
	struct queue_ring *ring = area.memory;
	struct model model = {0};
	uint64_t steps_left = 0, bias = 0;

	random_state = capacity * 32 + kind + 1;
	for (int step = 0; step < MODEL_STEPS; step++) {
		if (steps_left-- == 0) {
			uint64_t first = 0;

			/* From 0, or from where a counter soon wraps. */
			if (random_below(3))
				first = ((uint64_t)1 << (bits[random_below(5)] - 1)) * 2 -
					random_below(8 * capacity);
			init_kind(ring, capacity, kind, first);
			model = (struct model){.capacity = capacity};
			steps_left = random_below(10000);
		}
		/* Sometimes mostly full, sometimes mostly empty. */
		if (step % 256 == 0)
			bias = random_below(5);
		switch (random_below(19)) {
		default:
			if (random_below(6) < bias + 1)
				model_push(&model, ring);
			else
				model_pop(&model, ring);
			break;
		case 0:
			model_push_n(&model, ring);
			break;
		case 1:
			model_pop_n(&model, ring);
			break;
		case 2:
			model_stats(&model, ring);
			break;
		case 3:
			if (disturbed)
				model_set_hints_back(&model, ring);
			break;
		case 4:
			if (random_below(100) == 0) {
				queue_ring_close(ring);
				model.closed = true;
			}
			break;
		case 5:
			if (random_below(1 + capacity / 8) == 0)
				model_check(&model, ring, kind);
			break;
		case 6:
			if (disturbed && !(kind & QUEUE_SINGLE_PRODUCER))
				model_stop(&model, ring);
			break;
		case 7:
			if (disturbed)
				model_go_on(&model, ring);
			break;
		case 8:
			if (disturbed)
				model_unsettle(ring);
			break;
		}
		if (model.given < model.pushed)
			model.given = model.pushed;
		/* Closed and drained: a few steps more, then begin anew. */
		if (model.ended && steps_left > 30)
			steps_left = 30;
	}
	guarded_release(&area);
}

static void
model_run_all(unsigned kind, bool disturbed)
{
	static const uint64_t capacities[] = {1, 2, 3, 5, 7, 8, 64, 100, 1000};

	for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
		model_run(capacities[i], kind, disturbed);
		model_run(capacities[i], kind | SWAPS, disturbed);
	}
}

Test(ring, behaves_like_the_model_for_many_producers_and_many_consumers)
{
	model_run_all(MPMC, false);
}

Test(ring, behaves_like_the_model_for_one_producer_and_many_consumers)
{
	model_run_all(SPMC, false);
}

Test(ring, behaves_like_the_model_for_many_producers_and_one_consumer)
{
	model_run_all(MPSC, false);
}

Test(ring, behaves_like_the_model_for_one_producer_and_one_consumer)
{
	model_run_all(SPSC, false);
}

Test(ring, behaves_like_the_model_while_others_stop_and_hints_lag)
{
	model_run_all(MPMC, true);
	model_run_all(SPMC, true);
	model_run_all(MPSC, true);
	model_run_all(SPSC, true);
}
