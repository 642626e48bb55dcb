/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that is single-stepped by a debugger, as the kernel does it: each step ends whatever
 * restartable sequence the process is in. Its pushes and pops must get done all the same, in a
 * number of steps that is not far above what they take otherwise.
 */
#include <conveyor/ring.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress.h"

#define CAPACITY 4
#define BULK 3
#define STEPS_MAX 200000

/* Every call, on a ring that is empty, in between and full; then closed. 0, or where it failed. */
static int
use(struct queue_ring *ring)
{
	static char items[CAPACITY + BULK];
	void *list[CAPACITY + BULK], *item = NULL;
	int i;

	for (i = 0; i < CAPACITY + BULK; i++)
		list[i] = &items[i];
	for (i = 0; i < CAPACITY; i++)
		if (queue_ring_try_push(ring, list[i]))
			return 1;
	if (queue_ring_try_push(ring, NULL) != -EAGAIN)
		return 2;
	for (i = 0; i < CAPACITY; i++)
		if (queue_ring_try_pop(ring, &item) || item != list[i])
			return 3;
	if (queue_ring_try_pop(ring, &item) != -EAGAIN)
		return 4;
	if (queue_ring_push_n(ring, list, CAPACITY + BULK) != CAPACITY)
		return 5;
	if (queue_ring_pop_n(ring, list, BULK) != BULK || list[BULK - 1] != &items[BULK - 1])
		return 6;
	queue_ring_close(ring);
	for (i = BULK; i < CAPACITY; i++)
		if (queue_ring_try_pop(ring, &item) || item != &items[i])
			return 7;
	return queue_ring_try_pop(ring, &item) == -EPIPE ? 0 : 8;
}

static void
be_stepped(unsigned flags)
{
	struct queue_ring *ring;

	if (queue_ring_create(&ring, CAPACITY, flags, NULL))
		_exit(9);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(10);
	(void)raise(SIGSTOP);
	_exit(use(ring));
}

/* How many steps it took, or -1. */
static long
step(unsigned flags)
{
	pid_t child = fork();
	int status = 0;
	long steps;

	if (child == 0)
		be_stepped(flags);
	for (steps = 0; steps < STEPS_MAX; steps++) {
		if (child < 0 || waitpid(child, &status, 0) != child) {
			perror("ring_stepped");
			return -1;
		}
		if (!WIFSTOPPED(status))
			break;
		if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL)) {
			perror("ring_stepped: PTRACE_SINGLESTEP");
			return -1;
		}
	}
	if (steps == STEPS_MAX) {
		(void)kill(child, SIGKILL);
		(void)waitpid(child, &status, 0);
		printf("flags %u: not done after %ld steps\n", flags, steps);
		return -1;
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 10) {
		printf("flags %u: not allowed to be traced\n", flags);
		return 0;
	}
	if (WEXITSTATUS(status) != 0) {
		printf("flags %u: failed at %d\n", flags, WEXITSTATUS(status));
		return -1;
	}
	return steps;
}

/* There are no options: --seconds and --seed, which all programs here are given, change nothing. */
int
main(int argc, char **argv)
{
	unsigned flags;

	stress_begin(argc, argv, &(struct stress_option){.name = NULL});
#if defined __SANITIZE_THREAD__
	return 0; /* no restartable sequences there, and millions of steps */
#endif

	for (flags = 0; flags <= (QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER); flags++) {
		long steps = step(flags);

		if (steps < 0)
			return 1;
		printf("flags %u: %ld steps\n", flags, steps);
	}
	return 0;
}
