/* SPDX-License-Identifier: BSD-2-Clause */
/* A purchase with a deadline: a worker whose caller has given up meanwhile undoes its work. */
#include <conveyor.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct purchase {
	struct queue_call call; /* first, so that one pointer is both */
	struct timespec work;	/* how long it takes */
	int left;		/* the reply */
};

static int stock = 100; /* the one worker's */

static int
sell(void *item, void *context) /* on a worker */
{
	struct purchase *purchase = item;

	(void)context;
	if (queue_call_claim(&purchase->call) == 0) {
		purchase->left = --stock;
		nanosleep(&purchase->work, NULL);
		if (queue_call_reply(&purchase->call) == -ECANCELED)
			stock++; /* the caller has been told that it failed */
	}
	queue_call_release(&purchase->call);
	return 0;
}

static void
refuse(void *item, enum queue_reason reason, void *context) /* when no worker gets it */
{
	(void)reason, (void)context;
	queue_call_refuse(item);
	queue_call_release(item);
}

static void
free_purchase(struct queue_call *call, void *context) /* when both sides have released */
{
	(void)call;
	free(context);
}

static void
buy(struct queue_bounded *queue, int milliseconds, uint64_t deadline)
{
	struct purchase *purchase = calloc(1, sizeof *purchase);
	struct queue_call_options options = {.release = free_purchase, .context = purchase};

	if (!purchase || queue_call_init(&purchase->call, &options) != 0)
		abort();
	purchase->work.tv_nsec = milliseconds * 1000000L;
	if (queue_push(queue, purchase) < 0) /* still ours, so nobody else will refuse it */
		refuse(purchase, QUEUE_DISCARDED, NULL);
	if (queue_call_wait(&purchase->call, deadline) == 0)
		printf("bought, %d left\n", purchase->left);
	queue_call_release(&purchase->call);
}

int
main(void)
{
	struct queue_options options = {.capacity = 64, .on_drop = refuse};
	struct queue_pool_options workers = {.handler = sell};
	struct queue_pool *pool;

	if (queue_create(&workers.queue, &options) || queue_pool_create(&pool, &workers))
		return 1;
	buy(workers.queue, 1, queue_after_ms(5000));
	buy(workers.queue, 100, queue_after_ms(10)); /* too slow */
	queue_pool_destroy(pool);
	queue_destroy(workers.queue);
	return stock == 99 ? 0 : 1;
}
