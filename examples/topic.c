/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Decoupling: the shop publishes an order once and knows nobody who wants it. Behind the topic each
 * party has a queue and a policy of its own: payments must not be lost, so the shop waits for them;
 * of the text messages the oldest gives way; statistics leave out what finds no room.
 */
#include <conveyor.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define ORDERS 10000
#define WANTS_SMS 1 /* a tag */

struct order {
	struct queue_message message; /* first, so that one pointer is both */
	int cents;
};

struct party {
	const char *name;
	struct queue_subscription_options wants;
	struct queue_subscription *subscription;
	struct queue_pool *workers;
	long handled;
	long cents;
};

static atomic_long freed;

static void
free_order(struct queue_message *message, void *context) /* when the last party is done */
{
	(void)context;
	free(message);
	freed++;
}

static int
handle(void *item, void *context) /* on the worker of a party */
{
	const struct order *order = item;
	struct party *party = context;

	party->handled++;
	party->cents += order->cents;
	queue_message_release(item);
	return 0;
}

static int
start(struct queue_topic *topic, struct party *party)
{
	struct queue_pool_options workers = {
		.handler = handle, .context = party, .name = party->name};

	if (queue_topic_subscribe(topic, &party->wants, &party->subscription) != 0)
		return 1;
	workers.queue = queue_subscription_queue(party->subscription);
	return queue_pool_create(&party->workers, &workers);
}

static int
sell(struct queue_topic *topic, int number)
{
	struct order *order = malloc(sizeof *order);

	if (!order)
		return 1;
	order->cents = number;
	queue_message_init(&order->message, free_order, NULL);
	return queue_topic_publish(topic, &order->message, number % 2 ? WANTS_SMS : 0) < 0;
}

/* How many orders were handled, or not, by the figures of the subscription. */
static long
finish(struct party *party)
{
	struct queue_subscription_stats stats;

	queue_pool_destroy(party->workers); /* when it has handled what is inside */
	queue_subscription_stats(party->subscription, &stats);
	printf("%-10s  %5ld handled, %4ld not wanted, %4ld refused, %4ld evicted\n", party->name,
	       party->handled, (long)stats.filtered, (long)stats.refused, (long)stats.evicted);
	return party->handled + (long)(stats.filtered + stats.refused + stats.evicted);
}

int
main(void)
{
	struct party parties[] = {
		{.name = "payment", .wants = {.capacity = 64, .policy = QUEUE_BLOCK}},
		{.name = "sms",
		 .wants = {.capacity = 64, .policy = QUEUE_DISCARD_OLDEST, .any_of = WANTS_SMS}},
		{.name = "statistics", .wants = {.capacity = 64, .policy = QUEUE_DISCARD}},
	};
	struct queue_topic *topic;
	int wrong = 0;

	if (queue_topic_create(&topic, NULL) != 0)
		return 1;
	for (int i = 0; i < 3; i++)
		if (start(topic, &parties[i]) != 0)
			return 1;
	for (int i = 1; i <= ORDERS; i++)
		if (sell(topic, i) != 0)
			return 1;
	queue_topic_close(topic); /* what is inside can still be popped */
	for (int i = 0; i < 3; i++)
		wrong += finish(&parties[i]) != ORDERS;
	queue_topic_destroy(topic);
	wrong += parties[0].cents != (long)ORDERS * (ORDERS + 1) / 2;
	return wrong != 0 || freed != ORDERS;
}
