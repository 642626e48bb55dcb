/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_DESCRIPTOR_H
#define CONVEYOR_IMPL_DESCRIPTOR_H

/*
 * What a queue keeps for its descriptor. Not API; the rest is in lib/descriptor_impl.h. All zero: there
 * is none.
 */
#include <stdint.h>

struct queue_impl_descriptor {
	uint64_t state;	 /* whether it is up, and who is changing it: see lib/descriptor.c */
	uint64_t calls;	 /* system calls made to change it, a figure */
	uint32_t number; /* one more than the descriptor; 0: there is none */
};

#endif
