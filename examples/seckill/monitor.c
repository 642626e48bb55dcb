/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A thread beside the sale: it takes the signals, minds the time and shows the status line. All
 * other threads have the signals blocked, so that no system call of theirs is ever interrupted.
 */
#include "sale.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define REFRESH (100 * QUEUE_MILLISECOND)
/* A signal this soon after another is the same one, sent to the process and to its group. */
#define SAME_SIGNAL QUEUE_SECOND
#define SIGNAL_END SIGUSR1 /* to this thread only: the sale is over */

static struct {
	sigset_t signals;
	pthread_t thread;
	struct monitored watched;
	uint64_t start;
	int stopped_by; /* the signal that stopped the sale, this one or an earlier one */
	uint64_t stopped_at;
	const struct temporary *temporary;
} monitor;

void
monitor_block_signals(void)
{
	sigset_t *set = &monitor.signals;

	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGNAL_END);
	/* nohup has it ignored, and means it. */
	if (signal(SIGHUP, SIG_IGN) != SIG_IGN) {
		(void)signal(SIGHUP, SIG_DFL);
		sigaddset(set, SIGHUP);
	}
	(void)pthread_sigmask(SIG_BLOCK, set, NULL);
	/* A reader that goes away, a limit on the size of files: the calls that fail will say so. */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN);
	/* Waits shall be as long as asked for. Threads made by this one inherit it. */
	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
}

void
monitor_temporary(const struct temporary *temporary)
{
	monitor.temporary = temporary;
}

static void
show_status(uint64_t now)
{
	char text[256];

	monitor.watched.status(monitor.watched.context, now, text, sizeof text);
	status_show(text);
}

static void
stop_on(int signal_number, uint64_t now)
{
	if (monitor.stopped_by) {
		if (now - monitor.stopped_at < SAME_SIGNAL)
			return;
		/* Asked twice: whoever does that does not want to wait. */
		if (monitor.temporary)
			temporary_remove(monitor.temporary);
		complain("%s again: the sale was not finished", strsignal(signal_number));
		_exit(128 + signal_number);
	}
	monitor.stopped_by = signal_number;
	monitor.stopped_at = now;
	complain("%s: finishing what was accepted", strsignal(signal_number));
	monitor.watched.stop(monitor.watched.context);
}

static void *
watch(void *argument)
{
	const struct monitored *watched = argument;

	for (;;) {
		struct timespec wait = {.tv_sec = 0, .tv_nsec = (long)REFRESH};
		int signal_number = sigtimedwait(&monitor.signals, NULL, &wait);
		uint64_t now = queue_now();

		if (signal_number == SIGNAL_END)
			return NULL;
		if (signal_number > 0)
			stop_on(signal_number, now);
		if (watched->limit && now - monitor.start >= watched->limit)
			watched->stop(watched->context);
		if (watched->status)
			show_status(now);
	}
}

int
monitor_start(const struct monitored *monitored)
{
	int error;

	monitor.watched = *monitored;
	if (!status_is_possible())
		monitor.watched.status = NULL;
	monitor.start = queue_now();
	error = pthread_create(&monitor.thread, NULL, watch, &monitor.watched);
	if (error)
		return -error;
	(void)pthread_setname_np(monitor.thread, "monitor");
	return 0;
}

int
monitor_end(void)
{
	(void)pthread_kill(monitor.thread, SIGNAL_END);
	(void)pthread_join(monitor.thread, NULL);
	status_show("");
	return monitor.stopped_by;
}
