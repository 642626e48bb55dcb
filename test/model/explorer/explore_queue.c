/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded queue as it is in include/ and lib/, for the explorer: what waits, and who wakes it.
 *
 *	queue fence|barrier CAPACITY CALLS...
 *
 * Who orders for WAIT1: each notifier by a fence, or who waits by membarrier(2). CALLS as in explore_ring.c: p
 * is a push that waits for room, t a push that does not, o a pop that waits, c close, f queue_fd.
 *
 * Checked: nobody sleeps for ever beside what he waits for (the explorer reports a deadlock), and
 * what goes in comes out.
 */
#include "explorer.h"

#include "eventfd_impl.h"
#include "queue_impl.h"
#include "wait_impl.h"

#include <conveyor/clock.h>
#include <conveyor/queue.h>

#include <linux/futex.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define THREADS 4
#define ITEMS 4

const char *explorer_argument(int i);
ptrdiff_t queue_impl_rseq_area(void);
void queue_impl_rseq_interrupt(void);

static _Alignas(QUEUE_RING_ALIGNMENT) unsigned char memory[8192];
static struct queue_bounded *queue;
static bool has_barrier;

static struct role {
	const char *calls;
	unsigned pushed, popped;
	int items[ITEMS];
} roles[THREADS];
static unsigned n_roles;

/* The system. */

ptrdiff_t
queue_impl_rseq_area(void)
{
	return 0;
}

void
queue_impl_rseq_interrupt(void)
{
}

uint64_t
queue_now(void)
{
	return 1;
}

/* One processor: nobody polls before he sleeps. */
long
sysconf(int name)
{
	(void)name;
	return 1;
}

long
syscall(long number, ...)
{
	const uint32_t *word;
	long operation, value;
	va_list list;

	va_start(list, number);
	if (number == SYS_membarrier) {
		va_end(list);
		if (!has_barrier)
			return -1;
		explorer_membarrier();
		return 0;
	}
	word = va_arg(list, const uint32_t *);
	operation = va_arg(list, long);
	value = va_arg(list, long);
	va_end(list);
	explorer_assert(number == SYS_futex);
	if ((operation & FUTEX_CMD_MASK) == FUTEX_WAKE)
		return explorer_futex_wake(word, (int)value);
	explorer_futex_wait(word, (uint32_t)value);
	return 0;
}

/* An eventfd(2): a count, read and written by system calls, which are full fences. */
static uint64_t count;

int
queue_impl_eventfd_open(void)
{
	return 3;
}

void
queue_impl_eventfd_close(int number)
{
	(void)number;
}

void
queue_impl_eventfd_raise(int number)
{
	(void)number;
	queue_impl_fence_full();
	(void)queue_impl_fetch_add_acq_rel(&count, 1);
	queue_impl_fence_full();
}

uint64_t
queue_impl_eventfd_lower(int number)
{
	uint64_t was = 0;

	(void)number;
	queue_impl_fence_full();
	while (!queue_impl_cas_acq_rel(&count, &was, 0))
		continue;
	queue_impl_fence_full();
	return was;
}

/* The program. */

static void
push(struct role *role, bool waits)
{
	int *item = &role->items[role->pushed], rc;

	*item = 1;
	rc = waits ? queue_push_until(queue, item, QUEUE_NEVER) : queue_try_push(queue, item);
	explorer_assert(rc == 0 || rc == -EPIPE || (!waits && rc == -EAGAIN));
	if (rc == 0)
		role->pushed++;
}

static void
pop(struct role *role)
{
	void *item = NULL;
	int rc = queue_pop(queue, &item);

	explorer_assert(rc == 0 || rc == -EPIPE);
	if (rc)
		return;
	explorer_assert(*(int *)item == 1);
	*(int *)item = 2;
	role->popped++;
}

static void *
act(void *argument)
{
	struct role *role = (struct role *)argument;
	const char *call;

	for (call = role->calls; *call; call++)
		switch (*call) {
		case 'p':
		case 't':
			push(role, *call == 'p');
			break;
		case 'o':
			pop(role);
			break;
		case 'c':
			(void)queue_close(queue);
			break;
		case 'f':
			(void)queue_fd(queue);
			break;
		default:
			explorer_fail("there is no such call");
		}
	return NULL;
}

int
main(void)
{
	struct queue_options options = {.policy = QUEUE_BLOCK};
	unsigned i, pushed = 0, popped = 0;
	pthread_t threads[THREADS];
	bool watched = false;
	char text[32];
	void *item;
	int rc;

	memset(roles, 0, sizeof roles);
	queue_impl_store_rlx(&count, 0);
	has_barrier = strcmp(explorer_argument(0), "barrier") == 0;
	options.capacity = (uint64_t)(explorer_argument(1)[0] - '0');
	queue = (struct queue_bounded *)memory;
	rc = queue_init(queue, sizeof memory, &options);
	explorer_assert(rc == 0);
	/* On x86-64 it would rely on the ring's locked instructions, which the explorer has not. */
	queue->fence = !has_barrier;
	queue->not_empty.barrier = queue->not_full.barrier = has_barrier;
	/* No push carries a probe: that is another matter. */
	queue->sample_mask = UINT64_MAX;
	explorer_name(&queue->not_empty.word, "not_empty");
	explorer_name(&queue->not_full.word, "not_full");
	explorer_name(&queue->descriptor.state, "descriptor");
	explorer_name(&queue->ring.tail, "tail");
	explorer_name(&queue->ring.head, "head");
	explorer_name(&queue->ring.slots[0].low, "slot 0 seq");
	explorer_name(&count, "eventfd");
	for (n_roles = 0; n_roles < THREADS && explorer_argument(2 + (int)n_roles); n_roles++)
		roles[n_roles].calls = explorer_argument(2 + (int)n_roles);
	for (i = 0; i < n_roles; i++) {
		watched = watched || strchr(roles[i].calls, 'f');
		(void)pthread_create(&threads[i], NULL, act, &roles[i]);
	}
	for (i = 0; i < n_roles; i++) {
		(void)pthread_join(threads[i], NULL);
		pushed += roles[i].pushed;
		popped += roles[i].popped;
	}
	/* At rest, the descriptor is up exactly if there is something, or it is closed. */
	if (watched)
		explorer_assert((count != 0) == queue_impl_is_ready(queue));
	(void)snprintf(text, sizeof text, "%u,%u", pushed, popped);
	explorer_outcome(text);
	while (queue_try_pop(queue, &item) == 0)
		popped++;
	explorer_assert(pushed == popped);
	return 0;
}
