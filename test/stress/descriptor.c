/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_fd under many threads: consumers that wait for the descriptor only, by poll, by epoll level-
 * or edge-triggered, each with an epoll of its own or all with one, while producers push by all the
 * calls there are and others pop beside them, through empty and full, until the queue is closed.
 * With --through topic the queue is a subscription's: the items are messages that are published,
 * and its filter turns some away.
 *
 * What must hold: nobody waits beside an item; whoever is woken finds one, unless another was faster
 * or a system call came late, and those times are bounded; every item goes to exactly one; every
 * message is released once, and none comes that is not wanted; and when all have left the
 * descriptor is right.
 */
/* ARGS: --wait poll --policy abort */
/* ARGS: --wait poll --policy block --capacity 1 */
/* ARGS: --wait level --policy block */
/* ARGS: --wait level --policy discard-oldest --capacity 2 */
/* ARGS: --wait edge --policy block --capacity 1 */
/* ARGS: --wait edge --policy discard-oldest */
/* ARGS: --wait edge --policy discard --consumers 1 */
/* ARGS: --wait shared-edge --policy block */
/* ARGS: --wait shared-edge --policy caller-runs --capacity 2 */
/* ARGS: --wait shared-level --policy block */
/* ARGS: --wait any --policy any --through any --producers 16 --consumers 16 */
/* ARGS: --through topic --wait poll --policy abort --capacity 1 */
/* ARGS: --through topic --wait level --policy discard-oldest */
/* ARGS: --through topic --wait edge --policy block */
#include <conveyor/queue.h>
#include <conveyor/topic.h>

#include "stress.h"

#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

#define THREADS_MAX 16
#define ITEMS_MAX 4096
#define BATCH 4
#define PATIENCE 30000 /* ms that nobody has to wait for an item */

enum through {
	QUEUE,
	TOPIC,
	THROUGHS
};

enum wait {
	POLL,
	LEVEL,
	EDGE,
	SHARED_LEVEL,
	SHARED_EDGE,
	WAITS
};

#define POLICIES 5 /* all but QUEUE_SPILL */

/* Tags; the subscription asks for the first. */
#define WANTED 1
#define OTHER 2

struct item {
	struct queue_message message; /* first, so that one pointer is both */
	uint64_t deadline;
	uint32_t producer, number;
	uint32_t taken;
	uint32_t held; /* the message is somebody's */
	bool is_unwanted;
};

struct round {
	struct queue_bounded *queue;
	struct queue_topic *topic; /* or NULL */
	struct queue_subscription *subscription;
	struct stress_gate gate;
	uint64_t number;
	enum wait wait;
	uint32_t producers, consumers, threads;
	uint32_t items; /* per producer */
	uint32_t producing;
	int shared_loop; /* an epoll */
	bool closes;
	struct item *item;
};

struct party {
	struct stress_thread thread;
	struct round *round;
	struct stress_random random;
	uint32_t number;
	uint32_t next[THREADS_MAX]; /* by producer: what must not come any more */
	struct item noise;	    /* what a producer publishes that nobody wants */
	int loop;
	uint64_t wakes, vain;
};

static uint64_t given_capacity, given_producers, given_consumers;
static uint64_t given_wait = WAITS, given_policy = POLICIES, given_through = QUEUE;

/* ---- Messages ------------------------------------------------------------------------------- */

static void
take(struct item *item)
{
	uint32_t before = queue_impl_fetch_add32_acq_rel(&item->taken, 1);

	stress_check(before == 0, "item %u of %u twice", item->number, item->producer);
}

static void
let_go(struct queue_message *message, void *context)
{
	struct item *item = context;
	uint32_t before = queue_impl_fetch_add32_acq_rel(&item->held, UINT32_MAX);

	stress_check(message == &item->message && before == 1, "item %u of %u released twice",
		     item->number, item->producer);
}

static bool
accepts(const struct queue_message *message, void *context)
{
	(void)context;
	return !((const struct item *)message)->is_unwanted;
}

static void
on_message_drop(struct queue_message *message, enum queue_reason reason, void *context)
{
	(void)reason, (void)context;
	take((struct item *)message);
}

static struct queue_delivery
publish(const struct round *round, struct item *item, uint64_t tags)
{
	struct queue_delivery delivery;
	int rc;

	item->held = 1;
	queue_message_init(&item->message, let_go, item);
	rc = queue_topic_publish_report(round->topic, &item->message, tags, &delivery);
	stress_check(rc >= 0 && (uint64_t)rc == delivery.taken, "publish: %d", rc);
	return delivery;
}

static void
publish_noise(struct party *producer)
{
	struct item *item = &producer->noise;
	struct queue_delivery delivery;

	item->taken = 1;
	item->is_unwanted = stress_one_in(&producer->random, 2);
	delivery = publish(producer->round, item, item->is_unwanted ? WANTED : OTHER);
	stress_check(delivery.filtered == 1 && item->held == 0, "not filtered");
}

/* 1 when the subscription, or on_drop, has it now; 0 when it is to be published again. */
static int
publish_somehow(struct party *producer, struct item *item)
{
	struct queue_delivery delivery;

	if (stress_one_in(&producer->random, 4))
		publish_noise(producer);
	delivery = publish(producer->round, item,
			   stress_one_in(&producer->random, 2) ? WANTED : WANTED | OTHER);
	return (int)(delivery.taken + delivery.discarded);
}

/* ---- Producers ------------------------------------------------------------------------------ */

static void
on_drop(void *item, enum queue_reason reason, void *context)
{
	(void)reason, (void)context;
	take(item);
}

static void
run(void *item, void *context)
{
	(void)context;
	take(item);
}

static uint64_t
deadline_of(const void *item)
{
	return item ? ((const struct item *)item)->deadline : 0;
}

/* In one of the ways there are; how many of n the queue, or somebody else, has now. */
static int
push_somehow(struct party *producer, void **items, int n)
{
	struct queue_bounded *queue = producer->round->queue;

	if (producer->round->topic)
		return publish_somehow(producer, *items);
	switch (stress_random_below(&producer->random, 4)) {
	case 0:
		return queue_push_n(queue, items, n);
	case 1:
		return queue_try_push(queue, *items) == 0;
	case 2:
		return queue_push_until(queue, *items, queue_after_ms(1)) == 0;
	default:
		return queue_push(queue, *items) >= 0;
	}
}

static void
produce(void *argument)
{
	struct party *producer = argument;
	struct round *round = producer->round;
	struct item *item = round->item + producer->number * round->items;
	uint32_t i = 0;

	stress_gate_pass(&round->gate, round->threads);
	while (i < round->items) {
		void *items[BATCH];
		int n, done;

		for (n = 0; n < BATCH && i + (uint32_t)n < round->items; n++)
			items[n] = &item[i + (uint32_t)n];
		done = push_somehow(producer, items, n);
		i += (uint32_t)done;
		if (done == 0 || stress_one_in(&producer->random, 16))
			sched_yield();
	}
	/* The last one: every item has gone somewhere. */
	if (queue_impl_fetch_add32_acq_rel(&round->producing, UINT32_MAX) != 1)
		return;
	if (round->topic)
		(void)(stress_one_in(&producer->random, 2)
			       ? queue_topic_close(round->topic)
			       : queue_subscription_close(round->subscription));
	else if (round->closes)
		(void)queue_close(round->queue);
	for (i = 0; !round->closes && i < round->consumers; i++)
		stress_check(queue_push_until(round->queue, NULL, QUEUE_NEVER) == 0, "last");
}

/* ---- Consumers ------------------------------------------------------------------------------ */

static bool
is_shared(enum wait wait)
{
	return wait == SHARED_LEVEL || wait == SHARED_EDGE;
}

static uint32_t
events_of(enum wait wait)
{
	return wait == EDGE || wait == SHARED_EDGE ? EPOLLIN | EPOLLET : EPOLLIN;
}

static void
arm(int loop, int operation, int number, uint32_t events)
{
	struct epoll_event event = {.events = events};

	stress_check(epoll_ctl(loop, operation, number, &event) == 0, "epoll_ctl");
}

static int
new_loop(int number, uint32_t events)
{
	int loop = epoll_create1(EPOLL_CLOEXEC);

	stress_check(loop >= 0, "epoll_create1");
	arm(loop, EPOLL_CTL_ADD, number, events);
	return loop;
}

static void
wait_for_descriptor(struct party *consumer, int number)
{
	struct round *round = consumer->round;
	int rc;

	if (round->wait == POLL) {
		struct pollfd poll_for = {.fd = number, .events = POLLIN};

		rc = poll(&poll_for, 1, PATIENCE);
	} else {
		struct epoll_event event;

		rc = epoll_wait(is_shared(round->wait) ? round->shared_loop : consumer->loop,
				&event, 1, PATIENCE);
	}
	stress_check(rc == 1, "asleep, depth %" PRIu64 ", state %" PRIx64,
		     queue_depth_approx(round->queue), round->queue->descriptor.state);
	consumer->wakes++;
}

/* Takes up to BATCH in some way; as queue_try_pop_n, but -EAGAIN when there are none. */
static int
pop_somehow(struct party *consumer, void **items)
{
	struct queue_bounded *queue = consumer->round->queue;
	int rc;

	switch (stress_random_below(&consumer->random, 4)) {
	case 0:
		rc = queue_try_pop_n(queue, items, BATCH);
		return rc == 0 ? -EAGAIN : rc;
	case 1:
		rc = queue_pop_until(queue, items, 0);
		return rc == 0 ? 1 : rc == -ETIMEDOUT ? -EAGAIN : rc;
	default:
		rc = queue_try_pop(queue, items);
		return rc == 0 ? 1 : rc;
	}
}

static void
receive(const struct round *round, struct item *item)
{
	take(item);
	if (round->topic)
		queue_message_release(&item->message);
}

/* False when the last item was among them. */
static bool
use(struct party *consumer, void **items, int n)
{
	bool goes_on = true;

	for (int i = 0; i < n; i++) {
		struct item *item = items[i];

		if (!item && goes_on) {
			goes_on = false;
			continue;
		}
		/* This one was for another consumer. */
		if (!item) {
			(void)queue_push_until(consumer->round->queue, NULL, QUEUE_NEVER);
			continue;
		}
		receive(consumer->round, item);
		stress_check(item->number >= consumer->next[item->producer], "order");
		consumer->next[item->producer] = item->number + 1;
	}
	return goes_on;
}

static void
consume(void *argument)
{
	struct party *consumer = argument;
	struct round *round = consumer->round;
	bool drains = round->wait == EDGE || round->wait == SHARED_EDGE;
	int number;

	stress_gate_pass(&round->gate, round->threads);
	/* All at once; it is made now, among pushes, unless there is one epoll for all. */
	number = queue_fd(round->queue);
	stress_check(number >= 0, "queue_fd");
	if (round->wait == LEVEL || round->wait == EDGE)
		consumer->loop = new_loop(number, events_of(round->wait));
	for (;;) {
		void *items[BATCH];
		int n, got = 0;

		wait_for_descriptor(consumer, number);
		do {
			n = pop_somehow(consumer, items);
			if (n > 0 && !use(consumer, items, n))
				n = -EPIPE;
			got += n > 0;
			if (stress_one_in(&consumer->random, 32))
				sched_yield();
		} while (n > 0 && (drains || stress_one_in(&consumer->random, 2)));
		if (n == -EPIPE)
			break;
		consumer->vain += got == 0;
	}
	/* An edge is told to one of them: the one who leaves passes on that the queue is closed. */
	if (round->wait == SHARED_EDGE)
		arm(round->shared_loop, EPOLL_CTL_MOD, number, EPOLLIN | EPOLLET);
	if (round->wait == LEVEL || round->wait == EDGE)
		(void)close(consumer->loop);
}

/* Pops beside them without looking at the descriptor, by calls that wait, until all is pushed. */
static void
interfere(void *argument)
{
	struct party *party = argument;
	struct round *round = party->round;

	stress_gate_pass(&round->gate, round->threads);
	while (queue_impl_load32_acq(&round->producing) > 0) {
		uint64_t deadline = queue_now() + stress_random_below(&party->random, 100000);
		void *item;

		if (queue_pop_until(round->queue, &item, deadline) != 0)
			continue;
		if (item)
			receive(round, item);
		else
			(void)queue_push_until(round->queue, item, QUEUE_NEVER);
	}
}

/* ---- Rounds --------------------------------------------------------------------------------- */

static void
check_at_rest(struct round *round, const struct party *consumers)
{
	struct pollfd poll_for = {.fd = queue_fd(round->queue), .events = POLLIN};
	uint64_t calls = round->queue->descriptor.calls, wakes = 0, vain = 0;
	struct queue_stats stats;
	uint32_t i;

	(void)queue_stats(round->queue, &stats);
	stress_check(stats.depth == 0, "depth %" PRIu64, stats.depth);
	stress_check(poll(&poll_for, 1, 0) == round->closes, "wrong at rest");
	for (i = 0; i < round->producers * round->items; i++) {
		stress_check(round->item[i].taken == 1, "item %u lost", i);
		stress_check(round->item[i].held == 0, "item %u not released", i);
	}
	for (i = 0; i < round->consumers; i++) {
		wakes += consumers[i].wakes;
		vain += consumers[i].vain;
	}
	/* Each time that it goes up, each of them may come once in vain. */
	stress_check(vain <= round->consumers * (calls + 1),
		     "%" PRIu64 " in vain, %" PRIu64 " calls", vain, calls);
	/* And it is not turned for nothing. */
	stress_check(calls <= 4 * (stats.pushed + stats.popped + wakes), "%" PRIu64 " calls",
		     calls);
}

static void
begin(struct round *round, const struct queue_options *options)
{
	const struct queue_subscription_options wants = {.capacity = options->capacity,
							 .policy = options->policy,
							 .any_of = WANTED,
							 .accepts = accepts,
							 .on_drop = on_message_drop};

	if (round->topic) {
		stress_check(queue_topic_subscribe(round->topic, &wants, &round->subscription) == 0,
			     "subscribe");
		round->queue = queue_subscription_queue(round->subscription);
	} else {
		stress_check(queue_create(&round->queue, options) == 0, "create");
	}
	if (is_shared(round->wait))
		round->shared_loop = new_loop(queue_fd(round->queue), events_of(round->wait));
}

static void
end(struct round *round)
{
	if (is_shared(round->wait))
		(void)close(round->shared_loop);
	if (round->topic)
		stress_check(queue_topic_destroy(round->topic) == 0, "busy");
	else
		stress_check(queue_destroy(round->queue) == 0, "busy");
}

static void
play_round(uint64_t number)
{
	static const uint64_t capacities[] = {1, 2, 64};
	static struct item items[ITEMS_MAX];
	static struct party producers[THREADS_MAX], consumers[THREADS_MAX], interferer;
	struct stress_random random = stress_random_init(UINT64_MAX - number);
	struct round round = {.number = number, .item = items};
	struct queue_options options = {.on_drop = on_drop, .run = run};
	bool interferes = stress_one_in(&random, 3);
	uint32_t i;

	options.capacity = given_capacity ? given_capacity : capacities[number % 3];
	options.policy =
		(enum queue_policy)(given_policy == POLICIES ? number % POLICIES : given_policy);
	if (stress_one_in(&random, 4))
		options.deadline_of = deadline_of;
	if (stress_choose(&random, given_through, THROUGHS) == TOPIC) {
		stress_check(queue_topic_create(&round.topic, NULL) == 0, "create");
		/* There it is its consumer who runs a message. */
		if (options.policy == QUEUE_CALLER_RUNS)
			options.policy = QUEUE_BLOCK;
	}
	round.wait = (enum wait)stress_choose(&random, given_wait, WAITS);
	round.producers = given_producers ? (uint32_t)given_producers
					  : 1 + (uint32_t)stress_random_below(&random, 4);
	round.consumers = given_consumers ? (uint32_t)given_consumers
					  : 1 + (uint32_t)stress_random_below(&random, 4);
	/* Who leaves before the queue is drained may leave the others asleep, in edges' nature. */
	round.closes = round.topic || round.wait == EDGE || round.wait == SHARED_EDGE ||
		       options.deadline_of || options.policy == QUEUE_DISCARD_OLDEST ||
		       stress_one_in(&random, 2);
	round.producing = round.producers;
	round.threads = round.producers + round.consumers + interferes;
	round.items = ITEMS_MAX / 4 / round.producers;
	for (i = 0; i < round.producers * round.items; i++)
		items[i] = (struct item){
			.producer = i / round.items,
			.number = i % round.items,
			.deadline = stress_one_in(&random, 3)
					    ? 0
					    : queue_now() +
						      stress_random_below(&random,
									  10 * QUEUE_MILLISECOND)};
	begin(&round, &options);
	for (i = 0; i < round.producers; i++) {
		producers[i] = (struct party){.round = &round, .number = i};
		producers[i].random = stress_random_init(number * 64 + i);
		stress_start(&producers[i].thread, produce, &producers[i]);
	}
	for (i = 0; i < round.consumers; i++) {
		consumers[i] = (struct party){.round = &round, .number = i};
		consumers[i].random = stress_random_init(number * 64 + 32 + i);
		stress_start(&consumers[i].thread, consume, &consumers[i]);
	}
	if (interferes) {
		interferer = (struct party){.round = &round};
		interferer.random = stress_random_init(number * 64 + 63);
		stress_start(&interferer.thread, interfere, &interferer);
	}
	for (i = 0; i < round.producers; i++)
		stress_join(&producers[i].thread);
	for (i = 0; i < round.consumers; i++)
		stress_join(&consumers[i].thread);
	if (interferes)
		stress_join(&interferer.thread);
	check_at_rest(&round, consumers);
	end(&round);
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"through", &given_through, "what items go through",
		 .words = STRESS_WORDS("queue", "topic", "any")},
		{"wait", &given_wait, "how consumers wait",
		 .words = STRESS_WORDS("poll", "level", "edge", "shared-level", "shared-edge",
				       "any")},
		{"policy", &given_policy, "when it is full",
		 .words = STRESS_WORDS("abort", "block", "caller-runs", "discard", "discard-oldest",
				       "any")},
		{"producers", &given_producers, "threads that push, 0 for any",
		 .most = THREADS_MAX},
		{"consumers", &given_consumers, "threads that pop, 0 for any", .most = THREADS_MAX},
		{"capacity", &given_capacity, "items the queue holds, 0 for any",
		 .most = STRESS_CAPACITY_MAX},
		{.name = NULL},
	};
	uint64_t number = 0;

	stress_begin(argc, argv, options);
	while (stress_time_is_left())
		play_round(number++);
	return stress_end();
}
