/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SECKILL_H
#define SECKILL_H

/* The words that all files of the flash sale share. main.c draws how they play together. */
#include <conveyor.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * Requests and orders are allocated on one thread and freed on another, all the time: that is what
 * jemalloc is good at. The sanitizers want to see every allocation, so there it is libc.
 */
#if defined SECKILL_NO_JEMALLOC || defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SECKILL_ALLOCATOR queue_allocator_libc
#else
#define SECKILL_ALLOCATOR queue_allocator_jemalloc
#endif

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
	bool verbose;
};

/* What one array has room for. */
#define GATEWAYS_MAX 64

enum options_result {
	OPTIONS_RUN,
	OPTIONS_DONE,
	OPTIONS_BAD
};

/* Says on standard error what is wrong, on standard output what was asked for. */
enum options_result options_parse(struct options *options, int argc, char **argv);

/* ---- How a request can end ------------------------------------------------------------------- */

enum outcome {
	OUTCOME_SOLD,
	OUTCOME_SOLD_OUT,
	OUTCOME_RATE_LIMITED,
	/* the ways of being rejected */
	OUTCOME_FULL,	   /* no room in the request queue */
	OUTCOME_DISCARDED, /* policy discard: came when it was full */
	OUTCOME_EVICTED,   /* policy discard-oldest: gave way to a newer one */
	OUTCOME_BOUGHT,	   /* this user has bought already */
	OUTCOME_RISK,	   /* the risk check said no */
	OUTCOME_DATABASE,  /* orders cannot be stored any more */
	OUTCOME_MEMORY,
	/* not answered */
	OUTCOME_TIMED_OUT,
	OUTCOME_MALFORMED,
	OUTCOMES
};

/* "rejected", and why: "queue full". The reason is "" where the outcome says it all. */
const char *outcome_name(enum outcome outcome);
const char *outcome_reason(enum outcome outcome);

/* ---- report.c: figures and messages ---------------------------------------------------------- */

#define HISTOGRAM_BUCKETS (62 * 8)

/* Times in nanoseconds, within an eighth; the maximum is exact. Written by one thread. */
struct histogram {
	uint64_t count, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t time);
void histogram_merge(struct histogram *into, const struct histogram *from);
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

/* What one gateway has seen. Only it writes; the status line reads the counters meanwhile. */
struct tally {
	_Atomic uint64_t offered;
	_Atomic uint64_t outcomes[OUTCOMES];
	_Atomic uint64_t pieces; /* of these, told sold */
	struct histogram answers, sales;
};

/* Adds to a counter that only this thread writes, so that no locked instruction is needed. */
static inline void
tally_add(_Atomic uint64_t *counter, uint64_t amount)
{
	/* Relaxed: the status line wants a figure, and the reports come after the threads' end. */
	uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

static inline uint64_t
tally_read(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

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

/* 1234567 as "1,234,567", and 1234567 ns as "1.23 ms"; 0 ns as "-". */
#define TEXT_SIZE 32
const char *text_number(char text[TEXT_SIZE], uint64_t number);
const char *text_time(char text[TEXT_SIZE], uint64_t nanoseconds);

void report_setting(const struct options *options);
void report_comparison(const struct figures *columns, int n);

/* A message on standard error, which leaves the status line alone. */
void complain(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

/* The status line: shown when standard output is a terminal. "" takes it away. */
void status_show(const char *text);
bool status_is_possible(void);

/* ---- source.c: where requests come from ------------------------------------------------------ */

struct purchase {
	uint64_t due; /* when it arrives: from the start of the run, then absolute */
	uint64_t user;
	uint32_t item, quantity;
};

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

/* Well mixed bits, the same for the same number. */
uint64_t mix(uint64_t number);

/* ---- store.c, reconcile.c: the database ------------------------------------------------------ */

/* One allocation, which travels from the worker that sold to the step that is last. */
struct order {
	uint64_t user;
	uint32_t item, quantity;
	struct order *next; /* among those that could not be stored */
};

struct store;
struct shop;

/* Opens or makes a database of ours; complains. 0, or -1. */
int store_open(struct store **out, const char *path, uint64_t pages);
void store_close(struct store *store);

/* Unlinks a database and what SQLite keeps beside it. */
void store_remove(const char *path);

/* Begins a run: what is stored from now on belongs to it. Its number; -1 after complaining. */
long long store_begin(struct store *store, const char *mode);

/* One transaction, on any thread. 0, or -1: none of these is stored, nor any later order. */
int store_orders(struct store *store, struct order *const *orders, int n);

/* Whether orders can no longer be stored; it has been complained about. And why not. */
bool store_failed(const struct store *store);
const char *store_error(const struct store *store);

/* Ends the run: stores what the shop's threads say about it, for the sums. */
void store_end(struct store *store, const struct shop *shop);

#define MISMATCH_SIZE 512

/* Does the sums of one run, or of all in a file, by SQL, and prints them; adds to mismatch. */
void reconcile_run(struct store *store, long long run, char mismatch[MISMATCH_SIZE]);
void reconcile_file(const char *path, char mismatch[MISMATCH_SIZE]);

void mismatch_add(char mismatch[MISMATCH_SIZE], const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3)));

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
struct buyers;

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

	struct buyers *buyers;
	_Atomic uint64_t *stock; /* pieces left, per item */
	_Atomic uint64_t notified, counted, counted_pieces;
	_Atomic uint64_t served, service_time; /* by the workers; its sum */
	atomic_bool stopping;
	int stopped_by; /* a signal, or 0 */

	/* orders that were told sold and could not be stored; the writer's, then main's */
	struct order *unstored;
	uint64_t n_unstored;

	struct queue_bucket bucket;
};

/* Runs one sale from the first request to the last statistic. 0, or -1 after complaining. */
int shop_run(struct shop *shop, struct figures *out);

/* Stops offering; what was offered is finished. From any thread. */
void shop_stop(struct shop *shop);

/* Memory for a request or an order, from SECKILL_ALLOCATOR; NULL: there is none. */
void *shop_allocate(size_t size);
void shop_free(void *memory, size_t size);

/* ---- gateway.c ------------------------------------------------------------------------------- */

struct gateway {
	struct shop *shop;
	struct tally tally;

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

/* ---- steps.c: what has to be done for one request -------------------------------------------- */

int steps_init(struct shop *shop);
void steps_fini(struct shop *shop);

/*
 * Risk check and stock. OUTCOME_SOLD: the pieces are taken, until they are given back.
 * OUTCOME_TIMED_OUT: it took too long, and nothing is taken.
 */
enum outcome step_sell(struct shop *shop, const struct purchase *purchase, uint64_t deadline);
void step_give_back(struct shop *shop, const struct purchase *purchase);

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

/* ---- monitor.c: signals, the time limit, the status line ------------------------------------- */

/* Keeps these signals from interrupting anything; they wait for the monitor. Call it first. */
void monitor_block_signals(void);

int monitor_start(struct shop *shop);
/* Returns the signal that stopped the sale, or 0. */
int monitor_end(void);

/* A database to remove, with its directory, when a second signal ends the program at once. */
void monitor_temporary(const char *path);

#endif
