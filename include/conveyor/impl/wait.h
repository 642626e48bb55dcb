/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_IMPL_WAIT_H
#define CONVEYOR_IMPL_WAIT_H

/*
 * An event count: sleeping until something that another thread does without a lock. Not API.
 *
 * A waiter prepares (is counted), looks once more at what it waits for, and sleeps only if the
 * epoch is still the one it prepared in. A notifier makes the thing true, looks whether anybody is
 * counted, and if so moves the epoch and wakes one. Either the waiter sees the thing or the
 * notifier sees the waiter. With nobody counted a notifier reads one word and makes no system call.
 *
 * Wake-ups are passed on like a baton. From the moment a notifier wakes somebody until a sleeper
 * has left, `waking` is set, and other notifiers leave it at that; the one that leaves takes what
 * is there, clears it, and if there is more and others sleep, wakes the next. So a burst of pushes
 * costs one system call, one push never wakes two, and nobody sleeps beside work. A wake that has
 * not arrived within QUEUE_IMPL_WAKE_OVERDUE (its thread was stopped) no longer holds back others;
 * neither does one that met nobody asleep.
 * A known hole: what was pushed within that time, with no push after it, lies there while the
 * woken thread is stopped, though others sleep; they would have to be woken twice to notice.
 *
 * WATCHED is set, once and for good, when a descriptor is told as well: then every notifier goes to
 * the slow half, as if somebody were counted.
 *
 * Progress.     notify is lock-free. prepare, sleep and leave belong to calls that wait.
 * Invariants.   I1  waking is set only while somebody is counted, by whom it will be cleared.
 *               I2  who was counted looks again after leaving, or passes the baton on.
 * Ordering.     WAIT1  the thing made true; fence; word read        (notifier)
 *                      word written; fence; the thing looked at      (waiter)
 *               WAIT2  notify, wake_all -> leave                    via word
 */
#include <conveyor/impl/atomic.h>

#include <stdint.h>

#define QUEUE_IMPL_WAKE_OVERDUE INT64_C(1000000) /* ns */

struct queue_impl_event {
	/* bits 0-31 epoch, the futex; 32 waking; 33 watched; 34-63 how many are counted */
	uint64_t word;
	uint64_t woken_at; /* when the last wake was sent */
	uint32_t spin;	   /* polls worth doing before sleeping, learnt */
	uint32_t barrier;  /* waiters order for both sides, with membarrier(2) */
	uint64_t waits;
	uint64_t wakes;
};

#define QUEUE_IMPL_EVENT_WAKING (UINT64_C(1) << 32)
#define QUEUE_IMPL_EVENT_WATCHED (UINT64_C(1) << 33)
#define QUEUE_IMPL_EVENT_ONE (UINT64_C(1) << 34)

/* Is anybody counted, or a descriptor told? Relaxed: the fence before it (WAIT1) is what orders. */
queue_impl_inline bool
queue_impl_event_awaited(const struct queue_impl_event *event)
{
	return queue_impl_load_rlx(&event->word) >= QUEUE_IMPL_EVENT_WATCHED;
}

#endif
