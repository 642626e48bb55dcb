/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring between threads. Each round makes a ring, lets producers and consumers at it, has it
 * closed in the middle or at the end, and then looks for every item.
 *
 *  - A push that returned 0 is popped exactly once, one that did not is never; sums agree.
 *  - Each consumer sees each producer's items in order.
 *  - The item's bytes are those that were written before the push.
 *  - -EAGAIN from a push: more items had been begun to be pushed than had been popped by a whole
 *    capacity. From a pop: as many pops had been begun as pushes were complete.
 *  - After -EPIPE from a pop nobody pops anything; after close has returned nobody pushes anything.
 *  - Statistics never go back, and lie between what was complete before the call and what was begun
 *    after it.
 *
 * With --sprint 1, the same threads run a great many tiny rounds, which are mostly beginnings and
 * ends. With --lag 1, threads yield between operations, signals stop them at any instruction for a
 * millisecond, and hints are put back to what they once were. With --handover 1, each worker is one
 * thread after the other, and of several producers, or consumers, mostly one works at a time, so
 * that the ring's ends go from thread to thread, and sometimes while the last one is still there.
 */
/* ARGS: --role mpmc */
/* ARGS: --role spmc */
/* ARGS: --role mpsc */
/* ARGS: --role spsc */
/* ARGS: --role mpmc --capacity 1 --producers 2 --consumers 2 */
/* ARGS: --role mpmc --capacity 7 --batch 0 --wrap 64 */
/* ARGS: --role mpmc --sprint 1 */
/* ARGS: --role spsc --sprint 1 */
/* ARGS: --role mpmc --lag 1 */
/* ARGS: --role any --lag 1 --wrap 62 */
/* ARGS: --role mpmc --producers 1 --consumers 1 --handover 1 */
/* ARGS: --role mpmc --producers 2 --consumers 2 --handover 1 --sprint 1 */
/* ARGS: --role any --handover 1 --lag 1 */
/* ARGS: --role mpmc --producers 16 --consumers 16 --lag 1 */
#include <conveyor/ring.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "stress.h"

#define MOST_THREADS 16
#define MOST_BATCH 48
/* Others are their flags. */
#define ANY_ROLE ((QUEUE_SINGLE_PRODUCER | QUEUE_SINGLE_CONSUMER) + 1)

static uint64_t option_producers, option_consumers, option_capacity,
	option_items = 20000, option_batch = 200, option_wrap, option_lag, option_sprint,
	option_handover, option_role = ANY_ROLE;

struct message {
	uint32_t producer;
	uint32_t taken; /* times */
	uint64_t number;
	uint64_t check;
};

/* One producer or consumer. */
struct worker {
	/* read by all, written by the worker */
	uint64_t begun queue_impl_aligned(QUEUE_IMPL_APART); /* at least what is in the ring */
	uint64_t complete;				     /* at most what is in the ring */

	uint64_t sum queue_impl_aligned(QUEUE_IMPL_APART);
	unsigned index;
	unsigned passes; /* of the gate */
	unsigned ends;	 /* consumer: how often it was told the end */
	bool finished;
	struct stress_random random;
	struct stress_thread thread;
	struct message *messages;    /* producer: those it pushes */
	uint64_t quota;		     /* producer: how many */
	uint64_t close_at;	     /* closes the ring when so many are complete */
	uint64_t next[MOST_THREADS]; /* consumer: by producer, the least number that may come */
};

static struct trial {
	struct queue_ring *ring;
	uint64_t capacity;
	unsigned flags, producers, consumers, batch;
	bool lag, handover;
	uint64_t repeats;	     /* with the same ring and threads */
	uint64_t items;		     /* at most, in each repetition */
	struct stress_random random; /* for whoever prepares */
	struct stress_gate gate;
	struct worker producer[MOST_THREADS], consumer[MOST_THREADS];

	uint32_t closing;   /* close has been called */
	uint32_t closed;    /* close has returned */
	uint32_t drained;   /* a pop has returned -EPIPE */
	uint32_t producing; /* producers that have not finished */
	uint32_t working;   /* workers that have not finished */
	uint32_t turns[2];  /* producers': whose it is, and consumers' */
} trial;

static unsigned
parties(void)
{
	return trial.producers + trial.consumers + (trial.repeats == 1 ? 1 : 0);
}

/* ---- Witnesses ------------------------------------------------------------------------------ */

/*
 * WORK1: what was done by a worker -> what is known to be done, via begun and complete. A worker
 * raises `begun` before a call and sets both to the truth after it, so at every instant
 * complete <= items that it has moved <= begun.
 */
static uint64_t
sum_complete(const struct worker *workers, unsigned n)
{
	uint64_t sum = 0;

	while (n-- > 0)
		sum += queue_impl_load_acq(&workers[n].complete); /* WORK1 acquire */
	return sum;
}

static uint64_t
sum_begun(const struct worker *workers, unsigned n)
{
	uint64_t sum = 0;

	while (n-- > 0)
		sum += queue_impl_load_acq(&workers[n].begun); /* WORK1 acquire */
	return sum;
}

static void
begin(struct worker *self, uint64_t n)
{
	queue_impl_store_rel(&self->begun, self->complete + n); /* WORK1 release */
}

static void
complete(struct worker *self, uint64_t n)
{
	queue_impl_store_rel(&self->complete, self->complete + n); /* WORK1 release */
	queue_impl_store_rel(&self->begun, self->complete);	   /* WORK1 release */
}

static void
close_ring(void)
{
	queue_impl_store32_rel(&trial.closing, 1); /* WORK1 release */
	queue_ring_close(trial.ring);
	queue_impl_store32_rel(&trial.closed, 1); /* WORK1 release */
}

static void
dawdle(struct worker *self)
{
	if (!trial.lag)
		return;
	if (stress_one_in(&self->random, 16))
		sched_yield();
	if (stress_one_in(&self->random, 1000))
		for (int i = 0; i < 50; i++)
			sched_yield();
}

/* With --handover 1: mostly one of them at a time, for a while; nobody waits for long. */
static void
await_turn(struct worker *self, uint32_t *turn, unsigned workers)
{
	if (!trial.handover || workers == 1)
		return;
	if (stress_one_in(&self->random, 16))
		queue_impl_store32_rlx(turn, /* relaxed: nothing hangs on it */
				       (uint32_t)stress_random_below(&self->random, workers));
	for (unsigned i = 0; i < 8 && queue_impl_load32_rlx(turn) != self->index; i++)
		sched_yield();
}

/* With --handover 1, another thread goes on with this work. */
static bool
is_relieved(struct worker *self)
{
	return trial.handover && stress_one_in(&self->random, option_sprint ? 5 : 200);
}

static void
back_off(unsigned *failures)
{
	if (++*failures > (option_sprint ? 50 : 2))
		sched_yield();
	else
		queue_impl_pause();
}

static uint64_t
batch_size(struct worker *self)
{
	uint64_t most = stress_one_in(&self->random, 4) ? MOST_BATCH : 4;

	return 1 + stress_random_below(&self->random, most);
}

static bool
is_bulk(struct worker *self)
{
	return stress_random_below(&self->random, 100) < trial.batch;
}

/* ---- Producers ------------------------------------------------------------------------------ */

/* One call that pushes up to n of the messages that are next. Returns how many, or negative. */
static ptrdiff_t
push_some(struct worker *self, uint64_t n, bool bulk)
{
	void *items[MOST_BATCH];
	ptrdiff_t rc;

	for (uint64_t i = 0; i < n; i++)
		items[i] = &self->messages[self->complete + i];
	if (bulk) {
		rc = queue_ring_push_n(trial.ring, items, (ptrdiff_t)n);
		return rc == 0 ? -EAGAIN : rc;
	}
	rc = queue_ring_try_push(trial.ring, items[0]);
	return rc == 0 ? 1 : rc;
}

static void
check_push(struct worker *self, uint64_t n, bool bulk, ptrdiff_t rc, uint64_t popped, bool closed)
{
	if (closed)
		stress_check(rc == -EPIPE, "push answers %td after close", rc);
	if (rc == -EAGAIN) {
		uint64_t pushed = sum_begun(trial.producer, trial.producers);

		stress_check(pushed - popped >= trial.capacity,
			     "full with %" PRIu64 " of %" PRIu64 " inside", pushed - popped,
			     trial.capacity);
	} else if (rc == -EPIPE) {
		stress_check(queue_impl_load32_acq(&trial.closing), /* WORK1 acquire */
			     "producer %u refused by an open ring", self->index);
	} else {
		stress_check(rc > 0 && (uint64_t)rc <= n, "push%s of %" PRIu64 " answers %td",
			     bulk ? "_n" : "", n, rc);
	}
}

static void
produce(struct worker *self)
{
	unsigned failures = 0;
	ptrdiff_t rc = 0;

	while (self->complete < self->quota && rc != -EPIPE) {
		bool bulk = is_bulk(self);
		uint64_t n = bulk ? batch_size(self) : 1;
		uint64_t popped;
		bool closed;

		if (is_relieved(self))
			return;
		await_turn(self, &trial.turns[0], trial.producers);
		dawdle(self);
		if (n > self->quota - self->complete)
			n = self->quota - self->complete;
		for (uint64_t i = self->complete; i < self->complete + n; i++)
			self->messages[i].check = ~(i * MOST_THREADS + self->index);
		closed = queue_impl_load32_acq(&trial.closed); /* WORK1 acquire */
		popped = sum_complete(trial.consumer, trial.consumers);
		begin(self, n);
		rc = push_some(self, n, bulk);
		complete(self, rc > 0 ? (uint64_t)rc : 0);
		check_push(self, n, bulk, rc, popped, closed);
		if (rc > 0) {
			failures = 0;
			if (self->complete >= self->close_at &&
			    self->complete - (uint64_t)rc < self->close_at)
				close_ring();
		} else {
			back_off(&failures);
		}
	}
	for (uint64_t i = 0; i < self->complete; i++)
		self->sum += i + 1;
	/* The last to finish closes: the ring ends in every trial. */
	if (queue_impl_fetch_add32_acq_rel(&trial.producing, UINT32_MAX) == 1) /* WORK1 acq_rel */
		close_ring();
	/* From when a push is refused as closed, or close has returned, all are. */
	for (int i = 0; i < 3 && queue_impl_load32_acq(&trial.closed); i++) /* WORK1 acquire */
		stress_check(queue_ring_try_push(trial.ring, self->messages) == -EPIPE,
			     "producer %u pushed after close", self->index);
	self->finished = true;
}

/* ---- Consumers ------------------------------------------------------------------------------ */

static void
receive(struct worker *self, struct message *message)
{
	unsigned producer = message->producer;

	stress_check(producer < trial.producers, "an item that nobody made: %p", (void *)message);
	stress_check(message->check == ~(message->number * MOST_THREADS + producer),
		     "item %" PRIu64 " of producer %u came before its bytes", message->number,
		     producer);
	stress_check(message->taken++ == 0, "item %" PRIu64 " of producer %u came again",
		     message->number, producer);
	stress_check(message->number >= self->next[producer],
		     "item %" PRIu64 " of producer %u after %" PRIu64, message->number, producer,
		     self->next[producer] - 1);
	self->next[producer] = message->number + 1;
	self->sum += message->number + 1;
}

static ptrdiff_t
pop_some(void **items, uint64_t n, bool bulk)
{
	ptrdiff_t rc;

	if (bulk) {
		rc = queue_ring_pop_n(trial.ring, items, (ptrdiff_t)n);
		return rc == 0 ? -EAGAIN : rc;
	}
	rc = queue_ring_try_pop(trial.ring, items);
	return rc == 0 ? 1 : rc;
}

static void
check_pop(struct worker *self, uint64_t n, bool bulk, ptrdiff_t rc, uint64_t pushed, bool drained)
{
	if (drained)
		stress_check(rc == -EPIPE, "pop answers %td after the end", rc);
	if (rc == -EAGAIN || rc == -EPIPE) {
		uint64_t popped = sum_begun(trial.consumer, trial.consumers);

		stress_check(popped >= pushed, "empty (%td) with %" PRIu64 " inside", rc,
			     pushed - popped);
	}
	if (rc == -EPIPE)
		stress_check(queue_impl_load32_acq(&trial.closing), /* WORK1 acquire */
			     "consumer %u was told the end of an open ring", self->index);
	else if (rc != -EAGAIN)
		stress_check(rc > 0 && (uint64_t)rc <= n, "pop%s of %" PRIu64 " answers %td",
			     bulk ? "_n" : "", n, rc);
}

static void
consume(struct worker *self)
{
	void *items[MOST_BATCH];
	unsigned failures = 0;

	/* After the end, ask a few times more. */
	while (self->ends < 4) {
		bool bulk = is_bulk(self);
		uint64_t n = bulk ? batch_size(self) : 1;
		bool drained;
		uint64_t pushed;
		ptrdiff_t rc;

		if (is_relieved(self))
			return;
		await_turn(self, &trial.turns[1], trial.consumers);
		dawdle(self);
		drained = queue_impl_load32_acq(&trial.drained); /* WORK1 acquire */
		pushed = sum_complete(trial.producer, trial.producers);
		begin(self, n);
		rc = pop_some(items, n, bulk);
		complete(self, rc > 0 ? (uint64_t)rc : 0);
		check_pop(self, n, bulk, rc, pushed, drained || self->ends > 0);
		for (ptrdiff_t i = 0; i < rc; i++)
			receive(self, items[i]);
		if (rc > 0) {
			failures = 0;
			if (self->complete >= self->close_at &&
			    self->complete - (uint64_t)rc < self->close_at)
				close_ring();
		} else if (rc == -EPIPE) {
			queue_impl_store32_rel(&trial.drained, 1); /* WORK1 release */
			self->ends++;
		} else {
			back_off(&failures);
		}
	}
	self->finished = true;
}

/* ---- The observer --------------------------------------------------------------------------- */

/* What --lag 1 stops a thread with, wherever it is. */
static void
stop_a_while(int signal)
{
	int saved = errno;

	(void)signal;
	(void)poll(NULL, 0, 1);
	errno = saved;
}

/* The hints as they once were: what a thread stores that stopped before it stored them. */
struct old_hints {
	uint64_t filled, head_seen;
	unsigned stops; /* that may still be made: each costs a millisecond */
};

static void
disturb(struct stress_random *random, struct old_hints *old)
{
	struct queue_ring *ring = trial.ring;

	if (stress_one_in(random, 20)) {
		old->filled = queue_impl_load_acq(&ring->filled);	/* RING3 acquire */
		old->head_seen = queue_impl_load_acq(&ring->head_seen); /* RING4 acquire */
	}
	if (stress_one_in(random, 2))
		queue_impl_store_rel(&ring->filled, old->filled); /* RING3 release */
	if (stress_one_in(random, 2))
		queue_impl_store_rel(&ring->head_seen, old->head_seen); /* RING4 release */
	if (old->stops > 0 && stress_one_in(random, 20)) {
		uint64_t victim = stress_random_below(random, trial.producers + trial.consumers);

		old->stops--;
		if (victim < trial.producers)
			pthread_kill(trial.producer[victim].thread.id, SIGUSR1);
		else
			pthread_kill(trial.consumer[victim - trial.producers].thread.id, SIGUSR1);
	}
}

static void
observe(void *argument)
{
	struct stress_random *random = argument;
	struct old_hints old = {queue_impl_load_acq(&trial.ring->filled),    /* RING3 acquire */
				queue_impl_load_acq(&trial.ring->head_seen), /* RING4 acquire */
				100};
	struct queue_ring_stats last = {0, 0, 0, 0, 0};

	stress_gate_pass(&trial.gate, parties());
	while (queue_impl_load32_acq(&trial.working) > 0) { /* WORK1 acquire */
		uint64_t pushed = sum_complete(trial.producer, trial.producers);
		uint64_t popped = sum_complete(trial.consumer, trial.consumers);
		bool closed = queue_impl_load32_acq(&trial.closed); /* WORK1 acquire */
		struct queue_ring_stats stats;

		queue_ring_stats(trial.ring, &stats);
		stress_check(stats.pushed >= pushed && stats.popped >= popped,
			     "%" PRIu64 " pushed, %" PRIu64 " popped, and there were %" PRIu64
			     " and %" PRIu64,
			     stats.pushed, stats.popped, pushed, popped);
		pushed = sum_begun(trial.producer, trial.producers);
		popped = sum_begun(trial.consumer, trial.consumers);
		stress_check(stats.pushed <= pushed && stats.popped <= popped,
			     "%" PRIu64 " pushed, %" PRIu64 " popped, and there are %" PRIu64
			     " and %" PRIu64,
			     stats.pushed, stats.popped, pushed, popped);
		stress_check(stats.pushed >= last.pushed && stats.popped >= last.popped,
			     "statistics went back");
		stress_check(stats.popped <= stats.pushed && stats.depth <= trial.capacity &&
				     queue_ring_depth_approx(trial.ring) <= trial.capacity,
			     "depth %" PRIu64, stats.depth);
		stress_check(stats.closed >= last.closed && (!closed || stats.closed),
			     "closed is %d", stats.closed);
		last = stats;
		if (trial.lag)
			disturb(random, &old);
		sched_yield();
	}
}

/* ---- A round -------------------------------------------------------------------------------- */

static uint64_t
one_of(struct stress_random *random, const uint64_t *values, size_t n)
{
	return values[stress_random_below(random, n)];
}

static unsigned
choose_threads(struct stress_random *random, uint64_t option, bool single)
{
	static const uint64_t counts[] = {1, 2, 2, 3, 4, 4, 8, 16};

	if (single)
		return 1;
	/* A sprint wants a processor for each. */
	return (unsigned)(option ? option : one_of(random, counts, option_sprint ? 3 : 8));
}

static uint64_t
choose_first(struct stress_random *random)
{
	static const uint64_t wraps[] = {32, 62, 63, 64};
	uint64_t bits = option_wrap;

	if (bits == 0 && stress_one_in(random, 2))
		return 0;
	if (bits == 0)
		bits = one_of(random, wraps, 4);
	return ((UINT64_C(1) << (bits - 1)) * 2) - stress_random_below(random, 2000);
}

/* Who closes early, and when; or nobody does. */
static void
choose_closer(struct stress_random *random, uint64_t items)
{
	uint64_t at = 1 + stress_random_below(random, 1 + items / trial.producers);

	for (unsigned i = 0; i < trial.producers; i++)
		trial.producer[i].close_at = UINT64_MAX;
	for (unsigned i = 0; i < trial.consumers; i++)
		trial.consumer[i].close_at = UINT64_MAX;
	switch (stress_random_below(random, 4)) {
	case 0:
		trial.producer[0].close_at = at;
		break;
	case 1:
		if (!(trial.flags & QUEUE_SINGLE_PRODUCER))
			trial.consumer[0].close_at = at;
		break;
	case 2: /* two at once */
		trial.producer[trial.producers - 1].close_at = at;
		if (!(trial.flags & QUEUE_SINGLE_PRODUCER))
			trial.consumer[trial.consumers - 1].close_at = at;
		break;
	default:
		break;
	}
}

/* An empty ring, and everybody as if new. Nobody else is at work. */
static void
prepare(void)
{
	struct stress_random *random = &trial.random;
	size_t size = queue_ring_footprint(trial.capacity, trial.flags);
	uint64_t items = stress_random_below(random, trial.items + 1);

	stress_check(queue_impl_ring_init_at(trial.ring, size, trial.capacity, trial.flags,
					     choose_first(random)) == 0,
		     "init");
	trial.closing = trial.closed = trial.drained = 0;
	trial.producing = trial.producers;
	trial.working = trial.producers + trial.consumers;
	choose_closer(random, items);
	for (unsigned i = 0; i < trial.producers; i++) {
		struct worker *producer = &trial.producer[i];

		producer->begun = producer->complete = producer->sum = 0;
		producer->finished = false;
		producer->quota = (items + i) / trial.producers;
		for (uint64_t k = 0; k < producer->quota; k++)
			producer->messages[k].taken = 0;
	}
	for (unsigned i = 0; i < trial.consumers; i++) {
		struct worker *consumer = &trial.consumer[i];

		consumer->begun = consumer->complete = consumer->sum = 0;
		consumer->ends = 0;
		consumer->finished = false;
		memset(consumer->next, 0, sizeof consumer->next);
	}
}

/* Looks for every item. Nobody else is at work. */
static void
check_all(void)
{
	uint64_t pushed = 0, popped = 0, pushed_sum = 0, popped_sum = 0;
	struct queue_ring_stats stats;
	void *item;

	for (unsigned i = 0; i < trial.producers; i++) {
		const struct worker *producer = &trial.producer[i];

		pushed += producer->complete;
		pushed_sum += producer->sum;
		for (uint64_t k = 0; k < producer->quota; k++)
			stress_check(producer->messages[k].taken == (k < producer->complete),
				     "item %" PRIu64 " of producer %u, who pushed %" PRIu64
				     ", was popped %u times",
				     k, i, producer->complete, producer->messages[k].taken);
	}
	for (unsigned i = 0; i < trial.consumers; i++) {
		popped += trial.consumer[i].complete;
		popped_sum += trial.consumer[i].sum;
	}
	stress_check(pushed == popped, "%" PRIu64 " pushed, %" PRIu64 " popped", pushed, popped);
	stress_check(pushed_sum == popped_sum, "the sums differ");
	queue_ring_stats(trial.ring, &stats);
	stress_check(stats.pushed == pushed && stats.popped == popped && stats.depth == 0 &&
			     stats.closed,
		     "at rest: %" PRIu64 " pushed, %" PRIu64 " popped, depth %" PRIu64,
		     stats.pushed, stats.popped, stats.depth);
	stress_check(queue_ring_try_pop(trial.ring, &item) == -EPIPE, "at rest");
	stress_check(queue_ring_try_push(trial.ring, NULL) == -EPIPE, "at rest");
}

static void
work_a_shift(void *argument)
{
	struct worker *self = argument;

	if (self->messages)
		produce(self);
	else
		consume(self);
}

static void
work(void *argument)
{
	struct worker *self = argument;
	uint64_t left;

	for (left = trial.repeats; left > 0; left--) {
		stress_gate_pass(&trial.gate, ++self->passes * parties());
		work_a_shift(self);
		while (!self->finished) {
			struct stress_thread relief;

			stress_start(&relief, work_a_shift, self);
			stress_join(&relief);
		}
		(void)queue_impl_fetch_add32_acq_rel(&trial.working,
						     UINT32_MAX); /* WORK1 release */
		if (left == 1)
			break;
		stress_gate_pass(&trial.gate, ++self->passes * parties());
		if (self == trial.producer) {
			check_all();
			prepare();
		}
	}
}

static void
run_round(struct stress_random *random)
{
	static const uint64_t capacities[] = {1, 2, 7, 1024}, batches[] = {0, 10, 50, 100};
	struct stress_random observer_random = stress_random_init(stress_random(random));
	struct stress_thread observer;
	size_t size;

	memset(&trial, 0, sizeof trial);
	trial.flags = (unsigned)stress_choose(random, option_role, ANY_ROLE);
	trial.producers =
		choose_threads(random, option_producers, trial.flags & QUEUE_SINGLE_PRODUCER);
	trial.consumers =
		choose_threads(random, option_consumers, trial.flags & QUEUE_SINGLE_CONSUMER);
	trial.capacity = option_capacity ? option_capacity : one_of(random, capacities, 4);
	trial.batch = (unsigned)(option_batch <= 100 ? option_batch : one_of(random, batches, 4));
	trial.lag = option_lag != 0;
	trial.handover = option_handover != 0;
	trial.items = option_items >> stress_random_below(random, 6);
	trial.repeats = 1;
	if (option_sprint) {
		trial.items = stress_random_below(random, 10);
		trial.repeats = 300;
	}
	trial.random = stress_random_init(stress_random(random));

	size = queue_ring_footprint(trial.capacity, trial.flags);
	stress_check(size > 0, "capacity %" PRIu64, trial.capacity);
	trial.ring = aligned_alloc(QUEUE_RING_ALIGNMENT, size);
	stress_check(trial.ring, "out of memory");
	for (unsigned i = 0; i < trial.producers; i++) {
		struct worker *producer = &trial.producer[i];

		producer->index = i;
		producer->random = stress_random_init(stress_random(random));
		producer->messages = calloc(trial.items + 1, sizeof *producer->messages);
		stress_check(producer->messages, "out of memory");
		for (uint64_t k = 0; k <= trial.items; k++) {
			producer->messages[k].producer = i;
			producer->messages[k].number = k;
		}
	}
	for (unsigned i = 0; i < trial.consumers; i++) {
		trial.consumer[i].index = i;
		trial.consumer[i].random = stress_random_init(stress_random(random));
	}
	prepare();

	for (unsigned i = 0; i < trial.producers; i++)
		stress_start(&trial.producer[i].thread, work, &trial.producer[i]);
	for (unsigned i = 0; i < trial.consumers; i++)
		stress_start(&trial.consumer[i].thread, work, &trial.consumer[i]);
	/* The observer ends first: it may send a signal to any thread. */
	if (trial.repeats == 1) {
		stress_start(&observer, observe, &observer_random);
		stress_join(&observer);
	}
	for (unsigned i = 0; i < trial.producers; i++)
		stress_join(&trial.producer[i].thread);
	for (unsigned i = 0; i < trial.consumers; i++)
		stress_join(&trial.consumer[i].thread);

	check_all();
	for (unsigned i = 0; i < trial.producers; i++)
		free(trial.producer[i].messages);
	queue_ring_fini(trial.ring);
	free(trial.ring);
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"role", &option_role, "who pushes and who pops",
		 .words = STRESS_WORDS("mpmc", "spmc", "mpsc", "spsc", "any")},
		{"producers", &option_producers, "threads that push, 0 for any",
		 .most = MOST_THREADS},
		{"consumers", &option_consumers, "threads that pop, 0 for any",
		 .most = MOST_THREADS},
		{"capacity", &option_capacity, "of the ring, 0 for 1, 2, 7 or 1024",
		 .most = STRESS_CAPACITY_MAX},
		{"batch", &option_batch, "percent of bulk calls, above 100 for any", .most = 200},
		{"items", &option_items, "at most, in a round", .most = 1000000},
		{"wrap", &option_wrap, "start shortly before 2^wrap, 0 for any", .most = 64},
		{"sprint", &option_sprint, "1 for many tiny rounds", .most = 1},
		{"handover", &option_handover, "1 if threads relieve each other", .most = 1},
		{"lag", &option_lag, "1 to stop and disturb threads", .most = 1},
		{.name = NULL},
	};
	struct sigaction action = {.sa_handler = stop_a_while, .sa_flags = SA_RESTART};
	struct stress_random random;

	stress_begin(argc, argv, options);
	sigaction(SIGUSR1, &action, NULL);
	random = stress_random_init(0);
	while (stress_time_is_left())
		run_round(&random);
	return stress_end();
}
