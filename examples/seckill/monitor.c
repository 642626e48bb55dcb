/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A thread beside the sale: it takes the signals, minds --seconds and shows the status line. All
 * other threads have the signals blocked, so that no system call of theirs is ever interrupted.
 */
#include "seckill.h"

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
	struct shop *shop;
	int stopped_by; /* the signal that stopped the sale, this one or an earlier one */
	uint64_t stopped_at;
	bool shows_status;
	char temporary[1024]; /* a database, or empty */

	/* for the rates */
	uint64_t time, offered;
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
monitor_temporary(const char *path)
{
	snprintf(monitor.temporary, sizeof monitor.temporary, "%s", path);
}

static void
remove_temporary(void)
{
	store_remove(monitor.temporary);
	*strrchr(monitor.temporary, '/') = '\0';
	(void)rmdir(monitor.temporary);
}

static void
show_status(struct shop *shop, uint64_t now)
{
	char text[256], a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
	uint64_t offered = 0, sold = 0, elapsed = now - monitor.time;
	int length;

	for (uint64_t i = 0; i < shop->options->gateways; i++) {
		const struct tally *tally = &shop->gateways[i]->tally;

		offered += tally_read(&tally->offered);
		sold += tally_read(&tally->outcomes[OUTCOME_SOLD]);
	}
	length = snprintf(text, sizeof text, "%-5s %s came (%s/s), %s sold",
			  shop->async ? "async" : "sync", text_number(a, offered),
			  text_number(b, (uint64_t)((double)(offered - monitor.offered) * 1e9 /
						    (double)elapsed)),
			  text_number(c, sold));
	if (shop->async)
		snprintf(text + length, sizeof text - (size_t)length,
			 "; req %llu ord %llu note %llu stat %llu",
			 (unsigned long long)queue_depth_approx(shop->requests),
			 (unsigned long long)queue_depth_approx(shop->orders),
			 (unsigned long long)queue_depth_approx(shop->notices),
			 (unsigned long long)queue_depth_approx(shop->counts));
	status_show(text);
	monitor.time = now;
	monitor.offered = offered;
}

static void
stop_on(int signal_number, uint64_t now)
{
	if (monitor.stopped_by) {
		if (now - monitor.stopped_at < SAME_SIGNAL)
			return;
		/* Asked twice: whoever does that does not want to wait. */
		if (*monitor.temporary)
			remove_temporary();
		complain("%s again: the sale was not finished", strsignal(signal_number));
		_exit(128 + signal_number);
	}
	monitor.stopped_by = signal_number;
	monitor.stopped_at = now;
	complain("%s: finishing what was accepted", strsignal(signal_number));
	shop_stop(monitor.shop);
}

static void *
watch(void *argument)
{
	struct shop *shop = argument;
	uint64_t start = queue_now(), limit = shop->options->seconds * QUEUE_SECOND;

	monitor.time = start;
	monitor.offered = 0;
	for (;;) {
		struct timespec wait = {.tv_sec = 0, .tv_nsec = (long)REFRESH};
		int signal_number = sigtimedwait(&monitor.signals, NULL, &wait);
		uint64_t now = queue_now();

		if (signal_number == SIGNAL_END)
			return NULL;
		if (signal_number > 0)
			stop_on(signal_number, now);
		if (limit && now - start >= limit)
			shop_stop(shop);
		if (monitor.shows_status)
			show_status(shop, now);
	}
}

int
monitor_start(struct shop *shop)
{
	int error;

	monitor.shop = shop;
	monitor.shows_status = status_is_possible();
	error = pthread_create(&monitor.thread, NULL, watch, shop);
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
