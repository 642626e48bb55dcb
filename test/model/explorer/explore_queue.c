/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue as it is in include/ and lib/, of capacity 1, for the explorer: what waits,
 * who wakes it, and what is told besides.
 *
 *	queue WORLD CALLS...
 *
 * WORLD begins with fence, where each notifier orders for WAIT1 by a fence, or barrier, where who
 * waits does by membarrier(2); behind it, letters: f there is a descriptor from the beginning; s
 * one thread pushes and one pops, by promise, and the queue finds out by itself whether it needs
 * fences; p pushes carry probes; 2 the capacity is 2. CALLS is what one thread does, a letter for
 * each call: u try_push, U push_n of 1, b push that waits for room, o pop that waits, t try_pop, O
 * pop_n that waits, w the same until it is interrupted, i interrupts that, c close, f fd, r looks,
 * where it knows that the queue cannot have been empty, whether it is ready, e queue_select; when
 * all others have ended, the queue is closed for who selects.
 *
 * Checked: nobody sleeps for ever beside what he waits for (the explorer reports a deadlock); what
 * went in comes out once, or is there in the end, with what was written into it; the descriptor is
 * readable in the end exactly if there is an item, or the queue is closed; a probe measures its own
 * item.
 */
#include "explorer.h"
#include "machine.h"

#include "queue_impl.h"

#include <conveyor/queue.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define THREADS 4
#define ITEMS 4

struct role {
	const char *calls;
	unsigned begun, in, out;
	int items[ITEMS];
};

static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char memory[8192];
static struct queue_bounded *queue;
static struct role roles[THREADS];
static uint32_t interrupted;

static void
push(struct role *role, char how)
{
	int *own = &role->items[role->begun++], rc;
	void *item = own;

	*own = 1;
	if (how == 'U') {
		rc = queue_push_n(queue, &item, 1);
		rc = rc > 0 ? 0 : rc == 0 ? -EAGAIN : rc;
	} else {
		rc = how == 'b' ? queue_push(queue, item) : queue_try_push(queue, item);
	}
	explorer_assert(rc == 0 || rc == -EPIPE || (how != 'b' && rc == -EAGAIN));
	role->in += rc == 0;
}

static bool
is_interrupted(void *unused)
{
	(void)unused;
	return queue_impl_load32_rlx(&interrupted) != 0;
}

static void
pop(struct role *role, char how)
{
	void *item = NULL;
	int rc;

	switch (how) {
	case 'o':
		rc = queue_pop(queue, &item);
		break;
	case 't':
		rc = queue_try_pop(queue, &item);
		break;
	case 'O':
		rc = queue_pop_n(queue, &item, 1);
		break;
	default:
		rc = queue_impl_pop_n_unless(queue, &item, 1, is_interrupted, NULL);
	}
	explorer_assert(rc >= 0 || rc == -EPIPE || (how == 't' && rc == -EAGAIN) ||
			(how == 'w' && rc == -ECANCELED));
	if (rc < 0)
		return;
	explorer_assert(*(int *)item == 1);
	*(int *)item = 2;
	role->out++;
}

static void *
act(void *argument)
{
	struct role *role = (struct role *)argument;
	const char *call;
	int chosen = -1;

	for (call = role->calls; *call; call++)
		switch (*call) {
		case 'u':
		case 'U':
		case 'b':
			push(role, *call);
			break;
		case 'o':
		case 't':
		case 'O':
		case 'w':
			pop(role, *call);
			break;
		case 'i':
			queue_impl_store32_rlx(&interrupted, 1);
			queue_impl_interrupt(queue);
			break;
		case 'r':
			explorer_assert(queue_impl_is_ready(queue));
			break;
		case 'e':
			explorer_assert(queue_select(&queue, 1, QUEUE_NEVER, &chosen) == 0 &&
					chosen == 0);
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
	return NULL;
}

/* As where a locked instruction is no fence, and straight to sleep. */
static void
set_up(const char *world)
{
	struct queue_options options = {.capacity = 1, .policy = QUEUE_BLOCK};
	int rc;

	if (strchr(world, '2'))
		options.capacity = 2;
	machine_has_barrier = *world == 'b';
	world += strlen(machine_has_barrier ? "barrier" : "fence");
	if (strchr(world, 's'))
		options.flags = QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER;
	queue = (struct queue_bounded *)(void *)memory;
	rc = queue_init(queue, sizeof memory, &options);
	explorer_assert(rc == 0);
	if (options.flags == 0) {
		queue->fence = !machine_has_barrier;
		queue->not_empty.barrier = queue->not_full.barrier = machine_has_barrier;
	}
	queue->not_empty.spin = queue->not_full.spin = 0;
	if (!strchr(world, 'p'))
		queue->sample_mask = UINT64_MAX;
	if (strchr(world, 'f'))
		explorer_assert(queue_fd(queue) >= 0);
	explorer_name(&queue->not_empty.word, "not_empty");
	explorer_name(&queue->not_full.word, "not_full");
	explorer_name(&queue->descriptor.state, "descriptor");
	explorer_name(&queue->ring.tail, "tail");
	explorer_name(&queue->ring.head, "head");
	explorer_name(&queue->ring.slots[0].low, "slot 0 seq");
}

const char program_usage[] =
	" WORLD CALLS...\n"
	"\n"
	"  WORLD  fence: each notifier orders for WAIT1 by a fence; barrier: who waits\n"
	"         does, by membarrier(2). Behind it, letters: f a descriptor from the\n"
	"         beginning, s one thread pushes and one pops, by promise, p pushes carry\n"
	"         probes, 2 a capacity of 2 instead of 1\n"
	"  CALLS  what a thread does, a letter for each call; up to 4 threads:\n"
	"         u try_push, U push_n of 1, b push that waits for room, t try_pop,\n"
	"         o pop that waits, O pop_n that waits, w the same until it is\n"
	"         interrupted, i interrupts that, c close, f fd, e queue_select, r looks\n"
	"         whether it is ready, where it cannot have been empty\n";

void
program_check(void)
{
	int i;

	explorer_need_world(0, "fsp2");
	for (i = 1; i == 1 || (i < 1 + THREADS && explorer_argument(i)); i++)
		explorer_need_calls(i, "CALLS", "uUbotOwicfre", ITEMS);
	explorer_need_no_more(i);
}

int
main(void)
{
	const char *world = explorer_argument(0);
	bool watched = strchr(world + 1, 'f') != NULL, closed = false;
	unsigned n, i, in = 0, out = 0;
	pthread_t threads[THREADS];
	char text[32];
	void *item;

	memset(roles, 0, sizeof roles);
	interrupted = 0;
	set_up(world);
	for (n = 0; n < THREADS && explorer_argument((int)n + 1); n++) {
		roles[n].calls = explorer_argument((int)n + 1);
		watched = watched || strchr(roles[n].calls, 'f');
		closed = closed || strchr(roles[n].calls, 'c');
	}
	for (i = 0; i < n; i++)
		(void)pthread_create(&threads[i], NULL, act, &roles[i]);
	for (i = 0; i < n; i++)
		if (!strchr(roles[i].calls, 'e'))
			(void)pthread_join(threads[i], NULL);
	for (i = 0; i < n; i++) {
		if (!strchr(roles[i].calls, 'e'))
			continue;
		closed = true;
		(void)queue_close(queue);
		(void)pthread_join(threads[i], NULL);
	}
	for (i = 0; i < n; i++) {
		in += roles[i].in;
		out += roles[i].out;
	}
	explorer_assert(queue_depth_approx(queue) == in - out);
	/* The threads' clocks differ by so much at most, and none moves. */
	explorer_assert(queue_impl_load_rlx(&queue->sojourn_max) < THREADS);
	if (watched)
		explorer_assert(machine_is_readable() == (in > out || closed));
	(void)snprintf(text, sizeof text, "%u,%u", in, out);
	explorer_outcome(text);
	while (queue_try_pop(queue, &item) == 0) {
		explorer_assert(*(int *)item == 1);
		out++;
	}
	explorer_assert(in == out);
	return 0;
}
