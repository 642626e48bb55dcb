/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Select: what comes while a thread is on its way to sleep; and, without futex_waitv(2), a process
 * that has all the descriptors it may have.
 */
/* LIBS: -Wl,--wrap=queue_impl_event_count */
#include <conveyor/queue.h>

#include "queue_impl.h"
#include "wait_impl.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include "unit.h"

#define DESCRIPTORS 64

uint32_t __real_queue_impl_event_count(struct queue_impl_event *event);
uint32_t __wrap_queue_impl_event_count(struct queue_impl_event *event);

static struct queue_bounded *gets_one; /* before a thread is counted at it */

uint32_t
__wrap_queue_impl_event_count(struct queue_impl_event *event)
{
	struct queue_bounded *queue = gets_one;

	gets_one = NULL;
	if (queue)
		cr_assert_eq(queue_push(queue, NULL), 0);
	return __real_queue_impl_event_count(event);
}

Test(select_sleep, looks_once_more_when_it_is_counted, .timeout = 20)
{
	const struct queue_options options = {.capacity = 1};
	struct queue_bounded *queue;
	int index = -1;
	void *item;

	cr_assert_eq(queue_create(&queue, &options), 0);
	gets_one = queue;
	cr_assert_eq(queue_select(&queue, 1, QUEUE_NEVER, &index), 0);
	cr_assert_eq(index, 0);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

static void *
push_when_waited_for(void *opaque)
{
	struct queue_bounded *queue = opaque;

	while (!queue_impl_is_waited_in(queue))
		(void)sched_yield();
	cr_assert_eq(queue_push(queue, NULL), 0);
	return NULL;
}

Test(select_sleep, by_poll_looks_once_in_a_while_when_all_descriptors_are_taken, .timeout = 20)
{
	const struct queue_options options = {.capacity = 1};
	struct queue_bounded *queue;
	struct rlimit limit, before;
	int taken[DESCRIPTORS], n = 0, index = -1, i;
	pthread_t thread;
	void *item;

	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = DESCRIPTORS;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while (n < DESCRIPTORS && (taken[n] = dup(STDERR_FILENO)) >= 0)
		n++;
	cr_assert_eq(queue_fd(queue), -EAGAIN);
	queue_impl_select_polls = 1;
	cr_assert_eq(pthread_create(&thread, NULL, push_when_waited_for, queue), 0);
	cr_assert_eq(queue_select(&queue, 1, QUEUE_NEVER, &index), 0);
	cr_assert_eq(index, 0);
	for (i = 0; i < n; i++)
		(void)close(taken[i]);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(queue_try_pop(queue, &item), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(select_sleep, by_poll_leaves_errno_alone_where_poll_is_refused, .timeout = 20)
{
	const struct queue_options options = {.capacity = 1};
	struct queue_bounded *queue;
	struct rlimit few, before;
	int index = -1, rc;

	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 0;
	queue_impl_select_polls = 1;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	errno = 0;
	rc = queue_select(&queue, 1, queue_after_ms(5), &index);
	cr_assert_eq(errno, 0);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert_eq(rc, -ETIMEDOUT);
	cr_assert_eq(queue_destroy(queue), 0);
}
