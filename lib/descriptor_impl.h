/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_DESCRIPTOR_IMPL_H
#define CONVEYOR_LIB_DESCRIPTOR_IMPL_H

/*
 * A descriptor that is readable, "up", exactly while something is ready: an eventfd(2) that threads
 * bring in line with what they see, none of them waiting for another.
 *
 * Everybody who may have changed whether the thing is ready calls settle afterwards. Where the
 * descriptor is already as it should be that is a look; otherwise it is one system call. When settle
 * has returned the descriptor is right, until the thing changes again.
 *
 * Progress.     Lock-free. A thread stopped for ever before its system call is replaced by the next
 *               one that settles. One that is stopped behind it, where that call came too late and
 *               turned the descriptor the wrong way, costs further system calls, by those who
 *               settle after it.
 * Holes.        Between the change and the call nobody knows: a thread stopped for ever there leaves
 *               the descriptor as it was, until somebody else settles. It is the same when it is
 *               stopped behind a call that came too late.
 * Ordering.     DESCRIPTOR1  the thing changed; fence; state read             (who changed it)
 *                            state written; fence; the thing looked at        (who makes a call)
 *               DESCRIPTOR2  the number stored -> used                        via the owner's flag
 */
#include <conveyor/impl/descriptor.h>

#include <stdbool.h>

/* The descriptor, which is made now if there is none yet; negative as queue_impl_eventfd_open. */
int queue_impl_descriptor_get(struct queue_impl_descriptor *descriptor);

/*
 * Brings it in line with is_ready(subject), which must be exact: true (false) means that at one
 * instant during the call it was so. Returns the last answer. There must be a descriptor.
 */
bool queue_impl_descriptor_settle(struct queue_impl_descriptor *descriptor,
				  bool (*is_ready)(const void *subject), const void *subject);

/* Closes it, if there is one. */
void queue_impl_descriptor_fini(struct queue_impl_descriptor *descriptor);

#endif
