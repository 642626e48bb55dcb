/* SPDX-License-Identifier: BSD-2-Clause */
/* The default allocator and the clock. */
#include <conveyor/alloc.h>
#include <conveyor/clock.h>

#include <errno.h>
#include <string.h>
#include <time.h>

#include "unit.h"

static const struct queue_allocator *const libc_allocator = &queue_allocator_libc;

Test(alloc, libc_memory_is_aligned_and_all_there)
{
	static const size_t sizes[] = {1, 7, 64, 100, 4096, 100000};

	for (size_t alignment = 1; alignment <= 1u << 16; alignment *= 2) {
		for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
			void *memory = libc_allocator->allocate(libc_allocator->context, sizes[i],
								alignment);

			cr_assert_not_null(memory);
			cr_assert_eq((uintptr_t)memory % alignment, 0);
			memset(memory, 0xa5, sizes[i]);
			libc_allocator->release(libc_allocator->context, memory, sizes[i],
						alignment);
		}
	}
}

Test(alloc, libc_reports_too_much_and_bad_alignment_with_null)
{
	errno = 4242;
	cr_assert_null(libc_allocator->allocate(libc_allocator->context, PTRDIFF_MAX, 128));
	cr_assert_null(libc_allocator->allocate(libc_allocator->context, SIZE_MAX - 64, 128));
	cr_assert_null(libc_allocator->allocate(libc_allocator->context, 64, 24));
	cr_assert_eq(errno, 4242, "errno is the caller's");
}

Test(alloc, libc_takes_null_back)
{
	libc_allocator->release(libc_allocator->context, NULL, 64, 64);
}

static uint64_t
monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

Test(clock, now_is_the_monotonic_clock_in_nanoseconds)
{
	for (int i = 0; i < 1000; i++) {
		uint64_t before = monotonic(), now = queue_now(), after = monotonic();

		cr_assert(before <= now && now <= after);
	}
}

Test(clock, after_ms_adds_milliseconds_to_now)
{
	static const uint64_t amounts[] = {0, 1, 1000, 86400000, UINT64_C(1) << 40};

	for (size_t i = 0; i < sizeof amounts / sizeof amounts[0]; i++) {
		uint64_t before = queue_now(), when = queue_after_ms(amounts[i]);
		uint64_t after = queue_now(), distance = amounts[i] * QUEUE_MILLISECOND;

		cr_assert(before + distance <= when && when <= after + distance);
	}
}

Test(clock, after_ms_saturates_at_never)
{
	uint64_t most = QUEUE_NEVER / QUEUE_MILLISECOND;

	cr_assert_eq(queue_after_ms(UINT64_MAX), QUEUE_NEVER);
	cr_assert_eq(queue_after_ms(most + 1), QUEUE_NEVER);
	cr_assert_eq(queue_after_ms(most), QUEUE_NEVER);
	/* The longest that still fits comes after now, and not as never. */
	most = (QUEUE_NEVER - queue_now()) / QUEUE_MILLISECOND - 1000;
	cr_assert_gt(queue_after_ms(most), queue_now());
	cr_assert_lt(queue_after_ms(most), QUEUE_NEVER);
}

Test(clock, units_are_nanoseconds)
{
	cr_assert_eq(QUEUE_SECOND, 1000 * QUEUE_MILLISECOND);
	cr_assert_eq(QUEUE_MILLISECOND, 1000 * QUEUE_MICROSECOND);
	cr_assert_eq(QUEUE_MICROSECOND, 1000);
	cr_assert_eq(QUEUE_NEVER, UINT64_MAX);
}

static uint64_t
driven(void *context)
{
	return *(uint64_t *)context;
}

Test(clock, a_clock_function_is_called_with_its_context)
{
	queue_clock_fn *clock = driven;
	uint64_t time = 5 * QUEUE_SECOND;

	cr_assert_eq(clock(&time), 5 * QUEUE_SECOND);
}
