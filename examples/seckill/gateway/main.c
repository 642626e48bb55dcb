/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * seckill-gateway: the flash sale behind HTTP. Users buy with POST /buy, and each is answered by a
 * deadline, however many there are; what was sold reaches everybody whom it concerns; and in the
 * end every request, every order and every piece is accounted for.
 *
 *                               429, try later   503, queue full
 *                                     ^                 ^
 *   users ---> HTTP threads ---> token bucket ---> request queue ---> workers, a pool that is
 *     ^             |                                                    |     resized at run time
 *     |             | connection                                    risk check,
 *     |             v is suspended                                  stock
 *     |      deadlines: one thread                                       |
 *     |      cancels the late calls                                      |
 *     |             | 504                                200, 403, 409   |
 *     +-------------+----- whoever ends the call resumes it -------------+
 *                                                                        | topic "order"
 *         +---------------+-----------------+----------------+-----------+---+
 *         v               v                 v                v               v
 *      payment          risk               sms           analytics         writer
 *      waits for      some orders;     the oldest      some orders;    waits; SQLite,
 *      room           refuses          gives way       skips           in batches
 *
 *   main.c       what is started in what order, how it ends, and the sums
 *   http.c       which path is what; buy.c: POST /buy, suspended and resumed
 *   calls.c      the door, the call, the workers; deadlines.c: who has waited too long
 *   orders.c     the topic and all who subscribe to it
 *   metrics.c    GET /metrics; events.c: GET /events, a topic to which watchers subscribe
 *   admin.c      the operator's listener; burst.c: load from inside
 *   listen.c     what both listeners need of HTTP; page.c: the page; options.c: the command line
 *
 * What is not special to HTTP is shared with the program in the directory above, and described in
 * its main.c.
 */
#include "service.h"

#include <errno.h>
#include <semaphore.h>
#include <string.h>
#include <time.h>

enum {
	EXIT_MISMATCH = 1,
	EXIT_USAGE = 2
};

/* Beyond its deadline an answer has so long to be sent, to a client that reads it slowly. */
#define GRACE (2 * QUEUE_SECOND)
/* When nothing has come for so long, what was under way has arrived. */
#define SILENCE (20 * QUEUE_MILLISECOND)

static struct service service;
static sem_t stopped;

/* ---- The monitor ----------------------------------------------------------------------------- */

static void
stop(void *context)
{
	(void)context;
	sem_post(&stopped);
}

static void
write_status(void *context, uint64_t now, char *text, size_t size)
{
	char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];

	(void)context;
	(void)now;
	snprintf(text, size, "%s came, %s sold, %s open; request queue %llu",
		 text_number(a, tally_read(&service.by_http.offered) +
					tally_read(&service.by_burst.offered)),
		 text_number(b, service_outcomes(&service, OUTCOME_SOLD)),
		 text_number(c, tally_read(&service.open)),
		 (unsigned long long)queue_depth_approx(service.requests));
}

static int
watch(void)
{
	return monitor_start(&(struct monitored){
		.stop = stop, .status = service.options->quiet ? NULL : write_status});
}

/* ---- From the front to the back -------------------------------------------------------------- */

static void
nap(void)
{
	struct timespec time = {.tv_sec = 0, .tv_nsec = (long)QUEUE_MILLISECOND};

	clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

/* True while an answer is being sent, or a request has come since the last time. */
static bool
is_busy(uint64_t *offered)
{
	uint64_t before = *offered;

	*offered = tally_read(&service.by_http.offered);
	/* Acquire: with the count goes what was counted. */
	return atomic_load_explicit(&service.unfinished, memory_order_acquire) > 0 ||
	       *offered != before;
}

/*
 * Every call ends by its deadline, and then its connection is no longer suspended. Requests that
 * were under way in connections that are open already are told that the shop is closing; whether
 * clients read their answers is not ours to decide.
 */
static void
finish_answers(void)
{
	uint64_t offered = 0, limit, quiet;

	while (atomic_load(&service.open) > 0)
		nap();
	limit = queue_now() + GRACE;
	quiet = queue_now() + SILENCE;
	while (queue_now() < quiet && queue_now() < limit) {
		nap();
		if (is_busy(&offered))
			quiet = queue_now() + SILENCE;
	}
}

/* Each part after those that feed it: so whatever was accepted goes all the way. */
static void
drain(void)
{
	atomic_store(&service.closing, true);
	listener_quiesce(&service.main);
	burst_end(&service);
	finish_answers();
	events_end(&service);
	listener_stop(&service.main);
	listener_stop(&service.admin);
	calls_drain(&service);
	orders_drain(&service);
}

/* ---- The sums -------------------------------------------------------------------------------- */

static int
tell_subscriptions(struct store *store)
{
	for (int i = 0; i < SUBSCRIBERS; i++) {
		const struct subscriber *subscriber = &service.subscribers[i];
		struct queue_subscription_stats stats;
		struct subscription_sums sums = {.name = subscriber->name,
						 .seen = tally_read(&subscriber->seen)};

		(void)queue_subscription_stats(subscriber->subscription, &stats);
		sums.delivered = stats.delivered;
		sums.filtered = stats.filtered;
		sums.refused = stats.refused;
		sums.evicted = stats.evicted;
		if (store_tell_subscription(store, &sums) != 0)
			return -1;
	}
	return 0;
}

/* What the database is told: each from those who counted it. */
static int
tell(struct store *store, const void *context)
{
	(void)context;
	for (enum outcome outcome = 0; outcome < OUTCOMES; outcome++)
		if (outcome_result(outcome) &&
		    store_tell_answers(store, outcome, outcome_status(outcome),
				       tally_read(&service.left[outcome])) != 0)
			return -1;
	if (store_tell_tally(store, 0, &service.by_http) != 0 ||
	    store_tell_tally(store, 1, &service.by_burst) != 0 ||
	    store_tell_stock(store, &service.sale) != 0 ||
	    store_tell_step(store, "published", tally_read(&service.published)) != 0)
		return -1;
	return tell_subscriptions(store);
}

static void
list_unstored(char mismatch[MISMATCH_SIZE])
{
	for (const struct order *order = service.unstored; order; order = order->next)
		printf("told sold, but not stored: order %llu, user %llu, item %u, quantity %u\n",
		       (unsigned long long)order->id, (unsigned long long)order->user, order->item,
		       order->quantity);
	if (service.n_unstored > 0)
		mismatch_add(mismatch, "%llu order%s told but not stored: %s",
			     (unsigned long long)service.n_unstored,
			     service.n_unstored == 1 ? "" : "s", store_error(service.store));
}

static void
reconcile(char mismatch[MISMATCH_SIZE])
{
	uint64_t hung_up = tally_read(&service.hung_up);
	char text[TEXT_SIZE];

	list_unstored(mismatch);
	store_end(service.store, tell, NULL);
	if (!service.options->db)
		puts("The database is temporary; --db FILE keeps one.");
	reconcile_run(service.store, service.run, mismatch);
	if (hung_up > 0)
		printf("%s of the answers found that their client had hung up.\n\n",
		       text_number(text, hung_up));
}

static int
last_line(const char *mismatch)
{
	if (*mismatch)
		printf("reconciled: MISMATCH %s\n", mismatch);
	else
		puts("reconciled: ok");
	if (fflush(stdout) != 0 || ferror(stdout)) {
		complain("standard output: %s", strerror(errno));
		return EXIT_MISMATCH;
	}
	return *mismatch ? EXIT_MISMATCH : 0;
}

/* ---- Opening and closing --------------------------------------------------------------------- */

/* 0, or -1 after complaining. */
static int
open_shop(void)
{
	int rc;

	service.start = queue_now();
	service.next_order = store_free_id(service.store);
	service.run = store_begin(service.store, "http");
	if (service.next_order == 0 || service.run < 0)
		return -1;
	(void)pthread_mutex_init(&service.burst.lock, NULL);
	service.burst.next = BURST_FIRST_USER;
	if ((rc = orders_open(&service)) || (rc = calls_open(&service)) ||
	    (rc = events_start(&service)) || (rc = watch())) {
		complain("the shop cannot be opened: %s", strerror(-rc));
		return -1;
	}
	return 0;
}

/* Also for a shop that was opened in part only. */
static void
close_shop(void)
{
	listener_stop(&service.main);
	listener_stop(&service.admin);
	events_end(&service);
	calls_close(&service);
	orders_close(&service);
	events_close(&service);
}

static void
print_address(const char *name, const char *address, unsigned port)
{
	printf(strchr(address, ':') ? "%s http://[%s]:%u/\n" : "%s http://%s:%u/\n", name, address,
	       port);
}

/* The exit status. */
static int
serve(void)
{
	char mismatch[MISMATCH_SIZE] = "";

	/* The users last: from then on connections may be suspended. */
	if (admin_start(&service) != 0 || http_start(&service) != 0) {
		(void)monitor_end();
		return EXIT_MISMATCH;
	}
	print_address("page", service.options->address, service.main.port);
	print_address("admin", "127.0.0.1", service.admin.port);
	(void)fflush(stdout);
	while (sem_wait(&stopped) != 0)
		continue;
	drain();
	(void)monitor_end();
	reconcile(mismatch);
	return last_line(mismatch);
}

static int
hold_sale(const char *path)
{
	int rc = EXIT_MISMATCH;

	if (store_open(&service.store, path, 0) != 0)
		return rc;
	if (open_shop() == 0)
		rc = serve();
	close_shop();
	store_close(service.store);
	return rc;
}

static int
hold_temporary_sale(void)
{
	static struct temporary temporary; /* the monitor keeps its address */
	int rc;

	if (temporary_make(&temporary) != 0)
		return EXIT_MISMATCH;
	monitor_temporary(&temporary);
	rc = hold_sale(temporary.file);
	if (rc != 0 && service.run > 0)
		complain("the database is left in %s", temporary.file);
	else
		temporary_remove(&temporary);
	return rc;
}

/* The ports first: so whoever has one of them wrong is told before anything is made. */
static int
take_ports(const struct options *options)
{
	service.connections = listener_make_room(options->connections);
	if (service.connections == 0 ||
	    listener_bind(&service.main, options->address, options->port, "port") != 0)
		return -1;
	return listener_bind(&service.admin, "127.0.0.1", options->admin_port, "admin-port");
}

int
main(int argc, char **argv)
{
	static struct options options;

	switch (options_parse(&options, argc, argv)) {
	case ARGUMENTS_DONE:
		return fflush(stdout) == 0 ? 0 : EXIT_MISMATCH;
	case ARGUMENTS_BAD:
		return EXIT_USAGE;
	case ARGUMENTS_RUN:
		break;
	}
	service.options = &options;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	(void)sem_init(&stopped, 0, 0);
	monitor_block_signals();
	if (take_ports(&options) != 0)
		return EXIT_MISMATCH;
	return options.db ? hold_sale(options.db) : hold_temporary_sale();
}
