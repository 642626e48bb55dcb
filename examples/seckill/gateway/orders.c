/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What comes after the answer. Each order is published once, and everybody whom it concerns has it
 * in a queue of their own, with a rule of their own for when they cannot keep up:
 *
 *	payment     waits: no order may be missed, so the shop slows down rather than lose one
 *	writer      waits: SQLite, many orders in one transaction
 *	risk        turns away what is too much; looks at what is suspicious only
 *	sms         the oldest message gives way: who bought just now is told first
 *	analytics   skips what is too much; wants large orders and the last pieces only
 */
#include "service.h"

#include <errno.h>
#include <string.h>

/* ---- What is published ----------------------------------------------------------------------- */

#define TAG_SINGLE 1u /* one piece */
#define TAG_SEVERAL 2u
#define TAG_NEAR_END 4u /* a tenth of the stock of the item, or less, was left */

static uint64_t
tags_of(const struct order *order)
{
	return (order->quantity > 1 ? TAG_SEVERAL : TAG_SINGLE) |
	       (order->near_end ? TAG_NEAR_END : 0);
}

/*
 * What is stored with it, too: whom an order concerns can be told from its row, so the sums do not
 * have to take the topic's word for it.
 */
static void
make_remarks(const struct service *service, struct order *order)
{
	uint64_t left =
		atomic_load_explicit(&service->sale.stock[order->item - 1], memory_order_relaxed);

	order->suspect = mix(order->user ^ service->options->seed) % 16 == 0;
	order->near_end = left <= service->options->stock / 10;
}

static void
free_sold(struct queue_message *message, void *context)
{
	(void)context;
	sale_free(message, sizeof(struct sold));
}

struct sold *
orders_new(struct service *service, const struct purchase *purchase)
{
	struct sold *sold = sale_allocate(sizeof *sold);

	if (!sold)
		return NULL;
	queue_message_init(&sold->message, free_sold, NULL);
	sold->order = (struct order){
		.id = atomic_fetch_add_explicit(&service->next_order, 1, memory_order_relaxed),
		.user = purchase->user,
		.item = purchase->item,
		.quantity = purchase->quantity,
	};
	return sold;
}

void
orders_publish(struct service *service, struct sold *sold)
{
	int rc;

	make_remarks(service, &sold->order);
	rc = queue_topic_publish(service->orders, &sold->message, tags_of(&sold->order));
	if (rc < 0) { /* closed: it never is before the last worker has ended */
		complain("order %llu was not published: %s", (unsigned long long)sold->order.id,
			 strerror(-rc));
		orders_free(sold);
		return;
	}
	atomic_fetch_add_explicit(&service->published, 1, memory_order_relaxed);
}

void
orders_free(struct sold *sold)
{
	queue_message_release(&sold->message);
}

static const struct order *
order_in(const struct queue_message *message)
{
	return &((const struct sold *)(const void *)message)->order;
}

/* ---- The subscribers ------------------------------------------------------------------------- */

/* Large orders, and one of sixteen users. */
static bool
is_suspicious(const struct queue_message *message, void *context)
{
	const struct order *order = order_in(message);

	(void)context;
	return order->quantity > 1 || order->suspect;
}

/* In the order of their numbers. Who gets what the sums know as well, by SQL: see reconcile.c. */
static const struct {
	const char *name;
	uint64_t capacity;
	enum queue_policy policy;
	uint64_t any_of;
	bool (*accepts)(const struct queue_message *message, void *context);
	int consumers; /* 0: the writer */
} kinds[SUBSCRIBERS] = {
	{"payment", 4096, QUEUE_BLOCK, 0, NULL, 2},
	{"risk", 1024, QUEUE_ABORT, 0, is_suspicious, 1},
	{"sms", 256, QUEUE_DISCARD_OLDEST, 0, NULL, 1},
	{"analytics", 1024, QUEUE_DISCARD, TAG_SEVERAL | TAG_NEAR_END, NULL, 1},
	{"writer", 1024, QUEUE_BLOCK, 0, NULL, 0},
};

static const char *const policies[] = {
	[QUEUE_ABORT] = "abort",
	[QUEUE_BLOCK] = "block",
	[QUEUE_DISCARD] = "discard",
	[QUEUE_DISCARD_OLDEST] = "discard-oldest",
};

/* What each of them does takes its time, and is not shown here: it would be a call to a service. */
static int
work(void *item, void *context)
{
	struct queue_message *message = item;
	struct subscriber *subscriber = context;

	wait_for_service(subscriber->cost_us);
	atomic_fetch_add_explicit(&subscriber->seen, 1, memory_order_relaxed);
	queue_message_release(message);
	return 0;
}

/*
 * The most orders in one transaction. Together with the capacity of the writer's queue it also
 * bounds how many orders can have been told, but not stored, when the disk is full.
 */
#define BATCH 256

static void
keep_unstored(struct service *service, struct order **orders, int n)
{
	for (int i = 0; i < n; i++) {
		orders[i]->next = service->unstored;
		service->unstored = orders[i];
	}
	service->n_unstored += (uint64_t)n;
}

/* Others only read the order, and not the link that is written here. */
static int
pop_orders(struct subscriber *subscriber, struct order **orders)
{
	struct queue_message *messages[BATCH];
	int n = queue_topic_pop_n(subscriber->subscription, messages, BATCH);

	for (int i = 0; i < n; i++)
		orders[i] = &((struct sold *)(void *)messages[i])->order;
	return n;
}

static void
release_order(struct order *order)
{
	char *sold = (char *)order - offsetof(struct sold, order);

	queue_message_release(&((struct sold *)(void *)sold)->message);
}

static void *
write_orders(void *argument)
{
	struct service *service = argument;
	struct subscriber *subscriber = &service->subscribers[SUBSCRIBER_WRITER];
	struct order *orders[BATCH];
	int n;

	while ((n = pop_orders(subscriber, orders)) > 0) {
		atomic_fetch_add_explicit(&subscriber->seen, (uint64_t)n, memory_order_relaxed);
		if (store_orders(service->store, orders, n) != 0) {
			keep_unstored(service, orders, n);
			continue;
		}
		atomic_fetch_add_explicit(&service->stored, (uint64_t)n, memory_order_relaxed);
		for (int i = 0; i < n; i++)
			release_order(orders[i]);
	}
	return NULL;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

static int
subscribe(struct service *service, int kind)
{
	struct subscriber *subscriber = &service->subscribers[kind];
	int rc;

	subscriber->name = kinds[kind].name;
	subscriber->policy = policies[kinds[kind].policy];
	subscriber->service = service;
	rc = queue_topic_subscribe(service->orders,
				   &(struct queue_subscription_options){
					   .capacity = kinds[kind].capacity,
					   .policy = kinds[kind].policy,
					   .any_of = kinds[kind].any_of,
					   .accepts = kinds[kind].accepts,
					   .context = subscriber,
				   },
				   &subscriber->subscription);
	if (rc || kinds[kind].consumers == 0)
		return rc;
	return queue_pool_create(&subscriber->pool, &(struct queue_pool_options){
							    .queue = queue_subscription_queue(
								    subscriber->subscription),
							    .handler = work,
							    .context = subscriber,
							    .workers = kinds[kind].consumers,
							    .name = subscriber->name,
						    });
}

static int
start_writer(struct service *service)
{
	int error = pthread_create(&service->writer, NULL, write_orders, service);

	if (error)
		return -error;
	(void)pthread_setname_np(service->writer, "writer");
	service->has_writer = true;
	return 0;
}

int
orders_open(struct service *service)
{
	const struct queue_topic_options topic = {.allocator = &SECKILL_ALLOCATOR};
	int rc = queue_topic_create(&service->orders, &topic);

	service->subscribers[SUBSCRIBER_SMS].cost_us = service->options->notify_us;
	service->subscribers[SUBSCRIBER_ANALYTICS].cost_us = service->options->stats_us;
	for (int kind = 0; rc == 0 && kind < SUBSCRIBERS; kind++)
		rc = subscribe(service, kind);
	return rc ? rc : start_writer(service);
}

void
orders_drain(struct service *service)
{
	if (service->orders)
		(void)queue_topic_close(service->orders);
	for (int i = 0; i < SUBSCRIBERS; i++)
		if (service->subscribers[i].pool)
			(void)queue_pool_stop(service->subscribers[i].pool, QUEUE_POOL_DRAIN,
					      QUEUE_NEVER);
	if (service->has_writer)
		(void)pthread_join(service->writer, NULL);
	service->has_writer = false;
}

/* Also for one that was opened in part only. */
void
orders_close(struct service *service)
{
	orders_drain(service);
	for (int i = 0; i < SUBSCRIBERS; i++)
		(void)queue_pool_destroy(service->subscribers[i].pool);
	(void)queue_topic_destroy(service->orders);
	while (service->unstored) {
		struct order *order = service->unstored;

		service->unstored = order->next;
		release_order(order);
	}
}
