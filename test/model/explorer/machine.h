/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef MODEL_EXPLORER_MACHINE_H
#define MODEL_EXPLORER_MACHINE_H

#include <conveyor/alloc.h>

#include <stdbool.h>
#include <stdint.h>

/* The clock of the main thread; that of the nth thread after it is n behind, and none moves. */
#define MACHINE_NOW UINT64_C(1000)

/* There is membarrier(2). */
extern bool machine_has_barrier;

/* Threads can have no data of their own: there are no keys left. */
extern bool machine_has_no_keys;

/* Is the event descriptor readable? */
bool machine_is_readable(void);

/*
 * Never gives the same memory twice in an execution, and overwrites what is given back, for those
 * who still look at it. To be begun anew by each execution.
 */
extern const struct queue_allocator machine_allocator;
void machine_allocator_begin(void);

#endif
