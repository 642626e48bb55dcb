/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The shop of the sale that survives: a process of its own, which may be killed at any instruction.
 *
 *	buyers ---> receiver ---> request queue ---> workers -----> answer queue ---> teller ---> buyers
 *	socket        |            bounded, policy     |  the log       ^             waits for
 *	              | token bucket                   v  (append)      |             the disk
 *	              +-- rate-limited, ------------ refused -----------+
 *	                  sold in an earlier life
 *
 * A worker appends the order to the log and goes on at once. The teller takes what has been decided
 * meanwhile, waits until the last order among it is on the disk, and tells all of it in one packet:
 * so all workers share a wait for the disk, and nobody is told "sold" before the order is durable.
 * What makes rows of the orders is behind the log (ledger.c), and nobody waits for it.
 *
 * What cannot go on ends the process, as a kill would. That is what the log is for.
 */
#include "durable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct errand {
	struct durable_ask ask;
	uint64_t deadline;
	enum outcome outcome;
	bool found;	   /* in an earlier life */
	bool logged;	   /* sold, at this position of the log */
	uint64_t position; /* meaningless otherwise */
};

QUEUE_TYPED(errands, struct errand *)

struct counter {
	const struct options *options;
	int fd;
	struct sale sale;
	struct ledger ledger;
	struct queue_bounded *requests, *answers;
	struct queue_pool *workers;
	struct queue_bucket bucket;
	pthread_t teller, writer;
	atomic_bool disk_is_full; /* it has been complained about */
};

static void give_up(const char *what, int rc) __attribute__((__noreturn__));

static void
give_up(const char *what, int rc)
{
	complain("%s: %s", what, strerror(-rc));
	_exit(EXIT_MISMATCH);
}

/* ---- Telling --------------------------------------------------------------------------------- */

/* The place of the last order among them in the log has everything before it on the disk. */
static void
wait_for_disk(struct counter *counter, struct errand *const *errands, int n)
{
	uint64_t last = 0;
	bool any = false;
	int rc;

	for (int i = 0; i < n; i++)
		if (errands[i]->logged) {
			any = true;
			if (errands[i]->position > last)
				last = errands[i]->position;
		}
	if (!any)
		return;
	rc = queue_log_wait(counter->ledger.log, last, QUEUE_NEVER);
	if (rc != 0) /* whether they are stored is known to who opens the log next */
		give_up("the log", rc);
}

static void *
tell(void *argument)
{
	struct durable_answer answers[DURABLE_PACKET];
	struct errand *batch[DURABLE_PACKET];
	struct counter *counter = argument;
	int n;

	while ((n = errands_pop_n(counter->answers, batch, DURABLE_PACKET)) > 0) {
		wait_for_disk(counter, batch, n);
		for (int i = 0; i < n; i++) {
			answers[i] = (struct durable_answer){.id = batch[i]->ask.id,
							     .outcome = batch[i]->outcome,
							     .found = batch[i]->found};
			sale_free(batch[i], sizeof *batch[i]);
		}
		/* When it fails the buyers are gone, and ask again some day. */
		(void)send(counter->fd, answers, (size_t)n * sizeof *answers, MSG_NOSIGNAL);
	}
	return NULL;
}

/* ---- Selling --------------------------------------------------------------------------------- */

static void
answer(struct counter *counter, struct errand *errand, enum outcome outcome)
{
	errand->outcome = outcome;
	/* Waits for room; it is closed after all who push. */
	(void)errands_push(counter->answers, errand);
}

/* From here on it is sold, unless the disk is full: then nothing was appended. */
static enum outcome
log_order(struct counter *counter, struct errand *errand)
{
	int rc = queue_log_append_async(counter->ledger.log, &errand->ask, sizeof errand->ask,
					&errand->position);

	errand->logged = rc == 0;
	if (rc == 0)
		return OUTCOME_SOLD;
	if (rc != -ENOSPC)
		give_up("the log", rc);
	if (!atomic_exchange(&counter->disk_is_full, true))
		complain("the log: %s; nothing is sold meanwhile", strerror(-rc));
	return OUTCOME_DATABASE;
}

static int
work(void *item, void *context)
{
	struct counter *counter = context;
	struct errand *errand = item;
	const struct purchase purchase = {.user = errand->ask.user,
					  .item = errand->ask.item,
					  .quantity = errand->ask.quantity};
	enum outcome outcome = sale_sell(&counter->sale, &purchase, errand->deadline);

	if (outcome == OUTCOME_SOLD) {
		outcome = log_order(counter, errand);
		if (outcome != OUTCOME_SOLD)
			sale_give_back(&counter->sale, &purchase);
	}
	answer(counter, errand, outcome);
	return 0;
}

/* QUEUE_CALLER_RUNS: on the receiver's thread. */
static void
run_here(void *item, void *context)
{
	(void)work(item, context);
}

static void
dropped(void *item, enum queue_reason reason, void *context)
{
	answer(context, item,
	       reason == QUEUE_DISCARDED ? OUTCOME_DISCARDED
	       : reason == QUEUE_EVICTED ? OUTCOME_EVICTED
					 : OUTCOME_TIMED_OUT);
}

static uint64_t
deadline_of(const void *item)
{
	return ((const struct errand *)item)->deadline;
}

/* ---- Receiving ------------------------------------------------------------------------------- */

static void
take_in(struct counter *counter, const struct durable_ask *ask, uint64_t now)
{
	const struct options *options = counter->options;
	struct errand *errand = sale_allocate(sizeof *errand);

	if (!errand)
		give_up("a request", -ENOMEM);
	*errand = (struct errand){.ask = *ask,
				  .deadline = now + options->deadline_ms * QUEUE_MILLISECOND,
				  .found = ledger_knows(&counter->ledger, ask->id)};
	/*
	 * Asked again: the same answer. Only those that were sold need to be known: who was refused
	 * has left nothing behind, and is decided as if for the first time.
	 */
	if (errand->found)
		answer(counter, errand, OUTCOME_SOLD);
	else if (ask->item < 1 || ask->item > options->items)
		answer(counter, errand, OUTCOME_MALFORMED);
	else if (options->rate > 0 && queue_bucket_take_at(&counter->bucket, 1, now) != 0)
		answer(counter, errand, OUTCOME_RATE_LIMITED);
	else if (errands_push(counter->requests, errand) < 0)
		answer(counter, errand, OUTCOME_FULL);
}

/* Until the buyers have closed their side, or are gone. */
static void
receive(struct counter *counter)
{
	struct durable_ask packet[DURABLE_PACKET];
	ssize_t size;

	while ((size = recv(counter->fd, packet, sizeof packet, 0)) > 0) {
		uint64_t now = queue_now();

		for (size_t i = 0; i < (size_t)size / sizeof *packet; i++)
			take_in(counter, &packet[i], now);
	}
}

/* ---- Opening and closing --------------------------------------------------------------------- */

static int
open_queues(struct counter *counter)
{
	const struct options *options = counter->options;
	struct queue_options requests = {
		.capacity = options->capacity,
		.policy = options->policy,
		.on_drop = dropped,
		.run = run_here,
		.deadline_of = deadline_of,
		.context = counter,
		.allocator = &SECKILL_ALLOCATOR,
	};
	struct queue_options answers = {
		.capacity = 4096,
		.policy = QUEUE_BLOCK,
		.flags = QUEUE_SINGLE_CONSUMER,
		.allocator = &SECKILL_ALLOCATOR,
	};
	struct queue_bucket_options bucket = {
		.tokens = options->rate, .period = QUEUE_SECOND, .burst = options->burst};
	int rc;

	if ((rc = queue_create(&counter->requests, &requests)) ||
	    (rc = queue_create(&counter->answers, &answers)))
		return rc;
	return options->rate == 0 ? 0 : queue_bucket_init(&counter->bucket, &bucket);
}

static int
start_threads(struct counter *counter)
{
	struct queue_pool_options workers = {.queue = counter->requests,
					     .handler = work,
					     .context = counter,
					     .workers = (int)counter->options->workers,
					     .name = "worker"};
	int error;

	if ((error = pthread_create(&counter->writer, NULL, ledger_write, &counter->ledger)) ||
	    (error = pthread_create(&counter->teller, NULL, tell, counter)))
		return -error;
	(void)pthread_setname_np(counter->writer, "writer");
	(void)pthread_setname_np(counter->teller, "teller");
	return queue_pool_create(&counter->workers, &workers);
}

static void
open_counter(struct counter *counter, const struct durable_paths *paths, uint64_t life)
{
	const struct options *options = counter->options;
	const struct sale_terms terms = {.items = options->items,
					 .stock = options->stock,
					 .risk_us = options->risk_us,
					 .stock_us = options->stock_us,
					 .risk_percent = options->risk_percent,
					 .seed = options->seed};
	struct durable_opening opening;
	int rc = sale_init(&counter->sale, &terms, NULL), status;

	if (rc != 0)
		give_up("the shop", rc);
	status = ledger_open(&counter->ledger, options, paths, life, &counter->sale, &opening);
	if (status != 0)
		exit(status);
	if ((rc = open_queues(counter)) || (rc = start_threads(counter)))
		give_up("the shop", rc);
	(void)send(counter->fd, &opening, sizeof opening, MSG_NOSIGNAL);
}

/* From the front to the back. Whoever is told something is told it before the end. */
static int
close_counter(struct counter *counter)
{
	int rc;

	(void)queue_pool_stop(counter->workers, QUEUE_POOL_DRAIN, QUEUE_NEVER);
	(void)queue_pool_destroy(counter->workers);
	(void)queue_destroy(counter->requests);
	(void)queue_close(counter->answers);
	(void)pthread_join(counter->teller, NULL);
	(void)queue_destroy(counter->answers);
	atomic_store(&counter->ledger.closing, true);
	(void)pthread_join(counter->writer, NULL);
	rc = ledger_close(&counter->ledger);
	sale_fini(&counter->sale);
	return rc;
}

_Noreturn void
counter_run(const struct options *options, const struct durable_paths *paths, uint64_t life, int fd)
{
	static struct counter counter;

	counter.options = options;
	counter.fd = fd;
	open_counter(&counter, paths, life);
	receive(&counter);
	exit(close_counter(&counter) == 0 ? 0 : EXIT_MISMATCH);
}
