/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The event count: its word after each step, and what it does once membarrier(2) has been taken
 * away.
 */
/* LIBS: -Wl,--wrap=syscall */
#include <conveyor/queue.h>

#include "fault.h"
#include "wait_impl.h"
#include "wrap_syscall.h"

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#define ROUNDS 50000
#define WITHOUT_BARRIER UINT32_C(2) /* what lib/wait.c calls broken */

/* Whether a child that runs this exits with 0; a filter stays with its process. */
static bool
holds_in_a_child(bool (*body)(void))
{
	int status = -1;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		alarm(50);
		_exit(body() ? 0 : 1);
	}
	return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
	       WEXITSTATUS(status) == 0;
}

/* What is done, once, just after the next wake has been sent: the thread that sent it was stopped. */
static void (*meanwhile)(void);
static struct queue_impl_event stopped_in;

static long
on_syscall(long number, const long *arguments)
{
	long rc = real_syscall(number, arguments);

	if (number == SYS_futex && meanwhile) {
		void (*body)(void) = meanwhile;

		meanwhile = NULL;
		body();
	}
	return rc;
}

/* The one that was woken leaves, the next sleeps, and its notifier is stopped before its wake. */
static void
another_wake_is_stopped(void)
{
	uint64_t later = queue_now();

	queue_impl_event_leave(&stopped_in);
	(void)queue_impl_event_prepare(&stopped_in);
	queue_impl_store_rlx(&stopped_in.woken_at, later - (uint64_t)QUEUE_IMPL_WAKE_OVERDUE);
	queue_impl_store_rlx(&stopped_in.word, stopped_in.word | QUEUE_IMPL_EVENT_WAKING);
}

Test(wait_steps, who_was_stopped_after_a_wake_does_not_vouch_for_the_next)
{
	uint64_t before;

	queue_impl_event_init(&stopped_in, false);
	(void)queue_impl_event_prepare(&stopped_in);
	meanwhile = another_wake_is_stopped;
	queue_impl_event_notify(&stopped_in);
	cr_assert_null(meanwhile);
	/* That wake has not been sent, as far as anybody knows: so the next notifier sends one. */
	before = stopped_in.word;
	queue_impl_event_notify(&stopped_in);
	cr_assert_neq((uint32_t)stopped_in.word, (uint32_t)before);
}

Test(wait_steps, who_leaves_gives_the_baton_back)
{
	struct queue_impl_event event;

	queue_impl_event_init(&event, false);
	(void)queue_impl_event_prepare(&event);
	(void)queue_impl_event_prepare(&event);
	queue_impl_event_notify(&event);
	cr_assert(queue_impl_load_acq(&event.word) & QUEUE_IMPL_EVENT_WAKING);
	queue_impl_event_leave(&event);
	cr_assert_eq(queue_impl_load_acq(&event.word) & QUEUE_IMPL_EVENT_WAKING, 0);
	cr_assert(queue_impl_event_is_counted(&event));
	queue_impl_event_leave(&event);
	cr_assert(!queue_impl_event_is_counted(&event));
}

Test(wait_steps, who_watches_is_not_counted_among_the_sleepers)
{
	struct queue_impl_event event;

	queue_impl_event_init(&event, false);
	queue_impl_event_watch(&event);
	cr_assert(queue_impl_event_is_watched(&event));
	cr_assert(queue_impl_event_awaited(&event));
	cr_assert(!queue_impl_event_is_counted(&event));
}

/* Two events, of which the second is the one that nobody has tried the barrier for. */
static bool
learns_that_the_barrier_is_gone(void)
{
	bool barrier = queue_impl_barrier_available();
	struct queue_impl_event first, second;
	struct queue_impl_event *const both[] = {&first, &second};

	queue_impl_event_init(&first, barrier);
	queue_impl_event_init(&second, barrier);
	if (!barrier || !fault_refuse_membarrier())
		return true;
	queue_impl_event_order_all(both, 2);
	return first.barrier == WITHOUT_BARRIER && second.barrier == WITHOUT_BARRIER;
}

Test(wait_steps, every_event_learns_that_membarrier_is_gone, .timeout = 60)
{
	cr_assert(holds_in_a_child(learns_that_the_barrier_is_gone));
}

/* Nobody will wake it, and it has no deadline: it returns because it sleeps in pieces. */
static bool
sleeps_in_pieces(void)
{
	bool barrier = queue_impl_barrier_available();
	struct queue_impl_event event;
	uint32_t epoch;

	queue_impl_event_init(&event, barrier);
	if (!barrier || !fault_refuse_membarrier())
		return true;
	epoch = queue_impl_event_prepare(&event);
	queue_impl_event_sleep(&event, epoch, QUEUE_NEVER);
	queue_impl_event_leave(&event);
	return true;
}

Test(wait_steps, without_membarrier_nobody_relies_on_being_woken, .timeout = 60)
{
	cr_assert(holds_in_a_child(sleeps_in_pieces));
}

/* Pops from one queue and pushes into the other. */
struct player {
	struct queue_bounded *from;
	struct queue_bounded *to;
	bool ok;
};

static void *
play(void *argument)
{
	struct player *player = argument;
	void *ball;
	int i;

	for (i = 0; i < ROUNDS; i++)
		player->ok = player->ok && queue_pop(player->from, &ball) == 0 &&
			     queue_push(player->to, ball) == 0;
	return NULL;
}

/*
 * Queues made without membarrier(2) have fences instead. Both players sleep again and again while
 * the other pushes; one wake-up that is lost is the end of the game. That a fence is missing shows
 * too rarely to be seen here: the explorer sees it (test/mutation, "explore queue").
 */
static bool
loses_no_wake_up(void)
{
	/* With roles the ring publishes by plain stores, which are no fence. */
	const struct queue_options options = {
		.capacity = 1,
		.flags = QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER,
	};
	struct player players[2] = {{.ok = true}, {.ok = true}};
	struct queue_bounded *queues[2];
	pthread_t threads[2];
	int i;

	if (!fault_refuse_membarrier())
		return true;
	for (i = 0; i < 2; i++) {
		if (queue_create(&queues[i], &options) != 0)
			return false;
		/* As on a machine where polling is of no use. */
		queues[i]->not_empty.spin = 0;
	}
	for (i = 0; i < 2; i++) {
		players[i].from = queues[i];
		players[i].to = queues[!i];
		if (pthread_create(&threads[i], NULL, play, &players[i]) != 0)
			return false;
	}
	if (queue_push(queues[0], NULL) != 0)
		return false;
	for (i = 0; i < 2; i++)
		(void)pthread_join(threads[i], NULL);
	return players[0].ok && players[1].ok;
}

Test(wait_steps, queues_made_without_membarrier_wake_those_who_wait, .timeout = 60)
{
	cr_assert(holds_in_a_child(loses_no_wake_up));
}

static void *
pop_one(void *queue)
{
	void *item;

	(void)queue_pop((struct queue_bounded *)queue, &item);
	return NULL;
}

/* Whether the thread is asleep already when it is woken is not known, so this goes on until it was. */
Test(wait_steps, a_thread_that_was_woken_is_counted, .timeout = 60)
{
	const struct queue_options options = {.capacity = 1};
	struct queue_stats stats = {.wakes = 0};
	struct queue_bounded *queue;

	cr_assert_eq(queue_create(&queue, &options), 0);
	while (stats.wakes == 0) {
		uint64_t before = stats.waits;
		pthread_t thread;

		cr_assert_eq(pthread_create(&thread, NULL, pop_one, queue), 0);
		do {
			(void)sched_yield();
			(void)queue_stats(queue, &stats);
		} while (stats.waits == before);
		(void)usleep(1000);
		cr_assert_eq(queue_push(queue, NULL), 0);
		(void)pthread_join(thread, NULL);
		(void)queue_stats(queue, &stats);
	}
	cr_assert_leq(stats.wakes, stats.waits);
	cr_assert_eq(queue_destroy(queue), 0);
}
