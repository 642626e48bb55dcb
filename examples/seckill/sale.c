/* SPDX-License-Identifier: BSD-2-Clause */

/* What has to be done for a request before it is answered: the risk check, and the stock. */
#include "sale.h"

#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <time.h>

void *
sale_allocate(size_t size)
{
	return SECKILL_ALLOCATOR.allocate(SECKILL_ALLOCATOR.context, size, alignof(max_align_t));
}

void
sale_free(void *memory, size_t size)
{
	SECKILL_ALLOCATOR.release(SECKILL_ALLOCATOR.context, memory, size, alignof(max_align_t));
}

uint64_t
mix(uint64_t number)
{
	/* The finalizer of splitmix64 (Steele, Lea, Flood: Fast Splittable PRNGs, 2014). */
	number += UINT64_C(0x9e3779b97f4a7c15);
	number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
	return number ^ number >> 31;
}

/* A step waits, as it would for a service on another machine; it does not use the processor. */
void
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
sale_init(struct sale *sale, const struct sale_terms *terms, struct store *store)
{
	*sale = (struct sale){.terms = *terms, .store = store};
	sale->buyers = calloc(1, sizeof *sale->buyers);
	sale->stock = calloc(terms->items, sizeof *sale->stock);
	if (!sale->buyers || !sale->stock)
		return -ENOMEM;
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&sale->buyers->shards[i].lock, NULL);
	for (uint64_t i = 0; i < terms->items; i++)
		atomic_init(&sale->stock[i], terms->stock);
	return 0;
}

void
sale_fini(struct sale *sale)
{
	for (int i = 0; sale->buyers && i < SHARDS; i++) {
		pthread_mutex_destroy(&sale->buyers->shards[i].lock);
		free(sale->buyers->shards[i].users);
	}
	free(sale->buyers);
	free(sale->stock);
	sale->buyers = NULL;
	sale->stock = NULL;
}

/* ---- The steps ------------------------------------------------------------------------------- */

static bool
step_risk(const struct sale *sale, uint64_t user)
{
	wait_for_service(sale->terms.risk_us);
	return mix(user + sale->terms.seed) % 100 < sale->terms.risk_percent;
}

static enum outcome
take_pieces(struct sale *sale, const struct purchase *purchase)
{
	enum outcome outcome = buyers_add(sale->buyers, purchase->user);

	/*
	 * The user first: of two requests of one user that are served at once, one is turned away,
	 * even if the other then gets nothing. Never are both sold.
	 */
	if (outcome != OUTCOME_SOLD)
		return outcome;
	if (!stock_take(&sale->stock[purchase->item - 1], purchase->quantity)) {
		buyers_remove(sale->buyers, purchase->user);
		return OUTCOME_SOLD_OUT;
	}
	wait_for_service(sale->terms.stock_us);
	return OUTCOME_SOLD;
}

enum outcome
sale_sell(struct sale *sale, const struct purchase *purchase, uint64_t deadline)
{
	bool risky = step_risk(sale, purchase->user);

	/* Whether or not the gateway has found the time to give up, its user is gone. */
	if (queue_now() > deadline)
		return OUTCOME_TIMED_OUT;
	if (risky)
		return OUTCOME_RISK;
	/* Nothing more is sold that could not be stored. */
	if (store_failed(sale->store))
		return OUTCOME_DATABASE;
	return take_pieces(sale, purchase);
}

void
sale_give_back(struct sale *sale, const struct purchase *purchase)
{
	stock_give(&sale->stock[purchase->item - 1], purchase->quantity);
	buyers_remove(sale->buyers, purchase->user);
}

enum outcome
sale_remember(struct sale *sale, const struct purchase *purchase)
{
	/* A user who has bought twice is no news here: the sums look for that. */
	if (buyers_add(sale->buyers, purchase->user) == OUTCOME_MEMORY)
		return OUTCOME_MEMORY;
	if (!stock_take(&sale->stock[purchase->item - 1], purchase->quantity))
		return OUTCOME_SOLD_OUT;
	return OUTCOME_SOLD;
}
