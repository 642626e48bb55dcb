/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * contain SECONDS COMMAND [ARGUMENT]...: runs a command, for so long at the most, and leaves nothing
 * of it behind. The exit status is the command's; 128 and the signal's number, when one has ended
 * it; 124, when the time was up; 126, when it could not be run.
 *
 * timeout(1) kills the command, and with it the group that this is in. Criterion runs each test in a
 * process of a group of its own, which goes on when it hangs. Here whatever loses its parent comes to
 * this process, so that in the end there is nothing that is not its child.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS_MOST 9999999

static int
usage(FILE *file, int status)
{
	fprintf(file, "usage: contain SECONDS COMMAND [ARGUMENT]...\n");
	return status;
}

static time_t
now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

/* Kills the children that there are, by the kernel's own list. False: it has none. */
static bool
kill_children(void)
{
	char path[64];
	FILE *list;
	int child;

	(void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
	list = fopen(path, "r");
	if (!list) {
		perror(path);
		return false;
	}
	while (fscanf(list, "%d", &child) == 1)
		(void)kill(child, SIGKILL);
	(void)fclose(list);
	return true;
}

/* Those of a child that is killed become ours, so there may be new ones as long as there are any. */
static void
kill_all(void)
{
	const struct timespec moment = {.tv_nsec = 1000000};

	for (;;) {
		pid_t ended = waitpid(-1, NULL, WNOHANG);

		if (ended < 0 && errno == ECHILD)
			return;
		if (ended != 0)
			continue;
		if (!kill_children())
			return;
		(void)nanosleep(&moment, NULL);
	}
}

/* Until the command has ended. Those that have lost their parents are waited for as well. */
static int
wait_for(pid_t command, const sigset_t *signals, time_t end)
{
	int status, signal;
	pid_t ended;

	for (;;) {
		struct timespec left = {0};

		while ((ended = waitpid(-1, &status, WNOHANG)) > 0)
			if (ended == command)
				return WIFEXITED(status) ? WEXITSTATUS(status)
							 : 128 + WTERMSIG(status);
		left.tv_sec = end - now();
		if (left.tv_sec <= 0) {
			fprintf(stderr, "hung: the time was up\n");
			return 124;
		}
		signal = sigtimedwait(signals, NULL, &left);
		if (signal > 0 && signal != SIGCHLD)
			return 128 + signal;
	}
}

int
main(int argc, char **argv)
{
	sigset_t signals, old;
	int status;
	pid_t command;
	char *rest;
	long seconds;

	if (argc == 2 && strcmp(argv[1], "--help") == 0)
		return usage(stdout, 0);
	if (argc < 3)
		return usage(stderr, 2);
	errno = 0;
	seconds = strtol(argv[1], &rest, 10);
	if (errno || *rest || rest == argv[1] || seconds < 1 || seconds > SECONDS_MOST) {
		fprintf(stderr, "contain: \"%s\" is no number of seconds from 1 to %d\n", argv[1],
			SECONDS_MOST);
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &signals, &old);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
		perror("contain: prctl");
		return 126;
	}
	command = fork();
	if (command < 0) {
		perror("contain: fork");
		return 126;
	}
	if (command == 0) {
		(void)sigprocmask(SIG_SETMASK, &old, NULL);
		(void)execvp(argv[2], argv + 2);
		fprintf(stderr, "contain: %s: %s\n", argv[2], strerror(errno));
		_exit(126);
	}
	status = wait_for(command, &signals, now() + seconds);
	kill_all();
	return status;
}
