/* SPDX-License-Identifier: BSD-2-Clause */

/* The queues and threads of one sale: how they are put together, and in what order they end. */
#include "seckill.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/*
 * Orders that were told and wait to be stored. Not many: these are what a full disk can spoil. A
 * full queue makes the workers wait, the request queue fill and the gateways refuse.
 */
#define ORDERS_CAPACITY 256
/* What comes after may be slow without anybody noticing, for so many orders. */
#define NOTICES_CAPACITY 65536
#define COUNTS_CAPACITY 1024
#define NOTIFIERS 4
#define STATISTICIANS 2

/* ---- Setting up ------------------------------------------------------------------------------ */

static int
open_queues(struct shop *shop)
{
	struct queue_options requests = {
		.capacity = shop->options->capacity,
		.policy = shop->options->policy,
		.on_drop = gateway_dropped,
		.run = run_request,
		.deadline_of = gateway_deadline_of,
		.context = shop,
		.allocator = &SECKILL_ALLOCATOR,
	};
	struct queue_options orders = {
		.capacity = ORDERS_CAPACITY,
		.policy = QUEUE_BLOCK,
		.flags = QUEUE_SINGLE_CONSUMER,
		.allocator = &SECKILL_ALLOCATOR,
	};
	struct queue_options behind = {
		.capacity = NOTICES_CAPACITY,
		.policy = QUEUE_BLOCK,
		.on_drop = order_dropped,
		.allocator = &SECKILL_ALLOCATOR,
	};
	int rc;

	if ((rc = queue_create(&shop->requests, &requests)) ||
	    (rc = queue_create(&shop->orders, &orders)) ||
	    (rc = queue_create(&shop->notices, &behind)))
		return rc;
	behind.capacity = COUNTS_CAPACITY;
	return queue_create(&shop->counts, &behind);
}

static int
start_pool(struct queue_pool **out, struct shop *shop, struct queue_bounded *queue,
	   int (*handler)(void *item, void *context), const char *name, int workers)
{
	return queue_pool_create(out, &(struct queue_pool_options){.queue = queue,
								   .handler = handler,
								   .context = shop,
								   .workers = workers,
								   .name = name});
}

static int
start_pools(struct shop *shop)
{
	int workers = (int)shop->options->workers, rc;

	if ((rc = start_pool(&shop->statisticians, shop, shop->counts, work_count, "statistics",
			     STATISTICIANS)) ||
	    (rc = start_pool(&shop->notifiers, shop, shop->notices, work_notice, "notify",
			     NOTIFIERS)))
		return rc;
	return start_pool(&shop->workers, shop, shop->requests, plan_work_request, "worker",
			  workers);
}

static int
open_bucket(struct shop *shop)
{
	const struct queue_bucket_options bucket = {
		.tokens = shop->options->rate,
		.period = QUEUE_SECOND,
		.burst = shop->options->burst,
	};

	return shop->options->rate == 0 ? 0 : queue_bucket_init(&shop->bucket, &bucket);
}

static int
open_gateways(struct shop *shop)
{
	for (uint64_t i = 0; i < shop->options->gateways; i++) {
		int rc = gateway_create(&shop->gateways[i], shop);

		if (rc)
			return rc;
	}
	return 0;
}

static int
open_sale(struct shop *shop)
{
	const struct options *options = shop->options;

	return sale_init(&shop->sale,
			 &(struct sale_terms){.items = options->items,
					      .stock = options->stock,
					      .risk_us = options->risk_us,
					      .stock_us = options->stock_us,
					      .risk_percent = options->risk_percent,
					      .seed = options->seed},
			 shop->store);
}

static int
open_shop(struct shop *shop)
{
	int rc;

	if ((rc = open_sale(shop)) || (rc = open_bucket(shop)) || (rc = open_gateways(shop)))
		return rc;
	if (!shop->async)
		return 0;
	rc = open_queues(shop);
	return rc ? rc : start_pools(shop);
}

/* ---- Ending ---------------------------------------------------------------------------------- */

/*
 * From the front to the back, each part after those that feed it: so whatever was accepted goes all
 * the way, and nothing is pushed to a queue that has been closed.
 */
static void
drain(struct shop *shop)
{
	(void)queue_pool_stop(shop->workers, QUEUE_POOL_DRAIN, QUEUE_NEVER);
	(void)queue_close(shop->orders);
	(void)pthread_join(shop->writer, NULL);
	(void)queue_pool_stop(shop->notifiers, QUEUE_POOL_DRAIN, QUEUE_NEVER);
	(void)queue_pool_stop(shop->statisticians, QUEUE_POOL_DRAIN, QUEUE_NEVER);
}

static void
free_unstored(struct shop *shop)
{
	while (shop->unstored) {
		struct order *order = shop->unstored;

		shop->unstored = order->next;
		sale_free(order, sizeof *order);
	}
}

/* Also for a shop that was opened in part only. */
static void
close_shop(struct shop *shop)
{
	(void)queue_pool_destroy(shop->workers);
	(void)queue_pool_destroy(shop->notifiers);
	(void)queue_pool_destroy(shop->statisticians);
	(void)queue_destroy(shop->requests);
	(void)queue_destroy(shop->orders);
	(void)queue_destroy(shop->notices);
	(void)queue_destroy(shop->counts);
	for (uint64_t i = 0; i < shop->options->gateways; i++)
		gateway_destroy(shop->gateways[i]);
	free_unstored(shop);
	sale_fini(&shop->sale);
}

/* ---- What the monitor shows and does ---------------------------------------------------------- */

static void
stop(void *context)
{
	shop_stop(context);
}

static void
write_status(void *context, uint64_t now, char *text, size_t size)
{
	struct shop *shop = context;
	char a[TEXT_SIZE], b[TEXT_SIZE], c[TEXT_SIZE];
	uint64_t offered = 0, sold = 0, elapsed = now - shop->status_time;
	int length;

	for (uint64_t i = 0; i < shop->options->gateways; i++) {
		const struct tally *tally = &shop->gateways[i]->tally;

		offered += tally_read(&tally->offered);
		sold += tally_read(&tally->outcomes[OUTCOME_SOLD]);
	}
	length = snprintf(text, size, "%-5s %s came (%s/s), %s sold",
			  shop->async ? "async" : "sync", text_number(a, offered),
			  text_number(b, (uint64_t)((double)(offered - shop->status_offered) * 1e9 /
						    (double)elapsed)),
			  text_number(c, sold));
	if (shop->async)
		snprintf(text + length, size - (size_t)length,
			 "; req %llu ord %llu note %llu stat %llu",
			 (unsigned long long)queue_depth_approx(shop->requests),
			 (unsigned long long)queue_depth_approx(shop->orders),
			 (unsigned long long)queue_depth_approx(shop->notices),
			 (unsigned long long)queue_depth_approx(shop->counts));
	shop->status_time = now;
	shop->status_offered = offered;
}

static int
watch(struct shop *shop)
{
	shop->status_time = queue_now();
	return monitor_start(&(struct monitored){.stop = stop,
						 .status = write_status,
						 .context = shop,
						 .limit = shop->options->seconds * QUEUE_SECOND});
}

/* ---- The sale -------------------------------------------------------------------------------- */

void
shop_stop(struct shop *shop)
{
	if (atomic_exchange(&shop->stopping, true))
		return;
	source_stop(shop->source);
	for (uint64_t i = 0; i < shop->options->gateways; i++)
		gateway_wake(shop->gateways[i]);
}

/* Returns how many threads could be started; each of them has ended. */
static uint64_t
run_gateways(struct shop *shop)
{
	pthread_t threads[GATEWAYS_MAX];
	uint64_t n = 0;

	while (n < shop->options->gateways &&
	       pthread_create(&threads[n], NULL, gateway_run, shop->gateways[n]) == 0) {
		char name[16];

		snprintf(name, sizeof name, "gateway/%u", (unsigned)n);
		(void)pthread_setname_np(threads[n], name);
		n++;
	}
	for (uint64_t i = 0; i < n; i++)
		(void)pthread_join(threads[i], NULL);
	return n;
}

static void
add_up(const struct shop *shop, struct figures *out)
{
	for (uint64_t i = 0; i < shop->options->gateways; i++) {
		const struct tally *tally = &shop->gateways[i]->tally;

		out->offered += tally_read(&tally->offered);
		out->pieces += tally_read(&tally->pieces);
		for (int outcome = 0; outcome < OUTCOMES; outcome++)
			out->outcomes[outcome] += tally_read(&tally->outcomes[outcome]);
		histogram_merge(&out->answers, &shop->gateways[i]->answer_times);
		histogram_merge(&out->sales, &shop->gateways[i]->sale_times);
	}
}

/* What the database is told for the sums. */
static int
tell(struct store *store, const void *context)
{
	const struct shop *shop = context;

	for (uint64_t i = 0; i < shop->options->gateways; i++)
		if (store_tell_tally(store, i, &shop->gateways[i]->tally) != 0)
			return -1;
	if (store_tell_stock(store, &shop->sale) != 0 ||
	    store_tell_step(store, "notification", atomic_load(&shop->notified)) != 0)
		return -1;
	return store_tell_step(store, "statistics", atomic_load(&shop->counted));
}

static void
list_unstored(const struct shop *shop)
{
	for (const struct order *order = shop->unstored; order; order = order->next)
		printf("told sold, but not stored: user %llu, item %u, quantity %u\n",
		       (unsigned long long)order->user, order->item, order->quantity);
}

static void
print_queues(const struct shop *shop)
{
	const struct {
		const char *name;
		const struct queue_bounded *queue;
	} queues[] = {{"requests", shop->requests},
		      {"orders", shop->orders},
		      {"notices", shop->notices},
		      {"statistics", shop->counts}};

	for (size_t i = 0; i < sizeof queues / sizeof *queues; i++) {
		struct queue_stats stats;

		(void)queue_stats(queues[i].queue, &stats);
		printf("Queue of %s\n", queues[i].name);
		(void)queue_stats_print(stdout, &stats);
	}
	putchar('\n');
}

static int
sell(struct shop *shop, struct figures *out)
{
	uint64_t answered, started;

	if (shop->async) {
		int error = pthread_create(&shop->writer, NULL, write_orders, shop);

		if (error)
			return -error;
		(void)pthread_setname_np(shop->writer, "writer");
	}
	shop->start = queue_now();
	started = run_gateways(shop);
	answered = queue_now();
	if (shop->async)
		drain(shop);
	out->elapsed = answered - shop->start;
	out->drain = shop->async ? queue_now() - answered : 0;
	add_up(shop, out);
	return started > 0 ? 0 : -EAGAIN;
}

int
shop_run(struct shop *shop, struct figures *out)
{
	int rc = open_shop(shop);

	if (rc == 0)
		rc = watch(shop);
	if (rc == 0) {
		rc = sell(shop, out);
		shop->stopped_by = monitor_end();
	}
	if (rc) {
		complain("the sale cannot be held: %s", strerror(-rc));
	} else {
		store_end(shop->store, tell, shop);
		plan_measure(shop, out);
		if (shop->options->verbose && shop->async)
			print_queues(shop);
	}
	list_unstored(shop);
	close_shop(shop);
	return rc;
}
