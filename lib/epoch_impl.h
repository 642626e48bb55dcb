/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_EPOCH_IMPL_H
#define CONVEYOR_LIB_EPOCH_IMPL_H

/*
 * Epochs: when may something be freed that was reachable, while threads that never take a lock may
 * still be looking at it?
 *
 * A reader says which epoch it enters in before it looks, and that it has left afterwards. Whoever
 * makes something unreachable begins a new epoch with that; it may be freed once every reader is
 * outside or has entered in that epoch or later. Epoch-based reclamation as in Fraser, Practical
 * Lock-Freedom (2004), but that entering costs no fence: who wants to free lets membarrier(2) order
 * on behalf of the readers, as in Desnoyers et al., User-Level Implementations of Read-Copy Update
 * (2012). And that nobody waits for a grace period: what may not be freed yet is asked about again.
 *
 * A thread is registered when it first enters, and its record is there for others when it ends. One
 * that cannot be registered, for lack of memory, is counted in a crowd instead.
 *
 * Progress.     enter and leave are wait-free once a thread is registered; the rest is lock-free.
 * Ordering.     EPOCH1  reader: epoch; fence; looks           (fence: see may_omit_fences)
 *                       unlinked, new epoch; membarrier; reader's epoch looked at
 *               EPOCH2  reader: last look, leaves -> freed     via epoch, crowd
 */
#include <conveyor/impl/atomic.h>

#include <stdint.h>

struct queue_impl_reader {
	uint64_t epoch; /* that it is in; 0: outside */
	uint32_t depth; /* of nested sections; the owner's alone */
	uint32_t claimed;
	uint64_t number;
	struct queue_impl_reader *next;
} queue_impl_aligned(QUEUE_IMPL_APART);

/* The calling thread's record; NULL: it has not been registered. */
extern _Thread_local struct queue_impl_reader *queue_impl_reader_of_thread;
extern uint64_t queue_impl_epoch;
extern uint32_t queue_impl_epoch_fence; /* membarrier(2) cannot order for readers */

/* Before anybody enters; any number of times. */
void queue_impl_epoch_prepare(void);

/* Registers the calling thread; NULL, and it is counted in the crowd, when that cannot be done. */
struct queue_impl_reader *queue_impl_epoch_register(void);
void queue_impl_epoch_join_crowd(void);
void queue_impl_epoch_leave_crowd(void);

/* What has been made unreachable before this call may be freed once `oldest` answers this much. */
uint64_t queue_impl_epoch_retire(void);

/* What was retired with this number or less may be freed. */
uint64_t queue_impl_epoch_oldest(void);

/* From here to leave nothing is freed that can be reached now. Sections nest. */
queue_impl_inline struct queue_impl_reader *
queue_impl_epoch_enter(void)
{
	struct queue_impl_reader *reader = queue_impl_reader_of_thread;

	if (queue_impl_unlikely(!reader)) {
		reader = queue_impl_epoch_register();
		if (!reader) {
			queue_impl_epoch_join_crowd();
			return NULL;
		}
	}
	if (reader->depth++ == 0) {
		/* Acquire: who enters in an epoch sees what was unlinked before it began. */
		queue_impl_store_rel(&reader->epoch, queue_impl_load_acq(&queue_impl_epoch));
		/* Relaxed: decided before anybody enters. */
		if (queue_impl_load32_rlx(&queue_impl_epoch_fence))
			queue_impl_fence_full(); /* EPOCH1 reader */
		else
			queue_impl_fence_compiler(); /* EPOCH1 reader */
	}
	return reader;
}

/* reader: what enter returned. */
queue_impl_inline void
queue_impl_epoch_leave(struct queue_impl_reader *reader)
{
	if (queue_impl_unlikely(!reader))
		queue_impl_epoch_leave_crowd();
	else if (--reader->depth == 0)
		queue_impl_store_rel(&reader->epoch, 0); /* EPOCH2 release */
}

#endif
