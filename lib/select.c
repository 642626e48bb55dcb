/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting for several queues at once. The thread is counted at each of them as one that waits to
 * pop, and sleeps on all their epochs by futex_waitv(2). Where there is none it sleeps on their
 * descriptors instead.
 *
 * It takes nothing. So when it leaves it passes on the wake that it may have got, at every queue
 * with something in it: its caller may go on to pop from one of them, from another, or not at all.
 */
#include <conveyor/queue.h>

#include "queue_impl.h"
#include "wait_impl.h"

#include <poll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How often it looks at a queue for which there is no descriptor. */
#define PIECE QUEUE_MILLISECOND

/* The queues that are waited for, in the order in which they are looked at. */
struct selection {
	int n;
	int places[QUEUE_SELECT_MAX]; /* in the caller's array */
	struct queue_bounded *queues[QUEUE_SELECT_MAX];
	struct queue_impl_event *events[QUEUE_SELECT_MAX];
};

uint32_t queue_impl_select_polls;

static void
gather(struct selection *selection, struct queue_bounded *const *queues, int n, int first)
{
	int i;

	selection->n = 0;
	for (i = 0; i < n; i++) {
		int place = (first + i) % n;
		struct queue_bounded *queue = queues[place];

		if (!queue)
			continue;
		selection->places[selection->n] = place;
		selection->queues[selection->n] = queue;
		selection->events[selection->n++] = &queue->not_empty;
	}
}

/* The first that is ready, or -EAGAIN. */
static int
look(const struct selection *selection)
{
	int i;

	for (i = 0; i < selection->n; i++)
		if (queue_impl_is_ready(selection->queues[i]))
			return i;
	return -EAGAIN;
}

static bool
has_come(uint64_t deadline)
{
	return deadline != QUEUE_NEVER && deadline <= queue_now();
}

/* As long as waiting for the first of them has lately been worth it. */
static int
spin(const struct selection *selection)
{
	struct queue_impl_event *event = selection->events[0];
	uint32_t polls = queue_impl_event_polls(event), each = (uint32_t)selection->n, i;
	int found = -EAGAIN;

	for (i = 0; i < polls; i += each) {
		found = look(selection);
		if (found >= 0)
			break;
		queue_impl_pause();
	}
	queue_impl_event_learn(event, polls, i);
	return found;
}

/* One sleep, or none. *can_sleep tells whether there is futex_waitv(2). */
static int
sleep_once(const struct selection *selection, uint64_t deadline, bool *can_sleep)
{
	uint32_t epochs[QUEUE_SELECT_MAX];
	int found, i;

	for (i = 0; i < selection->n; i++)
		epochs[i] = queue_impl_event_count(selection->events[i]);
	queue_impl_event_order_all(selection->events, selection->n); /* WAIT1 waiter */
	found = look(selection);
	if (found == -EAGAIN && has_come(deadline))
		found = -ETIMEDOUT;
	if (found == -EAGAIN) {
		for (i = 0; i < selection->n; i++)
			queue_impl_sample_more(selection->queues[i]);
		*can_sleep = queue_impl_event_sleep_any(selection->events, epochs, selection->n,
							deadline);
		found = look(selection);
	}
	for (i = 0; i < selection->n; i++)
		queue_impl_event_leave(selection->events[i]);
	return found;
}

/* Not the library's function, which is a cancellation point. False: it did not sleep. */
static bool
poll_until(struct pollfd *descriptors, int n, uint64_t deadline)
{
	uint64_t now = queue_now(), left = deadline > now ? deadline - now : 0;
	struct timespec timeout;
	int saved = errno;
	bool slept;

	timeout.tv_sec = (time_t)(left / QUEUE_SECOND);
	timeout.tv_nsec = (long)(left % QUEUE_SECOND);
	slept = syscall(SYS_ppoll, descriptors, n, deadline == QUEUE_NEVER ? NULL : &timeout, NULL,
			0) >= 0 ||
		errno == EINTR;
	errno = saved;
	return slept;
}

/* The same without futex_waitv(2). */
static int
sleep_by_poll(const struct selection *selection, uint64_t deadline)
{
	struct pollfd descriptors[QUEUE_SELECT_MAX];
	uint64_t until = deadline, piece = queue_now() + PIECE;
	int found, i;

	for (i = 0; i < selection->n; i++) {
		/* Each time: it also lowers one that is up for nothing. */
		descriptors[i].fd = queue_fd(selection->queues[i]);
		descriptors[i].events = POLLIN;
		if (descriptors[i].fd < 0 && piece < until)
			until = piece;
	}
	found = look(selection);
	if (found == -EAGAIN && has_come(deadline))
		return -ETIMEDOUT;
	/* It refuses more than the process may have open, of which there may be less by now. */
	if (found == -EAGAIN && !poll_until(descriptors, selection->n, until))
		(void)poll_until(NULL, 0, piece < until ? piece : until);
	return found;
}

static int
sleep_for(const struct selection *selection, uint64_t deadline)
{
	bool polls = queue_impl_load32_rlx(&queue_impl_select_polls); /* relaxed: a mode */
	bool can_sleep = !polls;
	int found = -EAGAIN, i;

	while (found == -EAGAIN && can_sleep)
		found = sleep_once(selection, deadline, &can_sleep);
	for (i = 0; i < selection->n && !polls; i++)
		queue_impl_pass_baton(selection->queues[i], selection->events[i]);
	if (!can_sleep)
		queue_impl_store32_rlx(&queue_impl_select_polls, 1);
	while (found == -EAGAIN)
		found = sleep_by_poll(selection, deadline);
	return found;
}

static int
wait_for(const struct selection *selection, uint64_t deadline)
{
	int found, i;

	for (i = 0; i < selection->n; i++)
		(void)queue_impl_fetch_add_acq_rel(&selection->queues[i]->waiting_to_pop, 1);
	found = spin(selection);
	if (found == -EAGAIN)
		found = sleep_for(selection, deadline);
	/* From here on the queues may be gone. */
	for (i = 0; i < selection->n; i++)
		(void)queue_impl_fetch_add_acq_rel(&selection->queues[i]->waiting_to_pop,
						   (uint64_t)-1); /* QUEUE2 release */
	return found;
}

static int
select_from(struct queue_bounded *const *queues, int n, int first, uint64_t deadline, int *index)
{
	struct selection selection;
	int found;

	gather(&selection, queues, n, first);
	if (selection.n == 0)
		return -EPIPE;
	found = look(&selection);
	if (found == -EAGAIN)
		found = has_come(deadline) ? -ETIMEDOUT : wait_for(&selection, deadline);
	if (found < 0)
		return found;
	*index = selection.places[found];
	return 0;
}

int
queue_select(struct queue_bounded *const *queues, int n, uint64_t deadline, int *index)
{
	if (!queues || n < 1 || n > QUEUE_SELECT_MAX || !index)
		return -EINVAL;
	return select_from(queues, n, 0, deadline, index);
}

int
queue_select_fair(struct queue_bounded *const *queues, int n, uint64_t deadline, int *index)
{
	int first;

	if (!queues || n < 1 || n > QUEUE_SELECT_MAX || !index)
		return -EINVAL;
	first = *index >= 0 && *index < n ? *index + 1 : 0;
	return select_from(queues, n, first, deadline, index);
}
