/* SPDX-License-Identifier: BSD-2-Clause */
#include <conveyor/alloc.h>

#include <errno.h>
#include <stdlib.h>

static void *
libc_allocate(void *context, size_t size, size_t alignment)
{
	int saved = errno;
	void *memory;

	(void)context;
	if (alignment < sizeof(void *))
		alignment = sizeof(void *);
	if (posix_memalign(&memory, alignment, size) != 0)
		memory = NULL;
	errno = saved;
	return memory;
}

static void
libc_release(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context;
	(void)size;
	(void)alignment;
	free(memory);
}

const struct queue_allocator queue_allocator_libc = {libc_allocate, libc_release, NULL};
