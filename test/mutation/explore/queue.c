/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue as it is in lib/, with capacity 1.
 *
 *	queue BARRIER[f|s] CALLS...
 *
 * BARRIER: 1, there is membarrier(2), or 0; f: there is a descriptor from the beginning; s: one thread
 * pushes and one pops, by promise, and the queue finds out by itself whether it needs fences. CALLS is
 * what one thread does, a letter for each call: u try_push, U push_n of 1, b push that waits for room,
 * o pop that waits, t try_pop, O pop_n that waits, c close, f fd. A wake-up that is lost is a deadlock.
 * At the end the descriptor is readable exactly when there is an item or the queue is closed, and all
 * that went in is out or there.
 */
#include "explorer.h"
#include "machine.h"

#include <conveyor/queue.h>

#include <pthread.h>
#include <string.h>

#define THREADS 4

struct role {
	const char *calls;
	int in;
	int out;
};

static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char memory[8192];
static struct queue_bounded *queue;
static struct role roles[THREADS];

static void
call(struct role *role, char what)
{
	void *item = role;
	int rc;

	switch (what) {
	case 'u':
		rc = queue_try_push(queue, item);
		role->in += rc == 0;
		break;
	case 'U':
		rc = queue_push_n(queue, &item, 1);
		role->in += rc > 0 ? rc : 0;
		break;
	case 'b':
		rc = queue_push(queue, item);
		role->in += rc == 0;
		break;
	case 'o':
		rc = queue_pop(queue, &item);
		role->out += rc == 0;
		break;
	case 't':
		rc = queue_try_pop(queue, &item);
		role->out += rc == 0;
		break;
	case 'O':
		rc = queue_pop_n(queue, &item, 1);
		role->out += rc > 0 ? rc : 0;
		break;
	case 'c':
		(void)queue_close(queue);
		break;
	case 'f':
		explorer_assert(queue_fd(queue) >= 0);
		break;
	default:
		explorer_fail("there is no such call");
	}
}

static void *
act(void *argument)
{
	struct role *role = (struct role *)argument;
	const char *what;

	for (what = role->calls; *what; what++)
		call(role, *what);
	return NULL;
}

int
main(void)
{
	struct queue_options options = {.capacity = 1, .policy = QUEUE_BLOCK};
	pthread_t threads[THREADS];
	bool asked = false, closed = false;
	int n, i, rc, inside = 0;

	memset(roles, 0, sizeof roles);
	machine_has_barrier = explorer_argument(0)[0] == '1';
	if (explorer_argument(0)[1] == 's')
		options.flags = QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER;
	queue = (struct queue_bounded *)(void *)memory;
	rc = queue_init(queue, sizeof memory, &options);
	explorer_assert(rc == 0);
	/* As where a locked instruction is no fence, and straight to sleep. */
	if (options.flags == 0) {
		queue->fence = !machine_has_barrier;
		queue->not_empty.barrier = queue->not_full.barrier = machine_has_barrier;
	}
	queue->not_empty.spin = queue->not_full.spin = 0;
	if (explorer_argument(0)[1] == 'f') {
		asked = true;
		rc = queue_fd(queue);
		explorer_assert(rc >= 0);
	}
	for (n = 0; n < THREADS && explorer_argument(n + 1); n++) {
		roles[n].calls = explorer_argument(n + 1);
		asked = asked || strchr(roles[n].calls, 'f');
	}
	for (i = 0; i < n; i++)
		(void)pthread_create(&threads[i], NULL, act, &roles[i]);
	for (i = 0; i < n; i++)
		(void)pthread_join(threads[i], NULL);
	for (i = 0; i < n; i++)
		inside += roles[i].in - roles[i].out;
	explorer_assert(queue_depth_approx(queue) == (uint64_t)inside);
	/* The threads' clocks differ by so much at most, and none moves. */
	explorer_assert(queue_impl_load_rlx(&queue->sojourn_max) < THREADS);
	for (i = 0; i < n; i++)
		closed = closed || strchr(roles[i].calls, 'c');
	if (asked)
		explorer_assert(machine_is_readable() == (inside > 0 || closed));
	return 0;
}
