/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SECKILL_H
#define SECKILL_H

/* The words that all files of this program share. main.c draws how they play together. */
#include "arguments.h"
#include "sale.h"

#include <pthread.h>
#include <stdio.h>

enum {
	EXIT_MISMATCH = 1,
	EXIT_USAGE = 2,
	EXIT_SIGNAL = 128
};

/* ---- options.c: what the command line asks for ---------------------------------------------- */

struct options {
	/* who comes */
	const char *input; /* a CSV, "-" for standard input; NULL: the generator */
	bool fast;	   /* as fast as the gateways can, whenever they were to arrive */
	uint64_t seed;
	uint64_t steady_rate, steady_ms;
	uint64_t users, spike_ms;

	/* what there is to buy */
	uint64_t items, stock;

	/* what the shop is made of */
	bool sync, async;
	uint64_t gateways, window, workers, capacity;
	enum queue_policy policy;
	const char *policy_name;
	uint64_t rate, burst, deadline_ms, seconds;

	/* what the steps cost */
	uint64_t risk_us, risk_percent, stock_us, notify_us, stats_us;

	const char *db; /* NULL: a temporary file */
	uint64_t db_pages;
	const char *reconcile; /* a database: no sale, just the sums */
	const char *durable;   /* a directory: the sale that survives being killed */
	uint64_t kills;	       /* so often */
	bool has_kills;	       /* that was said */
	bool verbose;
};

/* What one array has room for. */
#define GATEWAYS_MAX 64

/* Says on standard error what is wrong, on standard output what was asked for. */
enum arguments_result options_parse(struct options *options, int argc, char **argv);

/* ---- report.c: the comparison ---------------------------------------------------------------- */

/* One column of the comparison. */
struct figures {
	const char *mode;
	long long run;
	uint64_t offered, outcomes[OUTCOMES], pieces;
	struct histogram answers, sales;
	uint64_t elapsed, drain; /* until the last answer; from there until all steps were done */

	/* mode async, for the capacity plan */
	struct queue_stats requests;
	uint64_t served, service_time; /* by the workers; its sum */
};

void report_setting(const struct options *options);
void report_load(const struct options *options);
void report_comparison(const struct figures *columns, int n);

/* ---- source.c: where requests come from ------------------------------------------------------ */

struct source;

/* 0, or an errno value. */
int source_open(struct source **out, const struct options *options);
void source_close(struct source *source);

#define SOURCE_MALFORMED 1

/*
 * The next request, for whichever gateway asks first. 0; SOURCE_MALFORMED: there was one, but it
 * makes no sense, which has been reported; -EAGAIN: none by `until`; -EPIPE: there are no more.
 */
int source_next(struct source *source, struct purchase *out, uint64_t until);

/* From now on there are no more. */
void source_stop(struct source *source);

/* After the end: what kept it from being read to its end, or 0; reports what was not shown. */
int source_finish(struct source *source);

/* ---- shop.c: the queues and threads of one run ----------------------------------------------- */

/*
 * A request on its way through the shop. Freed by whichever side lets go of the call last.
 */
struct request {
	struct queue_call call; /* first: a call's address is its request's */
	struct purchase purchase;
	uint64_t deadline;

	enum outcome reply; /* the worker's side writes it before it ends the call */

	/* written as the call ends, by whoever ends it, before the gateway gets it back */
	enum outcome outcome;
	uint64_t answered;

	/* the gateway's list of open requests */
	struct request *earlier, *later;
};

QUEUE_TYPED(requests, struct request *)
QUEUE_TYPED(orders, struct order *)

struct gateway;

struct shop {
	/* read-only while threads run */
	const struct options *options;
	struct source *source;
	struct store *store;
	bool async;
	uint64_t start;
	struct gateway *gateways[GATEWAYS_MAX];

	struct queue_bounded *requests; /* gateways -> workers */
	struct queue_bounded *orders;	/* workers -> writer */
	struct queue_bounded *notices;	/* writer -> notification */
	struct queue_bounded *counts;	/* notification -> statistics */
	struct queue_pool *workers, *notifiers, *statisticians;
	pthread_t writer;

	struct sale sale;
	_Atomic uint64_t notified, counted, counted_pieces;
	_Atomic uint64_t served, service_time; /* by the workers; its sum */
	atomic_bool stopping;
	int stopped_by; /* a signal, or 0 */

	/* the monitor's, for the rates */
	uint64_t status_time, status_offered;

	/* orders that were told sold and could not be stored; the writer's, then main's */
	struct order *unstored;
	uint64_t n_unstored;

	struct queue_bucket bucket;
};

/* Runs one sale from the first request to the last statistic. 0, or -1 after complaining. */
int shop_run(struct shop *shop, struct figures *out);

/* Stops offering; what was offered is finished. From any thread. */
void shop_stop(struct shop *shop);

/* ---- gateway.c ------------------------------------------------------------------------------- */

struct gateway {
	struct shop *shop;

	/* what it has seen; only it writes, the status line reads the counters meanwhile */
	struct tally tally;
	struct histogram answer_times, sale_times;

	/* requests whose calls have ended, by their answer; NULL: look up, the shop is closing */
	struct queue_bounded *answers;

	/* open requests, in the order of their deadlines: a ring through this one */
	struct request open;
	uint64_t n_open;
};

int gateway_create(struct gateway **out, struct shop *shop);
void gateway_destroy(struct gateway *gateway);

/* A thread's body; the gateway is its argument. */
void *gateway_run(void *argument);

/* Wakes the gateway up, so that it sees that the shop is stopping. */
void gateway_wake(struct gateway *gateway);

/* For the request queue: ends the call of a request that does not reach a worker; its deadline. */
void gateway_dropped(void *item, enum queue_reason reason, void *context);
uint64_t gateway_deadline_of(const void *item);

/* ---- steps.c: what has to be done for one request, and who does it --------------------------- */

void step_notify(struct shop *shop, const struct order *order);
void step_count(struct shop *shop, const struct order *order);

/*
 * Handlers: of the workers, also for QUEUE_CALLER_RUNS, and of the two pools behind the writer. The
 * context is the shop, the item a request or an order.
 */
int work_request(void *item, void *context);
void run_request(void *item, void *context);
int work_notice(void *item, void *context);
int work_count(void *item, void *context);
void order_dropped(void *item, enum queue_reason reason, void *context);

/* The writer: a thread's body; the shop is its argument. */
void *write_orders(void *argument);

/* ---- plan.c: the capacity plan of the request queue ------------------------------------------ */

/* As work_request, and takes the time. */
int plan_work_request(void *item, void *context);

/* What the plan wants to know about a sale in mode async, before the shop is closed. */
void plan_measure(const struct shop *shop, struct figures *out);

/* Prints the plan beside what was measured, and whether it was kept. */
void plan_report(const struct options *options, const struct figures *figures);

#endif
