/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_ALLOC_H
#define CONVEYOR_ALLOC_H

/*
 * Where create functions get their memory. Objects keep the pointer, so an allocator must outlive
 * every object made with it. Nothing is allocated after creation on any hot path.
 *
 * Concurrency.  Both functions may be called from any thread, concurrently.
 */
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct queue_allocator {
	/* Returns `size` bytes aligned to `alignment`, a power of two, or NULL. */
	void *(*allocate)(void *context, size_t size, size_t alignment);
	/* Takes back what allocate returned, with the same size and alignment. */
	void (*release)(void *context, void *memory, size_t size, size_t alignment);
	void *context;
};

/* posix_memalign and free: the default, and what a NULL allocator means everywhere. */
extern const struct queue_allocator queue_allocator_libc;

/*
 * jemalloc's mallocx and sdallocx. A program that names this object must link with -ljemalloc,
 * which on most systems replaces malloc in the whole process; no other program needs it.
 */
extern const struct queue_allocator queue_allocator_jemalloc;

#ifdef __cplusplus
}
#endif

#endif
