/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A gateway takes requests as they arrive and sees to it that each is answered, or given up, by its
 * deadline. It never waits for one request: it keeps a window of open ones, the way an event loop
 * has many connections, and waits for whatever comes first of
 *
 *	an answer          the call's on_complete puts the request into the gateway's own queue
 *	a deadline         of the oldest open request: the gateway cancels the call
 *	the next arrival
 *
 * Every call ends exactly once, in whatever way, and then on_complete runs; so every request comes
 * back through that queue exactly once, and is counted there, by this thread alone.
 */
#include "seckill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- The list of open requests, oldest deadline first ---------------------------------------- */

static void
list_append(struct request *list, struct request *request)
{
	request->earlier = list->earlier;
	request->later = list;
	list->earlier->later = request;
	list->earlier = request;
}

/* May be done twice. */
static void
list_remove(struct request *request)
{
	request->earlier->later = request->later;
	request->later->earlier = request->earlier;
	request->earlier = request->later = request;
}

/* ---- How a call ends ------------------------------------------------------------------------- */

/*
 * The answer goes out here, on whichever thread ended the call; with connections, this would write
 * to one. What the worker's side wrote may be read only if it was the worker's side that ended it.
 */
static void
call_ended(struct queue_call *call, enum queue_call_state state, void *context)
{
	struct request *request = (struct request *)(void *)call;
	struct gateway *gateway = context;

	if (state == QUEUE_CALL_REPLIED || state == QUEUE_CALL_REFUSED)
		request->outcome = request->reply;
	else
		request->outcome = OUTCOME_TIMED_OUT;
	request->answered = queue_now();
	/* Never full: it has room for a window of requests and one wake-up call. */
	if (requests_push(gateway->answers, request) != 0)
		abort();
}

static void
free_request(struct queue_call *call, void *context)
{
	(void)context;
	sale_free(call, sizeof(struct request));
}

/* Ends a call on behalf of the worker that will never see it. */
static void
refuse(struct request *request, enum outcome outcome)
{
	request->reply = outcome;
	/* If the gateway has given up meanwhile, the user has been told so already. */
	(void)queue_call_refuse(&request->call);
	queue_call_release(&request->call);
}

void
gateway_dropped(void *item, enum queue_reason reason, void *context)
{
	(void)context;
	refuse(item, reason == QUEUE_DISCARDED ? OUTCOME_DISCARDED
		     : reason == QUEUE_EVICTED ? OUTCOME_EVICTED
					       : OUTCOME_TIMED_OUT);
}

uint64_t
gateway_deadline_of(const void *item)
{
	return ((const struct request *)item)->deadline;
}

/* ---- Counting -------------------------------------------------------------------------------- */

/*
 * Requests are counted once as they come, and once as they end: that the two agree is one of the
 * sums. `answered` is when the answer went out.
 */
static void
count_end(struct gateway *gateway, const struct purchase *purchase, enum outcome outcome,
	  uint64_t answered)
{
	uint64_t latency = answered > purchase->due ? answered - purchase->due : 0;

	tally_add(&gateway->tally.outcomes[outcome], 1);
	if (outcome == OUTCOME_TIMED_OUT)
		return;
	histogram_add(&gateway->answer_times, latency);
	if (outcome == OUTCOME_SOLD) {
		histogram_add(&gateway->sale_times, latency);
		tally_add(&gateway->tally.pieces, purchase->quantity);
	}
}

/* ---- Waiting --------------------------------------------------------------------------------- */

static void
take_answer(struct gateway *gateway, struct request *request)
{
	if (!request)
		return; /* the wake-up call */
	count_end(gateway, &request->purchase, request->outcome, request->answered);
	list_remove(request);
	gateway->n_open--;
	queue_call_release(&request->call);
}

static void
take_answers(struct gateway *gateway)
{
	struct request *request;

	while (requests_try_pop(gateway->answers, &request) == 0)
		take_answer(gateway, request);
}

static uint64_t
oldest_deadline(const struct gateway *gateway)
{
	return gateway->open.later->deadline; /* QUEUE_NEVER when it is the list itself */
}

static void
give_up_late_ones(struct gateway *gateway, uint64_t now)
{
	while (oldest_deadline(gateway) <= now) {
		struct request *late = gateway->open.later;

		list_remove(late);
		/* -EBUSY: it was answered just now. Either way it comes back through the queue. */
		(void)queue_call_cancel(&late->call);
	}
}

/* Sees to open requests until the given time, or until there is something new to look at. */
static void
attend(struct gateway *gateway, uint64_t until)
{
	uint64_t deadline = oldest_deadline(gateway);
	struct request *request;

	if (requests_pop_until(gateway->answers, &request, until < deadline ? until : deadline) ==
	    0)
		take_answer(gateway, request);
	take_answers(gateway);
	give_up_late_ones(gateway, queue_now());
}

/* ---- One request ----------------------------------------------------------------------------- */

/* Mode async: into the request queue, and on to the next one. */
static void
hand_over(struct shop *shop, struct request *request)
{
	int rc;

	/* A gateway that waits for room does so until the deadline, like its user. */
	if (shop->options->policy == QUEUE_BLOCK)
		rc = requests_push_until(shop->requests, request, request->deadline);
	else
		rc = requests_push(shop->requests, request);
	if (rc < 0) /* the request is still ours, and the worker's side of the call with it */
		refuse(request, rc == -ETIMEDOUT ? OUTCOME_TIMED_OUT : OUTCOME_FULL);
}

static void
offer(struct gateway *gateway, const struct purchase *purchase, uint64_t deadline)
{
	const struct queue_call_options call = {
		.on_complete = call_ended,
		.release = free_request,
		.context = gateway,
	};
	struct request *request = sale_allocate(sizeof *request);

	if (!request) {
		count_end(gateway, purchase, OUTCOME_MEMORY, queue_now());
		return;
	}
	(void)queue_call_init(&request->call, &call);
	request->purchase = *purchase;
	request->deadline = deadline;
	list_append(&gateway->open, request);
	gateway->n_open++;
	hand_over(gateway->shop, request);
}

/* Mode sync: all steps here and now, while those who arrive meanwhile wait. */
static enum outcome
sell_here(struct shop *shop, const struct purchase *purchase, uint64_t deadline)
{
	struct order order = {
		.user = purchase->user, .item = purchase->item, .quantity = purchase->quantity};
	struct order *orders[] = {&order};
	enum outcome outcome = sale_sell(&shop->sale, purchase, deadline);
	bool late = queue_now() > deadline;

	if (outcome != OUTCOME_SOLD)
		return outcome;
	if (late || store_orders(shop->store, orders, 1) != 0) {
		sale_give_back(&shop->sale, purchase);
		return late ? OUTCOME_TIMED_OUT : OUTCOME_DATABASE;
	}
	/* It is stored: from here on it is sold, however long the rest may take. */
	step_notify(shop, &order);
	step_count(shop, &order);
	return OUTCOME_SOLD;
}

static void
serve(struct gateway *gateway, const struct purchase *purchase, uint64_t now)
{
	struct shop *shop = gateway->shop;
	uint64_t deadline = purchase->due + shop->options->deadline_ms * QUEUE_MILLISECOND;
	enum outcome outcome;

	tally_add(&gateway->tally.offered, 1);
	if (now > deadline) {
		outcome = OUTCOME_TIMED_OUT; /* nobody is there any more */
	} else if (shop->options->rate > 0 && queue_bucket_take_at(&shop->bucket, 1, now) != 0) {
		outcome = OUTCOME_RATE_LIMITED;
	} else if (shop->async) {
		offer(gateway, purchase, deadline);
		return;
	} else {
		outcome = sell_here(shop, purchase, deadline);
		now = queue_now();
	}
	count_end(gateway, purchase, outcome, now);
}

/* The next request of the source, which may be one of the future: 0, or -EPIPE. */
static int
next_request(struct gateway *gateway, struct purchase *purchase)
{
	uint64_t window = gateway->shop->options->window;

	for (;;) {
		int rc;

		if (gateway->n_open > 0)
			attend(gateway, gateway->n_open < window ? 0 : QUEUE_NEVER);
		if (gateway->n_open == window)
			continue;
		rc = source_next(gateway->shop->source, purchase, oldest_deadline(gateway));
		if (rc == SOURCE_MALFORMED) {
			tally_add(&gateway->tally.offered, 1);
			tally_add(&gateway->tally.outcomes[OUTCOME_MALFORMED], 1);
		} else if (rc != -EAGAIN) {
			return rc;
		}
	}
}

/* Waits until it has arrived. False: the sale was stopped before that, and it was not offered. */
static bool
arrives(struct gateway *gateway, struct purchase *purchase, uint64_t *now)
{
	struct shop *shop = gateway->shop;

	*now = queue_now();
	purchase->due = shop->options->fast ? *now : shop->start + purchase->due;
	while (*now < purchase->due) {
		if (atomic_load(&shop->stopping))
			return false;
		attend(gateway, purchase->due);
		*now = queue_now();
	}
	return true;
}

void *
gateway_run(void *argument)
{
	struct gateway *gateway = argument;
	struct purchase purchase;
	uint64_t now;

	while (next_request(gateway, &purchase) == 0 && arrives(gateway, &purchase, &now))
		serve(gateway, &purchase, now);
	while (gateway->n_open > 0)
		attend(gateway, QUEUE_NEVER);
	return NULL;
}

void
gateway_wake(struct gateway *gateway)
{
	(void)requests_try_push(gateway->answers, NULL);
}

int
gateway_create(struct gateway **out, struct shop *shop)
{
	struct gateway *gateway = calloc(1, sizeof *gateway);
	int rc;

	if (!gateway)
		return -ENOMEM;
	rc = queue_create(&gateway->answers, &(struct queue_options){
						     .capacity = shop->options->window + 1,
						     .flags = QUEUE_SINGLE_CONSUMER,
						     .allocator = &SECKILL_ALLOCATOR,
					     });
	if (rc) {
		free(gateway);
		return rc;
	}
	gateway->shop = shop;
	gateway->open.deadline = QUEUE_NEVER;
	gateway->open.earlier = gateway->open.later = &gateway->open;
	*out = gateway;
	return 0;
}

void
gateway_destroy(struct gateway *gateway)
{
	struct request *left;

	if (!gateway)
		return;
	/* At most a wake-up call: the gateway has counted its requests. */
	while (requests_try_pop(gateway->answers, &left) == 0)
		continue;
	(void)queue_destroy(gateway->answers);
	free(gateway);
}
