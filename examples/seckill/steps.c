/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What has to be done for a request: risk check and stock (sale.c), order, notification,
 * statistics. In mode sync a gateway does all five, one after another; in mode async it does none
 * of them, and the handlers in this file are what the threads behind the queues run.
 */
#include "seckill.h"

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
	struct order *order = sale_allocate(sizeof *order);

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

	request->reply = sale_sell(&shop->sale, purchase, request->deadline);
	if (request->reply == OUTCOME_SOLD && !(order = new_order(purchase))) {
		sale_give_back(&shop->sale, purchase);
		request->reply = OUTCOME_MEMORY;
	}
	if (queue_call_reply(&request->call) == 0) {
		/* Waits for room if the writer is behind; closed only after the last worker. */
		if (order)
			(void)orders_push(shop->orders, order);
	} else if (order) {
		/* The gateway has given up, and the user knows: so it never happened. */
		sale_give_back(&shop->sale, purchase);
		sale_free(order, sizeof *order);
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
	sale_free(item, sizeof(struct order));
	return 0;
}

/* For the queues behind the writer, which wait for room and are drained: it is never called. */
void
order_dropped(void *item, enum queue_reason reason, void *context)
{
	(void)context;
	complain("an order was %s", queue_reason_name(reason));
	sale_free(item, sizeof(struct order));
}
