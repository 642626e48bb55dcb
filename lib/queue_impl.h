/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_QUEUE_IMPL_H
#define CONVEYOR_LIB_QUEUE_IMPL_H

/*
 * What lib/queue.c offers to its neighbours in lib/.
 */
#include <conveyor/queue.h>

#include <stdbool.h>

/*
 * The queue whose pool the calling thread works for, or NULL: a QUEUE_BLOCK push into it answers
 * -EDEADLK instead of waiting for itself.
 */
extern _Thread_local struct queue_bounded *queue_impl_worker_of;

/*
 * queue_pop_n that can be called off: waits until there is an item (1 to n of them are taken), the
 * queue is closed and drained (-EPIPE), or `interrupted` answers true (-ECANCELED, nothing taken).
 * It is asked before each sleep, and again after each queue_impl_interrupt.
 */
int queue_impl_pop_n_unless(struct queue_bounded *queue, void **items, int n,
			    bool (*interrupted)(void *context), void *context);

/* Makes every thread that waits in queue_impl_pop_n_unless ask again. Never waits. */
void queue_impl_interrupt(struct queue_bounded *queue);

/* Is a thread inside a call that waits? */
bool queue_impl_is_waited_in(const struct queue_bounded *queue);

/*
 * Would a pop not wait, because an item is there or the queue is closed? Exact: at one instant
 * during the call it was so. `queue` is a struct queue_bounded, which is only looked at; what is in a
 * log comes to the ring for that.
 */
bool queue_impl_is_ready(const void *queue);

/*
 * Would queue_select sleep by poll(2), for want of futex_waitv(2)? It finds out by itself; set it to
 * see how it does.
 */
extern uint32_t queue_impl_select_polls;

/*
 * A wait has ended. Whoever was counted may have been the one that a wake was meant for: hands on
 * what is left.
 */
void queue_impl_pass_baton(struct queue_bounded *queue, struct queue_impl_event *event);

/* Something has come: the descriptor says so, if there is one. */
void queue_impl_settle(struct queue_bounded *queue);

/* An idle queue can afford to be watched more closely: makes its next pushes carry more probes. */
void queue_impl_sample_more(struct queue_bounded *queue);

/* Hands an item to on_drop; there must be one. */
void queue_impl_drop(struct queue_bounded *queue, void *item, enum queue_reason reason);

#endif
