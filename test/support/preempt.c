/* SPDX-License-Identifier: BSD-2-Clause */
#include "preempt.h"

#include "stress.h"

#include <conveyor/impl/atomic.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static _Thread_local struct {
	volatile bool inside; /* read by the handler */
	uint64_t left;	      /* points until the next stop */
	uint64_t mean;
	struct stress_random random, handler_random;
	struct preempt_counts counts;
	bool has_timer;
	timer_t timer;
} mine;

static void
stop(struct stress_random *random)
{
	struct timespec nap = {0, 0};
	int saved = errno;
	uint64_t choice = stress_random_below(random, 64);

	if (choice == 0) {
		nap.tv_nsec = 1 + (long)stress_random_below(random, 100000);
		(void)nanosleep(&nap, NULL);
	} else if (choice < 4) {
		for (uint64_t i = stress_random_below(random, 32); i > 0; i--)
			sched_yield();
	} else if (choice < 16) {
		sched_yield();
	} else {
		for (uint64_t i = UINT64_C(1) << stress_random_below(random, 10); i > 0; i--)
			queue_impl_pause();
	}
	errno = saved;
}

void
preempt_point(void)
{
	if (!mine.inside || mine.mean == 0)
		return;
	mine.counts.points++;
	if (mine.left-- > 0)
		return;
	mine.counts.stops++;
	stop(&mine.random);
	mine.left = stress_random_below(&mine.random, 2 * mine.mean);
}

/* Called before each basic block of what is compiled with -fsanitize-coverage=trace-pc. */
void point_of_block(void) __asm__("__sanitizer_cov_trace_pc");

void
point_of_block(void)
{
	preempt_point();
}

/* Short times as likely as long ones. */
static void
set_timer(void)
{
	struct itimerspec spec = {{0, 0}, {0, 0}};
	uint64_t most = UINT64_C(4000) << stress_random_below(&mine.handler_random, 10);

	spec.it_value.tv_nsec = 500 + (long)stress_random_below(&mine.handler_random, most);
	stress_check(timer_settime(mine.timer, 0, &spec, NULL) == 0, "timer_settime: %d", errno);
}

static void
interrupt(int signal)
{
	int saved = errno;

	(void)signal;
	if (mine.inside) {
		mine.counts.interruptions++;
		stop(&mine.handler_random);
	}
	set_timer();
	errno = saved;
}

static void
allow_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(how, &set, NULL);
}

void
preempt_begin(uint64_t stream, uint64_t mean, bool signals)
{
	struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};

	mine.random = stress_random_init(2 * stream);
	mine.handler_random = stress_random_init(2 * stream + 1);
	mine.mean = mean;
	mine.left = mean ? stress_random_below(&mine.random, 2 * mean) : 0;
	mine.has_timer = signals;
	if (!signals)
		return;
	allow_signals(SIG_BLOCK);
	stress_check(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction: %d", errno);
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	stress_check(timer_create(CLOCK_MONOTONIC, &event, &mine.timer) == 0, "timer_create: %d",
		     errno);
	set_timer();
	allow_signals(SIG_UNBLOCK);
}

void
preempt_enter(void)
{
	mine.inside = true;
}

void
preempt_leave(void)
{
	mine.inside = false;
}

void
preempt_end(struct preempt_counts *counts)
{
	mine.mean = 0;
	if (mine.has_timer) {
		/* In this order: the handler would set it again. */
		allow_signals(SIG_BLOCK);
		timer_delete(mine.timer);
		mine.has_timer = false;
	}
	/* Relaxed: figures, read after the threads have ended. */
	queue_impl_add_rlx(&counts->points, mine.counts.points);
	queue_impl_add_rlx(&counts->stops, mine.counts.stops);
	queue_impl_add_rlx(&counts->interruptions, mine.counts.interruptions);
	mine.counts = (struct preempt_counts){0, 0, 0};
}
