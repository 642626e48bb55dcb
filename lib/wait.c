/* SPDX-License-Identifier: BSD-2-Clause */
#include "wait_impl.h"

#include <conveyor/clock.h>

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EPOCH_MASK UINT64_C(0xffffffff)

/*
 * futex_waitv(2), which linux/futex.h may be too old to know. Its number is the same on all machines.
 */
#define FUTEX_WAITV 449
#define FUTEX_IS_32_BITS 2u
#define FUTEXES_MAX 128

struct awaited_futex {
	uint64_t expected;
	uint64_t address;
	uint32_t flags;
	uint32_t reserved;
};

/* Once in so many waits it is polled for as long as a wake takes at most. */
#define POLL_LONG_EVERY 32

/* With nothing to order memory by, sleep in short pieces instead of relying on a wake. */
#define BARRIER_BROKEN 2u
#define PIECE QUEUE_MILLISECOND
#define STORES_ARRIVE (10 * QUEUE_MILLISECOND)

/* The library never touches errno, which syscall(2) does. */
static long
quiet_syscall(long number, const void *word, long operation, long value, const void *timeout,
	      long mask)
{
	int saved = errno;
	long rc = syscall(number, word, operation, value, timeout, NULL, mask);

	if (rc < 0)
		rc = -errno;
	errno = saved;
	return rc;
}

static struct timespec
timespec_of(uint64_t deadline)
{
	struct timespec until;

	until.tv_sec = (time_t)(deadline / QUEUE_SECOND);
	until.tv_nsec = (long)(deadline % QUEUE_SECOND);
	return until;
}

void
queue_impl_futex_wait(const uint32_t *word, uint32_t expected, uint64_t deadline)
{
	struct timespec until = timespec_of(deadline);

	/* The bitset form takes an absolute time, which a signal in between does not stretch. */
	(void)quiet_syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
			    deadline == QUEUE_NEVER ? NULL : &until, FUTEX_BITSET_MATCH_ANY);
}

void
queue_impl_sleep_until(uint64_t when)
{
	const uint32_t nobody_wakes = 0;

	queue_impl_futex_wait(&nobody_wakes, 0, when);
}

int
queue_impl_futex_wake(const uint32_t *word, int n)
{
	long woken = quiet_syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, n, NULL, 0);

	return woken > 0 ? (int)woken : 0;
}

static long
membarrier(long command)
{
	int saved = errno;
	long rc = syscall(SYS_membarrier, command, 0, 0);

	errno = saved;
	return rc;
}

bool
queue_impl_barrier(void)
{
	return membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}

bool
queue_impl_barrier_available(void)
{
	return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 && queue_impl_barrier();
}

/* The process in which the first event was made; 0: none yet. */
static uint32_t home;

/*
 * In the child of a fork(2) threads are counted that are not there: the parent's, which waited. No
 * wake ever arrives at one of those, so none may hold back others. Asked for only where a wake might.
 */
static bool
is_child(void)
{
	return queue_impl_load32_rlx(&home) !=
	       (uint32_t)getpid(); /* relaxed: set before all else */
}

/* On one processor whoever is waited for does not run while we spin. To ask reads a file: once. */
static uint32_t
first_spin(void)
{
	static uint32_t known;			       /* 0: not yet */
	uint32_t spin = queue_impl_load32_rlx(&known); /* relaxed, as the store: the same for all */
	int saved = errno; /* sysconf may leave its mark where it finds no /sys */

	if (spin == 0) {
		spin = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? QUEUE_IMPL_SPIN_MAX / 2 + 1 : 1;
		queue_impl_store32_rlx(&known, spin);
		errno = saved;
	}
	return spin - 1;
}

void
queue_impl_event_init(struct queue_impl_event *event, bool barrier)
{
	if (queue_impl_load32_rlx(&home) == 0) /* relaxed: who makes the first one sets it */
		queue_impl_store32_rlx(&home, (uint32_t)getpid());
	event->word = 0;
	event->woken_at = 0;
	event->spin = first_spin();
	event->barrier = barrier;
	event->waits = 0;
	event->wakes = 0;
}

/* The futex is the half that holds the epoch: the first, on the machines this runs on. */
static const uint32_t *
futex_of(const struct queue_impl_event *event)
{
	_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the epoch comes first");
	return (const uint32_t *)(const void *)&event->word;
}

void
queue_impl_event_order(struct queue_impl_event *event)
{
	queue_impl_fence_after_rmw();
	if (queue_impl_load32_rlx(&event->barrier) == 0) /* relaxed: a mode, not a message */
		return;
	/* It worked when the queue was made. Should it be taken away since, waits get short. */
	if (!queue_impl_barrier())
		queue_impl_store32_rlx(&event->barrier, BARRIER_BROKEN);
}

/* Relaxed: a mode, not a message. */
static bool
is_broken(const struct queue_impl_event *event)
{
	return queue_impl_load32_rlx(&event->barrier) == BARRIER_BROKEN;
}

void
queue_impl_event_watch(struct queue_impl_event *event)
{
	uint64_t word = queue_impl_load_acq(&event->word), until;

	while (!(word & QUEUE_IMPL_EVENT_WATCHED) &&
	       !queue_impl_cas_acq_rel(&event->word, &word,
				       word | QUEUE_IMPL_EVENT_WATCHED)) /* DESCRIPTOR2 release */
		continue;
	queue_impl_event_order(event); /* WAIT1 waiter */
	if (!is_broken(event))
		return;
	/*
	 * Whoever has not seen the bit has published long before this is over. A known hole: a
	 * virtual processor that is itself stopped for longer.
	 */
	until = queue_now() + STORES_ARRIVE;
	while (queue_now() < until)
		queue_impl_sleep_until(until);
}

bool
queue_impl_event_is_watched(const struct queue_impl_event *event)
{
	return (queue_impl_load_acq(&event->word) & QUEUE_IMPL_EVENT_WATCHED) !=
	       0; /* DESCRIPTOR2 acquire */
}

bool
queue_impl_event_is_counted(const struct queue_impl_event *event)
{
	return queue_impl_load_rlx(&event->word) >= QUEUE_IMPL_EVENT_ONE; /* relaxed: WAIT1 */
}

void
queue_impl_event_order_all(struct queue_impl_event *const *events, int n)
{
	int i;

	queue_impl_fence_after_rmw();
	/* One membarrier(2) is good for all; when it does not work any more, then for none. */
	for (i = 0; i < n; i++) {
		/* Relaxed: a mode, not a message. */
		if (queue_impl_load32_rlx(&events[i]->barrier) == 0)
			continue;
		queue_impl_event_order(events[i]);
		if (!is_broken(events[i]))
			return;
	}
}

/*
 * Polls for as long as that has lately been worth it: twice as long as it took to succeed, a little
 * less after each time in vain. Once in a while it tries for as long as a wake takes at most: two
 * threads that wait for each other, both asleep by turns, would not find out otherwise that they
 * need not sleep at all.
 */
uint32_t
queue_impl_event_polls(const struct queue_impl_event *event)
{
	/* Relaxed, both: guesses that threads refine together. */
	uint32_t limit = queue_impl_load32_rlx(&event->spin);
	bool tries_long = limit > 0 && queue_impl_load_rlx(&event->waits) % POLL_LONG_EVERY == 0;

	return tries_long ? QUEUE_IMPL_SPIN_MAX : limit;
}

void
queue_impl_event_learn(struct queue_impl_event *event, uint32_t planned, uint32_t failed)
{
	uint32_t limit = queue_impl_load32_rlx(&event->spin); /* relaxed, all: guesses */
	uint32_t enough = 2 * failed + QUEUE_IMPL_SPIN_MIN;

	if (failed >= planned) {
		if (planned == limit && limit > QUEUE_IMPL_SPIN_MIN)
			queue_impl_store32_rlx(&event->spin, limit - 1 - limit / 16);
		return;
	}
	if (enough > QUEUE_IMPL_SPIN_MAX)
		enough = QUEUE_IMPL_SPIN_MAX;
	if (enough > limit)
		queue_impl_store32_rlx(&event->spin, enough);
}

uint32_t
queue_impl_event_count(struct queue_impl_event *event)
{
	uint64_t word = queue_impl_fetch_add_acq_rel(&event->word, QUEUE_IMPL_EVENT_ONE);

	/* Before the fence and the look at the thing (WAIT1): either we see it, or its notifier this. */
	if ((word & QUEUE_IMPL_EVENT_WAKING) && is_child())
		queue_impl_store_rlx(&event->woken_at,
				     queue_now() - (uint64_t)QUEUE_IMPL_WAKE_OVERDUE);
	return (uint32_t)word;
}

uint32_t
queue_impl_event_prepare(struct queue_impl_event *event)
{
	uint32_t epoch = queue_impl_event_count(event);

	queue_impl_event_order(event); /* WAIT1 waiter */
	return epoch;
}

/* Until when a thread may sleep that has until the deadline. */
static uint64_t
piece_of(const struct queue_impl_event *event, uint64_t deadline)
{
	uint64_t piece;

	if (!is_broken(event))
		return deadline;
	piece = queue_now() + PIECE;
	return piece < deadline ? piece : deadline;
}

void
queue_impl_event_sleep(struct queue_impl_event *event, uint32_t epoch, uint64_t deadline)
{
	queue_impl_add_rlx(&event->waits, 1);
	queue_impl_futex_wait(futex_of(event), epoch, piece_of(event, deadline));
}

bool
queue_impl_event_sleep_any(struct queue_impl_event *const *events, const uint32_t *epochs, int n,
			   uint64_t deadline)
{
	struct awaited_futex futexes[FUTEXES_MAX];
	struct timespec until;
	int saved = errno, i;
	long rc;

	for (i = 0; i < n; i++) {
		queue_impl_add_rlx(&events[i]->waits, 1);
		futexes[i].expected = epochs[i];
		futexes[i].address = (uintptr_t)futex_of(events[i]);
		futexes[i].flags = FUTEX_IS_32_BITS | FUTEX_PRIVATE_FLAG;
		futexes[i].reserved = 0;
		deadline = piece_of(events[i], deadline);
	}
	until = timespec_of(deadline);
	rc = syscall(FUTEX_WAITV, futexes, n, 0, deadline == QUEUE_NEVER ? NULL : &until,
		     CLOCK_MONOTONIC);
	if (rc < 0)
		rc = -errno;
	errno = saved;
	return rc != -ENOSYS && rc != -EPERM;
}

void
queue_impl_event_leave(struct queue_impl_event *event)
{
	uint64_t word = queue_impl_load_acq(&event->word);

	while (!queue_impl_cas_acq_rel(&event->word, &word,
				       (word - QUEUE_IMPL_EVENT_ONE) &
					       ~QUEUE_IMPL_EVENT_WAKING)) /* WAIT2 acquire */
		continue;
}

void
queue_impl_event_notify(struct queue_impl_event *event)
{
	uint64_t word = queue_impl_load_acq(&event->word);
	uint64_t now = queue_now(), overdue = now - (uint64_t)QUEUE_IMPL_WAKE_OVERDUE;
	uint64_t next;
	int64_t since;
	int woken;

	do {
		if (word < QUEUE_IMPL_EVENT_ONE)
			return;
		/* Relaxed: a hint for how long ago; written before the bit that led us here. */
		since = (int64_t)(now - queue_impl_load_rlx(&event->woken_at));
		if ((word & QUEUE_IMPL_EVENT_WAKING) && since < QUEUE_IMPL_WAKE_OVERDUE)
			return;
		/* Overdue until it has been sent: it must not hold back others before. */
		queue_impl_store_rlx(&event->woken_at, overdue);
		next = (word & ~EPOCH_MASK) | QUEUE_IMPL_EVENT_WAKING | ((word + 1) & EPOCH_MASK);
	} while (!queue_impl_cas_acq_rel(&event->word, &word, next)); /* WAIT2 release */
	woken = queue_impl_futex_wake(futex_of(event), 1);
	queue_impl_add_rlx(&event->wakes, (uint64_t)woken);
	/*
	 * One that met nobody asleep holds back others, for who is counted is awake; or not there. Only
	 * in the place of what this call has stored: if there is another, that wake is under way.
	 */
	if (woken > 0 || !is_child())
		(void)queue_impl_cas_acq_rel(&event->woken_at, &overdue, now);
}

void
queue_impl_event_notify_all(struct queue_impl_event *event)
{
	uint64_t word = queue_impl_load_acq(&event->word);
	uint64_t next;

	do {
		if (word < QUEUE_IMPL_EVENT_ONE)
			return;
		next = (word & ~EPOCH_MASK) | ((word + 1) & EPOCH_MASK);
	} while (!queue_impl_cas_acq_rel(&event->word, &word, next)); /* WAIT2 release */
	queue_impl_add_rlx(&event->wakes,
			   (uint64_t)queue_impl_futex_wake(futex_of(event), INT_MAX));
}
