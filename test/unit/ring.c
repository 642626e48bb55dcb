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

static struct guarded
guarded_allocate(size_t size)
{
	struct guarded area;

	area.bytes = (size + PAGE - 1) / PAGE * PAGE;
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
	munmap(area->pages, area->bytes + PAGE);
}

/* A ring in guarded memory. */
struct made {
	struct queue_ring *ring;
	struct guarded area;
};

static struct made
make_at(uint64_t capacity, unsigned flags, uint64_t first)
{
	size_t size = queue_ring_footprint(capacity, flags);
	struct made made;

	made.area = guarded_allocate(size);
	made.ring = made.area.memory;
	EXPECT(queue_impl_ring_init_at(made.ring, size, capacity, flags, first) == 0);
	return made;
}

static struct made
make(uint64_t capacity, unsigned flags)
{
	return make_at(capacity, flags, 0);
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
		size_t slot = flags == SPSC ? 8 : 16;

		for (uint64_t slots = 1; slots <= QUEUE_CAPACITY_MAX; slots *= 2) {
			size_t size = queue_ring_footprint(slots, flags);

			EXPECT(size >= slots * slot + sizeof(struct queue_ring));
			EXPECT(size < slots * slot + 4096);
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
holds_exactly(uint64_t capacity, unsigned flags, uint64_t first)
{
	struct made made = make_at(capacity, flags, first);
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
	FOR_ALL_ROLES(flags)
	{
		for (uint64_t capacity = 1; capacity <= 70; capacity++)
			holds_exactly(capacity, flags, 0);
		holds_exactly(127, flags, 0);
		holds_exactly(129, flags, 0);
		holds_exactly(1000, flags, 0);
		holds_exactly(1024, flags, 0);
	}
}

Test(ring, holds_exactly_its_capacity_where_counters_wrap)
{
	static const unsigned bits[] = {31, 32, 61, 62, 63, 64};

	FOR_ALL_ROLES(flags)
	{
		for (uint64_t capacity = 1; capacity <= 9; capacity++)
			for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++)
				for (uint64_t before = 0; before <= 20; before++)
					holds_exactly(capacity, flags,
						      ((uint64_t)1 << (bits[i] - 1)) * 2 - before);
	}
}

Test(ring, carries_any_item_value)
{
	void *const values[] = {
		NULL, item_of(UINTPTR_MAX), item_of(1), item_of(UINTPTR_MAX - 1), NULL, NULL};

	FOR_ALL_ROLES(flags)
	{
		struct made made = make(4, flags);

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
	FOR_ALL_ROLES(flags)
	{
		struct made made = make(2, flags);
		void *item[2] = {item_of(0xa5a5), item_of(0xa5a5)};

		errno = 4242;
		cr_assert_eq(queue_ring_try_pop(made.ring, item), -EAGAIN);
		cr_assert_eq(queue_ring_pop_n(made.ring, item, 2), 0);
		cr_assert_eq(item[0], item_of(0xa5a5));
		cr_assert_eq(queue_ring_try_push(made.ring, item_of(1)), 0);
		cr_assert_eq(queue_ring_pop_n(made.ring, item, 2), 1);
		cr_assert_eq(item[0], item_of(1));
		cr_assert_eq(item[1], item_of(0xa5a5));
		item[0] = item_of(0xa5a5);
		queue_ring_close(made.ring);
		cr_assert_eq(queue_ring_try_pop(made.ring, item), -EPIPE);
		cr_assert_eq(queue_ring_pop_n(made.ring, item, 2), -EPIPE);
		cr_assert_eq(item[0], item_of(0xa5a5));
		cr_assert_eq(errno, 4242);
		unmake(&made);
	}
}

Test(ring, push_n_takes_what_there_is_room_for)
{
	void *const items[] = {item_of(1), item_of(2), item_of(3), item_of(4), item_of(5)};

	FOR_ALL_ROLES(flags)
	{
		struct made made = make(3, flags);
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
	FOR_ALL_ROLES(flags)
	{
		struct made made = make(3, flags);
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

	FOR_ALL_ROLES(flags)
	{
		for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
			uint64_t capacity = capacities[c], in = 0, out = 0;
			struct made made = make(capacity, flags);
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
	FOR_ALL_ROLES(flags)
	{
		struct made made = make(2, flags);
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
	FOR_ALL_ROLES(flags)
	{
		struct made made = make(3, flags);
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
	FOR_ALL_ROLES(flags)
	{
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			for (uint64_t used = 0; used <= 20; used++) {
				struct made made = make(capacity, flags);
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

	FOR_ALL_ROLES(flags)
	{
		for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++) {
			struct made made = make_at(3, flags, firsts[f]);
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
	FOR_ALL_ROLES(flags)
	{
		struct made made = make(3, flags);
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
	FOR_ALL_ROLES(flags)
	{
		for (uint64_t capacity = 1; capacity <= 4; capacity++) {
			struct made made = make(capacity, flags);
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
	FOR_ALL_ROLES(flags)
	{
		struct made made = make(2, flags);
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

/* ---- Hints ---------------------------------------------------------------------------------- */

/* What a slot must say when positions before `head` are taken and before `tail` filled (I2). */
static void
check_slots(const struct queue_ring *ring, uint64_t head, uint64_t tail, bool sealed)
{
	if (!ring->slots)
		return;
	for (uint64_t i = 0; i <= ring->mask; i++) {
		uint64_t position = head + i;
		unsigned state = i < tail - head ? QUEUE_IMPL_RING_FULL : QUEUE_IMPL_RING_FREE;

		if (sealed && position == tail)
			state = QUEUE_IMPL_RING_SEALED;
		EXPECT(queue_impl_ring_slot(ring, position)->low ==
		       queue_impl_ring_seq(position, state));
	}
}

/*
 * A ring at which `pushed` items went in and `popped` came out, numbered from 0, and whose hints
 * are then set back, as by a thread that stopped before it stored one and goes on now.
 */
static struct made
lagging(uint64_t capacity, unsigned flags, uint64_t first, uint64_t pushed, uint64_t popped,
	uint64_t tail_lag, uint64_t head_lag)
{
	struct made made = make_at(capacity, flags, first);
	uint64_t in = 0, out = 0;
	void *item;

	while (in < pushed || out < popped) {
		if (in < pushed && in - out < capacity)
			EXPECT(queue_ring_try_push(made.ring, item_of(in++)) == 0);
		else
			EXPECT(queue_ring_try_pop(made.ring, &item) == 0 &&
			       number_of(item) == out++);
	}
	made.ring->tail = first + pushed - tail_lag;
	made.ring->head = first + popped - head_lag;
	return made;
}

static void
check_lagging(uint64_t capacity, unsigned flags, uint64_t first, uint64_t depth_now,
	      uint64_t tail_lag, uint64_t head_lag)
{
	uint64_t pushed = 10 * capacity + 3, popped = pushed - depth_now;
	struct queue_ring_stats stats;
	struct made made;
	void *items[64];
	void *item = NULL;
	uint64_t i;
	ptrdiff_t n;

	if (tail_lag > pushed || head_lag > popped)
		return;

	/* every kind of call first, each on a ring of its own */
	made = lagging(capacity, flags, first, pushed, popped, tail_lag, head_lag);
	queue_ring_stats(made.ring, &stats);
	EXPECT(stats.pushed == pushed && stats.popped == popped && stats.depth == depth_now);
	EXPECT(depth(made.ring) == depth_now);
	check_slots(made.ring, first + popped, first + pushed, false);
	EXPECT(queue_ring_try_push(made.ring, item_of(pushed)) ==
	       (depth_now < capacity ? 0 : -EAGAIN));
	for (i = popped; i < pushed + (depth_now < capacity); i++)
		EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == i);
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EAGAIN);
	unmake(&made);

	made = lagging(capacity, flags, first, pushed, popped, tail_lag, head_lag);
	for (i = 0; i < 64; i++)
		items[i] = item_of(pushed + i);
	n = queue_ring_push_n(made.ring, items, 64);
	EXPECT(n == (capacity - depth_now < 64 ? (ptrdiff_t)(capacity - depth_now) : 64));
	for (i = popped; i < pushed + (uint64_t)n; i++)
		EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == i);
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EAGAIN);
	unmake(&made);

	made = lagging(capacity, flags, first, pushed, popped, tail_lag, head_lag);
	for (i = popped; i < pushed; i += (uint64_t)n) {
		n = queue_ring_pop_n(made.ring, items, 64);
		EXPECT(n == (pushed - i < 64 ? (ptrdiff_t)(pushed - i) : 64));
		for (uint64_t k = 0; k < (uint64_t)n; k++)
			EXPECT(number_of(items[k]) == i + k);
	}
	EXPECT(queue_ring_pop_n(made.ring, items, 64) == 0);
	check_slots(made.ring, first + pushed, first + pushed, false);
	unmake(&made);

	made = lagging(capacity, flags, first, pushed, popped, tail_lag, head_lag);
	queue_ring_close(made.ring);
	EXPECT(queue_ring_try_push(made.ring, NULL) == -EPIPE);
	for (i = popped; i < pushed; i++)
		EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == i);
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
	/* and again, with hints that lag behind the end */
	made.ring->tail = first + pushed - tail_lag;
	made.ring->head = first + popped - head_lag;
	EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
	made.ring->head = first + popped - head_lag;
	EXPECT(queue_ring_pop_n(made.ring, items, 64) == -EPIPE);
	EXPECT(queue_ring_try_push(made.ring, NULL) == -EPIPE);
	EXPECT(queue_ring_push_n(made.ring, items, 1) == -EPIPE);
	made.ring->tail = first + pushed - tail_lag;
	made.ring->head = first + popped - head_lag;
	queue_ring_stats(made.ring, &stats);
	EXPECT(stats.pushed == pushed && stats.popped == pushed && stats.depth == 0);
	check_slots(made.ring, first + pushed, first + pushed, !(flags & QUEUE_SINGLE_PRODUCER));
	unmake(&made);
}

Test(ring, lagging_hints_change_no_answer)
{
	static const uint64_t capacities[] = {1, 2, 3, 5, 8, 13, 33, 64};
	static const uint64_t firsts[] = {0, UINT64_MAX / 4 - 10, UINT64_MAX - 10};

	for (unsigned flags = 0; flags < SPSC; flags++) {
		for (size_t c = 0; c < sizeof capacities / sizeof capacities[0]; c++) {
			uint64_t capacity = capacities[c], pushed = 10 * capacity + 3;
			const uint64_t lags[] = {0,
						 1,
						 2,
						 capacity - 1,
						 capacity,
						 capacity + 1,
						 2 * capacity + 1,
						 9 * capacity,
						 pushed - capacity,
						 pushed};
			const uint64_t depths[] = {0, 1, capacity / 2, capacity - 1, capacity};

			for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++)
				for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++)
					for (size_t i = 0; i < 10; i++)
						for (size_t k = 0; k < 10; k++)
							check_lagging(capacity, flags, firsts[f],
								      depths[d], lags[i], lags[k]);
		}
	}
}

Test(ring, a_hint_millions_of_positions_behind_is_caught_up_with_quickly)
{
	for (unsigned flags = 0; flags < SPSC; flags++) {
		struct made made = make(1u << 16, flags);
		uint64_t laps = 40, pushed = 0, popped = 0, tail, head;
		void *items[256] = {NULL};

		while (pushed < laps << 16) {
			EXPECT(queue_ring_push_n(made.ring, items, 256) == 256);
			pushed += 256;
			if (pushed - popped > 1000) {
				EXPECT(queue_ring_pop_n(made.ring, items, 256) == 256);
				popped += 256;
			}
		}
		tail = made.ring->tail;
		head = made.ring->head;
		/* By single steps this would take minutes. */
		for (uint64_t i = 0; i < 30000; i++) {
			uint64_t lag = i % 3 == 0 ? head : i % 3 * 30000;

			made.ring->tail = tail + i - lag;
			made.ring->head = head + i - lag;
			EXPECT(queue_ring_try_push(made.ring, NULL) == 0);
			EXPECT(made.ring->tail == tail + i + 1);
			EXPECT(queue_ring_try_pop(made.ring, items) == 0);
			EXPECT(made.ring->head == head + i + 1);
			made.ring->tail = tail + i + 1 - lag;
			made.ring->head = head + i + 1 - lag;
			EXPECT(depth(made.ring) == pushed - popped);
		}
		unmake(&made);
	}
}

/* ---- Threads that stop between two steps ---------------------------------------------------- */

/* A push that filled its slot and stopped before it stored the hint: others see the item. */
Test(ring, a_push_stopped_before_its_hint_holds_nobody_up)
{
	for (unsigned flags = 0; flags < SPSC; flags++) {
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			struct made made = make(capacity, flags);
			void *item = NULL;

			cr_assert_eq(queue_impl_ring_fill(made.ring, flags, 0, item_of(100)), 0);
			cr_assert_eq(made.ring->tail, 0);
			cr_assert_eq(depth(made.ring), 1);
			for (uint64_t i = 1; i < capacity; i++)
				cr_assert_eq(queue_ring_try_push(made.ring, item_of(100 + i)), 0);
			cr_assert_eq(queue_ring_try_push(made.ring, item_of(9)), -EAGAIN);
			for (uint64_t i = 0; i < capacity; i++) {
				cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
				cr_assert_eq(item, item_of(100 + i));
			}
			cr_assert_eq(queue_ring_try_pop(made.ring, &item), -EAGAIN);
			unmake(&made);
		}
	}
}

/* A pop that took its item and stopped before it stored the hint. */
Test(ring, a_pop_stopped_before_its_hint_holds_nobody_up)
{
	for (unsigned flags = 0; flags < SPSC; flags++) {
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			struct made made = make(capacity, flags);
			void *item = NULL;

			for (uint64_t i = 0; i < capacity; i++)
				cr_assert_eq(queue_ring_try_push(made.ring, item_of(i)), 0);
			cr_assert_eq(queue_impl_ring_take(made.ring, flags, 0, &item), 0);
			cr_assert_eq(item, item_of(0));
			cr_assert_eq(depth(made.ring), capacity - 1);
			cr_assert_eq(queue_ring_try_push(made.ring, item_of(capacity)), 0);
			cr_assert_eq(queue_ring_try_push(made.ring, item_of(9)), -EAGAIN);
			for (uint64_t i = 1; i <= capacity; i++) {
				cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
				cr_assert_eq(item, item_of(i));
			}
			cr_assert_eq(queue_ring_try_pop(made.ring, &item), -EAGAIN);
			unmake(&made);
		}
	}
}

/* A push or pop that read the hint, then slept while others went on, has lost its position. */
Test(ring, a_step_at_a_position_that_is_behind_does_nothing)
{
	for (uint64_t capacity = 1; capacity <= 5; capacity++) {
		for (uint64_t laps = 1; laps <= 3; laps++) {
			struct made made = make(capacity, MPMC);
			void *item = item_of(0xa5a5);
			uint64_t i;

			for (i = 0; i < laps * 8 + 1; i++) {
				EXPECT(queue_ring_try_push(made.ring, item_of(i)) == 0);
				EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
			}
			EXPECT(queue_ring_try_push(made.ring, item_of(i)) == 0);
			item = item_of(0xa5a5);
			for (uint64_t position = 0; position < i; position++) {
				EXPECT(queue_impl_ring_fill(made.ring, MPMC, position, NULL) ==
				       QUEUE_IMPL_RING_PASSED);
				EXPECT(queue_impl_ring_take(made.ring, MPMC, position, &item) ==
				       QUEUE_IMPL_RING_PASSED);
			}
			EXPECT(queue_impl_ring_fill(made.ring, MPMC, i, NULL) ==
			       QUEUE_IMPL_RING_PASSED);
			EXPECT(item == item_of(0xa5a5));
			EXPECT(queue_ring_try_pop(made.ring, &item) == 0 && number_of(item) == i);
			unmake(&made);
		}
	}
}

/*
 * A push reads that the ring is open and stops. Others close the ring, drain it and are told that
 * it is over. The push must not succeed any more: nobody would come for its item.
 */
Test(ring, a_push_that_looked_before_close_is_refused_once_the_end_was_told)
{
	for (unsigned flags = MPMC; flags <= MPSC; flags += MPSC - MPMC) {
		for (uint64_t capacity = 1; capacity <= 5; capacity++) {
			for (uint64_t used = 0; used < 12; used++) {
				struct made made = make(capacity, flags);
				uint32_t mode = made.ring->mode;
				void *item, *items[2];
				uint64_t i, position;

				for (i = 0; i < used; i++) {
					EXPECT(queue_ring_try_push(made.ring, NULL) == 0);
					if (i + 1 < used)
						EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
				}
				position = made.ring->tail;
				queue_ring_close(made.ring);
				if (used > 0)
					EXPECT(queue_ring_try_pop(made.ring, &item) == 0);
				if (used % 2)
					EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
				else
					EXPECT(queue_ring_pop_n(made.ring, items, 2) == -EPIPE);
				/* now it goes on: with the step it had before it, then the rest */
				EXPECT(queue_impl_ring_fill(made.ring, mode, position, NULL) ==
				       QUEUE_IMPL_RING_PASSED);
				EXPECT(queue_impl_ring_push_slow(made.ring, NULL, position).rc ==
				       -EPIPE);
				EXPECT(queue_ring_try_pop(made.ring, &item) == -EPIPE);
				EXPECT(depth(made.ring) == 0);
				unmake(&made);
			}
		}
	}
}

/* The same push, but it goes on before the pop that would end the ring: the pop gets the item. */
Test(ring, a_push_that_looked_before_close_is_popped_when_it_comes_before_the_end)
{
	for (unsigned flags = MPMC; flags <= MPSC; flags += MPSC - MPMC) {
		struct made made = make(3, flags);
		uint32_t mode = made.ring->mode;
		void *item = NULL;

		queue_ring_close(made.ring);
		cr_assert_eq(queue_impl_ring_fill(made.ring, mode, 0, item_of(5)), 0);
		cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
		cr_assert_eq(item, item_of(5));
		cr_assert_eq(queue_ring_try_pop(made.ring, &item), -EPIPE);
		unmake(&made);
	}
}

/* push_n read the mode once; the ring is closed and ended while it lies between two items. */
Test(ring, a_pop_at_the_end_and_a_push_that_was_late_agree_with_the_statistics)
{
	struct made made = make(4, MPMC);
	struct queue_ring_stats stats;
	void *item = NULL;

	cr_assert_eq(queue_impl_ring_fill(made.ring, MPMC, 0, item_of(1)), 0);
	queue_ring_close(made.ring);
	cr_assert_eq(queue_impl_ring_fill(made.ring, MPMC, 1, item_of(2)), 0);
	cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
	cr_assert_eq(queue_ring_try_pop(made.ring, &item), 0);
	cr_assert_eq(item, item_of(2));
	cr_assert_eq(queue_ring_try_pop(made.ring, &item), -EPIPE);
	cr_assert_eq(queue_impl_ring_fill(made.ring, MPMC, 2, item_of(3)), QUEUE_IMPL_RING_PASSED);
	queue_ring_stats(made.ring, &stats);
	cr_assert_eq(stats.pushed, 2);
	cr_assert_eq(stats.popped, 2);
	cr_assert_eq(stats.depth, 0);
	unmake(&made);
}

/* ---- A sequential model --------------------------------------------------------------------- */

#define MODEL_STEPS 100000
#define MODEL_BATCH 40

struct model {
	uint64_t capacity;
	uint64_t pushed, popped; /* item number n is the n-th pushed */
	bool closed, ended;
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
	void *items[MODEL_BATCH + 1];
	ptrdiff_t rc;

	for (uint64_t i = 0; i <= MODEL_BATCH; i++)
		items[i] = item_of(0xa5a5);
	rc = queue_ring_pop_n(ring, items, (ptrdiff_t)n);
	if (model->closed && inside == 0 && n > 0) {
		EXPECT(rc == -EPIPE);
		model->ended = true;
		rc = 0;
	} else {
		EXPECT(rc == (ptrdiff_t)smaller(n, inside));
	}
	for (ptrdiff_t i = 0; i < rc; i++)
		EXPECT(items[i] == model_item(model->popped++));
	for (ptrdiff_t i = rc; i <= MODEL_BATCH; i++)
		EXPECT(items[i] == item_of(0xa5a5));
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

/* Any position that the tail or head has already passed is a legal hint. */
static void
model_set_hints_back(const struct model *model, struct queue_ring *ring)
{
	uint64_t lag = random_below(4) ? random_below(3 * model->capacity + 2)
				       : random_below(model->pushed + 1);

	if (random_below(2))
		ring->tail = ring->first + model->pushed - smaller(lag, model->pushed);
	else
		ring->head = ring->first + model->popped - smaller(lag, model->popped);
}

static void
model_run(uint64_t capacity, unsigned flags, bool with_lag)
{
	static const unsigned bits[] = {32, 61, 62, 63, 64};
	size_t size = queue_ring_footprint(capacity, flags);
	struct guarded area = guarded_allocate(size);
	struct queue_ring *ring = area.memory;
	struct model model = {0};
	uint64_t steps_left = 0, bias = 0;

	random_state = capacity * 4 + flags + 1;
	for (int step = 0; step < MODEL_STEPS; step++) {
		if (steps_left-- == 0) {
			uint64_t first = 0;

			/* From 0, or from where a counter soon wraps. */
			if (random_below(3))
				first = ((uint64_t)1 << (bits[random_below(5)] - 1)) * 2 -
					random_below(8 * capacity);
			EXPECT(queue_impl_ring_init_at(ring, size, capacity, flags, first) == 0);
			model = (struct model){.capacity = capacity};
			steps_left = random_below(10000);
		}
		/* Sometimes mostly full, sometimes mostly empty. */
		if (step % 256 == 0)
			bias = random_below(5);
		switch (random_below(16)) {
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
			if (with_lag)
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
				check_slots(ring, ring->first + model.popped,
					    ring->first + model.pushed,
					    model.ended && !(flags & QUEUE_SINGLE_PRODUCER));
			break;
		}
		/* Closed and drained: a few steps more, then begin anew. */
		if (model.ended && steps_left > 30)
			steps_left = 30;
	}
	guarded_release(&area);
}

static void
model_run_all(unsigned flags, bool with_lag)
{
	static const uint64_t capacities[] = {1, 2, 3, 7, 8, 1000};

	for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++)
		model_run(capacities[i], flags, with_lag);
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

Test(ring, behaves_like_the_model_while_hints_go_back)
{
	model_run_all(MPMC, true);
	model_run_all(SPMC, true);
	model_run_all(MPSC, true);
}
