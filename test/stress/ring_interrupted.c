/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring between threads that signals interrupt at any instruction, every few microseconds. The
 * handler returns, or sleeps, so that others find the call stopped where it was, or pushes to and
 * pops from the same ring, within the call that it has interrupted.
 *
 *  - A push that returned 0 is popped exactly once, one that did not is never.
 *  - Each thread, and apart from it each thread's handler, sees each other's items in order.
 *  - Never are there more items inside than the capacity. -EAGAIN from a push: there may have been
 *    so many. From a pop: there may have been none.
 *  - Close drains, and after -EPIPE from a pop nobody pops anything.
 *  - Somebody gets on: items move, and every thread's calls return, within five seconds.
 *
 * Pushes must have been overtaken, where it is done by revoking plain stores and so counted.
 */
/* ARGS: --role mpmc */
/* ARGS: --capacity 1 */
/* ARGS: --capacity 64 --batch 100 */
/* ARGS: --producers 4 --consumers 1 */
/* ARGS: --role mpsc */
/* ARGS: --role spmc */
/* ARGS: --swaps 1 */
#include <conveyor/clock.h>
#include <conveyor/ring.h>

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "stress.h"

#define MOST_THREADS 8
#define MOST_ACTORS ((size_t)2 * MOST_THREADS) /* each thread, and its handler */
#define MOST_BATCH 100
#define MOST_ITEMS 16384 /* of one actor in a round */
#define ROUND (60 * QUEUE_MILLISECOND)
#define WATCH (10 * QUEUE_MILLISECOND)
#define BOUND (5 * QUEUE_SECOND)

static uint64_t option_capacity, option_producers, option_consumers, option_batch = 40,
								     option_swaps, option_role;

/* What pushes and pops: a thread, or the handler that interrupts it. */
struct actor {
	unsigned index;
	struct stress_random random;
	uint64_t pushed;	    /* items */
	uint64_t next[MOST_ACTORS]; /* by who pushed it, the least number that may come */
	uint64_t calls;		    /* that have returned */
	unsigned char taken[MOST_ITEMS];
};

static struct worker {
	struct actor self queue_impl_aligned(QUEUE_IMPL_APART);
	struct actor handler;
	bool produces;
	timer_t timer;
	struct stress_thread thread;
} workers[MOST_THREADS];

static struct trial {
	struct queue_ring *ring;
	uint64_t capacity;
	unsigned producers, consumers;
	bool handlers_act, producer_closes;
	struct stress_gate gate;
	uint32_t closing, drained, working;

	/* WORK1: at every instant done <= items that went in (came out) <= begun. */
	uint64_t push_begun queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t push_done queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t pop_begun queue_impl_aligned(QUEUE_IMPL_APART);
	uint64_t pop_done queue_impl_aligned(QUEUE_IMPL_APART);
} trial;

static uint64_t overtaken, interruptions;
static bool is_counted;
static __thread struct worker *me;

static uint64_t
add(uint64_t *word, uint64_t n)
{
	return queue_impl_fetch_add_acq_rel(word, n) + n; /* WORK1 acq_rel */
}

static void *
item_of(uint64_t actor, uint64_t number)
{
	return (void *)(uintptr_t)(actor << 32 | number);
}

/* ---- Calls ---------------------------------------------------------------------------------- */

static ptrdiff_t
push(struct actor *self, uint64_t n)
{
	void *items[MOST_BATCH];
	uint64_t popped;
	ptrdiff_t rc;

	for (uint64_t i = 0; i < n; i++)
		items[i] = item_of(self->index, self->pushed + i);
	popped = queue_impl_load_acq(&trial.pop_done); /* WORK1 acquire */
	(void)add(&trial.push_begun, n);
	if (n > 1) {
		rc = queue_ring_push_n(trial.ring, items, (ptrdiff_t)n);
		rc = rc == 0 ? -EAGAIN : rc;
	} else {
		rc = queue_ring_try_push(trial.ring, items[0]);
		rc = rc == 0 ? 1 : rc;
	}
	queue_impl_store_rel(&self->calls, self->calls + 1); /* WORK1 release */
	if (rc > 0) {
		uint64_t in = add(&trial.push_done, (uint64_t)rc);
		uint64_t out = queue_impl_load_acq(&trial.pop_begun); /* WORK1 acquire */

		stress_check((uint64_t)rc <= n, "push of %" PRIu64 " answers %td", n, rc);
		stress_check((int64_t)(in - out) <= (int64_t)trial.capacity,
			     "%" PRIu64 " items in a ring of %" PRIu64, in - out, trial.capacity);
		queue_impl_store_rel(&self->pushed,
				     self->pushed + (uint64_t)rc); /* WORK1 release */
		n -= (uint64_t)rc;
	}
	if (rc == -EAGAIN) {
		uint64_t begun = add(&trial.push_begun, -n);

		stress_check(begun - popped >= trial.capacity,
			     "full with %" PRIu64 " of %" PRIu64 " inside", begun - popped,
			     trial.capacity);
		return rc;
	}
	(void)add(&trial.push_begun, -n);
	stress_check(rc > 0 || (rc == -EPIPE && queue_impl_load32_acq(&trial.closing)),
		     "push answers %td", rc);
	return rc;
}

static void
receive(struct actor *self, void *item)
{
	uint64_t actor = (uint64_t)(uintptr_t)item >> 32, number = (uint32_t)(uintptr_t)item;
	struct actor *from;

	stress_check(actor < MOST_ACTORS && number < MOST_ITEMS, "an item that nobody made: %p",
		     item);
	from = actor % 2 ? &workers[actor / 2].handler : &workers[actor / 2].self;
	stress_check(number >= self->next[actor], "item %" PRIu64 " of %" PRIu64 " after %" PRIu64,
		     number, actor, self->next[actor] - 1);
	self->next[actor] = number + 1;
	stress_check(from->taken[number]++ == 0, "item %" PRIu64 " of %" PRIu64 " came again",
		     number, actor);
}

static ptrdiff_t
pop(struct actor *self, uint64_t n)
{
	void *items[MOST_BATCH] = {NULL};
	bool drained = queue_impl_load32_acq(&trial.drained); /* WORK1 acquire */
	uint64_t pushed = queue_impl_load_acq(&trial.push_done);
	uint64_t begun;
	ptrdiff_t rc;

	(void)add(&trial.pop_begun, n);
	if (n > 1) {
		rc = queue_ring_pop_n(trial.ring, items, (ptrdiff_t)n);
		rc = rc == 0 ? -EAGAIN : rc;
	} else {
		rc = queue_ring_try_pop(trial.ring, items);
		rc = rc == 0 ? 1 : rc;
	}
	queue_impl_store_rel(&self->calls, self->calls + 1); /* WORK1 release */
	if (rc > 0)
		(void)add(&trial.pop_done, (uint64_t)rc);
	begun = add(&trial.pop_begun, rc > 0 ? (uint64_t)rc - n : -n);
	stress_check(!drained || rc == -EPIPE, "pop answers %td after the end", rc);
	stress_check(rc > 0 || (int64_t)(begun - pushed) >= 0,
		     "empty (%td) with %" PRIu64 " inside", rc, pushed - begun);
	stress_check((rc > 0 && (uint64_t)rc <= n) || rc == -EAGAIN ||
			     (rc == -EPIPE && queue_impl_load32_acq(&trial.closing)),
		     "pop of %" PRIu64 " answers %td", n, rc);
	if (rc == -EPIPE)
		queue_impl_store32_rel(&trial.drained, 1); /* WORK1 release */
	for (ptrdiff_t i = 0; i < rc; i++)
		receive(self, items[i]);
	return rc;
}

static uint64_t
how_many(struct actor *self)
{
	if (stress_random_below(&self->random, 100) >= option_batch)
		return 1;
	return 2 + stress_random_below(&self->random,
				       stress_one_in(&self->random, 4) ? MOST_BATCH - 1 : 6);
}

static bool
has_room_for(const struct actor *self, uint64_t n)
{
	return self->pushed + n <= MOST_ITEMS;
}

/* ---- Interruptions -------------------------------------------------------------------------- */

/* From one to a hundred microseconds, short ones as likely as long ones. */
static void
set_timer(struct worker *worker)
{
	struct itimerspec spec = {{0, 0}, {0, 0}};
	uint64_t most = UINT64_C(1000) << stress_random_below(&worker->handler.random, 8);

	spec.it_value.tv_nsec = 500 + (long)stress_random_below(&worker->handler.random, most);
	stress_check(timer_settime(worker->timer, 0, &spec, NULL) == 0, "timer_settime: %d", errno);
}

static void
interrupt(int signal)
{
	struct worker *worker = me;
	struct actor *self = &worker->handler;
	struct timespec nap = {0, 0};
	int saved = errno;

	(void)signal;
	queue_impl_add_rlx(&interruptions, 1);
	switch (stress_random_below(&self->random, 5)) {
	case 0:
		nap.tv_nsec = 50000 + (long)stress_random_below(&self->random, 450000);
		(void)nanosleep(&nap, NULL);
		break;
	case 1:
	case 2:
		for (uint64_t turns = stress_random_below(&self->random, 3);
		     trial.handlers_act && turns < 3; turns++) {
			uint64_t n = how_many(self);

			if (has_room_for(self, n) && stress_one_in(&self->random, 2))
				(void)push(self, n);
			if (stress_one_in(&self->random, 2))
				(void)pop(self, n);
		}
		break;
	default:
		break;
	}
	set_timer(worker);
	errno = saved;
}

static void
allow_interruptions(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(how, &set, NULL);
}

/* ---- A round -------------------------------------------------------------------------------- */

static void
work(void *argument)
{
	struct worker *worker = argument;
	struct actor *self = &worker->self;
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
	ptrdiff_t rc = 0;

	me = worker;
#if !defined sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif
	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	stress_check(timer_create(CLOCK_MONOTONIC, &event, &worker->timer) == 0, "timer_create: %d",
		     errno);
	stress_gate_pass(&trial.gate, trial.producers + trial.consumers + 1);
	set_timer(worker);
	allow_interruptions(SIG_UNBLOCK);
	while (rc != -EPIPE) {
		uint64_t n = how_many(self);

		if (!worker->produces) {
			rc = pop(self, n);
		} else if (trial.producer_closes && queue_impl_load32_acq(&trial.closing)) {
			queue_ring_close(trial.ring);
			rc = -EPIPE;
		} else if (has_room_for(self, n)) {
			rc = push(self, n);
		} else {
			rc = queue_impl_load32_acq(&trial.closing) ? -EPIPE : -EAGAIN;
		}
		if (rc == -EAGAIN)
			sched_yield();
	}
	allow_interruptions(SIG_BLOCK);
	timer_delete(worker->timer);
	(void)queue_impl_fetch_add32_acq_rel(&trial.working, UINT32_MAX); /* WORK1 release */
}

struct watch {
	uint64_t items, calls[MOST_THREADS];
	uint64_t items_at, calls_at[MOST_THREADS];
};

/* All but a thread that has made all its items, and waits for close, must get on. */
static void
look(struct watch *watch, uint64_t now)
{
	uint64_t items = queue_impl_load_acq(&trial.push_done) + /* WORK1 acquire */
			 queue_impl_load_acq(&trial.pop_done);	 /* WORK1 acquire */
	bool idle = false;

	for (unsigned i = 0; i < trial.producers + trial.consumers; i++) {
		struct worker *worker = &workers[i];
		uint64_t calls = queue_impl_load_acq(&worker->self.calls); /* WORK1 acquire */

		if (worker->produces && calls == watch->calls[i] &&
		    queue_impl_load_acq(&worker->self.pushed) + MOST_BATCH >
			    /* WORK1 acquire */ MOST_ITEMS)
			idle = true;
		else if (calls != watch->calls[i] || watch->calls_at[i] == 0)
			watch->calls_at[i] = now;
		else
			stress_check(now - watch->calls_at[i] < BOUND, "thread %u is stuck", i);
		watch->calls[i] = calls;
	}
	if (items != watch->items || watch->items_at == 0 || idle)
		watch->items_at = now;
	stress_check(now - watch->items_at < BOUND, "nobody gets on");
	watch->items = items;
}

static void
check_actor(const struct actor *actor)
{
	for (uint64_t i = 0; i < MOST_ITEMS; i++)
		stress_check(actor->taken[i] == (i < actor->pushed),
			     "item %" PRIu64 " of %u, who pushed %" PRIu64 ", was popped %u times",
			     i, actor->index, actor->pushed, actor->taken[i]);
}

static unsigned
choose_threads(struct stress_random *random, uint64_t option, bool single)
{
	if (single)
		return 1;
	return (unsigned)(option ? option : 2 + stress_random_below(random, 3));
}

static void
run_round(struct stress_random *random)
{
	static const uint64_t capacities[] = {1, 2, 7, 64};
	unsigned flags = (unsigned)option_role;
	uint64_t began = queue_now(), now, length = stress_random_below(random, ROUND);
	struct watch watch = {0};
	struct queue_ring_stats stats;
	size_t size;
	void *item;

	memset(&trial, 0, sizeof trial);
	memset(workers, 0, sizeof workers);
	trial.producers = choose_threads(random, option_producers, flags & QUEUE_SINGLE_PRODUCER);
	trial.consumers = choose_threads(random, option_consumers, flags & QUEUE_SINGLE_CONSUMER);
	trial.working = trial.producers + trial.consumers;
	trial.handlers_act = flags == 0;
	trial.producer_closes = (flags & QUEUE_SINGLE_PRODUCER) != 0;
	trial.capacity = option_capacity ? option_capacity
					 : capacities[stress_random_below(random, 4)];
	size = queue_ring_footprint(trial.capacity, flags);
	stress_check(size > 0, "capacity %" PRIu64, trial.capacity);
	trial.ring = aligned_alloc(QUEUE_RING_ALIGNMENT, size);
	stress_check(trial.ring, "out of memory");
	stress_check(queue_impl_ring_init_at(trial.ring, size, trial.capacity, flags,
					     -stress_random_below(random, 100000)) == 0,
		     "init");
	if (option_swaps) {
		trial.ring->rseq = 0;
		trial.ring->producer = trial.ring->consumer = QUEUE_IMPL_RING_ANYBODY;
	}
	is_counted = trial.ring->rseq != 0 && !(flags & QUEUE_SINGLE_PRODUCER);
	for (unsigned i = 0; i < trial.producers + trial.consumers; i++) {
		workers[i].self.index = 2 * i;
		workers[i].self.random = stress_random_init(stress_random(random));
		workers[i].handler.index = 2 * i + 1;
		workers[i].handler.random = stress_random_init(stress_random(random));
		workers[i].produces = i < trial.producers;
		stress_start(&workers[i].thread, work, &workers[i]);
	}
	stress_gate_pass(&trial.gate, trial.producers + trial.consumers + 1);
	for (now = began; now - began < length; now = queue_now()) {
		struct timespec nap = {0, (long)(length < WATCH ? length : WATCH)};

		(void)nanosleep(&nap, NULL);
		look(&watch, now);
	}
	/* From here on pops that seal revoke, too. */
	overtaken += queue_impl_load_acq(&trial.ring->mode) / QUEUE_IMPL_RING_REVOKED;
	queue_impl_store32_rel(&trial.closing, 1); /* WORK1 release */
	if (!(flags & QUEUE_SINGLE_PRODUCER))
		queue_ring_close(trial.ring);
	began = queue_now();
	while (queue_impl_load32_acq(&trial.working) > 0) { /* WORK1 acquire */
		stress_check(queue_now() - began < BOUND, "close does not drain");
		sched_yield();
	}
	for (unsigned i = 0; i < trial.producers + trial.consumers; i++)
		stress_join(&workers[i].thread);
	for (unsigned i = 0; i < trial.producers + trial.consumers; i++) {
		check_actor(&workers[i].self);
		check_actor(&workers[i].handler);
	}
	queue_ring_stats(trial.ring, &stats);
	stress_check(stats.pushed == trial.push_done && stats.popped == trial.pop_done &&
			     stats.depth == 0 && stats.closed,
		     "at rest: %" PRIu64 " pushed, %" PRIu64 " popped, depth %" PRIu64,
		     stats.pushed, stats.popped, stats.depth);
	stress_check(queue_ring_try_pop(trial.ring, &item) == -EPIPE, "at rest");
	stress_check(queue_ring_try_push(trial.ring, NULL) == -EPIPE, "at rest");
	queue_ring_fini(trial.ring);
	free(trial.ring);
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		/* By flags. */
		{"role", &option_role, "who pushes and who pops",
		 .words = STRESS_WORDS("mpmc", "spmc", "mpsc")},
		{"producers", &option_producers, "threads that push, 0 for 2 to 4",
		 .most = MOST_THREADS / 2},
		{"consumers", &option_consumers, "threads that pop, 0 for 2 to 4",
		 .most = MOST_THREADS / 2},
		{"capacity", &option_capacity, "of the ring, 0 for 1, 2, 7 or 64",
		 .most = STRESS_CAPACITY_MAX},
		{"batch", &option_batch, "percent of bulk calls", .most = 100},
		{"swaps", &option_swaps, "1 as without restartable sequences", .most = 1},
		{.name = NULL},
	};
	struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART};
	struct stress_random random;
	uint64_t began = queue_now();

	stress_begin(argc, argv, options);
	/* Threads are born with it blocked, and allow it once they have their timer. */
	allow_interruptions(SIG_BLOCK);
	sigaction(SIGUSR1, &action, NULL);
	random = stress_random_init(0);
	while (stress_time_is_left())
		run_round(&random);
	printf("%" PRIu64 " interruptions, %" PRIu64 " pushes overtaken\n", interruptions,
	       overtaken);
	if (is_counted && queue_now() - began >= 2 * QUEUE_SECOND)
		stress_check(overtaken > 0, "nothing of what this is for has happened");
	return stress_end();
}
