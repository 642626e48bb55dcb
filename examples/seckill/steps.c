/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What has to be done for a request: risk check, stock, order, notification, statistics. In mode
 * sync a gateway does all five, one after another; in mode async it does none of them, and the
 * handlers at the end of this file are what the threads behind the queues run.
 */
#include "seckill.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* A step waits, as it would for a service on another machine; it does not use the processor. */
static void
wait_for_service(uint64_t us)
{
	struct timespec time = {.tv_sec = (time_t)(us / 1000000),
				.tv_nsec = (long)(us % 1000000 * 1000)};

	if (us > 0)
		clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

/* ---- Who has bought: a set in shards, each a hash table with linear probing ------------------ */

#define SHARDS 64

struct shard {
	pthread_mutex_t lock;
	uint64_t *users; /* one more than the user; 0: free */
	size_t size, n;	 /* size: a power of two */
};

struct buyers {
	struct shard shards[SHARDS];
};

static struct shard *
shard_of(struct buyers *buyers, uint64_t user)
{
	return &buyers->shards[mix(user) % SHARDS];
}

/* The place of a user, or the free one where it would be put. */
static size_t
place_of(const struct shard *shard, uint64_t user)
{
	size_t place = mix(user) / SHARDS & (shard->size - 1);

	while (shard->users[place] && shard->users[place] != user + 1)
		place = (place + 1) & (shard->size - 1);
	return place;
}

static bool
shard_grow(struct shard *shard)
{
	struct shard larger = {.size = shard->size ? shard->size * 2 : 64};

	larger.users = calloc(larger.size, sizeof *larger.users);
	if (!larger.users)
		return false;
	for (size_t i = 0; i < shard->size; i++)
		if (shard->users[i])
			larger.users[place_of(&larger, shard->users[i] - 1)] = shard->users[i];
	free(shard->users);
	shard->users = larger.users;
	shard->size = larger.size;
	return true;
}

/* OUTCOME_SOLD: the user was not in the set and is now. */
static enum outcome
buyers_add(struct buyers *buyers, uint64_t user)
{
	struct shard *shard = shard_of(buyers, user);
	enum outcome outcome = OUTCOME_SOLD;
	size_t place;

	pthread_mutex_lock(&shard->lock);
	if (shard->n * 2 >= shard->size && !shard_grow(shard)) {
		outcome = OUTCOME_MEMORY;
	} else {
		place = place_of(shard, user);
		if (shard->users[place]) {
			outcome = OUTCOME_BOUGHT;
		} else {
			shard->users[place] = user + 1;
			shard->n++;
		}
	}
	pthread_mutex_unlock(&shard->lock);
	return outcome;
}

/* Closes the gap, so that everybody is still found from where the search begins. */
static void
shard_remove(struct shard *shard, size_t gap)
{
	size_t mask = shard->size - 1;

	for (size_t at = (gap + 1) & mask; shard->users[at]; at = (at + 1) & mask) {
		size_t home = mix(shard->users[at] - 1) / SHARDS & mask;

		/* It may move back unless its search begins behind the gap. */
		if (((at - home) & mask) >= ((at - gap) & mask)) {
			shard->users[gap] = shard->users[at];
			gap = at;
		}
	}
	shard->users[gap] = 0;
	shard->n--;
}

static void
buyers_remove(struct buyers *buyers, uint64_t user)
{
	struct shard *shard = shard_of(buyers, user);

	pthread_mutex_lock(&shard->lock);
	shard_remove(shard, place_of(shard, user));
	pthread_mutex_unlock(&shard->lock);
}

/* ---- Stock ----------------------------------------------------------------------------------- */

/* Relaxed, here and below: a count of pieces, which guards no other memory. */
static bool
stock_take(_Atomic uint64_t *stock, uint64_t quantity)
{
	uint64_t left = atomic_load_explicit(stock, memory_order_relaxed);

	while (left >= quantity)
		if (atomic_compare_exchange_weak_explicit(stock, &left, left - quantity,
							  memory_order_relaxed,
							  memory_order_relaxed))
			return true;
	return false;
}

static void
stock_give(_Atomic uint64_t *stock, uint64_t quantity)
{
	atomic_fetch_add_explicit(stock, quantity, memory_order_relaxed);
}

int
steps_init(struct shop *shop)
{
	uint64_t items = shop->options->items;

	shop->buyers = calloc(1, sizeof *shop->buyers);
	shop->stock = calloc(items, sizeof *shop->stock);
	if (!shop->buyers || !shop->stock)
		return -ENOMEM;
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&shop->buyers->shards[i].lock, NULL);
	for (uint64_t i = 0; i < items; i++)
		atomic_init(&shop->stock[i], shop->options->stock);
	return 0;
}

void
steps_fini(struct shop *shop)
{
	for (int i = 0; shop->buyers && i < SHARDS; i++) {
		pthread_mutex_destroy(&shop->buyers->shards[i].lock);
		free(shop->buyers->shards[i].users);
	}
	free(shop->buyers);
	free(shop->stock);
	shop->buyers = NULL;
	shop->stock = NULL;
	while (shop->unstored) {
		struct order *order = shop->unstored;

		shop->unstored = order->next;
		shop_free(order, sizeof *order);
	}
}

/* ---- The steps ------------------------------------------------------------------------------- */

static bool
step_risk(const struct shop *shop, uint64_t user)
{
	wait_for_service(shop->options->risk_us);
	return mix(user + shop->options->seed) % 100 < shop->options->risk_percent;
}

static enum outcome
take_pieces(struct shop *shop, const struct purchase *purchase)
{
	enum outcome outcome = buyers_add(shop->buyers, purchase->user);

	/*
	 * The user first: of two requests of one user that are served at once, one is turned away,
	 * even if the other then gets nothing. Never are both sold.
	 */
	if (outcome != OUTCOME_SOLD)
		return outcome;
	if (!stock_take(&shop->stock[purchase->item - 1], purchase->quantity)) {
		buyers_remove(shop->buyers, purchase->user);
		return OUTCOME_SOLD_OUT;
	}
	wait_for_service(shop->options->stock_us);
	return OUTCOME_SOLD;
}

enum outcome
step_sell(struct shop *shop, const struct purchase *purchase, uint64_t deadline)
{
	bool risky = step_risk(shop, purchase->user);

	/* Whether or not the gateway has found the time to give up, its user is gone. */
	if (queue_now() > deadline)
		return OUTCOME_TIMED_OUT;
	if (risky)
		return OUTCOME_RISK;
	/* Nothing more is sold that could not be stored. */
	if (store_failed(shop->store))
		return OUTCOME_DATABASE;
	return take_pieces(shop, purchase);
}

void
step_give_back(struct shop *shop, const struct purchase *purchase)
{
	stock_give(&shop->stock[purchase->item - 1], purchase->quantity);
	buyers_remove(shop->buyers, purchase->user);
}

void
step_notify(struct shop *shop, const struct order *order)
{
	(void)order; /* it would say what to write to whom */
	wait_for_service(shop->options->notify_us);
	atomic_fetch_add_explicit(&shop->notified, 1, memory_order_relaxed);
}

void
step_count(struct shop *shop, const struct order *order)
{
	wait_for_service(shop->options->stats_us);
	atomic_fetch_add_explicit(&shop->counted, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&shop->counted_pieces, order->quantity, memory_order_relaxed);
}

/* ---- The same, behind queues ----------------------------------------------------------------- */

static struct order *
new_order(const struct purchase *purchase)
{
	struct order *order = shop_allocate(sizeof *order);

	if (order)
		*order = (struct order){.user = purchase->user,
					.item = purchase->item,
					.quantity = purchase->quantity};
	return order;
}

/*
 * The user is told before the order is stored: that is what makes the answer quick. So everything
 * that can fail comes before the answer, and from there on nothing may, but the database.
 */
static void
sell_and_reply(struct shop *shop, struct request *request)
{
	const struct purchase *purchase = &request->purchase;
	struct order *order = NULL;

	request->reply = step_sell(shop, purchase, request->deadline);
	if (request->reply == OUTCOME_SOLD && !(order = new_order(purchase))) {
		step_give_back(shop, purchase);
		request->reply = OUTCOME_MEMORY;
	}
	if (queue_call_reply(&request->call) == 0) {
		/* Waits for room if the writer is behind; closed only after the last worker. */
		if (order)
			(void)orders_push(shop->orders, order);
	} else if (order) {
		/* The gateway has given up, and the user knows: so it never happened. */
		step_give_back(shop, purchase);
		shop_free(order, sizeof *order);
	}
}

int
work_request(void *item, void *context)
{
	struct request *request = item;

	/* Not claimed: the gateway has given up already, and only wants it to be let go. */
	if (queue_call_claim(&request->call) == 0)
		sell_and_reply(context, request);
	queue_call_release(&request->call);
	return 0;
}

/* QUEUE_CALLER_RUNS: on the gateway's thread. */
void
run_request(void *item, void *context)
{
	(void)work_request(item, context);
}

/*
 * The most orders in one transaction. Together with the capacity of the order queue it also bounds
 * how many orders can have been told, but not stored, when the disk is full.
 */
#define BATCH 256

static void
keep_unstored(struct shop *shop, struct order **orders, int n)
{
	for (int i = 0; i < n; i++) {
		orders[i]->next = shop->unstored;
		shop->unstored = orders[i];
	}
	shop->n_unstored += (uint64_t)n;
}

void *
write_orders(void *argument)
{
	struct shop *shop = argument;
	struct order *batch[BATCH];
	int n;

	while ((n = orders_pop_n(shop->orders, batch, BATCH)) > 0) {
		if (store_orders(shop->store, batch, n) != 0) {
			keep_unstored(shop, batch, n);
			continue;
		}
		for (int i = 0; i < n; i++)
			(void)orders_push(shop->notices, batch[i]);
	}
	return NULL;
}

int
work_notice(void *item, void *context)
{
	struct shop *shop = context;

	step_notify(shop, item);
	(void)orders_push(shop->counts, item);
	return 0;
}

int
work_count(void *item, void *context)
{
	step_count(context, item);
	shop_free(item, sizeof(struct order));
	return 0;
}

/* For the queues behind the writer, which wait for room and are drained: it is never called. */
void
order_dropped(void *item, enum queue_reason reason, void *context)
{
	(void)context;
	complain("an order was %s", queue_reason_name(reason));
	shop_free(item, sizeof(struct order));
}
