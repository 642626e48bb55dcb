/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_select under many threads: producers push to several queues, and threads that select among
 * them pop what they are told of, while others pop from one queue only. The queues are closed at the
 * end, one after the other; who finds one drained leaves it out from then on.
 *
 * What must hold: nobody sleeps while something is in one of its queues; every item goes to exactly
 * one; items of one producer in one queue keep their order; and a fair select of one thread passes
 * over no queue with something in it more often than there are queues.
 *
 * With --handover yes there is one item at a time, between two threads: it is pushed sooner or later
 * after the one before has been taken, so that sometimes this is just as the other falls asleep.
 */
/* ARGS: --sleep futex --fair no */
/* ARGS: --sleep futex --fair yes */
/* ARGS: --sleep poll --fair no */
/* ARGS: --sleep poll --fair yes */
/* ARGS: --sleep futex --selectors 1 --fair yes */
/* ARGS: --sleep futex --selectors 16 --capacity 1 */
/* ARGS: --sleep any */
/* ARGS: --sleep futex --handover yes */
/* ARGS: --sleep poll --handover yes */
#include <conveyor/queue.h>

#include "queue_impl.h"
#include "stress.h"

#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 16
#define QUEUES_MAX 6
#define ITEMS_MAX 4096
#define PATIENCE 30000 /* ms that nobody has to wait for an item */

struct item {
	uint32_t producer, number;
	uint32_t taken;
};

struct round {
	struct queue_bounded *queues[QUEUES_MAX];
	struct stress_gate gate;
	uint32_t queues_n, producers, selectors, poppers, threads;
	uint32_t items; /* per producer */
	uint32_t producing;
	bool is_fair;
	struct item *item;
};

struct party {
	struct stress_thread thread;
	struct round *round;
	struct stress_random random;
	uint32_t number;
	uint32_t next[QUEUES_MAX][THREADS_MAX]; /* by producer: what must not come any more */
	uint32_t passed_over[QUEUES_MAX];
};

enum {
	FUTEX,
	POLL,
	ANY_SLEEP
};

enum {
	NO,
	YES,
	ANY
};

static uint64_t given_capacity, given_selectors, given_sleep = ANY_SLEEP, given_fair = ANY;
static struct round *shown;

static void
show_state(int signal)
{
	char text[256];
	uint32_t i;
	int n;

	(void)signal;
	for (i = 0; shown && i < shown->queues_n; i++) {
		const struct queue_bounded *queue = shown->queues[i];

		n = snprintf(text, sizeof text,
			     "hung: seed %" PRIu64 " queue %u: depth %" PRIu64 " not_empty %" PRIx64
			     " descriptor %" PRIx64 "\n",
			     stress_seed, i, queue_depth_approx(queue), queue->not_empty.word,
			     queue->descriptor.state);
		(void)!write(STDERR_FILENO, text, (size_t)n);
	}
	_exit(1);
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
		uint64_t to = stress_random_below(&producer->random, round->queues_n);
		void *items[2] = {&item[i], &item[i + 1]};
		int n = i + 1 < round->items && stress_one_in(&producer->random, 4) ? 2 : 1;

		if (n == 2)
			n = queue_push_n(round->queues[to], items, 2);
		else
			stress_check(queue_push(round->queues[to], items[0]) == 0, "push");
		i += (uint32_t)n;
		if (n == 0 || stress_one_in(&producer->random, 8))
			sched_yield();
	}
	/* The last one. */
	if (queue_impl_fetch_add32_acq_rel(&round->producing, UINT32_MAX) == 1)
		for (i = 0; i < round->queues_n; i++)
			(void)queue_close(round->queues[i]);
}

static void
take(struct party *party, uint32_t from, struct item *item)
{
	uint32_t before = queue_impl_fetch_add32_acq_rel(&item->taken, 1);

	stress_check(before == 0, "item %u of %u twice", item->number, item->producer);
	stress_check(item->number >= party->next[from][item->producer], "order");
	party->next[from][item->producer] = item->number + 1;
}

/* Of one thread alone, which pops all that is popped: nothing that is there goes away. */
static void
note_ready(struct party *selector, struct queue_bounded *const *queues)
{
	uint32_t i;

	for (i = 0; i < selector->round->queues_n; i++)
		if (queues[i] && queue_impl_is_ready(queues[i]))
			selector->passed_over[i]++;
}

static void
select_and_pop(void *argument)
{
	struct party *selector = argument;
	struct round *round = selector->round;
	struct queue_bounded *queues[QUEUES_MAX];
	bool is_alone = round->is_fair && round->selectors == 1 && round->poppers == 0;
	int n = (int)round->queues_n, index = -1, rc;

	memcpy(queues, round->queues, sizeof queues);
	stress_gate_pass(&round->gate, round->threads);
	for (;;) {
		bool is_hasty = stress_one_in(&selector->random, 16);
		uint64_t deadline =
			is_hasty ? queue_now() + stress_random_below(&selector->random, 50000)
				 : queue_after_ms(PATIENCE);
		void *item;

		if (is_alone)
			note_ready(selector, queues);
		rc = round->is_fair ? queue_select_fair(queues, n, deadline, &index)
				    : queue_select(queues, n, deadline, &index);
		if (rc == -EPIPE)
			break;
		if (rc == -ETIMEDOUT) {
			stress_check(queue_now() >= deadline, "too early");
			stress_check(is_hasty, "asleep");
			continue;
		}
		/* What it finds when it gives up it has slept beside. */
		stress_check(is_hasty || queue_now() < deadline, "asleep");
		stress_check(rc == 0 && index >= 0 && index < n && queues[index], "%d", rc);
		stress_check(selector->passed_over[index] <= round->queues_n, "passed over");
		selector->passed_over[index] = 0;
		rc = queue_try_pop(queues[index], &item);
		if (rc == 0)
			take(selector, (uint32_t)index, item);
		else if (rc == -EPIPE)
			queues[index] = NULL;
		else
			stress_check(!is_alone, "nothing there");
	}
}

static void
pop(void *argument)
{
	struct party *popper = argument;
	struct round *round = popper->round;
	uint32_t from = popper->number % round->queues_n;
	void *item;

	stress_gate_pass(&round->gate, round->threads);
	while (queue_pop(round->queues[from], &item) == 0)
		take(popper, from, item);
}

static void
start(struct party *parties, uint32_t n, struct round *round, struct stress_random *random,
      void (*body)(void *argument))
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		parties[i] = (struct party){.round = round, .number = i};
		parties[i].random = stress_random_init(stress_random(random));
		stress_start(&parties[i].thread, body, &parties[i]);
	}
}

static void
join(struct party *parties, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		stress_join(&parties[i].thread);
}

static void
play_round(uint64_t number)
{
	static const uint64_t capacities[] = {1, 2, 64};
	static struct item items[ITEMS_MAX + 1];
	static struct party producers[THREADS_MAX], selectors[THREADS_MAX], poppers[QUEUES_MAX];
	struct stress_random random = stress_random_init(number);
	struct queue_options options = {.policy = QUEUE_BLOCK};
	struct round round = {.item = items};
	bool polls = stress_choose(&random, given_sleep, ANY_SLEEP) == POLL;
	uint32_t i;

	round.is_fair = stress_choose(&random, given_fair, ANY) == YES;
	queue_impl_store32_rlx(&queue_impl_select_polls, polls);
	options.capacity = given_capacity ? given_capacity : capacities[number % 3];
	round.queues_n = 1 + (uint32_t)stress_random_below(&random, QUEUES_MAX);
	round.producers = 1 + (uint32_t)stress_random_below(&random, 6);
	round.selectors = given_selectors ? (uint32_t)given_selectors
					  : 1 + (uint32_t)stress_random_below(&random, 6);
	if (given_selectors != 1 && stress_one_in(&random, 2))
		round.poppers = (uint32_t)stress_random_below(&random, round.queues_n + 1);
	round.threads = round.producers + round.selectors + round.poppers;
	round.producing = round.producers;
	round.items = ITEMS_MAX / 4 / round.producers;
	for (i = 0; i < round.producers * round.items; i++)
		items[i] = (struct item){.producer = i / round.items, .number = i % round.items};
	for (i = 0; i < round.queues_n; i++)
		stress_check(queue_create(&round.queues[i], &options) == 0, "create");
	shown = &round;

	start(producers, round.producers, &round, &random, produce);
	start(selectors, round.selectors, &round, &random, select_and_pop);
	start(poppers, round.poppers, &round, &random, pop);
	join(producers, round.producers);
	join(selectors, round.selectors);
	join(poppers, round.poppers);
	for (i = 0; i < round.producers * round.items; i++)
		stress_check(items[i].taken == 1, "item %u lost", i);
	shown = NULL;
	for (i = 0; i < round.queues_n; i++)
		stress_check(queue_destroy(round.queues[i]) == 0, "busy");
}

/* ---- Handover ------------------------------------------------------------------------------- */

struct handover {
	struct queue_bounded *queues[2];
	uint64_t number;
	uint32_t turns, taken;
};

static void
hand_out(void *argument)
{
	struct handover *handover = argument;
	struct stress_random random = stress_random_init(handover->number);
	uint64_t longest = 200;
	uint32_t i;

	for (i = 0; i < handover->turns; i++) {
		uint64_t until;

		while (queue_impl_load32_acq(&handover->taken) < i)
			sched_yield();
		until = queue_now() + stress_random_below(&random, longest);
		while (queue_now() < until)
			continue;
		/* How long the other one polls before he sleeps is not known: go through it. */
		longest = longest < 40000 ? longest + longest / 16 : 200;
		stress_check(queue_push(handover->queues[stress_random_below(&random, 2)], NULL) ==
				     0,
			     "push");
	}
}

static void
handover_round(uint64_t number)
{
	struct queue_options options = {.capacity = 1};
	struct handover handover = {.number = number, .turns = 1000};
	struct stress_thread thread;
	uint32_t i;

	for (i = 0; i < 2; i++)
		stress_check(queue_create(&handover.queues[i], &options) == 0, "create");
	stress_start(&thread, hand_out, &handover);
	for (i = 0; i < handover.turns; i++) {
		uint64_t deadline = queue_after_ms(PATIENCE);
		int index;
		void *item;

		stress_check(queue_select(handover.queues, 2, deadline, &index) == 0, "asleep");
		stress_check(queue_now() < deadline, "asleep");
		stress_check(queue_try_pop(handover.queues[index], &item) == 0, "pop");
		queue_impl_store32_rel(&handover.taken, i + 1);
	}
	stress_join(&thread);
	for (i = 0; i < 2; i++)
		stress_check(queue_destroy(handover.queues[i]) == 0, "busy");
}

int
main(int argc, char **argv)
{
	uint64_t handover = NO;
	const struct stress_option options[] = {
		{"sleep", &given_sleep, "how they sleep",
		 .words = STRESS_WORDS("futex", "poll", "any")},
		{"fair", &given_fair, "queue_select_fair",
		 .words = STRESS_WORDS("no", "yes", "any")},
		{"selectors", &given_selectors, "threads that select, 0 for any",
		 .most = THREADS_MAX},
		{"capacity", &given_capacity, "items each queue holds, 0 for any",
		 .most = STRESS_CAPACITY_MAX},
		{"handover", &handover, "one item at a time", .words = STRESS_WORDS("no", "yes")},
		{.name = NULL},
	};
	uint64_t number = 0;

	stress_begin(argc, argv, options);
	signal(SIGALRM, show_state);
	if (given_sleep != ANY_SLEEP)
		queue_impl_select_polls = given_sleep == POLL;
	while (stress_time_is_left()) {
		if (handover == YES)
			handover_round(number++);
		else
			play_round(number++);
	}
	return stress_end();
}
