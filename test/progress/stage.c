/* SPDX-License-Identifier: BSD-2-Clause */
#include "stage.h"

#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MILLISECOND 1000000L /* ns */

struct board *board;

static void
futex_wait(const uint32_t *word, uint32_t expected, const struct timespec *timeout)
{
	(void)syscall(SYS_futex, word, FUTEX_WAIT, expected, timeout, NULL, 0);
}

static void
futex_wake(const uint32_t *word)
{
	(void)syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void
fail(const char *format, ...)
{
	va_list arguments;

	if (queue_impl_fetch_add32_acq_rel(&board->failures, 1) != 0)
		return;
	va_start(arguments, format);
	(void)vsnprintf(board->failure, sizeof board->failure, format, arguments);
	va_end(arguments);
}

void
order_others(enum order order)
{
	queue_impl_store32_rel(&board->finished, 0);
	board->order = order;
	/* STAGE1: the order -> who carries it out, via round; what he did, via finished */
	(void)queue_impl_fetch_add32_acq_rel(&board->round, 1); /* STAGE1 release */
	futex_wake(&board->round);
}

bool
await_others(unsigned milliseconds)
{
	struct timespec timeout = {milliseconds / 1000, (long)(milliseconds % 1000) * MILLISECOND};
	uint32_t finished;

	while ((finished = queue_impl_load32_acq(&board->finished)) < OTHERS) { /* STAGE1 acquire */
		if (milliseconds == 0) {
			futex_wait(&board->finished, finished, NULL);
			continue;
		}
		futex_wait(&board->finished, finished, &timeout);
		return queue_impl_load32_acq(&board->finished) == OTHERS; /* STAGE1 acquire */
	}
	return true;
}

/* ---- The others ------------------------------------------------------------------------------ */

/* Relaxed, here and below: the counters order nothing. */
void
lane_add(uint64_t *counter)
{
	queue_impl_store_rlx(counter, queue_impl_load_rlx(counter) + 1);
}

/* Odd, so that nobody's turn always ends at the same point of what he repeats. */
#define TURN 251u

void
lane_call(struct lane *lane)
{
	lane_add(&lane->calls);
	if (board->in_company && queue_impl_load_rlx(&lane->calls) % TURN == 0)
		sched_yield();
}

uint64_t
successes(void)
{
	uint64_t sum = 0;
	unsigned i;

	for (i = 0; i < OTHERS; i++)
		sum += queue_impl_load_rlx(&board->lanes[i].pushed) +
		       queue_impl_load_rlx(&board->lanes[i].popped);
	return sum;
}

bool
is_enough(unsigned self, bool flows)
{
	uint64_t pushed = 0, popped = 0, full = 0, empty = 0;
	unsigned i;

	if (!flows)
		return board->lanes[self].calls >= board->traffic;
	/* Who comes when the others have done it all has to see that he can get on as well. */
	if (board->lanes[self].calls < EACH_CALLS)
		return false;
	for (i = 0; i < OTHERS; i++) {
		pushed += queue_impl_load_rlx(&board->lanes[i].pushed);
		popped += queue_impl_load_rlx(&board->lanes[i].popped);
		full += queue_impl_load_rlx(&board->lanes[i].full);
		empty += queue_impl_load_rlx(&board->lanes[i].empty);
	}
	return pushed >= board->traffic && popped >= board->traffic && empty > 0 &&
	       (full > 0 || board->scene.object->is_unbounded);
}

/*
 * The others are stuck when every one of them is, which none can become while it is itself kept
 * from running in the middle of a call; and each since the same last success. One that was stuck
 * while another was kept from running, and is kept from running itself now, has to look again.
 */
bool
go_on_in_vain(unsigned self, uint64_t *tries, uint64_t *seen)
{
	struct lane *lane = &board->lanes[self];
	uint64_t now;

	/* Soon, for whoever shares the processor; but not each time: these are system calls. */
	if (++*tries < 2 || (*tries > 64 && *tries % 64 != 0))
		return true;
	if (queue_impl_load32_acq(&board->give_up))
		return false;
	sched_yield();
	now = successes();
	if (now != *seen) {
		*seen = now;
		*tries = 0;
		queue_impl_store_rel(&lane->stuck_at, 0);
	} else if (*tries >= IN_VAIN) {
		queue_impl_store_rel(&lane->stuck_at, now + 1);
	}
	return true;
}

static void
carry_out(unsigned self)
{
	const struct object *object = board->scene.object;

	switch ((enum order)board->order) {
	case ENTER:
		if (object->attach)
			object->attach();
		object->prepare(self);
		break;
	case GO:
		object->traffic(self);
		break;
	case LEAVE:
	default:
		if (object->detach)
			object->detach();
		break;
	}
}

static void *
other_main(void *argument)
{
	unsigned self = (unsigned)(uintptr_t)argument;
	uint32_t seen = 0, round;

	queue_impl_store32_rel(&board->lanes[self].tid, (uint32_t)syscall(SYS_gettid));
	for (;;) {
		while ((round = queue_impl_load32_acq(&board->round)) == seen) /* STAGE1 acquire */
			futex_wait(&board->round, seen, NULL);
		seen = round;
		carry_out(self);
		(void)queue_impl_fetch_add32_acq_rel(&board->finished, 1); /* STAGE1 release */
		futex_wake(&board->finished);
	}
	return NULL;
}

/* ---- The victim ------------------------------------------------------------------------------ */

/* Stopped by the tracer, who has been told where. */
static void
trap(enum phase phase)
{
	queue_impl_store32_rel(&board->phase, phase);
#if defined STOPS_HERE
	__asm__ __volatile__("int3" : : : "memory");
#endif
}

static void
play(const struct scene *scene)
{
	const struct object *object = scene->object;

	if (object->attach)
		object->attach();
	object->prepare(VICTIM);
	order_others(ENTER);
	(void)await_others(0);
	trap(BEGIN);
	scene->operation->act();
	trap(END);
	/* They may still be at it, when the victim was never stopped with them let loose. */
	(void)await_others(0);
	order_others(LEAVE);
	(void)await_others(0);
	object->judge();
	if (object->detach)
		object->detach();
	object->shut();
}

_Noreturn void
stage_run(void)
{
	pthread_t thread;
	unsigned i;

	for (i = 0; i < OTHERS; i++)
		if (pthread_create(&thread, NULL, other_main, (void *)(uintptr_t)i))
			_exit(2);
	for (;;) {
		trap(READY);
		board->absent = board->scene.object->open();
		if (board->absent == 0)
			play(&board->scene);
	}
}
