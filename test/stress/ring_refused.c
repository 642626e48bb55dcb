/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process from which membarrier(2) is taken away after it has made a ring. Whoever would have
 * called it waits instead until any sequence must have ended, also when signals keep coming.
 */
#include <conveyor/clock.h>
#include <conveyor/ring.h>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>

#define WAIT (10 * QUEUE_MILLISECOND)

static bool
refuse_membarrier(void)
{
	struct sock_filter steps[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof steps / sizeof steps[0], steps};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void
on_alarm(int signal)
{
	(void)signal;
}

/* There are no options: --seconds and --seed, which all programs here are given, change nothing. */
int
main(void)
{
	const struct itimerval often = {{0, 200}, {0, 200}};
	struct sigaction action = {.sa_handler = on_alarm};
	struct queue_ring *ring;
	void *item = NULL;
	uint64_t begin, took;
	int rc;

	if (queue_ring_create(&ring, 4, 0, NULL))
		return 1;
	if (ring->rseq == 0 || !refuse_membarrier()) {
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
