/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_select and queue_select_fair: the contract of conveyor/queue.h line by line, asleep by
 * futex_waitv(2) and by poll(2).
 */
#include <conveyor/queue.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queue_impl.h"
#include "unit.h"

#define QUEUES 4
#define PATIENCE (20 * QUEUE_SECOND)
#define FUTEX_WAITV 449

/* For loops: Criterion makes every assertion that holds an event, which costs microseconds. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d)", #condition, __LINE__);                    \
	} while (0)

/* With futex_waitv(2), if there is one, and without. */
#define BOTH_WAYS(polls)                                                                           \
	for (uint32_t polls = 0; polls < 2; polls++)                                               \
		if (queue_impl_store32_rlx(&queue_impl_select_polls, polls), true)

static int something; /* an item */

static void
create_all(struct queue_bounded **queues)
{
	struct queue_options options = {.capacity = 3};

	for (int i = 0; i < QUEUES; i++)
		EXPECT(queue_create(&queues[i], &options) == 0);
}

static void
destroy_all(struct queue_bounded **queues)
{
	void *item;

	for (int i = 0; i < QUEUES; i++) {
		while (queue_try_pop(queues[i], &item) == 0)
			continue;
		EXPECT(queue_destroy(queues[i]) == 0);
	}
}

static void
push(struct queue_bounded *queue)
{
	EXPECT(queue_try_push(queue, &something) == 0);
}

static void
pop(struct queue_bounded *queue)
{
	void *item;

	EXPECT(queue_try_pop(queue, &item) == 0);
}

typedef int select_fn(struct queue_bounded *const *queues, int n, uint64_t deadline, int *index);

static select_fn *const both[] = {queue_select, queue_select_fair};

/* ---- What it is asked ----------------------------------------------------------------------- */

Test(select, refuses_what_is_not_valid_and_leaves_index_alone)
{
	struct queue_bounded *queues[QUEUES];

	create_all(queues);
	push(queues[0]);
	for (int i = 0; i < 2; i++) {
		int index = 17;

		cr_assert_eq(both[i](queues, 0, QUEUE_NEVER, &index), -EINVAL);
		cr_assert_eq(both[i](queues, -1, QUEUE_NEVER, &index), -EINVAL);
		cr_assert_eq(both[i](queues, QUEUE_SELECT_MAX + 1, QUEUE_NEVER, &index), -EINVAL);
		cr_assert_eq(both[i](NULL, 1, QUEUE_NEVER, &index), -EINVAL);
		cr_assert_eq(both[i](queues, QUEUES, QUEUE_NEVER, NULL), -EINVAL);
		cr_assert_eq(index, 17);
	}
	destroy_all(queues);
}

Test(select, waits_for_as_many_queues_as_it_says)
{
	struct queue_bounded *queues[QUEUES], *many[QUEUE_SELECT_MAX];

	create_all(queues);
	BOTH_WAYS(polls)
	{
		int index = -1;

		for (int i = 0; i < QUEUE_SELECT_MAX; i++)
			many[i] = queues[0];
		many[QUEUE_SELECT_MAX - 1] = queues[1];
		EXPECT(queue_select(many, QUEUE_SELECT_MAX, queue_after_ms(2), &index) ==
		       -ETIMEDOUT);
		push(queues[1]);
		EXPECT(queue_select(many, QUEUE_SELECT_MAX, QUEUE_NEVER, &index) == 0);
		EXPECT(index == QUEUE_SELECT_MAX - 1);
		pop(queues[1]);
	}
	destroy_all(queues);
}

Test(select, leaves_nulls_out_and_does_not_wait_for_nothing)
{
	struct queue_bounded *queues[QUEUES], *few[5] = {NULL, NULL, NULL, NULL, NULL};

	create_all(queues);
	BOTH_WAYS(polls)
	{
		for (int i = 0; i < 2; i++) {
			int index = -1;

			few[3] = NULL;
			EXPECT(both[i](few, 5, QUEUE_NEVER, &index) == -EPIPE && index == -1);
			few[3] = queues[0];
			EXPECT(both[i](few, 5, queue_after_ms(2), &index) == -ETIMEDOUT);
			EXPECT(index == -1);
			push(queues[0]);
			EXPECT(both[i](few, 5, QUEUE_NEVER, &index) == 0 && index == 3);
			pop(queues[0]);
		}
	}
	destroy_all(queues);
}

/* ---- What it answers ------------------------------------------------------------------------ */

Test(select, says_the_first_in_the_order_of_the_array_and_takes_nothing)
{
	struct queue_bounded *queues[QUEUES];
	int index = -1;

	create_all(queues);
	for (unsigned ready = 1; ready < 1u << QUEUES; ready++) {
		for (int i = 0; i < QUEUES; i++)
			if (ready >> i & 1)
				push(queues[i]);
		for (int again = 0; again < 3; again++) {
			EXPECT(queue_select(queues, QUEUES, QUEUE_NEVER, &index) == 0);
			EXPECT(index == __builtin_ctz(ready));
		}
		for (int i = 0; i < QUEUES; i++)
			if (ready >> i & 1)
				pop(queues[i]);
	}
	destroy_all(queues);
}

Test(select, fair_looks_first_at_the_one_after_the_last)
{
	struct queue_bounded *queues[QUEUES];
	int index = -1;

	create_all(queues);
	for (int i = 0; i < QUEUES; i++)
		push(queues[i]);
	for (int i = 0; i < 3 * QUEUES; i++) {
		EXPECT(queue_select_fair(queues, QUEUES, QUEUE_NEVER, &index) == 0);
		EXPECT(index == i % QUEUES);
	}
	/* From the third on, the next that is ready is the second. */
	pop(queues[0]);
	pop(queues[3]);
	index = 2;
	cr_assert_eq(queue_select_fair(queues, QUEUES, QUEUE_NEVER, &index), 0);
	cr_assert_eq(index, 1);
	/* An index of another array is no harm. */
	index = 4711;
	cr_assert_eq(queue_select_fair(queues, QUEUES, QUEUE_NEVER, &index), 0);
	cr_assert_eq(index, 1);
	index = INT32_MIN;
	cr_assert_eq(queue_select_fair(queues, QUEUES, QUEUE_NEVER, &index), 0);
	cr_assert_eq(index, 1);
	destroy_all(queues);
}

Test(select, says_a_closed_queue_whether_or_not_something_is_left_in_it)
{
	struct queue_bounded *queues[QUEUES];
	int index = -1;
	void *item;

	create_all(queues);
	push(queues[2]);
	cr_assert_eq(queue_close(queues[2]), 0);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(queue_select(queues, QUEUES, QUEUE_NEVER, &index), 0);
		cr_assert_eq(index, 2);
		cr_assert_eq(queue_try_pop(queues[2], &item), i == 0 ? 0 : -EPIPE);
	}
	destroy_all(queues);
}

Test(select, a_deadline_in_the_past_makes_a_look_of_it)
{
	struct queue_bounded *queues[QUEUES];
	int index = -1;

	create_all(queues);
	BOTH_WAYS(polls)
	{
		EXPECT(queue_select(queues, QUEUES, 0, &index) == -ETIMEDOUT && index == -1);
		push(queues[1]);
		EXPECT(queue_select(queues, QUEUES, 0, &index) == 0 && index == 1);
		pop(queues[1]);
		index = -1;
	}
	cr_assert_eq(queues[0]->not_empty.waits, 0);
	destroy_all(queues);
}

static uint64_t
stopped_clock(void *context)
{
	(void)context;
	return 5;
}

Test(select, its_deadline_is_by_the_systems_clock_and_not_early, .timeout = 60)
{
	struct queue_options options = {.capacity = 1, .clock = stopped_clock};
	struct queue_bounded *queue;

	cr_assert_eq(queue_create(&queue, &options), 0);
	BOTH_WAYS(polls)
	{
		uint64_t deadline = queue_after_ms(15);
		int index;

		EXPECT(queue_select(&queue, 1, deadline, &index) == -ETIMEDOUT);
		EXPECT(queue_now() >= deadline);
	}
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(select, errno_is_never_touched)
{
	struct queue_bounded *queues[QUEUES];

	create_all(queues);
	BOTH_WAYS(polls)
	{
		int index = -1;

		errno = 4711;
		(void)queue_select(queues, QUEUES, queue_after_ms(2), &index);
		push(queues[1]);
		(void)queue_select(queues, QUEUES, queue_after_ms(2), &index);
		EXPECT(errno == 4711);
		pop(queues[1]);
	}
	destroy_all(queues);
}

/* ---- Waiting -------------------------------------------------------------------------------- */

struct waiter {
	pthread_t thread;
	struct queue_bounded **queues;
	select_fn *select;
	int n, rc, index;
};

static void *
waiter_main(void *argument)
{
	struct waiter *waiter = argument;

	waiter->index = -1;
	waiter->rc = waiter->select(waiter->queues, waiter->n, QUEUE_NEVER, &waiter->index);
	return NULL;
}

static void
waiter_start(struct waiter *waiter, struct queue_bounded **queues, select_fn *select)
{
	*waiter = (struct waiter){.queues = queues, .n = QUEUES, .select = select};
	EXPECT(pthread_create(&waiter->thread, NULL, waiter_main, waiter) == 0);
}

static int
waiter_join(struct waiter *waiter)
{
	EXPECT(pthread_join(waiter->thread, NULL) == 0);
	EXPECT(waiter->rc == 0);
	return waiter->index;
}

/* Until so many threads wait at a queue; by futex also until they have gone to sleep. */
static void
await(const struct queue_bounded *queue, uint64_t threads)
{
	uint64_t patience = queue_now() + PATIENCE;
	struct queue_stats stats;

	do {
		EXPECT(queue_now() < patience);
		sched_yield();
		EXPECT(queue_stats(queue, &stats) == 0);
	} while (queue_impl_load_acq(&queue->waiting_to_pop) < threads ||
		 (queue_impl_load32_rlx(&queue_impl_select_polls) == 0 && stats.waits < threads));
}

Test(select, is_woken_by_a_push_to_any_and_by_close, .timeout = 60)
{
	BOTH_WAYS(polls)
	{
		for (int i = 0; i < 4 * QUEUES; i++) {
			struct queue_bounded *queues[QUEUES];
			struct waiter waiter;

			create_all(queues);
			waiter_start(&waiter, queues, both[i % 2]);
			await(queues[QUEUES - 1], 1);
			if (i / 2 / QUEUES)
				push(queues[i % QUEUES]);
			else
				EXPECT(queue_close(queues[i % QUEUES]) == 0);
			EXPECT(waiter_join(&waiter) == i % QUEUES);
			destroy_all(queues);
		}
	}
}

Test(select, a_queue_that_is_waited_for_cannot_be_ended, .timeout = 60)
{
	BOTH_WAYS(polls)
	{
		struct queue_bounded *queues[QUEUES];
		struct waiter waiter;

		create_all(queues);
		waiter_start(&waiter, queues, queue_select);
		await(queues[QUEUES - 1], 1);
		for (int i = 0; i < QUEUES; i++)
			EXPECT(queue_destroy(queues[i]) == -EBUSY);
		push(queues[0]);
		EXPECT(waiter_join(&waiter) == 0);
		destroy_all(queues);
	}
}

Test(select, the_same_queue_may_be_there_twice, .timeout = 60)
{
	BOTH_WAYS(polls)
	{
		struct queue_bounded *queues[QUEUES], *twice[QUEUES];
		struct waiter waiter;

		create_all(queues);
		twice[0] = twice[2] = queues[0];
		twice[1] = twice[3] = queues[1];
		waiter_start(&waiter, twice, queue_select);
		await(queues[1], 2);
		push(queues[1]);
		/* The second, when the push came while they were being looked at. */
		EXPECT(waiter_join(&waiter) % 2 == 1);
		EXPECT(queue_impl_load_acq(&queues[0]->waiting_to_pop) == 0);
		EXPECT(queue_impl_load_acq(&queues[1]->waiting_to_pop) == 0);
		destroy_all(queues);
	}
}

static void *
pop_one(void *queue)
{
	void *item = NULL;

	EXPECT(queue_pop(queue, &item) == 0);
	return item;
}

Test(select, hands_on_the_wake_since_it_takes_nothing, .timeout = 60)
{
	BOTH_WAYS(polls)
	{
		struct queue_bounded *queues[QUEUES];
		struct waiter waiters[2];
		pthread_t popper;
		void *item;

		/* The futex wakes who has slept longest; that one does not pop. */
		create_all(queues);
		waiter_start(&waiters[0], queues, queue_select);
		await(queues[QUEUES - 1], 1);
		waiter_start(&waiters[1], queues, queue_select_fair);
		await(queues[QUEUES - 1], 2);
		EXPECT(pthread_create(&popper, NULL, pop_one, queues[2]) == 0);
		await(queues[2], 3);
		push(queues[2]);
		EXPECT(pthread_join(popper, &item) == 0 && item == &something);
		/* It may have been faster than both. */
		push(queues[2]);
		EXPECT(waiter_join(&waiters[0]) == 2 && waiter_join(&waiters[1]) == 2);
		destroy_all(queues);
	}
}

Test(select, by_poll_looks_once_in_a_while_when_there_are_no_descriptors, .timeout = 60)
{
	struct queue_bounded *queues[QUEUES];
	struct rlimit before, none;
	struct waiter waiter;

	queue_impl_store32_rlx(&queue_impl_select_polls, 1);
	create_all(queues);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	waiter_start(&waiter, queues, queue_select);
	await(queues[3], 1);
	push(queues[3]);
	cr_assert_eq(waiter_join(&waiter), 3);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	destroy_all(queues);
}

static uint64_t
processor_time(void)
{
	struct timespec used;

	EXPECT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
	return (uint64_t)used.tv_sec * QUEUE_SECOND + (uint64_t)used.tv_nsec;
}

/* There, and where poll(2) refuses those that there are, since the process may have fewer now. */
Test(select, by_poll_sleeps_where_there_may_be_fewer_descriptors_than_queues, .timeout = 60)
{
	struct queue_bounded *queues[QUEUES];
	struct rlimit before, few;
	int index;

	queue_impl_store32_rlx(&queue_impl_select_polls, 1);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 1;
	for (int have = 0; have < 2; have++) {
		uint64_t used;

		create_all(queues);
		for (int i = 0; i < QUEUES && have; i++)
			EXPECT(queue_fd(queues[i]) >= 0);
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
		used = processor_time();
		cr_assert_eq(queue_select(queues, QUEUES, queue_after_ms(400), &index), -ETIMEDOUT);
		used = processor_time() - used;
		cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
		cr_assert_lt(used, 100 * QUEUE_MILLISECOND);
		destroy_all(queues);
	}
}

/* What the system answers to futex_waitv(2) from here on. False: that is not to be had. */
static bool
let_futex_waitv_fail(uint32_t error)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FUTEX_WAITV, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

Test(select, finds_out_that_there_is_no_futex_waitv, .timeout = 60)
{
	static const uint32_t errors[] = {ENOSYS, EPERM};

	for (int i = 0; i < 2; i++) {
		int status = -1;
		pid_t child;

		fflush(NULL);
		child = fork();
		if (child == 0) {
			struct queue_options options = {.capacity = 1};
			struct queue_bounded *queue;
			int index;
			bool ok = queue_create(&queue, &options) == 0;

			/* An emulator has neither seccomp nor futex_waitv. */
			(void)let_futex_waitv_fail(errors[i]);
			/* Where the time is over before it has slept, it has not found out. */
			for (uint64_t ms = 5; ms < 10000; ms *= 4)
				if (queue_impl_load32_rlx(&queue_impl_select_polls) == 0)
					ok = ok && queue_select(&queue, 1, queue_after_ms(ms),
								&index) == -ETIMEDOUT;
			ok = ok && queue_impl_load32_rlx(&queue_impl_select_polls) == 1;
			ok = ok && queue_try_push(queue, &something) == 0;
			ok = ok && queue_select(&queue, 1, QUEUE_NEVER, &index) == 0;
			_exit(ok ? 0 : 1);
		}
		EXPECT(child > 0 && waitpid(child, &status, 0) == child);
		EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}
