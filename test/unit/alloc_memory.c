/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The allocator that uses the C library gives memory back.
 * The sanitizers have allocators of their own.
 */
#include <conveyor/alloc.h>

#include <malloc.h>

#include "unit.h"

#define SIZE ((size_t)64 << 20) /* so much that nobody else asks for it meanwhile */

static size_t
bytes_taken(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

Test(alloc_memory, libc_gets_its_memory_back)
{
	size_t before = bytes_taken(), taken;
	void *memory = queue_allocator_libc.allocate(NULL, SIZE, 64);

	cr_assert_not_null(memory);
	taken = bytes_taken();
	queue_allocator_libc.release(NULL, memory, SIZE, 64);
	if (taken < before + SIZE)
		return;
	cr_assert_lt(bytes_taken(), before + SIZE / 2);
}
