/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rejection policies side by side: the same ten orders meet a queue of four that nobody empties.
 * What does a push say, and who has the order then?
 */
#include <conveyor/queue.h>

#include <stdio.h>

#define ORDERS 10

struct order {
	int number;
};

QUEUE_TYPED(orders, struct order *)

static void
dropped(void *item, enum queue_reason reason, void *context)
{
	const struct order *order = item;

	(void)context;
	printf("  %d was %s\n", order->number, queue_reason_name(reason));
}

static void
run(void *item, void *context)
{
	const struct order *order = item;

	(void)context;
	printf("  %d is served by its producer, which is busy meanwhile\n", order->number);
}

static int
show(const char *name, enum queue_policy policy)
{
	struct queue_options options = {
		.capacity = 4, .policy = policy, .on_drop = dropped, .run = run};
	struct order order[ORDERS], *next;
	struct queue_bounded *queue;
	int rc = queue_create(&queue, &options);

	if (rc != 0)
		return rc;
	printf("%s\n", name);
	for (int i = 0; i < ORDERS; i++) {
		order[i].number = i + 1;
		if (policy == QUEUE_BLOCK) /* would wait for ever; so with a deadline */
			rc = orders_push_until(queue, &order[i], queue_after_ms(1));
		else
			rc = orders_push(queue, &order[i]);
		if (rc == -EAGAIN)
			printf("  %d is still the caller's, who can say so at once\n", i + 1);
		else if (rc == -ETIMEDOUT)
			printf("  %d waited, and is still the caller's\n", i + 1);
		else if (rc < 0)
			return rc;
	}
	queue_close(queue);
	printf("  in the queue:");
	while (orders_pop(queue, &next) == 0)
		printf(" %d", next->number);
	printf("\n");
	return queue_destroy(queue);
}

int
main(void)
{
	return show("QUEUE_ABORT", QUEUE_ABORT) != 0 || show("QUEUE_BLOCK", QUEUE_BLOCK) != 0 ||
	       show("QUEUE_CALLER_RUNS", QUEUE_CALLER_RUNS) != 0 ||
	       show("QUEUE_DISCARD", QUEUE_DISCARD) != 0 ||
	       show("QUEUE_DISCARD_OLDEST", QUEUE_DISCARD_OLDEST) != 0;
}
