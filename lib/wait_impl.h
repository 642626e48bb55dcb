/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CONVEYOR_LIB_WAIT_IMPL_H
#define CONVEYOR_LIB_WAIT_IMPL_H

/*
 * The cold half of the event count (conveyor/impl/wait.h), and the futex below it.
 */
#include <conveyor/impl/wait.h>

#include <stdbool.h>
#include <stdint.h>

/* The longest spin, in polls: some tens of microseconds, about what a sleep and a wake take. */
#define QUEUE_IMPL_SPIN_MAX 1024u
#define QUEUE_IMPL_SPIN_MIN 4u

/*
 * Sleeps while *word is `expected`, until the deadline. Also returns when woken or interrupted by
 * a signal: the caller looks again.
 */
void queue_impl_futex_wait(const uint32_t *word, uint32_t expected, uint64_t deadline);

/* Or until a signal. Not clock_nanosleep of the C library, which is a cancellation point. */
void queue_impl_sleep_until(uint64_t when);

/* Wakes up to n sleepers; returns how many. */
int queue_impl_futex_wake(const uint32_t *word, int n);

/*
 * May waiters order memory on behalf of the threads that notify, by membarrier(2)? Asked once per
 * queue; then notifiers need no fence of their own.
 */
bool queue_impl_barrier_available(void);

/* A full fence in every thread of the process; false: not to be had any more. */
bool queue_impl_barrier(void);

void queue_impl_event_init(struct queue_impl_event *event, bool barrier);

/* Every notifier goes to the slow half from now on, as all do that come after the return. */
void queue_impl_event_watch(struct queue_impl_event *event);
bool queue_impl_event_is_watched(const struct queue_impl_event *event);

/* Is anybody counted? After the same fence as queue_impl_event_awaited. */
bool queue_impl_event_is_counted(const struct queue_impl_event *event);

/* How often it is worth polling before sleeping. */
uint32_t queue_impl_event_polls(const struct queue_impl_event *event);

/* Of so many polls that were planned so many failed; all of them: it was in vain. */
void queue_impl_event_learn(struct queue_impl_event *event, uint32_t planned, uint32_t failed);

/* A waiter is counted from here to leave. Returns the epoch to sleep in. */
uint32_t queue_impl_event_prepare(struct queue_impl_event *event);

/* The same for one of several events; queue_impl_event_order_all has to follow. */
uint32_t queue_impl_event_count(struct queue_impl_event *event);

/* Sleeps until notified, the deadline, or a signal. */
void queue_impl_event_sleep(struct queue_impl_event *event, uint32_t epoch, uint64_t deadline);

void queue_impl_event_leave(struct queue_impl_event *event);

/*
 * Sleeps until one of up to 128 events is notified, the deadline, or a signal. False, at once: the
 * system cannot do that, because it is older than Linux 5.16, or because a filter or an emulator
 * does not know the call.
 */
bool queue_impl_event_sleep_any(struct queue_impl_event *const *events, const uint32_t *epochs,
				int n, uint64_t deadline);

/* After leave, before looking whether there is more for others. */
void queue_impl_event_order(struct queue_impl_event *event);
void queue_impl_event_order_all(struct queue_impl_event *const *events, int n);

/* Wakes one, if anybody is counted and no wake is under way. */
void queue_impl_event_notify(struct queue_impl_event *event);

void queue_impl_event_notify_all(struct queue_impl_event *event);

#endif
