/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Who is waiting for an answer. Everybody waits equally long, so the order in which requests come
 * is the order of their deadlines, and the list needs no sorting: one thread sleeps until the first
 * deadline in it. It is woken when there is a first one; a request that was answered just leaves.
 */
#include "service.h"

#include <errno.h>
#include <time.h>

static bool
is_empty(const struct deadlines *deadlines)
{
	return deadlines->open.later == &deadlines->open;
}

static void
unlink_request(struct request *request)
{
	request->earlier->later = request->later;
	request->later->earlier = request->earlier;
	request->earlier = request->later = NULL;
}

void
deadlines_add(struct deadlines *deadlines, struct request *request, uint64_t from_now)
{
	struct request *list = &deadlines->open;
	bool was_empty;

	pthread_mutex_lock(&deadlines->lock);
	was_empty = is_empty(deadlines);
	/* Under the lock, so that the order in the list is that of the times. */
	request->deadline = queue_now() + from_now;
	request->earlier = list->earlier;
	request->later = list;
	list->earlier->later = request;
	list->earlier = request;
	pthread_mutex_unlock(&deadlines->lock);
	if (was_empty)
		pthread_cond_signal(&deadlines->changed);
}

bool
deadlines_remove(struct deadlines *deadlines, struct request *request)
{
	bool was_listed;

	pthread_mutex_lock(&deadlines->lock);
	was_listed = request->later != NULL;
	if (was_listed)
		unlink_request(request);
	pthread_mutex_unlock(&deadlines->lock);
	return was_listed;
}

/* With the lock held: waits until something may be late, or the end of it all. */
static void
wait_for_first(struct deadlines *deadlines)
{
	uint64_t deadline = deadlines->open.later->deadline;
	struct timespec until = {.tv_sec = (time_t)(deadline / QUEUE_SECOND),
				 .tv_nsec = (long)(deadline % QUEUE_SECOND)};

	if (is_empty(deadlines))
		(void)pthread_cond_wait(&deadlines->changed, &deadlines->lock);
	else
		(void)pthread_cond_timedwait(&deadlines->changed, &deadlines->lock, &until);
}

static void *
cancel_late_ones(void *argument)
{
	struct deadlines *deadlines = argument;

	pthread_mutex_lock(&deadlines->lock);
	while (!deadlines->stopping || !is_empty(deadlines)) {
		struct request *first = deadlines->open.later;

		if (is_empty(deadlines) || first->deadline > queue_now()) {
			wait_for_first(deadlines);
			continue;
		}
		unlink_request(first);
		pthread_mutex_unlock(&deadlines->lock);
		/* -EBUSY: it was answered just now. Either way its user is told once. */
		(void)queue_call_cancel(&first->call);
		queue_call_release(&first->call);
		pthread_mutex_lock(&deadlines->lock);
	}
	pthread_mutex_unlock(&deadlines->lock);
	return NULL;
}

int
deadlines_start(struct deadlines *deadlines)
{
	pthread_condattr_t attributes;
	int error;

	deadlines->open.earlier = deadlines->open.later = &deadlines->open;
	(void)pthread_mutex_init(&deadlines->lock, NULL);
	(void)pthread_condattr_init(&attributes);
	(void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&deadlines->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	error = pthread_create(&deadlines->thread, NULL, cancel_late_ones, deadlines);
	if (error)
		return -error;
	(void)pthread_setname_np(deadlines->thread, "deadlines");
	return 0;
}

void
deadlines_end(struct deadlines *deadlines)
{
	pthread_mutex_lock(&deadlines->lock);
	deadlines->stopping = true;
	pthread_mutex_unlock(&deadlines->lock);
	pthread_cond_signal(&deadlines->changed);
	(void)pthread_join(deadlines->thread, NULL);
	(void)pthread_cond_destroy(&deadlines->changed);
	(void)pthread_mutex_destroy(&deadlines->lock);
}
