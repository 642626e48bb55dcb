/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SECKILL_SALE_H
#define SECKILL_SALE_H

/*
 * The words that the two programs of the flash sale share: seckill, in this directory, and
 * seckill-gateway, the same sale behind HTTP, in gateway/.
 */
#include <conveyor.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Requests and orders are allocated on one thread and freed on another, all the time: that is what
 * jemalloc is good at. The sanitizers want to see every allocation, so there it is libc.
 */
#if defined SECKILL_NO_JEMALLOC || defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SECKILL_ALLOCATOR queue_allocator_libc
#else
#define SECKILL_ALLOCATOR queue_allocator_jemalloc
#endif

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
	OUTCOME_CLOSING,   /* the shop is about to close */
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

/* Requests by how they ended, and what was sold with them. */
struct tally {
	_Atomic uint64_t offered;
	_Atomic uint64_t outcomes[OUTCOMES];
	_Atomic uint64_t pieces; /* of these, told sold */
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

/* ---- text.c: figures and messages ------------------------------------------------------------ */

#define HISTOGRAM_BUCKETS (62 * 8)

/* Times in nanoseconds, within an eighth; the maximum is exact. Written by one thread. */
struct histogram {
	uint64_t count, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* The bucket that counts a time. */
unsigned histogram_bucket(uint64_t time);
void histogram_add(struct histogram *histogram, uint64_t time);
void histogram_merge(struct histogram *into, const struct histogram *from);
uint64_t histogram_quantile(const struct histogram *histogram, double quantile);

/* 1234567 as "1,234,567", and 1234567 ns as "1.23 ms"; 0 ns as "-". */
#define TEXT_SIZE 32
const char *text_number(char text[TEXT_SIZE], uint64_t number);
const char *text_time(char text[TEXT_SIZE], uint64_t nanoseconds);

/* A message on standard error, which leaves the status line alone. */
void complain(const char *format, ...) __attribute__((__format__(__printf__, 1, 2)));

/* The status line: shown when standard output is a terminal. "" takes it away. */
void status_show(const char *text);
bool status_is_possible(void);

/* ---- sale.c: what has to be done for a request before it is answered ------------------------- */

/* A step that waits, as it would for a service on another machine. */
void wait_for_service(uint64_t us);

/* Well mixed bits, the same for the same number. */
uint64_t mix(uint64_t number);

struct purchase {
	uint64_t due; /* when it arrives: from the start of the run, then absolute */
	uint64_t user;
	uint32_t item, quantity;
};

struct store;
struct buyers;

struct sale_terms {
	uint64_t items, stock;	    /* pieces of each item */
	uint64_t risk_us, stock_us; /* what the steps cost */
	uint64_t risk_percent;	    /* of the users are refused */
	uint64_t seed;
};

/* What there is to sell, and who has bought. */
struct sale {
	struct sale_terms terms;
	struct store *store;
	struct buyers *buyers;
	_Atomic uint64_t *stock; /* pieces left, per item */
};

/* 0, -ENOMEM; fini also after a failed init. */
int sale_init(struct sale *sale, const struct sale_terms *terms, struct store *store);
void sale_fini(struct sale *sale);

/*
 * Risk check and stock. OUTCOME_SOLD: the pieces are taken, until they are given back.
 * OUTCOME_TIMED_OUT: it took too long, and nothing is taken.
 */
enum outcome sale_sell(struct sale *sale, const struct purchase *purchase, uint64_t deadline);
void sale_give_back(struct sale *sale, const struct purchase *purchase);
/* Takes the pieces of what was sold by another process before, or OUTCOME_SOLD_OUT, _MEMORY. */
enum outcome sale_remember(struct sale *sale, const struct purchase *purchase);

/* Memory for a request or an order, from SECKILL_ALLOCATOR; NULL: there is none. */
void *sale_allocate(size_t size);
void sale_free(void *memory, size_t size);

/* ---- store.c, temporary.c, reconcile.c: the database ----------------------------------------- */

struct order {
	uint64_t id; /* 0: the database gives it one */
	uint64_t user;
	uint32_t item, quantity;
	bool suspect;	    /* its user is one of those to be looked at more closely */
	bool near_end;	    /* of its item a tenth of the stock, or less, was left */
	struct order *next; /* among those that could not be stored */
};

/* Opens or makes a database of ours; complains. 0, or -1. */
int store_open(struct store **out, const char *path, uint64_t pages);
void store_close(struct store *store);

/* Unlinks a database and what SQLite keeps beside it. */
void store_remove(const char *path);

/* Begins a run: what is stored from now on belongs to it. Its number; -1 after complaining. */
long long store_begin(struct store *store, const char *mode);

/* The same for a run that has a number already. 0; -1 after complaining. */
int store_begin_as(struct store *store, long long run, const char *mode);

/* An id from which on no order has one yet; 0 after complaining. */
uint64_t store_free_id(struct store *store);

/* One transaction, on any thread. 0, or -1: none of these is stored, nor any later order. */
int store_orders(struct store *store, struct order *const *orders, int n);

/*
 * The same, for orders that may come again: one whose id has a row already is left alone, and is
 * added to *had_row.
 */
int store_orders_once(struct store *store, struct order *const *orders, int n, uint64_t *had_row);

/* Until it returns something else than 0, which is returned; -1 after complaining. By id. */
int store_each_order(struct store *store, int (*each)(const struct order *order, void *context),
		     void *context);

/* Whether orders can no longer be stored; it has been complained about. And why not. */
bool store_failed(const struct store *store);
const char *store_error(const struct store *store);

/*
 * Ends the run: `tell` stores what its threads say about it, for the sums, with the functions
 * below; these and tell return 0 or -1. It may be called twice.
 */
void store_end(struct store *store, int (*tell)(struct store *store, const void *context),
	       const void *context);

/* What one gateway, of whatever kind, told its users. */
int store_tell_tally(struct store *store, uint64_t gateway, const struct tally *tally);
int store_tell_stock(struct store *store, const struct sale *sale);
/* In how many orders a step was done. */
int store_tell_step(struct store *store, const char *step, uint64_t orders);
/* How many requests of gateway 0 with this outcome left with this status of HTTP. */
int store_tell_answers(struct store *store, enum outcome outcome, int status, uint64_t requests);

struct subscription_sums {
	const char *name;
	uint64_t delivered, filtered, refused, evicted;
	uint64_t seen; /* by its consumers */
};

int store_tell_subscription(struct store *store, const struct subscription_sums *sums);

/* A database of our own in a directory of its own, removed in the end. */
struct temporary {
	char directory[512], file[544];
};

/* 0, or -1 after complaining. */
int temporary_make(struct temporary *temporary);
void temporary_remove(const struct temporary *temporary);

#define MISMATCH_SIZE 512

/* Does the sums of one run, by SQL, and prints them; adds to mismatch. */
void reconcile_run(struct store *store, long long run, char mismatch[MISMATCH_SIZE]);
/* The same of all runs in a file. 0; -1 after complaining that it is a durable sale's. */
int reconcile_file(const char *path, char mismatch[MISMATCH_SIZE]);

void mismatch_add(char mismatch[MISMATCH_SIZE], const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3)));

/* ---- monitor.c: signals, the time limit, the status line ------------------------------------- */

/* What is watched. The functions run on the monitor's thread. */
struct monitored {
	void (*stop)(void *context); /* on a signal, and at the end of the time */
	/* Writes the status line, now and then; NULL: there is none. */
	void (*status)(void *context, uint64_t now, char *text, size_t size);
	void *context;
	uint64_t limit; /* nanoseconds from start; 0: none */
};

/* Keeps these signals from interrupting anything; they wait for the monitor. Call it first. */
void monitor_block_signals(void);

/* 0, or a negative errno; the struct may go then. */
int monitor_start(const struct monitored *monitored);
/* Returns the signal that stopped it, or 0. */
int monitor_end(void);

/* A database to remove when a second signal ends the program at once; it must stay. */
void monitor_temporary(const struct temporary *temporary);

#endif
