/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping and waking in the bounded queue.
 *
 *   herd      many consumers asleep: one item makes one of them run, n items about n
 *   tokens    a few items go round between two queues, passed on by threads that block on both
 *             sides: one wake lost is one stop for ever
 *   deadlines the same, with deadlines that come while the wake is on its way, and threads that
 *             leave for good after one; those that stay have to be woken all the same
 *   signals   the same, under a storm of signals
 *   handover  one item between two threads, each of which comes as the other falls asleep
 *   handler   signal handlers use the very queue whose push or pop they interrupt
 *   stuck     a thread that was woken does not run: after a while others are woken instead
 *   close     close wakes everybody on both sides, and who is out has let go of the queue
 */
/* ARGS: --test herd */
/* ARGS: --test tokens */
/* ARGS: --test deadlines */
/* ARGS: --test signals */
/* ARGS: --test handover --roles 0 */
/* ARGS: --test handover --roles 1 */
/* ARGS: --test handover --roles 2 */
/* ARGS: --test handover --roles 3 */
/* ARGS: --test handler */
/* ARGS: --test stuck */
/* ARGS: --test close */
#include <conveyor/queue.h>

#include "stress.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLEEPERS 64
#define THREADS_MAX 32

static struct queue_bounded *shown[2];

static void
show_state(int signal)
{
	int i;

	(void)signal;
	for (i = 0; i < 2 && shown[i]; i++) {
		struct queue_stats stats;
		char text[512];
		int n;

		(void)queue_stats(shown[i], &stats);
		n = snprintf(text, sizeof text,
			     "hung: seed %" PRIu64 " queue %d: depth %" PRIu64 " of %" PRIu64
			     " closed %d pushed %" PRIu64 " waits %" PRIu64 " wakes %" PRIu64
			     " not_empty %" PRIx64 " not_full %" PRIx64 "\n",
			     stress_seed, i, stats.depth, stats.capacity, stats.closed,
			     stats.pushed, stats.waits, stats.wakes, shown[i]->not_empty.word,
			     shown[i]->not_full.word);
		(void)!write(STDERR_FILENO, text, (size_t)n);
	}
	_exit(1);
}

static struct queue_bounded *
create(uint64_t capacity, unsigned flags)
{
	struct queue_options options = {
		.capacity = capacity, .policy = QUEUE_BLOCK, .flags = flags};
	struct queue_bounded *queue;

	stress_check(queue_create(&queue, &options) == 0, "create");
	return queue;
}

static struct queue_stats
stats_of(const struct queue_bounded *queue)
{
	struct queue_stats stats;

	(void)queue_stats(queue, &stats);
	return stats;
}

/* ---- What the kernel says about a thread ---------------------------------------------------- */

static pid_t
thread_id(void)
{
	return (pid_t)syscall(SYS_gettid);
}

static void
read_proc(pid_t thread, const char *name, char *text, size_t size)
{
	char path[64];
	ssize_t got;
	int file;

	snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)thread, name);
	file = open(path, O_RDONLY);
	stress_check(file >= 0, "%s", path);
	got = read(file, text, size - 1);
	close(file);
	stress_check(got > 0, "%s", path);
	text[got] = '\0';
}

static bool
is_asleep(pid_t thread)
{
	char text[512];
	const char *state;

	read_proc(thread, "stat", text, sizeof text);
	state = strrchr(text, ')');
	stress_check(state, "%s", text);
	return state[2] == 'S';
}

/* How often it has gone to sleep; a thread that sleeps all the time stays where it is. */
static uint64_t
sleeps_of(pid_t thread)
{
	char text[4096];
	const char *line;

	read_proc(thread, "status", text, sizeof text);
	line = strstr(text, "\nvoluntary_ctxt_switches:");
	stress_check(line, "%s", text);
	return strtoull(strchr(line, ':') + 1, NULL, 10);
}

/* ---- herd ----------------------------------------------------------------------------------- */

struct sleeper {
	struct stress_thread thread;
	struct queue_bounded *queue, *aside;
	uint32_t id;
	uint64_t sleeps;
};

/* Pops one item from the queue, says so in `served`, then sleeps at another queue. */
static uint32_t served;

static void
sleep_for_an_item(void *argument)
{
	struct sleeper *sleeper = argument;
	void *item;

	queue_impl_store32_rel(&sleeper->id, (uint32_t)thread_id());
	while (queue_pop(sleeper->queue, &item) == 0) {
		(void)queue_impl_fetch_add32_acq_rel(&served, 1);
		stress_check(queue_pop(sleeper->aside, &item) == 0, "aside");
	}
}

/* Until every one of them is asleep, as the kernel sees it. */
static void
await_sleep(const struct sleeper *sleepers, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++) {
		while (queue_impl_load32_acq(&sleepers[i].id) == 0 ||
		       !is_asleep((pid_t)sleepers[i].id))
			sched_yield();
	}
}

static void
herd(void)
{
	static struct sleeper sleepers[SLEEPERS];
	struct stress_random random = stress_random_init(1);
	struct queue_bounded *queue = create(1024, 0), *aside = create(1024, 0);
	uint64_t waits;
	unsigned i, n, moved;

	shown[0] = queue;
	shown[1] = aside;
	for (i = 0; i < SLEEPERS; i++) {
		sleepers[i] = (struct sleeper){.queue = queue, .aside = aside};
		stress_start(&sleepers[i].thread, sleep_for_an_item, &sleepers[i]);
	}
	while (stress_time_is_left()) {
		struct queue_stats before, after;
		void *items[8] = {NULL};

		/* All of them at the queue, by its own count, and asleep, by the kernel's. */
		waits = (uint64_t)SLEEPERS * QUEUE_IMPL_EVENT_ONE;
		while (queue_impl_load_acq(&queue->not_empty.word) < waits)
			sched_yield();
		await_sleep(sleepers, SLEEPERS);
		before = stats_of(queue);
		for (i = 0; i < SLEEPERS; i++)
			sleepers[i].sleeps = sleeps_of((pid_t)sleepers[i].id);

		n = stress_one_in(&random, 2) ? 1 : 1 + (unsigned)stress_random_below(&random, 8);
		queue_impl_store32_rel(&served, 0);
		if (stress_one_in(&random, 2)) {
			stress_check(queue_push_n(queue, items, (int)n) == (int)n, "room");
		} else {
			for (i = 0; i < n; i++)
				stress_check(queue_push(queue, NULL) == 0, "room");
		}
		while (queue_impl_load32_acq(&served) < n)
			sched_yield();
		/* Every wake has been sent by now; who was woken sleeps again soon. */
		await_sleep(sleepers, SLEEPERS);
		after = stats_of(queue);
		moved = 0;
		for (i = 0; i < SLEEPERS; i++)
			moved += sleeps_of((pid_t)sleepers[i].id) != sleepers[i].sleeps;
		/* With more items a thread that leaves may see one that another is about to take. */
		stress_check(moved <= 2 * n - 1, "%u items made %u threads run", n, moved);
		stress_check(after.wakes - before.wakes <= 2 * n - 1,
			     "%u items sent %" PRIu64 " wakes", n, after.wakes - before.wakes);
		for (i = 0; i < n; i++)
			stress_check(queue_push(aside, NULL) == 0, "room");
	}
	(void)queue_close(queue);
	(void)queue_close(aside);
	for (i = 0; i < SLEEPERS; i++)
		stress_join(&sleepers[i].thread);
	stress_check(queue_destroy(queue) == 0 && queue_destroy(aside) == 0, "busy");
}

/* ---- tokens, deadlines, signals ------------------------------------------------------------- */

/*
 * Threads of two kinds, which carry tokens from the first queue to the second, and back. No thread
 * does anything but block, so the tokens move as long as no wake is lost.
 */
struct circle {
	struct queue_bounded *queues[2];
	struct stress_gate gate;
	uint32_t threads;
	uint64_t number;
	uint64_t moves; /* all in all */
	uint64_t moves_wanted;
	bool hasty; /* half of the threads work with deadlines, and leave at last */
};

struct carrier {
	struct stress_thread thread;
	struct circle *circle;
	unsigned number, from;
};

/* Until there were moves enough. Closes its own side only, which a single producer may do. */
static void
carry_with_patience(struct carrier *carrier, struct stress_random *random)
{
	struct circle *circle = carrier->circle;
	struct queue_bounded *from = circle->queues[carrier->from];
	struct queue_bounded *to = circle->queues[!carrier->from];
	bool open = true;
	void *items[2];

	/* Relaxed: a count. */
	while (open && queue_impl_load_rlx(&circle->moves) < circle->moves_wanted) {
		int n = 1, i;

		if (stress_one_in(random, 4))
			n = queue_pop_n(from, items, 2);
		else if (queue_pop(from, items) != 0)
			break;
		if (stress_one_in(random, 16))
			sched_yield();
		for (i = 0; open && i < n; i++)
			open = queue_push(to, items[i]) == 0;
		if (n < 0)
			break;
		queue_impl_add_rlx(&circle->moves, (uint64_t)n);
	}
	(void)queue_close(to);
	/* Nobody who still pushes is left without room. */
	while (queue_pop(from, items) == 0)
		continue;
}

/* Gives up often, a few hundred times, and then for good. What it holds it puts down first. */
static void
carry_in_haste(struct carrier *carrier, struct stress_random *random)
{
	struct circle *circle = carrier->circle;
	struct queue_bounded *from = circle->queues[carrier->from];
	struct queue_bounded *to = circle->queues[!carrier->from];
	unsigned i;

	for (i = 0; i < 300; i++) {
		uint64_t deadline = queue_now() + stress_random_below(random, 60000);
		void *item;
		int rc = queue_pop_until(from, &item, deadline);

		if (rc == -EPIPE)
			return;
		stress_check(rc == 0 || queue_now() >= deadline, "too early");
		if (rc != 0)
			continue;
		do {
			deadline = queue_now() + stress_random_below(random, 60000);
			rc = queue_push_until(to, item, deadline);
			if (rc == -EPIPE)
				return;
			stress_check(rc == 0 || queue_now() >= deadline, "too early");
		} while (rc != 0);
		queue_impl_add_rlx(&circle->moves, 1); /* relaxed: a count */
	}
}

static void
carry(void *argument)
{
	struct carrier *carrier = argument;
	struct circle *circle = carrier->circle;
	struct stress_random random = stress_random_init(circle->number * 64 + carrier->number);

	stress_gate_pass(&circle->gate, circle->threads);
	if (circle->hasty && carrier->number / 2 % 2 == 1)
		carry_in_haste(carrier, &random);
	else
		carry_with_patience(carrier, &random);
}

static void
ignore(int signal)
{
	(void)signal;
}

static void
catch_signal(void (*handler)(int signal))
{
	struct sigaction action;

	/* Without SA_RESTART, so that calls are interrupted. */
	memset(&action, 0, sizeof action);
	action.sa_handler = handler;
	stress_check(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
}

static void
circle_round(uint64_t number, bool hasty, bool storm)
{
	static struct carrier carriers[THREADS_MAX];
	struct stress_random random = stress_random_init(UINT64_MAX - number);
	struct circle circle = {.number = number, .hasty = hasty, .moves_wanted = 20000};
	static const uint64_t capacities[] = {1, 1, 2, 7};
	uint64_t capacity = capacities[number % 4], tokens;
	unsigned a_side = 1 + (unsigned)stress_random_below(&random, UINT64_C(1) << number % 5);
	unsigned flags = 0, i;

	if (hasty)
		a_side = a_side < 2 ? 2 : a_side;
	if (a_side == 1)
		flags = (unsigned)(number / 5 % 4);
	circle.queues[0] = shown[0] = create(capacity, flags);
	circle.queues[1] = shown[1] = create(capacity, flags);
	/* From one token to one less than there is room for: so nobody waits for himself. */
	tokens = 1 + stress_random_below(&random, 2 * capacity - 1);
	for (i = 0; i < tokens; i++)
		stress_check(queue_try_push(circle.queues[i % 2], NULL) == 0, "room");
	circle.threads = 2 * a_side;
	for (i = 0; i < circle.threads; i++) {
		carriers[i] = (struct carrier){.circle = &circle, .number = i, .from = i % 2};
		stress_start(&carriers[i].thread, carry, &carriers[i]);
	}
	while (storm && queue_impl_load_rlx(&circle.moves) < circle.moves_wanted) {
		i = (unsigned)stress_random_below(&random, circle.threads);
		/* Joined below: its id is valid, whether or not it still runs. */
		(void)pthread_kill(carriers[i].thread.id, SIGUSR1);
		if (stress_one_in(&random, 8))
			sched_yield();
	}
	for (i = 0; i < circle.threads; i++)
		stress_join(&carriers[i].thread);
	stress_check(circle.moves >= circle.moves_wanted, "%" PRIu64, circle.moves);
	for (i = 0; i < 2; i++) {
		struct queue_stats stats = stats_of(circle.queues[i]);
		void *item;

		stress_check(stats.wakes <= stats.waits, "wakes");
		while (queue_try_pop(circle.queues[i], &item) == 0)
			continue;
		stress_check(queue_destroy(circle.queues[i]) == 0, "busy");
		shown[i] = NULL;
	}
}

/* ---- handover ------------------------------------------------------------------------------- */

/*
 * A push publishes its item and looks who sleeps; a pop says that it will sleep and looks for an
 * item. What goes wrong when one of these two orders is lost goes wrong within nanoseconds, so the
 * one takes his time, sometimes more and sometimes less, until he pushes (or pops) what the other
 * is waiting for.
 */
struct handover {
	struct stress_thread threads[2];
	struct queue_bounded *queue;
	bool for_room; /* the producer waits for the consumer, otherwise the reverse */
	uint64_t number;
	uint32_t turns, seen;
};

static void
take_time(struct stress_random *random, uint64_t *longest)
{
	uint64_t until = queue_now() + stress_random_below(random, *longest);

	while (queue_now() < until)
		continue;
	/* How long the other one polls before he sleeps is not known: go through all of it. */
	*longest = *longest < 6000 ? *longest + 1 : 200;
}

static void
hand_out(void *argument)
{
	struct handover *handover = argument;
	struct stress_random random = stress_random_init(2 * handover->number);
	uint64_t longest = 200;
	uint32_t i;

	for (i = 0; i < handover->turns; i++) {
		/* Not before the last one has been taken. */
		while (!handover->for_room && queue_impl_load32_acq(&handover->seen) < i)
			sched_yield();
		if (!handover->for_room)
			take_time(&random, &longest);
		stress_check(queue_push(handover->queue, NULL) == 0, "push");
		if (handover->for_room)
			queue_impl_store32_rel(&handover->seen, i);
	}
	(void)queue_close(handover->queue);
}

static void
take_in(void *argument)
{
	struct handover *handover = argument;
	struct stress_random random = stress_random_init(2 * handover->number + 1);
	uint64_t longest = 200;
	uint32_t i;
	void *item;

	for (i = 0; i < handover->turns; i++) {
		/* Not before the queue is full again: push i found room for itself. */
		while (handover->for_room && queue_impl_load32_acq(&handover->seen) < i)
			sched_yield();
		if (handover->for_room)
			take_time(&random, &longest);
		stress_check(queue_pop(handover->queue, &item) == 0, "pop");
		if (!handover->for_room)
			queue_impl_store32_rel(&handover->seen, i + 1);
	}
	stress_check(queue_pop(handover->queue, &item) == -EPIPE, "end");
}

static void
handover_round(uint64_t number, unsigned roles)
{
	struct handover handover = {.number = number, .turns = 2000};

	handover.for_room = number % 2;
	handover.queue = shown[0] = create(1, roles);
	stress_start(&handover.threads[0], hand_out, &handover);
	stress_start(&handover.threads[1], take_in, &handover);
	stress_join(&handover.threads[0]);
	stress_join(&handover.threads[1]);
	shown[0] = NULL;
	stress_check(queue_destroy(handover.queue) == 0, "busy");
}

/* ---- handler -------------------------------------------------------------------------------- */

/* Sums of the items that went in and came out. Relaxed: looked at when all is over. */
static uint64_t sum_in, sum_out;
static uint32_t handler_done;

static void
use_queue(uint64_t random)
{
	void *items[3] = {(void *)(uintptr_t)(random & 0xffff), (void *)1, (void *)2};
	int n;

	switch (random >> 16 & 3) {
	case 0:
		if (queue_try_push(shown[0], items[0]) == 0)
			queue_impl_add_rlx(&sum_in, random & 0xffff);
		break;
	case 1:
		n = queue_push_n(shown[0], items, 3);
		if (n > 0)
			queue_impl_add_rlx(&sum_in,
					   (random & 0xffff) + (n > 1 ? 1 : 0) + (n > 2 ? 2 : 0));
		break;
	default:
		if (queue_try_pop(shown[0], items) == 0)
			queue_impl_add_rlx(&sum_out, (uint64_t)(uintptr_t)items[0]);
	}
}

static void
use_queue_in_handler(int signal)
{
	static uint64_t number;

	(void)signal;
	use_queue(queue_impl_fetch_add_acq_rel(&number, 1) * UINT64_C(0x9e3779b97f4a7c15) >> 20);
}

static void
use_queue_all_the_time(void *argument)
{
	struct stress_random random = stress_random_init((uint64_t)(uintptr_t)argument);

	while (queue_impl_load32_acq(&handler_done) == 0)
		use_queue(stress_random(&random) >> 20);
}

static void
handler_round(uint64_t number)
{
	struct queue_bounded *queue = create(1 + number % 8, 0);
	struct stress_thread threads[2];
	uintptr_t i;
	void *item;

	shown[0] = queue;
	sum_in = sum_out = 0;
	queue_impl_store32_rel(&handler_done, 0);
	for (i = 0; i < 2; i++)
		stress_start(&threads[i], use_queue_all_the_time, (void *)(2 * number + i));
	for (i = 0; i < 2000; i++)
		(void)pthread_kill(threads[i % 2].id, SIGUSR1);
	queue_impl_store32_rel(&handler_done, 1);
	for (i = 0; i < 2; i++)
		stress_join(&threads[i]);
	while (queue_try_pop(queue, &item) == 0)
		sum_out += (uint64_t)(uintptr_t)item;
	stress_check(sum_in == sum_out, "in %" PRIu64 ", out %" PRIu64, sum_in, sum_out);
	shown[0] = NULL;
	stress_check(queue_destroy(queue) == 0, "busy");
}

/* ---- stuck ---------------------------------------------------------------------------------- */

static int hold[2];	  /* a pipe: the handler reads, the test writes to let it go */
static uint32_t is_stuck; /* 1 while the handler is in it */

static void
get_stuck(int signal)
{
	char byte;

	(void)signal;
	queue_impl_store32_rel(&is_stuck, 1);
	(void)!read(hold[0], &byte, 1);
	queue_impl_store32_rel(&is_stuck, 0);
}

static void
stuck_round(void)
{
	struct queue_bounded *queue = create(8, 0), *aside = create(8, 0);
	struct sleeper sleepers[2];
	uint64_t until;
	void *item;
	int i;

	shown[0] = queue;
	shown[1] = aside;
	queue_impl_store32_rel(&served, 0);
	sleepers[0] = sleepers[1] = (struct sleeper){.queue = queue, .aside = aside};
	stress_start(&sleepers[0].thread, sleep_for_an_item, &sleepers[0]);
	while (stats_of(queue).waits < 1)
		sched_yield();
	await_sleep(sleepers, 1);
	/* The first is held where it has been woken, but has not got away from its sleep. */
	(void)pthread_kill(sleepers[0].thread.id, SIGUSR1);
	while (queue_impl_load32_acq(&is_stuck) == 0)
		sched_yield();
	stress_check(queue_push(queue, NULL) == 0, "room");
	/* The wake goes nowhere; somebody else takes the item, and a second consumer sleeps. */
	stress_check(queue_try_pop(queue, &item) == 0, "item");
	until = queue_now() + 2 * (uint64_t)QUEUE_IMPL_WAKE_OVERDUE;
	stress_start(&sleepers[1].thread, sleep_for_an_item, &sleepers[1]);
	while (queue_impl_load_acq(&queue->not_empty.word) < 2 * QUEUE_IMPL_EVENT_ONE ||
	       queue_now() < until)
		sched_yield();
	await_sleep(sleepers + 1, 1);
	/* By now the wake is overdue: it holds nobody else back. */
	stress_check(queue_push(queue, NULL) == 0, "room");
	while (queue_impl_load32_acq(&served) < 1)
		sched_yield();
	stress_check(queue_impl_load32_acq(&is_stuck) == 1, "not stuck");
	/* Let go, the first one finds its way. */
	stress_check(write(hold[1], "", 1) == 1, "write");
	stress_check(queue_push(queue, NULL) == 0, "room");
	while (queue_impl_load32_acq(&served) < 2)
		sched_yield();
	(void)queue_close(queue);
	for (i = 0; i < 2; i++)
		stress_check(queue_push(aside, NULL) == 0, "room");
	for (i = 0; i < 2; i++)
		stress_join(&sleepers[i].thread);
	stress_check(queue_destroy(queue) == 0 && queue_destroy(aside) == 0, "busy");
}

/* ---- close ---------------------------------------------------------------------------------- */

struct waiter {
	struct stress_thread thread;
	struct queue_bounded *queue;
	unsigned kind;
	bool may_get_in; /* a push that began before close, and found the room made after it */
};

static void
wait_for_close(void *argument)
{
	struct waiter *waiter = argument;
	void *items[2] = {NULL};
	int rc;

	switch (waiter->kind % 6) {
	case 0:
		rc = queue_pop(waiter->queue, items);
		break;
	case 1:
		rc = queue_pop_until(waiter->queue, items, QUEUE_NEVER);
		break;
	case 2:
		rc = queue_pop_n(waiter->queue, items, 2);
		break;
	case 3:
		rc = queue_push(waiter->queue, items);
		break;
	case 4:
		rc = queue_push_until(waiter->queue, items, QUEUE_NEVER);
		break;
	default:
		rc = queue_push_until(waiter->queue, items, queue_after_ms(3600000));
	}
	stress_check(rc == -EPIPE || (rc == 0 && waiter->may_get_in), "%d", rc);
}

static uint64_t
counted(const struct queue_impl_event *event)
{
	return queue_impl_load_acq(&event->word) / QUEUE_IMPL_EVENT_ONE;
}

static void
end(struct queue_bounded *queue, bool may_be_busy)
{
	unsigned i;
	void *item;

	/* At once, when it can be: another thread may be leaving at this very moment. */
	for (i = 1; queue_destroy(queue) != 0; i++) {
		stress_check(may_be_busy, "busy");
		(void)queue_try_pop(queue, &item);
		if (i % 1000 == 0)
			sched_yield();
	}
}

static void
close_round(uint64_t number)
{
	struct stress_random random = stress_random_init(number);
	struct queue_bounded *empty = create(2, 0), *full = create(2, 0);
	struct waiter waiters[THREADS_MAX];
	unsigned n = 1 + (unsigned)stress_random_below(&random, THREADS_MAX), i;
	/* Some are asleep by then, some on their way, some not there yet; or all are inside. */
	bool all = stress_one_in(&random, 4);
	uint64_t inside = all ? n : stress_random_below(&random, n + 1);
	void *item;

	shown[0] = empty;
	shown[1] = full;
	while (queue_try_push(full, NULL) == 0)
		continue;
	for (i = 0; i < n; i++) {
		waiters[i].kind = (unsigned)stress_random_below(&random, 6);
		waiters[i].queue = waiters[i].kind < 3 ? empty : full;
		waiters[i].may_get_in = all && waiters[i].queue == full;
		stress_start(&waiters[i].thread, wait_for_close, &waiters[i]);
	}
	while (counted(&empty->not_empty) + counted(&full->not_full) < inside)
		sched_yield();
	(void)queue_close(empty);
	(void)queue_close(full);
	for (i = 0; !all && i < n; i++)
		stress_join(&waiters[i].thread);
	while (queue_try_pop(full, &item) == 0)
		continue;
	/* Threads that are inside say so until they never touch the queue again. */
	shown[0] = NULL;
	end(empty, all);
	end(full, all);
	for (i = 0; all && i < n; i++)
		stress_join(&waiters[i].thread);
}

/* In the order of their names, in main. */
enum {
	HERD,
	TOKENS,
	DEADLINES,
	SIGNALS,
	HANDOVER,
	HANDLER,
	STUCK,
	CLOSE
};

int
main(int argc, char **argv)
{
	uint64_t test = TOKENS, roles = 0, number;
	const struct stress_option options[] = {
		{"test", &test, "which of them",
		 .words = STRESS_WORDS("herd", "tokens", "deadlines", "signals", "handover",
				       "handler", "stuck", "close")},
		{"roles", &roles, "handover: 1 single producer, 2 single consumer, 3 both",
		 .most = 3},
		{.name = NULL},
	};

	stress_begin(argc, argv, options);
	signal(SIGALRM, show_state);
	if (test == HERD) {
		herd();
		return stress_end();
	}
	if (test == SIGNALS)
		catch_signal(ignore);
	if (test == HANDLER)
		catch_signal(use_queue_in_handler);
	if (test == STUCK) {
		stress_check(pipe(hold) == 0, "pipe");
		catch_signal(get_stuck);
	}
	for (number = 0; stress_time_is_left(); number++) {
		if (test == TOKENS)
			circle_round(number, false, false);
		else if (test == DEADLINES)
			circle_round(number, true, false);
		else if (test == SIGNALS)
			circle_round(number, number % 2 == 0, true);
		else if (test == HANDOVER)
			handover_round(number, (unsigned)roles);
		else if (test == HANDLER)
			handler_round(number);
		else if (test == STUCK)
			stuck_round();
		else
			close_round(number);
	}
	return stress_end();
}
