/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A purchase from the door to the answer:
 *
 *	calls_offer     the token bucket, then a call, listed by its deadline, into the queue
 *	work            claims the call, checks, takes the pieces, replies; what was sold in vain is
 *	                given back
 *	call_ended      on whichever thread ended the call: counts it and tells whom it concerns
 *
 * Every call ends exactly once, so every purchase that was offered is counted exactly once.
 */
#include "service.h"

#include <errno.h>

/* ---- Counting -------------------------------------------------------------------------------- */

/* Relaxed, all of these: figures, which guard no other memory. */
static void
count(_Atomic uint64_t *counter, uint64_t amount)
{
	atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

static void
record_latency(struct latencies *latencies, uint64_t time)
{
	uint64_t max = tally_read(&latencies->max);

	/* First: one that is counted and not in the maximum would make all of them look like 0. */
	while (time > max &&
	       !atomic_compare_exchange_weak_explicit(&latencies->max, &max, time,
						      memory_order_relaxed, memory_order_relaxed))
		continue;
	count(&latencies->buckets[histogram_bucket(time)], 1);
}

void
latencies_read(struct latencies *latencies, struct histogram *out)
{
	unsigned oldest = latencies->at;

	*out = (struct histogram){0};
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t total = tally_read(&latencies->buckets[i]);

		out->buckets[i] = total - latencies->seen[oldest][i];
		out->count += out->buckets[i];
		latencies->seen[oldest][i] = total;
	}
	latencies->maxima[oldest] =
		atomic_exchange_explicit(&latencies->max, 0, memory_order_relaxed);
	for (unsigned i = 0; i < LATENCY_PERIODS; i++)
		if (latencies->maxima[i] > out->max)
			out->max = latencies->maxima[i];
	latencies->at = (oldest + 1) % LATENCY_PERIODS;
}

static void
count_end(struct tally *tally, const struct purchase *purchase, enum outcome outcome)
{
	count(&tally->outcomes[outcome], 1);
	if (outcome == OUTCOME_SOLD)
		count(&tally->pieces, purchase->quantity);
}

/* Release: who sees that nothing is open sees what was told. */
static void
count_closed(struct service *service)
{
	atomic_fetch_sub_explicit(&service->open, 1, memory_order_release);
}

void
calls_refuse(struct tally *tally, enum outcome outcome)
{
	count(&tally->offered, 1);
	count_end(tally, &(struct purchase){.quantity = 0}, outcome);
}

/* ---- How a call ends ------------------------------------------------------------------------- */

/* What the worker's side wrote may be read only if it was the worker's side that ended it. */
static void
call_ended(struct queue_call *call, enum queue_call_state state, void *context)
{
	struct request *request = (struct request *)(void *)call;
	struct service *service = context;
	bool by_worker = state == QUEUE_CALL_REPLIED || state == QUEUE_CALL_REFUSED;
	enum outcome outcome = by_worker ? request->reply : OUTCOME_TIMED_OUT;

	count_end(request->tally, &request->purchase, outcome);
	/* Who is turned away at the door does not wait, and would hide how long the others do. */
	if (outcome != OUTCOME_FULL)
		record_latency(&service->latencies, queue_now() - request->purchase.due);
	request->tell(request->whom, outcome, outcome == OUTCOME_SOLD ? request->order : 0);
	count_closed(service);
	if (deadlines_remove(&service->deadlines, request))
		queue_call_release(call);
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
	/* If it is over its deadline, the user has been told so already. */
	(void)queue_call_refuse(&request->call);
	queue_call_release(&request->call);
}

/* The request queue's: one that was late already, when a worker would have begun with it. */
static void
drop(void *item, enum queue_reason reason, void *context)
{
	(void)reason;
	(void)context;
	refuse(item, OUTCOME_TIMED_OUT);
}

static uint64_t
deadline_of(const void *item)
{
	return ((const struct request *)item)->deadline;
}

/* ---- The door -------------------------------------------------------------------------------- */

static enum outcome
ask_at_the_door(struct service *service, uint64_t now)
{
	if (atomic_load(&service->closing))
		return OUTCOME_CLOSING;
	if (service->options->rate > 0 && queue_bucket_take_at(&service->bucket, 1, now) != 0)
		return OUTCOME_RATE_LIMITED;
	return OUTCOME_SOLD;
}

static void
hand_over(struct service *service, struct request *request)
{
	int rc;

	deadlines_add(&service->deadlines, request,
		      service->options->deadline_ms * QUEUE_MILLISECOND);
	rc = queue_push(service->requests, request);
	if (rc == 0)
		count(&service->admitted, 1);
	else /* the request is still ours, and the worker's side of the call with it */
		refuse(request, OUTCOME_FULL);
}

enum outcome
calls_offer(struct service *service, const struct purchase *purchase, struct tally *tally,
	    void (*tell)(void *whom, enum outcome outcome, uint64_t order), void *whom)
{
	const struct queue_call_options call = {
		.on_complete = call_ended,
		.release = free_request,
		.context = service,
	};
	struct request *request = NULL;
	enum outcome outcome;

	count(&tally->offered, 1);
	/*
	 * Open before the look at whether the shop is closing: so once it is, and nothing is open,
	 * nothing will be.
	 */
	atomic_fetch_add(&service->open, 1);
	outcome = ask_at_the_door(service, purchase->due);
	if (outcome == OUTCOME_SOLD && !(request = sale_allocate(sizeof *request)))
		outcome = OUTCOME_MEMORY;
	if (!request) {
		count_end(tally, purchase, outcome);
		count_closed(service);
		return outcome;
	}
	*request = (struct request){.service = service,
				    .purchase = *purchase,
				    .tally = tally,
				    .tell = tell,
				    .whom = whom};
	(void)queue_call_init(&request->call, &call);
	hand_over(service, request);
	return OUTCOMES;
}

/* ---- The workers ----------------------------------------------------------------------------- */

/*
 * The user is told before the order is published: that is what makes the answer quick. So
 * everything that can fail comes before the answer, and from there on nothing may, but the database.
 */
static void
sell_and_reply(struct service *service, struct request *request)
{
	const struct purchase *purchase = &request->purchase;
	struct sold *sold = NULL;

	request->reply = sale_sell(&service->sale, purchase, request->deadline);
	if (request->reply == OUTCOME_SOLD) {
		sold = orders_new(service, purchase);
		if (sold) {
			request->order = sold->order.id;
		} else {
			sale_give_back(&service->sale, purchase);
			request->reply = OUTCOME_MEMORY;
		}
	}
	if (queue_call_reply(&request->call) == 0) {
		if (sold)
			orders_publish(service, sold);
	} else if (sold) {
		/* It was given up, and the user knows: so it never happened. */
		sale_give_back(&service->sale, purchase);
		orders_free(sold);
	}
}

static int
work(void *item, void *context)
{
	struct request *request = item;

	/* Not claimed: it was given up already, and only has to be let go. */
	if (queue_call_claim(&request->call) == 0)
		sell_and_reply(context, request);
	queue_call_release(&request->call);
	return 0;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

static int
open_bucket(struct service *service)
{
	const struct queue_bucket_options bucket = {
		.tokens = service->options->rate,
		.period = QUEUE_SECOND,
		.burst = service->options->burst,
	};

	return service->options->rate == 0 ? 0 : queue_bucket_init(&service->bucket, &bucket);
}

static int
open_requests(struct service *service)
{
	return queue_create(&service->requests,
			    &(struct queue_options){.capacity = service->options->capacity,
						    .policy = QUEUE_ABORT,
						    .on_drop = drop,
						    .deadline_of = deadline_of,
						    .allocator = &SECKILL_ALLOCATOR});
}

static int
open_sale(struct service *service)
{
	const struct options *options = service->options;

	return sale_init(&service->sale,
			 &(struct sale_terms){.items = options->items,
					      .stock = options->stock,
					      .risk_us = options->risk_us,
					      .stock_us = options->stock_us,
					      .risk_percent = options->risk_percent,
					      .seed = options->seed},
			 service->store);
}

int
calls_open(struct service *service)
{
	int rc;

	if ((rc = open_sale(service)) || (rc = open_bucket(service)) ||
	    (rc = open_requests(service)) || (rc = deadlines_start(&service->deadlines)))
		return rc;
	rc = queue_pool_create(&service->workers, &(struct queue_pool_options){
							  .queue = service->requests,
							  .handler = work,
							  .context = service,
							  .workers = (int)service->options->workers,
							  .name = "worker",
						  });
	if (rc)
		deadlines_end(&service->deadlines);
	return rc;
}

/* What has timed out already may still be in the queue; nothing is open any more after that. */
void
calls_drain(struct service *service)
{
	(void)queue_pool_stop(service->workers, QUEUE_POOL_DRAIN, QUEUE_NEVER);
	deadlines_end(&service->deadlines);
}

/* Also for one that was opened in part only. */
void
calls_close(struct service *service)
{
	(void)queue_pool_destroy(service->workers);
	(void)queue_destroy(service->requests);
	sale_fini(&service->sale);
}
