/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callers and workers race for calls in every way there is: claim, reply and refuse against waits
 * that time out, cancels by the caller and by a third thread, completion callbacks, descriptors
 * that are asked for sooner or later and waited for by poll or by epoll, pushes that are refused,
 * evicted or run by the caller, and queues closed in the middle. Requests are allocated by callers
 * and freed by whoever releases last, so the sanitizers see any touch that comes too late.
 *
 * What must hold: a caller is told 0 exactly when the worker's reply was; -ETIMEDOUT exactly when
 * the worker's side was told -ECANCELED; -ECANCELED exactly when the worker's side refused; each
 * request is freed once; nobody sleeps at the descriptor of a call that has ended, or is woken by
 * that of one that has not; and the stock that workers take from and, when told to undo, put back
 * to is short by as many as callers were told 0.
 */
/* ARGS: --callers 1 --workers 1 --capacity 1 */
/* ARGS: --callers 2 --workers 2 --capacity 4 */
/* ARGS: --callers 8 --workers 3 --capacity 2 */
/* ARGS: --callers 3 --workers 8 --capacity 64 */
/* ARGS: --callers 4 --workers 2 --capacity 4 --wait descriptor */
#include "stress.h"

#include <conveyor/call.h>
#include <conveyor/queue.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CALLERS_MAX 64
#define CALLS 400 /* per caller and round */
#define STOCK 1000000
#define PATIENCE 30000 /* ms that no call takes to end */

/* What is known about a request after it is gone. Each field has one writer at a time. */
struct outcome {
	int caller;	/* what the caller was told, as queue_call_wait has it */
	int worker;	/* what the worker's side was told: 0 by reply, or the same codes */
	uint32_t ended; /* how often on_complete ran */
	uint32_t freed;
	bool has_on_complete;
};

struct request {
	struct queue_call call;
	struct outcome *outcome;
	uint64_t argument;
	uint64_t answer;
	uint32_t completed; /* by on_complete, read by a caller that polls */
	bool is_forgotten;  /* on_complete releases for the caller */
};

struct caller {
	struct stress_thread thread;
	uint64_t stream;
	struct outcome outcomes[CALLS];
	int loop;	  /* an epoll */
	uint64_t offered; /* a request that the third thread may cancel, or one of these: */
};

#define NOTHING UINT64_C(0)
#define IN_HAND UINT64_C(1)

static uint64_t callers_number = 2, workers_number = 2, capacity = 4;
static uint64_t how_to_wait = 1; /* 0: by descriptors only */
static struct queue_bounded *requests;
static struct caller callers[CALLERS_MAX];
static struct stress_gate gate;
static uint64_t stock, rounds;
static uint64_t replied, given_up, refused; /* over all rounds */
static uint32_t callers_done;

/* The random numbers of whatever thread serves. */
static _Thread_local struct stress_random dice;

static void
dawdle(void)
{
	uint64_t i, pauses = stress_one_in(&dice, 8) ? stress_random_below(&dice, 400)
						     : stress_random_below(&dice, 20);

	if (stress_one_in(&dice, 16))
		sched_yield();
	for (i = 0; i < pauses; i++)
		queue_impl_pause();
}

static uint64_t
answer_to(uint64_t argument)
{
	return argument * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

static void
free_request(struct queue_call *call, void *context)
{
	struct request *request = context;

	stress_check(call == &request->call, "the wrong call");
	request->outcome->freed++;
	memset(request, 0xdd, sizeof *request);
	free(request);
}

/* What the caller is told, from how the call ended. */
static int
told(enum queue_call_state state)
{
	stress_check(state >= QUEUE_CALL_REPLIED, "state %d is no end", (int)state);
	return state == QUEUE_CALL_REPLIED   ? 0
	       : state == QUEUE_CALL_REFUSED ? -ECANCELED
					     : -ETIMEDOUT;
}

static void
check_answer(const struct request *request, int rc)
{
	stress_check(rc != 0 || request->answer == answer_to(request->argument), "a torn reply");
}

static void
complete(struct queue_call *call, enum queue_call_state state, void *context)
{
	struct request *request = context;

	request->outcome->ended++;
	if (!request->is_forgotten) {
		/* STRESS1 release: the count -> the caller that polls */
		queue_impl_store32_rel(&request->completed, 1);
		return;
	}
	request->outcome->caller = told(state);
	check_answer(request, told(state));
	queue_call_release(call);
}

/*
 * The worker's side.
 */

/* on_drop, and what a caller does whose push failed. */
static void
drop(void *item, enum queue_reason reason, void *context)
{
	struct request *request = item;
	int rc = queue_call_refuse(&request->call);

	(void)reason;
	(void)context;
	stress_check(rc == 0 || rc == -ECANCELED, "refuse: %d", rc);
	request->outcome->worker = rc == 0 ? -ECANCELED : -ETIMEDOUT;
	queue_call_release(&request->call);
}

/* The work is to take one from the stock. */
static int
work(struct request *request)
{
	int rc = queue_call_claim(&request->call);

	if (rc)
		return rc;
	(void)queue_impl_fetch_add_acq_rel(&stock, (uint64_t)-1);
	dawdle();
	if (stress_one_in(&dice, 8)) {
		/* A second attempt, as a pool makes them. */
		rc = queue_call_claim(&request->call);
		stress_check(rc == 0 || rc == -ECANCELED, "claim again: %d", rc);
	}
	if (rc == 0 && stress_one_in(&dice, 8)) {
		(void)queue_impl_fetch_add_acq_rel(&stock, 1);
		rc = queue_call_refuse(&request->call);
		return rc == 0 ? -EPIPE : rc;
	}
	if (rc == 0) {
		request->answer = answer_to(request->argument);
		rc = queue_call_reply(&request->call);
	}
	if (rc)
		(void)queue_impl_fetch_add_acq_rel(&stock, 1);
	return rc;
}

static void
serve(void *item, void *context)
{
	struct request *request = item;
	int rc;

	if (stress_one_in(&dice, 8)) {
		drop(item, QUEUE_FAILED, context);
		return;
	}
	rc = work(request);
	stress_check(rc == 0 || rc == -ECANCELED || rc == -EPIPE, "work: %d", rc);
	request->outcome->worker = rc == 0 ? 0 : rc == -EPIPE ? -ECANCELED : -ETIMEDOUT;
	queue_call_release(&request->call);
}

static void
worker(void *argument)
{
	void *item;

	dice = stress_random_init((uintptr_t)argument);
	stress_gate_pass(&gate, (unsigned)(callers_number + workers_number + 1));
	while (queue_pop(requests, &item) == 0) {
		dawdle();
		serve(item, NULL);
		if (stress_one_in(&dice, 4 * CALLS * callers_number))
			queue_close(requests);
	}
}

/*
 * The caller's side.
 */

static uint64_t
some_deadline(void)
{
	if (stress_one_in(&dice, 4))
		return QUEUE_NEVER;
	return queue_now() + stress_random_below(&dice, stress_one_in(&dice, 2) ? 2000 : 200000);
}

/* What a wait would have said, for a call given up by other means. */
static int
told_after_cancel(struct request *request)
{
	int rc = queue_call_cancel(&request->call);

	stress_check(rc == 0 || rc == -EBUSY, "cancel: %d", rc);
	return rc == 0 ? -ETIMEDOUT : told(queue_call_state(&request->call));
}

static int
poll_for_completion(struct request *request, uint64_t deadline)
{
	int rc = 0;

	while (!queue_impl_load32_acq(&request->completed)) { /* STRESS1 acquire */
		if (rc == 0 && queue_now() >= deadline) {
			rc = told_after_cancel(request);
			if (rc == -ETIMEDOUT)
				return rc;
		}
		sched_yield();
	}
	return told(queue_call_state(&request->call));
}

/* Waits while the third thread may cancel at any time. */
static int
wait_with_a_canceller(struct caller *caller, struct request *request)
{
	uint64_t offered = (uintptr_t)request;
	int rc;

	queue_impl_store_rel(&caller->offered, offered); /* STRESS2 release */
	rc = queue_call_wait(&request->call, some_deadline());
	if (!queue_impl_cas_acq_rel(&caller->offered, &offered, NOTHING)) {
		while (queue_impl_load_acq(&caller->offered) != NOTHING) /* STRESS2 acquire */
			sched_yield();
	}
	return rc;
}

static void
canceller(void *argument)
{
	struct stress_random random = stress_random_init((uintptr_t)argument);

	stress_gate_pass(&gate, (unsigned)(callers_number + workers_number + 1));
	while (queue_impl_load32_acq(&callers_done) < callers_number) { /* STRESS3 acquire */
		struct caller *caller = &callers[stress_random_below(&random, callers_number)];
		uint64_t offered = queue_impl_load_acq(&caller->offered); /* STRESS2 acquire */

		if (offered <= IN_HAND ||
		    !queue_impl_cas_acq_rel(&caller->offered, &offered, IN_HAND)) {
			sched_yield();
			continue;
		}
		(void)queue_call_cancel(&((struct request *)(uintptr_t)offered)->call);
		queue_impl_store_rel(&caller->offered, NOTHING); /* STRESS2 release */
	}
}

/* One wait at its descriptor, by poll or by epoll in either way. False: not as long as that. */
static bool
sleep_at(const struct caller *caller, int number, int milliseconds)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct pollfd poll_for = {.fd = number, .events = POLLIN};
	int rc;

	if (stress_one_in(&dice, 3))
		return poll(&poll_for, 1, milliseconds) == 1;
	if (stress_one_in(&dice, 2))
		event.events |= EPOLLET;
	stress_check(epoll_ctl(caller->loop, EPOLL_CTL_ADD, number, &event) == 0, "epoll_ctl: %d",
		     errno);
	dawdle();
	rc = epoll_wait(caller->loop, &event, 1, milliseconds);
	stress_check(epoll_ctl(caller->loop, EPOLL_CTL_DEL, number, NULL) == 0, "epoll_ctl: %d",
		     errno);
	return rc == 1;
}

/* As an event loop does: until the descriptor says so, or a timer, and then there is no wait. */
static int
wait_at_descriptor(const struct caller *caller, struct request *request)
{
	bool is_hasty = !stress_one_in(&dice, 4);
	int number = queue_call_fd(&request->call);
	enum queue_call_state state;

	stress_check(number >= 0, "queue_call_fd: %d", number);
	dawdle();
	if (!sleep_at(caller, number, is_hasty ? (int)stress_random_below(&dice, 2) : PATIENCE)) {
		stress_check(is_hasty, "asleep in state %d", (int)queue_call_state(&request->call));
		return told_after_cancel(request);
	}
	state = queue_call_state(&request->call);
	stress_check(state >= QUEUE_CALL_REPLIED, "woken in state %d", (int)state);
	/* And it stays so. */
	if (stress_one_in(&dice, 8))
		stress_check(sleep_at(caller, number, 0), "no more readable");
	if (!request->outcome->has_on_complete && stress_one_in(&dice, 2))
		return queue_call_wait(&request->call, QUEUE_NEVER);
	return told(state);
}

static void
call_once(struct caller *caller, struct outcome *outcome)
{
	struct request *request = malloc(sizeof *request);
	struct queue_call_options options = {.release = free_request, .context = request};
	bool by_descriptor = how_to_wait == 0;
	uint64_t kind = by_descriptor ? 6 + stress_random_below(&dice, 2)
				      : stress_random_below(&dice, 8);
	int rc;

	stress_check(request, "no memory");
	request->outcome = outcome;
	request->argument = stress_random(&dice);
	request->completed = 0;
	request->is_forgotten = kind == 5;
	outcome->has_on_complete = kind == 4 || kind == 5 || kind == 7;
	if (outcome->has_on_complete)
		options.on_complete = complete;
	(void)queue_call_init(&request->call, &options);
	if (kind >= 6 && stress_one_in(&dice, 2))
		stress_check(queue_call_fd(&request->call) >= 0, "queue_call_fd");
	rc = queue_push(requests, request);
	if (rc < 0)
		drop(request, QUEUE_DISCARDED, NULL);
	switch (kind) {
	case 2:
		rc = wait_with_a_canceller(caller, request);
		break;
	case 3:
		dawdle();
		rc = told_after_cancel(request);
		break;
	case 4:
		rc = poll_for_completion(request, some_deadline());
		break;
	case 5:
		return;
	case 6:
	case 7:
		rc = wait_at_descriptor(caller, request);
		break;
	default:
		rc = queue_call_wait(&request->call, some_deadline());
		break;
	}
	check_answer(request, rc);
	outcome->caller = rc;
	dawdle();
	queue_call_release(&request->call);
}

static void
call(void *argument)
{
	struct caller *caller = argument;
	int i;

	dice = stress_random_init(caller->stream);
	caller->loop = epoll_create1(EPOLL_CLOEXEC);
	stress_check(caller->loop >= 0, "epoll_create1: %d", errno);
	stress_gate_pass(&gate, (unsigned)(callers_number + workers_number + 1));
	for (i = 0; i < CALLS; i++)
		call_once(caller, &caller->outcomes[i]);
	(void)close(caller->loop);
	(void)queue_impl_fetch_add32_acq_rel(&callers_done, 1); /* STRESS3 release */
}

static void
one_round(void)
{
	static const enum queue_policy policies[] = {QUEUE_ABORT, QUEUE_BLOCK, QUEUE_CALLER_RUNS,
						     QUEUE_DISCARD, QUEUE_DISCARD_OLDEST};
	struct queue_options options = {.capacity = capacity,
					.policy = policies[rounds % 5],
					.on_drop = drop,
					.run = serve};
	struct stress_thread workers[CALLERS_MAX], third;
	uint64_t i, k, served = 0, stream = rounds++ * 3 * CALLERS_MAX;

	stock = STOCK;
	gate.came = 0;
	callers_done = 0;
	stress_check(queue_create(&requests, &options) == 0, "queue_create");
	for (i = 0; i < callers_number; i++) {
		memset(&callers[i], 0, sizeof callers[i]);
		callers[i].stream = stream++;
		for (k = 0; k < CALLS; k++) {
			/* Neither is an answer, and they differ. */
			callers[i].outcomes[k].caller = 1;
			callers[i].outcomes[k].worker = 2;
		}
		stress_start(&callers[i].thread, call, &callers[i]);
	}
	for (i = 0; i < workers_number; i++)
		stress_start(&workers[i], worker, (void *)(uintptr_t)stream++);
	stress_start(&third, canceller, (void *)(uintptr_t)stream++);
	for (i = 0; i < callers_number; i++)
		stress_join(&callers[i].thread);
	stress_join(&third);
	queue_close(requests);
	for (i = 0; i < workers_number; i++)
		stress_join(&workers[i]);
	stress_check(queue_destroy(requests) == 0, "queue_destroy");

	for (i = 0; i < callers_number; i++) {
		for (k = 0; k < CALLS; k++) {
			struct outcome *outcome = &callers[i].outcomes[k];

			stress_check(outcome->caller == outcome->worker,
				     "the caller was told %d, the worker %d", outcome->caller,
				     outcome->worker);
			stress_check(outcome->freed == 1, "freed %u times", outcome->freed);
			stress_check(outcome->ended == outcome->has_on_complete,
				     "on_complete ran %u times", outcome->ended);
			served += outcome->caller == 0;
			given_up += outcome->caller == -ETIMEDOUT;
			refused += outcome->caller == -ECANCELED;
		}
	}
	replied += served;
	stress_check(stock + served == STOCK, "%d sold, %d told so", (int)(STOCK - stock),
		     (int)served);
}

int
main(int argc, char **argv)
{
	const struct stress_option options[] = {
		{"callers", &callers_number, "threads that call", .least = 1, .most = CALLERS_MAX},
		{"workers", &workers_number, "threads that answer", .least = 1,
		 .most = CALLERS_MAX},
		{"capacity", &capacity, "requests that the queue between them holds", .least = 1,
		 .most = STRESS_CAPACITY_MAX},
		{"wait", &how_to_wait, "how they wait", .words = STRESS_WORDS("descriptor", "any")},
		{.name = NULL},
	};

	stress_begin(argc, argv, options);
	while (stress_time_is_left())
		one_round();
	printf("%" PRIu64 " replied, %" PRIu64 " given up, %" PRIu64 " refused\n", replied,
	       given_up, refused);
	return stress_end();
}
