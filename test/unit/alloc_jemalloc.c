/* SPDX-License-Identifier: BSD-2-Clause */
/* LIBS: -ljemalloc */
/* The jemalloc allocator: a program of its own, because linking jemalloc replaces malloc. */
#include <conveyor/alloc.h>
#include <conveyor/ring.h>

#include <errno.h>
#include <string.h>

#include "unit.h"

static const struct queue_allocator *const allocator = &queue_allocator_jemalloc;

Test(alloc_jemalloc, memory_is_aligned_and_all_there)
{
	static const size_t sizes[] = {0, 1, 7, 64, 100, 4096, 100000, 5000000};

	for (size_t alignment = 1; alignment <= 1u << 16; alignment *= 2) {
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			void *memory = allocator->allocate(allocator->context, sizes[i], alignment);

			cr_assert_not_null(memory);
			cr_assert_eq((uintptr_t)memory % alignment, 0);
			memset(memory, 0xa5, sizes[i]);
			allocator->release(allocator->context, memory, sizes[i], alignment);
		}
	}
}

Test(alloc_jemalloc, too_much_is_reported_with_null)
{
	errno = 4242;
	cr_assert_null(allocator->allocate(allocator->context, PTRDIFF_MAX, 128));
	cr_assert_null(allocator->allocate(allocator->context, SIZE_MAX / 4, 128));
	cr_assert_eq(errno, 4242, "errno is the caller's");
}

Test(alloc_jemalloc, null_is_taken_back)
{
	allocator->release(allocator->context, NULL, 64, 64);
}

Test(alloc_jemalloc, a_ring_lives_in_it)
{
	for (uint64_t capacity = 1; capacity <= 100000; capacity = capacity * 3 + 1) {
		struct queue_ring *ring = NULL;
		void *item = NULL;

		cr_assert_eq(queue_ring_create(&ring, capacity, 0, allocator), 0);
		cr_assert_eq((uintptr_t)ring % QUEUE_RING_ALIGNMENT, 0);
		cr_assert_eq(queue_ring_try_push(ring, &item), 0);
		cr_assert_eq(queue_ring_try_pop(ring, &item), 0);
		cr_assert_eq(item, (void *)&item);
		queue_ring_destroy(ring);
	}
}
