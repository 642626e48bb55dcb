/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_fd, with threads that are stopped around the system calls which turn the descriptor.
 *
 * Those system calls go through this file. A few threads make calls on one queue, one thread
 * at a time; each stops before and after its system calls, and which one goes on is drawn. Some do
 * not go on until the end. After each call on the queue that has returned, the descriptor must be
 * right, wherever the others are. There are two exceptions. A push that was refused leaves it as
 * it is. When a thread has made its system call after the last one of the call that returned, and is
 * still stopped behind it, then it will see to that itself.
 */
/* LIBS: -Wl,--wrap=queue_impl_eventfd_raise -Wl,--wrap=queue_impl_eventfd_lower */
#include <conveyor/queue.h>

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>

#include "unit.h"

#define SCENARIOS 1500
#define THREADS 4
#define STEPS 40

#define EXPECT(condition)                                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			cr_assert(false, "%s (line %d, scenario %u)", #condition, __LINE__,        \
				  scenario);                                                       \
	} while (0)

void __real_queue_impl_eventfd_raise(int number);
void __wrap_queue_impl_eventfd_raise(int number);
uint64_t __real_queue_impl_eventfd_lower(int number);
uint64_t __wrap_queue_impl_eventfd_lower(int number);

struct actor {
	pthread_t thread;
	sem_t go;
	bool is_inside;	 /* stopped in the middle of a call */
	bool stays;	 /* is not chosen any more */
	bool has_called; /* has made a system call in this call */
	bool told;	 /* its last call had something to tell */
	bool ends;
};

static struct actor actors[THREADS];
static _Thread_local struct actor *self;
static struct actor *called_last; /* who has made the last system call */
static sem_t stopped;

static struct queue_bounded *queue;
static int watched = -1; /* its descriptor */
static unsigned scenario;
static uint64_t random_state;

static unsigned
below(unsigned n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(random_state >> 33) % n;
}

static void
wait_for(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		continue;
}

static bool
is_readable(void)
{
	struct pollfd poll_for = {.fd = watched, .events = POLLIN};

	return poll(&poll_for, 1, 0) == 1;
}

static bool
is_right(void)
{
	return is_readable() == (queue_depth_approx(queue) > 0);
}

/* May the descriptor be as it is, now that this one has returned? */
static bool
is_right_after(const struct actor *actor)
{
	if (is_right() || !actor->told)
		return true;
	return actor->has_called && called_last != actor && called_last->is_inside;
}

/* Lets the others run. */
static void
stop(void)
{
	if (!self)
		return;
	self->is_inside = true;
	EXPECT(sem_post(&stopped) == 0);
	wait_for(&self->go);
}

static void
note_call(void)
{
	called_last = self;
	if (self)
		self->has_called = true;
}

void
__wrap_queue_impl_eventfd_raise(int number)
{
	stop();
	__real_queue_impl_eventfd_raise(number);
	note_call();
	stop();
}

uint64_t
__wrap_queue_impl_eventfd_lower(int number)
{
	uint64_t raised;

	stop();
	raised = __real_queue_impl_eventfd_lower(number);
	note_call();
	stop();
	return raised;
}

/* One call on the queue: false when it was a push that was refused. */
static bool
act(unsigned what)
{
	void *items[2] = {NULL, NULL};

	switch (what) {
	case 0:
		return queue_push(queue, NULL) == 0;
	case 1:
		return queue_push_n(queue, items, 2) > 0;
	case 2:
		return queue_try_pop_n(queue, items, 2) >= 0;
	default:
		(void)queue_try_pop(queue, items);
		return true;
	}
}

static void *
actor_main(void *argument)
{
	self = argument;
	for (;;) {
		wait_for(&self->go);
		if (self->ends)
			return NULL;
		self->has_called = false;
		self->told = act(below(5));
		self->is_inside = false;
		EXPECT(sem_post(&stopped) == 0);
	}
}

/* Until it stops the next time, or its call has returned. */
static void
run(struct actor *actor)
{
	EXPECT(sem_post(&actor->go) == 0);
	wait_for(&stopped);
	EXPECT(actor->is_inside || is_right_after(actor));
}

static void
play(bool some_stay)
{
	struct queue_options options = {.capacity = 1 + (uint64_t)scenario % 3};
	void *item;

	random_state = (uint64_t)scenario * 2 + some_stay;
	EXPECT(queue_create(&queue, &options) == 0);
	watched = queue_fd(queue);
	EXPECT(watched >= 0);
	for (int i = 0; i < STEPS; i++) {
		struct actor *actor = &actors[below(THREADS)];

		if (actor->stays)
			continue;
		run(actor);
		actor->stays = some_stay && actor->is_inside && below(8) == 0;
	}
	/* Whoever is still stopped somewhere: for the others it works. */
	while (queue_try_pop(queue, &item) == 0)
		continue;
	EXPECT(!is_readable());
	EXPECT(queue_push(queue, NULL) == 0 && is_readable());
	EXPECT(queue_try_pop(queue, &item) == 0 && !is_readable());
	for (int i = 0; i < THREADS; i++) {
		actors[i].stays = false;
		while (actors[i].is_inside)
			run(&actors[i]);
	}
	EXPECT(is_right());
	EXPECT(queue_destroy(queue) == 0);
	watched = -1;
}

static void
play_all(bool some_stay)
{
	EXPECT(sem_init(&stopped, 0, 0) == 0);
	for (int i = 0; i < THREADS; i++) {
		EXPECT(sem_init(&actors[i].go, 0, 0) == 0);
		EXPECT(pthread_create(&actors[i].thread, NULL, actor_main, &actors[i]) == 0);
	}
	for (scenario = 0; scenario < SCENARIOS; scenario++)
		play(some_stay);
	for (int i = 0; i < THREADS; i++) {
		actors[i].ends = true;
		EXPECT(sem_post(&actors[i].go) == 0);
		EXPECT(pthread_join(actors[i].thread, NULL) == 0);
	}
}

Test(descriptor_steps, is_right_after_each_call_however_late_the_system_calls_of_others_are)
{
	play_all(false);
}

Test(descriptor_steps, is_right_after_each_call_though_others_are_stopped_for_ever)
{
	play_all(true);
}
