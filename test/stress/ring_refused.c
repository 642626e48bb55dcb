/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process from which membarrier(2) is taken away after it has made a ring. Whoever would have
 * called it waits instead until any sequence must have ended, also when signals keep coming.
 */
#include <conveyor/clock.h>
#include <conveyor/ring.h>

#include "fault.h"
#include "stress.h"

#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

#define WAIT (10 * QUEUE_MILLISECOND)

static void
on_alarm(int signal)
{
	(void)signal;
}

/* There are no options: --seconds and --seed, which all programs here are given, change nothing. */
int
main(int argc, char **argv)
{
	const struct itimerval often = {{0, 200}, {0, 200}};
	struct sigaction action = {.sa_handler = on_alarm};
	struct queue_ring *ring;
	void *item = NULL;
	uint64_t begin, took;
	int rc;

	stress_begin(argc, argv, &(struct stress_option){.name = NULL});
	if (queue_ring_create(&ring, 4, 0, NULL))
		return 1;
	if (ring->rseq == 0 || !fault_refuse_membarrier()) {
		printf("nothing to refuse here\n");
		queue_ring_destroy(ring);
		return 0;
	}
	if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &often, NULL))
		return 1;
	/* As if another thread had pushed before. */
	ring->producer = 64;
	errno = 0;
	begin = queue_now();
	rc = queue_ring_try_push(ring, &item);
	took = queue_now() - begin;
	if (rc || errno || took < WAIT) {
		printf("push: %d, errno %d, after %llu ns\n", rc, errno, (unsigned long long)took);
		return 1;
	}
	queue_ring_close(ring);
	if (queue_ring_try_pop(ring, &item) || item != &item)
		return 1;
	if (queue_ring_try_pop(ring, &item) != -EPIPE)
		return 1;
	queue_ring_destroy(ring);
	printf("it waited for %llu ns\n", (unsigned long long)took);
	return 0;
}
