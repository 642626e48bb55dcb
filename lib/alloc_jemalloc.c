/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A member of the archive of its own: the linker takes it, and with it jemalloc, only into
 * programs that name queue_allocator_jemalloc.
 */
#include <conveyor/alloc.h>

#include <errno.h>
#include <jemalloc/jemalloc.h>

static void *
jemalloc_allocate(void *context, size_t size, size_t alignment)
{
	int saved = errno;
	void *memory = mallocx(size == 0 ? 1 : size, MALLOCX_ALIGN(alignment));

	(void)context;
	errno = saved;
	return memory;
}

static void
jemalloc_release(void *context, void *memory, size_t size, size_t alignment)
{
	(void)context;
	if (memory)
		sdallocx(memory, size == 0 ? 1 : size, MALLOCX_ALIGN(alignment));
}

const struct queue_allocator queue_allocator_jemalloc = {
	jemalloc_allocate,
	jemalloc_release,
	NULL,
};
