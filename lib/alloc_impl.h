/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_ALLOC_IMPL_H
#define CONVEYOR_LIB_ALLOC_IMPL_H

#include <conveyor/alloc.h>

/* The allocator that an option stands for: NULL is the default. NULL when it is not complete. */
static inline const struct queue_allocator *
queue_impl_allocator(const struct queue_allocator *option)
{
	if (!option)
		return &queue_allocator_libc;
	return option->allocate && option->release ? option : NULL;
}

#endif
