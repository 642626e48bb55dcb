/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_fd: readable exactly while a pop would not wait, whatever is done to the queue, and at the
 * price of one system call per change.
 */
/* LIBS: -Wl,--wrap=syscall */
#include <conveyor/queue.h>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "queue_impl.h"
#include "unit.h"
#include "wrap_syscall.h"

#define ROLES (QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER)
#define PATIENCE (20 * QUEUE_SECOND)

/* For loops: Criterion makes every assertion that holds an event, which costs microseconds. */
#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d)", #condition, __LINE__);                    \
	} while (0)

/*
 * How many the library has made on this thread for a descriptor. A barrier is not for it: the ring
 * asks for one, on some thread that pushes, when its restartable sequences move.
 */
static _Thread_local uint64_t system_calls;

static long
on_syscall(long number, const long *arguments)
{
	if (number != SYS_membarrier)
		system_calls++;
	return real_syscall(number, arguments);
}

static uint64_t now;

static uint64_t
driven_clock(void *context)
{
	(void)context;
	return now;
}

/* Items of these tests are numbers, and an item's number is its deadline when this is asked. */
static uint64_t
number_is_deadline(const void *item)
{
	return (uint64_t)(uintptr_t)item;
}

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	(void)item, (void)reason, (void)context;
}

static void
run(void *item, void *context)
{
	(void)item, (void)context;
}

static void *
item_of(uint64_t number)
{
	return (void *)(uintptr_t)number;
}

static struct queue_bounded *
create(enum queue_policy policy, unsigned flags, uint64_t capacity)
{
	struct queue_options options = {.capacity = capacity,
					.policy = policy,
					.flags = flags,
					.on_drop = on_drop,
					.run = run};
	struct queue_bounded *queue;

	EXPECT(queue_create(&queue, &options) == 0);
	return queue;
}

static bool
is_readable(int number)
{
	struct pollfd poll_for = {.fd = number, .events = POLLIN};
	int rc = poll(&poll_for, 1, 0);

	EXPECT(rc >= 0 && (rc == 0 || poll_for.revents == POLLIN));
	return rc == 1;
}

static uint64_t
calls_of(const struct queue_bounded *queue)
{
	return queue->descriptor.calls;
}

#define FOR_ALL_QUEUES(policy, flags)                                                              \
	for (enum queue_policy policy = QUEUE_ABORT; policy <= QUEUE_DISCARD_OLDEST; policy++)     \
		for (unsigned flags = 0; flags <= ROLES; flags++)                                  \
			if (policy != QUEUE_DISCARD_OLDEST || !(flags & QUEUE_SINGLE_CONSUMER))

/* ---- What it is ----------------------------------------------------------------------------- */

Test(descriptor, is_the_same_each_time_and_is_closed_by_exec_and_does_not_block)
{
	struct queue_bounded *queue = create(QUEUE_ABORT, 0, 4);
	int number = queue_fd(queue);

	cr_assert_geq(number, 0);
	cr_assert_eq(queue_fd(queue), number);
	cr_assert_eq(fcntl(number, F_GETFD), FD_CLOEXEC);
	cr_assert(fcntl(number, F_GETFL) & O_NONBLOCK);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(descriptor, is_closed_with_the_queue_and_not_before)
{
	struct queue_options options = {.capacity = 4};
	struct queue_bounded *queue;
	void *item;
	int number;

	cr_assert_eq(queue_create(&queue, &options), 0);
	number = queue_fd(queue);
	cr_assert_eq(queue_push(queue, NULL), 0);
	/* An item is left and there is no on_drop. */
	cr_assert_eq(queue_destroy(queue), -EBUSY);
	cr_assert(is_readable(number));
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_eq(queue_destroy(queue), 0);
	cr_assert_eq(fcntl(number, F_GETFD), -1);
	cr_assert_eq(errno, EBADF);
}

Test(descriptor, that_cannot_be_had_now_can_be_asked_for_again)
{
	struct queue_bounded *queue = create(QUEUE_ABORT, 0, 4);
	struct rlimit before, none;
	void *item;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_eq(queue_fd(queue), -EAGAIN);
	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	cr_assert_eq(queue_fd(queue), -EAGAIN);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_assert(is_readable(queue_fd(queue)));
	cr_assert_eq(queue_pop(queue, &item), 0);
	cr_assert_not(is_readable(queue_fd(queue)));
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(descriptor, errno_is_never_touched)
{
	struct queue_bounded *queue = create(QUEUE_ABORT, 0, 1);
	struct rlimit before, none;
	void *item;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 0;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	errno = 4711;
	EXPECT(queue_fd(queue) == -EAGAIN && errno == 4711);
	EXPECT(setrlimit(RLIMIT_NOFILE, &before) == 0);
	EXPECT(queue_fd(queue) >= 0);
	EXPECT(queue_push(queue, NULL) == 0 && queue_push(queue, NULL) == -EAGAIN);
	EXPECT(queue_try_pop(queue, &item) == 0 && queue_try_pop(queue, &item) == -EAGAIN);
	/* Its calls fail when somebody else has closed it; not that anybody should. */
	EXPECT(close(queue_fd(queue)) == 0);
	EXPECT(queue_push(queue, NULL) == 0 && queue_try_pop(queue, &item) == 0);
	EXPECT(queue_close(queue) == 0 && queue_destroy(queue) == 0);
	cr_assert_eq(errno, 4711);
}

/* ---- When it is readable -------------------------------------------------------------------- */

Test(descriptor, tells_at_once_what_the_queue_is_like_when_it_is_asked_for)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		for (int state = 0; state < 4; state++) {
			struct queue_bounded *queue = create(policy, flags, 3);

			if (state & 1)
				EXPECT(queue_push(queue, item_of(1)) == 0);
			if (state & 2)
				EXPECT(queue_close(queue) == 0);
			EXPECT(is_readable(queue_fd(queue)) == (state != 0));
			EXPECT(queue_destroy(queue) == 0);
		}
	}
}

/* One call of any kind, none of which waits, on a queue with or without room and items. */
static void
do_something(struct queue_bounded *queue, unsigned what)
{
	void *items[3] = {item_of(1), item_of(2), item_of(3)};

	switch (what) {
	case 0:
		if (queue->policy != QUEUE_BLOCK ||
		    queue_depth_approx(queue) < queue->ring.capacity)
			(void)queue_push(queue, items[0]);
		break;
	case 1:
		(void)queue_try_push(queue, items[0]);
		break;
	case 2:
		(void)queue_push_until(queue, items[0], 0);
		break;
	case 3:
		(void)queue_push_n(queue, items, 3);
		break;
	case 4:
		if (queue_impl_is_ready(queue))
			(void)queue_pop(queue, items);
		break;
	case 5:
		(void)queue_try_pop(queue, items);
		break;
	case 6:
		(void)queue_pop_until(queue, items, 0);
		break;
	case 7:
		if (queue_impl_is_ready(queue))
			(void)queue_pop_n(queue, items, 3);
		break;
	case 8:
		(void)queue_try_pop_n(queue, items, 2);
		break;
	default:
		(void)queue_close(queue);
	}
}

Test(descriptor, is_readable_exactly_while_there_is_an_item_or_the_queue_is_closed)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		uint64_t random = 1;

		for (uint64_t capacity = 1; capacity <= 40; capacity += 13) {
			struct queue_bounded *queue = create(policy, flags, capacity);
			int number = queue_fd(queue);

			for (int i = 0; i < 600; i++) {
				struct queue_stats stats;
				uint64_t before = calls_of(queue);
				bool was = is_readable(number);

				random = random * UINT64_C(6364136223846793005) + 1;
				do_something(queue,
					     (unsigned)((random >> 33) % (i < 500 ? 9 : 10)));
				EXPECT(queue_stats(queue, &stats) == 0);
				EXPECT(is_readable(number) == (stats.depth > 0 || stats.closed));
				/* One call when it has changed, none when it has not. */
				EXPECT(calls_of(queue) - before == (is_readable(number) != was));
				EXPECT(stats.pushed == stats.popped + stats.evicted + stats.depth);
			}
			EXPECT(queue_destroy(queue) == 0);
		}
	}
}

Test(descriptor, is_no_more_readable_when_all_that_was_there_has_expired)
{
	struct queue_options options = {.capacity = 8,
					.on_drop = on_drop,
					.deadline_of = number_is_deadline,
					.clock = driven_clock};
	struct queue_bounded *queue;
	void *items[8];
	int number;

	cr_assert_eq(queue_create(&queue, &options), 0);
	number = queue_fd(queue);
	now = 5;
	for (uint64_t i = 1; i <= 5; i++)
		cr_assert_eq(queue_push(queue, item_of(i)), 0);
	/* Nobody has looked at their deadlines yet. */
	cr_assert(is_readable(number));
	cr_assert_eq(queue_try_pop(queue, items), -EAGAIN);
	cr_assert_not(is_readable(number));
	cr_assert_eq(queue_push(queue, item_of(4)), 0);
	cr_assert_eq(queue_push(queue, item_of(6)), 0);
	cr_assert_eq(queue_push(queue, item_of(3)), 0);
	cr_assert_eq(queue_try_pop(queue, items), 0);
	cr_assert(is_readable(number));
	cr_assert_eq(queue_try_pop_n(queue, items, 8), 0);
	cr_assert_not(is_readable(number));
	cr_assert_eq(queue_destroy(queue), 0);
}

static int readable_in_drop;

static void
look_in_drop(void *item, enum queue_reason reason, void *context)
{
	struct queue_bounded *queue = *(struct queue_bounded **)context;

	(void)item;
	if (reason != QUEUE_DESTROYED)
		readable_in_drop = is_readable(queue_fd(queue));
}

Test(descriptor, is_right_by_the_time_that_on_drop_is_told)
{
	struct queue_bounded *queue;
	struct queue_options options = {.capacity = 1,
					.policy = QUEUE_DISCARD_OLDEST,
					.on_drop = look_in_drop,
					.context = &queue};
	void *item;

	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_geq(queue_fd(queue), 0);
	readable_in_drop = -1;
	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	cr_assert_eq(queue_push(queue, item_of(2)), QUEUE_EVICTED);
	cr_assert_eq(readable_in_drop, 1);
	cr_assert_eq(queue_destroy(queue), 0);

	options = (struct queue_options){.capacity = 1,
					 .on_drop = look_in_drop,
					 .context = &queue,
					 .deadline_of = number_is_deadline};
	cr_assert_eq(queue_create(&queue, &options), 0);
	cr_assert_geq(queue_fd(queue), 0);
	readable_in_drop = -1;
	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	cr_assert_eq(queue_try_pop(queue, &item), -EAGAIN);
	cr_assert_eq(readable_in_drop, 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(descriptor, gives_an_edge_for_the_first_push_after_each_time_that_nothing_was_left)
{
	struct queue_bounded *queue = create(QUEUE_ABORT, 0, 4);
	struct epoll_event event = {.events = EPOLLIN | EPOLLET};
	int loop = epoll_create1(EPOLL_CLOEXEC);
	void *item;

	cr_assert_eq(epoll_ctl(loop, EPOLL_CTL_ADD, queue_fd(queue), &event), 0);
	for (int i = 0; i < 100; i++) {
		EXPECT(epoll_wait(loop, &event, 1, 0) == 0);
		EXPECT(queue_push(queue, item_of(1)) == 0 && queue_push(queue, item_of(2)) == 0);
		EXPECT(epoll_wait(loop, &event, 1, 0) == 1);
		while (queue_try_pop(queue, &item) == 0)
			continue;
	}
	EXPECT(queue_close(queue) == 0);
	cr_assert_eq(epoll_wait(loop, &event, 1, 0), 1);
	cr_assert_eq(close(loop), 0);
	cr_assert_eq(queue_destroy(queue), 0);
}

Test(descriptor, that_is_armed_for_one_shot_tells_what_is_left_when_it_is_armed_again)
{
	for (int edge = 0; edge < 2; edge++) {
		struct queue_bounded *queue = create(QUEUE_ABORT, 0, 4);
		struct epoll_event told, event = {.events = EPOLLIN | EPOLLONESHOT};
		int loop = epoll_create1(EPOLL_CLOEXEC), number = queue_fd(queue);
		void *item;

		if (edge)
			event.events |= EPOLLET;
		EXPECT(epoll_ctl(loop, EPOLL_CTL_ADD, number, &event) == 0);
		for (int i = 0; i < 100; i++) {
			EXPECT(epoll_wait(loop, &told, 1, 0) == 0);
			EXPECT(queue_push(queue, item_of(1)) == 0);
			EXPECT(queue_push(queue, item_of(2)) == 0);
			EXPECT(epoll_wait(loop, &told, 1, 0) == 1);
			EXPECT(queue_try_pop(queue, &item) == 0);
			/* Nothing before it is armed, and it need not be empty then. */
			EXPECT(epoll_wait(loop, &told, 1, 0) == 0);
			EXPECT(epoll_ctl(loop, EPOLL_CTL_MOD, number, &event) == 0);
			EXPECT(epoll_wait(loop, &told, 1, 0) == 1);
			EXPECT(queue_try_pop(queue, &item) == 0);
			EXPECT(queue_try_pop(queue, &item) == -EAGAIN);
			EXPECT(epoll_ctl(loop, EPOLL_CTL_MOD, number, &event) == 0);
		}
		EXPECT(queue_close(queue) == 0);
		EXPECT(epoll_wait(loop, &told, 1, 0) == 1);
		EXPECT(epoll_wait(loop, &told, 1, 0) == 0);
		EXPECT(epoll_ctl(loop, EPOLL_CTL_MOD, number, &event) == 0);
		EXPECT(epoll_wait(loop, &told, 1, 0) == 1);
		EXPECT(close(loop) == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

static void *
pop_one(void *queue)
{
	void *item;

	EXPECT(queue_pop(queue, &item) == 0);
	return item;
}

static void
await_sleep(const struct queue_bounded *queue)
{
	uint64_t patience = queue_now() + PATIENCE;
	struct queue_stats stats;

	do {
		EXPECT(queue_now() < patience);
		sched_yield();
		EXPECT(queue_stats(queue, &stats) == 0);
	} while (stats.waits == 0);
}

Test(descriptor, and_a_thread_that_sleeps_in_a_pop_are_both_told, .timeout = 60)
{
	/* Asked for before the thread sleeps, or while it does. */
	for (int late = 0; late < 2; late++) {
		struct queue_bounded *queue = create(QUEUE_ABORT, 0, 4);
		pthread_t thread;
		void *item;

		if (!late)
			EXPECT(queue_fd(queue) >= 0);
		EXPECT(pthread_create(&thread, NULL, pop_one, queue) == 0);
		await_sleep(queue);
		EXPECT(!is_readable(queue_fd(queue)));
		EXPECT(queue_push(queue, item_of(7)) == 0);
		EXPECT(pthread_join(thread, &item) == 0 && item == item_of(7));
		EXPECT(!is_readable(queue_fd(queue)));
		EXPECT(queue_push(queue, item_of(8)) == 0);
		EXPECT(is_readable(queue_fd(queue)));
		EXPECT(queue_destroy(queue) == 0);
	}
}

/* ---- What it costs -------------------------------------------------------------------------- */

static bool
forbid_system_calls(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = {sizeof steps / sizeof *steps, steps};

#if defined QUEUE_IMPL_TSAN
	return false; /* the sanitizer makes system calls of its own */
#endif
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

Test(descriptor, costs_no_system_call_while_the_queue_is_neither_filled_nor_emptied)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct queue_bounded *queue = create(policy, flags, 3);
		int status = -1;
		pid_t child;
		void *item;

		EXPECT(queue_fd(queue) >= 0);
		EXPECT(queue_push(queue, item_of(1)) == 0);
		fflush(NULL);
		child = fork();
		if (child == 0) {
			int rounds = forbid_system_calls() ? 1000 : 0;

			while (rounds-- > 0) {
				(void)queue_push(queue, item_of(1));
				(void)queue_push(queue, item_of(1));
				(void)queue_try_push(queue, item_of(1));
				(void)queue_pop(queue, &item);
				(void)queue_try_pop_n(queue, &item, 1);
			}
			(void)syscall(SYS_exit_group, 0);
		}
		EXPECT(child > 0 && waitpid(child, &status, 0) == child);
		EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		EXPECT(queue_destroy(queue) == 0);
	}
}

Test(descriptor, costs_one_thread_one_system_call_each_time_the_queue_is_filled_or_emptied)
{
	FOR_ALL_QUEUES(policy, flags)
	{
		struct queue_bounded *queue = create(policy, flags, 4);
		uint64_t before;
		void *item;

		EXPECT(queue_fd(queue) >= 0);
		before = system_calls;
		for (int i = 0; i < 1000; i++) {
			EXPECT(queue_push(queue, item_of(1)) == 0);
			EXPECT(queue_push(queue, item_of(2)) == 0);
			EXPECT(queue_try_pop(queue, &item) == 0);
			EXPECT(queue_try_pop(queue, &item) == 0);
			EXPECT(queue_try_pop(queue, &item) == -EAGAIN);
		}
		EXPECT(system_calls - before == 2000);
		EXPECT(calls_of(queue) == 2000);
		EXPECT(queue_destroy(queue) == 0);
	}
}

#define PUSHERS 4
#define FILLS 300

struct pusher {
	pthread_t thread;
	struct queue_bounded *queue;
	pthread_barrier_t *barrier;
	uint64_t calls; /* for the last push */
};

static void *
fill_again_and_again(void *argument)
{
	struct pusher *pusher = argument;

	for (int i = 0; i < FILLS; i++) {
		uint64_t before = system_calls;

		(void)pthread_barrier_wait(pusher->barrier);
		EXPECT(queue_push(pusher->queue, item_of(1)) == 0);
		pusher->calls = system_calls - before;
		(void)pthread_barrier_wait(pusher->barrier);
	}
	return NULL;
}

Test(descriptor, costs_each_of_several_pushers_at_most_one_system_call_when_they_fill_it_at_once,
     .timeout = 60)
{
	struct queue_bounded *queue = create(QUEUE_ABORT, 0, PUSHERS);
	struct pusher pushers[PUSHERS];
	pthread_barrier_t barrier;
	void *item;
	int i;

	EXPECT(queue_fd(queue) >= 0);
	EXPECT(pthread_barrier_init(&barrier, NULL, PUSHERS + 1) == 0);
	for (i = 0; i < PUSHERS; i++) {
		pushers[i] = (struct pusher){.queue = queue, .barrier = &barrier};
		EXPECT(pthread_create(&pushers[i].thread, NULL, fill_again_and_again,
				      &pushers[i]) == 0);
	}
	for (int fill = 0; fill < FILLS; fill++) {
		uint64_t filled = 0, before;

		(void)pthread_barrier_wait(&barrier);
		(void)pthread_barrier_wait(&barrier);
		EXPECT(is_readable(queue_fd(queue)));
		for (i = 0; i < PUSHERS; i++) {
			EXPECT(pushers[i].calls <= 1);
			filled += pushers[i].calls;
		}
		EXPECT(filled >= 1);
		/* However many it was, to take it back is one. */
		before = system_calls;
		for (i = 0; i < PUSHERS; i++)
			EXPECT(queue_try_pop(queue, &item) == 0);
		EXPECT(queue_try_pop(queue, &item) == -EAGAIN);
		EXPECT(system_calls - before == 1);
		EXPECT(!is_readable(queue_fd(queue)));
	}
	for (i = 0; i < PUSHERS; i++)
		EXPECT(pthread_join(pushers[i].thread, NULL) == 0);
	EXPECT(pthread_barrier_destroy(&barrier) == 0);
	EXPECT(queue_destroy(queue) == 0);
}

Test(descriptor, asked_for_without_membarrier_waits_until_pushes_can_be_seen, .timeout = 60)
{
	int status = -1;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		struct queue_bounded *queue = create(QUEUE_ABORT, ROLES, 4);
		bool relies_on_it = queue->not_empty.barrier != 0;
		bool gone = fault_refuse_membarrier();
		bool ok = queue_try_push(queue, item_of(1)) == 0;
		uint64_t before = queue_now();
		void *item;

		ok = ok && is_readable(queue_fd(queue));
		if (relies_on_it && gone)
			ok = ok && queue_now() - before >= 10 * QUEUE_MILLISECOND;
		ok = ok && queue_try_pop(queue, &item) == 0 && !is_readable(queue_fd(queue));
		ok = ok && queue_try_push(queue, item_of(1)) == 0 && is_readable(queue_fd(queue));
		_exit(ok ? 0 : 1);
	}
	cr_assert(child > 0 && waitpid(child, &status, 0) == child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* ---- Fork ----------------------------------------------------------------------------------- */

Test(descriptor, stays_the_parents_when_a_child_ends_its_copy)
{
	struct queue_bounded *queue = create(QUEUE_ABORT, 0, 4);
	int number = queue_fd(queue), status = -1;
	pid_t child;

	cr_assert_eq(queue_push(queue, item_of(1)), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		bool ok = queue_destroy(queue) == 0 && fcntl(number, F_GETFD) < 0;

		_exit(ok ? 0 : 1);
	}
	cr_assert(child > 0 && waitpid(child, &status, 0) == child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	cr_assert(is_readable(number));
	cr_assert_eq(queue_destroy(queue), 0);
}
