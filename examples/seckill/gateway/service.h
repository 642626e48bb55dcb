/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SECKILL_SERVICE_H
#define SECKILL_SERVICE_H

/* The words that all files of the service share. main.c draws how they play together. */
#include "../arguments.h"
#include "../sale.h"

#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>

/* ---- options.c: what the command line asks for ----------------------------------------------- */

struct options {
	const char *address;
	uint64_t port, admin_port;	    /* 0: any free one */
	uint64_t http_threads, connections; /* 0: what can be */

	uint64_t items, stock;
	uint64_t rate, burst, capacity, workers, deadline_ms;
	uint64_t risk_us, risk_percent, stock_us, notify_us, stats_us, seed;

	const char *db; /* NULL: a temporary file */
	bool quiet;
};

enum arguments_result options_parse(struct options *options, int argc, char **argv);

#define WORKERS_MAX 64

/* ---- deadlines.c: who is waiting for an answer, and until when ------------------------------- */

struct service;

/*
 * A purchase on its way through the shop. Freed by whichever side lets go of the call last; the
 * caller's reference is the list's, from when it is listed to when it is taken off.
 */
struct request {
	struct queue_call call; /* first: a call's address is its request's */
	struct service *service;
	struct purchase purchase;
	uint64_t deadline;
	struct tally *tally; /* where it is counted */

	/* Who is told how it ended, once, on the thread that ended it. */
	void (*tell)(void *whom, enum outcome outcome, uint64_t order);
	void *whom;

	/* the worker's side writes these before it ends the call */
	enum outcome reply;
	uint64_t order;

	/* the list of open requests; NULL: it is not in it */
	struct request *earlier, *later;
};

/* Open requests, oldest deadline first, and the thread that cancels the late ones. */
struct deadlines {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct request open; /* a ring through this one */
	bool stopping;
	pthread_t thread;
};

/* 0, or a negative errno. End it when the list is empty. */
int deadlines_start(struct deadlines *deadlines);
void deadlines_end(struct deadlines *deadlines);

/* Sets the request's deadline, from now, and lists it: those listed later have later ones. */
void deadlines_add(struct deadlines *deadlines, struct request *request, uint64_t from_now);

/* True: it is off the list, and the caller's reference yours. False: the thread had it first. */
bool deadlines_remove(struct deadlines *deadlines, struct request *request);

/* ---- calls.c: a purchase from the door to the answer ----------------------------------------- */

/*
 * Answers of about the last second to requests that got into the queue, by how long they took; see
 * latencies_read.
 */
#define LATENCY_PERIODS 10

struct latencies {
	_Atomic uint64_t buckets[HISTOGRAM_BUCKETS]; /* since the start */
	_Atomic uint64_t max;			     /* since it was last read */

	/* the reader's: what it found the last times */
	uint64_t seen[LATENCY_PERIODS][HISTOGRAM_BUCKETS];
	uint64_t maxima[LATENCY_PERIODS];
	unsigned at;
};

/* To be called by one thread, LATENCY_PERIODS times a second. */
void latencies_read(struct latencies *latencies, struct histogram *out);

int calls_open(struct service *service);
/* Answers what is open, and ends the threads. */
void calls_drain(struct service *service);
void calls_close(struct service *service);

/* Counts a request that is answered without having been offered to the shop. */
void calls_refuse(struct tally *tally, enum outcome outcome);

/*
 * Offers a purchase. OUTCOMES: it is open, or was, and `tell` is called once, perhaps before this
 * returns; otherwise it ended at once, as is said, and tell is not called.
 */
enum outcome calls_offer(struct service *service, const struct purchase *purchase,
			 struct tally *tally,
			 void (*tell)(void *whom, enum outcome outcome, uint64_t order),
			 void *whom);

/* ---- orders.c: what comes after the answer --------------------------------------------------- */

enum {
	SUBSCRIBER_PAYMENT,
	SUBSCRIBER_RISK,
	SUBSCRIBER_SMS,
	SUBSCRIBER_ANALYTICS,
	SUBSCRIBER_WRITER,
	SUBSCRIBERS
};

struct subscriber {
	const char *name, *policy;
	struct service *service;
	struct queue_subscription *subscription;
	struct queue_pool *pool; /* NULL: the writer is a thread of its own */
	uint64_t cost_us;
	_Atomic uint64_t seen;
};

/* An order on its way to all who want to know of it. */
struct sold {
	struct queue_message message; /* first: a message's address is its order's */
	struct order order;
};

int orders_open(struct service *service);
/* Ends the topic when everything published has been dealt with. */
void orders_drain(struct service *service);
void orders_close(struct service *service);

/* NULL: there is no memory. It is published once, or freed. */
struct sold *orders_new(struct service *service, const struct purchase *purchase);
void orders_publish(struct service *service, struct sold *sold);
void orders_free(struct sold *sold);

/* ---- listen.c: HTTP -------------------------------------------------------------------------- */

struct listener {
	struct MHD_Daemon *daemon;
	int socket; /* until the daemon has it; -1: there is none */
	unsigned port;
};

#define CONNECTIONS_DEFAULT 20000

/*
 * Raises the limit of descriptors for so many connections; 0: as many as can be, to the default.
 * Returns how many there is room for, or 0 after complaining.
 */
unsigned listener_make_room(uint64_t connections);

/* Whether it can be listened to: an address in numbers. */
bool listener_knows(const char *address);

/* Takes the port. 0, or -1 after complaining. */
int listener_bind(struct listener *listener, const char *address, uint64_t port,
		  const char *option);

struct listener_options {
	MHD_AccessHandlerCallback handler;
	MHD_RequestCompletedCallback completed;
	void *context;
	unsigned threads, connections;
};

/* Begins to serve. 0, or -1 after complaining. */
int listener_start(struct listener *listener, const struct listener_options *options);

/* No new connections from now on. */
void listener_quiesce(struct listener *listener);
void listener_stop(struct listener *listener);

/* Answers with a text that is there for good, or copied. */
enum MHD_Result answer_constant(struct MHD_Connection *connection, unsigned status,
				const char *type, const char *text);
enum MHD_Result answer_copy(struct MHD_Connection *connection, unsigned status, const char *type,
			    const char *text);
/* 405, with what is allowed. */
enum MHD_Result answer_method(struct MHD_Connection *connection, const char *allowed);
/* Sends the response, adding nothing, and lets go of it. NULL: there was no memory for it. */
enum MHD_Result answer_with(struct MHD_Connection *connection, unsigned status, const char *type,
			    struct MHD_Response *response);

/* A number of the query, all digits, within the limits. */
struct parameter {
	const char *name;
	uint64_t least, most;
	bool optional; /* value is its default */
	uint64_t value;
	bool given;
};

#define REASON_SIZE 96

/* Reads the query; false: reason says in plain words, fit for JSON, what is wrong with it. */
bool query_read(struct MHD_Connection *connection, struct parameter *parameters, int n,
		char reason[REASON_SIZE]);

/* What a request is kept in mind by between the calls of its handler, if by nothing more. */
extern char http_begun;

/* ---- http.c, buy.c: the users' listener ------------------------------------------------------ */

int http_start(struct service *service);

/* A visit is a request to /buy, from the first call of the handler to its end. */
struct visit;

/* NULL: there is no memory. */
struct visit *visit_begin(struct service *service, struct MHD_Connection *connection);
void visit_end(struct visit *visit, bool is_delivered);

/* The calls of the handler after the first. */
enum MHD_Result visit_body(struct visit *visit, size_t *size);
enum MHD_Result visit_serve(struct visit *visit);

/* How HTTP says it: 409, "sold out". 0 and NULL: it never has to. */
int outcome_status(enum outcome outcome);
const char *outcome_result(enum outcome outcome);

/* The page, from page.html. */
extern const char page_text[];
extern const size_t page_size;

/* ---- metrics.c, events.c: the figures -------------------------------------------------------- */

enum MHD_Result metrics_answer(struct service *service, struct MHD_Connection *connection);

struct watcher;

/* The stream of events, and all who watch it. */
struct events {
	struct queue_topic *topic;
	pthread_mutex_t lock; /* guards what follows */
	struct watcher *watchers;
	bool stopping;
	pthread_cond_t stop;
	pthread_t thread;
	bool is_running;
};

int events_start(struct service *service);
/* Ends the streams: no connection is suspended by them any more. */
void events_end(struct service *service);
void events_close(struct service *service);
enum MHD_Result events_answer(struct service *service, struct MHD_Connection *connection);

/* Both kinds of users together. */
uint64_t service_outcomes(const struct service *service, enum outcome outcome);
uint64_t service_stock(const struct service *service);
int service_workers(const struct service *service);

/* ---- admin.c, burst.c: the operator's listener ----------------------------------------------- */

int admin_start(struct service *service);

/* Users from here on are those of bursts. SQLite has signed integers. */
#define BURST_FIRST_USER (UINT64_C(1) << 62)

/* Purchases that come from inside, from users that nobody else is. */
struct burst {
	pthread_mutex_t lock; /* guards what follows */
	bool running, joinable;
	pthread_t thread;
	uint64_t users, period; /* nanoseconds */
	uint64_t next;		/* user */
};

/* 0; -EBUSY: one is under way; -EAGAIN: no more threads. */
int burst_start(struct service *service, uint64_t users, uint64_t period);
/* Once the service is closing: waits for its end. */
void burst_end(struct service *service);

/* ---- main.c ---------------------------------------------------------------------------------- */

struct service {
	/* read-only while threads run */
	const struct options *options;
	struct store *store;
	long long run;
	uint64_t start;

	struct listener main, admin;
	unsigned connections;
	struct events events;
	struct burst burst;

	struct queue_bounded *requests;
	struct queue_pool *workers;
	struct deadlines deadlines;
	struct latencies latencies;
	struct sale sale;

	struct queue_topic *orders;
	struct subscriber subscribers[SUBSCRIBERS];
	pthread_t writer;
	bool has_writer;

	/* what has happened so far */
	atomic_bool closing;
	struct tally by_http, by_burst;	 /* how requests ended */
	_Atomic uint64_t admitted;	 /* into the request queue */
	_Atomic uint64_t open;		 /* not answered yet */
	_Atomic uint64_t unfinished;	 /* offered by HTTP, and the answer not sent yet */
	_Atomic uint64_t left[OUTCOMES]; /* visits that ended, by what they were told */
	_Atomic uint64_t hung_up;	 /* answers that found nobody to be told to */
	_Atomic uint64_t next_order, published, stored;

	/* orders that were told and could not be stored: the writer's, then main's */
	struct order *unstored;
	uint64_t n_unstored;

	struct queue_bucket bucket;
};

#endif
